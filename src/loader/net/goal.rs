//! The input of [`super::connect`]: what a connection is for, and how long it may take.

use std::time::Duration;

use crate::heartbeat::Heartbeat;
use sealboot_core::format::host_config::MirrorTemplate;
use sealboot_core::format::network::Network;

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub struct Goal<'a> {
    /// The ways to a network.
    pub network: &'a Network,
    /// What is to be reached: with several ways, the first that reaches one of them is taken. Where there are none,
    /// the first that has an address.
    pub mirrors: &'a [MirrorTemplate],
    /// Beats while links and addresses are waited for.
    pub heartbeat: &'a Heartbeat,
}

/// How long each step of [`connect`](super::connect) may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until a link exists.
    pub link: Duration,
    /// From then until a link has a carrier.
    pub carrier: Duration,
    /// From then until a link has an address.
    pub address: Duration,
}

impl Timeouts {
    /// Those of a real machine.
    pub const DEFAULT: Self = Self {
        // Probing a card takes its driver a second or two, with firmware some more; one behind USB, or in a slot
        // that is powered late, comes later still; after that the attempt is reported, and the next one waits again.
        link: Duration::from_secs(15),
        // Negotiation takes a card 2 to 5 s, some 10 G ones and their switches 20.
        carrier: Duration::from_secs(30),
        // A switch port with spanning tree drops everything for 30 s after the carrier comes; the
        // client then asks within 16 s, and the server may take some seconds to check the address.
        address: Duration::from_secs(60),
    };
}
