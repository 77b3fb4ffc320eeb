//! Signatures that travel without the statement they sign.
//!
//! A detached signature file says what it signs by payload type and SHA-256, so that it can only be
//! joined to the envelope that was signed. `docs/formats.md` shows one. Nothing in it is trusted: joined,
//! its signatures are what any others in an envelope are, counted by a policy or not at all.

use serde::{Deserialize, Serialize};

use super::envelope::{self, Envelope, EnvelopeSignature, SignatureJson};
use crate::format::Invalid;
use crate::format::digest::Sha256Digest;
use crate::format::json;
use crate::format::limits::LIMITS;

/// Signatures over a statement that is elsewhere; nobody has checked them yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachedSignatures {
    payload_type: String,
    payload_sha256: Sha256Digest,
    signatures: Vec<EnvelopeSignature>,
}

/// The bytes are no file of detached signatures.
#[derive(Debug, thiserror::Error)]
pub enum DetachedError {
    /// Longer than [`LIMITS`] allows.
    #[error("the file has {found} bytes; at most {} are read", LIMITS.detached_bytes)]
    TooLarge {
        /// Its length in bytes.
        found: usize,
    },
    /// Not JSON, or JSON of another shape; serde's message names line and column.
    #[error("this is not the JSON of a detached signature")]
    Json(#[source] serde_json::Error),
    /// A field that is not what it should be.
    #[error("this is no detached signature: {0}")]
    Invalid(Invalid),
}

/// The signatures are over something else than an envelope holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtherStatement {
    /// Another kind of statement.
    #[error(
        "it signs a statement of type \"{signed}\"\n  the envelope holds one of type \"{held}\""
    )]
    Type {
        /// What was signed, escaped.
        signed: String,
        /// What the envelope holds, escaped.
        held: String,
    },
    /// Another statement of that kind.
    #[error(
        "it signs another statement than the envelope holds\n  signed    sha256 {signed}\n  envelope  sha256 {held}"
    )]
    Payload {
        /// What was signed.
        signed: Sha256Digest,
        /// What the envelope holds.
        held: Sha256Digest,
    },
}

#[derive(Serialize, Deserialize)]
struct Wire {
    payload_type: String,
    payload_sha256: Sha256Digest,
    signatures: Vec<SignatureJson>,
}

