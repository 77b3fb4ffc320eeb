//! Signing as people do it: with agents, with keys that passphrases protect, and at terminals.
//!
//! Everything beside the tool is the real program: `ssh-agent`, `ssh-add`, `ssh-keygen`, `gpg-agent`, `gpg`,
//! `openssl`, a pseudo-terminal. Only agents that misbehave are played, on a socket of the same kind.
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod agent;
mod attach;
mod gpg_agent;
mod locked_keys;
mod secrets;
mod sizes;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::world;

use tempfile::TempDir;

/// What waits for its first signature.
const ENVELOPE: &str = "store/images/relay/42/x86_64.json";

/// A directory with the world of `support::world`.
struct World(TempDir);

impl World {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        world::build_world(directory.path());
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .current_dir(self.0.path())
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("SSH_ASKPASS")
            .env_remove("DISPLAY")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn sealboot(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_sealboot"));
        command.args(arguments);
        command
    }

    /// Runs another program, which has to be there and to succeed.
    fn run(&self, program: &str, package: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).output();
        let output = output.unwrap_or_else(|error| {
            panic!("{program} cannot be run: {error}; on Debian: apt-get install {package}")
        });
        succeeded(output)
    }

    /// Runs the tool with a passphrase on descriptor 3.
    fn with_passphrase(&self, passphrase: &str, arguments: &[&str]) -> Output {
        fs::write(self.path("passphrase"), format!("{passphrase}\n")).unwrap();
        self.command("bash")
            .args(["-c", "exec \"$0\" \"$@\" --passphrase-fd 3 3<passphrase"])
            .arg(env!("CARGO_BIN_EXE_sealboot"))
            .args(arguments)
            .output()
            .unwrap()
    }

    fn envelope(&self) -> Vec<u8> {
        fs::read(self.path(ENVELOPE)).unwrap()
    }

    /// How many signatures the envelope holds.
    fn signatures(&self) -> usize {
        let envelope = sealboot_core::trust::Envelope::parse(&self.envelope()).unwrap();
        envelope.signatures().len()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The standard output of what succeeded.
#[track_caller]
fn succeeded(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The error of what failed: what stands on stderr from `error: ` on.
#[track_caller]
fn failed(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let (_, error) = stderr.split_once("error: ").expect("an error");
    error.to_owned()
}
