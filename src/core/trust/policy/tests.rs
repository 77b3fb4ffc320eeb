//! Every rule of a policy at its bounds.

use super::*;
use crate::format::key::PublicKey;
use crate::format::version::ImageVersion;

const ALICE: &str = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const BOB: &str = "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

fn whole() -> String {
    format!(
        r#"{{
            "version": 1,
            "keys": [{{"name": "alice", "key": "{ALICE}"}}, {{"name": "bob", "key": "{BOB}"}}],
            "threshold": 2,
            "images": [{{"name": "relay", "min_version": 41}}, {{"name": "exit"}}],
            "expiry": {{"required": true, "max_days": 90}},
            "allow_http": false,
            "clock_tolerance_seconds": 300,
            "on_failure": {{"first_wait_seconds": 2, "longest_wait_seconds": 60, "reboot_after": 20}}
        }}"#
    )
}

#[test]
fn a_policy_is_read_and_written() {
    let policy = TrustPolicy::parse(whole().as_bytes()).expect("valid");
    assert_eq!(policy.threshold(), 2);
    assert_eq!(policy.images()[1].min_version, ImageVersion::FIRST);
    assert_eq!(TrustPolicy::parse(&policy.encode()).expect("valid"), policy);
}

#[test]
fn a_policy_that_contradicts_itself_does_not_load() {
    let whole = whole();
    for (from, to) in [
        ("\"threshold\": 2", "\"threshold\": 0"),
        ("\"threshold\": 2", "\"threshold\": 3"),
        ("\"threshold\": 2", "\"threshold\": -1"),
        ("\"threshold\": 2", "\"threshold\": 2, \"threshold\": 1"),
        ("\"threshold\": 2", "\"threshhold\": 2"),
        ("\"threshold\": 2,", ""),
        (BOB, ALICE),
        ("\"bob\"", "\"alice\""),
        ("\"bob\"", "\"\""),
        ("\"exit\"", "\"relay\""),
        ("\"min_version\": 41", "\"min_version\": 0"),
        ("\"min_version\": 41", "\"min_version\": 9007199254740992"),
        ("\"min_version\": 41", "\"min_versions\": 41"),
        ("\"max_days\": 90", "\"max_days\": 0"),
        ("\"required\": true", "\"required\": 1"),
        (
            "\"clock_tolerance_seconds\": 300",
            "\"clock_tolerance_seconds\": 86401",
        ),
        ("\"first_wait_seconds\": 2", "\"first_wait_seconds\": 0"),
        (
            "\"longest_wait_seconds\": 60",
            "\"longest_wait_seconds\": 1",
        ),
        ("\"allow_http\"", "\"allow_https\""),
    ] {
        assert!(whole.contains(from), "{from}");
        let json = whole.replace(from, to);
        assert!(TrustPolicy::parse(json.as_bytes()).is_err(), "{json}");
    }
    assert!(TrustPolicy::parse(format!("{whole}{}", " ".repeat(64 << 10)).as_bytes()).is_err());
}

#[test]
fn a_role_for_host_configs_is_spelled_as_it_was_read() {
    let plain = plain();
    assert!(
        !String::from_utf8(plain.encode())
            .expect("text")
            .contains("host_config")
    );
    for required in [false, true] {
        let rule = host_config(2..4, 2, required);
        let policy = plain
            .clone()
            .with_host_config(Some(rule.clone()))
            .expect("valid");
        let text = String::from_utf8(policy.encode()).expect("text");
        let again = TrustPolicy::parse_signed(text.as_bytes()).expect("one spelling");
        assert_eq!(again.host_config(), Some(&rule));
        let role = text.split_once("\"host_config\"").expect("it is there").1;
        let role = role.split_once("allow_http").expect("it comes before").0;
        assert_eq!(role.contains("\"required\": true"), required, "{role}");
        assert!(required || !role.contains("required"), "{role}");
        assert_eq!(policy.with_host_config(None).expect("valid"), plain);
    }
    for (from, to) in [
        ("\"required\": true", "\"required\": 1"),
        ("\"required\": true", "\"require\": true"),
        ("\"threshold\": 1,\n    \"required\"", "\"required\""),
    ] {
        let policy = plain
            .clone()
            .with_host_config(Some(host_config(2..3, 1, true)));
        let text = String::from_utf8(policy.expect("valid").encode()).expect("text");
        assert!(text.contains(from), "{text}");
        assert!(
            TrustPolicy::parse(text.replace(from, to).as_bytes()).is_err(),
            "{to}"
        );
    }
}

