//! Stores and statements for the tests of this crate. A key is a function of its holder's name, and no clock is read.

use std::fs;

use ed25519_dalek::{Signer as _, SigningKey};
use tempfile::TempDir;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::policy::{AcceptedImage, Signer};
use sealboot_core::trust::{Envelope, PublicKey, TrustPolicy};

use crate::Store;

fn secret(name: &str) -> SigningKey {
    SigningKey::from_bytes(Sha256Digest::of(name.as_bytes()).as_bytes())
}

pub(crate) fn signer(name: &str) -> Signer {
    Signer {
        name: name.parse().unwrap(),
        key: PublicKey::from_bytes(secret(name).verifying_key().as_bytes()).unwrap(),
    }
}

/// All of these must sign, for image `relay` from version 1; version 1.
pub(crate) fn policy(by: &[&str]) -> TrustPolicy {
    let relay = AcceptedImage::new("relay".parse().unwrap(), 1.try_into().unwrap());
    let keys = by.iter().map(|name| signer(name)).collect();
    TrustPolicy::new(keys, by.len(), vec![relay]).unwrap()
}

pub(crate) fn version(number: u64) -> PolicyVersion {
    number.try_into().unwrap()
}

/// An envelope over any payload, signed by each of these.
pub(crate) fn sealed(payload_type: &str, payload: Vec<u8>, by: &[&str]) -> Envelope {
    let mut envelope = Envelope::unsigned(payload_type, payload);
    for name in by {
        let signature = secret(name).sign(&envelope.signed_bytes());
        envelope.add_signature(signer(name).key.id(), signature.to_bytes());
    }
    envelope
}

pub(crate) fn sealed_policy(policy: &TrustPolicy, by: &[&str]) -> Envelope {
    sealed(TrustPolicy::PAYLOAD_TYPE, policy.encode(), by)
}

/// An empty store, which lasts as long as its directory.
pub(crate) fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::at(directory.path());
    for directory in [store.images(), store.policies(), store.blobs()] {
        fs::create_dir(directory).unwrap();
    }
    (directory, store)
}
