//! The channel file of an image: its newest envelope, and how fresh that is.
//!
//! ```json
//! {"manifest": <envelope>, "freshness": <envelope>}
//! ```
//!
//! Both stand in one file so that a mirror cannot show the one without the other by accident, and so
//! that a machine asks once. The file itself is unsigned; each of its envelopes is judged by itself.

use serde::{Deserialize, Serialize};

use super::envelope::{Envelope, EnvelopeError, Wire};
use crate::format::limits::LIMITS;

/// What `images/NAME.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// The newest envelope of the image.
    pub manifest: Envelope,
    /// The newest statement about which version is the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelWire {
    manifest: Wire,
    #[serde(default)]
    freshness: Option<Wire>,
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
        let wire: ChannelWire = serde_json::from_slice(json).map_err(EnvelopeError::Json)?;
        Ok(Self {
            manifest: wire.manifest.try_into()?,
            freshness: wire.freshness.map(TryInto::try_into).transpose()?,
        })
    }

    /// Whether this looks like a channel rather than a lone envelope, for tools that take both. Says
    /// nothing about whether it can be read.
    #[cfg(feature = "operator")]
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
