//! From a host config to a working network: link, address, routes, name servers.
//!
//! On entry nothing is assumed: no link is up, drivers may still be probing, an earlier attempt may
//! have left addresses behind. On exit one link has the address and the routes that the host config
//! or a DHCP server gives, and [`Connection::resolver`] asks the name servers that belong to it. The
//! kernel's `ip=` autoconfiguration has no part in it. IPv6 addresses are left to the kernel: those that
//! it makes from a router's advertisements are used, and none is waited for.
//!
//! | module | holds |
//! |---|---|
//! | `link` | links, addresses and routes, over rtnetlink |
//! | `dhcp` | the DHCPv4 client |
//! | [`resolver`] | names to addresses |
//! | `race` | the address of a name to connect to: IPv6 and IPv4 at the same time |
//! | [`provider`] | the cryptography of TLS |

pub mod clock;
mod dhcp;
mod failure;
mod link;
pub mod provider;
mod race;
pub mod resolver;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::format::host_config::{InterfaceName, Ipv4Prefix, Network};
use dhcp::NoLease;
#[doc(hidden)]
pub use dhcp::from_the_link;
pub use dhcp::{Lease, Route};
pub use failure::{NetError, Tried};
use link::{Carrier, Hardware, Link, Links};
pub use race::{Family, TriedAddress};
pub use resolver::{ResolveError, Resolver};

/// How long each step of [`connect`] may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until a link exists.
    pub link: Duration,
    /// From then until a link has a carrier.
    pub carrier: Duration,
    /// From then until a DHCP server has given a lease.
    pub dhcp: Duration,
}

impl Timeouts {
    /// Those of a real machine.
    pub const DEFAULT: Self = Self {
        // A driver is loaded by now; probing a card takes it a second or two, with firmware some more.
        link: Duration::from_secs(10),
        // Negotiation takes a card 2 to 5 s, some 10 G ones and their switches 20.
        carrier: Duration::from_secs(30),
        // A switch port with spanning tree drops everything for 30 s after the carrier comes; the
        // client then asks within 16 s, and the server may take some seconds to check the address.
        dhcp: Duration::from_secs(60),
    };
}

/// A working network.
#[derive(Debug, Clone)]
pub struct Connection {
    interface: InterfaceName,
    address: Ipv4Prefix,
    gateway: Option<Ipv4Addr>,
    nameservers: Vec<IpAddr>,
    lease: Option<Lease>,
}

/// Connects the machine as the host config says.
///
/// Every link that fits is brought up, those that appear on the way included. By DHCP, each of them
/// is asked as soon as it has a carrier, all at once, and the first lease wins; with a static address,
/// the first link with a carrier gets it. Links that are made of others, such as bridges, fit only
/// where they are named.
///
/// Can be called again after a failure, or after a success: whatever IPv4 address and route a link
/// that fits has is taken from it first.
///
/// # Errors
///
/// [`NetError`], after 100 seconds at the latest.
pub async fn connect(network: &Network) -> Result<Connection, NetError> {
    connect_within(network, &Timeouts::DEFAULT).await
}

/// [`connect`] with other bounds.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_within(
    network: &Network,
    timeouts: &Timeouts,
) -> Result<Connection, NetError> {
    let mut candidates = Candidates::open(network.interface())?;
    candidates
        .links
        .loopback_up()
        .await
        .map_err(NetError::kernel(
            "the loopback link could not be brought up",
        ))?;
    let link = candidates.wait_for_carrier(timeouts).await?;
    let connection = match network {
        Network::Dhcp { nameservers, .. } => {
            let (link, lease) = candidates.first_lease(timeouts.dhcp).await?;
            let nameservers = if nameservers.is_empty() {
                lease
                    .nameservers()
                    .iter()
                    .copied()
                    .map(IpAddr::V4)
                    .collect()
            } else {
                nameservers.clone()
            };
            candidates
                .configure(&link, lease.address(), lease.routes())
                .await?;
            Connection {
                interface: link.name,
                address: lease.address(),
                gateway: lease.gateway(),
                nameservers,
                lease: Some(lease),
            }
        }
        Network::Static {
            address,
            gateway,
            nameservers,
            ..
        } => {
            let route = gateway.map(Route::default_by);
            candidates
                .configure(&link, *address, route.as_slice())
                .await?;
            Connection {
                interface: link.name,
                address: *address,
                gateway: *gateway,
                nameservers: nameservers.clone(),
                lease: None,
            }
        }
    };
    tracing::debug!("connected: {connection}");
    Ok(connection)
}

