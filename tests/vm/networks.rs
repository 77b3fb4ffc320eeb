//! Machines that boot over a network in which something happens on the way, each with a [`Router`] at the other ends of
//! its cables. What a network needs no whole machine for is in the [network lab](crate::network_lab).

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

/// Finds the link that was connected, and its addresses.
pub(crate) fn connected(console: &str) -> (String, Vec<IpAddr>) {
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
async fn a_bond_goes_on_over_its_second_link_when_the_first_is_cut_in_the_middle_of_the_download() {
    let scenario = "switch; slow lan 4mbit; offer $LEASES $NAME4";
    // As a kernel that has bonding built in, the module makes a bond0 of another mode first.
    let ip =
        "bond=bond0:eth0,eth1:mode=active-backup,primary=eth0 ip=bond0:dhcp bonding.max_bonds=1";
    let mut lan = Lan::with(2, scenario, ip, BY_NAME).await;
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

#[tokio::test]
async fn two_links_that_the_switch_bundles_by_lacp_boot_the_machine() {
    let scenario = "bundle; v4 bundle; slow bundle 4mbit; offer $LEASES $NAME4";
    let ip = "bond=bond0:eth0,eth1:mode=802.3ad,lacp_rate=fast ip=bond0:dhcp";
    let mut lan = Lan::with(2, scenario, ip, BY_NAME).await;
    lan.until_it_downloads().await;
    let agreed = "both ports are in one bundle";
    lan.router.says(agreed, Duration::from_secs(30)).await;
    let console = lan.boots().await;
    assert_connected(&console, "bond0", "10.77.0.1");
}

#[tokio::test]
async fn a_link_that_loses_its_carrier_in_the_middle_of_the_download_goes_on_when_it_is_back() {
    let scenario = "v4 eth0; slow eth0 4mbit; offer $LEASES";
    let mut lan = Lan::with(1, scenario, "ip=dhcp", BY_IPV4).await;
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
