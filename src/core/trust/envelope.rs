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

/// A statement with unverified signatures.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(into = "EnvelopeJson")]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
    unknown: Unknown,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeSignature {
    /// The id of the key that it claims to be of. A hint for people, never an authority.
    pub key_id: String,
    /// The signature, unchecked; empty where it is not base64, which counts for nothing and voids nothing.
    pub bytes: Vec<u8>,
    /// The text, where it is not base64.
    text: Option<String>,
    unknown: Unknown,
}

impl EnvelopeSignature {
    /// Returns an unchecked signature.
    #[must_use]
    pub fn new(key_id: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            key_id: key_id.into(),
            bytes: bytes.into(),
            text: None,
            unknown: Unknown::new(),
        }
    }

    /// Returns `true` for the same signature, whatever fields beside it.
    fn is_same(&self, other: &Self) -> bool {
        (&self.key_id, &self.bytes, &self.text) == (&other.key_id, &other.bytes, &other.text)
    }
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
    /// More releases or freshness statements in a channel than [`LIMITS`] allows.
    #[error("its list `{what}` has {found} entries; at most {limit} are read")]
    ChannelExcess {
        /// `releases` or `freshness`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be there.
        limit: usize,
    },
    /// More signatures, or longer key ids, than [`LIMITS`] allows.
    #[error("the envelope has {what}")]
    Excess {
        /// What there is too much of.
        what: String,
    },
}

/// The fields of a container that this version does not know. They are kept when the container is written again: a
/// newer machine may need them.
pub(super) type Unknown = serde_json::Map<String, serde_json::Value>;

/// Adds the fields that `to` lacks.
fn add_unknown(to: &mut Unknown, from: &Unknown) {
    for (name, value) in from {
        to.entry(name).or_insert_with(|| value.clone());
    }
}

/// An envelope in JSON, its base64 not yet decoded.
#[derive(Serialize, Deserialize)]
#[serde(expecting = "an envelope")]
pub(super) struct EnvelopeJson {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<SignatureJson>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(expecting = "a signature")]
struct SignatureJson {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    keyid: String,
    sig: String,
    #[serde(flatten)]
    unknown: Unknown,
}

impl From<&EnvelopeSignature> for SignatureJson {
    fn from(signature: &EnvelopeSignature) -> Self {
        let text = signature.text.clone();
        Self {
            keyid: signature.key_id.clone(),
            sig: text.unwrap_or_else(|| STANDARD.encode(&signature.bytes)),
            unknown: signature.unknown.clone(),
        }
    }
}

impl Envelope {
    /// Returns the type of the payload as it can be shown: short and escaped.
    pub(super) fn shown_payload_type(&self) -> String {
        let short = self.payload_type.chars().take(80);
        short.flat_map(char::escape_default).collect()
    }

    /// An envelope without signatures.
    #[must_use]
    pub fn unsigned(payload_type: impl Into<String>, payload: Vec<u8>) -> Self {
        Self {
            payload_type: payload_type.into(),
            payload,
            signatures: Vec::new(),
            unknown: Unknown::new(),
        }
    }