#[test]
fn a_key_that_signs_host_configs_has_no_other_role() {
    let renewing = FreshnessRule {
        keys: signers(4)[3..].to_vec(),
        threshold: 1,
        required: false,
        max_hours: 72,
    };
    let policy = plain()
        .with_freshness(Some(renewing.clone()))
        .expect("valid");
    for (keys, threshold, expected) in [
        (2..2, 1, Err("host_config.keys")),
        (2..35, 1, Err("host_config.keys")),
        (2..3, 0, Err("host_config.threshold")),
        (2..3, 2, Err("host_config.threshold")),
        (2..3, 1, Ok(())),
        (1..3, 1, Err("host_config.keys.key")),
        (2..4, 1, Err("host_config.keys.key")),
        (4..36, 32, Ok(())),
    ] {
        let rule = host_config(keys.clone(), threshold, true);
        let found = field(policy.clone().with_host_config(Some(rule)));
        assert_eq!(found, expected, "{keys:?}, {threshold}");
    }
    let repeated = |change: fn(&mut Vec<Signer>)| {
        let mut rule = host_config(4..6, 1, false);
        change(&mut rule.keys);
        field(policy.clone().with_host_config(Some(rule)))
    };
    let same_key = repeated(|keys| keys[1].key = keys[0].key);
    assert_eq!(same_key, Err("host_config.keys.key"));
    let same_name = repeated(|keys| keys[1].name = keys[0].name.clone());
    assert_eq!(same_name, Err("host_config.keys.name"));
    // Whichever of the roles comes last.
    let configured = plain().with_host_config(Some(host_config(2..4, 1, false)));
    let configured = configured.expect("valid");
    let found = field(configured.clone().with_freshness(Some(renewing)));
    assert_eq!(found, Err("host_config.keys.key"));
    assert_eq!(
        field(configured.with_signers(signers(3), 2)),
        Err("host_config.keys.key")
    );
}

fn host_config(keys: std::ops::Range<usize>, threshold: usize, required: bool) -> HostConfigRule {
    HostConfigRule {
        keys: signers(40)[keys].to_vec(),
        threshold,
        required,
    }
}

fn signers(count: u8) -> Vec<Signer> {
    let key = |seed: u8| {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        PublicKey::from_bytes(secret.verifying_key().as_bytes()).expect("a key")
    };
    let signer = |seed: u8| Signer {
        name: format!("signer-{seed}").parse().expect("a name"),
        key: key(seed),
    };
    (0..count).map(signer).collect()
}

fn images(count: usize) -> Vec<AcceptedImage> {
    let name = |number: usize| format!("image-{number}").parse().expect("a name");
    let image = |number| AcceptedImage::new(name(number), ImageVersion::FIRST);
    (0..count).map(image).collect()
}

fn digests(count: u64) -> Vec<Sha256Digest> {
    let digest = |number: u64| Sha256Digest::of(&number.to_le_bytes());
    (0..count).map(digest).collect()
}

fn plain() -> TrustPolicy {
    TrustPolicy::new(signers(2), 2, images(1)).expect("valid")
}

