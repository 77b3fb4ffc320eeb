//! A store of a test's own, to be served as it is or tampered with.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::{Arch, Manifest};
use sealboot_core::trust::{Channel, Envelope};
use support::world::trust::freshness_of;
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
        let envelope = store.sign(name, version, Timestamp::now(), signers);
        store.show(&envelope, None);
        store
    }

    /// The lab's OS, packed as these arguments of `image pack` say, signed and published.
    pub(crate) fn packed(how: &[&str]) -> Self {
        Self::packed_at(how, Timestamp::now())
    }

    /// The same, as it would have been made then.
    pub(crate) fn packed_at(how: &[&str], created: Timestamp) -> Self {
        let store = Self::empty();
        let (lab, at) = (store.lab, store.directory.path());
        let envelope = lab.pack_as(how, created, at);
        for signer in ["alice", "bob"] {
            lab.sign(lab.directory(), &envelope, signer, at);
        }
        let envelope = Envelope::parse(&fs::read(envelope).unwrap()).unwrap();
        store.show(&envelope, None);
        store
    }

    /// A store of its own with the same in it.
    pub(crate) fn copy_of(other: &Self) -> Self {
        let store = Self::empty();
        copy(&other.path(), &store.path());
        store
    }

    /// Packs the lab's OS as it would have been made at `created`, signed by these.
    pub(crate) fn sign(
        &self,
        name: &str,
        version: u32,
        created: Timestamp,
        signers: &[&str],
    ) -> Envelope {
        let (lab, at) = (self.lab.directory(), self.directory.path());
        let path = self.lab.pack_at(created, lab, at, name, version);
        for signer in signers {
            self.lab.sign(lab, &path, signer, at);
        }
        Envelope::parse(&fs::read(path).unwrap()).unwrap()
    }

    /// Shows this image, and this word on what is newest, as a mirror that checks nothing would.
    pub(crate) fn show(&self, manifest: &Envelope, freshness: Option<Envelope>) {
        self.offer(&[manifest], freshness);
    }

    /// Offers these releases in this order, and shows this statement, as a mirror that checks nothing would.
    pub(crate) fn offer(&self, releases: &[&Envelope], freshness: Option<Envelope>) {
        let channel = Channel::new(releases.iter().copied().cloned(), freshness);
        fs::create_dir_all(self.newest().parent().unwrap()).unwrap();
        fs::write(self.newest(), channel.encode()).unwrap();
    }

    /// Clockwork's statement, made at `created`, that this release is current.
    pub(crate) fn freshness(&self, release: &Envelope, created: Timestamp) -> Envelope {
        self.statement(&[release], &[], created)
    }

    /// Clockwork's statement, made at `created`, that these releases are current and these versions are withdrawn.
    pub(crate) fn statement(
        &self,
        releases: &[&Envelope],
        withdrawn: &[u32],
        created: Timestamp,
    ) -> Envelope {
        let parse = |release: &&Envelope| Manifest::parse(release.unverified_payload()).unwrap();
        let manifests: Vec<Manifest> = releases.iter().map(parse).collect();
        let manifests: Vec<&Manifest> = manifests.iter().collect();
        let created = Timestamp::from_second(created.as_second()).unwrap();
        let withdrawn = withdrawn.iter().map(|version| u64::from(*version));
        let freshness = Freshness {
            expires: created + SignedDuration::from_hours(72),
            withdrawn: withdrawn
                .map(|version| version.try_into().unwrap())
                .collect(),
            ..freshness_of(&manifests, 1, created)
        };
        self.seal(Freshness::PAYLOAD_TYPE, freshness.encode(), &["clockwork"])
    }

    /// Returns the same release for another architecture, signed by alice and bob.
    pub(crate) fn for_arch(&self, release: &Envelope, arch: Arch) -> Envelope {
        let manifest = Manifest::parse(release.unverified_payload()).unwrap();
        let manifest = Manifest { arch, ..manifest };
        self.seal(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice", "bob"])
    }

    fn seal(&self, payload_type: &str, payload: Vec<u8>, signers: &[&str]) -> Envelope {
        let mut envelope = Envelope::unsigned(payload_type, payload);
        for key in signers.iter().map(|name| self.lab.key(name)) {
            let signature = key.sign(&envelope.signed_bytes());
            envelope.add_signature(key.public().id(), signature);
        }
        envelope
    }

    /// Where the test keeps what is not yet in the store.
    pub(crate) fn desk(&self) -> &Path {
        self.directory.path()
    }

    /// The store's root.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// The channel that machines fetch.
    pub(crate) fn newest(&self) -> PathBuf {
        self.path().join(format!("images/{IMAGE}.json"))
    }

    /// The archive of the only image.
    pub(crate) fn archive(&self) -> PathBuf {
        let blobs = fs::read_dir(self.path().join("blobs")).unwrap();
        let mut archives = blobs
            .map(|blob| blob.unwrap().path())
            .filter(|path| path.to_string_lossy().contains(".tar"));
        let archive = archives.next().unwrap();
        assert!(archives.next().is_none(), "one archive");
        archive
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
