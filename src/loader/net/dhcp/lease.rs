//! What a server lends this machine, judged before it is believed.
//!
//! Anyone on the link can answer, so an answer is judged by whether it can work, not by whom it is
//! from: what runs afterwards is decided by TLS and by signatures alone.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::OptionCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::serialize::binary::{BinDecodable as _, BinDecoder};
use ipnet::Ipv4Net;

use super::message::{Answer, Junk, Options, option_length};
use sealboot_core::format::network::{DomainName, Mtu, is_ipv4_host};

/// Name servers that are used, the rest of the list is not. Each costs a lookup seconds where it is
/// silent; resolv.conf(5) stops at three as well.
const NAMESERVERS_MAX: usize = 3;
/// Domains that are tried for a name without a dot; resolv.conf(5) takes six as well.
const SEARCH_MAX: usize = 6;
/// Time servers that are asked. Three tell a wrong one from two that agree, one more may be down.
const NTP_SERVERS_MAX: usize = 4;
/// Routes that are set. A machine that boots has one or two; the kernel would take any number.
const ROUTES_MAX: usize = 32;

/// An address and what belongs to it, on loan from a DHCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    address: Ipv4Net,
    server: Ipv4Addr,
    seconds: u32,
    routes: Vec<Route>,
    nameservers: Vec<Ipv4Addr>,
    search: Vec<DomainName>,
    ntp: Vec<Ipv4Addr>,
    mtu: Option<Mtu>,
    renew_after: Duration,
    rebind_after: Duration,
}

/// A way to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network's address.
    pub destination: Ipv4Addr,
    /// The length of its prefix in bits; 0 for the default route.
    pub prefix_len: u8,
    /// The router, or `None` for a network whose machines are on the link itself.
    pub router: Option<Ipv4Addr>,
}

impl Route {
    /// The way to everywhere else.
    #[must_use]
    pub const fn default_by(router: Ipv4Addr) -> Self {
        Self {
            destination: Ipv4Addr::UNSPECIFIED,
            prefix_len: 0,
            router: Some(router),
        }
    }

    fn covers(&self, address: Ipv4Addr) -> bool {
        (self.destination.to_bits() ^ address.to_bits()).leading_zeros()
            >= u32::from(self.prefix_len)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.destination, self.prefix_len)?;
        match self.router {
            Some(router) => write!(f, " via {router}"),
            None => write!(f, " on the link"),
        }
    }
}

/// Why settings in an offer or acknowledgement cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("{0}")]
    Malformed(#[from] Junk),
    #[error("it has no netmask")]
    NoNetmask,
    #[error("its netmask {0} is not contiguous, or of no network")]
    Netmask(Ipv4Addr),
    #[error("its address {0} is none that a machine can have")]
    Address(Ipv4Addr),
    #[error("it has no lease time")]
    NoLeaseTime,
    #[error("its lease time is 0")]
    ZeroLeaseTime,
    #[error("its router {router} cannot be reached from {address}")]
    Router { router: Ipv4Addr, address: Ipv4Net },
}

