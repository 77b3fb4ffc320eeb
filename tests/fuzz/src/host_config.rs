//! The host config, and the command line that overrides it: `host.json`, then a NUL, then the line.
//!
//! | property | because |
//! |---|---|
//! | what was read is written and read again as itself | `host-config check` shows what a machine does |
//! | file and line together make nothing that a file alone could not say | one check covers both |
//! | where the policy requires it, a signed file is taken as it is or not at all, and nothing else is | a command line must not take back what was signed |
//! | a line that has no setting of a host config changes nothing | no setting is overlooked |
//! | a file of a mirror is below the mirror's own root | a path must not choose another host |
//! | a gateway is on the link, an interface has a name that the kernel takes | else the machine comes up and reaches nothing |

use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::network::{Ipv4Method, Ipv6Method, LinkRef};
use sealboot_core::trust::{Judged, Presented};

use super::Verdict;
use super::input::Input;
use super::signed::{INSTALLER, NOW, POLICY_OF_HOSTS, TOLERANCE, seal};
use super::spoken;

/// `JSON`, or `JSON NUL LINE`, or `NUL LINE` where there is no file.
pub fn run(bytes: &[u8]) -> Verdict {
    let mut input = Input::new(bytes);
    let json = input.text();
    let line = String::from_utf8_lossy(input.rest());
    let line = Parameters::parse(&line);
    is_taken_as_signed(json, &line);
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
    let unset = HostConfig::setting(&line).is_none();
    match HostConfig::with_cmdline(file.clone(), &line) {
        Ok(whole) => {
            is_sound(&whole);
            assert!(!unset || Some(whole) == file, "a setting was overlooked");
            Verdict::Taken
        }
        Err(error) => {
            assert!(!unset || file.is_none(), "a setting was overlooked");
            spoken::is_safe_to_print(&error);
            Verdict::Refused
        }
    }
}

/// Judges the file as it is, and with a good signature, by a policy that takes nothing but that.
fn is_taken_as_signed(json: &[u8], line: &Parameters) {
    let judge = |stored: Vec<u8>| {
        let presented = Presented {
            stored: Some(stored),
            cmdline: line.clone(),
            machine: None,
        };
        let judged = POLICY_OF_HOSTS.judge_host_config(&presented, &(*NOW).into());
        if let Err(refusal) = &judged {
            spoken::is_safe_to_print(refusal);
        }
        judged.ok()
    };
    assert!(judge(json.to_vec()).is_none(), "nobody has signed it");
    let stored = seal(HostConfig::PAYLOAD_TYPE, json, &[&INSTALLER]).encode();
    let fits = u64::try_from(stored.len()).is_ok_and(|len| len <= LIMITS.host_config_bytes);
    let expected = HostConfig::parse(json)
        .ok()
        .filter(|_| fits && HostConfig::setting(line).is_none())
        .filter(|config| config.created.is_some())
        .filter(|config| {
            config
                .expires
                .is_none_or(|expires| NOW.duration_since(expires) < TOLERANCE)
        });
    let judged = judge(stored).map(Judged::into_config);
    assert_eq!(judged, expected);
}

fn is_sound(config: &HostConfig) {
    let written = config.encode();
    let read = HostConfig::parse(&written).expect("what was written is read");
    assert_eq!(read, *config);
    assert!((1..=LIMITS.mirrors).contains(&config.mirrors.len()));
    for mirror in &config.mirrors {
        let mirror = mirror.of(|name| name.word().to_owned()).expect("short");
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
