//! The paths of a store: the one place that knows where it keeps what.

use std::fmt;
use std::path::{Path, PathBuf};

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{
    Arch, Archive, Attachment, Encoding, ImageName, ImageVersion,
};
use sealboot_core::format::version::PolicyVersion;

use crate::StoreError;

/// A path that a store can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePath {
    /// `images/<name>.json`: the channel of a name.
    Newest(ImageName),
    /// `images/<name>/<version>/<arch>.json`: one envelope.
    Version(ImageName, ImageVersion, Arch),
    /// `trust/<version>.json`: one of the trust policies that follow the machines' own.
    Policy(PolicyVersion),
    /// `blobs/<hex>.tar[.gz|.zst]`: one archive, by its chunk list's hash.
    Archive(Sha256Digest, Encoding),
    /// `blobs/<hex>.chunks`: the chunk list of one archive, by its hash.
    ChunkList(Sha256Digest),
    /// `blobs/sha256-<hex>`: one attachment, by its hash.
    Attachment(Sha256Digest),
    /// `blobs/SHA256SUMS`: the SHA-256 of every blob, for people and `sha256sum -c`.
    Sums,
}

impl StorePath {
    /// Reads the path of a URL as it is in the request, undecoded. Each file has one spelling.
    #[must_use]
    pub fn parse(url_path: &str) -> Option<Self> {
        let path = url_path.strip_prefix('/')?;
        let parsed = match path.split_once('/')? {
            ("images", file) => match file.split_once('/') {
                None => Self::Newest(file.strip_suffix(".json")?.parse().ok()?),
                Some((name, file)) => {
                    let (version, arch) = file.split_once('/')?;
                    Self::Version(
                        name.parse().ok()?,
                        version.parse().ok()?,
                        arch.strip_suffix(".json")?.parse().ok()?,
                    )
                }
            },
            ("trust", file) => Self::Policy(file.strip_suffix(".json")?.parse().ok()?),
            ("blobs", "SHA256SUMS") => Self::Sums,
            ("blobs", file) => match (file.strip_prefix("sha256-"), file.split_once('.')) {
                (Some(hex), _) => Self::Attachment(hex.parse().ok()?),
                (None, Some((hex, "chunks"))) => Self::ChunkList(hex.parse().ok()?),
                (None, Some((hex, suffix))) => {
                    let encoding = Encoding::ALL
                        .iter()
                        .find(|encoding| encoding.suffix() == suffix)?;
                    Self::Archive(hex.parse().ok()?, *encoding)
                }
                (None, None) => return None,
            },
            _ => return None,
        };
        // `07` is a number too, yet no name of the file `7.json`.
        (parsed.to_string() == path).then_some(parsed)
    }
}

/// The path relative to the store, as it is on disk.
impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest(name) => write!(f, "images/{name}.json"),
            Self::Version(name, version, arch) => {
                write!(f, "images/{name}/{version}/{arch}.json")
            }
            Self::Policy(version) => write!(f, "trust/{version}.json"),
            Self::Archive(list, encoding) => write!(f, "blobs/{list}.{}", encoding.suffix()),
            Self::ChunkList(list) => write!(f, "blobs/{list}.chunks"),
            Self::Attachment(sha256) => write!(f, "blobs/sha256-{sha256}"),
            Self::Sums => f.write_str("blobs/SHA256SUMS"),
        }
    }
}

/// The directory that holds `images/`, `trust/` and `blobs/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Returns the store at `root`, which is to be changed.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoStore`] where `root` is not a directory.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        if root.is_dir() {
            return Ok(Self::at(root));
        }
        Err(StoreError::NoStore {
            root: root.to_owned(),
        })
    }

    /// Returns the store at `root`, which is only read and need not exist.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Returns the store's directory, spelt as the caller did.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of a file of the store.
    #[must_use]
    pub fn path(&self, file: &StorePath) -> PathBuf {
        self.root.join(file.to_string())
    }

    /// Returns the path of an image's channel.
    #[must_use]
    pub fn channel(&self, image: &ImageName) -> PathBuf {
        self.path(&StorePath::Newest(image.clone()))
    }

    /// Returns the path of the envelope of one version for one architecture.
    #[must_use]
    pub fn version(&self, image: &ImageName, version: ImageVersion, arch: &Arch) -> PathBuf {
        self.path(&StorePath::Version(image.clone(), version, arch.clone()))
    }

    /// Returns the path of a trust policy.
    #[must_use]
    pub fn policy(&self, version: PolicyVersion) -> PathBuf {
        self.path(&StorePath::Policy(version))
    }

    /// Returns the path of an image's archive.
    #[must_use]
    pub fn archive(&self, archive: &Archive) -> PathBuf {
        self.root.join(archive.blob_path())
    }

    /// Returns the path of an archive's chunk list.
    #[must_use]
    pub fn chunk_list(&self, archive: &Archive) -> PathBuf {
        self.root.join(archive.chunk_list_path())
    }

    /// Returns the path of an image's attachment.
    #[must_use]
    pub fn attachment(&self, attachment: &Attachment) -> PathBuf {
        self.root.join(attachment.blob_path())
    }

    /// Returns the directory of the channels.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Returns the directory of an image's versions.
    #[must_use]
    pub fn versions(&self, image: &ImageName) -> PathBuf {
        self.images().join(image.as_str())
    }

    /// Returns the directory of the archives.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Returns the directory of the trust policies.
    #[must_use]
    pub fn policies(&self) -> PathBuf {
        self.root.join("trust")
    }
}

