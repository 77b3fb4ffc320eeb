//! The DHCPv6 client (RFC 9915) as a state machine: no socket, no clock, no randomness of its own.
//!
//! ```text
//!           SOLICIT          best ADVERTISE: REQUEST     REPLY
//! Soliciting ↺ ─────────────────────→ Requesting ─────────────→ Bound ─T1→ Renewing ─T2→ Rebinding ─→ lost
//!     ↑    └── REPLY to a rapid commit ────│──────────────────────↑ └─────────── REPLY ──────┘
//!     └─────────── no answer, or a refusal ┘
//! ```
//!
//! A client of [`Purpose::Settings`] asks for name servers alone, which needs no state at a server.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::message::{Answer, AnswerKind, Lent, Question, Sender, Settings};

/// How long an answer is waited for at first (RFC 9915, section 7.6: `SOL_TIMEOUT`, `REQ_TIMEOUT`, `INF_TIMEOUT`).
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait. The RFC would go on to half a minute and to an hour; a switch port that drops everything for its
/// first 30 s should not cost a minute more.
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// How often one server is asked for what it has offered. The RFC asks ten times, in a minute and more.
const REQUESTS: u32 = 4;
/// How soon more time is asked for again at the earliest. The RFC's ten seconds are too long for leases of seconds.
const SOONEST: Duration = Duration::from_secs(2);
/// Who waits for no better server (RFC 9915, section 18.2.1).
const BEST: u8 = 255;

/// What a client is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An address, and name servers.
    Address,
    /// Name servers alone; the addresses are a router's.
    Settings,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The time that [`Client::wake`] names may have come.
    Timer,
    /// A message came in; from anyone, and perhaps none.
    Message(&'a [u8]),
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to every server.
    Send(Vec<u8>),
    /// These are the settings from now on.
    Bind(Lease),
    /// The address must not be used any more.
    Lost,
}

/// What a server lends this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address; none where only settings were asked for.
    pub address: Option<Ipv6Addr>,
    /// For how many seconds; for ever, where this is none.
    pub seconds: Option<u64>,
    /// What else the server tells.
    pub settings: Settings,
}

#[derive(Debug)]
enum State {
    /// Nobody has offered anything that is better than this.
    Soliciting(Option<(Answer, Lent)>),
    Requesting {
        server: Vec<u8>,
        address: Ipv6Addr,
        requests: u32,
    },
    Informing,
    Bound {
        server: Vec<u8>,
        lent: Lent,
        since: Instant,
        asked: bool,
    },
    Done,
}

/// A DHCPv6 client on one link. `R` gives random numbers.
#[derive(Debug)]
pub struct Client<R> {
    sender: Sender,
    random: R,
    purpose: Purpose,
    state: State,
    wake: Option<Instant>,
    begun: Instant,
    wait: Duration,
    asked: u32,
    refused: Option<String>,
}

impl<R: FnMut() -> u32> Client<R> {
    /// A client of the card `mac` that will ask at the first [`Event::Timer`].
    pub fn new(mac: [u8; 6], user_class: &str, purpose: Purpose, now: Instant, random: R) -> Self {
        let mut client = Self {
            sender: Sender {
                mac: mac.into(),
                user_class: user_class.as_bytes().to_vec(),
                xid: [0; 3],
                elapsed: Duration::ZERO,
            },
            random,
            purpose,
            state: State::Done,
            wake: None,
            begun: now,
            wait: FIRST_WAIT,
            asked: 0,
            refused: None,
        };
        client.restart(now);
        client.wake = Some(now);
        client
    }

    /// When the client wants its next [`Event::Timer`]; never, where it is done.
    pub const fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// How often servers were asked for something new.
    pub const fn asked(&self) -> u32 {
        self.asked
    }

    /// Why the last answer for this machine that could not be used was not.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Takes an event that happened at `now`.
    pub fn handle(&mut self, event: Event<'_>, now: Instant) -> Option<Action> {
        match event {
            Event::Timer if self.wake.is_some_and(|wake| now >= wake) => self.timer(now),
            Event::Timer => None,
            Event::Message(message) => match Answer::parse(message, &self.sender) {
                Ok(answer) => self.answer(answer, now),
                Err(junk) => {
                    tracing::trace!(%junk, "a message is ignored");
                    None
                }
            },
        }
    }

    fn restart(&mut self, now: Instant) {
        self.begin(now);
        self.state = match self.purpose {
            Purpose::Address => State::Soliciting(None),
            Purpose::Settings => State::Informing,
        };
    }

