//! Statements and containers as a later version may write them, with every extension point of v1 in use at once.
//!
//! Statements get an unknown field in every object, keys of an unknown type in every role, releases and statements of an
//! unknown payload type, and an unknown kind of machine identity. Containers get unknown fields,
//! a proof beside each signature, and a signature of another algorithm. All of it is inside the lexical profile, and
//! signed by the keys of [`super`] or those that are given: a loader of v1 has to accept it.

use sealboot::keys::pem::PrivateKey;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::{Envelope, TrustPolicy};
use serde_json::{Map, Value, json};

/// The field that each object of a statement or container gets.
pub const FIELD: &str = "added_later";

/// The text beside each signature.
pub const PROOF: &str = "an inclusion proof of a transparency log";

/// The payload type of a later manifest.
pub const NEWER_MANIFEST: &str = "application/vnd.sealboot.manifest.v2+json";

/// The payload type of a later freshness statement.
pub const NEWER_FRESHNESS: &str = "application/vnd.sealboot.freshness.v2+json";

/// The key id of the signature of another algorithm.
pub const OTHER_KEY_ID: &str = "ml-dsa-65";

/// Adds an unknown field to each object.
fn extend(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(extend);
            let added = json!({"since": 2, "words": ["a", "b"], "on": true});
            fields.insert(FIELD.to_owned(), added);
        }
        Value::Array(values) => values.iter_mut().for_each(extend),
        _ => {}
    }
}

/// Returns a statement with an unknown field in each object, after `change`.
fn statement(json: &[u8], change: impl FnOnce(&mut Map<String, Value>)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(json).unwrap();
    change(value.as_object_mut().unwrap());
    extend(&mut value);
    let mut json = serde_json::to_vec(&value).unwrap();
    json.push(b'\n');
    json
}

/// Returns the payload of a trust policy whose roles name a key of an unknown type beside the known ones.
#[must_use]
pub fn policy(policy: &TrustPolicy) -> Vec<u8> {
    statement(&policy.encode(), |fields| {
        let mut keys = Vec::new();
        let mut add_to = |group: &mut Value, role: &str| {
            let name = format!("later-{role}");
            group["keys"].as_array_mut().unwrap().push(json!(name));
            keys.push(json!({"name": name, "key": format!("ml-dsa-65:{}", role.repeat(300))}));
        };
        for (role, groups) in fields["roles"].as_object_mut().unwrap() {
            // One group is enough: a key is in one group of a role alone.
            add_to(&mut groups[0], role);
        }
        for image in fields["images"].as_array_mut().unwrap() {
            for role in ["release", "freshness"] {
                let name = image["name"].as_str().unwrap().to_owned();
                if let Some(groups) = image.get_mut(role) {
                    add_to(&mut groups[0], &format!("{name}-{role}"));
                }
            }
        }
        let table = fields["keys"].as_array_mut().unwrap();
        table.extend(keys);
    })
}

/// Returns the payload of a manifest.
#[must_use]
pub fn manifest(manifest: &Manifest) -> Vec<u8> {
    statement(&manifest.encode(), |_| {})
}

/// Returns the payload of a later manifest of the same release, which this version cannot read.
#[must_use]
pub fn newer_manifest(manifest: &Manifest) -> Vec<u8> {
    statement(&manifest.encode(), |fields| {
        fields.insert("archive".to_owned(), json!("sealed"));
        fields.insert("critical".to_owned(), json!(["sealed"]));
    })
}

/// Returns the payload of a freshness statement that also lists a later manifest of each release. `releases` are the payloads of [`manifest`], in the statement's order.
#[must_use]
pub fn freshness(freshness: &Freshness, releases: &[Vec<u8>]) -> Vec<u8> {
    statement(&freshness.encode(), |fields| {
        let listed = fields["releases"].as_array_mut().unwrap();
        let mut all = Vec::new();
        for (mut release, payload) in std::mem::take(listed).into_iter().zip(releases) {
            release["sha256"] = json!(Sha256Digest::of(payload));
            let mut newer = release.clone();
            newer["type"] = json!(NEWER_MANIFEST);
            newer["sha256"] = json!(Sha256Digest::of(b"another"));
            all.extend([newer, release]);
        }
        *listed = all;
    })
}

/// Returns the payload of a host config that names machines by a kind that this version does not know, too.
#[must_use]
pub fn host_config(json: &[u8]) -> Vec<u8> {
    statement(json, |fields| {
        if let Some(machines) = fields.get_mut("for") {
            let machines = machines.as_array_mut().unwrap();
            machines.insert(0, json!("tpm:sha256:0011"));
        }
    })
}

/// Returns an envelope, signed by each of `keys`, with unknown fields, a proof beside each signature, and a signature of
/// another algorithm.
#[must_use]
pub fn envelope(payload_type: &str, payload: Vec<u8>, keys: &[PrivateKey]) -> Value {
    let mut envelope = Envelope::unsigned(payload_type, payload);
    for key in keys {
        let signature = key.sign(&envelope.signed_bytes());
        envelope.add_signature(key.public().id(), signature);
    }
    let mut envelope: Value = serde_json::from_slice(&envelope.encode()).unwrap();
    let signatures = envelope["signatures"].as_array_mut().unwrap();
    for signature in signatures.iter_mut() {
        signature["proof"] = json!(PROOF);
    }
    let other = json!({"keyid": OTHER_KEY_ID, "sig": "AAAA".repeat(1100), "alg": "ml-dsa-65"});
    signatures.insert(0, other);
    envelope[FIELD] = json!([1, "two"]);
    envelope
}

/// Returns the channel file of these releases and statements.
#[must_use]
pub fn channel(releases: &[Value], freshness: &[Value]) -> Vec<u8> {
    let releases: Vec<Value> = releases
        .iter()
        .map(|manifest| json!({"manifest": manifest, FIELD: {"rollout": 7}}))
        .collect();
    encode(&json!({"releases": releases, "freshness": freshness, FIELD: "kept"}))
}

/// Returns the bytes of a container's file.
#[must_use]
pub fn encode(container: &Value) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(container).unwrap();
    json.push(b'\n');
    json
}
