//! Network links, their addresses and routes, over rtnetlink.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{TryStream, TryStreamExt as _};
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    BondAdSelect, BondFailOverMac, BondLacpRate, BondMode as KernelMode, BondPrimaryReselect,
    BondXmitHashPolicy, InfoBond, InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo,
    LinkLayerType, LinkMessage, State,
};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{Handle, LinkBond, LinkUnspec, LinkVlan, MulticastGroup, RouteMessageBuilder};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::settings::Route;
use sealboot_core::format::network::{
    AdSelect, Bond, BondMode, FailOverMac, InterfaceName, LacpRate, LinkRef, MacAddress, Monitor,
    Mtu, PrimaryReselect, Vlan, XmitHashPolicy,
};

/// How long after the last news the links are looked at again. The kernel tells of every change, but
/// drops what does not fit a socket's buffer, and a lost "carrier is there" must not cost a boot.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// News come in bursts; what follows within this time is taken together with the first.
const BURST: Duration = Duration::from_millis(20);
/// Of routes that are set here: each link has its own, so that a default route of one does not replace that of
/// another while both are tried. The kernel's own for what a router says is 1024.
const METRIC: u32 = 100;

/// A network link as the kernel described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: InterfaceName,
    /// Its address; as the port of a bond, the bond's.
    pub(super) mac: MacAddress,
    /// The card's own address, where it has one.
    pub(super) permanent_mac: Option<MacAddress>,
    pub(super) hardware: Hardware,
    pub(super) carrier: Carrier,
    /// The bond that it is a port of.
    pub(super) bond: Option<u32>,
}

/// What carries a link's packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hardware {
    /// An Ethernet card, or what stands for one: a virtual machine's, or the end of a veth pair,
    /// which is a network namespace's card.
    Ethernet,
    /// Made of other links, or of nothing: a bridge, a VLAN, a tunnel. Its kind, as the kernel has it.
    Virtual(String),
}

/// Whether a link passes packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// A cable, with a live machine at its other end.
    Up,
    /// Nothing to speak to; or the link itself is down.
    Down,
}

impl Link {
    /// Whether a host config means this link.
    pub(super) fn is(&self, link: &LinkRef) -> bool {
        match link {
            LinkRef::Name(name) => *name == self.name,
            // A VLAN has the address of its card, and is not the card.
            LinkRef::Mac(mac) => {
                self.hardware == Hardware::Ethernet
                    && self.permanent_mac.unwrap_or(self.mac) == *mac
            }
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let carrier = match self.carrier {
            Carrier::Up => "carrier",
            Carrier::Down => "no carrier",
        };
        match &self.hardware {
            Hardware::Ethernet => write!(f, "{} ({carrier})", self.name),
            Hardware::Virtual(kind) => write!(f, "{} ({kind}, {carrier})", self.name),
        }
    }
}

/// What the kernel has found out about an address of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It can be used.
    Usable,
    /// Whether another machine has it too is still being asked (RFC 4862, section 5.4).
    Tentative,
    /// Another machine has it.
    Duplicate,
}

/// The kernel's links. Clones hear of the same changes.
#[derive(Debug, Clone)]
pub(super) struct Links {
    handle: Handle,
    news: watch::Receiver<()>,
    /// Held while the kernel lists something.
    listing: Arc<Mutex<()>>,
    /// Read and write the socket until this is dropped.
    _tasks: Arc<JoinSet<()>>,
}

