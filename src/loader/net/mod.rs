//! From a host config to a working network: link, addresses, routes, name servers.
//!
//! On entry nothing is assumed: no link is up, drivers may still be probing, an earlier attempt may
//! have left addresses behind. On exit one link has the addresses and the routes that the host config,
//! a DHCP server or a router gives, and [`Connection::resolver`] asks the name servers that belong to it. The
//! kernel's `ip=` autoconfiguration has no part in it.
//!
//! ```text
//!  links appear ─▶ made (bonds, VLANs) ─▶ a carrier ─▶ method, by family ─▶ reach a mirror ─▶ Connection
//!                  └────────────────── candidates: all of it at once, the first wins ──────┘      │
//!                                                               keeper: renews leases, until it is dropped
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `goal` | what a connection is for, and how long it may take |
//! | `link` | links, addresses and routes, over rtnetlink |
//! | `virtual_links` | the next steps to create bonds and VLANs; pure |
//! | `candidates` | every way at once, and the one that is taken |
//! | `method` | one method on one link: static, DHCP, routers |
//! | `dhcp` | the DHCPv4 client |
//! | `dhcp6` | the DHCPv6 client |
//! | `router` | what routers say (IPv6) |
//! | `on_link` | sockets that one link alone carries |
//! | `reach` | whether a link reaches a mirror |
//! | `keeper` | leases and carriers, while a connection is used |
//! | [`resolver`] | names to addresses |
//! | `race` | the address of a name to connect to: IPv6 and IPv4 at the same time |
//! | [`sntp`] | what time others say it is |
//! | [`provider`] | the cryptography of TLS |

mod candidates;
pub mod clock;
mod dhcp;
mod dhcp6;
mod failure;
mod goal;
mod keeper;
mod link;
mod method;
mod on_link;
pub mod provider;
mod race;
mod reach;
pub mod resolver;
mod router;
mod settings;
pub mod sntp;
mod virtual_links;

use std::fmt;
use std::io;
use std::net::IpAddr;

use tokio::task::JoinSet;

use candidates::Candidates;
pub use dhcp::{Lease, Route as LeaseRoute};
pub use failure::{NetError, Tried};
pub use goal::{Goal, Timeouts};
use link::Links;
pub use race::{Family, TriedAddress};
pub use resolver::{ResolveError, Resolver};
use sealboot_core::format::network::{DomainName, InterfaceName};
pub use settings::{Origin, Route, Settings};

/// What reads bytes that anyone on the link may have sent, for `tests/fuzz` to reach; no API.
#[doc(hidden)]
pub mod from_the_link {
    pub use super::dhcp::from_the_link as dhcp;
    pub use super::dhcp6::from_the_link as dhcp6;
    pub use super::router::Advertisement;
}

/// A working network, kept for as long as this lives: within the runtime that it was made in, leases are renewed.
#[derive(Debug)]
pub struct Connection {
    interface: InterfaceName,
    settings: Vec<Settings>,
    _keepers: JoinSet<()>,
}

/// Connects the machine as the host config says.
///
/// Every link that fits is brought up, those that appear on the way included, and each is tried as soon as it has
/// a carrier, all at once. Of several ways, the first that reaches a mirror wins, or else the first with an address.
/// Links that are made of others, such as bridges, fit only where they are named or made here.
///
/// Can be called again after a failure, or after a success: whatever address and route a link that fits has is taken
/// from it first.
///
/// # Errors
///
/// [`NetError`], after two minutes at the latest.
pub async fn connect(goal: &Goal<'_>) -> Result<Connection, NetError> {
    connect_within(goal, &Timeouts::DEFAULT).await
}

/// [`connect`] with other bounds.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_within(goal: &Goal<'_>, timeouts: &Timeouts) -> Result<Connection, NetError> {
    let candidates = Candidates::open(goal, timeouts).await?;
    let taken = candidates.first().await?;
    let mut keepers = JoinSet::new();
    keepers.spawn(keeper::watch(taken.place.clone()));
    let mut settings = Vec::new();
    for (given, keeper) in taken.settings {
        settings.push(given.clone());
        keepers.spawn(keeper::keep(taken.place.clone(), given, keeper));
    }
    let connection = Connection {
        interface: taken.place.link.name,
        settings,
        _keepers: keepers,
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

impl Connection {
    /// The link that is connected.
    #[must_use]
    pub const fn interface(&self) -> &InterfaceName {
        &self.interface
    }

    /// What the link was given, by method; that which won first.
    #[must_use]
    pub fn settings(&self) -> &[Settings] {
        &self.settings
    }

    /// The machine's addresses.
    pub fn addresses(&self) -> impl Iterator<Item = ipnet::IpNet> {
        let all = self.settings.iter();
        all.flat_map(|settings| settings.addresses.iter().copied())
    }

    /// The name servers, in order of preference.
    #[must_use]
    pub fn nameservers(&self) -> Vec<IpAddr> {
        distinct(
            self.settings
                .iter()
                .flat_map(|settings| &settings.nameservers),
        )
    }

    /// Time servers that the network names.
    #[must_use]
    pub fn ntp(&self) -> Vec<IpAddr> {
        distinct(self.settings.iter().flat_map(|settings| &settings.ntp))
    }

    /// A resolver that asks this connection's name servers and no others.
    #[must_use]
    pub fn resolver(&self) -> Resolver {
        let search: Vec<DomainName> =
            distinct(self.settings.iter().flat_map(|settings| &settings.search));
        Resolver::new(&self.nameservers(), &search).over(self.interface.clone())
    }
}

fn distinct<'a, T: PartialEq + Clone + 'a>(all: impl Iterator<Item = &'a T>) -> Vec<T> {
    let mut found: Vec<T> = Vec::new();
    for item in all {
        if !found.contains(item) {
            found.push(item.clone());
        }
    }
    found
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.interface)?;
        let all: Vec<String> = self.settings.iter().map(ToString::to_string).collect();
        f.write_str(&all.join("; "))
    }
}
