//! Every rule of a policy at its bounds.

use super::*;
use crate::format::version::ImageVersion;
use crate::trust::testing::{group, made, names, signer, time};

const ALICE: &str = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const BOB: &str = "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

/// The least that a policy says.
fn least() -> String {
    format!(
        r#"{{
            "version": 1,
            "created": "2026-01-01T12:00:00Z",
            "keys": [{{"name": "alice", "key": "{ALICE}"}}, {{"name": "bob", "key": "{BOB}"}}],
            "roles": {{
                "root": [{{"keys": ["alice", "bob"], "threshold": 2}}],
                "release": [{{"keys": ["bob"], "threshold": 1}}]
            }},
            "images": [{{"name": "relay"}}]
        }}"#
    )
}

fn plain() -> TrustPolicy {
    TrustPolicy::parse(least().as_bytes()).expect("valid")
}

/// Roles of their own for all four kinds, of eight people.
fn of_eight() -> Fields {
    let people = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let roles = Roles {
        root: vec![group(2, &["a", "b", "c"])],
        release: vec![group(1, &["d"]), group(1, &["a", "b", "c"])],
        freshness: Some(vec![group(1, &["e"])]),
        host_config: Some(vec![group(1, &["f"])]),
    };
    let mut dns = image("dns");
    dns.release = Some(vec![group(1, &["g"])]);
    dns.freshness = Some(vec![group(1, &["h"])]);
    Fields::new(
        made(),
        people.iter().map(|name| signer(name)).collect(),
        roles,
        vec![image("relay"), dns],
    )
}

fn image(name: &str) -> AcceptedImage {
    AcceptedImage::new(name.parse().expect("a name"), ImageVersion::FIRST)
}

/// The field for which a policy is refused, if it is; one that is accepted reads back as it was encoded.
fn refused(fields: Fields, change: impl FnOnce(&mut Fields)) -> Option<&'static str> {
    let mut fields = fields;
    change(&mut fields);
    match TrustPolicy::try_from(fields) {
        Ok(policy) => {
            let again = TrustPolicy::parse(&policy.encode()).expect("what was encoded is read");
            assert_eq!(again, policy);
            None
        }
        Err(invalid) => Some(invalid.field),
    }
}

fn digests(count: u64) -> Vec<Sha256Digest> {
    let digest = |number: u64| Sha256Digest::of(&number.to_le_bytes());
    (0..count).map(digest).collect()
}

#[test]
fn a_policy_has_defaults_for_all_but_its_keys_and_images() {
    let policy = plain();
    let fields = policy.fields();
    assert_eq!(policy.version(), PolicyVersion::FIRST);
    assert_eq!(fields.created, made());
    assert_eq!((fields.expires, fields.on_expiry), (None, OnExpiry::Warn));
    assert_eq!(fields.min_loader, None);
    assert_eq!(policy.images()[0], image("relay"));
    assert!(fields.denied_digests.is_empty());
    assert_eq!(fields.expiry, ExpiryRule::default());
    assert_eq!(fields.freshness, FreshnessRule::DEFAULT);
    assert_eq!(fields.host_config, HostConfigRule::default());
    assert!(!policy.allows_http());
    assert_eq!(policy.clock_tolerance(), Duration::from_secs(300));
    assert_eq!(policy.on_failure(), FailurePolicy::DEFAULT);
    assert_eq!(fields.disks, Disks::Allow);
    let spelled = least().replace(
        "\"roles\"",
        r#""on_failure": {}, "expiry": {}, "freshness": {}, "host_config": {}, "roles""#,
    );
    assert_eq!(
        TrustPolicy::parse(spelled.as_bytes()).expect("valid"),
        policy
    );
    assert_eq!(
        TrustPolicy::try_from(Fields::new(
            made(),
            policy.keys().to_vec(),
            fields.roles.clone(),
            policy.images().to_vec(),
        )),
        Ok(policy)
    );
}