/// The field that a policy is refused for, if it is.
fn field(policy: Result<TrustPolicy, PolicyError>) -> Result<(), &'static str> {
    match policy {
        Ok(policy) => {
            let again = TrustPolicy::parse(&policy.encode()).expect("what was made is read");
            assert_eq!(again, policy);
            Ok(())
        }
        Err(PolicyError::Contradiction(invalid)) => Err(invalid.field),
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn keys_and_threshold_are_bounded_by_each_other() {
    for (count, threshold, expected) in [
        (0, 0, Err("keys")),
        (0, 1, Err("keys")),
        (1, 0, Err("threshold")),
        (1, 1, Ok(())),
        (1, 2, Err("threshold")),
        (3, 1, Ok(())),
        (3, 3, Ok(())),
        (3, 4, Err("threshold")),
        (32, 32, Ok(())),
        (33, 1, Err("keys")),
    ] {
        let made = TrustPolicy::new(signers(count), threshold, images(1));
        assert_eq!(field(made), expected, "{threshold} of {count}");
        let made = plain().with_signers(signers(count), threshold);
        assert_eq!(field(made), expected, "{threshold} of {count}");
    }
}

#[test]
fn a_key_or_a_name_is_given_once() {
    let mut twice = signers(3);
    twice[2].key = twice[0].key;
    assert_eq!(field(plain().with_signers(twice, 1)), Err("keys.key"));
    let mut twice = signers(3);
    twice[2].name = twice[1].name.clone();
    assert_eq!(field(plain().with_signers(twice, 1)), Err("keys.name"));
}

#[test]
fn images_are_few_and_named_once() {
    for (count, expected) in [
        (0, Err("images")),
        (1, Ok(())),
        (64, Ok(())),
        (65, Err("images")),
    ] {
        assert_eq!(
            field(plain().with_images(images(count))),
            expected,
            "{count}"
        );
    }
    let mut twice = images(3);
    twice[2].name = twice[0].name.clone();
    assert_eq!(field(plain().with_images(twice)), Err("images.name"));
}

#[test]
fn what_is_denied_is_listed_once_and_up_to_256_times() {
    let denying = |versions: &[u64]| {
        let mut images = images(2);
        let version = |number: &u64| (*number).try_into().expect("in range");
        images[1].denied_versions = versions.iter().map(version).collect();
        field(plain().with_images(images))
    };
    let all: Vec<u64> = (1..=257).collect();
    assert_eq!(denying(&all[..256]), Ok(()));
    assert_eq!(denying(&all), Err("images.denied_versions"));
    assert_eq!(denying(&[7, 8, 7]), Err("images.denied_versions"));
    let denying = |digests| field(plain().with_denied_digests(digests));
    assert_eq!(denying(digests(256)), Ok(()));
    assert_eq!(denying(digests(257)), Err("denied_digests"));
    assert_eq!(
        denying([digests(2), digests(1)].concat()),
        Err("denied_digests")
    );
    let denied = plain().with_denied_digests(digests(2)).expect("valid");
    assert_eq!(denied.denied_digests(), digests(2));

    let knowing = |digests| field(plain().with_mirror_keys(digests));
    assert_eq!(knowing(digests(33)), Err("mirror_keys"));
    assert_eq!(
        knowing([digests(2), digests(1)].concat()),
        Err("mirror_keys")
    );
    let known = plain().with_mirror_keys(digests(32)).expect("valid");
    assert_eq!(known.mirror_keys(), digests(32));
    let read = TrustPolicy::parse(&known.encode()).expect("valid");
    assert_eq!(read, known);
    // A policy without any has the spelling that it had before there were any.
    let none = known.with_mirror_keys(Vec::new()).expect("valid");
    assert!(!String::from_utf8_lossy(&none.encode()).contains("mirror_keys"));
}

#[test]
fn an_expiry_is_at_most_a_century_away() {
    for (days, expected) in [
        (0, Err("expiry.max_days")),
        (1, Ok(())),
        (36_500, Ok(())),
        (36_501, Err("expiry.max_days")),
    ] {
        let rule = ExpiryRule {
            required: true,
            max_days: Some(days),
        };
        assert_eq!(field(plain().with_expiry(rule)), expected, "{days}");
    }
    let rule = ExpiryRule {
        required: true,
        max_days: None,
    };
    assert_eq!(plain().with_expiry(rule).expect("valid").expiry(), rule);
}

#[test]
fn waits_grow_and_stay_within_a_day() {
    for (first, longest, expected) in [
        (0, 60, Err("on_failure.first_wait_seconds")),
        (1, 1, Ok(())),
        (2, 1, Err("on_failure.longest_wait_seconds")),
        (3600, 86_400, Ok(())),
        (3601, 86_400, Err("on_failure.first_wait_seconds")),
        (1, 86_401, Err("on_failure.longest_wait_seconds")),
    ] {
        let waits = FailurePolicy {
            first_wait_seconds: first,
            longest_wait_seconds: longest,
            reboot_after: 0,
            ..FailurePolicy::default()
        };
        let made = plain().with_on_failure(waits);
        if let Ok(policy) = &made {
            assert_eq!(policy.on_failure(), waits);
        }
        assert_eq!(field(made), expected, "{first} to {longest}");
    }
}

#[test]
fn freshness_has_keys_of_its_own_and_counts_for_at_most_a_year() {
    let all = signers(5);
    let rule = |keys: &[Signer], threshold, max_hours| FreshnessRule {
        keys: keys.to_vec(),
        threshold,
        required: true,
        max_hours,
    };
    let mut twice = all[2..].to_vec();
    twice[2].key = twice[0].key;
    let mut renamed = all[1].clone();
    renamed.name = "another-name".parse().expect("a name");
    for (rule, expected) in [
        (rule(&all[2..], 1, 1), Ok(())),
        (rule(&all[2..], 3, 8760), Ok(())),
        (rule(&all[2..], 4, 1), Err("freshness.threshold")),
        (rule(&all[2..], 0, 1), Err("freshness.threshold")),
        (rule(&[], 1, 1), Err("freshness.keys")),
        (rule(&twice, 1, 1), Err("freshness.keys.key")),
        (rule(&[renamed], 1, 1), Err("freshness.keys.key")),
        (rule(&all[2..], 1, 0), Err("freshness.max_hours")),
        (rule(&all[2..], 1, 8761), Err("freshness.max_hours")),
    ] {
        let made = plain().with_freshness(Some(rule.clone()));
        if let Ok(policy) = &made {
            assert_eq!(policy.freshness(), Some(&rule));
        }
        assert_eq!(field(made), expected, "{rule:?}");
    }
    // Nor may a key that renews be taken among those that sign.
    let policy = plain()
        .with_freshness(Some(rule(&all[2..], 1, 1)))
        .expect("valid");
    assert_eq!(
        field(policy.with_signers(all[..3].to_vec(), 1)),
        Err("freshness.keys.key")
    );
}

#[test]
fn a_tolerance_is_at_most_a_day() {
    let read = |seconds: &str| {
        let json = whole().replace(
            "\"clock_tolerance_seconds\": 300",
            &format!("\"clock_tolerance_seconds\": {seconds}"),
        );
        TrustPolicy::parse(json.as_bytes()).map(|policy| policy.clock_tolerance())
    };
    for seconds in [0, 300, 86_400] {
        let tolerance = read(&seconds.to_string()).expect("valid");
        assert_eq!(tolerance, Duration::from_secs(seconds));
    }
    assert!(matches!(
        read("86401"),
        Err(PolicyError::Contradiction(invalid)) if invalid.field == "clock_tolerance_seconds"
    ));
}

#[test]
fn a_policy_is_read_up_to_64_kib() {
    let mut json = plain().encode();
    json.resize(65_536, b' ');
    TrustPolicy::parse(&json).expect("valid");
    json.push(b' ');
    let error = TrustPolicy::parse(&json).expect_err("too large");
    assert!(matches!(error, PolicyError::TooLarge), "{error:?}");
    assert_eq!(error.code(), FailureCode::ConfigurePolicy);
}

#[test]
fn a_signed_policy_has_one_spelling() {
    let json = plain().encode();
    assert_eq!(TrustPolicy::parse_signed(&json).expect("valid"), plain());
    assert_eq!(json.last(), Some(&b'\n'));
    let without_newline = &json[..json.len() - 1];
    for other in [without_newline, whole().as_bytes()] {
        TrustPolicy::parse(other).expect("a file may be spelled as people like");
        let error = TrustPolicy::parse_signed(other).expect_err("another spelling");
        assert!(matches!(error, PolicyError::Spelling), "{error:?}");
    }
}

#[test]
fn what_a_policy_does_not_say_has_its_default() {
    let json = format!(
        r#"{{"version": 7, "keys": [{{"name": "alice", "key": "{ALICE}"}}], "threshold": 1, "images": [{{"name": "relay"}}]}}"#
    );
    let policy = TrustPolicy::parse(json.as_bytes()).expect("valid");
    assert_eq!(policy.version().as_u64(), 7);
    assert_eq!(policy.keys()[0].key.to_string(), ALICE);
    assert_eq!(policy.images()[0].min_version, ImageVersion::FIRST);
    assert!(policy.images()[0].denied_versions.is_empty());
    assert!(policy.denied_digests().is_empty());
    assert_eq!(
        policy.expiry(),
        ExpiryRule {
            required: false,
            max_days: None
        }
    );
    assert_eq!(policy.freshness(), None);
    assert!(!policy.allows_http());
    assert_eq!(policy.clock_tolerance(), Duration::from_secs(300));
    let waits = FailurePolicy {
        first_wait_seconds: 2,
        longest_wait_seconds: 60,
        reboot_after: 20,
        give_up: GiveUp::Reboot,
        stall_seconds: 900,
        shell: false,
    };
    assert_eq!(policy.on_failure(), waits);
    let json = json.replace(
        "\"threshold\"",
        "\"on_failure\": {}, \"expiry\": {}, \"threshold\"",
    );
    assert_eq!(TrustPolicy::parse(json.as_bytes()).expect("valid"), policy);
    let made = TrustPolicy::new(policy.keys().to_vec(), 1, policy.images().to_vec());
    assert_eq!(made.expect("valid").with_version(policy.version()), policy);
    let open = policy.clone().with_plain_http();
    assert!(open.allows_http());
    assert_eq!(open.with_https_only(), policy);
}

#[test]
fn a_loader_that_waits_as_a_mirror_asks_it_to_is_not_taken_for_one_that_hangs() {
    for (stall_seconds, expected) in [
        (359, Err("on_failure.stall_seconds")),
        (360, Ok(())),
        (86_400, Ok(())),
        (86_401, Err("on_failure.stall_seconds")),
    ] {
        let made = plain().with_on_failure(FailurePolicy {
            stall_seconds,
            ..FailurePolicy::default()
        });
        assert_eq!(field(made), expected, "{stall_seconds}");
    }
}

#[test]
fn what_a_failure_leads_to_is_spelled_where_it_is_not_as_usual() {
    let spelled = |policy: FailurePolicy| serde_json::to_string(&policy).expect("JSON");
    let usual = r#"{"first_wait_seconds":2,"longest_wait_seconds":60,"reboot_after":20}"#;
    assert_eq!(spelled(FailurePolicy::default()), usual);
    let other = FailurePolicy {
        give_up: GiveUp::PowerOff,
        stall_seconds: 1200,
        shell: true,
        ..FailurePolicy::default()
    };
    let json = r#"{"first_wait_seconds":2,"longest_wait_seconds":60,"reboot_after":20,"give_up":"power-off","stall_seconds":1200,"shell":true}"#;
    assert_eq!(spelled(other), json);
    let read: FailurePolicy = serde_json::from_str(json).expect("valid");
    assert_eq!(read, other);
    for bad in [
        r#"{"give_up": "panic"}"#,
        r#"{"shell": "yes"}"#,
        r#"{"give_up": null}"#,
    ] {
        assert!(serde_json::from_str::<FailurePolicy>(bad).is_err(), "{bad}");
    }
}

#[test]
fn disks_are_allowed_unless_a_policy_says_otherwise() {
    let plain = plain();
    assert_eq!(plain.disks(), Disks::Allow);
    let text = |policy: &TrustPolicy| String::from_utf8(policy.encode()).expect("text");
    assert!(!text(&plain).contains("disks"));
    let refusing = plain.clone().with_disks(Disks::Refuse);
    let json = text(&refusing);
    assert!(json.ends_with(",\n  \"disks\": \"refuse\"\n}\n"), "{json}");
    let again = TrustPolicy::parse_signed(json.as_bytes()).expect("one spelling");
    assert_eq!(again, refusing);
    assert_eq!(again.with_disks(Disks::Allow), plain);
    let spelled = json.replace("\"refuse\"", "\"allow\"");
    let read = TrustPolicy::parse(spelled.as_bytes()).expect("it may be said");
    assert_eq!(read, plain);
    for wrong in ["\"deny\"", "\"Refuse\"", "true", "null", "[]"] {
        let json = json.replace("\"refuse\"", wrong);
        TrustPolicy::parse(json.as_bytes()).expect_err(wrong);
    }
}
