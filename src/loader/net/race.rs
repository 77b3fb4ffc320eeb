//! IPv6 and IPv4 raced for a connection (RFC 8305, "Happy Eyeballs version 2").
//!
//! On entry nothing is known but two questions to name servers, one of a family each. [`Race`] is told
//! what happens, and says which address to try next; the first connection that stands wins. It has no
//! socket and no clock. [`Contest`] is the shell that gives it both.
//!
//! ```text
//! AAAA ──→ at once ───────────────┐
//! A ─────→ when AAAA is answered, ├→ IPv6 ─250 ms→ IPv4 ─250 ms→ IPv6 ─→ … ─→ the first that connects
//!          after 50 ms at the     │     └── fails: the next one at once
//!          latest ────────────────┘
//! ```
//!
//! Why here: hyper-util, which connects for reqwest, tries the addresses of one family one after the
//! other, and the other family's beside them 300 ms later (RFC 6555). Each address waits for its share
//! of the connect timeout: of eight with 10 s, a silent one holds up the next for 1.25 s, and one that
//! loses its first two SYNs never connects. So it is given the winner alone, with all time that is left. The
//! price is a second TCP handshake. It is not paid where a name has one address, which is not tried
//! here, nor where the mirror is named by its address.
//!
//! Addresses are not sorted by RFC 6724. Its rules compare the source addresses that the kernel would
//! choose, for machines with several networks; this one has one link, and a bad choice costs 250 ms.
//! Nor is a winner remembered: reqwest keeps connections open, so a boot makes a handful, and each
//! new one then finds out anew what stands.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_resolver::net::NetError;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

/// How long IPv4 addresses wait for the answer about IPv6 ("Resolution Delay", RFC 8305, section 8).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How long an attempt has before the next begins beside it ("Connection Attempt Delay", section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How many addresses of a family are tried. Pools of mirrors answer with up to eight. Whoever forges
/// an answer makes a machine knock at sixteen doors, not at hundreds; and with sixteen that are silent
/// the last is tried after 4 s, which leaves it half of [`LIMIT`].
const PER_FAMILY: usize = 8;
/// How long questions and race may take together. The HTTPS client gives a connection 10 s: here it
/// still hears what was tried, and a SYN that is sent a fourth time, after 7 s, can still win.
pub(super) const LIMIT: Duration = Duration::from_secs(8);

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv6.
    V6,
    /// IPv4.
    V4,
}

/// What name servers say about one family.
pub(super) type Answer = Result<Vec<IpAddr>, NetError>;

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The time that [`Race::wake`] names may have come.
    Timer,
    /// A question was answered, or will not be. Each is once.
    Answer(Family, Answer),
    /// An attempt ended in a connection.
    Connected(IpAddr),
    /// An attempt failed.
    Failed(IpAddr, io::Error),
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Begin an attempt to connect.
    Connect(IpAddr),
    /// The race is over: this address is the one to use.
    Win(IpAddr),
    /// The race is over, and none won; [`Race::lost`] says why.
    Lose,
}

/// A race for one connection.
#[derive(Debug)]
pub(super) struct Race {
    deadline: Instant,
    /// Before this no attempt begins.
    hold: Instant,
    v6: Side,
    v4: Side,
    /// In the order of their beginning.
    attempts: Vec<Attempt>,
}

/// The addresses of one family.
#[derive(Debug, Default)]
struct Side {
    answer: Option<Result<(), NetError>>,
    waiting: VecDeque<IpAddr>,
}

#[derive(Debug)]
struct Attempt {
    address: IpAddr,
    error: Option<io::Error>,
}

/// Nobody won.
#[derive(Debug)]
pub(super) struct Lost {
    /// What became of each address, in the order in which they were tried.
    pub(super) tried: Vec<TriedAddress>,
    /// The families of which nothing is known, and why.
    pub(super) unanswered: Vec<(Family, NetError)>,
}

