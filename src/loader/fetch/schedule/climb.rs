//! How many mirrors are asked at once: one more as long as that makes the whole faster.
//!
//! Where the machine's own link or processor is the limit, a second mirror brings nothing, and its owner
//! nothing but load. So the speed of all is measured with those that are asked, then with one more; it
//! stays if the whole became faster by a good part, and is dismissed if not. After a while, or when a
//! mirror is lost, the question is asked again.

use std::time::{Duration, Instant};

use super::Patience;
use super::mirror::{Mirror, State};

/// By how much the whole must become faster for a newcomer to stay: less is within the noise.
const WORTH: f64 = 1.15;

/// With less than this to go, a newcomer would have no time to make up for its handshake.
const NOT_WORTH: Duration = Duration::from_secs(1);

/// How long an answer holds at first. It may have been noise; and networks change.
const FIRST: Duration = Duration::from_secs(2);

/// How long an answer holds at most; it doubles from one to the next.
const LONGEST: Duration = Duration::from_secs(32);

/// The number of mirrors that are asked at once, and how it is found.
#[derive(Debug)]
pub(super) struct Climb {
    at_once: usize,
    phase: Phase,
    /// How long the next answer holds.
    holds: Duration,
}

#[derive(Debug)]
enum Phase {
    /// Measuring those that are asked, from the first byte on.
    Measuring(Option<Measure>),
    /// Measuring them with one more, from its first byte on.
    Trying {
        newcomer: usize,
        base: f64,
        asked: Instant,
        measure: Option<Measure>,
    },
    /// Known, for a while.
    Settled { until: Instant },
}

#[derive(Debug, Clone, Copy)]
struct Measure {
    since: Instant,
    bytes: u64,
}

impl Measure {
    fn speed(&self, now: Instant) -> f64 {
        let time = now.saturating_duration_since(self.since).as_secs_f64();
        self.bytes as f64 / time.max(f64::MIN_POSITIVE)
    }
}

impl Climb {
    pub(super) const fn new() -> Self {
        Self {
            at_once: 1,
            phase: Phase::Measuring(None),
            holds: FIRST,
        }
    }

    /// How many mirrors are asked at once.
    pub(super) const fn at_once(&self) -> usize {
        self.at_once
    }

    pub(super) fn receive(&mut self, mirror: usize, bytes: u64, now: Instant) {
        let measure = match &mut self.phase {
            Phase::Measuring(measure) => measure,
            Phase::Trying {
                newcomer, measure, ..
            } if measure.is_some() || *newcomer == mirror => measure,
            _ => return,
        };
        match measure {
            Some(measure) => measure.bytes += bytes,
            // What came with the first has come before the time that is measured.
            None => {
                *measure = Some(Measure {
                    since: now,
                    bytes: 0,
                })
            }
        }
    }

    /// A mirror has failed: the speed of those before says nothing any more.
    pub(super) fn lost(&mut self) {
        // Whether the newcomer itself is lost, or stands in for one that is: there is one less.
        if let Phase::Trying { .. } = self.phase {
            self.at_once -= 1;
        }
        self.phase = Phase::Measuring(None);
    }

    pub(super) fn step(
        &mut self,
        mirrors: &mut [Mirror],
        patience: &Patience,
        bytes_left: u64,
        now: Instant,
    ) {
        match &self.phase {
            Phase::Measuring(Some(measure)) if now >= measure.since + patience.measure => {
                self.try_one_more(mirrors, measure.speed(now), bytes_left, now);
            }
            Phase::Trying {
                newcomer,
                base,
                measure: Some(measure),
                ..
            } if now >= measure.since + patience.measure => {
                let (newcomer, speed) = (*newcomer, measure.speed(now));
                if speed < base * WORTH {
                    self.dismiss(mirrors, newcomer);
                } else {
                    self.try_one_more(mirrors, speed, bytes_left, now);
                }
            }
            Phase::Trying {
                newcomer,
                asked,
                measure: None,
                ..
            } if now >= *asked + patience.lively => {
                let newcomer = *newcomer;
                self.dismiss(mirrors, newcomer);
            }
            Phase::Settled { until } if now >= *until => {
                for mirror in mirrors {
                    mirror.dismissed = false;
                }
                self.phase = Phase::Measuring(None);
            }
            _ => {}
        }
    }

    /// `base` is the speed of those that are asked.
    fn try_one_more(&mut self, mirrors: &[Mirror], base: f64, bytes_left: u64, now: Instant) {
        let newcomer = (0..mirrors.len())
            .filter(|index| Self::may_join(&mirrors[*index]))
            .min_by_key(|index| (mirrors[*index].rank(), *index));
        self.phase = match newcomer {
            Some(newcomer) if bytes_left as f64 / base > NOT_WORTH.as_secs_f64() => {
                self.at_once += 1;
                Phase::Trying {
                    newcomer,
                    base,
                    asked: now,
                    measure: None,
                }
            }
            _ => {
                let until = now + self.holds;
                self.holds = LONGEST.min(self.holds * 2);
                Phase::Settled { until }
            }
        };
    }

    fn dismiss(&mut self, mirrors: &mut [Mirror], newcomer: usize) {
        mirrors[newcomer].dismissed = true;
        self.at_once -= 1;
        self.phase = Phase::Measuring(None);
    }

    fn may_join(mirror: &Mirror) -> bool {
        let idle = matches!(mirror.state, State::Idle);
        idle && mirror.ranges && !mirror.slow && !mirror.dismissed
    }

    pub(super) fn wake_at(&self, patience: &Patience) -> Option<Instant> {
        match &self.phase {
            Phase::Measuring(measure) => measure.map(|measure| measure.since + patience.measure),
            Phase::Trying {
                measure: Some(measure),
                ..
            } => Some(measure.since + patience.measure),
            Phase::Trying {
                asked,
                measure: None,
                ..
            } => Some(*asked + patience.lively),
            Phase::Settled { until } => Some(*until),
        }
    }
}
