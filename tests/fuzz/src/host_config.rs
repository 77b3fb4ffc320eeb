//! The host config, and the command line that overrides it: `host.json`, then a NUL, then the line.
//!
//! | property | because |
//! |---|---|
//! | what was read is written and read again as itself | `host-config check` shows what a machine does |
//! | file and line together make nothing that a file alone could not say | one check covers both |
//! | a file of a mirror is below the mirror's own root | a path must not choose another host |
//! | a gateway is on the link, an interface has a name that the kernel takes | else the machine comes up and reaches nothing |

use sealboot::format::cmdline::Parameters;
use sealboot::format::host_config::{HostConfig, Network};
use sealboot::format::limits::LIMITS;

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
    if let Some(interface) = config.network.interface() {
        assert!((1..=15).contains(&interface.as_str().len()));
        assert!(!interface.as_str().contains(['/', ':', ' ', '\0']));
    }
    if let Network::Static {
        address, gateway, ..
    } = &config.network
    {
        assert!((1..=32).contains(&address.prefix_len()));
        assert!(gateway.is_none_or(|gateway| address.contains(gateway)));
    }
}