impl DetachedSignatures {
    /// Takes the signatures out of an envelope.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        Self {
            payload_type: envelope.payload_type().to_owned(),
            payload_sha256: Sha256Digest::of(envelope.payload()),
            signatures: envelope.signatures().to_vec(),
        }
    }

    /// Reads a file of detached signatures.
    ///
    /// # Errors
    ///
    /// Refuses unknown and repeated fields, no signature or more than [`LIMITS`] allows, and what cannot
    /// be an ed25519 signature.
    pub fn parse(json: &[u8]) -> Result<Self, DetachedError> {
        if !u64::try_from(json.len()).is_ok_and(|len| len <= LIMITS.detached_bytes) {
            return Err(DetachedError::TooLarge { found: json.len() });
        }
        let read = json::read::<Wire>(json).map_err(|error| DetachedError::Json(error.source))?;
        let wire = read.value;
        let invalid = |field, found: &dyn std::fmt::Display, takes| {
            DetachedError::Invalid(Invalid::new(field, found, takes))
        };
        if wire.signatures.is_empty() || wire.signatures.len() > LIMITS.signatures {
            return Err(invalid(
                "signatures",
                &wire.signatures.len(),
                "a list of 1 to 32 signatures",
            ));
        }
        let signatures = wire
            .signatures
            .into_iter()
            .map(|signature| {
                if signature.keyid.len() > LIMITS.key_id_bytes {
                    return Err(invalid(
                        "signatures.keyid",
                        &signature.keyid,
                        "at most 256 bytes long",
                    ));
                }
                let bytes = envelope::decode("sig", &signature.sig).unwrap_or_default();
                if bytes.len() != 64 {
                    return Err(invalid(
                        "signatures.sig",
                        &signature.sig,
                        "the base64 of 64 bytes",
                    ));
                }
                Ok(EnvelopeSignature::new(signature.keyid, bytes))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            payload_type: wire.payload_type,
            payload_sha256: wire.payload_sha256,
            signatures,
        })
    }

    /// Writes the file: one JSON object, a newline at the end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            payload_type: self.payload_type.clone(),
            payload_sha256: self.payload_sha256,
            signatures: self.signatures.iter().map(SignatureJson::from).collect(),
        };
        let mut json = serde_json::to_vec_pretty(&wire).unwrap_or_else(|error| {
            unreachable!("detached signatures hold no map and no float: {error}")
        });
        json.push(b'\n');
        json
    }

    /// The signatures, unchecked, in the order of the file.
    #[must_use]
    pub fn signatures(&self) -> &[EnvelopeSignature] {
        &self.signatures
    }

    /// Checks that what was signed is what `envelope` holds, by what the file says of itself.
    ///
    /// # Errors
    ///
    /// [`OtherStatement`] where it is not.
    pub fn check_over(&self, envelope: &Envelope) -> Result<(), OtherStatement> {
        if self.payload_type != envelope.payload_type() {
            let shown = |text: &str| {
                text.chars()
                    .take(80)
                    .flat_map(char::escape_default)
                    .collect()
            };
            return Err(OtherStatement::Type {
                signed: shown(&self.payload_type),
                held: shown(envelope.payload_type()),
            });
        }
        let held = Sha256Digest::of(envelope.payload());
        if self.payload_sha256 == held {
            Ok(())
        } else {
            Err(OtherStatement::Payload {
                signed: self.payload_sha256,
                held,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::key::PublicKey;

    fn signed() -> Envelope {
        let key: PublicKey =
            "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
                .parse()
                .unwrap();
        let mut envelope = Envelope::unsigned("type", b"payload".to_vec());
        envelope.add_signature(key.id(), [7; 64]);
        envelope
    }

    #[test]
    fn what_is_written_is_read_and_fits_the_envelope_alone() {
        let detached = DetachedSignatures::of(&signed());
        let again = DetachedSignatures::parse(&detached.encode()).unwrap();
        assert_eq!(again, detached);
        assert_eq!(again.check_over(&signed()), Ok(()));
        let other = Envelope::unsigned("type", b"payload2".to_vec());
        assert!(matches!(
            again.check_over(&other),
            Err(OtherStatement::Payload { .. })
        ));
        let other = Envelope::unsigned("type2", b"payload".to_vec());
        assert!(matches!(
            again.check_over(&other),
            Err(OtherStatement::Type { .. })
        ));
    }

    #[test]
    fn what_is_no_detached_signature_is_refused() {
        let json = String::from_utf8(DetachedSignatures::of(&signed()).encode()).unwrap();
        let from = json.find("    {").unwrap();
        let one = &json[from..json.rfind("\n  ]").unwrap()];
        assert!(
            DetachedSignatures::parse(json.replace(one, &[one; 32].join(",")).as_bytes()).is_ok()
        );
        for bad in [
            String::new(),
            format!("{json}x"),
            json.replace(one, ""),
            json.replace(one, &[one; 33].join(",")),
            json.replace("\"type\"", "\"type\", \"payload_type\": \"type\""),
            json.replace("21fe31dfa154a261", &"k".repeat(257)),
            json.replace("Bw==", "Bwc="),
            json.replace("Bw==", "*w=="),
            json.replace("\"payload_sha256\": \"", "\"payload_sha256\": \"0"),
            format!("{json}{}", " ".repeat(64 << 10)),
        ] {
            assert_ne!(bad, json);
            assert!(DetachedSignatures::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_limits() {
        let mut json = DetachedSignatures::of(&signed()).encode();
        assert_eq!(json.last(), Some(&b'\n'));
        json.resize(32 << 10, b' ');
        let read = DetachedSignatures::parse(&json).unwrap();
        assert_eq!(read.signatures(), signed().signatures());
        json.push(b' ');
        let error = DetachedSignatures::parse(&json).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the file has 32769 bytes; at most 32768 are read"
        );
    }

    #[test]
    fn what_is_wrong_with_a_signature_is_said() {
        let json = String::from_utf8(DetachedSignatures::of(&signed()).encode()).unwrap();
        let from = json.find("    {").unwrap();
        let one = &json[from..json.rfind("\n  ]").unwrap()];
        let long = |len: usize| json.replace("21fe31dfa154a261", &"k".repeat(len));
        DetachedSignatures::parse(long(256).as_bytes()).unwrap();
        for (bad, field) in [
            (json.replace(one, ""), "signatures"),
            (json.replace(one, &[one; 33].join(",")), "signatures"),
            (long(257), "signatures.keyid"),
            (json.replace("Bw==", "Bwc="), "signatures.sig"),
            (json.replace("Bw==", ""), "signatures.sig"),
            (json.replace("Bw==", "*w=="), "signatures.sig"),
        ] {
            let error = DetachedSignatures::parse(bad.as_bytes()).unwrap_err();
            assert!(
                matches!(&error, DetachedError::Invalid(invalid) if invalid.field == field),
                "{error:?}"
            );
        }
    }

    #[test]
    fn what_was_signed_is_told_from_what_is_held() {
        let detached = DetachedSignatures::of(&signed());
        let other = Envelope::unsigned("type", b"other".to_vec());
        assert_eq!(
            detached.check_over(&other),
            Err(OtherStatement::Payload {
                signed: Sha256Digest::of(b"payload"),
                held: Sha256Digest::of(b"other"),
            })
        );
        let strange = format!("\x1b{}", "x".repeat(100));
        assert_eq!(
            detached.check_over(&Envelope::unsigned(strange, b"payload".to_vec())),
            Err(OtherStatement::Type {
                signed: "type".to_owned(),
                held: format!("\\u{{1b}}{}", "x".repeat(79)),
            })
        );
    }
}
