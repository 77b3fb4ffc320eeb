//! IPv4 and UDP round a DHCP message, for a machine that has no address yet.

use etherparse::{Ipv4HeaderSlice, PacketBuilder, UdpHeaderSlice, ip_number};

pub(super) const SERVER_PORT: u16 = 67;
pub(super) const CLIENT_PORT: u16 = 68;
/// The packet goes to the link's broadcast address and is not routed; a relay makes a packet of its own.
const HOPS: u8 = 64;

/// The IPv4 packet, from 0.0.0.0 to 255.255.255.255, that carries `message` to the servers.
pub(super) fn wrap(message: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([0; 4], [255; 4], HOPS).udp(CLIENT_PORT, SERVER_PORT);
    let mut packet = Vec::with_capacity(builder.size(message.len()));
    builder
        .write(&mut packet, message)
        .unwrap_or_else(|error| unreachable!("a DHCP message fits an IPv4 packet: {error}"));
    packet
}

/// The DHCP message in an IPv4 packet from a server, `None` where the packet is anything else.
///
/// Fragments are not put together: a client without an address is answered in one packet. UDP's
/// checksum is not looked at, because a server on the same host (every virtual machine's) leaves it
/// to network hardware that is not there; the IP header's is.
pub fn unwrap(packet: &[u8]) -> Option<&[u8]> {
    let ip = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let header = ip.to_header();
    if ip.protocol() != ip_number::UDP
        || ip.is_fragmenting_payload()
        || header.header_checksum != header.calc_header_checksum()
    {
        return None;
    }
    // What follows the packet is padding of a short Ethernet frame.
    let datagram = packet.get(ip.slice().len()..usize::from(ip.total_len()))?;
    let udp = UdpHeaderSlice::from_slice(datagram).ok()?;
    if udp.source_port() != SERVER_PORT || udp.destination_port() != CLIENT_PORT {
        return None;
    }
    datagram.get(udp.slice().len()..usize::from(udp.length()))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The packet in which a server answers.
    pub(in super::super) fn answer(message: &[u8]) -> Vec<u8> {
        packet(SERVER_PORT, CLIENT_PORT, message)
    }

    fn packet(from: u16, to: u16, message: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([10, 0, 2, 2], [255; 4], 64)
            .udp(from, to)
            .write(&mut packet, message)
            .unwrap();
        packet
    }

    /// `packet` with a changed byte and the IP header's checksum put right again.
    fn changed(packet: &[u8], at: usize, byte: u8) -> Vec<u8> {
        let mut packet = packet.to_vec();
        packet[at] = byte;
        if let Ok(ip) = Ipv4HeaderSlice::from_slice(&packet) {
            let checksum = ip.to_header().calc_header_checksum();
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        packet
    }

    #[test]
    fn an_answer_is_found_with_and_without_ethernet_padding() {
        let mut packet = answer(b"message");
        assert_eq!(unwrap(&packet), Some(&b"message"[..]));
        packet.extend([0; 18]);
        assert_eq!(unwrap(&packet), Some(&b"message"[..]));
    }

    #[test]
    fn a_question_is_addressed_to_everyone() {
        let packet = wrap(b"message");
        let ip = Ipv4HeaderSlice::from_slice(&packet).unwrap();
        assert_eq!(ip.source(), [0; 4]);
        assert_eq!(ip.destination(), [255; 4]);
        assert_eq!(usize::from(ip.total_len()), packet.len());
        let udp = UdpHeaderSlice::from_slice(&packet[20..]).unwrap();
        assert_eq!((udp.source_port(), udp.destination_port()), (68, 67));
        assert_ne!(udp.checksum(), 0, "a checksum of 0 is none");
    }

    #[test]
    fn what_is_no_answer_of_a_server_is_dropped() {
        let good = answer(b"message");
        for (why, packet) in [
            ("another client's question", wrap(b"message")),
            ("from another port", packet(53, CLIENT_PORT, b"message")),
            ("to another port", packet(SERVER_PORT, 53, b"message")),
            ("IPv6", changed(&good, 0, 0x65)),
            ("a header shorter than it can be", changed(&good, 0, 0x44)),
            ("a header longer than the packet", changed(&good, 0, 0x4f)),
            ("TCP", changed(&good, 9, 6)),
            ("more fragments follow", changed(&good, 6, 0x20)),
            ("a later fragment", changed(&good, 7, 1)),
            ("an IP length beyond the packet", changed(&good, 3, 200)),
            ("an IP length within the header", changed(&good, 3, 19)),
            ("an IP length within UDP's header", changed(&good, 3, 27)),
            ("a UDP length beyond the packet", changed(&good, 25, 200)),
            ("a UDP length within its header", changed(&good, 25, 7)),
            ("no checksum", {
                let mut packet = good.clone();
                packet[10] ^= 1;
                packet
            }),
        ] {
            assert_eq!(unwrap(&packet), None, "{why}");
        }
        for length in 0..good.len() {
            assert_eq!(unwrap(&good[..length]), None, "cut to {length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(packet in proptest::collection::vec(any::<u8>(), 0..2048)) {
            unwrap(&packet);
        }

        #[test]
        fn what_is_wrapped_has_the_message_at_its_end(message in proptest::collection::vec(any::<u8>(), 0..1400)) {
            prop_assert!(wrap(&message).ends_with(&message));
        }
    }
}
