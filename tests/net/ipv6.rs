//! IPv6: routers, DHCPv6 and fixed addresses, with a real router and server (dnsmasq).

use std::net::IpAddr;

use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_init::net::{Connection, Origin};

use crate::{RANGE, connected, only, refused};
use support::net::{Lab, addresses, in_lab, ip};

const AUTO6: &str = r#"{"mode": "auto6", "interface": "wan0"}"#;
const DHCP6: &str = r#"{"mode": "dhcp6", "interface": "wan0"}"#;

/// The router's own address, and what dnsmasq is to do beside DHCPv4.
fn routes(lab: &mut Lab, options: &[&str]) {
    ip(&[
        "-n",
        &lab.server,
        "address",
        "add",
        "fd00:77::1/64",
        "dev",
        "srv0",
        "nodad",
    ]);
    let always = [
        RANGE,
        "--enable-ra",
        "--host-record=router.lab.example,127.0.0.9,fd00:77::1",
    ];
    lab.serve(&[&always, options].concat());
}

fn ipv6_addresses() -> String {
    ip(&["-6", "address", "show", "dev", "wan0", "scope", "global"])
}

fn address_of(connection: &Connection) -> IpAddr {
    only(connection.addresses()).addr()
}

/// Name servers are asked, and what they name is reached, by IPv6 alone.
async fn assert_it_works(connection: &Connection) {
    assert!(addresses("wan0").is_empty(), "no IPv4 at all");
    assert!(address_of(connection).to_string().starts_with("fd00:77:"));
    let settings = only(connection.settings().iter());
    assert!(settings.gateway().is_some(), "{connection}");
    assert!(!connection.nameservers().is_empty(), "{connection}");
    let found = connection.resolver().lookup("mirror.lab.example").await;
    assert_eq!(found.unwrap(), [IpAddr::from([192, 0, 2, 7])]);
    // The name server itself takes connections at port 53; nobody does at 127.0.0.9.
    let winner = connection.resolver().race("router.lab.example", 53).await;
    assert_eq!(winner.unwrap().to_string(), "fd00:77::1");
}

#[test]
fn an_address_is_made_of_an_advertisement_which_names_the_name_servers() {
    in_lab(
        "ipv6::an_address_is_made_of_an_advertisement_which_names_the_name_servers",
        |lab| {
            routes(
                lab,
                &["--dhcp-range=fd00:77::,ra-only", "--domain=lab.example"],
            )
        },
        async || {
            for attempt in ["first", "second"] {
                let connection = connected(AUTO6).await;
                assert_it_works(&connection).await;
                let settings = only(connection.settings().iter());
                assert!(
                    matches!(settings.origin, Origin::Router(router) if router.is_unicast_link_local()),
                    "{attempt}: {connection}"
                );
            }
        },
    );
}

#[test]
fn an_address_is_made_and_dhcp6_names_the_name_servers() {
    in_lab(
        "ipv6::an_address_is_made_and_dhcp6_names_the_name_servers",
        |lab| {
            // Without name servers in the advertisement, and with the word that DHCPv6 has them.
            routes(
                lab,
                &[
                    "--dhcp-range=fd00:77::,ra-stateless",
                    "--dhcp-option=option6:ntp-server,[fd00:77::1]",
                ],
            );
        },
        async || {
            let connection = connected(AUTO6).await;
            assert_it_works(&connection).await;
        },
    );
}

#[test]
fn dhcp6_gives_an_address_and_routers_the_way() {
    let log = in_lab(
        "ipv6::dhcp6_gives_an_address_and_routers_the_way",
        |lab| {
            let range = "--dhcp-range=fd00:77::100,fd00:77::1ff,64,1h";
            routes(
                lab,
                &[
                    range,
                    "--dhcp-userclass=set:booting,sealboot",
                    "--dhcp-option=option6:ntp-server,[fd00:77::1]",
                ],
            );
        },
        async || {
            // Where routers say so, and where it was asked for in so many words.
            for network in [AUTO6, DHCP6] {
                let connection = connected(network).await;
                assert_it_works(&connection).await;
                let settings = only(connection.settings().iter());
                let an_hour = Origin::Dhcp6 {
                    seconds: Some(3600),
                };
                assert_eq!(settings.origin, an_hour, "{connection}");
                assert!(
                    ipv6_addresses().contains("inet6 fd00:77::1"),
                    "{}",
                    ipv6_addresses()
                );
                assert_eq!(connection.ntp(), ["fd00:77::1".parse::<IpAddr>().unwrap()]);
            }
        },
    );
    if let Some(log) = log {
        assert!(log.contains("tags: booting"), "{log}");
    }
}

#[test]
fn a_fixed_address_of_ipv6_needs_nobody() {
    in_lab(
        "ipv6::a_fixed_address_of_ipv6_needs_nobody",
        |lab| routes(lab, &[]),
        async || {
            let fixed = r#"{"mode": "static", "interface": "wan0", "addresses": ["fd00:77::20/64", "fd00:77::21/64"],
                "gateways": ["fd00:77::1"], "nameservers": ["fd00:77::1"], "mtu": 1400}"#;
            for _ in 0..2 {
                let connection = connected(fixed).await;
                assert_eq!(
                    connection.to_string(),
                    "wan0 fd00:77::20/64 fd00:77::21/64 via fd00:77::1 dns fd00:77::1 (static)"
                );
                let route = ip(&["-6", "route", "show", "default"]);
                assert!(
                    route.contains("via fd00:77::1 dev wan0 proto static"),
                    "{route}"
                );
                let found = connection.resolver().lookup("mirror.lab.example").await;
                assert_eq!(found.unwrap().len(), 1);
                assert!(ip(&["link", "show", "wan0"]).contains("mtu 1400"));
            }
        },
    );
}

#[test]
fn an_address_that_another_machine_has_is_not_used() {
    in_lab(
        "ipv6::an_address_that_another_machine_has_is_not_used",
        |lab| routes(lab, &[]),
        async || {
            let taken =
                r#"{"mode": "static", "interface": "wan0", "addresses": ["fd00:77::1/64"]}"#;
            let error = refused(taken, FailureCode::ConnectAddress).await;
            assert!(
                error
                    .to_string()
                    .contains("another machine on the link has fd00:77::1"),
                "{error}"
            );
        },
    );
}

#[test]
fn silence_of_ipv6_is_refused_with_what_was_tried() {
    in_lab(
        "ipv6::silence_of_ipv6_is_refused_with_what_was_tried",
        |_| {},
        async || {
            let error = refused(AUTO6, FailureCode::ConnectRouter).await;
            let said = error.to_string();
            assert!(
                said.contains("wan0: routers asked 1 times, no answer"),
                "{said}"
            );
            let error = refused(DHCP6, FailureCode::ConnectRouter).await;
            assert!(error.to_string().contains("wan0: DHCPv6 asked"), "{error}");
            assert!(error.hint().contains("wan0 (carrier)"), "{}", error.hint());
        },
    );
}