    /// Begins a transaction.
    fn begin(&mut self, now: Instant) {
        let [_, xid @ ..] = (self.random)().to_be_bytes();
        self.sender.xid = xid;
        self.begun = now;
        self.wait = FIRST_WAIT;
    }

    fn timer(&mut self, now: Instant) -> Option<Action> {
        if let State::Bound { .. } = self.state {
            return self.keep(now);
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Soliciting(Some((answer, lent))) => {
                Some(self.request(answer.server, lent.address, 0, now))
            }
            State::Soliciting(None) => {
                self.state = State::Soliciting(None);
                self.asked += 1;
                Some(self.send(Question::Solicit, now))
            }
            State::Requesting {
                server,
                address,
                requests,
            } if requests < REQUESTS => Some(self.request(server, address, requests, now)),
            State::Requesting { .. } => {
                self.refused = Some("a server made an offer and then was silent".to_owned());
                self.restart(now);
                self.wake = Some(now);
                self.timer(now)
            }
            State::Informing => {
                self.state = State::Informing;
                self.asked += 1;
                Some(self.send(Question::Information, now))
            }
            State::Done | State::Bound { .. } => None,
        }
    }

    /// Asks, and waits twice as long as before for the answer, a tenth more or less (RFC 9915, section 15).
    fn send(&mut self, question: Question<'_>, now: Instant) -> Action {
        self.sender.elapsed = now.saturating_duration_since(self.begun);
        let tenth = self.wait / 10;
        let jitter = tenth.mul_f64(f64::from((self.random)() % 2001) / 1000.0);
        self.wake = Some(now + self.wait - tenth + jitter);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Action::Send(self.sender.ask(question))
    }

    fn request(
        &mut self,
        server: Vec<u8>,
        address: Ipv6Addr,
        already: u32,
        now: Instant,
    ) -> Action {
        if already == 0 {
            self.begin(now);
        }
        let action = self.send(Question::Request(&server, address), now);
        self.state = State::Requesting {
            server,
            address,
            requests: already + 1,
        };
        action
    }

    fn answer(&mut self, answer: Answer, now: Instant) -> Option<Action> {
        match (&self.state, answer.kind) {
            (State::Informing, AnswerKind::Reply) => {
                self.state = State::Done;
                self.wake = None;
                Some(Action::Bind(Lease {
                    address: None,
                    seconds: None,
                    settings: answer.settings,
                }))
            }
            (State::Soliciting(best), AnswerKind::Advertise) => {
                let best = best.as_ref().map(|(best, _)| best.preference);
                let is_better = best.is_none_or(|best| answer.preference > best);
                let lent = self.judge(&answer)?;
                if answer.preference == BEST {
                    return Some(self.request(answer.server, lent.address, 0, now));
                }
                if is_better {
                    self.state = State::Soliciting(Some((answer, lent)));
                }
                // Whoever is late when the first second is over is taken at once.
                let waited = now.saturating_duration_since(self.begun);
                if waited >= FIRST_WAIT {
                    self.wake = Some(now);
                    return self.timer(now);
                }
                None
            }
            (State::Soliciting(_), AnswerKind::Reply) if answer.rapid_commit => {
                self.bind(answer, now)
            }
            (State::Requesting { server, .. }, AnswerKind::Reply) if answer.server == *server => {
                let bound = self.bind(answer, now);
                if bound.is_none() {
                    // A server that always refuses is asked no faster than one that is silent.
                    let wait = self.wait;
                    self.restart(now);
                    self.wake = Some(now + wait);
                    self.wait = (wait * 2).min(LONGEST_WAIT);
                }
                bound
            }
            (State::Bound { asked: true, .. }, AnswerKind::Reply) => self.renewed(answer, now),
            _ => None,
        }
    }

    fn judge(&mut self, answer: &Answer) -> Option<Lent> {
        let refused = match (answer.status, answer.address) {
            (0, Some(lent)) => return Some(lent),
            (0, None) => "a server offers no address that can be used".to_owned(),
            (2, _) => "a server has no address for this machine".to_owned(),
            (status, _) => format!("a server refuses with status {status}"),
        };
        self.refused = Some(refused);
        None
    }

