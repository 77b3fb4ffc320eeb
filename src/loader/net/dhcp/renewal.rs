//! What keeps a lease while the machine needs it (RFC 2131, section 4.4.5): pure, as [`super::client`] is.
//!
//! ```text
//!          T1: REQUEST to its server        T2: REQUEST to all        end
//! Bound ──────────────────────→ Renewing ─────────────→ Rebinding ─────→ lost
//!   ↑                              │ ACK                    │ ACK          ↑
//!   └──────────────────────────────┴────────────────────────┘     NAK ─────┘
//! ```

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::client::Event;
use super::identity::Identity;
use super::lease::Lease;
use super::message::{Answer, AnswerKind, Sender};

/// How soon is asked again at the earliest. RFC 2131 has a minute; but there are leases of two minutes, and of
/// seconds on networks that hand addresses out to whoever comes by. Each time it is half of what is left.
const SOONEST: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this to the server of the lease.
    Renew(Ipv4Addr, Vec<u8>),
    /// Send this to every server on the link.
    Rebind(Vec<u8>),
    /// The address stays; these are the settings from now on.
    Renewed(Lease),
    /// The address must not be used any more.
    Lost(Why),
}

/// Why an address must not be used any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No server renewed the lease.
    #[error("the lease expired without a renewal")]
    RanOut,
    /// A server said no.
    #[error("{0} refused the renewal (DHCPNAK)")]
    Refused(Ipv4Addr),
}

/// A lease that is kept.
#[derive(Debug)]
pub struct Renewal<R> {
    sender: Sender,
    random: R,
    lease: Lease,
    /// Since when it is lent.
    begun: Instant,
    asked: Option<Instant>,
    wake: Option<Instant>,
}

impl<R: FnMut() -> u32> Renewal<R> {
    /// Keeps a lease that was given at `now`.
    pub fn new(identity: Identity, lease: Lease, now: Instant, random: R) -> Self {
        let mut renewal = Self {
            sender: Sender {
                identity,
                xid: 0,
                secs: 0,
            },
            random,
            lease,
            begun: now,
            asked: None,
            wake: None,
        };
        renewal.begin(now);
        renewal
    }

    /// When it wants its next [`Event::Timer`]; never, where the lease has no end.
    pub const fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// Takes an event that happened at `now`.
    pub fn handle(&mut self, event: Event<'_>, now: Instant) -> Option<Action> {
        match event {
            Event::Timer if self.wake.is_some_and(|wake| now >= wake) => self.timer(now),
            Event::Timer => None,
            Event::Message(message) => self.hear(message, now),
        }
    }

    fn begin(&mut self, now: Instant) {
        self.begun = now;
        self.asked = None;
        self.sender.xid = (self.random)();
        self.wake = (self.lease.ends_after()).map(|_| now + self.lease.renew_after());
    }

    fn timer(&mut self, now: Instant) -> Option<Action> {
        let end = self.begun + self.lease.ends_after()?;
        if now >= end {
            self.wake = None;
            return Some(Action::Lost(Why::RanOut));
        }
        let first = *self.asked.get_or_insert(now);
        let seconds = now.saturating_duration_since(first).as_secs();
        self.sender.secs = u16::try_from(seconds).unwrap_or(u16::MAX);
        let rebind = self.begun + self.lease.rebind_after();
        let next = if now < rebind { rebind } else { end };
        let wait = (next - now) / 2;
        self.wake = Some((now + wait.max(SOONEST)).min(next));
        let message = self.sender.renew(self.lease.address().addr());
        Some(if now < rebind {
            Action::Renew(self.lease.server(), message)
        } else {
            Action::Rebind(message)
        })
    }

