//! How a machine reaches a network: the one typed configuration, whatever it was written in.
//!
//! ```text
//!  JSON, `network` of a host config ──▶ json ───┐
//!                                               ├──▶ Network::checked ──▶ Network ──▶ net::connect
//!  dracut.cmdline(7): ip=, bond=, … ──▶ dracut ─┘
//! ```
//!
//! A [`Network`] names links that are to be made ([`Bond`], [`Vlan`]) and one or more [`Interface`]s: ways to
//! get addresses, all tried at once, of which the first that reaches a mirror is used. Both notations make the
//! same types, and one check covers both. `docs/host-config.md` describes every field in both.

mod bond;
mod dracut;
mod json;
mod names;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::Invalid;
use super::limits::LIMITS;

pub use bond::{
    AdSelect, Bond, BondMode, FailOverMac, LacpRate, Monitor, PrimaryReselect, XmitHashPolicy,
};
pub(super) use dracut::{Overrides, is_setting};
pub use names::{
    ClientId, DomainName, InterfaceName, LinkRef, MacAddress, Mtu, VendorClass, VlanId,
};

/// How a machine reaches a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Ways to get addresses, at least one: all are tried at once, and the first that reaches a mirror wins.
    pub interfaces: Vec<Interface>,
    /// Links of several ports that are to be made.
    pub bonds: Vec<Bond>,
    /// Tagged links that are to be made.
    pub vlans: Vec<Vlan>,
    /// Routes beside those that addresses, leases and routers bring.
    pub routes: Vec<Route>,
    /// Name servers to ask instead of those that the network names.
    pub nameservers: Vec<IpAddr>,
    /// Domains that complete a name without a dot, instead of those that the network names.
    pub search: Vec<DomainName>,
    /// What DHCP servers are told.
    pub dhcp: DhcpOptions,
}

/// A link, and how it gets its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Which link; without it, each that works: every Ethernet card that is no port of a bond, and what is made.
    pub link: Option<LinkRef>,
    /// How it gets IPv4 addresses.
    pub ipv4: Ipv4Method,
    /// How it gets IPv6 addresses.
    pub ipv6: Ipv6Method,
    /// The largest packet, in bytes; without it, the driver's, or what DHCP or a router says.
    pub mtu: Option<Mtu>,
}

/// How a link gets IPv4 addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ipv4Method {
    /// It gets none.
    None,
    /// By DHCP (RFC 2131).
    Dhcp,
    /// They are given.
    Static {
        /// At least one.
        addresses: Vec<Ipv4Net>,
        /// The default router, where mirrors or name servers are off the link.
        gateway: Option<Ipv4Addr>,
    },
}

/// How a link gets IPv6 addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ipv6Method {
    /// It gets none but the link-local one.
    None,
    /// From router advertisements (RFC 4862), name servers included (RFC 8106), and from DHCPv6 where a router
    /// says that there is one.
    Auto,
    /// From DHCPv6 (RFC 9915), whatever routers say of it; routes are a router's all the same.
    Dhcp,
    /// They are given.
    Static {
        /// At least one.
        addresses: Vec<Ipv6Net>,
        /// The default router.
        gateway: Option<Ipv6Addr>,
    },
}

/// A tagged link over another one (IEEE 802.1Q).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vlan {
    /// Its name.
    pub name: InterfaceName,
    /// The link that carries it: a card, or a bond.
    pub link: LinkRef,
    /// The tag.
    pub id: VlanId,
}

/// A route that is set beside those that come by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub to: IpNet,
    /// The router; without one, the network's machines are on the link itself.
    pub via: Option<IpAddr>,
    /// The link; without it, the one that is connected.
    pub interface: Option<LinkRef>,
}

/// What DHCP servers are told beside what every client tells them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DhcpOptions {
    /// Option 61 (not of DHCPv6); without it, the hardware type and the link's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// Option 12 (DHCPv6: 39).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<DomainName>,
    /// Option 60 (DHCPv6: 16); without it, `sealboot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_class: Option<VendorClass>,
}

impl Network {
    /// One way to get addresses, on any link, and nothing else.
    #[must_use]
    pub fn any_link(ipv4: Ipv4Method, ipv6: Ipv6Method) -> Self {
        Self {
            interfaces: vec![Interface {
                link: None,
                ipv4,
                ipv6,
                mtu: None,
            }],
            bonds: Vec::new(),
            vlans: Vec::new(),
            routes: Vec::new(),
            nameservers: Vec::new(),
            search: Vec::new(),
            dhcp: DhcpOptions::default(),
        }
    }

    /// DHCPv4 on any link.
    #[must_use]
    pub fn by_dhcp() -> Self {
        Self::any_link(Ipv4Method::Dhcp, Ipv6Method::None)
    }

    /// The same, if it can work: what no notation can rule out by itself.
    fn checked(self) -> Result<Self, Invalid> {
        self.check_lengths()?;
        self.check_made_links()?;
        for (at, interface) in self.interfaces.iter().enumerate() {
            interface.check()?;
            let same = |other: &Interface| other.link == interface.link;
            if self.interfaces[..at].iter().any(same) {
                return Err(Invalid::new(
                    "network.interface",
                    interface.link_or_any(),
                    "named by one interface alone",
                ));
            }
        }
        for route in &self.routes {
            route.check()?;
        }
        Ok(self)
    }

    fn check_lengths(&self) -> Result<(), Invalid> {
        let lengths = [
            ("network.interfaces", self.interfaces.len()),
            ("network.bonds", self.bonds.len()),
            ("network.vlans", self.vlans.len()),
            ("network.routes", self.routes.len()),
            ("network.nameservers", self.nameservers.len()),
            ("network.search", self.search.len()),
        ];
        for (field, found) in lengths {
            if found > LIMITS.network_items {
                return Err(Invalid::new(field, found, "a list of at most 16"));
            }
        }
        if self.interfaces.is_empty() {
            return Err(Invalid::new(
                "network.interfaces",
                0,
                "a list of at least one",
            ));
        }
        Ok(())
    }

