//! What `TrustPolicy::verify_manifest` accepts, and each way in which it refuses.
//!
//! Every refusal asserts the exact variant and the code that a loader would print.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod lab;

use jiff::Timestamp;
use lab::{alice, bob, carol, mallory, manifest, policy, seal, seal_manifest, strict_policy};
use sealboot::failure::{Diagnose as _, FailureCode};
use sealboot::format::manifest::{Arch, Manifest, ManifestError};
use sealboot::trust::policy::{AcceptedImage, PolicyError, Signer};
use sealboot::trust::verified::{Expected, Ignored};
use sealboot::trust::{Envelope, EnvelopeError, Refusal, TrustPolicy, Verified};

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
        name: Some(&relay),
        arch: Some(Arch::X86_64),
        now: time(now),
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

fn edited(from: &str, to: &str) -> Vec<u8> {
    let payload = lab::attacks::edited(&manifest(42), from, to);
    seal(Manifest::PAYLOAD_TYPE, payload, &[alice(), bob()])
}

fn expiring(created: &str, expires: &str) -> Vec<u8> {
    changed(|manifest| {
        manifest.created = time(created);
        manifest.expires = Some(time(expires));
    })
}

fn names(verified: &Verified<Manifest>) -> Vec<&str> {
    let signers = verified.signers().iter();
    signers.map(|name| name.as_str()).collect()
}

#[test]
fn a_manifest_that_enough_signers_signed_is_accepted() {
    let envelope = seal_manifest(&manifest(42), &[carol(), alice()]);
    let verified = judge(&policy(), &envelope).expect("accepted");
    assert_eq!(verified.as_ref(), &manifest(42));
    // In the policy's order, whatever the file's.
    assert_eq!(names(&verified), ["alice", "carol"]);
    assert_eq!(
        *verified.payload_sha256(),
        sealboot::format::digest::Sha256Digest::of(&manifest(42).encode())
    );
}

#[test]
fn more_signatures_than_needed_and_strangers_do_no_harm() {
    let envelope = seal_manifest(&manifest(42), &[mallory(), carol(), bob(), alice()]);
    let verified = judge(&policy(), &envelope).expect("accepted");
    assert_eq!(names(&verified), ["alice", "bob", "carol"]);
}

#[test]
fn key_ids_are_hints_and_decide_nothing() {
    let envelope = String::from_utf8(seal_manifest(&manifest(42), &[alice(), bob()])).unwrap();
    let (a, b) = (alice().public().id(), bob().public().id());
    for (from, to) in [
        (a.to_string(), b.to_string()),
        (a.to_string(), mallory().public().id().to_string()),
        (b.to_string(), String::new()),
        (b.to_string(), "nobody".to_owned()),
    ] {
        let envelope = envelope.replace(&from, &to);
        let verified = judge(&policy(), envelope.as_bytes()).expect("accepted");
        assert_eq!(names(&verified), ["alice", "bob"], "{from} → {to}");
    }
    // And without any.
    let without = envelope
        .replace(&format!("\"keyid\": \"{a}\","), "")
        .replace(&format!("\"keyid\": \"{b}\","), "");
    assert!(!without.contains("keyid"));
    judge(&policy(), without.as_bytes()).expect("accepted");
}

#[test]
fn without_an_expected_name_or_arch_every_accepted_one_will_do() {
    let envelope = changed(|manifest| {
        manifest.name = "exit".parse().expect("a name");
        manifest.arch = Arch::Aarch64;
    });
    let expected = Expected {
        name: None,
        arch: None,
        now: time(NOW),
    };
    policy()
        .verify_manifest(&envelope, &expected)
        .expect("accepted");
}

