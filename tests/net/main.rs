//! The loader's network against a real kernel and a real DHCP and DNS server.
//!
//! Every test runs in a [`Lab`](support::net::Lab): two network namespaces that a veth pair joins, `wan0` in the
//! client's and `srv0` in the server's. Nothing leaves the two, and both go with the test.
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod ipv6;
mod race;
mod several_links;

use std::time::Duration;

use sealboot_core::failure::{Diagnose as _, FailureCode, Report};
use sealboot_core::format::host_config::MirrorTemplate;
use sealboot_core::format::network::Network;
use sealboot_init::boot::LOADER;
use sealboot_init::net::{
    Connection, Goal, NetError, ResolveError, Timeouts, connect_within, disconnect,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use support::net::{addresses, in_lab, ip, is_up, peer, routes};
use support::patience::until;

/// Wide enough for a loaded machine; a test that waits for one to pass uses [`SHORT`].
const TIMEOUTS: Timeouts = Timeouts {
    link: Duration::from_secs(20),
    carrier: Duration::from_secs(20),
    address: Duration::from_secs(30),
};
const SHORT: Timeouts = Timeouts {
    link: Duration::from_secs(1),
    carrier: Duration::from_secs(1),
    address: Duration::from_secs(2),
};
fn network(json: &str) -> Network {
    serde_json::from_str(json).unwrap()
}

pub(crate) async fn connected(json: &str) -> Connection {
    connected_to(json, &[]).await
}

/// The same, with mirrors that are to be reached.
pub(crate) async fn connected_to(json: &str, mirrors: &[&str]) -> Connection {
    let mirrors: Vec<MirrorTemplate> = mirrors.iter().map(|url| url.parse().unwrap()).collect();
    let goal = Goal {
        network: &network(json),
        mirrors: &mirrors,
        heartbeat: &LOADER.heartbeat,
    };
    connect_within(&goal, &TIMEOUTS)
        .await
        .unwrap_or_else(|error| panic!("{}", Report(&error)))
}

pub(crate) async fn refused(json: &str, code: FailureCode) -> NetError {
    let goal = Goal {
        network: &network(json),
        mirrors: &[],
        heartbeat: &LOADER.heartbeat,
    };
    let error = connect_within(&goal, &SHORT)
        .await
        .expect_err("it cannot connect");
    assert_eq!(error.code(), code, "{}", Report(&error));
    error
}

/// The one item.
pub(crate) fn only<T>(mut items: impl Iterator<Item = T>) -> T {
    let item = items.next().unwrap();
    assert!(items.next().is_none(), "one alone");
    item
}

pub(crate) const DHCP: &str = r#"{"mode": "dhcp"}"#;
const DHCP_WAN0: &str = r#"{"mode": "dhcp", "interface": "wan0"}"#;
pub(crate) const RANGE: &str = "--dhcp-range=10.77.0.50,10.77.0.60,255.255.255.0,1h";

#[test]
fn dhcp_gives_an_address_a_route_and_names_and_can_be_done_again() {
    let log = in_lab(
        "dhcp_gives_an_address_a_route_and_names_and_can_be_done_again",
        |lab| {
            lab.serve(&[
                RANGE,
                "--dhcp-option=option:domain-name,lab.example",
                "--dhcp-option=option:dns-server,10.77.0.1,10.77.0.9",
            ]);
        },
        async || {
            let mut leased = None;
            for attempt in ["first", "second"] {
                let connection = connected(DHCP_WAN0).await;
                let address = only(connection.addresses()).to_string();
                assert_eq!(
                    addresses("wan0"),
                    std::slice::from_ref(&address),
                    "{attempt}"
                );
                assert_eq!(
                    routes(),
                    ["default via 10.77.0.1 dev wan0 proto static"],
                    "{attempt}"
                );
                assert_eq!(
                    connection.to_string(),
                    format!(
                        "wan0 {address} via 10.77.0.1 dns 10.77.0.1 dns 10.77.0.9 (dhcp 10.77.0.1, lease 3600 s)"
                    )
                );
                assert_eq!(addresses("lo"), ["127.0.0.1/8"], "{attempt}");
                // The server knows the machine by its client identifier and gives the same address.
                assert_eq!(*leased.get_or_insert(address.clone()), address);
                let resolver = connection.resolver();
                for name in ["mirror.lab.example", "mirror"] {
                    let found = resolver.lookup(name).await.unwrap();
                    assert_eq!(found, [std::net::IpAddr::from([192, 0, 2, 7])], "{name}");
                }
                let error = resolver
                    .lookup("absent.lab.example")
                    .await
                    .expect_err("absent");
                assert_eq!(error.code(), FailureCode::FetchDns);
                assert!(error.to_string().contains("absent.lab.example"), "{error}");
            }
        },
    );
    if let Some(log) = log {
        assert!(log.contains("vendor class: sealboot"), "{log}");
    }
}

#[test]
fn a_link_that_was_taken_down_is_connected_again() {
    in_lab(
        "a_link_that_was_taken_down_is_connected_again",
        |lab| lab.serve(&[RANGE]),
        async || {
            for attempt in ["first", "second"] {
                connected(DHCP_WAN0).await;
                assert!(is_up("wan0") && !routes().is_empty(), "{attempt}");
                disconnect().await;
                assert!(!is_up("wan0"), "{attempt}");
                assert!(routes().is_empty(), "{attempt}");
            }
            // Loopback is no card, and whoever relies on it goes on.
            assert!(is_up("lo"));
        },
    );
}

#[test]
fn reqwest_resolves_by_the_connection_and_reaches_loopback() {
    in_lab(
        "reqwest_resolves_by_the_connection_and_reaches_loopback",
        |lab| lab.serve(&[RANGE]),
        async || {
            let connection = connected(DHCP_WAN0).await;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfound")
                    .await
                    .unwrap();
            });
            rustls::crypto::aws_lc_rs::default_provider()
                .install_default()
                .unwrap();
            let client = reqwest::Client::builder()
                .no_proxy()
                .dns_resolver(connection.resolver())
                .build()
                .unwrap();
            let url = format!("http://loop.lab.example:{port}/");
            let body = client.get(url).send().await.unwrap().text().await.unwrap();
            assert_eq!(body, "found");

            let error = client
                .get("http://absent.lab.example/")
                .send()
                .await
                .expect_err("there is no such name");
            let mut causes =
                std::iter::successors(std::error::Error::source(&error), |error| error.source());
            let found = causes.find_map(|error| error.downcast_ref::<ResolveError>());
            assert_eq!(
                found.expect("the cause can be told").code(),
                FailureCode::FetchDns
            );
        },
    );
}

