//! A store of a test's own, to be served as it is or tampered with.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::lab::{IMAGE, Lab};

/// A copy of the lab's store, with one published image.
#[derive(Debug)]
pub(crate) struct Store {
    lab: &'static Lab,
    directory: TempDir,
}

impl Store {
    /// A store with the lab's image.
    pub(crate) fn published() -> Self {
        let store = Self::empty();
        copy(&store.lab.path("store"), &store.path());
        store
    }

    /// A store without any image.
    pub(crate) fn empty() -> Self {
        let store = Self {
            lab: Lab::get(),
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(store.path()).unwrap();
        store
    }

    /// Packs the lab's OS under this name and version, signed by these, and serves it as the lab's
    /// image, as a mirror that checks nothing would.
    pub(crate) fn serving(name: &str, version: u32, signers: &[&str]) -> Self {
        let store = Self::empty();
        let (lab, at) = (store.lab.directory(), store.directory.path());
        let envelope = store.lab.pack(lab, at, name, version);
        for signer in signers {
            store.lab.sign(lab, &envelope, signer, at);
        }
        let newest = store.newest();
        fs::create_dir_all(newest.parent().unwrap()).unwrap();
        fs::copy(envelope, newest).unwrap();
        store
    }

    /// The store's root.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// The envelope that machines fetch.
    pub(crate) fn newest(&self) -> PathBuf {
        self.path().join(format!("images/{IMAGE}.json"))
    }

    /// The archive of the only image.
    pub(crate) fn archive(&self) -> PathBuf {
        let mut blobs = fs::read_dir(self.path().join("blobs")).unwrap();
        let blob = blobs.next().unwrap().unwrap().path();
        assert!(blobs.next().is_none(), "one archive");
        blob
    }

    /// Changes one bit of the archive, at this offset.
    pub(crate) fn flip(&self, offset: impl FnOnce(usize) -> usize) {
        let path = self.archive();
        let mut bytes = fs::read(&path).unwrap();
        let at = offset(bytes.len());
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
