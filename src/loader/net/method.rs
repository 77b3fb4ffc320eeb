//! One method on one link: from a carrier to settings that the kernel has been given.
//!
//! | method | settings are from |
//! |---|---|
//! | static | the host config |
//! | DHCPv4 | a lease |
//! | automatic IPv6 | routers, and DHCPv6 where they say so |
//! | DHCPv6 | a lease; routes are a router's all the same |

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv6Net};
use tokio::time::{sleep, timeout, timeout_at};

use super::dhcp::{self, Identity, VENDOR_CLASS};
use super::dhcp6::{self, Dhcp6, Purpose};
use super::failure::NoSettings;
use super::link::{Link, Links, Standing};
use super::router::{Advertisement, Routers};
use super::settings::{Origin, Route, Settings};
use sealboot_core::format::network::{DhcpOptions, Ipv4Method, Ipv6Method};

/// How long an address may be asked about before it is used (RFC 4862, section 5.4: a second, and up to another one
/// before the question). After that a link that loses every packet is found out by other means.
const DUPLICATE_ADDRESS_DETECTION: Duration = Duration::from_secs(4);
/// How long name servers are waited for that a router says DHCPv6 has. Without them, mirrors that are named by
/// address can still be reached.
const SETTINGS: Duration = Duration::from_secs(5);
/// Between two questions to routers: the kernel asks three times in its first seconds (RFC 4861, section 10), which a
/// switch port that does not forward yet swallows.
const ASK_ROUTERS: Duration = Duration::from_secs(4);

/// What keeps settings while they are used.
#[derive(Debug)]
pub(super) enum Keeper {
    /// They do not end.
    Nobody,
    /// A lease of IPv4.
    Dhcp(Box<dhcp::Lease>),
    /// A lease of IPv6.
    Dhcp6(Box<Dhcp6>),
}

/// Where a method is carried out.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) link: Link,
    pub(super) links: Links,
    pub(super) says: DhcpOptions,
    pub(super) deadline: Instant,
}

impl Place {
    pub(super) fn identity(&self) -> Identity {
        Identity::new(self.link.mac, &self.says)
    }

    /// Carries out a method of IPv4; nothing where there is none.
    pub(super) async fn ipv4(self, method: Ipv4Method) -> Result<(Settings, Keeper), NoSettings> {
        let (settings, keeper) = match method {
            Ipv4Method::Dhcp => {
                let index = self.link.index;
                let lease = dhcp::acquire(index, self.identity(), self.deadline).await?;
                (Settings::from(&lease), Keeper::Dhcp(Box::new(lease)))
            }
            Ipv4Method::Static { addresses, gateway } => {
                let mut settings = Settings::of(Origin::Static);
                settings.addresses = addresses.into_iter().map(IpNet::V4).collect();
                let route = gateway.map(|gateway| Route::default_by(gateway.into()));
                settings.routes.extend(route);
                (settings, Keeper::Nobody)
            }
            Ipv4Method::None => (Settings::of(Origin::Static), Keeper::Nobody),
        };
        self.apply(&settings).await?;
        Ok((settings, keeper))
    }

    /// Carries out a method of IPv6; nothing where there is none.
    pub(super) async fn ipv6(self, method: Ipv6Method) -> Result<(Settings, Keeper), NoSettings> {
        match method {
            Ipv6Method::Static { addresses, gateway } => {
                let mut settings = Settings::of(Origin::Static);
                settings.addresses = addresses.iter().copied().map(IpNet::V6).collect();
                let route = gateway.map(|gateway| Route::default_by(gateway.into()));
                settings.routes.extend(route);
                self.apply(&settings).await?;
                for address in addresses {
                    self.usable(address.addr()).await?;
                }
                Ok((settings, Keeper::Nobody))
            }
            Ipv6Method::Auto => self.by_routers().await,
            Ipv6Method::Dhcp => {
                let mut client = self.dhcp6(Purpose::Address)?;
                let lease = self.lease6(&mut client).await?;
                self.bind6(lease, client).await
            }
            Ipv6Method::None => Ok((Settings::of(Origin::Static), Keeper::Nobody)),
        }
    }

