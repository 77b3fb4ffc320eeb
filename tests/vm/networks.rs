//! Networks as they are found, each made real by a [`Router`] at the other ends of the machine's cables.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use sealboot::vm::{Cable, StageLine};

use crate::boots::{assert_every_stage_passed, connect_line};
use crate::machine::{Machine, Options};
use crate::router::Router;
use crate::store::Store;

const BY_NAME: &str = "https://mirror.lab.example/";
const BY_IPV4: &str = "https://10.77.0.1/";
const BY_IPV6: &str = "https://[fd00:77::1]/";

const NAME_OF_IPV4: &str = "--host-record=mirror.lab.example,10.77.0.1";
const NAME_OF_IPV6: &str = "--host-record=mirror.lab.example,fd00:77::1";
const LEASES: &str = "--dhcp-range=10.77.0.100,10.77.0.150,10m";

/// A network, and a machine that has just been started in it.
struct Lan {
    router: Router,
    machine: Machine,
}

impl Lan {
    /// A router with so many cables and this scenario, and a machine that is told to reach this mirror in this way.
    async fn with(cables: usize, scenario: &str, ip: &str, mirror: &str) -> Self {
        let store = Store::published();
        let router = Router::start(cables, &store, scenario).await;
        let options = Options {
            append: ip.to_owned(),
            ..Options::default()
        };
        let machine = Machine::boot_behind(&router, mirror, options).await;
        Self { router, machine }
    }

    /// Follows the machine into the OS; gives its console.
    async fn boots(self) -> String {
        let console = self.machine.runs_the_os().await;
        assert_every_stage_passed(&console);
        console
    }

    /// Waits until the machine has begun to fetch the image.
    async fn until_it_downloads(&mut self) {
        let progress = |machine: &Machine| machine.console().contains(" %), ");
        self.machine
            .until("progress of the download", progress)
            .await;
    }

    /// Cuts or mends a cable, at both ends.
    async fn set_cable(&mut self, cable: usize, state: Cable) {
        self.router.set_cable(cable, state).await;
        self.machine.set_cable(cable, state).await;
    }
}

/// The link that was connected, and its addresses.
fn connected(console: &str) -> (String, Vec<IpAddr>) {
    let line = StageLine::find(connect_line(console)).unwrap();
    let field = |name| {
        let mut details = line.details();
        let (_, value) = details.find(|(found, _)| *found == name).unwrap();
        value.to_owned()
    };
    let address = |text: &str| text.parse::<IpNet>().unwrap().addr();
    let addresses = field("address").split(',').map(address).collect();
    (field("interface"), addresses)
}

/// Asserts that the machine has one address, on this link, which begins like this.
fn assert_connected(console: &str, link: &str, start: &str) {
    let (found, addresses) = connected(console);
    assert_eq!(found, link, "{console}");
    let [address] = addresses[..] else {
        panic!("{addresses:?}: {console}")
    };
    assert!(
        address.to_string().starts_with(start),
        "{address}: {console}"
    );
}

fn assert_says(console: &str, words: &str) {
    assert!(console.contains(words), "never said: {words}\n{console}");
}

#[tokio::test]
async fn a_lease_of_dhcpv4_boots_the_machine() {
    let scenario = format!("v4 eth0; offer {LEASES} {NAME_OF_IPV4}");
    let lan = Lan::with(1, &scenario, "ip=dhcp", BY_NAME).await;
    let console = lan.boots().await;
    assert_connected(&console, "eth0", "10.77.0.1");
    assert_says(
        &console,
        "via 10.77.0.1 dns 10.77.0.1 (dhcp 10.77.0.1, lease 600 s)",
    );
}

#[tokio::test]
async fn a_lease_of_dhcpv6_boots_the_machine() {
    let leases = "--enable-ra --dhcp-range=fd00:77::100,fd00:77::1ff,64,10m";
    let scenario = format!("v6 eth0; offer {leases} {NAME_OF_IPV6}");
    let lan = Lan::with(1, &scenario, "ip=dhcp6", BY_NAME).await;
    let console = lan.boots().await;
    assert_connected(&console, "eth0", "fd00:77::1");
    assert_says(&console, "dns fd00:77::1 (dhcp6, lease 600 s)");
}

