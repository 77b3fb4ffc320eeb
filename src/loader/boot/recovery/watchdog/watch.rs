//! What the watchdog does at each tick; pure.

use std::time::{Duration, Instant};

use crate::heartbeat::Waiting;

/// How long something is waited for before it is said, so that what comes at once is not announced.
const FIRST_SAID: Duration = Duration::from_secs(10);
/// What is said again is said half as often each time, down to this.
const SAID_AT_LEAST: Duration = Duration::from_secs(60);

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Feed the hardware.
    Feed,
    /// Tell whoever reads the console.
    Say(String),
    /// The loader hangs: reset the machine, and feed no more.
    Stalled {
        /// For how long nothing has happened.
        silence: Duration,
    },
}

/// Fed with the time and the signs of life.
#[derive(Debug)]
pub(super) struct Watch {
    stall: Duration,
    feed_every: Duration,
    fed: Option<Instant>,
    /// What was said last to be waited for, and when it is said again.
    said: Option<(Waiting, Duration, Instant)>,
    has_stalled: bool,
}

impl Watch {
    /// A loader that may be silent for `stall`.
    pub(super) const fn new(stall: Duration) -> Self {
        Self {
            stall,
            feed_every: Duration::ZERO,
            fed: None,
            said: None,
            has_stalled: false,
        }
    }

    /// Lets the loader be silent for so long from now on.
    pub(super) const fn set_stall(&mut self, stall: Duration) {
        self.stall = stall;
    }

    /// Feeds hardware that resets the machine after `timeout` without food.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        // Four meals in a timeout: a busy machine may be late for one.
        self.feed_every = timeout / 4;
        self.fed = None;
    }

    pub(super) fn tick(
        &mut self,
        now: Instant,
        alive_until: Instant,
        waiting: Option<Waiting>,
    ) -> Vec<Act> {
        if self.has_stalled {
            return Vec::new();
        }
        let silence = now.saturating_duration_since(alive_until);
        if silence > self.stall {
            self.has_stalled = true;
            return vec![Act::Stalled { silence }];
        }
        let mut acts = Vec::new();
        if self.fed.is_none_or(|fed| now >= fed + self.feed_every) {
            self.fed = Some(now);
            acts.push(Act::Feed);
        }
        acts.extend(self.say(now, waiting).map(Act::Say));
        acts
    }

    fn say(&mut self, now: Instant, waiting: Option<Waiting>) -> Option<String> {
        let waiting = waiting?;
        let pause = match &self.said {
            Some((said, pause, _)) if *said == waiting => (*pause * 2).min(SAID_AT_LEAST),
            _ => FIRST_SAID,
        };
        let due = match &self.said {
            Some((said, _, due)) if *said == waiting => *due,
            _ => waiting.since + FIRST_SAID,
        };
        if now < due {
            return None;
        }
        let seconds = now.saturating_duration_since(waiting.since).as_secs();
        let line = format!("waiting for {}, {seconds} s so far", waiting.what);
        self.said = Some((waiting, pause, now + pause));
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(900);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn hardware_is_fed_four_times_in_its_timeout_while_there_are_signs_of_life() {
        let start = Instant::now();
        let mut watch = Watch::new(STALL);
        watch.set_timeout(seconds(60));
        let fed: Vec<u64> = (0..=45)
            .filter(|at| watch.tick(start + seconds(*at), start, None) == [Act::Feed])
            .collect();
        assert_eq!(fed, [0, 15, 30, 45]);
    }

    #[test]
    fn a_loader_that_hangs_is_reset_once_and_its_watchdog_starves() {
        let start = Instant::now();
        let mut watch = Watch::new(STALL);
        watch.set_timeout(seconds(60));
        assert_eq!(watch.tick(start + STALL, start, None), [Act::Feed]);
        let silence = STALL + seconds(1);
        assert_eq!(
            watch.tick(start + silence, start, None),
            [Act::Stalled { silence }]
        );
        // Whatever comes now comes too late: the machine is being reset.
        for later in 902..2000 {
            assert_eq!(
                watch.tick(start + seconds(later), start + seconds(later), None),
                []
            );
        }
    }

    #[test]
    fn a_wait_that_was_announced_is_no_hang_before_its_end() {
        let start = Instant::now();
        let end = start + seconds(86_400);
        let mut watch = Watch::new(STALL);
        assert_eq!(watch.tick(start + seconds(80_000), end, None), [Act::Feed]);
        assert_eq!(watch.tick(end + STALL, end, None), [Act::Feed]);
        let acts = watch.tick(end + STALL + seconds(1), end, None);
        assert!(matches!(acts[..], [Act::Stalled { .. }]), "{acts:?}");
    }

    #[test]
    fn another_policy_grants_another_silence() {
        let start = Instant::now();
        let mut watch = Watch::new(STALL);
        watch.set_stall(seconds(400));
        let acts = watch.tick(start + seconds(401), start, None);
        assert!(matches!(acts[..], [Act::Stalled { .. }]), "{acts:?}");
    }

    #[test]
    fn what_is_waited_for_is_said_after_ten_seconds_and_then_ever_less_often() {
        let start = Instant::now();
        let mut watch = Watch::new(STALL);
        watch.set_timeout(seconds(3600));
        let waiting = |what: &str, since| {
            Some(Waiting {
                what: what.to_owned(),
                since: start + seconds(since),
            })
        };
        let mut said = Vec::new();
        for at in 0..=200 {
            let waiting = match at {
                0..=170 => waiting("a carrier on eth0", 0),
                171..=175 => None,
                _ => waiting("an address on eth0", 176),
            };
            for act in watch.tick(start + seconds(at), start, waiting) {
                if let Act::Say(line) = act {
                    said.push((at, line));
                }
            }
        }
        let expected = [
            (10, "waiting for a carrier on eth0, 10 s so far"),
            (20, "waiting for a carrier on eth0, 20 s so far"),
            (40, "waiting for a carrier on eth0, 40 s so far"),
            (80, "waiting for a carrier on eth0, 80 s so far"),
            (140, "waiting for a carrier on eth0, 140 s so far"),
            (186, "waiting for an address on eth0, 10 s so far"),
            (196, "waiting for an address on eth0, 20 s so far"),
        ];
        let said: Vec<(u64, &str)> = said.iter().map(|(at, line)| (*at, line.as_str())).collect();
        assert_eq!(said, expected);
    }
}
