//! What keeps a connection while a boot uses it: leases are renewed, and what happens to the link is said.
//!
//! A download outlives a short lease. Where a lease cannot be renewed its address is given up, as it must be, and
//! another one is asked for; connections from the old address end, and whoever had them asks again.

use std::time::{Duration, Instant};

use super::dhcp;
use super::dhcp6::Purpose;
use super::link::{Carrier, Link};
use super::method::{Keeper, Place};
use super::settings::Settings;

/// How long a new lease is asked for at a time. It is asked for again after that.
const AT_A_TIME: Duration = Duration::from_secs(60);

/// Keeps `settings` at `place`, for as long as it is polled.
pub(super) async fn keep(place: Place, settings: Settings, keeper: Keeper) {
    match keeper {
        Keeper::Nobody => {}
        Keeper::Dhcp(lease) => keep_dhcp(place, *lease).await,
        Keeper::Dhcp6(client) => keep_dhcp6(place, settings, client).await,
    }
}

async fn keep_dhcp(mut place: Place, mut lease: dhcp::Lease) {
    let name = place.link.name.clone();
    loop {
        let said = |lease: &dhcp::Lease| {
            let (address, seconds) = (lease.address(), lease.seconds());
            tracing::info!("{name}: renewed the DHCP lease on {address} for {seconds} s");
        };
        let address = lease.address();
        match dhcp::keep(&name, place.identity(), lease, said).await {
            Ok(why) => tracing::warn!("{name}: lost the DHCP lease on {address}: {why}"),
            Err(error) => {
                tracing::warn!("{name}: cannot renew the DHCP lease on {address}: {error}");
                return;
            }
        }
        give_up(&place, address.into()).await;
        lease = loop {
            place.deadline = Instant::now() + AT_A_TIME;
            match dhcp::acquire(place.link.index, place.identity(), place.deadline).await {
                Ok(lease) => break lease,
                Err(error) => tracing::warn!("{name}: no new lease: {error}"),
            }
            // A socket that fails does so at once.
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let settings = Settings::from(&lease);
        match place.apply(&settings).await {
            Ok(()) => tracing::info!("{name}: a new lease: {settings}"),
            Err(error) => tracing::warn!("{name}: {error}"),
        }
    }
}

async fn keep_dhcp6(place: Place, settings: Settings, mut client: Box<super::dhcp6::Dhcp6>) {
    let name = &place.link.name;
    let mut address = settings.addresses.first().copied();
    loop {
        let lease = match client.next().await {
            Ok(lease) => lease,
            Err(error) => {
                tracing::warn!("{name}: cannot renew the DHCPv6 lease: {error}");
                return;
            }
        };
        let Some(lease) = lease else {
            tracing::warn!("{name}: the DHCPv6 lease expired without a renewal");
            if let Some(address) = address.take() {
                give_up(&place, address).await;
            }
            match place.dhcp6(Purpose::Address) {
                Ok(anew) => *client = anew,
                Err(error) => {
                    tracing::warn!("{name}: {error}");
                    return;
                }
            }
            continue;
        };
        let settings = Settings::of_dhcp6(&lease);
        let next = settings.addresses.first().copied();
        if next == address {
            tracing::info!("{name}: renewed the DHCPv6 lease");
        } else if let Err(error) = place.apply(&settings).await {
            tracing::warn!("{name}: {error}");
        } else {
            tracing::info!("{name}: a new lease: {settings}");
        }
        address = next;
    }
}

async fn give_up(place: &Place, address: ipnet::IpNet) {
    if let Err(error) = place.links.remove_address(place.link.index, address).await {
        tracing::warn!("{address} stays on {}: {error}", place.link.name);
    }
}

/// Says what becomes of the link's carrier, for as long as it is polled.
pub(super) async fn watch(mut place: Place) {
    let mut carrier = Carrier::Up;
    loop {
        place.links.changed().await;
        let Ok(links) = place.links.list().await else {
            continue;
        };
        let mut links = links.iter();
        let found = links.find(|link: &&Link| link.index == place.link.index);
        let now = found.map_or(Carrier::Down, |link| link.carrier);
        if now != carrier {
            carrier = now;
            let name = &place.link.name;
            match carrier {
                Carrier::Up => tracing::info!("{name} has its carrier again"),
                Carrier::Down => tracing::warn!("{name} has lost its carrier"),
            }
        }
    }
}
