//! An unpacked kernel in the cache: a directory `root`, and beside it a manifest of all that it was made of.
//!
//! Nothing of an entry is used before all of it was compared with its manifest. Damage to the manifest itself reads as
//! damage to what it names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use sealboot_core::format::digest::Sha256Digest;

/// What an entry consists of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The packages that were unpacked.
    pub(super) packages: Vec<Sha256Digest>,
    /// Each file below `root`, and each symbolic link, by the digest of where it leads.
    files: BTreeMap<PathBuf, Sha256Digest>,
}

/// A place for an unpacked kernel.
#[derive(Debug)]
pub(super) struct Entry {
    directory: PathBuf,
}

impl Entry {
    pub(super) fn at(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// Where the packages are unpacked.
    pub(super) fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// Reads the manifest; none where it is absent or damaged.
    pub(super) fn manifest(&self) -> Option<Manifest> {
        serde_json::from_slice(&fs::read(self.manifest_path()).ok()?).ok()
    }

    /// Returns `true` if everything in it is as it was when it was sealed.
    pub(super) fn is_whole(&self) -> bool {
        let found = digests(&self.root());
        self.manifest()
            .is_some_and(|manifest| found.is_ok_and(|found| found == manifest.files))
    }

    /// Writes the manifest of what is in it now.
    pub(super) fn seal(&self, packages: Vec<Sha256Digest>) -> io::Result<()> {
        let files = digests(&self.root())?;
        let manifest = serde_json::to_vec_pretty(&Manifest { packages, files })?;
        fs::write(self.manifest_path(), manifest)
    }

    /// Moves it to `place`; what is there, if anything, moves to `out`.
    pub(super) fn replace(self, place: &Path, out: &Path) -> io::Result<()> {
        match fs::rename(place, out) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(self.directory, place)
    }

    fn manifest_path(&self) -> PathBuf {
        self.directory.join("manifest.json")
    }
}

/// Returns the digests of all files below `root`, by their paths in it.
fn digests(root: &Path) -> io::Result<BTreeMap<PathBuf, Sha256Digest>> {
    let mut digests = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, directory.join(entry.file_name()));
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path())?;
                digests.insert(path, Sha256Digest::of(target.as_os_str().as_bytes()));
            } else {
                digests.insert(path, Sha256Digest::of_rest(File::open(entry.path())?)?);
            }
        }
    }
    Ok(digests)
}
