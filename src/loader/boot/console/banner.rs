//! The startup banner: machine identity and the configuration in force.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::stage::Console;
use crate::boot::stages::configure::Configured;
use crate::net::clock;
use sealboot_sys::firmware::identity::Identity;

/// Cards that are named; a machine with more has them in its inventory.
const CARDS: usize = 8;

const RULE: &str = "------------------------------------------------------------";

/// Prints the banner, with the configuration if there is one. An operator must be able to identify a machine whose
/// host config is broken.
pub(in crate::boot) fn show(
    console: &mut Console<'_, impl io::Write>,
    configured: Option<&Configured<'_>>,
) {
    let cards = cards(Path::new("/sys/class/net"));
    let read;
    let identity = match configured {
        Some(configured) => &configured.identity,
        None => {
            read = Identity::read(Path::new("/"));
            &read
        }
    };
    console.say(RULE);
    let rows = machine(identity, &cards).into_iter();
    for [name, value] in rows.chain(configured.into_iter().flat_map(rules)) {
        console.say(format_args!("{name:<9}{value}"));
    }
    console.say(RULE);
}

fn row(name: &str, value: String) -> [String; 2] {
    [name.to_owned(), value]
}

/// What the machine is, whatever is baked in.
fn machine(identity: &Identity, cards: &[String]) -> Vec<[String; 2]> {
    let cards = match cards {
        [] => "none yet".to_owned(),
        cards if cards.len() > CARDS => {
            format!(
                "{}, and {} more",
                cards[..CARDS].join(", "),
                cards.len() - CARDS
            )
        }
        cards => cards.join(", "),
    };
    vec![
        row(
            "loader",
            format!(
                "Sealboot {}, built {}",
                env!("CARGO_PKG_VERSION"),
                clock::binary_build_time()
            ),
        ),
        row("machine", identity.to_string()),
        row("cards", cards),
    ]
}

/// What it goes by.
fn rules(configured: &Configured<'_>) -> Vec<[String; 2]> {
    let (policy, host) = (configured.chain.newest(), &configured.host);
    let mut mirrors = host
        .mirrors
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    if host.mirrors.len() > 1 {
        // Writing to a string cannot fail.
        let _ = write!(mirrors, " and {} more", host.mirrors.len() - 1);
    }
    vec![
        row(
            "policy",
            format!(
                "version {}, sha256 {}",
                policy.version(),
                configured.policy_sha256
            ),
        ),
        row("image", format!("{} from {mirrors}", host.image)),
    ]
}

/// The network cards by their names, with their addresses.
fn cards(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut cards: Vec<String> = entries
        .flatten()
        // What is made of others, or of nothing, hangs on no device.
        .filter(|entry| entry.path().join("device").exists())
        .map(|entry| {
            let address = fs::read_to_string(entry.path().join("address")).unwrap_or_default();
            format!("{} {}", entry.file_name().to_string_lossy(), address.trim())
        })
        .collect();
    cards.sort_unstable();
    cards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_host_config_is_named_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        let firmware = root.path().join("sys/class/dmi/id");
        fs::create_dir_all(&firmware).unwrap();
        fs::write(firmware.join("product_serial"), "SN-4711\n").unwrap();
        let card = "eth0 52:54:00:00:00:00".to_owned();
        let rows = machine(&Identity::read(root.path()), &[card]);
        let names: Vec<&str> = rows.iter().map(|[name, _]| name.as_str()).collect();
        assert_eq!(names, ["loader", "machine", "cards"]);
        assert!(rows[1][1].contains("SN-4711"), "{rows:?}");
        assert_eq!(rows[2][1], "eth0 52:54:00:00:00:00");
    }

    #[test]
    fn cards_are_what_hangs_on_a_device() {
        let root = tempfile::tempdir().unwrap();
        for (name, address, has_device) in [
            ("eth1", "52:54:00:00:00:01\n", true),
            ("eth0", "52:54:00:00:00:00\n", true),
            ("lo", "00:00:00:00:00:00\n", false),
        ] {
            let card = root.path().join(name);
            fs::create_dir(&card).unwrap();
            fs::write(card.join("address"), address).unwrap();
            if has_device {
                fs::create_dir(card.join("device")).unwrap();
            }
        }
        assert_eq!(
            cards(root.path()),
            ["eth0 52:54:00:00:00:00", "eth1 52:54:00:00:00:01"]
        );
        assert!(cards(&root.path().join("absent")).is_empty());
    }
}
