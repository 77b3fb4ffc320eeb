//! Stage `connect`: from a host config to a network, a clock and the mirrors' URLs.
//!
//! On entry the host config has been accepted by the trust policy in force. On exit one link has an address, the clock is
//! set if time servers answered plausibly, and each mirror's URL is complete for this machine on this link.

use std::path::Path;

use crate::boot::console::Done;
use crate::boot::stages::configure::Configured;
use crate::fetch::Client;
use crate::hardware::{Hardware, NotLoaded};
use crate::heartbeat::Heartbeat;
use crate::net::clock::{self, Clock, Reading};
use crate::net::sntp::{self, Verdict};
use crate::net::{self, Connection, NetError};
use sealboot_core::failure::{Diagnose, FailureCode, Report};
use sealboot_core::format::host_config::{MirrorTemplate, MirrorUrl, TimeServer};
use sealboot_core::format::network::Network;
use sealboot_sys::firmware::identity::IdentityError;

/// A network that leads to mirrors.
#[derive(Debug)]
pub struct Connected {
    /// Makes requests over the connection.
    pub client: Client,
    /// Renews the leases for as long as it lives.
    pub connection: Connection,
    /// The mirrors of the host config, in its order, with this machine's values filled in.
    pub mirrors: Vec<MirrorUrl>,
}

/// There is no connection, or no URL for the machine on it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network failed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A mirror's URL needs a value that this link does not have.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Diagnose for ConnectError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Net(error) => error.code(),
            Self::Identity(error) => error.code(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Net(error) => error.hint(),
            Self::Identity(error) => error.hint(),
        }
    }
}

/// Connects to a network and sets the clock. Of several ways, the first that reaches one of `reachable` wins.
///
/// # Errors
///
/// [`ConnectError`] if no link leads anywhere, or if a URL cannot be completed.
pub async fn run(
    configured: &Configured<'_>,
    reachable: &[MirrorTemplate],
    clock: &Clock,
    heartbeat: &'static Heartbeat,
) -> Result<Done<Connected>, ConnectError> {
    let goal = net::Goal {
        network: &configured.host.network,
        mirrors: reachable,
        heartbeat,
    };
    let connection = net::connect(&goal).await?;
    let link = connection.interface().to_string();
    let identity = configured.identity.clone().on_link(Path::new("/"), &link);
    let mirrors = configured.host.mirrors.iter();
    let mirrors: Result<Vec<MirrorUrl>, _> = mirrors.map(|mirror| identity.url(mirror)).collect();
    let mirrors = mirrors?;
    let says_of_clock = set_clock(configured, &connection, clock).await;
    // Only now does the clock say what certificates are judged by.
    let judged = clock.judging_time(Reading::now());
    let roots = configured.tls_roots.clone();
    let client = Client::of_host(
        &configured.host,
        roots,
        &judged,
        connection.resolver(),
        heartbeat,
    )
    .unwrap_or_else(|error| panic!("the HTTPS client refuses a fixed configuration: {error}"));
    let addresses: Vec<String> = connection.addresses().map(|own| own.to_string()).collect();
    let interface = connection.interface().clone();
    let mut says = connection.to_string();
    if let Some(clock) = says_of_clock {
        says.push_str("; ");
        says.push_str(&clock);
    }
    let connected = Connected {
        client,
        connection,
        mirrors,
    };
    Ok(Done::new(connected, says)
        .with("interface", interface)
        .with("address", addresses.join(",")))
}

/// Loads the kernel modules of bonds and VLANs, which no device asks for.
pub fn load_modules(network: &Network, hardware: Option<&Hardware>) {
    let wanted = [
        ("bonding", !network.bonds.is_empty()),
        ("8021q", !network.vlans.is_empty()),
    ];
    for (name, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
        match hardware.map(|hardware| hardware.load(name)) {
            // The kernel may have it built in; if it has not, creating the link reports that.
            None | Some(Ok(()) | Err(NotLoaded::NotBaked)) => {}
            Some(Err(error)) => tracing::warn!(
                "{}: the kernel module {name} is not loaded: {:#}",
                error.code(),
                Report(&error)
            ),
        }
    }
}

/// Asks the time servers of the host config, or else of the network, and sets the clock if their answers are accepted.
/// Returns what the console says of it; `None` without time servers.
async fn set_clock(
    configured: &Configured<'_>,
    connection: &Connection,
    clock: &Clock,
) -> Option<String> {
    let of_the_network = || connection.ntp().into_iter().map(TimeServer::from).collect();
    let servers: Vec<TimeServer> = match &configured.host.ntp[..] {
        [] => of_the_network(),
        servers => servers.to_vec(),
    };
    if servers.is_empty() {
        return None;
    }
    let verdict = sntp::ask(&servers, &connection.resolver(), clock).await;
    if let Verdict::Step(step, _) = &verdict
        && let Err(error) = clock::step_by(*step)
    {
        return Some(format!("the clock cannot be set: {error}"));
    }
    Some(verdict.to_string())
}
