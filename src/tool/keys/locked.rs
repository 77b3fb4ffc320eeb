//! Private keys that a passphrase protects: PKCS#8 with PBES2 (RFC 8018), and OpenSSH's own form.
//!
//! Read: PBES2 with PBKDF2-HMAC-SHA2 or scrypt and AES-CBC, as `openssl genpkey -aes256` and
//! `openssl pkcs8 -topk8` make them, and what `ssh-keygen` makes. Written: PBES2 with scrypt and
//! AES-256-CBC, which OpenSSL reads. Its limit of 32 MiB for scrypt allows N = 2^14 and r = 8; p = 5
//! makes up for it (OWASP's password storage cheat sheet lists the two as equal to N = 2^17 and p = 1).

use std::fmt;

use pkcs8::der::pem::PemLabel as _;
use pkcs8::pkcs5::pbes2::{self, Kdf};
use pkcs8::pkcs5::{self, EncryptionScheme};
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use zeroize::Zeroizing;

use super::pem::{PemError, PrivateKey, other_algorithm};
use super::ssh;
use sealboot_core::format::key::PublicKey;

/// A private key as a file holds it.
#[derive(Debug)]
pub enum StoredKey {
    /// In the clear.
    Open(PrivateKey),
    /// Protected by a passphrase.
    Locked(LockedKey),
}

/// A private key that needs its passphrase.
pub struct LockedKey(Form);

enum Form {
    Pkcs8(SecretDocument),
    Openssh(Box<ssh_key::PrivateKey>, PublicKey),
}

/// A passphrase did not give the key.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// Not this key's.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// The key is protected in a way that this version does not know, or that would take too much.
    #[error("the key is encrypted in a way that is not supported")]
    Unsupported(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The passphrase was right, and what it protects is no ed25519 key.
    #[error(transparent)]
    Key(PemError),
}

// What a key file may ask of this machine before its passphrase can be tried: `ssh-keygen -a 1000` takes
// half a minute, and OpenSSL's own bound on scrypt's memory is 32 MiB.
const LONGEST_BCRYPT_ROUNDS: u32 = 10_000;
const LONGEST_PBKDF2_ITERATIONS: u32 = 20_000_000;
const MOST_SCRYPT_BYTES: u64 = 1 << 30;
const MOST_SCRYPT_LANES: u16 = 64;

impl LockedKey {
    /// Reads encrypted PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// [`PemError::Encoding`] for everything else.
    pub fn from_pem(pem: &str) -> Result<Self, PemError> {
        let encoding = |source| PemError::Encoding {
            expected: "encrypted private key (PKCS#8)",
            source,
        };
        let (label, document) =
            SecretDocument::from_pem(pem).map_err(|error| encoding(Box::new(error)))?;
        EncryptedPrivateKeyInfo::validate_pem_label(label)
            .map_err(|error| encoding(Box::new(error)))?;
        EncryptedPrivateKeyInfo::try_from(document.as_bytes())
            .map_err(|error| encoding(Box::new(error)))?;
        Ok(Self(Form::Pkcs8(document)))
    }

    pub(super) fn openssh(key: ssh_key::PrivateKey, public: PublicKey) -> Self {
        Self(Form::Openssh(Box::new(key), public))
    }

    /// The public half, where the file says it in the clear: OpenSSH's do.
    #[must_use]
    pub fn public(&self) -> Option<PublicKey> {
        match &self.0 {
            Form::Pkcs8(_) => None,
            Form::Openssh(_, public) => Some(*public),
        }
    }

    /// Decrypts the key.
    ///
    /// # Errors
    ///
    /// [`UnlockError::WrongPassphrase`] where another passphrase may do.
    pub fn unlock(&self, passphrase: &[u8]) -> Result<PrivateKey, UnlockError> {
        match &self.0 {
            Form::Pkcs8(document) => unlock_pkcs8(document, passphrase),
            Form::Openssh(key, _) => unlock_openssh(key, passphrase),
        }
    }
}

impl fmt::Debug for LockedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.public() {
            Some(public) => write!(f, "LockedKey(of {})", public.id()),
            None => f.write_str("LockedKey"),
        }
    }
}

