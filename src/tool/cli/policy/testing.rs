//! Policies for tests.

use sealboot_core::trust::policy::{AcceptedImage, Fields, Group, Roles, Signer};
use sealboot_core::trust::{PublicKey, TrustPolicy};

/// The key of this holder, which is a function of the name.
pub(super) fn signer(name: &str) -> Signer {
    let mut seed = [0; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    let secret = ed25519_dalek::SigningKey::from_bytes(&seed);
    let key = PublicKey::from_bytes(secret.verifying_key().as_bytes()).expect("a key");
    Signer::new(name.parse().expect("a name"), key)
}

pub(super) fn group(threshold: usize, names: &[&str]) -> Group {
    let keys = names.iter().map(|name| name.parse().expect("a name"));
    Group {
        keys: keys.collect(),
        threshold,
    }
}

/// All of these sign policies and images; `relay` may boot.
pub(super) fn plain(names: &[&str]) -> TrustPolicy {
    let image = AcceptedImage::new("relay".parse().expect("a name"), 41.try_into().expect("41"));
    let all = vec![group(names.len(), names)];
    let roles = Roles {
        root: all.clone(),
        release: all,
        freshness: None,
        host_config: None,
    };
    let keys = names.iter().map(|name| signer(name)).collect();
    let created = "2026-12-01T09:00:00Z".parse().expect("a time");
    let fields = Fields::new(created, keys, roles, vec![image]);
    fields.try_into().expect("the fields agree")
}

/// Everything that a policy can say, none of it the default.
pub(super) fn whole() -> TrustPolicy {
    let names = [
        "alice", "bob", "build-1", "build-2", "clock-1", "clock-2", "dora", "erin", "team",
    ];
    let keys: Vec<String> = names
        .iter()
        .map(|name| {
            let key = signer(name).key;
            format!(r#"{{"name":"{name}","key":"{key}"}}"#)
        })
        .collect();
    let json = r#"{
        "version": 4, "created": "2026-12-01T09:00:00Z",
        "expires": "2027-12-01T09:00:00Z", "on_expiry": "refuse", "min_loader": "1.2.3",
        "keys": [KEYS],
        "roles": {
            "root": [{"keys": ["alice", "bob"], "threshold": 2}],
            "release": [{"keys": ["build-1", "build-2"], "threshold": 1}, {"keys": ["alice", "bob"], "threshold": 1}],
            "freshness": [{"keys": ["clock-1", "clock-2"], "threshold": 1}],
            "host_config": [{"keys": ["dora", "erin"], "threshold": 1}]
        },
        "images": [
            {"name": "relay", "min_version": 41, "denied_versions": [43, 44]},
            {"name": "exit", "min_version": 7,
             "release": [{"keys": ["team", "bob"], "threshold": 1}],
             "freshness": [{"keys": ["clock-1", "clock-2"], "threshold": 2}]}
        ],
        "denied_digests": ["DIGEST"],
        "expiry": {"required": true, "max_days": 90},
        "freshness": {"required": true, "max_hours": 5, "max_releases": 2},
        "host_config": {"required": true, "not_before": "2026-11-01T09:00:00Z"},
        "allow_http": true,
        "clock_tolerance_seconds": 17,
        "on_failure": {
            "retry_initial_seconds": 3, "retry_max_seconds": 61, "max_attempts": 21,
            "final_action": "fallback", "stall_seconds": 901, "shell": true,
            "unconfirmed_boots": 4, "handover_watchdog_seconds": 120
        },
        "disks": "refuse"
    }"#;
    let json = json
        .replace("KEYS", &keys.join(","))
        .replace("DIGEST", &"ab".repeat(32));
    TrustPolicy::parse(json.as_bytes()).expect("the fields agree")
}
