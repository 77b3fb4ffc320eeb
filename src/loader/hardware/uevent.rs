//! What the kernel tells of devices, by a netlink socket (lib/kobject_uevent.c).
//!
//! A datagram is `ACTION@DEVPATH`, then `KEY=VALUE` as often as needed, each with a NUL at its end.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};

/// The kernel's own group; what udev makes of its events goes to group 2.
const KERNEL_GROUP: u32 = 1;

/// Bytes of a datagram: the kernel has 2048 for the keys and values, and a path before them.
const DATAGRAM_BYTES: usize = 8 << 10;

/// Hears of devices from the moment that it is opened.
#[derive(Debug)]
pub(super) struct Uevents(OwnedFd);

impl Uevents {
    pub(super) fn open() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkKObjectUEvent,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP))?;
        Ok(Self(fd))
    }

    /// Waits for the next datagram; gives the `modalias` of a device that has appeared, if it is about one.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` where datagrams were lost.
    pub(super) fn next_appeared(&self) -> nix::Result<Option<String>> {
        let mut datagram = [0; DATAGRAM_BYTES];
        let (length, sender) = recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), &mut datagram)?;
        let sender = sender.map(|sender| sender.pid());
        Ok(appeared(sender, &datagram[..length]).map(str::to_owned))
    }
}

/// The `modalias` of the device that has appeared, if this is the kernel's word on one. Programs may send to
/// the group too, and have numbers of their own.
fn appeared(sender: Option<u32>, datagram: &[u8]) -> Option<&str> {
    const KERNEL: u32 = 0;
    let text = str::from_utf8(datagram).ok()?;
    let mut fields = text.split_terminator('\0');
    let is_new = sender == Some(KERNEL) && fields.next()?.starts_with("add@/");
    is_new.then(|| fields.find_map(|field| field.strip_prefix("MODALIAS=")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &[u8] = b"add@/devices/pci0000:00/0000:00:02.0\0ACTION=add\0DEVPATH=/devices/pci0000:00/0000:00:02.0\0SUBSYSTEM=pci\0PCI_CLASS=20000\0MODALIAS=pci:v000015ADd000007B0\0SEQNUM=1234\0";

    #[test]
    fn a_card_that_has_appeared_says_what_it_is() {
        assert_eq!(appeared(Some(0), CARD), Some("pci:v000015ADd000007B0"));
    }

    #[test]
    fn only_the_kernel_is_believed() {
        for sender in [Some(1), Some(u32::MAX), None] {
            assert_eq!(appeared(sender, CARD), None, "{sender:?}");
        }
    }

    #[test]
    fn what_does_not_appear_or_says_nothing_is_passed_over() {
        for other in [
            &b"remove@/devices/x\0ACTION=remove\0MODALIAS=pci:x\0"[..],
            b"bind@/devices/x\0ACTION=bind\0MODALIAS=pci:x\0",
            b"add@/module/x\0ACTION=add\0SUBSYSTEM=module\0",
            b"libudev\0\xfe\xed\xca\xfe\0MODALIAS=pci:x\0",
            b"MODALIAS=pci:x\0",
            b"add@\0MODALIAS=pci:x\0",
            b"\xff",
            b"",
        ] {
            assert_eq!(appeared(Some(0), other), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn the_kernel_lets_its_group_be_heard() {
        Uevents::open().unwrap();
    }

    proptest::proptest! {
        #[test]
        fn any_datagram_is_survived(datagram: Vec<u8>) {
            let _ = appeared(Some(0), &datagram);
        }
    }
}
