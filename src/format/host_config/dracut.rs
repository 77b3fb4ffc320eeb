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

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(value: &str) -> Result<Network, Invalid> {
        let overrides = Overrides::read(&Parameters::parse(&format!("ip={value}")))?;
        Ok(overrides.network.expect("ip= was given"))
    }

    #[test]
    fn each_form_of_ip_has_its_reading() {
        for word in ["dhcp", "on", "any"] {
            let dhcp = |interface: Option<&str>| Network::Dhcp {
                interface: interface.map(|name| name.parse().expect(name)),
                nameservers: Vec::new(),
            };
            assert_eq!(ip(word), Ok(dhcp(None)));
            assert_eq!(ip(&format!("eth0:{word}")), Ok(dhcp(Some("eth0"))));
        }
        for word in ["none", "off", "static"] {
            assert_eq!(
                ip(&format!(
                    "192.0.2.9::192.0.2.1:255.255.254.0:host:eth0:{word}:192.0.2.53:192.0.2.54"
                )),
                Ok(Network::Static {
                    interface: Some("eth0".parse().expect("valid")),
                    address: "192.0.2.9/23".parse().expect("valid"),
                    gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
                    nameservers: vec![IpAddr::from([192, 0, 2, 53]), IpAddr::from([192, 0, 2, 54])],
                })
            );
            assert_eq!(
                ip(&format!("192.0.2.9:::24:::{word}")),
                Ok(Network::Static {
                    interface: None,
                    address: "192.0.2.9/24".parse().expect("valid"),
                    gateway: None,
                    nameservers: Vec::new(),
                })
            );
        }
    }

    #[test]
    fn an_ip_that_is_not_carried_out_is_refused() {
        for bad in [
            "",
            "dhcp6",
            "eth0",
            "eth0:dhcp6",
            ":dhcp",
            "eth0:dhcp:1500",
            "192.0.2.9",
            "192.0.2.9::192.0.2.1:24:host:eth0",
            "192.0.2.9::192.0.2.1:24:host:eth0:dhcp",
            "192.0.2.9:198.51.100.1:192.0.2.1:24:host:eth0:none",
            "192.0.2.9::192.0.2.1:24:host:eth0:none:192.0.2.53:192.0.2.54:192.0.2.55",
            "192.0.2.9::192.0.2.1:24:host:eth0:none:1500",
            "192.0.2.9::boot.example:24:host:eth0:none",
            "192.0.2.9::192.0.2.1:24:host:no/name:none",
            "192.0.2::192.0.2.1:24:host:eth0:none",
            "127.0.0.1::192.0.2.1:24:host:eth0:none",
            "192.0.2.9::192.0.2.1::host:eth0:none",
            "192.0.2.9::192.0.2.1:0:host:eth0:none",
            "192.0.2.9::192.0.2.1:33:host:eth0:none",
            "192.0.2.9::192.0.2.1:0.0.0.0:host:eth0:none",
            "192.0.2.9::192.0.2.1:255.0.255.0:host:eth0:none",
            "192.0.2.9::192.0.2.1:0.255.255.255:host:eth0:none",
        ] {
            assert!(ip(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_netmask_is_contiguous() {
        for len in 0..=32 {
            let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - len).unwrap_or(0));
            assert_eq!(netmask_len(mask).map(u32::from), Some(len), "{mask}");
        }
        for bits in [1, 0x7fff_ffff, 0xffff_fffd, 0xff00_ff00, 0x8000_0001] {
            assert_eq!(netmask_len(Ipv4Addr::from_bits(bits)), None, "{bits:#x}");
        }
    }

    #[test]
    fn settings_that_would_be_ignored_are_refused_by_name() {
        for (line, named) in [
            ("bond=bond0:eth0,eth1", "bond="),
            ("bridge=br0:eth0", "bridge="),
            ("ifname=eth0:00:00:5e:00:53:01", "ifname="),
            ("rd.peerdns=0", "rd.peerdns="),
            ("rd.route=10.0.0.0/8:192.0.2.1", "rd.route="),
            ("team=team0:eth0", "team="),
            ("vlan=eth0.5:eth0", "vlan="),
            ("BOOTIF=01-00-00-5e-00-53-01", "BOOTIF="),
            ("sealboot.mirorr=https://m.example/", "sealboot.mirorr"),
            ("sealboot.trust=https://m.example/", "sealboot.trust"),
            ("ip=dhcp ip=dhcp", "a second ip="),
            ("nameserver=dns.example", "dns.example"),
            ("nameserver=[2001:db8::53", "[2001:db8::53"),
        ] {
            let error = Overrides::read(&Parameters::parse(line)).err().expect(line);
            assert_eq!(error.found, named, "{line}");
        }
    }

    #[test]
    fn what_is_carried_out_is_read() {
        let line = "sealboot.config=/x sealboot.log=debug sealboot.image=a sealboot.image=relay \
             sealboot.mirror=https://a.example/ sealboot.mirror=https://b.example/ \
             nameserver=192.0.2.53 nameserver=[2001:db8::53] nameserver=2001:db8::54";
        let overrides = Overrides::read(&Parameters::parse(line)).expect("valid");
        assert_eq!(overrides.image.expect("given").as_str(), "relay");
        let mirrors: Vec<_> = overrides.mirrors.iter().map(ToString::to_string).collect();
        assert_eq!(mirrors, ["https://a.example/", "https://b.example/"]);
        let nameservers: Vec<_> = overrides
            .nameservers
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(nameservers, ["192.0.2.53", "2001:db8::53", "2001:db8::54"]);
        assert_eq!(overrides.network, None);
    }
}