impl Lease {
    /// Judges the settings of an offer or an acknowledgement.
    ///
    /// A default router must be reachable: inside the prefix; or on the link by a classless route
    /// without router (option 121); or anywhere where the prefix has 32 bits, as in clouds, since
    /// then no router could ever be inside. With anything else the machine would have an address and
    /// reach nothing; the offer is refused, so that another server's may win and the reason is seen.
    pub(super) fn judge(answer: &Answer) -> Result<Self, Unusable> {
        let options = &answer.options;
        let address = prefix(
            answer.address,
            options
                .fixed(OptionCode::SubnetMask)?
                .map(Ipv4Addr::from_octets)
                .ok_or(Unusable::NoNetmask)?,
        )?;
        let seconds = options
            .fixed(OptionCode::AddressLeaseTime)?
            .map(u32::from_be_bytes)
            .ok_or(Unusable::NoLeaseTime)?;
        if seconds == 0 {
            return Err(Unusable::ZeroLeaseTime);
        }
        let mut nameservers = options.addresses(OptionCode::DomainNameServer)?;
        nameservers.retain(|server| is_ipv4_host(*server));
        nameservers.truncate(NAMESERVERS_MAX);
        let search = match options.get(OptionCode::DomainSearch) {
            Some(list) => search(list),
            None => Vec::new(),
        };
        let domain = || options.get(OptionCode::DomainName).and_then(domain);
        let search = if search.is_empty() {
            domain().into_iter().collect()
        } else {
            search
        };
        let mut ntp = options.addresses(OptionCode::NtpServers)?;
        ntp.retain(|server| is_ipv4_host(*server));
        ntp.truncate(NTP_SERVERS_MAX);
        let mtu = options.fixed(OptionCode::InterfaceMtu)?;
        let (renew_after, rebind_after) = times(options, seconds)?;
        // RFC 3442: a client that gets classless routes must ignore the router option.
        let offered = match options.get(OptionCode::ClasslessStaticRoute) {
            Some(value) => classless_routes(value)?,
            None => options
                .addresses(OptionCode::Router)?
                .first()
                .map(|router| Route::default_by(*router))
                .into_iter()
                .collect(),
        };
        Ok(Self {
            routes: usable(&offered, address)?,
            address,
            server: answer.server,
            seconds,
            nameservers,
            search,
            ntp,
            // Below what a host must take it is no MTU, and the driver's own is as good.
            mtu: mtu.and_then(|mtu| u64::from(u16::from_be_bytes(mtu)).try_into().ok()),
            renew_after,
            rebind_after,
        })
    }

    /// The machine's address with its prefix length.
    #[must_use]
    pub const fn address(&self) -> Ipv4Net {
        self.address
    }

    /// The server, by its identifier.
    #[must_use]
    pub const fn server(&self) -> Ipv4Addr {
        self.server
    }

    /// How long the address is lent, in seconds; [`u32::MAX`] is for ever (RFC 2131, section 3.3).
    #[must_use]
    pub const fn seconds(&self) -> u32 {
        self.seconds
    }

    /// The routes to set, those to networks on the link first.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The router of the default route.
    #[must_use]
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.routes
            .iter()
            .find(|route| route.prefix_len == 0)
            .and_then(|route| route.router)
    }

    /// The name servers, in the server's order of preference.
    #[must_use]
    pub fn nameservers(&self) -> &[Ipv4Addr] {
        &self.nameservers
    }

    /// The domains that complete a name without a dot (RFC 3397; else the one of RFC 2132), in order.
    #[must_use]
    pub fn search(&self) -> &[DomainName] {
        &self.search
    }

    /// Time servers, in the server's order of preference.
    #[must_use]
    pub fn ntp(&self) -> &[Ipv4Addr] {
        &self.ntp
    }

    /// The largest packet of this network.
    #[must_use]
    pub const fn mtu(&self) -> Option<Mtu> {
        self.mtu
    }

    /// When the server is asked to renew the lease, from its beginning (T1).
    #[must_use]
    pub const fn renew_after(&self) -> Duration {
        self.renew_after
    }

    /// When every server is asked (T2).
    #[must_use]
    pub const fn rebind_after(&self) -> Duration {
        self.rebind_after
    }

    /// When the address is no longer lent.
    #[must_use]
    pub fn ends_after(&self) -> Option<Duration> {
        (self.seconds != u32::MAX).then(|| Duration::from_secs(self.seconds.into()))
    }
}

/// The address with the prefix length that `netmask` stands for.
fn prefix(address: Ipv4Addr, netmask: Ipv4Addr) -> Result<Ipv4Net, Unusable> {
    let mask = netmask.to_bits();
    let len = mask.leading_ones();
    if len != mask.count_ones() || len == 0 {
        return Err(Unusable::Netmask(netmask));
    }
    // RFC 3021: of two addresses or one, all are hosts'; else the first and the last are not.
    let host = address.to_bits() & !mask;
    let ends = len < 31 && (host == 0 || host == !mask);
    u8::try_from(len)
        .ok()
        .and_then(|len| Ipv4Net::new(address, len).ok())
        .filter(|_| !ends && is_ipv4_host(address))
        .ok_or(Unusable::Address(address))
}

