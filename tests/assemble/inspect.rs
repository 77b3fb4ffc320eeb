//! `initramfs inspect`, and what is read out of an initramfs.

use std::fs;

use sealboot_core::format::digest::Sha256Digest;
use support::world;
use support::world::trust::{policy_of, seal_policy, two_of, versioned};

use crate::bench::{Bench, HOST, POLICY, assert_done, assert_failed, cpio};

#[test]
fn an_appended_archive_shows_when_an_initramfs_is_inspected() {
    let bench = Bench::new();
    assert_done(&bench.build(&[]));
    let mut image = fs::read(bench.path("loader.img")).unwrap();
    image.resize(image.len().next_multiple_of(4), 0);
    image.extend_from_slice(&cpio(&["init"]));
    bench.put("loader.img", &image);
    let output = bench
        .command()
        .args(["initramfs", "inspect", "--json", "loader.img"])
        .output()
        .unwrap();
    let (json, _) = assert_done(&output);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["archives"][0]["compression"], "zstd");
    assert_eq!(
        json["archives"][0]["entries"][1],
        serde_json::json!({"name": "dev/console", "type": "char-device", "mode": "0600", "uid": 0, "gid": 0, "mtime": 1_700_000_000, "size": 0, "device": [5, 1]})
    );
    assert_eq!(
        json["archives"][1],
        serde_json::json!({"compression": "none", "entries": [
            {"name": "init", "type": "file", "mode": "0755", "uid": 0, "gid": 0, "mtime": 0, "size": 2000}
        ]})
    );
    let output = bench
        .command()
        .args(["initramfs", "inspect", "loader.img"])
        .output()
        .unwrap();
    let (list, _) = assert_done(&output);
    assert!(
        list.starts_with("# archive 1, compression zstd\n"),
        "{list}"
    );
    let last =
        "# archive 2, compression none\n-rwxr-xr-x       2000 init\n# trust policy version 1";
    assert!(list.contains(last), "{list}");
}

#[test]
fn removed_keys_that_could_fork_the_chain_are_shown() {
    let bench = Bench::new();
    let [alice, bob, carol] = [world::alice(), world::bob(), world::carol()];
    let first = two_of(1, [("alice", &alice), ("bob", &bob)]);
    bench.put("policy.json", &first.encode());
    assert_done(&bench.build(&[("--policy", Some("policy.json"))]));
    let inspect = |more: &[&str]| {
        let mut command = bench.command();
        command.args(["initramfs", "inspect", "--store", "mirror"]);
        let output = command.args(more).arg("loader.img").output().unwrap();
        assert_done(&output)
    };
    let trust = |list: &str| {
        let at = list.find("# trust policy").unwrap();
        list[at..].to_owned()
    };
    let head = format!(
        "# trust policy version 1, sha256 {}\n# can extend the chain of policies from it: 2 of alice, bob\n",
        Sha256Digest::of(&first.encode())
    );
    bench.put("mirror/images/relay.json", b"");
    let (list, stderr) = inspect(&[]);
    assert_eq!(stderr, "");
    assert_eq!(
        trust(&list),
        format!(
            "{head}# the store's newest is version 1, which has removed from root: none of these keys\n\
             # a fork of the chain at version 2 needs 2 of alice, bob: 2 of them must still be in root\n"
        )
    );
    let second = two_of(2, [("bob", &bob), ("carol", &carol)]);
    let by_all = [&alice, &bob, &carol];
    bench.put("mirror/trust/2.json", &seal_policy(&second, &by_all));
    let (list, stderr) = inspect(&[]);
    assert_eq!(
        stderr,
        "warning: machines with this initramfs still count alice, which version 2 has removed from root; build it again with version 2\n"
    );
    assert_eq!(
        trust(&list),
        format!(
            "{head}# the store's newest is version 2, which has removed from root: alice\n\
             # a fork of the chain at version 2 needs 2 of alice, bob: 1 of them must still be in root\n"
        )
    );
    let third = policy_of(1, &[("carol", &carol)], first.images().to_vec());
    let third = versioned(&third, 3);
    bench.put("mirror/trust/3.json", &seal_policy(&third, &by_all));
    let (list, _) = inspect(&[]);
    assert!(
        list.ends_with("needs 2 of alice, bob: the removed keys are enough\n"),
        "{list}"
    );
    let (json, _) = inspect(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["trust"],
        serde_json::json!({
            "version": 1,
            "sha256": Sha256Digest::of(&first.encode()).to_string(),
            "root": [{"keys": ["alice", "bob"], "threshold": 2}],
            "newest": {
                "version": 3,
                "removed": ["alice", "bob"],
                "fork": {
                    "version": 2,
                    "groups": [{"threshold": 2, "keys": ["alice", "bob"], "removed": ["alice", "bob"]}],
                    "lacking": 0,
                },
            },
        })
    );
}

