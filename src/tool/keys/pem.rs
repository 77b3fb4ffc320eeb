//! ed25519 keys as PEM files that `openssl pkey` reads and writes.
//! [`locked`](super::locked) has the private keys that a passphrase protects.
//!
//! Private keys are PKCS#8 version 1 (RFC 5958 calls it `v1`; RFC 8410 gives the ed25519 form),
//! without the optional public key, which OpenSSL 3.0 refuses to read. Public keys are
//! SubjectPublicKeyInfo.

use std::fmt;

use ed25519_dalek::pkcs8::{ALGORITHM_OID, KeypairBytes};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use pkcs8::der::pem::PemLabel as _;
use pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, Document, EncodePrivateKey as _,
    EncodePublicKey as _, LineEnding, ObjectIdentifier, PrivateKeyInfo, SecretDocument,
    SubjectPublicKeyInfoRef,
};
use zeroize::Zeroizing;

use sealboot_core::format::Invalid;
use sealboot_core::format::key::PublicKey;

/// An ed25519 private key. Wiped from memory when dropped; cannot be copied, compared or printed.
pub struct PrivateKey(SigningKey);

/// A PEM file does not hold the key that it should.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// Not PEM, or PEM of something else.
    #[error("this is no ed25519 {expected}")]
    Encoding {
        /// `private key (PKCS#8)` or `public key (SPKI)`.
        expected: &'static str,
        /// Where the reader stopped.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A key of another algorithm.
    #[error("this is a key of kind {kind}; only ed25519 signs here")]
    Kind {
        /// What OpenSSH calls the algorithm; of another file's key, its usual name or its object identifier.
        kind: String,
    },
    /// A key that must not be trusted.
    #[error("this public key cannot be used: {0}")]
    Unusable(Invalid),
}

impl PrivateKey {
    /// Makes a key from the operating system's random numbers.
    ///
    /// # Errors
    ///
    /// Where the system has none, which Linux does not do after boot.
    pub fn generate() -> std::io::Result<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        rustls::crypto::aws_lc_rs::default_provider()
            .secure_random
            .fill(&mut *secret)
            .map_err(|_| std::io::Error::other("the operating system gave no random numbers"))?;
        Ok(Self::from_seed(&secret))
    }

    /// The key of these 32 secret bytes (RFC 8032, section 5.1.5).
    pub(super) fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads PKCS#8 DER; see [`PrivateKey::from_pem`].
    pub(super) fn from_der(der: &[u8]) -> Result<Self, pkcs8::Error> {
        SigningKey::from_pkcs8_der(der).map(Self)
    }

    /// Writes PKCS#8 DER.
    pub(super) fn to_der(&self) -> SecretDocument {
        KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        }
        .to_pkcs8_der()
        .unwrap_or_else(|error| unreachable!("32 bytes always encode: {error}"))
    }

    /// Reads PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// [`PemError::Kind`] for another algorithm, [`PemError::Encoding`] for everything else, encrypted keys included.
    pub fn from_pem(pem: &str) -> Result<Self, PemError> {
        SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|source| {
            private_algorithm(pem).map_or_else(
                || PemError::Encoding {
                    expected: "private key (PKCS#8)",
                    source: Box::new(source),
                },
                other_algorithm,
            )
        })
    }

    /// Writes PKCS#8 PEM.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.to_der()
            .to_pem(PrivateKeyInfo::PEM_LABEL, LineEnding::LF)
            .unwrap_or_else(|error| unreachable!("48 bytes always encode: {error}"))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.verifying_key().as_bytes())
            .unwrap_or_else(|error| unreachable!("a key made by the algorithm is usable: {error}"))
    }

    /// Signs exactly these bytes (plain Ed25519, RFC 8032).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public().id())
    }
}

/// Reads a public key from SPKI PEM.
///
/// # Errors
///
/// [`PemError::Kind`] for another algorithm, [`PemError::Encoding`] for another kind of file, [`PemError::Unusable`]
/// for a key that [`PublicKey`] refuses.
pub fn public_key_from_pem(pem: &str) -> Result<PublicKey, PemError> {
    let key = VerifyingKey::from_public_key_pem(pem).map_err(|source| {
        public_algorithm(pem).map_or_else(
            || PemError::Encoding {
                expected: "public key (SPKI)",
                source: Box::new(source),
            },
            other_algorithm,
        )
    })?;
    PublicKey::from_bytes(key.as_bytes()).map_err(PemError::Unusable)
}

