//! A [`Network`] as it is written on a kernel command line, in dracut's syntax (dracut.cmdline(7)).
//!
//! A setting that is known and not carried out is refused by name: ignored, it would leave the machine on a
//! network that nobody chose.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::bond::Written as WrittenBond;
use super::json::Given;
use super::names::{DomainName, InterfaceName, LinkRef, MacAddress, Mtu, VendorClass};
use super::{Bond, Interface, Ipv4Method, Ipv6Method, Network, Route, Vlan};
use crate::format::Invalid;
use crate::format::cmdline::Parameters;

/// What a kernel command line says of the network; each setting takes the place of all of its kind.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::format) struct Overrides {
    interfaces: Vec<Interface>,
    bonds: Vec<Bond>,
    vlans: Vec<Vlan>,
    routes: Vec<Route>,
    nameservers: Vec<IpAddr>,
    hostname: Option<DomainName>,
    vendor_class: Option<VendorClass>,
    /// The card that firmware booted from.
    boot_card: Option<LinkRef>,
}

const UNSUPPORTED: [&str; 4] = ["bridge", "rd.znet", "rd.znet_ifname", "team"];

/// What [`Overrides::read`] looks at, besides [`UNSUPPORTED`] and the card that firmware booted from.
const SETTINGS: [&str; 9] = [
    "bond",
    "bootdev",
    "ifname",
    "ip",
    "nameserver",
    "rd.net.dhcp.vendor_class",
    "rd.peerdns",
    "rd.route",
    "vlan",
];

/// Whether `name`, as [`Parameters`] gives it, is a setting of the network, on this command line.
pub(in crate::format) fn is_setting(name: &str, parameters: &Parameters) -> bool {
    let is_card = name == "BOOTIF" && !is_without_boot_card(parameters);
    is_card || SETTINGS.contains(&name) || UNSUPPORTED.contains(&name)
}

impl Overrides {
    /// Reads the settings of a command line.
    pub(in crate::format) fn read(parameters: &Parameters) -> Result<Self, Invalid> {
        let given = |name: &&&str| parameters.last(name).is_some();
        if let Some(name) = UNSUPPORTED.iter().find(given) {
            return Err(not_carried_out(name));
        }
        let aliases = Aliases::read(parameters)?;
        let mut overrides = Self {
            interfaces: Vec::new(),
            bonds: all(parameters, "bond", |value| read_bond(value, &aliases))?,
            vlans: all(parameters, "vlan", |value| read_vlan(value, &aliases))?,
            routes: all(parameters, "rd.route", |value| read_route(value, &aliases))?,
            nameservers: all(parameters, "nameserver", |value| {
                let invalid = |_| Invalid::new("nameserver", value, "an IP address");
                unbracket(value).parse().map_err(invalid)
            })?,
            hostname: None,
            vendor_class: (parameters.last("rd.net.dhcp.vendor-class"))
                .map(str::parse)
                .transpose()?,
            boot_card: boot_card(parameters)?,
        };
        for value in parameters.all("ip") {
            let ip = read_ip(value, &aliases)?;
            overrides.nameservers.extend(ip.nameservers);
            overrides.hostname = ip.hostname.or(overrides.hostname);
            let mut before = overrides.interfaces.iter_mut();
            match before.find(|interface| interface.link == ip.interface.link) {
                Some(interface) => merge(interface, ip.interface)?,
                None => overrides.interfaces.push(ip.interface),
            }
        }
        if let Some(name) = parameters.last("bootdev") {
            let link = aliases.link(name)?;
            overrides
                .interfaces
                .retain(|interface| interface.link.as_ref() == Some(&link));
            if overrides.interfaces.is_empty() {
                return Err(Invalid::new("bootdev", name, "the interface of an ip="));
            }
        }
        let without_theirs = parameters.last("rd.peerdns") == Some("0");
        if without_theirs && overrides.nameservers.is_empty() {
            return Err(Invalid::new(
                "rd.peerdns",
                "0",
                "given without nameserver=: no name could be resolved",
            ));
        }
        Ok(overrides)
    }