impl Links {
    /// Connects to the kernel, and from then on hears of every change of links and of IPv6 addresses.
    pub(super) fn open() -> io::Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
        let (heard, news) = watch::channel(());
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        tasks
            .spawn(async move { while messages.recv().await.is_ok() && heard.send(()).is_ok() {} });
        Ok(Self {
            handle,
            news,
            listing: Arc::default(),
            _tasks: Arc::new(tasks),
        })
    }

    /// Every Ethernet link, virtual ones included, in the kernel's order.
    pub(super) async fn list(&self) -> io::Result<Vec<Link>> {
        let messages = self.dump_links().await?;
        Ok(messages.iter().filter_map(describe).collect())
    }

    async fn dump_links(&self) -> io::Result<Vec<LinkMessage>> {
        self.dump(|handle| handle.link().get().execute()).await
    }

    /// Has the kernel list something, and hears it to its end even where whoever asked has given up: it lists one
    /// thing at a time on a socket, and refuses the next until then with `EBUSY` (`__netlink_dump_start`).
    async fn dump<S, T>(&self, ask: impl FnOnce(Handle) -> S + Send + 'static) -> io::Result<Vec<T>>
    where
        S: TryStream<Ok = T, Error = rtnetlink::Error> + Send + 'static,
        T: Send + 'static,
    {
        let handle = self.handle.clone();
        let listing = Arc::clone(&self.listing);
        let all = tokio::spawn(async move {
            let _alone = listing.lock().await;
            ask(handle).try_collect().await
        });
        all.await.map_err(io::Error::other)?.map_err(kernel)
    }

    /// Waits until something may have changed; not longer than [`LOOK_AGAIN`].
    pub(super) async fn changed(&mut self) {
        if let Ok(Ok(())) = timeout(LOOK_AGAIN, self.news.changed()).await {
            sleep(BURST).await;
        }
    }

    /// Brings the loopback link up; the kernel gives it 127.0.0.1.
    pub(super) async fn loopback_up(&self) -> io::Result<()> {
        for message in self.dump_links().await? {
            if message.header.flags.contains(LinkFlags::Loopback) {
                self.set_up(message.header.index).await?;
            }
        }
        Ok(())
    }

    /// Brings a link up, so that it can find a carrier.
    pub(super) async fn set_up(&self, index: u32) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).up().build())
            .await
    }

    /// Takes a link down; its addresses stay, its routes go.
    pub(super) async fn set_down(&self, index: u32) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(index).down().build())
            .await
    }

    /// Sets the largest packet of a link.
    pub(super) async fn set_mtu(&self, index: u32, mtu: Mtu) -> io::Result<()> {
        let mtu = mtu.bytes().into();
        self.change(LinkUnspec::new_with_index(index).mtu(mtu).build())
            .await
    }

    /// Makes a link the port of a bond. It must be down, and is brought up with the bond.
    pub(super) async fn set_bond(&self, port: u32, bond: u32) -> io::Result<()> {
        self.change(LinkUnspec::new_with_index(port).controller(bond).build())
            .await
    }

    async fn change(&self, change: LinkMessage) -> io::Result<()> {
        let request = self.handle.link().change(change);
        request.execute().await.map_err(kernel)
    }

    /// Makes a bond, without ports. Which of them is the primary one is said once they are there.
    pub(super) async fn add_bond(&self, bond: &Bond) -> io::Result<()> {
        let mut message = LinkBond::new(bond.name.as_str()).mode(mode(&bond.mode));
        for option in options(bond) {
            message = message.append_info_data(option);
        }
        if let Some(mtu) = bond.mtu {
            message = message.mtu(mtu.bytes().into());
        }
        self.add(message.build()).await
    }

    /// Deletes what has the name of a bond and is a bond of another mode or with other options: a kernel that has
    /// bonding built in starts with a `bond0`, in mode balance-rr. What an earlier attempt has made stays.
    pub(super) async fn delete_unlike(&self, bonds: &[Bond]) -> io::Result<()> {
        for message in self.dump_links().await? {
            if bonds.iter().any(|bond| is_unlike(&message, bond)) {
                let request = self.handle.link().del(message.header.index);
                request.execute().await.map_err(kernel)?;
            }
        }
        Ok(())
    }

    /// Names the primary port of an active-backup bond.
    pub(super) async fn set_primary(&self, name: &InterfaceName, port: u32) -> io::Result<()> {
        let message = LinkBond::new(name.as_str()).primary(port).build();
        self.change(message).await
    }

    /// Makes a tagged link over the link with this index.
    pub(super) async fn add_vlan(&self, vlan: &Vlan, over: u32) -> io::Result<()> {
        let id = vlan.id.number();
        self.add(LinkVlan::new(vlan.name.as_str(), over, id).build())
            .await
    }

    async fn add(&self, message: LinkMessage) -> io::Result<()> {
        let request = self.handle.link().add(message);
        request.execute().await.map_err(kernel)
    }

    /// Takes every IPv4 address from a link, and with the last one the kernel takes its routes.
    pub(super) async fn flush(&self, index: u32) -> io::Result<()> {
        for address in self.dump_addresses(index, AddressFamily::Inet).await? {
            match self.handle.address().del(address).execute().await {
                Ok(()) => {}
                // A secondary address goes with its primary one.
                Err(error) => match kernel(error) {
                    error if error.kind() == io::ErrorKind::AddrNotAvailable => {}
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Takes one address from a link.
    pub(super) async fn remove_address(&self, index: u32, address: IpNet) -> io::Result<()> {
        let family = match address {
            IpNet::V4(_) => AddressFamily::Inet,
            IpNet::V6(_) => AddressFamily::Inet6,
        };
        for message in self.dump_addresses(index, family).await? {
            if ip_of(&message) == Some(address) {
                let request = self.handle.address().del(message);
                request.execute().await.map_err(kernel)?;
            }
        }
        Ok(())
    }

    /// The IPv6 addresses of a link, link-local ones included.
    pub(super) async fn ipv6_addresses(&self, index: u32) -> io::Result<Vec<(IpNet, Standing)>> {
        let messages = self.dump_addresses(index, AddressFamily::Inet6).await?;
        let address = |message: &AddressMessage| Some((ip_of(message)?, standing(message)));
        Ok(messages.iter().filter_map(address).collect())
    }

    async fn dump_addresses(
        &self,
        index: u32,
        family: AddressFamily,
    ) -> io::Result<Vec<AddressMessage>> {
        let mut all = self
            .dump(move |handle| {
                let request = handle.address().get();
                request.set_link_index_filter(index).execute()
            })
            .await?;
        all.retain(|address| address.header.family == family);
        Ok(all)
    }

    /// Gives a link an address; the kernel adds the route to its network.
    pub(super) async fn add_address(&self, index: u32, address: IpNet) -> io::Result<()> {
        self.handle
            .address()
            .add(index, address.addr(), address.prefix_len())
            .replace()
            .execute()
            .await
            .map_err(kernel)
    }

    /// Sets a route out of a link that has `addresses`.
    pub(super) async fn add_route(
        &self,
        index: u32,
        addresses: &[IpNet],
        route: Route,
    ) -> io::Result<()> {
        let message = route_message(index, addresses, route)?;
        self.handle
            .route()
            .add(message)
            .replace()
            .execute()
            .await
            .map_err(kernel)
    }

    /// The router of a link's default route of IPv6, as a router told the kernel.
    pub(super) async fn ipv6_gateway(&self, index: u32) -> io::Result<Option<IpAddr>> {
        use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};

        let all = RouteMessageBuilder::<std::net::Ipv6Addr>::new().build();
        let routes = self.dump(|handle| handle.route().get(all).execute());
        for route in routes.await? {
            let attributes = &route.attributes;
            let is_ours = attributes.contains(&RouteAttribute::Oif(index));
            let via = attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Gateway(RouteAddress::Inet6(via)) => Some(IpAddr::V6(*via)),
                _ => None,
            });
            if is_ours && route.header.destination_prefix_length == 0 && via.is_some() {
                return Ok(via);
            }
        }
        Ok(None)
    }
}