#[tokio::test]
async fn where_there_is_no_ipv4_a_routers_word_and_its_name_server_boot_the_machine() {
    let scenario =
        format!("v6 eth0; offer --enable-ra --dhcp-range=fd00:77::,ra-only {NAME_OF_IPV6}");
    let lan = Lan::with(1, &scenario, "ip=auto", BY_NAME).await;
    let console = lan.boots().await;
    // The address that the kernel makes of the card's.
    assert_connected(&console, "eth0", "fd00:77::5054:ff:fe77:100");
    // dnsmasq names itself by the address that it has on this link alone.
    assert_says(
        &console,
        " dns fe80::5054:ff:fe77:0 (router fe80::5054:ff:fe77:0)",
    );
}

#[tokio::test]
async fn a_static_address_of_ipv6_boots_the_machine() {
    let ip = "ip=[fd00:77::50]::[fd00:77::1]:64::eth0:none";
    let lan = Lan::with(1, "v6 eth0", ip, BY_IPV6).await;
    let console = lan.boots().await;
    assert_connected(&console, "eth0", "fd00:77::50");
    assert_says(&console, "via fd00:77::1 (static)");
}

#[tokio::test]
async fn a_vlan_boots_the_machine() {
    // Without the tag there is nobody.
    let link = "ip link set eth0 up; ip link add link eth0 name tagged type vlan id 7; v4 tagged";
    let scenario = format!("{link}; offer {LEASES} {NAME_OF_IPV4}");
    let ip = "vlan=eth0.7:eth0 ip=eth0.7:dhcp";
    let lan = Lan::with(1, &scenario, ip, BY_NAME).await;
    let console = lan.boots().await;
    assert_connected(&console, "eth0.7", "10.77.0.1");
    assert_says(&console, "eth0.7 is made: VLAN 7 over eth0");
}

/// A switch with two ports, and the router's address on it.
const SWITCH: &str = "ip link add lan type bridge
for port in eth0 eth1; do ip link set $port master lan; ip link set $port up; done
v4 lan; slow lan 4mbit";

#[tokio::test]
async fn a_bond_goes_on_over_its_second_link_when_the_first_is_cut_in_the_middle_of_the_download() {
    let scenario = format!("{SWITCH}; offer {LEASES} {NAME_OF_IPV4}");
    // As a kernel that has bonding built in, the module makes a bond0 of another mode first.
    let ip =
        "bond=bond0:eth0,eth1:mode=active-backup,primary=eth0 ip=bond0:dhcp bonding.max_bonds=1";
    let mut lan = Lan::with(2, &scenario, ip, BY_NAME).await;
    lan.until_it_downloads().await;
    lan.set_cable(0, Cable::Cut).await;
    let console = lan.boots().await;
    assert_connected(&console, "bond0", "10.77.0.1");
    // The kernel's own words.
    assert_says(&console, "bond0: (slave eth0): link status definitely down");
    assert_says(
        &console,
        "bond0: (slave eth1): making interface the new active one",
    );
}

/// A switch that bundles its two ports, and says so when the machine has agreed.
const BUNDLE: &str = "ip link add bundle type bond mode 802.3ad miimon 100 lacp_rate fast
for port in eth0 eth1; do ip link set $port master bundle; done
ip link set bundle up
agreed() {
    grep -q 'Number of ports: 2' /proc/net/bonding/bundle &&
        grep -q 'Partner Mac Address: 52:54:00:77:01' /proc/net/bonding/bundle
}
(until agreed; do sleep 1; done; echo 'both ports are in one bundle') &
";

async fn assert_bundled(lan: &mut Lan) {
    lan.until_it_downloads().await;
    let agreed = "both ports are in one bundle";
    lan.router.says(agreed, Duration::from_secs(30)).await;
}

#[tokio::test]
async fn two_links_that_the_switch_bundles_by_lacp_boot_the_machine() {
    let address = "v4 bundle; slow bundle 4mbit";
    let scenario = format!("{BUNDLE}{address}; offer {LEASES} {NAME_OF_IPV4}");
    let ip = "bond=bond0:eth0,eth1:mode=802.3ad,lacp_rate=fast ip=bond0:dhcp";
    let mut lan = Lan::with(2, &scenario, ip, BY_NAME).await;
    assert_bundled(&mut lan).await;
    let console = lan.boots().await;
    assert_connected(&console, "bond0", "10.77.0.1");
}

#[tokio::test]
async fn a_vlan_over_bundled_links_with_larger_packets_boots_the_machine() {
    let address = "ip link add link bundle name tagged type vlan id 42; v4 tagged";
    let scenario = format!("{BUNDLE}{address}; slow tagged 4mbit; offer {LEASES} {NAME_OF_IPV4}");
    // As docs/host-config.md has it.
    let ip = "bond=bond0:eth0,eth1:mode=802.3ad,miimon=50,updelay=200,lacp_rate=fast,\
              xmit_hash_policy=layer3+4:9000 vlan=vlan0042:bond0 ip=vlan0042:dhcp";
    let mut lan = Lan::with(2, &scenario, ip, BY_NAME).await;
    assert_bundled(&mut lan).await;
    let console = lan.boots().await;
    assert_connected(&console, "vlan0042", "10.77.0.1");
    assert_says(&console, "vlan0042 is made: VLAN 42 over bond0");
}