#[test]
fn deadlines_are_read_out_of_an_initramfs() {
    let bench = Bench::new();
    let end = POLICY.rfind('}').unwrap();
    let policy = format!(r#"{}, "expires": "2030-01-01T00:00:00Z"}}"#, &POLICY[..end]);
    bench.put("policy.json", policy.as_bytes());
    let host = HOST.replacen('{', r#"{"expires": "2029-01-01T00:00:00Z", "#, 1);
    bench.put("host.json", host.as_bytes());
    assert_done(&bench.build(&[]));
    let list = |at: &str| {
        let mut command = bench.command();
        command.args([
            "deadlines",
            "--initramfs",
            "loader.img",
            "--json",
            "--at",
            at,
        ]);
        let output = command.output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let deadlines = json["deadlines"].as_array().unwrap().iter();
        let deadlines = deadlines.map(|deadline| {
            ["what", "expires", "state"].map(|field| {
                let text = deadline[field].as_str().unwrap();
                text.to_owned()
            })
        });
        (output.status.code(), deadlines.collect::<Vec<_>>())
    };
    let (status, listed) = list("2028-12-01T00:00:00Z");
    assert_eq!(status, Some(0), "{listed:?}");
    assert_eq!(listed[0], ["host-config", "2029-01-01T00:00:00Z", "fine"]);
    assert_eq!(listed[1], ["policy", "2030-01-01T00:00:00Z", "fine"]);
    assert_eq!(listed[2][0], "tls-root");
    assert_eq!(listed.len(), 3);
    let (status, listed) = list("2029-12-30T00:00:00Z");
    assert_eq!(status, Some(3), "{listed:?}");
    let states = listed.iter().map(|[_, _, state]| state.as_str());
    assert_eq!(states.collect::<Vec<_>>(), ["expired", "soon", "fine"]);
}

#[test]
fn what_holds_no_policy_is_compared_with_no_store() {
    let bench = Bench::new();
    bench.put("mirror/images/relay.json", b"");
    let inspect = ["initramfs", "inspect", "--store", "mirror", "initrd.zst"];
    let output = bench.command().args(inspect).output().unwrap();
    assert_failed(
        &output,
        "error: initrd.zst holds no trust policy\nhint: give an initramfs that `sealboot initramfs build` made, or leave --store out\n",
    );
}

#[test]
fn what_is_no_initramfs_is_not_listed() {
    let bench = Bench::new();
    bench.put("gzip", b"\x1f\x8b\x08\0\0\0\0\0");
    let whole = fs::read(bench.path("initrd.zst")).unwrap();
    bench.put("cut", &whole[..whole.len() - 10]);
    let hint = "hint: give a newc cpio archive, plain or compressed with zstd\n";
    for (file, cause) in [
        (
            "vmlinuz",
            "what starts at byte 4 is nothing that the kernel unpacks",
        ),
        (
            "gzip",
            "what starts at byte 0 is compressed with gzip, which is not read here",
        ),
    ] {
        let output = bench
            .command()
            .args(["initramfs", "inspect", file])
            .output()
            .unwrap();
        assert_failed(
            &output,
            &format!(
                "error: {file} is no initramfs that can be listed\n  caused by: {cause}\n{hint}"
            ),
        );
    }
    let output = bench
        .command()
        .args(["initramfs", "inspect", "cut"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
}