#[test]
fn every_field_reads_back_as_it_was_encoded() {
    let json = r#"{"version":7,"created":"2026-12-01T09:00:00Z","expires":"2028-12-01T00:00:00Z","on_expiry":"refuse","min_loader":"1.2.3","keys":[{"name":"alice","key":"ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"},{"name":"bob","key":"ml-dsa-65:AAAA"},{"name":"carol","key":"x:1"},{"name":"dave","key":"x:2"}],"roles":{"root":[{"keys":["alice"],"threshold":1}],"release":[{"keys":["bob","alice"],"threshold":2}],"freshness":[{"keys":["carol"],"threshold":1}],"host_config":[{"keys":["dave"],"threshold":1}]},"images":[{"name":"relay","min_version":41,"denied_versions":[43],"release":[{"keys":["alice"],"threshold":1}],"freshness":[{"keys":["carol"],"threshold":1}]}],"denied_digests":["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],"expiry":{"required":true,"max_days":90},"freshness":{"required":true,"max_hours":48,"max_releases":2},"host_config":{"required":true,"not_before":"2026-11-01T00:00:00Z"},"allow_http":true,"clock_tolerance_seconds":60,"on_failure":{"retry_initial_seconds":3,"retry_max_seconds":70,"max_attempts":0,"final_action":"power-off","stall_seconds":1200,"shell":true,"unconfirmed_boots":0,"handover_watchdog_seconds":600},"disks":"refuse"}"#;
    let policy = TrustPolicy::parse(json.as_bytes()).expect("valid");
    assert_eq!(
        String::from_utf8(payload::encode(&policy)).expect("text"),
        json
    );
    let read = payload::parse_with_unknown::<TrustPolicy>(json.as_bytes()).expect("valid");
    assert_eq!(read.unknown, [""; 0]);
}

#[test]
fn fields_of_another_shape_are_refused() {
    for (from, to) in [
        ("\"version\": 1,", ""),
        ("\"version\": 1", "\"version\": 0"),
        ("\"created\": \"2026-01-01T12:00:00Z\",", ""),
        ("\"threshold\": 2", "\"threshold\": -1"),
        ("\"threshold\": 2", "\"threshold\": 2, \"threshold\": 1"),
        ("\"threshold\": 2", "\"threshhold\": 2"),
        ("\"root\"", "\"roots\""),
        ("\"bob\"", "\"\""),
        ("ed25519:3d", "ed25519:3D"),
        ("{\"name\": \"relay\"}", "[\"relay\"]"),
        (
            "{\"name\": \"relay\"}",
            "{\"name\": \"relay\", \"min_version\": 0}",
        ),
        ("\"images\"", "\"allow_http\": 1, \"images\""),
        ("\"images\"", "\"expires\": null, \"images\""),
    ] {
        assert!(least().contains(from), "{from}");
        let json = least().replace(from, to);
        TrustPolicy::parse(json.as_bytes()).expect_err(&json);
    }
}

#[test]
fn an_unknown_word_in_a_closed_list_asks_for_an_upgrade() {
    for field in [
        r#""on_expiry": "later""#,
        r#""disks": "erase""#,
        r#""on_failure": {"final_action": "hibernate"}"#,
    ] {
        let json = least().replace("\"images\"", &format!("{field}, \"images\""));
        let error = TrustPolicy::parse(json.as_bytes()).expect_err(&json);
        assert!(error.needs_upgrade(), "{error:?}");
    }
}

#[test]
fn a_policy_is_read_up_to_128_kib() {
    let mut json = plain().encode();
    json.resize(131_072, b' ');
    TrustPolicy::parse(&json).expect("valid");
    json.push(b' ');
    let error = TrustPolicy::parse(&json).expect_err("too large");
    assert!(matches!(error, PayloadError::TooLarge { .. }), "{error:?}");
}

#[test]
fn the_table_has_1_to_64_keys_each_once() {
    for (count, expected) in [(1, None), (64, None), (65, Some("keys"))] {
        let found = refused(plain().fields().clone(), |fields| {
            fields.keys = (0..count)
                .map(|number| signer(&format!("s{number}")))
                .collect();
            let one = vec![group(1, &["s0"])];
            fields.roles.root = one.clone();
            fields.roles.release = one;
        });
        assert_eq!(found, expected, "{count}");
    }
    let with = |extra: &str, key: &str| {
        let json = least().replace(
            "\"keys\": [{\"name\": \"alice\"",
            &format!(
                "\"keys\": [{{\"name\": \"{extra}\", \"key\": \"{key}\"}}, {{\"name\": \"alice\""
            ),
        );
        TrustPolicy::parse(json.as_bytes()).map_err(|error| match error {
            PayloadError::Contradiction(invalid) => invalid.field,
            error => panic!("{error:?}"),
        })
    };
    assert!(with("carol", "x:1").is_ok(), "a key that no role has");
    assert_eq!(with("carol", ALICE).err(), Some("keys.key"));
    assert_eq!(with("alice", "x:1").err(), Some("keys.name"));
    let none = refused(plain().fields().clone(), |fields| fields.keys.clear());
    assert_eq!(none, Some("keys"));
}

