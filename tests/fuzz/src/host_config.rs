//! The host config, and the command line that overrides it: `host.json`, then a NUL, then the line.
//!
//! | property | because |
//! |---|---|
//! | what was read is written and read again as itself | `host-config check` shows what a machine does |
//! | file and line together make nothing that a file alone could not say | one check covers both |
//! | a file of a mirror is below the mirror's own root | a path must not choose another host |
//! | a gateway is on the link, an interface has a name that the kernel takes | else the machine comes up and reaches nothing |

use sealboot::format::cmdline::Parameters;
use sealboot::format::host_config::HostConfig;
use sealboot::format::limits::LIMITS;
use sealboot::format::network::{Ipv4Method, Ipv6Method, LinkRef};

use super::Verdict;
use super::input::Input;
use super::spoken;

/// `JSON`, or `JSON NUL LINE`, or `NUL LINE` where there is no file.
pub fn run(bytes: &[u8]) -> Verdict {
    let mut input = Input::new(bytes);
    let json = input.text();
    let line = String::from_utf8_lossy(input.rest());
    let file = match HostConfig::parse(json) {
        Ok(config) => Some(config),
        Err(_) if json.is_empty() => None,
        Err(error) => {
            spoken::is_safe_to_print(&error);
            return Verdict::Refused;
        }
    };
    if let Some(file) = &file {
        is_sound(file);
    }
    match HostConfig::with_cmdline(file, &Parameters::parse(&line)) {
        Ok(whole) => {
            is_sound(&whole);
            Verdict::Taken
        }
        Err(error) => {
            spoken::is_safe_to_print(&error);
            Verdict::Refused
        }
    }
}

fn is_sound(config: &HostConfig) {
    let written = config.encode();
    let read = HostConfig::parse(&written).expect("what was written is read");
    assert_eq!(read, *config);
    assert!((1..=LIMITS.mirrors).contains(&config.mirrors.len()));
    for mirror in &config.mirrors {
        let root = mirror.url();
        assert!(root.has_host() && root.path().ends_with('/'));
        assert!(root.username().is_empty() && root.password().is_none());
        let file = mirror.file("images/relay.json");
        assert_eq!(file.as_str(), format!("{root}images/relay.json"));
        assert_eq!(file.host_str(), root.host_str());
    }
    let network = &config.network;
    assert!(!network.interfaces.is_empty());
    for interface in &network.interfaces {
        assert_ne!(
            (&interface.ipv4, &interface.ipv6),
            (&Ipv4Method::None, &Ipv6Method::None)
        );
        if let Some(LinkRef::Name(name)) = &interface.link {
            assert!((1..=15).contains(&name.as_str().len()));
            assert!(!name.as_str().contains(['/', ':', ' ', '\0']));
        }
        if let Ipv4Method::Static { addresses, gateway } = &interface.ipv4 {
            assert!(!addresses.is_empty());
            let on_link = |gateway| {
                let mut addresses = addresses.iter();
                addresses.any(|own| own.contains(gateway) || own.prefix_len() == 32)
            };
            assert!(gateway.as_ref().is_none_or(on_link));
        }
    }
    for list in [
        network.bonds.len(),
        network.vlans.len(),
        network.routes.len(),
    ] {
        assert!(list <= LIMITS.network_items);
    }
}
