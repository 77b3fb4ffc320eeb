//! What comes in on a link that has no address yet: anyone there may answer, and as often as they like.
//!
//! The input is a course of events for the state machine of the client: its timer, packets, messages,
//! and answers that are right up to their options, so that the options are reached.
//!
//! | property | because |
//! |---|---|
//! | a message makes the client send at most one REQUEST, and no DISCOVER | it must not be an amplifier, nor be kept from waiting |
//! | each wait is between 3 and 17 seconds | no answer makes the loader spin or sleep for ever |
//! | the lease is the address that was asked for, from the server that was asked | an ACK must not slip another in |
//! | addresses, routes, name servers and the domain are bounded and can work | the kernel and the resolver take them as they are |
//! | a server's words on the console are words | they are printed |

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use sealboot_init::net::Lease;
use sealboot_init::net::from_the_link::dhcp::{Action, Client, Event, unwrap};

use super::Verdict;
use super::input::Input;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// More than a minute on a busy link brings.
const EVENTS: usize = 64;

/// Events, each a byte for its kind and what belongs to it.
pub fn run(bytes: &[u8]) -> Verdict {
    let mut input = Input::new(bytes);
    let mut machine = Machine::new();
    for _ in 0..EVENTS {
        if input.is_empty() {
            break;
        }
        match input.byte() % 4 {
            0 => machine.wait(),
            1 => {
                let len = input.word();
                if let Some(message) = unwrap(input.take(len)) {
                    machine.hear(message);
                }
            }
            2 => {
                let len = input.word();
                machine.hear(input.take(len));
            }
            _ => {
                let message = machine.answer(&mut input);
                machine.hear(&message);
            }
        }
    }
    if machine.lease.is_some() {
        Verdict::Taken
    } else {
        Verdict::Refused
    }
}

struct Machine {
    client: Client<fn() -> u32>,
    now: Instant,
    /// The transaction of the last question.
    xid: [u8; 4],
    /// The address and the server that the last REQUEST named.
    requested: Option<(Ipv4Addr, Ipv4Addr)>,
    lease: Option<Lease>,
}

impl Machine {
    fn new() -> Self {
        let now = Instant::now();
        // Machines differ; one that always rolls the same number walks the same way.
        let client = Client::new(MAC.into(), now, (|| 0x1234_5678) as fn() -> u32);
        Self {
            client,
            now,
            xid: [0; 4],
            requested: None,
            lease: None,
        }
    }

    fn wait(&mut self) {
        self.now = self.now.max(self.client.wake());
        match self.client.handle(Event::Timer, self.now) {
            Some(Action::Send(message)) => {
                assert!(self.lease.is_none(), "a client that is done is silent");
                self.sent(&message);
            }
            Some(Action::Bind(_)) => panic!("time alone is no lease"),
            None => assert!(self.lease.is_some(), "a client that has no lease asks on"),
        }
    }

    fn hear(&mut self, message: &[u8]) {
        let wake = self.client.wake();
        let action = self.client.handle(Event::Message(message), self.now);
        if self.client.wake() != wake {
            self.waits();
        }
        match action {
            None => {}
            Some(_) if self.lease.is_some() => panic!("a client that is done is done"),
            Some(Action::Send(message)) => {
                self.sent(&message);
                assert_eq!(option(&message, 53), Some(&[3][..]), "a REQUEST");
            }
            Some(Action::Bind(lease)) => {
                let bound = (lease.address().addr(), lease.server());
                assert_eq!(Some(bound), self.requested);
                can_work(&lease);
                self.lease = Some(lease);
            }
        }
        if let Some(refused) = self.client.refused() {
            assert!(
                refused.len() <= 400 && !refused.contains(char::is_control),
                "{refused:?}"
            );
        }
    }

    /// An answer as a server would make it, with the input's options.
    fn answer(&self, input: &mut Input<'_>) -> Vec<u8> {
        let mut message = vec![0; 240];
        message[..3].copy_from_slice(&[2, 1, 6]);
        message[4..8].copy_from_slice(&self.xid);
        message[28..34].copy_from_slice(&MAC);
        message[236..].copy_from_slice(&[99, 130, 83, 99]);
        let address = input.take(4);
        message[16..16 + address.len()].copy_from_slice(address);
        let len = input.word();
        message.extend_from_slice(input.take(len));
        message
    }

    fn sent(&mut self, message: &[u8]) {
        assert!((300..=576).contains(&message.len()));
        self.waits();
        self.xid.copy_from_slice(&message[4..8]);
        let address = |code| {
            option(message, code)
                .and_then(|value| <[u8; 4]>::try_from(value).ok())
                .map(Ipv4Addr::from)
        };
        self.requested = address(50).zip(address(54));
    }

    fn waits(&self) {
        let wait = self.client.wake().saturating_duration_since(self.now);
        assert!(
            wait >= Duration::from_secs(3) && wait <= Duration::from_secs(17),
            "{wait:?}"
        );
    }
}

/// An option of a message that the client wrote.
fn option(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut field = &message[240..];
    while let [code, length, rest @ ..] = field {
        let (value, rest) = rest.split_at(usize::from(*length));
        if *code == wanted {
            return Some(value);
        }
        field = rest;
    }
    None
}

fn can_work(lease: &Lease) {
    let address = lease.address();
    let host = |address: Ipv4Addr| {
        !address.is_unspecified()
            && !address.is_loopback()
            && !address.is_multicast()
            && !address.is_broadcast()
    };
    assert!(host(address.addr()) && (1..=32).contains(&address.prefix_len()));
    assert!(lease.seconds() > 0 && !lease.server().is_unspecified());
    assert!(lease.nameservers().len() <= 3 && lease.nameservers().iter().copied().all(host));
    assert!(lease.routes().len() <= 32);
    let routed = lease
        .routes()
        .iter()
        .position(|route| route.router.is_some());
    for (at, route) in lease.routes().iter().enumerate() {
        assert!(route.prefix_len <= 32);
        let beyond = route
            .destination
            .to_bits()
            .checked_shl(route.prefix_len.into());
        assert_eq!(
            beyond.unwrap_or(0),
            0,
            "{route} has no bits past its prefix"
        );
        assert!(
            route
                .router
                .is_none_or(|router| host(router) && router != address.addr())
        );
        assert_eq!(
            route.router.is_some(),
            routed.is_some_and(|first| at >= first),
            "on-link routes first"
        );
    }
    assert!(lease.search().len() <= 6 && lease.ntp().len() <= 4);
    assert!(lease.ntp().iter().copied().all(host));
    for domain in lease.search() {
        let domain = domain.as_str();
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        assert!(
            (1..=253).contains(&domain.len()) && domain.bytes().all(plain),
            "{domain:?}"
        );
    }
}
