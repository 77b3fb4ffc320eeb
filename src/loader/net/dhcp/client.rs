//! The DHCP client (RFC 2131) as a state machine: no socket, no clock, no randomness of its own.
//!
//! ```text
//!            timer: DISCOVER        usable offer: REQUEST       usable ACK
//! Starting ─────────────────→ Selecting ─────────────→ Requesting ─────────→ Bound
//!     ↑                         ↺ timer: DISCOVER        │ ↺ timer: REQUEST
//!     └───────────── NAK, or no answer to a REQUEST ─────┘
//! ```
//!
//! It never gives up; whoever drives it has the deadline.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dhcproto::v4::OptionCode;

use super::identity::Identity;
use super::lease::Lease;
use super::message::{Answer, AnswerKind, Sender};

/// How long an answer is waited for, by how often was asked: doubling from 4 s (RFC 2131, section
/// 4.1). The RFC would go on to 64 s. This stops at 16: a switch port that runs spanning tree drops
/// everything for its first 30 s, and the question after that must not be a minute away.
const PATIENCE: [Duration; 3] = [
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];
/// Milliseconds by which a wait is lengthened or shortened at random (RFC 2131, section 4.1), so that
/// a rack that got its power back does not ask in chorus.
const JITTER_MS: u32 = 1000;
/// How often the same offer is requested before all servers are asked again. RFC 2131 suggests four
/// times in a minute; but the whole attempt has a minute, and whoever made an offer and then is
/// silent for 12 s will not give this lease.
const REQUESTS: u32 = 2;

/// A DHCP client on one link. `R` gives random numbers.
#[derive(Debug)]
pub struct Client<R> {
    sender: Sender,
    random: R,
    begun: Instant,
    state: State,
    wake: Instant,
    discovers: u32,
    refused: Option<String>,
}

#[derive(Debug)]
enum State {
    Starting,
    Selecting,
    Requesting {
        address: Ipv4Addr,
        server: Ipv4Addr,
        requests: u32,
    },
    Bound,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The time that [`Client::wake`] names may have come.
    Timer,
    /// A DHCP message came in; from anyone, and perhaps none.
    Message(&'a [u8]),
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this DHCP message to everyone on the link.
    Send(Vec<u8>),
    /// Use this lease: the client is done.
    Bind(Lease),
}

impl<R: FnMut() -> u32> Client<R> {
    /// A client that will ask at the first [`Event::Timer`].
    ///
    /// RFC 2131 has it wait up to ten seconds before. Machines differ in how long they take to come
    /// here by more than that, and the waits that follow are jittered.
    pub fn new(identity: Identity, now: Instant, mut random: R) -> Self {
        Self {
            sender: Sender {
                identity,
                xid: random(),
                secs: 0,
            },
            random,
            begun: now,
            state: State::Starting,
            wake: now,
            discovers: 0,
            refused: None,
        }
    }

    /// When the client wants its next [`Event::Timer`].
    pub const fn wake(&self) -> Instant {
        self.wake
    }

    /// How often all servers were asked.
    pub const fn discovers(&self) -> u32 {
        self.discovers
    }

    /// Why the last answer for this machine that could not be used was not.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Takes an event that happened at `now`.
    pub fn handle(&mut self, event: Event<'_>, now: Instant) -> Option<Action> {
        match event {
            Event::Timer if now < self.wake => None,
            Event::Timer => self.timer(now),
            Event::Message(message) => {
                match Answer::parse(message, self.sender.xid, self.sender.identity.mac) {
                    Ok(answer) => self.answer(&answer, now),
                    Err(junk) => {
                        tracing::trace!(%junk, "a message is ignored");
                        None
                    }
                }
            }
        }
    }

    fn timer(&mut self, now: Instant) -> Option<Action> {
        match self.state {
            State::Bound => None,
            State::Requesting {
                address,
                server,
                requests,
            } if requests < REQUESTS => Some(self.request(address, server, requests, now)),
            State::Requesting { server, .. } => {
                self.refused = Some(format!("{server} made an offer and then was silent"));
                Some(self.discover(now))
            }
            State::Starting | State::Selecting => Some(self.discover(now)),
        }
    }

