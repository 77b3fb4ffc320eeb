//! Who signs: a key in a file, one that a passphrase has yet to unlock, or one that an ssh-agent holds.

use std::fmt;
use std::path::{Path, PathBuf};

use super::key_file::{self, KeyFile};
use super::ssh_agent::Agent;
use super::{Failure, passphrase};
use crate::keys::locked::{LockedKey, StoredKey};
use crate::keys::pem::PrivateKey;
use sealboot_core::trust::PublicKey;
use sealboot_store::{SignError, Signer as _};

/// Who is asked to sign.
#[derive(Debug)]
pub(in crate::cli) enum Signer {
    /// Can sign.
    Ready(Ready),
    /// Needs a passphrase first.
    Locked(PathBuf, LockedKey),
}

/// Who can sign. Forgets its secret when dropped.
#[derive(Debug)]
pub(in crate::cli) enum Ready {
    /// A private key.
    Key(PrivateKey),
    /// A key in an ssh-agent.
    Agent(Agent),
}

impl Signer {
    /// The signer of a key file: its key, or, for a public key, the agent that holds the private one.
    pub(in crate::cli) fn of(path: &Path) -> Result<Self, Failure> {
        Ok(match key_file::read(path)? {
            KeyFile::Private(StoredKey::Open(key)) => Self::Ready(Ready::Key(key)),
            KeyFile::Private(StoredKey::Locked(key)) => Self::Locked(path.to_owned(), key),
            KeyFile::Public(key) => Self::Ready(Ready::Agent(Agent::holding(key, path)?)),
        })
    }

    /// Whose signature it will be, where that is known before the passphrase is.
    pub(in crate::cli) fn public(&self) -> Option<PublicKey> {
        match self {
            Self::Ready(ready) => Some(ready.public()),
            Self::Locked(_, key) => key.public(),
        }
    }

    /// Fails where a passphrase is needed and nobody could give it.
    pub(in crate::cli) fn check_askable(
        &self,
        passphrase: &passphrase::Source,
    ) -> Result<(), Failure> {
        match self {
            Self::Ready(_) => Ok(()),
            Self::Locked(path, _) => passphrase.check_askable(path),
        }
    }

    /// Asks for the passphrase, where one is needed.
    pub(in crate::cli) fn unlock(self, passphrase: &passphrase::Source) -> Result<Ready, Failure> {
        match self {
            Self::Ready(ready) => Ok(ready),
            Self::Locked(path, locked) => passphrase.unlock(&path, &locked).map(Ready::Key),
        }
    }
}

impl sealboot_store::Signer for Ready {
    fn public(&self) -> PublicKey {
        match self {
            Self::Key(key) => key.public(),
            Self::Agent(agent) => agent.public(),
        }
    }

    fn sign(&mut self, bytes: &[u8]) -> Result<[u8; 64], SignError> {
        match self {
            Self::Key(key) => key.sign(bytes),
            Self::Agent(agent) => agent.sign(bytes),
        }
    }
}

/// Names the signer, to go on after "signing with".
impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(Ready::Key(key)) => write!(f, "key {}", key.public().id()),
            Self::Ready(Ready::Agent(agent)) => {
                write!(f, "key {}, which the ssh-agent holds", agent.public().id())
            }
            Self::Locked(path, _) => write!(f, "the encrypted key {}", path.display()),
        }
    }
}
