//! Routers of a link (RFC 4861): asked what they say, and heard.
//!
//! Addresses and routes are the kernel's to make of it, where [`heed`] lets it; this module hears what it does not tell.

mod advertisement;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;

use sealboot_core::format::network::InterfaceName;
use sealboot_core::format::network::MacAddress;

pub use advertisement::Advertisement;

/// All routers on the link.
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// RFC 4861, section 6.1: a packet that came over a router has less.
const HOPS: u32 = 255;
/// Bytes of a message that are read: of what Ethernet carries in one packet.
const MESSAGE_BYTES: usize = 2048;

/// What the kernel makes of what routers say on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heed {
    /// Addresses and routes.
    All,
    /// Routes; addresses come otherwise.
    Routes,
    /// Neither.
    Nothing,
    /// Neither, and the link has no IPv6 at all.
    Off,
}

/// Takes every IPv6 address and route from a link, and tells the kernel what to make of routers from now on. One
/// without IPv6 has nothing to be told.
pub(super) fn heed(name: &InterfaceName, heed: Heed) {
    let (routes, addresses) = match heed {
        Heed::All => ("2", "1"),
        Heed::Routes => ("2", "0"),
        Heed::Nothing | Heed::Off => ("0", "0"),
    };
    let off = if heed == Heed::Off { "1" } else { "0" };
    let settings = [
        // With this the kernel forgets what it made before.
        ("disable_ipv6", "1"),
        ("accept_ra", routes),
        ("autoconf", addresses),
        ("disable_ipv6", off),
    ];
    for (setting, value) in settings {
        let file = format!("/proc/sys/net/ipv6/conf/{name}/{setting}");
        if let Err(error) = fs::write(&file, value) {
            tracing::debug!(%error, file, "not set");
        }
    }
}

/// What is heard of the routers on one link.
#[derive(Debug)]
pub(super) struct Routers {
    /// A raw ICMPv6 socket: to the kernel a datagram is a datagram.
    socket: UdpSocket,
    link_index: u32,
    mac: MacAddress,
}

impl Routers {
    pub(super) fn open(name: &InterfaceName, link_index: u32, mac: MacAddress) -> io::Result<Self> {
        let kind = Type::RAW.nonblocking();
        let socket = Socket::new(Domain::IPV6, kind, Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(name.as_str().as_bytes()))?;
        let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);
        socket.bind(&SockAddr::from(any))?;
        socket.set_multicast_hops_v6(HOPS)?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            link_index,
            mac,
        })
    }

    /// Asks every router to say what it has to say.
    pub(super) async fn ask(&self) {
        // Type, code, checksum, which the kernel writes, four zeros; and who asks.
        let mut message = [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0];
        message[10..].copy_from_slice(&self.mac.octets());
        let routers = SocketAddrV6::new(ROUTERS, 0, 0, self.link_index);
        // Until the link's own address is known to be nobody else's, nothing can be sent. It is asked again.
        if let Err(error) = self.socket.send_to(&message, routers).await {
            tracing::debug!(%error, "a router solicitation was not sent");
        }
    }

    /// Waits for the next advertisement. Cancelling it loses nothing.
    ///
    /// Only one from a link-local address counts: no router passes those on, so it was sent on this link.
    ///
    /// # Errors
    ///
    /// The kernel's, where the link goes away.
    pub(super) async fn hear(&self) -> io::Result<(Ipv6Addr, Advertisement)> {
        let mut buffer = vec![0; MESSAGE_BYTES];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).await?;
            let IpAddr::V6(from) = from.ip() else {
                continue;
            };
            if !from.is_unicast_link_local() {
                continue;
            }
            if let Some(found) = Advertisement::parse(&buffer[..length]) {
                return Ok((from, found));
            }
        }
    }
}
