//! Every way to a network at once, and the one that is taken.
//!
//! A way is a link that fits an interface of the host config, and a family of addresses on it. As soon as the link
//! has a carrier, the method of the family is carried out. Where there is more than one way, each that has an
//! address connects to the mirrors, and the first that reaches one wins; where none does, the first that got an
//! address is used, and later stages say what is wrong with the mirrors. The other links keep no address.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::failure::{NetError, NoSettings, Tried};
use super::goal::{Goal, Timeouts};
use super::link::{Carrier, Hardware, Link, Links};
use super::method::{Keeper, Place};
use super::race::Family;
use super::reach;
use super::router::{self, Heed};
use super::settings::{Route, Settings};
use super::virtual_links::{self, Step};
use crate::heartbeat::Heartbeat;
use sealboot_core::format::host_config::MirrorTemplate;
use sealboot_core::format::network::{
    Interface, InterfaceName, Ipv4Method, Ipv6Method, LinkRef, Network,
};

/// How long after its failure a link tries to reach the mirrors again. A router or a switch behind the first one may
/// come up later than this machine.
const PROBE_AGAIN: Duration = Duration::from_secs(5);
/// How long other links are waited for, once one has an address and reaches no mirror. One that has just got its
/// carrier takes a switch half a minute to let through; and a mirror that is down is no link's fault.
const FOR_OTHERS: Duration = Duration::from_secs(40);

/// The way that was taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) place: Place,
    /// Of each family, that of the winner first.
    pub(super) settings: Vec<(Settings, Keeper)>,
}

/// All ways that there are.
pub(super) struct Candidates<'a> {
    network: &'a Network,
    mirrors: &'a [MirrorTemplate],
    heartbeat: &'a Heartbeat,
    timeouts: &'a Timeouts,
    links: Links,
    /// All Ethernet links, by the last look.
    seen: Vec<Link>,
    /// The links that were cleared and brought up, by index.
    prepared: BTreeSet<u32>,
    /// Those that the console has said to be up.
    said: BTreeSet<u32>,
    /// Why the kernel did not bring one up, by index.
    refused: BTreeMap<u32, io::Error>,
    begun: Instant,
    appeared: Option<Instant>,
    first_carrier: Option<Instant>,
    attempts: JoinSet<Attempt>,
    attempted: BTreeSet<(u32, Family)>,
    tried: Vec<Tried>,
    acquired: Vec<Acquired>,
    probes: JoinSet<(usize, Result<(), String>)>,
}

/// A method that has ended.
struct Attempt {
    place: Place,
    family: Family,
    result: Result<(Settings, Keeper), NoSettings>,
}

/// A way that has an address.
struct Acquired {
    place: Place,
    family: Family,
    settings: Settings,
    keeper: Keeper,
    since: Instant,
    has_failed: bool,
}

impl<'a> Candidates<'a> {
    pub(super) async fn open(goal: &Goal<'a>, timeouts: &'a Timeouts) -> Result<Self, NetError> {
        let links = Links::open().map_err(NetError::kernel("no netlink socket could be opened"))?;
        let loopback = links.loopback_up().await;
        loopback.map_err(NetError::kernel(
            "the loopback link could not be brought up",
        ))?;
        let deleted = links.delete_unlike(&goal.network.bonds).await;
        deleted.map_err(NetError::kernel(
            "a bond that is not as the host config has it could not be deleted",
        ))?;
        Ok(Self {
            network: goal.network,
            mirrors: goal.mirrors,
            heartbeat: goal.heartbeat,
            timeouts,
            links,
            seen: Vec::new(),
            prepared: BTreeSet::new(),
            said: BTreeSet::new(),
            refused: BTreeMap::new(),
            begun: Instant::now(),
            appeared: None,
            first_carrier: None,
            attempts: JoinSet::new(),
            attempted: BTreeSet::new(),
            tried: Vec::new(),
            acquired: Vec::new(),
            probes: JoinSet::new(),
        })
    }