    fn hear(&mut self, message: &[u8], now: Instant) -> Option<Action> {
        // Nothing was asked, so nothing is an answer.
        self.asked?;
        let answer = Answer::parse(message, self.sender.xid, self.sender.identity.mac).ok()?;
        let renewing = now < self.begun + self.lease.rebind_after();
        if renewing && answer.server != self.lease.server() {
            return None;
        }
        match answer.kind {
            AnswerKind::Ack if answer.address == self.lease.address().addr() => {
                let lease = Lease::judge(&answer).ok()?;
                self.lease = lease.clone();
                self.begin(now);
                Some(Action::Renewed(lease))
            }
            AnswerKind::Nak => {
                self.wake = None;
                self.asked = None;
                Some(Action::Lost(Why::Refused(answer.server)))
            }
            AnswerKind::Ack | AnswerKind::Offer => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::{DhcpOption, MessageType};

    use super::super::message::tests::{ADDRESS, MAC, SERVER, XID, answer};
    use super::*;

    fn message(kind: MessageType, seconds: u32) -> Vec<u8> {
        let usual = [
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            DhcpOption::AddressLeaseTime(seconds),
        ];
        answer(kind, XID, usual)
    }

    fn of_another_server(mut message: Vec<u8>) -> Vec<u8> {
        let at = message.windows(2).position(|two| two == [54, 4]).unwrap();
        message[at + 5] = 9;
        message
    }

    fn kept(seconds: u32) -> (Renewal<impl FnMut() -> u32>, Instant) {
        let now = Instant::now();
        let message = message(MessageType::Ack, seconds);
        let lease = Lease::judge(&Answer::parse(&message, XID, MAC.into()).unwrap()).unwrap();
        (Renewal::new(MAC.into(), lease, now, || XID), now)
    }

    /// Wakes it whenever it wants, and gives the seconds at which it did what.
    fn course(
        renewal: &mut Renewal<impl FnMut() -> u32>,
        begun: Instant,
    ) -> Vec<(u64, &'static str)> {
        let mut course = Vec::new();
        while let Some(wake) = renewal.wake() {
            assert_eq!(
                renewal.handle(Event::Timer, wake - Duration::from_millis(1)),
                None
            );
            let what = match renewal.handle(Event::Timer, wake).unwrap() {
                Action::Renew(SERVER, _) => "renew",
                Action::Rebind(_) => "rebind",
                Action::Lost(Why::RanOut) => "lost",
                other => panic!("{other:?}"),
            };
            course.push(((wake - begun).as_secs(), what));
        }
        course
    }

    #[test]
    fn its_server_is_asked_then_all_and_then_the_address_is_lost() {
        let (mut renewal, begun) = kept(80);
        assert_eq!(
            course(&mut renewal, begun),
            [
                (40, "renew"),
                (55, "renew"),
                (62, "renew"),
                (66, "renew"),
                (68, "renew"),
                (70, "rebind"),
                (75, "rebind"),
                (77, "rebind"),
                (79, "rebind"),
                (80, "lost")
            ]
        );
    }

    #[test]
    fn a_lease_of_seconds_is_not_asked_for_in_a_hot_loop() {
        let (mut renewal, begun) = kept(4);
        let course = course(&mut renewal, begun);
        assert!(course.len() <= 4, "{course:?}");
        assert_eq!(course.last(), Some(&(4, "lost")));
    }

    #[test]
    fn a_lease_without_an_end_is_left_alone() {
        let (mut renewal, begun) = kept(u32::MAX);
        assert_eq!(renewal.wake(), None);
        assert_eq!(
            renewal.handle(Event::Timer, begun + Duration::from_secs(1 << 40)),
            None
        );
    }

    #[test]
    fn an_acknowledgement_begins_anew_with_what_it_says() {
        let (mut renewal, begun) = kept(80);
        let t1 = renewal.wake().unwrap();
        assert!(renewal.handle(Event::Timer, t1).is_some());
        let ack = message(MessageType::Ack, 800);
        let action = renewal.handle(Event::Message(&ack), t1);
        assert!(matches!(&action, Some(Action::Renewed(lease)) if lease.seconds() == 800));
        assert_eq!(renewal.wake(), Some(begun + Duration::from_secs(40 + 400)));
    }

    #[test]
    fn what_is_no_answer_changes_nothing() {
        let ack = || message(MessageType::Ack, 800);
        let mut other_address = ack();
        other_address[19] = 99;
        let mut other_transaction = ack();
        other_transaction[4] ^= 1;
        let (mut renewal, begun) = kept(80);
        assert_eq!(
            renewal.handle(Event::Message(&ack()), begun),
            None,
            "unasked"
        );
        let nak = message(MessageType::Nak, 1);
        assert_eq!(renewal.handle(Event::Message(&nak), begun), None, "unasked");
        let t1 = renewal.wake().unwrap();
        renewal.handle(Event::Timer, t1);
        let wake = renewal.wake();
        for (why, message) in [
            ("an offer", message(MessageType::Offer, 800)),
            ("another address", other_address),
            ("another transaction", other_transaction),
            ("another server's", of_another_server(ack())),
            ("another server's refusal", of_another_server(nak)),
            ("an unusable one", message(MessageType::Ack, 0)),
        ] {
            assert_eq!(renewal.handle(Event::Message(&message), t1), None, "{why}");
            assert_eq!(renewal.wake(), wake, "{why}");
        }
    }

    #[test]
    fn any_server_may_renew_or_refuse_once_all_are_asked() {
        let late = Duration::from_secs(71);
        for (kind, renews) in [(MessageType::Ack, true), (MessageType::Nak, false)] {
            let (mut renewal, begun) = kept(80);
            renewal.handle(Event::Timer, begun + late);
            let message = of_another_server(message(kind, 80));
            let action = renewal
                .handle(Event::Message(&message), begun + late)
                .unwrap();
            assert_eq!(matches!(action, Action::Renewed(_)), renews);
            assert_eq!(matches!(action, Action::Lost(Why::Refused(_))), !renews);
        }
        assert_eq!(ADDRESS, kept(80).0.lease.address().addr());
    }
}