fn route_message(index: u32, addresses: &[IpNet], route: Route) -> io::Result<RouteMessage> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(route.to.addr(), route.to.prefix_len())
        .map_err(invalid)?
        .output_interface(index)
        .priority(METRIC + index);
    builder = match route.via {
        Some(router) => {
            let on_link = addresses.iter().any(|own| own.contains(&router));
            let builder = builder.gateway(router).map_err(invalid)?;
            if on_link {
                builder
            } else {
                // The kernel would look for a route to the router, and there is none by the address.
                builder.onlink()
            }
        }
        None => builder.scope(RouteScope::Link),
    };
    Ok(builder.build())
}

fn ip_of(message: &AddressMessage) -> Option<IpNet> {
    let attributes = message.attributes.iter();
    let mut addresses = attributes.filter_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(addresses.next()?, message.header.prefix_len).ok()
}

fn standing(message: &AddressMessage) -> Standing {
    let attributes = message.attributes.iter();
    let mut flags = attributes.filter_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    match flags.next().unwrap_or(AddressFlags::empty()) {
        flags if flags.contains(AddressFlags::Dadfailed) => Standing::Duplicate,
        flags if flags.contains(AddressFlags::Tentative) => Standing::Tentative,
        _ => Standing::Usable,
    }
}

/// Whether this link is a bond that has the name of `bond`, and not its mode or its options.
fn is_unlike(message: &LinkMessage, bond: &Bond) -> bool {
    let mut is_named = false;
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => is_named = name == bond.name.as_str(),
            LinkAttribute::LinkInfo(infos) => {
                found = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Bond(options)) => Some(options),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let mut wanted = options(bond);
    wanted.push(InfoBond::Mode(mode(&bond.mode)));
    is_named && found.is_some_and(|found| !wanted.iter().all(|option| found.contains(option)))
}

