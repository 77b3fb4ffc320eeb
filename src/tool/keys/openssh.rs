//! ed25519 keys as OpenSSH writes them: `id_ed25519.pub` and `id_ed25519`.
//!
//! A public key is one line, `ssh-ed25519 BASE64 COMMENT`. The base64 holds what the agent protocol
//! calls a key blob (RFC 8709, section 4): the algorithm's name and the 32 bytes, each after its length.
//! The other kinds of OpenSSH key cannot make the signatures of this project and are refused by name:
//! RSA and ECDSA are other algorithms, and a FIDO key (`sk-…`) signs the hash of the message together
//! with a counter of its own, which no reader of DSSE envelopes can check.

use super::locked::{LockedKey, StoredKey};
use super::pem::PemError;
use super::ssh::{ED25519, other_kind, private, public, unreadable};
use sealboot_core::format::key::PublicKey;

/// Whether a text looks like an OpenSSH public key, of whatever kind.
#[must_use]
pub fn is_public_key(text: &str) -> bool {
    kind(text).is_some()
}

/// The algorithm that the first line names.
fn kind(text: &str) -> Option<&str> {
    let kind = text.split_ascii_whitespace().next()?;
    let families = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"];
    families
        .iter()
        .any(|family| kind.starts_with(family))
        .then_some(kind)
}

/// Reads a public key, one line of text.
///
/// # Errors
///
/// [`PemError::Kind`] for another kind of OpenSSH key, certificates included; [`PemError::Unusable`] for
/// a key that [`PublicKey`] refuses; [`PemError::Encoding`] for everything else.
pub fn public_key_from_openssh(text: &str) -> Result<PublicKey, PemError> {
    let encoding = |source| PemError::Encoding {
        expected: "public key (OpenSSH)",
        source,
    };
    match kind(text) {
        Some(ED25519) | None => {}
        Some(other) => return Err(other_kind(other)),
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(encoding("it must be one line".into()));
    };
    let key = ssh_key::PublicKey::from_openssh(line).map_err(|error| encoding(Box::new(error)))?;
    public(key.key_data())
}

/// Reads a private key, in the clear or protected by a passphrase.
///
/// # Errors
///
/// As for [`public_key_from_openssh`].
pub fn private_key_from_openssh(pem: &str) -> Result<StoredKey, PemError> {
    let key = ssh_key::PrivateKey::from_openssh(pem).map_err(unreadable)?;
    let public = public(key.public_key().key_data())?;
    if key.is_encrypted() {
        return Ok(StoredKey::Locked(LockedKey::openssh(key, public)));
    }
    private(key.key_data()).map(StoredKey::Open)
}

#[cfg(test)]
mod tests {
    use ssh_key::private::KeypairData;

    use super::*;
    use crate::keys::ssh::key_blob;

    /// Made by `ssh-keygen -t ed25519` of OpenSSH 9.2, and forgotten.
    const PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea a comment";

    #[test]
    fn a_public_key_is_read_with_and_without_a_comment() {
        // RFC 8032, section 7.1, test 1.
        let expected = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        for text in [
            PUBLIC,
            PUBLIC.trim_end_matches(" a comment"),
            &format!("{PUBLIC}\n\n"),
        ] {
            let key = public_key_from_openssh(text).expect(text);
            assert_eq!(key.to_string(), expected);
        }
    }

    #[test]
    fn the_blob_is_what_the_public_key_file_holds() {
        use base64::Engine as _;
        let key = public_key_from_openssh(PUBLIC).unwrap();
        let base64 = PUBLIC.split(' ').nth(1).unwrap();
        let expected = base64::engine::general_purpose::STANDARD
            .decode(base64)
            .unwrap();
        assert_eq!(key_blob(&key), expected);
    }

