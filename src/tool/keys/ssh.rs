//! What OpenSSH's key files and its agent protocol share: the wire form of an ed25519 key (RFC 8709), and the
//! conversion of the `ssh-key` crate's types.

use ssh_key::private::KeypairData;
use ssh_key::public::KeyData;

use super::pem::{PemError, PrivateKey};
use sealboot_core::format::key::PublicKey;

/// What OpenSSH calls ed25519.
pub const ED25519: &str = "ssh-ed25519";

/// The blob by which agents know a key.
#[must_use]
pub fn key_blob(key: &PublicKey) -> Vec<u8> {
    let mut blob = Vec::with_capacity(4 + ED25519.len() + 4 + 32);
    for part in [ED25519.as_bytes(), key.as_bytes()] {
        put_string(&mut blob, part);
    }
    blob
}

/// Appends a string with its length.
pub(super) fn put_string(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(length(bytes));
    to.extend_from_slice(bytes);
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len())
        .unwrap_or_else(|_| unreachable!("an envelope has at most 512 KiB"))
        .to_be_bytes()
}

/// The secret in a decrypted key.
pub(super) fn private(key: &KeypairData) -> Result<PrivateKey, PemError> {
    match key {
        KeypairData::Ed25519(pair) => Ok(PrivateKey::from_seed(pair.private.as_ref())),
        other => Err(match other.algorithm() {
            Ok(algorithm) => other_kind(algorithm.as_str()),
            Err(error) => unreadable(error),
        }),
    }
}

/// The public half of a key.
pub(super) fn public(key: &KeyData) -> Result<PublicKey, PemError> {
    match key {
        KeyData::Ed25519(key) => PublicKey::from_bytes(&key.0).map_err(PemError::Unusable),
        other => Err(other_kind(other.algorithm().as_str())),
    }
}

pub(super) fn unreadable(error: ssh_key::Error) -> PemError {
    match error {
        ssh_key::Error::AlgorithmUnsupported { algorithm } => other_kind(algorithm.as_str()),
        // Of ECDSA keys too, which `ssh-key` is not built to know.
        ssh_key::Error::AlgorithmUnknown => other_kind("unknown"),
        error => PemError::Encoding {
            expected: "private key (OpenSSH)",
            source: Box::new(error),
        },
    }
}

/// The error for a key that makes other signatures.
pub(super) fn other_kind(kind: &str) -> PemError {
    // A first word can be anything; it is shown on a terminal.
    let kind = kind
        .chars()
        .take(64)
        .flat_map(char::escape_default)
        .collect();
    PemError::Kind { kind }
}
