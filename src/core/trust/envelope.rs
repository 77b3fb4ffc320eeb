//! The stored form of a signed statement: a DSSE v1 envelope.
//!
//! <https://github.com/secure-systems-lab/dsse>: `envelope.md` for the JSON, `protocol.md` for the
//! pre-authentication encoding that signatures cover. Reading an envelope finds the payload's bytes
//! and the signatures, nothing more; no part of the payload is looked at.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::{Deserialize, Serialize};

use crate::format::json;
use crate::format::key::{KeyId, PublicKey};
use crate::format::limits::LIMITS;

/// A statement with signatures that nobody has checked yet.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Wire")]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeSignature {
    /// Whose signature it claims to be. A hint for people, never an authority.
    pub key_id: String,
    /// What it claims to be; not even its length has been checked.
    pub bytes: Vec<u8>,
}

/// The bytes are no envelope.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Longer than [`LIMITS`] allows.
    #[error("it has {found} bytes; at most {limit} are read")]
    TooLarge {
        /// Its length in bytes.
        found: usize,
        /// How many may be read.
        limit: u64,
    },
    /// Not JSON, or JSON of another shape; serde's message names line and column.
    #[error("this is not the JSON of a DSSE envelope")]
    Json(#[source] serde_json::Error),
    /// A field that should be base64 is not.
    #[error("the envelope's {field} is not base64")]
    Base64 {
        /// `payload` or `sig`.
        field: &'static str,
        /// Where the decoder stopped.
        #[source]
        source: base64::DecodeError,
    },
    /// More signatures, or longer key ids, than [`LIMITS`] allows.
    #[error("the envelope has {what}")]
    Excess {
        /// What there is too much of.
        what: String,
    },
}

/// An envelope as it stands in JSON, its base64 not yet decoded.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an envelope")]
pub(super) struct Wire {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a signature")]
pub(super) struct WireSignature {
    #[serde(default)]
    pub(super) keyid: String,
    pub(super) sig: String,
}

impl WireSignature {
    pub(super) fn of(signature: &EnvelopeSignature) -> Self {
        Self {
            keyid: signature.key_id.clone(),
            sig: STANDARD.encode(&signature.bytes),
        }
    }
}

impl Envelope {
    /// An envelope without signatures.
    #[must_use]
    pub fn unsigned(payload_type: impl Into<String>, payload: Vec<u8>) -> Self {
        Self {
            payload_type: payload_type.into(),
            payload,
            signatures: Vec::new(),
        }
    }

    /// Reads an envelope.
    ///
    /// # Errors
    ///
    /// Refuses unknown and repeated fields, and more than [`LIMITS`] allows of anything.
    pub fn parse(json: &[u8]) -> Result<Self, EnvelopeError> {
        if !u64::try_from(json.len()).is_ok_and(|len| len <= LIMITS.envelope_bytes) {
            return Err(EnvelopeError::TooLarge {
                found: json.len(),
                limit: LIMITS.envelope_bytes,
            });
        }
        let wire: Wire = json::from_slice(json).map_err(EnvelopeError::Json)?;
        wire.try_into()
    }

    /// Writes the envelope: one JSON object, standard base64, a newline at the end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self)
            .unwrap_or_else(|error| unreachable!("an envelope holds no map and no float: {error}"));
        json.push(b'\n');
        json
    }

    /// The pre-authentication encoding: the exact bytes that every signature covers.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = format!(
            "DSSEv1 {} {} {} ",
            self.payload_type.len(),
            self.payload_type,
            self.payload.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// What kind of statement the payload claims to be. Covered by the signatures.
    #[must_use]
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The signatures, unchecked, in the order of the file.
    #[must_use]
    pub fn signatures(&self) -> &[EnvelopeSignature] {
        &self.signatures
    }

    /// Adds a signature over [`Envelope::signed_bytes`], in place of an identical one.
    pub fn add_signature(&mut self, key_id: KeyId, signature: [u8; 64]) {
        self.join(EnvelopeSignature {
            key_id: key_id.to_string(),
            bytes: signature.to_vec(),
        });
    }

    /// Adds a signature that nobody has checked, in place of an identical one.
    pub fn join(&mut self, added: EnvelopeSignature) {
        self.signatures.retain(|present| *present != added);
        self.signatures.push(added);
    }

    /// The same statement with this signature alone.
    #[must_use]
    pub fn with_only(&self, signature: EnvelopeSignature) -> Self {
        Self {
            signatures: vec![signature],
            ..self.clone()
        }
    }

    /// Whether `key` made the signature at `index`.
    pub(super) fn is_signed_by(&self, signed_bytes: &[u8], index: usize, key: &PublicKey) -> bool {
        <&[u8; 64]>::try_from(self.signatures[index].bytes.as_slice())
            .is_ok_and(|signature| key.has_signed(signed_bytes, signature))
    }