    fn bind(&mut self, answer: Answer, now: Instant) -> Option<Action> {
        let lent = self.judge(&answer)?;
        self.wake = lent.ends_after.map(|_| now + lent.renew_after);
        self.state = State::Bound {
            server: answer.server,
            lent,
            since: now,
            asked: false,
        };
        Some(Action::Bind(Lease {
            address: Some(lent.address),
            seconds: lent.ends_after.map(|end| end.as_secs()),
            settings: answer.settings,
        }))
    }

    /// Asks for more time, of the lease's server and then of all.
    fn keep(&mut self, now: Instant) -> Option<Action> {
        let State::Bound {
            server,
            lent,
            since,
            asked,
        } = &mut self.state
        else {
            return None;
        };
        let (lent, since) = (*lent, *since);
        let end = since + lent.ends_after?;
        if now >= end {
            self.state = State::Done;
            self.wake = None;
            return Some(Action::Lost);
        }
        if !*asked {
            *asked = true;
            let [_, xid @ ..] = (self.random)().to_be_bytes();
            self.sender.xid = xid;
            self.begun = now;
        }
        self.sender.elapsed = now.saturating_duration_since(self.begun);
        let rebind = since + lent.rebind_after;
        let (question, next) = if now < rebind {
            (Question::Renew(server, lent.address), rebind)
        } else {
            (Question::Rebind(lent.address), end)
        };
        let message = self.sender.ask(question);
        let wait = (next - now) / 2;
        self.wake = Some((now + wait.max(SOONEST)).min(next));
        Some(Action::Send(message))
    }

