//! Values of every format, made up within its rules.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use sealboot::format::archive::tar_size;
use sealboot::format::digest::Sha256Digest;
use sealboot::format::host_config::{HostConfig, Ipv4Prefix, Network};
use sealboot::format::manifest::{Arch, Archive, Encoding, ImageFile, Manifest};
use sealboot::format::pem::PrivateKey;
use sealboot::trust::policy::{AcceptedImage, ExpiryRule, FailurePolicy, FreshnessRule, Signer};
use sealboot::trust::{PublicKey, TrustPolicy};
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
    (
        0..253_402_207_000_i64,
        prop_oneof![Just(0), 0..1_000_000_000_i32],
    )
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).expect("in range"))
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
        encoding in select(&Encoding::ALL[..]),
        sha256 in digest(),
        initrds in 1..5_usize,
        metas in proptest::collection::btree_set("meta/[a-z][a-zA-Z0-9+_-]{0,20}", 0..4),
        sizes in vec(1..300_000_u64, 9),
        hashes in vec(digest(), 64),
        chunk_bits in 16..24_u32,
    ) -> Manifest {
        let boot = if initrds == 1 {
            vec!["boot/initrd".to_owned()]
        } else {
            (0..initrds).map(|part| format!("boot/initrd.{part}")).collect()
        };
        let paths = std::iter::once("boot/vmlinuz".to_owned()).chain(boot).chain(metas);
        let files: Vec<ImageFile> = paths
            .zip(&sizes)
            .zip(&hashes)
            .map(|((path, size), sha256)| ImageFile {
                path: path.parse().expect("a member"),
                size: *size,
                sha256: *sha256,
            })
            .collect();
        let tar = tar_size(files.iter().map(|file| file.size)).expect("small");
        let size = if encoding == Encoding::None { tar } else { tar / 2 };
        let chunk_size = 1 << chunk_bits;
        let chunks = usize::try_from(size.div_ceil(chunk_size)).expect("few");
        Manifest {
            name: name.parse().expect("a name"),
            version: version.try_into().expect("in range"),
            label: label.parse().expect("a label"),
            arch: if native { Arch::X86_64 } else { Arch::Aarch64 },
            created,
            expires: life.and_then(|hours| created.checked_add(jiff::SignedDuration::from_hours(hours)).ok()),
            cmdline: cmdline.parse().expect("a line"),
            archive: Archive {
                path: Archive::blob_path(&sha256, encoding),
                encoding,
                size,
                sha256,
                chunk_size,
                chunks: hashes.into_iter().cycle().take(chunks).collect(),
            },
            files,
        }
    }
}

prop_compose! {
    pub(crate) fn any_policy()(
        keys in public_keys(1..=8),
        threshold in any::<prop::sample::Index>(),
        images in proptest::collection::btree_map("[a-z0-9][a-z0-9_-]{0,20}", 1..=NUMBER_MAX, 1..5),
        required in any::<bool>(),
        max_days in option::of(1..=36_500_u32),
        http in any::<bool>(),
        waits in (1..=3600_u32, 0..=80_000_u32),
        reboot_after in any::<u32>(),
        version in 1..=NUMBER_MAX,
        denied in proptest::collection::btree_set(1..=NUMBER_MAX, 0..4),
        denied_digests in proptest::collection::btree_set(any::<[u8; 32]>(), 0..4),
        freshness in option::of((any::<bool>(), 1..=8760_u32)),
    ) -> TrustPolicy {
        // The last of several keys is for freshness.
        let (keys, renewing) = match (freshness, keys.split_last()) {
            (Some(freshness), Some((last, others))) if !others.is_empty() => (others.to_vec(), Some((*last, freshness))),
            _ => (keys, None),
        };
        let freshness = renewing.map(|(key, (required, max_hours))| FreshnessRule {
            keys: vec![Signer { name: "clockwork".parse().expect("a name"), key }],
            threshold: 1,
            required,
            max_hours,
        });
        let threshold = threshold.index(keys.len()) + 1;
        let signers = keys.into_iter().enumerate().map(|(number, key)| Signer {
            name: format!("signer-{number}@x_Y.z").parse().expect("a name"),
            key,
        });
        let images = images.into_iter().map(|(name, min_version)| AcceptedImage {
            denied_versions: denied.iter().map(|version| (*version).try_into().expect("in range")).collect(),
            ..AcceptedImage::new(name.parse().expect("a name"), min_version.try_into().expect("in range"))
        });
        let policy = TrustPolicy::new(signers.collect(), threshold, images.collect())
            .and_then(|policy| policy.with_expiry(ExpiryRule { required, max_days }))
            .and_then(|policy| policy.with_on_failure(FailurePolicy {
                first_wait_seconds: waits.0,
                longest_wait_seconds: waits.0 + waits.1,
                reboot_after,
            }))
            .and_then(|policy| policy.with_freshness(freshness))
            .and_then(|policy| policy.with_denied_digests(denied_digests.iter().map(|bytes| Sha256Digest::of(bytes)).collect()))
            .expect("agrees with itself")
            .with_version(version.try_into().expect("in range"));
        if http { policy.with_plain_http() } else { policy }
    }
}

pub(crate) fn any_network() -> impl Strategy<Value = Network> {
    let interface = || {
        option::of("[a-z][a-z0-9.]{1,14}")
            .prop_map(|name| name.map(|name| name.parse().expect("a name")))
    };
    let nameservers = || vec(any::<IpAddr>(), 0..4);
    let dhcp = (interface(), nameservers()).prop_map(|(interface, nameservers)| Network::Dhcp {
        interface,
        nameservers,
    });
    let fixed = (
        interface(),
        nameservers(),
        any::<u16>(),
        1..=32_u8,
        any::<bool>(),
    )
        .prop_map(|(interface, nameservers, host, len, routed)| {
            let [high, low] = host.to_be_bytes();
            let address = Ipv4Addr::new(10, 20, high, low);
            Network::Static {
                interface,
                address: Ipv4Prefix::new(address, len).expect("a host's address"),
                // The machine itself is on its own network, whatever the prefix.
                gateway: routed.then_some(address),
                nameservers,
            }
        });
    prop_oneof![dhcp, fixed]
}

prop_compose! {
    pub(crate) fn any_host_config()(
        image in "[a-z0-9][a-z0-9_-]{0,63}",
        mirrors in vec("https?://[a-z]{1,10}\\.example(:[1-9][0-9]{0,3})?(/[a-z0-9]{1,8}){0,3}/?", 1..=16),
        network in any_network(),
    ) -> HostConfig {
        HostConfig {
            image: image.parse().expect("a name"),
            mirrors: mirrors.iter().map(|url| url.parse().expect("a mirror")).collect(),
            network,
        }
    }
}

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(
        "payload payloadType signatures keyid sig name version label arch created expires cmdline \
         archive path encoding size sha256 chunk_size chunks files keys key threshold images \
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
