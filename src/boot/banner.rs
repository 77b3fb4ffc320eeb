//! Which machine this is and by what it goes, once, for whoever stands before it or reads its log.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::configure::Configured;
use super::stage::Console;
use crate::net::clock;

/// Cards that are named; a machine with more has them in its inventory.
const CARDS: usize = 8;

const RULE: &str = "------------------------------------------------------------";

/// Prints it.
pub(super) fn show(console: &mut Console<impl io::Write>, configured: &Configured) {
    let cards = cards(Path::new("/sys/class/net"));
    console.say(RULE);
    for [name, value] in rows(configured, &cards) {
        console.say(format_args!("{name:<9}{value}"));
    }
    console.say(RULE);
}

fn rows(configured: &Configured, cards: &[String]) -> Vec<[String; 2]> {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let (policy, host) = (&configured.policy, &configured.host);
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
            "loader",
            format!(
                "Sealboot {}, built {}",
                env!("CARGO_PKG_VERSION"),
                clock::binary_build_time()
            ),
        ),
        row("machine", configured.identity.to_string()),
        row("cards", cards),
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
