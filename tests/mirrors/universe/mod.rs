//! Random universes of mirrors, clocks, policies and attempts, played against the real code and a model.
//!
//! A universe is a function of its seed; what differs from the model names it, and `SEALBOOT_UNIVERSE=4711` plays one alone.
//! The real code is the clock, the judge of time servers, the stage `manifest` but for its sockets, and all of `trust`. What
//! must never happen is asserted of the facts besides, so that a mistake in the model hides nothing.

mod model;
mod stock;

use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use sealboot_core::trust::{ClockState, JudgingTime, Presented};
use sealboot_init::boot::stages::manifest::asking::{Asking, HEAD_START, Request, Turn};
use sealboot_init::boot::{InForce, Loader};
use sealboot_init::net::clock::{Clock, Reading};
use sealboot_init::net::sntp::{Verdict, judge};

use support::universe::{Random, play_each};

use self::model::{Model, Told};
use self::stock::Stock;
use crate::machine::{Step, ask, host};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
/// The policy's, in seconds.
const TOLERANCE: i64 = 300;

/// A policy; its version is its place in the history. Times are in seconds after the loader's build.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PolicyFacts {
    created: i64,
    /// When it refuses everything.
    expires: Option<i64>,
    /// The key of the role `release`, 0 or 1.
    release: usize,
    /// The key of the role `freshness`, 0 or 1.
    freshness: usize,
    requires_freshness: bool,
    min_version: u64,
    denied: Option<u64>,
    allows_http: bool,
    retry_seconds: u32,
}

