//! Which host configs each kind of policy takes, and what of a command line.

use super::super::envelope::EnvelopeSignature;
use jiff::Timestamp;

use super::super::testing::{
    configured, group, key, made, policy, renewed, sealed, seconds, signer, time,
};
use super::super::{ClockState, JudgingTime};
use super::*;
use crate::failure::{Diagnose as _, FailureCode};
use crate::format::host_config::HostConfigError;

const HOST: &str = concat!(
    r#"{"created": "2026-01-01T12:00:00Z", "image": "relay", "#,
    r#""mirrors": ["https://boot.example/"], "network": {"mode": "dhcp"}}"#
);

fn signed(by: &[&str]) -> Envelope {
    sealed(HostConfig::PAYLOAD_TYPE, HOST.into(), by)
}

/// Three roles, one key each; host configs need not be signed.
fn asking() -> TrustPolicy {
    configured(renewed(policy(&["alice"]), false), false)
}

/// The same, and they must.
fn requiring() -> TrustPolicy {
    configured(renewed(policy(&["alice"]), false), true)
}

/// Two of these must sign host configs.
fn asking_two() -> TrustPolicy {
    let changed = requiring().with(|fields| {
        fields.keys.extend([signer("dave"), signer("erin")]);
        fields.roles.host_config = Some(vec![group(2, &["carol", "dave", "erin"])]);
    });
    changed.unwrap()
}

fn judge(policy: &TrustPolicy, stored: Option<&[u8]>, line: &str) -> Result<Judged, Refusal> {
    judge_at(policy, stored, line, None, made())
}

fn judge_at(
    policy: &TrustPolicy,
    stored: Option<&[u8]>,
    line: &str,
    machine: Option<KnownAs>,
    now: Timestamp,
) -> Result<Judged, Refusal> {
    let presented = Presented {
        stored: stored.map(<[u8]>::to_vec),
        cmdline: Parameters::parse(line),
        machine,
    };
    policy.judge_host_config(&presented, &now.into())
}

fn code(policy: &TrustPolicy, stored: Option<&[u8]>, line: &str) -> FailureCode {
    judge(policy, stored, line).unwrap_err().code()
}

fn names(judged: &Judged) -> Option<Vec<&str>> {
    let signers = judged.signers()?;
    Some(signers.iter().map(SignerName::as_str).collect())
}

