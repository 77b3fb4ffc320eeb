//! How the formats grow: every object of every statement and container, with a field that no version has yet, and the
//! list of the fields of v1.

use std::collections::BTreeSet;

use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::{Arch, Manifest};
use sealboot_core::format::payload::{self, Payload, PayloadError};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Envelope, TrustPolicy};
use serde_json::{Value, json};
use support::world::{alice, bob, clockwork, full, seal};

use super::judged::Kind;
use super::profile::strings;

/// The fields of v1 of each kind. The lists are frozen: loaders live in media, and know these and no others.
///
/// A field that is added is listed in [`SINCE_V1`].
const fn v1(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Manifest => MANIFEST,
        Kind::Freshness => FRESHNESS,
        Kind::NextPolicy | Kind::BakedInPolicy => POLICY,
        Kind::HostConfig => HOST_CONFIG,
    }
}

/// The fields that were added since v1. Each has the critical word that covers it, or none because it only adds
/// information or permission: a loader that ignores it refuses everything that one which knows it would refuse.
const SINCE_V1: &[(Kind, &str, Option<&str>)] = &[];

/// The paths of the fields in a value, such as `files[].size`, and in `objects` the JSON pointers of its objects.
fn walk(value: &Value) -> (BTreeSet<String>, Vec<String>) {
    fn below(
        value: &Value,
        path: &str,
        pointer: &str,
        fields: &mut BTreeSet<String>,
        objects: &mut Vec<String>,
    ) {
        match value {
            Value::Object(object) => {
                objects.push(pointer.to_owned());
                for (name, value) in object {
                    let path = format!("{path}{}{name}", if path.is_empty() { "" } else { "." });
                    fields.insert(path.clone());
                    below(value, &path, &format!("{pointer}/{name}"), fields, objects);
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let pointer = format!("{pointer}/{at}");
                    below(item, &format!("{path}[]"), &pointer, fields, objects);
                }
            }
            _ => {}
        }
    }
    let (mut fields, mut objects) = (BTreeSet::new(), Vec::new());
    below(value, "", "", &mut fields, &mut objects);
    (fields, objects)
}

/// The fields of a kind, by its examples.
fn fields(kind: Kind) -> BTreeSet<String> {
    kind.examples()
        .iter()
        .flat_map(|example| walk(example).0)
        .collect()
}

/// A later version's field with a value of every type.
fn later() -> Value {
    json!({"word": "x", "list": [1, {"on": true}], "empty": {}})
}

/// Adds a field of a later version to the object at `pointer`.
fn add_field(value: &mut Value, pointer: &str) {
    let object = value.pointer_mut(pointer).and_then(Value::as_object_mut);
    let object = object.expect("an object");
    object.insert("later_field".to_owned(), later());
}

/// How the path of that field is reported: `files[1].later_field` for `/files/1`.
fn reported(pointer: &str) -> String {
    let steps = pointer.split('/').skip(1).chain(["later_field"]);
    steps.fold(String::new(), |path, step| match step.parse::<usize>() {
        Ok(at) => format!("{path}[{at}]"),
        Err(_) if path.is_empty() => step.to_owned(),
        Err(_) => format!("{path}.{step}"),
    })
}

/// The paths of the fields that this version ignores.
fn ignored(kind: Kind, json: &[u8]) -> Vec<String> {
    fn unknown<T: Payload>(json: &[u8]) -> Result<Vec<String>, PayloadError> {
        payload::parse_with_unknown::<T>(json).map(|read| read.unknown)
    }
    let unknown = match kind {
        Kind::Manifest => unknown::<Manifest>(json),
        Kind::Freshness => unknown::<Freshness>(json),
        Kind::NextPolicy | Kind::BakedInPolicy => unknown::<TrustPolicy>(json),
        Kind::HostConfig => unknown::<HostConfig>(json),
    };
    unknown.expect("it is read")
}

#[test]
fn an_unknown_field_in_any_object_is_ignored_and_named() {
    for kind in Kind::ALL {
        for example in kind.examples() {
            for pointer in walk(&example).1 {
                let mut newer = example.clone();
                add_field(&mut newer, &pointer);
                let newer = newer.to_string().into_bytes();
                let judged = kind.judge(&newer);
                let read = judged.unwrap_or_else(|refused| {
                    panic!("{kind:?}, in \"{pointer}\": {}", refused.report)
                });
                assert_eq!(read, example, "{kind:?}, in \"{pointer}\"");
                assert_eq!(ignored(kind, &newer), [reported(&pointer)], "{kind:?}");
            }
        }
    }
}

/// The channel of the full manifest and its freshness statement.
fn channel() -> Value {
    let people = [alice(), bob()];
    let manifest = seal(Manifest::PAYLOAD_TYPE, full::manifest().encode(), &people);
    let said = full::freshness().encode();
    let freshness = seal(Freshness::PAYLOAD_TYPE, said, &[clockwork()]);
    let parse = |bytes: &[u8]| Envelope::parse(bytes).expect("an envelope");
    let channel = Channel::new([parse(&manifest)], [parse(&freshness)]);
    serde_json::from_slice(&channel.encode()).expect("JSON")
}

