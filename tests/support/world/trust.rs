//! Policies that follow one another, and statements of what is newest.

use jiff::{SignedDuration, Timestamp};
use sealboot::keys::pem::PrivateKey;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{AcceptedImage, FreshnessRule, HostConfigRule, Signer};

use super::seal;

/// A signer of a policy.
pub fn signer(name: &str, key: &PrivateKey) -> Signer {
    Signer {
        name: name.parse().unwrap(),
        key: key.public(),
    }
}

/// Version `version` of a policy: both keys must sign, for image `relay` from version 41.
pub fn two_of(version: u64, keys: [(&str, &PrivateKey); 2]) -> TrustPolicy {
    let signers = keys.iter().map(|(name, key)| signer(name, key)).collect();
    let image = AcceptedImage::new("relay".parse().unwrap(), 41.try_into().unwrap());
    TrustPolicy::new(signers, 2, vec![image])
        .unwrap()
        .with_version(version.try_into().unwrap())
}

/// The same policy with a role for freshness, for at most three days.
pub fn renewed_by(policy: TrustPolicy, key: &PrivateKey, required: bool) -> TrustPolicy {
    let rule = FreshnessRule {
        keys: vec![signer("clockwork", key)],
        threshold: 1,
        required,
        max_hours: 72,
    };
    policy.with_freshness(Some(rule)).unwrap()
}

/// The envelope of a policy, signed by each of `keys`.
pub fn seal_policy(policy: &TrustPolicy, keys: &[&PrivateKey]) -> Vec<u8> {
    seal(
        TrustPolicy::PAYLOAD_TYPE,
        policy.encode(),
        keys.iter().copied(),
    )
}

/// A statement of `relay`, made at `created` for a day.
pub fn freshness(version: u64, trust: u64, created: Timestamp) -> Freshness {
    Freshness {
        name: "relay".parse().unwrap(),
        version: version.try_into().unwrap(),
        trust: trust.try_into().unwrap(),
        created,
        expires: created + SignedDuration::from_hours(24),
    }
}

/// The envelope of a freshness statement.
pub fn seal_freshness(freshness: &Freshness, key: &PrivateKey) -> Vec<u8> {
    seal(Freshness::PAYLOAD_TYPE, freshness.encode(), [key])
}

/// The same policy with a role for host configs, which this key alone has.
pub fn configured_by(policy: TrustPolicy, key: &PrivateKey, required: bool) -> TrustPolicy {
    let rule = HostConfigRule {
        keys: vec![signer("installer", key)],
        threshold: 1,
        required,
    };
    policy.with_host_config(Some(rule)).unwrap()
}

/// The envelope of a host config.
pub fn seal_host_config(json: Vec<u8>, key: &PrivateKey) -> Vec<u8> {
    seal(HostConfig::PAYLOAD_TYPE, json, [key])
}
