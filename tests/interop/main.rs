//! Other people's tools: `openssl` and Python's `securesystemslib` read what we write, and we theirs.
//!
//! Both are the real programs. A missing one fails the tests, with the Debian package that has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use sealboot::keys::pem::{PrivateKey, public_key_from_pem, public_key_to_pem};
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::policy::{AcceptedImage, Fields, Roles, Signer};
use sealboot_core::trust::{Envelope, PublicKey, TrustPolicy, Verifications};
use support::world::archives::noon;
use support::world::trust::group;
use support::world::{self, alice, bob, manifest, put, seal, seal_manifest};
use tempfile::TempDir;

fn run(program: impl AsRef<Path>, package: &str, arguments: &[&str]) -> Output {
    let program = program.as_ref();
    Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{} cannot be run: {error}; on Debian: apt-get install {package}",
                program.display()
            )
        })
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", text(&output));
    output
}

#[track_caller]
fn openssl(arguments: &[&str]) -> Output {
    succeeded(run("openssl", "openssl", arguments))
}

#[track_caller]
fn sealboot(arguments: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_sealboot"), "nothing", arguments)
}

/// A temporary directory, and paths in it as text.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        path.to_str().expect("a path that is text").to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        put(Path::new(&path), bytes);
        path
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn openssl_reads_our_keys() {
    let place = Place::new();
    let out = place.path("dora");
    succeeded(sealboot(&["key", "generate", "--out", &out]));
    let (private, public) = (place.path("dora.key"), place.path("dora.pub"));
    let key = public_key_from_pem(&fs::read_to_string(&public).expect("made")).expect("valid");

    let shown = openssl(&["pkey", "-in", &private, "-noout", "-text"]);
    // openssl breaks the hex into lines of colons.
    let shown = text(&shown).replace([':', ' ', '\n'], "");
    assert!(shown.contains("ED25519Private-Key"), "{shown}");
    assert!(shown.contains(&hex(key.as_bytes())), "{shown}");

    // The public half that openssl derives, and both files as it would write them, are ours to the byte.
    let derived = openssl(&["pkey", "-in", &private, "-pubout"]);
    assert_eq!(derived.stdout, fs::read(&public).expect("made"));
    let again = openssl(&["pkey", "-in", &private]);
    assert_eq!(again.stdout, fs::read(&private).expect("made"));
    let again = openssl(&["pkey", "-pubin", "-in", &public]);
    assert_eq!(again.stdout, fs::read(&public).expect("made"));
}

#[test]
fn we_read_openssls_keys() {
    let place = Place::new();
    let (private, public) = (place.path("eve.key"), place.path("eve.pub"));
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private]);
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
    let key = PrivateKey::from_pem(&fs::read_to_string(&private).expect("made")).expect("valid");
    let pem = fs::read_to_string(&public).expect("made");
    assert_eq!(public_key_from_pem(&pem).expect("valid"), key.public());
    assert_eq!(public_key_to_pem(&key.public()), pem);

    // openssl makes private keys 0600 by itself, so the tool takes them as they are.
    let shown = succeeded(sealboot(&["key", "fingerprint", &private, &public]));
    let id = key.public().id();
    assert_eq!(
        text(&shown),
        format!("{id}  private  {private}\n{id}  public   {public}\n")
    );
}

#[test]
fn keys_of_other_algorithms_are_refused() {
    let place = Place::new();
    for (algorithm, options) in [
        ("x25519", &[][..]),
        ("ed448", &[]),
        ("EC", &["-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("RSA", &["-pkeyopt", "rsa_keygen_bits:2048"]),
    ] {
        let private = place.path("other.key");
        let arguments = ["genpkey", "-algorithm", algorithm, "-out", &private];
        openssl(&[&arguments, options].concat());
        let public = text(&openssl(&["pkey", "-in", &private, "-pubout"]));
        let private = fs::read_to_string(&private).expect("made");
        assert!(PrivateKey::from_pem(&private).is_err(), "{algorithm}");
        assert!(public_key_from_pem(&public).is_err(), "{algorithm}");
    }
}

/// A policy of this key alone.
fn policy_of(key: PublicKey) -> TrustPolicy {
    let signer = Signer::new("signer".parse().expect("a name"), key);
    let image = AcceptedImage::new(
        "relay".parse().expect("a name"),
        1.try_into().expect("in range"),
    );
    let roles = Roles {
        root: group(1, &["signer"]),
        release: group(1, &["signer"]),
        freshness: None,
        host_config: None,
    };
    let fields = Fields::new(noon(), vec![signer], roles, vec![image]);
    fields.try_into().expect("agrees with itself")
}

#[test]
fn openssls_signatures_verify_here() {
    let place = Place::new();
    let mut envelope = Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest(42).encode());
    let key = place.path("eve.key");
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &key]);
    let message = place.write("message", &envelope.signed_bytes());
    let signature = place.path("signature");
    openssl(&[
        "pkeyutl", "-sign", "-rawin", "-inkey", &key, "-in", &message, "-out", &signature,
    ]);
    let signature = fs::read(&signature).expect("made");
    let public = PrivateKey::from_pem(&fs::read_to_string(&key).expect("made"))
        .expect("valid")
        .public();
    envelope.add_signature(public.id(), signature.try_into().expect("64 bytes"));
    let policy = policy_of(public);
    let tally = policy
        .root_role()
        .count(&envelope, &mut Verifications::default());
    assert_eq!(tally.signers.len(), 1, "{tally:?}");
}