#[test]
fn without_a_name_every_link_is_asked_and_the_one_with_a_server_wins() {
    in_lab(
        "without_a_name_every_link_is_asked_and_the_one_with_a_server_wins",
        |lab| {
            // The kernel lists the links in the order of their making: the silent one comes first.
            ip(&["-n", &lab.client, "link", "del", "wan0"]);
            lab.join("silent0", "srv1");
            lab.join("wan0", "srv0");
            ip(&[
                "-n",
                &lab.server,
                "address",
                "add",
                "10.77.0.1/24",
                "dev",
                "srv0",
            ]);
            lab.serve(&[RANGE]);
        },
        async || {
            ip(&["link", "add", "bridge0", "type", "bridge"]);
            let connection = connected(DHCP).await;
            assert_eq!(connection.interface().as_str(), "wan0");
            assert_eq!(addresses("wan0").len(), 1);
            assert!(
                !is_up("bridge0"),
                "a link that is made of others is left alone"
            );
            assert!(addresses("silent0").is_empty());
            assert!(is_up("silent0"), "it was asked");
        },
    );
}

#[test]
fn a_static_address_replaces_what_was_there_and_name_servers_are_asked() {
    in_lab(
        "a_static_address_replaces_what_was_there_and_name_servers_are_asked",
        |lab| lab.serve(&[RANGE]),
        async || {
            ip(&["link", "set", "wan0", "up"]);
            for address in ["192.0.2.1/24", "192.0.2.2/24"] {
                ip(&["address", "add", address, "dev", "wan0"]);
            }
            ip(&["route", "add", "default", "via", "192.0.2.254"]);
            let whole = r#"{"mode": "static", "addresses": ["10.77.0.20/24"], "gateways": ["10.77.0.1"], "nameservers": ["10.77.0.1"]}"#;
            let connection = connected(whole).await;
            assert_eq!(
                connection.to_string(),
                "wan0 10.77.0.20/24 via 10.77.0.1 dns 10.77.0.1 (static)"
            );
            assert_eq!(addresses("wan0"), ["10.77.0.20/24"]);
            assert_eq!(routes(), ["default via 10.77.0.1 dev wan0 proto static"]);
            let resolver = connection.resolver();
            assert_eq!(
                resolver.lookup("mirror.lab.example").await.unwrap().len(),
                1
            );

            let bare = r#"{"mode": "static", "interface": "wan0", "addresses": ["10.77.0.21/24"]}"#;
            let connection = connected(bare).await;
            assert_eq!(addresses("wan0"), ["10.77.0.21/24"]);
            assert!(routes().is_empty(), "{:?}", routes());
            let error = connection
                .resolver()
                .lookup("mirror.lab.example")
                .await
                .expect_err("nobody to ask");
            assert_eq!(error.code(), FailureCode::FetchDns);
            assert!(error.to_string().contains("mirror.lab.example"), "{error}");
        },
    );
}

