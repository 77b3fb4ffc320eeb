//! Settings of the kernel command line, in dracut's syntax and our own (dracut.cmdline(7)).

use std::net::{IpAddr, Ipv4Addr};

use super::{Ipv4Prefix, MirrorUrl, Network};
use crate::format::Invalid;
use crate::format::cmdline::Parameters;
use crate::format::manifest::ImageName;

/// What the kernel command line says about reaching the image.
pub(super) struct Overrides {
    pub(super) image: Option<ImageName>,
    pub(super) mirrors: Vec<MirrorUrl>,
    pub(super) network: Option<Network>,
    pub(super) nameservers: Vec<IpAddr>,
}

impl Overrides {
    pub(super) fn read(parameters: &Parameters) -> Result<Self, Invalid> {
        const UNSUPPORTED: [&str; 8] = [
            "bond",
            "bridge",
            "ifname",
            "rd.peerdns",
            "rd.route",
            "team",
            "vlan",
            "BOOTIF",
        ];
        if let Some(name) = UNSUPPORTED
            .into_iter()
            .find(|name| parameters.last(name).is_some())
        {
            return Err(Invalid::new(
                "kernel command line",
                format!("{name}="),
                "a setting that this version carries out",
            ));
        }
        const KNOWN: [&str; 4] = [
            "sealboot.config",
            "sealboot.image",
            "sealboot.log",
            "sealboot.mirror",
        ];
        if let Some(name) = parameters
            .names_with("sealboot.")
            .find(|name| !KNOWN.contains(name))
        {
            return Err(Invalid::new(
                "kernel command line",
                name,
                "sealboot.config, .image, .log or .mirror",
            ));
        }
        let mut ip = parameters.all("ip");
        let network = ip.next().map(parse_dracut_ip).transpose()?;
        if ip.next().is_some() {
            return Err(Invalid::new(
                "ip",
                "a second ip=",
                "a setting that this version carries out more than once",
            ));
        }
        Ok(Self {
            image: parameters
                .last("sealboot.image")
                .map(str::parse)
                .transpose()?,
            mirrors: parameters
                .all("sealboot.mirror")
                .map(str::parse)
                .collect::<Result<_, _>>()?,
            network,
            nameservers: parameters
                .all("nameserver")
                .map(|address| {
                    unbracket(address)
                        .parse()
                        .map_err(|_| Invalid::new("nameserver", address, "an IP address"))
                })
                .collect::<Result<_, _>>()?,
        })
    }
}

/// dracut writes IPv6 addresses in brackets.
fn unbracket(address: &str) -> &str {
    address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address)
}

/// Reads dracut's `ip=` in the three forms that this version carries out.
fn parse_dracut_ip(value: &str) -> Result<Network, Invalid> {
    let invalid = || {
        Invalid::new(
            "ip",
            value,
            "dhcp, IFACE:dhcp or ADDRESS::GATEWAY:NETMASK:HOSTNAME:IFACE:none",
        )
    };
    let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let fields: Vec<&str> = value.split(':').collect();
    match fields[..] {
        ["dhcp" | "on" | "any"] => Ok(Network::Dhcp {
            interface: None,
            nameservers: Vec::new(),
        }),
        [interface, "dhcp" | "on" | "any"] => Ok(Network::Dhcp {
            interface: Some(interface.parse()?),
            nameservers: Vec::new(),
        }),
        [
            address,
            peer,
            gateway,
            netmask,
            _hostname,
            interface,
            "none" | "off" | "static",
            ref dns @ ..,
        ] if peer.is_empty() && dns.len() <= 2 => {
            let address: Ipv4Addr = address.parse().map_err(|_| invalid())?;
            let prefix_len = match netmask.parse::<Ipv4Addr>() {
                Ok(mask) => netmask_len(mask).ok_or_else(invalid)?,
                Err(_) => netmask.parse().map_err(|_| invalid())?,
            };
            Ok(Network::Static {
                interface: optional(interface).map(|name| name.parse()).transpose()?,
                address: Ipv4Prefix::new(address, prefix_len).ok_or_else(invalid)?,
                gateway: optional(gateway)
                    .map(|gateway| gateway.parse().map_err(|_| invalid()))
                    .transpose()?,
                nameservers: dns
                    .iter()
                    .map(|dns| dns.parse().map_err(|_| invalid()))
                    .collect::<Result<_, _>>()?,
            })
        }
        _ => Err(invalid()),
    }
}

/// The prefix length of a contiguous netmask.
fn netmask_len(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    (bits.leading_ones() + bits.trailing_zeros() >= 32)
        .then(|| u8::try_from(bits.leading_ones()).ok())?
}