/// Takes every Ethernet link down, and with it the memory that its driver holds for packets.
///
/// One that does not go down stays as it is; [`connect`] begins with either.
pub async fn disconnect() {
    if let Err(error) = take_down().await {
        tracing::warn!("the links stay up: {error}");
    }
}

async fn take_down() -> io::Result<()> {
    let links = Links::open()?;
    for link in links.list().await? {
        if let Err(error) = links.set_down(link.index).await {
            tracing::warn!("{} stays up: {error}", link.name);
        }
    }
    Ok(())
}

/// The links that fit the host config, as they come up.
struct Candidates<'a> {
    links: Links,
    wanted: Option<&'a InterfaceName>,
    /// The links that were cleared and brought up, by index.
    prepared: BTreeSet<u32>,
    /// Why the kernel did not bring one up, by index.
    refused: BTreeMap<u32, io::Error>,
    /// Those that fit, by the last look.
    fitting: Vec<Link>,
    /// All Ethernet links, by the last look.
    seen: Vec<Link>,
}

impl<'a> Candidates<'a> {
    fn open(wanted: Option<&'a InterfaceName>) -> Result<Self, NetError> {
        Ok(Self {
            links: Links::open().map_err(NetError::kernel("no netlink socket could be opened"))?,
            wanted,
            prepared: BTreeSet::new(),
            refused: BTreeMap::new(),
            fitting: Vec::new(),
            seen: Vec::new(),
        })
    }

    /// Looks at all links, and clears and brings up those that fit and are new.
    async fn look(&mut self) -> Result<(), NetError> {
        // Links that were brought up may have their carrier at once.
        while self.look_once().await? {}
        Ok(())
    }

    /// One look; gives whether a link was brought up.
    async fn look_once(&mut self) -> Result<bool, NetError> {
        let mut brought_up = false;
        self.seen = self
            .links
            .list()
            .await
            .map_err(NetError::kernel("the network links could not be listed"))?;
        self.fitting = self
            .seen
            .iter()
            .filter(|link| match self.wanted {
                Some(name) => link.name == *name,
                None => link.hardware == Hardware::Ethernet,
            })
            .cloned()
            .collect();
        for link in &self.fitting {
            if self.prepared.insert(link.index) {
                let name = &link.name;
                self.links
                    .flush(link.index)
                    .await
                    .map_err(NetError::kernel(format!(
                        "the addresses of {name} could not be removed"
                    )))?;
                if let Err(error) = self.links.set_up(link.index).await {
                    tracing::warn!("{name} cannot be brought up: {error}");
                    self.refused.insert(link.index, error);
                    continue;
                }
                brought_up = true;
                tracing::debug!("{link} is brought up");
            }
        }
        Ok(brought_up)
    }

    /// Waits until a link that fits has a carrier, and returns the first such.
    async fn wait_for_carrier(&mut self, timeouts: &Timeouts) -> Result<Link, NetError> {
        let begun = Instant::now();
        let mut appeared = None;
        loop {
            self.look().await?;
            if let Some(link) = self.with_carrier().next() {
                tracing::info!(interface = %link.name, ms = begun.elapsed().as_millis(), "link is up");
                return Ok(link.clone());
            }
            let (deadline, waited) = if self.fitting.is_empty() {
                (begun + timeouts.link, timeouts.link)
            } else {
                let appeared = *appeared.get_or_insert_with(Instant::now);
                (appeared + timeouts.carrier, timeouts.carrier)
            };
            if timeout_at(deadline.into(), self.links.changed())
                .await
                .is_err()
            {
                return Err(self.none(waited));
            }
        }
    }

