//! The files of a store, and nothing else on the machine.
//!
//! Two walls stand between a URL and a file. [`StorePath`] is the only way to name a file, and is
//! parsed from the raw, undecoded path of a URL by the store's own grammar: no `%`, no `..`, no name
//! that begins with a dot can be spelt in it. And `Store::open` has the kernel resolve the name
//! beneath the store's directory (openat2(2), `RESOLVE_BENEATH`), so that no symbolic link leads
//! out, whoever put it there and whenever.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Archive, Encoding, ImageName, ImageVersion};
use sealboot_core::format::version::PolicyVersion;

/// A path that a store can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePath {
    /// `images/<name>.json`: the channel of a name.
    Newest(ImageName),
    /// `images/<name>/<version>.json`: one envelope.
    Version(ImageName, ImageVersion),
    /// `trust/<version>.json`: one of the trust policies that follow the machines' own.
    Policy(PolicyVersion),
    /// `blobs/sha256-<hex>.tar[.gz|.zst]`: one archive.
    Blob(Sha256Digest, Encoding),
}

impl StorePath {
    /// Reads the path of a URL as it stands in the request, undecoded. Each file has one spelling.
    #[must_use]
    pub fn parse(url_path: &str) -> Option<Self> {
        let path = url_path.strip_prefix('/')?;
        let parsed = match path.split_once('/')? {
            ("images", file) => match file.split_once('/') {
                None => Self::Newest(file.strip_suffix(".json")?.parse().ok()?),
                Some((name, file)) => Self::Version(
                    name.parse().ok()?,
                    file.strip_suffix(".json")?.parse().ok()?,
                ),
            },
            ("trust", file) => Self::Policy(file.strip_suffix(".json")?.parse().ok()?),
            ("blobs", file) => {
                let (hex, suffix) = file.strip_prefix("sha256-")?.split_once('.')?;
                let encoding = Encoding::ALL
                    .into_iter()
                    .find(|encoding| encoding.suffix() == suffix)?;
                Self::Blob(hex.parse().ok()?, encoding)
            }
            _ => return None,
        };
        // `07` is a number too, yet no name of the file `7.json`.
        (parsed.to_string() == path).then_some(parsed)
    }
}

/// The path relative to the store, as it stands on disk.
impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest(name) => write!(f, "images/{name}.json"),
            Self::Version(name, version) => write!(f, "images/{name}/{version}.json"),
            Self::Policy(version) => write!(f, "trust/{version}.json"),
            Self::Blob(sha256, encoding) => f.write_str(&Archive::blob_path(sha256, *encoding)),
        }
    }
}

/// A directory that is served.
#[derive(Debug)]
pub(super) struct Store {
    directory: OwnedFd,
}

/// A regular file of the store, open for reading.
#[derive(Debug)]
pub(super) struct StoredFile {
    /// The file.
    pub(super) file: File,
    /// Its length in bytes when it was opened.
    pub(super) len: u64,
}

/// How often a resolution is tried that lost a race with a rename: openat2(2) asks to retry `EAGAIN`
/// and promises no success. Each try takes microseconds; nobody renames that fast except to attack.
const RESOLVE_TRIES: usize = 16;

