//! Signers and statements for the tests of this module. A key is a function of its holder's name, and no
//! clock is asked, so everything is what it is.

use ed25519_dalek::{Signer as _, SigningKey};
use jiff::{SignedDuration, Timestamp};

use super::channel::Channel;
use super::envelope::Envelope;
use super::policy::{AcceptedImage, Fields, Group, Roles, Signer, SignerName, TrustPolicy};
use super::statement::Statement;
use crate::format::digest::Sha256Digest;
use crate::format::freshness::{CurrentRelease, Freshness, ReleaseType};
use crate::format::key::PublicKey;
use crate::format::manifest::Manifest;

fn secret(name: &str) -> SigningKey {
    SigningKey::from_bytes(Sha256Digest::of(name.as_bytes()).as_bytes())
}

pub(super) fn signer(name: &str) -> Signer {
    let key = PublicKey::from_bytes(secret(name).verifying_key().as_bytes()).unwrap();
    Signer::new(name.parse().unwrap(), key)
}

pub(super) fn key(name: &str) -> PublicKey {
    *signer(name).key.known().unwrap()
}

pub(super) fn names(names: &[&str]) -> Vec<SignerName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// So many of these.
pub(super) fn group(threshold: usize, of: &[&str]) -> Group {
    Group {
        keys: names(of),
        threshold,
    }
}

pub(super) fn signers(names: &[&str]) -> Vec<Signer> {
    names.iter().map(|name| signer(name)).collect()
}

/// An envelope over any payload, signed by each of these.
pub(super) fn sealed(payload_type: &str, payload: Vec<u8>, by: &[&str]) -> Envelope {
    let mut envelope = Envelope::unsigned(payload_type, payload);
    for name in by {
        let signature = secret(name).sign(&envelope.signed_bytes());
        envelope.add_signature(key(name).id(), signature.to_bytes());
    }
    envelope
}

/// All of these must sign, images and policies alike, for image `relay` from version 41; version 1.
pub(super) fn policy(by: &[&str]) -> TrustPolicy {
    let relay = AcceptedImage::new("relay".parse().unwrap(), 41.try_into().unwrap());
    let all = vec![group(by.len(), by)];
    let roles = Roles {
        root: all.clone(),
        release: all,
        freshness: None,
        host_config: None,
    };
    Fields::new(made(), signers(by), roles, vec![relay])
        .try_into()
        .unwrap()
}

/// The same with `clockwork` for freshness, for at most three days.
pub(super) fn renewed(policy: TrustPolicy, required: bool) -> TrustPolicy {
    let renewed = policy.with(|fields| {
        fields.keys.push(signer("clockwork"));
        fields.roles.freshness = Some(vec![group(1, &["clockwork"])]);
        fields.freshness.required = required;
    });
    renewed.unwrap()
}

/// The same with `carol` for host configs.
pub(super) fn configured(policy: TrustPolicy, required: bool) -> TrustPolicy {
    let configured = policy.with(|fields| {
        fields.keys.push(signer("carol"));
        fields.roles.host_config = Some(vec![group(1, &["carol"])]);
        fields.host_config.required = required;
    });
    configured.unwrap()
}

/// Another version of it.
pub(super) fn versioned(policy: TrustPolicy, version: u64) -> TrustPolicy {
    let versioned = policy.with(|fields| fields.version = version.try_into().unwrap());
    versioned.unwrap()
}

pub(super) fn sealed_policy(policy: &TrustPolicy, by: &[&str]) -> Envelope {
    sealed(Statement::Policy.payload_type(), policy.encode(), by)
}

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// When every statement here was made.
pub(super) fn made() -> Timestamp {
    time("2026-01-01T12:00:00Z")
}

pub(super) fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

/// `relay` for x86_64 in this version, without an expiry.
pub(super) fn manifest(version: u64) -> Manifest {
    let json = concat!(
        r#"{"name":"relay","version":42,"label":"l","arch":"x86_64","created":"2026-01-01T12:00:00Z","#,
        r#""cmdline":"","archive":{"#,
        r#""encoding":"none","size":3072,"#,
        r#""chunk_size":65536,"chunks_sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
        r#""files":[{"path":"boot/vmlinuz","size":1,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
        r#"{"path":"boot/initrd","size":2,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}"#,
    );
    let mut manifest = Manifest::parse(json.as_bytes()).unwrap();
    manifest.version = version.try_into().unwrap();
    manifest
}

pub(super) fn sealed_manifest(manifest: &Manifest, by: &[&str]) -> Envelope {
    sealed(Statement::Manifest.payload_type(), manifest.encode(), by)
}

/// That `relay` is current in this version, and the policy in that, said for a day.
pub(super) fn freshness(version: u64, trust: u64) -> Freshness {
    freshness_of(&[&manifest(version)], trust)
}

/// That these are the current releases of `relay`, said for a day.
pub(super) fn freshness_of(manifests: &[&Manifest], trust: u64) -> Freshness {
    Freshness {
        name: "relay".parse().unwrap(),
        trust: trust.try_into().unwrap(),
        created: made(),
        expires: made() + SignedDuration::from_hours(24),
        releases: manifests.iter().map(|manifest| listed(manifest)).collect(),
        withdrawn: Vec::new(),
    }
}

/// What a freshness statement says of a release.
pub(super) fn listed(manifest: &Manifest) -> CurrentRelease {
    CurrentRelease {
        version: manifest.version,
        arch: manifest.arch.clone(),
        payload_type: ReleaseType::known(),
        sha256: Sha256Digest::of(&manifest.encode()),
        until: None,
    }
}

pub(super) fn sealed_freshness(freshness: &Freshness, by: &[&str]) -> Envelope {
    sealed(Statement::Freshness.payload_type(), freshness.encode(), by)
}

pub(super) fn channel(manifest: Envelope, freshness: Option<Envelope>) -> Vec<u8> {
    Channel::new([manifest], freshness).encode()
}
