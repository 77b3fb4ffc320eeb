//! Signatures over a statement in a file, of whatever kind it is: made, joined and counted.

mod file;
mod merge;
mod sign;
mod tally;

use std::path::Path;

use super::Failure;
use crate::trust::Envelope;
use crate::trust::envelope::EnvelopeSignature;

pub(super) use file::{EnvelopeFile, signed_path};
pub(super) use merge::Merge;
pub(super) use sign::{Options, Outcome};
pub(super) use tally::{Counted, names};

/// A kind of signed file: how it is read, and what the commands that work on it are called.
#[derive(Debug)]
pub(super) struct Kind {
    /// `image`, `policy` or `host-config`, as in `sealboot image sign`.
    pub(super) command: &'static str,
    /// What it holds, in words.
    pub(super) what: &'static str,
    /// Bytes of the largest that is read.
    pub(super) limit: u64,
    /// Reads an envelope of this kind, to work on it.
    pub(super) read: fn(&Path) -> Result<Envelope, Failure>,
    /// What shows such a file.
    pub(super) show: &'static str,
    /// What makes such a file anew.
    pub(super) make: &'static str,
}

/// The key id that stands beside a signature: anybody can have written anything there.
pub(super) fn claimed_key_id(signature: &EnvelopeSignature) -> String {
    if signature.key_id.is_empty() {
        "(no key id)".to_owned()
    } else {
        shown(&signature.key_id, 64)
    }
}

/// Text from an unverified file, made harmless to a terminal and cut to `length` characters.
pub(super) fn shown(text: &str, length: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(length)
        .flat_map(char::escape_default)
        .collect();
    if text.chars().nth(length).is_some() {
        shown.push('…');
    }
    shown
}

/// `1 signature`, `2 signatures`.
fn signatures(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} signature{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_move_the_cursor() {
        assert_eq!(shown("a\x1b[2Jb\u{202e}", 80), "a\\u{1b}[2Jb\\u{202e}");
        assert_eq!(shown("abcd", 3), "abc…");
    }
}
