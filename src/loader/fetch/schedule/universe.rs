//! Random universes of mirrors, and what a download through them must come to.
//!
//! A universe is a few mirrors, each with a latency, a speed and a list of what goes wrong, request by
//! request. It is played against a [`Schedule`] in virtual time; a model of a few lines says how it must
//! end. Everything that a mirror does is bounded, and everything that the schedule does is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Command, End, Event, Fault, Patience, Plan, Ranges, RequestId, Schedule};

/// Bytes of a chunk in a universe.
const CHUNK: u64 = 1 << 20;
/// What is received at a time.
const PIECE: u64 = CHUNK / 16;

/// What goes wrong with one request, after so many pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Nothing,
    /// Nobody answers, and the kernel says so.
    Refused,
    /// The connection breaks.
    Cut(u64),
    /// Nothing comes any more, for ever.
    Silence(u64),
    /// It asks to be left alone for so many seconds.
    Busy(u64),
    /// It has not what was asked for.
    Wrong,
}

#[derive(Debug, Clone)]
pub(super) struct MirrorModel {
    pub(super) latency: Duration,
    /// Bytes a millisecond.
    pub(super) speed: u64,
    /// What goes wrong with the first request, the second, …; then all is well.
    pub(super) troubles: Vec<Trouble>,
    /// It is away within this span of the download, in seconds.
    pub(super) away: Range<u64>,
    /// The chunks that it has wrong.
    pub(super) lies: BTreeSet<usize>,
    pub(super) ranges: bool,
}

impl MirrorModel {
    /// One without any fault.
    pub(super) fn good(latency_ms: u64, speed: u64) -> Self {
        Self {
            latency: Duration::from_millis(latency_ms),
            speed,
            troubles: Vec::new(),
            away: 0..0,
            lies: BTreeSet::new(),
            ranges: true,
        }
    }

    fn is_wrong(&self) -> bool {
        self.troubles.contains(&Trouble::Wrong)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Universe {
    pub(super) chunks: usize,
    pub(super) window: usize,
    /// How long the unpacker takes over a chunk.
    pub(super) unpacking: Duration,
    /// How long a thread takes to come to a chunk and check it.
    pub(super) checking: Duration,
    /// The machine's own link, in bytes a millisecond.
    pub(super) link: u64,
    pub(super) mirrors: Vec<MirrorModel>,
    pub(super) seed: u64,
}

/// How a download must end.
#[derive(Debug, PartialEq, Eq)]
enum Must {
    BeWhole,
    GiveUp,
    /// It depends on who is asked for which chunk.
    Either,
}

/// The model: one honest mirror that comes back is enough, and a chunk that no mirror has is too much.
///
/// A mirror without ranges must send the archive well within the patience: for a late chunk it first sends all that
/// stands before, and meanwhile no chunk is new.
fn must(universe: &Universe) -> Must {
    let has =
        |mirror: &MirrorModel, chunk: &usize| !mirror.is_wrong() && !mirror.lies.contains(chunk);
    let size = universe.chunks as u64 * CHUNK;
    let sends_all = |mirror: &MirrorModel| {
        let ms = size / mirror.speed.min(universe.link);
        Duration::from_millis(ms) < Patience::DEFAULT.give_up / 2
    };
    let is_honest = |mirror: &&MirrorModel| !mirror.is_wrong() && mirror.lies.is_empty();
    let honest: Vec<&MirrorModel> = universe.mirrors.iter().filter(is_honest).collect();
    let mut chunks = 0..universe.chunks;
    if honest
        .iter()
        .any(|mirror| mirror.ranges || sends_all(mirror))
    {
        Must::BeWhole
    } else if !honest.is_empty() {
        Must::Either
    } else if chunks.any(|chunk| !universe.mirrors.iter().any(|mirror| has(mirror, &chunk))) {
        // A mirror that would be found out to be wrong later may have it before.
        if universe.mirrors.iter().any(MirrorModel::is_wrong) {
            Must::Either
        } else {
            Must::GiveUp
        }
    } else {
        Must::Either
    }
}

#[derive(Debug, Clone, Copy)]
enum Happening {
    Piece { request: RequestId },
    Fails { request: RequestId, fault: Fault },
    Checked { mirror: usize, chunk: usize },
    Unpacked,
}

struct Transfer {
    mirror: usize,
    chunks: Range<usize>,
    /// The chunk that arrives, and how many pieces of it have.
    chunk: usize,
    pieces: u64,
    /// Pieces that come before those that are wanted.
    skip: u64,
    sent: u64,
    trouble: Trouble,
    held: bool,
}

/// What has come of a download.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) end: End,
    pub(super) took: Duration,
    pub(super) received: u64,
    pub(super) requests: Vec<usize>,
    pub(super) troubles: u64,
}

/// A universe that is being played.
struct Play<'a> {
    universe: &'a Universe,
    schedule: Schedule,
    start: Instant,
    now: Instant,
    /// By the time, and then in the order in which they were thought of.
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    transfers: BTreeMap<RequestId, Transfer>,
    /// Chunks that are here and not yet taken, and how many have been.
    here: BTreeSet<usize>,
    taken: usize,
    unpacking: bool,
    link_free: Instant,
    outcome: Outcome,
    liars: BTreeSet<usize>,
    not_before: BTreeMap<usize, Instant>,
}