/// What became of an address.
#[derive(Debug)]
pub struct TriedAddress {
    address: IpAddr,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    Failed(io::Error),
    Silent,
    Untried,
}

impl Race {
    /// A race that begins at `now` and is lost after `limit`.
    pub(super) fn new(now: Instant, limit: Duration) -> Self {
        Self {
            deadline: now + limit,
            hold: now,
            v6: Side::default(),
            v4: Side::default(),
            attempts: Vec::new(),
        }
    }

    /// When the race wants its next [`Event::Timer`].
    pub(super) fn wake(&self) -> Instant {
        if self.v6.waiting.is_empty() && self.v4.waiting.is_empty() {
            self.deadline
        } else {
            self.hold.min(self.deadline)
        }
    }

    /// Takes an event that happened at `now`. After [`Action::Win`] or [`Action::Lose`] there are none.
    pub(super) fn handle(&mut self, event: Event, now: Instant) -> Option<Action> {
        match event {
            Event::Timer => {}
            Event::Connected(address) => return Some(Action::Win(address)),
            Event::Failed(address, error) => self.failed(address, error, now),
            Event::Answer(family, answer) => self.answered(family, answer, now),
        }
        if now >= self.deadline || self.is_exhausted() {
            return Some(Action::Lose);
        }
        if let Some(only) = self.only() {
            return Some(Action::Win(only));
        }
        if now < self.hold {
            return None;
        }
        let address = self.next()?;
        self.hold = now + ATTEMPT_DELAY;
        Some(Action::Connect(address))
    }

    fn failed(&mut self, address: IpAddr, error: io::Error, now: Instant) {
        if self.attempts.last().is_some_and(|a| a.address == address) {
            self.hold = now;
        }
        for attempt in &mut self.attempts {
            if attempt.address == address {
                attempt.error = Some(error);
                return;
            }
        }
    }

    fn answered(&mut self, family: Family, answer: Answer, now: Instant) {
        if self.attempts.is_empty() {
            self.hold = match family {
                Family::V4 if self.v6.answer.is_none() => now + RESOLUTION_DELAY,
                Family::V6 | Family::V4 => now,
            };
        }
        let side = self.side(family);
        side.answer = Some(answer.map(|addresses| {
            for address in addresses {
                if side.waiting.len() < PER_FAMILY && !side.waiting.contains(&address) {
                    side.waiting.push_back(address);
                }
            }
        }));
    }

    /// Whether all has been asked, answered and tried in vain.
    fn is_exhausted(&self) -> bool {
        self.is_answered()
            && self.waiting() == 0
            && self.attempts.iter().all(|attempt| attempt.error.is_some())
    }

    /// The address of a name that has no other: there is nothing to race it against.
    fn only(&self) -> Option<IpAddr> {
        if !self.is_answered() || self.attempts.len() + self.waiting() != 1 {
            return None;
        }
        let begun = self.attempts.first().map(|attempt| &attempt.address);
        let mut all = begun
            .into_iter()
            .chain(&self.v6.waiting)
            .chain(&self.v4.waiting);
        all.next().copied()
    }

    fn is_answered(&self) -> bool {
        self.v6.answer.is_some() && self.v4.answer.is_some()
    }

    fn waiting(&self) -> usize {
        self.v6.waiting.len() + self.v4.waiting.len()
    }

    /// Makes an attempt of the address whose turn it is: the families alternate, and IPv6 begins.
    fn next(&mut self) -> Option<IpAddr> {
        let (first, second) = match self.attempts.last() {
            Some(last) if last.address.is_ipv6() => (&mut self.v4, &mut self.v6),
            _ => (&mut self.v6, &mut self.v4),
        };
        let address = first
            .waiting
            .pop_front()
            .or_else(|| second.waiting.pop_front())?;
        self.attempts.push(Attempt {
            address,
            error: None,
        });
        Some(address)
    }

    const fn side(&mut self, family: Family) -> &mut Side {
        match family {
            Family::V6 => &mut self.v6,
            Family::V4 => &mut self.v4,
        }
    }

