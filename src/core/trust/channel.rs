//! The channel file of an image: the releases that a server offers, and what is current.
//!
//! ```json
//! {"releases": [{"manifest": <envelope>}, …], "freshness": [<envelope>, …]}
//! ```
//!
//! The order of the releases is the server's preference, and all that it may decide. All of it stands in one file so
//! that a mirror cannot show one part without the other by accident, and so that a machine asks once. The file itself
//! is unsigned; each of its envelopes is judged by itself.

use serde::{Deserialize, Serialize};

use super::envelope::{Envelope, EnvelopeError, EnvelopeJson, Unknown};
use crate::format::json;
use crate::format::limits::LIMITS;

/// What `images/NAME.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// The releases that are offered, the preferred one first.
    pub releases: Vec<OfferedRelease>,
    /// Statements about which releases are current.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freshness: Vec<Envelope>,
    /// The fields that this version does not know.
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// A release in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfferedRelease {
    /// Its envelope.
    pub manifest: Envelope,
    /// The fields that this version does not know.
    #[serde(flatten)]
    unknown: Unknown,
}

impl From<Envelope> for OfferedRelease {
    fn from(manifest: Envelope) -> Self {
        Self {
            manifest,
            unknown: Unknown::new(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(expecting = "a channel")]
struct ChannelJson {
    releases: Vec<OfferedReleaseJson>,
    #[serde(default)]
    freshness: Vec<EnvelopeJson>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(expecting = "a release")]
struct OfferedReleaseJson {
    manifest: EnvelopeJson,
    #[serde(flatten)]
    unknown: Unknown,
}

impl TryFrom<OfferedReleaseJson> for OfferedRelease {
    type Error = EnvelopeError;

    fn try_from(json: OfferedReleaseJson) -> Result<Self, EnvelopeError> {
        Ok(Self {
            manifest: json.manifest.try_into()?,
            unknown: json.unknown,
        })
    }
}

impl Channel {
    /// Reads a channel file.
    ///
    /// # Errors
    ///
    /// As for [`Envelope::parse`], and [`EnvelopeError::Excess`] for more releases or statements than [`LIMITS`] allows.
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
        for (what, found, limit) in [
            ("releases", json.releases.len(), LIMITS.current_releases),
            ("freshness", json.freshness.len(), LIMITS.channel_statements),
        ] {
            if found > limit {
                return Err(EnvelopeError::ChannelExcess { what, found, limit });
            }
        }
        let releases = json.releases.into_iter().map(TryInto::try_into);
        let freshness = json.freshness.into_iter().map(TryInto::try_into);
        Ok(Self {
            releases: releases.collect::<Result<_, _>>()?,
            freshness: freshness.collect::<Result<_, _>>()?,
            unknown: json.unknown,
        })
    }

    /// Returns a channel of these.
    #[must_use]
    pub fn new(
        releases: impl IntoIterator<Item = Envelope>,
        freshness: impl IntoIterator<Item = Envelope>,
    ) -> Self {
        Self {
            releases: releases.into_iter().map(Into::into).collect(),
            freshness: freshness.into_iter().collect(),
            unknown: Unknown::new(),
        }
    }

    /// Whether this looks like a channel rather than a lone envelope, for tools that take both. Says
    /// nothing about whether it can be read.
    #[must_use]
    pub fn is_one(json: &[u8]) -> bool {
        let first_key = json.trim_ascii_start().strip_prefix(b"{");
        first_key.map(<[u8]>::trim_ascii_start).is_some_and(|key| {
            key.starts_with(b"\"releases\"") || key.starts_with(b"\"freshness\"")
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
    use super::super::testing::{freshness, manifest, sealed_freshness, sealed_manifest};
    use super::*;

    fn parts() -> (Envelope, Envelope) {
        (
            sealed_manifest(&manifest(42), &["alice"]),
            sealed_freshness(&freshness(42, 1), &["clockwork"]),
        )
    }

    fn whole() -> String {
        let (manifest, freshness) = parts();
        String::from_utf8(Channel::new([manifest], [freshness]).encode()).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let (manifest, freshness) = parts();
        for (releases, statements) in [(0, 0), (1, 0), (1, 1), (32, 4)] {
            let channel = Channel::new(
                vec![manifest.clone(); releases],
                vec![freshness.clone(); statements],
            );
            let json = channel.encode();
            assert_eq!(json.last(), Some(&b'\n'));
            assert_eq!(Channel::parse(&json).unwrap(), channel);
        }
    }

    #[test]
    fn unknown_fields_are_kept_at_every_level() {
        let json = whole()
            .replacen("\"releases\"", "\"notes\": {\"a\": [1]}, \"releases\"", 1)
            .replacen("\"manifest\"", "\"witness\": 7, \"manifest\"", 1);
        let channel = Channel::parse(json.as_bytes()).unwrap();
        let written = String::from_utf8(channel.encode()).unwrap();
        for field in ["\"notes\": {", "\"witness\": 7"] {
            assert!(written.contains(field), "{written}");
        }
        assert_eq!(Channel::parse(written.as_bytes()).unwrap(), channel);
    }

    #[test]
    fn what_is_no_channel_is_refused() {
        let (manifest, _) = parts();
        let (whole, lone) = (whole(), String::from_utf8(manifest.encode()).unwrap());
        for bad in [
            String::new(),
            lone.clone(),
            format!("[{lone}]"),
            format!("{whole}x"),
            whole.replacen("\"releases\"", "\"images\"", 1),
            whole.replacen("\"freshness\"", "\"releases\"", 1),
            whole.replacen("\"manifest\"", "\"image\"", 1),
            whole.replacen("\"releases\": [", "\"releases\": null, \"other\": [", 1),
        ] {
            let error = Channel::parse(bad.as_bytes()).unwrap_err();
            assert!(matches!(error, EnvelopeError::Json(_)), "{bad}: {error:?}");
        }
    }

    #[test]
    fn a_channel_has_at_most_32_releases_and_4_statements() {
        let (manifest, freshness) = parts();
        for (releases, statements) in [(33, 1), (1, 5)] {
            let channel = Channel::new(
                vec![manifest.clone(); releases],
                vec![freshness.clone(); statements],
            );
            let error = Channel::parse(&channel.encode()).unwrap_err();
            assert!(
                matches!(error, EnvelopeError::ChannelExcess { .. }),
                "{error:?}"
            );
        }
    }

    #[test]
    fn each_envelope_is_bounded_as_it_is_alone() {
        let with = |part: &str, id: &str| {
            let json = whole();
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
        let mut json = whole().into_bytes();
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
        assert!(Channel::is_one(whole().as_bytes()));
        for json in [
            "{\"releases\"",
            " \n{ \t\"releases\": 1",
            "{\"freshness\": {",
        ] {
            assert!(Channel::is_one(json.as_bytes()), "{json}");
        }
        assert!(!Channel::is_one(&parts().0.encode()));
        for json in [
            "",
            "{",
            "{}",
            "[\"releases\"]",
            "\"releases\"",
            "{\"payload\": \"releases\"",
            "{\"release\"",
        ] {
            assert!(!Channel::is_one(json.as_bytes()), "{json}");
        }
    }
}