#[test]
fn classless_routes_are_set_in_place_of_the_router() {
    in_lab(
        "classless_routes_are_set_in_place_of_the_router",
        |lab| {
            lab.serve(&[
                RANGE,
                "--dhcp-option=option:router,10.77.0.1",
                "--dhcp-option=option:classless-static-route,0.0.0.0/0,10.77.0.2,192.0.2.0/24,10.77.0.3",
            ]);
        },
        async || {
            let connection = connected(DHCP_WAN0).await;
            assert_eq!(
                connection.settings()[0].gateway(),
                Some([10, 77, 0, 2].into())
            );
            assert_eq!(
                routes(),
                [
                    "192.0.2.0/24 via 10.77.0.3 dev wan0 proto static",
                    "default via 10.77.0.2 dev wan0 proto static",
                ]
            );
        },
    );
}

#[test]
fn an_address_without_a_network_reaches_its_router_over_the_link() {
    in_lab(
        "an_address_without_a_network_reaches_its_router_over_the_link",
        |lab| {
            lab.serve(&[
                RANGE,
                "--dhcp-option=option:netmask,255.255.255.255",
                "--dhcp-option=option:classless-static-route,0.0.0.0/0,10.77.0.1,10.77.0.1/32,0.0.0.0",
            ]);
        },
        async || {
            let connection = connected(DHCP_WAN0).await;
            assert_eq!(only(connection.addresses()).prefix_len(), 32);
            assert_eq!(
                routes(),
                [
                    "10.77.0.1 dev wan0 proto static scope link",
                    "default via 10.77.0.1 dev wan0 proto static onlink",
                ]
            );
            // The server is reached by them: it answers.
            let resolver = connection.resolver();
            assert_eq!(
                resolver.lookup("mirror.lab.example").await.unwrap().len(),
                1
            );
        },
    );
}

#[test]
fn dhcp_silence_is_refused_with_what_was_tried() {
    in_lab(
        "dhcp_silence_is_refused_with_what_was_tried",
        |_| {},
        async || {
            for network in [DHCP, DHCP_WAN0] {
                let error = refused(network, FailureCode::ConnectDhcp).await;
                assert!(
                    error
                        .to_string()
                        .contains("wan0: no lease by DHCP: asked 1 times, no answer"),
                    "{error}"
                );
                assert!(error.hint().contains("wan0 (carrier)"), "{}", error.hint());
            }
            assert!(addresses("wan0").is_empty());
        },
    );
}

#[test]
fn an_offer_that_cannot_work_is_refused_with_the_reason() {
    in_lab(
        "an_offer_that_cannot_work_is_refused_with_the_reason",
        |lab| lab.serve(&[RANGE, "--dhcp-option=option:router,192.168.9.1"]),
        async || {
            let error = refused(DHCP_WAN0, FailureCode::ConnectDhcp).await;
            assert!(
                error
                    .to_string()
                    .contains("10.77.0.1 sent an unusable Offer: its router 192.168.9.1"),
                "{error}"
            );
        },
    );
}

#[test]
fn a_link_that_does_not_exist_is_refused_with_those_that_do() {
    in_lab(
        "a_link_that_does_not_exist_is_refused_with_those_that_do",
        |_| {},
        async || {
            let wanted = r#"{"mode": "dhcp", "interface": "eth7"}"#;
            let error = refused(wanted, FailureCode::ConnectNoLink).await;
            assert!(error.to_string().contains("eth7"), "{error}");
            assert!(error.hint().contains("wan0"), "{}", error.hint());
            assert!(!is_up("wan0"), "a link that is not wanted is left alone");

            ip(&["link", "del", "wan0"]);
            let error = refused(DHCP, FailureCode::ConnectNoLink).await;
            assert!(error.hint().ends_with("seen: none"), "{}", error.hint());
        },
    );
}