    /// The payload, for the one place that has counted its signatures.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload with nothing verified: for showing it to a person who is told so.
    ///
    /// Clippy refuses it in the loader.
    #[must_use]
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }
}

impl TryFrom<Wire> for Envelope {
    type Error = EnvelopeError;

    fn try_from(wire: Wire) -> Result<Self, EnvelopeError> {
        if wire.signatures.len() > LIMITS.signatures {
            let what = format!(
                "{} signatures; at most {} are checked",
                wire.signatures.len(),
                LIMITS.signatures
            );
            return Err(EnvelopeError::Excess { what });
        }
        if wire
            .signatures
            .iter()
            .any(|signature| signature.keyid.len() > LIMITS.key_id_bytes)
        {
            let what = format!("a key id of more than {} bytes", LIMITS.key_id_bytes);
            return Err(EnvelopeError::Excess { what });
        }
        let signatures = wire
            .signatures
            .into_iter()
            .map(|signature| {
                Ok(EnvelopeSignature {
                    bytes: decode("sig", &signature.sig)?,
                    key_id: signature.keyid,
                })
            })
            .collect::<Result<_, EnvelopeError>>()?;
        Ok(Self {
            payload: decode("payload", &wire.payload)?,
            payload_type: wire.payload_type,
            signatures,
        })
    }
}

impl From<Envelope> for Wire {
    fn from(envelope: Envelope) -> Self {
        Self {
            payload: STANDARD.encode(&envelope.payload),
            payload_type: envelope.payload_type.clone(),
            signatures: envelope.signatures.iter().map(WireSignature::of).collect(),
        }
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("payload_type", &self.payload_type)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("signatures", &self.signatures.len())
            .finish()
    }
}

/// Whether this is an envelope, rather than the plain statement that may stand in its place: a JSON object that has
/// a `payloadType`. Nothing else is looked at; whether it can be read, and whether anybody has signed it, is another
/// question.
#[must_use]
pub fn is_envelope(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "payloadType")]
        _payload_type: serde::de::IgnoredAny,
    }
    json::from_slice::<Probe>(bytes).is_ok()
}

