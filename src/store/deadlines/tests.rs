use std::fs;

use support::world;

use super::*;
use crate::testing::{
    fresh, image, made, policy, sealed, sealed_freshness, sealed_manifest, sealed_statement, store,
};

const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

fn after(hours: i64) -> Timestamp {
    made() + SignedDuration::from_hours(hours)
}

fn of(life_hours: i64) -> Deadline {
    Deadline {
        what: What::Image,
        name: String::new(),
        created: Some(made()),
        expires: Some(after(life_hours)),
        effect: String::new(),
        act: String::new(),
        is_refused: false,
    }
}

#[test]
fn an_end_is_soon_within_the_span_or_half_of_the_life() {
    for (life, at, expected) in [
        (24, 0, State::Fine),
        (24, 12, State::Fine),
        (24, 13, State::Soon),
        (24, 23, State::Soon),
        (24, 24, State::Expired),
        (24 * 365, 24 * 357, State::Fine),
        (24 * 365, 24 * 359, State::Soon),
        (24 * 365, 24 * 366, State::Expired),
    ] {
        assert_eq!(of(life).state(after(at), WEEK), expected, "{life} {at}");
    }
    let without_creation = Deadline {
        created: None,
        ..of(24)
    };
    assert_eq!(without_creation.state(made(), WEEK), State::Soon);
    let never = Deadline {
        expires: None,
        ..of(24)
    };
    assert_eq!(never.state(made(), WEEK), State::Never);
    assert!(!State::Fine.is_due() && !State::Never.is_due());
}

fn lines(deadlines: &[Deadline]) -> Vec<String> {
    let mut sorted: Vec<&Deadline> = deadlines.iter().collect();
    sorted.sort_by_key(|deadline| deadline.order());
    let line = |deadline: &&Deadline| {
        let expires = deadline.expires.map(|expires| expires.to_string());
        format!(
            "{} {} {}; {}; {}",
            deadline.what.words(),
            deadline.name,
            expires.as_deref().unwrap_or("-"),
            deadline.effect,
            deadline.act
        )
    };
    sorted.iter().map(line).collect()
}

fn expiring(version: u64, hours: i64) -> (Manifest, Envelope) {
    let mut manifest = world::manifest(version);
    manifest.expires = Some(after(hours));
    let envelope = sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice"]);
    (manifest, envelope)
}

#[test]
fn the_last_release_stops_machines_and_another_one_carries_on() {
    let (_dir, store) = store();
    let policy = fresh(policy(&["alice"]));
    let policy = policy
        .with(|fields| fields.freshness.max_releases = 2)
        .unwrap();
    let ([first, second], statement) = {
        let releases = [expiring(43, 48), expiring(42, 72)];
        let current = |(manifest, envelope): &(Manifest, Envelope)| CurrentRelease {
            version: manifest.version,
            arch: manifest.arch.clone(),
            payload_type: sealboot_core::format::freshness::ReleaseType::known(),
            sha256: sha256(envelope),
            until: (manifest.version.as_u64() == 43).then(|| after(20)),
        };
        let statement = Freshness {
            name: image(),
            trust: policy.version(),
            created: made(),
            expires: after(24),
            releases: releases.iter().map(current).collect(),
            withdrawn: Vec::new(),
        };
        let statement = sealed(Freshness::PAYLOAD_TYPE, statement.encode(), &["clockwork"]);
        (releases.map(|(_, envelope)| envelope), statement)
    };
    let (_, unlisted) = expiring(44, 1);
    let channel = Channel::new([unlisted, first, second], [statement]);
    fs::write(store.channel(&image()), channel.encode()).unwrap();
    let deadlines = store.deadlines(&policy, made()).unwrap();
    assert_eq!(
        lines(&deadlines),
        [
            "listing of relay 43 (x86_64) 2026-01-02T08:00:00Z; machines that boot go on with relay 42; the renewer: 1 of clockwork",
            "freshness of relay 2026-01-02T12:00:00Z; machines that boot refuse image relay: FRESHNESS-EXPIRED; the renewer: 1 of clockwork",
            "image relay 43 (x86_64) 2026-01-03T12:00:00Z; machines that boot go on with relay 42; release signers: 1 of alice",
            "image relay 42 (x86_64) 2026-01-04T12:00:00Z; machines that boot refuse relay 42: MANIFEST-EXPIRED; release signers: 1 of alice",
        ]
    );
    // What has ended is listed with its end, and as nothing else.
    let later = store.deadlines(&policy, after(100)).unwrap();
    assert_eq!(later, deadlines);
    assert_eq!(later[0].state(after(100), WEEK), State::Expired);
}

