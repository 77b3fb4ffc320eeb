//! Random histories of a store that an attacker puts back, against what a renewer must never sign.

use std::collections::BTreeSet;

use support::universe::{Random, play_each};
use support::world;

use super::*;
use crate::renewal::known::Known;
use crate::renewal::state::{Remembered, Stated};
use crate::renewal::stored::{Judge, offer};

/// The versions that the store has from the beginning.
const VERSIONS: [u64; 5] = [42, 43, 44, 45, 46];

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The attacker puts back one of the channels that were ever there.
    PutBack(usize),
    Renew,
    Withdraw(u64),
    Publish(u64),
}

/// Events, each with whether the renewer is killed before it publishes what it signed.
#[derive(Debug)]
struct History(Vec<(Event, bool)>);

impl History {
    fn of(seed: u64) -> Self {
        let random = &mut Random::of(seed);
        let count = 3 + random.below(6);
        let events = (0..count).map(|_| {
            let event = match random.below(5) {
                0 => Event::PutBack(random.index(64)),
                1 => Event::Withdraw(random.some(&VERSIONS)),
                2 => Event::Publish(random.some(&VERSIONS)),
                _ => Event::Renew,
            };
            (event, random.one_in(6))
        });
        Self(events.collect())
    }

    fn play(&self, desk: &Desk, releases: &[(CurrentRelease, Envelope)]) {
        let (policy, name) = (policy_of(desk), image());
        let of = |version: u64| {
            let mut releases = releases.iter();
            let found = releases.find(|(release, _)| release.version.as_u64() == version);
            found.unwrap().clone()
        };
        let mut channel = Channel::new([of(42).1], []);
        let mut channels = vec![channel.clone()];
        let mut remembered = Remembered::default();
        let mut now = made();
        // What was ever signed.
        let mut last = None;
        let mut listed = BTreeSet::new();
        let mut withdrawn = BTreeSet::new();
        for (event, is_killed) in &self.0 {
            now += SignedDuration::from_hours(1);
            let change = match *event {
                Event::PutBack(index) => {
                    channel = channels[index % channels.len()].clone();
                    continue;
                }
                Event::Renew => Change::Nothing,
                Event::Withdraw(version) => Change::Withdraw(version.try_into().unwrap()),
                Event::Publish(version) => {
                    let (release, envelope) = of(version);
                    channel.releases.insert(0, envelope.into());
                    Change::Publish(release)
                }
            };
            let judge = Judge {
                policy: &policy,
                store: &desk.store,
                image: &name,
                now,
            };
            let known = Known::of(judge, &channel, &remembered);
            let created = known.created.map_or(now, |created| {
                now.max(created + SignedDuration::from_secs(1))
            });
            let plan = match known.plan(&change) {
                Ok(plan) => plan,
                Err(error) => {
                    assert_ne!(change, Change::Nothing, "a renewal stops: {error}");
                    continue;
                }
            };
            assert!(last < Some(created), "a statement before the last one");
            last = Some(created);
            let freshness = Freshness {
                name: name.clone(),
                trust: version(1),
                created,
                expires: created + SignedDuration::from_hours(24),
                releases: plan.releases(),
                withdrawn: plan.withdrawn.clone(),
            };
            let lists: BTreeSet<ImageVersion> = (freshness.releases.iter())
                .map(|release| release.version)
                .collect();
            let now_withdrawn: BTreeSet<ImageVersion> = plan.withdrawn.iter().copied().collect();
            assert!(
                now_withdrawn.is_superset(&withdrawn),
                "forgets what it withdrew"
            );
            assert!(lists.is_disjoint(&now_withdrawn), "lists what it withdrew");
            withdrawn = now_withdrawn;
            let newest = listed.difference(&withdrawn).max();
            assert!(lists.iter().max() >= newest, "rolls back behind {newest:?}");
            listed.extend(lists);

            let envelope = sealed(Freshness::PAYLOAD_TYPE, freshness.encode(), &["clockwork"]);
            if !is_killed {
                offer(&mut channel, &plan.listed);
                channel.freshness = vec![envelope.clone()];
                channels.push(channel.clone());
            }
            remembered = Remembered {
                statement: Some(Stated {
                    envelope,
                    freshness,
                }),
                published: plan.published,
            };
        }
    }
}

#[test]
fn no_history_makes_a_renewer_go_back() {
    let desk = Desk::of_versions(2);
    let releases: Vec<(CurrentRelease, Envelope)> = VERSIONS
        .map(|version| {
            release_file(&desk.store, version, &["alice"]);
            let release = world::trust::current(&world::manifest(version));
            (release, sealed_manifest(version, &["alice"]))
        })
        .into();
    play_each(0..2_000, History::of, |history| {
        history.play(&desk, &releases);
    });
}
