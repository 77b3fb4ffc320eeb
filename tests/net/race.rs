//! The loader's HTTPS client and mirrors that are reached over IPv6, over IPv4, or over one of the two.

use std::net::SocketAddr;
use std::path::Path;

use rustls::RootCertStore;
use sealboot_core::failure::{Diagnose as _, FailureCode, Report};
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_init::fetch::{Client, FetchError};
use sealboot_mirror::{Config, Identity, Server};

use super::{DHCP_WAN0, RANGE, connected};
use support::net::{Lab, in_lab, ip};
use support::patience::until;

/// Mirrors in the client's namespace, and a client that resolves their names by the server's.
struct Mirrors {
    identity: Identity,
    store: tempfile::TempDir,
    client: Client,
}

/// dnsmasq with the names that these tests use. Nothing has 2001:db8::9, and no route leads there.
fn names(lab: &mut Lab) {
    lab.serve(&[
        RANGE,
        "--host-record=both.lab.example,127.0.0.1,::1",
        "--host-record=six.lab.example,::1",
        "--host-record=no-route.lab.example,127.0.0.1,2001:db8::9",
        "--host-record=silent.lab.example,127.0.0.1,fd00:77::9",
        "--host-record=dead.lab.example,127.0.0.9,2001:db8::9",
    ]);
}

/// Adds an IPv6 address, and waits until the kernel, which takes its time, also routes to it.
async fn give(link: &str, address: &str, prefix_len: u8) {
    let prefix = format!("{address}/{prefix_len}");
    ip(&["address", "add", &prefix, "dev", link, "nodad"]);
    until("the address is routed to", || {
        ip(&["-6", "route", "show", "table", "local"]).contains(&format!("local {address} "))
    })
    .await;
}

/// Makes the kernel believe that a neighbour is there: packets go out, and nobody takes them.
fn into_the_void(address: &str) {
    let void = "02:00:00:00:00:99";
    ip(&[
        "neighbour",
        "add",
        address,
        "lladdr",
        void,
        "dev",
        "wan0",
        "nud",
        "permanent",
    ]);
}

impl Mirrors {
    async fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = [
            "both.lab.example",
            "six.lab.example",
            "no-route.lab.example",
            "silent.lab.example",
            "127.0.0.1",
            "::1",
        ];
        let params = rcgen::CertificateParams::new(names.map(str::to_owned)).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        let store = tempfile::tempdir().unwrap();
        std::fs::create_dir(store.path().join("images")).unwrap();
        std::fs::write(store.path().join("images/relay.json"), b"{}").unwrap();
        let connection = connected(DHCP_WAN0).await;
        Self {
            identity: Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap(),
            store,
            client: Client::new(
                roots,
                connection.resolver(),
                &sealboot_init::boot::LOADER.heartbeat,
            )
            .unwrap(),
        }
    }

    /// Starts a mirror and returns its port.
    fn serve(&self, listen: &str) -> u16 {
        let listen: SocketAddr = listen.parse().unwrap();
        let store: &Path = self.store.path();
        let server = Server::bind(Config::new(store, listen, self.identity.clone())).unwrap();
        let port = server.local_addr().port();
        tokio::spawn(server.run(std::future::pending()));
        port
    }

    async fn fetch(&self, host: &str, port: u16) -> Result<Vec<u8>, FetchError> {
        let mirror: MirrorUrl = format!("https://{host}:{port}/").parse().unwrap();
        let image = "relay".parse().unwrap();
        self.client.channel(&mirror, &image).await
    }

    async fn reach(&self, host: &str, port: u16) {
        let fetched = self.fetch(host, port).await;
        let fetched = fetched.unwrap_or_else(|error| panic!("{host}: {}", Report(&error)));
        assert_eq!(fetched, b"{}", "{host}");
    }
}

