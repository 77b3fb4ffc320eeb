//! What can go wrong between a host config and a working network.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::dhcp::NoLease;
use sealboot_core::failure::{Diagnose, FailureCode, causes};
use sealboot_core::format::network::{InterfaceName, LinkRef};

/// The machine could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// There is no link to use.
    #[error("{} within {} s", no_link(wanted), waited.as_secs())]
    NoLink {
        /// The links that the host config names.
        wanted: Vec<LinkRef>,
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
    /// No link got an address.
    #[error("no link got an address within {} s: {}", waited.as_secs(), list(tried))]
    NoAddress {
        /// What came of it, by link and family.
        tried: Vec<Tried>,
        /// How long one was waited for.
        waited: Duration,
        /// The Ethernet links that exist, with their state.
        seen: Vec<String>,
    },
    /// A bond or a VLAN could not be made.
    #[error("{what}")]
    VirtualLink {
        /// Which.
        what: String,
        /// The kernel's reason.
        source: io::Error,
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

/// Why a method gave a link no settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSettings {
    /// No DHCP server lent an address.
    #[error("no lease by DHCP")]
    Lease(#[from] NoLease),
    /// Nobody said anything that could be used; what was tried.
    #[error("{0}")]
    Silence(String),
    /// The address is another machine's.
    #[error("another machine on the link has {0}")]
    Duplicate(Ipv6Addr),
    /// The kernel said no.
    #[error("{what}")]
    Kernel {
        /// What it refused.
        what: String,
        /// Its reason.
        source: io::Error,
    },
}

impl NoSettings {
    pub(super) fn kernel(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel {
            what: what.into(),
            source,
        }
    }
}

/// What came of a method on one link.
#[derive(Debug)]
pub struct Tried {
    interface: InterfaceName,
    outcome: NoSettings,
}

impl Tried {
    pub(super) const fn new(interface: InterfaceName, outcome: NoSettings) -> Self {
        Self { interface, outcome }
    }

    fn lacks_packet_sockets(&self) -> bool {
        matches!(&self.outcome, NoSettings::Lease(NoLease::Socket(error))
            if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT))
    }

    /// The code of having tried nothing but such as this.
    fn code(&self) -> FailureCode {
        match self.outcome {
            NoSettings::Lease(_) => FailureCode::ConnectDhcp,
            NoSettings::Silence(_) => FailureCode::ConnectRouter,
            NoSettings::Duplicate(_) | NoSettings::Kernel { .. } => FailureCode::ConnectAddress,
        }
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

    pub(super) fn virtual_link(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::VirtualLink {
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
            // Where several ways failed, the first that somebody else has to answer for.
            Self::NoAddress { tried, .. } => {
                let mut codes = tried.iter().map(Tried::code);
                let theirs = codes.find(|code| *code != FailureCode::ConnectAddress);
                theirs.unwrap_or(FailureCode::ConnectAddress)
            }
            Self::VirtualLink { .. } => FailureCode::ConnectVirtualLink,
            Self::Kernel { .. } => FailureCode::ConnectAddress,
        }
    }

    fn hint(&self) -> String {
        let remedy = self.code().remedy();
        match self {
            Self::NoAddress { tried, .. } if tried.iter().any(Tried::lacks_packet_sockets) => {
                "this kernel has no packet sockets, which DHCP needs: bake its module af_packet into the initramfs (--module af_packet), or use a static address".to_owned()
            }
            Self::NoLink { seen, .. } | Self::NoCarrier { seen, .. } | Self::NoAddress { seen, .. } => {
                let seen = if seen.is_empty() {
                    "none".to_owned()
                } else {
                    seen.join(", ")
                };
                format!("{remedy}; interfaces seen: {seen}")
            }
            Self::VirtualLink { source, .. } | Self::Kernel { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root, in a network namespace of its own where this is no boot".to_owned()
            }
            Self::VirtualLink { .. } | Self::Kernel { .. } => remedy.to_owned(),
        }
    }
}

fn no_link(wanted: &[LinkRef]) -> String {
    match wanted {
        [] => "no Ethernet interface appeared".to_owned(),
        [one] => format!("no network interface {one} appeared"),
        several => format!("no network interface of {} appeared", list(several)),
    }
}

fn list(items: &[impl fmt::Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}