    /// Gives the kernel addresses and routes.
    pub(super) async fn apply(&self, settings: &Settings) -> Result<(), NoSettings> {
        let (index, name) = (self.link.index, &self.link.name);
        if let Some(mtu) = settings.mtu {
            // The network's word; a card that cannot do it goes on with its own.
            if let Err(error) = self.links.set_mtu(index, mtu).await {
                tracing::warn!("{name} does not take packets of {mtu} bytes: {error}");
            }
        }
        for address in &settings.addresses {
            let result = self.links.add_address(index, *address).await;
            result.map_err(NoSettings::kernel(format!(
                "{name} could not be given {address}"
            )))?;
        }
        for route in &settings.routes {
            let what = format!("the route {route} could not be set on {name}");
            let result = self.links.add_route(index, &settings.addresses, *route);
            result.await.map_err(NoSettings::kernel(what))?;
        }
        Ok(())
    }

    /// Waits until nobody else is known to have an address.
    async fn usable(&self, address: Ipv6Addr) -> Result<(), NoSettings> {
        let mut links = self.links.clone();
        let wait = async {
            loop {
                let all = links.ipv6_addresses(self.link.index).await;
                let all = all.map_err(NoSettings::kernel("the addresses could not be listed"))?;
                let found = all.iter().find(|(own, _)| own.addr() == address);
                match found.map(|(_, standing)| *standing) {
                    Some(Standing::Usable) => return Ok(()),
                    Some(Standing::Duplicate) => return Err(NoSettings::Duplicate(address)),
                    Some(Standing::Tentative) | None => links.changed().await,
                }
            }
        };
        // Not to know is no reason to wait any longer.
        timeout(DUPLICATE_ADDRESS_DETECTION, wait)
            .await
            .unwrap_or(Ok(()))
    }

    pub(super) fn dhcp6(&self, purpose: Purpose) -> Result<Dhcp6, NoSettings> {
        let user_class = self.says.vendor_class.as_ref();
        let user_class = user_class.map_or(VENDOR_CLASS, |class| class.as_str());
        let (name, index) = (&self.link.name, self.link.index);
        Dhcp6::open(name, index, self.link.mac, user_class, purpose)
            .map_err(NoSettings::kernel("a socket for DHCPv6 failed"))
    }

    async fn lease6(&self, client: &mut Dhcp6) -> Result<dhcp6::Lease, NoSettings> {
        loop {
            let Ok(next) = timeout_at(self.deadline.into(), client.next()).await else {
                return Err(NoSettings::Silence(client.tried()));
            };
            let next = next.map_err(NoSettings::kernel("a socket for DHCPv6 failed"))?;
            // What is lost before it was used was none.
            if let Some(lease) = next {
                return Ok(lease);
            }
        }
    }

    async fn bind6(
        self,
        lease: dhcp6::Lease,
        client: Dhcp6,
    ) -> Result<(Settings, Keeper), NoSettings> {
        let mut settings = Settings::of_dhcp6(&lease);
        self.apply(&settings).await?;
        if let Some(address) = lease.address {
            self.usable(address).await?;
        }
        self.learn_gateway(&mut settings).await;
        Ok((settings, Keeper::Dhcp6(Box::new(client))))
    }

    /// Adds the kernel's default route by a router, for the console.
    async fn learn_gateway(&self, settings: &mut Settings) {
        if let Ok(Some(gateway)) = self.links.ipv6_gateway(self.link.index).await {
            settings.routes.push(Route::default_by(gateway));
        }
    }

