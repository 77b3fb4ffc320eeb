//! Stores and statements for the tests of this crate. A key is a function of its holder's name, and no clock is read.

use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use jiff::{SignedDuration, Timestamp};
use support::world;
use tempfile::TempDir;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::{CurrentRelease, Freshness, ReleaseType};
use sealboot_core::format::manifest::{ImageName, Manifest};
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::policy::{AcceptedImage, Fields, Group, Roles, Signer};
use sealboot_core::trust::{Channel, Envelope, PublicKey, TrustPolicy};

use crate::Store;
use crate::signer::{self, SignError};

/// A key in memory.
#[derive(Debug)]
pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn of(name: &str) -> Self {
        Self(SigningKey::from_bytes(
            Sha256Digest::of(name.as_bytes()).as_bytes(),
        ))
    }
}

impl signer::Signer for Key {
    fn public(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.verifying_key().as_bytes()).unwrap()
    }

    fn sign(&mut self, bytes: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.0.sign(bytes).to_bytes())
    }
}

pub(crate) fn signer(name: &str) -> Signer {
    Signer::new(
        name.parse().unwrap(),
        signer::Signer::public(&Key::of(name)),
    )
}

fn group(threshold: usize, names: &[&str]) -> Vec<Group> {
    vec![Group {
        keys: names.iter().map(|name| name.parse().unwrap()).collect(),
        threshold,
    }]
}

/// All of these must sign, for image `relay` from version 1; version 1.
pub(crate) fn policy(by: &[&str]) -> TrustPolicy {
    let relay = AcceptedImage::new(image(), 1.try_into().unwrap());
    let keys = by.iter().map(|name| signer(name)).collect();
    let roles = Roles {
        root: group(by.len(), by),
        release: group(by.len(), by),
        freshness: None,
        host_config: None,
    };
    Fields::new(made(), keys, roles, vec![relay])
        .try_into()
        .unwrap()
}

/// The same, which requires a statement by `clockwork`, for at most three days.
pub(crate) fn fresh(policy: TrustPolicy) -> TrustPolicy {
    let changed = policy.with(|fields| {
        fields.keys.push(signer("clockwork"));
        fields.roles.freshness = Some(group(1, &["clockwork"]));
        fields.freshness.required = true;
    });
    changed.unwrap()
}

/// Another version of it.
pub(crate) fn versioned(policy: &TrustPolicy, number: u64) -> TrustPolicy {
    let changed = policy.with(|fields| fields.version = version(number));
    changed.unwrap()
}

pub(crate) fn version(number: u64) -> PolicyVersion {
    number.try_into().unwrap()
}

pub(crate) fn image() -> ImageName {
    "relay".parse().unwrap()
}

/// The time of every test, at which its statements were made.
pub(crate) fn made() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

/// An envelope over any payload, signed by each of these.
pub(crate) fn sealed(payload_type: &str, payload: Vec<u8>, by: &[&str]) -> Envelope {
    let mut envelope = Envelope::unsigned(payload_type, payload);
    for name in by {
        let signature = Key::of(name).0.sign(&envelope.signed_bytes());
        let key = signer::Signer::public(&Key::of(name));
        envelope.add_signature(key.id(), signature.to_bytes());
    }
    envelope
}

pub(crate) fn sealed_policy(policy: &TrustPolicy, by: &[&str]) -> Envelope {
    sealed(TrustPolicy::PAYLOAD_TYPE, policy.encode(), by)
}

pub(crate) fn sealed_manifest(version: u64, by: &[&str]) -> Envelope {
    let manifest = world::manifest(version);
    sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), by)
}

/// A statement that `relay` is in this version, and the policy in that, which counts for a day.
pub(crate) fn sealed_freshness((version, trust): (u64, u64), by: &[&str]) -> Envelope {
    let manifest = world::manifest(version);
    let freshness = Freshness {
        name: image(),
        trust: trust.try_into().unwrap(),
        created: made(),
        expires: made() + SignedDuration::from_hours(24),
        releases: vec![CurrentRelease {
            version: manifest.version,
            arch: manifest.arch.clone(),
            payload_type: ReleaseType::known(),
            sha256: Sha256Digest::of(&manifest.encode()),
            until: None,
        }],
        withdrawn: Vec::new(),
    };
    sealed(Freshness::PAYLOAD_TYPE, freshness.encode(), by)
}

/// An empty store, which lasts as long as its directory.
pub(crate) fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::at(directory.path());
    for directory in [store.versions(&image()), store.policies(), store.blobs()] {
        fs::create_dir_all(directory).unwrap();
    }
    (directory, store)
}

/// Writes a release and a channel that offers it, checking nothing.
pub(crate) fn publish_by_hand(
    store: &Store,
    version: u64,
    by: &[&str],
    freshness: Option<Envelope>,
) {
    release_file(store, version, by);
    let channel = Channel::new([sealed_manifest(version, by)], freshness);
    fs::write(store.channel(&image()), channel.encode()).unwrap();
}

/// Puts an archive and the envelope of a version into a store, as `image pack` and `image sign` do.
pub(crate) fn release_file(store: &Store, version: u64, by: &[&str]) -> PathBuf {
    let archive = world::manifest(version).archive;
    world::put_archive(store.root(), &archive, &world::tar(&world::files()));
    let arch = &world::manifest(version).arch;
    let path = store.version(&image(), version.try_into().unwrap(), arch);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(&path, &sealed_manifest(version, by))
}

/// Writes an envelope into a file.
pub(crate) fn write(path: &Path, envelope: &Envelope) -> PathBuf {
    fs::write(path, envelope.encode()).unwrap();
    path.to_owned()
}
