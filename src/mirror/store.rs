//! The files of a store, and nothing else on the machine.
//!
//! Two walls stand between a URL and a file. [`StorePath`](sealboot_store::StorePath) is the only way to name a file, and is
//! parsed from the raw, undecoded path of a URL by the store's own grammar: no `%`, no `..`, no name
//! that begins with a dot can be spelt in it. And `Store::open` has the kernel resolve the name
//! beneath the store's directory (openat2(2), `RESOLVE_BENEATH`), so that no symbolic link leads
//! out, whoever put it there and whenever.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use sealboot_store::StorePath;

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

    use super::*;
    use nix::unistd::mkfifo;

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
        fs::create_dir(outside.path().join("1")).unwrap();
        fs::write(outside.path().join("1/x86_64.json"), "secret").unwrap();

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
        let through_a_link = StorePath::parse("/images/tree/1/x86_64.json").unwrap();
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
}
