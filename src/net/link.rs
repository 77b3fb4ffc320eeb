//! Network links, their addresses and routes, over rtnetlink.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, State,
};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::dhcp::{Mac, Route};
use crate::format::host_config::{InterfaceName, Ipv4Prefix};

/// How long after the last news the links are looked at again. The kernel tells of every change, but
/// drops what does not fit a socket's buffer, and a lost "carrier is there" must not cost a boot.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// News come in bursts; what follows within this time is taken together with the first.
const BURST: Duration = Duration::from_millis(20);

/// A network link as the kernel described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: InterfaceName,
    pub(super) mac: Mac,
    pub(super) hardware: Hardware,
    pub(super) carrier: Carrier,
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

/// The kernel's links.
#[derive(Debug)]
pub(super) struct Links {
    handle: Handle,
    news: Arc<Notify>,
    /// Read and write the socket until this is dropped.
    _tasks: JoinSet<()>,
}

impl Links {
    /// Connects to the kernel, and from then on hears of every change.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, mut messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
        let news = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let heard = Arc::clone(&news);
        tasks.spawn(async move {
            while messages.recv().await.is_ok() {
                heard.notify_one();
            }
        });
        Ok(Self {
            handle,
            news,
            _tasks: tasks,
        })
    }

    /// Every Ethernet link, virtual ones included, in the kernel's order.
    pub(super) async fn list(&self) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        let mut messages = std::pin::pin!(self.handle.link().get().execute());
        while let Some(message) = messages.try_next().await.map_err(kernel)? {
            links.extend(describe(&message));
        }
        Ok(links)
    }

    /// Waits until something about a link may have changed; not longer than [`LOOK_AGAIN`].
    pub(super) async fn changed(&self) {
        if timeout(LOOK_AGAIN, self.news.notified()).await.is_ok() {
            sleep(BURST).await;
        }
    }

    /// Brings the loopback link up; the kernel gives it 127.0.0.1.
    pub(super) async fn loopback_up(&self) -> io::Result<()> {
        let mut messages = std::pin::pin!(self.handle.link().get().execute());
        while let Some(message) = messages.try_next().await.map_err(kernel)? {
            if message.header.flags.contains(LinkFlags::Loopback) {
                self.set_up(message.header.index).await?;
            }
        }
        Ok(())
    }

    /// Brings a link up, so that it can find a carrier.
    pub(super) async fn set_up(&self, index: u32) -> io::Result<()> {
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle
            .link()
            .change(up)
            .execute()
            .await
            .map_err(kernel)
    }

    /// Takes a link down; its addresses stay, its routes go.
    pub(super) async fn set_down(&self, index: u32) -> io::Result<()> {
        let down = LinkUnspec::new_with_index(index).down().build();
        self.handle
            .link()
            .change(down)
            .execute()
            .await
            .map_err(kernel)
    }

    /// Takes every IPv4 address from a link, and with the last one the kernel takes its routes.
    pub(super) async fn flush(&self, index: u32) -> io::Result<()> {
        let addresses: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute()
            .try_filter(|address| std::future::ready(address.header.family == AddressFamily::Inet))
            .try_collect()
            .await
            .map_err(kernel)?;
        for address in addresses {
            match self
                .handle
                .address()
                .del(address)
                .execute()
                .await
                .map_err(kernel)
            {
                // A secondary address goes with its primary one.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Gives a link an address; the kernel adds the route to its network.
    pub(super) async fn add_address(&self, index: u32, address: Ipv4Prefix) -> io::Result<()> {
        self.handle
            .address()
            .add(index, IpAddr::V4(address.address()), address.prefix_len())
            .replace()
            .execute()
            .await
            .map_err(kernel)
    }

    /// Sets a route out of a link that has `address`.
    pub(super) async fn add_route(
        &self,
        index: u32,
        address: Ipv4Prefix,
        route: Route,
    ) -> io::Result<()> {
        let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(route.destination, route.prefix_len)
            .output_interface(index);
        builder = match route.router {
            Some(router) if address.contains(router) => builder.gateway(router),
            // The kernel would look for a route to the router, and there is none by the address.
            Some(router) => builder.gateway(router).onlink(),
            None => builder.scope(RouteScope::Link),
        };
        self.handle
            .route()
            .add(builder.build())
            .replace()
            .execute()
            .await
            .map_err(kernel)
    }
}

/// The kernel's error number where there is one.
fn kernel(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

/// Reads a link; `None` where it is no Ethernet link, or its name none that a host config can name.
fn describe(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    if message.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let (mut name, mut mac, mut hardware) = (None, None, Hardware::Ethernet);
    let (mut queue, mut state) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = text.parse().ok(),
            LinkAttribute::Qdisc(name) => queue = Some(name.as_str()),
            LinkAttribute::OperState(found) => state = Some(*found),
            LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok(),
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
        hardware,
        carrier,
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
}