#[test]
fn our_signatures_verify_with_openssl() {
    let place = Place::new();
    let path = place.write("image.json", &seal_manifest(&manifest(42), &[]));
    let out = place.path("dora");
    succeeded(sealboot(&["key", "generate", "--out", &out]));
    let (private, public) = (place.path("dora.key"), place.path("dora.pub"));
    succeeded(sealboot(&["image", "sign", "--key", &private, &path]));

    let envelope = Envelope::parse(&fs::read(&path).expect("signed")).expect("valid");
    let message = place.write("message", &envelope.signed_bytes());
    let signature = place.write("signature", &envelope.signatures()[0].bytes);
    let verify = |message: &str| {
        run(
            "openssl",
            "openssl",
            &[
                "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", &public, "-in", message,
                "-sigfile", &signature,
            ],
        )
    };
    let shown = text(&succeeded(verify(&message)));
    assert!(shown.contains("Signature Verified Successfully"), "{shown}");
    let other = place.write("other", b"another message");
    assert!(!verify(&other).status.success());
}

/// The Python of a virtual environment that has securesystemslib, made once and kept under `target/`.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let requirements = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .join("tests/interop/requirements.txt");
    let pins = fs::read_to_string(&requirements).expect("the pins are there");
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-venv");
    let python = venv.join("bin/python");
    let done = venv.join("installed");
    // Test runners that give each test a process of its own run two that need this at once.
    let lock = fs::File::create(venv.with_extension("lock")).expect("target/ is writable");
    lock.lock().expect("a file can be locked");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == pins) {
        return python;
    }
    let path = venv.to_str().expect("a path that is text");
    let made = run(
        "python3",
        "python3 python3-venv",
        &["-m", "venv", "--clear", path],
    );
    assert!(
        made.status.success(),
        "Python makes no virtual environment; on Debian: apt-get install python3-venv\n{}",
        text(&made)
    );
    let requirements = requirements.to_str().expect("a path that is text");
    let arguments = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "--requirement",
        requirements,
    ];
    let installed = run(&python, "python3-venv", &arguments);
    assert!(
        installed.status.success(),
        "pip cannot install tests/interop/requirements.txt; does it reach a package index?\n{}",
        text(&installed)
    );
    fs::write(done, pins).expect("target/ is writable");
    python
});

fn dsse(arguments: &[&str]) -> Output {
    let script =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/interop/dsse.py");
    let script = script.to_str().expect("a path that is text");
    run(
        PYTHON.as_path(),
        "python3-venv",
        &[&[script], arguments].concat(),
    )
}

#[test]
fn securesystemslib_verifies_what_we_signed() {
    let place = Place::new();
    world::build_world(place.0.path());
    let envelope = place.path("store/images/relay/42/x86_64.json");
    let key = |name: &str| place.path(&format!("test-only-keys/{name}"));
    let (alice_pub, bob_pub) = (key("alice.pub"), key("bob.pub"));
    let verify = |threshold: &str| dsse(&["verify", threshold, &envelope, &alice_pub, &bob_pub]);

    assert!(text(&verify("1")).starts_with("refused:"), "unsigned");
    succeeded(sealboot(&[
        "image",
        "sign",
        "--key",
        &key("alice.key"),
        &envelope,
    ]));
    succeeded(verify("1"));
    assert!(text(&verify("2")).starts_with("refused:"), "one short");
    succeeded(sealboot(&[
        "image",
        "sign",
        "--key",
        &key("bob.key"),
        &envelope,
    ]));
    let mut ids = [alice(), bob()].map(|key| key.public().id().to_string());
    ids.sort();
    assert_eq!(text(&succeeded(verify("2"))).trim(), ids.join(" "));

    // The other side's refusal is real: a payload of the same length that nobody signed.
    let signed = fs::read_to_string(&envelope).expect("signed");
    let touched = Envelope::parse(signed.as_bytes()).expect("valid");
    let mut manifest = touched.unverified_payload().to_vec();
    let last = manifest.len() - 100;
    manifest[last] ^= 1;
    let unsigned = seal(Manifest::PAYLOAD_TYPE, manifest, &[]);
    let payload = |json: &str| {
        let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
        value["payload"].as_str().expect("a text").to_owned()
    };
    let other = payload(std::str::from_utf8(&unsigned).expect("JSON is text"));
    put(
        Path::new(&envelope),
        signed.replace(&payload(&signed), &other).as_bytes(),
    );
    assert!(text(&verify("1")).starts_with("refused:"), "touched");
}

#[test]
fn what_securesystemslib_signed_verifies_here() {
    let place = Place::new();
    world::build_world(place.0.path());
    let envelope = place.path("store/images/relay/42/x86_64.json");
    let key = |name: &str| place.path(&format!("test-only-keys/{name}"));
    let policy = place.path("trust.json");
    let verify = || sealboot(&["image", "verify", "--policy", &policy, &envelope]);

    succeeded(dsse(&["sign", &envelope, &key("alice.key")]));
    let refused = verify();
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
    assert!(
        text(&refused).contains("MANIFEST-THRESHOLD"),
        "{}",
        text(&refused)
    );

    succeeded(dsse(&["sign", &envelope, &key("bob.key")]));
    let shown = text(&succeeded(verify()));
    assert!(
        shown.contains("signed by      alice, bob (2 required)"),
        "{shown}"
    );

    // Two tools on one envelope: our third signature leaves theirs as they are.
    succeeded(sealboot(&[
        "image",
        "sign",
        "--key",
        &key("carol.key"),
        &envelope,
    ]));
    let shown = text(&succeeded(verify()));
    assert!(
        shown.contains("signed by  alice, bob, carol (2 required)"),
        "{shown}"
    );
}
