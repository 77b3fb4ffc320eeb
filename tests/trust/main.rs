//! What the trust types say of what they accept and refuse, and where their borders lie in time.
//!
//! Attacks have their home in `tests/vectors`: a file, a verdict. Here is what files do not show: who is
//! named in a refusal, that a walk keeps what it has proved, tables of times, and that the order of
//! signatures and every single byte of them is judged as it should be.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sealboot::keys::pem::PrivateKey;
use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, ImageName, Manifest};
use sealboot_core::format::payload::PayloadError;
use sealboot_core::trust::policy::{AcceptedImage, SignerName};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{
    Chain, Channel, Current, Envelope, EnvelopeError, IgnoredSignature, Refusal, Statement,
    TrustPolicy, Verified,
};
use support::world::trust::{policy_of, renewed_by, versioned};
use support::world::{
    self, alice, bob, carol, mallory, manifest, policy, seal, seal_manifest, strict_policy,
};

const NOW: &str = "2026-01-15T00:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// What a loader on x86_64 that boots `relay` says at `now`.
fn judge_at(
    now: &str,
    policy: &TrustPolicy,
    envelope: &[u8],
) -> Result<Verified<Manifest>, Refusal> {
    let relay = "relay".parse().expect("a name");
    let expected = Expected {
        name: &relay,
        arch: Some(Arch::X86_64),
        now: time(now).into(),
    };
    policy.verify_manifest(envelope, &expected)
}

fn judge(policy: &TrustPolicy, envelope: &[u8]) -> Result<Verified<Manifest>, Refusal> {
    judge_at(NOW, policy, envelope)
}

fn changed(change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let mut manifest = manifest(42);
    change(&mut manifest);
    seal_manifest(&manifest, &[alice(), bob()])
}

fn names<T>(verified: &Verified<T>) -> Vec<&str> {
    let signers = verified.signers().iter();
    signers.map(|name| name.as_str()).collect()
}

fn signers(names: &[&str]) -> Vec<SignerName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn relay() -> ImageName {
    "relay".parse().unwrap()
}

#[test]
fn signers_are_named_in_the_order_of_the_policy() {
    let envelope = seal_manifest(&manifest(42), &[mallory(), carol(), alice()]);
    let verified = judge(&policy(), &envelope).expect("accepted");
    assert_eq!(verified.as_ref(), &manifest(42));
    assert_eq!(names(&verified), ["alice", "carol"]);
    assert_eq!(
        *verified.payload_sha256(),
        Sha256Digest::of(&manifest(42).encode())
    );
}

#[test]
fn without_an_expected_arch_every_one_will_do() {
    let envelope = changed(|manifest| {
        manifest.name = "exit".parse().expect("a name");
        manifest.arch = Arch::Aarch64;
    });
    let named = |name: &str, envelope: &[u8]| {
        let expected = Expected {
            name: &name.parse().unwrap(),
            arch: None,
            now: time(NOW).into(),
        };
        policy().verify_manifest(envelope, &expected)
    };
    named("exit", &envelope).expect("accepted");
    let other = changed(|manifest| manifest.name = "other".parse().unwrap());
    let refusal = named("other", &other).expect_err("not accepted");
    assert!(matches!(refusal, Refusal::NameNotAccepted { name } if name.as_str() == "other"));
}

#[test]
fn a_refusal_for_signatures_says_who_signed_who_is_missing_and_what_was_ignored() {
    let envelope = seal_manifest(&manifest(42), &[mallory(), bob()]);
    let refusal = judge(&policy(), &envelope).expect_err("one short");
    let Refusal::Threshold { statement, count } = &refusal else {
        panic!("{refusal:?}");
    };
    assert_eq!(*statement, Statement::Manifest);
    assert_eq!(count.required, 2);
    assert_eq!(count.signers, signers(&["bob"]));
    assert_eq!(
        count.ignored,
        [(
            mallory().public().id().to_string(),
            IgnoredSignature::NotByATrustedKey
        )]
    );
    assert_eq!(count.lacking(), 1);
    assert_eq!(count.unmet[0].of, signers(&["alice", "carol"]));
    assert!(
        refusal.hint().contains("1 of alice, carol"),
        "{}",
        refusal.hint()
    );

    let refusal = judge(&policy(), &world::attacks::same_key_twice()).expect_err("one key");
    assert!(
        matches!(&refusal, Refusal::Threshold { count, .. }
            if count.ignored == [(carol().public().id().to_string(), IgnoredSignature::NotByATrustedKey)]),
        "{refusal:?}"
    );
}

