//! Packet sockets (packet(7)): IPv4 packets on a link that has no address yet.
//!
//! An ordinary UDP socket neither sends from 0.0.0.0 on a link without an address nor receives a
//! datagram for an address that the machine is only about to get, so DHCP goes below IP. The kernel
//! writes and strips the Ethernet header (`SOCK_DGRAM`); the packet starts with the IP header.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike as _, bind, recvfrom,
    sendto, socket,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A packet socket for the IPv4 packets of one Ethernet link.
#[derive(Debug)]
pub struct PacketSocket {
    fd: AsyncFd<OwnedFd>,
    everyone: LinkAddr,
}

impl PacketSocket {
    /// Opens a socket on the link with this index; needs `CAP_NET_RAW` and `CONFIG_PACKET`.
    ///
    /// # Errors
    ///
    /// The kernel's: `EAFNOSUPPORT` where it has no packet sockets (its module `af_packet` is not
    /// loaded), `ENODEV` where the link is gone.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn open(link_index: u32) -> io::Result<Self> {
        let everyone = broadcast_address(link_index)?;
        // Protocol 0 receives nothing. Were IPv4 named here, packets of every link would be queued
        // until the bind below restricts the socket to one.
        let fd = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        bind(fd.as_raw_fd(), &everyone)?;
        #[expect(
            unsafe_code,
            reason = "tokio's safe constructor is deprecated as unsound for types other than OwnedFd"
        )]
        // SAFETY: an `OwnedFd` is an open descriptor that stays open and the same until it is
        // dropped, and it is moved into the `AsyncFd`, which gives out no way to take or replace it.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self { fd, everyone })
    }

    /// Sends one IPv4 packet to every machine on the link.
    ///
    /// # Errors
    ///
    /// The kernel's: `ENETDOWN` where the link is down, `WouldBlock` where its queue is full.
    pub fn broadcast(&self, packet: &[u8]) -> io::Result<()> {
        sendto(
            self.fd.as_raw_fd(),
            packet,
            &self.everyone,
            MsgFlags::empty(),
        )?;
        Ok(())
    }

    /// Receives one packet for this machine and returns its length, cut to that of `buffer`.
    ///
    /// # Errors
    ///
    /// The kernel's, except that a link which goes down and comes up again is none.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.readable().await?;
            let received = ready
                .try_io(|fd| recvfrom::<LinkAddr>(fd.as_raw_fd(), buffer).map_err(io::Error::from));
            match received {
                // A packet of a VLAN that has no interface here reaches the socket of the link below
                // it, marked as another host's.
                Ok(Ok((_, Some(from)))) if from.pkttype() == libc::PACKET_OTHERHOST => {}
                Ok(Ok((length, _))) => return Ok(length),
                // Said once for each time that the link went down.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_not_ready_after_all) => {}
            }
        }
    }
}

/// The address of every machine on a link, for IPv4; to bind to it is to bind to the link.
fn broadcast_address(link_index: u32) -> io::Result<LinkAddr> {
    const ETHERTYPE_IPV4: u16 = 0x0800;
    const MAC_BYTES: u8 = 6;
    let raw = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(|_| Errno::EAFNOSUPPORT)?,
        sll_protocol: ETHERTYPE_IPV4.to_be(),
        sll_ifindex: i32::try_from(link_index).map_err(|_| Errno::ENODEV)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: MAC_BYTES,
        sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    };
    let length = u32::try_from(size_of_val(&raw)).map_err(|_| Errno::EINVAL)?;
    #[expect(
        unsafe_code,
        reason = "nix offers no other way to make a link-layer address"
    )]
    // SAFETY: `addr` points to `raw`, a whole and initialised `sockaddr_ll` that outlives the call,
    // which copies it; `len` is its exact size.
    let address = unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(length)) };
    address.ok_or_else(|| Errno::EINVAL.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broadcast_address_is_of_the_link_and_of_ipv4() {
        let address = broadcast_address(7).unwrap();
        assert_eq!(address.ifindex(), 7);
        assert_eq!(address.addr(), Some([0xff; 6]));
        assert_eq!(u16::from_be(address.protocol()), 0x0800);
    }

    #[test]
    fn a_link_that_cannot_exist_is_refused() {
        assert!(broadcast_address(u32::MAX).is_err());
    }
}
