//! Why something could not be done to a store.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use sealboot_core::failure::FailureCode;

use crate::files::directory;

/// Why something was not done: one variant for each thing that a caller or an operator would do differently.
///
/// `Display` is the fact alone; `source` leads to its causes, and [`hint`](Self::hint) says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than what is read of its kind.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes of the largest that is read.
        limit: u64,
    },
    /// A store holds something else than a regular file under this name.
    #[error("{} is no regular file", path.display())]
    NotRegular {
        /// What it is instead of a file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that must not be replaced exists.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A directory cannot be created.
    #[error("cannot create the directory {}", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store that is to be changed does not exist.
    #[error("the store {} is no directory", root.display())]
    NoStore {
        /// Its path.
        root: PathBuf,
    },
}

impl StoreError {
    /// Returns what makes an error of reading `path`.
    pub fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unreadable {
            path: path.to_owned(),
            source,
        }
    }

    /// Returns what to do next, where that is known: one or two sentences, no full stop at the end.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { source, .. } => match source.kind() {
                ErrorKind::NotFound => "check the path".to_owned(),
                ErrorKind::IsADirectory => "give a file in it".to_owned(),
                _ => return None,
            },
            Self::TooLarge { .. } => "is this the file that you meant?".to_owned(),
            Self::NotRegular { .. } => {
                "a store holds nothing else: remove it, and publish again".to_owned()
            }
            Self::Unwritable { path, source } => {
                let directory = directory(path).display();
                match source.kind() {
                    ErrorKind::NotFound => format!("create the directory {directory} first"),
                    ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => format!(
                        "a file is written beside its place and then renamed, so the directory {directory} must be writable"
                    ),
                    _ => return None,
                }
            }
            Self::Exists { .. } => {
                "nothing was changed; choose another name, or move the file away yourself"
                    .to_owned()
            }
            Self::NoDirectory { .. } => return None,
            Self::NoStore { .. } => {
                "give the store that the server serves; `sealboot image pack --store` makes one"
                    .to_owned()
            }
        })
    }

    /// Returns the code that a loader would print for the same refusal.
    #[must_use]
    pub const fn code(&self) -> Option<FailureCode> {
        None
    }

    /// Returns `true` if a signature, hash, policy or freshness check said no, rather than that something failed.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        false
    }
}