#[test]
fn an_unknown_field_in_any_object_of_a_channel_is_kept() {
    let name = "relay".parse().expect("a name");
    let expected = Expected {
        name: &name,
        arch: Some(Arch::X86_64),
        now: full::now().into(),
    };
    let (_, objects) = walk(&channel());
    // The channel, its release, two envelopes, and three signatures.
    assert_eq!(objects.len(), 7, "{objects:?}");
    for pointer in objects {
        let mut newer = channel();
        add_field(&mut newer, &pointer);
        let bytes = newer.to_string().into_bytes();
        let judged = full::policy().verify_channel(&bytes, &expected);
        let current = judged.unwrap_or_else(|refusal| panic!("in \"{pointer}\": {refusal}"));
        assert_eq!(*current.manifest().as_ref(), full::manifest());
        let written = Channel::parse(&bytes).expect("a channel").encode();
        let written: Value = serde_json::from_slice(&written).expect("JSON");
        assert_eq!(written, newer, "in \"{pointer}\"");
    }
}

#[test]
fn an_unknown_critical_word_asks_for_an_upgrade_before_anything_else() {
    for kind in Kind::ALL {
        for example in kind.examples() {
            let mut newer = example.clone();
            newer["critical"] = json!(["sealed"]);
            let upgrade = |newer: &Value| {
                let judged = kind.judge(newer.to_string().as_bytes());
                judged.map_err(|refused| refused.code)
            };
            assert_eq!(upgrade(&newer), Err(kind.upgrade()), "{kind:?}");
            // What a later version means by the other fields is unknown then.
            for (name, value) in newer.as_object_mut().expect("an object") {
                if name != "critical" {
                    *value = later();
                }
            }
            assert_eq!(upgrade(&newer), Err(kind.upgrade()), "{kind:?}");
        }
    }
}

/// Every field that takes one of a closed list of words.
const CLOSED_LISTS: &[(Kind, &str)] = &[
    (Kind::Manifest, "archive.encoding"),
    (Kind::NextPolicy, "disks"),
    (Kind::NextPolicy, "on_expiry"),
    (Kind::NextPolicy, "on_failure.final_action"),
    (Kind::BakedInPolicy, "disks"),
    (Kind::BakedInPolicy, "on_expiry"),
    (Kind::BakedInPolicy, "on_failure.final_action"),
    (Kind::HostConfig, "network.bonds[].ad_select"),
    (Kind::HostConfig, "network.bonds[].fail_over_mac"),
    (Kind::HostConfig, "network.bonds[].lacp_rate"),
    (Kind::HostConfig, "network.bonds[].mode"),
    (Kind::HostConfig, "network.bonds[].primary_reselect"),
    (Kind::HostConfig, "network.bonds[].xmit_hash_policy"),
    (Kind::HostConfig, "network.interfaces[].mode"),
    (Kind::HostConfig, "network.mode"),
];

#[test]
fn an_unknown_word_in_any_closed_list_asks_for_an_upgrade() {
    let mut found = BTreeSet::new();
    for kind in Kind::ALL {
        for example in kind.examples() {
            for (pointer, _) in strings(&example) {
                let mut newer = example.clone();
                *newer.pointer_mut(&pointer).expect("a string") = "newer".into();
                let judged = kind.judge(newer.to_string().as_bytes());
                if judged.is_err_and(|refused| refused.code == kind.upgrade()) {
                    let steps = pointer.split('/').skip(1);
                    let path = steps.fold(String::new(), |path, step| {
                        match (step.parse::<usize>(), path.is_empty()) {
                            (Ok(_), _) => format!("{path}[]"),
                            (Err(_), true) => step.to_owned(),
                            (Err(_), false) => format!("{path}.{step}"),
                        }
                    });
                    found.insert((kind, path));
                }
            }
        }
    }
    let expected = CLOSED_LISTS
        .iter()
        .map(|(kind, path)| (*kind, (*path).to_owned()));
    assert_eq!(found, expected.collect());
}

#[test]
fn the_fields_of_v1_are_frozen_and_later_ones_are_listed() {
    for (kind, field, word) in SINCE_V1 {
        // A word is one that this version implements: it reads a statement that has it.
        for (word, mut example) in word.iter().zip(kind.examples()) {
            example["critical"] = json!([word]);
            let judged = kind.judge(example.to_string().as_bytes());
            assert!(judged.is_ok(), "{field}: {word} is not implemented");
        }
    }
    for kind in Kind::ALL {
        let frozen: BTreeSet<String> = v1(kind).iter().map(|field| (*field).to_owned()).collect();
        let later = SINCE_V1.iter().filter(|(of, ..)| *of == kind);
        let later: BTreeSet<String> = later.map(|(_, field, _)| (*field).to_owned()).collect();
        assert!(frozen.is_disjoint(&later), "{kind:?}");
        let found = fields(kind);
        let gone: Vec<_> = frozen
            .union(&later)
            .filter(|field| !found.contains(*field))
            .collect();
        assert!(
            gone.is_empty(),
            "{kind:?} has lost {gone:?}, which loaders know"
        );
        let unlisted: Vec<_> = found
            .iter()
            .filter(|field| !frozen.contains(*field) && !later.contains(*field))
            .collect();
        assert!(
            unlisted.is_empty(),
            "{kind:?}: list {unlisted:?} in SINCE_V1, with the critical word that covers it or as adding only"
        );
    }
}

