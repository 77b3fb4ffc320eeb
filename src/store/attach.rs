//! Signatures of a KMS or an HSM, attached to an envelope once they verify.

use std::fmt;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256, Sha512};

use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::{Envelope, KeyId, PublicKey};

use crate::StoreError;
use crate::envelope_file::EnvelopeFile;
use crate::kind::Kind;

/// What became of a signature that verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// It was added to the file.
    Added {
        /// How many signatures the file holds now.
        signatures: usize,
    },
    /// The file holds a signature of the key already.
    AlreadyThere,
}

/// A signature is not one by this key over the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSigned {
    /// The envelope's file.
    pub path: PathBuf,
    /// What it holds.
    pub kind: Kind,
    /// The key that should have signed.
    pub key: KeyId,
    /// What the key signed instead, where that is one of the common mistakes.
    pub instead: Option<Instead>,
}

/// What a key signed in place of the bytes that a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// The payload, without its type and lengths.
    Payload,
    /// The file that holds the envelope.
    File,
    /// SHA-256 or SHA-512 of the bytes to sign.
    Digest,
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Payload => "the payload alone",
            Self::File => "the file of the envelope",
            Self::Digest => "a digest of those bytes",
        })
    }
}

impl fmt::Display for NotSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, key, .. } = self;
        let path = path.display();
        match &self.instead {
            Some(instead) => write!(
                f,
                "key {key} has signed other bytes of {path}\n  expected the bytes that a signature covers\n  found    {instead}"
            ),
            None => write!(f, "the signature is not one by key {key} over {path}"),
        }
    }
}

impl std::error::Error for NotSigned {}

impl NotSigned {
    pub(crate) fn hint(&self) -> String {
        let print = format!(
            "`sealboot {} sign --print-signed-bytes`",
            self.kind.command()
        );
        match self.instead {
            Some(Instead::Digest) => format!(
                "nothing was changed; have the whole message signed, as {print} writes it: no digest, no DIGEST message type"
            ),
            Some(Instead::Payload | Instead::File) => {
                format!("nothing was changed; have the bytes signed that {print} writes")
            }
            None => format!(
                "nothing was changed; is it the right key, plain Ed25519 (not Ed25519ph), over exactly the bytes that {print} writes for this file?"
            ),
        }
    }
}

/// Returns which common mistake this signature is.
fn instead(envelope: &Envelope, key: &PublicKey, signature: &[u8; 64]) -> Option<Instead> {
    let signed_bytes = envelope.signed_bytes();
    let payload = envelope.unverified_payload();
    [
        (Instead::Payload, payload.to_vec()),
        (Instead::File, envelope.encode()),
        (Instead::Digest, Sha256::digest(&signed_bytes).to_vec()),
        (Instead::Digest, Sha512::digest(&signed_bytes).to_vec()),
    ]
    .into_iter()
    .find_map(|(instead, message)| key.has_signed(&message, signature).then_some(instead))
}

impl EnvelopeFile {
    /// Adds a signature from elsewhere, if it is one by `key` over what was read.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotSigned`], and as for [`check_writable`](Self::check_writable) and [`add`](Self::add); nothing is
    /// written then.
    pub fn attach(&self, key: &PublicKey, signature: &[u8; 64]) -> Result<Attached, StoreError> {
        let envelope = self.envelope();
        if !key.has_signed(&envelope.signed_bytes(), signature) {
            return Err(NotSigned {
                path: self.shown().to_owned(),
                kind: self.kind(),
                key: key.id(),
                instead: instead(envelope, key, signature),
            }
            .into());
        }
        if self.is_signed_by(key) {
            return Ok(Attached::AlreadyThere);
        }
        self.check_writable()?;
        let signature = EnvelopeSignature::new(key.id().to_string(), signature.as_slice());
        let signatures = self.add(&[envelope.with_only(signature)])?;
        Ok(Attached::Added { signatures })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::signer::Signer as _;
    use crate::testing::{Key, policy, sealed, sealed_manifest, sealed_policy, write};

    fn by(name: &str, message: &[u8]) -> [u8; 64] {
        Key::of(name).sign(message).unwrap()
    }

    fn open(path: &Path) -> EnvelopeFile {
        EnvelopeFile::open_any(path).unwrap()
    }

    #[test]
    fn a_signature_is_attached_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("42.json");
        let alice = Key::of("alice").public();
        for unsigned in [
            sealed_manifest(42, &["bob"]),
            sealed_policy(&policy(&["alice"]), &["bob"]),
            sealed(Kind::HostConfig.payload_type(), b"{}".to_vec(), &["bob"]),
        ] {
            write(&path, &unsigned);
            let signature = by("alice", &unsigned.signed_bytes());
            let attach = || open(&path).attach(&alice, &signature).unwrap();
            assert_eq!(attach(), Attached::Added { signatures: 2 });
            let written = fs::read(&path).unwrap();
            assert_eq!(attach(), Attached::AlreadyThere);
            assert_eq!(fs::read(&path).unwrap(), written);
            let file = open(&path);
            let added = &file.envelope().signatures()[1];
            assert_eq!(added.key_id, alice.id().to_string());
        }
    }

    #[test]
    fn a_signature_that_does_not_verify_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("42.json");
        let envelope = sealed_manifest(42, &["alice"]);
        write(&path, &envelope);
        let before = fs::read(&path).unwrap();
        let bytes = envelope.signed_bytes();
        let mut touched = by("alice", &bytes);
        touched[40] ^= 1;
        for (signature, expected) in [
            (by("eve", &bytes), None),
            (touched, None),
            ([0; 64], None),
            (by("alice", &sealed_manifest(43, &[]).signed_bytes()), None),
            (by("alice", &[&bytes[..], b"\n"].concat()), None),
            (
                by("alice", envelope.unverified_payload()),
                Some(Instead::Payload),
            ),
            (by("alice", &before), Some(Instead::File)),
            (by("alice", &Sha256::digest(&bytes)), Some(Instead::Digest)),
            (by("alice", &Sha512::digest(&bytes)), Some(Instead::Digest)),
        ] {
            // Alice has signed already, which makes a bad signature no better.
            let error = open(&path)
                .attach(&Key::of("alice").public(), &signature)
                .unwrap_err();
            assert!(error.is_refusal(), "{error:?}");
            let StoreError::NotSigned(error) = error else {
                panic!("{error:?}");
            };
            assert_eq!(error.instead, expected);
        }
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn an_envelope_replaced_meanwhile_gets_no_signature() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("42.json");
        let envelope = sealed_manifest(42, &[]);
        write(&path, &envelope);
        let file = open(&path);
        let signature = by("alice", &envelope.signed_bytes());
        write(&path, &sealed_manifest(43, &[]));
        let before = fs::read(&path).unwrap();
        let error = file
            .attach(&Key::of("alice").public(), &signature)
            .unwrap_err();
        assert!(matches!(error, StoreError::Replaced { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_people_do_not_sign_gets_no_signature() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("42.json");
        let open = || EnvelopeFile::open_any(&path).unwrap_err();
        fs::write(&path, policy(&["alice"]).encode()).unwrap();
        assert!(matches!(open(), StoreError::NotSignable { .. }));
        let channel = sealboot_core::trust::Channel::new([sealed_manifest(42, &[])], []);
        fs::write(&path, channel.encode()).unwrap();
        assert!(matches!(open(), StoreError::IsChannel { .. }));
        write(&path, &sealed("\x1btype", Vec::new(), &[]));
        let error = open();
        assert!(matches!(&error, StoreError::UnknownStatement { .. }));
        assert!(error.to_string().contains("\\u{1b}type"), "{error}");
    }
}