/// Plays a universe to its end.
pub(super) fn play(universe: &Universe, patience: Patience) -> Outcome {
    let start = Instant::now();
    let plan = Plan {
        chunks: universe.chunks,
        chunk_size: CHUNK,
        window: universe.window,
    };
    let mirrors = universe.mirrors.len();
    let mut play = Play {
        universe,
        schedule: Schedule::new(plan, mirrors, patience, universe.seed, start),
        start,
        now: start,
        queue: BTreeMap::new(),
        sequence: 0,
        transfers: BTreeMap::new(),
        here: BTreeSet::new(),
        taken: 0,
        unpacking: false,
        link_free: start,
        outcome: Outcome {
            end: End::GivenUp,
            took: Duration::ZERO,
            received: 0,
            requests: vec![0; mirrors],
            troubles: 0,
        },
        liars: BTreeSet::new(),
        not_before: BTreeMap::new(),
    };
    play.tell(Event::Tick);
    let mut ticks = 0;
    for _ in 0..2_000_000 {
        if let Some(end) = play.schedule.end() {
            play.outcome.end = end;
            play.outcome.took = play.now - start;
            return play.outcome;
        }
        let wake = play.schedule.wake_at(play.now);
        match play.queue.first_entry() {
            Some(first) if first.key().0 <= wake => {
                let (at, _) = *first.key();
                let happening = first.remove();
                if at > play.now {
                    (play.now, ticks) = (at, 0);
                }
                play.happen(happening);
            }
            _ => {
                ticks = if wake > play.now { 0 } else { ticks + 1 };
                assert!(ticks < 3, "a hot loop: {:?}", play.schedule);
                play.now = wake;
                play.tell(Event::Tick);
            }
        }
    }
    panic!("it never ends: {:?}", play.schedule);
}