#[test]
fn a_role_has_1_to_4_disjoint_groups_of_keys_of_the_table() {
    type Role = fn(&mut Fields) -> &mut Vec<Group>;
    let roles: [(&str, Role); 6] = [
        ("roles.root", |fields| &mut fields.roles.root),
        ("roles.release", |fields| &mut fields.roles.release),
        ("roles.freshness", |fields| {
            fields.roles.freshness.get_or_insert_default()
        }),
        ("roles.host_config", |fields| {
            fields.roles.host_config.get_or_insert_default()
        }),
        ("images.release", |fields| {
            fields.images[1].release.get_or_insert_default()
        }),
        ("images.freshness", |fields| {
            fields.images[1].freshness.get_or_insert_default()
        }),
    ];
    let mut fields = of_eight();
    let more = ["i", "j", "k", "l", "m"];
    fields.keys.extend(more.iter().map(|name| signer(name)));
    for (field, role) in roles {
        let with = |groups: Vec<Group>| refused(fields.clone(), |fields| *role(fields) = groups);
        assert_eq!(with(vec![group(1, &["i"])]), None, "{field}");
        assert_eq!(with(vec![group(2, &["i", "j"])]), None, "{field}");
        let of_one: Vec<_> = more.iter().map(|name| group(1, &[name])).collect();
        assert_eq!(with(of_one[..4].to_vec()), None, "{field}");
        for bad in [
            of_one,
            vec![],
            vec![group(0, &["i"])],
            vec![group(0, &[])],
            vec![group(2, &["i"])],
            vec![group(1, &["i", "i"])],
            vec![group(1, &["nobody"])],
            vec![group(1, &["i"]), group(1, &["i", "j"])],
        ] {
            assert_eq!(with(bad.clone()), Some(field), "{bad:?}");
        }
    }
}

#[test]
fn keys_of_freshness_and_host_config_have_no_other_role() {
    assert_eq!(refused(of_eight(), |_| ()), None);
    // Releases and policies may be signed by the same people, and two images renewed by one key.
    let shared = refused(of_eight(), |fields| {
        fields.roles.root = vec![group(1, &["d"])];
        fields.images[1].freshness = Some(vec![group(1, &["e"])]);
        fields.images[1].release = Some(vec![group(1, &["d"])]);
    });
    assert_eq!(shared, None);
    for other in ["a", "d", "f", "g"] {
        for per_image in [false, true] {
            let found = refused(of_eight(), |fields| {
                let groups = Some(vec![group(1, &[other])]);
                if per_image {
                    fields.images[1].freshness = groups;
                } else {
                    fields.roles.freshness = groups;
                }
            });
            assert_eq!(found, Some("roles.freshness"), "{other}");
        }
    }
    for other in ["a", "d", "g"] {
        let found = refused(of_eight(), |fields| {
            fields.roles.host_config = Some(vec![group(1, &[other])]);
        });
        assert_eq!(found, Some("roles.host_config"), "{other}");
    }
}

#[test]
fn a_build_key_in_both_groups_of_a_role_is_refused() {
    let found = refused(of_eight(), |fields| {
        fields.roles.release = vec![group(1, &["d"]), group(1, &["a", "d"])];
    });
    assert_eq!(found, Some("roles.release"));
}

#[test]
fn what_is_required_has_a_role_that_signs_it() {
    let required = |fields: &mut Fields| {
        fields.freshness.required = true;
        fields.host_config.required = true;
    };
    assert_eq!(refused(of_eight(), required), None);
    let found = refused(of_eight(), |fields| {
        required(fields);
        fields.roles.host_config = None;
    });
    assert_eq!(found, Some("host_config.required"));
    let found = refused(of_eight(), |fields| {
        required(fields);
        fields.roles.freshness = None;
    });
    assert_eq!(
        found,
        Some("images.name"),
        "of relay, which has none of its own"
    );
    let found = refused(of_eight(), |fields| {
        required(fields);
        fields.roles.freshness = None;
        fields.images.remove(0);
    });
    assert_eq!(found, None);
}

#[test]
fn a_role_is_reachable_by_enough_known_keys_in_each_group() {
    let mut fields = of_eight();
    fields.keys[3].key = "ml-dsa-65:AAAA".parse().expect("a key");
    let policy = TrustPolicy::try_from(fields).expect("valid");
    let relay = policy.release_role(&"relay".parse().expect("a name"));
    assert!(!relay.expect("a role").is_reachable());
    let dns = policy.release_role(&"dns".parse().expect("a name"));
    assert!(dns.expect("a role").is_reachable());
    assert!(policy.root_role().is_reachable());
}

