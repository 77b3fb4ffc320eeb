//! What is wrong with a renewer's state.

use std::path::PathBuf;

use sealboot_core::format::Invalid;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::ImageName;
use sealboot_core::format::payload::PayloadError;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::EnvelopeError;

/// Why a renewer cannot go on from its state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It would lie in the store.
    #[error("the renewer's state {} is in the store {}, which mirrors serve", path.display(), root.display())]
    InStore {
        /// The file.
        path: PathBuf,
        /// The store.
        root: PathBuf,
    },
    /// There is none.
    #[error("there is no renewer's state at {}", path.display())]
    Missing {
        /// Its path.
        path: PathBuf,
    },
    /// There is one though it was to be created.
    #[error("the renewer's state {} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Other users may read or write it.
    #[error("others may read or write the renewer's state {} (mode {mode:04o})", path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is another user's: replacing it would take it away from that user.
    #[error("the renewer's state {} belongs to the user with uid {owner}", path.display())]
    OfOther {
        /// The file.
        path: PathBuf,
        /// The owner's uid.
        owner: u32,
    },
    /// It cannot be read as a state.
    #[error("the renewer's state {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StateDamage,
    },
    /// The trust policy of the version that it remembers is another one.
    #[error(
        "version {version} of the trust policy is not the one that the renewer's state {} remembers\n  expected sha256 {expected}\n  found    sha256 {found}",
        path.display()
    )]
    OtherPolicy {
        /// The file.
        path: PathBuf,
        /// The policy's version.
        version: PolicyVersion,
        /// The digest that it remembers.
        expected: Box<Sha256Digest>,
        /// The digest of the policy at hand.
        found: Box<Sha256Digest>,
    },
}

/// What is wrong with the file of a state.
#[derive(Debug, thiserror::Error)]
pub enum StateDamage {
    /// It is not JSON, or has other fields.
    #[error("it is not the JSON of a renewer's state")]
    Json(#[source] serde_json::Error),
    /// It has another format.
    #[error("expected version 1 of the file's format, found {found}")]
    Version {
        /// The version that it names.
        found: u64,
    },
    /// The name of an image is none.
    #[error("an image has no usable name")]
    Name(#[source] Invalid),
    /// A statement's envelope cannot be read.
    #[error("a statement is not in an envelope")]
    Envelope(#[source] EnvelopeError),
    /// A statement cannot be read.
    #[error("a statement cannot be used")]
    Statement(#[source] PayloadError),
    /// A statement is about something else.
    #[error("the statement of image {name} is about something else")]
    OtherStatement {
        /// The image.
        name: ImageName,
    },
}

impl StateError {
    /// Returns what to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::InStore { .. } => {
                "name a file outside it, in a directory that only the renewer's user can write".to_owned()
            }
            Self::Missing { .. } => "if this renewer had a state, bring it back; if it is new, run the same command once with --init, which takes what the store says".to_owned(),
            Self::Exists { .. } => "leave out --init to go on from it".to_owned(),
            Self::OpenToOthers { path, .. } => {
                format!("find out who has changed it; then run `chmod 600 {}`", crate::files::quoted(path))
            }
            Self::OfOther { .. } => "run this as that user".to_owned(),
            Self::Damaged {
                source: StateDamage::Version { .. },
                ..
            } => "use a newer version of sealboot".to_owned(),
            Self::Damaged { .. } => "bring a copy of it back: what the store says is then united with it; without a copy, check the store, move the file away and run the same command once with --init".to_owned(),
            Self::OtherPolicy { version, .. } => format!(
                "two policies of version {version} were signed, or --policy names the policy of another fleet: find out which one machines have"
            ),
        }
    }

    /// Returns `true` if this is a refusal, rather than that something is not as the command line says.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::OtherPolicy { .. } | Self::OpenToOthers { .. } | Self::InStore { .. }
        )
    }
}
