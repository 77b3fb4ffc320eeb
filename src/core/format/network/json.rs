//! A [`Network`] as it is written in JSON.
//!
//! One interface is written flat, as the fields of `network` itself; several as a list, `interfaces`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::bond::Written as WrittenBond;
use super::names::{DomainName, InterfaceName, LinkRef, Mtu, VlanId};
use super::{Bond, DhcpOptions, Interface, Ipv4Method, Ipv6Method, Network, Route, Vlan};
use crate::format::payload::words;
use crate::format::{Invalid, json};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<LinkRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<Vec<IpNet>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateways: Option<Vec<IpAddr>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<Mtu>,
    #[serde(
        deserialize_with = "json::objects",
        skip_serializing_if = "Option::is_none"
    )]
    interfaces: Option<Vec<WrittenInterface>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bonds: Vec<WrittenBond>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vlans: Vec<WrittenVlan>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<WrittenRoute>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nameservers: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    search: Vec<DomainName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dhcp: Option<DhcpOptions>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenInterface {
    mode: Mode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<LinkRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<IpNet>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gateways: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtu: Option<Mtu>,
}

words! {
    /// The way in which addresses come that are not given.
    enum Mode("network.mode") {
        /// None come.
        Static = "static",
        /// By DHCP.
        Dhcp = "dhcp",
        /// By router advertisements.
        Auto6 = "auto6",
        /// By DHCPv6.
        Dhcp6 = "dhcp6",
        /// By DHCP and by router advertisements.
        DhcpAuto6 = "auto",
        /// By DHCP and by DHCPv6.
        DhcpDhcp6 = "dhcp+dhcp6",
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenVlan {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<InterfaceName>,
    link: LinkRef,
    id: VlanId,
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenRoute {
    to: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    via: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<LinkRef>,
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        Self::try_from(written).map_err(de::Error::custom)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written::from(self.clone()).serialize(serializer)
    }
}

impl TryFrom<Written> for Network {
    type Error = Invalid;

    fn try_from(written: Written) -> Result<Self, Invalid> {
        let flat = written.mode.is_some()
            || written.interface.is_some()
            || written.addresses.is_some()
            || written.gateways.is_some()
            || written.mtu.is_some();
        let interfaces = match (written.interfaces, written.mode) {
            (Some(_), _) if flat => {
                return Err(Invalid::new(
                    "network",
                    "interfaces",
                    "given beside mode, interface, addresses, gateways or mtu, which belong into it",
                ));
            }
            (Some(interfaces), _) => interfaces,
            (None, Some(mode)) => vec![WrittenInterface {
                mode,
                interface: written.interface,
                addresses: written.addresses.unwrap_or_default(),
                gateways: written.gateways.unwrap_or_default(),
                mtu: written.mtu,
            }],
            (None, None) => {
                return Err(Invalid::new(
                    "network",
                    "an object without mode",
                    "whole: mode, or interfaces, must be there",
                ));
            }
        };
        let network = Self {
            interfaces: all(interfaces)?,
            bonds: all(written.bonds)?,
            vlans: all(written.vlans)?,
            routes: written.routes.into_iter().map(Route::from).collect(),
            nameservers: written.nameservers,
            search: written.search,
            dhcp: written.dhcp.unwrap_or_default(),
        };
        network.checked()
    }
}

fn all<W, T: TryFrom<W>>(written: Vec<W>) -> Result<Vec<T>, T::Error> {
    written.into_iter().map(T::try_from).collect()
}

impl TryFrom<WrittenInterface> for Interface {
    type Error = Invalid;

    fn try_from(written: WrittenInterface) -> Result<Self, Invalid> {
        let (mut ipv4, mut ipv6) = written.mode.methods();
        let given = Given::sorted(written.addresses, &written.gateways)?;
        for (field, is_given, is_dynamic) in [
            ("IPv4", given.gives_ipv4(), ipv4 != Ipv4Method::None),
            ("IPv6", given.gives_ipv6(), ipv6 != Ipv6Method::None),
        ] {
            if is_given && is_dynamic {
                return Err(Invalid::new(
                    "network.addresses",
                    field,
                    "of a family that network.mode leaves to be given",
                ));
            }
        }
        let nothing = !given.gives_ipv4() && !given.gives_ipv6();
        if written.mode == Mode::Static && nothing {
            return Err(Invalid::new(
                "network.addresses",
                0,
                "a list of at least one, which mode static needs",
            ));
        }
        if given.gives_ipv4() {
            ipv4 = given.ipv4()?;
        }
        if given.gives_ipv6() {
            ipv6 = given.ipv6()?;
        }
        Ok(Self {
            link: written.interface,
            ipv4,
            ipv6,
            mtu: written.mtu,
        })
    }
}

/// Addresses and gateways, by their families.
pub(super) struct Given {
    ipv4: (Vec<Ipv4Net>, Option<Ipv4Addr>),
    ipv6: (Vec<Ipv6Net>, Option<Ipv6Addr>),
}

impl Given {
    pub(super) fn sorted(addresses: Vec<IpNet>, gateways: &[IpAddr]) -> Result<Self, Invalid> {
        let mut given = Self {
            ipv4: (Vec::new(), None),
            ipv6: (Vec::new(), None),
        };
        if addresses.len() > super::LIMITS.network_items {
            return Err(Invalid::new(
                "network.addresses",
                addresses.len(),
                "a list of at most 16",
            ));
        }
        for address in addresses {
            match address {
                IpNet::V4(address) => given.ipv4.0.push(address),
                IpNet::V6(address) => given.ipv6.0.push(address),
            }
        }
        for gateway in gateways {
            let before = match gateway {
                IpAddr::V4(gateway) => given.ipv4.1.replace(*gateway).is_some(),
                IpAddr::V6(gateway) => given.ipv6.1.replace(*gateway).is_some(),
            };
            if before {
                return Err(Invalid::new(
                    "network.gateways",
                    gateway,
                    "the only one of its family",
                ));
            }
        }
        Ok(given)
    }

    pub(super) fn gives_ipv4(&self) -> bool {
        !self.ipv4.0.is_empty() || self.ipv4.1.is_some()
    }

    pub(super) fn gives_ipv6(&self) -> bool {
        !self.ipv6.0.is_empty() || self.ipv6.1.is_some()
    }

    pub(super) fn ipv4(&self) -> Result<Ipv4Method, Invalid> {
        let (addresses, gateway) = self.ipv4.clone();
        let lone = gateway.filter(|_| addresses.is_empty());
        lone.map_or(Ok(Ipv4Method::Static { addresses, gateway }), |gateway| {
            Err(lone_gateway(gateway.into()))
        })
    }

    pub(super) fn ipv6(&self) -> Result<Ipv6Method, Invalid> {
        let (addresses, gateway) = self.ipv6.clone();
        let lone = gateway.filter(|_| addresses.is_empty());
        lone.map_or(Ok(Ipv6Method::Static { addresses, gateway }), |gateway| {
            Err(lone_gateway(gateway.into()))
        })
    }
}

fn lone_gateway(gateway: IpAddr) -> Invalid {
    Invalid::new(
        "network.gateways",
        gateway,
        "beside an address of its family in network.addresses",
    )
}

impl Mode {
    const fn methods(self) -> (Ipv4Method, Ipv6Method) {
        match self {
            Self::Static => (Ipv4Method::None, Ipv6Method::None),
            Self::Dhcp => (Ipv4Method::Dhcp, Ipv6Method::None),
            Self::Auto6 => (Ipv4Method::None, Ipv6Method::Auto),
            Self::Dhcp6 => (Ipv4Method::None, Ipv6Method::Dhcp),
            Self::DhcpAuto6 => (Ipv4Method::Dhcp, Ipv6Method::Auto),
            Self::DhcpDhcp6 => (Ipv4Method::Dhcp, Ipv6Method::Dhcp),
        }
    }
}

impl TryFrom<WrittenVlan> for Vlan {
    type Error = Invalid;

    fn try_from(written: WrittenVlan) -> Result<Self, Invalid> {
        let by_itself = || match &written.link {
            LinkRef::Name(link) => format!("{link}.{}", written.id).parse(),
            LinkRef::Mac(_) => format!("vlan{}", written.id).parse(),
        };
        Ok(Self {
            name: written.name.map_or_else(by_itself, Ok)?,
            link: written.link,
            id: written.id,
        })
    }
}

impl From<WrittenRoute> for Route {
    fn from(written: WrittenRoute) -> Self {
        Self {
            // Which host of the network was named says nothing.
            to: written.to.trunc(),
            via: written.via,
            interface: written.interface,
        }
    }
}

impl From<Network> for Written {
    fn from(network: Network) -> Self {
        let mut written = Self {
            bonds: network.bonds.into_iter().map(Bond::into).collect(),
            vlans: (network.vlans.into_iter())
                .map(|vlan| WrittenVlan {
                    name: Some(vlan.name),
                    link: vlan.link,
                    id: vlan.id,
                })
                .collect(),
            routes: (network.routes.into_iter())
                .map(|route| WrittenRoute {
                    to: route.to,
                    via: route.via,
                    interface: route.interface,
                })
                .collect(),
            nameservers: network.nameservers,
            search: network.search,
            ..Self::default()
        };
        written.dhcp = Some(network.dhcp).filter(|dhcp| *dhcp != DhcpOptions::default());
        let interfaces = network.interfaces.into_iter().map(WrittenInterface::from);
        let mut interfaces: Vec<WrittenInterface> = interfaces.collect();
        if interfaces.len() == 1
            && let Some(only) = interfaces.pop()
        {
            written.mode = Some(only.mode);
            written.interface = only.interface;
            written.addresses = Some(only.addresses).filter(|list| !list.is_empty());
            written.gateways = Some(only.gateways).filter(|list| !list.is_empty());
            written.mtu = only.mtu;
        } else {
            written.interfaces = Some(interfaces);
        }
        written
    }
}

impl From<Interface> for WrittenInterface {
    fn from(interface: Interface) -> Self {
        let mode = match (&interface.ipv4, &interface.ipv6) {
            (Ipv4Method::Dhcp, Ipv6Method::Auto) => Mode::DhcpAuto6,
            (Ipv4Method::Dhcp, Ipv6Method::Dhcp) => Mode::DhcpDhcp6,
            (Ipv4Method::Dhcp, _) => Mode::Dhcp,
            (_, Ipv6Method::Auto) => Mode::Auto6,
            (_, Ipv6Method::Dhcp) => Mode::Dhcp6,
            _ => Mode::Static,
        };
        let (mut addresses, mut gateways) = (Vec::new(), Vec::new());
        if let Ipv4Method::Static {
            addresses: ipv4,
            gateway,
        } = interface.ipv4
        {
            addresses.extend(ipv4.into_iter().map(IpNet::V4));
            gateways.extend(gateway.map(IpAddr::V4));
        }
        if let Ipv6Method::Static {
            addresses: ipv6,
            gateway,
        } = interface.ipv6
        {
            addresses.extend(ipv6.into_iter().map(IpNet::V6));
            gateways.extend(gateway.map(IpAddr::V6));
        }
        Self {
            mode,
            interface: interface.link,
            addresses,
            gateways,
            mtu: interface.mtu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::host_config::{HostConfig, HostConfigError};
    use crate::format::payload::PayloadError;

    fn read(text: &str) -> Result<Network, String> {
        let read = json::read(text.as_bytes());
        read.map(|read| read.value)
            .map_err(|error| error.source.to_string())
    }

    #[test]
    fn what_was_written_is_read_again() {
        for text in [
            r#"{"mode":"dhcp"}"#,
            r#"{"mode":"dhcp+dhcp6","interface":"eth0","mtu":1400}"#,
            r#"{"mode":"auto6","addresses":["192.0.2.9/24"],"gateways":["192.0.2.1"]}"#,
            r#"{"mode":"static","addresses":["192.0.2.9/24","2001:db8::9/64"],"gateways":["192.0.2.1","fe80::1"]}"#,
            r#"{"interfaces":[{"mode":"dhcp","interface":"eth0"},{"mode":"auto"}]}"#,
            r#"{"mode":"dhcp","bonds":[{"name":"bond0","ports":["eth0"],"mode":"802.3ad","miimon":100,"lacp_rate":"fast"}],"vlans":[{"name":"bond0.7","link":"bond0","id":7}],"routes":[{"to":"10.0.0.0/8","via":"192.0.2.1"}],"nameservers":["192.0.2.53"],"search":["a.example"],"dhcp":{"client_id":"rack7","hostname":"relay7","vendor_class":"boot"}}"#,
        ] {
            let network = read(text).expect(text);
            assert_eq!(serde_json::to_string(&network).unwrap(), text);
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_field_and_place() {
        for (text, field) in [
            ("{}", "network: "),
            (r#"{"interface": "eth0"}"#, "network: "),
            (
                r#"{"mode": "dhcp", "interfaces": [{"mode": "dhcp"}]}"#,
                "network: ",
            ),
            (r#"{"interfaces": []}"#, "network.interfaces: "),
            (
                r#"{"interfaces": [{"mode": "dhcp"}, {"mode": "auto6"}]}"#,
                "network.interface: ",
            ),
            (r#"{"mode": "static"}"#, "network.addresses: "),
            (
                r#"{"mode": "static", "gateways": ["192.0.2.1"]}"#,
                "network.gateways: ",
            ),
            (
                r#"{"mode": "dhcp", "addresses": ["192.0.2.9/24"]}"#,
                "network.addresses: ",
            ),
            (
                r#"{"mode": "auto", "addresses": ["2001:db8::9/64"]}"#,
                "network.addresses: ",
            ),
            (r#"{"mode": "static", "addresses": ["192.0.2.9"]}"#, ""),
            (
                r#"{"mode": "static", "addresses": ["192.0.2.9/24"], "gateways": ["192.0.2.1", "192.0.2.2"]}"#,
                "network.gateways: ",
            ),
            (
                r#"{"mode": "static", "addresses": ["192.0.2.9/24"], "gateways": ["2001:db8::1"]}"#,
                "network.gateways: ",
            ),
            (
                r#"{"mode": "static", "addresses": ["::1/64"]}"#,
                "network.addresses: ",
            ),
            (r#"{"mode": "dhcp", "mtu": 575}"#, "network.mtu: "),
            (
                r#"{"mode": "dhcp", "vlans": [{"link": "eth0", "id": 0}]}"#,
                "network.vlans.id: ",
            ),
            (
                r#"{"mode": "dhcp", "vlans": [{"link": "fifteen-charact", "id": 7}]}"#,
                "interface: ",
            ),
            (
                r#"{"mode": "dhcp", "bonds": [{"name": "bond0", "ports": [], "mode": "802.3ad"}]}"#,
                "network.bonds.ports: ",
            ),
            (
                r#"{"mode": "dhcp", "bonds": [{"name": "bond0", "ports": ["eth0"], "mode": "balance-tlb"}]}"#,
                "",
            ),
            (
                r#"{"mode": "dhcp", "bonds": [{"name": "bond0", "ports": ["eth0"], "mode": "802.3ad", "primary": "eth0"}]}"#,
                "network.bonds: ",
            ),
            (
                r#"{"mode": "dhcp", "dhcp": {"hostname": "a b"}}"#,
                "domain: ",
            ),
            (
                r#"{"mode": "dhcp", "dhcp": {"vendor_class": ""}}"#,
                "network.dhcp.vendor_class: ",
            ),
            (
                r#"{"mode": "dhcp", "routes": [{"to": "10.0.0.0/8"}]}"#,
                "network.routes: ",
            ),
            (r#"{"interfaces": [["dhcp"]]}"#, ""),
        ] {
            let host = format!(
                "{{\"image\": \"relay\", \"mirrors\": [\"https://m.example/\"],\n\"network\": {text}\n}}"
            );
            let error = HostConfig::parse(host.as_bytes()).expect_err(text);
            let HostConfigError::Payload(
                PayloadError::Json(error)
                | PayloadError::Field { source: error, .. }
                | PayloadError::Word { source: error, .. },
            ) = error
            else {
                panic!("{text}: {error}");
            };
            let error = error.to_string();
            assert!(error.starts_with(field), "{text}: {error}");
            // Within the object, or right behind it.
            let placed =
                error.contains(" at line 2 column ") || error.contains(" at line 3 column ");
            assert!(placed, "{text}: {error}");
        }
    }
}