    /// The links that fit and have a carrier, by the last look.
    fn with_carrier(&self) -> impl Iterator<Item = &Link> {
        self.fitting
            .iter()
            .filter(|link| link.carrier == Carrier::Up)
    }

    /// Asks for a lease on every link that has a carrier or gets one meanwhile.
    async fn first_lease(&mut self, limit: Duration) -> Result<(Link, Lease), NetError> {
        let deadline = Instant::now() + limit;
        let mut asking = JoinSet::new();
        let mut asked = BTreeSet::new();
        let mut tried = Vec::new();
        loop {
            for link in self.with_carrier() {
                if asked.insert(link.index) {
                    tracing::debug!(interface = %link.name, "asking for a lease");
                    let link = link.clone();
                    asking.spawn(async move {
                        let result = dhcp::acquire(link.index, link.mac, deadline).await;
                        (link, result)
                    });
                }
            }
            let everyone_was_asked = self.fitting.iter().all(|link| asked.contains(&link.index));
            if asking.is_empty() && (everyone_was_asked || Instant::now() >= deadline) {
                return Err(NetError::NoLease {
                    tried,
                    waited: limit,
                    seen: self.seen.iter().map(Link::to_string).collect(),
                });
            }
            tokio::select! {
                Some(ended) = asking.join_next() => match ended {
                    Ok((link, Ok(lease))) => return Ok((link, lease)),
                    Ok((link, Err(error))) => tried.push(Tried::new(link.name, error)),
                    Err(ended) => std::panic::resume_unwind(ended.into_panic()),
                },
                () = self.links.changed() => self.look().await?,
            }
        }
    }

    async fn configure(
        &self,
        link: &Link,
        address: Ipv4Prefix,
        routes: &[Route],
    ) -> Result<(), NetError> {
        let name = &link.name;
        self.links
            .add_address(link.index, address)
            .await
            .map_err(NetError::kernel(format!(
                "{name} could not be given {address}"
            )))?;
        for route in routes {
            self.links
                .add_route(link.index, address, *route)
                .await
                .map_err(NetError::kernel(format!(
                    "the route {route} could not be set on {name}"
                )))?;
        }
        Ok(())
    }

    /// The error of having no link to use.
    fn none(&mut self, waited: Duration) -> NetError {
        if let [link] = &self.fitting[..]
            && let Some(error) = self.refused.remove(&link.index)
        {
            return NetError::kernel(format!("{} could not be brought up", link.name))(error);
        }
        let seen = self.seen.iter().map(Link::to_string).collect();
        let wanted = self.wanted.cloned();
        if self.fitting.is_empty() {
            NetError::NoLink {
                wanted,
                waited,
                seen,
            }
        } else {
            NetError::NoCarrier {
                waited,
                tried: self.fitting.iter().map(|link| link.name.clone()).collect(),
                seen,
            }
        }
    }
}

impl Connection {
    /// The link that is connected.
    #[must_use]
    pub const fn interface(&self) -> &InterfaceName {
        &self.interface
    }

    /// The machine's address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Prefix {
        self.address
    }

    /// The default router.
    #[must_use]
    pub const fn gateway(&self) -> Option<Ipv4Addr> {
        self.gateway
    }

    /// The name servers: those of the host config, or else of the lease.
    #[must_use]
    pub fn nameservers(&self) -> &[IpAddr] {
        &self.nameservers
    }

    /// The lease, where the address is by DHCP.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// A resolver that asks this connection's name servers and no others.
    #[must_use]
    pub fn resolver(&self) -> Resolver {
        let domain = self.lease.as_ref().and_then(Lease::domain);
        Resolver::new(&self.nameservers, domain)
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.interface, self.address)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        for nameserver in &self.nameservers {
            write!(f, " dns {nameserver}")?;
        }
        match &self.lease {
            Some(lease) if lease.seconds() == u32::MAX => {
                write!(f, " (dhcp {}, lease without end)", lease.server())
            }
            Some(lease) => write!(f, " (dhcp {}, lease {} s)", lease.server(), lease.seconds()),
            None => write!(f, " (static)"),
        }
    }
}