#[test]
fn what_nobody_asks_to_be_signed_is_taken_plain_and_what_is_signed_is_not_taken_unchecked() {
    let nobody = policy(&["alice"]);
    let judged = judge(&nobody, Some(HOST.as_bytes()), "").unwrap();
    assert_eq!(judged.config().image.as_str(), "relay");
    assert_eq!((names(&judged), judged.overridden()), (None, None));
    for by in [&[][..], &["carol"], &["alice"]] {
        let refusal = judge(&nobody, Some(&signed(by).encode()), "").unwrap_err();
        assert!(matches!(refusal, Refusal::HostRole), "{refusal:?}");
    }
    // Not even looked at.
    let refusal = judge(&nobody, Some(br#"{"payloadType": 1}"#), "").unwrap_err();
    assert!(matches!(refusal, Refusal::HostRole), "{refusal:?}");
}

#[test]
fn the_roles_signers_and_nobody_else_sign_host_configs() {
    for policy in [asking(), requiring()] {
        let judged = judge(&policy, Some(&signed(&["mallory", "carol"]).encode()), "").unwrap();
        assert_eq!(judged.config().image.as_str(), "relay");
        assert_eq!(names(&judged), Some(vec!["carol"]));
        assert_eq!(judged.overridden(), None);
        assert_eq!(
            judged.into_config(),
            HostConfig::parse(HOST.as_bytes()).unwrap()
        );
        for by in [&[][..], &["alice"], &["clockwork"], &["mallory"]] {
            let stored = signed(by).encode();
            let found = code(&policy, Some(&stored), "");
            assert_eq!(found, FailureCode::ConfigureHostThreshold, "{by:?}");
        }
    }
}

#[test]
fn a_plain_host_config_is_taken_until_the_policy_requires_a_signed_one() {
    let plain = Some(HOST.as_bytes());
    let judged = judge(&asking(), plain, "").unwrap();
    assert_eq!(names(&judged), None);
    let refusal = judge(&requiring(), plain, "").unwrap_err();
    assert!(matches!(refusal, Refusal::HostUnsigned), "{refusal:?}");
    let refusal = judge(&requiring(), None, "").unwrap_err();
    assert!(matches!(refusal, Refusal::HostMissing), "{refusal:?}");
    // What is no host config at all is not the less unsigned.
    for stored in ["", "{", "[]", "{}"] {
        let found = code(&requiring(), Some(stored.as_bytes()), "");
        assert_eq!(found, FailureCode::ConfigureHostUnsigned, "{stored}");
        let found = code(&asking(), Some(stored.as_bytes()), "");
        assert_eq!(found, FailureCode::ConfigureHost, "{stored}");
    }
}

#[test]
fn a_command_line_cannot_take_back_what_must_be_signed() {
    let stored = signed(&["carol"]).encode();
    let whole = "sealboot.image=relay sealboot.mirror=https://evil.example/ ip=dhcp";
    for (line, first) in [
        ("sealboot.mirror=https://evil.example/", "sealboot.mirror"),
        ("quiet ip=192.0.2.9::192.0.2.1:24::eth0:none", "ip"),
        ("nameserver=192.0.2.66 sealboot.image=other", "nameserver"),
        ("sealboot.unheard=1", "sealboot.unheard"),
        ("bridge=br0:eth0", "bridge"),
        (whole, "sealboot.image"),
    ] {
        for stored in [Some(&stored[..]), Some(HOST.as_bytes()), None] {
            let refusal = judge(&requiring(), stored, line).unwrap_err();
            assert_eq!(refusal.code(), FailureCode::ConfigureHostUnsigned, "{line}");
            assert!(
                matches!(&refusal, Refusal::HostSetting { name } if name == first),
                "{line}: {refusal:?}"
            );
        }
    }
    for line in [
        "console=ttyS0 sealboot.log=debug panic=30",
        "sealboot.config=/etc/other.json",
        "BOOTIF=01-00-00-5e-00-53-01 rd.bootif=0",
    ] {
        let judged = judge(&requiring(), Some(&stored), line).unwrap();
        assert_eq!(names(&judged), Some(vec!["carol"]), "{line}");
    }
}

#[test]
fn where_nothing_must_be_signed_the_command_line_overrides_and_it_is_said() {
    let line = "sealboot.mirror=https://other.example/ ip=dhcp";
    for (policy, stored, signers) in [
        (asking(), signed(&["carol"]).encode(), Some(vec!["carol"])),
        (asking(), HOST.into(), None),
        (policy(&["alice"]), HOST.into(), None),
    ] {
        let judged = judge(&policy, Some(&stored), line).unwrap();
        assert_eq!(
            judged.config().mirrors[0].to_string(),
            "https://other.example/"
        );
        assert_eq!(judged.overridden(), Some("sealboot.mirror"));
        assert_eq!(names(&judged), signers);
    }
    let alone = judge(&asking(), None, &format!("sealboot.image=relay {line}")).unwrap();
    assert_eq!(
        (names(&alone), alone.overridden()),
        (None, Some("sealboot.image"))
    );
    assert_eq!(code(&asking(), None, line), FailureCode::ConfigureHost);
    let wrong = "ip=x";
    assert_eq!(
        code(&asking(), Some(HOST.as_bytes()), wrong),
        FailureCode::ConfigureCmdline
    );
}

#[test]
fn signatures_are_counted_by_distinct_keys_of_the_role() {
    let policy = asking_two();
    for (by, expected) in [
        (&["erin", "carol"][..], Ok(vec!["carol", "erin"])),
        (
            &["carol", "dave", "erin"],
            Ok(vec!["carol", "dave", "erin"]),
        ),
        (&["carol"], Err(vec!["dave", "erin"])),
        (&["carol", "alice"], Err(vec!["dave", "erin"])),
        (&["mallory", "alice"], Err(vec!["carol", "dave", "erin"])),
    ] {
        match (judge(&policy, Some(&signed(by).encode()), ""), expected) {
            (Ok(judged), Ok(signers)) => assert_eq!(names(&judged), Some(signers)),
            (Err(Refusal::Threshold { count, .. }), Err(expected)) => {
                let missing: Vec<&str> = count.unmet[0].of.iter().map(SignerName::as_str).collect();
                assert_eq!((missing, count.required), (expected, 2), "{by:?}");
            }
            (judged, _) => panic!("{by:?}: {judged:?}"),
        }
    }
    // The same key twice, the second time under another's id.
    let mut twice = signed(&["carol"]);
    let signature = twice.signatures()[0].clone();
    let id = key("dave").id().to_string();
    twice.join(EnvelopeSignature::new(id, signature.bytes));
    assert_eq!(
        code(&policy, Some(&twice.encode()), ""),
        FailureCode::ConfigureHostThreshold
    );
}

#[test]
fn an_envelope_of_another_kind_is_none_whoever_has_signed_it() {
    for statement in Statement::ALL {
        let stored = sealed(statement.payload_type(), HOST.into(), &["carol"]).encode();
        let judged = judge(&requiring(), Some(&stored), "");
        match statement {
            Statement::HostConfig => assert!(judged.is_ok()),
            _ => assert_eq!(
                judged.unwrap_err().code(),
                FailureCode::ConfigureHostEnvelope,
                "{statement}"
            ),
        }
    }
    // Nor does a host config pass for anything else.
    let refusal = asking().verify_successor(&signed(&["alice"]).encode());
    assert_eq!(refusal.unwrap_err().code(), FailureCode::TrustPayloadType);
}

#[test]
fn an_envelope_that_cannot_be_read_is_said_to_be_one() {
    for stored in [
        r#"{"payloadType": "x"}"#,
        r#"{"payloadType": "x", "payload": "*", "signatures": []}"#,
        r#"{"payloadType": "x", "payload": "", "signatures": [], "image": "relay"}"#,
    ] {
        for policy in [asking(), requiring()] {
            let found = code(&policy, Some(stored.as_bytes()), "");
            assert_eq!(found, FailureCode::ConfigureHostEnvelope, "{stored}");
        }
    }
}

#[test]
fn what_is_signed_must_be_a_host_config_all_the_same() {
    for payload in [
        "",
        "{}",
        r#"{"image": "relay"}"#,
        &HOST.replace("https", "ftp"),
    ] {
        let stored = sealed(HostConfig::PAYLOAD_TYPE, payload.into(), &["carol"]).encode();
        let refusal = judge(&requiring(), Some(&stored), "").unwrap_err();
        assert!(
            matches!(refusal, Refusal::HostConfig(_)),
            "{payload}: {refusal:?}"
        );
        assert_eq!(refusal.code(), FailureCode::ConfigureHost);
    }
    // An envelope in an envelope is no host config.
    let inner = signed(&["carol"]).encode();
    let nested = sealed(HostConfig::PAYLOAD_TYPE, inner, &["carol"]).encode();
    assert_eq!(
        code(&requiring(), Some(&nested), ""),
        FailureCode::ConfigureHost
    );
}

#[test]
fn a_signed_host_config_is_bounded_as_a_plain_one_is() {
    let mut stored = signed(&["carol"]).encode();
    stored.resize(65_536, b' ');
    judge(&requiring(), Some(&stored), "").unwrap();
    stored.push(b' ');
    let refusal = judge(&requiring(), Some(&stored), "").unwrap_err();
    assert!(
        matches!(
            refusal,
            Refusal::HostConfig(HostConfigError::Payload(PayloadError::TooLarge { .. }))
        ),
        "{refusal:?}"
    );
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_changes_nothing() {
    let stored = signed(&["carol"]).encode();
    let config = HostConfig::parse(HOST.as_bytes()).unwrap();
    for at in 0..stored.len() {
        for bit in 0..8 {
            let mut stored = stored.clone();
            stored[at] ^= 1 << bit;
            // In white space and in a key id, which is a hint, it may pass.
            if let Ok(judged) = judge(&requiring(), Some(&stored), "") {
                assert_eq!(*judged.config(), config, "bit {bit} of byte {at}");
                assert_eq!(names(&judged), Some(vec!["carol"]));
            }
        }
    }
    for length in 0..stored.len() - 1 {
        assert!(
            judge(&requiring(), Some(&stored[..length]), "").is_err(),
            "{length}"
        );
    }
}

#[test]
fn what_was_verified_says_which_bytes_were_signed() {
    let verified = asking()
        .verify_host_config(&signed(&["carol"]).encode())
        .unwrap();
    assert_eq!(
        *verified.payload_sha256(),
        crate::format::digest::Sha256Digest::of(HOST.as_bytes())
    );
}

/// [`HOST`] with more fields, signed by carol.
fn with(fields: &str) -> Vec<u8> {
    let json = HOST.replacen("\"image\"", &format!("{fields}, \"image\""), 1);
    sealed(HostConfig::PAYLOAD_TYPE, json.into(), &["carol"]).encode()
}

#[test]
fn a_signed_host_config_says_when_it_was_created() {
    let undated = HOST.replacen("\"created\": \"2026-01-01T12:00:00Z\", ", "", 1);
    let signed = sealed(HostConfig::PAYLOAD_TYPE, undated.clone().into(), &["carol"]).encode();
    let refusal = judge(&asking(), Some(&signed), "").unwrap_err();
    assert!(matches!(refusal, Refusal::HostUndated), "{refusal:?}");
    judge(&asking(), Some(undated.as_bytes()), "").unwrap();
}

#[test]
fn a_host_config_ends() {
    let ending = with(r#""expires": "2026-01-02T12:00:00Z""#);
    let end = time("2026-01-02T12:00:00Z");
    for (now, expected) in [
        (made(), Ok(())),
        (end + seconds(299), Ok(())),
        (end + seconds(300), Err(FailureCode::ConfigureHostExpired)),
    ] {
        let judged = judge_at(&requiring(), Some(&ending), "", None, now);
        let code = judged.map(drop).map_err(|refusal| refusal.code());
        assert_eq!(code, expected, "{now}");
    }
    // A plain one too.
    let plain = HOST.replacen(
        "\"image\"",
        r#""expires": "2026-01-01T13:00:00Z", "image""#,
        1,
    );
    let judged = judge_at(&asking(), Some(plain.as_bytes()), "", None, end);
    assert_eq!(
        judged.unwrap_err().code(),
        FailureCode::ConfigureHostExpired
    );
    // An unset clock is a lower bound: what has ended by it has ended.
    let presented = Presented {
        stored: Some(ending),
        ..Presented::default()
    };
    let unset = JudgingTime::new(end + seconds(300), ClockState::Unset);
    requiring()
        .judge_host_config(&presented, &unset)
        .unwrap_err();
}

#[test]
fn a_host_config_is_for_the_machines_that_it_names() {
    let named = with(r#""for": ["serial:CZ1234", "mac:52:54:00:12:34:56", "tpm:00"]"#);
    let known_as = |serial: &str, mac: &str| KnownAs {
        serial: Some(serial.to_owned()),
        macs: vec![mac.to_owned()],
        ..KnownAs::default()
    };
    for (machine, expected) in [
        (Some(known_as("CZ1234", "52:54:00:00:00:01")), Ok(())),
        (Some(known_as("CZ9", "52:54:00:12:34:56")), Ok(())),
        (
            Some(known_as("CZ9", "52:54:00:00:00:01")),
            Err(FailureCode::ConfigureHostMachine),
        ),
        (
            Some(KnownAs::default()),
            Err(FailureCode::ConfigureHostMachine),
        ),
        // A workstation judges for no machine.
        (None, Ok(())),
    ] {
        let judged = judge_at(&requiring(), Some(&named), "", machine.clone(), made());
        let code = judged.map(drop).map_err(|refusal| refusal.code());
        assert_eq!(code, expected, "{machine:?}");
    }
    let everybodys = signed(&["carol"]).encode();
    let machine = Some(KnownAs::default());
    judge_at(&requiring(), Some(&everybodys), "", machine, made()).unwrap();
}

#[test]
fn a_policy_takes_no_signed_host_config_from_before_its_date() {
    let from = |time: &str| {
        let changed = requiring().with(|fields| {
            fields.host_config.not_before = Some(time.parse().unwrap());
        });
        changed.unwrap()
    };
    let signed = signed(&["carol"]).encode();
    judge(&from("2026-01-01T12:00:00Z"), Some(&signed), "").unwrap();
    let refused = code(&from("2026-01-01T12:00:01Z"), Some(&signed), "");
    assert_eq!(refused, FailureCode::ConfigureHostRevoked);
}