#[test]
fn a_refusal_says_which_part_of_an_envelope_is_broken() {
    type Is = fn(&EnvelopeError) -> bool;
    let envelope = String::from_utf8(seal_manifest(&manifest(42), &[alice(), bob()])).unwrap();
    let cases: [(String, Is); 4] = [
        (
            envelope.replace("\"payload\": \"", "\"payload\": \"*"),
            |source| {
                matches!(
                    source,
                    EnvelopeError::Base64 {
                        field: "payload",
                        ..
                    }
                )
            },
        ),
        (
            format!("{envelope}{}", " ".repeat(4 << 20)),
            |source| matches!(source, EnvelopeError::TooLarge { limit, .. } if *limit == LIMITS.envelope_bytes),
        ),
        (
            String::from_utf8(seal_many(31)).unwrap(),
            |source| matches!(source, EnvelopeError::Excess { what } if what.starts_with("33 signatures")),
        ),
        (envelope.replace('{', "["), |source| {
            matches!(source, EnvelopeError::Json(_))
        }),
    ];
    for (json, is_expected) in cases {
        let refusal = judge(&policy(), json.as_bytes()).expect_err("broken");
        assert_eq!(refusal.code(), FailureCode::ManifestEnvelope);
        assert!(
            matches!(&refusal, Refusal::Envelope { statement: Statement::Manifest, source } if is_expected(source)),
            "{refusal:?}"
        );
    }
}

/// Signatures of no key, and alice's and bob's.
fn seal_many(strangers: u8) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest(42).encode());
    for number in 0..strangers {
        envelope.add_signature(mallory().public().id(), [number; 64]);
    }
    for key in [alice(), bob()] {
        envelope.add_signature(key.public().id(), key.sign(&envelope.signed_bytes()));
    }
    envelope.encode()
}

#[test]
fn a_channel_file_past_its_own_limit_is_not_read() {
    let mut channel = world::channel(&changed(|_| {}), None);
    let limit = usize::try_from(LIMITS.channel_bytes).unwrap();
    channel.resize(limit, b' ');
    assert!(Channel::parse(&channel).is_ok());
    channel.push(b' ');
    assert!(
        matches!(Channel::parse(&channel), Err(EnvelopeError::TooLarge { found, .. }) if found == limit + 1)
    );
}

#[test]
fn a_payload_that_too_few_have_signed_is_not_read() {
    let nonsense = seal(Manifest::PAYLOAD_TYPE, b"not JSON".to_vec(), &[alice()]);
    let refusal = judge(&policy(), &nonsense).expect_err("one short");
    assert!(matches!(refusal, Refusal::Threshold { .. }), "{refusal:?}");
    let signed = seal(
        Manifest::PAYLOAD_TYPE,
        b"not JSON".to_vec(),
        &[alice(), bob()],
    );
    let refusal = judge(&policy(), &signed).expect_err("no manifest");
    assert!(
        matches!(refusal, Refusal::Manifest(PayloadError::Profile(_))),
        "{refusal:?}"
    );
}

/// How a judgement must end: accepted, or with this code.
fn assert_judged<T: std::fmt::Debug>(
    sentence: &str,
    judged: Result<T, Refusal>,
    expected: Result<(), FailureCode>,
) {
    let found = judged
        .as_ref()
        .map(|_| ())
        .map_err(|refusal| refusal.code());
    assert_eq!(found, expected, "{sentence}: {judged:?}");
}

#[test]
fn a_manifest_is_as_young_as_the_policy_asks() {
    use FailureCode::{
        ManifestExpired as Expired, ManifestFuture as Future, ManifestValidity as Life,
    };
    let life = |expires: &str| {
        changed(|manifest| {
            manifest.created = time("2026-01-01T12:00:00Z");
            manifest.expires = Some(time(expires));
        })
    };
    let month = "2026-01-31T12:00:00Z";
    for (sentence, expires, now, expected) in [
        ("within its life", month, NOW, Ok(())),
        ("at its expiry", month, "2026-01-31T12:00:00Z", Ok(())),
        (
            "at the last moment of tolerance",
            month,
            "2026-01-31T12:04:59.999Z",
            Ok(()),
        ),
        (
            "when the tolerance is over",
            month,
            "2026-01-31T12:05:00Z",
            Err(Expired),
        ),
        ("long after", month, "2030-01-01T00:00:00Z", Err(Expired)),
        (
            "created within the tolerance ahead of now",
            month,
            "2026-01-01T11:55:00Z",
            Ok(()),
        ),
        (
            "created later than that",
            month,
            "2026-01-01T11:54:59.999Z",
            Err(Future),
        ),
        (
            "with exactly the longest life",
            "2026-04-01T12:00:00Z",
            NOW,
            Ok(()),
        ),
        ("with a second more", "2026-04-01T12:00:01Z", NOW, Err(Life)),
    ] {
        let judged = judge_at(now, &strict_policy(), &life(expires));
        assert_judged(sentence, judged, expected);
    }
    let refusal = judge(&strict_policy(), &life("2026-04-01T12:00:01Z")).expect_err("too long");
    assert!(
        matches!(
            refusal,
            Refusal::LifeTooLong {
                granted_days: 91,
                max_days: 90
            }
        ),
        "{refusal:?}"
    );
}