/// DSSE lets signers choose between the standard and the URL-safe alphabet, and asks verifiers to
/// take both; padding is what the two differ in besides, so it is indifferent.
pub(super) fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    const INDIFFERENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url_safe = text.bytes().any(|byte| byte == b'-' || byte == b'_');
    let alphabet = if url_safe {
        &alphabet::URL_SAFE
    } else {
        &alphabet::STANDARD
    };
    GeneralPurpose::new(alphabet, INDIFFERENT)
        .decode(text)
        .map_err(|source| EnvelopeError::Base64 { field, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of DSSE's `protocol.md`, section "Test Vectors".
    const HELLO: &str = r#"{"payload": "aGVsbG8gd29ybGQ=", "payloadType": "http://example.com/HelloWorld", "signatures": []}"#;

    #[test]
    fn an_envelope_is_told_by_its_payload_type_and_by_nothing_else() {
        for envelope in [
            HELLO,
            r#"{"payloadType": null}"#,
            r#"{"a": [{}], "payloadType": {"b": 1}}"#,
        ] {
            assert!(is_envelope(envelope.as_bytes()), "{envelope}");
        }
        for none in [
            "",
            "payloadType",
            "null",
            r#""payloadType""#,
            r#"["payloadType"]"#,
            "{}",
            r#"{"payload": "", "signatures": []}"#,
            r#"{"payloadtype": ""}"#,
            r#"{"a": {"payloadType": ""}}"#,
            r#"{"payloadType": ""} {}"#,
            r#"{"payloadType": "", "payloadType": ""}"#,
            r#"{"payloadType": """#,
        ] {
            assert!(!is_envelope(none.as_bytes()), "{none}");
        }
    }

    #[test]
    fn the_signed_bytes_are_those_of_the_specification() {
        let envelope = Envelope::parse(HELLO.as_bytes()).expect("valid");
        assert_eq!(
            envelope.signed_bytes(),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn both_base64_alphabets_are_read_padded_or_not() {
        for payload in ["+/8=", "-_8=", "+/8", "-_8"] {
            let json = HELLO.replace("aGVsbG8gd29ybGQ=", payload);
            assert_eq!(
                Envelope::parse(json.as_bytes()).expect(payload).payload(),
                [0xfb, 0xff]
            );
        }
        for payload in ["+_8=", "a", "a b=", "aGVsbG8gd29ybGR="] {
            let json = HELLO.replace("aGVsbG8gd29ybGQ=", payload);
            assert!(Envelope::parse(json.as_bytes()).is_err(), "{payload}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut envelope = Envelope::unsigned("type", b"payload".to_vec());
        let key: PublicKey =
            "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
                .parse()
                .expect("valid");
        envelope.add_signature(key.id(), [7; 64]);
        envelope.add_signature(key.id(), [7; 64]);
        assert_eq!(envelope.signatures().len(), 1);
        assert_eq!(
            Envelope::parse(&envelope.encode()).expect("valid"),
            envelope
        );
    }

    #[test]
    fn excess_and_strangers_are_refused() {
        let signature = r#"{"keyid": "k", "sig": "AAAA"}"#;
        let with = |signatures: &str| HELLO.replace("[]", &format!("[{signatures}]"));
        assert!(Envelope::parse(with(&vec![signature; 32].join(",")).as_bytes()).is_ok());
        for bad in [
            with(&vec![signature; 33].join(",")),
            with(&signature.replace("\"k\"", &format!("\"{}\"", "k".repeat(257)))),
            with(r#"{"keyid": "k"}"#),
            with(r#"{"sig": "AAAA", "cert": "x"}"#),
            HELLO.replace("{\"payload\"", "{\"payload\": \"\", \"payload\""),
            HELLO.replace("{\"payload\"", "{\"key\": \"\", \"payload\""),
            format!("{HELLO}x"),
            format!("{HELLO}{}", " ".repeat(4 << 20)),
            String::new(),
        ] {
            assert!(
                Envelope::parse(bad.as_bytes()).is_err(),
                "{}",
                &bad[..bad.len().min(200)]
            );
        }
    }

    #[test]
    fn an_envelope_is_read_up_to_its_limits() {
        let signature = |id: usize| format!(r#"{{"keyid": "{}", "sig": "AAAA"}}"#, "k".repeat(id));
        let with = |signatures: &str| HELLO.replace("[]", &format!("[{signatures}]"));
        Envelope::parse(with(&signature(256)).as_bytes()).expect("valid");
        let many = |count| with(&vec![signature(1); count].join(","));
        for (json, said) in [
            (
                with(&signature(257)),
                "the envelope has a key id of more than 256 bytes",
            ),
            (
                many(33),
                "the envelope has 33 signatures; at most 32 are checked",
            ),
        ] {
            let error = Envelope::parse(json.as_bytes()).expect_err(&json);
            assert_eq!(error.to_string(), said);
        }
        assert_eq!(
            Envelope::parse(many(32).as_bytes())
                .expect("valid")
                .signatures()
                .len(),
            32
        );
        let mut json = HELLO.as_bytes().to_vec();
        json.resize(4 << 20, b' ');
        Envelope::parse(&json).expect("valid");
        json.push(b' ');
        let error = Envelope::parse(&json).expect_err("too large");
        assert_eq!(
            error.to_string(),
            "it has 4194305 bytes; at most 4194304 are read"
        );
    }

    #[test]
    fn what_is_no_base64_is_said_of_its_field() {
        for (json, said) in [
            (
                HELLO.replace("aGVs", "*GVs"),
                "the envelope's payload is not base64",
            ),
            (
                HELLO.replace("[]", r#"[{"sig": "A"}]"#),
                "the envelope's sig is not base64",
            ),
        ] {
            let error = Envelope::parse(json.as_bytes()).expect_err(&json);
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn a_signature_that_is_there_already_moves_to_the_end() {
        let signature = |byte: u8| EnvelopeSignature {
            key_id: "k".to_owned(),
            bytes: vec![byte],
        };
        let mut envelope = Envelope::unsigned("type", Vec::new());
        for byte in [1, 2, 1] {
            envelope.join(signature(byte));
        }
        assert_eq!(envelope.signatures(), [signature(2), signature(1)]);
        let alone = envelope.with_only(signature(3));
        assert_eq!(alone.signatures(), [signature(3)]);
        assert_eq!(alone.signed_bytes(), envelope.signed_bytes());
    }

    #[test]
    fn debug_shows_how_much_there_is_and_not_what() {
        let envelope = Envelope::parse(HELLO.as_bytes()).expect("valid");
        assert_eq!(
            format!("{envelope:?}"),
            r#"Envelope { payload_type: "http://example.com/HelloWorld", payload: 11 bytes, signatures: 0 }"#
        );
        assert_eq!(envelope.payload_type(), "http://example.com/HelloWorld");
        assert_eq!(envelope.payload(), b"hello world");
        assert_eq!(envelope.unverified_payload(), b"hello world");
    }

    #[test]
    fn an_envelope_is_written_as_one_object_and_a_newline() {
        let mut envelope = Envelope::unsigned("type", vec![0xfb, 0xff]);
        envelope.join(EnvelopeSignature {
            key_id: "k".to_owned(),
            bytes: vec![0xfb, 0xff],
        });
        let json = r#"{
  "payload": "+/8=",
  "payloadType": "type",
  "signatures": [
    {
      "keyid": "k",
      "sig": "+/8="
    }
  ]
}
"#;
        assert_eq!(String::from_utf8(envelope.encode()).expect("text"), json);
    }
}
