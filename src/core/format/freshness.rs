//! The freshness statement: which version of an image is the newest, said for a short while.
//!
//! An image may live for months; whether a newer one exists is something that only its publisher
//! knows, and that a mirror which wants to hold machines back, or has stopped being updated, would not
//! say. So a key of its own, which may live on a server because it can release nothing, signs every
//! few hours what is current; a policy that requires it refuses a mirror that shows an old statement.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Invalid;
use super::limits::LIMITS;
use super::manifest::{ImageName, ImageVersion};
use super::payload::{self, Payload, PayloadError};
use super::time;
use super::version::PolicyVersion;

/// What is current, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// The image that this is about.
    pub name: ImageName,
    /// Its newest version: an older one is stale.
    pub version: ImageVersion,
    /// The newest version of the trust policy: a machine that has walked to an older one was kept from
    /// the rest of the chain.
    pub trust: PolicyVersion,
    /// When this was said.
    #[serde(with = "time")]
    pub created: Timestamp,
    /// Until when it counts.
    #[serde(with = "time")]
    pub expires: Timestamp,
}

impl Payload for Freshness {
    const TYPE: &'static str = Self::PAYLOAD_TYPE;
    const NAME: &'static str = "freshness statement";
    const LIMIT: u64 = LIMITS.payload_bytes;

    fn check(&self) -> Result<(), Invalid> {
        if self.expires <= self.created {
            return Err(Invalid::new("expires", self.expires, "after `created`"));
        }
        Ok(())
    }
}

impl Freshness {
    /// The DSSE payload type of this format.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.sealboot.freshness.v1+json";

    /// Reads a statement and checks that its fields agree.
    ///
    /// # Errors
    ///
    /// [`PayloadError`], for the first rule that it breaks.
    pub fn parse(json: &[u8]) -> Result<Self, PayloadError> {
        payload::parse(json)
    }

    /// Encodes the statement as the bytes to sign: compact JSON in the order of the fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        payload::encode(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESHNESS: &str = concat!(
        r#"{"name":"relay","version":42,"trust":3,"#,
        r#""created":"2026-11-21T12:00:00Z","expires":"2026-11-22T12:00:00Z"}"#,
    );

    #[test]
    fn a_statement_is_read_and_written() {
        let freshness = Freshness::parse(FRESHNESS.as_bytes()).expect("valid");
        assert_eq!(freshness.version.as_u64(), 42);
        assert_eq!(freshness.trust.as_u64(), 3);
        assert_eq!(freshness.encode(), FRESHNESS.as_bytes());
    }

    #[test]
    fn a_statement_that_was_never_fresh_contradicts_itself() {
        for expires in ["2026-11-21T12:00:00Z", "2026-11-21T11:59:59Z"] {
            let json = FRESHNESS.replace("2026-11-22T12:00:00Z", expires);
            let error = Freshness::parse(json.as_bytes()).expect_err(&json);
            assert!(
                matches!(&error, PayloadError::Contradiction(invalid) if invalid.field == "expires"),
                "{error:?}"
            );
        }
        let one_second = FRESHNESS.replace("2026-11-22T12:00:00Z", "2026-11-21T12:00:01Z");
        Freshness::parse(one_second.as_bytes()).expect("fresh for a second");
    }

    #[test]
    fn fields_of_another_shape_are_refused() {
        for (from, to) in [
            (r#""trust":3,"#, ""),
            (r#""trust":3"#, r#""trust":0"#),
            (r#""trust":3"#, r#""trust":"3""#),
            (r#""trust":3"#, r#""trust":3,"trust":3"#),
            ("relay", "../relay"),
            ("2026-11-22T", "2026-13-22T"),
        ] {
            let json = FRESHNESS.replacen(from, to, 1);
            assert_ne!(json, FRESHNESS);
            Freshness::parse(json.as_bytes()).expect_err(&json);
        }
    }
}
