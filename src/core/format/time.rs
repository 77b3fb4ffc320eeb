//! Times in signed statements: exactly `YYYY-MM-DDTHH:MM:SSZ`.
//!
//! RFC 3339 has many spellings of one second, and readers disagree about leap seconds and fractions. The formats use
//! one spelling, in UTC and in whole seconds. For `#[serde(with = "…")]`.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de};

use super::Invalid;

/// Parses a time in the only spelling of the formats.
///
/// # Errors
///
/// [`Invalid`] for another spelling, and for a day or second that does not exist.
pub fn parse(text: &str) -> Result<Timestamp, Invalid> {
    let invalid = || Invalid::new("time", text, "a time as 2026-12-31T23:59:59Z");
    let spelled = text.len() == 20
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            19 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    // A leap second is read as the second before it.
    if !spelled || text[17..19] > *"59" {
        return Err(invalid());
    }
    text.parse().map_err(|_| invalid())
}

/// Writes a time; its fraction of a second is cut.
///
/// # Errors
///
/// The serializer's.
pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let seconds = Timestamp::from_second(time.as_second()).unwrap_or(*time);
    serializer.collect_str(&seconds)
}

/// Reads a time.
///
/// # Errors
///
/// As [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Times that may be absent; with `#[serde(default, skip_serializing_if = "Option::is_none")]`.
pub mod option {
    use super::{Deserializer, Serializer, Timestamp};

    /// Writes a time, if there is one.
    ///
    /// # Errors
    ///
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a time.
    ///
    /// # Errors
    ///
    /// As [`super::parse`].
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, Deserialize)]
    struct Times {
        #[serde(with = "super")]
        at: Timestamp,
        #[serde(with = "option", default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    }

    #[test]
    fn a_time_reads_back_as_it_is_written() {
        for json in [
            r#"{"at":"2026-11-30T00:00:00Z"}"#,
            r#"{"at":"1970-01-01T00:00:00Z","until":"9999-12-30T22:00:00Z"}"#,
            r#"{"at":"2024-02-29T23:59:59Z"}"#,
        ] {
            let times: Times = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&times).unwrap(), json);
        }
        let whole = parse("2026-11-30T00:00:07Z").unwrap();
        let at = whole + jiff::SignedDuration::from_millis(900);
        let json = serde_json::to_string(&Times { at, until: None }).unwrap();
        assert_eq!(json, r#"{"at":"2026-11-30T00:00:07Z"}"#);
    }

    #[test]
    fn a_time_has_one_spelling() {
        for bad in [
            "",
            "2026-11-30",
            "2026-11-30T00:00:00",
            "2026-11-30T00:00:00z",
            "2026-11-30t00:00:00Z",
            "2026-11-30 00:00:00Z",
            "2026-11-30T00:00:00+00:00",
            "2026-11-30T00:00:00.0Z",
            "2026-11-30T00:00Z",
            "2026-11-30T23:59:60Z",
            "2026-11-30T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "20261-1-30T00:00:00Z",
            "+002026-11-30T00:00:00Z",
            "2026-11-30T00:00:00Z ",
            "２026-11-30T00:00Z",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
