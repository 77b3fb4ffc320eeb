//! What satisfies a policy, and the code of each refusal, at the last second and one past it.

use jiff::Timestamp;

use super::super::policy::{AcceptedImage, ExpiryRule};
use super::super::testing::{
    freshness, group, made, manifest, policy, renewed, sealed, sealed_freshness, sealed_manifest,
    seconds, signer, time,
};
use super::*;
use crate::failure::{Diagnose as _, FailureCode as Code};

fn expected(name: &ImageName, now: Timestamp) -> Expected<'_> {
    Expected {
        name,
        arch: Some(Arch::X86_64),
        now: now.into(),
    }
}

fn relay() -> ImageName {
    "relay".parse().unwrap()
}

/// The code under which a manifest of alice's is refused, if it is.
fn judged_at(now: Timestamp, policy: &TrustPolicy, manifest: &Manifest) -> Result<(), Code> {
    let envelope = sealed_manifest(manifest, &["alice"]).encode();
    let verified = policy.verify_manifest(&envelope, &expected(&relay(), now));
    verified.map(|_| ()).map_err(|refusal| refusal.code())
}

fn judged(policy: &TrustPolicy, manifest: &Manifest) -> Result<(), Code> {
    judged_at(made(), policy, manifest)
}

fn of_alice() -> TrustPolicy {
    policy(&["alice"])
}

fn living(life: SignedDuration) -> Manifest {
    let mut manifest = manifest(42);
    manifest.expires = Some(made() + life);
    manifest
}

#[test]
fn what_is_verified_is_what_was_signed_and_by_whom() {
    let both = policy(&["alice", "bob"]);
    let envelope = sealed_manifest(&manifest(42), &["bob", "alice"]);
    let verified = both
        .verify_manifest(&envelope.encode(), &expected(&relay(), made()))
        .unwrap();
    assert_eq!(*verified.as_ref(), manifest(42));
    assert_eq!(
        *verified.payload_sha256(),
        Sha256Digest::of(&manifest(42).encode())
    );
    let names: Vec<_> = verified
        .signers()
        .iter()
        .map(|name| name.as_str())
        .collect();
    assert_eq!(names, ["alice", "bob"]);
}

#[test]
fn an_image_is_the_one_that_was_asked_for_and_that_the_policy_accepts() {
    let policy = of_alice();
    let envelope = |manifest: &Manifest| sealed_manifest(manifest, &["alice"]).encode();
    let (relay, exit): (ImageName, ImageName) = (relay(), "exit".parse().unwrap());
    let mut other = manifest(42);
    other.name = exit.clone();
    let judge = |manifest: &Manifest, name, arch| {
        let expected = Expected {
            name,
            arch,
            now: made().into(),
        };
        policy.verify_manifest(&envelope(manifest), &expected)
    };
    let native = Some(Arch::X86_64);
    judge(&manifest(42), &relay, native.clone()).unwrap();
    judge(&manifest(42), &relay, None).unwrap();
    let refusal = judge(&other, &relay, native.clone()).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::OtherImage { found, expected } if *found == exit && *expected == relay),
        "{refusal:?}"
    );
    for manifest in [&manifest(42), &other] {
        let refusal = judge(manifest, &exit, native.clone()).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::NameNotAccepted { name } if *name == exit),
            "{refusal:?}"
        );
    }
    let refusal = judge(&manifest(42), &relay, Some(Arch::Aarch64)).unwrap_err();
    assert!(
        matches!(
            refusal,
            Refusal::Arch {
                found: Arch::X86_64,
                expected: Arch::Aarch64
            }
        ),
        "{refusal:?}"
    );
}

#[test]
fn the_name_that_was_asked_for_selects_the_keys() {
    let mut dns = AcceptedImage::new("dns".parse().unwrap(), 1.try_into().unwrap());
    dns.release = Some(vec![group(1, &["team-b"])]);
    let policy = of_alice().with(|fields| {
        fields.keys.push(signer("team-b"));
        fields.images.push(dns);
    });
    let policy = policy.unwrap();
    let judge = |asked: &str, named: &str, by: &str| {
        let mut manifest = manifest(42);
        manifest.name = named.parse().unwrap();
        let envelope = sealed_manifest(&manifest, &[by]).encode();
        let verified =
            policy.verify_manifest(&envelope, &expected(&asked.parse().unwrap(), made()));
        verified.map(drop).map_err(|refusal| refusal.code())
    };
    assert_eq!(judge("relay", "relay", "alice"), Ok(()));
    assert_eq!(judge("dns", "dns", "team-b"), Ok(()));
    assert_eq!(judge("dns", "dns", "alice"), Err(Code::ManifestThreshold));
    assert_eq!(
        judge("relay", "relay", "team-b"),
        Err(Code::ManifestThreshold)
    );
    // A team cannot sign under its own role what is another team's.
    assert_eq!(judge("dns", "relay", "team-b"), Err(Code::ManifestName));
    assert_eq!(
        judge("relay", "dns", "team-b"),
        Err(Code::ManifestThreshold)
    );
}

