//! DHCPv6 messages (RFC 9915): the five that a client sends, and what it reads of an answer. Pure.
//!
//! A message is a type, a transaction and options, and an option a code, a length and a value, so both
//! directions are written here; what is read may be from anyone on the link.

use std::net::Ipv6Addr;
use std::time::Duration;

use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::serialize::binary::{BinDecodable as _, BinDecoder};

use sealboot_core::format::network::MacAddress;
use sealboot_core::format::network::{DomainName, is_ipv6_host};

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;
const OPTION_REQUEST: u16 = 6;
const PREFERENCE: u16 = 7;
const ELAPSED_TIME: u16 = 8;
const STATUS: u16 = 13;
const RAPID_COMMIT: u16 = 14;
const USER_CLASS: u16 = 15;
const DNS_SERVERS: u16 = 23;
const DOMAIN_LIST: u16 = 24;
const SNTP_SERVERS: u16 = 31;
const NTP_SERVER: u16 = 56;

/// Options of an answer that are looked at. A server sends a dozen.
const OPTIONS_MAX: usize = 64;
/// Name servers that are used; as many as of DHCPv4.
const NAMESERVERS_MAX: usize = 3;
/// Domains that are tried.
const SEARCH_MAX: usize = 6;
/// Time servers that are asked.
const NTP_SERVERS_MAX: usize = 4;
/// Bytes of a server's identifier (RFC 9915, section 11.1: 130).
const DUID_MAX: usize = 130;

/// A transaction, of three bytes.
pub(super) type Xid = [u8; 3];

/// What a message asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question<'a> {
    /// Every server for an offer, or for an address at once.
    Solicit,
    /// One server for the address that it has offered.
    Request(&'a [u8], Ipv6Addr),
    /// The server of a lease for more time.
    Renew(&'a [u8], Ipv6Addr),
    /// Every server for more time.
    Rebind(Ipv6Addr),
    /// Every server for name servers alone.
    Information,
}

/// What every question of one client has in common.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    /// Of the client's identifier and its association: both are of the link's card.
    pub(super) mac: MacAddress,
    pub(super) user_class: Vec<u8>,
    pub(super) xid: Xid,
    pub(super) elapsed: Duration,
}

impl Sender {
    pub(super) fn ask(&self, question: Question<'_>) -> Vec<u8> {
        let (kind, server, address) = match question {
            Question::Solicit => (1, None, None),
            Question::Request(server, address) => (3, Some(server), Some(address)),
            Question::Renew(server, address) => (5, Some(server), Some(address)),
            Question::Rebind(address) => (6, None, Some(address)),
            Question::Information => (11, None, None),
        };
        let mut message = vec![kind];
        message.extend(self.xid);
        option(&mut message, CLIENT_ID, &self.identifier());
        if let Some(server) = server {
            option(&mut message, SERVER_ID, server);
        }
        let hundredths = u16::try_from(self.elapsed.as_millis() / 10).unwrap_or(u16::MAX);
        option(&mut message, ELAPSED_TIME, &hundredths.to_be_bytes());
        let wanted = [DNS_SERVERS, DOMAIN_LIST, SNTP_SERVERS, NTP_SERVER];
        option(
            &mut message,
            OPTION_REQUEST,
            wanted.map(u16::to_be_bytes).as_flattened(),
        );
        // One class, itself with its length before it.
        let length = u16::try_from(self.user_class.len()).unwrap_or(u16::MAX);
        let user_class = [&length.to_be_bytes()[..], &self.user_class].concat();
        option(&mut message, USER_CLASS, &user_class);
        if matches!(question, Question::Solicit) {
            option(&mut message, RAPID_COMMIT, &[]);
        }
        if !matches!(question, Question::Information) {
            // T1 and T2 are left to the server.
            let mut association = [&self.association()[..], &[0; 8]].concat();
            if let Some(address) = address {
                let value = [&address.octets()[..], &[0; 8]].concat();
                option(&mut association, IA_ADDRESS, &value);
            }
            option(&mut message, IA_NA, &association);
        }
        message
    }

