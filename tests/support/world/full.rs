//! Each statement with every field that it may have.
//!
//! No literal leaves a field out by `..`, so a field that is added to a format must be added here: the compiler asks
//! for it. Tests walk what is written here, object by object and field by field.

use jiff::Timestamp;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::{CurrentRelease, Freshness, ReleaseType};
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::{Arch, Archive, Attachment, Encoding, ImageFile, Manifest};
use sealboot_core::format::network::{DhcpOptions, Network, Route};
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{
    AcceptedImage, Disks, ExpiryRule, FailurePolicy, Fields, FinalAction, FreshnessRule,
    HostConfigRule, OnExpiry, Roles, Signer,
};
use serde_json::json;

use super::trust::{group, signer};
use super::{alice, bob, carol, clockwork, tar};

/// When the statements are judged.
pub fn now() -> Timestamp {
    time("2026-01-15T00:00:00Z")
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The image's members.
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("boot/vmlinuz", b"a kernel\n".to_vec()),
        ("boot/initrd.0", b"an initrd\n".to_vec()),
        ("boot/initrd.1", b"and one more\n".to_vec()),
    ]
}

/// The manifest of version 42 of `relay`, of alice and bob.
pub fn manifest() -> Manifest {
    let tar = tar(&files());
    let file = |(path, bytes): &(&str, Vec<u8>)| ImageFile {
        path: path.parse().unwrap(),
        size: bytes.len() as u64,
        sha256: Sha256Digest::of(bytes),
        unpacked_size: (*path != "boot/vmlinuz").then_some(1 << 20),
    };
    Manifest {
        name: "relay".parse().unwrap(),
        version: 42.try_into().unwrap(),
        label: "2026.01.42-debian12".parse().unwrap(),
        arch: Arch::X86_64,
        created: time("2026-01-01T12:00:00Z"),
        expires: Some(time("2026-03-01T12:00:00Z")),
        cmdline: "console=ttyS0 quiet".parse().unwrap(),
        archive: Archive {
            encoding: Encoding::None,
            size: tar.len() as u64,
            chunk_size: super::CHUNK,
            chunks_sha256: Sha256Digest::of(&super::chunk_list(&tar)),
        },
        files: files().iter().map(file).collect(),
        max_uptime_hours: Some(720.try_into().unwrap()),
        attachments: vec![Attachment {
            name: "sbom.cdx.json".parse().unwrap(),
            media_type: "application/vnd.cyclonedx+json".parse().unwrap(),
            size: 9,
            sha256: Sha256Digest::of(b"a parts l"),
        }],
    }
}

/// The statement of clockwork that [`manifest`] is current.
pub fn freshness() -> Freshness {
    Freshness {
        name: "relay".parse().unwrap(),
        trust: 1.try_into().unwrap(),
        created: time("2026-01-14T12:00:00Z"),
        expires: time("2026-01-16T12:00:00Z"),
        releases: vec![CurrentRelease {
            version: 42.try_into().unwrap(),
            arch: Arch::X86_64,
            payload_type: ReleaseType::known(),
            sha256: Sha256Digest::of(&manifest().encode()),
            until: Some(time("2026-01-16T00:00:00Z")),
        }],
        withdrawn: vec![41.try_into().unwrap()],
    }
}