    fn answer(&mut self, answer: &Answer, now: Instant) -> Option<Action> {
        match (&self.state, answer.kind) {
            (State::Selecting, AnswerKind::Offer) => {
                self.judge(answer)?;
                tracing::debug!(address = %answer.address, server = %answer.server, "offer");
                // RFC 2131, section 4.4.1: `secs` is that of the DISCOVER, so it is left as it is.
                Some(self.request(answer.address, answer.server, 0, now))
            }
            (
                State::Requesting {
                    address, server, ..
                },
                AnswerKind::Ack,
            ) if (answer.address, answer.server) == (*address, *server) => {
                let lease = self.judge(answer)?;
                self.state = State::Bound;
                Some(Action::Bind(lease))
            }
            (State::Requesting { server, .. }, AnswerKind::Nak) if answer.server == *server => {
                let said = answer.options.get(OptionCode::Message).unwrap_or_default();
                self.refuse(answer.server, format!("refused: {}", shown(said)));
                // What answers the old transaction from here on is stale. A server that always
                // refuses is asked no faster than one that is silent.
                self.state = State::Starting;
                self.wake = now + self.patience(self.discovers);
                None
            }
            (state, kind) => {
                tracing::debug!(?kind, ?state, server = %answer.server, "an answer is ignored");
                None
            }
        }
    }

    fn judge(&mut self, answer: &Answer) -> Option<Lease> {
        Lease::judge(answer)
            .map_err(|unusable| {
                self.refuse(
                    answer.server,
                    format!("sent an unusable {:?}: {unusable}", answer.kind),
                );
            })
            .ok()
    }

    fn refuse(&mut self, server: Ipv4Addr, what: String) {
        tracing::debug!(%server, "{what}");
        self.refused = Some(format!("{server} {what}"));
    }

    fn discover(&mut self, now: Instant) -> Action {
        if !matches!(self.state, State::Selecting) {
            self.sender.xid = (self.random)();
            self.state = State::Selecting;
        }
        let seconds = now.saturating_duration_since(self.begun).as_secs();
        self.sender.secs = u16::try_from(seconds).unwrap_or(u16::MAX);
        self.discovers += 1;
        self.wake = now + self.patience(self.discovers);
        Action::Send(self.sender.discover())
    }

    fn request(
        &mut self,
        address: Ipv4Addr,
        server: Ipv4Addr,
        already: u32,
        now: Instant,
    ) -> Action {
        let requests = already + 1;
        self.state = State::Requesting {
            address,
            server,
            requests,
        };
        self.wake = now + self.patience(requests);
        Action::Send(self.sender.request(address, server))
    }