/// Decodes option 121 (RFC 3442): prefix length, the destination's significant bytes, router.
fn classless_routes(value: &[u8]) -> Result<Vec<Route>, Unusable> {
    let malformed = || Unusable::Malformed(option_length(OptionCode::ClasslessStaticRoute, value));
    let mut routes = Vec::new();
    let mut rest = value;
    while let [prefix_len, tail @ ..] = rest {
        let significant = usize::from(prefix_len.div_ceil(8));
        if *prefix_len > 32 {
            return Err(malformed());
        }
        let (network, tail) = tail.split_at_checked(significant).ok_or_else(malformed)?;
        let (router, tail) = tail.split_first_chunk::<4>().ok_or_else(malformed)?;
        let mut destination = [0; 4];
        destination[..significant].copy_from_slice(network);
        let mask = u32::MAX
            .checked_shl(32 - u32::from(*prefix_len))
            .unwrap_or(0);
        let router = Ipv4Addr::from_octets(*router);
        routes.push(Route {
            destination: Ipv4Addr::from_bits(u32::from_be_bytes(destination) & mask),
            prefix_len: *prefix_len,
            router: (!router.is_unspecified()).then_some(router),
        });
        rest = tail;
    }
    if routes.is_empty() {
        return Err(malformed());
    }
    Ok(routes)
}

/// Those routes that can work, on-link ones first, since the others' routers may need them.
fn usable(offered: &[Route], address: Ipv4Net) -> Result<Vec<Route>, Unusable> {
    let (mut routes, by_router): (Vec<Route>, Vec<Route>) =
        offered.iter().partition(|route| route.router.is_none());
    let on_link = routes.clone();
    for route in by_router {
        let router = route.router.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let reachable = address.contains(&router)
            || address.prefix_len() == 32
            || on_link.iter().any(|route| route.covers(router));
        if reachable && is_ipv4_host(router) && router != address.addr() {
            routes.push(route);
        } else if route.prefix_len == 0 {
            return Err(Unusable::Router { router, address });
        } else {
            tracing::debug!(%router, destination = %route.destination, "a route by an unreachable router is left out");
        }
    }
    routes.truncate(ROUTES_MAX);
    Ok(routes)
}

/// T1 and T2: the server's, or else half and seven eighths of the lease (RFC 2131, section 4.4.5).
fn times(options: &Options, seconds: u32) -> Result<(Duration, Duration), Junk> {
    let lease = Duration::from_secs(seconds.into());
    let told = |code| -> Result<Option<Duration>, Junk> {
        let seconds = options.fixed(code)?.map(u32::from_be_bytes);
        Ok(seconds.map(|seconds| Duration::from_secs(seconds.into())))
    };
    let (renew, rebind) = (told(OptionCode::Renewal)?, told(OptionCode::Rebinding)?);
    match (renew, rebind) {
        (Some(renew), Some(rebind)) if renew < rebind && rebind < lease => Ok((renew, rebind)),
        _ => Ok((lease / 2, lease / 8 * 7)),
    }
}

/// The names of option 119 that a machine can have, compressed as those of DNS (RFC 3397).
fn search(value: &[u8]) -> Vec<DomainName> {
    let mut decoder = BinDecoder::new(value);
    let mut names = Vec::new();
    while names.len() < SEARCH_MAX && !decoder.is_empty() {
        // Where a name ends is not known once one is broken.
        let Ok(name) = Name::read(&mut decoder) else {
            break;
        };
        names.extend(name.to_ascii().parse::<DomainName>().ok());
    }
    names
}

