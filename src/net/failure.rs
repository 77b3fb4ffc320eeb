//! What can go wrong between a host config and a working network.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::NoLease;
use crate::failure::{Diagnose, FailureCode, causes};
use crate::format::host_config::InterfaceName;

/// The machine could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// There is no link to use.
    #[error("{} within {} s", no_link(wanted.as_ref()), waited.as_secs())]
    NoLink {
        /// The link that the host config names.
        wanted: Option<InterfaceName>,
        /// How long one was waited for.
        waited: Duration,
        /// The Ethernet links that exist, with their state.
        seen: Vec<String>,
    },
    /// There are links, and none is connected to anything.
    #[error("{} got no carrier within {} s", list(tried), waited.as_secs())]
    NoCarrier {
        /// The links that were brought up.
        tried: Vec<InterfaceName>,
        /// How long a carrier was waited for.
        waited: Duration,
        /// The Ethernet links that exist, with their state.
        seen: Vec<String>,
    },
    /// No DHCP server gave a lease.
    #[error("no DHCP server gave a usable lease within {} s: {}", waited.as_secs(), list(tried))]
    NoLease {
        /// What came of it, by link.
        tried: Vec<Tried>,
        /// How long a lease was waited for.
        waited: Duration,
        /// The Ethernet links that exist, with their state.
        seen: Vec<String>,
    },
    /// The kernel said no.
    #[error("{what}")]
    Kernel {
        /// What it refused.
        what: String,
        /// Its reason.
        source: io::Error,
    },
}

/// What came of asking for a lease on one link.
#[derive(Debug)]
pub struct Tried {
    interface: InterfaceName,
    outcome: NoLease,
}

impl Tried {
    pub(super) const fn new(interface: InterfaceName, outcome: NoLease) -> Self {
        Self { interface, outcome }
    }

    fn lacks_packet_sockets(&self) -> bool {
        matches!(&self.outcome, NoLease::Socket(error)
            if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT))
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface, self.outcome)?;
        for cause in causes(self.outcome.source()) {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl NetError {
    pub(super) fn kernel(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel {
            what: what.into(),
            source,
        }
    }
}

impl Diagnose for NetError {
    fn code(&self) -> FailureCode {
        match self {
            Self::NoLink { .. } => FailureCode::ConnectNoLink,
            Self::NoCarrier { .. } => FailureCode::ConnectNoCarrier,
            Self::NoLease { .. } => FailureCode::ConnectDhcp,
            Self::Kernel { .. } => FailureCode::ConnectAddress,
        }
    }

    fn hint(&self) -> String {
        let remedy = self.code().remedy();
        match self {
            Self::NoLease { tried, .. } if tried.iter().any(Tried::lacks_packet_sockets) => {
                "this kernel has no packet sockets, which DHCP needs: bake its module af_packet into the initramfs (--module af_packet), or use a static address".to_owned()
            }
            Self::NoLink { seen, .. } | Self::NoCarrier { seen, .. } | Self::NoLease { seen, .. } => {
                let seen = if seen.is_empty() {
                    "none".to_owned()
                } else {
                    seen.join(", ")
                };
                format!("{remedy}; interfaces seen: {seen}")
            }
            Self::Kernel { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root, in a network namespace of its own where this is no boot".to_owned()
            }
            Self::Kernel { .. } => remedy.to_owned(),
        }
    }
}

fn no_link(wanted: Option<&InterfaceName>) -> String {
    match wanted {
        Some(name) => format!("no network interface named {name} appeared"),
        None => "no Ethernet interface appeared".to_owned(),
    }
}

fn list(items: &[impl fmt::Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}
