//! The fields of trust policies.

use crate::cli::support::unknown::Fields;

/// Every name of a field, at any depth.
pub(super) const FIELDS: Fields = Fields(&[
    "critical",
    "version",
    "created",
    "expires",
    "on_expiry",
    "min_loader",
    "keys",
    "name",
    "key",
    "roles",
    "root",
    "release",
    "freshness",
    "host_config",
    "threshold",
    "images",
    "min_version",
    "denied_versions",
    "denied_digests",
    "expiry",
    "required",
    "max_days",
    "max_hours",
    "max_releases",
    "not_before",
    "allow_http",
    "clock_tolerance_seconds",
    "on_failure",
    "retry_initial_seconds",
    "retry_max_seconds",
    "max_attempts",
    "final_action",
    "stall_seconds",
    "shell",
    "unconfirmed_boots",
    "handover_watchdog_seconds",
    "disks",
]);

#[cfg(test)]
mod tests {
    use super::super::testing::whole;
    use super::*;

    #[test]
    fn every_field_of_a_policy_can_be_meant() {
        FIELDS.assert_those_of(&serde_json::to_value(whole()).expect("JSON"));
    }
}