#[test]
fn versions_below_the_floor_and_denied_ones_are_refused() {
    let mut image = AcceptedImage::new(relay(), 41.try_into().unwrap());
    image.denied_versions = vec![43.try_into().unwrap()];
    let policy = of_alice()
        .with(|fields| fields.images = vec![image])
        .unwrap();
    for (version, expected) in [
        (40, Err(Code::ManifestRollback)),
        (41, Ok(())),
        (42, Ok(())),
        (43, Err(Code::ManifestDenied)),
        (44, Ok(())),
    ] {
        assert_eq!(judged(&policy, &manifest(version)), expected, "{version}");
    }
}

#[test]
fn a_denied_manifest_archive_or_file_is_refused() {
    let mut image = manifest(42);
    let file_digest = Sha256Digest::of(b"a kernel");
    image.files[0].sha256 = file_digest;
    let manifest_digest = Sha256Digest::of(&image.encode());
    let archive_digest = image.archive.chunks_sha256;
    for (digest, named) in [
        (manifest_digest, Some("manifest")),
        (archive_digest, Some("archive")),
        (file_digest, Some("file")),
        (Sha256Digest::of(b"something else"), None),
    ] {
        let policy = of_alice().with(|fields| fields.denied_digests = vec![digest]);
        let policy = policy.unwrap();
        let envelope = sealed_manifest(&image, &["alice"]).encode();
        match (
            policy.verify_manifest(&envelope, &expected(&relay(), made())),
            named,
        ) {
            (Ok(_), None) => {}
            (
                Err(Refusal::DeniedDigest {
                    what,
                    digest: found,
                }),
                Some(named),
            ) => {
                assert_eq!((what, found), (named, digest));
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[test]
fn clocks_may_differ_by_the_tolerance_and_no_more() {
    let policy = of_alice();
    for (behind, expected) in [
        (seconds(300), Ok(())),
        (
            seconds(300) + SignedDuration::from_nanos(1),
            Err(Code::ManifestFuture),
        ),
        (seconds(301), Err(Code::ManifestFuture)),
    ] {
        assert_eq!(judged_at(made() - behind, &policy, &manifest(42)), expected);
    }
    let expires = made() + seconds(3600);
    for (after, expected) in [
        (seconds(-1), Ok(())),
        (seconds(300) - SignedDuration::from_nanos(1), Ok(())),
        (seconds(300), Err(Code::ManifestExpired)),
        (seconds(301), Err(Code::ManifestExpired)),
    ] {
        let judged = judged_at(expires + after, &policy, &living(seconds(3600)));
        assert_eq!(judged, expected, "{after}");
    }
}

#[test]
fn a_life_is_as_long_as_the_policy_allows() {
    let strict = |required, max_days| {
        let rule = ExpiryRule { required, max_days };
        of_alice().with(|fields| fields.expiry = rule).unwrap()
    };
    let days = |count: i64| SignedDuration::from_hours(24 * count);
    let a_little = SignedDuration::from_secs(1);
    for (policy, manifest, expected) in [
        (strict(false, Some(90)), manifest(42), Ok(())),
        (
            strict(true, None),
            manifest(42),
            Err(Code::ManifestValidity),
        ),
        (strict(true, None), living(days(36_500)), Ok(())),
        (strict(true, Some(90)), living(days(90)), Ok(())),
        (
            strict(true, Some(90)),
            living(days(90) + a_little),
            Err(Code::ManifestValidity),
        ),
        (
            strict(false, Some(90)),
            living(days(91)),
            Err(Code::ManifestValidity),
        ),
    ] {
        assert_eq!(
            judged(&policy, &manifest),
            expected,
            "{:?}",
            manifest.expires
        );
    }
    for (life, granted) in [
        (days(90) + a_little, 91),
        (days(91), 91),
        (days(91) + a_little, 92),
    ] {
        let envelope = sealed_manifest(&living(life), &["alice"]).encode();
        let refusal = strict(true, Some(90))
            .verify_manifest(&envelope, &expected(&relay(), made()))
            .unwrap_err();
        assert!(
            matches!(refusal, Refusal::LifeTooLong { granted_days, max_days: 90 } if granted_days == granted),
            "{refusal:?}"
        );
    }
}

#[test]
fn bytes_that_hold_no_manifest_are_refused_by_what_they_hold() {
    let policy = of_alice();
    let judge = |envelope: &[u8]| {
        let judged = policy.verify_manifest(envelope, &expected(&relay(), made()));
        judged.unwrap_err().code()
    };
    let payload = |payload: &[u8]| {
        let statement = Statement::Manifest.payload_type();
        sealed(statement, payload.to_vec(), &["alice"]).encode()
    };
    assert_eq!(judge(b"{}"), Code::ManifestEnvelope);
    assert_eq!(judge(&payload(b"{}")), Code::ManifestInvalid);
    let unsigned = sealed_manifest(&manifest(42), &["mallory"]).encode();
    assert_eq!(judge(&unsigned), Code::ManifestThreshold);
    let other = sealed_freshness(&freshness(42, 1), &["alice"]).encode();
    assert_eq!(judge(&other), Code::ManifestPayloadType);
}

fn fresh_at(now: Timestamp, statement: &Freshness, by: &[&str]) -> Result<(), Code> {
    let envelope = sealed_freshness(statement, by).encode();
    let judged = renewed(of_alice(), true).verify_freshness(&envelope, &relay(), now.into());
    judged.map(|_| ()).map_err(|refusal| refusal.code())
}

#[test]
fn a_freshness_statement_counts_between_its_dates() {
    let statement = freshness(42, 1);
    for (now, expected) in [
        (made() - seconds(301), Err(Code::FreshnessFuture)),
        (made() - seconds(300), Ok(())),
        (statement.expires, Ok(())),
        (statement.expires + seconds(299), Ok(())),
        (
            statement.expires + seconds(300),
            Err(Code::FreshnessExpired),
        ),
        (
            statement.expires + seconds(301),
            Err(Code::FreshnessExpired),
        ),
    ] {
        assert_eq!(fresh_at(now, &statement, &["clockwork"]), expected, "{now}");
    }
}

#[test]
fn a_freshness_statement_lives_as_long_as_the_policy_allows() {
    for (life, expected) in [
        (seconds(72 * 3600), Ok(())),
        (seconds(72 * 3600 + 1), Err(Code::FreshnessValidity)),
    ] {
        let mut statement = freshness(42, 1);
        statement.expires = made() + life;
        assert_eq!(
            fresh_at(made(), &statement, &["clockwork"]),
            expected,
            "{life}"
        );
    }
    let mut statement = freshness(42, 1);
    statement.expires = made() + seconds(73 * 3600 + 1);
    let refusal = renewed(of_alice(), true)
        .verify_freshness(
            &sealed_freshness(&statement, &["clockwork"]).encode(),
            &relay(),
            made().into(),
        )
        .unwrap_err();
    assert!(
        matches!(
            refusal,
            Refusal::FreshnessTooLong {
                granted_hours: 74,
                max_hours: 72
            }
        ),
        "{refusal:?}"
    );
}

#[test]
fn a_freshness_statement_is_of_its_role_and_of_its_image() {
    let mut other = freshness(42, 1);
    other.name = "exit".parse().unwrap();
    assert_eq!(
        fresh_at(made(), &other, &["clockwork"]),
        Err(Code::FreshnessName)
    );
    // Who signs images does not say what is newest.
    assert_eq!(
        fresh_at(made(), &freshness(42, 1), &["alice"]),
        Err(Code::FreshnessThreshold)
    );
    let envelope = sealed_freshness(&freshness(42, 1), &["clockwork"]).encode();
    let without = of_alice().verify_freshness(&envelope, &relay(), made().into());
    assert_eq!(without.unwrap_err().code(), Code::FreshnessMissing);
    let with = |envelope: &[u8]| {
        let judged = renewed(of_alice(), true).verify_freshness(envelope, &relay(), made().into());
        judged.unwrap_err().code()
    };
    let payload = sealed(Freshness::PAYLOAD_TYPE, b"{}".to_vec(), &["clockwork"]);
    assert_eq!(with(&payload.encode()), Code::FreshnessInvalid);
    let as_manifest = sealed_manifest(&manifest(42), &["clockwork"]);
    assert_eq!(with(&as_manifest.encode()), Code::FreshnessInvalid);
    assert_eq!(with(b""), Code::FreshnessInvalid);
}

#[test]
fn a_clock_that_stands_at_1970_refuses_everything() {
    let now = time("1970-01-01T00:00:00Z");
    assert_eq!(
        judged_at(now, &of_alice(), &manifest(42)),
        Err(Code::ManifestFuture)
    );
    assert_eq!(
        fresh_at(now, &freshness(42, 1), &["clockwork"]),
        Err(Code::FreshnessFuture)
    );
}

#[test]
fn what_its_role_has_said_is_known_however_long_ago_and_nothing_else_is() {
    let policy = renewed(of_alice(), true);
    let long_ago = Freshness {
        created: time("1970-01-01T00:00:00Z"),
        expires: time("1980-01-01T00:00:00Z"),
        ..freshness(42, 1)
    };
    let stated = policy.stated(&relay(), &sealed_freshness(&long_ago, &["clockwork"]));
    assert_eq!(stated, Some(long_ago.clone()));
    for envelope in [
        sealed_freshness(&long_ago, &[]),
        sealed_freshness(&long_ago, &["alice"]),
        sealed_manifest(&manifest(42), &["clockwork"]),
        sealed(Freshness::PAYLOAD_TYPE, b"{}".to_vec(), &["clockwork"]),
    ] {
        assert_eq!(policy.stated(&relay(), &envelope), None, "{envelope:?}");
    }
    let nobodys = sealed_freshness(&long_ago, &["clockwork"]);
    assert_eq!(of_alice().stated(&relay(), &nobodys), None);
}