    /// Reads an envelope.
    ///
    /// # Errors
    ///
    /// Refuses repeated fields, and more than [`LIMITS`] allows of anything. Unknown fields are kept.
    pub fn parse(json: &[u8]) -> Result<Self, EnvelopeError> {
        if !u64::try_from(json.len()).is_ok_and(|len| len <= LIMITS.envelope_bytes) {
            return Err(EnvelopeError::TooLarge {
                found: json.len(),
                limit: LIMITS.envelope_bytes,
            });
        }
        let read = json::read::<EnvelopeJson>(json);
        read.map_err(|error| EnvelopeError::Json(error.source))?
            .value
            .try_into()
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

    /// Returns `true` if the envelope holds this signature, whatever unknown fields are beside it.
    #[must_use]
    pub fn holds(&self, signature: &EnvelopeSignature) -> bool {
        let mut signatures = self.signatures.iter();
        signatures.any(|present| present.is_same(signature))
    }

    /// Adds a signature over [`Envelope::signed_bytes`], in place of an identical one.
    pub fn add_signature(&mut self, key_id: KeyId, signature: [u8; 64]) {
        self.join(EnvelopeSignature::new(key_id.to_string(), signature));
    }

    /// Adds an unchecked signature. Replaces an identical one, whose further fields it takes over.
    pub fn join(&mut self, mut added: EnvelopeSignature) {
        let (same, others) = std::mem::take(&mut self.signatures)
            .into_iter()
            .partition(|present| present.is_same(&added));
        self.signatures = others;
        for EnvelopeSignature { unknown, .. } in same {
            add_unknown(&mut added.unknown, &unknown);
        }
        self.signatures.push(added);
    }

    /// Adds what a copy of this envelope holds and this one lacks: signatures, and unknown fields at both levels.
    ///
    /// Where both have an unknown field, this envelope's value stays.
    pub fn join_copy(&mut self, copy: &Self) {
        for signature in &copy.signatures {
            let mut present = self.signatures.iter_mut();
            match present.find(|present| present.is_same(signature)) {
                Some(present) => add_unknown(&mut present.unknown, &signature.unknown),
                None => self.signatures.push(signature.clone()),
            }
        }
        add_unknown(&mut self.unknown, &copy.unknown);
    }

    /// The same statement with this signature alone.
    #[must_use]
    pub fn with_only(&self, signature: EnvelopeSignature) -> Self {
        Self {
            signatures: vec![signature],
            ..self.clone()
        }
    }

    /// Returns `true` if `key` made one of the signatures.
    #[must_use]
    pub fn has_signature_of(&self, key: &PublicKey) -> bool {
        let signed_bytes = self.signed_bytes();
        (0..self.signatures.len()).any(|index| self.is_signed_by(&signed_bytes, index, key))
    }

    /// Returns `true` if `key` made the signature at `index`.
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

impl TryFrom<EnvelopeJson> for Envelope {
    type Error = EnvelopeError;

    fn try_from(json: EnvelopeJson) -> Result<Self, EnvelopeError> {
        if json.signatures.len() > LIMITS.signatures {
            let what = format!(
                "{} signatures; at most {} are checked",
                json.signatures.len(),
                LIMITS.signatures
            );
            return Err(EnvelopeError::Excess { what });
        }
        let excess = |what| Err(EnvelopeError::Excess { what });
        let mut signatures = Vec::new();
        for signature in json.signatures {
            if signature.keyid.len() > LIMITS.key_id_bytes {
                return excess(format!(
                    "a key id of more than {} bytes",
                    LIMITS.key_id_bytes
                ));
            }
            let (bytes, text) = match decode("sig", &signature.sig) {
                Ok(bytes) => (bytes, None),
                Err(_) => (Vec::new(), Some(signature.sig)),
            };
            let length = text.as_ref().map_or(bytes.len(), String::len);
            if length > LIMITS.signature_bytes {
                return excess(format!(
                    "a signature of more than {} bytes",
                    LIMITS.signature_bytes
                ));
            }
            signatures.push(EnvelopeSignature {
                key_id: signature.keyid,
                bytes,
                text,
                unknown: signature.unknown,
            });
        }
        Ok(Self {
            payload: decode("payload", &json.payload)?,
            payload_type: json.payload_type,
            signatures,
            unknown: json.unknown,
        })
    }
}

impl From<Envelope> for EnvelopeJson {
    fn from(envelope: Envelope) -> Self {
        Self {
            payload: STANDARD.encode(&envelope.payload),
            payload_type: envelope.payload_type,
            signatures: envelope.signatures.iter().map(Into::into).collect(),
            unknown: envelope.unknown,
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

/// Returns `true` if this is an envelope rather than the plain statement that may be in its place: a JSON object with a
/// `payloadType`. It may be unreadable nevertheless.
#[must_use]
pub fn is_envelope(bytes: &[u8]) -> bool {
    #[derive(Serialize, Deserialize)]
    struct Probe {
        #[serde(rename = "payloadType")]
        payload_type: serde_json::Value,
    }
    json::read::<Probe>(bytes).is_ok()
}

/// DSSE lets signers choose between the standard and the URL-safe alphabet, and asks verifiers to
/// take both; padding is what the two differ in besides, so it is indifferent.
fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
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
    fn excess_and_other_shapes_are_refused() {
        let signature = r#"{"keyid": "k", "sig": "AAAA"}"#;
        let with = |signatures: &str| HELLO.replace("[]", &format!("[{signatures}]"));
        assert!(Envelope::parse(with(&vec![signature; 32].join(",")).as_bytes()).is_ok());
        for bad in [
            with(&vec![signature; 33].join(",")),
            with(&signature.replace("\"k\"", &format!("\"{}\"", "k".repeat(257)))),
            with(r#"{"keyid": "k"}"#),
            HELLO.replace("{\"payload\"", "{\"payload\": \"\", \"payload\""),
            HELLO.replace("[]", "[[\"k\", \"AAAA\"]]"),
            format!("{HELLO}x"),
            format!("{HELLO}{}", " ".repeat(512 << 10)),
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
        json.resize(512 << 10, b' ');
        Envelope::parse(&json).expect("valid");
        json.push(b' ');
        let error = Envelope::parse(&json).expect_err("too large");
        assert_eq!(
            error.to_string(),
            "it has 524289 bytes; at most 524288 are read"
        );
    }

    #[test]
    fn a_payload_that_is_not_base64_is_refused() {
        let json = HELLO.replace("aGVs", "*GVs");
        let error = Envelope::parse(json.as_bytes()).expect_err(&json);
        assert_eq!(error.to_string(), "the envelope's payload is not base64");
    }

    #[test]
    fn a_signature_that_is_not_base64_is_empty_and_kept() {
        let json = HELLO.replace("[]", r#"[{"sig": "A*"}, {"sig": "AAAA"}]"#);
        let envelope = Envelope::parse(json.as_bytes()).expect("valid");
        assert!(envelope.signatures()[0].bytes.is_empty());
        assert_eq!(envelope.signatures()[1].bytes, [0, 0, 0]);
        let encoded = String::from_utf8(envelope.encode()).expect("text");
        assert!(encoded.contains(r#""sig": "A*""#), "{encoded}");
        assert_eq!(
            Envelope::parse(encoded.as_bytes()).expect("valid"),
            envelope
        );
    }

    #[test]
    fn a_signature_has_at_most_8_kib() {
        for (sig, fits) in [
            ("A".repeat(8192 / 3 * 4), true),
            ("A".repeat(8192 / 3 * 4 + 4), false),
            ("*".repeat(8192), true),
            ("*".repeat(8193), false),
        ] {
            let json = HELLO.replace("[]", &format!(r#"[{{"sig": "{sig}"}}]"#));
            let parsed = Envelope::parse(json.as_bytes());
            assert_eq!(parsed.is_ok(), fits, "{}", sig.len());
        }
    }

    #[test]
    fn unknown_fields_are_kept_at_every_level() {
        let json = r#"{"payload": "", "payloadType": "t", "new": [1, {"a": null}],
            "signatures": [{"keyid": "k", "sig": "AAAA", "proof": {"é": 1.5}}]}"#;
        let mut envelope = Envelope::parse(json.as_bytes()).expect("valid");
        // The same signature from a copy that has another proof.
        let mut copy = EnvelopeSignature::new("k", [0, 0, 0]);
        copy.unknown.insert("witness".to_owned(), 7.into());
        envelope.join(copy);
        let encoded: serde_json::Value = serde_json::from_slice(&envelope.encode()).expect("JSON");
        let mut expected: serde_json::Value = serde_json::from_str(json).expect("JSON");
        expected["signatures"][0]["witness"] = 7.into();
        assert_eq!(encoded, expected);
    }

    #[test]
    fn a_signature_that_is_there_already_moves_to_the_end() {
        let signature = |byte: u8| EnvelopeSignature::new("k", [byte]);
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
    fn a_copy_adds_what_is_missing_and_replaces_nothing() {
        let parse = |json: &str| Envelope::parse(json.as_bytes()).expect("valid");
        let mut envelope = parse(
            r#"{"payload": "", "payloadType": "t", "seen": 1, "signatures":
                [{"keyid": "k", "sig": "AAAA", "proof": 1}, {"keyid": "l", "sig": "A*"}]}"#,
        );
        envelope.join_copy(&parse(
            r#"{"payload": "", "payloadType": "t", "seen": 2, "new": 3, "signatures":
                [{"sig": "AAAA"}, {"keyid": "k", "sig": "AAAA", "proof": 2, "witness": 4}, {"keyid": "l", "sig": "A*"}]}"#,
        ));
        let expected = parse(
            r#"{"payload": "", "payloadType": "t", "seen": 1, "new": 3, "signatures":
                [{"keyid": "k", "sig": "AAAA", "proof": 1, "witness": 4}, {"keyid": "l", "sig": "A*"}, {"sig": "AAAA"}]}"#,
        );
        assert_eq!(envelope, expected);
        // Whatever fields beside it, and by all of key id and bytes.
        let signature = EnvelopeSignature::new;
        assert!(envelope.holds(&signature("k", [0, 0, 0])));
        for absent in [signature("l", [0, 0, 0]), signature("k", [0, 0, 1])] {
            assert!(!envelope.holds(&absent), "{absent:?}");
        }
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
        envelope.join(EnvelopeSignature::new("k", [0xfb, 0xff]));
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