#[tokio::test]
async fn of_two_cards_the_one_with_an_offer_boots_the_machine() {
    let scenario = format!("ip link set eth0 up; v4 eth1; offer {LEASES} {NAME_OF_IPV4}");
    let lan = Lan::with(2, &scenario, "ip=dhcp", BY_NAME).await;
    let console = lan.boots().await;
    assert_connected(&console, "eth1", "10.77.0.1");
    assert_says(&console, "link is up interface=eth0");
}

#[tokio::test]
async fn a_dhcp_server_that_is_silent_for_25_s_boots_the_machine() {
    let scenario = format!(
        "v4 eth0
asked() {{ [ \"$(cat /sys/class/net/eth0/statistics/rx_packets)\" -gt 0 ]; }}
(until asked; do usleep 100000; done; sleep 25; offer {LEASES} {NAME_OF_IPV4}) &"
    );
    let lan = Lan::with(1, &scenario, "ip=dhcp", BY_NAME).await;
    let console = lan.boots().await;
    assert_connected(&console, "eth0", "10.77.0.1");
    let connect = StageLine::find(connect_line(&console)).unwrap();
    let waited = connect.milliseconds().unwrap();
    assert!(waited >= 25_000, "{waited} ms: {console}");
    // Whoever stands before it reads why.
    assert_says(&console, "waiting for an address on eth0, 20 s so far");
}

#[tokio::test]
async fn a_first_name_server_that_is_dead_does_not_keep_the_machine_from_its_mirror() {
    let servers = "--dhcp-option=option:dns-server,10.77.0.9,10.77.0.1";
    let scenario = format!("v4 eth0; offer {LEASES} {NAME_OF_IPV4} {servers}");
    let lan = Lan::with(1, &scenario, "ip=dhcp", BY_NAME).await;
    let console = lan.boots().await;
    assert_says(&console, "dns 10.77.0.9 dns 10.77.0.1 (dhcp");
}

#[tokio::test]
async fn a_lease_that_is_shorter_than_the_download_is_prolonged() {
    let scenario = "v4 eth0; slow eth0 4mbit; lend eth0 10";
    let lan = Lan::with(1, scenario, "ip=dhcp", BY_IPV4).await;
    let console = lan.boots().await;
    assert_says(&console, "lease 10 s");
    let prolonged = console.matches(" is prolonged, 10 s").count();
    assert!(prolonged >= 2, "{prolonged} times: {console}");
    assert!(!console.contains("is lost"), "{console}");
}

#[tokio::test]
async fn a_lease_that_is_lost_in_the_middle_of_the_download_is_replaced() {
    let scenario = "v4 eth0; slow eth0 4mbit; lend eth0 10
asked() { [ \"$(cat /sys/class/net/eth0/statistics/rx_packets)\" -gt 20 ]; }
(until asked; do usleep 100000; done; killall udhcpd; sleep 15; lend eth0 600) &";
    let lan = Lan::with(1, scenario, "ip=dhcp", BY_IPV4).await;
    let console = lan.boots().await;
    assert_says(&console, "lease 10 s");
    assert_says(&console, "eth0: the lease of 10.77.0.1");
    assert_says(&console, " is lost: ");
    assert_says(&console, "eth0: a new lease: 10.77.0.1");
}

#[tokio::test]
async fn a_link_that_loses_its_carrier_in_the_middle_of_the_download_goes_on_when_it_is_back() {
    let scenario = format!("v4 eth0; slow eth0 4mbit; offer {LEASES}");
    let mut lan = Lan::with(1, &scenario, "ip=dhcp", BY_IPV4).await;
    lan.until_it_downloads().await;
    for times in 1..=3 {
        for (cable, said) in [
            (Cable::Cut, "eth0 has lost its carrier"),
            (Cable::Whole, "eth0 has its carrier again"),
        ] {
            lan.set_cable(0, cable).await;
            let says = |machine: &Machine| machine.console().matches(said).count() == times;
            lan.machine.until(said, says).await;
        }
    }
    let console = lan.boots().await;
    assert_connected(&console, "eth0", "10.77.0.1");
}
