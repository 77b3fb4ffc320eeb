//! Signatures that OpenSSL makes over the printed bytes, as a KMS or an HSM would, attached to envelopes.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Output, Stdio};

use sealboot_core::trust::Envelope;
use support::world;

use crate::{ENVELOPE, World, failed, succeeded, text};

/// Has the tool print the bytes to sign into the file `bytes`, and returns them.
pub(crate) fn print(world: &World, command: &[&str], file: &str) -> Vec<u8> {
    let mut print = world.sealboot(command);
    print.args(["sign", "--print-signed-bytes", file]);
    let output = print.output().unwrap();
    fs::write(world.path("bytes"), &output.stdout).unwrap();
    let bytes = output.stdout.clone();
    succeeded(output);
    bytes
}

/// Signs a file with a private key in PEM.
pub(crate) fn openssl_sign(world: &World, key: &str, message: &str, signature: &str) {
    let sign = ["pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", message];
    let arguments = [&sign[..], &["-out", signature]].concat();
    world.run("openssl", "openssl", &arguments);
}

pub(crate) fn attach(world: &World, key: &str, signature: &str, envelope: &str) -> Output {
    let attach = [
        "signature",
        "attach",
        "--key",
        key,
        "--sig",
        signature,
        envelope,
    ];
    world.sealboot(&attach).output().unwrap()
}

/// Creates the key pair of `emma` with OpenSSL.
pub(crate) fn emma(world: &World) {
    let openssl = |arguments: &[&str]| world.run("openssl", "openssl", arguments);
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", "emma.key"]);
    openssl(&["pkey", "-in", "emma.key", "-pubout", "-out", "emma.pub"]);
}

#[test]
fn what_openssl_signed_is_attached_verified_and_published() {
    let world = World::new();
    emma(&world);
    let policy = [
        "policy",
        "create",
        "--threshold",
        "2",
        "--key",
        "test-only-keys/alice.pub",
        "--key",
        "emma.pub",
        "--image",
        "relay",
        "--out",
        "with-emma.json",
    ];
    succeeded(world.sealboot(&policy).output().unwrap());
    let before = world.envelope();
    let bytes = print(&world, &["image"], ENVELOPE);
    let envelope = Envelope::parse(&before).unwrap();
    assert_eq!(bytes, envelope.signed_bytes());
    assert_eq!(world.envelope(), before, "nothing is signed");

    openssl_sign(&world, "emma.key", "bytes", "emma.sig");
    succeeded(attach(&world, "emma.pub", "emma.sig", ENVELOPE));
    openssl_sign(&world, "test-only-keys/alice.key", "bytes", "alice.sig");
    // By standard input, in base64, as a KMS answers.
    let base64 = world.run("openssl", "openssl", &["base64", "-in", "alice.sig"]);
    let alice = [
        "signature",
        "attach",
        "--key",
        "test-only-keys/alice.pub",
        "--sig",
        "-",
    ];
    let mut command = world.sealboot(&alice);
    let mut process = command.arg(ENVELOPE).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(base64.as_bytes()).unwrap();
    drop(stdin);
    assert!(process.wait().unwrap().success());

    // The key file makes the same signature.
    let sign = ["image", "sign", "--key", "test-only-keys/alice.key"];
    let again = world.sealboot(&sign).arg(ENVELOPE).output().unwrap();
    let said = text(&again.stderr);
    assert!(said.starts_with("nothing to do: "), "{said}");

    let verify = ["image", "verify", "--policy", "with-emma.json", ENVELOPE];
    let verified = succeeded(world.sealboot(&verify).output().unwrap());
    assert!(verified.contains("alice, emma (2 required)"), "{verified}");
    let publish = ["image", "publish", "--policy", "with-emma.json", "--store"];
    let mut publish = world.sealboot(&publish);
    succeeded(publish.args(["store", ENVELOPE]).output().unwrap());
}