    fn renewed(&mut self, answer: Answer, now: Instant) -> Option<Action> {
        let State::Bound { lent: old, .. } = &self.state else {
            return None;
        };
        let same = answer.address.filter(|lent| lent.address == old.address);
        if answer.status != 0 || same.is_none() {
            self.refused = Some(format!(
                "a server refused the renewal, status {}",
                answer.status
            ));
            return None;
        }
        self.bind(answer, now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{answer, association};
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const ADVERTISE: u8 = 2;
    const REPLY: u8 = 7;

    /// A client whose every transaction is 1, 2, 3.
    fn client(purpose: Purpose) -> (Client<impl FnMut() -> u32>, Instant) {
        let now = Instant::now();
        let client = Client::new(MAC, "sealboot", purpose, now, || 0x0001_0203);
        (client, now)
    }

    fn kind(action: Option<Action>) -> Option<u8> {
        match action? {
            Action::Send(message) => {
                assert_eq!(message[1..4], [1, 2, 3]);
                Some(message[0])
            }
            other => panic!("{other:?}"),
        }
    }

    fn with_address(kind: u8, more: &[(u16, &[u8])]) -> Vec<u8> {
        let association = association("2001:db8::9", [10, 16, 20, 20]);
        answer(kind, &[&[(3, &association[..])], more].concat())
    }

    fn hear(
        client: &mut Client<impl FnMut() -> u32>,
        message: &[u8],
        now: Instant,
    ) -> Option<Action> {
        client.handle(Event::Message(message), now)
    }

    #[test]
    fn the_best_offer_of_the_first_second_is_asked_for_and_bound() {
        let (mut client, now) = client(Purpose::Address);
        assert_eq!(kind(client.handle(Event::Timer, now)), Some(1));
        assert_eq!(hear(&mut client, &with_address(ADVERTISE, &[]), now), None);
        let mut better = with_address(ADVERTISE, &[(7, &[5])]);
        let at = better
            .windows(5)
            .position(|five| five == [0, 2, 0, 1, b's'])
            .unwrap();
        better[at + 4] = b't';
        assert_eq!(hear(&mut client, &better, now), None);
        let wake = client.wake().unwrap();
        let Some(Action::Send(request)) = client.handle(Event::Timer, wake) else {
            panic!("a request")
        };
        assert_eq!(request[0], 3);
        assert!(request.windows(5).any(|five| five == [0, 2, 0, 1, b't']));
        // Another server's reply is none.
        assert_eq!(hear(&mut client, &with_address(REPLY, &[]), wake), None);
        better[0] = REPLY;
        let Some(Action::Bind(lease)) = hear(&mut client, &better, wake) else {
            panic!("a lease")
        };
        assert_eq!(lease.address.unwrap().to_string(), "2001:db8::9");
        assert_eq!(lease.seconds, Some(20));
    }

    #[test]
    fn a_server_that_says_it_is_the_best_and_one_that_commits_at_once_are_not_waited_for() {
        let (mut first, now) = client(Purpose::Address);
        first.handle(Event::Timer, now);
        let best = with_address(ADVERTISE, &[(7, &[255])]);
        assert_eq!(kind(hear(&mut first, &best, now)), Some(3));

        let (mut second, now) = client(Purpose::Address);
        second.handle(Event::Timer, now);
        assert_eq!(
            hear(&mut second, &with_address(REPLY, &[]), now),
            None,
            "not rapid"
        );
        let rapid = with_address(REPLY, &[(14, &[])]);
        assert!(matches!(
            hear(&mut second, &rapid, now),
            Some(Action::Bind(_))
        ));
    }

    #[test]
    fn without_an_answer_the_waits_double_to_sixteen_seconds() {
        let (mut client, begun) = client(Purpose::Address);
        let mut at = Vec::new();
        for _ in 0..8 {
            let wake = client.wake().unwrap();
            at.push((wake - begun).as_millis());
            assert_eq!(kind(client.handle(Event::Timer, wake)), Some(1));
        }
        let waits: Vec<u128> = at.windows(2).map(|two| two[1] - two[0]).collect();
        let expected = [1000, 2000, 4000, 8000, 16_000, 16_000, 16_000];
        for (wait, expected) in waits.into_iter().zip(expected) {
            let tenth = expected / 10;
            assert!(wait.abs_diff(expected) <= tenth, "{wait} for {expected}");
        }
        assert_eq!(client.asked(), 8);
    }

    #[test]
    fn a_refusal_is_remembered_and_asked_again_no_faster_than_silence() {
        let no_addresses = [0, 2];
        let (mut client, now) = client(Purpose::Address);
        client.handle(Event::Timer, now);
        assert_eq!(
            hear(&mut client, &answer(ADVERTISE, &[(13, &no_addresses)]), now),
            None
        );
        assert!(client.refused().unwrap().contains("no address"));
        hear(&mut client, &with_address(ADVERTISE, &[(7, &[255])]), now);
        let refusal = answer(REPLY, &[(13, &no_addresses)]);
        assert_eq!(hear(&mut client, &refusal, now), None);
        assert!(client.wake().unwrap() >= now + FIRST_WAIT);
    }

    #[test]
    fn a_server_that_offers_and_then_is_silent_is_left_after_four_requests() {
        let (mut client, now) = client(Purpose::Address);
        client.handle(Event::Timer, now);
        hear(&mut client, &with_address(ADVERTISE, &[(7, &[255])]), now);
        let mut kinds = Vec::new();
        for _ in 0..4 {
            let wake = client.wake().unwrap();
            kinds.extend(kind(client.handle(Event::Timer, wake)));
        }
        assert_eq!(kinds, [3, 3, 3, 1]);
    }

    #[test]
    fn settings_alone_are_asked_for_without_an_address() {
        let (mut client, now) = client(Purpose::Settings);
        assert_eq!(kind(client.handle(Event::Timer, now)), Some(11));
        let Some(Action::Bind(lease)) = hear(&mut client, &answer(REPLY, &[]), now) else {
            panic!("settings")
        };
        assert_eq!((lease.address, client.wake()), (None, None));
    }

    #[test]
    fn a_lease_is_renewed_rebound_and_lost() {
        let bound = || {
            let (mut client, now) = client(Purpose::Address);
            client.handle(Event::Timer, now);
            hear(&mut client, &with_address(REPLY, &[(14, &[])]), now);
            (client, now)
        };
        let (mut client, now) = bound();
        let mut course = Vec::new();
        while let Some(wake) = client.wake() {
            let what = match client.handle(Event::Timer, wake).unwrap() {
                Action::Send(message) => message[0],
                Action::Lost => 0,
                other @ Action::Bind(_) => panic!("{other:?}"),
            };
            course.push(((wake - now).as_secs(), what));
        }
        assert_eq!(
            course,
            [(10, 5), (13, 5), (15, 5), (16, 6), (18, 6), (20, 0)]
        );

        let (mut client, now) = bound();
        let t1 = client.wake().unwrap();
        assert_eq!(
            hear(&mut client, &with_address(REPLY, &[]), now),
            None,
            "unasked"
        );
        client.handle(Event::Timer, t1);
        let other = answer(REPLY, &[(3, &association("2001:db8::a", [0, 0, 20, 20]))]);
        assert_eq!(hear(&mut client, &other, t1), None, "another address");
        assert!(matches!(
            hear(&mut client, &with_address(REPLY, &[]), t1),
            Some(Action::Bind(_))
        ));
        assert_eq!(client.wake(), Some(t1 + Duration::from_secs(10)));
    }
}
