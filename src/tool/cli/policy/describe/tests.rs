use serde_json::{Value, json};

use super::super::testing::{plain, signer, whole};
use super::*;

/// The whole policy, with a key that any role may get.
fn with_spare() -> TrustPolicy {
    let changed = whole().with(|fields| fields.keys.push(signer("spare")));
    changed.expect("the fields agree")
}

/// Returns the paths of all values that have no other values in them.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                leaves(value, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                leaves(value, &format!("{path}/{at}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// Returns what may be in the place of a value.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) => {
            let number = number.as_u64().expect("whole");
            vec![json!(number + 1), json!(number.saturating_sub(1))]
        }
        Value::String(_) => {
            let key = signer("another").key.to_string();
            [
                "warn",
                "allow",
                "reboot",
                "1.2.4",
                "2026-11-30T23:59:59Z",
                "2028-01-01T00:00:00Z",
                &"cd".repeat(32),
                &key,
                "spare",
                "another",
            ]
            .into_iter()
            .map(Value::from)
            .collect()
        }
        other => panic!("{other} is not a leaf"),
    }
}

#[track_caller]
fn assert_shown(old: &TrustPolicy, new: &TrustPolicy, what: &str) {
    assert!(!changes(old, new).is_empty(), "{what}");
    assert!(!changes(new, old).is_empty(), "{what}");
    assert_ne!(describe(old), describe(new), "{what}");
}

#[test]
fn every_change_of_a_value_is_shown() {
    let old = with_spare();
    assert_eq!(changes(&old, &old), Vec::<[String; 2]>::new());
    let json = serde_json::to_value(&old).expect("JSON");
    let mut paths = Vec::new();
    leaves(&json, "", &mut paths);
    let text = json.to_string();
    for path in paths {
        let value = json.pointer(&path).expect("there");
        let mut variants: Vec<String> = Vec::new();
        for other in others(value) {
            let mut changed = json.clone();
            *changed.pointer_mut(&path).expect("there") = other;
            variants.push(changed.to_string());
        }
        // The name of a key is also in the groups.
        if path.starts_with("/keys/") {
            variants.push(text.replace(&value.to_string(), "\"another\""));
        }
        let policies = variants
            .iter()
            .filter_map(|json| TrustPolicy::parse(json.as_bytes()).ok())
            .filter(|new| *new != old);
        let mut count = 0;
        for new in policies {
            assert_shown(&old, &new, &path);
            count += 1;
        }
        assert!(count > 0, "no other value fits {path}");
    }
}

#[test]
fn everything_that_is_taken_out_is_shown() {
    let old = with_spare();
    let json = serde_json::to_value(&old).expect("JSON");
    for path in [
        "/expires",
        "/min_loader",
        "/keys/9",
        "/roles/release/1",
        "/roles/host_config/0/keys/1",
        "/images/0",
        "/images/0/denied_versions/1",
        "/images/1/release",
        "/images/1/freshness",
        "/denied_digests/0",
        "/expiry/max_days",
        "/host_config/not_before",
    ] {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let mut changed = json.clone();
        match changed.pointer_mut(parent).expect(parent) {
            Value::Object(fields) => drop(fields.remove(name).expect(path)),
            Value::Array(values) => drop(values.remove(name.parse().expect(path))),
            _ => panic!("{path}"),
        }
        let new = TrustPolicy::parse(changed.to_string().as_bytes()).expect(path);
        assert_shown(&old, &new, path);
    }
}

#[test]
fn a_key_of_an_unknown_type_is_described() {
    let policy = plain(&["alice", "bob"]).with(|fields| {
        fields.keys[1].key = "ml-dsa-65:AAAA".parse().expect("a key");
    });
    let text = describe(&policy.expect("the fields agree"));
    assert!(
        text.contains("of type ml-dsa-65, which this version"),
        "{text}"
    );
    assert!(!text.contains("AAAA"), "{text}");
}

#[test]
fn groups_are_written_in_words() {
    let policy = whole();
    let release = &policy.fields().roles.release;
    assert_eq!(
        in_words(release),
        "1 of build-1, build-2 and 1 of alice, bob"
    );
}
