//! Which mirror is asked when, and whose answer counts. Time is a number of milliseconds here, and nothing is fetched.

use std::time::{Duration, Instant};

use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::trust::{JudgingTime, Presented, TrustPolicy};
use sealboot_init::boot::stages::manifest::asking::{Asking, Request, Shown, Turn};
use sealboot_init::boot::{InForce, LOADER};
use support::world::archives::noon;
use support::world::{alice, bob, carol, channel, manifest, seal_manifest};

use crate::machine::{gone, host};
use crate::{first, handed_on};

/// What is told of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// This mirror is asked for policies.
    Policies(usize),
    /// This mirror is asked for the channel.
    Channel(usize),
    /// Until so many milliseconds, or for as long as it takes.
    Wait(Option<u64>),
    /// This mirror, with this version.
    Accept(usize, u64),
    Fail(FailureCode),
}

use Told::{Accept, Channel, Fail, Policies, Wait};

/// A machine with mirrors.
struct Machine {
    began: Instant,
    mirrors: Vec<MirrorUrl>,
    presented: Presented,
    chain: InForce,
    now: JudgingTime,
}

impl Machine {
    fn new(policy: TrustPolicy, mirrors: &[&str]) -> Self {
        let mirrors: Vec<MirrorUrl> = mirrors.iter().map(|url| url.parse().unwrap()).collect();
        Self {
            began: Instant::now(),
            presented: Presented {
                stored: Some(host(&mirrors).encode()),
                ..Presented::default()
            },
            mirrors,
            chain: InForce::new(policy, &LOADER),
            now: noon().into(),
        }
    }

    /// Plays what the mirrors show, each at a moment, and returns all turns with the moment that they came at.
    fn play(&mut self, events: Vec<(u64, usize, Shown)>) -> Vec<(u64, Told)> {
        let image = "relay".parse().unwrap();
        let at = |milliseconds| self.began + Duration::from_millis(milliseconds);
        let mut asking = Asking::new(
            &image,
            &self.mirrors,
            &self.presented,
            &mut self.chain,
            &mut self.now,
        );
        let mut turns = Vec::new();
        let mut events = events.into_iter().peekable();
        let mut clock = 0;
        loop {
            let told = match asking.turn(at(clock)) {
                Turn::Ask(mirror, Request::Policies(_)) => Policies(mirror),
                Turn::Ask(mirror, Request::Channel) => Channel(mirror),
                Turn::Wait(until) => {
                    let until = until.map(|until| until.duration_since(self.began));
                    Wait(until.map(|until| u64::try_from(until.as_millis()).unwrap()))
                }
                Turn::Accept(mirror, current) => {
                    Accept(mirror, current.manifest().as_ref().version.as_u64())
                }
                Turn::Fail(error) => Fail(error.code()),
            };
            turns.push((clock, told));
            let Wait(until) = told else {
                if matches!(told, Accept(..) | Fail(_)) {
                    return turns;
                }
                continue;
            };
            let event = events.next_if(|(at, ..)| until.is_none_or(|until| *at < until));
            match (event, until) {
                (Some((then, mirror, shown)), _) => {
                    clock = then;
                    assert!(asking.is_open(mirror), "mirror {mirror} at {clock}");
                    asking.take_in(mirror, shown, at(clock));
                }
                (None, Some(until)) => clock = until,
                (None, None) => return turns,
            }
        }
    }
}

fn shows(version: u64) -> Shown {
    Shown::Channel(channel(
        &seal_manifest(&manifest(version), &[alice(), bob()]),
        None,
    ))
}

const TWO: [&str; 2] = ["https://one.example/", "https://two.example/"];

#[test]
fn a_dead_first_mirror_costs_its_head_start_alone() {
    let turns =
        Machine::new(first(), &TWO).play(vec![(2010, 1, Shown::NoPolicy), (2020, 1, shows(42))]);
    assert_eq!(
        turns,
        [
            (0, Policies(0)),
            (0, Wait(Some(2000))),
            (2000, Policies(1)),
            (2000, Wait(Some(4000))),
            (2010, Channel(1)),
            (2010, Wait(Some(4010))),
            (2020, Accept(1, 42)),
        ]
    );
}

#[test]
fn a_mirror_that_fails_or_shows_nothing_that_counts_gives_way() {
    for (events, at) in [
        (vec![(5, 0, gone())], 5),
        (vec![(5, 0, Shown::NoPolicy), (9, 0, shows(40))], 9),
        (
            vec![(5, 0, Shown::NoPolicy), (9, 0, Shown::Channel(Vec::new()))],
            9,
        ),
    ] {
        let turns = Machine::new(first(), &TWO).play(events);
        assert!(turns.contains(&(at, Policies(1))), "{turns:?}");
    }
}

