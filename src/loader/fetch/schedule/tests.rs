//! Downloads in universes that were chosen for one property each.

use std::time::Duration;

use super::universe::{MirrorModel, Outcome, Trouble, Universe, play};
use super::{End, Patience};

const CHUNK: u64 = 1 << 20;

/// A download of so many chunks from these mirrors, over a link that is faster than all of them.
fn download(chunks: usize, mirrors: &[MirrorModel]) -> Outcome {
    over(1 << 20, chunks, mirrors)
}

fn over(link: u64, chunks: usize, mirrors: &[MirrorModel]) -> Outcome {
    let universe = Universe {
        chunks,
        window: 10,
        unpacking: Duration::from_millis(1),
        checking: Duration::from_millis(1),
        link,
        mirrors: mirrors.to_vec(),
        seed: 7,
    };
    play(&universe, Patience::DEFAULT)
}

fn with(troubles: &[Trouble]) -> MirrorModel {
    MirrorModel {
        troubles: troubles.to_vec(),
        ..MirrorModel::good(5, 10_000)
    }
}

fn whole(outcome: &Outcome) -> &Outcome {
    assert_eq!(outcome.end, End::Whole, "{outcome:?}");
    outcome
}

/// Seconds that a speed of `speed` bytes a millisecond takes for so many chunks.
fn seconds(chunks: u64, speed: u64) -> f64 {
    (chunks * CHUNK) as f64 / speed as f64 / 1000.0
}

#[test]
fn one_mirror_is_asked_once_for_everything() {
    let outcome = download(200, &[MirrorModel::good(5, 10_000)]);
    assert_eq!(whole(&outcome).requests, [1]);
    assert_eq!(outcome.received, 200 * CHUNK);
}

#[test]
fn an_image_that_comes_within_a_second_troubles_one_mirror_alone() {
    let mirrors = [MirrorModel::good(5, 100_000), MirrorModel::good(5, 100_000)];
    let outcome = download(60, &mirrors);
    assert_eq!(whole(&outcome).requests[1], 0, "{outcome:?}");
}

#[test]
fn three_mirrors_of_one_speed_are_nearly_three_times_as_fast() {
    let mirrors = vec![MirrorModel::good(2, 10_000); 3];
    let outcome = download(400, &mirrors);
    let took = whole(&outcome).took.as_secs_f64();
    assert!(took < seconds(400, 10_000) / 2.5, "{outcome:?}");
    assert_eq!(outcome.received, 400 * CHUNK);
}

#[test]
fn where_the_own_link_is_the_limit_the_first_mirror_does_nearly_all() {
    let mirrors = vec![MirrorModel::good(5, 20_000); 3];
    let outcome = over(12_000, 400, &mirrors);
    whole(&outcome);
    let others: usize = outcome.requests[1..].iter().sum();
    assert!(others <= 12, "{outcome:?}");
}

#[test]
fn a_slow_mirror_beside_a_fast_one_holds_nothing_up() {
    for mirrors in [
        [MirrorModel::good(5, 50_000), MirrorModel::good(5, 100)],
        [MirrorModel::good(5, 100), MirrorModel::good(5, 50_000)],
    ] {
        let outcome = download(400, &mirrors);
        let alone = seconds(400, 50_000);
        let took = whole(&outcome).took.as_secs_f64();
        assert!(
            took < alone * 1.2 + 1.5,
            "{took} s, alone {alone} s: {outcome:?}"
        );
    }
}

#[test]
fn a_mirror_that_is_slow_chunk_by_chunk_is_left_where_there_is_another() {
    // Each of its chunks takes less than the span over which slowness is judged. The other one is away
    // when it is needed first, and is not asked until the slow one is left.
    let away = MirrorModel {
        away: 0..20,
        ..MirrorModel::good(5, 10_000)
    };
    let slow = MirrorModel::good(5, CHUNK / 16_000 / 8);
    let outcome = download(20, &[slow, away]);
    assert!(
        whole(&outcome).took < Duration::from_secs(60),
        "{outcome:?}"
    );
}

#[test]
fn a_mirror_that_dies_is_gone_on_from_at_the_chunk_reached() {
    let outcome = download(
        100,
        &[with(&[Trouble::Cut(490), Trouble::Refused]), with(&[])],
    );
    whole(&outcome);
    assert!(outcome.received < 102 * CHUNK, "{outcome:?}");
}

#[test]
fn a_silent_mirror_is_not_waited_for_where_there_is_another() {
    let outcome = download(20, &[with(&[Trouble::Silence(0); 5]), with(&[])]);
    assert!(whole(&outcome).took < Duration::from_secs(6), "{outcome:?}");
}

#[test]
fn a_mirror_that_falls_silent_alone_is_asked_again() {
    let outcome = download(20, &[with(&[Trouble::Silence(120)])]);
    let took = whole(&outcome).took;
    assert!(
        took > Patience::DEFAULT.stall && took < Duration::from_secs(30),
        "{outcome:?}"
    );
    assert_eq!(outcome.requests, [2]);
}

