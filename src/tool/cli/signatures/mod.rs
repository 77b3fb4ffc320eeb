//! Signatures over a statement in a file, of whatever kind it is: made, joined and counted.

mod file;
mod merge;
mod sign;
mod tally;

use std::path::Path;

use super::support::Failure;
use sealboot_core::format::shown;
use sealboot_core::trust::Envelope;
use sealboot_core::trust::envelope::EnvelopeSignature;

pub(super) use file::EnvelopeFile;
pub(super) use merge::Merge;
pub(super) use sign::{Options, Outcome};
pub(super) use tally::Counted;

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

/// `1 signature`, `2 signatures`.
fn signatures(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} signature{plural}")
}
