//! Several links: the one that reaches a mirror is taken, whichever has an address first.

use crate::{RANGE, connected_to};
use support::net::{Lab, addresses, in_lab, ip};

/// Two links: behind `lab0` is a DHCP server that answers at once, behind `wan0` one and the mirror.
fn two_links(lab: &mut Lab) {
    lab.join("lab0", "srv1");
    ip(&[
        "-n",
        &lab.server,
        "address",
        "add",
        "10.78.0.1/24",
        "dev",
        "srv1",
    ]);
    // On each link, the server is asked for under its address there alone.
    let strict = "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore";
    ip(&["netns", "exec", &lab.server, "sh", "-c", strict]);
    lab.serve(&[
        RANGE,
        "--interface=srv1",
        // Without a router, what is behind one link is behind no other.
        "--dhcp-option=option:router",
        "--dhcp-range=10.78.0.50,10.78.0.60,255.255.255.0,1h",
    ]);
}

#[test]
fn the_link_that_reaches_a_mirror_wins() {
    in_lab(
        "several_links::the_link_that_reaches_a_mirror_wins",
        two_links,
        async || {
            for (mirror, link) in [
                ("https://10.77.0.1:53/", "wan0"),
                ("https://10.78.0.1:53/", "lab0"),
            ] {
                let connection = connected_to(r#"{"mode": "dhcp"}"#, &[mirror]).await;
                // The name server at port 53 takes connections for a mirror.
                assert_eq!(connection.interface().as_str(), link);
                assert_eq!(addresses(link).len(), 1);
                let other = if link == "wan0" { "lab0" } else { "wan0" };
                assert!(addresses(other).is_empty(), "{other} keeps no address");
            }
        },
    );
}

#[test]
fn a_mirror_that_nobody_reaches_is_no_reason_to_be_without_a_network() {
    in_lab(
        "several_links::a_mirror_that_nobody_reaches_is_no_reason_to_be_without_a_network",
        two_links,
        async || {
            let connection = connected_to(r#"{"mode": "dhcp"}"#, &["https://10.77.0.1:9/"]).await;
            assert_eq!(connection.addresses().count(), 1);
        },
    );
}