impl PolicyFacts {
    fn takes(&self, version: u64) -> bool {
        version >= self.min_version && self.denied != Some(version)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ReleaseFacts {
    version: u64,
    created: i64,
    expires: Option<i64>,
    /// Which keys have signed it.
    keys: [bool; 2],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct StatementFacts {
    created: i64,
    expires: i64,
    trust: usize,
    /// Which key has signed it.
    key: usize,
    lists: Vec<ReleaseFacts>,
}

/// What a mirror shows in one attempt.
#[derive(Debug)]
struct MirrorFacts {
    is_http: bool,
    /// Milliseconds a file; `None` is dead.
    pace: Option<u64>,
    /// How many policies of the history it has, the baked-in one included.
    policies: usize,
    /// Whether one follows that the root has not signed.
    has_forged: bool,
    releases: Vec<ReleaseFacts>,
    statements: Vec<StatementFacts>,
}

impl MirrorFacts {
    fn is_forged(&self, policy: usize) -> bool {
        policy >= self.policies
    }
}

#[derive(Debug)]
struct Attempt {
    /// How long after the one before, in seconds.
    after: i64,
    /// What time servers say that it is.
    answers: Vec<i64>,
    mirrors: Vec<MirrorFacts>,
}

#[derive(Debug)]
struct Universe {
    /// The clock at power-on.
    power_on: i64,
    policies: Vec<PolicyFacts>,
    attempts: Vec<Attempt>,
}

/// Returns a number of whole hours, in seconds.
fn hours(random: &mut Random, range: Range<i64>) -> i64 {
    let count = u64::try_from(range.end - range.start).unwrap();
    (range.start + i64::try_from(random.below(count)).unwrap()) * HOUR
}

/// Returns one of the two keys of a role, mostly the first.
fn key(random: &mut Random) -> usize {
    usize::from(random.one_in(3))
}

impl Universe {
    fn of(seed: u64) -> Self {
        let random = &mut Random::of(seed);
        let truth = hours(random, 10..100);
        let power_on = match random.below(4) {
            0 => -50 * YEAR,
            1 => random.some(&[-HOUR, 6 * YEAR]),
            2 => truth,
            _ => hours(random, 0..120),
        };
        let policies = (0..3).map(|index| PolicyFacts {
            created: i64::from(index) * 30 * HOUR,
            expires: random.one_in(8).then_some(200 * HOUR),
            release: key(random),
            freshness: key(random),
            requires_freshness: !random.one_in(4),
            min_version: 41 + u64::from(random.one_in(4)),
            denied: random.one_in(3).then_some(42 + random.below(2)),
            allows_http: random.one_in(2),
            retry_seconds: 1 + index,
        });
        let policies: Vec<PolicyFacts> = policies.collect();
        let releases = [
            (41, None, [true, true]),
            (42, Some(96 * HOUR), [true, true]),
            (43, None, [true, false]),
            (44, Some(120 * HOUR), [false, true]),
        ];
        let releases = releases.map(|(version, expires, keys)| ReleaseFacts {
            version,
            created: i64::try_from(version - 41).unwrap() * 24 * HOUR,
            expires,
            keys,
        });
        let statements = (0..4_i64).map(|_| {
            // One of a stolen key may lie far ahead.
            let created = match random.below(12) {
                0 => 70 * YEAR,
                _ => hours(random, 0..10) * 12,
            };
            let mut lists = random.several(2, &releases);
            lists.sort_by_key(|release| std::cmp::Reverse(release.version));
            if lists.is_empty() {
                lists.push(random.some(&releases));
            }
            StatementFacts {
                created,
                expires: created + 24 * HOUR,
                trust: 1 + usize::from(random.one_in(3)) + usize::from(random.one_in(6)),
                key: key(random),
                lists,
            }
        });
        let statements: Vec<StatementFacts> = statements.collect();
        let mut attempts = Vec::new();
        for _ in 0..=random.below(3) {
            let lie = [truth - 50 * HOUR, -HOUR, 6 * YEAR, 30 * YEAR];
            let count = random.below(3);
            let answers = (0..count).map(|_| match random.one_in(2) {
                true => truth,
                false => random.some(&lie),
            });
            attempts.push(Attempt {
                answers: answers.collect(),
                after: hours(random, 0..12),
                mirrors: Vec::new(),
            });
            let count = 1 + random.below(3);
            let mirrors = (0..count).map(|_| MirrorFacts {
                is_http: policies[0].allows_http && random.one_in(4),
                pace: (!random.one_in(6)).then(|| random.some(&[20, 20, 900, 1500, 2500])),
                policies: 1 + usize::try_from(random.below(3)).unwrap(),
                has_forged: random.one_in(8),
                releases: random.several(2, &releases),
                statements: random.several(2, &statements),
            });
            let mirrors = mirrors.collect();
            attempts.last_mut().unwrap().mirrors = mirrors;
        }
        Self {
            power_on,
            policies,
            attempts,
        }
    }

    fn is_unset(&self) -> bool {
        !(0..=5 * YEAR).contains(&self.power_on)
    }

    /// Plays it, and panics where a machine does what it must not.
    fn play(&self, stock: &mut Stock) {
        let mut model = Model::new(self);
        let loader: &'static Loader = Box::leak(Box::new(Loader::new()));
        let mut chain = InForce::new(stock.baked_in(&self.policies[0]), loader);
        let mut now = Reading {
            wall: after_build(self.power_on),
            uptime: SignedDuration::from_secs(1),
        };
        let mut clock = Clock::at_power_on(now, build());
        // The build, or the time of a set clock at power-on, and the time since.
        let mut floor = if self.is_unset() { 0 } else { self.power_on };
        for attempt in &self.attempts {
            let passed = SignedDuration::from_secs(attempt.after);
            (now.wall, now.uptime) = (now.wall + passed, now.uptime + passed);
            floor += attempt.after;
            model.proved = model.proved.map(|proved| proved + attempt.after);
            // What `prepare` and `connect` do to the kernel's clock.
            now.wall = now.wall.max(clock.floor(now.uptime));
            let behind = attempt.answers.iter();
            let behind = behind.map(|answer| after_build(*answer).duration_since(now.wall));
            if let Verdict::Step(step, _) = judge(behind.collect(), 4, &clock, now) {
                now.wall += step;
                assert!(seconds(now.wall) <= 20 * YEAR, "a clock beyond 20 years");
            }
            assert!(seconds(now.wall) >= floor, "a clock before its floor");

            let mut judged = clock.judging_time(now);
            model.begin(seconds(now.wall), attempt);
            self.attempt(&mut model, attempt, &mut chain, &mut judged, stock);
            assert_eq!(seconds(judged.at()), model.now, "the time of judging");
            assert!(model.now >= floor, "dates are judged before the floor");
            let is_unset = judged.clock() == ClockState::Unset;
            assert_eq!(is_unset, self.is_unset(), "the state of the clock");
            clock.keep(&judged, now.uptime);
            let retry = loader.failure_policy().retry_initial_seconds;
            assert_eq!(retry, model.policy().retry_seconds, "the failure policy");
        }
    }

    fn attempt<'u>(
        &'u self,
        model: &mut Model<'u>,
        attempt: &'u Attempt,
        chain: &mut InForce,
        judged: &mut JudgingTime,
        stock: &mut Stock,
    ) {
        let before = model.newest;
        let image = "relay".parse().unwrap();
        let urls: Vec<_> = (attempt.mirrors.iter().enumerate())
            .map(|(at, mirror)| stock.url(at, mirror.is_http))
            .collect();
        let shelves: Vec<_> = (attempt.mirrors.iter())
            .map(|mirror| stock.shelf(&self.policies, mirror))
            .collect();
        let presented = Presented {
            stored: Some(host(&urls).encode()),
            ..Presented::default()
        };
        let mut asking = Asking::new(&image, &urls, &presented, chain, judged);
        let mut began = None;
        let found = ask(&mut asking, &shelves, |clock, step| match step {
            Step::Shown(mirror, what) => model.show(mirror, what, clock, attempt),
            Step::Turn(turn) => {
                let told = match turn {
                    Turn::Ask(mirror, Request::Policies(_)) => Told::Policies(*mirror),
                    Turn::Ask(mirror, Request::Channel) => Told::Channel(*mirror),
                    Turn::Wait(until) => {
                        // The first thing that is waited for is the head start of the first mirror.
                        let until = until.map(|until| {
                            let began = *began.get_or_insert(until - HEAD_START);
                            u64::try_from(until.duration_since(began).as_millis()).unwrap()
                        });
                        Told::Wait(until)
                    }
                    Turn::Accept(mirror, current) => {
                        let version = current.manifest().as_ref().version.as_u64();
                        Told::Accept(*mirror, version)
                    }
                    Turn::Fail(_) => Told::Fail,
                };
                assert_eq!(told, model.turn(clock, attempt), "at {clock} ms");
            }
        });
        assert_eq!(
            chain.newest().version().as_u64(),
            model.newest as u64 + 1,
            "the newest policy"
        );
        let kept = chain
            .kept()
            .statement(&image)
            .map(|kept| seconds(kept.as_ref().created));
        assert_eq!(
            kept,
            model.kept.map(|kept| kept.created),
            "the newest statement"
        );
        match found {
            Ok((mirror, current)) => self.may_boot(
                model,
                &attempt.mirrors[mirror],
                current.manifest().as_ref().version.as_u64(),
            ),
            Err(_) => self.need_not_boot(model, attempt, before),
        }
    }

    /// Checks a boot against the newest of all that was proved, whatever judged it.
    fn may_boot(&self, model: &Model<'_>, mirror: &MirrorFacts, version: u64) {
        let policy = model.policy();
        let release = mirror
            .releases
            .iter()
            .find(|release| release.version == version);
        let release = release.expect("the mirror shows it");
        assert!(policy.takes(version), "a denied release boots");
        assert!(
            release.keys[policy.release],
            "a release of a removed key boots"
        );
        assert!(!model.ended(release), "a release boots that has ended");
        assert!(
            !mirror.is_http || policy.allows_http,
            "a boot by plain http"
        );
        assert!(
            !policy.requires_freshness || model.kept.is_some(),
            "a boot without a statement"
        );
        if let Some(kept) = model.kept {
            assert!(
                kept.lists.contains(release),
                "a release boots that is not listed"
            );
            assert!(
                model.now < kept.expires + TOLERANCE,
                "a boot by a statement that has ended"
            );
            assert!(kept.trust <= model.newest + 1, "a boot by an old policy");
        }
    }

    /// Checks that no mirror has shown a good current release: with the newest policy, and by the newest statement.
    /// `before` was the newest policy when the attempt began.
    fn need_not_boot<'u>(&'u self, model: &Model<'u>, attempt: &'u Attempt, before: usize) {
        // One that was forbidden is asked again in the next attempt.
        let mut policies = self.policies[before..=model.newest].iter();
        let allows_http = policies.all(|policy| policy.allows_http);
        for (index, mirror) in attempt.mirrors.iter().enumerate() {
            let shows_all = mirror.pace.is_some()
                && (allows_http || !mirror.is_http)
                && !mirror.has_forged
                && mirror.policies > model.newest
                && model
                    .kept
                    .is_none_or(|kept| mirror.statements.contains(kept));
            if shows_all {
                let version = model.clone().judge(index, attempt);
                assert_eq!(version, None, "mirror {index} shows a good release");
            }
        }
    }
}

fn build() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn after_build(seconds: i64) -> Timestamp {
    build() + SignedDuration::from_secs(seconds)
}

fn seconds(time: Timestamp) -> i64 {
    time.duration_since(build()).as_secs()
}

fn play(seeds: Range<u64>) {
    let mut stock = Stock::default();
    play_each(seeds, Universe::of, |universe| universe.play(&mut stock));
}

#[test]
fn ten_thousand_universes_go_as_the_model_says() {
    play(0..10_000);
}

/// The others of a hundred thousand, in parts that `make test-all` runs beside each other.
mod more {
    macro_rules! parts {
        ($($name:ident: $seeds:expr;)*) => {$(
            #[test]
            fn $name() {
                super::play($seeds);
            }
        )*};
    }
    parts! {
        universes_from_10_000: 10_000..25_000;
        universes_from_25_000: 25_000..40_000;
        universes_from_40_000: 40_000..55_000;
        universes_from_55_000: 55_000..70_000;
        universes_from_70_000: 70_000..85_000;
        universes_from_85_000: 85_000..100_000;
    }
}
