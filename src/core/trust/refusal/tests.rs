//! What each refusal is called, and what it tells a person.

use super::super::statement::IgnoredSignature;
use super::super::testing::{made, names};
use super::*;
use crate::failure::Report;
use crate::format::Invalid;
use crate::format::limits::LIMITS;

/// Of three who must sign.
fn threshold(statement: Statement, signed: &[&str], missing: &[&str]) -> Refusal {
    let unmet = Unmet {
        lacking: 3 - signed.len(),
        of: names(missing),
    };
    Refusal::Threshold {
        statement,
        count: SignatureCount {
            signers: names(signed),
            required: 3,
            unmet: vec![unmet],
            ignored: Vec::new(),
        },
    }
}

#[test]
fn every_refusal_has_the_code_of_what_is_wrong() {
    use FailureCode as Code;
    let name = || "relay".parse::<ImageName>().unwrap();
    let image = |version: u64| ImageVersion::try_from(version).unwrap();
    let policy = |version: u64| PolicyVersion::try_from(version).unwrap();
    let invalid = || Invalid::new("field", "found", "taken");
    let envelope = |statement| Refusal::Envelope {
        statement,
        source: EnvelopeError::TooLarge { found: 2, limit: 1 },
    };
    let payload_type = |statement| Refusal::PayloadType {
        statement,
        found: "x".to_owned(),
    };
    let future = |statement| Refusal::Future {
        statement,
        created: made(),
        now: made(),
    };
    let short = |statement| threshold(statement, &[], &[]);
    let unknown = |statement| Refusal::UnknownKeyTypes { statement };
    let unusable = || PayloadError::TooLarge { limit: 1 };
    let newer = || PayloadError::Critical {
        word: "sealed".to_owned(),
    };
    let host = || HostConfigError::Payload(unusable());
    let cmdline = || HostConfigError::Cmdline(invalid());
    for (refusal, code) in [
        (envelope(Statement::Manifest), Code::ManifestEnvelope),
        (envelope(Statement::Policy), Code::TrustEnvelope),
        (envelope(Statement::Freshness), Code::FreshnessInvalid),
        (envelope(Statement::HostConfig), Code::ConfigureHostEnvelope),
        (
            payload_type(Statement::HostConfig),
            Code::ConfigureHostEnvelope,
        ),
        (short(Statement::HostConfig), Code::ConfigureHostThreshold),
        (Refusal::HostConfig(host()), Code::ConfigureHost),
        (Refusal::HostCmdline(cmdline()), Code::ConfigureCmdline),
        (Refusal::HostRole, Code::ConfigureHostRole),
        (Refusal::HostUnsigned, Code::ConfigureHostUnsigned),
        (Refusal::HostMissing, Code::ConfigureHostUnsigned),
        (
            Refusal::HostSetting {
                name: "ip".to_owned(),
            },
            Code::ConfigureHostUnsigned,
        ),
        (payload_type(Statement::Manifest), Code::ManifestPayloadType),
        (payload_type(Statement::Policy), Code::TrustPayloadType),
        (payload_type(Statement::Freshness), Code::FreshnessInvalid),
        (short(Statement::Manifest), Code::ManifestThreshold),
        (short(Statement::Policy), Code::TrustThreshold),
        (short(Statement::Freshness), Code::FreshnessThreshold),
        (future(Statement::Manifest), Code::ManifestFuture),
        (future(Statement::Policy), Code::ManifestFuture),
        (future(Statement::Freshness), Code::FreshnessFuture),
        (Refusal::Manifest(unusable()), Code::ManifestInvalid),
        (Refusal::Manifest(newer()), Code::ManifestUpgrade),
        (Refusal::Freshness(newer()), Code::FreshnessUpgrade),
        (Refusal::Policy(newer()), Code::TrustUpgrade),
        (
            Refusal::HostConfig(newer().into()),
            Code::ConfigureHostUpgrade,
        ),
        (
            Refusal::OtherImage {
                found: name(),
                expected: name(),
            },
            Code::ManifestName,
        ),
        (
            Refusal::NameNotAccepted { name: name() },
            Code::ManifestName,
        ),
        (
            Refusal::Arch {
                found: Arch::Aarch64,
                expected: Arch::X86_64,
            },
            Code::ManifestArch,
        ),
        (
            Refusal::Expired {
                expires: made(),
                now: made(),
            },
            Code::ManifestExpired,
        ),
        (Refusal::NoExpiry, Code::ManifestValidity),
        (
            Refusal::LifeTooLong {
                granted_days: 91,
                max_days: 90,
            },
            Code::ManifestValidity,
        ),
        (
            Refusal::Rollback {
                name: name(),
                found: image(1),
                min_version: image(2),
            },
            Code::ManifestRollback,
        ),
        (
            Refusal::DeniedVersion {
                name: name(),
                version: image(1),
            },
            Code::ManifestDenied,
        ),
        (
            Refusal::DeniedDigest {
                what: "archive",
                digest: Sha256Digest::of(b""),
            },
            Code::ManifestDenied,
        ),
        (Refusal::NotFresh, Code::FreshnessMissing),
        (Refusal::Freshness(unusable()), Code::FreshnessInvalid),
        (
            Refusal::FreshnessOfOther {
                found: name(),
                expected: name(),
            },
            Code::FreshnessName,
        ),
        (
            Refusal::FreshnessExpired {
                expires: made(),
                now: made(),
            },
            Code::FreshnessExpired,
        ),
        (
            Refusal::FreshnessTooLong {
                granted_hours: 73,
                max_hours: 72,
            },
            Code::FreshnessValidity,
        ),
        (
            Refusal::Stale {
                name: name(),
                found: image(1),
                newest: image(2),
            },
            Code::ManifestStale,
        ),
        (
            Refusal::StalePolicy {
                found: policy(1),
                newest: policy(2),
            },
            Code::TrustStale,
        ),
        (
            Refusal::Policy(PayloadError::Contradiction(invalid())),
            Code::TrustInvalid,
        ),
        (
            Refusal::PolicyVersion {
                found: policy(1),
                expected: policy(2),
            },
            Code::TrustVersion,
        ),
        (
            Refusal::PolicyUnsigned {
                version: policy(2),
                by: policy(2),
                source: Box::new(short(Statement::Policy)),
            },
            Code::TrustThreshold,
        ),
        (
            Refusal::PolicyExpired {
                version: policy(2),
                expires: made(),
                now: made(),
            },
            Code::TrustExpired,
        ),
        (unknown(Statement::Manifest), Code::ManifestUpgrade),
        (unknown(Statement::Policy), Code::TrustUpgrade),
        (unknown(Statement::Freshness), Code::FreshnessUpgrade),
        (unknown(Statement::HostConfig), Code::ConfigureHostUpgrade),
        (
            Refusal::ChainTooLong {
                from: policy(1),
                limit: 64,
            },
            Code::TrustLength,
        ),
    ] {
        assert_eq!(refusal.code(), code, "{refusal:?}");
        assert!(!refusal.hint().is_empty());
    }
}

