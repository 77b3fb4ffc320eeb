//! DHCPv4 (RFC 2131): an address for a link that has none.
//!
//! | module | holds |
//! |---|---|
//! | [`frame`] | IPv4 and UDP round a message; pure |
//! | [`message`] | messages written and read; pure |
//! | [`lease`] | an answer's settings, judged; pure |
//! | [`client`] | the state machine; pure |
//!
//! This file is the shell that gives the state machine a socket and a clock. A lease is not renewed:
//! the loader hands the machine over within minutes, and asks again where it does not.

mod client;
mod frame;
mod lease;
mod message;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::time::Instant;

use tokio::time::sleep_until;

use crate::sys::packet::PacketSocket;
use client::{Action, Client, Event};
pub use lease::{Lease, Route};

/// What reads bytes that anyone on the link may have sent, for `tests/fuzz` to reach; no API.
#[doc(hidden)]
pub mod from_the_link {
    pub use super::client::{Action, Client, Event};
    pub use super::frame::unwrap;
}
pub(super) use message::Mac;

/// Bytes of a packet that are read. Ethernet's own bound is 1500; of a longer packet the rest is cut
/// off, and its length then says more than is there, which is one way to be dropped.
const PACKET_BYTES: usize = 2048;

/// Why a link has no lease.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLease {
    /// The kernel gave no packet socket, or the link went away.
    #[error("a packet socket failed")]
    Socket(#[from] io::Error),
    /// The deadline came.
    #[error("{0}")]
    Silence(Silence),
}

/// What was tried on a link until the deadline.
#[derive(Debug)]
pub(super) struct Silence {
    asked: u32,
    refused: Option<String>,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked {} times", self.asked)?;
        match &self.refused {
            Some(refused) => write!(f, ", {refused}"),
            None => write!(f, ", no answer"),
        }
    }
}

/// Asks for a lease on a link that is up, until `deadline`.
pub(super) async fn acquire(
    link_index: u32,
    mac: Mac,
    deadline: Instant,
) -> Result<Lease, NoLease> {
    let socket = PacketSocket::open(link_index)?;
    let mut client = Client::new(mac, Instant::now(), random);
    let mut buffer = vec![0; PACKET_BYTES];
    loop {
        let action = tokio::select! {
            // In this order, so that no flood of packets holds up the clock.
            biased;
            () = sleep_until(deadline.into()) => {
                return Err(NoLease::Silence(Silence {
                    asked: client.discovers(),
                    refused: client.refused().map(str::to_owned),
                }));
            }
            () = sleep_until(client.wake().into()) => client.handle(Event::Timer, Instant::now()),
            received = socket.receive(&mut buffer) => match frame::unwrap(&buffer[..received?]) {
                Some(message) => client.handle(Event::Message(message), Instant::now()),
                None => None,
            },
        };
        match action {
            Some(Action::Send(message)) => {
                // A link that flaps or whose queue is full loses packets just as a network does:
                // the client asks again.
                if let Err(error) = socket.broadcast(&frame::wrap(&message)) {
                    tracing::debug!(%error, "a DHCP message was not sent");
                }
            }
            Some(Action::Bind(lease)) => return Ok(lease),
            None => {}
        }
    }
}

/// A number that two machines which start together do not share: the keys of the standard library's
/// hash maps come from the kernel. Transaction ids and jitter need no more than that.
fn random() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