#[test]
fn a_link_without_carrier_is_refused_by_name() {
    in_lab(
        "a_link_without_carrier_is_refused_by_name",
        |lab| {
            ip(&["-n", &lab.server, "link", "set", "srv0", "down"]);
        },
        async || {
            let fixed = r#"{"mode": "static", "addresses": ["10.77.0.20/24"]}"#;
            for network in [DHCP, DHCP_WAN0, fixed] {
                let error = refused(network, FailureCode::ConnectNoCarrier).await;
                assert!(error.to_string().contains("wan0"), "{error}");
                assert!(
                    error.hint().contains("wan0 (no carrier)"),
                    "{}",
                    error.hint()
                );
            }
        },
    );
}

#[test]
fn a_carrier_and_a_link_that_come_late_are_waited_for() {
    in_lab(
        "a_carrier_and_a_link_that_come_late_are_waited_for",
        |lab| {
            lab.serve(&[RANGE]);
            ip(&["-n", &lab.server, "link", "set", "srv0", "down"]);
        },
        async || {
            let peer = peer();
            let carrier = async {
                until("wan0 is brought up", || is_up("wan0")).await;
                ip(&["-n", &peer, "link", "set", "srv0", "up"]);
            };
            let (connection, ()) = tokio::join!(connected(DHCP), carrier);
            assert_eq!(connection.interface().as_str(), "wan0");

            ip(&["link", "set", "lo", "down"]);
            let link = async {
                until("loopback is brought up", || is_up("lo")).await;
                ip(&[
                    "link", "add", "late0", "type", "veth", "peer", "name", "srv9", "netns", &peer,
                ]);
                ip(&["-n", &peer, "link", "set", "srv9", "up"]);
            };
            let fixed =
                r#"{"mode": "static", "interface": "late0", "addresses": ["10.78.0.2/24"]}"#;
            let (connection, ()) = tokio::join!(connected(fixed), link);
            assert_eq!(connection.interface().as_str(), "late0");
            assert_eq!(addresses("late0"), ["10.78.0.2/24"]);
        },
    );
}

#[test]
fn a_lease_is_had_by_a_link_whose_carrier_comes_while_another_is_asked_in_vain() {
    in_lab(
        "a_lease_is_had_by_a_link_whose_carrier_comes_while_another_is_asked_in_vain",
        |lab| {
            lab.join("silent0", "srv1");
            lab.serve(&[RANGE]);
            ip(&["-n", &lab.server, "link", "set", "srv0", "down"]);
        },
        async || {
            let peer = peer();
            let carrier = async {
                // The silent link is asked as soon as it has a packet socket.
                until("silent0 is asked", || {
                    std::fs::read_to_string("/proc/self/net/packet")
                        .is_ok_and(|sockets| sockets.lines().count() > 1)
                })
                .await;
                ip(&["-n", &peer, "link", "set", "srv0", "up"]);
            };
            let (connection, ()) = tokio::join!(connected(DHCP), carrier);
            assert_eq!(connection.interface().as_str(), "wan0");
            assert!(addresses("silent0").is_empty());
        },
    );
}

#[test]
fn what_the_kernel_refuses_is_an_address_failure() {
    in_lab(
        "what_the_kernel_refuses_is_an_address_failure",
        |_| {},
        async || {
            let fixed =
                // What is for everyone on the link is no router.
                r#"{"mode": "static", "addresses": ["10.77.0.20/24"], "gateways": ["10.77.0.255"]}"#;
            let error = refused(fixed, FailureCode::ConnectAddress).await;
            assert!(error.to_string().contains("via 10.77.0.255"), "{error}");
        },
    );
}

#[test]
fn a_link_that_the_kernel_does_not_bring_up_is_refused_by_name() {
    in_lab(
        "a_link_that_the_kernel_does_not_bring_up_is_refused_by_name",
        |_| {},
        async || {
            // The kernel brings up no macvlan that has the address of the card below it.
            let card = std::fs::read_to_string("/sys/class/net/wan0/address").unwrap();
            ip(&[
                "link",
                "add",
                "link",
                "wan0",
                "name",
                "twin0",
                "address",
                card.trim(),
                "type",
                "macvlan",
            ]);
            let wanted = r#"{"mode": "dhcp", "interface": "twin0"}"#;
            let error = refused(wanted, FailureCode::ConnectAddress).await;
            assert_eq!(error.to_string(), "twin0 could not be brought up");
        },
    );
}
