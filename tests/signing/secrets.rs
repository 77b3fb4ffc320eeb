//! What is left of a secret beside the process that held it: nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use sealboot::keys::locked::LockedKey;
use sealboot::keys::openssh::private_key_from_openssh;
use sealboot::keys::pem::PrivateKey;
use sealboot_core::failure::causes;

use crate::{ENVELOPE, World};
use support::patience::eventually;

const NOBODY: u32 = 65_534;

/// Whose process this is, by `/proc`: its files are root's where it must not be dumped.
fn owner(process: &Child) -> u32 {
    let environment = format!("/proc/{}/environ", process.id());
    fs::metadata(environment).unwrap().uid()
}

/// Starts a program with a limit on core files that lets them be written, and not as root, whose
/// processes look the same whether they may be dumped or not.
fn start(world: &World, program: &str, arguments: &[&str]) -> Child {
    let mut command: Command = world.command("bash");
    command
        .args([
            "-c",
            "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$0\" \"$@\"",
            program,
        ])
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.spawn().unwrap()
}

fn core_limit(process: &Child) -> String {
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    line.unwrap().split_whitespace().nth(4).unwrap().to_owned()
}

#[test]
fn a_process_that_holds_a_secret_leaves_no_core_and_opens_to_nobody() {
    let world = World::new();
    let key = world.path("test-only-keys/encrypted.key");
    let binary = world.path("sealboot");
    fs::copy(env!("CARGO_BIN_EXE_sealboot"), &binary).unwrap();
    if geteuid().is_root() {
        fs::set_permissions(world.path(""), Permissions::from_mode(0o755)).unwrap();
        chown(&key, Some(NOBODY), Some(NOBODY)).unwrap();
        for place in ["store/images/relay", ENVELOPE] {
            chown(world.path(place), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    // What the check must be able to tell apart.
    let mut other = start(&world, "sleep", &["600"]);
    eventually("bash becomes sleep", || {
        fs::read_to_string(format!("/proc/{}/comm", other.id())).unwrap() == "sleep\n"
    });
    assert_ne!(owner(&other), 0);
    other.kill().unwrap();
    other.wait().unwrap();

    // It has read the key file, and waits for a passphrase that never comes.
    let mut process = start(
        &world,
        binary.to_str().unwrap(),
        &[
            "image",
            "sign",
            "--key",
            "test-only-keys/encrypted.key",
            "--passphrase-fd",
            "0",
            ENVELOPE,
        ],
    );
    eventually("the process cannot be dumped any more", || {
        owner(&process) == 0 && core_limit(&process) == "0"
    });
    kill(
        Pid::from_raw(i32::try_from(process.id()).unwrap()),
        Signal::SIGABRT,
    )
    .unwrap();
    let status = process.wait().unwrap();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
    let left: Vec<_> = fs::read_dir(world.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("core"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What reading a damaged key says of it, with every cause.
fn error_of(name: &str, pem: &str) -> Option<String> {
    let error = if name.contains("openssh") {
        private_key_from_openssh(pem).err()
    } else if name.contains("encrypted") {
        LockedKey::from_pem(pem).err()
    } else {
        PrivateKey::from_pem(pem).err()
    };
    error.map(|error| format!("{error:?} {}", causes(Some(&error)).join(" ")))
}

#[test]
fn no_error_of_a_damaged_key_file_repeats_any_of_it() {
    let keys = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/cli/fixtures/test-only-keys"
    );
    for name in [
        "alice.key",
        "encrypted.key",
        "dora-openssh.key",
        "eve-openssh.key",
        "rsa-openssh.key",
    ] {
        let pem = fs::read_to_string(format!("{keys}/{name}")).unwrap();
        let secret: String = pem.lines().filter(|line| !line.contains("---")).collect();
        let mut refused = 0;
        for at in (0..pem.len()).step_by(7) {
            for damage in ["*", "A", "\n\n", "\u{e9}", "-----BEGIN"] {
                let damaged = format!("{}{damage}{}", &pem[..at], &pem[at + 1..]);
                let Some(error) = error_of(name, &damaged) else {
                    continue;
                };
                refused += 1;
                for start in 0..secret.len() - 8 {
                    let part = &secret[start..start + 8];
                    assert!(!error.contains(part), "{name}: {part} in {error}");
                }
            }
        }
        assert!(refused > 50, "{name}: {refused}");
    }
}
