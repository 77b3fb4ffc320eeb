//! DHCP messages: the two that a client sends, and what it reads of an answer.
//!
//! dhcproto writes them. Answers are read here, since of the reader's two forms in dhcproto 0.15 one
//! panics on a hardware address of more than 16 bytes and neither tells a list of options that is cut
//! short from one that ends; and nothing is decoded that the client has no use for.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::Encodable as _;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};

use super::identity::Identity;
use sealboot_core::format::network::MacAddress;

/// BOOTP's fields before the options (RFC 951), magic cookie included.
const HEADER: usize = 240;
/// RFC 1542, section 2.1: relays may discard a message that is shorter than BOOTP's.
const SHORTEST: usize = 300;
/// What an answer may measure with its IP header: a packet that Ethernet carries unfragmented.
const LONGEST_ANSWER: u16 = 1500;

/// What every question of one client has in common.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) identity: Identity,
    /// The transaction.
    pub(super) xid: u32,
    /// Seconds since the client began.
    pub(super) secs: u16,
}

impl Sender {
    /// Asks every server for an offer.
    pub(super) fn discover(&self) -> Vec<u8> {
        self.message(MessageType::Discover, Ipv4Addr::UNSPECIFIED, &[])
    }

    /// Takes the offer of one server, and with the same message declines all others.
    pub(super) fn request(&self, address: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
        self.message(
            MessageType::Request,
            Ipv4Addr::UNSPECIFIED,
            &[
                DhcpOption::RequestedIpAddress(address),
                DhcpOption::ServerIdentifier(server),
            ],
        )
    }

    /// Asks for more time for an address that the machine has; of its server, or of all of them.
    pub(super) fn renew(&self, address: Ipv4Addr) -> Vec<u8> {
        self.message(MessageType::Request, address, &[])
    }

    /// `own` is the address that the machine has and can be answered at.
    fn message(&self, kind: MessageType, own: Ipv4Addr, more: &[DhcpOption]) -> Vec<u8> {
        let nobody = Ipv4Addr::UNSPECIFIED;
        let mac = self.identity.mac.octets();
        let mut message = Message::new_with_id(self.xid, own, nobody, nobody, nobody, &mac);
        message.set_secs(self.secs);
        if own.is_unspecified() {
            // Answers then come to everyone on the link, which every network card and relay can do.
            message.set_flags(Flags::default().set_broadcast());
        }
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        for option in self.identity.options() {
            options.insert(option.clone());
        }
        options.insert(DhcpOption::MaxMessageSize(LONGEST_ANSWER));
        options.insert(DhcpOption::ParameterRequestList(vec![
            // RFC 3442 asks for the classless routes before the router, which they replace.
            OptionCode::ClasslessStaticRoute,
            OptionCode::SubnetMask,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::DomainName,
            OptionCode::InterfaceMtu,
            OptionCode::NtpServers,
            OptionCode::AddressLeaseTime,
            OptionCode::ServerIdentifier,
            OptionCode::Renewal,
            OptionCode::Rebinding,
            OptionCode::DomainSearch,
        ]));
        for option in more {
            options.insert(option.clone());
        }
        let mut bytes = message
            .to_vec()
            .unwrap_or_else(|error| unreachable!("a question's options are short: {error}"));
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }
}

/// An answer of a server to this client's transaction. Its settings are not judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: AnswerKind,
    /// The server, by its identifier: the address that it is known by, not that of a relay.
    pub(super) server: Ipv4Addr,
    /// The address for this machine; 0.0.0.0 in a refusal.
    pub(super) address: Ipv4Addr,
    pub(super) options: Options,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerKind {
    Offer,
    Ack,
    Nak,
}