#[test]
fn a_mirror_that_goes_on_answering_keeps_its_place() {
    // The first one holds the machine at 42.
    let turns =
        Machine::new(first(), &TWO).play(vec![(1900, 0, Shown::NoPolicy), (3800, 0, shows(42))]);
    assert_eq!(turns.last(), Some(&(3800, Accept(0, 42))));
    assert!(
        turns.iter().all(|(_, told)| *told != Policies(1)),
        "{turns:?}"
    );
}

#[test]
fn a_late_first_mirror_that_has_begun_comes_before_a_faster_one() {
    let begins = || {
        vec![
            (2010, 1, Shown::NoPolicy),
            (2100, 0, Shown::NoPolicy),
            (2200, 1, shows(43)),
        ]
    };
    let mut in_time = begins();
    in_time.push((3000, 0, shows(42)));
    let turns = Machine::new(first(), &TWO).play(in_time);
    assert_eq!(turns.last(), Some(&(3000, Accept(0, 42))));
    // It stops, and then the other counts.
    let turns = Machine::new(first(), &TWO).play(begins());
    assert_eq!(turns.last(), Some(&(4100, Accept(1, 43))));
    let mut fails = begins();
    fails.push((3000, 0, gone()));
    let turns = Machine::new(first(), &TWO).play(fails);
    assert_eq!(turns.last(), Some(&(3000, Accept(1, 43))));
}

#[test]
fn a_mirror_that_is_late_is_still_heard() {
    let turns = Machine::new(first(), &TWO).play(vec![
        (2010, 1, gone()),
        (9000, 0, Shown::NoPolicy),
        (9010, 0, shows(42)),
    ]);
    assert!(turns.contains(&(2010, Wait(None))), "{turns:?}");
    assert_eq!(turns.last(), Some(&(9010, Accept(0, 42))));
}

#[test]
fn a_policy_that_a_late_mirror_shows_judges_what_a_faster_one_shows() {
    // Alice's key is removed by it.
    let policy = || Shown::Policy(2.try_into().unwrap(), handed_on());
    let turns = Machine::new(first(), &TWO).play(vec![
        (2010, 1, Shown::NoPolicy),
        (2100, 0, policy()),
        (2200, 1, shows(42)),
        (2300, 0, gone()),
    ]);
    assert_eq!(
        turns.last(),
        Some(&(2300, Fail(FailureCode::ManifestThreshold)))
    );
    // Both show it; it is judged once.
    let by_the_new = seal_manifest(&manifest(42), &[bob(), carol()]);
    let turns = Machine::new(first(), &TWO).play(vec![
        (2010, 1, policy()),
        (2020, 0, policy()),
        (2030, 0, Shown::NoPolicy),
        (2040, 0, Shown::Channel(channel(&by_the_new, None))),
    ]);
    assert_eq!(turns.last(), Some(&(2040, Accept(0, 42))));
}

#[test]
fn a_policy_that_forbids_plain_http_ends_open_requests() {
    let baked_in = first().with(|fields| fields.allow_http = true).unwrap();
    let mirrors = [
        "http://one.example/",
        "https://two.example/",
        "http://three.example/",
    ];
    let turns = Machine::new(baked_in, &mirrors).play(vec![
        (2100, 1, Shown::Policy(2.try_into().unwrap(), handed_on())),
        (2200, 1, gone()),
    ]);
    assert_eq!(
        turns.last(),
        Some(&(2200, Fail(FailureCode::FetchPlainHttp)))
    );
    assert!(
        turns.iter().all(|(_, told)| *told != Policies(2)),
        "{turns:?}"
    );
}

#[test]
fn which_failure_is_reported_does_not_depend_on_who_fails_first() {
    let refused = |mirror, at| vec![(at, mirror, Shown::NoPolicy), (at + 1, mirror, shows(40))];
    for (mut events, last) in [(refused(0, 5000), 5001), (refused(0, 2500), 2600)] {
        events.push((2600, 1, gone()));
        events.sort_by_key(|(at, ..)| *at);
        let turns = Machine::new(first(), &TWO).play(events);
        assert_eq!(
            turns.last(),
            Some(&(last, Fail(FailureCode::ManifestRollback)))
        );
    }
}

#[test]
fn a_machine_without_a_mirror_says_so() {
    let mut machine = Machine::new(first(), &TWO);
    machine.mirrors.clear();
    assert_eq!(
        machine.play(Vec::new()),
        [(0, Fail(FailureCode::ConfigureHost))]
    );
}
