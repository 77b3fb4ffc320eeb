//! What a later version wrote, in the hands of this tool: it signs nothing unseen, and loses nothing.

use std::fs;
use std::path::Path;
use std::process::Output;

use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::{Envelope, TrustPolicy};
use serde_json::{Value, json};
use support::world::{alice, bob, extended};
use tempfile::TempDir;

use super::{sealboot, text, world};

/// The statements that people sign: the command, the payload type and a payload of a later version.
fn statements() -> [(&'static str, &'static str, Vec<u8>); 3] {
    let second = world::trust::versioned(&world::policy(), 2);
    let host = json!({
        "created": "2026-01-10T12:00:00Z", "image": "relay", "for": ["serial:CZ1234"],
        "mirrors": ["https://boot.example/"], "network": {"mode": "dhcp"},
    });
    let host = host.to_string();
    [
        (
            "image",
            Manifest::PAYLOAD_TYPE,
            extended::manifest(&world::manifest(42)),
        ),
        (
            "policy",
            TrustPolicy::PAYLOAD_TYPE,
            extended::policy(&second),
        ),
        (
            "host-config",
            HostConfig::PAYLOAD_TYPE,
            extended::host_config(host.as_bytes()),
        ),
    ]
}

fn run(world: &TempDir, words: &[&str]) -> Output {
    let output = sealboot(world).args(words).output();
    output.expect("the program can be run")
}

#[track_caller]
fn succeeded(world: &TempDir, words: &[&str]) {
    let output = run(world, words);
    assert!(
        output.status.success(),
        "{words:?}: {}",
        text(&output.stderr)
    );
}

fn read(path: &Path) -> Value {
    let bytes = fs::read(path).expect("it is there");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn put(path: &Path, container: &Value) {
    fs::write(path, extended::encode(container)).expect("ours");
}

/// Asserts that `after` has everything that `before` has: each field of an object, and each item of a list.
#[track_caller]
fn assert_kept(before: &Value, after: &Value) {
    assert!(has(before, after), "{before:#} is not in {after:#}");
}

fn has(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .all(|(name, value)| after.get(name).is_some_and(|after| has(value, after))),
        (Value::Array(before), Value::Array(after)) => before
            .iter()
            .all(|item| after.iter().any(|after| has(item, after))),
        _ => before == after,
    }
}

/// How many signatures an envelope has.
fn signatures(envelope: &Value) -> usize {
    envelope["signatures"].as_array().expect("a list").len()
}

#[test]
fn a_statement_of_a_later_version_is_signed_only_on_request() {
    for (command, payload_type, payload) in statements() {
        let world = world();
        let path = world.path().join("later.json");
        put(
            &path,
            &extended::envelope(payload_type, payload, &[alice()]),
        );
        let before = read(&path);
        let sign = [
            command,
            "sign",
            "--key",
            "test-only-keys/bob.key",
            "later.json",
        ];
        let refused = run(&world, &sign);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{command}: {said}");
        assert!(
            said.contains("which this version of sealboot does not know"),
            "{said}"
        );
        assert!(said.contains(extended::FIELD), "{said}");
        assert!(said.contains(
            "hint: sign with the version that wrote it; --unknown-fields signs it unseen"
        ));
        assert_eq!(read(&path), before, "{command}");

        succeeded(&world, &[&sign[..], &["--unknown-fields"]].concat());
        let after = read(&path);
        assert_kept(&before, &after);
        assert_eq!(signatures(&after), signatures(&before) + 1, "{command}");
        // A signature of another algorithm and two of ours, over the payload as it was.
        let bytes = fs::read(&path).expect("it is there");
        let envelope = Envelope::parse(&bytes).expect("an envelope");
        assert!(envelope.has_signature_of(&bob().public()), "{command}");
        assert!(envelope.has_signature_of(&alice().public()), "{command}");
    }
}

#[test]
fn joining_copies_keeps_what_a_later_version_wrote_in_each() {
    for (command, payload_type, payload) in statements() {
        let world = world();
        let (path, copy) = (
            world.path().join("later.json"),
            world.path().join("copy.json"),
        );
        let mut of_alice = extended::envelope(payload_type, payload.clone(), &[alice()]);
        of_alice["of_alice"] = json!({"a": [null]});
        let mut of_bob = extended::envelope(payload_type, payload, &[bob()]);
        of_bob["of_bob"] = json!(1.5);
        of_bob["signatures"][1]["of_bob"] = json!({"b": []});
        put(&path, &of_alice);
        put(&copy, &of_bob);
        succeeded(&world, &[command, "merge", "later.json", "copy.json"]);
        let joined = read(&path);
        assert_kept(&of_alice, &joined);
        assert_kept(&of_bob, &joined);
        // The signature of another algorithm is in both.
        assert_eq!(signatures(&joined), 3, "{command}");
    }
}