    /// These settings over the network of a host config; none where neither names an interface.
    pub(in crate::format) fn over(self, file: Option<Network>) -> Result<Option<Network>, Invalid> {
        let mut network = match file {
            Some(file) => file,
            None if self.interfaces.is_empty() => return Ok(None),
            None => Network::by_dhcp(),
        };
        if !self.interfaces.is_empty() {
            network.interfaces = self.interfaces;
        }
        if !self.bonds.is_empty() {
            network.bonds = self.bonds;
        }
        if !self.vlans.is_empty() {
            network.vlans = self.vlans;
        }
        if !self.routes.is_empty() {
            network.routes = self.routes;
        }
        if !self.nameservers.is_empty() {
            network.nameservers = self.nameservers;
        }
        network.dhcp.hostname = self.hostname.or(network.dhcp.hostname);
        network.dhcp.vendor_class = self.vendor_class.or(network.dhcp.vendor_class);
        if let Some(card) = self.boot_card {
            for interface in &mut network.interfaces {
                interface.link.get_or_insert_with(|| card.clone());
            }
        }
        network.checked().map(Some)
    }
}

fn not_carried_out(name: &str) -> Invalid {
    Invalid::new(
        "kernel command line",
        format!("{name}="),
        "a setting that this version carries out",
    )
}

fn all<T>(
    parameters: &Parameters,
    name: &str,
    read: impl FnMut(&str) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    parameters.all(name).map(read).collect()
}

/// Names that the command line gives to cards by their addresses, `ifname=NAME:MAC`.
///
/// Nothing is renamed: wherever such a name stands, the card of this address is meant.
struct Aliases(BTreeMap<InterfaceName, MacAddress>);

impl Aliases {
    fn read(parameters: &Parameters) -> Result<Self, Invalid> {
        let alias = |value: &str| {
            let (name, mac) = value.split_once(':').unwrap_or((value, ""));
            Ok((name.parse()?, mac.parse()?))
        };
        Ok(Self(
            parameters
                .all("ifname")
                .map(alias)
                .collect::<Result<_, Invalid>>()?,
        ))
    }

    fn link(&self, name: &str) -> Result<LinkRef, Invalid> {
        let name: InterfaceName = name.parse()?;
        Ok(match self.0.get(&name) {
            Some(mac) => LinkRef::Mac(*mac),
            None => LinkRef::Name(name),
        })
    }

    fn optional(&self, name: &str) -> Result<Option<LinkRef>, Invalid> {
        (!name.is_empty()).then(|| self.link(name)).transpose()
    }
}

/// Whether the command line says that `BOOTIF=` is to be passed over.
fn is_without_boot_card(parameters: &Parameters) -> bool {
    parameters.last("rd.bootif") == Some("0")
}

/// What PXELINUX and its like add: `BOOTIF=01-00-00-5e-00-53-01`, the hardware type and the card's address.
fn boot_card(parameters: &Parameters) -> Result<Option<LinkRef>, Invalid> {
    if is_without_boot_card(parameters) {
        return Ok(None);
    }
    let read = |value: &str| {
        let invalid = || {
            Invalid::new(
                "BOOTIF",
                value,
                "a card's Ethernet address after its type, such as 01-00-00-5e-00-53-01",
            )
        };
        let address = value.strip_prefix("01-").or(value.strip_prefix("01:"));
        let address = address.ok_or_else(invalid)?;
        address.parse().map(LinkRef::Mac).map_err(|_| invalid())
    };
    parameters.last("BOOTIF").map(read).transpose()
}

/// What one `ip=` says.
struct Ip {
    interface: Interface,
    nameservers: Vec<IpAddr>,
    hostname: Option<DomainName>,
}