fn unlock_pkcs8(document: &SecretDocument, passphrase: &[u8]) -> Result<PrivateKey, UnlockError> {
    let encrypted = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
        .map_err(|error| UnlockError::Unsupported(Box::new(error)))?;
    check_cost(&encrypted.encryption_algorithm)?;
    let decrypted = encrypted.decrypt(passphrase).map_err(|error| match error {
        // What pkcs5 0.7 calls padding that is wrong after decryption is EncryptFailed.
        pkcs8::Error::EncryptedPrivateKey(
            pkcs5::Error::DecryptFailed | pkcs5::Error::EncryptFailed,
        ) => UnlockError::WrongPassphrase,
        // Of 256 wrong passphrases, one leaves the padding right and everything before it wrong.
        pkcs8::Error::Asn1(_) => UnlockError::WrongPassphrase,
        error => UnlockError::Unsupported(Box::new(error)),
    })?;
    let info =
        PrivateKeyInfo::try_from(decrypted.as_bytes()).map_err(|_| UnlockError::WrongPassphrase)?;
    let oid = info.algorithm.oid;
    PrivateKey::from_der(decrypted.as_bytes()).map_err(|error| {
        UnlockError::Key(if oid == ed25519_dalek::pkcs8::ALGORITHM_OID {
            PemError::Encoding {
                expected: "private key (PKCS#8)",
                source: Box::new(error),
            }
        } else {
            other_algorithm(oid)
        })
    })
}

fn check_cost(scheme: &EncryptionScheme<'_>) -> Result<(), UnlockError> {
    let bearable = match scheme.pbes2().map(|parameters| &parameters.kdf) {
        Some(Kdf::Scrypt(scrypt)) => {
            let bytes = scrypt
                .cost_parameter
                .saturating_mul(u64::from(scrypt.block_size))
                .saturating_mul(128);
            bytes <= MOST_SCRYPT_BYTES && scrypt.parallelization <= MOST_SCRYPT_LANES
        }
        Some(Kdf::Pbkdf2(pbkdf2)) => pbkdf2.iteration_count <= LONGEST_PBKDF2_ITERATIONS,
        _ => true,
    };
    bearable.then_some(()).ok_or_else(too_costly)
}

fn check_rounds(kdf: &ssh_key::Kdf) -> Result<(), UnlockError> {
    match kdf {
        ssh_key::Kdf::Bcrypt { rounds, .. } if *rounds > LONGEST_BCRYPT_ROUNDS => Err(too_costly()),
        _ => Ok(()),
    }
}

fn too_costly() -> UnlockError {
    UnlockError::Unsupported("trying one passphrase would take minutes, or gigabytes".into())
}

fn unlock_openssh(key: &ssh_key::PrivateKey, passphrase: &[u8]) -> Result<PrivateKey, UnlockError> {
    check_rounds(key.kdf())?;
    if passphrase.is_empty() {
        // OpenSSH takes no empty passphrase either, and bcrypt calls it an error rather than wrong.
        return Err(UnlockError::WrongPassphrase);
    }
    let decrypted = key.decrypt(passphrase).map_err(|error| match error {
        ssh_key::Error::Crypto => UnlockError::WrongPassphrase,
        ssh_key::Error::AlgorithmUnsupported { .. } => UnlockError::Key(ssh::unreadable(error)),
        error => UnlockError::Unsupported(Box::new(error)),
    })?;
    ssh::private(decrypted.key_data()).map_err(UnlockError::Key)
}

impl PrivateKey {
    /// Writes encrypted PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// Where the system has no random numbers for the salt, which Linux does not do after boot.
    pub fn to_encrypted_pem(&self, passphrase: &[u8]) -> std::io::Result<Zeroizing<String>> {
        let mut random = [0; 32];
        rustls::crypto::aws_lc_rs::default_provider()
            .secure_random
            .fill(&mut random)
            .map_err(|_| std::io::Error::other("the operating system gave no random numbers"))?;
        let (salt, iv) = random.split_at(16);
        let iv = iv.try_into().unwrap_or(&[0; 16]);
        self.encrypted(passphrase, salt, iv)
            .map_err(std::io::Error::other)
    }