    fn patience(&mut self, asked: u32) -> Duration {
        let step = usize::try_from(asked).unwrap_or(usize::MAX).max(1) - 1;
        let jitter = (self.random)() % (2 * JITTER_MS + 1);
        PATIENCE[step.min(PATIENCE.len() - 1)] + Duration::from_millis(jitter.into())
            - Duration::from_millis(JITTER_MS.into())
    }
}

/// A server's message, fit for a console line.
fn shown(said: &[u8]) -> String {
    const LONGEST: usize = 80;
    let said = &said[..said.len().min(LONGEST)];
    if said.is_empty() {
        "it does not say why".to_owned()
    } else {
        said.escape_ascii().to_string()
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::{DhcpOption, MessageType};
    use proptest::prelude::*;

    use super::super::message::tests::{ADDRESS, MAC, SERVER, XID, answer};
    use super::*;

    /// The middle of the jitter's range: waits are exactly as in [`PATIENCE`].
    const NO_JITTER: u32 = JITTER_MS;

    /// A server and a client on a link, with a clock that the test moves.
    struct Link {
        client: Client<Box<dyn FnMut() -> u32>>,
        begun: Instant,
        now: Instant,
    }

    impl Link {
        fn new() -> Self {
            Self::with_random(|| NO_JITTER)
        }

        fn with_random(random: impl FnMut() -> u32 + 'static) -> Self {
            let now = Instant::now();
            Self {
                client: Client::new(MAC.into(), now, Box::new(random)),
                begun: now,
                now,
            }
        }

        /// A client that has asked, in transaction [`XID`].
        fn selecting() -> Self {
            let mut link = Self::new();
            assert!(link.timer().is_some());
            link.client.sender.xid = XID;
            link
        }

        /// A client that has taken the offer of [`ADDRESS`] by [`SERVER`].
        fn requesting() -> Self {
            let mut link = Self::selecting();
            assert!(link.hear(&usual(MessageType::Offer)).is_some());
            link
        }

        /// Lets time pass until the client wants to be woken, and wakes it.
        fn timer(&mut self) -> Option<Sent> {
            self.now = self.client.wake();
            sent(self.client.handle(Event::Timer, self.now))
        }

        fn hear(&mut self, message: &[u8]) -> Option<Action> {
            self.client.handle(Event::Message(message), self.now)
        }

        fn elapsed(&self) -> Duration {
            self.now - self.begun
        }

        fn is_selecting(&self) -> bool {
            matches!(self.client.state, State::Selecting)
        }

        fn is_requesting(&self) -> bool {
            matches!(self.client.state, State::Requesting { .. })
        }
    }

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Sent {
        kind: u8,
        xid: u32,
        secs: u16,
    }

    fn sent(action: Option<Action>) -> Option<Sent> {
        match action? {
            Action::Send(bytes) => Some(Sent {
                // The message type is the first option that is written.
                kind: *bytes
                    .windows(3)
                    .find(|option| option.starts_with(&[53, 1]))?
                    .last()?,
                xid: u32::from_be_bytes(bytes[4..8].try_into().ok()?),
                secs: u16::from_be_bytes(bytes[8..10].try_into().ok()?),
            }),
            Action::Bind(_) => None,
        }
    }

    const DISCOVER: u8 = 1;
    const REQUEST: u8 = 3;

    fn usual(kind: MessageType) -> Vec<u8> {
        answer(kind, XID, settings())
    }

    fn settings() -> [DhcpOption; 3] {
        [
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            DhcpOption::AddressLeaseTime(86400),
            DhcpOption::Router(vec![SERVER]),
        ]
    }

    fn with(kind: MessageType, option: DhcpOption) -> Vec<u8> {
        answer(kind, XID, settings().into_iter().chain([option]))
    }

    #[test]
    fn discover_offer_request_ack_is_a_lease() {
        let mut link = Link::selecting();
        let request = link.hear(&usual(MessageType::Offer)).expect("a request");
        assert_eq!(sent(Some(request)).map(|sent| sent.kind), Some(REQUEST));
        let Some(Action::Bind(lease)) = link.hear(&usual(MessageType::Ack)) else {
            panic!("an ACK binds");
        };
        assert_eq!(lease.address().addr(), ADDRESS);
        assert_eq!(lease.server(), SERVER);
        assert_eq!(link.timer(), None, "a bound client is silent");
    }

    #[test]
    fn silence_is_answered_by_asking_at_growing_intervals() {
        let mut link = Link::new();
        let mut times = Vec::new();
        while link.elapsed() < Duration::from_secs(60) {
            let sent = link.timer().expect("it asks");
            assert_eq!(sent.kind, DISCOVER);
            assert_eq!(u64::from(sent.secs), link.elapsed().as_secs());
            times.push(link.elapsed().as_secs());
        }
        assert_eq!(times, [0, 4, 12, 28, 44, 60]);
        assert_eq!(link.client.refused(), None);
    }

    #[test]
    fn waits_are_jittered_by_a_second_either_way() {
        for (random, expected) in [(0, 3000), (2 * JITTER_MS, 5000), (2 * JITTER_MS + 1, 3000)] {
            let mut link = Link::with_random(move || random);
            link.timer();
            let wait = link.client.wake() - link.now;
            assert_eq!(wait.as_millis(), expected, "{random}");
        }
    }

    #[test]
    fn a_timer_that_fires_early_sends_nothing() {
        let mut link = Link::selecting();
        let now = link.client.wake() - Duration::from_millis(1);
        assert_eq!(link.client.handle(Event::Timer, now), None);
    }

    #[test]
    fn an_unanswered_request_is_repeated_and_then_everyone_is_asked_again() {
        let mut link = Link::requesting();
        assert_eq!(
            link.timer().map(|sent| (sent.kind, sent.xid)),
            Some((REQUEST, XID))
        );
        let sent = link.timer().expect("it asks");
        assert_eq!(sent.kind, DISCOVER);
        assert_ne!(sent.xid, XID);
        assert_eq!(link.elapsed(), Duration::from_secs(12));
        assert!(link.client.refused().unwrap().contains("silent"));
    }

    #[test]
    fn a_refusal_starts_again_in_another_transaction_and_not_at_once() {
        let mut link = Link::requesting();
        let nak = with(
            MessageType::Nak,
            DhcpOption::Message("wrong network\x1b[2J".into()),
        );
        assert_eq!(link.hear(&nak), None);
        assert_eq!(
            link.client.refused(),
            Some("10.0.2.2 refused: wrong network\\x1b[2J")
        );
        assert!(link.client.wake() - link.now >= PATIENCE[0]);
        assert_eq!(link.hear(&usual(MessageType::Ack)), None, "too late");
        let sent = link.timer().expect("it asks");
        assert_eq!(sent.kind, DISCOVER);
        assert_ne!(sent.xid, XID);
        assert_eq!(link.hear(&usual(MessageType::Offer)), None, "stale");
    }

    #[test]
    fn a_server_that_always_refuses_is_asked_ever_more_slowly() {
        let mut link = Link::new();
        let mut asked = 0;
        while link.elapsed() < Duration::from_secs(60) {
            link.timer().expect("it asks");
            asked += 1;
            link.client.sender.xid = XID;
            assert!(link.hear(&usual(MessageType::Offer)).is_some());
            assert_eq!(link.hear(&usual(MessageType::Nak)), None);
        }
        assert_eq!(asked, 6);
    }

    #[test]
    fn what_is_no_offer_for_this_client_leaves_it_selecting() {
        let mut other_machine = usual(MessageType::Offer);
        other_machine[33] ^= 1;
        let mut long_mac = usual(MessageType::Offer);
        long_mac[2] = 255;
        let mut question = usual(MessageType::Offer);
        question[0] = 1;
        let mut no_server = usual(MessageType::Offer);
        let at = no_server.windows(2).position(|o| o == [54, 4]).unwrap();
        no_server[at] = 224;
        let mut cut = usual(MessageType::Offer);
        cut.truncate(cut.len() - 3);
        for (why, message) in [
            ("wrong xid", answer(MessageType::Offer, XID + 1, settings())),
            ("wrong chaddr", other_machine),
            ("a hardware address of 255 bytes", long_mac),
            ("a question", question),
            ("no server identifier", no_server),
            ("cut options", cut),
            ("an ACK without a request", usual(MessageType::Ack)),
            ("a NAK without a request", usual(MessageType::Nak)),
            ("another client's DISCOVER", usual(MessageType::Discover)),
            ("nothing", Vec::new()),
        ] {
            let mut link = Link::selecting();
            let wake = link.client.wake();
            assert_eq!(link.hear(&message), None, "{why}");
            assert!(link.is_selecting(), "{why}");
            assert_eq!(link.client.wake(), wake, "{why}");
            assert_eq!(link.client.refused(), None, "{why}");
        }
    }

    #[test]
    fn an_unusable_offer_is_remembered_and_a_usable_one_after_it_taken() {
        for (option, expected) in [
            (DhcpOption::AddressLeaseTime(0), "lease time is 0"),
            (
                DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 255, 0)),
                "not contiguous",
            ),
            (
                DhcpOption::Router(vec![Ipv4Addr::new(192, 168, 7, 1)]),
                "192.168.7.1 cannot be reached from 10.0.2.15/24",
            ),
        ] {
            let mut link = Link::selecting();
            assert_eq!(link.hear(&with(MessageType::Offer, option)), None);
            assert!(link.is_selecting());
            let refused = link.client.refused().expect("remembered").to_owned();
            assert!(
                refused.starts_with("10.0.2.2 sent an unusable Offer"),
                "{refused}"
            );
            assert!(refused.contains(expected), "{refused}");
            assert!(link.hear(&usual(MessageType::Offer)).is_some());
            assert!(link.is_requesting());
        }
    }