#[test]
fn a_mirror_is_reached_by_whichever_family_stands_at_each_of_its_ports() {
    in_lab(
        "race::a_mirror_is_reached_by_whichever_family_stands_at_each_of_its_ports",
        names,
        async || {
            let mirrors = Mirrors::new().await;
            let v6 = mirrors.serve("[::1]:0");
            let v4 = mirrors.serve("127.0.0.1:0");
            // One name, two ports, one client, at the same time.
            tokio::join!(
                mirrors.reach("both.lab.example", v6),
                mirrors.reach("both.lab.example", v4)
            );
            mirrors.reach("six.lab.example", v6).await;
            mirrors.reach("no-route.lab.example", v4).await;
        },
    );
}

#[test]
fn a_mirror_is_named_by_an_ipv6_address() {
    in_lab(
        "race::a_mirror_is_named_by_an_ipv6_address",
        names,
        async || {
            let mirrors = Mirrors::new().await;
            let port = mirrors.serve("[::1]:0");
            mirrors.reach("[::1]", port).await;
            mirrors.reach("[0:0:0:0:0:0:0:1]", port).await;
            // The certificate has to name the address.
            give("lo", "fd00::2", 128).await;
            let port = mirrors.serve("[fd00::2]:0");
            let error = mirrors.fetch("[fd00::2]", port).await.expect_err("TLS");
            assert_eq!(error.code(), FailureCode::FetchTls, "{}", Report(&error));
        },
    );
}

#[test]
fn ipv6_into_the_void_does_not_keep_a_mirror_from_being_reached() {
    in_lab(
        "race::ipv6_into_the_void_does_not_keep_a_mirror_from_being_reached",
        names,
        async || {
            let mirrors = Mirrors::new().await;
            give("wan0", "fd00:77::2", 64).await;
            into_the_void("fd00:77::9");
            let port = mirrors.serve("127.0.0.1:0");
            mirrors.reach("silent.lab.example", port).await;
        },
    );
}

#[test]
fn a_lost_race_is_no_connection_and_an_unknown_name_is_no_address() {
    in_lab(
        "race::a_lost_race_is_no_connection_and_an_unknown_name_is_no_address",
        names,
        async || {
            let mirrors = Mirrors::new().await;
            let error = mirrors.fetch("dead.lab.example", 443).await;
            let error = error.expect_err("nobody is there");
            assert_eq!(error.code(), FailureCode::FetchConnect);
            let report = Report(&error).to_string();
            let expected = "no address of dead.lab.example takes a connection at port 443: \
                 2001:db8::9: Network is unreachable (os error 101), \
                 127.0.0.9: Connection refused (os error 111) (name servers 10.77.0.1)";
            assert!(report.contains(expected), "{report}");

            let error = mirrors.fetch("absent.lab.example", 443).await;
            let error = error.expect_err("there is no such name");
            assert_eq!(error.code(), FailureCode::FetchDns);
            let report = Report(&error).to_string();
            assert!(
                report.contains("the name absent.lab.example has no address"),
                "{report}"
            );
        },
    );
}

#[test]
fn silent_name_servers_are_named_before_the_client_loses_its_patience() {
    in_lab(
        "race::silent_name_servers_are_named_before_the_client_loses_its_patience",
        |_| {},
        async || {
            let silent = r#"{"mode": "static", "addresses": ["10.77.0.20/24"], "nameservers": ["10.77.0.9"]}"#;
            let resolver = connected(silent).await.resolver();
            into_the_void("10.77.0.9");
            let client = Client::new(
                RootCertStore::empty(),
                resolver,
                &sealboot_init::boot::LOADER.heartbeat,
            )
            .unwrap();
            let mirror: MirrorUrl = "https://boot.example/".parse().unwrap();
            let error = client.channel(&mirror, &"relay".parse().unwrap()).await;
            let error = error.expect_err("nobody answers");
            assert_eq!(error.code(), FailureCode::FetchDns);
            let report = Report(&error).to_string();
            let expected = "the name servers 10.77.0.9 gave no answer for the name boot.example";
            assert!(report.contains(expected), "{report}");
        },
    );
}