    fn encrypted(
        &self,
        passphrase: &[u8],
        salt: &[u8],
        iv: &[u8; 16],
    ) -> Result<Zeroizing<String>, Box<dyn std::error::Error + Send + Sync>> {
        let cost = pkcs5::scrypt::Params::new(14, 8, 5, 32).map_err(|error| error.to_string())?;
        let parameters = pbes2::Parameters::scrypt_aes256cbc(cost, salt, iv)
            .map_err(|error| error.to_string())?;
        let der = self.to_der();
        let info = PrivateKeyInfo::try_from(der.as_bytes()).map_err(|error| error.to_string())?;
        let encrypted = info
            .encrypt_with_params(parameters, passphrase)
            .map_err(|error| error.to_string())?;
        Ok(encrypted.to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::openssh;

    const BY_OPENSSL: &str =
        include_str!("../../../tests/cli/fixtures/test-only-keys/encrypted.key");
    const BY_OPENSSH: &str =
        include_str!("../../../tests/cli/fixtures/test-only-keys/eve-openssh.key");

    fn locking(parameters: pbes2::Parameters<'_>, info: &PrivateKeyInfo<'_>) -> LockedKey {
        let encrypted = info.encrypt_with_params(parameters, "right").unwrap();
        let pem = encrypted
            .to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF)
            .unwrap();
        LockedKey::from_pem(&pem).unwrap()
    }

    /// PKCS#8 with the cheapest key derivation there is.
    fn cheap(key: &PrivateKey) -> LockedKey {
        let parameters =
            pbes2::Parameters::pbkdf2_sha256_aes256cbc(1, b"some salt", &[7; 16]).unwrap();
        let der = key.to_der();
        locking(
            parameters,
            &PrivateKeyInfo::try_from(der.as_bytes()).unwrap(),
        )
    }

    #[test]
    fn a_wrong_passphrase_is_wrong_whatever_it_decrypts_to() {
        let key = PrivateKey::generate().unwrap();
        let locked = cheap(&key);
        // One in 256 leaves right padding behind.
        for wrong in 0..2_000 {
            let error = locked.unlock(wrong.to_string().as_bytes()).unwrap_err();
            assert!(
                matches!(error, UnlockError::WrongPassphrase),
                "{wrong}: {error:?}"
            );
        }
        assert_eq!(locked.unlock(b"right").unwrap().public(), key.public());
    }

    #[test]
    fn what_is_written_is_read() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.to_encrypted_pem(b"right").unwrap();
        let locked = LockedKey::from_pem(&pem).unwrap();
        assert_eq!(locked.public(), None);
        assert_eq!(locked.unlock(b"right").unwrap().public(), key.public());
        let again = key.to_encrypted_pem(b"right").unwrap();
        assert_ne!(*pem, *again, "a new salt for each file");
    }