const fn mode(mode: &BondMode) -> KernelMode {
    match mode {
        BondMode::BalanceRr { .. } => KernelMode::BalanceRr,
        BondMode::ActiveBackup { .. } => KernelMode::ActiveBackup,
        BondMode::Lacp { .. } => KernelMode::Ieee8023Ad,
    }
}

/// A bond's options in the kernel's terms, without its mode, which must come first, and its primary port.
fn options(bond: &Bond) -> Vec<InfoBond> {
    let mut options = Vec::new();
    match &bond.monitor {
        Monitor::Mii {
            interval,
            updelay,
            downdelay,
        } => {
            options.push(InfoBond::MiiMon(*interval));
            options.extend(updelay.map(InfoBond::UpDelay));
            options.extend(downdelay.map(InfoBond::DownDelay));
        }
        Monitor::Arp { interval, targets } => {
            options.push(InfoBond::ArpInterval(*interval));
            options.push(InfoBond::ArpIpTarget(targets.clone()));
        }
    }
    match &bond.mode {
        BondMode::BalanceRr { packets_per_slave } => {
            options
                .extend(packets_per_slave.map(|packets| InfoBond::PacketsPerPort(packets.into())));
        }
        BondMode::ActiveBackup {
            primary: _,
            primary_reselect,
            fail_over_mac,
        } => {
            options.extend(primary_reselect.map(|reselect| {
                InfoBond::PrimaryReselect(match reselect {
                    PrimaryReselect::Always => BondPrimaryReselect::Always,
                    PrimaryReselect::Better => BondPrimaryReselect::Better,
                    PrimaryReselect::Failure => BondPrimaryReselect::Failure,
                })
            }));
            options.extend(fail_over_mac.map(|mac| {
                InfoBond::FailOverMac(match mac {
                    FailOverMac::None => BondFailOverMac::None,
                    FailOverMac::Active => BondFailOverMac::Active,
                    FailOverMac::Follow => BondFailOverMac::Follow,
                })
            }));
        }
        BondMode::Lacp {
            lacp_rate,
            ad_select,
            min_links,
            xmit_hash_policy,
        } => {
            options.extend(lacp_rate.map(|rate| {
                InfoBond::AdLacpRate(match rate {
                    LacpRate::Slow => BondLacpRate::Slow,
                    LacpRate::Fast => BondLacpRate::Fast,
                })
            }));
            options.extend(ad_select.map(|select| {
                InfoBond::AdSelect(match select {
                    AdSelect::Stable => BondAdSelect::Stable,
                    AdSelect::Bandwidth => BondAdSelect::Bandwidth,
                    AdSelect::Count => BondAdSelect::Count,
                })
            }));
            options.extend(min_links.map(|links| InfoBond::MinLinks(links.into())));
            options.extend(xmit_hash_policy.map(|policy| {
                InfoBond::XmitHashPolicy(match policy {
                    XmitHashPolicy::Layer2 => BondXmitHashPolicy::Layer2,
                    XmitHashPolicy::Layer34 => BondXmitHashPolicy::Layer34,
                    XmitHashPolicy::Layer23 => BondXmitHashPolicy::Layer23,
                    XmitHashPolicy::Encap23 => BondXmitHashPolicy::Encap23,
                    XmitHashPolicy::Encap34 => BondXmitHashPolicy::Encap34,
                })
            }));
        }
    }
    options
}

