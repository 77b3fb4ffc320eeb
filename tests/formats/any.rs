//! Values of every format, made up within its rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use sealboot::keys::pem::PrivateKey;
use sealboot_core::format::archive::tar_size;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::{Arch, Archive, Attachment, Encoding, ImageFile, Manifest};
use sealboot_core::format::network::{
    Bond, BondMode, FailOverMac, Interface, Ipv4Method, Ipv6Method, LacpRate, LinkRef, Monitor,
    Network, PrimaryReselect, Vlan, XmitHashPolicy,
};
use sealboot_core::trust::policy::{
    AcceptedImage, Disks, ExpiryRule, FailurePolicy, Fields, FinalAction, FreshnessRule, Group,
    HostConfigRule, OnExpiry, Roles, Signer,
};
use sealboot_core::trust::{PublicKey, TrustPolicy};
use serde_json::Value;

const NUMBER_MAX: u64 = (1 << 53) - 1;

pub(crate) fn private_key(seed: [u8; 32]) -> PrivateKey {
    // RFC 8410, section 7: the fixed head of an ed25519 PKCS#8 key, then the seed.
    let head = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let body = STANDARD.encode([head.as_slice(), &seed].concat());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    let key = PrivateKey::from_pem(&pem).expect("every seed is a key");
    assert_eq!(*key.to_pem(), pem, "a key is written as it was read");
    key
}