#[test]
fn what_openssl_signed_otherwise_is_refused() {
    let world = World::new();
    emma(&world);
    print(&world, &["image"], ENVELOPE);
    let before = world.envelope();
    let envelope = Envelope::parse(&before).unwrap();
    fs::write(world.path("payload"), envelope.unverified_payload()).unwrap();
    for algorithm in ["sha256", "sha512"] {
        let option = format!("-{algorithm}");
        let digest = ["dgst", &option, "-binary", "-out", algorithm, "bytes"];
        world.run("openssl", "openssl", &digest);
    }
    fs::copy(world.path("bytes"), world.path("longer")).unwrap();
    let mut longer = File::options()
        .append(true)
        .open(world.path("longer"))
        .unwrap();
    longer.write_all(b"\n").unwrap();
    let other = "the signature is not one by key ";
    for (key, message, expected) in [
        ("emma.key", "payload", "found    the payload alone\n"),
        ("emma.key", ENVELOPE, "found    the file of the envelope\n"),
        ("emma.key", "sha256", "found    a digest of those bytes\n"),
        ("emma.key", "sha512", "found    a digest of those bytes\n"),
        ("emma.key", "longer", other),
        ("emma.key", "staging/images/relay/43/x86_64.json", other),
        ("test-only-keys/alice.key", "bytes", other),
    ] {
        openssl_sign(&world, key, message, "signature");
        let output = attach(&world, "emma.pub", "signature", ENVELOPE);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{message}: {said}");
        assert!(said.contains(expected), "{message}: {said}");
        assert!(
            said.contains("\nhint: nothing was changed; "),
            "{message}: {said}"
        );
    }
    openssl_sign(&world, "emma.key", "bytes", "signature");
    let signature = fs::read(world.path("signature")).unwrap();
    for (bytes, found) in [
        (signature[..63].to_vec(), "63 bytes"),
        ([&signature[..], &[0]].concat(), "65 bytes"),
        (Vec::new(), "0 bytes"),
        (vec![0; 1 << 20], "more than 1024 bytes"),
    ] {
        fs::write(world.path("signature"), bytes).unwrap();
        let error = failed(&attach(&world, "emma.pub", "signature", ENVELOPE));
        assert!(
            error.contains(&format!("found    {found}\nhint: ")),
            "{error}"
        );
    }
    assert_eq!(world.envelope(), before);
}

#[test]
fn a_policy_is_signed_from_printed_bytes_and_published() {
    let world = World::new();
    world::policies::build(&world.path("policies"));
    print(&world, &["policy"], "policies/2.json");
    for name in ["alice", "bob", "carol"] {
        let key = format!("test-only-keys/{name}");
        openssl_sign(&world, &format!("{key}.key"), "bytes", "signature");
        let public = format!("{key}.pub");
        let envelope = "policies/2.signed.json";
        succeeded(attach(&world, &public, "signature", envelope));
        // The bytes are the same, however many have signed.
        let before = fs::read(world.path("bytes")).unwrap();
        assert_eq!(print(&world, &["policy"], "policies/2.json"), before);
    }
    let publish = [
        "policy",
        "publish",
        "--policy",
        "policies/1.json",
        "--store",
        "store",
        "--let-stop",
        "relay",
        "policies/2.signed.json",
    ];
    succeeded(world.sealboot(&publish).output().unwrap());
}

#[test]
fn a_host_config_is_signed_from_printed_bytes() {
    let world = World::new();
    emma(&world);
    let policy = [
        "policy",
        "create",
        "--threshold",
        "1",
        "--key",
        "test-only-keys/alice.pub",
        "--image",
        "relay",
        "--host-config-key",
        "emma.pub",
        "--out",
        "installed.json",
    ];
    succeeded(world.sealboot(&policy).output().unwrap());
    print(&world, &["host-config"], "host-configs/dhcp.json");
    openssl_sign(&world, "emma.key", "bytes", "signature");
    let envelope = "host-configs/dhcp.signed.json";
    let check = ["host-config", "check", "--policy", "installed.json"];
    let mut command = world.sealboot(&check);
    let unsigned = command.arg(envelope).output().unwrap();
    assert_eq!(unsigned.status.code(), Some(3), "nothing is signed yet");
    succeeded(attach(&world, "emma.pub", "signature", envelope));
    succeeded(world.sealboot(&check).arg(envelope).output().unwrap());
}

#[test]
fn bytes_that_cannot_all_be_written_are_a_failure() {
    let world = World::new();
    let mut print = world.sealboot(&["image", "sign", "--print-signed-bytes", ENVELOPE]);
    print.stdout(File::options().write(true).open("/dev/full").unwrap());
    assert_eq!(
        failed(&print.output().unwrap()),
        "cannot write to standard output\n  caused by: No space left on device (os error 28)\n"
    );
}

#[test]
fn signers_who_attach_in_the_same_moment_all_have_signed() {
    for _ in 0..4 {
        let world = World::new();
        print(&world, &["image"], ENVELOPE);
        let signers = ["alice", "bob", "carol", "mallory"].map(|name| {
            let key = format!("test-only-keys/{name}");
            openssl_sign(&world, &format!("{key}.key"), "bytes", name);
            (name, format!("{key}.pub"))
        });
        let running = signers.map(|(name, public)| {
            let attach = ["signature", "attach", "--key", &public, "--sig", name];
            let mut command = world.sealboot(&attach);
            command.arg(ENVELOPE).stderr(Stdio::null()).spawn().unwrap()
        });
        for mut process in running {
            assert!(process.wait().unwrap().success());
        }
        assert_eq!(world.signatures(), 4);
    }
}