fn clockwork() -> PrivateKey {
    // Of no policy of manifests: here it renews.
    mallory()
}

/// The policy, with a freshness statement of at most 72 hours required.
fn fresh_policy() -> TrustPolicy {
    renewed_by(policy(), &clockwork(), true)
}

fn freshness(created: &str, expires: &str) -> Freshness {
    Freshness {
        expires: time(expires),
        ..world::trust::freshness(42, 1, time(created))
    }
}

fn sealed_freshness(freshness: &Freshness) -> Vec<u8> {
    seal(Freshness::PAYLOAD_TYPE, freshness.encode(), &[clockwork()])
}

#[test]
fn a_freshness_statement_counts_for_as_long_as_the_policy_allows() {
    use FailureCode::{
        FreshnessExpired as Expired, FreshnessFuture as Future, FreshnessValidity as Life,
    };
    let days = ("2026-01-14T00:00:00Z", "2026-01-16T00:00:00Z");
    let longest = ("2026-01-14T00:00:00Z", "2026-01-17T00:00:00Z");
    let longer = ("2026-01-14T00:00:00Z", "2026-01-17T00:00:01Z");
    for (sentence, (created, expires), now, expected) in [
        ("within its life", days, NOW, Ok(())),
        ("at its expiry", days, "2026-01-16T00:00:00Z", Ok(())),
        (
            "at the last moment of tolerance",
            days,
            "2026-01-16T00:04:59.999Z",
            Ok(()),
        ),
        (
            "when the tolerance is over",
            days,
            "2026-01-16T00:05:00Z",
            Err(Expired),
        ),
        (
            "created within the tolerance ahead of now",
            days,
            "2026-01-13T23:55:00Z",
            Ok(()),
        ),
        (
            "created later than that",
            days,
            "2026-01-13T23:54:59.999Z",
            Err(Future),
        ),
        ("with exactly the longest life", longest, NOW, Ok(())),
        ("with a second more", longer, NOW, Err(Life)),
    ] {
        let envelope = sealed_freshness(&freshness(created, expires));
        let relay = "relay".parse().unwrap();
        let judged = fresh_policy().verify_freshness(&envelope, &relay, time(now).into());
        assert_judged(sentence, judged, expected);
    }
}

#[test]
fn a_policy_without_a_role_for_freshness_verifies_no_statement_about_it() {
    let envelope = sealed_freshness(&freshness("2026-01-14T00:00:00Z", "2026-01-16T00:00:00Z"));
    let relay = "relay".parse().unwrap();
    let judged = policy().verify_freshness(&envelope, &relay, time(NOW).into());
    assert!(matches!(judged, Err(Refusal::NotFresh)), "{judged:?}");
}

#[test]
fn a_channel_gives_the_manifest_and_how_fresh_it_is() {
    let manifest = changed(|_| {});
    let statement = freshness("2026-01-14T00:00:00Z", "2026-01-16T00:00:00Z");
    let channel = world::channel(&manifest, Some(&sealed_freshness(&statement)));
    let expected = Expected {
        name: &relay(),
        arch: None,
        now: time(NOW).into(),
    };
    let of =
        |policy: TrustPolicy| -> Current { policy.verify_channel(&channel, &expected).unwrap() };
    let current = of(fresh_policy());
    assert_eq!(current.manifest().as_ref(), &world::manifest(42));
    let freshness = current.freshness().expect("it is judged");
    assert_eq!(freshness.as_ref(), &statement);
    assert_eq!(names(freshness), ["clockwork"]);
    assert!(of(policy()).freshness().is_none(), "nobody may say it");

    let parsed = Channel::parse(&channel).unwrap();
    assert_eq!(Channel::parse(&parsed.encode()).unwrap(), parsed);
    let alone = Channel::new(
        parsed.releases.into_iter().map(|release| release.manifest),
        [],
    );
    assert_eq!(Channel::parse(&alone.encode()).unwrap(), alone);
}

