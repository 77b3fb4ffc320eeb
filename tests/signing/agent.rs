//! Signatures by agents: a real one, and ones that misbehave.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::thread;

use sealboot::keys::openssh::public_key_from_openssh;
use sealboot::keys::pem::public_key_to_pem;
use sealboot::keys::ssh::key_blob;

use crate::{ENVELOPE, World, failed, succeeded, text};
use support::patience::eventually;
use support::world;

const KEY: &str = "test-only-keys/dora-openssh.key";
const PUBLIC: &str = "test-only-keys/dora-openssh.pub";

/// A running `ssh-agent` of its own.
pub(crate) struct SshAgent {
    process: Child,
    pub(crate) socket: PathBuf,
}

impl SshAgent {
    pub(crate) fn start(world: &World) -> Self {
        let socket = world.path("agent.sock");
        let process = world
            .command("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "ssh-agent cannot be run: {error}; on Debian: apt-get install openssh-client"
                )
            });
        let agent = Self { process, socket };
        eventually("ssh-agent listens", || {
            UnixStream::connect(&agent.socket).is_ok()
        });
        agent
    }

    pub(crate) fn add(&self, world: &World, arguments: &[&str]) {
        let mut command = world.command("ssh-add");
        command.env("SSH_AUTH_SOCK", &self.socket).arg("-q");
        succeeded(command.args(arguments).output().unwrap());
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn sign(world: &World, key: &str, socket: &Path) -> Output {
    world
        .sealboot(&["image", "sign", "--key", key, ENVELOPE])
        .env("SSH_AUTH_SOCK", socket)
        .output()
        .unwrap()
}

#[test]
fn an_agent_makes_the_very_signature_that_the_key_file_makes() {
    let world = World::new();
    fs::copy(world.path(ENVELOPE), world.path("by-file.json")).unwrap();
    let agent = SshAgent::start(&world);
    agent.add(&world, &[KEY]);
    let output = sign(&world, PUBLIC, &agent.socket);
    assert!(
        text(&output.stderr)
            .starts_with("signing with key ff8cae38377623a0, which the ssh-agent holds:\n"),
        "{}",
        text(&output.stderr)
    );
    succeeded(output);
    let by_file = ["image", "sign", "--key", KEY, "by-file.json"];
    succeeded(world.sealboot(&by_file).output().unwrap());
    assert_eq!(
        world.envelope(),
        fs::read(world.path("by-file.json")).unwrap()
    );
    assert_eq!(world.signatures(), 1);
    let again = text(&sign(&world, PUBLIC, &agent.socket).stderr);
    assert!(again.starts_with("nothing to do: "), "{again}");
}

#[test]
fn what_an_agent_signed_is_verified_and_published() {
    let world = World::new();
    let agent = SshAgent::start(&world);
    agent.add(&world, &[KEY]);
    let policy = [
        "policy",
        "create",
        "--threshold",
        "2",
        "--key",
        "test-only-keys/alice.pub",
        "--key",
    ];
    let dora = format!("dora={PUBLIC}");
    let mut create = world.sealboot(&policy);
    create.args([dora.as_str(), "--image", "relay", "--out", "with-dora.json"]);
    succeeded(create.output().unwrap());
    succeeded(sign(&world, PUBLIC, &agent.socket));
    succeeded(sign(&world, "test-only-keys/alice.key", &agent.socket));
    let verify = ["image", "verify", "--policy", "with-dora.json", ENVELOPE];
    let verified = succeeded(world.sealboot(&verify).output().unwrap());
    assert!(verified.contains("alice, dora (2 required)"), "{verified}");
    let publish = [
        "image",
        "publish",
        "--policy",
        "with-dora.json",
        "--store",
        "store",
        ENVELOPE,
    ];
    succeeded(world.sealboot(&publish).output().unwrap());
}

#[test]
fn an_agent_signs_the_next_policy_as_the_key_file_does() {
    let world = World::new();
    world::policies::build(&world.path("policies"));
    let agent = SshAgent::start(&world);
    agent.add(&world, &[KEY]);
    fs::copy(world.path("policies/2.json"), world.path("by-file.json")).unwrap();
    for (key, policy, envelope) in [
        (PUBLIC, "policies/2.json", "policies/2.signed.json"),
        (KEY, "by-file.json", "by-file.signed.json"),
    ] {
        let mut sign = world.sealboot(&["policy", "sign", "--key", key, policy]);
        let output = sign.env("SSH_AUTH_SOCK", &agent.socket).output().unwrap();
        assert_eq!(succeeded(output), format!("{envelope}\n"));
    }
    assert_eq!(
        fs::read(world.path("policies/2.signed.json")).unwrap(),
        fs::read(world.path("by-file.signed.json")).unwrap()
    );
}

#[test]
fn the_public_key_may_be_spki_and_the_copy_be_merged() {
    let world = World::new();
    let agent = SshAgent::start(&world);
    agent.add(&world, &[KEY]);
    let line = fs::read_to_string(world.path(PUBLIC)).unwrap();
    let pem = public_key_to_pem(&public_key_from_openssh(&line).unwrap());
    fs::write(world.path("dora.pem"), pem).unwrap();
    let signed = |key: &str| {
        fs::copy(world.path(ENVELOPE), world.path("copy.json")).unwrap();
        let mut command = world.sealboot(&["image", "sign", "--key", key, "copy.json"]);
        succeeded(
            command
                .env("SSH_AUTH_SOCK", &agent.socket)
                .output()
                .unwrap(),
        );
        fs::read(world.path("copy.json")).unwrap()
    };
    assert_eq!(signed(KEY), signed("dora.pem"));
    assert_eq!(world.signatures(), 0);
    let merge = ["image", "merge", ENVELOPE, "copy.json"];
    succeeded(world.sealboot(&merge).output().unwrap());
    assert_eq!(world.signatures(), 1);
}

#[test]
fn an_agent_without_the_key_is_told_from_one_that_is_gone() {
    let world = World::new();
    let before = world.envelope();
    let mut agent = SshAgent::start(&world);
    agent.add(&world, &["test-only-keys/rsa-openssh.key"]);
    assert_eq!(
        failed(&sign(&world, PUBLIC, &agent.socket)),
        format!(
            "the ssh-agent does not hold key ff8cae38377623a0 of {PUBLIC}\n\
             hint: add the private key with `ssh-add FILE`; `ssh-add -L` lists what the agent holds\n"
        )
    );

    agent.stop();
    let socket = agent.socket.display();
    assert_eq!(
        failed(&sign(&world, PUBLIC, &agent.socket)),
        format!(
            "no ssh-agent answers at {socket}\n  \
             caused by: Connection refused (os error 111)\n\
             hint: start one, or correct SSH_AUTH_SOCK, which says where it is\n"
        )
    );
    fs::remove_file(&agent.socket).unwrap();
    assert_eq!(
        failed(&sign(&world, PUBLIC, &agent.socket)),
        format!(
            "no ssh-agent answers at {socket}\n  \
             caused by: No such file or directory (os error 2)\n\
             hint: start one, or correct SSH_AUTH_SOCK, which says where it is\n"
        )
    );
    assert_eq!(world.envelope(), before);
}

#[test]
fn an_agent_whose_owner_declines_signs_nothing() {
    let world = World::new();
    let agent = SshAgent::start(&world);
    // Confirmed by a program that is not there: the agent says no, as it does to a pressed "Cancel".
    agent.add(&world, &["-c", KEY]);
    assert_eq!(
        failed(&sign(&world, PUBLIC, &agent.socket)),
        "the ssh-agent refused to sign with key ff8cae38377623a0\n\
         hint: was the token taken out, the confirmation declined, or the agent locked?\n"
    );
    assert_eq!(world.signatures(), 0);
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

fn signature(kind: &str, bytes: &[u8], more: &[u8]) -> Vec<u8> {
    let inner = [string(kind.as_bytes()), string(bytes), more.to_vec()].concat();
    string(&[vec![14], string(&inner)].concat())
}

/// An agent that holds dora's key, by its own word, and answers the request to sign with these bytes.
fn played(world: &World, answer: Vec<u8>) -> PathBuf {
    let line = fs::read_to_string(world.path(PUBLIC)).unwrap();
    let blob = key_blob(&public_key_from_openssh(&line).unwrap());
    let listing = [vec![12, 0, 0, 0, 1], string(&blob), string(b"dora")].concat();
    play(world, vec![string(&listing), answer])
}

/// An agent that answers requests with these bytes, one after the other, and then hangs up.
fn play(world: &World, answers: Vec<Vec<u8>>) -> PathBuf {
    let socket = world.path("played.sock");
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for answer in answers {
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut request = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    socket
}

#[test]
fn an_agent_that_lies_adds_no_signature() {
    let world = World::new();
    let envelope = sealboot_core::trust::Envelope::parse(&world.envelope()).unwrap();
    let mallorys = world::mallory().sign(&envelope.signed_bytes());
    let not_by_dora = "the ssh-agent's signature is not one by key ff8cae38377623a0";
    let no_agent = "does not speak as an ssh-agent does\n  caused by: ";
    for (what, answer, expected) in [
        (
            "another key's signature",
            signature("ssh-ed25519", &mallorys, &[]),
            not_by_dora.to_owned(),
        ),
        (
            "a signature of nothing",
            signature("ssh-ed25519", &[0; 64], &[]),
            not_by_dora.to_owned(),
        ),
        (
            "a FIDO key's signature, with its flags and counter",
            signature("ssh-ed25519", &mallorys, &[1, 0, 0, 0, 9]),
            format!("{no_agent}the answer ends before"),
        ),
        (
            "another kind of signature",
            signature("ssh-rsa", &[1; 256], &[]),
            format!("{no_agent}the answer is no ed25519 signature"),
        ),
        (
            "success, and nothing more",
            string(&[6]),
            format!("{no_agent}the answer is message 6, not 14"),
        ),
        (
            "an empty message",
            string(&[]),
            format!("{no_agent}the answer ends before"),
        ),
        (
            "four gigabytes, by its own word",
            vec![0xff; 64],
            "gave no answer\n  caused by: its answer claims 4294967295 bytes".to_owned(),
        ),
        (
            "another protocol",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            "gave no answer\n  caused by: its answer claims 1213486160 bytes".to_owned(),
        ),
        (
            "half a message",
            vec![0, 0, 0, 9, 14],
            "gave no answer\n  caused by: ".to_owned(),
        ),
        (
            "nothing",
            Vec::new(),
            "gave no answer\n  caused by: ".to_owned(),
        ),
    ] {
        let socket = played(&world, answer);
        let error = failed(&sign(&world, PUBLIC, &socket));
        assert!(error.contains(&expected), "{what}: {error}");
        assert!(error.contains("\nhint: "), "{what}: {error}");
        assert_eq!(world.signatures(), 0, "{what}");
    }
}

#[test]
fn what_is_no_agent_is_found_out_before_anything_is_asked() {
    let world = World::new();
    for listing in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        string(&[5]),
        string(&[12, 0, 0, 0, 9]),
        Vec::new(),
    ] {
        let socket = play(&world, vec![listing]);
        let output = sign(&world, PUBLIC, &socket);
        failed(&output);
        assert!(!text(&output.stderr).contains("signing with"));
    }
}