#[test]
fn what_machines_refuse_already_is_listed_first() {
    let (_dir, store) = store();
    let policy = fresh(policy(&["alice"]));
    let put = |releases: Vec<Envelope>, statement: Option<Envelope>| {
        let channel = Channel::new(releases, statement);
        fs::write(store.channel(&image()), channel.encode()).unwrap();
        lines(&store.deadlines(&policy, made()).unwrap())
    };
    let found = put(vec![sealed_manifest(42, &["alice"])], None);
    assert_eq!(
        found[0],
        "freshness of relay -; machines that boot refuse image relay: FRESHNESS-MISSING; the renewer: 1 of clockwork"
    );
    assert!(found[1].starts_with("image relay 42 (x86_64) -; "));
    let statement = || Some(sealed_statement(&[42], &["clockwork"]));
    let found = put(vec![sealed_manifest(42, &["eve"])], statement());
    assert_eq!(
        found[0],
        "image relay -; machines that boot refuse image relay: MANIFEST-THRESHOLD; release signers: 1 of alice"
    );
    let newer = Some(sealed_freshness((42, 2), &["clockwork"]));
    let found = put(vec![sealed_manifest(42, &["alice"])], newer);
    assert_eq!(
        found[0],
        "freshness of relay -; machines that boot refuse image relay: TRUST-STALE; the renewer: 1 of clockwork"
    );
    fs::write(store.channel(&image()), "{}").unwrap();
    let found = lines(&store.deadlines(&policy, made()).unwrap());
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("MANIFEST-ENVELOPE"), "{found:?}");
    fs::remove_file(store.channel(&image())).unwrap();
    assert!(store.deadlines(&policy, made()).unwrap().is_empty());
}

#[test]
fn the_end_of_a_policy_does_what_the_policy_says() {
    let ends = |on_expiry| {
        let changed = policy(&["alice", "bob"]).with(|fields| {
            fields.expires = Some(after(24));
            fields.on_expiry = on_expiry;
        });
        lines(&[of_policy(&changed.unwrap())])
    };
    assert_eq!(
        ends(OnExpiry::Warn),
        [
            "trust policy version 1 2026-01-02T12:00:00Z; machines that boot print a warning and go on; root signers: 2 of alice, bob"
        ]
    );
    assert_eq!(
        ends(OnExpiry::Refuse),
        [
            "trust policy version 1 2026-01-02T12:00:00Z; machines that boot refuse every image: TRUST-EXPIRED; root signers: 2 of alice, bob"
        ]
    );
}

#[test]
fn host_configs_end_or_are_refused_already() {
    let policy = policy(&["alice"]);
    let json = |more: &str, image: &str| {
        format!(
            r#"{{{more}"image": "{image}", "mirrors": ["https://boot.example/"], "network": {{"mode": "dhcp"}}}}"#
        )
    };
    let expires = r#""expires": "2026-01-02T12:00:00Z", "#;
    let ends = |json: &str, now| {
        let deadline = of_host_config(Some(&policy), "host.json", json.as_bytes(), now);
        lines(&[deadline.unwrap()])
    };
    let expected = "host config host.json 2026-01-02T12:00:00Z; machines that boot refuse it: CONFIGURE-HOST-EXPIRED; the operator who installs host configs";
    for now in [made(), after(48)] {
        assert_eq!(ends(&json(expires, "relay"), now), [expected]);
    }
    let other = ends(&json(expires, "other"), made());
    assert_eq!(
        other,
        [
            "host config host.json -; machines that boot refuse it: MANIFEST-NAME; the operator who installs host configs"
        ]
    );
    of_host_config(None, "host.json", b"{}", made()).unwrap_err();
}