/// A policy of these signers, both of them, in this version.
fn both_of(one: (&str, PrivateKey), other: (&str, PrivateKey), version: u64) -> TrustPolicy {
    let relay = AcceptedImage::new(relay(), 1.try_into().unwrap());
    let keys = [(one.0, &one.1), (other.0, &other.1)];
    versioned(&policy_of(2, &keys, vec![relay]), version)
}

fn seal_policy(policy: &TrustPolicy, keys: &[PrivateKey]) -> Vec<u8> {
    seal(TrustPolicy::PAYLOAD_TYPE, policy.encode(), keys)
}

#[test]
fn a_walk_stands_where_it_stood_after_a_step_that_is_refused() {
    let first = both_of(("alice", alice()), ("bob", bob()), 1);
    let second = both_of(("bob", bob()), ("carol", carol()), 2);
    let mut chain = Chain::from(first.clone());
    assert_eq!(chain.next(), Some(2.try_into().unwrap()));

    let refusal = chain
        .step(&seal_policy(&second, &[bob(), carol()]))
        .expect_err("not signed by alice");
    assert!(
        matches!(&refusal, Refusal::Threshold { statement: Statement::Policy, count }
            if count.unmet[0].of == signers(&["alice"])),
        "{refusal:?}"
    );
    assert_eq!(*chain.newest(), first);

    let refusal = chain
        .step(&seal_policy(&second, &[alice(), bob()]))
        .expect_err("not signed by carol");
    let Refusal::PolicyUnsigned {
        version,
        by,
        source,
    } = &refusal
    else {
        panic!("{refusal:?}");
    };
    assert_eq!((version.as_u64(), by.as_u64()), (2, 2));
    assert!(
        matches!(&**source, Refusal::Threshold { count, .. } if count.unmet[0].of == signers(&["carol"]))
    );
    assert_eq!(*chain.newest(), first);

    chain
        .step(&seal_policy(&second, &[alice(), bob(), carol()]))
        .expect("it follows");
    assert_eq!(*chain.newest(), second);
    assert_eq!(chain.next(), Some(3.try_into().unwrap()));
}

#[test]
fn a_refusal_of_a_version_says_which_one_was_due() {
    let first = both_of(("alice", alice()), ("bob", bob()), 5);
    for wrong in [1, 4, 5, 7, LIMITS.number_max] {
        let next = versioned(&first, wrong);
        let refusal = first
            .verify_successor(&seal_policy(&next, &[alice(), bob()]))
            .expect_err("not the next");
        assert!(
            matches!(&refusal, Refusal::PolicyVersion { found, expected }
                if (found.as_u64(), expected.as_u64()) == (wrong, 6)),
            "{refusal:?}"
        );
    }
    let last = versioned(&first, LIMITS.number_max);
    assert_eq!(Chain::from(last.clone()).next(), None);
    let again = last.verify_successor(&seal_policy(&last, &[alice(), bob()]));
    assert!(
        matches!(again, Err(Refusal::PolicyVersion { .. })),
        "{again:?}"
    );
}

#[test]
fn a_walk_of_the_longest_length_ends_and_keeps_what_it_proved() {
    let alone = |version: u64| {
        let relay = AcceptedImage::new(relay(), 1.try_into().unwrap());
        versioned(&policy_of(1, &[("alice", &alice())], vec![relay]), version)
    };
    let mut chain = Chain::from(alone(1));
    let last = u64::try_from(LIMITS.policy_chain).unwrap() + 1;
    for version in 2..=last {
        chain
            .step(&seal_policy(&alone(version), &[alice()]))
            .unwrap();
    }
    let refusal = chain
        .step(&seal_policy(&alone(last + 1), &[alice()]))
        .expect_err("too long");
    assert!(
        matches!(refusal, Refusal::ChainTooLong { from, limit } if from.as_u64() == 1 && limit == LIMITS.policy_chain),
        "{refusal:?}"
    );
    assert_eq!(*chain.newest(), alone(last));
}

