//! DHCPv4 (RFC 2131): an address for a link that has none.
//!
//! | module | holds |
//! |---|---|
//! | [`frame`] | IPv4 and UDP round a message; pure |
//! | [`message`] | messages written and read; pure |
//! | [`lease`] | an answer's settings, judged; pure |
//! | [`identity`] | what a client says of itself |
//! | [`client`] | the state machine that gets a lease; pure |
//! | [`renewal`] | the state machine that keeps it; pure |
//!
//! This file is the shell that gives the state machines a socket and a clock.

mod client;
mod frame;
mod identity;
mod lease;
mod message;
mod renewal;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::sleep_until;

use client::{Action, Client, Event};
use frame::{CLIENT_PORT, SERVER_PORT};
pub(super) use identity::{Identity, VENDOR_CLASS};
pub use lease::{Lease, Route};
use renewal::{Action as Kept, Renewal, Why};
use sealboot_core::format::network::InterfaceName;
use sealboot_sys::packet::PacketSocket;

/// What reads bytes that anyone on the link may have sent, for `tests/fuzz` to reach; no API.
#[doc(hidden)]
pub mod from_the_link {
    pub use super::client::{Action, Client, Event};
    pub use super::frame::unwrap;
    pub use super::identity::Identity;
    pub use super::renewal::{Action as Kept, Renewal};
}

/// Bytes of a packet that are read. Ethernet's own bound is 1500; of a longer packet the rest is cut
/// off, and its length then says more than is there, which is one way to be dropped.
const PACKET_BYTES: usize = 2048;

/// Longer than a loader runs.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

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
    identity: Identity,
    deadline: Instant,
) -> Result<Lease, NoLease> {
    let socket = PacketSocket::open(link_index)?;
    let mut client = Client::new(identity, Instant::now(), random);
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

/// Keeps a lease of the link `name`: tells of each change of its settings, and ends when the address is lost.
///
/// # Errors
///
/// The kernel's, where the link has no socket to offer.
pub(super) async fn keep(
    name: &InterfaceName,
    identity: Identity,
    lease: Lease,
    mut renewed: impl FnMut(&Lease),
) -> io::Result<Why> {
    let socket = UdpSocket::from_std(client_socket(name)?)?;
    let mut renewal = Renewal::new(identity, lease, Instant::now(), random);
    let mut buffer = vec![0; PACKET_BYTES];
    loop {
        // Where there is no end, there is nothing to ask for.
        let wake = renewal.wake().unwrap_or_else(|| Instant::now() + FOR_EVER);
        let action = tokio::select! {
            biased;
            () = sleep_until(wake.into()) => renewal.handle(Event::Timer, Instant::now()),
            received = socket.recv(&mut buffer) => {
                renewal.handle(Event::Message(&buffer[..received?]), Instant::now())
            }
        };
        let (message, to) = match action {
            Some(Kept::Renew(server, message)) => (message, server),
            Some(Kept::Rebind(message)) => (message, Ipv4Addr::BROADCAST),
            Some(Kept::Renewed(lease)) => {
                renewed(&lease);
                continue;
            }
            Some(Kept::Lost(why)) => return Ok(why),
            None => continue,
        };
        // As above: what is lost is asked again.
        if let Err(error) = socket.send_to(&message, (to, SERVER_PORT)).await {
            tracing::debug!(%error, "a DHCP message was not sent");
        }
    }
}

/// A socket at the client's port of one link. Each link may have its own.
fn client_socket(name: &InterfaceName) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), None)?;
    socket.bind_device(Some(name.as_str().as_bytes()))?;
    socket.set_broadcast(true)?;
    let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// A number that two machines which start together do not share: the keys of the standard library's
/// hash maps come from the kernel. Transaction ids and jitter need no more than that.
pub(super) fn random() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