    /// Names are given once, ports have one bond, and what is carried is not made of itself.
    fn check_made_links(&self) -> Result<(), Invalid> {
        let mut names = BTreeSet::new();
        let made = self.bonds.iter().map(|bond| &bond.name);
        for name in made.chain(self.vlans.iter().map(|vlan| &vlan.name)) {
            if !names.insert(name) {
                return Err(Invalid::new(
                    "network.vlans.name",
                    name,
                    "the name of one link alone",
                ));
            }
        }
        let mut ports = BTreeSet::new();
        for bond in &self.bonds {
            for port in &bond.ports {
                if matches!(port, LinkRef::Name(name) if names.contains(name)) {
                    return Err(Invalid::new("network.bonds.ports", port, "a network card"));
                }
                if !ports.insert(port) {
                    return Err(Invalid::new(
                        "network.bonds.ports",
                        port,
                        "a port of one bond, once",
                    ));
                }
            }
        }
        let is_bond = |name: &InterfaceName| self.bonds.iter().any(|bond| bond.name == *name);
        for vlan in &self.vlans {
            let over_made =
                matches!(&vlan.link, LinkRef::Name(name) if names.contains(name) && !is_bond(name));
            if over_made {
                return Err(Invalid::new(
                    "network.vlans.link",
                    &vlan.link,
                    "a network card or a bond",
                ));
            }
            if ports.contains(&vlan.link) {
                return Err(Invalid::new(
                    "network.vlans.link",
                    &vlan.link,
                    "a link by itself: it is a port of a bond",
                ));
            }
        }
        for link in self.interfaces.iter().filter_map(|i| i.link.as_ref()) {
            if ports.contains(link) {
                return Err(Invalid::new(
                    "network.interface",
                    link,
                    "a link by itself: it is a port of a bond",
                ));
            }
        }
        Ok(())
    }
}

impl Interface {
    fn link_or_any(&self) -> String {
        (self.link.as_ref()).map_or_else(|| "any link".to_owned(), LinkRef::to_string)
    }

    fn check(&self) -> Result<(), Invalid> {
        if (&self.ipv4, &self.ipv6) == (&Ipv4Method::None, &Ipv6Method::None) {
            return Err(Invalid::new(
                "network.mode",
                self.link_or_any(),
                "given a way to get addresses",
            ));
        }
        if let (Some(mtu), true) = (self.mtu, self.ipv6 != Ipv6Method::None)
            && mtu.bytes() < 1280
        {
            // RFC 8200, section 5.
            return Err(Invalid::new(
                "network.mtu",
                mtu,
                "at least 1280 bytes, which IPv6 needs",
            ));
        }
        if let Ipv4Method::Static { addresses, gateway } = &self.ipv4 {
            for address in addresses {
                if !is_ipv4_host(address.addr()) || address.prefix_len() == 0 {
                    return Err(not_a_host(address));
                }
            }
            let on_link = |gateway: &Ipv4Addr| {
                let mut addresses = addresses.iter();
                addresses.any(|own| own.contains(gateway) || own.prefix_len() == 32)
            };
            if let Some(gateway) = gateway
                && !(is_ipv4_host(*gateway) && on_link(gateway))
            {
                return Err(off_link(gateway));
            }
        }
        if let Ipv6Method::Static { addresses, gateway } = &self.ipv6 {
            for address in addresses {
                if !is_ipv6_host(address.addr()) || address.prefix_len() == 0 {
                    return Err(not_a_host(address));
                }
            }
            let on_link = |gateway: &Ipv6Addr| {
                let mut addresses = addresses.iter();
                gateway.is_unicast_link_local()
                    || addresses.any(|own| own.contains(gateway) || own.prefix_len() == 128)
            };
            if let Some(gateway) = gateway
                && !(is_ipv6_host(*gateway) && on_link(gateway))
            {
                return Err(off_link(gateway));
            }
        }
        Ok(())
    }
}

fn not_a_host(address: impl fmt::Display) -> Invalid {
    Invalid::new(
        "network.addresses",
        address,
        "a host's address with a prefix length, such as 192.0.2.10/24",
    )
}

fn off_link(gateway: impl fmt::Display) -> Invalid {
    Invalid::new(
        "network.gateways",
        gateway,
        "inside the prefix of one of network.addresses",
    )
}

impl Route {
    fn check(&self) -> Result<(), Invalid> {
        if let Some(via) = self.via {
            let same_family = via.is_ipv4() == self.to.addr().is_ipv4();
            let host = match via {
                IpAddr::V4(via) => is_ipv4_host(via),
                IpAddr::V6(via) => is_ipv6_host(via),
            };
            if !same_family || !host {
                return Err(Invalid::new(
                    "network.routes.via",
                    via,
                    "a router's address of the family of `to`",
                ));
            }
        } else if self.interface.is_none() {
            return Err(Invalid::new(
                "network.routes",
                self.to,
                "given a router or an interface",
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(interface) = &self.interface {
            write!(f, " on {interface}")?;
        }
        Ok(())
    }
}

/// Whether a machine can have this address and be reached by it over a link.
pub fn is_ipv4_host(address: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this network", 240.0.0.0/4 is reserved and ends in the broadcast address.
    let [first, ..] = address.octets();
    first != 0 && first < 240 && !address.is_loopback() && !address.is_multicast()
}

/// The same of IPv6; link-local addresses included.
pub fn is_ipv6_host(address: Ipv6Addr) -> bool {
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && address.to_ipv4_mapped().is_none()
}
