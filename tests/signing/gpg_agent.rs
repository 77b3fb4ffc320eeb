//! gpg-agent as an ssh-agent, with an OpenPGP key.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use crate::{ENVELOPE, World, succeeded, text};
use support::patience::eventually;

/// A running `gpg-agent` of its own, with an ed25519 key that it offers by ssh's protocol.
pub(crate) struct GpgAgent<'w> {
    world: &'w World,
    home: String,
    socket: PathBuf,
}

impl<'w> GpgAgent<'w> {
    pub(crate) fn start(world: &'w World) -> Self {
        let home = world.path("gnupg");
        fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
        let home = home.to_str().unwrap().to_owned();
        // Not in the home where the system has a directory of sockets for each user.
        let directories = ["--homedir", &home, "--list-dirs", "agent-ssh-socket"];
        let socket = world.run("gpgconf", "gpgconf", &directories);
        let socket = PathBuf::from(socket.trim());
        let agent = Self {
            world,
            home,
            socket,
        };
        let mut command = world.command("gpg-agent");
        command
            .args(["--homedir", &agent.home, "--enable-ssh-support"])
            .args(["--disable-scdaemon", "--daemon"])
            .stdout(Stdio::null());
        let status = command.status().unwrap_or_else(|error| {
            panic!("gpg-agent cannot be run: {error}; on Debian: apt-get install gpg-agent")
        });
        assert!(status.success());
        eventually("gpg-agent listens", || {
            UnixStream::connect(&agent.socket).is_ok()
        });
        agent
    }

    /// Creates a key without a passphrase, offers it to ssh, and writes the public half to `gpg.pub`.
    pub(crate) fn create_key(&self) {
        let gpg = |arguments: &[&str]| {
            let home = ["--homedir", &self.home, "--batch"];
            self.world.run("gpg", "gpg", &[&home, arguments].concat())
        };
        let create = ["--quiet", "--pinentry-mode", "loopback", "--passphrase", ""];
        let of_kind = ["--quick-generate-key", "dora", "ed25519", "auth", "never"];
        gpg(&[&create[..], &of_kind].concat());
        let listed = gpg(&["--list-keys", "--with-keygrip", "--with-colons"]);
        let grip = listed.lines().find(|line| line.starts_with("grp:"));
        let grip = grip.and_then(|line| line.split(':').nth(9)).expect("a key");
        fs::write(self.world.path("gnupg/sshcontrol"), format!("{grip}\n")).unwrap();
        let mut list = self.world.command("ssh-add");
        let list = list.arg("-L").env("SSH_AUTH_SOCK", &self.socket);
        fs::write(
            self.world.path("gpg.pub"),
            succeeded(list.output().unwrap()),
        )
        .unwrap();
    }

    pub(crate) fn sign(&self, envelope: &str) -> Output {
        let mut command = self
            .world
            .sealboot(&["image", "sign", "--key", "gpg.pub", envelope]);
        command.env("SSH_AUTH_SOCK", &self.socket).output().unwrap()
    }
}

impl Drop for GpgAgent<'_> {
    fn drop(&mut self) {
        for how in [&["--kill", "gpg-agent"][..], &["--remove-socketdir"]] {
            let mut stop = self.world.command("gpgconf");
            let _ = stop.args(["--homedir", &self.home]).args(how).status();
        }
    }
}

#[test]
fn what_gpg_agent_signed_is_verified() {
    let world = World::new();
    let agent = GpgAgent::start(&world);
    agent.create_key();
    let policy = [
        "policy",
        "create",
        "--threshold",
        "1",
        "--key",
        "dora=gpg.pub",
        "--image",
        "relay",
        "--out",
        "with-dora.json",
    ];
    succeeded(world.sealboot(&policy).output().unwrap());
    let output = agent.sign(ENVELOPE);
    let said = text(&output.stderr);
    assert!(said.contains(", which the ssh-agent holds:\n"), "{said}");
    succeeded(output);
    let verify = ["image", "verify", "--policy", "with-dora.json", ENVELOPE];
    let verified = succeeded(world.sealboot(&verify).output().unwrap());
    assert!(verified.contains("dora (1 required)"), "{verified}");
    let again = text(&agent.sign(ENVELOPE).stderr);
    assert!(again.starts_with("nothing to do: "), "{again}");
}