    /// All addresses that are known, as they would be tried.
    fn order(mut self) -> Vec<IpAddr> {
        while self.next().is_some() {}
        let attempts = self.attempts.into_iter();
        attempts.map(|attempt| attempt.address).collect()
    }

    /// What came of a race that is lost.
    pub(super) fn lost(mut self) -> Lost {
        let unanswered = [(Family::V6, &mut self.v6), (Family::V4, &mut self.v4)]
            .into_iter()
            .filter_map(|(family, side)| match side.answer.take() {
                None => Some((family, NetError::Timeout)),
                Some(answer) => Some((family, answer.err()?)),
            })
            .collect();
        let untried = self.v6.waiting.into_iter().chain(self.v4.waiting);
        let tried = self
            .attempts
            .into_iter()
            .map(|Attempt { address, error }| TriedAddress {
                address,
                fate: error.map_or(Fate::Silent, Fate::Failed),
            })
            .chain(untried.map(|address| TriedAddress {
                address,
                fate: Fate::Untried,
            }))
            .collect();
        Lost { tried, unanswered }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6 => "IPv6",
            Self::V4 => "IPv4",
        })
    }
}

impl fmt::Display for TriedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.address)?;
        match &self.fate {
            Fate::Failed(error) => error.fmt(f),
            Fate::Silent => f.write_str("no answer"),
            Fate::Untried => f.write_str("known too late to be tried"),
        }
    }
}

/// A [`Race`] over real sockets.
#[derive(Debug)]
pub(super) struct Contest {
    race: Race,
    /// Questions and attempts, each of which ends in an event. What is under way ends with the contest.
    tasks: JoinSet<Event>,
}

impl Contest {
    /// Begins to ask. Must be called within a tokio runtime.
    pub(super) fn begin(
        v6: impl Future<Output = Answer> + Send + 'static,
        v4: impl Future<Output = Answer> + Send + 'static,
        limit: Duration,
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { Event::Answer(Family::V6, v6.await) });
        tasks.spawn(async move { Event::Answer(Family::V4, v4.await) });
        Self {
            race: Race::new(Instant::now(), limit),
            tasks,
        }
    }

    /// The address to connect to at `port`.
    pub(super) async fn winner(mut self, port: u16) -> Result<IpAddr, Lost> {
        loop {
            match self.action().await {
                Action::Connect(address) => {
                    self.tasks.spawn(async move {
                        match TcpStream::connect((address, port)).await {
                            Ok(_) => Event::Connected(address),
                            Err(error) => Event::Failed(address, error),
                        }
                    });
                }
                Action::Win(address) => return Ok(address),
                Action::Lose => return Err(self.race.lost()),
            }
        }
    }

    /// The addresses in the order in which they would be tried. Once there is one, the other family has
    /// 50 ms, and what is answered later is lost.
    pub(super) async fn addresses(mut self) -> Result<Vec<IpAddr>, Lost> {
        let first = self.action().await;
        if first == Action::Lose && self.race.waiting() == 0 {
            return Err(self.race.lost());
        }
        let other = async {
            while !self.race.is_answered() {
                self.step().await;
            }
        };
        let _ = timeout(RESOLUTION_DELAY, other).await;
        Ok(self.race.order())
    }

    async fn action(&mut self) -> Action {
        loop {
            if let Some(action) = self.step().await {
                return action;
            }
        }
    }

    /// Waits for the next event, and hands it to the race.
    async fn step(&mut self) -> Option<Action> {
        let event = tokio::select! {
            biased;
            Some(ended) = self.tasks.join_next() => match ended {
                Ok(event) => event,
                Err(ended) => std::panic::resume_unwind(ended.into_panic()),
            },
            () = sleep_until(self.race.wake().into()) => Event::Timer,
        };
        tracing::trace!(?event, "race");
        self.race.handle(event, Instant::now())
    }
}

#[cfg(test)]
mod tests;
