//! How `sealboot serve` fails to start, word for word.

use std::fs;
use std::net::TcpListener;

use support::server::{Lab, Output, output, sealboot};

/// Runs `sealboot serve` in the lab's directory, with these in place of its own arguments.
fn serve(lab: &Lab, replace: &[(&str, &str)]) -> Output {
    let mut command = sealboot();
    command.current_dir(lab.path("")).arg("serve");
    for (flag, default) in [
        ("--store", "store"),
        ("--listen", "127.0.0.1:0"),
        ("--tls-cert", "tls/server.pem"),
        ("--tls-key", "tls/server.key"),
    ] {
        let value = replace
            .iter()
            .find(|(replaced, _)| *replaced == flag)
            .map_or(default, |(_, value)| value);
        command.args([flag, value]);
    }
    output(&mut command)
}

fn fails(lab: &Lab, replace: &[(&str, &str)], expected: &str) {
    let got = serve(lab, replace);
    assert_eq!(got.stderr, expected);
    assert_eq!(got.stdout, "");
    assert_eq!(got.status.code(), Some(1));
}

#[test]
fn a_store_that_is_no_directory() {
    let lab = Lab::new();
    fs::write(lab.path("file"), "").unwrap();
    fails(
        &lab,
        &[("--store", "absent")],
        "error: cannot open the store absent\n  \
           caused by: No such file or directory (os error 2)\n\
         hint: check the path, or make the store: sealboot image pack --store absent …\n",
    );
    fails(
        &lab,
        &[("--store", "file")],
        "error: cannot open the store file\n  \
           caused by: Not a directory (os error 20)\n\
         hint: give the directory that holds images/ and blobs/\n",
    );
}

#[test]
fn an_address_that_cannot_be_listened_on() {
    let lab = Lab::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    fails(
        &lab,
        &[("--listen", &address.to_string())],
        &format!(
            "error: cannot listen on {address}\n  \
               caused by: Address already in use (os error 98)\n\
             hint: choose another port, or stop what listens there: ss -ltnp 'sport = :{}'\n",
            address.port()
        ),
    );
    // An address for documentation (RFC 5737), which no machine has.
    fails(
        &lab,
        &[("--listen", "192.0.2.1:8443")],
        "error: cannot listen on 192.0.2.1:8443\n  \
           caused by: Cannot assign requested address (os error 99)\n\
         hint: give an address that this machine has: ip address; 0.0.0.0 is all of IPv4\n",
    );
}

#[test]
fn certificates_that_cannot_be_used() {
    let (lab, other) = (Lab::new(), Lab::new());
    fs::copy(other.path("tls/server.key"), lab.path("other.key")).unwrap();
    fs::write(lab.path("large"), vec![0; 2 << 20]).unwrap();
    fails(
        &lab,
        &[("--tls-key", "other.key")],
        "error: cannot serve with tls/server.pem and other.key\n  \
           caused by: the private key does not belong to the first certificate of the certificate file\n\
         hint: give the key that was made with this certificate, and put the server's own certificate first in the file\n",
    );
    fails(
        &lab,
        &[("--tls-cert", "tls/server.key")],
        "error: cannot serve with tls/server.key and tls/server.key\n  \
           caused by: the certificate file holds no usable X.509 certificate in PEM\n\
         hint: give the server's certificate first, then the intermediate ones, as BEGIN CERTIFICATE blocks; for a lab, `sealboot tls generate` makes one\n",
    );
    fails(
        &lab,
        &[("--tls-key", "tls/server.pem")],
        "error: cannot serve with tls/server.pem and tls/server.pem\n  \
           caused by: the key file holds no usable private key in PEM\n\
         hint: give an unencrypted PKCS#8, PKCS#1 or SEC1 key (ECDSA, ed25519 or RSA)\n",
    );
    let got = serve(&lab, &[("--tls-key", "absent.key")]);
    assert_eq!(got.status.code(), Some(1));
    assert!(got.stderr.starts_with(
        "error: cannot read absent.key\n  caused by: No such file or directory (os error 2)\n"
    ));
    let got = serve(&lab, &[("--tls-cert", "large")]);
    assert!(
        got.stderr
            .starts_with("error: large is larger than 1048576 bytes\n")
    );
}

#[test]
fn wrong_usage() {
    let lab = Lab::new();
    for address in [
        "8443",
        "localhost:8443",
        "10.0.0.1",
        "::1:8443:",
        "https://10.0.0.1:8443",
    ] {
        let got = serve(&lab, &[("--listen", address)]);
        assert_eq!(got.status.code(), Some(2), "{address}");
        assert!(
            got.stderr.contains(
                "an IP address and a port are needed, as in 10.0.0.1:8443, 0.0.0.0:8443 or [::]:8443"
            ),
            "{}",
            got.stderr
        );
    }
    let got = output(sealboot().arg("serve"));
    assert_eq!(got.status.code(), Some(2));
    for flag in [
        "--store <DIR>",
        "--listen <ADDRESS:PORT>",
        "--tls-cert <PEM>",
        "--tls-key <PEM>",
    ] {
        assert!(got.stderr.contains(flag), "{}", got.stderr);
    }
}

#[test]
fn an_expired_certificate_is_warned_of() {
    let lab = Lab::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2026, 1, 2);
    let certificate = params.self_signed(&key).unwrap();
    fs::write(lab.path("tls/server.pem"), certificate.pem()).unwrap();
    fs::write(lab.path("tls/server.key"), key.serialize_pem()).unwrap();
    let server = lab.serve(&[]);
    assert_eq!(
        server.stderr(),
        format!(
            "warning: the certificate expired on 2026-01-02T00:00:00Z; loaders refuse it\n\
             serving {} on {}\n",
            lab.store().display(),
            server.url
        )
    );
}