#[test]
fn the_containers_of_v1_are_frozen() {
    let found = walk(&channel()).0;
    assert_eq!(found.iter().collect::<Vec<_>>(), CHANNEL);
}

const CHANNEL: &[&str] = &[
    "freshness",
    "freshness[].payload",
    "freshness[].payloadType",
    "freshness[].signatures",
    "freshness[].signatures[].keyid",
    "freshness[].signatures[].sig",
    "releases",
    "releases[].manifest",
    "releases[].manifest.payload",
    "releases[].manifest.payloadType",
    "releases[].manifest.signatures",
    "releases[].manifest.signatures[].keyid",
    "releases[].manifest.signatures[].sig",
];

const MANIFEST: &[&str] = &[
    "arch",
    "archive",
    "archive.chunk_size",
    "archive.chunks_sha256",
    "archive.encoding",
    "archive.size",
    "attachments",
    "attachments[].media_type",
    "attachments[].name",
    "attachments[].sha256",
    "attachments[].size",
    "cmdline",
    "created",
    "expires",
    "files",
    "files[].path",
    "files[].sha256",
    "files[].size",
    "files[].unpacked_size",
    "label",
    "max_uptime_hours",
    "name",
    "version",
];

const FRESHNESS: &[&str] = &[
    "created",
    "expires",
    "name",
    "releases",
    "releases[].arch",
    "releases[].sha256",
    "releases[].type",
    "releases[].until",
    "releases[].version",
    "trust",
    "withdrawn",
];

const POLICY: &[&str] = &[
    "allow_http",
    "clock_tolerance_seconds",
    "created",
    "denied_digests",
    "disks",
    "expires",
    "expiry",
    "expiry.max_days",
    "expiry.required",
    "freshness",
    "freshness.max_hours",
    "freshness.max_releases",
    "freshness.required",
    "host_config",
    "host_config.not_before",
    "host_config.required",
    "images",
    "images[].denied_versions",
    "images[].freshness",
    "images[].freshness[].keys",
    "images[].freshness[].threshold",
    "images[].min_version",
    "images[].name",
    "images[].release",
    "images[].release[].keys",
    "images[].release[].threshold",
    "keys",
    "keys[].key",
    "keys[].name",
    "min_loader",
    "on_expiry",
    "on_failure",
    "on_failure.final_action",
    "on_failure.handover_watchdog_seconds",
    "on_failure.max_attempts",
    "on_failure.retry_initial_seconds",
    "on_failure.retry_max_seconds",
    "on_failure.shell",
    "on_failure.stall_seconds",
    "on_failure.unconfirmed_boots",
    "roles",
    "roles.freshness",
    "roles.freshness[].keys",
    "roles.freshness[].threshold",
    "roles.host_config",
    "roles.host_config[].keys",
    "roles.host_config[].threshold",
    "roles.release",
    "roles.release[].keys",
    "roles.release[].threshold",
    "roles.root",
    "roles.root[].keys",
    "roles.root[].threshold",
    "version",
];

const HOST_CONFIG: &[&str] = &[
    "created",
    "expires",
    "for",
    "image",
    "mirror_keys",
    "mirrors",
    "network",
    "network.addresses",
    "network.bonds",
    "network.bonds[].ad_select",
    "network.bonds[].arp_interval",
    "network.bonds[].arp_ip_target",
    "network.bonds[].downdelay",
    "network.bonds[].fail_over_mac",
    "network.bonds[].lacp_rate",
    "network.bonds[].miimon",
    "network.bonds[].min_links",
    "network.bonds[].mode",
    "network.bonds[].mtu",
    "network.bonds[].name",
    "network.bonds[].packets_per_slave",
    "network.bonds[].ports",
    "network.bonds[].primary",
    "network.bonds[].primary_reselect",
    "network.bonds[].updelay",
    "network.bonds[].xmit_hash_policy",
    "network.dhcp",
    "network.dhcp.client_id",
    "network.dhcp.hostname",
    "network.dhcp.vendor_class",
    "network.gateways",
    "network.interface",
    "network.interfaces",
    "network.interfaces[].addresses",
    "network.interfaces[].gateways",
    "network.interfaces[].interface",
    "network.interfaces[].mode",
    "network.interfaces[].mtu",
    "network.mode",
    "network.mtu",
    "network.nameservers",
    "network.routes",
    "network.routes[].interface",
    "network.routes[].to",
    "network.routes[].via",
    "network.search",
    "network.vlans",
    "network.vlans[].id",
    "network.vlans[].link",
    "network.vlans[].name",
    "ntp",
];