fn read_ip(value: &str, aliases: &Aliases) -> Result<Ip, Invalid> {
    let invalid = || {
        Invalid::new(
            "ip",
            value,
            "METHOD, IFACE:METHOD[:MTU] or ADDRESS::GATEWAY:NETMASK:HOSTNAME:IFACE:METHOD[:DNS1[:DNS2]]",
        )
    };
    let fields = fields(value).ok_or_else(invalid)?;
    let found = |link, (ipv4, ipv6), mtu| Ip {
        interface: Interface {
            link,
            ipv4,
            ipv6,
            mtu,
        },
        nameservers: Vec::new(),
        hostname: None,
    };
    match fields[..] {
        [method] => Ok(found(None, by_itself(method).ok_or_else(invalid)?, None)),
        [interface, method, ref mtu @ ..] if mtu.len() <= 1 => {
            let mtu = mtu.iter().find(|mtu| !mtu.is_empty());
            let mtu: Option<Mtu> = mtu.map(|mtu| mtu.parse()).transpose()?;
            let methods = by_itself(method).ok_or_else(invalid)?;
            Ok(found(Some(aliases.link(interface)?), methods, mtu))
        }
        [
            address,
            "",
            gateway,
            netmask,
            hostname,
            interface,
            method,
            ref more @ ..,
        ] if more.len() <= 2 => {
            let link = aliases.optional(interface)?;
            let (mtu, nameservers) = match *more {
                [mtu] | [mtu, ""] if mtu.bytes().all(|byte| byte.is_ascii_digit()) => {
                    let mtu = (!mtu.is_empty()).then(|| mtu.parse()).transpose()?;
                    (mtu, Vec::new())
                }
                _ => {
                    let servers = more.iter().filter(|server| !server.is_empty());
                    let parsed = servers.map(|server| unbracket(server).parse());
                    let servers: Result<_, _> = parsed.collect();
                    (None, servers.map_err(|_| invalid())?)
                }
            };
            let methods = if matches!(method, "none" | "off" | "static") {
                given(address, gateway, netmask)
                    .ok_or_else(invalid)
                    .and_then(|given| {
                        let ipv4 = given.gives_ipv4().then(|| given.ipv4()).transpose()?;
                        let ipv6 = given.gives_ipv6().then(|| given.ipv6()).transpose()?;
                        Ok((
                            ipv4.unwrap_or(Ipv4Method::None),
                            ipv6.unwrap_or(Ipv6Method::None),
                        ))
                    })?
            } else if address.is_empty() && gateway.is_empty() && netmask.is_empty() {
                by_itself(method).ok_or_else(invalid)?
            } else {
                return Err(invalid());
            };
            let by_dhcp = methods.0 == Ipv4Method::Dhcp || methods.1 == Ipv6Method::Dhcp;
            let mut ip = found(link, methods, mtu);
            ip.nameservers = nameservers;
            // Nobody else is told the name.
            if by_dhcp && !hostname.is_empty() {
                ip.hostname = Some(hostname.parse()?);
            }
            Ok(ip)
        }
        _ => Err(invalid()),
    }
}

/// The methods that need nothing given.
fn by_itself(method: &str) -> Option<(Ipv4Method, Ipv6Method)> {
    Some(match method {
        "dhcp" | "on" | "any" => (Ipv4Method::Dhcp, Ipv6Method::None),
        "dhcp6" => (Ipv4Method::None, Ipv6Method::Dhcp),
        "auto6" | "either6" => (Ipv4Method::None, Ipv6Method::Auto),
        // NetworkManager's, in dracut's place on many distributions (nm-initrd-generator(8)).
        "auto" => (Ipv4Method::Dhcp, Ipv6Method::Auto),
        _ => return None,
    })
}

fn given(address: &str, gateway: &str, netmask: &str) -> Option<Given> {
    let address: IpAddr = unbracket(address).parse().ok()?;
    let prefix_len = match netmask.parse::<Ipv4Addr>() {
        Ok(mask) if address.is_ipv4() => ipnet::ipv4_mask_to_prefix(mask).ok()?,
        Ok(_) => return None,
        Err(_) => netmask.parse().ok()?,
    };
    let address = IpNet::new(address, prefix_len).ok()?;
    let gateway = (!gateway.is_empty()).then(|| unbracket(gateway).parse());
    let gateway: Option<IpAddr> = gateway.transpose().ok()?;
    Given::sorted(vec![address], gateway.as_slice()).ok()
}

