//! The channel file of an image: its newest envelope, and how fresh that is.
//!
//! ```json
//! {"manifest": <envelope>, "freshness": <envelope>}
//! ```
//!
//! Both stand in one file so that a mirror cannot show the one without the other by accident, and so
//! that a machine asks once. The file itself is unsigned; each of its envelopes is judged by itself.

use serde::{Deserialize, Serialize};

use super::envelope::{Envelope, EnvelopeError, EnvelopeJson, Unknown};
use crate::format::json;
use crate::format::limits::LIMITS;

/// What `images/NAME.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// The newest envelope of the image.
    pub manifest: Envelope,
    /// The newest statement about which version is the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Envelope>,
    /// The fields that this version does not know.
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Serialize, Deserialize)]
struct ChannelJson {
    manifest: EnvelopeJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    freshness: Option<EnvelopeJson>,
    #[serde(flatten)]
    unknown: Unknown,
}

impl Channel {
    /// Reads a channel file.
    ///
    /// # Errors
    ///
    /// As for [`Envelope::parse`].
    pub fn parse(json: &[u8]) -> Result<Self, EnvelopeError> {
        if !u64::try_from(json.len()).is_ok_and(|len| len <= LIMITS.channel_bytes) {
            return Err(EnvelopeError::TooLarge {
                found: json.len(),
                limit: LIMITS.channel_bytes,
            });
        }
        let read = json::read::<ChannelJson>(json);
        let json = read
            .map_err(|error| EnvelopeError::Json(error.source))?
            .value;
        Ok(Self {
            manifest: json.manifest.try_into()?,
            freshness: json.freshness.map(TryInto::try_into).transpose()?,
            unknown: json.unknown,
        })
    }

    /// Returns a channel of these.
    #[must_use]
    pub fn new(manifest: Envelope, freshness: Option<Envelope>) -> Self {
        Self {
            manifest,
            freshness,
            unknown: Unknown::new(),
        }
    }

    /// Whether this looks like a channel rather than a lone envelope, for tools that take both. Says
    /// nothing about whether it can be read.
    #[must_use]
    pub fn is_one(json: &[u8]) -> bool {
        let first_key = json.trim_ascii_start().strip_prefix(b"{");
        first_key.map(<[u8]>::trim_ascii_start).is_some_and(|key| {
            key.starts_with(b"\"manifest\"") || key.starts_with(b"\"freshness\"")
        })
    }

    /// Writes the channel file: one JSON object, a newline at the end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self)
            .unwrap_or_else(|error| unreachable!("a channel holds no map and no float: {error}"));
        json.push(b'\n');
        json
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{channel, freshness, manifest, sealed_freshness, sealed_manifest};
    use super::*;

    fn parts() -> (Envelope, Envelope) {
        (
            sealed_manifest(&manifest(42), &["alice"]),
            sealed_freshness(&freshness(42, 1), &["clockwork"]),
        )
    }

    #[test]
    fn what_is_written_is_read() {
        let (manifest, freshness) = parts();
        for freshness in [None, Some(freshness)] {
            let json = channel(manifest.clone(), freshness.clone());
            assert_eq!(json.last(), Some(&b'\n'));
            let read = Channel::parse(&json).unwrap();
            assert_eq!(
                (read.manifest, read.freshness),
                (manifest.clone(), freshness)
            );
        }
    }

    #[test]
    fn what_is_no_channel_is_refused() {
        let (manifest, freshness) = parts();
        let whole = String::from_utf8(channel(manifest.clone(), Some(freshness))).unwrap();
        let lone = String::from_utf8(manifest.encode()).unwrap();
        for bad in [
            String::new(),
            lone.clone(),
            format!("[{lone}]"),
            format!("{whole}x"),
            whole.replacen("\"manifest\"", "\"image\"", 1),
            whole.replacen("\"freshness\"", "\"manifest\"", 1),
            whole.replacen("\"manifest\": {", "\"manifest\": null, \"other\": {", 1),
        ] {
            let error = Channel::parse(bad.as_bytes()).unwrap_err();
            assert!(matches!(error, EnvelopeError::Json(_)), "{bad}: {error:?}");
        }
    }

    #[test]
    fn each_envelope_is_bounded_as_it_is_alone() {
        let (manifest, freshness) = parts();
        let with = |part: &str, id: &str| {
            let json =
                String::from_utf8(channel(manifest.clone(), Some(freshness.clone()))).unwrap();
            let at = json.find(part).unwrap();
            let (before, after) = json.split_at(at);
            let keyid = &after[after.find("\"keyid\": \"").unwrap() + 10..][..16];
            format!("{before}{}", after.replacen(keyid, id, 1))
        };
        for part in ["\"manifest\"", "\"freshness\""] {
            let longest = "k".repeat(256);
            Channel::parse(with(part, &longest).as_bytes()).unwrap();
            let error = Channel::parse(with(part, &format!("{longest}k")).as_bytes()).unwrap_err();
            assert!(matches!(error, EnvelopeError::Excess { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_channel_is_read_up_to_its_limit() {
        let (manifest, freshness) = parts();
        let mut json = channel(manifest, Some(freshness));
        json.resize(1_048_576, b' ');
        Channel::parse(&json).unwrap();
        json.push(b' ');
        let error = Channel::parse(&json).unwrap_err();
        assert!(
            matches!(
                error,
                EnvelopeError::TooLarge {
                    found: 1_048_577,
                    limit: 1_048_576
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn a_channel_is_told_from_a_lone_envelope_by_its_first_key() {
        let (manifest, freshness) = parts();
        let whole = channel(manifest.clone(), Some(freshness));
        assert!(Channel::is_one(&whole));
        for json in [
            "{\"manifest\"",
            " \n{ \t\"manifest\": 1",
            "{\"freshness\": {",
        ] {
            assert!(Channel::is_one(json.as_bytes()), "{json}");
        }
        assert!(!Channel::is_one(&manifest.encode()));
        for json in [
            "",
            "{",
            "{}",
            "[\"manifest\"]",
            "\"manifest\"",
            "{\"payload\": \"manifest\"",
            "{\"manifests\"",
        ] {
            assert!(!Channel::is_one(json.as_bytes()), "{json}");
        }
    }
}
