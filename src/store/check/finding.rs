//! The findings of a check.

use std::fmt;
use std::path::PathBuf;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::trust::Refusal;

use crate::StoreError;
use crate::tally::Missing;

/// The result of a check of a store.
#[derive(Debug, Default)]
pub struct Checked {
    /// Channels that were read.
    pub channels: usize,
    /// Releases under a version of their own.
    pub releases: usize,
    /// Trust policies.
    pub policies: usize,
    /// Archives, chunk lists and attachments.
    pub blobs: usize,
    /// Faults and notes, in the order in which they were found.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Returns the faults.
    pub fn faults(&self) -> impl Iterator<Item = (&Finding, &Fault)> {
        self.findings
            .iter()
            .filter_map(|finding| match &finding.what {
                What::Fault(fault) => Some((finding, fault)),
                What::Note(_) => None,
            })
    }

    /// Returns the notes.
    pub fn notes(&self) -> impl Iterator<Item = (&Finding, &Note)> {
        self.findings
            .iter()
            .filter_map(|finding| match &finding.what {
                What::Note(note) => Some((finding, note)),
                What::Fault(_) => None,
            })
    }
}

/// Something about a file of a store; `Display` names the file.
#[derive(Debug)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// The fault or the note.
    pub what: What,
}

/// The weight of a finding.
#[derive(Debug)]
pub enum What {
    /// Machines, mirrors or people would stumble over it.
    Fault(Fault),
    /// Nothing is wrong.
    Note(Note),
}

/// A fault of a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read, or a check says no. The error names the file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It holds the release of another path.
    #[error("it holds the release that belongs at {belongs}")]
    Misplaced {
        /// The path of the release.
        belongs: String,
    },
    /// Its own root has not signed it.
    #[error("it lacks signatures of its own root: {0}")]
    Unsigned(Missing),
    /// Lines of `SHA256SUMS` are none.
    #[error("line {number} is not \"HEX  NAME\" of a blob{}", and_more(*more))]
    SumsLine {
        /// The first of them, from 1.
        number: usize,
        /// How many others there are.
        more: usize,
    },
    /// A line of `SHA256SUMS` names a blob that is not there.
    #[error("line {number} names {name}, which is not there")]
    SumOfNothing {
        /// The line, from 1.
        number: usize,
        /// The blob's name.
        name: String,
    },
    /// A line of `SHA256SUMS` is wrong.
    #[error("line {number} is wrong for {name}\n  expected {expected}\n  found    {found}")]
    WrongSum {
        /// The line, from 1.
        number: usize,
        /// The blob's name.
        name: String,
        /// The SHA-256 of the blob.
        expected: Sha256Digest,
        /// The digest in the line.
        found: Sha256Digest,
    },
}

fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => ", nor is another line".to_owned(),
        more => format!(", nor are {more} others"),
    }
}

impl Fault {
    /// Returns `true` if a signature, hash, policy or freshness check said no, rather than that something failed.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Store(error) => error.is_refusal(),
            _ => true,
        }
    }

    /// Returns what to do next, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Misplaced { .. } => Some(
                "publish the release again, or move the file there if that place is empty"
                    .to_owned(),
            ),
            Self::Unsigned(_) => None,
            Self::SumsLine { .. } | Self::SumOfNothing { .. } => {
                Some("`sealboot image publish` drops the line".to_owned())
            }
            Self::WrongSum { .. } => Some(
                "`sealboot image publish` of the release that names the blob corrects the line"
                    .to_owned(),
            ),
        }
    }
}

/// A remark about a file without a fault.
#[derive(Debug, thiserror::Error)]
pub enum Note {
    /// A release of a channel is under no version of its own.
    #[error(
        "{0} is not there, though the channel offers that release: without it, nothing falls back to it"
    )]
    NotStored(String),
    /// The policy refuses a release that machines do not need.
    #[error("machines refuse it: {0}")]
    Refused(#[source] Refusal),
    /// There is no `SHA256SUMS`.
    #[error("it is not there; `sealboot image publish` writes it, and machines do not need it")]
    NoSums,
    /// `SHA256SUMS` lacks a line.
    #[error("SHA256SUMS has no line for it")]
    NoSum,
    /// No release names a blob.
    #[error("no release of the store names it")]
    Unused,
    /// An interrupted run of this program left a file.
    #[error("an interrupted run of sealboot left it")]
    Leftover,
    /// A store holds no file of this name.
    #[error("it is not a file of a store")]
    Stray,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.what {
            // It names the file itself.
            What::Fault(Fault::Store(error)) => error.fmt(f),
            What::Fault(fault) => write!(f, "{path}: {fault}"),
            What::Note(note) => write!(f, "{path}: {note}"),
        }
    }
}
