mod listing;
mod memory;
mod rounds;
mod universe;

use std::fs;
use std::path::PathBuf;

use sealboot_core::format::freshness::CurrentRelease;
use sealboot_core::format::manifest::{ImageVersion, Manifest};
use sealboot_core::trust::Channel;
use tempfile::TempDir;

use super::*;
use crate::error::StateError;
use crate::testing::{
    Key, fresh, image, made, policy, publish_by_hand, release_file, sealed, sealed_freshness,
    sealed_manifest, sealed_policy, signer, store, version, versioned, write,
};
use crate::{Notice, Older, Release, Store};

/// A store, a policy that requires freshness, and the state of a renewer.
struct Desk {
    own: TempDir,
    _of_store: TempDir,
    store: Store,
}

impl Desk {
    fn new() -> Self {
        Self::of(&fresh(policy(&["alice"])))
    }

    fn of(policy: &TrustPolicy) -> Self {
        let (of_store, store) = store();
        let desk = Self {
            own: tempfile::tempdir().unwrap(),
            _of_store: of_store,
            store,
        };
        fs::write(desk.path("trust.json"), policy.encode()).unwrap();
        desk
    }

    /// The same, by a policy that allows so many versions.
    fn of_versions(most: u32) -> Self {
        let policy = fresh(policy(&["alice"]));
        let policy = policy.with(|fields| fields.freshness.max_releases = most);
        Self::of(&policy.unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.own.path().join(name)
    }

    fn renewer_of(&self, key: &str, state: &str, start: Start) -> Result<Renewer, StoreError> {
        let renewal = Renewal::new(vec![Box::new(Key::of(key))], None);
        let (policy, state) = (self.path("trust.json"), self.path(state));
        Renewer::new(renewal, &policy, self.store.clone(), &state, start)
    }

    fn renewer(&self) -> Renewer {
        let start = if self.path("state").exists() {
            Start::Existing
        } else {
            Start::Init
        };
        self.renewer_of("clockwork", "state", start).unwrap()
    }

    fn renew(&self) -> Result<Freshness, StoreError> {
        self.renew_at(made())
    }

    fn renew_at(&self, now: Timestamp) -> Result<Freshness, StoreError> {
        let mut renewer = self.renewer();
        let mut turn = renewer.turn(now, &mut |_| {})?;
        let renewed = turn.renew(&image(), &mut |_| {});
        renewed.map(|(_, freshness)| freshness)
    }

    fn withdraw(&self, version: u64) -> Result<Freshness, StoreError> {
        let mut renewer = self.renewer();
        let mut turn = renewer.turn(made(), &mut |_| {})?;
        let version = version.try_into().unwrap();
        let withdrawn = turn.withdraw(&image(), version, &mut |_| {});
        withdrawn.map(|(_, freshness)| freshness)
    }

    /// Publishes a release with the renewer's keys.
    fn publish(&self, version: u64, older: Older) -> Result<(), StoreError> {
        let path = release_file(&self.store, version, &["alice"]);
        let mut renewer = self.renewer();
        let mut turn = renewer.turn(made(), &mut |_| {})?;
        let policy = turn.policy().clone();
        let release = Release::read(&path, &policy, made())?;
        let published =
            (self.store).publish(&release, older, Some(&mut turn), &mut |_| {}, &mut |_| {});
        published.map(drop)
    }

    fn channel(&self) -> Channel {
        Channel::parse(&fs::read(self.store.channel(&image())).unwrap()).unwrap()
    }

    fn offered(&self) -> Vec<u64> {
        let releases = self.channel().releases;
        let manifests = releases.iter().map(|release| {
            let payload = release.manifest.unverified_payload();
            Manifest::parse(payload).unwrap().version.as_u64()
        });
        manifests.collect()
    }

    fn publish_policy(&self, policy: &TrustPolicy) {
        let envelope = sealed_policy(policy, &["alice"]);
        write(&self.store.policy(policy.version()), &envelope);
    }
}

fn numbers(versions: &[ImageVersion]) -> Vec<u64> {
    versions.iter().map(|version| version.as_u64()).collect()
}

fn listed(freshness: &Freshness) -> Vec<u64> {
    let releases = freshness.releases.iter();
    releases.map(|release| release.version.as_u64()).collect()
}

#[test]
fn a_renewal_that_would_not_count_is_refused() {
    let by = |name: &str, hours| {
        let life = Some(SignedDuration::from_hours(hours));
        Renewal::new(vec![Box::new(Key::of(name))], life)
    };
    let error = by("clockwork", 1).check(&policy(&["alice"])).unwrap_err();
    assert!(matches!(error, StoreError::NoFreshnessRole { .. }));
    let policy = fresh(policy(&["alice"]));
    let error = by("alice", 1).check(&policy).unwrap_err();
    assert!(matches!(error, StoreError::NotOfFreshnessRole { .. }));
    let error = by("clockwork", 73).check(&policy).unwrap_err();
    assert!(matches!(
        error,
        StoreError::LifeTooLong { max_hours: 72, .. }
    ));
    assert!(error.is_refusal());
    by("clockwork", 72).check(&policy).unwrap();
}

#[test]
fn a_life_past_the_calendar_is_refused() {
    for life in [SignedDuration::MAX, SignedDuration::ZERO] {
        let error = expiry(made(), life).unwrap_err();
        assert!(matches!(error, StoreError::LifeUnusable(_)));
    }
}

#[test]
fn a_renewer_of_keys_that_do_not_count_is_not_made() {
    let desk = Desk::of(&policy(&["alice"]));
    let make = |desk: &Desk| desk.renewer_of("clockwork", "state", Start::Init);
    let error = make(&desk).unwrap_err();
    assert!(matches!(error, StoreError::NoFreshnessRole { .. }));
    let desk = Desk::new();
    fs::write(desk.store.policy(version(3)), "").unwrap();
    let error = make(&desk).unwrap_err();
    assert!(matches!(error, StoreError::PolicyGap { .. }));
}

#[test]
fn a_channel_that_machines_refuse_is_not_renewed() {
    let desk = Desk::new();
    publish_by_hand(&desk.store, 42, &["bob"], None);
    let path = desk.store.channel(&image());
    let before = fs::read(&path).unwrap();
    let error = desk.renew().unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
    write(&path, &sealed_manifest(42, &["alice"]));
    let error = desk.renew().unwrap_err();
    assert!(matches!(error, StoreError::NotChannel { .. }), "{error:?}");
}

fn policy_of(desk: &Desk) -> TrustPolicy {
    crate::policy::load(&desk.path("trust.json")).unwrap()
}

#[test]
fn unknown_fields_and_releases_of_the_channel_stay() {
    let desk = Desk::new();
    publish_by_hand(&desk.store, 42, &["alice"], None);
    let path = desk.store.channel(&image());
    let json = String::from_utf8(fs::read(&path).unwrap()).unwrap();
    let newer = sealed(
        "application/vnd.sealboot.manifest.v2+json",
        b"{}".to_vec(),
        &["alice"],
    );
    let newer = String::from_utf8(newer.encode()).unwrap();
    let json = json
        .replacen("{", "{\"zone\": 1,", 1)
        .replacen("\"manifest\"", "\"proof\": 2, \"manifest\"", 1)
        .replacen("\"signatures\"", "\"witness\": 3, \"signatures\"", 1)
        .replacen(
            "\"releases\": [",
            &format!("\"releases\": [{{\"manifest\": {newer}}},"),
            1,
        );
    fs::write(&path, json).unwrap();
    for _ in 0..2 {
        desk.renew().unwrap();
        let json = String::from_utf8(fs::read(&path).unwrap()).unwrap();
        for kept in [
            "\"zone\": 1",
            "\"proof\": 2",
            "\"witness\": 3",
            "manifest.v2",
        ] {
            assert!(json.contains(kept), "{kept}: {json}");
        }
    }
}