#[test]
fn who_has_signed_and_who_must_still_is_said() {
    let mut refusal = threshold(Statement::Manifest, &["alice"], &["bob", "carol", "dave"]);
    if let Refusal::Threshold { count, .. } = &mut refusal {
        count.ignored = vec![
            ("\x1b[2J".to_owned(), IgnoredSignature::NotByATrustedKey),
            ("00".to_owned(), IgnoredSignature::SameKeyAgain),
        ];
    }
    assert_eq!(
        Report(&refusal).to_string(),
        "1 of 3 required signatures are there\n  \
         signed by alice\n  \
         ignored the signature under key id \"\\u{1b}[2J\": it verifies with no key of the role that had not signed yet\n  \
         ignored the signature under key id \"00\": its key has signed already and counts once\n  \
         hint: 2 of bob, carol, dave must also run `sealboot image sign`; then publish again"
    );
}

#[test]
fn a_hint_names_the_values_at_hand_where_they_help() {
    use FailureCode as Code;
    let general = |refusal: &Refusal| refusal.hint() == refusal.code().remedy();
    // It is not for `image sign` to mend.
    assert!(general(&threshold(
        Statement::Policy,
        &["alice"],
        &["bob", "carol"]
    )));
    assert!(general(&threshold(
        Statement::Freshness,
        &[],
        &["clockwork"]
    )));
    assert!(general(&Refusal::NotFresh));
    assert!(general(&Refusal::HostRole));
    assert_eq!(
        threshold(Statement::HostConfig, &["carol"], &["dave", "erin"]).hint(),
        "2 of dave, erin must also run `sealboot host-config sign`; then put it in its place again"
    );
    assert!(
        Refusal::HostUnsigned
            .hint()
            .contains("put the envelope in its place")
    );
    assert!(
        Refusal::HostMissing
            .hint()
            .contains("initramfs build --host-config")
    );
    let name = "sealboot.mirror".to_owned();
    assert!(
        Refusal::HostSetting { name }
            .hint()
            .starts_with("take sealboot.mirror= out of")
    );
    let cmdline = HostConfigError::Cmdline(Invalid::new("ip", "x", "y"));
    assert_eq!(
        Refusal::HostCmdline(cmdline).hint(),
        Code::ConfigureCmdline.remedy()
    );
    let (name, found, other) = ("relay".parse::<ImageName>(), 41.try_into(), 42.try_into());
    let (name, found, other): (_, ImageVersion, ImageVersion) =
        (name.unwrap(), found.unwrap(), other.unwrap());
    let rollback = Refusal::Rollback {
        name: name.clone(),
        found,
        min_version: other,
    };
    assert_eq!(
        rollback.hint(),
        "publish version 42 or newer; a mirror that serves older ones is stale or hostile"
    );
    let stale = Refusal::Stale {
        name,
        found,
        newest: other,
    };
    assert_eq!(
        stale.hint(),
        "copy version 42 to this mirror, or ask another; a mirror that holds machines back is stale or hostile"
    );
}

