//! Links that are made of others: what is to be done next, of what there is. Pure.
//!
//! Cards appear when their drivers find them, in any order and late, so a bond gets its ports one by one and a VLAN
//! is made when the link that carries it is there. Each look at the links gives the next steps; none is left when
//! all is made.

use super::link::{Hardware, Link};
use sealboot_core::format::network::{Bond, BondMode, InterfaceName, LinkRef, Network, Vlan};

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Make this bond.
    Bond(&'a Bond),
    /// Make the link with the first index a port of the bond with the second.
    Port {
        /// The port.
        port: u32,
        /// The bond.
        bond: u32,
        /// The bond's name, where this is its primary port.
        primary_of: Option<&'a InterfaceName>,
    },
    /// Make this VLAN over the link with this index, which must be up.
    Vlan(&'a Vlan, u32),
}

/// What is to be done next to make the links of `network`, of the links that there are.
pub(super) fn steps<'a>(network: &'a Network, links: &[Link]) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let find = |wanted: &LinkRef| links.iter().find(|link| link.is(wanted));
    let made = |name: &InterfaceName| {
        let mut links = links.iter();
        links.find(|link| link.name == *name && link.hardware != Hardware::Ethernet)
    };
    for bond in &network.bonds {
        let Some(link) = made(&bond.name) else {
            steps.push(Step::Bond(bond));
            continue;
        };
        for wanted in &bond.ports {
            let port = find(wanted).filter(|port| port.bond != Some(link.index));
            let is_primary = matches!(&bond.mode, BondMode::ActiveBackup { primary: Some(primary), .. } if primary == wanted);
            steps.extend(port.map(|port| Step::Port {
                port: port.index,
                bond: link.index,
                primary_of: is_primary.then_some(&bond.name),
            }));
        }
    }
    for vlan in &network.vlans {
        if let (Some(link), None) = (find(&vlan.link), made(&vlan.name)) {
            steps.push(Step::Vlan(vlan, link.index));
        }
    }
    steps
}

/// Whether a link is one of those that are made here.
pub(super) fn is_virtual(network: &Network, link: &Link) -> bool {
    let bonds = network.bonds.iter().map(|bond| &bond.name);
    let mut names = bonds.chain(network.vlans.iter().map(|vlan| &vlan.name));
    link.hardware != Hardware::Ethernet && names.any(|name| *name == link.name)
}

#[cfg(test)]
mod tests {
    use super::super::link::Carrier;
    use super::*;

    fn network() -> Network {
        serde_json::from_str(
            r#"{"mode": "dhcp", "interface": "bond0.7",
                "bonds": [{"name": "bond0", "ports": ["eth0", "00:00:5e:00:53:02"], "mode": "active-backup", "primary": "eth0"}],
                "vlans": [{"link": "bond0", "id": 7}]}"#,
        )
        .unwrap()
    }

    fn link(index: u32, name: &str, kind: Option<&str>, bond: Option<u32>) -> Link {
        let mac = [0, 0, 0x5e, 0, 0x53, u8::try_from(index).unwrap()];
        Link {
            index,
            name: name.parse().unwrap(),
            mac: mac.into(),
            permanent_mac: None,
            hardware: kind.map_or(Hardware::Ethernet, |kind| {
                Hardware::Virtual(kind.to_owned())
            }),
            carrier: Carrier::Down,
            bond,
        }
    }

    #[test]
    fn a_bond_is_made_then_its_ports_join_as_they_appear_and_then_the_vlan_is_made() {
        let network = network();
        let bond = &network.bonds[0];
        let (eth0, eth1) = (link(1, "eth0", None, None), link(2, "eth1", None, None));
        assert_eq!(
            steps(&network, std::slice::from_ref(&eth0)),
            [Step::Bond(bond)]
        );
        let bond0 = link(9, "bond0", Some("bond"), None);
        let join = |port, primary_of| Step::Port {
            port,
            bond: 9,
            primary_of,
        };
        let vlan = Step::Vlan(&network.vlans[0], 9);
        assert_eq!(
            steps(&network, &[eth0.clone(), bond0.clone()]),
            [join(1, Some(&bond.name)), vlan.clone()]
        );
        // The port has the bond's address by then; it is known by its own.
        let mut port = link(1, "eth0", None, Some(9));
        port.mac = [2; 6].into();
        assert_eq!(
            steps(&network, &[port.clone(), eth1, bond0.clone()]),
            [join(2, None), vlan]
        );
        let mut second = link(2, "eth1", None, Some(9));
        (second.permanent_mac, second.mac) = (Some(second.mac), [2; 6].into());
        let vlan7 = link(10, "bond0.7", Some("vlan"), None);
        assert_eq!(steps(&network, &[port, second, bond0, vlan7]), []);
    }

    #[test]
    fn a_card_that_has_the_name_of_a_bond_is_none() {
        let network = network();
        let card = link(1, "bond0", None, None);
        assert_eq!(
            steps(&network, std::slice::from_ref(&card))[0],
            Step::Bond(&network.bonds[0])
        );
        assert!(!is_virtual(&network, &card));
        assert!(is_virtual(
            &network,
            &link(1, "bond0.7", Some("vlan"), None)
        ));
    }
}
