//! Warnings about host configs that are valid and probably wrong.

use std::net::IpAddr;

use jiff::Timestamp;

use super::describe::is_told;
use sealboot_core::format::host_config::{HostConfig, MachineId};
use sealboot_core::format::network::{Interface, Ipv4Method, Ipv6Method, Network};

/// Returns what is allowed, but is probably a mistake: it may leave a machine without its image, or the host config in
/// force for longer than its signers mean.
pub(super) fn doubts(config: &HostConfig, now: Timestamp) -> Vec<String> {
    let mut found = dates(config, now);
    found.extend(placeholders(&config.machines));
    if let [only] = config.mirrors.as_slice() {
        found.push(format!(
            "only one mirror: while {only} is down, this machine does not boot"
        ));
    }
    for (at, mirror) in config.mirrors.iter().enumerate() {
        if config.mirrors[..at].contains(mirror) {
            found.push(format!("{mirror} is named twice, and asked once"));
        }
        if !mirror.is_https() {
            found.push(format!(
                "{mirror} is plain http: every network on the way sees which image is fetched"
            ));
        }
        let network = &config.network;
        let url = mirror.origin();
        if let (Some(name), []) = (url.domain(), &network.nameservers[..])
            && !network.interfaces.iter().any(is_told)
        {
            found.push(format!(
                "{mirror} cannot be reached: no name server is there to resolve {name}; see network.nameservers"
            ));
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').parse();
        if let Ok(host) = host
            && !network
                .interfaces
                .iter()
                .any(|interface| may_reach(network, interface, host))
        {
            found.push(format!(
                "{mirror} cannot be reached: no address is on its network, and no network.gateways leads there"
            ));
        }
    }
    found
}

/// Returns `true` if an interface may reach an address, as far as the host config says.
fn may_reach(network: &Network, interface: &Interface, host: IpAddr) -> bool {
    let routed = network.routes.iter().any(|route| route.to.contains(&host));
    let by_itself = match host {
        IpAddr::V4(host) => match &interface.ipv4 {
            Ipv4Method::None => false,
            Ipv4Method::Dhcp => true,
            Ipv4Method::Static { addresses, gateway } => {
                gateway.is_some() || addresses.iter().any(|own| own.contains(&host))
            }
        },
        IpAddr::V6(host) => match &interface.ipv6 {
            Ipv6Method::None => false,
            // Without a gateway of its own, it takes a router's.
            Ipv6Method::Auto | Ipv6Method::Dhcp | Ipv6Method::Static { gateway: None, .. } => true,
            Ipv6Method::Static {
                gateway: Some(_), ..
            } => !host.is_unspecified(),
        },
    };
    routed || by_itself
}

/// Returns warnings about the dates, at `now`.
fn dates(config: &HostConfig, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(created) = config.created.filter(|created| *created > now) {
        found.push(format!(
            "it was created in the future, at {created}: until then a policy's host_config.not_before cannot revoke it; now is {now}"
        ));
    }
    match config.expires {
        Some(expires) if expires <= now => found.push(format!(
            "it expired at {expires}: machines refuse it; now is {now}"
        )),
        Some(expires) => found.push(format!(
            "it expires at {expires}: from then on machines refuse it, and do not boot without another one"
        )),
        None => {}
    }
    found
}

/// Returns a warning for each identity that many machines have, or none.
fn placeholders(machines: &[MachineId]) -> impl Iterator<Item = String> {
    let left = machines.iter().filter(|machine| machine.is_placeholder());
    left.map(|machine| {
        format!("{machine} is what vendors leave in the firmware of many machines: it matches none")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(fields: &str) -> HostConfig {
        let json = format!(
            r#"{{{fields} "image": "relay", "mirrors": ["https://a.example/", "https://b.example/"], "network": {{"mode": "dhcp"}}}}"#
        );
        HostConfig::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn odd_dates_are_remarked() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().expect("a time");
        for (fields, expected) in [
            ("", &[][..]),
            (r#""created": "2026-12-01T12:00:00Z","#, &[]),
            (
                r#""created": "2099-01-01T00:00:00Z","#,
                &["it was created in the future, at 2099-01-01T00:00:00Z"],
            ),
            (
                r#""created": "2026-01-01T00:00:00Z", "expires": "2026-12-01T12:00:00Z","#,
                &["it expired at 2026-12-01T12:00:00Z"],
            ),
            (
                r#""expires": "2026-12-02T12:00:00Z","#,
                &["it expires at 2026-12-02T12:00:00Z: from then on"],
            ),
        ] {
            let found = doubts(&config(fields), now);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{found}");
            }
        }
    }

    #[test]
    fn placeholders_of_firmware_are_remarked() {
        let fields = r#""for": ["serial:To be filled by O.E.M.", "serial:CZ1234",
            "uuid:03000200-0400-0500-0006-000700080009", "mac:00:00:00:00:00:00", "tpm:none"],"#;
        let found = doubts(&config(fields), Timestamp::UNIX_EPOCH);
        let named: Vec<&str> = (found.iter())
            .filter_map(|warning| warning.split(" is what vendors").next())
            .collect();
        assert_eq!(
            named,
            [
                "serial:To be filled by O.E.M.",
                "uuid:03000200-0400-0500-0006-000700080009",
                "mac:00:00:00:00:00:00",
            ]
        );
    }
}
