//! The lexical profile, in every kind of statement.

use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::format::payload::{self, Payload};
use sealboot_core::trust::TrustPolicy;
use serde_json::Value;
use support::world::profile::rows;

use super::judged::Kind;

#[test]
fn the_profile_is_the_same_in_every_kind_of_statement() {
    for kind in Kind::ALL {
        for statement in kind.examples() {
            let bytes = statement.to_string().into_bytes();
            for row in rows() {
                match kind.judge(&row.apply(&bytes)) {
                    Ok(read) => {
                        assert!(row.is_inside, "{kind:?}: {} is accepted", row.name);
                        assert_eq!(read, statement, "{kind:?}: {}", row.name);
                    }
                    Err(refused) => {
                        assert!(!row.is_inside, "{kind:?}, {}: {}", row.name, refused.report);
                        assert_eq!(refused.code, kind.invalid(), "{kind:?}: {}", row.name);
                        let why = "outside the JSON profile of signed statements";
                        assert!(refused.report.contains(why), "{}", refused.report);
                    }
                }
            }
        }
    }
}

/// Other spellings of a time, each of which some reader of RFC 3339 accepts.
const OTHER_TIMES: &[(&str, &str)] = &[
    ("Z", "z"),
    ("T", "t"),
    ("T", " "),
    ("Z", "+00:00"),
    ("Z", ".000Z"),
    ("Z", ""),
    ("Z", "Z[UTC]"),
    (":00Z", ":60Z"),
    (":00Z", "Z"),
    ("20", "+20"),
    ("-01-", "-13-"),
];

#[test]
fn times_and_digests_have_one_spelling_in_every_field() {
    for kind in Kind::ALL {
        let mut fields = (0, 0);
        for statement in kind.examples() {
            for (path, text) in strings(&statement) {
                let others: Vec<String> = if text.len() == 20 && text.ends_with('Z') {
                    fields.0 += 1;
                    let others = OTHER_TIMES.iter();
                    others
                        .map(|(from, to)| text.replacen(from, to, 1))
                        .collect()
                } else if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    fields.1 += 1;
                    // One of the host configs' digests has no letters.
                    let capital = format!("{}A", &text[..63]);
                    vec![
                        capital,
                        text[..62].to_owned(),
                        format!("{text}00"),
                        format!("0x{}", &text[2..]),
                    ]
                } else {
                    continue;
                };
                for other in others.into_iter().filter(|other| *other != text) {
                    let mut changed = statement.clone();
                    *changed.pointer_mut(&path).expect("it is there") = other.clone().into();
                    let refused = kind.judge(changed.to_string().as_bytes());
                    let code = refused.map_err(|refused| refused.code);
                    assert_eq!(code, Err(kind.invalid()), "{kind:?}: {path} as {other:?}");
                }
            }
        }
        assert!(fields.0 >= 2 && fields.1 >= 1, "{kind:?}: {fields:?}");
    }
}

/// The strings of a value, by their JSON pointers.
pub(crate) fn strings(value: &Value) -> Vec<(String, String)> {
    let below = |step: String, value: &Value| {
        let inner = strings(value).into_iter();
        inner.map(move |(path, text)| (format!("/{step}{path}"), text))
    };
    match value {
        Value::String(text) => vec![(String::new(), text.clone())],
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .flat_map(|(at, item)| below(at.to_string(), item))
                .collect()
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .flat_map(|(name, value)| below(name.clone(), value))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// One of each, in the shape that the formats were designed with: two groups of a role, a statement for two architectures.
#[test]
fn an_example_of_each_statement_is_read_whole() {
    fn read<T: Payload>(json: &[u8]) -> (T, Value) {
        let read = payload::parse_with_unknown::<T>(json).expect("inside the profile");
        assert_eq!(read.unknown, [""; 0]);
        (read.value, serde_json::from_slice(json).expect("JSON"))
    }
    let (manifest, json) = read::<Manifest>(include_bytes!("examples/manifest.json"));
    assert_eq!(serde_json::to_value(&manifest).expect("JSON"), json);
    assert_eq!(manifest.archive.chunk_list_len(), 144 * 32);
    let (freshness, json) = read::<Freshness>(include_bytes!("examples/freshness.json"));
    assert_eq!(serde_json::to_value(&freshness).expect("JSON"), json);
    assert_eq!(freshness.versions_of_one_arch(), 2);
    let (config, json) = read::<HostConfig>(include_bytes!("examples/host-config.json"));
    assert_eq!(serde_json::to_value(&config).expect("JSON"), json);
    assert_eq!(config.machines.len(), 3);
    let (policy, json) = read::<TrustPolicy>(include_bytes!("examples/policy.json"));
    let written = serde_json::to_value(&policy).expect("JSON");
    for (name, value) in json.as_object().expect("an object") {
        // The defaults are spelled out in what is written.
        if !["images", "on_failure"].contains(&name.as_str()) {
            assert_eq!(written[name], *value, "{name}");
        }
    }
    assert_eq!(policy.fields().roles.release.len(), 2);
    assert_eq!(policy.images()[1].release.as_ref().map(Vec::len), Some(1));
}
