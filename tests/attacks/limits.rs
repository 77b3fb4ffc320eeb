//! Every bound of the formats, by the vectors that stand at it and just past it.

use std::fs;

use sealboot_core::failure::FailureCode;
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::limits;
use support::places::repository;
use support::world;

use super::{families, judges};

/// What shows a bound.
enum Shown {
    /// The vector that has exactly as much as is read, and the one that has more.
    Vectors(&'static str, &'static str),
    /// A test, in this file: no mirror and no signer has a say in what is bounded.
    Test(&'static str, &'static str),
}
use Shown::{Test, Vectors};

/// Every field of `src/core/format/limits.rs`, in its order.
const LIMITS: &[(&str, Shown)] = &[
    (
        "envelope_bytes",
        Vectors(
            "next-policy-of-the-largest-size",
            "next-policy-one-byte-too-large",
        ),
    ),
    (
        "channel_bytes",
        Vectors("channel-of-the-largest-size", "channel-one-byte-too-large"),
    ),
    (
        "signatures",
        Vectors("thirty-two-signatures", "thirty-three-signatures"),
    ),
    (
        "key_id_bytes",
        Vectors("key-id-of-the-longest-length", "key-id-one-byte-too-long"),
    ),
    (
        "signature_bytes",
        Vectors(
            "signature-of-the-largest-size",
            "signature-one-byte-too-large",
        ),
    ),
    (
        "payload_bytes",
        Vectors(
            "manifest-of-the-largest-size",
            "manifest-one-byte-too-large",
        ),
    ),
    (
        "policy_bytes",
        Vectors(
            "next-policy-payload-of-the-largest-size",
            "next-policy-payload-one-byte-too-large",
        ),
    ),
    (
        "policy_envelope_bytes",
        Vectors(
            "next-policy-of-the-largest-size",
            "next-policy-one-byte-too-large",
        ),
    ),
    (
        "policy_keys",
        Vectors("policy-of-64-keys", "policy-of-65-keys"),
    ),
    (
        "policy_key_bytes",
        Vectors("key-of-the-longest-length", "key-one-character-too-long"),
    ),
    (
        "policy_groups",
        Vectors("root-of-4-groups", "root-of-5-groups"),
    ),
    (
        "policy_denied_versions",
        Vectors(
            "image-of-256-denied-versions",
            "image-of-257-denied-versions",
        ),
    ),
    (
        "policy_denied_digests",
        Vectors(
            "policy-of-1024-denied-digests",
            "policy-of-1025-denied-digests",
        ),
    ),
    (
        "verifications",
        Vectors(
            "last-verification-of-a-channel",
            "one-verification-too-many",
        ),
    ),
    (
        "policy_chain",
        Vectors("chain-of-the-longest-length", "chain-longer-than-the-limit"),
    ),
    (
        "policy_images",
        Vectors("policy-of-256-images", "policy-of-257-images"),
    ),
    (
        "host_config_bytes",
        Vectors(
            "host-config-of-the-largest-size",
            "host-config-one-byte-too-large",
        ),
    ),
    (
        "efi_variable_bytes",
        Test("src/sys/firmware/efi.rs", "a_value_is_bounded_both_ways"),
    ),
    (
        "smbios_bytes",
        Test(
            "tests/attacks/limits.rs",
            "an_smbios_table_is_read_up_to_its_limit",
        ),
    ),
    (
        "machines",
        Vectors("host-config-for-64-machines", "host-config-for-65-machines"),
    ),
    (
        "mirrors",
        Vectors("host-config-of-16-mirrors", "host-config-of-17-mirrors"),
    ),
    (
        "mirror_keys",
        Vectors(
            "host-config-of-32-mirror-keys",
            "host-config-of-33-mirror-keys",
        ),
    ),
    (
        "tls_roots_bytes",
        Test(
            "tests/cli/inputs.rs",
            "certificates_and_keys_are_read_up_to_their_limits",
        ),
    ),
    (
        "key_file_bytes",
        Test(
            "tests/cli/inputs.rs",
            "certificates_and_keys_are_read_up_to_their_limits",
        ),
    ),
    (
        "cmdline_bytes",
        Vectors(
            "cmdline-of-the-longest-length",
            "cmdline-one-character-too-long",
        ),
    ),
    (
        "archive_bytes",
        Vectors("archive-of-the-largest-size", "archive-one-byte-too-large"),
    ),
    (
        "chunk_size_min",
        Vectors(
            "chunks-of-the-smallest-size",
            "chunks-below-the-smallest-size",
        ),
    ),
    (
        "chunk_size_max",
        Vectors("chunks-of-the-largest-size", "chunks-past-the-largest-size"),
    ),
    (
        "zstd_window",
        Vectors(
            "zstd-window-of-the-largest-size",
            "zstd-window-past-the-largest",
        ),
    ),
    (
        "network_items",
        Vectors(
            "host-config-of-16-name-servers",
            "host-config-of-17-name-servers",
        ),
    ),
    (
        "archive_members",
        Vectors("image-of-128-files", "image-of-129-files"),
    ),
    (
        "current_releases",
        Vectors("channel-of-32-releases", "channel-of-33-releases"),
    ),
    (
        "channel_statements",
        Vectors("channel-of-4-statements", "channel-of-5-statements"),
    ),
    (
        "withdrawn_versions",
        Vectors(
            "freshness-of-64-withdrawn-versions",
            "freshness-of-65-withdrawn-versions",
        ),
    ),
    (
        "attachments",
        Vectors("image-of-16-attachments", "image-of-17-attachments"),
    ),
    (
        "attachment_bytes",
        Vectors(
            "attachment-of-the-largest-size",
            "attachment-one-byte-too-large",
        ),
    ),
    (
        "number_max",
        Vectors(
            "version-of-the-largest-number",
            "version-past-the-largest-number",
        ),
    ),
];