    /// Tries all ways until one is taken.
    pub(super) async fn first(mut self) -> Result<Taken, NetError> {
        loop {
            self.look().await?;
            self.begin_attempts();
            self.heartbeat.beat();
            self.heartbeat.wait_for(self.waits_for());
            if let Some(at) = self.last_resort() {
                return Ok(self.take(at).await);
            }
            let (deadline, waited) = self.deadline();
            if self.attempts.is_empty() && self.acquired.is_empty() {
                let asked = |link: &&Link| {
                    let mut attempted = self.attempted.iter();
                    attempted.any(|(index, _)| *index == link.index)
                };
                let is_over = !self.tried.is_empty() && self.fitting().all(|link| asked(&link));
                if is_over || Instant::now() >= deadline {
                    return Err(self.none(waited));
                }
            }
            tokio::select! {
                biased;
                Some(ended) = self.attempts.join_next() => {
                    if let Some(at) = self.ended(unwrapped(ended)) {
                        return Ok(self.take(at).await);
                    }
                }
                Some(ended) = self.probes.join_next() => {
                    let (at, result) = unwrapped(ended);
                    match result {
                        Ok(()) => return Ok(self.take(at).await),
                        Err(failure) => self.not_reached(at, &failure),
                    }
                }
                () = self.links.changed() => {}
                () = sleep_until(deadline.into()), if self.acquired.is_empty() => {
                    if self.attempts.is_empty() {
                        return Err(self.none(waited));
                    }
                    // Each attempt ends at the same time, and says why.
                    while let Some(ended) = self.attempts.join_next().await {
                        if let Some(at) = self.ended(unwrapped(ended)) {
                            return Ok(self.take(at).await);
                        }
                    }
                }
            }
        }
    }

    /// What is missing, for whoever reads the console.
    fn waits_for(&self) -> String {
        let names = |links: &mut dyn Iterator<Item = &InterfaceName>| {
            let names: BTreeSet<&str> = links.map(InterfaceName::as_str).collect();
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        if !self.acquired.is_empty() {
            let over = names(&mut self.acquired.iter().map(|way| &way.place.link.name));
            return format!("a mirror to answer over {over}");
        }
        let with_carrier = |link: &&Link| link.carrier == Carrier::Up;
        if !self.attempts.is_empty() {
            let on = names(&mut self.fitting().filter(with_carrier).map(|link| &link.name));
            return format!("an address on {on}");
        }
        match names(&mut self.fitting().map(|link| &link.name)) {
            none if none.is_empty() => "a network card that the host config means".to_owned(),
            on => format!("a carrier on {on}: is the cable in, and the switch port up?"),
        }
    }

    /// Looks at all links; makes those that are to be made, and brings up those that fit.
    async fn look(&mut self) -> Result<(), NetError> {
        // What was made or brought up may have changed what there is.
        while self.look_once().await? {}
        let now = Instant::now();
        if self.appeared.is_none() && self.fitting().next().is_some() {
            self.appeared = Some(now);
        }
        Ok(())
    }

    /// One look; gives whether anything was done.
    async fn look_once(&mut self) -> Result<bool, NetError> {
        let listed = self.links.list().await;
        self.seen = listed.map_err(NetError::kernel("the network links could not be listed"))?;
        let mut done = self.make().await?;
        let fitting: Vec<(Link, Interface)> = (self.seen.iter())
            .filter_map(|link| Some((link.clone(), self.interface_of(link)?.clone())))
            .collect();
        for (link, interface) in fitting {
            if self.prepared.insert(link.index) {
                done |= self.prepare(&link, &interface).await?;
            }
        }
        Ok(done)
    }

    /// Makes bonds and VLANs, as far as what they are made of is there.
    async fn make(&mut self) -> Result<bool, NetError> {
        let steps = virtual_links::steps(self.network, &self.seen);
        let any = !steps.is_empty();
        for step in steps {
            let links = &self.links;
            match step {
                Step::Bond(bond) => {
                    let what = format!("the bond {} could not be made", bond.name);
                    links
                        .add_bond(bond)
                        .await
                        .map_err(NetError::virtual_link(what))?;
                    tracing::info!("{} is made", bond.name);
                }
                Step::Port {
                    port,
                    bond,
                    primary_of,
                } => {
                    let name = self.name_of(port);
                    let what = || format!("{name} could not be made a port of a bond");
                    // A bond takes no port that is up.
                    let down = links.set_down(port).await;
                    down.map_err(NetError::kernel(what()))?;
                    let joined = links.set_bond(port, bond).await;
                    joined.map_err(NetError::kernel(what()))?;
                    if let Some(bond) = primary_of {
                        let primary = links.set_primary(bond, port).await;
                        let what = format!("{name} could not be made the primary port of {bond}");
                        primary.map_err(NetError::virtual_link(what))?;
                    }
                    tracing::info!("{name} is a port of {}", self.name_of(bond));
                }
                Step::Vlan(vlan, over) => {
                    let what = format!("the VLAN {} could not be made", vlan.name);
                    let up = links.set_up(over).await;
                    up.map_err(NetError::virtual_link(what.clone()))?;
                    let added = links.add_vlan(vlan, over).await;
                    added.map_err(NetError::virtual_link(what))?;
                    tracing::info!(
                        "{} is made: VLAN {} over {}",
                        vlan.name,
                        vlan.id,
                        self.name_of(over)
                    );
                }
            }
        }
        Ok(any)
    }

    /// Clears a link and brings it up.
    async fn prepare(&mut self, link: &Link, interface: &Interface) -> Result<bool, NetError> {
        let name = &link.name;
        let flushed = self.links.flush(link.index).await;
        flushed.map_err(NetError::kernel(format!(
            "the addresses of {name} could not be removed"
        )))?;
        router::heed(
            name,
            match &interface.ipv6 {
                Ipv6Method::Auto => Heed::All,
                Ipv6Method::Dhcp | Ipv6Method::Static { gateway: None, .. } => Heed::Routes,
                Ipv6Method::None | Ipv6Method::Static { .. } => Heed::Nothing,
            },
        );
        if let Some(mtu) = interface.mtu {
            let set = self.links.set_mtu(link.index, mtu).await;
            set.map_err(NetError::kernel(format!(
                "{name} does not take packets of {mtu} bytes"
            )))?;
        }
        if let Err(error) = self.links.set_up(link.index).await {
            tracing::warn!("{name} cannot be brought up: {error}");
            self.refused.insert(link.index, error);
            return Ok(false);
        }
        tracing::debug!("{link} is brought up");
        Ok(true)
    }

    fn name_of(&self, index: u32) -> String {
        let mut links = self.seen.iter();
        let link = links.find(|link| link.index == index);
        link.map_or_else(|| format!("link {index}"), |link| link.name.to_string())
    }

    /// The interface of the host config that a link is for, if it is for any.
    fn interface_of(&self, link: &Link) -> Option<&'a Interface> {
        let interfaces = &self.network.interfaces;
        let named = |interface: &&Interface| {
            interface
                .link
                .as_ref()
                .is_some_and(|wanted| link.is(wanted))
        };
        // One that is named is not also any other.
        interfaces.iter().find(named).or_else(|| {
            let any = interfaces.iter().find(|interface| interface.link.is_none());
            let is_card = link.hardware == Hardware::Ethernet;
            any.filter(|_| {
                link.bond.is_none() && (is_card || virtual_links::is_virtual(self.network, link))
            })
        })
    }