impl Store {
    /// Opens the directory, once: what is later put in its place under the same name is not served.
    pub(super) fn open_directory(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = openat(AT_FDCWD, path, flags, Mode::empty())?;
        let store = Self { directory };
        // Says at the start, not at the first request, that the kernel or a sandbox lacks openat2.
        store.resolve(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        Ok(store)
    }

    /// Opens a file for reading. `None` where the store has no such regular file.
    ///
    /// # Errors
    ///
    /// Where there is one, but it cannot be opened: permissions, too many open files, a bad disk.
    pub(super) fn open(&self, path: &StorePath) -> io::Result<Option<StoredFile>> {
        // Without O_NONBLOCK, opening a FIFO would wait for its writer. It means nothing for a file.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = match self.resolve(path.to_string().as_str(), flags) {
            Ok(file) => File::from(file),
            // Not there; a link out of the store (EXDEV), in a circle (ELOOP) or still moving after
            // all tries (EAGAIN); a socket or a device without a driver (ENXIO).
            Err(
                Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::ENAMETOOLONG
                | Errno::EXDEV
                | Errno::ELOOP
                | Errno::EAGAIN
                | Errno::ENXIO,
            ) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        let len = metadata.len();
        Ok(metadata.is_file().then_some(StoredFile { file, len }))
    }

    fn resolve(&self, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut result = Err(Errno::EAGAIN);
        for _ in 0..RESOLVE_TRIES {
            result = openat2(&self.directory, path, how);
            if !matches!(result, Err(Errno::EAGAIN | Errno::EINTR)) {
                break;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::unistd::mkfifo;
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn every_kind_of_path_is_known() {
        for path in [
            "images/relay.json".to_owned(),
            "images/relay-2_x/1.json".to_owned(),
            "images/relay/9007199254740991.json".to_owned(),
            "trust/2.json".to_owned(),
            format!("blobs/sha256-{HEX}.tar"),
            format!("blobs/sha256-{HEX}.tar.gz"),
            format!("blobs/sha256-{HEX}.tar.zst"),
        ] {
            let parsed = StorePath::parse(&format!("/{path}")).expect(&path);
            assert_eq!(parsed.to_string(), path);
        }
    }

    #[test]
    fn every_other_path_does_not_exist() {
        for path in [
            "",
            "/",
            "//",
            "*",
            "/images",
            "/images/",
            "/images/.json",
            "/images/..json",
            "/images/relay",
            "/images/relay.json/",
            "/images/relay.json.tmp",
            "/images/.sealboot-Xy12",
            "/images/.relay.json",
            "/images/Relay.json",
            "/images/relay.JSON",
            "/Images/relay.json",
            "/images//relay.json",
            "//images/relay.json",
            "/./images/relay.json",
            "/images/./relay.json",
            "/images/../images/relay.json",
            "/images/relay/../relay.json",
            "/images/%72elay.json",
            "/images%2frelay.json",
            "/images/..%2f..%2fetc%2fpasswd",
            "/%2e%2e/etc/passwd",
            "/images/relay.json%00",
            "/images/relay.json\0",
            "/images\\relay.json",
            "/images/relay.json?x",
            "/images/relay.json#x",
            "/images/relay/0.json",
            "/images/relay/01.json",
            "/images/relay/+1.json",
            "/images/relay/-1.json",
            "/images/relay/1.JSON",
            "/images/relay/9007199254740992.json",
            "/images/relay/1/1.json",
            "/images/relay/",
            "/trust/",
            "/trust/0.json",
            "/trust/02.json",
            "/trust/relay.json",
            "/trust/2/2.json",
            "/blobs/",
            "/blobs/sha256-.tar",
            "/etc/passwd",
            "/../etc/passwd",
            "images/relay.json",
        ] {
            assert_eq!(StorePath::parse(path), None, "{path:?}");
        }
        for path in [
            format!("/blobs/sha256-{}.tar", HEX.to_uppercase()),
            format!("/blobs/sha256-{HEX}"),
            format!("/blobs/sha256-{HEX}."),
            format!("/blobs/sha256-{HEX}.tar.gz.gz"),
            format!("/blobs/sha256-{HEX}.tar.xz"),
            format!("/blobs/sha256-{HEX}0.tar"),
            format!("/blobs/sha512-{HEX}.tar"),
            format!("/blobs/{HEX}.tar"),
            format!("/blobs/x/sha256-{HEX}.tar"),
            format!("/images/{}.json", "a".repeat(65)),
        ] {
            assert_eq!(StorePath::parse(&path), None, "{path:?}");
        }
    }

    fn newest(name: &str) -> StorePath {
        StorePath::Newest(name.parse().unwrap())
    }

    #[test]
    fn only_regular_files_in_the_store_are_opened() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("store");
        fs::create_dir_all(root.join("images")).unwrap();
        fs::write(outside.path().join("secret.json"), "secret").unwrap();
        fs::write(root.join("images/file.json"), "file").unwrap();
        symlink("file.json", root.join("images/inside.json")).unwrap();
        symlink("../images/file.json", root.join("images/round.json")).unwrap();
        symlink("../../secret.json", root.join("images/out.json")).unwrap();
        symlink(
            outside.path().join("secret.json"),
            root.join("images/absolute.json"),
        )
        .unwrap();
        symlink(
            root.join("images/file.json"),
            root.join("images/absolute-inside.json"),
        )
        .unwrap();
        symlink("/proc/self/exe", root.join("images/magic.json")).unwrap();
        symlink("loop.json", root.join("images/loop.json")).unwrap();
        symlink("nowhere.json", root.join("images/dangling.json")).unwrap();
        fs::create_dir(root.join("images/directory.json")).unwrap();
        mkfifo(&root.join("images/fifo.json"), Mode::S_IRWXU).unwrap();
        let _socket =
            std::os::unix::net::UnixListener::bind(root.join("images/socket.json")).unwrap();
        symlink(outside.path(), root.join("images/tree")).unwrap();
        fs::write(outside.path().join("1.json"), "secret").unwrap();

        let store = Store::open_directory(&root).unwrap();
        for name in ["file", "inside", "round"] {
            assert_eq!(store.open(&newest(name)).unwrap().unwrap().len, 4, "{name}");
        }
        for name in [
            "absent",
            "out",
            "absolute",
            "absolute-inside",
            "magic",
            "loop",
            "dangling",
            "directory",
            "fifo",
            "socket",
        ] {
            assert!(store.open(&newest(name)).unwrap().is_none(), "{name}");
        }
        let through_a_link = StorePath::parse("/images/tree/1.json").unwrap();
        assert!(store.open(&through_a_link).unwrap().is_none());
    }

    #[test]
    fn what_is_no_directory_is_no_store() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let kind = |path: &Path| Store::open_directory(path).unwrap_err().kind();
        assert_eq!(kind(&file), io::ErrorKind::NotADirectory);
        assert_eq!(
            kind(&directory.path().join("absent")),
            io::ErrorKind::NotFound
        );
    }

    proptest! {
        #[test]
        fn a_path_of_the_store_has_no_parts_that_lead_elsewhere(path in "/(images|blobs)/[a-z0-9./%_-]{0,80}") {
            if let Some(parsed) = StorePath::parse(&path) {
                let on_disk = parsed.to_string();
                prop_assert_eq!(&format!("/{on_disk}"), &path);
                prop_assert!(on_disk.split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
            }
        }

        #[test]
        fn any_text_is_read_or_not(path in "\\PC*") {
            let _ = StorePath::parse(&path);
        }
    }
}