/// A sentence, the envelope, the variant, the code.
type Case = (&'static str, Vec<u8>, fn(&Refusal) -> bool, FailureCode);

fn assert_refused(policy: &TrustPolicy, cases: Vec<Case>) {
    for (sentence, envelope, is_expected, code) in cases {
        let refusal = judge(policy, &envelope).expect_err(sentence);
        assert!(is_expected(&refusal), "{sentence}: {refusal:?}");
        assert_eq!(refusal.code(), code, "{sentence}");
        assert!(!refusal.hint().is_empty(), "{sentence}");
    }
}

#[test]
fn an_envelope_that_too_few_signed_is_refused() {
    let short: fn(&Refusal) -> bool = |refusal| matches!(refusal, Refusal::Threshold { .. });
    let code = FailureCode::ManifestThreshold;
    let sealed = |keys: &[_]| seal_manifest(&manifest(42), keys);

    let mut over_other_payload = Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest(42).encode());
    let mut over_no_pae = over_other_payload.clone();
    let mut with_flipped_bit = over_other_payload.clone();
    let mut with_long_signature =
        String::from_utf8(seal_manifest(&manifest(42), &[alice(), bob()])).unwrap();
    let other = Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest(43).encode());
    let other_type = Envelope::unsigned("application/json", manifest(42).encode());
    let mut over_other_type = over_other_payload.clone();
    for key in [alice(), bob()] {
        let id = key.public().id();
        over_other_payload.add_signature(id, key.sign(&other.signed_bytes()));
        over_other_type.add_signature(id, key.sign(&other_type.signed_bytes()));
        over_no_pae.add_signature(id, key.sign(&manifest(42).encode()));
        let mut signature = key.sign(&with_flipped_bit.signed_bytes());
        signature[63] ^= 0x10;
        with_flipped_bit.add_signature(id, signature);
    }
    with_long_signature = with_long_signature.replace("\"sig\": \"", "\"sig\": \"AAAA");

    assert_refused(
        &policy(),
        vec![
            ("no signature", sealed(&[]), short, code),
            ("one short", sealed(&[alice()]), short, code),
            (
                "a stranger does not count",
                sealed(&[alice(), mallory()]),
                short,
                code,
            ),
            (
                "strangers alone do not count",
                sealed(&[mallory()]),
                short,
                code,
            ),
            (
                "the same key under two key ids counts once",
                lab::attacks::same_key_twice(),
                short,
                code,
            ),
            (
                "the same signature twice counts once",
                repeated_signature(),
                short,
                code,
            ),
            (
                "signatures over another payload do not count",
                over_other_payload.encode(),
                short,
                code,
            ),
            (
                "signatures over the same payload of another type do not count",
                over_other_type.encode(),
                short,
                code,
            ),
            (
                "signatures over the bare payload do not count",
                over_no_pae.encode(),
                short,
                code,
            ),
            (
                "signatures with a flipped bit do not count",
                with_flipped_bit.encode(),
                short,
                code,
            ),
            (
                "signatures of another length do not count",
                with_long_signature.into_bytes(),
                short,
                code,
            ),
            (
                "the payload is not read before the threshold is met",
                seal(Manifest::PAYLOAD_TYPE, b"not JSON".to_vec(), &[alice()]),
                short,
                code,
            ),
        ],
    );
}

/// Alice's one signature, twice in the file.
fn repeated_signature() -> Vec<u8> {
    let envelope = String::from_utf8(seal_manifest(&manifest(42), &[alice()])).unwrap();
    let (head, tail) = envelope.split_once("\"signatures\": [").unwrap();
    let one = tail.trim().strip_suffix("]\n}").unwrap().trim();
    format!("{head}\"signatures\": [{one}, {one}]}}").into_bytes()
}

#[test]
fn a_refusal_for_signatures_says_who_signed_who_is_missing_and_what_was_ignored() {
    let envelope = seal_manifest(&manifest(42), &[mallory(), bob()]);
    let refusal = judge(&policy(), &envelope).expect_err("one short");
    let Refusal::Threshold {
        threshold,
        tally,
        missing,
    } = &refusal
    else {
        panic!("{refusal:?}");
    };
    assert_eq!(*threshold, 2);
    assert_eq!(tally.signers, ["bob".parse().unwrap()]);
    assert_eq!(
        tally.ignored,
        [(
            mallory().public().id().to_string(),
            Ignored::NotByATrustedKey
        )]
    );
    assert_eq!(
        *missing,
        ["alice".parse().unwrap(), "carol".parse().unwrap()]
    );

    let refusal = judge(&policy(), &lab::attacks::same_key_twice()).expect_err("one key");
    assert!(
        matches!(&refusal, Refusal::Threshold { tally, .. }
            if tally.ignored == [(carol().public().id().to_string(), Ignored::SameKeyAgain)]),
        "{refusal:?}"
    );
}