#[test]
fn images_are_1_to_256_and_named_once() {
    for (count, expected) in [
        (0, Some("images")),
        (1, None),
        (256, None),
        (257, Some("images")),
    ] {
        let found = refused(plain().fields().clone(), |fields| {
            fields.images = (0..count)
                .map(|number| image(&format!("i{number}")))
                .collect();
        });
        assert_eq!(found, expected, "{count}");
    }
    let twice = refused(of_eight(), |fields| {
        fields.images[1].name = image("relay").name
    });
    assert_eq!(twice, Some("images.name"));
}

#[test]
fn denials_are_bounded_and_listed_once() {
    let denying = |versions: Vec<u64>| {
        refused(of_eight(), |fields| {
            let version = |number: u64| number.try_into().expect("in range");
            fields.images[1].denied_versions = versions.into_iter().map(version).collect();
        })
    };
    assert_eq!(denying((1..=256).collect()), None);
    assert_eq!(denying((1..=257).collect()), Some("images.denied_versions"));
    assert_eq!(denying(vec![7, 8, 7]), Some("images.denied_versions"));
    let denying = |digests| refused(of_eight(), |fields| fields.denied_digests = digests);
    assert_eq!(denying(digests(1024)), None);
    assert_eq!(denying(digests(1025)), Some("denied_digests"));
    assert_eq!(
        denying([digests(2), digests(1)].concat()),
        Some("denied_digests")
    );
}

#[test]
fn numbers_have_their_ranges() {
    type Set = fn(&mut Fields, u32);
    let ranges: [(&str, u32, u32, Set); 8] = [
        ("expiry.max_days", 1, 36_500, |fields, n| {
            fields.expiry.max_days = Some(n);
        }),
        ("freshness.max_hours", 1, 8760, |fields, n| {
            fields.freshness.max_hours = n;
        }),
        ("freshness.max_releases", 1, 8, |fields, n| {
            fields.freshness.max_releases = n;
        }),
        ("clock_tolerance_seconds", 0, 86_400, |fields, n| {
            fields.clock_tolerance_seconds = n;
        }),
        ("on_failure.retry_initial_seconds", 1, 3600, |fields, n| {
            fields.on_failure.retry_initial_seconds = n;
            fields.on_failure.retry_max_seconds = 86_400;
        }),
        ("on_failure.retry_max_seconds", 2, 86_400, |fields, n| {
            fields.on_failure.retry_max_seconds = n;
        }),
        ("on_failure.stall_seconds", 360, 86_400, |fields, n| {
            fields.on_failure.stall_seconds = n;
        }),
        (
            "on_failure.handover_watchdog_seconds",
            0,
            86_400,
            |fields, n| {
                fields.on_failure.handover_watchdog_seconds = n;
            },
        ),
    ];
    for (field, least, most, set) in ranges {
        let found = |number| refused(of_eight(), |fields| set(fields, number));
        assert_eq!((found(least), found(most)), (None, None), "{field}");
        assert_eq!(found(most + 1), Some(field));
        if let Some(below) = least.checked_sub(1) {
            assert_eq!(found(below), Some(field));
        }
    }
}

#[test]
fn a_policy_expires_after_it_was_created_and_after_the_tolerance() {
    let expiring = |expires| refused(of_eight(), |fields| fields.expires = Some(expires));
    let second = jiff::SignedDuration::from_secs(1);
    assert_eq!(expiring(made()), Some("expires"));
    assert_eq!(expiring(made() + second), None);
    let expires = time("2026-06-01T00:00:00Z");
    let policy = plain()
        .with(|fields| fields.expires = Some(expires))
        .expect("valid");
    assert_eq!(policy.expired(expires), None);
    assert_eq!(policy.expired(time("2026-06-01T00:04:59Z")), None);
    assert_eq!(policy.expired(time("2026-06-01T00:05:00Z")), Some(expires));
    assert_eq!(plain().expired(Timestamp::MAX), None);
}

#[test]
fn a_change_that_contradicts_leaves_the_policy_as_it_was() {
    let policy = plain();
    let error = policy
        .with(|fields| fields.roles.root[0].threshold = 3)
        .unwrap_err();
    assert_eq!(error.field, "roles.root");
    let names = names(&["alice"]);
    let changed = policy.with(|fields| {
        fields.roles.root[0] = Group {
            keys: names,
            threshold: 1,
        };
    });
    assert_eq!(changed.expect("valid").root_role().required(), 1);
    assert_eq!(policy, plain());
}