#[test]
fn attaching_a_signature_keeps_what_a_later_version_wrote() {
    for (command, payload_type, payload) in statements() {
        let world = world();
        let path = world.path().join("later.json");
        let before = extended::envelope(payload_type, payload, &[alice()]);
        put(&path, &before);
        let bytes = fs::read(&path).expect("it is there");
        let envelope = Envelope::parse(&bytes).expect("an envelope");
        let signature = bob().sign(&envelope.signed_bytes());
        fs::write(world.path().join("raw.sig"), signature).expect("ours");
        let key = "test-only-keys/bob.pub";
        succeeded(
            &world,
            &[
                "signature",
                "attach",
                "--key",
                key,
                "--sig",
                "raw.sig",
                "later.json",
            ],
        );
        let after = read(&path);
        assert_kept(&before, &after);
        assert_eq!(signatures(&after), signatures(&before) + 1, "{command}");
    }
}

#[test]
fn publishing_keeps_what_a_later_version_wrote() {
    let world = world();
    let store = world.path().join("store");
    let both = [alice(), bob()];
    let of = |version| {
        let payload = extended::manifest(&world::manifest(version));
        extended::envelope(Manifest::PAYLOAD_TYPE, payload, &both)
    };
    let newer = extended::newer_manifest(&world::manifest(42));
    let newer = extended::envelope(extended::NEWER_MANIFEST, newer, &both);
    let statement = extended::envelope(extended::NEWER_FRESHNESS, b"later".to_vec(), &both);
    let channel = store.join("images/relay.json");
    let before = extended::channel(&[newer, of(41)], std::slice::from_ref(&statement));
    fs::write(&channel, &before).expect("ours");
    let versioned = store.join("images/relay/42/x86_64.json");
    let release = of(42);
    put(&versioned, &release);
    let publish = [
        "image",
        "publish",
        "--policy",
        "trust.json",
        "--store",
        "store",
    ];
    succeeded(
        &world,
        &[&publish[..], &["store/images/relay/42/x86_64.json"]].concat(),
    );

    assert_kept(&release, &read(&versioned));
    let after = read(&channel);
    let mut before: Value = serde_json::from_slice(&before).expect("JSON");
    // Version 41 is offered no more; the rest of the channel is.
    before["releases"].as_array_mut().expect("a list").pop();
    assert_kept(&before, &after);
    assert_kept(&release, &after["releases"][0]["manifest"]);
    assert_eq!(after["releases"].as_array().map(Vec::len), Some(2));
}

#[test]
fn publishing_a_policy_keeps_what_a_later_version_wrote() {
    let world = world();
    let [_, (_, payload_type, payload), _] = statements();
    let envelope = extended::envelope(payload_type, payload, &[alice(), bob()]);
    put(&world.path().join("2.json"), &envelope);
    let publish = [
        "policy",
        "publish",
        "--policy",
        "trust.json",
        "--store",
        "store",
        "2.json",
    ];
    succeeded(&world, &publish);
    assert_kept(&envelope, &read(&world.path().join("store/trust/2.json")));
}

/// A field that a person has misspelt is refused wherever it is read first, with the one that was meant.
#[test]
fn a_misspelt_field_of_a_plain_file_is_explained() {
    let world = world();
    let policy = String::from_utf8(world::policy().encode()).expect("JSON");
    let host = r#"{"image": "relay", "mirrors": ["https://boot.example/"], "network": {"mode": "dhcp"}, "netp": []}"#;
    let policy = policy.replacen("\"allow_http\"", "\"alow_http\"", 1);
    fs::write(world.path().join("policy.json"), policy).expect("ours");
    fs::write(world.path().join("host.json"), host).expect("ours");
    let meant = [
        "did you mean allow_http in place of alow_http?",
        "did you mean ntp in place of netp?",
    ];
    for (words, meant) in [
        (&["policy", "check", "policy.json"][..], meant[0]),
        (&["host-config", "check", "host.json"], meant[1]),
        (
            &[
                "host-config",
                "sign",
                "--key",
                "test-only-keys/bob.key",
                "host.json",
            ],
            meant[1],
        ),
        (
            &["host-config", "write-efi", "--root", "machine", "host.json"],
            meant[1],
        ),
    ] {
        let output = run(&world, words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(
            said.ends_with(&format!("hint: {meant}\n")),
            "{words:?}: {said}"
        );
    }
}