    #[test]
    fn other_pem_is_no_locked_key() {
        let key = PrivateKey::generate().unwrap();
        for pem in [
            "",
            &key.to_pem(),
            &BY_OPENSSL.replace("ENCRYPTED PRIVATE", "PRIVATE"),
            &BY_OPENSSL[..BY_OPENSSL.len() / 2],
        ] {
            assert!(LockedKey::from_pem(pem).is_err(), "{pem}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let locked = cheap(&PrivateKey::generate().unwrap());
        assert_eq!(format!("{locked:?}"), "LockedKey");
    }

    fn by_openssh() -> LockedKey {
        match openssh::private_key_from_openssh(BY_OPENSSH).unwrap() {
            StoredKey::Locked(locked) => locked,
            StoredKey::Open(_) => panic!("its file is encrypted"),
        }
    }

    #[test]
    fn what_openssl_and_openssh_locked_their_passphrase_unlocks() {
        for locked in [LockedKey::from_pem(BY_OPENSSL).unwrap(), by_openssh()] {
            let key = locked.unlock(b"test-only").unwrap();
            assert!([None, Some(key.public())].contains(&locked.public()));
            for wrong in ["", "test-onl", "test-only\n"] {
                let error = locked.unlock(wrong.as_bytes()).unwrap_err();
                assert!(matches!(error, UnlockError::WrongPassphrase), "{error:?}");
            }
        }
    }

    #[test]
    fn openssh_says_whose_key_it_is_before_it_is_unlocked() {
        let locked = by_openssh();
        let public = locked.unlock(b"test-only").unwrap().public();
        assert_eq!(locked.public(), Some(public));
        assert_eq!(
            format!("{locked:?}"),
            format!("LockedKey(of {})", public.id())
        );
    }

    #[test]
    fn another_kind_of_key_behind_the_right_passphrase_is_named() {
        let x25519 = pkcs8::ObjectIdentifier::new_unwrap("1.3.101.110");
        let whole = [[4, 32].as_slice(), &[7; 32]].concat();
        for (oid, bytes, kind) in [
            (x25519, whole.as_slice(), Some("X25519")),
            (ed25519_dalek::pkcs8::ALGORITHM_OID, &whole[..20], None),
        ] {
            let algorithm = pkcs8::AlgorithmIdentifierRef {
                oid,
                parameters: None,
            };
            let info = PrivateKeyInfo::new(algorithm, bytes);
            let parameters =
                pbes2::Parameters::pbkdf2_sha256_aes256cbc(1, b"some salt", &[7; 16]).unwrap();
            let error = locking(parameters, &info).unlock(b"right").unwrap_err();
            match (&error, kind) {
                (UnlockError::Key(PemError::Kind { kind: found }), Some(kind)) => {
                    assert_eq!(found, kind);
                }
                (UnlockError::Key(PemError::Encoding { .. }), None) => {}
                _ => panic!("{error:?}"),
            }
        }
    }

    #[test]
    fn a_key_that_would_take_minutes_or_gigabytes_is_refused_untried() {
        let pbkdf2 = |iterations| {
            pbes2::Parameters::pbkdf2_sha256_aes256cbc(iterations, b"some salt", &[7; 16]).unwrap()
        };
        let scrypt = |log_n, r, p| {
            let cost = pkcs5::scrypt::Params::new(log_n, r, p, 32).unwrap();
            pbes2::Parameters::scrypt_aes256cbc(cost, b"some salt", &[7; 16]).unwrap()
        };
        let mut numbers_that_multiply_past_64_bits = scrypt(14, 8, 1);
        if let Kdf::Scrypt(scrypt) = &mut numbers_that_multiply_past_64_bits.kdf {
            scrypt.cost_parameter = 1 << 57;
            scrypt.block_size = 1;
        }
        for (parameters, bearable) in [
            (pbkdf2(1), true),
            (pbkdf2(20_000_000), true),
            (pbkdf2(20_000_001), false),
            (scrypt(14, 8, 5), true),
            // 2^20 · 8 · 128 bytes are 1 GiB.
            (scrypt(20, 8, 1), true),
            (scrypt(20, 9, 1), false),
            (scrypt(21, 8, 1), false),
            (numbers_that_multiply_past_64_bits, false),
            (scrypt(14, 8, 64), true),
            (scrypt(14, 8, 65), false),
        ] {
            let checked = check_cost(&parameters.clone().into());
            assert_eq!(checked.is_ok(), bearable, "{parameters:?}");
            assert!(matches!(checked, Ok(()) | Err(UnlockError::Unsupported(_))));
        }
        let bcrypt = |rounds| ssh_key::Kdf::Bcrypt {
            salt: vec![7; 16],
            rounds,
        };
        assert!(check_rounds(&bcrypt(10_000)).is_ok());
        for rounds in [10_001, u32::MAX] {
            let error = check_rounds(&bcrypt(rounds)).unwrap_err();
            assert!(matches!(error, UnlockError::Unsupported(_)), "{error:?}");
        }
        assert!(check_rounds(&ssh_key::Kdf::None).is_ok());
    }

    #[test]
    fn the_cost_is_checked_before_the_passphrase_is_tried() {
        // Over the bound, yet quick: a test that fails ends all the same.
        let cost = pkcs5::scrypt::Params::new(1, 1, 65, 32).unwrap();
        let parameters = pbes2::Parameters::scrypt_aes256cbc(cost, b"some salt", &[7; 16]).unwrap();
        let der = PrivateKey::generate().unwrap().to_der();
        let info = PrivateKeyInfo::try_from(der.as_bytes()).unwrap();
        let costly_openssh = {
            use base64::Engine as _;
            let base64: String = BY_OPENSSH
                .lines()
                .filter(|line| !line.starts_with('-'))
                .collect();
            let engine = base64::engine::general_purpose::STANDARD;
            let mut bytes = engine.decode(base64).unwrap();
            let kdf = bytes.windows(6).position(|word| word == b"bcrypt").unwrap();
            // After the name: the length of the options, that of the salt, the salt, the rounds.
            let rounds = kdf + 6 + 4 + 4 + 16;
            assert_eq!(bytes[rounds..rounds + 4], 16_u32.to_be_bytes());
            bytes[rounds..rounds + 4].copy_from_slice(&10_001_u32.to_be_bytes());
            let key = ssh_key::PrivateKey::from_bytes(&bytes).unwrap();
            LockedKey::openssh(key, by_openssh().public().unwrap())
        };
        for costly in [locking(parameters, &info), costly_openssh] {
            for passphrase in ["", "right", "test-only"] {
                let error = costly.unlock(passphrase.as_bytes()).unwrap_err();
                assert!(matches!(error, UnlockError::Unsupported(_)), "{error:?}");
            }
        }
    }
}
