use sealboot_core::trust::policy::Fields;

use super::super::testing::{group, plain, signer};
use super::*;

fn now() -> Timestamp {
    "2026-12-01T12:00:00Z".parse().expect("a time")
}

/// A policy with the one weakness that no policy of few people can avoid.
fn sound() -> TrustPolicy {
    let changed = plain(&["alice", "bob", "carol"]).with(|fields| {
        let more = ["build", "clock", "dora", "gail", "build-2", "gail-2"];
        fields.keys.extend(more.map(signer));
        fields.roles.root = vec![group(2, &["alice", "bob", "carol"])];
        fields.roles.release = vec![
            group(1, &["build", "build-2"]),
            group(1, &["gail", "gail-2"]),
        ];
        fields.roles.freshness = Some(vec![group(1, &["clock"])]);
        fields.roles.host_config = Some(vec![group(1, &["dora"])]);
        fields.expiry.required = true;
        fields.expiry.max_days = Some(90);
        fields.freshness.required = true;
        fields.host_config.required = true;
    });
    changed.expect("the fields agree")
}

#[test]
fn a_sound_policy_has_no_weakness() {
    assert_eq!(weaknesses(&sound(), now()), [""; 0]);
}

#[test]
fn each_weakness_is_found_alone() {
    type Change = fn(&mut Fields);
    let cases: [(Change, &str); 24] = [
        (
            |f| f.roles.root[0].threshold = 1,
            "root has threshold 1: one stolen key",
        ),
        (
            |f| f.roles.root[0].threshold = 3,
            "root needs 3 of alice, bob, carol: one lost key",
        ),
        (
            |f| f.roles.release = vec![group(1, &["build", "gail"])],
            "release has threshold 1: one stolen key",
        ),
        (
            |f| f.roles.release = vec![group(2, &["build", "gail"])],
            "release needs 2 of build, gail: one lost key",
        ),
        (
            |f| f.roles.release = vec![group(1, &["build"]), group(1, &["gail"])],
            "release needs 1 of build and 1 of gail: one lost key",
        ),
        (
            |f| f.roles.release[1] = group(1, &["gail"]),
            "release needs 1 of gail: one lost key",
        ),
        (
            |f| f.images[0].release = Some(vec![group(1, &["build"])]),
            "release of relay has threshold 1",
        ),
        (
            |f| f.roles.release[1] = group(1, &["gail", "alice"]),
            "root and release share alice: the keys that release images need only 1 more",
        ),
        (
            |f| f.roles.release.push(group(1, &["alice", "bob"])),
            "root and release share alice, bob: the keys that release images can also replace",
        ),
        (
            |f| {
                f.images[0].release = Some(vec![
                    group(1, &["build", "build-2"]),
                    group(1, &["carol", "gail"]),
                ])
            },
            "root and release share carol",
        ),
        (
            |f| {
                f.expires = "2030-01-01T00:00:00Z".parse().ok();
                f.on_expiry = OnExpiry::Refuse;
            },
            "the policy expires: from 2030-01-01T00:00:00Z",
        ),
        (
            |f| f.expiry.required = false,
            "no expiry required: the freshness keys can replay",
        ),
        (|f| f.expiry.max_days = None, "no longest validity"),
        (|f| f.freshness.required = false, "freshness not required"),
        (
            |f| f.freshness.max_hours = 169,
            "a freshness statement is valid for up to 169 hours",
        ),
        (
            |f| {
                f.freshness.required = false;
                f.roles.freshness = None;
            },
            "no freshness role: a frozen mirror is not noticed before its image expires",
        ),
        (
            |f| {
                let other = "exit".parse().expect("a name");
                let other = sealboot_core::trust::policy::AcceptedImage::new(
                    other,
                    1.try_into().expect("in range"),
                );
                f.images.push(other);
                f.images[0].freshness = f.roles.freshness.take();
                f.freshness.required = false;
            },
            "no freshness role for exit",
        ),
        (
            |f| f.host_config.required = false,
            "signed host configs not required",
        ),
        (
            |f| {
                f.on_failure.max_attempts = 0;
                f.on_failure.final_action = FinalAction::Fallback;
            },
            "never enters its fallback",
        ),
        (
            |f| {
                f.on_failure.max_attempts = 0;
                f.on_failure.final_action = FinalAction::PowerOff;
            },
            "never is powered off",
        ),
        (
            |f| f.on_failure.final_action = FinalAction::PowerOff,
            "stays off until a person",
        ),
        (|f| f.on_failure.shell = true, "a shell allowed"),
        (|f| f.allow_http = true, "plain http allowed"),
        (
            |f| f.keys[0].key = "ml-dsa-65:AAAA".parse().expect("a key"),
            "key alice is of type ml-dsa-65",
        ),
    ];
    for (change, expected) in cases {
        let policy = sound().with(change).expect(expected);
        let found = weaknesses(&policy, now());
        assert!(
            matches!(&found[..], [one] if one.contains(expected)),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn the_end_of_a_policy_is_warned_of_from_14_days_on() {
    let day = jiff::SignedDuration::from_hours(24);
    let second = jiff::SignedDuration::from_secs(1);
    let warns = "from then on, a machine prints a warning at each boot";
    let refuses = "from then on, a machine refuses every image until it finds a newer policy";
    for (on_expiry, left, expected) in [
        (OnExpiry::Warn, day * 14 + second, None),
        (
            OnExpiry::Warn,
            day * 14,
            Some(format!(
                "expires in 14 days, at 2026-12-15T12:00:00Z: {warns}"
            )),
        ),
        (
            OnExpiry::Refuse,
            day,
            Some(format!(
                "expires in 1 day, at 2026-12-02T12:00:00Z: {refuses}"
            )),
        ),
        (
            OnExpiry::Refuse,
            second,
            Some(format!(
                "expires in less than a day, at 2026-12-01T12:00:01Z: {refuses}"
            )),
        ),
        (
            OnExpiry::Warn,
            -second,
            Some("expired at 2026-12-01T11:59:59Z: a machine prints a warning".to_owned()),
        ),
        (
            OnExpiry::Refuse,
            -second,
            Some("expired at 2026-12-01T11:59:59Z: a machine refuses every image".to_owned()),
        ),
    ] {
        let policy = sound().with(|fields| {
            fields.expires = Some(now() + left);
            fields.on_expiry = on_expiry;
        });
        let found = weaknesses(&policy.expect("the fields agree"), now());
        match expected {
            None => assert_eq!(found, [""; 0]),
            Some(text) => assert!(
                found.len() == 1 && found[0].contains(&text),
                "{text}: {found:?}"
            ),
        }
    }
}

#[test]
fn a_policy_of_the_same_people_is_judged_once() {
    for (people, threshold, expected) in [
        (&["alice"][..], 1, "threshold 1: one stolen key"),
        (
            &["alice", "bob"],
            2,
            "2 of alice, bob must sign: one lost key",
        ),
    ] {
        let policy = sound().with(|fields| {
            fields.roles.root = vec![group(threshold, people)];
            fields.roles.release = fields.roles.root.clone();
        });
        let found = weaknesses(&policy.expect("the fields agree"), now());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with(expected), "{found:?}");
        assert!(found[1].starts_with("root and release share"), "{found:?}");
    }
}

#[test]
fn old_images_are_a_weakness_without_freshness() {
    let policy = sound().with(|fields| {
        fields.expiry.required = false;
        fields.freshness.required = false;
        fields.roles.freshness = None;
    });
    let found = weaknesses(&policy.expect("the fields agree"), now());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("stale or hostile mirror"), "{found:?}");
    assert!(found[1].contains("is never noticed"), "{found:?}");
}

#[test]
fn a_role_that_needs_unknown_keys_is_found() {
    for (unknown, expected) in [
        (&[0, 1][..], "the role root needs keys of types"),
        (&[3, 7], "the release role of relay"),
        (&[4], "the freshness role of relay"),
        (&[5], "the role host config"),
    ] {
        let policy = sound().with(|fields| {
            for at in unknown {
                let key = format!("ml-dsa-65:AAA{at}");
                fields.keys[*at].key = key.parse().expect("a key");
            }
        });
        let found = weaknesses(&policy.expect("the fields agree"), now());
        assert!(
            found.iter().any(|text| text.contains(expected)),
            "{found:?}"
        );
    }
}