    #[test]
    fn keys_that_sign_other_bytes_are_refused_by_name() {
        for kind in [
            "ssh-rsa",
            "ssh-dss",
            "ecdsa-sha2-nistp256",
            "sk-ssh-ed25519@openssh.com",
            "sk-ecdsa-sha2-nistp256@openssh.com",
            "ssh-ed25519-cert-v01@openssh.com",
            "ssh-ed448",
        ] {
            let text = PUBLIC.replace("ssh-ed25519", kind);
            let error = public_key_from_openssh(&text).expect_err(kind);
            assert!(
                matches!(&error, PemError::Kind { kind: found } if found == kind),
                "{error:?}"
            );
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        for text in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            &PUBLIC.replace("AAAAC3", "AAAAC4"),
            &PUBLIC.replace("Ea a", " a"),
            &format!("{PUBLIC}\n{PUBLIC}"),
            &format!("restrict {PUBLIC}"),
        ] {
            let error = public_key_from_openssh(text).expect_err(text);
            assert!(
                matches!(error, PemError::Encoding { .. }),
                "{text}: {error:?}"
            );
        }
    }

    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!(
                "../../../tests/cli/fixtures/test-only-keys/",
                $name
            ))
        };
    }

    #[test]
    fn a_private_key_belongs_to_its_public_one() {
        let public = public_key_from_openssh(fixture!("dora-openssh.pub")).unwrap();
        let StoredKey::Open(key) = private_key_from_openssh(fixture!("dora-openssh.key")).unwrap()
        else {
            panic!("its file is not encrypted");
        };
        assert_eq!(key.public(), public);
        let public = public_key_from_openssh(fixture!("eve-openssh.pub")).unwrap();
        let StoredKey::Locked(key) = private_key_from_openssh(fixture!("eve-openssh.key")).unwrap()
        else {
            panic!("its file is encrypted");
        };
        assert_eq!(key.public(), Some(public));
    }

    #[test]
    fn private_keys_of_other_kinds_are_refused_by_name() {
        for (pem, expected) in [
            (fixture!("rsa-openssh.key"), "ssh-rsa"),
            (fixture!("ecdsa-openssh.key"), "unknown"),
        ] {
            let error = private_key_from_openssh(pem).unwrap_err();
            assert!(
                matches!(&error, PemError::Kind { kind } if kind == expected),
                "{error:?}"
            );
        }
        for pem in [
            "",
            fixture!("rsa.key"),
            fixture!("dora-openssh.pub"),
            fixture!("alice.key"),
        ] {
            let error = private_key_from_openssh(pem).unwrap_err();
            assert!(
                matches!(
                    error,
                    PemError::Encoding {
                        expected: "private key (OpenSSH)",
                        ..
                    }
                ),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_blob_of_another_kind_than_its_line_says_is_refused() {
        let text = fixture!("fido.pub").replacen("sk-ssh-ed25519@openssh.com", ED25519, 1);
        let error = public_key_from_openssh(&text).unwrap_err();
        assert!(matches!(error, PemError::Encoding { .. }), "{error:?}");
        let fido = ssh_key::PublicKey::from_openssh(fixture!("fido.pub")).unwrap();
        let error = public(fido.key_data()).unwrap_err();
        assert!(
            matches!(&error, PemError::Kind { kind } if kind == "sk-ssh-ed25519@openssh.com"),
            "{error:?}"
        );
        let error = private(&KeypairData::Encrypted(vec![7; 64])).err().unwrap();
        assert!(matches!(error, PemError::Encoding { .. }), "{error:?}");
        let rsa = private_key_from_openssh(fixture!("rsa-openssh.key"));
        assert!(rsa.is_err());
    }

    #[test]
    fn a_key_that_anyone_can_sign_for_is_unusable() {
        let mut blob = key_blob(&public_key_from_openssh(PUBLIC).unwrap());
        blob[19..].fill(0);
        let text = format!("{ED25519} {}", base64(&blob));
        let error = public_key_from_openssh(&text).unwrap_err();
        assert!(matches!(error, PemError::Unusable(_)), "{error:?}");
    }

    fn base64(bytes: &[u8]) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    #[test]
    fn a_public_key_is_told_by_its_first_word() {
        for text in [
            PUBLIC,
            "ssh-rsa x",
            "\n ssh-dss",
            "ecdsa-sha2-nistp256 x",
            "sk-ssh-ed25519@openssh.com x",
            "sk-ecdsa-sha2-nistp256@openssh.com x",
        ] {
            assert!(is_public_key(text), "{text}");
        }
        for text in [
            "",
            " ",
            "ssh",
            "-----BEGIN PUBLIC KEY-----",
            "restrict ssh-rsa",
            "sk-x",
            "ecdsa x",
        ] {
            assert!(!is_public_key(text), "{text}");
        }
    }

    #[test]
    fn a_kind_is_shown_short_and_escaped() {
        let kind = format!("ssh-\x1b[2J{}", "x".repeat(100));
        let error = public_key_from_openssh(&kind).unwrap_err();
        let expected = format!(
            "this is a key of kind ssh-\\u{{1b}}[2J{}; only ed25519 signs here",
            "x".repeat(64 - 8)
        );
        assert_eq!(error.to_string(), expected);
    }
}
