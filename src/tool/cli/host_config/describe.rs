//! A host config as text.

use crate::cli::support::output;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::ImageVersion;
use sealboot_core::format::network::{BondMode, Interface, Ipv4Method, Ipv6Method, LinkRef};

/// Returns a host config as text, with the oldest accepted version and the signers where they are known.
pub(super) fn describe(
    config: &HostConfig,
    min_version: Option<ImageVersion>,
    by: Option<String>,
) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![row(
        "image",
        match min_version {
            Some(version) => format!("{}, version {version} or newer", config.image),
            None => config.image.to_string(),
        },
    )];
    if let Some(created) = config.created {
        rows.push(row("created", created.to_string()));
    }
    if let Some(expires) = config.expires {
        rows.push(row("expires", expires.to_string()));
    }
    for (at, machine) in config.machines.iter().enumerate() {
        let name = if at == 0 { "for" } else { "" };
        rows.push(row(name, machine.to_string()));
    }
    for (at, mirror) in config.mirrors.iter().enumerate() {
        let name = if at == 0 { "mirrors" } else { "" };
        rows.push(row(name, mirror.to_string()));
    }
    for (at, key) in config.mirror_keys.iter().enumerate() {
        let name = if at == 0 { "mirror keys" } else { "" };
        rows.push(row(name, key.to_string()));
    }
    let network = &config.network;
    for bond in &network.bonds {
        let mode = match bond.mode {
            BondMode::BalanceRr { .. } => "balance-rr",
            BondMode::ActiveBackup { .. } => "active-backup",
            BondMode::Lacp { .. } => "802.3ad",
        };
        let says = format!("{}, {mode} of {}", bond.name, list(&bond.ports));
        rows.push(row("bond", says));
    }
    for vlan in &network.vlans {
        let says = format!("{}, VLAN {} over {}", vlan.name, vlan.id, vlan.link);
        rows.push(row("VLAN", says));
    }
    for interface in &network.interfaces {
        let any = || "any that reaches a mirror".to_owned();
        let link = interface.link.as_ref().map_or_else(any, LinkRef::to_string);
        rows.push(row("interface", link));
        for address in addressing(interface) {
            rows.push(row("  address", address));
        }
        if let Some(mtu) = interface.mtu {
            rows.push(row("  packets", format!("at most {mtu} bytes")));
        }
    }
    for route in &network.routes {
        rows.push(row("route", route.to_string()));
    }
    let of_the_network = network.interfaces.iter().any(is_told);
    let servers = match (&network.nameservers[..], of_the_network) {
        ([], true) => "from the network".to_owned(),
        ([], false) => "none".to_owned(),
        (servers, _) => list(servers),
    };
    rows.push(row("name servers", servers));
    if !network.search.is_empty() {
        rows.push(row("search", list(&network.search)));
    }
    if !config.ntp.is_empty() {
        rows.push(row("time servers", list(&config.ntp)));
    }
    rows.extend(by.map(|by| row("signed by", by)));
    output::columns(rows)
}

fn list(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

/// Returns `true` if the interface learns its name servers from the network.
pub(super) fn is_told(interface: &Interface) -> bool {
    interface.ipv4 == Ipv4Method::Dhcp
        || matches!(interface.ipv6, Ipv6Method::Auto | Ipv6Method::Dhcp)
}

/// Returns how an interface gets its addresses, a line for each family.
fn addressing(interface: &Interface) -> Vec<String> {
    let fixed = |addresses: String, gateway: Option<String>| match gateway {
        Some(gateway) => format!("{addresses}, router {gateway}"),
        None => format!("{addresses}, no router"),
    };
    let mut lines = Vec::new();
    match &interface.ipv4 {
        Ipv4Method::None => {}
        Ipv4Method::Dhcp => lines.push("by DHCP".to_owned()),
        Ipv4Method::Static { addresses, gateway } => {
            lines.push(fixed(
                list(addresses),
                gateway.map(|gateway| gateway.to_string()),
            ));
        }
    }
    match &interface.ipv6 {
        Ipv6Method::None => {}
        Ipv6Method::Auto => {
            lines.push("by router advertisements, and DHCPv6 where they say so".to_owned());
        }
        Ipv6Method::Dhcp => lines.push("by DHCPv6".to_owned()),
        Ipv6Method::Static { addresses, gateway } => {
            lines.push(fixed(
                list(addresses),
                gateway.map(|gateway| gateway.to_string()),
            ));
        }
    }
    lines
}
