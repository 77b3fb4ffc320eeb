//! The fields of host configs.

use crate::cli::support::unknown::Fields;

/// Every name of a field, at any depth.
pub(super) const FIELDS: Fields = Fields(&[
    "critical",
    "created",
    "expires",
    "for",
    "image",
    "mirrors",
    "mirror_keys",
    "network",
    "ntp",
    "mode",
    "interface",
    "addresses",
    "gateways",
    "mtu",
    "interfaces",
    "bonds",
    "name",
    "ports",
    "miimon",
    "updelay",
    "downdelay",
    "arp_interval",
    "arp_ip_target",
    "packets_per_slave",
    "primary",
    "primary_reselect",
    "fail_over_mac",
    "lacp_rate",
    "ad_select",
    "min_links",
    "xmit_hash_policy",
    "vlans",
    "link",
    "id",
    "routes",
    "to",
    "via",
    "nameservers",
    "search",
    "dhcp",
    "client_id",
    "hostname",
    "vendor_class",
]);

#[cfg(test)]
mod tests {
    use super::*;

    use sealboot_core::format::host_config::HostConfig;
    use serde_json::{Value, json};

    #[test]
    fn every_field_of_a_host_config_can_be_meant() {
        let key = "0".repeat(64);
        let bonds = json!([
            {
                "name": "bond0", "ports": ["eth0"], "mode": "balance-rr", "arp_interval": 100,
                "arp_ip_target": ["192.0.2.1"], "packets_per_slave": 2,
            },
            {
                "name": "bond1", "ports": ["eth1"], "mode": "active-backup", "miimon": 100, "updelay": 100,
                "downdelay": 100, "primary": "eth1", "primary_reselect": "always", "fail_over_mac": "none",
            },
            {
                "name": "bond2", "ports": ["eth2"], "mode": "802.3ad", "lacp_rate": "fast",
                "ad_select": "stable", "min_links": 1, "xmit_hash_policy": "layer2",
            },
        ]);
        let networks = json!([
            {
                "interfaces": [{
                    "mode": "static", "interface": "v5", "addresses": ["192.0.2.2/24"],
                    "gateways": ["192.0.2.1"], "mtu": 1400,
                }, {"mode": "dhcp", "interface": "bond1"}],
                "bonds": bonds,
                "vlans": [{"name": "v5", "link": "bond0", "id": 5}],
                "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.3", "interface": "v5"}],
                "nameservers": ["192.0.2.4"],
                "search": ["boot.example"],
            },
            {
                "mode": "dhcp",
                "dhcp": {"client_id": "01:02", "hostname": "relay-1", "vendor_class": "relay"},
            },
        ]);
        let read = |network: &Value| {
            let config = json!({
                "created": "2026-12-01T12:00:00Z", "expires": "2027-12-01T12:00:00Z", "for": ["serial:CZ1234"],
                "image": "relay", "mirrors": ["https://boot.example/"], "mirror_keys": [key],
                "network": network, "ntp": ["192.0.2.5"],
            });
            let read =
                HostConfig::parse_plain(config.to_string().as_bytes()).expect("a host config");
            assert_eq!(read.unknown, [""; 0]);
            serde_json::to_value(read.value).expect("JSON")
        };
        let networks = networks.as_array().expect("a list");
        FIELDS.assert_those_of(&networks.iter().map(read).collect());
    }
}
