//! What a renewer remembers: a file outside the store, which an attacker who writes to the store cannot put back.
//!
//! The file is read, and replaced in one step, under a lock on a file beside it. It is on the disk before anything that
//! it remembers is in the store: a renewer that is killed in between goes on behind what it signed, never before it.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::{CurrentRelease, Freshness};
use sealboot_core::format::manifest::ImageName;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::Envelope;

use crate::error::{StateDamage, StateError};
use crate::files::{self, Existing};
use crate::{Notice, Store, StoreError};

/// The one version of the file's format.
const VERSION: u64 = 1;

/// Bytes of the largest file that is read: 256 images, each with the largest statement in base64 and 256 releases.
const LIMIT: u64 = 64 << 20;

/// The file's mode: what it says decides what is signed.
const MODE: u32 = 0o600;

/// Whether a renewer has a state already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It has one, and goes on from it.
    Existing,
    /// It has none, and takes what the store says: only right where no attacker has written to the store.
    Init,
}

/// What was signed last, and by which policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// The newest trust policy that was seen.
    pub(super) policy: RememberedPolicy,
    /// What is remembered of each image.
    pub(super) images: BTreeMap<ImageName, Remembered>,
}

/// A trust policy, by its version and the SHA-256 of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RememberedPolicy {
    pub(super) version: PolicyVersion,
    pub(super) sha256: Sha256Digest,
}

/// What is remembered of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The last statement.
    pub(super) statement: Option<Stated>,
    /// The releases that were published: listed once, or found in the channel above what was listed.
    pub(super) published: Vec<CurrentRelease>,
}

/// A statement, and the envelope in which it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(super) envelope: Envelope,
    pub(crate) freshness: Freshness,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateJson {
    renewer_state: u64,
    policy: RememberedPolicy,
    images: BTreeMap<String, RememberedJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RememberedJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statement: Option<Value>,
    published: Vec<CurrentRelease>,
}