/// The fields of the struct in `limits.rs`.
fn fields() -> Vec<String> {
    let source = fs::read_to_string(repository().join("src/core/format/limits.rs")).unwrap();
    let (_, body) = source.split_once("pub struct Limits {\n").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let field = |line: &str| {
        Some(
            line.trim()
                .strip_prefix("pub ")?
                .split_once(':')?
                .0
                .to_owned(),
        )
    };
    body.lines().filter_map(field).collect()
}

#[test]
fn every_limit_has_a_pair_of_vectors() {
    let listed: Vec<&str> = LIMITS.iter().map(|(field, _)| *field).collect();
    assert_eq!(fields(), listed);
    let verdict = |name: &str| {
        let vector = families::all().find(|vector| vector.name() == name);
        vector
            .unwrap_or_else(|| panic!("there is no vector {name}"))
            .verdict
    };
    for (field, shown) in LIMITS {
        match shown {
            Vectors(at, past) => {
                // The largest archive is asked for, and no mirror has it.
                let expected: Result<(), FailureCode> = match *field {
                    "archive_bytes" => Err(FailureCode::FetchTruncated),
                    _ => Ok(()),
                };
                assert_eq!(verdict(at), expected, "{field}: {at}");
                let refused = verdict(past).expect_err(past);
                assert_ne!(Err(refused), expected, "{field}: {past}");
            }
            Test(file, name) => {
                let source = fs::read_to_string(repository().join(file)).unwrap();
                assert!(
                    source.contains(&format!("fn {name}(")),
                    "{field}: {file} has no {name}"
                );
            }
        }
    }
}

/// The firmware's table is read up to 1 MiB: a host config that ends there is found, and one that ends behind is not.
#[test]
fn an_smbios_table_is_read_up_to_its_limit() {
    let limit = usize::try_from(limits::LIMITS.smbios_bytes).unwrap();
    let host = "sealboot.host-config:{\"image\":\"relay\",\"mirrors\":[\"https://boot.example/\"],\"network\":{\"mode\":\"dhcp\"}}";
    // Type, length, handle and the number of strings, the string with its NUL, and one more NUL.
    let ours = [&[11, 5, 0, 0, 1], host.as_bytes(), b"\0\0"].concat();
    let configured = |end: usize| {
        let root = tempfile::tempdir().unwrap();
        // An OEM string of others, so long that the NUL of ours is the last byte.
        let other = end - (ours.len() - 1) - 7;
        let before = [&[11, 5, 0, 0, 1][..], &vec![b'x'; other], b"\0\0"].concat();
        let table = [&before[..], &ours, &[127, 4, 0, 0, 0, 0]].concat();
        world::put(&root.path().join("sys/firmware/dmi/tables/DMI"), &table);
        let baked_in = families::policy().encode();
        world::put(&root.path().join("etc/sealboot/trust.json"), &baked_in);
        let now = families::NOW.parse().unwrap();
        judges::configure(root.path(), &Parameters::default(), now).map(drop)
    };
    assert_eq!(configured(limit), Ok(()));
    assert_eq!(configured(limit + 1), Err(FailureCode::ConfigureHost));
}
