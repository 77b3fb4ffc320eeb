//! Which mirror is asked for which chunks, and when: the download as a state machine.
//!
//! It is fed with `(event, now)` and returns commands; it knows no socket, clock or random source of its
//! own. [`super::archive`] is the shell round it.
//!
//! - Mirrors stand in the order in which they are preferred. One is asked to begin with; `climb` adds
//!   others where that makes the download faster, and only there.
//! - Chunks are asked for in runs. What is asked for ends within a window of the unpacker, so that no more
//!   than the window is ever held in memory; only a mirror that is asked alone may be asked for more, as
//!   what it sends comes in order.
//! - A mirror that fails gives back what has not arrived, and rests: each time longer, with jitter, and at
//!   least as long as it asked for itself. One whose chunk is not as signed, or whose file is another, is
//!   not asked again.
//! - Silence is a fault, and so is slowness where others could do better. Both are judged by the bytes of
//!   a span of time, never by the time of the whole.
//! - An unpacker that waits for a chunk which another mirror would have sent twice over gets it from that one.

mod climb;
mod event;
mod mirror;
mod patience;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod universe;

use std::ops::Range;
use std::time::{Duration, Instant};

use self::climb::Climb;
pub use self::event::{Command, End, Event, Fault, Ranges, RequestId, Why};
use self::mirror::{Mirror, Run, State};
pub use self::patience::Patience;
use crate::jitter;

/// What is to be fetched.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many chunks there are.
    pub chunks: usize,
    /// Bytes of every chunk but the last.
    pub chunk_size: u64,
    /// Chunks that may be on their way from a mirror to the unpacker.
    pub window: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Missing,
    Asked,
    Arrived,
    Checked,
}

/// While a mirror rests and another works, who is late is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A mirror is asked for what it sends in this time: a round trip between two requests is lost, and another
/// mirror can only join after the end of a run.
const RUN: Duration = Duration::from_millis(500);

/// A mirror that is asked alone is asked for so many chunks at least.
const SHORTEST_RUN: usize = 2;

/// A chunk is late when another mirror would have sent it this many times over.
const LATE: f64 = 2.0;

/// What another mirror needs before its first byte, at most, where lateness is judged.
const LATE_LATENCY: Duration = Duration::from_millis(250);

/// A mirror is too slow to help where one chunk takes it as long as the others need for so many windows.
const TOO_SLOW_WINDOWS: f64 = 2.0;

/// The download.
#[derive(Debug)]
pub struct Schedule {
    plan: Plan,
    patience: Patience,
    chunks: Vec<Chunk>,
    /// Every chunk before this one is checked.
    checked: usize,
    /// The unpacker has taken every chunk before this one.
    taken: usize,
    mirrors: Vec<Mirror>,
    climb: Climb,
    requests: u64,
    random: Random,
    /// When a chunk was last found to be as signed, or the download began; and while a mirror without
    /// ranges sends what stands before.
    progress: Instant,
    /// The most that a mirror without ranges has sent in one answer since then.
    deepest: u64,
    end: Option<End>,
}

impl Schedule {
    /// A download from `mirrors` mirrors that begins at `now`; `seed` makes its waits differ from another
    /// machine's.
    #[must_use]
    pub fn new(plan: Plan, mirrors: usize, patience: Patience, seed: u64, now: Instant) -> Self {
        Self {
            plan,
            patience,
            chunks: vec![Chunk::Missing; plan.chunks],
            checked: 0,
            taken: 0,
            mirrors: vec![Mirror::default(); mirrors],
            climb: Climb::new(),
            requests: 0,
            random: Random(seed),
            progress: now,
            deepest: 0,
            end: None,
        }
    }

    /// How the download has ended, if it has.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// How many chunks are as signed.
    #[must_use]
    pub fn checked(&self) -> usize {
        let later = &self.chunks[self.checked..];
        self.checked
            + later
                .iter()
                .filter(|chunk| **chunk == Chunk::Checked)
                .count()
    }

