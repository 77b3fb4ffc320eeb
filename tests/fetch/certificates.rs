//! Who is taken for a mirror at all.

use jiff::Timestamp;
use rustls::RootCertStore;
use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::Encoding;
use sealboot_init::boot::LOADER;
use sealboot_init::fetch::{Client, key_of};
use tokio::net::TcpListener;

use crate::Boot;
use crate::server::{Authority, Certificate, Fault, Server};
use support::world::archives::image;
use support::world::mirror::NoNames;

#[tokio::test]
async fn a_mirror_that_is_not_there_is_said_to_be() {
    let (_, _, manifest) = image(Encoding::None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(listener);
    let boot = Boot::from(&Authority::new(), &[url], &manifest).await;
    assert_eq!(boot.code(), FailureCode::FetchConnect);
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_has_its_own_code() {
    let (_, stored, manifest) = image(Encoding::None);
    for (certificate, code) in [
        (Certificate::Expired, FailureCode::FetchTlsClock),
        (Certificate::NotYet, FailureCode::FetchTlsClock),
        (Certificate::OtherHost, FailureCode::FetchTls),
        (Certificate::Tls12, FailureCode::FetchTls),
        (Certificate::SelfSigned, FailureCode::FetchTlsRoots),
    ] {
        let authority = Authority::new();
        let server = Server::start(&authority, certificate, Fault::None, stored.clone()).await;
        let boot = Boot::from(&authority, &[server.url()], &manifest).await;
        assert_eq!(boot.code(), code);
        assert_eq!(server.asked(), 0, "nothing was asked for");
    }
    let server = Server::start(&Authority::new(), Certificate::Good, Fault::None, stored).await;
    let boot = Boot::from(&Authority::new(), &[server.url()], &manifest).await;
    assert_eq!(boot.code(), FailureCode::FetchTlsRoots);
}

/// Asks a server with this certificate for a channel, under a clock that is unset and stands at `earliest`.
async fn under_an_unset_clock(
    issuer: &Authority,
    trusted: &Authority,
    certificate: Certificate,
    earliest: Timestamp,
) -> Result<Vec<u8>, FailureCode> {
    let server = Server::start(issuer, certificate, Fault::None, b"{}".to_vec()).await;
    let roots = trusted.roots.clone();
    let client = Client::with_unset_clock(roots, earliest, NoNames, &LOADER.heartbeat).unwrap();
    let channel = client
        .channel(&server.url(), &"relay".parse().unwrap())
        .await;
    channel.map_err(|error| error.code())
}

#[tokio::test]
async fn an_unset_clock_accepts_a_certificate_of_the_future_alone() {
    let (ours, other) = (Authority::new(), Authority::new());
    for (issuer, certificate, expected) in [
        (&ours, Certificate::Good, Ok(b"{}".to_vec())),
        (&ours, Certificate::NotYet, Ok(b"{}".to_vec())),
        (&ours, Certificate::Expired, Err(FailureCode::FetchTlsClock)),
        (&ours, Certificate::OtherHost, Err(FailureCode::FetchTls)),
        (&ours, Certificate::Tls12, Err(FailureCode::FetchTls)),
        (
            &ours,
            Certificate::SelfSigned,
            Err(FailureCode::FetchTlsRoots),
        ),
        (&other, Certificate::Good, Err(FailureCode::FetchTlsRoots)),
        (&other, Certificate::NotYet, Err(FailureCode::FetchTlsRoots)),
    ] {
        let answer = under_an_unset_clock(issuer, &ours, certificate, Timestamp::UNIX_EPOCH).await;
        assert_eq!(answer, expected, "{certificate:?}");
    }
    // One that ended before the time that signatures have proved.
    let answer = under_an_unset_clock(&ours, &ours, Certificate::Good, Timestamp::MAX).await;
    assert_eq!(answer, Err(FailureCode::FetchTlsClock));
}

#[tokio::test]
async fn a_mirror_that_is_known_by_its_key_is_taken_whatever_its_certificate_says() {
    let name = "relay".parse().unwrap();
    for certificate in [
        Certificate::Good,
        Certificate::Expired,
        Certificate::NotYet,
        Certificate::OtherHost,
        Certificate::SelfSigned,
    ] {
        let authority = Authority::new();
        let server = Server::start(&authority, certificate, Fault::None, b"{}".to_vec()).await;
        let key = key_of(&server.certificate).unwrap();
        let client = client_of(&host(&server, &[key], ""));
        let channel = client.channel(&server.url(), &name).await;
        assert_eq!(channel.unwrap(), b"{}");
    }
}

#[tokio::test]
async fn a_mirror_with_another_key_is_none_whatever_its_certificate_says() {
    let name = "relay".parse().unwrap();
    let authority = Authority::new();
    let known = Server::start(&authority, Certificate::Good, Fault::None, Vec::new()).await;
    let key = key_of(&known.certificate).unwrap();
    let client = client_of(&host(&known, &[key], ""));
    let other = Server::start(&authority, Certificate::Good, Fault::None, Vec::new()).await;
    let error = client.channel(&other.url(), &name).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::FetchTlsKey);
    assert_eq!(other.asked(), 0, "nothing was asked for");
    let old = Server::start(&authority, Certificate::Tls12, Fault::None, Vec::new()).await;
    let error = client.channel(&old.url(), &name).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::FetchTls);
}

/// The host config that names this mirror and these keys, under these settings of the command line.
fn host(server: &Server, keys: &[Sha256Digest], cmdline: &str) -> HostConfig {
    let keys: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
    let json = format!(
        r#"{{"image": "relay", "mirrors": ["{}"], "mirror_keys": [{}], "network": {{"mode": "dhcp"}}}}"#,
        server.url(),
        keys.join(", ")
    );
    let config = HostConfig::parse(json.as_bytes()).unwrap();
    HostConfig::with_cmdline(Some(config), &Parameters::parse(cmdline)).unwrap()
}

/// The client of the stage `connect` for this host config, on a machine with no roots at all.
fn client_of(host: &HostConfig) -> Client {
    let now = Timestamp::now().into();
    Client::of_host(
        host,
        RootCertStore::empty(),
        &now,
        NoNames,
        &LOADER.heartbeat,
    )
    .unwrap()
}

#[tokio::test]
async fn mirror_keys_are_enforced_in_the_boot_that_learns_them() {
    let name = "relay".parse().unwrap();
    let authority = Authority::new();
    let known = Server::start(&authority, Certificate::Good, Fault::None, b"{}".to_vec()).await;
    let other = Server::start(&authority, Certificate::Good, Fault::None, b"{}".to_vec()).await;
    let key = key_of(&known.certificate).unwrap();
    // A mirror of the command line is identified by the host config's keys, too.
    let cmdline = format!("sealboot.mirror={}", other.url());
    let client = client_of(&host(&known, &[key], &cmdline));
    assert!(client.channel(&known.url(), &name).await.is_ok());
    let error = client.channel(&other.url(), &name).await.unwrap_err();
    assert_eq!(error.code(), FailureCode::FetchTlsKey);
    assert_eq!(other.asked(), 0);
    // A list of two is how a mirror gets its next key.
    let next = key_of(&other.certificate).unwrap();
    let client = client_of(&host(&known, &[key, next], ""));
    assert!(client.channel(&known.url(), &name).await.is_ok());
    assert!(client.channel(&other.url(), &name).await.is_ok());
}
