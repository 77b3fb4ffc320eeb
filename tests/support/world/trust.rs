//! Policies that follow one another, and statements of what is newest.

use jiff::{SignedDuration, Timestamp};
use sealboot::keys::pem::PrivateKey;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::{CurrentRelease, Freshness, ReleaseType};
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{AcceptedImage, Fields, Group, Roles, Signer};

use super::archives::noon;
use super::{manifest, seal};

/// A signer of a policy.
pub fn signer(name: &str, key: &PrivateKey) -> Signer {
    Signer::new(name.parse().unwrap(), key.public())
}

/// One group: so many of these.
pub fn group(threshold: usize, names: &[&str]) -> Vec<Group> {
    let keys = names.iter().map(|name| name.parse().unwrap()).collect();
    vec![Group { keys, threshold }]
}

/// The first version of a policy, made at noon: so many of these keys sign releases and policies.
pub fn policy_of(
    threshold: usize,
    keys: &[(&str, &PrivateKey)],
    images: Vec<AcceptedImage>,
) -> TrustPolicy {
    let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    let roles = Roles {
        root: group(threshold, &names),
        release: group(threshold, &names),
        freshness: None,
        host_config: None,
    };
    let signers = keys.iter().map(|(name, key)| signer(name, key)).collect();
    Fields::new(noon(), signers, roles, images)
        .try_into()
        .unwrap()
}

/// The same policy as another version.
pub fn versioned(policy: &TrustPolicy, version: u64) -> TrustPolicy {
    let changed = policy.with(|fields| fields.version = version.try_into().unwrap());
    changed.unwrap()
}

/// Another version of the policy, over other keys for releases and policies.
pub fn handed_to(
    policy: &TrustPolicy,
    version: u64,
    threshold: usize,
    keys: &[(&str, &PrivateKey)],
) -> TrustPolicy {
    let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    let changed = versioned(policy, version).with(|fields| {
        let is_people = |role: &[Group], signer: &Signer| {
            role.iter().any(|group| group.keys.contains(&signer.name))
        };
        let (root, release) = (fields.roles.root.clone(), fields.roles.release.clone());
        fields
            .keys
            .retain(|signer| !is_people(&root, signer) && !is_people(&release, signer));
        let people = keys.iter().map(|(name, key)| signer(name, key));
        fields.keys.splice(0..0, people);
        fields.roles.root = group(threshold, &names);
        fields.roles.release = group(threshold, &names);
    });
    changed.unwrap()
}

/// Adds a key to the table, or replaces the one of this name.
fn put_key(fields: &mut Fields, name: &str, key: &PrivateKey) {
    let added = signer(name, key);
    fields.keys.retain(|signer| signer.name != added.name);
    fields.keys.push(added);
}

/// Version `version` of a policy: both keys must sign, for image `relay` from version 41.
pub fn two_of(version: u64, keys: [(&str, &PrivateKey); 2]) -> TrustPolicy {
    let image = AcceptedImage::new("relay".parse().unwrap(), 41.try_into().unwrap());
    versioned(&policy_of(2, &keys, vec![image]), version)
}

/// The same policy with a role for freshness, for at most three days.
pub fn renewed_by(policy: TrustPolicy, key: &PrivateKey, required: bool) -> TrustPolicy {
    let changed = policy.with(|fields| {
        put_key(fields, "clockwork", key);
        fields.roles.freshness = Some(group(1, &["clockwork"]));
        fields.freshness.required = required;
    });
    changed.unwrap()
}

/// The envelope of a policy, signed by each of `keys`.
pub fn seal_policy(policy: &TrustPolicy, keys: &[&PrivateKey]) -> Vec<u8> {
    seal(
        TrustPolicy::PAYLOAD_TYPE,
        policy.encode(),
        keys.iter().copied(),
    )
}

/// A statement that [`manifest`] of `relay` in this version is current, made at `created` for a day.
pub fn freshness(version: u64, trust: u64, created: Timestamp) -> Freshness {
    freshness_of(&[&manifest(version)], trust, created)
}

/// A statement that these releases, one at least and versions falling, are current, made at `created` for a day.
pub fn freshness_of(manifests: &[&Manifest], trust: u64, created: Timestamp) -> Freshness {
    Freshness {
        name: manifests[0].name.clone(),
        trust: trust.try_into().unwrap(),
        created,
        expires: created + SignedDuration::from_hours(24),
        releases: manifests.iter().map(|manifest| current(manifest)).collect(),
        withdrawn: Vec::new(),
    }
}

/// What a freshness statement says of a release.
pub fn current(manifest: &Manifest) -> CurrentRelease {
    CurrentRelease {
        version: manifest.version,
        arch: manifest.arch.clone(),
        payload_type: ReleaseType::known(),
        sha256: Sha256Digest::of(&manifest.encode()),
        until: None,
    }
}

/// The envelope of a freshness statement.
pub fn seal_freshness(freshness: &Freshness, key: &PrivateKey) -> Vec<u8> {
    seal(Freshness::PAYLOAD_TYPE, freshness.encode(), [key])
}

/// The same policy with a role for host configs, which this key alone has.
pub fn configured_by(policy: TrustPolicy, key: &PrivateKey, required: bool) -> TrustPolicy {
    let changed = policy.with(|fields| {
        put_key(fields, "installer", key);
        fields.roles.host_config = Some(group(1, &["installer"]));
        fields.host_config.required = required;
    });
    changed.unwrap()
}

/// The envelope of a host config.
pub fn seal_host_config(json: Vec<u8>, key: &PrivateKey) -> Vec<u8> {
    seal(HostConfig::PAYLOAD_TYPE, json, [key])
}