    /// The mirrors that are being asked now.
    pub fn busy(&self) -> impl Iterator<Item = usize> {
        let mirrors = self.mirrors.iter().enumerate();
        mirrors.filter_map(|(index, mirror)| mirror.run().map(|_| index))
    }

    /// When the next mirror has rested enough, where one is needed and none is being asked.
    #[must_use]
    pub fn rests_until(&self) -> Option<Instant> {
        let resting = |mirror: &Mirror| match mirror.state {
            State::Resting { until } => Some(until),
            _ => None,
        };
        let is_missing = self.chunks.contains(&Chunk::Missing);
        match self.busy().next() {
            None if is_missing => self.mirrors.iter().filter_map(resting).min(),
            _ => None,
        }
    }

    /// Whether there is a mirror that could still be asked.
    #[must_use]
    pub fn has_mirrors(&self) -> bool {
        let mut mirrors = self.mirrors.iter();
        mirrors.any(|mirror| !matches!(mirror.state, State::Out))
    }

    /// When to say [`Event::Tick`] if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self, now: Instant) -> Instant {
        let mut wake = self.progress + self.patience.give_up;
        let mut idle = false;
        for mirror in &self.mirrors {
            match &mirror.state {
                State::Resting { until } => wake = wake.min(*until),
                State::Busy(run) => wake = wake.min(run.wake_at(&self.patience, now)),
                State::Idle => idle = true,
                State::Out => {}
            }
        }
        if idle && self.busy().next().is_some() {
            wake = wake.min(now + LOOK_EVERY);
        }
        self.climb
            .wake_at(&self.patience)
            .map_or(wake, |at| wake.min(at))
            .max(now)
    }

    /// Takes in what has happened, and says what to do.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.end.is_some() {
            return commands;
        }
        self.take_in(event, now, &mut commands);
        self.judge(now, &mut commands);
        self.end = self.ended(now);
        if self.end.is_none() {
            self.climb(now);
            self.assign(now, &mut commands);
        }
        commands
    }

    fn take_in(&mut self, event: Event, now: Instant, commands: &mut Vec<Command>) {
        match event {
            Event::Tick => {}
            Event::Received { request, bytes } => {
                if let Some((mirror, run)) = self.run_of(request) {
                    run.receive(bytes, now);
                    self.climb.receive(mirror, bytes, now);
                }
            }
            Event::Held { request } => {
                if let Some((_, run)) = self.run_of(request) {
                    run.hold(now);
                }
            }
            Event::Resumed { request } => {
                if let Some((_, run)) = self.run_of(request) {
                    run.resume(now);
                }
            }
            Event::Arrived { request, chunk } => {
                // A request that was left may have sent its last chunk meanwhile; who asks for it now is not
                // disturbed, and whichever copy is checked first counts.
                if let Some((_, run)) = self.run_of(request) {
                    run.arrive(chunk, now);
                    if self.chunks[chunk] == Chunk::Asked {
                        self.chunks[chunk] = Chunk::Arrived;
                    }
                }
            }
            Event::Ended { request } => {
                if let Some((mirror, _)) = self.run_of(request) {
                    self.release(mirror, State::Idle, now);
                }
            }
            Event::Failed { request, fault } => {
                if let Some((mirror, _)) = self.run_of(request) {
                    self.fail(mirror, fault, now);
                }
            }
            Event::Checked { mirror, chunk } => {
                self.chunks[chunk] = Chunk::Checked;
                self.mirrors[mirror].failures = 0;
                self.progress = now;
                self.deepest = 0;
                while self.chunks.get(self.checked) == Some(&Chunk::Checked) {
                    self.checked += 1;
                }
            }
            Event::Lied { mirror, chunk } => {
                if self.chunks[chunk] == Chunk::Arrived {
                    self.chunks[chunk] = Chunk::Missing;
                }
                self.leave(mirror, Why::Lied, State::Out, now, commands);
            }
            Event::Taken { next } => self.taken = next,
        }
    }

    /// Finds who is silent or slow.
    fn judge(&mut self, now: Instant, commands: &mut Vec<Command>) {
        for mirror in 0..self.mirrors.len() {
            let others = self.others(mirror);
            let patience = self.patience;
            let Mirror { ranges, slow, .. } = self.mirrors[mirror];
            let Some(run) = self.mirrors[mirror].run_mut() else {
                continue;
            };
            let silence = run.silence(now);
            if let Some(silence) = silence.filter(|silence| *silence >= patience.stall) {
                self.leave_silent(mirror, silence, now, commands);
                continue;
            }
            match run.span(patience.slow_after, now) {
                // Left once: where the others are worse, slow is better than nothing.
                Some(bytes) if bytes < patience.slow_bytes && others && !slow => {
                    self.mirrors[mirror].slow = true;
                    self.leave(mirror, Why::Slow, State::Idle, now, commands);
                }
                // It is getting to the chunks that are missing, and farther than it was; to begin anew is no progress.
                Some(bytes)
                    if bytes >= patience.slow_bytes
                        && !ranges
                        && run.received() >= self.deepest + patience.slow_bytes =>
                {
                    self.deepest = run.received();
                    self.progress = now;
                }
                _ => {}
            }
        }
    }

    /// Whether there is another mirror than this one that was not found out to be slow or wrong.
    fn others(&self, mirror: usize) -> bool {
        let mut mirrors = self.mirrors.iter().enumerate();
        mirrors.any(|(index, other)| {
            index != mirror && !other.slow && !matches!(other.state, State::Out)
        })
    }

    fn ended(&self, now: Instant) -> Option<End> {
        let out = |mirror: &Mirror| matches!(mirror.state, State::Out);
        if self.checked == self.chunks.len() {
            Some(End::Whole)
        } else if self.mirrors.iter().all(out) && !self.chunks.contains(&Chunk::Arrived)
            || now >= self.progress + self.patience.give_up
        {
            Some(End::GivenUp)
        } else {
            None
        }
    }

    fn climb(&mut self, now: Instant) {
        let left = self.chunks.len() - self.checked;
        let left = left as u64 * self.plan.chunk_size;
        self.climb
            .step(&mut self.mirrors, &self.patience, left, now);
    }

    /// Asks as many mirrors at once as are worth it, the preferred ones first; and where the chunk that all wait
    /// for is nobody's, one that waits itself.
    fn assign(&mut self, now: Instant, commands: &mut Vec<Command>) {
        self.ask_idle(now, commands);
        if let Some(mirror) = self.waits_in_vain() {
            self.leave(mirror, Why::Early, State::Idle, now, commands);
            self.ask_idle(now, commands);
        }
    }

    /// A mirror whose next chunk is too far ahead of the unpacker, while one before it is missing: it was not as
    /// signed when it came, and the mirrors that are asked at once are all asked for later ones.
    fn waits_in_vain(&self) -> Option<usize> {
        let missing = self.chunks[self.checked..].iter();
        let first = self.checked
            + missing
                .take_while(|chunk| **chunk != Chunk::Missing)
                .count();
        let waits = |mirror: &Mirror| {
            let run = mirror.run().filter(|run| run.is_held());
            run.and_then(Run::next).is_some_and(|next| next > first)
        };
        self.mirrors.iter().position(waits)
    }

    fn ask_idle(&mut self, now: Instant, commands: &mut Vec<Command>) {
        for mirror in &mut self.mirrors {
            if matches!(mirror.state, State::Resting { until } if until <= now) {
                mirror.state = State::Idle;
            }
        }
        while self.at_work(now) < self.climb.at_once() {
            let mut idle: Vec<usize> = (0..self.mirrors.len())
                .filter(|index| matches!(self.mirrors[*index].state, State::Idle))
                .collect();
            idle.sort_by_key(|index| (self.mirrors[*index].rank(), *index));
            let next = idle
                .iter()
                .find_map(|index| Some((*index, self.next_run(*index, now)?)));
            let next = next.or_else(|| self.take_over(&idle, now, commands));
            let Some((mirror, run)) = next else {
                return;
            };
            self.ask(mirror, run, commands, now);
        }
    }

    /// How many mirrors are asked and can be counted upon.
    fn at_work(&self, now: Instant) -> usize {
        let counts =
            |mirror: &&Mirror| !mirror.dismissed && mirror.is_lively(self.patience.lively, now);
        self.mirrors.iter().filter(counts).count()
    }

    /// The chunks that this mirror would be asked for next.
    fn next_run(&self, mirror: usize, now: Instant) -> Option<Range<usize>> {
        let first = (self.checked..self.chunks.len())
            .find(|chunk| self.chunks[*chunk] == Chunk::Missing)?;
        let mut usable = self
            .mirrors
            .iter()
            .filter(|mirror| !matches!(mirror.state, State::Out));
        if !self.mirrors[mirror].ranges {
            // It sends everything, so it is asked where nobody else is there who could send parts.
            let better =
                usable.any(|other| other.ranges && !matches!(other.state, State::Resting { .. }));
            return (!better && self.busy().next().is_none()).then_some(first..self.chunks.len());
        }
        let window = self.taken + self.plan.window;
        let speed = self.mirrors[mirror].speed(now).unwrap_or(0.0);
        let end = if usable.count() == 1 {
            self.chunks.len()
        } else if first >= window || self.would_hold_up(mirror, now) {
            return None;
        } else if self.busy().next().is_none() && self.climb.at_once() == 1 {
            first + self.chunks_in(speed, RUN).max(SHORTEST_RUN)
        } else {
            let share = (self.plan.window / self.climb.at_once()).max(1);
            window.min(first + self.chunks_in(speed, RUN).clamp(1, share))
        };
        let missing = |chunk: &usize| self.chunks[*chunk] == Chunk::Missing;
        let run = (first..end.min(self.chunks.len())).take_while(missing);
        Some(first..first + run.count())
    }

    /// Whether the window would wait for a chunk from this mirror, known to be slow, while another works or
    /// could.
    fn would_hold_up(&self, mirror: usize, now: Instant) -> bool {
        let ready = |other: &&Mirror| {
            other.ranges
                && (matches!(other.state, State::Idle)
                    || other.is_lively(self.patience.lively, now))
        };
        let speed = |mirror: &Mirror| mirror.speed(now).unwrap_or(0.0);
        let fastest = self
            .mirrors
            .iter()
            .filter(ready)
            .map(speed)
            .fold(0.0, f64::max);
        let own = self.mirrors[mirror].speed(now);
        own.is_some_and(|own| fastest > own * self.plan.window as f64 * TOO_SLOW_WINDOWS)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "casts from a float saturate, and every run is cut at the end of the archive"
    )]
    fn chunks_in(&self, speed: f64, time: Duration) -> usize {
        (speed * time.as_secs_f64() / self.plan.chunk_size as f64) as usize
    }

    fn ask(
        &mut self,
        mirror: usize,
        chunks: Range<usize>,
        commands: &mut Vec<Command>,
        now: Instant,
    ) {
        for chunk in &mut self.chunks[chunks.clone()] {
            if *chunk == Chunk::Missing {
                *chunk = Chunk::Asked;
            }
        }
        self.requests += 1;
        let request = RequestId(self.requests);
        let asked = &mut self.mirrors[mirror];
        asked.begin(request, chunks.clone(), now);
        let ranges = if asked.ranges {
            Ranges::Asked
        } else {
            Ranges::Unknown
        };
        commands.push(Command::Ask {
            request,
            mirror,
            chunks,
            ranges,
        });
    }

    /// Frees the chunk that the unpacker waits for, if one of `idle` would have it sooner, and gives it that.
    fn take_over(
        &mut self,
        idle: &[usize],
        now: Instant,
        commands: &mut Vec<Command>,
    ) -> Option<(usize, Range<usize>)> {
        let (mirror, run) = (self.mirrors.iter().enumerate())
            .filter_map(|(index, mirror)| Some((index, mirror.run()?)))
            .min_by_key(|(_, run)| run.next().unwrap_or(usize::MAX))?;
        let silence = run.silence(now)?;
        let speed = |index: &usize| self.mirrors[*index].speed(now).unwrap_or(0.0);
        let taker = (idle.iter().copied())
            .filter(|index| self.mirrors[*index].ranges)
            .max_by(|one, other| speed(one).total_cmp(&speed(other)))?;
        let due = LATE * self.plan.chunk_size as f64 / speed(&taker) + LATE_LATENCY.as_secs_f64();
        if silence >= self.patience.lively {
            self.leave_silent(mirror, silence, now, commands);
        } else if run.on_chunk(now).as_secs_f64() > due {
            self.leave(mirror, Why::Slow, State::Idle, now, commands);
        } else {
            return None;
        }
        self.next_run(taker, now).map(|run| (taker, run))
    }

    fn fail(&mut self, mirror: usize, fault: Fault, now: Instant) {
        let next = match fault {
            Fault::Away { retry_after } => self.rest(mirror, retry_after, now),
            Fault::NoRanges if self.mirrors[mirror].ranges => {
                self.mirrors[mirror].ranges = false;
                State::Idle
            }
            Fault::NoRanges | Fault::Wrong => State::Out,
        };
        self.climb.lost();
        self.release(mirror, next, now);
    }

    fn leave_silent(
        &mut self,
        mirror: usize,
        silence: Duration,
        now: Instant,
        commands: &mut Vec<Command>,
    ) {
        let rest = self.rest(mirror, None, now);
        self.climb.lost();
        self.leave(mirror, Why::Silent(silence), rest, now, commands);
    }

    /// How long a mirror rests that has failed once more.
    fn rest(&mut self, mirror: usize, asked_for: Option<Duration>, now: Instant) -> State {
        let failures = &mut self.mirrors[mirror].failures;
        let doublings = (*failures).min(16);
        *failures += 1;
        let wait = self.patience.first_wait * (1 << doublings);
        let wait = wait.min(self.patience.longest_wait);
        let wait = jitter::shortened(wait, self.random.next());
        let asked_for = asked_for
            .unwrap_or_default()
            .min(self.patience.longest_retry_after);
        // Those who were told the same do not come back together either.
        let asked_for = jitter::lengthened(asked_for, self.random.next());
        State::Resting {
            until: now + wait.max(asked_for),
        }
    }

    fn leave(
        &mut self,
        mirror: usize,
        why: Why,
        next: State,
        now: Instant,
        commands: &mut Vec<Command>,
    ) {
        if let Some(run) = self.mirrors[mirror].run() {
            let request = run.request;
            commands.push(Command::Leave {
                request,
                mirror,
                why,
            });
        }
        if why == Why::Lied {
            self.climb.lost();
        }
        self.release(mirror, next, now);
    }

    /// Gives back what the mirror was asked for and has not sent.
    fn release(&mut self, mirror: usize, next: State, now: Instant) {
        let state = std::mem::replace(&mut self.mirrors[mirror].state, next);
        if let State::Busy(run) = state {
            for chunk in &mut self.chunks[run.left()] {
                if *chunk == Chunk::Asked {
                    *chunk = Chunk::Missing;
                }
            }
            self.mirrors[mirror].learn(&run, now);
        }
    }

    fn run_of(&mut self, request: RequestId) -> Option<(usize, &mut Run)> {
        let mut mirrors = self.mirrors.iter_mut().enumerate();
        mirrors.find_map(|(index, mirror)| match &mut mirror.state {
            State::Busy(run) if run.request == request => Some((index, run)),
            _ => None,
        })
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): enough for jitter, and the same for the same seed.
#[derive(Debug, Clone, Copy)]
struct Random(u64);

impl Random {
    /// At least 0 and below 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}