proptest! {
    // Each case signs and verifies; unoptimised, that takes its time.
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever signs, in whatever order and however often: accepted is who has two of the three keys.
    #[test]
    fn an_envelope_is_accepted_if_two_distinct_signers_are_among_its_signatures(
        who in proptest::collection::vec(0..4_usize, 0..8),
        garbage in proptest::collection::vec(any::<u8>(), 0..70),
    ) {
        let keys = [alice(), bob(), carol(), mallory()];
        let unsigned = Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest(42).encode());
        let mut signatures = vec![(garbage, 0)];
        for &signer in &who {
            signatures.push((keys[signer].sign(&unsigned.signed_bytes()).to_vec(), signer));
        }
        let list: Vec<serde_json::Value> = signatures.iter().map(|(bytes, signer)| {
            use base64::Engine as _;
            let sig = base64::engine::general_purpose::STANDARD.encode(bytes);
            // Under the id of the next one: it must not matter.
            let keyid = keys[(signer + 1) % 4].public().id().to_string();
            serde_json::json!({"keyid": keyid, "sig": sig})
        }).collect();
        let mut envelope: serde_json::Value = serde_json::from_slice(&unsigned.encode()).unwrap();
        envelope["signatures"] = list.into();
        let judged = judge(&policy(), envelope.to_string().as_bytes());

        let expected: Vec<&str> = ["alice", "bob", "carol"].into_iter().enumerate()
            .filter(|(at, _)| who.contains(at)).map(|(_, name)| name).collect();
        match judged {
            Ok(verified) => {
                prop_assert!(expected.len() >= 2);
                prop_assert_eq!(names(&verified), expected);
            }
            Err(Refusal::Threshold { count, .. }) => {
                prop_assert!(expected.len() < 2);
                let signers: Vec<&str> = count.signers.iter().map(|name| name.as_str()).collect();
                prop_assert_eq!(signers, expected.clone());
                prop_assert_eq!(count.ignored.len(), 1 + who.len() - expected.len());
            }
            Err(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }

    /// One flipped bit, anywhere in the channel: refused, or a hint or a blank that says nothing.
    #[test]
    fn a_flipped_bit_never_changes_what_is_accepted(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let statement = freshness("2026-01-14T00:00:00Z", "2026-01-16T00:00:00Z");
        let mut channel = world::channel(&changed(|_| {}), Some(&sealed_freshness(&statement)));
        let at = at.index(channel.len());
        channel[at] ^= 1 << bit;
        let expected = Expected { name: &relay(), arch: None, now: time(NOW).into() };
        if let Ok(current) = fresh_policy().verify_channel(&channel, &expected) {
            prop_assert_eq!(current.manifest().as_ref(), &manifest(42));
            prop_assert_eq!(current.freshness().unwrap().as_ref(), &statement);
        }
    }

    /// A channel that ends early is never accepted, unless nothing but its line break is missing.
    #[test]
    fn a_cut_channel_is_refused(cut in 1..4000_usize) {
        let channel = world::channel(&changed(|_| {}), None);
        let cut = cut.min(channel.len() - 1) + 1;
        let expected = Expected { name: &relay(), arch: None, now: time(NOW).into() };
        let judged = policy().verify_channel(&channel[..channel.len() - cut], &expected);
        prop_assert!(matches!(judged, Err(Refusal::Envelope { .. })), "{:?}", judged);
    }

    /// Two versions and two policies: what is not listed is refused, and what another policy judges.
    #[test]
    fn what_is_current_is_what_the_statement_lists(
        shown in 41..60_u64, newest in 41..60_u64, has in 1..4_u64, trust in 1..4_u64,
    ) {
        let statement = world::trust::freshness(newest, trust, time("2026-01-14T12:00:00Z"));
        let envelope = seal_manifest(&manifest(shown), &[alice(), bob()]);
        let channel = world::channel(&envelope, Some(&sealed_freshness(&statement)));
        let expected = Expected { name: &relay(), arch: None, now: time(NOW).into() };
        let policy = versioned(&fresh_policy(), has);
        let code = policy.verify_channel(&channel, &expected).map(|_| ()).map_err(|refusal| refusal.code());
        let model = if shown < newest {
            Err(FailureCode::ManifestStale)
        } else if shown > newest {
            Err(FailureCode::ManifestNotCurrent)
        } else if has < trust {
            Err(FailureCode::TrustStale)
        } else {
            Ok(())
        };
        prop_assert_eq!(code, model);
    }

    /// A manifest's age against a model in whole seconds, with the default tolerance of five minutes.
    #[test]
    fn a_manifest_lives_from_its_creation_to_its_expiry(now in -2000..100_000_i64, life in 1..90_000_i64) {
        let created = time("2026-01-01T12:00:00Z");
        let envelope = changed(|manifest| {
            manifest.created = created;
            manifest.expires = Some(created + SignedDuration::from_secs(life));
        });
        let expected = Expected { name: &relay(), arch: None, now: (created + SignedDuration::from_secs(now)).into() };
        let code = policy().verify_manifest(&envelope, &expected).map(|_| ()).map_err(|refusal| refusal.code());
        let model = if now < -300 {
            Err(FailureCode::ManifestFuture)
        } else if now >= life + 300 {
            Err(FailureCode::ManifestExpired)
        } else {
            Ok(())
        };
        prop_assert_eq!(code, model);
    }
}