    #[test]
    fn only_the_chosen_server_acknowledges_or_refuses() {
        let other = DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 2, 9));
        let mut other_address = usual(MessageType::Ack);
        other_address[19] = 99;
        for (why, message) in [
            (
                "another server's ACK",
                with(MessageType::Ack, other.clone()),
            ),
            ("another server's NAK", with(MessageType::Nak, other)),
            ("another address", other_address),
            ("a second offer", usual(MessageType::Offer)),
            (
                "an ACK that cannot work",
                with(MessageType::Ack, DhcpOption::AddressLeaseTime(0)),
            ),
        ] {
            let mut link = Link::requesting();
            assert_eq!(link.hear(&message), None, "{why}");
            assert!(link.is_requesting(), "{why}");
            assert!(
                matches!(link.hear(&usual(MessageType::Ack)), Some(Action::Bind(_))),
                "{why}"
            );
        }
    }

    #[test]
    fn the_first_usable_offer_is_taken_and_named_in_the_request() {
        let mut link = Link::selecting();
        let Some(Action::Send(request)) = link.hear(&usual(MessageType::Offer)) else {
            panic!("an offer is taken");
        };
        for option in [
            [&[50, 4], &ADDRESS.octets()[..]].concat(),
            [&[54, 4], &SERVER.octets()[..]].concat(),
        ] {
            assert!(request.windows(6).any(|window| window == option));
        }
    }

    proptest! {
        #[test]
        fn no_message_panics_in_any_state(
            options in proptest::collection::vec(any::<u8>(), 0..400),
            kind in 0_u8..10,
        ) {
            for mut link in [Link::new(), Link::selecting(), Link::requesting()] {
                link.client.sender.xid = XID;
                let mut message = usual(MessageType::Offer);
                message.truncate(240);
                message.extend([53, 1, kind]);
                message.extend([54, 4, 10, 0, 2, 2]);
                message.extend(&options);
                link.hear(&message);
                link.timer();
            }
        }

        #[test]
        fn no_flipped_byte_panics_or_binds_another_address(at in 0_usize..300, byte in any::<u8>()) {
            let mut link = Link::requesting();
            let mut message = usual(MessageType::Ack);
            if let Some(target) = message.get_mut(at) {
                *target = byte;
            }
            if let Some(Action::Bind(lease)) = link.hear(&message) {
                prop_assert_eq!(lease.address().addr(), ADDRESS);
                prop_assert_eq!(lease.server(), SERVER);
            }
        }
    }
}