    /// The client's identifier: DUID-LL of Ethernet (RFC 9915, section 11.4). It is the same at each boot, without
    /// a disk to keep another kind on.
    pub(super) fn identifier(&self) -> Vec<u8> {
        [&[0, 3, 0, 1], &self.mac.octets()[..]].concat()
    }

    /// The association's id: of this client's one association on this link, whatever it is.
    fn association(&self) -> [u8; 4] {
        let [_, _, a, b, c, d] = self.mac.octets();
        [a, b, c, d]
    }
}

fn option(message: &mut Vec<u8>, code: u16, value: &[u8]) {
    // All of ours are far below 64 KiB.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    message.extend(code.to_be_bytes());
    message.extend(length.to_be_bytes());
    message.extend(value);
}

/// An answer of a server to this client's transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: AnswerKind,
    /// The server's identifier.
    pub(super) server: Vec<u8>,
    pub(super) preference: u8,
    /// Whether an address was given without being asked for twice.
    pub(super) rapid_commit: bool,
    /// What the server says to it, 0 being that all is well.
    pub(super) status: u16,
    pub(super) address: Option<Lent>,
    pub(super) settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerKind {
    Advertise,
    Reply,
}

/// An address, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lent {
    pub(super) address: Ipv6Addr,
    pub(super) renew_after: Duration,
    pub(super) rebind_after: Duration,
    /// Never, where this is none.
    pub(super) ends_after: Option<Duration>,
}

/// What a server tells of the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Name servers.
    pub nameservers: Vec<Ipv6Addr>,
    /// Domains that complete a name without a dot.
    pub search: Vec<DomainName>,
    /// Time servers.
    pub ntp: Vec<Ipv6Addr>,
}

/// Why a message is none for this client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Junk {
    #[error("it is neither advertisement nor reply")]
    OtherType,
    #[error("it belongs to another transaction")]
    OtherTransaction,
    #[error("it is for another machine")]
    OtherMachine,
    #[error("it does not name its server")]
    NoServer,
    #[error("its option {0} is cut short")]
    Cut(u16),
    #[error("it has too many options")]
    TooMany,
}

impl Answer {
    /// Reads the answer to what `sender` asked.
    pub(super) fn parse(message: &[u8], sender: &Sender) -> Result<Self, Junk> {
        let (kind, rest) = match message {
            [2, rest @ ..] => (AnswerKind::Advertise, rest),
            [7, rest @ ..] => (AnswerKind::Reply, rest),
            _ => return Err(Junk::OtherType),
        };
        let (xid, rest) = rest.split_first_chunk().ok_or(Junk::OtherTransaction)?;
        if *xid != sender.xid {
            return Err(Junk::OtherTransaction);
        }
        let options = options(rest)?;
        let find = |code| options.iter().find(|(found, _)| *found == code);
        if find(CLIENT_ID).is_none_or(|(_, id)| *id != sender.identifier()) {
            return Err(Junk::OtherMachine);
        }
        let server = find(SERVER_ID).map_or(&[][..], |(_, id)| id);
        if !(1..=DUID_MAX).contains(&server.len()) {
            return Err(Junk::NoServer);
        }
        let mut answer = Self {
            kind,
            server: server.to_vec(),
            preference: find(PREFERENCE)
                .map_or(0, |(_, value)| value.first().copied().unwrap_or(0)),
            rapid_commit: find(RAPID_COMMIT).is_some(),
            status: find(STATUS).map_or(0, |(_, value)| status(value)),
            address: None,
            settings: Settings::default(),
        };
        for (code, value) in &options {
            match *code {
                IA_NA => answer.associate(value, sender)?,
                DNS_SERVERS => answer.settings.nameservers.extend(addresses(value)),
                SNTP_SERVERS => answer.settings.ntp.extend(addresses(value)),
                NTP_SERVER => {
                    // RFC 5908: suboption 1 is the address of a server.
                    let inner = self::options(value)?;
                    let servers = inner.iter().filter(|(code, _)| *code == 1);
                    let servers = servers.flat_map(|(_, value)| addresses(value));
                    answer.settings.ntp.extend(servers);
                }
                DOMAIN_LIST => answer.settings.search.extend(names(value, SEARCH_MAX)),
                _ => {}
            }
        }
        let settings = &mut answer.settings;
        settings.nameservers.truncate(NAMESERVERS_MAX);
        settings.ntp.truncate(NTP_SERVERS_MAX);
        settings.search.truncate(SEARCH_MAX);
        Ok(answer)
    }

