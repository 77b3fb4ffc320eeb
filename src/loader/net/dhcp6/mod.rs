//! DHCPv6 (RFC 9915): an address for a link, or only what a router does not tell.
//!
//! | module | holds |
//! |---|---|
//! | [`message`] | messages written and read; pure |
//! | [`client`] | the state machine; pure |
//!
//! This file is the shell that gives the state machine a socket and a clock. Where to send packets is not DHCPv6's
//! to say: routes are a router's (`net::router`).

mod client;
mod message;

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::sleep_until;

use super::dhcp::random;
use client::{Action, Client, Event};
pub(super) use client::{Lease, Purpose};
pub(super) use message::{Settings, addresses, names};
use sealboot_core::format::network::InterfaceName;
use sealboot_core::format::network::MacAddress;

/// What reads bytes that anyone on the link may have sent, for `tests/fuzz` to reach; no API.
#[doc(hidden)]
pub mod from_the_link {
    pub use super::client::{Action, Client, Event, Purpose};
}

const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
/// All servers and relays on the link.
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Bytes of a message that are read: of what Ethernet carries in one packet.
const MESSAGE_BYTES: usize = 2048;

/// A client of one link, which has an address of its own on it.
#[derive(Debug)]
pub(super) struct Dhcp6 {
    socket: UdpSocket,
    link_index: u32,
    client: Client<fn() -> u32>,
}

impl Dhcp6 {
    pub(super) fn open(
        name: &InterfaceName,
        link_index: u32,
        mac: MacAddress,
        user_class: &str,
        purpose: Purpose,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM.nonblocking(), None)?;
        socket.bind_device(Some(name.as_str().as_bytes()))?;
        socket.set_only_v6(true)?;
        let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, CLIENT_PORT, 0, 0);
        socket.bind(&SockAddr::from(any))?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            link_index,
            client: Client::new(mac.octets(), user_class, purpose, Instant::now(), random),
        })
    }

    /// Waits for the next change: a lease, or, as `None`, the loss of it. Cancelling it loses nothing.
    ///
    /// # Errors
    ///
    /// The kernel's, where the link goes away.
    pub(super) async fn next(&mut self) -> io::Result<Option<Lease>> {
        const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
        let mut buffer = vec![0; MESSAGE_BYTES];
        loop {
            let wake = self.client.wake();
            let wake = wake.unwrap_or_else(|| Instant::now() + FOR_EVER);
            let action = tokio::select! {
                // In this order, so that no flood of packets holds up the clock.
                biased;
                () = sleep_until(wake.into()) => self.client.handle(Event::Timer, Instant::now()),
                received = self.socket.recv(&mut buffer) => {
                    let message = &buffer[..received?];
                    self.client.handle(Event::Message(message), Instant::now())
                }
            };
            match action {
                Some(Action::Send(message)) => {
                    let servers = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, self.link_index);
                    // Until the link's own address is known to be nobody else's, nothing can be sent.
                    if let Err(error) = self.socket.send_to(&message, servers).await {
                        tracing::debug!(%error, "a DHCPv6 message was not sent");
                    }
                }
                Some(Action::Bind(lease)) => return Ok(Some(lease)),
                Some(Action::Lost) => return Ok(None),
                None => {}
            }
        }
    }

    /// What was tried so far.
    pub(super) fn tried(&self) -> String {
        let asked = self.client.asked();
        let refused = self.client.refused().unwrap_or("no answer");
        format!("DHCPv6 asked {asked} times, {refused}")
    }
}
