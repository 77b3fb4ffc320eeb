//! Bytes to types and back. Pure: no files, no sockets, no clock, no keys' secrets on the loader's side.
//!
//! | module | of |
//! |---|---|
//! | [`limits`] | the bound of every outside byte string, and the attack it stops |
//! | [`digest`] | SHA-256 digests as lower-case hex |
//! | [`manifest`] | the signed statement about an image |
//! | [`archive`] | the names and order of an archive's members, and its exact size |
//! | [`frame`] | what the header of a zstd archive must say |
//! | [`host_config`] | how this machine reaches its image |
//! | [`network`] | how a machine reaches a network, in JSON and in dracut's syntax |
//! | [`smbios`] | the host config among a machine's OEM strings |
//! | [`cmdline`] | the kernel command line, read and written |
//! | [`kmod`] | what depmod(8) writes about kernel modules |
//! | [`layout`] | the paths and markers of a loader's initramfs |
//! | [`freshness`] | the signed statement about which version is the newest |
//! | [`version`] | counters that only grow |
//! | [`payload`] | the rules by which every signed statement is read |
//! | [`profile`] | the lexical profile of signed JSON |
//! | [`time`] | times in signed statements |
//! | `json` | JSON into types, with the fields that were ignored |
//! | [`key`] | public keys and their ids |

pub mod archive;
pub mod cmdline;
pub mod digest;
pub mod failure_log;
pub mod frame;
pub mod freshness;
pub mod host_config;
pub mod json;
pub mod key;
pub mod kmod;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod network;
pub mod payload;
pub mod profile;
pub mod smbios;
pub mod time;
pub mod version;

use std::fmt;

/// A string in a file or on a command line that is not what its field asks for.
///
/// Says which field, what was found and what the field takes; the caller adds the file or argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The field's name as it stands in the format, dotted where nested.
    pub field: &'static str,
    /// What was found, shortened to what fits a console line.
    pub found: String,
    /// What the field takes.
    pub takes: &'static str,
}

impl Invalid {
    /// Reports `found` in `field`, cut to 80 characters and with control characters escaped.
    pub fn new(field: &'static str, found: impl fmt::Display, takes: &'static str) -> Self {
        Self {
            field,
            found: shown(&found.to_string(), 80),
            takes,
        }
    }
}

/// What somebody else wrote, fit for a console line: at most `most` characters of it, all in printable ASCII.
pub fn shown(text: &str, most: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(most)
        .flat_map(char::escape_default)
        .collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: \"{}\" is not {}",
            self.field, self.found, self.takes
        )
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_shown_whole_up_to_80_characters() {
        let found = "é".repeat(80);
        let shown = |found: &str| Invalid::new("field", found, "a name").found;
        assert_eq!(shown(&found), r"\u{e9}".repeat(80));
        assert_eq!(shown(&format!("{found}é")), r"\u{e9}".repeat(80) + "…");
    }

    #[test]
    fn what_was_found_cannot_move_a_terminals_cursor_or_close_its_quotes() {
        let invalid = Invalid::new("files.path", "a\x1b[2J\n\"b\u{202e}", "a path");
        assert_eq!(
            invalid.to_string(),
            r#"files.path: "a\u{1b}[2J\n\"b\u{202e}" is not a path"#
        );
    }
}