/// The kernel's error number where there is one.
fn kernel(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

/// Returns the Ethernet address in an attribute; `None` for an address of another length.
fn mac_address(bytes: &[u8]) -> Option<MacAddress> {
    <[u8; 6]>::try_from(bytes).ok().map(MacAddress::from)
}

/// Reads a link; `None` where it is no Ethernet link, or its name none that a host config can name.
fn describe(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    if message.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let (mut name, mut mac, mut hardware) = (None, None, Hardware::Ethernet);
    let (mut queue, mut state) = (None, None);
    let (mut permanent_mac, mut bond) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = text.parse().ok(),
            LinkAttribute::Qdisc(name) => queue = Some(name.as_str()),
            LinkAttribute::OperState(found) => state = Some(*found),
            LinkAttribute::Address(bytes) => mac = mac_address(bytes),
            LinkAttribute::PermAddress(bytes) => {
                permanent_mac = mac_address(bytes);
            }
            LinkAttribute::Controller(index) => bond = Some(*index),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info
                        && *kind != InfoKind::Veth
                    {
                        hardware = Hardware::Virtual(kind.to_string());
                    }
                }
            }
            _ => {}
        }
    }
    // RUNNING comes up to a second after LOWER_UP, whenever the kernel's link watch comes round
    // (net/core/link_watch.c). What counts is that the link's queue was started, before which what is
    // sent is lost, and that 802.1X does not hold the port.
    let started = queue.is_some_and(|queue| queue != "noop") && state != Some(State::Dormant);
    let up = flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    let carrier = if up && (started || flags.contains(LinkFlags::Running)) {
        Carrier::Up
    } else {
        Carrier::Down
    };
    Some(Link {
        index: message.header.index,
        name: name?,
        mac: mac?,
        permanent_mac,
        hardware,
        carrier,
        bond,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: LinkFlags, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 2;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = flags;
        message.attributes = attributes;
        message
    }

    fn named(name: &str) -> Vec<LinkAttribute> {
        vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
        ]
    }

    #[test]
    fn a_card_has_a_carrier_only_when_it_is_up_and_running() {
        let all = LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running;
        let link = describe(&message(all, named("eth0"))).unwrap();
        assert_eq!(link.to_string(), "eth0 (carrier)");
        for missing in [LinkFlags::Up, LinkFlags::LowerUp, LinkFlags::Running] {
            let link = describe(&message(all - missing, named("eth0"))).unwrap();
            assert_eq!(link.to_string(), "eth0 (no carrier)", "{missing}");
        }
    }

    #[test]
    fn software_links_are_told_from_cards_and_veth_from_both() {
        for (kind, expected) in [
            (InfoKind::Bridge, "x (bridge, no carrier)"),
            (InfoKind::Vlan, "x (vlan, no carrier)"),
            (InfoKind::Ifb, "x (ifb, no carrier)"),
            (InfoKind::Other("new".into()), "x (new, no carrier)"),
            (InfoKind::Veth, "x (no carrier)"),
        ] {
            let mut attributes = named("x");
            attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
            let link = describe(&message(LinkFlags::empty(), attributes)).unwrap();
            assert_eq!(link.to_string(), expected);
        }
    }

    #[test]
    fn a_bond_of_another_mode_or_with_other_options_is_told_from_the_one_that_is_wanted() {
        let network: sealboot_core::format::network::Network = serde_json::from_str(
            r#"{"mode": "dhcp", "bonds": [{"name": "bond0", "ports": ["eth0"], "mode": "active-backup", "miimon": 50}]}"#,
        )
        .unwrap();
        let bond = &network.bonds[0];
        let made = |name: &str, mode, interval| {
            let data = vec![
                InfoBond::Mode(mode),
                InfoBond::MiiMon(interval),
                InfoBond::UpDelay(0),
            ];
            let mut attributes = named(name);
            let infos = vec![
                LinkInfo::Kind(InfoKind::Bond),
                LinkInfo::Data(InfoData::Bond(data)),
            ];
            attributes.push(LinkAttribute::LinkInfo(infos));
            message(LinkFlags::empty(), attributes)
        };
        let (wanted, other) = (KernelMode::ActiveBackup, KernelMode::BalanceRr);
        assert!(!is_unlike(&made("bond0", wanted, 50), bond));
        assert!(is_unlike(&made("bond0", other, 50), bond));
        assert!(is_unlike(&made("bond0", wanted, 0), bond));
        assert!(!is_unlike(&made("bond1", other, 0), bond));
        assert!(!is_unlike(
            &message(LinkFlags::empty(), named("bond0")),
            bond
        ));
    }

    #[test]
    fn what_is_no_ethernet_link_is_not_listed() {
        let mut loopback = message(LinkFlags::Loopback, named("lo"));
        loopback.header.link_layer_type = LinkLayerType::Loopback;
        let mut infiniband = named("ib0");
        infiniband[1] = LinkAttribute::Address(vec![0; 20]);
        for message in [
            loopback,
            message(LinkFlags::Up, infiniband),
            message(LinkFlags::Up, named("eth 0")),
            message(LinkFlags::Up, Vec::new()),
        ] {
            assert_eq!(describe(&message), None);
        }
    }

    // The kernel of this machine: two listings at once on one socket were EBUSY.
    #[tokio::test]
    async fn whoever_lists_waits_for_nobody_who_has_given_up() {
        let links = Links::open().unwrap();
        for _ in 0..20 {
            let all = futures_util::future::join_all((0..16).map(|_| async {
                links.list().await?;
                links.ipv6_addresses(1).await?;
                links.ipv6_gateway(1).await
            }));
            let given_up = timeout(Duration::ZERO, links.list());
            let (all, _) = tokio::join!(all, given_up);
            for result in all {
                assert_eq!(result.unwrap(), None);
            }
        }
    }
}
