//! The channel file of an image: its newest envelope, and how fresh that is.
//!
//! ```json
//! {"manifest": <envelope>, "freshness": <envelope>}
//! ```
//!
//! Both stand in one file so that a mirror cannot show the one without the other by accident, and so
//! that a machine asks once. The file itself is unsigned; each of its envelopes is judged by itself.

use serde::{Deserialize, Serialize};

use super::envelope::{Envelope, EnvelopeError};
use crate::format::json;
use crate::format::limits::LIMITS;

/// What `images/NAME.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// The newest envelope of the image.
    pub manifest: Envelope,
    /// The newest statement about which version is the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Envelope>,
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
        json::from_slice(json).map_err(EnvelopeError::Json)
    }

    /// Whether this is a channel file rather than a lone envelope, for tools that take both. Says nothing
    /// about whether it can be read.
    #[cfg(feature = "operator")]
    #[must_use]
    pub fn is_one(json: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Probe {
            #[serde(rename = "manifest")]
            _manifest: serde::de::IgnoredAny,
        }
        serde_json::from_slice::<Probe>(json).is_ok()
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
