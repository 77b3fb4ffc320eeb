//! Whatever signs: a key in memory, an agent, a token. The store never asks for a passphrase.

use std::error::Error;
use std::fmt;

use sealboot_core::trust::PublicKey;

/// Signs with one key.
pub trait Signer: fmt::Debug + Send {
    /// Returns the public half of the key.
    fn public(&self) -> PublicKey;

    /// Signs exactly these bytes; may wait for a person, who touches a token.
    ///
    /// # Errors
    ///
    /// [`SignError`] where the key cannot be used, or its holder declines.
    fn sign(&mut self, bytes: &[u8]) -> Result<[u8; 64], SignError>;
}

/// Why a signer did not sign: its own error, and what to do about it.
#[derive(Debug)]
pub struct SignError {
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl SignError {
    /// Wraps a signer's own error, and what to do next, where that is known.
    pub fn new(error: impl Error + Send + Sync + 'static, hint: Option<String>) -> Self {
        Self {
            error: Box::new(error),
            hint,
        }
    }

    /// Returns what to do next, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for SignError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