/// Why a message is none for this client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Junk {
    #[error("it is shorter than a DHCP message")]
    Short,
    #[error("it is not a server's answer to an Ethernet client")]
    NotAnAnswer,
    #[error("it belongs to another transaction")]
    OtherTransaction,
    #[error("it is for another machine")]
    OtherMachine,
    #[error("its option {0} is cut short")]
    CutOption(u8),
    #[error("its option {code} has {found} bytes")]
    OptionLength { code: u8, found: usize },
    #[error("it is neither offer, acknowledgement nor refusal")]
    OtherType,
    #[error("it does not name its server")]
    NoServer,
}

impl Answer {
    /// Reads the answer to transaction `xid` of the machine with address `mac`.
    pub(super) fn parse(message: &[u8], xid: u32, mac: MacAddress) -> Result<Self, Junk> {
        const BOOT_REPLY_ETHERNET: [u8; 3] = [2, 1, 6];
        const MAGIC: [u8; 4] = [99, 130, 83, 99];
        let (header, options) = message.split_at_checked(HEADER).ok_or(Junk::Short)?;
        if header[..3] != BOOT_REPLY_ETHERNET || header[236..] != MAGIC {
            return Err(Junk::NotAnAnswer);
        }
        if header[4..8] != xid.to_be_bytes() {
            return Err(Junk::OtherTransaction);
        }
        if header[28..34] != mac.octets() {
            return Err(Junk::OtherMachine);
        }
        let options = Options::parse(options, &header[108..236], &header[44..108])?;
        let kind = match options
            .fixed(OptionCode::MessageType)?
            .map(u8::from_be_bytes)
        {
            Some(2) => AnswerKind::Offer,
            Some(5) => AnswerKind::Ack,
            Some(6) => AnswerKind::Nak,
            _ => return Err(Junk::OtherType),
        };
        let server = options
            .fixed(OptionCode::ServerIdentifier)?
            .map(Ipv4Addr::from_octets)
            .filter(|server| !server.is_unspecified())
            .ok_or(Junk::NoServer)?;
        Ok(Self {
            kind,
            server,
            address: Ipv4Addr::new(header[16], header[17], header[18], header[19]),
            options,
        })
    }
}

/// The options of an answer, undecoded, by their code.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Reads the options field and, where option 52 says so, BOOTP's `file` and `sname` after it.
    ///
    /// An option that occurs more than once is one long option (RFC 3396).
    fn parse(options: &[u8], file: &[u8], sname: &[u8]) -> Result<Self, Junk> {
        let mut all = Self::default();
        all.append(options)?;
        match all
            .fixed(OptionCode::OptionOverload)?
            .map(u8::from_be_bytes)
        {
            Some(1) => all.append(file)?,
            Some(2) => all.append(sname)?,
            Some(3) => {
                all.append(file)?;
                all.append(sname)?;
            }
            _ => {}
        }
        Ok(all)
    }

    fn append(&mut self, mut field: &[u8]) -> Result<(), Junk> {
        const PAD: u8 = 0;
        const END: u8 = 255;
        while let [code, rest @ ..] = field {
            match (*code, rest) {
                (PAD, _) => field = rest,
                (END, _) => break,
                (code, [length, rest @ ..]) => {
                    let (value, rest) = rest
                        .split_at_checked(usize::from(*length))
                        .ok_or(Junk::CutOption(code))?;
                    self.0.entry(code).or_default().extend(value);
                    field = rest;
                }
                (code, []) => return Err(Junk::CutOption(code)),
            }
        }
        Ok(())
    }

    /// The bytes of an option.
    pub(super) fn get(&self, code: OptionCode) -> Option<&[u8]> {
        self.0.get(&u8::from(code)).map(Vec::as_slice)
    }

    /// The bytes of an option that has exactly `N` of them.
    pub(super) fn fixed<const N: usize>(&self, code: OptionCode) -> Result<Option<[u8; N]>, Junk> {
        let Some(value) = self.get(code) else {
            return Ok(None);
        };
        value
            .try_into()
            .map(Some)
            .map_err(|_| option_length(code, value))
    }

    /// The addresses of an option that lists at least one.
    pub(super) fn addresses(&self, code: OptionCode) -> Result<Vec<Ipv4Addr>, Junk> {
        let Some(value) = self.get(code) else {
            return Ok(Vec::new());
        };
        match value.as_chunks::<4>() {
            (addresses @ [_, ..], []) => Ok(addresses
                .iter()
                .copied()
                .map(Ipv4Addr::from_octets)
                .collect()),
            _ => Err(option_length(code, value)),
        }
    }
}