#[test]
fn a_mirror_that_asks_to_be_left_alone_is() {
    // The play itself asserts that it is not asked before.
    let outcome = download(20, &[with(&[Trouble::Busy(90), Trouble::Busy(30)])]);
    let took = whole(&outcome).took;
    assert!(
        took > Duration::from_secs(120) && took < Duration::from_secs(145),
        "{outcome:?}"
    );
    assert_eq!(outcome.requests, [3]);
}

#[test]
fn a_liar_is_never_asked_again_and_another_goes_on() {
    let liar = MirrorModel {
        lies: [50].into(),
        ..MirrorModel::good(5, 10_000)
    };
    // The play itself asserts that a liar is not asked again.
    let outcome = download(100, &[liar.clone(), with(&[])]);
    whole(&outcome);
    let outcome = download(100, &[liar]);
    assert_eq!(outcome.end, End::GivenUp);
    assert!(outcome.took < Duration::from_secs(10), "{outcome:?}");
}

#[test]
fn a_wrong_chunk_that_is_found_out_late_holds_nothing_up() {
    // By then, all that may be in hand is here, and comes after it.
    let liar = MirrorModel {
        lies: [10].into(),
        ..MirrorModel::good(5, 50_000)
    };
    let good = MirrorModel::good(5, 50_000);
    for mirrors in [
        vec![liar.clone(), good.clone()],
        vec![liar.clone(), good.clone(), with(&[Trouble::Wrong])],
        vec![liar.clone(), liar, good],
    ] {
        let universe = Universe {
            chunks: 100,
            window: 3,
            unpacking: Duration::from_millis(1),
            checking: Duration::from_secs(1),
            link: 1 << 20,
            mirrors,
            seed: 7,
        };
        let outcome = play(&universe, Patience::DEFAULT);
        assert!(
            whole(&outcome).took < Duration::from_secs(60),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_mirror_that_sends_the_same_beginning_again_and_again_is_given_up() {
    // 30 MiB of 100 in half a minute each, the whole file over again each time.
    let begins = MirrorModel {
        ranges: false,
        troubles: vec![Trouble::Cut(480); 10_000],
        ..MirrorModel::good(5, 1_000)
    };
    let mut outcome = download(100, std::slice::from_ref(&begins));
    for _ in 0..2 {
        assert_eq!(outcome.end, End::GivenUp, "{outcome:?}");
        let longest = Patience::DEFAULT.give_up + Duration::from_secs(120);
        assert!(outcome.took < longest, "{outcome:?}");
        outcome = download(100, &[begins.clone(), begins.clone()]);
    }
}

#[test]
fn a_minute_without_any_mirror_is_survived() {
    let away = MirrorModel {
        away: 3..63,
        troubles: vec![Trouble::Cut(400)],
        ..MirrorModel::good(5, 10_000)
    };
    let outcome = download(
        100,
        &[
            away.clone(),
            MirrorModel {
                away: 0..10_000,
                ..away
            },
        ],
    );
    assert!(
        whole(&outcome).took < Duration::from_secs(95),
        "{outcome:?}"
    );
    assert!(outcome.received < 103 * CHUNK, "{outcome:?}");
}

#[test]
fn mirrors_that_stay_away_are_given_up_after_ten_minutes_without_a_chunk() {
    let away = MirrorModel {
        away: 0..100_000,
        ..MirrorModel::good(5, 10_000)
    };
    let outcome = download(100, &[away.clone(), away]);
    assert_eq!(outcome.end, End::GivenUp);
    assert_eq!(outcome.took, Patience::DEFAULT.give_up);
    // One second, two, four, … sixteen, each shortened by up to half: no hot loop.
    assert!(outcome.requests.iter().sum::<usize>() < 160, "{outcome:?}");
}

#[test]
fn mirrors_that_have_something_else_are_given_up_at_once() {
    let outcome = download(100, &[with(&[Trouble::Wrong]), with(&[Trouble::Wrong])]);
    assert_eq!(outcome.end, End::GivenUp);
    assert!(outcome.took < Duration::from_secs(3), "{outcome:?}");
}

#[test]
fn a_mirror_without_ranges_is_asked_where_no_other_is_left() {
    let rangeless = MirrorModel {
        ranges: false,
        ..with(&[])
    };
    let outcome = download(100, &[rangeless.clone(), with(&[])]);
    assert!(whole(&outcome).requests[0] <= 1, "{outcome:?}");
    assert_eq!(outcome.received, 100 * CHUNK);
    let cut = MirrorModel {
        troubles: vec![Trouble::Cut(800)],
        ..rangeless
    };
    let outcome = download(100, &[cut, with(&[Trouble::Wrong])]);
    whole(&outcome);
}

#[test]
fn two_machines_do_not_come_back_at_the_same_time() {
    let mirrors = [with(&[Trouble::Refused; 4])];
    let took = |seed| {
        let universe = Universe {
            chunks: 10,
            window: 10,
            unpacking: Duration::ZERO,
            checking: Duration::from_millis(1),
            link: 1 << 20,
            mirrors: mirrors.to_vec(),
            seed,
        };
        play(&universe, Patience::DEFAULT).took
    };
    let times: std::collections::BTreeSet<u128> =
        (0..100).map(|seed| took(seed).as_millis()).collect();
    assert!(times.len() > 90, "{times:?}");
}
