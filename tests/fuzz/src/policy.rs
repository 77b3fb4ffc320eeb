//! The trust policy: the one that is baked in, and the one that a mirror shows as its successor.
//! `JSON`, and behind a NUL, where there is one, a byte of [`bits`].
//!
//! | property | because |
//! |---|---|
//! | what is accepted reads back as it was encoded | tools and loaders see the same |
//! | keys are distinct, each role has groups that can be met, and no key of freshness or host configs has another role | a key counts once |
//! | a successor is accepted exactly where it is the next version, signed by every group of the old root and of its own | a chain must not be walked by one half |
//! | a refused successor leaves the walk where it was | the loader trusts what it trusted |

use std::collections::BTreeSet;

use sealboot_core::format::limits::LIMITS;
use sealboot_core::trust::policy::{Group, SignerName};
use sealboot_core::trust::{Chain, Refusal, TrustPolicy};
use sealboot_init::fetch::Patience;

use super::Verdict;
use super::input::Input;
use super::signed::{ALICE, BOB, CAROL, POLICY, seal};
use super::spoken;

/// Who does not sign, and what.
mod bits {
    pub(super) const NOT_ALICE: u8 = 0x01;
    pub(super) const NOT_BOB: u8 = 0x02;
    pub(super) const NOT_CAROL: u8 = 0x04;
    /// What is signed is the input as it is, and not as we would have written it.
    pub(super) const AS_IT_IS: u8 = 0x08;
}

/// The policy, and who does not sign it.
pub fn run(bytes: &[u8]) -> Verdict {
    let mut input = Input::new(bytes);
    let json = input.text();
    let absent = input.byte();
    let policy = match TrustPolicy::parse(json) {
        Ok(policy) => policy,
        Err(error) => {
            spoken::is_safe_to_print(&Refusal::Policy(error));
            return Verdict::Refused;
        }
    };
    is_sound(&policy);
    let written = policy.encode();
    // A policy may grow by being written out in full, and then be too long to be read.
    let readable = u64::try_from(written.len()).is_ok_and(|len| len <= LIMITS.policy_bytes);
    if readable {
        let again = TrustPolicy::parse(&written).expect("our own");
        assert_eq!(again, policy);
    }
    if absent & bits::AS_IT_IS == 0 && readable {
        follows(&written, absent, &policy);
    } else {
        follows(json, absent, &policy);
    }
    Verdict::Taken
}

fn is_sound(policy: &TrustPolicy) {
    let fields = policy.fields();
    assert!((1..=LIMITS.number_max).contains(&policy.version().as_u64()));
    assert!((1..=LIMITS.policy_keys).contains(&policy.keys().len()));
    let names: BTreeSet<&str> = policy
        .keys()
        .iter()
        .map(|signer| signer.name.as_str())
        .collect();
    let keys: BTreeSet<String> = policy
        .keys()
        .iter()
        .map(|signer| signer.key.to_string())
        .collect();
    assert_eq!(
        (names.len(), keys.len()),
        (policy.keys().len(), policy.keys().len())
    );
    let images = policy.images();
    let releases = images.iter().filter_map(|image| image.release.as_ref());
    let freshness = images.iter().filter_map(|image| image.freshness.as_ref());
    let roles = &fields.roles;
    let people: Vec<&Vec<Group>> = [&roles.root, &roles.release]
        .into_iter()
        .chain(releases)
        .collect();
    let renewing: Vec<&Vec<Group>> = roles.freshness.iter().chain(freshness).collect();
    let installing: Vec<&Vec<Group>> = roles.host_config.iter().collect();
    for role in people.iter().chain(&renewing).chain(&installing) {
        role_is_sound(role, &names);
    }
    let of = |roles: &[&Vec<Group>]| -> BTreeSet<String> {
        let groups = roles.iter().flat_map(|role| role.iter());
        groups
            .flat_map(|group| group.keys.iter().map(ToString::to_string))
            .collect()
    };
    let (people, renewing, installing) = (of(&people), of(&renewing), of(&installing));
    assert!(people.is_disjoint(&renewing), "a key in two roles");
    assert!(people.is_disjoint(&installing), "a key in two roles");
    assert!(renewing.is_disjoint(&installing), "a key in two roles");
    assert!((1..=LIMITS.policy_images).contains(&images.len()));
    for (at, image) in images.iter().enumerate() {
        assert!(
            images[..at]
                .iter()
                .all(|earlier| earlier.name != image.name)
        );
        assert!(image.denied_versions.len() <= LIMITS.policy_denied_versions);
    }
    assert!(fields.denied_digests.len() <= LIMITS.policy_denied_digests);
    assert!((1..=8760).contains(&fields.freshness.max_hours));
    let waits = policy.on_failure();
    assert!(waits.retry_initial_seconds >= 1);
    assert!(waits.retry_initial_seconds <= waits.retry_max_seconds);
    // A mirror's longest rest is not a hang.
    assert!(u64::from(waits.stall_seconds) > Patience::DEFAULT.longest_retry_after.as_secs());
    assert!(policy.clock_tolerance().as_secs() <= 24 * 3600);
}

fn role_is_sound(groups: &[Group], names: &BTreeSet<&str>) {
    assert!((1..=LIMITS.policy_groups).contains(&groups.len()));
    let mut seen = BTreeSet::new();
    for group in groups {
        assert!((1..=group.keys.len()).contains(&group.threshold));
        for name in &group.keys {
            assert!(seen.insert(name.as_str()), "{name} twice in a role");
            assert!(names.contains(name.as_str()), "{name} is not in the table");
        }
    }
}

/// Shows `payload`, which is `policy`, as the successor of [`POLICY`].
fn follows(payload: &[u8], absent: u8, policy: &TrustPolicy) {
    let signers: Vec<_> = [
        (&*ALICE, bits::NOT_ALICE),
        (&*BOB, bits::NOT_BOB),
        (&*CAROL, bits::NOT_CAROL),
    ]
    .into_iter()
    .filter(|(_, bit)| absent & bit == 0)
    .map(|(key, _)| key)
    .collect();
    let has_signed = |policy: &TrustPolicy, name: &SignerName| {
        let mut table = policy.keys().iter();
        let key = table.find(|signer| signer.name == *name);
        let key = key.and_then(|signer| signer.key.known());
        signers.iter().any(|signer| Some(&signer.public) == key)
    };
    let signed = |policy: &TrustPolicy| {
        policy.fields().roles.root.iter().all(|group| {
            let by = group.keys.iter().filter(|name| has_signed(policy, name));
            by.count() >= group.threshold
        })
    };
    let is_next = policy.version().as_u64() == POLICY.version().as_u64() + 1;
    let good = signed(&POLICY) && signed(policy) && is_next;
    let envelope = seal(TrustPolicy::PAYLOAD_TYPE, payload, &signers).encode();
    let mut chain = Chain::from(POLICY.clone());
    match chain.step(&envelope) {
        Ok(()) => {
            assert!(good, "{:?}", chain.newest());
            assert_eq!(chain.newest(), policy);
            // The same step again fails: versions only grow.
            assert!(chain.step(&envelope).is_err());
        }
        Err(refusal) => {
            assert!(!good, "{refusal:?}");
            assert_eq!(*chain.newest(), *POLICY);
            spoken::is_safe_to_print(&refusal);
        }
    }
}
