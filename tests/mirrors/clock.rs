//! What a machine knows of the time, over random answers, statements, pauses and attempts, against a model.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sealboot_core::format::manifest::Arch;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{ClockState, JudgingTime, KeptProofs, TrustPolicy};
use sealboot_init::net::clock::{Clock, Reading};
use sealboot_init::net::sntp::{Verdict, judge};
use support::world::trust::{freshness_of, renewed_by, seal_freshness};
use support::world::{alice, bob, channel, clockwork, mallory, manifest, seal_manifest};

use crate::first;

const YEAR: i64 = 365 * 86_400;

/// Something that happens to a machine. Times are in seconds after the loader's build.
#[derive(Debug, Clone)]
enum Event {
    /// Time passes.
    Pass { milliseconds: i64 },
    /// An attempt begins; before it, a shell may have set the clock.
    Attempt { set_to: Option<i64> },
    /// Time servers answer.
    Answers(Vec<i64>),
    /// A mirror shows an image and what a freshness key says of it.
    Shows {
        created: i64,
        is_released: bool,
        claimed: Option<i64>,
    },
}

fn around_the_build() -> impl Strategy<Value = i64> {
    prop_oneof![-300..300_i64, -YEAR..6 * YEAR, -57 * YEAR..80 * YEAR]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..5_000_000_i64).prop_map(|milliseconds| Event::Pass { milliseconds }),
        prop::option::weighted(0.2, around_the_build())
            .prop_map(|set_to| Event::Attempt { set_to }),
        prop::collection::vec(around_the_build(), 0..4).prop_map(Event::Answers),
        (
            around_the_build(),
            any::<bool>(),
            prop::option::of(around_the_build())
        )
            .prop_map(|(created, is_released, claimed)| Event::Shows {
                created,
                is_released,
                claimed,
            }),
    ]
}

fn build() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn after_build(seconds: i64) -> Timestamp {
    build() + SignedDuration::from_secs(seconds)
}

fn in_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap()
}

/// A machine, and what must hold of it.
struct Machine {
    clock: Clock,
    now: Reading,
    /// What was decided at power-on.
    state: ClockState,
    /// The build, or the power-on time of a set clock, and the time since.
    floor: Timestamp,
    /// The latest date that release keys signed, and the time since it was shown.
    signed: Option<Timestamp>,
}

impl Machine {
    fn power_on(says: i64) -> Self {
        let now = Reading {
            wall: after_build(says),
            uptime: SignedDuration::from_millis(1_700),
        };
        let is_set = (0..=5 * YEAR).contains(&says);
        let mut machine = Self {
            clock: Clock::at_power_on(now, build()),
            now,
            state: if is_set {
                ClockState::Set
            } else {
                ClockState::Unset
            },
            floor: if is_set { now.wall } else { build() },
            signed: None,
        };
        machine.raise();
        machine
    }

    /// Does what `prepare` does to the kernel's clock.
    fn raise(&mut self) {
        self.now.wall = self.now.wall.max(self.clock.floor(self.now.uptime));
    }

    fn judging_time(&self) -> JudgingTime {
        self.clock.judging_time(self.now)
    }

    fn happens(&mut self, event: &Event, policy: &TrustPolicy) {
        match event {
            Event::Pass { milliseconds } => {
                let span = SignedDuration::from_millis(*milliseconds);
                self.now.wall += span;
                self.now.uptime += span;
                self.floor += span;
                self.signed = self.signed.map(|signed| signed + span);
            }
            Event::Attempt { set_to } => {
                if let Some(seconds) = set_to {
                    self.now.wall = after_build(*seconds);
                }
                self.raise();
            }
            Event::Answers(answers) => {
                let behind = |answer: &i64| after_build(*answer).duration_since(self.now.wall);
                let behind = answers.iter().map(behind).collect();
                if let Verdict::Step(step, _) = judge(behind, 4, &self.clock, self.now) {
                    self.now.wall += step;
                    assert!(self.now.wall <= after_build(20 * YEAR));
                }
            }
            Event::Shows {
                created,
                is_released,
                claimed,
            } => {
                let mut image = manifest(42);
                image.created = after_build(*created);
                let signers = if *is_released {
                    [alice(), bob()]
                } else {
                    [alice(), mallory()]
                };
                let claimed = claimed.map(|claimed| {
                    let statement = freshness_of(&[&image], 1, after_build(claimed));
                    seal_freshness(&statement, &clockwork())
                });
                let shown = channel(&seal_manifest(&image, &signers), claimed.as_deref());
                let mut expected = Expected {
                    name: &"relay".parse().unwrap(),
                    arch: Some(Arch::X86_64),
                    now: self.judging_time(),
                };
                let _ = policy.judge_channel(&shown, &mut expected, &mut KeptProofs::default());
                self.clock.keep(&expected.now, self.now.uptime);
                if *is_released && self.state == ClockState::Unset {
                    self.signed = self.signed.max(Some(image.created));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The clock never stands before the floor, which nothing moves but the time; the judging time is the clock's
    /// or what release keys have signed, whatever freshness keys say; and what was decided at power-on holds.
    #[test]
    fn any_run_judges_at_the_time_that_the_model_says(
        says in around_the_build(),
        events in prop::collection::vec(event(), 0..24),
    ) {
        let policy = renewed_by(first(), &clockwork(), false);
        let mut machine = Machine::power_on(says);
        for event in &events {
            machine.happens(event, &policy);
            let (now, judged) = (machine.now, machine.judging_time());
            prop_assert_eq!(machine.clock.state(), machine.state, "{:?}", event);
            prop_assert_eq!(judged.clock(), machine.state, "{:?}", event);
            prop_assert_eq!(machine.clock.floor(now.uptime), machine.floor, "{:?}", event);
            prop_assert!(now.wall >= machine.floor, "{:?}", event);
            let latest = machine.signed.map_or(now.wall, |signed| signed.max(now.wall));
            prop_assert_eq!(judged.at(), in_seconds(latest), "{:?}", event);
        }
    }
}