#[test]
fn what_is_no_envelope_of_a_manifest_is_refused() {
    let envelope = String::from_utf8(seal_manifest(&manifest(42), &[alice(), bob()])).unwrap();
    let code = FailureCode::ManifestEnvelope;
    let json: fn(&Refusal) -> bool =
        |refusal| matches!(refusal, Refusal::Envelope(EnvelopeError::Json(_)));
    assert_refused(
        &policy(),
        vec![
            ("nothing", Vec::new(), json, code),
            ("HTML", b"<html>404</html>".to_vec(), json, code),
            ("a bare manifest", manifest(42).encode(), json, code),
            (
                "an unknown field",
                envelope.replacen('{', "{\"extra\": 1,", 1).into_bytes(),
                json,
                code,
            ),
            (
                "a repeated field",
                envelope
                    .replacen('{', "{\"payload\": \"\",", 1)
                    .into_bytes(),
                json,
                code,
            ),
            (
                "bytes after its end",
                format!("{envelope}x").into_bytes(),
                json,
                code,
            ),
            (
                "a payload that is not base64",
                envelope
                    .replace("\"payload\": \"", "\"payload\": \"*")
                    .into_bytes(),
                |refusal| {
                    matches!(
                        refusal,
                        Refusal::Envelope(EnvelopeError::Base64 {
                            field: "payload",
                            ..
                        })
                    )
                },
                code,
            ),
            (
                "a signature that is not base64",
                envelope.replace("\"sig\": \"", "\"sig\": \"*").into_bytes(),
                |refusal| {
                    matches!(
                        refusal,
                        Refusal::Envelope(EnvelopeError::Base64 { field: "sig", .. })
                    )
                },
                code,
            ),
            (
                "more than is read",
                format!("{envelope}{}", " ".repeat(4 << 20)).into_bytes(),
                |refusal| matches!(refusal, Refusal::Envelope(EnvelopeError::TooLarge { .. })),
                code,
            ),
            (
                "more signatures than are checked",
                seal_many(33),
                |refusal| matches!(refusal, Refusal::Envelope(EnvelopeError::Excess { .. })),
                code,
            ),
            (
                "another kind of statement, validly signed",
                seal(
                    "application/vnd.in-toto+json",
                    manifest(42).encode(),
                    &[alice(), bob()],
                ),
                |refusal| matches!(refusal, Refusal::PayloadType { found } if found == "application/vnd.in-toto+json"),
                FailureCode::ManifestPayloadType,
            ),
            (
                "the next version of the format",
                seal(
                    "application/vnd.sealboot.manifest.v2+json",
                    manifest(42).encode(),
                    &[alice(), bob()],
                ),
                |refusal| matches!(refusal, Refusal::PayloadType { .. }),
                FailureCode::ManifestPayloadType,
            ),
        ],
    );
    judge(&policy(), &seal_many(30)).expect("thirty strangers and two signers are 32");
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
fn a_signed_payload_that_is_no_manifest_is_refused() {
    let json: fn(&Refusal) -> bool =
        |refusal| matches!(refusal, Refusal::Manifest(ManifestError::Json(_)));
    let code = FailureCode::ManifestInvalid;
    let sha256 = manifest(42).archive.sha256.to_string();
    let cases = [
        ("an unknown field", "{\"name\"", "{\"extra\":1,\"name\""),
        (
            "an unknown field deeper",
            "{\"path\":\"boot/vmlinuz\"",
            "{\"mode\":420,\"path\":\"boot/vmlinuz\"",
        ),
        (
            "a repeated field",
            "{\"name\"",
            "{\"name\":\"relay\",\"name\"",
        ),
        ("a missing field", "\"version\":42,", ""),
        ("a version of 0", "\"version\":42", "\"version\":0"),
        ("a negative version", "\"version\":42", "\"version\":-42"),
        (
            "a version with a fraction",
            "\"version\":42",
            "\"version\":42.0",
        ),
        (
            "a version past 2^53 - 1",
            "\"version\":42",
            "\"version\":9007199254740992",
        ),
        (
            "a version past 64 bits",
            "\"version\":42",
            "\"version\":18446744073709551658",
        ),
        ("a version as text", "\"version\":42", "\"version\":\"42\""),
        ("a name with a slash", "\"relay\"", "\"../relay\""),
        ("a name in capitals", "\"relay\"", "\"Relay\""),
        (
            "a label with a control character",
            "-debian12",
            "\\u001b[2J",
        ),
        ("an unknown architecture", "\"x86_64\"", "\"riscv64\""),
        ("a time that is none", "2026-01-01T12:00:00Z", "yesterday"),
        (
            "a time without its zone",
            "2026-01-01T12:00:00Z",
            "2026-01-01T12:00:00",
        ),
        ("a cmdline of two lines", " quiet", "\\nquiet"),
        (
            "an unknown encoding",
            "\"encoding\":\"none\"",
            "\"encoding\":\"xz\"",
        ),
        ("a hash in capitals", "\"sha256\":\"d", "\"sha256\":\"D"),
        (
            "a member outside boot and meta",
            "meta/os-release",
            "etc/os-release",
        ),
        (
            "a member that climbs",
            "meta/os-release",
            "meta/../os-release",
        ),
    ];
    let cases = cases.map(|(sentence, from, to)| (sentence, edited(from, to), json, code));
    assert_refused(&policy(), cases.into());

    let contradicts: fn(&Refusal) -> bool =
        |refusal| matches!(refusal, Refusal::Manifest(ManifestError::Contradiction(_)));
    let cases = [
        (
            "another blob's path",
            format!("blobs/sha256-{sha256}.tar"),
            format!("blobs/sha256-{}.tar", "0".repeat(64)),
        ),
        (
            "a blob path that climbs",
            format!("blobs/sha256-{sha256}.tar"),
            format!("../sha256-{sha256}.tar"),
        ),
        (
            "the suffix of another encoding",
            format!("{sha256}.tar"),
            format!("{sha256}.tar.gz"),
        ),
        (
            "one chunk hash too few",
            "\"chunk_size\":65536".to_owned(),
            "\"chunk_size\":32768".to_owned(),
        ),
        (
            "too many chunk hashes",
            "\"chunk_size\":65536".to_owned(),
            "\"chunk_size\":131072".to_owned(),
        ),
        (
            "a chunk size that is no power of two",
            "\"chunk_size\":65536".to_owned(),
            "\"chunk_size\":65537".to_owned(),
        ),
        (
            "a chunk size that overflows",
            "\"chunk_size\":65536".to_owned(),
            "\"chunk_size\":9223372036854775808".to_owned(),
        ),
        (
            "an archive of no bytes",
            "\"size\":143872".to_owned(),
            "\"size\":0".to_owned(),
        ),
        (
            "an archive one block longer than its tar",
            "\"size\":143872".to_owned(),
            "\"size\":144384".to_owned(),
        ),
        (
            "a kernel of no bytes",
            "\"size\":40000".to_owned(),
            "\"size\":0".to_owned(),
        ),
        (
            "files whose sizes overflow",
            "\"size\":40000".to_owned(),
            "\"size\":18446744073709551615".to_owned(),
        ),
        (
            "members out of order",
            "boot/initrd\"".to_owned(),
            "boot/initrd.1\"".to_owned(),
        ),
        (
            "a member given twice",
            "meta/os-release".to_owned(),
            "boot/vmlinuz".to_owned(),
        ),
        (
            "an expiry before the creation",
            "\"cmdline\"".to_owned(),
            "\"expires\":\"2026-01-01T12:00:00Z\",\"cmdline\"".to_owned(),
        ),
    ];
    let cases = cases.map(|(sentence, from, to)| (sentence, edited(&from, &to), contradicts, code));
    assert_refused(&policy(), cases.into());
}

#[test]
fn an_image_that_was_not_asked_for_is_refused() {
    assert_refused(
        &policy(),
        vec![
            (
                "another image that the policy accepts",
                changed(|manifest| manifest.name = "exit".parse().unwrap()),
                |refusal| matches!(refusal, Refusal::OtherImage { found, expected } if found.as_str() == "exit" && expected.as_str() == "relay"),
                FailureCode::ManifestName,
            ),
            (
                "an image for another architecture",
                changed(|manifest| manifest.arch = Arch::Aarch64),
                |refusal| {
                    matches!(
                        refusal,
                        Refusal::Arch {
                            found: Arch::Aarch64,
                            expected: Arch::X86_64
                        }
                    )
                },
                FailureCode::ManifestArch,
            ),
            (
                "a version below min_version",
                seal_manifest(&manifest(40), &[alice(), bob()]),
                |refusal| matches!(refusal, Refusal::Rollback { found, min_version, .. } if found.as_u64() == 40 && min_version.as_u64() == 41),
                FailureCode::ManifestRollback,
            ),
        ],
    );
    judge(&policy(), &seal_manifest(&manifest(41), &[alice(), bob()]))
        .expect("min_version itself is accepted");

    let other = changed(|manifest| manifest.name = "other".parse().unwrap());
    let name = "other".parse().expect("a name");
    let expected = Expected {
        name: Some(&name),
        arch: None,
        now: time(NOW),
    };
    let refusal = policy()
        .verify_manifest(&other, &expected)
        .expect_err("a host config cannot widen the policy");
    assert!(matches!(refusal, Refusal::NameNotAccepted { .. }));
    assert_eq!(refusal.code(), FailureCode::ManifestName);
}

#[test]
fn a_manifest_is_as_fresh_as_the_policy_asks() {
    let ok: fn(&Result<Verified<Manifest>, Refusal>) -> bool = Result::is_ok;
    let expired: fn(&Result<Verified<Manifest>, Refusal>) -> bool = |judged| matches!(judged, Err(refusal @ Refusal::Expired { .. }) if refusal.code() == FailureCode::ManifestExpired);
    let future: fn(&Result<Verified<Manifest>, Refusal>) -> bool = |judged| matches!(judged, Err(refusal @ Refusal::Future { .. }) if refusal.code() == FailureCode::ManifestFuture);
    let none: fn(&Result<Verified<Manifest>, Refusal>) -> bool = |judged| matches!(judged, Err(refusal @ Refusal::NoExpiry) if refusal.code() == FailureCode::ManifestExpiry);
    let long: fn(&Result<Verified<Manifest>, Refusal>) -> bool = |judged| matches!(judged, Err(refusal @ Refusal::LifeTooLong { granted_days: 91, max_days: 90 }) if refusal.code() == FailureCode::ManifestExpiry);
    let life = |expires| expiring("2026-01-01T12:00:00Z", expires);
    let month = || life("2026-01-31T12:00:00Z");
    for (sentence, envelope, now, expected) in [
        ("within its life", month(), NOW, ok),
        ("at its expiry", month(), "2026-01-31T12:00:00Z", ok),
        (
            "at the last second of tolerance",
            month(),
            "2026-01-31T12:04:59.999Z",
            ok,
        ),
        (
            "when the tolerance is over",
            month(),
            "2026-01-31T12:05:00Z",
            expired,
        ),
        ("long after", month(), "2030-01-01T00:00:00Z", expired),
        (
            "created within the tolerance ahead of now",
            month(),
            "2026-01-01T11:55:00Z",
            ok,
        ),
        (
            "created later than that",
            month(),
            "2026-01-01T11:54:59.999Z",
            future,
        ),
        (
            "read by a clock at the epoch",
            month(),
            "1970-01-01T00:00:00Z",
            future,
        ),
        (
            "with exactly the longest life",
            life("2026-04-01T12:00:00Z"),
            NOW,
            ok,
        ),
        (
            "with a second more",
            life("2026-04-01T12:00:01Z"),
            NOW,
            long,
        ),
        ("with no expiry", changed(|_| {}), NOW, none),
    ] {
        let judged = judge_at(now, &strict_policy(), &envelope);
        assert!(expected(&judged), "{sentence}: {judged:?}");
    }
    // A policy that does not require an expiry still holds a manifest to its own.
    let judged = judge_at("2026-02-01T00:00:00Z", &policy(), &month());
    assert!(expired(&judged), "{judged:?}");
    judge(&policy(), &changed(|_| {})).expect("no expiry is required");
}

#[test]
fn a_policy_counts_keys_and_not_names() {
    let signer = |name: &str, key: sealboot::format::pem::PrivateKey| Signer {
        name: name.parse().unwrap(),
        key: key.public(),
    };
    let images = || {
        vec![AcceptedImage {
            name: "relay".parse().unwrap(),
            min_version: 1.try_into().unwrap(),
        }]
    };
    let twice = TrustPolicy::new(
        vec![signer("alice", alice()), signer("alice2", alice())],
        2,
        images(),
    );
    assert!(
        matches!(&twice, Err(PolicyError::Contradiction(invalid)) if invalid.field == "keys.key"),
        "{twice:?}"
    );
    assert_eq!(
        twice.expect_err("one key").code(),
        FailureCode::ConfigurePolicy
    );
}
