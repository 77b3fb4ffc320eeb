//! The trust policy: the one that is baked in, and the one that a mirror shows as its successor.
//! `JSON`, and behind a NUL, where there is one, a byte of [`bits`].
//!
//! | property | because |
//! |---|---|
//! | what is taken is written and read again as itself, signed too | a statement has one spelling |
//! | keys are distinct in each role and over all, and a threshold can be met | a key counts once |
//! | a successor is taken exactly where it is the next version, signed by the threshold of the old and by its own | a chain must not be walked by one half |
//! | a refused successor leaves the walk where it stood | it trusts what it trusted |

use sealboot_core::format::limits::LIMITS;
use sealboot_core::trust::policy::Signer;
use sealboot_core::trust::{Chain, PolicyError, TrustPolicy};
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
            assert!(TrustPolicy::parse_signed(json).is_err());
            spoken::is_safe_to_print(&error);
            return Verdict::Refused;
        }
    };
    is_sound(&policy);
    let written = policy.encode();
    match TrustPolicy::parse_signed(json) {
        Ok(signed) => assert!(signed == policy && written == json),
        Err(PolicyError::Spelling) => assert_ne!(written, json),
        Err(error) => panic!("it was read before: {error:?}"),
    }
    // A policy may grow by being written out in full, and then be too long to be read.
    let readable = u64::try_from(written.len()).is_ok_and(|len| len <= LIMITS.policy_bytes);
    if readable {
        let again = TrustPolicy::parse_signed(&written).expect("our own spelling");
        assert_eq!(again, policy);
    }
    if absent & bits::AS_IT_IS == 0 && readable {
        follows(&written, absent, Some(&policy));
    } else {
        follows(json, absent, (written == json).then_some(&policy));
    }
    Verdict::Taken
}

fn is_sound(policy: &TrustPolicy) {
    assert!((1..=LIMITS.number_max).contains(&policy.version().as_u64()));
    role_is_sound(policy.keys(), policy.threshold());
    if let Some(rule) = policy.freshness() {
        role_is_sound(&rule.keys, rule.threshold);
        let both = |signer: &Signer| policy.keys().iter().any(|other| other.key == signer.key);
        assert!(!rule.keys.iter().any(both), "a key in two roles");
        assert!((1..=8760).contains(&rule.max_hours));
    }
    if let Some(rule) = policy.host_config() {
        role_is_sound(&rule.keys, rule.threshold);
        let renewing = policy.freshness().map_or(&[][..], |rule| &rule.keys);
        let mut others = policy.keys().iter().chain(renewing);
        let both = |other: &Signer| rule.keys.iter().any(|signer| signer.key == other.key);
        assert!(!others.any(both), "a key in two roles");
    }
    let images = policy.images();
    assert!((1..=LIMITS.policy_images).contains(&images.len()));
    for (at, image) in images.iter().enumerate() {
        assert!(
            images[..at]
                .iter()
                .all(|earlier| earlier.name != image.name)
        );
        assert!(image.denied_versions.len() <= LIMITS.policy_denied);
    }
    assert!(policy.denied_digests().len() <= LIMITS.policy_denied);
    let waits = policy.on_failure();
    assert!(
        waits.first_wait_seconds >= 1 && waits.first_wait_seconds <= waits.longest_wait_seconds
    );
    // A mirror's longest rest is no hang.
    assert!(u64::from(waits.stall_seconds) > Patience::DEFAULT.longest_retry_after.as_secs());
    assert!(policy.clock_tolerance().as_secs() <= 24 * 3600);
}

fn role_is_sound(keys: &[Signer], threshold: usize) {
    assert!(keys.len() <= LIMITS.policy_keys);
    assert!((1..=keys.len()).contains(&threshold));
    for (at, signer) in keys.iter().enumerate() {
        let repeated = |earlier: &Signer| earlier.key == signer.key || earlier.name == signer.name;
        assert!(!keys[..at].iter().any(repeated), "{signer:?}");
    }
}

/// Shows `payload` as the successor of [`POLICY`]; `policy` is what it says, where it says it in our spelling.
fn follows(payload: &[u8], absent: u8, policy: Option<&TrustPolicy>) {
    let signers: Vec<_> = [
        (&*ALICE, bits::NOT_ALICE),
        (&*BOB, bits::NOT_BOB),
        (&*CAROL, bits::NOT_CAROL),
    ]
    .into_iter()
    .filter(|(_, bit)| absent & bit == 0)
    .map(|(key, _)| key)
    .collect();
    let signed = |policy: &TrustPolicy| {
        let by = |signer: &&Signer| signers.iter().any(|key| key.public == signer.key);
        policy.keys().iter().filter(by).count() >= policy.threshold()
    };
    let good = signed(&POLICY)
        && policy.is_some_and(|policy| {
            signed(policy) && policy.version().as_u64() == POLICY.version().as_u64() + 1
        });
    let envelope = seal(TrustPolicy::PAYLOAD_TYPE, payload, &signers).encode();
    let mut chain = Chain::from(POLICY.clone());
    match chain.step(&envelope) {
        Ok(()) => {
            assert!(good, "{:?}", chain.newest());
            assert_eq!(Some(chain.newest()), policy);
            // The same step again is none: versions only grow.
            assert!(chain.step(&envelope).is_err());
        }
        Err(refusal) => {
            assert!(!good, "{refusal:?}");
            assert_eq!(*chain.newest(), *POLICY);
            spoken::is_safe_to_print(&refusal);
        }
    }
}
