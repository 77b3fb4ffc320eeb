//! The operator's tool works on a store of a later version, and loses nothing of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use sealboot_core::format::freshness::Freshness;
use sealboot_core::trust::TrustPolicy;
use serde_json::Value;
use support::world::{self, extended};
use tempfile::TempDir;

use crate::fixtures::policy;
use crate::{directory, files_under};

const CHANNEL: &str = "store/images/relay.json";
const RELEASE: &str = "store/images/relay/43/x86_64.json";

/// A copy of the fixtures, and the tool to run there.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(TempDir::new().unwrap());
        for (name, bytes) in files_under(&directory()) {
            let path = desk.path(&name);
            world::put(&path, &bytes);
            if name.starts_with("keys/") {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// Runs the tool, which has to succeed, and returns its standard output.
    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let tool = std::env::var_os("SEALBOOT_COMPAT_TOOL");
        let tool = tool.unwrap_or_else(|| env!("CARGO_BIN_EXE_sealboot").into());
        let mut command = Command::new(tool);
        let output = command
            .args(words)
            .current_dir(self.0.path())
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sealboot {words:?}:\n{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fails unless the file still has everything of `before`.
    #[track_caller]
    fn assert_kept(&self, name: &str, before: &Value) {
        let after = self.read(name);
        assert!(
            keeps(&after, before),
            "{name} has lost something:\n{after:#}"
        );
    }
}

/// Returns `true` if `after` has each field and each list entry of `before`, in whatever order.
fn keeps(after: &Value, before: &Value) -> bool {
    match (after, before) {
        (Value::Object(after), Value::Object(before)) => before
            .iter()
            .all(|(name, before)| after.get(name).is_some_and(|after| keeps(after, before))),
        (Value::Array(after), Value::Array(before)) => before
            .iter()
            .all(|before| after.iter().any(|after| keeps(after, before))),
        (after, before) => after == before,
    }
}

/// Returns a channel without the statement that a renewal replaces.
fn without_statement(channel: &Value) -> Value {
    let mut channel = channel.clone();
    let statements = channel["freshness"].as_array_mut().unwrap();
    let before = statements.len();
    statements.retain(|statement| statement["payloadType"] != Freshness::PAYLOAD_TYPE);
    assert_eq!(statements.len() + 1, before);
    channel
}

#[test]
fn something_lost_is_noticed() {
    let before = Desk::new().read(CHANNEL);
    assert!(keeps(&before, &before));
    let changes: [fn(&mut Value); 5] = [
        |channel| drop(channel.as_object_mut().unwrap().remove(extended::FIELD)),
        |channel| drop(channel["releases"].as_array_mut().unwrap().remove(0)),
        |channel| drop(channel["freshness"].as_array_mut().unwrap().remove(0)),
        |channel| {
            let signature = &mut channel["releases"][1]["manifest"]["signatures"][1];
            signature.as_object_mut().unwrap().remove("proof");
        },
        |channel| {
            let signatures = &mut channel["releases"][1]["manifest"]["signatures"];
            signatures.as_array_mut().unwrap().remove(0);
        },
    ];
    for change in changes {
        let mut after = before.clone();
        change(&mut after);
        assert!(!keeps(&after, &before));
    }
}

#[test]
fn tool_signs_and_merges_releases_of_a_later_version() {
    let desk = Desk::new();
    let before = desk.read(RELEASE);
    fs::copy(desk.path(RELEASE), desk.path("copy.json")).unwrap();
    let sign = ["image", "sign", "--yes", "--unknown-fields", "--key"];
    desk.run(&[&sign[..], &["keys/carol.key", "copy.json"]].concat());
    desk.assert_kept("copy.json", &before);
    desk.run(&["image", "merge", RELEASE, "copy.json"]);
    desk.assert_kept(RELEASE, &before);
    desk.assert_kept(RELEASE, &desk.read("copy.json"));
}

#[test]
fn tool_verifies_releases_of_a_later_version() {
    let desk = Desk::new();
    for release in [RELEASE, "store/images/relay/42/aarch64.json"] {
        let shown = desk.run(&["image", "verify", "--policy", "policy.json", release]);
        assert!(shown.contains("alice, bob (2 required)"), "{shown}");
    }
}

#[test]
fn tool_renews_and_publishes_in_a_channel_of_a_later_version() {
    let desk = Desk::new();
    let before = without_statement(&desk.read(CHANNEL));
    desk.run(&[
        "freshness",
        "renew",
        "--init",
        "--state",
        "renewer.json",
        "--key",
        "keys/clockwork.key",
        "--policy",
        "policy.json",
        "--store",
        "store",
        "relay",
    ]);
    desk.assert_kept(CHANNEL, &before);
    let sign = ["image", "sign", "--yes", "--unknown-fields", "--key"];
    desk.run(&[&sign[..], &["keys/carol.key", RELEASE]].concat());
    desk.run(&[
        "image",
        "publish",
        "--policy",
        "policy.json",
        "--store",
        "store",
        "--freshness-key",
        "keys/clockwork.key",
        "--state",
        "renewer.json",
        RELEASE,
    ]);
    desk.assert_kept(CHANNEL, &before);
    // Carol's signature is in the channel, too.
    let release = desk.read(RELEASE);
    let channel = desk.read(CHANNEL);
    let mut releases = channel["releases"].as_array().unwrap().iter();
    assert!(releases.any(|shown| keeps(&shown["manifest"], &release)));
}

#[test]
fn tool_publishes_a_policy_of_a_later_version() {
    let desk = Desk::new();
    let before = desk.read("store/trust/2.json");
    let third = world::trust::versioned(&policy(), 3);
    let payload = extended::policy(&third);
    let third = extended::envelope(TrustPolicy::PAYLOAD_TYPE, payload, &[]);
    world::put(&desk.path("3.json"), &extended::encode(&third));
    for key in ["keys/alice.key", "keys/bob.key"] {
        desk.run(&[
            "policy",
            "sign",
            "--yes",
            "--unknown-fields",
            "--key",
            key,
            "3.json",
        ]);
    }
    desk.assert_kept("3.json", &third);
    let signed = desk.read("3.json");
    desk.run(&[
        "policy",
        "publish",
        "--policy",
        "policy.json",
        "--store",
        "store",
        "3.json",
    ]);
    desk.assert_kept("store/trust/3.json", &signed);
    assert_eq!(desk.read("store/trust/2.json"), before);
}

#[test]
fn tool_signs_host_configs_of_a_later_version() {
    let desk = Desk::new();
    let before = desk.read("host.signed.json");
    desk.run(&[
        "host-config",
        "sign",
        "--yes",
        "--unknown-fields",
        "--key",
        "keys/carol.key",
        "host.signed.json",
    ]);
    desk.assert_kept("host.signed.json", &before);
    let check = [
        "host-config",
        "check",
        "--policy",
        "policy.json",
        "host.signed.json",
    ];
    let shown = desk.run(&check);
    assert!(shown.contains("installer"), "{shown}");
}
