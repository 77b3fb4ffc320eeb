//! What a link was given, by whatever method.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{dhcp, dhcp6};
use sealboot_core::format::network::{self, DomainName, Mtu};

/// Addresses, routes and servers of one method on one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The link's addresses, each with the network that is on the link.
    pub addresses: Vec<IpNet>,
    /// Routes, those to networks on the link first.
    pub routes: Vec<Route>,
    /// Name servers, in order of preference.
    pub nameservers: Vec<IpAddr>,
    /// Domains that complete a name without a dot.
    pub search: Vec<DomainName>,
    /// Time servers, in order of preference.
    pub ntp: Vec<IpAddr>,
    /// The largest packet.
    pub mtu: Option<Mtu>,
    /// Where all this is from.
    pub origin: Origin,
}

/// Where settings are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The host config or the kernel command line.
    Static,
    /// A DHCP server.
    Dhcp {
        /// The server, by its identifier.
        server: Ipv4Addr,
        /// For how long; for ever, where this is none.
        seconds: Option<u64>,
    },
    /// A router's advertisements.
    Router(Ipv6Addr),
    /// A DHCPv6 server.
    Dhcp6 {
        /// For how long; for ever, where this is none.
        seconds: Option<u64>,
    },
}

/// A way to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub to: IpNet,
    /// The router; without one, the network's machines are on the link itself.
    pub via: Option<IpAddr>,
}

impl Route {
    /// The way to everywhere else.
    #[must_use]
    pub fn default_by(router: IpAddr) -> Self {
        let everywhere = match router {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        Self {
            to: everywhere,
            via: Some(router),
        }
    }
}

impl Settings {
    /// No settings yet.
    pub(super) const fn of(origin: Origin) -> Self {
        Self {
            addresses: Vec::new(),
            routes: Vec::new(),
            nameservers: Vec::new(),
            search: Vec::new(),
            ntp: Vec::new(),
            mtu: None,
            origin,
        }
    }

    /// The router of a default route.
    #[must_use]
    pub fn gateway(&self) -> Option<IpAddr> {
        let mut routes = self.routes.iter();
        routes.find(|route| route.to.prefix_len() == 0)?.via
    }

    /// Puts what a host config says in the place of what the network says, and adds its routes.
    pub(super) fn overridden_by(mut self, network: &network::Network) -> Self {
        if !network.nameservers.is_empty() {
            self.nameservers.clone_from(&network.nameservers);
        }
        if !network.search.is_empty() {
            self.search.clone_from(&network.search);
        }
        self
    }
}

impl From<&dhcp::Lease> for Settings {
    fn from(lease: &dhcp::Lease) -> Self {
        let route = |route: &dhcp::Route| {
            let to = Ipv4Net::new(route.destination, route.prefix_len).unwrap_or_default();
            Route {
                to: IpNet::V4(to),
                via: route.router.map(IpAddr::V4),
            }
        };
        Self {
            addresses: vec![IpNet::V4(lease.address())],
            routes: lease.routes().iter().map(route).collect(),
            nameservers: lease
                .nameservers()
                .iter()
                .copied()
                .map(IpAddr::V4)
                .collect(),
            search: lease.search().to_vec(),
            ntp: lease.ntp().iter().copied().map(IpAddr::V4).collect(),
            mtu: lease.mtu(),
            origin: Origin::Dhcp {
                server: lease.server(),
                seconds: lease.ends_after().map(|end| end.as_secs()),
            },
        }
    }
}

impl Settings {
    /// What a DHCPv6 server lends. The network around the address is a router's to tell, so it is alone in its own.
    pub(super) fn of_dhcp6(lease: &dhcp6::Lease) -> Self {
        let mut settings = Self::of(Origin::Dhcp6 {
            seconds: lease.seconds,
        });
        let address = lease
            .address
            .map(|address| IpNet::from(IpAddr::V6(address)));
        settings.addresses = address.into_iter().collect();
        settings.tell(&lease.settings);
        settings
    }

    /// Adds the servers that a DHCPv6 server names.
    pub(super) fn tell(&mut self, told: &dhcp6::Settings) {
        self.nameservers
            .extend(told.nameservers.iter().copied().map(IpAddr::V6));
        self.search.extend(told.search.iter().cloned());
        self.ntp.extend(told.ntp.iter().copied().map(IpAddr::V6));
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        f.write_str(&addresses.join(" "))?;
        if let Some(gateway) = self.gateway() {
            write!(f, " via {gateway}")?;
        }
        for nameserver in &self.nameservers {
            write!(f, " dns {nameserver}")?;
        }
        write!(f, " ({})", self.origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lease = |seconds: &Option<u64>| match seconds {
            Some(seconds) => format!("lease {seconds} s"),
            None => "lease without an end".to_owned(),
        };
        match self {
            Self::Static => f.write_str("static"),
            Self::Dhcp { server, seconds } => write!(f, "dhcp {server}, {}", lease(seconds)),
            Self::Router(router) => write!(f, "router {router}"),
            Self::Dhcp6 { seconds } => write!(f, "dhcp6, {}", lease(seconds)),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to)?;
        match self.via {
            Some(router) => write!(f, " via {router}"),
            None => f.write_str(" on the link"),
        }
    }
}
