//! What a caller should know though nothing went wrong.

use std::fmt;
use std::path::PathBuf;

use sealboot_core::format::version::PolicyVersion;

/// Something that a caller should know though nothing went wrong; `Display` is the sentence.
///
/// Functions that can have more than one outcome worth a word take a `say: &mut dyn FnMut(Notice)`.
#[derive(Debug)]
pub enum Notice {
    /// A policy of the store judges, not the one that was given.
    JudgedBy {
        /// The version that judges.
        version: PolicyVersion,
        /// Where it is.
        path: PathBuf,
        /// The version that was given.
        from: PolicyVersion,
    },
}

impl Notice {
    /// Returns `true` if an operator should do something about it.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        match self {
            Self::JudgedBy { .. } => false,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JudgedBy {
                version,
                path,
                from,
            } => write!(
                f,
                "judged by version {version} of the trust policy, {}, which follows from version {from}",
                path.display()
            ),
        }
    }
}
