//! Reading key files of every kind that signs: PKCS#8, SPKI and OpenSSH.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::{Failure, secrecy};
use crate::keys::locked::{LockedKey, StoredKey};
use crate::keys::openssh::{is_public_key, private_key_from_openssh, public_key_from_openssh};
use crate::keys::pem::{PemError, PrivateKey, public_key_from_pem};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::trust::PublicKey;
use sealboot_store::StoreError;
use sealboot_store::files::quoted;

/// What a key file holds.
#[derive(Debug)]
pub(in crate::cli) enum KeyFile {
    /// A private key, in a file that only its owner can read.
    Private(StoredKey),
    /// A public key.
    Public(PublicKey),
}

/// Reads a key file of either half; which it is, it says itself.
///
/// Refuses a private key that others than its owner can read, be it encrypted or not.
pub(in crate::cli) fn read(path: &Path) -> Result<KeyFile, Failure> {
    secrecy::protect()?;
    let mut file = File::open(path).map_err(StoreError::unreadable(path))?;
    let limit = LIMITS.key_file_bytes;
    // Room for all from the start: a vector that grows leaves copies of the secret behind.
    let room = usize::try_from(limit).map_or(0, |limit| limit + 64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.by_ref()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(StoreError::unreadable(path))?;
    if bytes.len() as u64 > limit {
        let path = path.to_owned();
        return Err(StoreError::TooLarge { path, limit }.into());
    }
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    if text.contains("PRIVATE KEY-----") {
        check_mode(path, &file)?;
        return private(text)
            .map(KeyFile::Private)
            .map_err(|error| unusable(path, &error, PRIVATE_KEY_HINT));
    }
    let public = if text.contains("-----BEGIN ") {
        public_key_from_pem(text)
    } else if is_public_key(text) {
        public_key_from_openssh(text)
    } else {
        return Err(Failure::new(format!("{} is no key file", path.display())).hint(
            "give a PEM file, as `sealboot key generate` makes, or an OpenSSH key, as `ssh-keygen -t ed25519` does",
        ));
    };
    public
        .map(KeyFile::Public)
        .map_err(|error| unusable(path, &error, PUBLIC_KEY_HINT))
}

fn private(text: &str) -> Result<StoredKey, PemError> {
    if text.contains("-----BEGIN OPENSSH PRIVATE KEY-----") {
        private_key_from_openssh(text)
    } else if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        LockedKey::from_pem(text).map(StoredKey::Locked)
    } else {
        PrivateKey::from_pem(text).map(StoredKey::Open)
    }
}

fn check_mode(path: &Path, file: &File) -> Result<(), Failure> {
    let mode = file
        .metadata()
        .map_err(StoreError::unreadable(path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the private key {} is open to others (mode {mode:04o})",
        path.display()
    ))
    .hint(format!(
        "run `chmod 600 {}`; if somebody may have read it, make a new key and a new trust policy",
        quoted(path)
    )))
}

/// Reads a public key.
pub(in crate::cli) fn read_public(path: &Path) -> Result<PublicKey, Failure> {
    match read(path)? {
        KeyFile::Public(key) => Ok(key),
        KeyFile::Private(_) => Err(Failure::new(format!("{} is a private key", path.display()))
            .hint("give the public key, NAME.pub; a private key stays with its owner")),
    }
}

const PRIVATE_KEY_HINT: &str = "use a key made by `sealboot key generate`, `openssl genpkey -algorithm ed25519` or `ssh-keygen -t ed25519`";

const PUBLIC_KEY_HINT: &str = "give a file that `sealboot key generate` or `ssh-keygen -t ed25519` made, or `openssl pkey -pubout` from an ed25519 key";

/// What to do with a key that makes other signatures.
pub(in crate::cli) const OTHER_KIND_HINT: &str =
    "make an ed25519 key: `sealboot key generate`, or `ssh-keygen -t ed25519`";

/// A FIDO key signs a hash and a counter with the message; the same stick's other slots do not.
const FIDO_HINT: &str = "a FIDO key signs a counter of its own with the message, which no verifier of images can check; use an ed25519 key, which a token can hold in its OpenPGP or PIV slot and lend through gpg-agent or ssh-agent";

const CERTIFICATE_HINT: &str = "give the key that was certified, NAME.pub instead of NAME-cert.pub";

fn unusable(path: &Path, error: &PemError, hint: &str) -> Failure {
    let hint = match error {
        PemError::Kind { kind } if kind.contains("-cert-") => CERTIFICATE_HINT,
        PemError::Kind { kind } if kind.starts_with("sk-") => FIDO_HINT,
        PemError::Kind { .. } => OTHER_KIND_HINT,
        _ => hint,
    };
    Failure::new(format!("cannot use the key file {}", path.display()))
        .because(error)
        .hint(hint)
}