/// Reports an option whose length cannot be.
pub(super) fn option_length(code: OptionCode, value: &[u8]) -> Junk {
    Junk::OptionLength {
        code: code.into(),
        found: value.len(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use dhcproto::Decodable as _;
    use proptest::prelude::*;

    use super::*;

    pub(in crate::net::dhcp) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    pub(in crate::net::dhcp) const XID: u32 = 0x1234_5678;
    pub(in crate::net::dhcp) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    pub(in crate::net::dhcp) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

    /// A server's message, as dhcproto writes it.
    pub(in crate::net::dhcp) fn answer(
        kind: MessageType,
        xid: u32,
        options: impl IntoIterator<Item = DhcpOption>,
    ) -> Vec<u8> {
        let nobody = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(xid, nobody, ADDRESS, nobody, nobody, &MAC);
        message.set_opcode(dhcproto::v4::Opcode::BootReply);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message
            .opts_mut()
            .insert(DhcpOption::ServerIdentifier(SERVER));
        for option in options {
            message.opts_mut().insert(option);
        }
        message.to_vec().unwrap()
    }

    fn offer() -> Vec<u8> {
        answer(MessageType::Offer, XID, [])
    }

    fn parse(message: &[u8]) -> Result<Answer, Junk> {
        Answer::parse(message, XID, MAC.into())
    }

    /// The header of `offer()` with other bytes for options.
    fn with_options(options: &[u8]) -> Vec<u8> {
        [&offer()[..HEADER], options].concat()
    }

    #[test]
    fn an_offer_is_read() {
        let answer = parse(&offer()).unwrap();
        assert_eq!(answer.kind, AnswerKind::Offer);
        assert_eq!(answer.server, SERVER);
        assert_eq!(answer.address, ADDRESS);
    }

    #[test]
    fn a_question_says_who_asks_and_what_for() {
        let sender = Sender {
            identity: MAC.into(),
            xid: XID,
            secs: 7,
        };
        let bytes = sender.discover();
        assert!(bytes.len() >= SHORTEST);
        let message = Message::from_bytes(&bytes).unwrap();
        assert_eq!(message.opts().msg_type(), Some(MessageType::Discover));
        assert_eq!((message.xid(), message.secs()), (XID, 7));
        assert_eq!(message.chaddr(), MAC);
        assert!(message.flags().broadcast());
        let options = Options::parse(&bytes[HEADER..], &[], &[]).unwrap();
        assert_eq!(
            options.get(OptionCode::ClientIdentifier),
            Some(&[1, 0x52, 0x54, 0, 0x12, 0x34, 0x56][..])
        );
        assert_eq!(
            options.get(OptionCode::ClassIdentifier),
            Some(&b"sealboot"[..])
        );
        assert_eq!(
            options.get(OptionCode::ParameterRequestList),
            Some(&[121, 1, 3, 6, 15, 26, 42, 51, 54, 58, 59, 119][..])
        );
        assert_eq!(
            options.get(OptionCode::MaxMessageSize),
            Some(&1500_u16.to_be_bytes()[..])
        );
        assert_eq!(options.get(OptionCode::RequestedIpAddress), None);
        assert_eq!(options.get(OptionCode::ServerIdentifier), None);

        let bytes = sender.request(ADDRESS, SERVER);
        let options = Options::parse(&bytes[HEADER..], &[], &[]).unwrap();
        assert_eq!(options.fixed(OptionCode::MessageType), Ok(Some([3])));
        assert_eq!(
            options.fixed(OptionCode::RequestedIpAddress),
            Ok(Some(ADDRESS.octets()))
        );
        assert_eq!(
            options.fixed(OptionCode::ServerIdentifier),
            Ok(Some(SERVER.octets()))
        );
    }

    #[test]
    fn what_is_for_somebody_else_is_junk() {
        for (at, byte, expected) in [
            (0, 1, Junk::NotAnAnswer),
            (1, 32, Junk::NotAnAnswer),
            (2, 8, Junk::NotAnAnswer),
            (2, 255, Junk::NotAnAnswer),
            (236, 0, Junk::NotAnAnswer),
            (7, 0, Junk::OtherTransaction),
            (33, 0, Junk::OtherMachine),
        ] {
            let mut message = offer();
            message[at] = byte;
            assert_eq!(parse(&message), Err(expected), "byte {at}");
        }
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_no_offer() {
        let whole = offer();
        let end = whole.iter().rposition(|byte| *byte == 255).unwrap();
        for length in 0..end {
            let error = parse(&whole[..length]).expect_err("cut");
            if length < HEADER {
                assert_eq!(error, Junk::Short, "{length}");
            }
        }
    }

    #[test]
    fn options_that_cannot_be_are_junk() {
        const TYPE: [u8; 3] = [53, 1, 2];
        const SERVER_ID: [u8; 6] = [54, 4, 10, 0, 2, 2];
        for (options, expected) in [
            (vec![], Junk::OtherType),
            (vec![255], Junk::OtherType),
            (vec![53], Junk::CutOption(53)),
            (vec![53, 1], Junk::CutOption(53)),
            (vec![53, 2, 2, 2], Junk::OptionLength { code: 53, found: 2 }),
            (vec![53, 1, 1], Junk::OtherType),
            (vec![53, 1, 9], Junk::OtherType),
            (TYPE.to_vec(), Junk::NoServer),
            ([&TYPE[..], &[54, 4, 0, 0, 0, 0]].concat(), Junk::NoServer),
            (
                [&TYPE[..], &[54, 0]].concat(),
                Junk::OptionLength { code: 54, found: 0 },
            ),
            (
                [&TYPE[..], &SERVER_ID, &[6, 255, 1, 2]].concat(),
                Junk::CutOption(6),
            ),
            // The type given twice is one type of two bytes.
            (
                [&TYPE[..], &SERVER_ID, &TYPE].concat(),
                Junk::OptionLength { code: 53, found: 2 },
            ),
            (
                [&TYPE[..], &SERVER_ID, &[52, 2, 1, 1]].concat(),
                Junk::OptionLength { code: 52, found: 2 },
            ),
        ] {
            assert_eq!(parse(&with_options(&options)), Err(expected), "{options:?}");
        }
    }

    #[test]
    fn an_option_in_two_parts_is_one_and_the_file_and_sname_fields_may_hold_more() {
        let mut message = with_options(&[
            53, 1, 2, 6, 4, 10, 0, 2, 3, 54, 4, 10, 0, 2, 2, 52, 1, 3, 255,
        ]);
        message[108..115].copy_from_slice(&[6, 4, 10, 0, 2, 4, 255]);
        message[44..47].copy_from_slice(&[15, 1, b'x']);
        message[47] = 255;
        let options = parse(&message).unwrap().options;
        assert_eq!(
            options.addresses(OptionCode::DomainNameServer),
            Ok(vec![Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::new(10, 0, 2, 4)])
        );
        assert_eq!(options.get(OptionCode::DomainName), Some(&b"x"[..]));
    }

    #[test]
    fn options_in_the_file_field_are_bounded_by_it() {
        let mut message = with_options(&[53, 1, 2, 54, 4, 10, 0, 2, 2, 52, 1, 1, 255]);
        message[108..236].fill(0);
        message[234..236].copy_from_slice(&[6, 4]);
        assert_eq!(parse(&message), Err(Junk::CutOption(6)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(message in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let _ = parse(&message);
        }

        #[test]
        fn any_options_are_taken_without_panic(options in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&with_options(&options));
        }
    }
}