/// Two `ip=` of one link are one interface: of another family, or one more address.
fn merge(interface: &mut Interface, more: Interface) -> Result<(), Invalid> {
    let twice = || {
        let link = more.link.as_ref().map(LinkRef::to_string);
        Invalid::new(
            "ip",
            link.unwrap_or_else(|| "any link".to_owned()),
            "given two ways to the addresses of one family",
        )
    };
    match (&mut interface.ipv4, more.ipv4) {
        (_, Ipv4Method::None) => {}
        (before @ Ipv4Method::None, more) => *before = more,
        (
            Ipv4Method::Static { addresses, gateway },
            Ipv4Method::Static {
                addresses: more_addresses,
                gateway: more_gateway,
            },
        ) if gateway.is_none() || more_gateway.is_none() || *gateway == more_gateway => {
            addresses.extend(more_addresses);
            *gateway = gateway.or(more_gateway);
        }
        _ => return Err(twice()),
    }
    match (&mut interface.ipv6, more.ipv6) {
        (_, Ipv6Method::None) => {}
        (before @ Ipv6Method::None, more) => *before = more,
        (
            Ipv6Method::Static { addresses, gateway },
            Ipv6Method::Static {
                addresses: more_addresses,
                gateway: more_gateway,
            },
        ) if gateway.is_none() || more_gateway.is_none() || *gateway == more_gateway => {
            addresses.extend(more_addresses);
            *gateway = gateway.or(more_gateway);
        }
        _ => return Err(twice()),
    }
    interface.mtu = interface.mtu.or(more.mtu);
    Ok(())
}

/// `bond=NAME[:PORT,…[:OPTION=VALUE,…[:MTU]]]`.
fn read_bond(value: &str, aliases: &Aliases) -> Result<Bond, Invalid> {
    let invalid = || {
        Invalid::new(
            "bond",
            value,
            "NAME[:PORT,PORT[:OPTION=VALUE,OPTION=VALUE[:MTU]]]",
        )
    };
    let fields: Vec<&str> = value.split(':').collect();
    let (name, ports, options, mtu) = match fields[..] {
        [""] => ("bond0", "eth0,eth1", "", ""),
        [name] => (name, "eth0,eth1", "", ""),
        [name, ports] => (name, ports, "", ""),
        [name, ports, options] => (name, ports, options, ""),
        [name, ports, options, mtu] => (name, ports, options, mtu),
        _ => return Err(invalid()),
    };
    let ports: Result<_, _> = ports.split(',').map(|port| aliases.link(port)).collect();
    let mut bond = WrittenBond::new(name.parse()?, ports?);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').ok_or_else(invalid)?;
        bond.set(name, value, |port| aliases.link(port))?;
    }
    if !mtu.is_empty() {
        bond.mtu = Some(mtu.parse()?);
    }
    bond.try_into()
}

/// `vlan=NAME:LINK`, where the name ends in the VLAN's id: `vlan5`, `vlan0005`, `eth0.5` or `eth0.0005`.
fn read_vlan(value: &str, aliases: &Aliases) -> Result<Vlan, Invalid> {
    let invalid = || {
        Invalid::new(
            "vlan",
            value,
            "NAME:LINK, with a name such as vlan5 or eth0.5",
        )
    };
    let (name, link) = value.split_once(':').ok_or_else(invalid)?;
    let by_link = || name.strip_prefix(link)?.strip_prefix('.');
    let id = name.strip_prefix("vlan").or_else(by_link);
    let id = id.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
    Ok(Vlan {
        id: id.ok_or_else(invalid)?.parse()?,
        name: name.parse()?,
        link: aliases.link(link)?,
    })
}

/// `rd.route=NETWORK/LENGTH:[GATEWAY][:IFACE]`; IPv6 in brackets, with the length within or behind them.
fn read_route(value: &str, aliases: &Aliases) -> Result<Route, Invalid> {
    let invalid = || {
        Invalid::new(
            "rd.route",
            value,
            "NETWORK/LENGTH:GATEWAY[:IFACE], with IPv6 addresses in brackets",
        )
    };
    let fields = fields(value).ok_or_else(invalid)?;
    let (to, via, interface) = match fields[..] {
        [to, via] => (to, via, ""),
        [to, via, interface] => (to, via, interface),
        _ => return Err(invalid()),
    };
    let to: IpNet = to.replace(['[', ']'], "").parse().map_err(|_| invalid())?;
    let via = (!via.is_empty()).then(|| unbracket(via).parse());
    Ok(Route {
        to: to.trunc(),
        via: via.transpose().map_err(|_| invalid())?,
        interface: aliases.optional(interface)?,
    })
}

/// The fields of a value, split at colons outside of brackets; none where a bracket is not closed.
fn fields(value: &str) -> Option<Vec<&str>> {
    let mut within = false;
    let mut balanced = true;
    let fields = value.split(|character| {
        match character {
            '[' => {
                balanced &= !within;
                within = true;
            }
            ']' => {
                balanced &= within;
                within = false;
            }
            _ => {}
        }
        character == ':' && !within
    });
    let fields = fields.collect();
    (balanced && !within).then_some(fields)
}