pub(crate) fn public_keys(
    count: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Vec<PublicKey>> {
    proptest::collection::btree_set(any::<[u8; 32]>(), count).prop_map(|seeds| {
        seeds
            .into_iter()
            .map(|seed| private_key(seed).public())
            .collect()
    })
}

pub(crate) fn digest() -> impl Strategy<Value = Sha256Digest> {
    any::<u64>().prop_map(|seed| Sha256Digest::of(&seed.to_le_bytes()))
}

pub(crate) fn moment() -> impl Strategy<Value = Timestamp> {
    // To the end of the year 9999, with and without a fraction.
    // The formats have whole seconds.
    (0..253_402_207_000_i64).prop_map(|second| Timestamp::from_second(second).expect("in range"))
}

prop_compose! {
    pub(crate) fn any_manifest()(
        name in "[a-z0-9][a-z0-9_-]{0,63}",
        version in 1..=NUMBER_MAX,
        label in "[ -~]{1,128}",
        native in any::<bool>(),
        created in moment(),
        life in option::of(1..100_i64),
        cmdline in "[ -~]{0,200}",
        encoding in select(Encoding::ALL),
        sha256 in digest(),
        initrds in 1..5_usize,
        uptime in option::of(1..=720_u16),
        attached in proptest::collection::btree_map("[a-z0-9][a-z0-9._-]{0,63}", 0..=256_u64 << 20, 0..4),
        sizes in vec(1..300_000_u64, 9),
        hashes in vec(digest(), 9),
        chunk_bits in 16..24_u32,
    ) -> Manifest {
        let boot = if initrds == 1 {
            vec!["boot/initrd".to_owned()]
        } else {
            (0..initrds).map(|part| format!("boot/initrd.{part}")).collect()
        };
        let paths = std::iter::once("boot/vmlinuz".to_owned()).chain(boot);
        let files: Vec<ImageFile> = paths
            .zip(&sizes)
            .zip(&hashes)
            .map(|((path, size), sha256)| ImageFile {
                path: path.parse().expect("a member"),
                size: *size,
                sha256: *sha256,
                unpacked_size: (size % 3 == 0).then_some(size * 2),
            })
            .collect();
        let attachments = attached
            .into_iter()
            .map(|(name, size)| Attachment {
                name: name.parse().expect("a name"),
                media_type: "application/vnd.example+json".parse().expect("a type"),
                size,
                sha256,
            })
            .collect();
        let tar = tar_size(files.iter().map(|file| file.size)).expect("small");
        let size = if encoding == Encoding::None { tar } else { tar / 2 };
        let chunk_size = 1 << chunk_bits;
        Manifest {
            name: name.parse().expect("a name"),
            version: version.try_into().expect("in range"),
            label: label.parse().expect("a label"),
            arch: if native { Arch::X86_64 } else { Arch::Aarch64 },
            created,
            expires: life.and_then(|hours| created.checked_add(jiff::SignedDuration::from_hours(hours)).ok()),
            cmdline: cmdline.parse().expect("a line"),
            archive: Archive {
                encoding,
                size,
                chunk_size,
                chunks_sha256: sha256,
            },
            files,
            max_uptime_hours: uptime.map(|hours| u64::from(hours).try_into().expect("in range")),
            attachments,
        }
    }
}

fn groups(names: &[String], threshold: prop::sample::Index) -> Vec<Group> {
    vec![Group {
        keys: names
            .iter()
            .map(|name| name.parse().expect("a name"))
            .collect(),
        threshold: threshold.index(names.len()) + 1,
    }]
}

prop_compose! {
    fn any_failure_policy()(
        waits in (1..=3600_u32, 0..=80_000_u32),
        max_attempts in any::<u32>(),
        final_action in select(FinalAction::ALL),
        stall_seconds in 360..=86_400_u32,
        shell in any::<bool>(),
        unconfirmed_boots in any::<u32>(),
        handover_watchdog_seconds in 0..=86_400_u32,
    ) -> FailurePolicy {
        FailurePolicy {
            retry_initial_seconds: waits.0,
            retry_max_seconds: waits.0 + waits.1,
            max_attempts,
            final_action,
            stall_seconds,
            shell,
            unconfirmed_boots,
            handover_watchdog_seconds,
        }
    }
}

prop_compose! {
    pub(crate) fn any_policy()(
        keys in public_keys(3..=8),
        unknown in option::of("[a-z0-9-]{1,8}:[!-~]{1,100}"),
        thresholds in vec(any::<prop::sample::Index>(), 2),
        images in proptest::collection::btree_map("[a-z0-9][a-z0-9_-]{0,20}", 1..=NUMBER_MAX, 1..5),
        required in any::<[bool; 3]>(),
        max_days in option::of(1..=36_500_u32),
        http in any::<bool>(),
        on_failure in any_failure_policy(),
        version in 1..=NUMBER_MAX,
        created in moment(),
        life in option::of(1..100_000_i64),
        words in (select(OnExpiry::ALL), select(Disks::ALL)),
        denied in proptest::collection::btree_set(1..=NUMBER_MAX, 0..4),
        denied_digests in proptest::collection::btree_set(any::<[u8; 32]>(), 0..4),
        freshness in (1..=8760_u32, 1..=8_u32),
    ) -> TrustPolicy {
        let names: Vec<String> = (0..keys.len()).map(|number| format!("signer-{number}@x_Y.z")).collect();
        let mut signers: Vec<Signer> = names.iter().zip(keys).map(|(name, key)| {
            Signer::new(name.parse().expect("a name"), key)
        }).collect();
        if let Some(key) = unknown.and_then(|key| key.parse().ok()) {
            signers.push(Signer { name: "later".parse().expect("a name"), key });
        }
        // The last two are for freshness and for host configs.
        let (people, others) = names.split_at(names.len() - 2);
        let one = |name: &String| Some(groups(std::slice::from_ref(name), thresholds[0]));
        let roles = Roles {
            root: groups(people, thresholds[0]),
            release: groups(people, thresholds[1]),
            freshness: one(&others[0]),
            host_config: one(&others[1]),
        };
        let images = images.into_iter().map(|(name, min_version)| AcceptedImage {
            denied_versions: denied.iter().map(|version| (*version).try_into().expect("in range")).collect(),
            release: required[0].then(|| groups(people, thresholds[0])),
            freshness: required[1].then(|| groups(&others[..1], thresholds[0])),
            ..AcceptedImage::new(name.parse().expect("a name"), min_version.try_into().expect("in range"))
        });
        let fields = Fields {
            version: version.try_into().expect("in range"),
            expires: life.and_then(|hours| created.checked_add(jiff::SignedDuration::from_hours(hours)).ok()),
            on_expiry: words.0,
            min_loader: required[2].then(|| "1.2.3".parse().expect("a version")),
            denied_digests: denied_digests.iter().map(|bytes| Sha256Digest::of(bytes)).collect(),
            expiry: ExpiryRule { required: required[0], max_days },
            freshness: FreshnessRule { required: required[1], max_hours: freshness.0, max_releases: freshness.1 },
            host_config: HostConfigRule { required: required[2], not_before: required[0].then_some(created) },
            allow_http: http,
            clock_tolerance_seconds: freshness.0,
            on_failure,
            disks: words.1,
            ..Fields::new(created, signers, roles, images.collect())
        };
        fields.try_into().expect("agrees with itself")
    }
}

fn any_link() -> impl Strategy<Value = LinkRef> {
    prop_oneof![
        "[a-z][a-z0-9]{1,8}".prop_map(|name| name.parse().expect("a name")),
        any::<[u8; 5]>().prop_map(|rest| {
            // No multicast address, and none of nobody.
            let [a, b, c, d, e] = rest;
            LinkRef::Mac([2, a, b, c, d, e].into())
        }),
    ]
}

fn any_ipv4_method() -> impl Strategy<Value = Ipv4Method> {
    let fixed = (any::<u16>(), 1..=32_u8, any::<bool>()).prop_map(|(host, len, routed)| {
        let [high, low] = host.to_be_bytes();
        let address = Ipv4Addr::new(10, 20, high, low);
        Ipv4Method::Static {
            addresses: vec![Ipv4Net::new(address, len).expect("a length")],
            // The machine itself is on its own network, whatever the prefix.
            gateway: routed.then_some(address),
        }
    });
    prop_oneof![Just(Ipv4Method::None), Just(Ipv4Method::Dhcp), fixed]
}

fn any_ipv6_method() -> impl Strategy<Value = Ipv6Method> {
    let fixed = (any::<u16>(), 1..=128_u8, any::<bool>()).prop_map(|(host, len, routed)| {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host);
        Ipv6Method::Static {
            addresses: vec![Ipv6Net::new(address, len).expect("a length")],
            gateway: routed.then_some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
        }
    });
    prop_oneof![
        Just(Ipv6Method::None),
        Just(Ipv6Method::Auto),
        Just(Ipv6Method::Dhcp),
        fixed
    ]
}