    /// Takes the address of this client's association, if it has one that can be used.
    fn associate(&mut self, value: &[u8], sender: &Sender) -> Result<(), Junk> {
        let Some((head, inner)) = value.split_first_chunk::<12>() else {
            return Err(Junk::Cut(IA_NA));
        };
        let [a, b, c, d, t1 @ .., e, f, g, h] = head;
        let t2 = u32::from_be_bytes([*e, *f, *g, *h]);
        let t1 = u32::from_be_bytes(*t1);
        if [*a, *b, *c, *d] != sender.association() {
            return Ok(());
        }
        for (code, value) in options(inner)? {
            match code {
                STATUS => self.status = self.status.max(status(value)),
                IA_ADDRESS if self.address.is_none() => {
                    let Some((address, times)) = value.split_first_chunk::<16>() else {
                        return Err(Junk::Cut(IA_ADDRESS));
                    };
                    let [a, b, c, d, e, f, g, h, ..] = *times else {
                        return Err(Junk::Cut(IA_ADDRESS));
                    };
                    let preferred = u32::from_be_bytes([a, b, c, d]);
                    let valid = u32::from_be_bytes([e, f, g, h]);
                    let address = Ipv6Addr::from(*address);
                    let usable = is_ipv6_host(address) && !address.is_unicast_link_local();
                    if valid != 0 && preferred <= valid && usable {
                        self.address = Some(Lent::new(address, t1, t2, preferred, valid));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Lent {
    /// T1 and T2 of 0 leave the times to the client (RFC 9915, section 14.2): half and four fifths of the time for
    /// which the address is preferred.
    fn new(address: Ipv6Addr, t1: u32, t2: u32, preferred: u32, valid: u32) -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let base = if preferred == 0 { valid } else { preferred };
        let (t1, t2) = if t1 == 0 || t2 == 0 || t1 > t2 || t2 > valid {
            (seconds(base) / 2, seconds(base) / 5 * 4)
        } else {
            (seconds(t1), seconds(t2))
        };
        Self {
            address,
            renew_after: t1,
            rebind_after: t2,
            ends_after: (valid != u32::MAX).then(|| seconds(valid)),
        }
    }
}

/// The options of a message or of an option, each a code and its value.
fn options(mut field: &[u8]) -> Result<Vec<(u16, &[u8])>, Junk> {
    let mut options = Vec::new();
    while let [a, b, rest @ ..] = field {
        let code = u16::from_be_bytes([*a, *b]);
        let (length, rest) = rest.split_first_chunk().ok_or(Junk::Cut(code))?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (value, rest) = rest.split_at_checked(length).ok_or(Junk::Cut(code))?;
        if options.len() == OPTIONS_MAX {
            return Err(Junk::TooMany);
        }
        options.push((code, value));
        field = rest;
    }
    if field.is_empty() {
        Ok(options)
    } else {
        Err(Junk::Cut(0))
    }
}

fn status(value: &[u8]) -> u16 {
    let code = value.first_chunk().copied();
    code.map_or(0, u16::from_be_bytes)
}

/// The addresses in a list that a machine can have; link-local ones included.
pub(in crate::net) fn addresses(value: &[u8]) -> impl Iterator<Item = Ipv6Addr> + '_ {
    let (addresses, _) = value.as_chunks::<16>();
    let addresses = addresses.iter().map(|octets| Ipv6Addr::from(*octets));
    addresses.filter(|address| is_ipv6_host(*address))
}

/// Up to `most` names of a list as DNS writes them, without those that no machine has.
pub(in crate::net) fn names(value: &[u8], most: usize) -> Vec<DomainName> {
    let mut decoder = BinDecoder::new(value);
    let mut names = Vec::new();
    while names.len() < most && !decoder.is_empty() {
        // Where a name ends is not known once one is broken.
        let Ok(name) = Name::read(&mut decoder) else {
            break;
        };
        names.extend(name.to_ascii().parse::<DomainName>().ok());
    }
    names
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::net::dhcp6) fn sender() -> Sender {
        Sender {
            mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56].into(),
            user_class: b"sealboot".to_vec(),
            xid: [1, 2, 3],
            elapsed: Duration::ZERO,
        }
    }

    /// An answer of the server `s` with this association and these options.
    pub(in crate::net::dhcp6) fn answer(kind: u8, options: &[(u16, &[u8])]) -> Vec<u8> {
        let sender = sender();
        let mut message = [&[kind][..], &sender.xid].concat();
        option(&mut message, CLIENT_ID, &sender.identifier());
        option(&mut message, SERVER_ID, b"s");
        for (code, value) in options {
            option(&mut message, *code, value);
        }
        message
    }

    pub(in crate::net::dhcp6) fn association(address: &str, times: [u32; 4]) -> Vec<u8> {
        let [t1, t2, preferred, valid] = times;
        let mut value = sender().association().to_vec();
        value.extend(t1.to_be_bytes());
        value.extend(t2.to_be_bytes());
        let mut inner = address.parse::<Ipv6Addr>().unwrap().octets().to_vec();
        inner.extend(preferred.to_be_bytes());
        inner.extend(valid.to_be_bytes());
        option(&mut value, IA_ADDRESS, &inner);
        value
    }

    fn parse(message: &[u8]) -> Result<Answer, Junk> {
        Answer::parse(message, &sender())
    }

    #[test]
    fn a_reply_is_read() {
        let dns = "2001:db8::53".parse::<Ipv6Addr>().unwrap();
        let message = answer(
            7,
            &[
                (IA_NA, &association("2001:db8::9", [100, 160, 200, 400])),
                (DNS_SERVERS, &dns.octets()),
                (DOMAIN_LIST, b"\x03lab\x07example\0\x05other\0"),
                (NTP_SERVER, &[&[0, 1, 0, 16][..], &dns.octets()].concat()),
            ],
        );
        let answer = parse(&message).unwrap();
        let lent = answer.address.unwrap();
        assert_eq!(lent.address.to_string(), "2001:db8::9");
        assert_eq!(lent.renew_after, Duration::from_secs(100));
        assert_eq!(lent.rebind_after, Duration::from_secs(160));
        assert_eq!(lent.ends_after, Some(Duration::from_secs(400)));
        assert_eq!(answer.settings.nameservers, [dns]);
        assert_eq!(answer.settings.ntp, [dns]);
        let search: Vec<&str> = answer
            .settings
            .search
            .iter()
            .map(DomainName::as_str)
            .collect();
        assert_eq!(search, ["lab.example", "other"]);
        assert_eq!(
            (answer.status, answer.preference, answer.rapid_commit),
            (0, 0, false)
        );
    }

    #[test]
    fn what_is_not_for_this_client_is_junk() {
        let good = answer(2, &[]);
        assert!(parse(&good).is_ok());
        for (at, junk) in [
            (0, Junk::OtherType),
            (1, Junk::OtherTransaction),
            (12, Junk::OtherMachine),
        ] {
            let mut message = good.clone();
            message[at] ^= 0x40;
            assert_eq!(parse(&message), Err(junk), "byte {at}");
        }
        for len in 0..good.len() {
            assert!(parse(&good[..len]).is_err(), "{len}");
        }
        let many: Vec<(u16, &[u8])> = vec![(99, &[]); OPTIONS_MAX];
        assert_eq!(parse(&answer(2, &many)), Err(Junk::TooMany));
    }

    #[test]
    fn an_address_that_no_machine_can_use_is_none() {
        for (address, times) in [
            ("fe80::1", [0, 0, 10, 10]),
            ("ff02::1", [0, 0, 10, 10]),
            ("::", [0, 0, 10, 10]),
            ("::ffff:192.0.2.1", [0, 0, 10, 10]),
            ("2001:db8::1", [0, 0, 0, 0]),
            ("2001:db8::1", [0, 0, 11, 10]),
        ] {
            let message = answer(7, &[(IA_NA, &association(address, times))]);
            assert_eq!(
                parse(&message).unwrap().address,
                None,
                "{address} {times:?}"
            );
        }
        let mut other = association("2001:db8::1", [0, 0, 10, 10]);
        other[0] ^= 1;
        assert_eq!(parse(&answer(7, &[(IA_NA, &other)])).unwrap().address, None);
    }

    #[test]
    fn times_that_make_no_sense_are_the_clients_own() {
        for times in [[0, 0, 100, 200], [90, 50, 100, 200], [50, 300, 100, 200]] {
            let message = answer(7, &[(IA_NA, &association("2001:db8::1", times))]);
            let lent = parse(&message).unwrap().address.unwrap();
            assert_eq!(lent.renew_after, Duration::from_secs(50), "{times:?}");
            assert_eq!(lent.rebind_after, Duration::from_secs(80), "{times:?}");
        }
        let message = answer(
            7,
            &[(
                IA_NA,
                &association("2001:db8::1", [0, 0, u32::MAX, u32::MAX]),
            )],
        );
        assert_eq!(parse(&message).unwrap().address.unwrap().ends_after, None);
    }

    #[test]
    fn questions_are_of_their_kind_and_say_who_asks() {
        let address = "2001:db8::9".parse().unwrap();
        for (question, kind, names_server, has_address) in [
            (Question::Solicit, 1, false, false),
            (Question::Request(b"s", address), 3, true, true),
            (Question::Renew(b"s", address), 5, true, true),
            (Question::Rebind(address), 6, false, true),
            (Question::Information, 11, false, false),
        ] {
            let message = sender().ask(question);
            assert_eq!(message[..4], [kind, 1, 2, 3]);
            let options = options(&message[4..]).unwrap();
            let find = |code| options.iter().find(|(found, _)| *found == code);
            assert_eq!(find(CLIENT_ID).unwrap().1, sender().identifier());
            assert_eq!(find(SERVER_ID).is_some(), names_server, "{question:?}");
            assert_eq!(find(IA_NA).is_some(), kind != 11, "{question:?}");
            let inner = find(IA_NA).map_or(0, |(_, value)| value.len());
            assert_eq!(inner > 12, has_address, "{question:?}");
            assert_eq!(find(RAPID_COMMIT).is_some(), kind == 1);
            assert_eq!(find(USER_CLASS).unwrap().1, b"\0\x08sealboot");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, kind in 0_u8..10) {
            let mut message = vec![kind, 1, 2, 3];
            message.extend(bytes);
            let _ = parse(&message);
        }

        #[test]
        fn no_flipped_byte_panics(at in 0_usize..200, byte: u8) {
            let mut message = answer(7, &[(IA_NA, &association("2001:db8::9", [1, 2, 3, 4]))]);
            if let Some(target) = message.get_mut(at) {
                *target = byte;
            }
            let _ = parse(&message);
        }
    }
}
