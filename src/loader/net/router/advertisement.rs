//! What a router says of its link (RFC 4861, section 4.2), read. Pure.
//!
//! The kernel makes addresses and routes of it. Read here is what the kernel does not tell: name servers (RFC 8106),
//! and whether DHCPv6 has more.

use std::net::Ipv6Addr;

use crate::net::dhcp6::{addresses, names};
use sealboot_core::format::network::DomainName;

const ROUTER_ADVERTISEMENT: u8 = 134;
/// Type, code, checksum, hop limit, flags and three times.
const HEADER: usize = 16;

/// Name servers and domains that are used; as many as of DHCP.
const NAMESERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 6;

/// What a router says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advertisement {
    /// Addresses are to be had from DHCPv6.
    pub managed: bool,
    /// More than addresses is to be had from DHCPv6.
    pub other: bool,
    /// It is a way to everywhere else.
    pub is_default: bool,
    /// The machine makes itself an address of one of its prefixes.
    pub autonomous: bool,
    /// Name servers.
    pub nameservers: Vec<Ipv6Addr>,
    /// Domains that complete a name without a dot.
    pub search: Vec<DomainName>,
}

impl Advertisement {
    /// Reads an ICMPv6 message; none where it is another one, or broken.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let (header, mut options) = message.split_at_checked(HEADER)?;
        if header[..2] != [ROUTER_ADVERTISEMENT, 0] {
            return None;
        }
        let mut found = Self {
            managed: header[5] & 0x80 != 0,
            other: header[5] & 0x40 != 0,
            is_default: header[6..8] != [0, 0],
            ..Self::default()
        };
        while let [kind, eights, ..] = options {
            // RFC 4861, section 6.1.2: an option of no length makes all of it invalid.
            let length = usize::from(*eights) * 8;
            let (option, rest) = options.split_at_checked(length).filter(|_| length > 0)?;
            match (kind, option) {
                (3, [_, _, _, flags, valid @ ..]) if flags & 0x40 != 0 => {
                    found.autonomous |= valid.first_chunk::<4>() != Some(&[0; 4]);
                }
                // A lifetime of 0 takes them back.
                (25, [_, _, _, _, lifetime @ ..]) => {
                    let (lifetime, list) = lifetime.split_first_chunk::<4>()?;
                    if *lifetime != [0; 4] {
                        found.nameservers.extend(addresses(list));
                    }
                }
                (31, [_, _, _, _, lifetime @ ..]) => {
                    let (lifetime, list) = lifetime.split_first_chunk::<4>()?;
                    if *lifetime != [0; 4] {
                        // Zeros fill the option up, and are read as names of the root, which no machine has.
                        found.search.extend(names(list, SEARCH_MAX));
                    }
                }
                _ => {}
            }
            options = rest;
        }
        found.nameservers.truncate(NAMESERVERS_MAX);
        found.search.truncate(SEARCH_MAX);
        options.is_empty().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: u8, lifetime: u16, options: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![134, 0, 0, 0, 64, flags];
        message.extend(lifetime.to_be_bytes());
        message.extend([0; 8]);
        message.extend(options.concat());
        message
    }

    fn prefix(flags: u8, valid: u32) -> Vec<u8> {
        let mut option = vec![3, 4, 64, flags];
        option.extend(valid.to_be_bytes());
        option.extend([0; 24]);
        option
    }

    fn rdnss(lifetime: u32, servers: &[&str]) -> Vec<u8> {
        let eights = u8::try_from(1 + 2 * servers.len()).unwrap();
        let mut option = vec![25, eights, 0, 0];
        option.extend(lifetime.to_be_bytes());
        for server in servers {
            option.extend(server.parse::<Ipv6Addr>().unwrap().octets());
        }
        option
    }

    const DNSSL: &[u8] = b"\x1f\x03\0\0\0\0\x01\0\x03lab\x07example\0\0\0\0";

    #[test]
    fn a_usual_advertisement_is_read() {
        let servers = ["2001:db8::53", "fe80::53"];
        let read = Advertisement::parse(&message(
            0x40,
            1800,
            &[
                &prefix(0xc0, 3600),
                &rdnss(600, &servers),
                DNSSL,
                &[1, 1, 0, 0, 0, 0, 0, 0],
            ],
        ))
        .unwrap();
        assert!(read.other && !read.managed && read.is_default && read.autonomous);
        let nameservers: Vec<String> = read.nameservers.iter().map(ToString::to_string).collect();
        assert_eq!(nameservers, servers);
        let search: Vec<&str> = read.search.iter().map(DomainName::as_str).collect();
        assert_eq!(search, ["lab.example"]);
    }

    #[test]
    fn what_is_taken_back_or_not_for_this_machine_is_left_out() {
        let read = Advertisement::parse(&message(
            0x80,
            0,
            &[
                &prefix(0x80, 3600),
                &prefix(0x40, 0),
                &rdnss(0, &["2001:db8::53"]),
            ],
        ))
        .unwrap();
        let expected = Advertisement {
            managed: true,
            ..Advertisement::default()
        };
        assert_eq!(read, expected);
        // Nobody's name server is everybody, or itself.
        let read = Advertisement::parse(&message(0, 0, &[&rdnss(1, &["ff02::1", "::1", "::"])]));
        assert!(read.unwrap().nameservers.is_empty());
    }

    #[test]
    fn what_is_no_whole_advertisement_is_none() {
        let good = message(0, 1800, &[&rdnss(600, &["2001:db8::53"])]);
        for len in (0..good.len()).filter(|len| *len != HEADER) {
            assert_eq!(Advertisement::parse(&good[..len]), None, "{len}");
        }
        let mut other = good.clone();
        other[0] = 135;
        assert_eq!(Advertisement::parse(&other), None);
        assert_eq!(
            Advertisement::parse(&message(0, 0, &[&[1, 0, 0, 0, 0, 0, 0, 0]])),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn no_options_panic(options: Vec<u8>) {
            let _ = Advertisement::parse(&message(0, 0, &[&options]));
        }
    }
}