/// A domain name of letters, digits, hyphens and dots; anything else is as good as none.
fn domain(value: &[u8]) -> Option<DomainName> {
    // Some servers count a terminating NUL in.
    let name = str::from_utf8(value).ok()?.trim_end_matches(['\0', '.']);
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::{DhcpOption, MessageType};

    use super::super::message::tests::{ADDRESS, MAC, SERVER, XID, answer};
    use super::*;

    fn mask(bits: u32) -> DhcpOption {
        DhcpOption::SubnetMask(Ipv4Addr::from_bits(bits))
    }

    fn raw(code: u8, value: &[u8]) -> DhcpOption {
        DhcpOption::Unknown(dhcproto::v4::UnknownOption::new(
            OptionCode::from(code),
            value.to_vec(),
        ))
    }

    /// Judges an offer of 10.0.2.15/24 for a day in which `options` stand over the usual ones.
    fn judged(options: impl IntoIterator<Item = DhcpOption>) -> Result<Lease, Unusable> {
        let usual = [mask(0xffff_ff00), DhcpOption::AddressLeaseTime(86400)];
        let message = answer(MessageType::Offer, XID, usual.into_iter().chain(options));
        Lease::judge(&Answer::parse(&message, XID, MAC.into()).expect("an answer"))
    }

    fn judged_without(code: OptionCode) -> Result<Lease, Unusable> {
        let options = [mask(0xffff_ff00), DhcpOption::AddressLeaseTime(86400)]
            .into_iter()
            .filter(|option| OptionCode::from(option) != code);
        let message = answer(MessageType::Offer, XID, options);
        Lease::judge(&Answer::parse(&message, XID, MAC.into()).expect("an answer"))
    }

    fn domains(lease: &Lease) -> Vec<&str> {
        lease.search().iter().map(DomainName::as_str).collect()
    }

    #[test]
    fn what_else_a_server_tells_is_taken_where_it_can_be() {
        let compressed = b"\x03lab\x07example\0\x05other\xc0\x04\x04a__b\0\x01x\0";
        let lease = judged([
            raw(119, compressed),
            DhcpOption::DomainName("unused.example".into()),
            DhcpOption::NtpServers(vec![
                SERVER,
                Ipv4Addr::BROADCAST,
                Ipv4Addr::new(192, 0, 2, 123),
            ]),
            DhcpOption::InterfaceMtu(1400),
            DhcpOption::Renewal(100),
            DhcpOption::Rebinding(200),
        ])
        .unwrap();
        assert_eq!(domains(&lease), ["lab.example", "other.example", "x"]);
        assert_eq!(lease.ntp(), [SERVER, Ipv4Addr::new(192, 0, 2, 123)]);
        assert_eq!(lease.mtu().map(|mtu| mtu.bytes()), Some(1400));
        let (t1, t2) = (Duration::from_secs(100), Duration::from_secs(200));
        assert_eq!((lease.renew_after(), lease.rebind_after()), (t1, t2));

        // A name that goes round in circles ends the list; a small MTU and times out of order are as good as none.
        let lease = judged([
            raw(119, b"\x01a\0\xc0\x03"),
            DhcpOption::InterfaceMtu(68),
            DhcpOption::Renewal(200),
            DhcpOption::Rebinding(100),
        ])
        .unwrap();
        assert_eq!(domains(&lease), ["a"]);
        assert_eq!(lease.mtu(), None);
        assert_eq!(lease.renew_after(), Duration::from_secs(43_200));
        assert_eq!(lease.rebind_after(), Duration::from_secs(75_600));
    }

    #[test]
    fn a_usual_lease_is_taken() {
        let lease = judged([
            DhcpOption::Router(vec![SERVER, Ipv4Addr::new(10, 0, 2, 3)]),
            DhcpOption::DomainNameServer(vec![Ipv4Addr::new(10, 0, 2, 3)]),
            DhcpOption::DomainName("Lab.Example.".into()),
        ])
        .unwrap();
        assert_eq!(lease.address().to_string(), "10.0.2.15/24");
        assert_eq!(lease.gateway(), Some(SERVER));
        assert_eq!(lease.routes(), [Route::default_by(SERVER)]);
        assert_eq!(lease.nameservers(), [Ipv4Addr::new(10, 0, 2, 3)]);
        assert_eq!(domains(&lease), ["lab.example"]);
        assert_eq!((lease.server(), lease.seconds()), (SERVER, 86400));
    }

    #[test]
    fn a_lease_without_router_or_name_servers_is_taken() {
        let lease = judged([]).unwrap();
        assert_eq!(lease.gateway(), None);
        assert!(lease.nameservers().is_empty());
    }

    #[test]
    fn an_infinite_lease_is_taken() {
        let lease = judged([DhcpOption::AddressLeaseTime(u32::MAX)]).unwrap();
        assert_eq!(lease.seconds(), u32::MAX);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let elsewhere = Ipv4Addr::new(192, 168, 1, 1);
        let address = "10.0.2.15/24".parse().unwrap();
        let unreachable = |router| Unusable::Router { router, address };
        for (options, expected) in [
            (
                vec![DhcpOption::AddressLeaseTime(0)],
                Unusable::ZeroLeaseTime,
            ),
            (
                vec![mask(0xff00_ff00)],
                Unusable::Netmask(Ipv4Addr::new(255, 0, 255, 0)),
            ),
            (
                vec![mask(0x00ff_ffff)],
                Unusable::Netmask(Ipv4Addr::new(0, 255, 255, 255)),
            ),
            (vec![mask(0)], Unusable::Netmask(Ipv4Addr::UNSPECIFIED)),
            // 10.0.2.15 is the last address of 10.0.2.0/28: its broadcast address.
            (vec![mask(0xffff_fff0)], Unusable::Address(ADDRESS)),
            (
                vec![DhcpOption::Router(vec![elsewhere])],
                unreachable(elsewhere),
            ),
            (
                vec![DhcpOption::Router(vec![ADDRESS])],
                unreachable(ADDRESS),
            ),
            (
                vec![DhcpOption::Router(vec![Ipv4Addr::BROADCAST])],
                unreachable(Ipv4Addr::BROADCAST),
            ),
            // A default route by a router that nothing makes reachable.
            (vec![raw(121, &[0, 192, 168, 1, 1])], unreachable(elsewhere)),
        ] {
            assert_eq!(judged(options.clone()), Err(expected), "{options:?}");
        }
        assert_eq!(
            judged_without(OptionCode::SubnetMask),
            Err(Unusable::NoNetmask)
        );
        assert_eq!(
            judged_without(OptionCode::AddressLeaseTime),
            Err(Unusable::NoLeaseTime)
        );
    }

    #[test]
    fn options_of_a_length_that_cannot_be_are_refused() {
        for (code, value) in [
            (1, &[255, 255, 255][..]),
            (3, &[]),
            (3, &[10, 0, 2]),
            (6, &[10, 0, 2, 3, 10]),
            (6, &[7; 255]),
            (51, &[0, 1]),
            (121, &[]),
            (121, &[33, 10, 0, 2, 0, 0, 0, 0, 0, 0]),
            (121, &[24, 10, 0]),
            (121, &[24, 10, 0, 3, 10, 0, 2]),
            (121, &[0, 10, 0, 2, 2, 8]),
        ] {
            let others = [mask(0xffff_ff00), DhcpOption::AddressLeaseTime(86400)]
                .into_iter()
                .filter(|option| u8::from(OptionCode::from(option)) != code);
            let mut message = answer(MessageType::Offer, XID, others);
            assert_eq!(message.pop(), Some(255), "the end of the options");
            message.push(code);
            message.push(u8::try_from(value.len()).unwrap());
            message.extend(value);
            assert_eq!(
                Lease::judge(&Answer::parse(&message, XID, MAC.into()).unwrap()),
                Err(Unusable::Malformed(Junk::OptionLength {
                    code,
                    found: value.len()
                })),
                "option {code}: {value:?}"
            );
        }
    }

    #[test]
    fn an_address_that_no_machine_can_have_is_refused() {
        for address in [
            [0, 0, 0, 0],
            [0, 1, 2, 3],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            [240, 0, 0, 1],
            [255, 255, 255, 255],
            [10, 0, 2, 0],
            [10, 0, 2, 255],
        ] {
            let mut message = answer(
                MessageType::Offer,
                XID,
                [mask(0xffff_ff00), DhcpOption::AddressLeaseTime(60)],
            );
            message[16..20].copy_from_slice(&address);
            let answer = Answer::parse(&message, XID, MAC.into()).unwrap();
            assert_eq!(
                Lease::judge(&answer),
                Err(Unusable::Address(address.into()))
            );
        }
    }

    #[test]
    fn classless_routes_win_over_the_router_option() {
        let router = Ipv4Addr::new(10, 0, 2, 3);
        let lease = judged([
            DhcpOption::Router(vec![SERVER]),
            raw(121, &[0, 10, 0, 2, 3, 20, 172, 16, 0x1f, 10, 0, 2, 4]),
        ])
        .unwrap();
        assert_eq!(lease.gateway(), Some(router));
        assert_eq!(
            lease.routes(),
            [
                Route::default_by(router),
                // The bits beyond the prefix are not the destination's.
                Route {
                    destination: Ipv4Addr::new(172, 16, 16, 0),
                    prefix_len: 20,
                    router: Some(Ipv4Addr::new(10, 0, 2, 4)),
                },
            ]
        );
        let lease = judged([
            DhcpOption::Router(vec![SERVER]),
            raw(121, &[8, 172, 10, 0, 2, 4]),
        ])
        .unwrap();
        assert_eq!(lease.gateway(), None, "without a default route among them");
    }

    #[test]
    fn a_router_outside_of_the_prefix_is_taken_where_the_server_says_how_it_is_reached() {
        let router = Ipv4Addr::new(169, 254, 1, 1);
        // On the link by a route of its own, which must be set first.
        let lease = judged([raw(
            121,
            &[0, 169, 254, 1, 1, 32, 169, 254, 1, 1, 0, 0, 0, 0],
        )])
        .unwrap();
        assert_eq!(lease.gateway(), Some(router));
        assert_eq!(lease.routes()[0].router, None);
        // In a prefix that has room for nobody else.
        let lease = judged([mask(u32::MAX), DhcpOption::Router(vec![router])]).unwrap();
        assert_eq!(lease.gateway(), Some(router));
    }

    #[test]
    fn another_route_by_an_unreachable_router_costs_only_itself() {
        let lease = judged([raw(121, &[8, 172, 192, 168, 1, 1, 0, 10, 0, 2, 2])]).unwrap();
        assert_eq!(lease.routes(), [Route::default_by(SERVER)]);
    }

    #[test]
    fn long_lists_are_cut() {
        let servers: Vec<Ipv4Addr> = (1..=60).map(|n| Ipv4Addr::new(10, 0, 2, n)).collect();
        let lease = judged([
            DhcpOption::DomainNameServer(servers.clone()),
            raw(121, &[8, 172, 10, 0, 2, 2].repeat(100)),
        ])
        .unwrap();
        assert_eq!(lease.nameservers(), &servers[..3]);
        assert_eq!(lease.routes().len(), 32);
    }

    #[test]
    fn name_servers_and_domains_that_cannot_be_are_left_out() {
        let lease = judged([
            DhcpOption::DomainNameServer(vec![
                Ipv4Addr::UNSPECIFIED,
                Ipv4Addr::LOCALHOST,
                Ipv4Addr::BROADCAST,
                SERVER,
            ]),
            raw(15, b"lab.example\0"),
        ])
        .unwrap();
        assert_eq!(lease.nameservers(), [SERVER]);
        assert_eq!(domains(&lease), ["lab.example"]);
        for domain in [&b""[..], b"a..b", b"a b", b"\xff\xfe", &[b'a'; 64], b"x\n"] {
            assert_eq!(judged([raw(15, domain)]).unwrap().search(), []);
        }
    }
}
