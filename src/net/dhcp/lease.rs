//! What a server lends this machine, judged before it is believed.
//!
//! Anyone on the link can answer, so an answer is judged by whether it can work, not by whom it is
//! from: what runs afterwards is decided by TLS and by signatures alone.

use std::fmt;
use std::net::Ipv4Addr;

use dhcproto::v4::OptionCode;

use super::message::{Answer, Junk, option_length};
use crate::format::host_config::Ipv4Prefix;

/// Name servers that are used, the rest of the list is not. Each costs a lookup seconds where it is
/// silent; resolv.conf(5) stops at three as well.
const NAMESERVERS_MAX: usize = 3;
/// Routes that are set. A machine that boots has one or two; the kernel would take any number.
const ROUTES_MAX: usize = 32;

/// An address and what belongs to it, on loan from a DHCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    address: Ipv4Prefix,
    server: Ipv4Addr,
    seconds: u32,
    routes: Vec<Route>,
    nameservers: Vec<Ipv4Addr>,
    domain: Option<String>,
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
    Router {
        router: Ipv4Addr,
        address: Ipv4Prefix,
    },
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
        nameservers.retain(|server| is_host(*server));
        nameservers.truncate(NAMESERVERS_MAX);
        let domain = options.get(OptionCode::DomainName).and_then(domain);
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
            domain,
        })
    }

    /// The machine's address with its prefix length.
    #[must_use]
    pub const fn address(&self) -> Ipv4Prefix {
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

    /// The domain that completes a name without a dot.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }
}

/// The address with the prefix length that `netmask` stands for.
fn prefix(address: Ipv4Addr, netmask: Ipv4Addr) -> Result<Ipv4Prefix, Unusable> {
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
        .and_then(|len| Ipv4Prefix::new(address, len))
        .filter(|_| !ends && is_host(address))
        .ok_or(Unusable::Address(address))
}

/// Whether a machine can have this address and be reached by it over a link.
fn is_host(address: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this network", 240.0.0.0/4 is reserved and ends in the broadcast address.
    let [first, ..] = address.octets();
    first != 0 && first < 240 && !address.is_loopback() && !address.is_multicast()
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
fn usable(offered: &[Route], address: Ipv4Prefix) -> Result<Vec<Route>, Unusable> {
    let (mut routes, by_router): (Vec<Route>, Vec<Route>) =
        offered.iter().partition(|route| route.router.is_none());
    let on_link = routes.clone();
    for route in by_router {
        let router = route.router.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let reachable = address.contains(router)
            || address.prefix_len() == 32
            || on_link.iter().any(|route| route.covers(router));
        if reachable && is_host(router) && router != address.address() {
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

/// A domain name of letters, digits, hyphens and dots; anything else is as good as none.
fn domain(value: &[u8]) -> Option<String> {
    // Some servers count a terminating NUL in.
    let name = std::str::from_utf8(value)
        .ok()?
        .trim_end_matches(['\0', '.']);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    (name.len() <= 253 && name.split('.').all(label)).then(|| name.to_ascii_lowercase())
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
        Lease::judge(&Answer::parse(&message, XID, MAC).expect("an answer"))
    }

    fn judged_without(code: OptionCode) -> Result<Lease, Unusable> {
        let options = [mask(0xffff_ff00), DhcpOption::AddressLeaseTime(86400)]
            .into_iter()
            .filter(|option| OptionCode::from(option) != code);
        let message = answer(MessageType::Offer, XID, options);
        Lease::judge(&Answer::parse(&message, XID, MAC).expect("an answer"))
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
        assert_eq!(lease.domain(), Some("lab.example"));
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
                Lease::judge(&Answer::parse(&message, XID, MAC).unwrap()),
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
            let answer = Answer::parse(&message, XID, MAC).unwrap();
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
        assert_eq!(lease.domain(), Some("lab.example"));
        for domain in [&b""[..], b"a..b", b"a b", b"\xff\xfe", &[b'a'; 64], b"x\n"] {
            assert_eq!(judged([raw(15, domain)]).unwrap().domain(), None);
        }
    }
}
