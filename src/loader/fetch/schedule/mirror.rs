//! What is known of one mirror: what it is doing, and how it has done.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Patience, RequestId};

/// A mirror.
#[derive(Debug, Clone)]
pub(super) struct Mirror {
    pub(super) state: State,
    /// Failures since a chunk of its was last found to be as signed.
    pub(super) failures: u32,
    /// It sends parts of files, as far as is known.
    pub(super) ranges: bool,
    /// It was left for being slow.
    pub(super) slow: bool,
    /// It was asked beside others, and that was not faster.
    pub(super) dismissed: bool,
    /// Bytes a second, as measured over its answers so far.
    speed: Option<f64>,
    /// Of the span over which slowness is judged, what earlier requests have had.
    pace: Pace,
}

/// Time in which a mirror was being asked, and what it sent.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    time: Duration,
    bytes: u64,
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            state: State::Idle,
            failures: 0,
            ranges: true,
            slow: false,
            dismissed: false,
            speed: None,
            pace: Pace::default(),
        }
    }
}

/// What a mirror is doing.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// It can be asked.
    Idle,
    /// It is being asked.
    Busy(Run),
    /// It has failed, and is not asked before this time.
    Resting {
        /// Until when.
        until: Instant,
    },
    /// It is not asked again.
    Out,
}

/// How good a mirror is to ask, the best first.
pub(super) type Rank = (bool, bool, bool, bool);

/// The measure of a request that runs is worth something from here on.
const MEASURABLE: Duration = Duration::from_millis(100);

impl Mirror {
    pub(super) fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Busy(run) => Some(run),
            _ => None,
        }
    }

    pub(super) fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            State::Busy(run) => Some(run),
            _ => None,
        }
    }

    pub(super) fn rank(&self) -> Rank {
        (!self.ranges, self.slow, self.failures > 0, self.dismissed)
    }

    /// Whether it is being asked, and not silent for too long to be counted upon.
    pub(super) fn is_lively(&self, lively: Duration, now: Instant) -> bool {
        self.run()
            .is_some_and(|run| run.silence(now).is_none_or(|silence| silence < lively))
    }

    /// Bytes a second: by the request that runs, or else by those before.
    pub(super) fn speed(&self, now: Instant) -> Option<f64> {
        self.run().and_then(|run| run.speed(now)).or(self.speed)
    }

    /// Begins a request.
    pub(super) fn begin(&mut self, request: RequestId, chunks: Range<usize>, now: Instant) {
        let mut run = Run::new(request, chunks, now);
        let Pace { time, bytes } = std::mem::take(&mut self.pace);
        let since = now.checked_sub(time).unwrap_or(now);
        run.pace = Span { since, bytes };
        self.state = State::Busy(run);
        // Whoever is asked again is needed.
        self.dismissed = false;
    }

    /// Keeps what a request that has ended says about the speed.
    pub(super) fn learn(&mut self, run: &Run, now: Instant) {
        self.pace = Pace {
            time: run.unheld(now).saturating_duration_since(run.pace.since),
            bytes: run.pace.bytes,
        };
        // Of a run of no time at all nothing is learnt; of a short one, at least that it may be longer.
        if let Some(speed) = run.speed_after(Duration::from_millis(1), now) {
            let before = self.speed.unwrap_or(speed);
            self.speed = Some(f64::midpoint(before, speed));
        }
    }
}

/// A request that is on its way.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) request: RequestId,
    chunks: Range<usize>,
    /// The first chunk that has not arrived.
    next: usize,
    /// When something was last heard, or the request was made; while it is held, when that began.
    heard: Instant,
    /// When the chunk before arrived, or the request was made.
    chunk_since: Instant,
    held: bool,
    /// Since when, of the time that was not held, and how much was received.
    total: Span,
    /// The same, of the span over which slowness is judged.
    pace: Span,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    since: Instant,
    bytes: u64,
}

impl From<Instant> for Span {
    fn from(since: Instant) -> Self {
        Self { since, bytes: 0 }
    }
}

impl Run {
    fn new(request: RequestId, chunks: Range<usize>, now: Instant) -> Self {
        let span = Span::from(now);
        Self {
            request,
            next: chunks.start,
            chunks,
            heard: now,
            chunk_since: now,
            held: false,
            total: span,
            pace: span,
        }
    }

    /// The chunks that have not arrived.
    pub(super) fn left(&self) -> Range<usize> {
        self.next..self.chunks.end
    }

    /// The chunk that is arriving.
    pub(super) fn next(&self) -> Option<usize> {
        (self.next < self.chunks.end).then_some(self.next)
    }

    pub(super) fn receive(&mut self, bytes: u64, now: Instant) {
        self.heard = now;
        self.total.bytes += bytes;
        self.pace.bytes += bytes;
    }

    pub(super) fn arrive(&mut self, chunk: usize, now: Instant) {
        self.next = chunk + 1;
        self.chunk_since = now;
    }

    /// We do not take what is there: that is no silence of the mirror.
    pub(super) fn hold(&mut self, now: Instant) {
        self.held = true;
        self.heard = now;
    }

    pub(super) fn resume(&mut self, now: Instant) {
        if std::mem::take(&mut self.held) {
            let held = now.saturating_duration_since(self.heard);
            self.total.since += held;
            self.pace.since += held;
            self.chunk_since += held;
            self.heard = now;
        }
    }

    /// For how long nothing was heard; `None` while we take nothing.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        (!self.held).then(|| now.saturating_duration_since(self.heard))
    }

    /// Whether what it sends is not taken.
    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// Bytes of the answer so far.
    pub(super) const fn received(&self) -> u64 {
        self.total.bytes
    }

    /// How long the chunk that is arriving has taken so far.
    pub(super) fn on_chunk(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.chunk_since)
    }

    /// The bytes of a span of time that has ended, each but once.
    pub(super) fn span(&mut self, time: Duration, now: Instant) -> Option<u64> {
        if self.held || now < self.pace.since + time {
            return None;
        }
        let ended = std::mem::replace(&mut self.pace, Span::from(now));
        Some(ended.bytes)
    }

    fn speed(&self, now: Instant) -> Option<f64> {
        self.speed_after(MEASURABLE, now)
    }

    /// Now, or when we ceased to take what is there.
    fn unheld(&self, now: Instant) -> Instant {
        if self.held { self.heard } else { now }
    }

    fn speed_after(&self, least: Duration, now: Instant) -> Option<f64> {
        let time = self.unheld(now).saturating_duration_since(self.total.since);
        (time >= least).then(|| self.total.bytes as f64 / time.as_secs_f64())
    }

    /// When this run has to be looked at again.
    pub(super) fn wake_at(&self, patience: &Patience, now: Instant) -> Instant {
        let silent = self.heard + patience.stall;
        if self.held {
            return silent.max(now + patience.stall);
        }
        let quiet = self.heard + patience.lively;
        let wake = silent.min(self.pace.since + patience.slow_after);
        if quiet > now { wake.min(quiet) } else { wake }
    }
}
