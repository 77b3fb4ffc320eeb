//! TLS 1.3 alone, post-quantum where the client can, and certificates that are replaced while running.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use nix::sys::signal::Signal;
use rustls::NamedGroup;
use rustls::crypto::aws_lc_rs::kx_group;

use crate::bounds::{InProcess, client};
use support::patience::eventually;
use support::server::{Lab, output, sealboot};

#[test]
fn tls_1_2_is_refused() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    let url = format!("{}images/relay.json", server.url);
    let old = output(lab.curl().args(["--tls-max", "1.2", &url]));
    // 35: the handshake failed.
    assert_eq!(old.status.code(), Some(35), "{old:?}");
    assert!(old.stderr.contains("alert protocol version"), "{old:?}");
    let new = output(lab.curl().args(["--tlsv1.3", &url]));
    assert_eq!(new.stdout, "{}");
}

#[test]
fn plain_http_is_not_spoken() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    let url = format!("{}images/relay.json", server.url.replace("https", "http"));
    let got = output(lab.curl().arg(&url));
    assert!(!got.status.success(), "{got:?}");
    assert!(!got.stdout.contains("{}"), "{got:?}");
}

#[test]
fn a_client_that_trusts_another_authority_refuses_the_server() {
    let (lab, other) = (Lab::new(), Lab::new());
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    let got = output(other.curl().arg(format!("{}images/relay.json", server.url)));
    // 60: the peer's certificate cannot be authenticated with known authorities.
    assert_eq!(got.status.code(), Some(60), "{got:?}");
    let by_name = server.url.replace("127.0.0.1", "localhost");
    let got = output(lab.curl().args(["--ipv4", &by_name]));
    assert_eq!(got.status.code(), Some(60), "{got:?}");
    assert!(
        got.stderr
            .contains("no alternative certificate subject name")
    );
}

#[test]
fn http_2_is_not_negotiated() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    let url = format!("{}images/relay.json", server.url);
    let got = output(
        lab.curl()
            .args(["--http2", "--write-out", " %{http_version}", &url]),
    );
    assert_eq!(got.stdout, "{} 1.1");
}

#[test]
fn key_exchange_is_post_quantum_where_the_client_can_and_classical_where_not() {
    let lab = Lab::new();
    let server = InProcess::start(&lab, |_| {});
    let negotiated = |groups| {
        let mut client = client(&lab, groups);
        let mut tcp = TcpStream::connect(server.address).unwrap();
        client.complete_io(&mut tcp).unwrap();
        assert_eq!(
            client.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
        client.negotiated_key_exchange_group().unwrap().name()
    };
    let (hybrid, x25519) = (kx_group::X25519MLKEM768, kx_group::X25519);
    assert_eq!(negotiated(vec![hybrid]), NamedGroup::X25519MLKEM768);
    assert_eq!(negotiated(vec![hybrid, x25519]), NamedGroup::X25519MLKEM768);
    // The order is the client's (RFC 8446, section 4.2.7); those that have the hybrid put it first.
    assert_eq!(negotiated(vec![x25519, hybrid]), NamedGroup::X25519);
    assert_eq!(negotiated(vec![x25519]), NamedGroup::X25519);
    assert_eq!(negotiated(vec![kx_group::SECP384R1]), NamedGroup::secp384r1);
}

/// Moves the lab's certificates away and makes new ones, of a new authority.
fn renew(lab: &Lab) {
    fs::rename(lab.path("tls"), lab.path("old-tls")).unwrap();
    let made = output(
        sealboot()
            .args(["tls", "generate", "--host", "127.0.0.1", "--out"])
            .arg(lab.path("tls")),
    );
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn a_hangup_takes_up_the_new_certificate() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    let url = format!("{}images/relay.json", server.url);
    renew(&lab);
    // The file alone changes nothing.
    assert_eq!(output(lab.curl().arg(&url)).status.code(), Some(60));
    server.signal(Signal::SIGHUP);
    eventually("the new certificate is in use", || {
        server.stderr().contains("server.pem is in use from now on")
    });
    assert_eq!(output(lab.curl().arg(&url)).stdout, "{}");
}

#[test]
fn a_hangup_with_a_broken_certificate_keeps_the_old_one() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    let url = format!("{}images/relay.json", server.url);
    let other = Lab::new();
    fs::copy(other.path("tls/server.key"), lab.path("tls/server.key")).unwrap();
    server.signal(Signal::SIGHUP);
    eventually("the broken certificate is refused", || {
        server.stderr().contains("hint: ")
    });
    let said = server.stderr();
    assert!(said.contains("error: the certificate stays the old one: cannot serve with "));
    assert!(said.contains("caused by: the private key does not belong to the first certificate"));
    assert_eq!(output(lab.curl().arg(&url)).stdout, "{}");
}

#[test]
fn noise_instead_of_a_handshake_harms_nobody() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    let address = server
        .url
        .trim_start_matches("https://")
        .trim_end_matches('/');
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff],
        &[0; 4096],
    ] {
        let mut tcp = TcpStream::connect(address).unwrap();
        // The server may have hung up in the middle.
        let _ = tcp.write_all(garbage);
    }
    assert_eq!(lab.fetch(&server, "images/relay.json", &[]).body, b"{}");
    assert_eq!(server.stderr().lines().count(), 1);
}
