//! Errors that are about a file and say what another error says: its causes are theirs.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::trust::Refusal;

use super::StoreError;
use crate::tally::Missing;

/// A policy does not follow another one, as far as machines see; they stop at the first signature that is missing, and
/// people want to hear of all.
#[derive(Debug)]
pub struct NotNext {
    /// What machines say.
    pub refused: Refused<Refusal>,
    /// The signatures that are missing, by the policy before and by this one.
    pub missing: Vec<Missing>,
}

impl fmt::Display for NotNext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refused.fmt(f)
    }
}

impl Error for NotNext {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.refused.source()
    }
}

/// A file of the store that is to be compared with cannot be read; its own causes are those of `error`.
#[derive(Debug)]
pub struct Damaged {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: Box<StoreError>,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store's own file is damaged: {}", self.error)
    }
}

impl Error for Damaged {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// What a file holds, as far as a manifest describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Its length in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: Sha256Digest,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sha256 {}", self.size, self.sha256)
    }
}

/// A check said no to a file: `PATH: refusal`, with the refusal's own causes.
#[derive(Debug)]
pub struct Refused<R> {
    /// The file.
    pub path: PathBuf,
    /// What the check said.
    pub refusal: Box<R>,
}

impl<R> Refused<R> {
    /// Returns what makes a refusal one of the file at `path`.
    pub fn at(path: &Path) -> impl FnOnce(R) -> Self {
        move |refusal| Self {
            path: path.to_owned(),
            refusal: Box::new(refusal),
        }
    }
}

impl<R: fmt::Display> fmt::Display for Refused<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.refusal)
    }
}

impl<R: Error> Error for Refused<R> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.refusal.source()
    }
}