impl Play<'_> {
    fn later(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    fn tell(&mut self, event: Event) {
        for command in self.schedule.handle(event, self.now) {
            match command {
                Command::Ask {
                    request,
                    mirror,
                    chunks,
                    ranges,
                } => {
                    self.ask(request, mirror, chunks, ranges);
                }
                Command::Leave {
                    request, mirror, ..
                } => {
                    let transfer = self.transfers.remove(&request).expect("it is open");
                    assert_eq!(transfer.mirror, mirror);
                    self.outcome.troubles += 1;
                }
            }
        }
    }

    fn ask(&mut self, request: RequestId, mirror: usize, chunks: Range<usize>, ranges: Ranges) {
        let universe = self.universe;
        let model = &universe.mirrors[mirror];
        assert!(
            !chunks.is_empty() && chunks.end <= universe.chunks,
            "{chunks:?}"
        );
        assert!(
            self.transfers.values().all(|other| other.mirror != mirror),
            "two requests at once of mirror {mirror}"
        );
        assert!(!self.liars.contains(&mirror), "a liar is asked again");
        let allowed = self.not_before.get(&mirror).copied();
        assert!(
            allowed.is_none_or(|at| self.now >= at),
            "mirror {mirror} asked to be left alone"
        );
        if self.universe.mirrors.len() > 1 && ranges == Ranges::Asked && !self.transfers.is_empty()
        {
            assert!(
                chunks.start < self.taken + universe.window,
                "{chunks:?} is past the window"
            );
        }
        let number = self.outcome.requests[mirror];
        self.outcome.requests[mirror] += 1;
        let seconds = (self.now - self.start).as_secs();
        let mut trouble = model
            .troubles
            .get(number)
            .copied()
            .unwrap_or(Trouble::Nothing);
        if model.away.contains(&seconds) {
            trouble = Trouble::Refused;
        }
        let whole = ranges == Ranges::Unknown || chunks == (0..universe.chunks);
        let fault = match trouble {
            Trouble::Refused => Some(Fault::Away { retry_after: None }),
            _ if !model.ranges && !whole => Some(Fault::NoRanges),
            Trouble::Wrong => Some(Fault::Wrong),
            Trouble::Busy(seconds) => Some(Fault::Away {
                retry_after: Some(Duration::from_secs(seconds)),
            }),
            Trouble::Nothing | Trouble::Cut(_) | Trouble::Silence(_) => None,
        };
        let skip = match ranges {
            Ranges::Unknown => chunks.start as u64 * (CHUNK / PIECE),
            Ranges::Asked => 0,
        };
        let transfer = Transfer {
            mirror,
            chunk: chunks.start,
            chunks,
            pieces: 0,
            skip,
            sent: 0,
            trouble,
            held: false,
        };
        self.transfers.insert(request, transfer);
        let answer = match fault {
            Some(fault) => Happening::Fails { request, fault },
            None => Happening::Piece { request },
        };
        self.later(self.now + model.latency * 2, answer);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Piece { request } => self.piece(request),
            Happening::Fails { request, fault } => self.fails(request, fault),
            Happening::Checked { mirror, chunk } => {
                if self.universe.mirrors[mirror].lies.contains(&chunk) {
                    self.liars.insert(mirror);
                    self.outcome.troubles += 1;
                    self.tell(Event::Lied { mirror, chunk });
                } else {
                    if chunk >= self.taken {
                        self.here.insert(chunk);
                    }
                    self.tell(Event::Checked { mirror, chunk });
                }
            }
            Happening::Unpacked => self.unpacking = false,
        }
        self.unpack();
        self.resume();
    }

    /// The unpacker takes the next chunk, if that is here and it has done with the one before.
    fn unpack(&mut self) {
        if !self.unpacking && self.here.remove(&self.taken) {
            self.unpacking = true;
            self.taken += 1;
            self.tell(Event::Taken { next: self.taken });
            self.later(self.now + self.universe.unpacking, Happening::Unpacked);
        }
    }

    /// Whether a chunk may come in: what is in hand is the window, and the chunk that is being unpacked.
    fn may_come(&self, chunk: usize) -> bool {
        chunk < self.taken - usize::from(self.unpacking) + self.universe.window + 1
    }

    /// Lets those go on whose chunk may come in by now.
    fn resume(&mut self) {
        let held = self.transfers.iter().filter(|(_, transfer)| transfer.held);
        let held: Vec<RequestId> = held.map(|(request, _)| *request).collect();
        for request in held {
            // What is told to one can be the end of another.
            let chunk = self.transfers.get(&request).map(|transfer| transfer.chunk);
            if chunk.is_some_and(|chunk| self.may_come(chunk))
                && let Some(transfer) = self.transfers.get_mut(&request)
            {
                transfer.held = false;
                self.tell(Event::Resumed { request });
                self.later(self.now, Happening::Piece { request });
            }
        }
    }

    fn fails(&mut self, request: RequestId, fault: Fault) {
        if let Some(transfer) = self.transfers.remove(&request) {
            if let Fault::Away {
                retry_after: Some(time),
            } = fault
            {
                self.not_before.insert(transfer.mirror, self.now + time);
            }
            self.outcome.troubles += 1;
            self.tell(Event::Failed { request, fault });
        }
    }

    fn piece(&mut self, request: RequestId) {
        let Some(transfer) = self.transfers.get(&request) else {
            return;
        };
        match transfer.trouble {
            Trouble::Cut(after) if transfer.sent >= after => {
                return self.fails(request, Fault::Away { retry_after: None });
            }
            Trouble::Silence(after) if transfer.sent >= after => return,
            _ => {}
        }
        let at_its_start = transfer.skip == 0 && transfer.pieces == 0;
        let waits = at_its_start && !self.may_come(transfer.chunk);
        let Some(transfer) = self.transfers.get_mut(&request) else {
            unreachable!("it was there")
        };
        if waits {
            transfer.held = true;
            self.tell(Event::Held { request });
            return;
        }
        let mirror = transfer.mirror;
        transfer.sent += 1;
        self.outcome.received += PIECE;
        if transfer.skip > 0 {
            transfer.skip -= 1;
            self.tell(Event::Received {
                request,
                bytes: PIECE,
            });
            self.next_piece(request, mirror);
            return;
        }
        transfer.pieces += 1;
        let arrived = (transfer.pieces * PIECE == CHUNK).then_some(transfer.chunk);
        let mut ended = false;
        if arrived.is_some() {
            transfer.pieces = 0;
            transfer.chunk += 1;
            ended = transfer.chunk == transfer.chunks.end;
        }
        self.tell(Event::Received {
            request,
            bytes: PIECE,
        });
        if let Some(chunk) = arrived {
            self.tell(Event::Arrived { request, chunk });
            self.later(
                self.now + self.universe.checking,
                Happening::Checked { mirror, chunk },
            );
        }
        if ended && self.transfers.remove(&request).is_some() {
            self.tell(Event::Ended { request });
        } else {
            self.next_piece(request, mirror);
        }
    }

    /// The next piece comes as fast as the mirror sends and the link takes.
    fn next_piece(&mut self, request: RequestId, mirror: usize) {
        let millis = |speed: u64| Duration::from_micros(PIECE * 1000 / speed);
        self.link_free = self.link_free.max(self.now) + millis(self.universe.link);
        let sent = self.now + millis(self.universe.mirrors[mirror].speed);
        self.later(sent.max(self.link_free), Happening::Piece { request });
    }
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        4 => Just(Trouble::Nothing),
        2 => Just(Trouble::Refused),
        3 => (0..160_u64).prop_map(Trouble::Cut),
        2 => (0..80_u64).prop_map(Trouble::Silence),
        1 => (1..90_u64).prop_map(Trouble::Busy),
        1 => Just(Trouble::Wrong),
    ]
}