    fn fitting(&self) -> impl Iterator<Item = &Link> {
        let links = self.seen.iter();
        links.filter(|link| self.interface_of(link).is_some())
    }

    /// Begins the methods of every link that has a carrier and has not begun them.
    fn begin_attempts(&mut self) {
        let now = Instant::now();
        let with_carrier = |link: &&Link| link.carrier == Carrier::Up;
        let ready: Vec<Link> = self.fitting().filter(with_carrier).cloned().collect();
        for link in ready {
            if self.said.insert(link.index) {
                let ms = (now - self.begun).as_millis();
                tracing::info!(interface = %link.name, ms, "link is up");
            }
            let Some(interface) = self.interface_of(&link) else {
                continue;
            };
            let first = *self.first_carrier.get_or_insert(now);
            let place = Place {
                link: link.clone(),
                links: self.links.clone(),
                says: self.network.dhcp.clone(),
                deadline: first + self.timeouts.address,
            };
            if interface.ipv4 != Ipv4Method::None && self.attempted.insert((link.index, Family::V4))
            {
                let (place, method) = (place.clone(), interface.ipv4.clone());
                self.attempts.spawn(async move {
                    let result = place.clone().ipv4(method).await;
                    Attempt {
                        place,
                        family: Family::V4,
                        result,
                    }
                });
            }
            if interface.ipv6 != Ipv6Method::None && self.attempted.insert((link.index, Family::V6))
            {
                let method = interface.ipv6.clone();
                self.attempts.spawn(async move {
                    let result = place.clone().ipv6(method).await;
                    Attempt {
                        place,
                        family: Family::V6,
                        result,
                    }
                });
            }
        }
    }

    /// How many ways there are, those without a carrier included.
    fn ways(&self) -> usize {
        let families = |link: &Link| {
            let interface = self.interface_of(link);
            interface.map_or(0, |interface| {
                usize::from(interface.ipv4 != Ipv4Method::None)
                    + usize::from(interface.ipv6 != Ipv6Method::None)
            })
        };
        self.fitting().map(families).sum()
    }

    /// Notes how a method ended; gives the place of the way that is taken at once.
    fn ended(&mut self, attempt: Attempt) -> Option<usize> {
        let name = &attempt.place.link.name;
        let (settings, keeper) = match attempt.result {
            Ok(acquired) => acquired,
            Err(outcome) => {
                let tried = Tried::new(name.clone(), outcome);
                tracing::info!("{tried}");
                self.tried.push(tried);
                return None;
            }
        };
        let at = self.acquired.len();
        let is_only = self.mirrors.is_empty() || self.ways() == 1;
        if !is_only {
            tracing::info!("{name}: {settings}");
        }
        self.acquired.push(Acquired {
            place: attempt.place,
            family: attempt.family,
            settings: settings.overridden_by(self.network),
            keeper,
            since: Instant::now(),
            has_failed: false,
        });
        if is_only {
            return Some(at);
        }
        self.probe(at, Duration::ZERO);
        None
    }