#[test]
fn each_kind_of_statement_has_its_own_type() {
    let kinds = Statement::ALL;
    assert_eq!(
        kinds.map(Statement::payload_type),
        [
            "application/vnd.sealboot.manifest.v1+json",
            "application/vnd.sealboot.trust.v1+json",
            "application/vnd.sealboot.freshness.v1+json",
            "application/vnd.sealboot.host-config.v1+json",
        ]
    );
    assert_eq!(
        kinds.map(|kind| kind.to_string()),
        [
            "manifest",
            "trust policy",
            "freshness statement",
            "host config"
        ]
    );
}

// Found while fuzzing `envelope`: escaped, the longest key ids of one envelope filled 50 KB.
#[test]
fn key_ids_of_a_crowded_envelope_do_not_flood_the_console() {
    let worst = "\u{10ffff}".repeat(LIMITS.key_id_bytes / 4);
    let count = SignatureCount {
        ignored: vec![(worst, IgnoredSignature::NotByATrustedKey); LIMITS.signatures],
        ..SignatureCount::default()
    };
    let text = describe(&count);
    assert!(text.len() < 4 << 10, "{}", text.len());
    assert_eq!(text.lines().skip(1).count(), IGNORED_SHOWN + 1);
    assert!(text.ends_with("\n  ignored as well: 24 more"), "{text}");
    assert!(
        text.lines()
            .skip(1)
            .all(|line| line.starts_with("  ignored ")),
        "{text}"
    );
}

#[test]
fn a_key_id_of_the_usual_length_is_shown_whole() {
    let count = SignatureCount {
        ignored: vec![(
            "21fe31dfa154a261".to_owned(),
            IgnoredSignature::SameKeyAgain,
        )],
        ..SignatureCount::default()
    };
    assert!(describe(&count).contains("\"21fe31dfa154a261\""));
}
