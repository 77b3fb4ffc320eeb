//! `sealboot tls generate`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use tempfile::TempDir;

use support::server::{Output, output, sealboot};

fn generate(directory: &TempDir, more: &[&str]) -> Output {
    output(
        sealboot()
            .current_dir(directory)
            .args(["tls", "generate", "--out", "tls"])
            .args(more),
    )
}

fn openssl(directory: &TempDir, args: &[&str]) -> String {
    let ran = output(Command::new("openssl").current_dir(directory).args(args));
    assert!(ran.status.success(), "{args:?}: {ran:?}");
    ran.stdout
}

#[test]
fn an_authority_and_a_server_certificate_are_made() {
    let directory = TempDir::new().unwrap();
    let made = generate(
        &directory,
        &[
            "--host",
            "Boot.Example",
            "--host",
            "192.0.2.1",
            "--host",
            "2001:db8::1",
            "--days",
            "30",
        ],
    );
    assert!(made.status.success(), "{made:?}");
    assert_eq!(
        made.stdout,
        "tls/ca.pem\ntls/ca.key\ntls/server.pem\ntls/server.key\n"
    );
    assert!(
        made.stderr.starts_with(
            "new certificate authority; a certificate for boot.example, 192.0.2.1, 2001:db8::1, valid until 20"
        ),
        "{}",
        made.stderr
    );
    for (file, mode) in [
        ("ca.pem", 0o644),
        ("ca.key", 0o600),
        ("server.pem", 0o644),
        ("server.key", 0o600),
    ] {
        let metadata = fs::metadata(directory.path().join("tls").join(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{file}");
    }
    assert_eq!(
        fs::read_dir(directory.path().join("tls")).unwrap().count(),
        4
    );

    for host in [
        &["-verify_hostname", "boot.example"][..],
        &["-verify_ip", "192.0.2.1"],
        &["-verify_ip", "2001:db8::1"],
    ] {
        let verify = [
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-CAfile",
            "tls/ca.pem",
        ];
        let said = openssl(&directory, &[&verify, host, &["tls/server.pem"]].concat());
        assert_eq!(said, "tls/server.pem: OK\n");
    }
}

fn extension(text: &str, name: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !line.contains(name));
    let title = lines.next().unwrap_or_default().trim().to_owned();
    format!("{title} {}", lines.next().unwrap_or_default().trim())
}

#[test]
fn each_certificate_can_do_its_own_job_and_no_other() {
    let directory = TempDir::new().unwrap();
    assert!(
        generate(&directory, &["--host", "boot.example"])
            .status
            .success()
    );
    let text = |file| openssl(&directory, &["x509", "-in", file, "-noout", "-text"]);
    let authority = text("tls/ca.pem");
    assert_eq!(
        extension(&authority, "Basic Constraints"),
        "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0"
    );
    assert_eq!(
        extension(&authority, "X509v3 Key Usage"),
        "X509v3 Key Usage: critical Certificate Sign"
    );
    let server = text("tls/server.pem");
    assert_eq!(
        extension(&server, "Extended Key Usage"),
        "X509v3 Extended Key Usage: TLS Web Server Authentication"
    );
    assert_eq!(
        extension(&server, "X509v3 Key Usage"),
        "X509v3 Key Usage: critical Digital Signature"
    );
    assert_eq!(
        extension(&server, "Alternative Name"),
        "X509v3 Subject Alternative Name: DNS:boot.example"
    );
    assert!(!server.contains("CA:TRUE"));
    // Valid since yesterday: still by tomorrow's date minus two, not by that minus three.
    let now = jiff::Timestamp::now().as_second();
    let at = |seconds: i64| {
        let time = (now + seconds).to_string();
        let args = [
            "verify",
            "-attime",
            &time,
            "-CAfile",
            "tls/ca.pem",
            "tls/server.pem",
        ];
        let ran = output(Command::new("openssl").current_dir(&directory).args(args));
        ran.status.success()
    };
    let day = 24 * 3600;
    assert!(at(0) && at(60 - day) && at(364 * day));
    assert!(!at(-60 - day) && !at(366 * day));
}

#[test]
fn an_authority_that_is_there_is_used_again() {
    let directory = TempDir::new().unwrap();
    assert!(
        generate(&directory, &["--host", "a.example"])
            .status
            .success()
    );
    let read = |file: &str| fs::read(directory.path().join("tls").join(file)).unwrap();
    let before = (read("ca.pem"), read("ca.key"));
    let first = read("server.pem");
    for file in ["server.pem", "server.key"] {
        fs::remove_file(directory.path().join("tls").join(file)).unwrap();
    }
    let again = generate(&directory, &["--host", "b.example"]);
    assert!(again.status.success(), "{again:?}");
    assert_eq!(again.stdout, "tls/server.pem\ntls/server.key\n");
    assert!(
        again
            .stderr
            .starts_with("the existing certificate authority; ")
    );
    assert_eq!((read("ca.pem"), read("ca.key")), before);
    assert_ne!(read("server.pem"), first);
    let verify = [
        "verify",
        "-verify_hostname",
        "b.example",
        "-CAfile",
        "tls/ca.pem",
    ];
    openssl(&directory, &[&verify[..], &["tls/server.pem"]].concat());
}

#[test]
fn an_authority_of_openssl_is_used_too() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("tls")).unwrap();
    openssl(
        &directory,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-noenc",
            "-days",
            "400",
            "-subj",
            "/O=Example/CN=An own root",
            "-keyout",
            "tls/ca.key",
            "-out",
            "tls/ca.pem",
        ],
    );
    let made = generate(&directory, &["--host", "boot.example"]);
    assert!(made.status.success(), "{made:?}");
    openssl(
        &directory,
        &["verify", "-CAfile", "tls/ca.pem", "tls/server.pem"],
    );
}