/// Returns the algorithm of a private key that is not ed25519's.
fn private_algorithm(pem: &str) -> Option<ObjectIdentifier> {
    let (_, document) = SecretDocument::from_pem(pem).ok()?;
    let info = PrivateKeyInfo::try_from(document.as_bytes()).ok()?;
    Some(info.algorithm.oid).filter(|oid| *oid != ALGORITHM_OID)
}

/// Returns the algorithm of a public key that is not ed25519's.
fn public_algorithm(pem: &str) -> Option<ObjectIdentifier> {
    let (_, document) = Document::from_pem(pem).ok()?;
    let info = SubjectPublicKeyInfoRef::try_from(document.as_bytes()).ok()?;
    Some(info.algorithm.oid).filter(|oid| *oid != ALGORITHM_OID)
}

/// Returns the error for a key of another algorithm, by its name where it is a usual one (RFC 3279, RFC 8410).
pub(super) fn other_algorithm(oid: ObjectIdentifier) -> PemError {
    let digits = oid.to_string();
    let kind = match digits.as_str() {
        "1.2.840.113549.1.1.1" => "RSA",
        "1.2.840.10040.4.1" => "DSA",
        "1.2.840.10045.2.1" => "ECDSA",
        "1.3.101.110" => "X25519",
        "1.3.101.111" => "X448",
        "1.3.101.113" => "Ed448",
        unusual => unusual,
    };
    PemError::Kind {
        kind: kind.to_owned(),
    }
}

/// Writes a public key as SPKI PEM.
#[must_use]
pub fn public_key_to_pem(key: &PublicKey) -> String {
    VerifyingKey::from_bytes(key.as_bytes())
        .ok()
        .and_then(|key| key.to_public_key_pem(LineEnding::LF).ok())
        .unwrap_or_else(|| {
            unreachable!("a public key has been a point of the curve since it was made")
        })
}

impl sealboot_store::Signer for PrivateKey {
    fn public(&self) -> PublicKey {
        Self::public(self)
    }

    fn sign(&mut self, bytes: &[u8]) -> Result<[u8; 64], sealboot_store::SignError> {
        Ok(Self::sign(self, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_and_read() {
        let key = PrivateKey::generate().expect("random numbers");
        let again = PrivateKey::from_pem(&key.to_pem()).expect("valid");
        assert_eq!(again.public(), key.public());
        assert_eq!(
            public_key_from_pem(&public_key_to_pem(&key.public())).expect("valid"),
            key.public()
        );
    }

    #[test]
    fn another_kind_of_pem_is_refused() {
        let key = PrivateKey::generate().expect("random numbers");
        let public = public_key_to_pem(&key.public());
        assert!(PrivateKey::from_pem(&public).is_err());
        assert!(public_key_from_pem(&key.to_pem()).is_err());
        for pem in [
            "",
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
            &public[..public.len() / 2],
        ] {
            assert!(PrivateKey::from_pem(pem).is_err());
            assert!(public_key_from_pem(pem).is_err());
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = PrivateKey::generate().expect("random numbers");
        assert_eq!(
            format!("{key:?}"),
            format!("PrivateKey(of {})", key.public().id())
        );
    }

    #[test]
    fn a_signature_is_the_one_of_rfc_8032() {
        // Section 7.1, test 2: of one byte, 0x72.
        let mut seed = [0; 32];
        hex(
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            &mut seed,
        );
        let mut expected = [0; 64];
        hex(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            &mut expected,
        );
        let key = PrivateKey::from_seed(&seed);
        assert_eq!(key.sign(&[0x72]), expected);
        assert_eq!(
            key.public().to_string(),
            "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
    }

    fn hex(digits: &str, bytes: &mut [u8]) {
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
    }

    #[test]
    fn every_key_that_is_made_is_another() {
        let [one, other] = [(); 2].map(|()| PrivateKey::generate().unwrap().public());
        assert_ne!(one, other);
    }

    #[test]
    fn a_public_key_that_anyone_can_sign_for_is_unusable() {
        // SPKI of the point of order 4 with y = 0.
        let pem = "-----BEGIN PUBLIC KEY-----\n\
             MCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
             -----END PUBLIC KEY-----\n";
        let error = public_key_from_pem(pem).unwrap_err();
        assert!(matches!(error, PemError::Unusable(_)), "{error:?}");
    }
}