/// dracut writes IPv6 addresses in brackets.
fn unbracket(address: &str) -> &str {
    address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(line: &str) -> Result<Option<Network>, Invalid> {
        Overrides::read(&Parameters::parse(line))?.over(None)
    }

    fn json(json: &str) -> Network {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn each_form_of_ip_has_its_reading() {
        for (words, mode) in [
            (&["dhcp", "on", "any"][..], "dhcp"),
            (&["auto6", "either6"], "auto6"),
            (&["dhcp6"], "dhcp6"),
            (&["auto"], "auto"),
        ] {
            for word in words {
                let any = json(&format!(r#"{{"mode": "{mode}"}}"#));
                assert_eq!(network(&format!("ip={word}")), Ok(Some(any)));
                let named = format!(r#"{{"mode": "{mode}", "interface": "eth0", "mtu": 1400}}"#);
                let named = Ok(Some(json(&named)));
                assert_eq!(network(&format!("ip=eth0:{word}:1400")), named);
                assert_eq!(network(&format!("ip=:::::eth0:{word}:1400")), named);
            }
        }
        for word in ["none", "off", "static"] {
            let whole = r#"{"mode": "static", "interface": "eth0", "addresses": ["192.0.2.9/23"],
                "gateways": ["192.0.2.1"], "nameservers": ["192.0.2.53", "2001:db8::53"]}"#;
            let line = format!(
                "ip=192.0.2.9::192.0.2.1:255.255.254.0:host:eth0:{word}:192.0.2.53:[2001:db8::53]"
            );
            assert_eq!(network(&line), Ok(Some(json(whole))));
            let bare = r#"{"mode": "static", "addresses": ["192.0.2.9/24"]}"#;
            let line = format!("ip=192.0.2.9:::24:::{word}");
            assert_eq!(network(&line), Ok(Some(json(bare))));
        }
    }

    #[test]
    fn what_is_not_carried_out_or_cannot_be_is_refused_by_name() {
        for (line, named) in [
            ("ip=", ""),
            ("ip=ibft", "ibft"),
            ("ip=link6", "link6"),
            ("ip=eth0", "eth0"),
            ("ip=:dhcp", ""),
            (
                "ip=eth0:dhcp:1500:00:00:5e:00:53:01",
                "eth0:dhcp:1500:00:00:5e:00:53:01",
            ),
            ("ip=eth0:dhcp:15", "15"),
            ("ip=192.0.2.9", "192.0.2.9"),
            (
                "ip=192.0.2.9::192.0.2.1:24:host:eth0",
                "192.0.2.9::192.0.2.1:24:host:eth0",
            ),
            (
                "ip=192.0.2.9::192.0.2.1:24::eth0:dhcp",
                "192.0.2.9::192.0.2.1:24::eth0:dhcp",
            ),
            (
                "ip=192.0.2.9:198.51.100.1::24::eth0:none",
                "192.0.2.9:198.51.100.1::24::eth0:none",
            ),
            (
                "ip=192.0.2.9::boot.example:24::eth0:none",
                "192.0.2.9::boot.example:24::eth0:none",
            ),
            ("ip=192.0.2.9::198.51.100.1:24::eth0:none", "198.51.100.1"),
            ("ip=192.0.2.9::0.0.0.0:24::eth0:none", "0.0.0.0"),
            ("ip=192.0.2.9:::24::no/name:none", "no/name"),
            ("ip=192.0.2:::24::eth0:none", "192.0.2:::24::eth0:none"),
            ("ip=127.0.0.1:::24::eth0:none", "127.0.0.1/24"),
            ("ip=192.0.2.9:::0::eth0:none", "192.0.2.9/0"),
            ("ip=192.0.2.9:::33::eth0:none", "192.0.2.9:::33::eth0:none"),
            (
                "ip=192.0.2.9:::255.0.255.0::eth0:none",
                "192.0.2.9:::255.0.255.0::eth0:none",
            ),
            (
                "ip=[2001:db8::9]:::255.255.255.0::eth0:none",
                "[2001:db8::9]:::255.255.255.0::eth0:none",
            ),
            (
                "ip=[2001:db8::9:::64::eth0:none",
                "[2001:db8::9:::64::eth0:none",
            ),
            (
                "ip=[2001:db8::9]::[2001:db8:1::1]:64::eth0:none",
                "2001:db8:1::1",
            ),
            ("ip=::::no_name:eth0:dhcp", "no_name"),
            ("ip=dhcp ip=dhcp", "any link"),
            ("ip=eth0:dhcp ip=192.0.2.9:::24::eth0:none", "eth0"),
            ("ip=eth0:auto6 ip=eth0:dhcp6", "eth0"),
            ("bridge=br0:eth0", "bridge="),
            ("team=team0:eth0", "team="),
            ("nameserver=dns.example", "dns.example"),
            ("nameserver=[2001:db8::53", "[2001:db8::53"),
            ("rd.peerdns=0 ip=dhcp", "0"),
            ("ifname=eth0", ""),
            ("ifname=eth0:00:00:5e", "00:00:5e"),
            ("BOOTIF=00-00-5e-00-53-01", "00-00-5e-00-53-01"),
            ("bootdev=eth1 ip=eth0:dhcp", "eth1"),
            ("vlan=eth0.5", "eth0.5"),
            ("vlan=five:eth0", "five:eth0"),
            ("vlan=eth0.:eth0", ""),
            ("vlan=vlan0:eth0", "0"),
            ("vlan=vlan4095:eth0", "4095"),
            ("bond=bond0:eth0:mode=balance-tlb", "balance-tlb"),
            ("bond=bond0:eth0:speed=fast", "speed=fast"),
            ("bond=bond0:eth0:miimon", "bond0:eth0:miimon"),
            ("bond=bond0:eth0:miimon=soon", "miimon=soon"),
            ("bond=bond0:eth0::9000:x", "bond0:eth0::9000:x"),
            ("bond=bond0:", ""),
            ("rd.route=192.0.2.0/24", "192.0.2.0/24"),
            ("rd.route=192.0.2.0:198.51.100.1", "192.0.2.0:198.51.100.1"),
            ("rd.net.dhcp.vendor-class=", ""),
        ] {
            let error = network(line).expect_err(line);
            assert_eq!(error.found, named, "{line}");
        }
    }

    #[test]
    fn what_fits_each_by_itself_must_fit_together() {
        for (line, named) in [
            ("bond=bond0:eth0,eth0 ip=bond0:dhcp", "eth0"),
            ("bond=bond0:eth0 bond=bond0:eth1 ip=bond0:dhcp", "bond0"),
            ("bond=bond0:eth0 bond=bond1:eth0 ip=bond0:dhcp", "eth0"),
            ("bond=bond0:eth0 bond=bond1:bond0 ip=bond1:dhcp", "bond0"),
            ("bond=bond0:eth0 ip=eth0:dhcp", "eth0"),
            ("bond=bond0:eth0 vlan=eth0.5:eth0 ip=eth0.5:dhcp", "eth0"),
            ("vlan=eth0.5:eth0 vlan=vlan6:eth0.5 ip=vlan6:dhcp", "eth0.5"),
            ("bond=bond0:eth0:primary=eth1,mode=1 ip=bond0:dhcp", "eth1"),
            (
                "bond=bond0:eth0:mode=1,lacp_rate=1 ip=bond0:dhcp",
                "lacp_rate",
            ),
            (
                "bond=bond0:eth0:mode=4,primary=eth0 ip=bond0:dhcp",
                "primary",
            ),
            ("bond=bond0:eth0:miimon=0 ip=bond0:dhcp", "0"),
            ("bond=bond0:eth0:miimon=60001 ip=bond0:dhcp", "60001"),
            ("bond=bond0:eth0:arp_interval=9 ip=bond0:dhcp", "9"),
            ("bond=bond0:eth0:arp_ip_target=192.0.2.1 ip=bond0:dhcp", "1"),
            (
                "bond=bond0:eth0:mode=4,arp_interval=9,arp_ip_target=192.0.2.1 ip=bond0:dhcp",
                "9",
            ),
            ("ip=eth0:auto6:1279", "1279"),
            ("ip=dhcp rd.route=192.0.2.0/24:", "192.0.2.0/24"),
            ("ip=dhcp rd.route=192.0.2.0/24:[fe80::1]", "fe80::1"),
            ("ip=dhcp rd.route=192.0.2.0/24:224.0.0.1", "224.0.0.1"),
        ] {
            let error = network(line).expect_err(line);
            assert_eq!(error.found, named, "{line}");
        }
        let many: String = (0..17).map(|at| format!("ip=eth{at}:dhcp ")).collect();
        assert_eq!(network(&many).expect_err("17").found, "17");
    }

    #[test]
    fn the_card_that_firmware_booted_from_is_meant_where_none_is_named() {
        let card = r#"{"mode": "dhcp", "interface": "00:00:5e:00:53:01"}"#;
        for boot in ["01-00-00-5e-00-53-01", "01-00-00-5E-00-53-01"] {
            let line = format!("BOOTIF={boot} ip=dhcp");
            assert_eq!(network(&line), Ok(Some(json(card))));
        }
        let line = "BOOTIF=01-00-00-5e-00-53-01 ip=eth1:dhcp";
        let named = r#"{"mode": "dhcp", "interface": "eth1"}"#;
        assert_eq!(network(line), Ok(Some(json(named))));
        let line = "BOOTIF=01-00-00-5e-00-53-01 rd.bootif=0 ip=dhcp";
        assert_eq!(network(line), Ok(Some(Network::by_dhcp())));
    }

    fn names_a_setting(line: &str) -> bool {
        let parameters = Parameters::parse(line);
        let mut names = parameters.names_with("");
        names.any(|name| is_setting(name, &parameters))
    }

    #[test]
    fn a_setting_is_known_by_its_name_whatever_it_says() {
        for line in [
            "ip",
            "ip=x",
            "bond=x",
            "vlan=x",
            "rd.route=x",
            "nameserver=x",
            "ifname=x",
            "bootdev=x",
            "rd.peerdns=1",
            "rd.net.dhcp.vendor-class=x",
            "bridge=x",
            "team=x",
            "rd.znet=x",
            "rd.znet_ifname=x",
            "BOOTIF=x",
            "BOOTIF=x rd.bootif=1",
            "rd.bootif=0 rd.bootif=1 BOOTIF=x",
        ] {
            assert!(names_a_setting(line), "{line}");
        }
        for line in [
            "",
            "quiet",
            "bootif=x",
            "IP=x",
            "rd.bootif=0",
            "BOOTIF=x rd.bootif=0",
        ] {
            assert!(!names_a_setting(line), "{line}");
        }
    }

    #[test]
    fn a_bond_has_the_defaults_of_dracut() {
        let expected = r#"{"mode": "dhcp", "interface": "bond0",
            "bonds": [{"name": "bond0", "ports": ["eth0", "eth1"], "mode": "balance-rr"}]}"#;
        for bond in [
            "bond",
            "bond=bond0",
            "bond=bond0:eth0,eth1",
            "bond=bond0:eth0,eth1::",
        ] {
            let line = format!("{bond} ip=bond0:dhcp");
            assert_eq!(network(&line), Ok(Some(json(expected))), "{bond}");
        }
    }

    #[test]
    fn without_an_interface_there_is_no_network_and_a_file_keeps_its_own() {
        assert_eq!(network("nameserver=192.0.2.53 quiet"), Ok(None));
        let file =
            json(r#"{"mode": "static", "addresses": ["192.0.2.9/24"], "search": ["a.example"]}"#);
        let overrides = Overrides::read(&Parameters::parse("nameserver=192.0.2.53")).unwrap();
        let merged = overrides.over(Some(file.clone())).unwrap().unwrap();
        assert_eq!(
            merged.nameservers,
            ["192.0.2.53".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(
            (merged.interfaces, merged.search),
            (file.interfaces, file.search)
        );
    }

    proptest::proptest! {
        #[test]
        fn a_line_without_a_setting_says_nothing(line in "((ip|bond|vlan|rd.route|rd.bootif|rd.peerdns|BOOTIF|quiet)=(0|x|dhcp) ){0,3}") {
            let said = Overrides::read(&Parameters::parse(&line));
            let nothing = Overrides::read(&Parameters::default());
            proptest::prop_assert!(names_a_setting(&line) || said == nothing);
        }

        #[test]
        fn no_line_panics(line in "((ip|bond|vlan|rd.route|ifname|BOOTIF|nameserver)=[a-z0-9.:,/=\\[\\];-]{0,40} ){0,4}") {
            let _ = network(&line);
        }
    }
}