impl State {
    fn parse(json: &[u8]) -> Result<Self, StateDamage> {
        #[derive(Deserialize)]
        struct Versioned {
            renewer_state: u64,
        }
        let found = serde_json::from_slice::<Versioned>(json).map_err(StateDamage::Json)?;
        if found.renewer_state != VERSION {
            let found = found.renewer_state;
            return Err(StateDamage::Version { found });
        }
        let json: StateJson = serde_json::from_slice(json).map_err(StateDamage::Json)?;
        let images = json.images.into_iter().map(|(name, image)| {
            let name: ImageName = name.parse().map_err(StateDamage::Name)?;
            let statement = image
                .statement
                .map(|statement| Stated::parse(&name, &statement));
            let remembered = Remembered {
                statement: statement.transpose()?,
                published: image.published,
            };
            Ok((name, remembered))
        });
        Ok(Self {
            policy: json.policy,
            images: images.collect::<Result<_, _>>()?,
        })
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let images = self.images.iter().map(|(name, image)| {
            let statement = image.statement.as_ref();
            let statement = statement.map(|stated| serde_json::to_value(&stated.envelope));
            let remembered = RememberedJson {
                statement: statement.transpose()?,
                published: image.published.clone(),
            };
            Ok((name.to_string(), remembered))
        });
        let mut bytes = serde_json::to_vec_pretty(&StateJson {
            renewer_state: VERSION,
            policy: self.policy,
            images: images.collect::<Result<_, serde_json::Error>>()?,
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Stated {
    fn parse(name: &ImageName, json: &Value) -> Result<Self, StateDamage> {
        let bytes = serde_json::to_vec(json).map_err(StateDamage::Json)?;
        let envelope = Envelope::parse(&bytes).map_err(StateDamage::Envelope)?;
        let freshness = Freshness::parse(envelope.unverified_payload());
        let freshness = freshness.map_err(StateDamage::Statement)?;
        if freshness.name != *name || envelope.payload_type() != Freshness::PAYLOAD_TYPE {
            return Err(StateDamage::OtherStatement { name: name.clone() });
        }
        Ok(Self {
            envelope,
            freshness,
        })
    }
}

/// The place of a state, which is outside the store.
#[derive(Debug, Clone)]
pub(super) struct StateFile {
    /// What a link points at is replaced, not the link.
    path: PathBuf,
}

impl StateFile {
    /// Returns the file at `path`.
    ///
    /// # Errors
    ///
    /// [`StateError::InStore`] where mirrors would serve it, and an attacker who writes to the store could replace it.
    pub(super) fn outside(store: &Store, path: &Path) -> Result<Self, StoreError> {
        let real = path.canonicalize().or_else(|_| {
            let directory = files::directory(path).canonicalize()?;
            Ok(directory.join(path.file_name().unwrap_or_default()))
        });
        let real = real.map_err(|source| StoreError::Unwritable {
            path: path.to_owned(),
            source,
        })?;
        let root = store.root().canonicalize();
        if root.is_ok_and(|root| real.starts_with(root)) {
            return Err(StateError::InStore {
                path: path.to_owned(),
                root: store.root().to_owned(),
            }
            .into());
        }
        // As typed where that is the same file: messages then show what was typed.
        let is_link = path.is_symlink();
        Ok(Self {
            path: if is_link { real } else { path.to_owned() },
        })
    }

    /// Waits until no other process works with the state, then reads it; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::State`] for a file that others may read or write, or that is malformed, and where it cannot be
    /// locked or read.
    pub(super) fn lock(&self, say: &mut dyn FnMut(Notice)) -> Result<LockedState, StoreError> {
        // Before there is a lock that its owner could not take.
        self.check_owner()?;
        let beside = files::with_suffix(&self.path, ".lock");
        let failed = |source| StoreError::Unwritable {
            path: beside.clone(),
            source,
        };
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(MODE);
        let lock = options.open(&beside).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                say(Notice::WaitsForState {
                    path: self.path.clone(),
                });
                lock.lock().map_err(failed)?;
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        Ok(LockedState {
            path: self.path.clone(),
            state: self.read()?,
            _lock: lock,
        })
    }

    /// Fails for the file of another user, from whom a new one in its place would be taken away.
    fn check_owner(&self) -> Result<(), StateError> {
        let owner = std::fs::metadata(&self.path).map(|metadata| metadata.uid());
        match owner {
            Ok(owner) if owner != geteuid().as_raw() => Err(StateError::OfOther {
                path: self.path.clone(),
                owner,
            }),
            _ => Ok(()),
        }
    }

    fn read(&self) -> Result<Option<State>, StoreError> {
        if matches!(self.path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        let file = files::open(&self.path)?;
        let metadata = file
            .metadata()
            .map_err(StoreError::unreadable(&self.path))?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StateError::OpenToOthers {
                path: self.path.clone(),
                mode,
            }
            .into());
        }
        let bytes = files::read_all(&self.path, file, LIMIT)?;
        let state = State::parse(&bytes).map_err(|source| StateError::Damaged {
            path: self.path.clone(),
            source,
        })?;
        Ok(Some(state))
    }
}

/// A state that no other process can read or write until this is dropped.
#[derive(Debug)]
pub(super) struct LockedState {
    path: PathBuf,
    state: Option<State>,
    _lock: File,
}

impl LockedState {
    /// Returns the file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the state, if there is one.
    pub(super) const fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Checks that there is a state where one is to be gone on from, and none where it is to be created.
    ///
    /// # Errors
    ///
    /// [`StateError::Missing`] or [`StateError::Exists`].
    pub(super) fn check(&self, start: Start) -> Result<(), StateError> {
        let path = || self.path.clone();
        match (start, &self.state) {
            (Start::Existing, None) => Err(StateError::Missing { path: path() }),
            (Start::Init, Some(_)) => Err(StateError::Exists { path: path() }),
            _ => Ok(()),
        }
    }

    /// Remembers the newest policy; it is on the disk once the next statement is.
    pub(super) fn remember_policy(&mut self, policy: RememberedPolicy) {
        if let Some(state) = &mut self.state {
            state.policy = policy;
        }
    }

    /// Writes a state, which is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unwritable`].
    pub(super) fn save(&mut self, state: State) -> Result<(), StoreError> {
        let bytes = state.encode().map_err(|error| StoreError::Unwritable {
            path: self.path.clone(),
            source: error.into(),
        })?;
        files::write(&self.path, &bytes, MODE, Existing::Replace)?;
        self.state = Some(state);
        Ok(())
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