    fn probe(&mut self, at: usize, after: Duration) {
        let acquired = &self.acquired[at];
        let (settings, link) = (acquired.settings.clone(), acquired.place.link.name.clone());
        let mirrors = self.mirrors.to_vec();
        self.probes.spawn(async move {
            sleep(after).await;
            (at, reach::any(&mirrors, &link, &settings).await)
        });
    }

    fn not_reached(&mut self, at: usize, failure: &str) {
        let acquired = &mut self.acquired[at];
        if !acquired.has_failed {
            acquired.has_failed = true;
            let (name, family) = (&acquired.place.link.name, acquired.family);
            tracing::warn!("{name} reaches no mirror by {family}: {failure}");
        }
        self.probe(at, PROBE_AGAIN);
    }

    /// The way to go on with although it reaches no mirror: the first that got an address, once all have failed or
    /// the others were waited for.
    fn last_resort(&self) -> Option<usize> {
        let first = self.acquired.first()?;
        let all_failed = self.attempts.is_empty() && self.acquired.iter().all(|way| way.has_failed);
        let waited = first.has_failed && first.since.elapsed() >= FOR_OTHERS;
        if !(all_failed || waited) {
            return None;
        }
        let name = &first.place.link.name;
        tracing::warn!("no mirror can be reached over any link; going on with {name}");
        Some(0)
    }

    /// Takes a way, with what else its link has got, and clears the others.
    async fn take(mut self, at: usize) -> Taken {
        self.attempts.shutdown().await;
        self.probes.shutdown().await;
        let winner = self.acquired.remove(at);
        let place = winner.place;
        let mut settings = vec![(winner.settings, winner.keeper)];
        for way in self.acquired {
            if way.place.link.index == place.link.index {
                settings.push((way.settings, way.keeper));
            }
        }
        let carries = |link: &Link| {
            let mut vlans = self.network.vlans.iter();
            vlans.any(|vlan| vlan.name == place.link.name && link.is(&vlan.link))
        };
        for link in &self.seen {
            let is_other = link.index != place.link.index && !carries(link);
            if is_other && self.prepared.contains(&link.index) {
                router::heed(&link.name, Heed::Off);
                if let Err(error) = self.links.flush(link.index).await {
                    tracing::warn!("{} keeps its addresses: {error}", link.name);
                }
            }
        }
        set_routes(self.network, &place, &settings).await;
        Taken { place, settings }
    }

    fn deadline(&self) -> (Instant, Duration) {
        match (self.first_carrier, self.appeared) {
            (Some(first), _) => (first + self.timeouts.address, self.timeouts.address),
            (None, Some(appeared)) => (appeared + self.timeouts.carrier, self.timeouts.carrier),
            (None, None) => (self.begun + self.timeouts.link, self.timeouts.link),
        }
    }

    /// The error of having no way.
    fn none(mut self, waited: Duration) -> NetError {
        let fitting: Vec<Link> = self.fitting().cloned().collect();
        let seen = self.seen.iter().map(Link::to_string).collect();
        if let [link] = &fitting[..]
            && let Some(error) = self.refused.remove(&link.index)
        {
            return NetError::kernel(format!("{} could not be brought up", link.name))(error);
        }
        if fitting.is_empty() {
            let interfaces = self.network.interfaces.iter();
            let wanted: Vec<LinkRef> = interfaces.filter_map(|i| i.link.clone()).collect();
            return NetError::NoLink {
                wanted,
                waited,
                seen,
            };
        }
        if self.first_carrier.is_none() {
            let tried: Vec<InterfaceName> = fitting.into_iter().map(|link| link.name).collect();
            return NetError::NoCarrier {
                waited,
                tried,
                seen,
            };
        }
        NetError::NoAddress {
            tried: self.tried,
            waited,
            seen,
        }
    }
}

/// Sets the routes of the host config that are for the link that was taken.
async fn set_routes(network: &Network, place: &Place, settings: &[(Settings, Keeper)]) {
    let own = settings
        .iter()
        .flat_map(|(settings, _)| &settings.addresses);
    let own: Vec<_> = own.copied().collect();
    for route in &network.routes {
        let is_elsewhere = |link: &LinkRef| !place.link.is(link);
        if route.interface.as_ref().is_some_and(is_elsewhere) {
            continue;
        }
        let set = Route {
            to: route.to,
            via: route.via,
        };
        if let Err(error) = place.links.add_route(place.link.index, &own, set).await {
            tracing::warn!("the route {route} cannot be set: {error}");
        }
    }
}

fn unwrapped<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    ended.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
}