fn mirror(chunks: usize) -> impl Strategy<Value = MirrorModel> {
    let lies = prop_oneof![
        4 => Just(BTreeSet::new()),
        1 => proptest::collection::btree_set(0..chunks, 1..3),
    ];
    let away = prop_oneof![3 => Just(0..0), 1 => (0..30_u64, 1..120_u64).prop_map(|(from, len)| from..from + len)];
    (
        1..400_u64,
        // From 64 KB/s to 64 MB/s.
        6..16_u32,
        proptest::collection::vec(trouble(), 0..5),
        away,
        lies,
        prop_oneof![9 => Just(true), 1 => Just(false)],
    )
        .prop_map(
            |(latency, speed, troubles, away, lies, ranges)| MirrorModel {
                latency: Duration::from_millis(latency),
                speed: 1 << speed,
                troubles,
                away,
                lies,
                ranges,
            },
        )
}

fn universe() -> impl Strategy<Value = Universe> {
    (1..120_usize).prop_flat_map(|chunks| {
        (
            proptest::collection::vec(mirror(chunks), 1..6),
            3..12_usize,
            0..100_u64,
            prop_oneof![2 => Just(1), 1 => 0..2000_u64],
            8..18_u32,
            any::<u64>(),
        )
            .prop_map(
                move |(mirrors, window, unpacking, checking, link, seed)| Universe {
                    chunks,
                    window,
                    unpacking: Duration::from_millis(unpacking),
                    checking: Duration::from_millis(checking),
                    link: 1 << link,
                    mirrors,
                    seed,
                },
            )
    })
}

/// The longest that a download may take that comes to its end: the whole from the slowest mirror after
/// the other, twice over, and every trouble at its worst.
fn longest(universe: &Universe, outcome: &Outcome) -> Duration {
    let bytes = universe.chunks as u64 * CHUNK;
    let alone =
        |mirror: &MirrorModel| Duration::from_millis(bytes / mirror.speed.min(universe.link));
    let sum: Duration = universe.mirrors.iter().map(alone).sum();
    let rest = Patience::DEFAULT.longest_retry_after;
    let unpacking = universe.unpacking * u32::try_from(universe.chunks).expect("few");
    sum * 3 + unpacking + rest * u32::try_from(outcome.troubles + 2).expect("few")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_download_ends_as_the_model_says_in_every_universe(universe in universe()) {
        let outcome = play(&universe, Patience::DEFAULT);
        match must(&universe) {
            Must::BeWhole => prop_assert_eq!(outcome.end, End::Whole, "{:?}", outcome),
            Must::GiveUp => prop_assert_eq!(outcome.end, End::GivenUp, "{:?}", outcome),
            Must::Either => {}
        }
        prop_assert!(outcome.took <= longest(&universe, &outcome), "{:?}", outcome);
        // What is received twice are the chunks that were on their way when something went wrong, and,
        // of mirrors that know no ranges, all that stood before.
        let size = universe.chunks as u64 * CHUNK;
        let rangeless: u64 = (universe.mirrors.iter().zip(&outcome.requests))
            .map(|(mirror, requests)| if mirror.ranges { 0 } else { *requests as u64 * size })
            .sum();
        let window = universe.window as u64 + 1;
        let liars = universe.mirrors.iter().filter(|mirror| !mirror.lies.is_empty());
        let lost = (outcome.troubles * 2 + liars.count() as u64 * window) * CHUNK;
        prop_assert!(outcome.received <= size + lost + rangeless, "{:?}", outcome);
    }
}
