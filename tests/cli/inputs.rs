//! Files that never end, that a later version wrote, or whose dates are far off.

use std::fs;
use std::process::Output;

use sealboot_core::format::limits::LIMITS;
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

#[test]
fn a_signer_is_warned_of_dates_that_are_far_off() {
    let world = world();
    let sign = |created: &str, expires: &str| {
        let mut manifest = world::manifest(42);
        manifest.created = created.parse().expect("a time");
        manifest.expires = Some(expires.parse().expect("a time"));
        let envelope = world::seal(Manifest::PAYLOAD_TYPE, manifest.encode(), &[world::alice()]);
        fs::write(world.path().join("dated.json"), envelope).expect("ours");
        let output = sealboot(&world)
            .env("SOURCE_DATE_EPOCH", "1796126400")
            .args([
                "image",
                "sign",
                "--key",
                "test-only-keys/bob.key",
                "dated.json",
            ])
            .output();
        let output = output.expect("the program can be run");
        assert!(output.status.success());
        let said = text(&output.stderr);
        let warnings = said.lines().filter(|line| line.starts_with("warning: "));
        warnings.map(str::to_owned).collect::<Vec<_>>()
    };
    let usual = sign("2026-12-01T12:00:00Z", "2027-03-01T12:00:00Z");
    assert_eq!(usual, [""; 0]);
    assert_eq!(
        sign("2062-12-01T12:00:00Z", "2063-03-01T12:00:00Z"),
        [
            "warning: it was created in the future, at 2062-12-01T12:00:00Z: machines refuse it until then; now is 2026-12-01T12:00:00Z",
            "warning: it expires in more than 400 days, at 2063-03-01T12:00:00Z: a mirror can serve it until then",
        ]
    );
    assert_eq!(
        sign("2016-12-01T12:00:00Z", "2017-03-01T12:00:00Z"),
        [
            "warning: it expired at 2017-03-01T12:00:00Z: machines refuse it; now is 2026-12-01T12:00:00Z"
        ]
    );
}

#[test]
fn certificates_and_keys_are_read_up_to_their_limits() {
    let world = world();
    let padded = |name: &str, bytes: &[u8], with: u8, len: u64| {
        let mut bytes = bytes.to_vec();
        bytes.resize(usize::try_from(len).expect("small"), with);
        fs::write(world.path().join(name), bytes).expect("ours");
    };
    let key = fs::read(world.path().join("test-only-keys/dora-openssh.pub")).expect("a key");
    let certificate = rcgen::KeyPair::generate().and_then(|key| {
        let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()])?;
        params.self_signed(&key)
    });
    let certificate = certificate.expect("a certificate").pem();
    let comment = key.trim_ascii_end();
    for (words, file, with, limit) in [
        (
            &["key", "fingerprint"][..],
            comment,
            b'x',
            LIMITS.key_file_bytes,
        ),
        (
            &["tls", "pin"],
            certificate.as_bytes(),
            b'\n',
            LIMITS.tls_roots_bytes,
        ),
    ] {
        padded("whole", file, with, limit);
        padded("larger", file, with, limit + 1);
        let whole = run(&world, &[words, &["whole"]].concat());
        assert!(whole.status.success(), "{}", text(&whole.stderr));
        let larger = run(&world, &[words, &["larger"]].concat());
        let said = text(&larger.stderr);
        assert_eq!(larger.status.code(), Some(1), "{words:?}: {said}");
        let expected = format!("error: larger is larger than {limit} bytes\n");
        assert!(said.starts_with(&expected), "{words:?}: {said}");
    }
}
