//! Keys that a passphrase protects, made by the tools that people make them with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::{ENVELOPE, World, failed, succeeded, text};

/// Every way in which OpenSSL 3 and OpenSSH 9 encrypt an ed25519 key, in this world's `made/`.
fn make(world: &World) -> Vec<String> {
    fs::create_dir(world.path("made")).unwrap();
    fs::write(world.path("secret"), "correct horse\n").unwrap();
    let openssl = |arguments: &[&str]| world.run("openssl", "openssl", arguments);
    openssl(&[
        "genpkey",
        "-algorithm",
        "ed25519",
        "-aes256",
        "-pass",
        "file:secret",
        "-out",
        "made/genpkey.key",
    ]);
    let mut made = vec!["made/genpkey.key".to_owned()];
    for (name, how) in [
        ("scrypt", &["-scrypt"][..]),
        ("aes128", &["-v2", "aes-128-cbc"]),
        (
            "sha512",
            &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"],
        ),
        ("slow", &["-v2", "aes-256-cbc", "-iter", "100000"]),
    ] {
        let out = format!("made/{name}.key");
        let plain = ["genpkey", "-algorithm", "ed25519", "-out", "plain.key"];
        openssl(&plain);
        let mut arguments = vec![
            "pkcs8",
            "-topk8",
            "-in",
            "plain.key",
            "-passout",
            "file:secret",
        ];
        arguments.extend(["-out", &out]);
        arguments.extend(how);
        openssl(&arguments);
        made.push(out);
    }
    for cipher in [
        "aes256-ctr",
        "aes128-cbc",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
    ] {
        let out = format!("made/{cipher}");
        world.run(
            "ssh-keygen",
            "openssh-client",
            &[
                "-q",
                "-t",
                "ed25519",
                "-a",
                "2",
                "-Z",
                cipher,
                "-N",
                "correct horse",
                "-f",
                &out,
            ],
        );
        made.push(out);
    }
    for file in &made {
        fs::set_permissions(world.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    made
}

#[test]
fn keys_that_openssl_and_openssh_encrypted_sign_with_their_passphrase_alone() {
    let world = World::new();
    for (at, key) in make(&world).iter().enumerate() {
        let sign = ["image", "sign", "--key", key, ENVELOPE];
        for wrong in ["wrong horse", "", "correct horse "] {
            let output = world.with_passphrase(wrong, &sign);
            assert_eq!(
                failed(&output),
                format!(
                    "cannot unlock {key}\n  caused by: the passphrase is wrong\n\
                     hint: nothing was signed; look the passphrase up and run the command again\n"
                )
            );
            assert_eq!(world.signatures(), at, "{key}");
        }
        let output = world.with_passphrase("correct horse", &sign);
        assert!(!text(&output.stderr).contains("horse"), "{key}");
        succeeded(output);
        assert_eq!(world.signatures(), at + 1, "{key}");
    }
}

#[test]
fn an_encrypted_key_that_others_can_read_is_refused() {
    let world = World::new();
    for key in make(&world) {
        fs::set_permissions(world.path(&key), fs::Permissions::from_mode(0o640)).unwrap();
        let output =
            world.with_passphrase("correct horse", &["image", "sign", "--key", &key, ENVELOPE]);
        let error = failed(&output);
        let expected = format!("the private key {key} is open to others (mode 0640)\n");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn encrypted_keys_of_other_kinds_are_refused() {
    let world = World::new();
    fs::write(world.path("secret"), "correct horse\n").unwrap();
    world.run(
        "openssl",
        "openssl",
        &[
            "pkcs8",
            "-topk8",
            "-in",
            "test-only-keys/rsa.key",
            "-passout",
            "file:secret",
            "-out",
            "rsa.key",
        ],
    );
    for (kind, file) in [("rsa", "rsa-openssh.key"), ("ecdsa", "ecdsa-openssh.key")] {
        let locked = format!("{kind}-locked.key");
        fs::copy(world.path("test-only-keys").join(file), world.path(&locked)).unwrap();
        world.run(
            "ssh-keygen",
            "openssh-client",
            &[
                "-q",
                "-p",
                "-a",
                "2",
                "-P",
                "",
                "-N",
                "correct horse",
                "-f",
                &locked,
            ],
        );
    }
    for (key, kind) in [
        ("rsa.key", "RSA"),
        ("rsa-locked.key", "ssh-rsa"),
        ("ecdsa-locked.key", "unknown"),
    ] {
        fs::set_permissions(world.path(key), fs::Permissions::from_mode(0o600)).unwrap();
        let sign = ["image", "sign", "--key", key, ENVELOPE];
        let error = failed(&world.with_passphrase("correct horse", &sign));
        assert!(
            error.contains(&format!(
                "this is a key of kind {kind}; only ed25519 signs here\nhint: make an ed25519 key"
            )),
            "{error}"
        );
    }
}

#[test]
fn encryption_that_is_not_supported_says_how_to_encrypt_anew() {
    let world = World::new();
    fs::write(world.path("secret"), "correct horse\n").unwrap();
    let sign = ["image", "sign", "--key", "odd.key", ENVELOPE];
    for how in [
        &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1"][..],
        &["-v2", "aes-256-cbc", "-iter", "20000001"],
        &["-scrypt", "-scrypt_N", "16384", "-scrypt_p", "65"],
    ] {
        let mut arguments = vec!["pkcs8", "-topk8", "-in", "test-only-keys/alice.key"];
        arguments.extend(["-passout", "file:secret", "-out", "odd.key"]);
        arguments.extend(how);
        world.run("openssl", "openssl", &arguments);
        fs::set_permissions(world.path("odd.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let error = failed(&world.with_passphrase("correct horse", &sign));
        assert!(
            error.starts_with("cannot unlock odd.key\n  caused by: the key is encrypted in a way that is not supported\n"),
            "{how:?}: {error}"
        );
        assert!(
            error.contains("\nhint: encrypt it anew: `openssl pkcs8 -topk8"),
            "{error}"
        );
    }
}

#[test]
fn a_key_that_is_encrypted_here_is_read_by_openssl_and_signs() {
    let world = World::new();
    let generate = ["key", "generate", "--encrypt", "--out", "frank"];
    succeeded(world.with_passphrase("correct horse", &generate));
    let key = fs::read_to_string(world.path("frank.key")).unwrap();
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let mode = fs::metadata(world.path("frank.key")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o7777, 0o600);
    let by_openssl = world.run(
        "openssl",
        "openssl",
        &[
            "pkey",
            "-in",
            "frank.key",
            "-passin",
            "file:passphrase",
            "-pubout",
        ],
    );
    assert_eq!(
        by_openssl,
        fs::read_to_string(world.path("frank.pub")).unwrap()
    );
    let fingerprint = ["key", "fingerprint", "frank.key", "frank.pub"];
    let ids = succeeded(world.with_passphrase("correct horse", &fingerprint));
    let ids: Vec<&str> = ids.lines().map(|line| &line[..16]).collect();
    assert_eq!(ids[0], ids[1]);
    let sign = ["image", "sign", "--key", "frank.key", ENVELOPE];
    failed(&world.with_passphrase("wrong horse", &sign));
    succeeded(world.with_passphrase("correct horse", &sign));
    assert_eq!(world.signatures(), 1);
}

#[test]
fn an_empty_or_endless_passphrase_makes_no_key() {
    let world = World::new();
    let generate = ["key", "generate", "--encrypt", "--out", "frank"];
    assert_eq!(
        failed(&world.with_passphrase("", &generate)),
        "the passphrase is empty\nhint: choose one, or leave --encrypt away\n"
    );
    let error = failed(&world.with_passphrase(&"x".repeat(1024), &generate));
    assert!(
        error.starts_with("descriptor 3 holds more than a passphrase of 1024 bytes\n"),
        "{error}"
    );
    assert!(!world.path("frank.key").exists() && !world.path("frank.pub").exists());
}