fn any_bond() -> impl Strategy<Value = Bond> {
    let mode = prop_oneof![
        option::of(any::<u16>())
            .prop_map(|packets_per_slave| BondMode::BalanceRr { packets_per_slave }),
        Just(BondMode::ActiveBackup {
            primary: None,
            primary_reselect: Some(PrimaryReselect::Better),
            fail_over_mac: Some(FailOverMac::Active),
        }),
        option::of(any::<u16>()).prop_map(|min_links| BondMode::Lacp {
            lacp_rate: Some(LacpRate::Fast),
            ad_select: None,
            min_links,
            xmit_hash_policy: Some(XmitHashPolicy::Layer34),
        }),
    ];
    let port = |at: usize| format!("port{at}").parse().expect("a name");
    (mode, 1..=4_usize, 1..60_000_u32).prop_map(move |(mode, ports, interval)| Bond {
        name: "bond0".parse().expect("a name"),
        ports: (0..ports).map(port).collect(),
        mode,
        monitor: Monitor::Mii {
            interval,
            updelay: None,
            downdelay: Some(interval),
        },
        mtu: None,
    })
}

pub(crate) fn any_network() -> impl Strategy<Value = Network> {
    let methods = (any_ipv4_method(), any_ipv6_method()).prop_filter("a way", |methods| {
        *methods != (Ipv4Method::None, Ipv6Method::None)
    });
    let mtu = option::of(1280..=65_535_u64);
    let interface = (any_link(), methods, mtu).prop_map(|(link, (ipv4, ipv6), mtu)| Interface {
        link: Some(link),
        ipv4,
        ipv6,
        mtu: mtu.map(|mtu| mtu.try_into().expect("in range")),
    });
    let vlan = (1..=4094_u64).prop_map(|id| Vlan {
        name: format!("vlan{id}").parse().expect("a name"),
        link: "bond0".parse().expect("a name"),
        id: id.try_into().expect("in range"),
    });
    (
        vec(interface, 1..4),
        vec(any_bond(), 0..=1),
        vec(vlan, 0..=1),
        vec(any::<IpAddr>(), 0..4),
        vec("[a-z]{1,9}\\.example", 0..3),
    )
        .prop_filter("one each", |(interfaces, ..)| {
            let mut links: Vec<_> = interfaces.iter().map(|i| i.link.clone()).collect();
            links.sort();
            links.windows(2).all(|two| two[0] != two[1])
        })
        .prop_map(|(interfaces, bonds, vlans, nameservers, search)| Network {
            interfaces,
            bonds,
            vlans,
            nameservers,
            search: search
                .iter()
                .map(|name| name.parse().expect("a domain"))
                .collect(),
            ..Network::by_dhcp()
        })
}

prop_compose! {
    pub(crate) fn any_host_config()(
        image in "[a-z0-9][a-z0-9_-]{0,63}",
        mirrors in vec("https?://[a-z]{1,10}\\.example(:[1-9][0-9]{0,3})?(/[a-z0-9]{1,8}){0,3}/?", 1..=16),
        mirror_keys in proptest::collection::btree_set(any::<[u8; 32]>(), 0..4),
        network in any_network(),
        ntp in vec("[a-z]{1,9}\\.example(:[1-9][0-9]{0,3})?|192\\.0\\.2\\.[1-9]", 0..3),
        created in option::of(moment()),
        life in option::of(1..100_i64),
        machines in proptest::collection::btree_set("(serial|asset|tpm):[A-Za-z0-9][A-Za-z0-9. ]{0,20}[a-z]|mac(:[0-9a-f]{2}){6}", 0..4),
    ) -> HostConfig {
        HostConfig {
            created,
            expires: created.zip(life).and_then(|(created, hours)| {
                created.checked_add(jiff::SignedDuration::from_hours(hours)).ok()
            }),
            machines: machines.iter().map(|machine| machine.parse().expect("an identity")).collect(),
            image: image.parse().expect("a name"),
            // Keys identify no mirror over plain http.
            mirrors: mirrors.iter().map(|url| match mirror_keys.is_empty() {
                true => url.parse().expect("a mirror"),
                false => url.replacen("http://", "https://", 1).parse().expect("a mirror"),
            }).collect(),
            mirror_keys: mirror_keys.iter().map(|bytes| Sha256Digest::of(bytes)).collect(),
            network,
            ntp: ntp.iter().map(|server| server.parse().expect("a server")).collect(),
        }
    }
}

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(
        "payload payloadType signatures keyid sig name version label arch created expires cmdline \
         archive path encoding size sha256 chunk_size chunks_sha256 files unpacked_size \
         max_uptime_hours attachments media_type critical keys key threshold images \
         min_version image mirrors network mode dhcp static relay none gzip zstd boot/vmlinuz \
         2026-01-01T12:00:00Z"
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((words.clone(), inner), 0..10).prop_map(|fields| {
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    })
}