fn refused(directory: &TempDir, more: &[&str], expected: &str) {
    let list = || {
        let mut files: Vec<_> = fs::read_dir(directory.path().join("tls"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = list();
    let got = generate(directory, &[&["--host", "a.example"], more].concat());
    assert_eq!(got.status.code(), Some(1), "{got:?}");
    assert_eq!(got.stdout, "");
    assert_eq!(got.stderr, expected);
    assert!(list() == before, "a refusal changed files");
}

#[test]
fn nothing_that_is_there_is_replaced() {
    let directory = TempDir::new().unwrap();
    assert!(
        generate(&directory, &["--host", "a.example"])
            .status
            .success()
    );
    let path = |file: &str| directory.path().join("tls").join(file);
    let exists = |file: &str| {
        format!(
            "error: tls/{file} exists already\n\
             hint: nothing was changed; to renew the certificate, move server.pem and server.key away first\n"
        )
    };
    refused(&directory, &[], &exists("server.pem"));
    fs::remove_file(path("server.pem")).unwrap();
    refused(&directory, &[], &exists("server.key"));
    fs::remove_file(path("server.key")).unwrap();

    let key = fs::read(path("ca.key")).unwrap();
    fs::remove_file(path("ca.key")).unwrap();
    let lost = |there, missing| {
        format!(
            "error: tls/{there} is there, but tls/{missing} is not\n\
             hint: put the missing file back, or move the other away to start a new authority; loaders then need new --tls-roots\n"
        )
    };
    refused(&directory, &[], &lost("ca.pem", "ca.key"));
    let pem = fs::read(path("ca.pem")).unwrap();
    fs::remove_file(path("ca.pem")).unwrap();
    fs::write(path("ca.key"), &key).unwrap();
    refused(&directory, &[], &lost("ca.key", "ca.pem"));

    fs::write(path("ca.pem"), &pem).unwrap();
    let restore = "hint: restore ca.pem and ca.key as they were made, or move both away to start a new authority; loaders then need new --tls-roots\n";
    fs::write(path("ca.key"), "garbage").unwrap();
    let got = generate(&directory, &["--host", "a.example"]);
    assert!(got.stderr.starts_with(
        "error: cannot use tls/ca.pem: the authority's key is no private key in PEM\n  caused by: "
    ));
    assert!(got.stderr.ends_with(restore), "{}", got.stderr);

    let other = TempDir::new().unwrap();
    assert!(generate(&other, &["--host", "a.example"]).status.success());
    fs::copy(other.path().join("tls/ca.key"), path("ca.key")).unwrap();
    refused(
        &directory,
        &[],
        &format!(
            "error: cannot use tls/ca.pem: the authority's key does not belong to its certificate\n{restore}"
        ),
    );
    fs::copy(other.path().join("tls/server.key"), path("ca.key")).unwrap();
    fs::copy(other.path().join("tls/server.pem"), path("ca.pem")).unwrap();
    refused(
        &directory,
        &[],
        &format!(
            "error: cannot use tls/ca.pem: the certificate is not one of an authority\n{restore}"
        ),
    );
    fs::write(path("ca.pem"), "garbage").unwrap();
    refused(
        &directory,
        &[],
        &format!(
            "error: cannot use tls/ca.pem: the authority's certificate is no X.509 certificate in PEM\n{restore}"
        ),
    );
}

#[test]
fn a_certificate_that_would_outlive_its_authority_is_not_made() {
    let directory = TempDir::new().unwrap();
    let got = generate(&directory, &["--host", "a.example", "--days", "3651"]);
    assert_eq!(got.status.code(), Some(1));
    assert!(got.stderr.starts_with("error: the authority expires on 20"));
    assert!(got.stderr.ends_with(
        "\nhint: ask for fewer --days, or move ca.pem and ca.key away to start a new authority; loaders then need new --tls-roots\n"
    ));
    assert!(!directory.path().join("tls").exists(), "nothing is written");
    let got = generate(&directory, &["--host", "a.example", "--days", "4294967295"]);
    assert_eq!(
        got.stderr,
        "error: 4294967295 days from now is past the year 9999\nhint: ask for fewer --days\n"
    );
}

#[test]
fn wrong_usage_is_exit_status_2() {
    let directory = TempDir::new().unwrap();
    for (more, said) in [
        (&[][..], "--host <NAME_OR_IP>"),
        (
            &["--host", "https://a.example"],
            "this is not a DNS name or an IP address, without scheme, port, wildcard or brackets",
        ),
        (&["--host", "*.example"], "this is not a DNS name"),
        (&["--host", "a.example", "--days", "0"], "0 is not in 1.."),
    ] {
        let got = generate(&directory, more);
        assert_eq!(got.status.code(), Some(2), "{more:?}");
        assert!(got.stderr.contains(said), "{}", got.stderr);
    }
}