/// The policy: alice and bob sign policies and images, clockwork renews, carol signs host configs.
pub fn policy() -> TrustPolicy {
    let of_two = || group(2, &["alice", "bob"]);
    let renewing = || group(1, &["clockwork"]);
    let later = Signer {
        name: "later".parse().unwrap(),
        key: "ml-dsa-65:abcd".parse().unwrap(),
    };
    let fields = Fields {
        version: 1.try_into().unwrap(),
        created: time("2026-01-01T00:00:00Z"),
        expires: Some(time("2027-01-01T00:00:00Z")),
        on_expiry: OnExpiry::Refuse,
        min_loader: Some("0.1.0".parse().unwrap()),
        keys: vec![
            signer("alice", &alice()),
            signer("bob", &bob()),
            signer("carol", &carol()),
            signer("clockwork", &clockwork()),
            later,
        ],
        roles: Roles {
            root: of_two(),
            release: of_two(),
            freshness: Some(renewing()),
            host_config: Some(group(1, &["carol"])),
        },
        images: vec![AcceptedImage {
            name: "relay".parse().unwrap(),
            min_version: 41.try_into().unwrap(),
            denied_versions: vec![50.try_into().unwrap()],
            release: Some(of_two()),
            freshness: Some(renewing()),
        }],
        denied_digests: vec![Sha256Digest::of(b"a bad release")],
        expiry: ExpiryRule {
            required: true,
            max_days: Some(90),
        },
        freshness: FreshnessRule {
            required: true,
            max_hours: 72,
            max_releases: 2,
        },
        host_config: HostConfigRule {
            required: true,
            not_before: Some(time("2026-01-01T00:00:00Z")),
        },
        allow_http: false,
        clock_tolerance_seconds: 300,
        on_failure: FailurePolicy {
            retry_initial_seconds: 2,
            retry_max_seconds: 60,
            max_attempts: 20,
            final_action: FinalAction::PowerOff,
            stall_seconds: 900,
            shell: false,
            unconfirmed_boots: 3,
            handover_watchdog_seconds: 0,
        },
        disks: Disks::Refuse,
    };
    fields.try_into().unwrap()
}

/// Host configs that together have every field.
pub fn host_configs() -> Vec<HostConfig> {
    let bonds = json!([
        {
            "name": "bond0", "ports": ["eth0"], "mode": "balance-rr", "arp_interval": 100,
            "arp_ip_target": ["192.0.2.1"], "packets_per_slave": 2, "mtu": 1500,
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
    let networks = [
        json!({
            "interfaces": [{
                "mode": "static", "interface": "v5", "addresses": ["192.0.2.2/24"],
                "gateways": ["192.0.2.1"], "mtu": 1400,
            }, {"mode": "dhcp", "interface": "bond1"}],
            "bonds": bonds,
            "vlans": [{"name": "v5", "link": "bond0", "id": 5}],
            "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.3", "interface": "v5"}],
            "nameservers": ["192.0.2.4"],
            "search": ["boot.example"],
            "dhcp": {"client_id": "01:02", "hostname": "relay-1", "vendor_class": "relay"},
        }),
        json!({
            "mode": "static", "interface": "eth0", "addresses": ["192.0.2.10/24"],
            "gateways": ["192.0.2.1"], "mtu": 1400, "nameservers": ["192.0.2.53"],
        }),
    ];
    let configs = networks.map(|network| {
        let config = json!({
            "created": "2026-01-10T12:00:00Z", "expires": "2027-01-10T12:00:00Z", "for": ["serial:CZ1234"],
            "image": "relay", "mirrors": ["https://boot.example/$serial/"], "mirror_keys": ["0".repeat(64)],
            "network": network, "ntp": ["192.0.2.5"],
        });
        HostConfig::parse(config.to_string().as_bytes()).unwrap()
    });
    assert_whole(&configs[0]);
    configs.into()
}

/// Asserts that a host config leaves no field out.
fn assert_whole(config: &HostConfig) {
    let HostConfig {
        created,
        expires,
        machines,
        image: _,
        mirrors,
        mirror_keys,
        network,
        ntp,
    } = config;
    assert!(created.is_some() && expires.is_some());
    assert!(!machines.is_empty() && !mirrors.is_empty());
    assert!(!mirror_keys.is_empty() && !ntp.is_empty());
    let Network {
        interfaces,
        bonds,
        vlans,
        routes,
        nameservers,
        search,
        dhcp,
    } = network;
    assert!(!interfaces.is_empty() && !bonds.is_empty() && !vlans.is_empty());
    assert!(!nameservers.is_empty() && !search.is_empty());
    for Route {
        to: _,
        via,
        interface,
    } in routes
    {
        assert!(via.is_some() && interface.is_some());
    }
    let DhcpOptions {
        client_id,
        hostname,
        vendor_class,
    } = dhcp;
    assert!(client_id.is_some() && hostname.is_some() && vendor_class.is_some());
}
