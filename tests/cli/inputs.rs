//! Files that never end, or that a later version wrote.

use std::fs;
use std::process::Output;

use sealboot_core::format::manifest::Manifest;
use tempfile::TempDir;

use super::{sealboot, text, world};

fn run(world: &TempDir, words: &[&str]) -> Output {
    let output = sealboot(world).args(words).output();
    output.expect("the program can be run")
}

#[test]
fn a_fifo_or_a_device_ends_every_command_that_reads_a_file() {
    let world = world();
    let fifo = world.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("ours");
    for path in ["fifo", "/dev/zero"] {
        for words in [
            &["policy", "check"][..],
            &["host-config", "check"],
            &["initramfs", "inspect"],
            &["tls", "pin"],
        ] {
            let output = run(&world, &[words, &[path]].concat());
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
            let expected = format!(
                "error: {path} is not a regular file\nhint: save what it gives to a file, and give that\n"
            );
            assert_eq!(said, expected, "{words:?}");
        }
    }
}

#[test]
fn a_manifest_of_a_later_version_asks_for_an_upgrade() {
    let world = world();
    let mut json = String::from_utf8(world::manifest(42).encode()).expect("JSON");
    json.insert_str(1, r#""critical":["deltas"],"#);
    let path = world.path().join("newer.json");
    let envelope = world::seal(Manifest::PAYLOAD_TYPE, json.into_bytes(), &[world::alice()]);
    fs::write(path, envelope).expect("ours");
    let words = [
        "image",
        "sign",
        "--key",
        "test-only-keys/bob.key",
        "newer.json",
    ];
    let output = run(&world, &words);
    let said = text(&output.stderr);
    assert!(said.contains("critical feature \"deltas\""), "{said}");
    let hint = "\nhint: use a newer version of sealboot, in the loaders too\n";
    assert!(said.ends_with(hint), "{said}");
}
