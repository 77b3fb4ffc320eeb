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

    use support::world::full;

    #[test]
    fn every_field_of_a_host_config_can_be_meant() {
        let read = full::host_configs()
            .into_iter()
            .map(|config| serde_json::to_value(config).expect("JSON"));
        FIELDS.assert_those_of(&read.collect());
    }
}