    /// Listens to routers until the kernel has made an address of what one says, or DHCPv6 has given one.
    async fn by_routers(self) -> Result<(Settings, Keeper), NoSettings> {
        let routers = Routers::open(&self.link.name, self.link.index, self.link.mac);
        let routers = routers.map_err(NoSettings::kernel("an ICMPv6 socket failed"))?;
        let mut heard = Heard::default();
        let mut links = self.links.clone();
        let mut asked = 0_u32;
        let mut client: Option<Dhcp6> = None;
        let mut ask_at = Instant::now();
        let socket = || NoSettings::kernel("an ICMPv6 socket failed");
        loop {
            if heard.autonomous && self.has_global_address(&links).await? {
                break;
            }
            if heard.managed && client.is_none() {
                client = Some(self.dhcp6(Purpose::Address)?);
            }
            let lease = async {
                match &mut client {
                    Some(client) => client.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = sleep(self.deadline.saturating_duration_since(Instant::now())) => {
                    let of_dhcp6 = client.as_ref().map(|client| format!(", {}", client.tried()));
                    return Err(NoSettings::Silence(format!(
                        "routers asked {asked} times, {}{}",
                        heard.what(),
                        of_dhcp6.unwrap_or_default()
                    )));
                }
                () = sleep(ask_at.saturating_duration_since(Instant::now())), if heard.routers == 0 => {
                    routers.ask().await;
                    asked += 1;
                    ask_at = Instant::now() + ASK_ROUTERS;
                }
                said = routers.hear() => heard.add(said.map_err(socket())?),
                lease = lease => {
                    if let Some(lease) = lease.map_err(socket())?
                        && let Some(client) = client.take()
                    {
                        let (mut settings, keeper) = self.bind6(lease, client).await?;
                        heard.tell(&mut settings);
                        return Ok((settings, keeper));
                    }
                }
                () = links.changed() => {}
            }
        }
        let mut settings = Settings::of(Origin::Router(heard.from));
        settings.addresses = self.global_addresses(&links).await?;
        heard.tell(&mut settings);
        if settings.nameservers.is_empty() && (heard.other || heard.managed) {
            self.ask_for_settings(&mut settings).await;
        }
        self.learn_gateway(&mut settings).await;
        Ok((settings, Keeper::Nobody))
    }

    /// Asks DHCPv6 for name servers alone, and goes on without them where it does not answer.
    async fn ask_for_settings(&self, settings: &mut Settings) {
        let Ok(mut client) = self.dhcp6(Purpose::Settings) else {
            return;
        };
        match timeout(SETTINGS, client.next()).await {
            Ok(Ok(Some(lease))) => settings.tell(&lease.settings),
            _ => tracing::warn!(
                "{}: no name servers by DHCPv6: {}",
                self.link.name,
                client.tried()
            ),
        }
    }

    async fn global_addresses(&self, links: &Links) -> Result<Vec<IpNet>, NoSettings> {
        let all = links.ipv6_addresses(self.link.index).await;
        let all = all.map_err(NoSettings::kernel("the addresses could not be listed"))?;
        let usable = all.into_iter().filter(|(address, standing)| {
            *standing == Standing::Usable && !is_link_local(*address)
        });
        Ok(usable.map(|(address, _)| address).collect())
    }

    async fn has_global_address(&self, links: &Links) -> Result<bool, NoSettings> {
        Ok(!self.global_addresses(links).await?.is_empty())
    }
}

fn is_link_local(address: IpNet) -> bool {
    matches!(address.addr(), IpAddr::V6(address) if address.is_unicast_link_local())
}

/// What the routers of a link have said so far.
#[derive(Debug)]
struct Heard {
    routers: u32,
    from: Ipv6Addr,
    managed: bool,
    other: bool,
    autonomous: bool,
    nameservers: Vec<IpAddr>,
    search: Vec<sealboot_core::format::network::DomainName>,
}

impl Default for Heard {
    fn default() -> Self {
        Self {
            routers: 0,
            from: Ipv6Net::default().addr(),
            managed: false,
            other: false,
            autonomous: false,
            nameservers: Vec::new(),
            search: Vec::new(),
        }
    }
}

impl Heard {
    fn add(&mut self, (from, said): (Ipv6Addr, Advertisement)) {
        tracing::debug!(%from, ?said, "a router");
        if self.routers == 0 || said.is_default {
            self.from = from;
        }
        self.routers += 1;
        self.managed |= said.managed;
        self.other |= said.other;
        self.autonomous |= said.autonomous;
        for server in said.nameservers.into_iter().map(IpAddr::V6) {
            if !self.nameservers.contains(&server) {
                self.nameservers.push(server);
            }
        }
        for domain in said.search {
            if !self.search.contains(&domain) {
                self.search.push(domain);
            }
        }
    }

    fn tell(&self, settings: &mut Settings) {
        settings
            .nameservers
            .splice(0..0, self.nameservers.iter().copied());
        settings.search.splice(0..0, self.search.iter().cloned());
    }

    const fn what(&self) -> &'static str {
        match (self.routers, self.autonomous, self.managed) {
            (0, ..) => "no answer",
            (_, false, false) => "none offers addresses",
            (_, true, _) => "no address became usable",
            (_, false, true) => "addresses are left to DHCPv6",
        }
    }
}