/// Where an envelope lies in a store.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The store.
    pub store: Store,
    /// What the file's path says the image's name is.
    pub name: String,
    /// Whether it is a channel, which machines fetch, rather than the envelope of one version.
    pub fetched: bool,
}

impl Place {
    /// Returns the place of `…/images/NAME.json` or `…/images/NAME/VERSION/ARCH.json`, `None` for every other path.
    #[must_use]
    pub fn of(envelope: &Path) -> Option<Self> {
        // As typed where that says enough: messages then show paths as they were typed.
        Self::in_path(envelope).or_else(|| Self::in_path(&std::path::absolute(envelope).ok()?))
    }

    fn in_path(envelope: &Path) -> Option<Self> {
        let stem = envelope.file_stem()?.to_str()?;
        let above = envelope.parent()?;
        let fetched = above.ends_with("images");
        let (images, name) = if fetched {
            (above, stem)
        } else {
            let of_name = above.parent()?;
            let version = above.file_name()?.to_str()?;
            version.parse::<ImageVersion>().ok()?;
            stem.parse::<Arch>().ok()?;
            (of_name.parent()?, of_name.file_name()?.to_str()?)
        };
        let stored = images.ends_with("images") && envelope.extension()? == "json";
        stored.then(|| Self {
            store: Store::at(images.parent().unwrap_or(Path::new(""))),
            name: name.to_owned(),
            fetched,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn every_kind_of_path_is_known() {
        for path in [
            "images/relay.json".to_owned(),
            "images/relay-2_x/1/riscv64.json".to_owned(),
            "images/relay/9007199254740991/x86_64.json".to_owned(),
            "trust/2.json".to_owned(),
            format!("blobs/{HEX}.tar"),
            format!("blobs/{HEX}.tar.gz"),
            format!("blobs/{HEX}.tar.zst"),
            format!("blobs/{HEX}.chunks"),
            format!("blobs/sha256-{HEX}"),
            "blobs/SHA256SUMS".to_owned(),
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
            "/images/relay/0/x86_64.json",
            "/images/relay/01/x86_64.json",
            "/images/relay/1.json",
            "/images/relay/+1/x86_64.json",
            "/images/relay/-1/x86_64.json",
            "/images/relay/1/x86_64.JSON",
            "/images/relay/1/X86_64.json",
            "/images/relay/1/x86-64.json",
            "/images/relay/1/.json",
            "/images/relay/1/x86_64/x86_64.json",
            "/images/relay/9007199254740992/x86_64.json",
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
            format!("/blobs/{}.tar", HEX.to_uppercase()),
            format!("/blobs/{HEX}"),
            format!("/blobs/{HEX}."),
            format!("/blobs/{HEX}.tar.gz.gz"),
            format!("/blobs/{HEX}.tar.xz"),
            format!("/blobs/{HEX}0.tar"),
            format!("/blobs/{HEX}.CHUNKS"),
            format!("/blobs/{HEX}.chunks.gz"),
            format!("/blobs/sha256-{HEX}.tar"),
            format!("/blobs/sha256-{HEX}0"),
            format!("/blobs/sha256-{}", HEX.to_uppercase()),
            format!("/blobs/sha512-{HEX}"),
            format!("/blobs/x/{HEX}.tar"),
            "/blobs/sha256sums".to_owned(),
            format!("/images/{}.json", "a".repeat(65)),
        ] {
            assert_eq!(StorePath::parse(&path), None, "{path:?}");
        }
    }

    #[test]
    fn what_is_no_directory_is_no_store() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        for root in [file, directory.path().join("absent")] {
            let error = Store::open(&root).unwrap_err();
            assert!(matches!(&error, StoreError::NoStore { root: of } if *of == root));
        }
        Store::open(directory.path()).unwrap();
    }

    #[test]
    fn the_store_of_an_envelope_is_found_from_its_place() {
        for (envelope, fetched) in [
            ("/srv/store/images/relay.json", true),
            ("/srv/store/images/relay/42/x86_64.json", false),
        ] {
            let place = Place::of(Path::new(envelope)).expect(envelope);
            assert_eq!(place.fetched, fetched, "{envelope}");
            assert_eq!(place.store.root(), Path::new("/srv/store"), "{envelope}");
            assert_eq!(place.name, "relay", "{envelope}");
        }
        for elsewhere in [
            "/srv/store/relay.json",
            "/srv/store/images/relay",
            "/srv/store/images/a/42.json",
            "/srv/store/images/a/b/x86_64.json",
            "/srv/store/images/a/42/7.json",
            "/srv/store/images",
            "/",
            "",
        ] {
            assert_eq!(Place::of(Path::new(elsewhere)), None, "{elsewhere}");
        }
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
