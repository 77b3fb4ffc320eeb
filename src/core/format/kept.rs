//! What a loader keeps of its failures for the next one: a few lines of JSON, in the machine's own memory.
//!
//! ```json
//! {"ends": [{"at": "2026-11-21T12:00:00Z", "stage": "image", "code": "FETCH-STALLED", "failures": 20,
//!            "then": "reboot", "says": "https://boot.example/… sent nothing for 20 s"}]}
//! ```
//!
//! Whoever can write to the firmware's variables can write this, so it is read within bounds, printed and acted upon
//! in no way. It names no more than the console has shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::json;

/// Ends of a loader that are kept: a fault that lasts looks the same every time.
const ENDS: usize = 4;

/// Bytes of what is said about each; quoted in JSON they are twice as many at most.
const SAYS_BYTES: usize = 400;

/// Bytes that are read and written at most. Firmware has some tens of kilobytes for all variables of a machine.
pub const KEPT_BYTES: usize = 4096;

/// The ends of the loaders before this one that did not end in an image, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    ends: Vec<End>,
}

/// How a loader ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When, by a clock that may have been wrong.
    pub at: Timestamp,
    /// In which stage, where it was in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The stable name of the failure.
    pub code: String,
    /// How many failures there were before it was given up.
    pub failures: u32,
    /// What it did then.
    pub then: Then,
    /// The failure in words.
    pub says: String,
}

/// What a loader did last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// It rebooted the machine.
    Reboot,
    /// It entered its fallback.
    Fallback,
    /// It powered the machine off.
    PowerOff,
}

impl std::fmt::Display for Then {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reboot => "reboot",
            Self::Fallback => "fallback",
            Self::PowerOff => "power-off",
        })
    }
}

/// It is nothing that a loader has kept.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// Longer than a loader writes it.
    #[error("it is longer than {KEPT_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or JSON of another shape; the message can be shown.
    #[error("it is not the JSON it should be")]
    Json(#[source] serde_json::Error),
}

impl Kept {
    /// Reads what was kept.
    ///
    /// # Errors
    ///
    /// [`KeptError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, KeptError> {
        if bytes.len() > KEPT_BYTES {
            return Err(KeptError::TooLarge);
        }
        let read = json::read(bytes).map_err(|error| KeptError::Json(error.source))?;
        Ok(read.value)
    }

    /// Writes it, in one line.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self)
            .unwrap_or_else(|error| unreachable!("this holds no map and no float: {error}"))
    }

    /// Adds an end, shortened to what fits, and forgets those that are too many.
    pub fn add(&mut self, mut end: End) {
        // A control character would take six bytes, and means nothing here.
        end.says = end.says.replace(char::is_control, " ");
        if end.says.len() > SAYS_BYTES {
            end.says.truncate(end.says.floor_char_boundary(SAYS_BYTES));
            end.says.push('…');
        }
        self.ends.push(end);
        let too_many = self.ends.len().saturating_sub(ENDS);
        self.ends.drain(..too_many);
    }

    /// What was kept, oldest first.
    #[must_use]
    pub fn ends(&self) -> &[End] {
        &self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(failures: u32) -> End {
        End {
            at: "2026-11-21T12:00:00Z".parse().unwrap(),
            stage: Some("image".to_owned()),
            code: "FETCH-STALLED".to_owned(),
            failures,
            then: Then::Reboot,
            says: "https://boot.example/ sent nothing for 20 s".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut kept = Kept::default();
        kept.add(end(20));
        kept.add(End {
            stage: None,
            then: Then::PowerOff,
            ..end(1)
        });
        assert_eq!(Kept::parse(&kept.encode()).unwrap(), kept);
        let json = String::from_utf8(kept.encode()).unwrap();
        assert!(json.starts_with(
            r#"{"ends":[{"at":"2026-11-21T12:00:00Z","stage":"image","code":"FETCH-STALLED","failures":20,"then":"reboot","says":"#
        ), "{json}");
    }

    #[test]
    fn the_last_four_are_kept_and_fit_whatever_they_say() {
        let mut kept = Kept::default();
        for failures in 0..100 {
            kept.add(end(failures));
        }
        let left: Vec<u32> = kept.ends().iter().map(|end| end.failures).collect();
        assert_eq!(left, [96, 97, 98, 99]);
        for says in ["\u{7}", "ä", "\"", "\\", "\n", "💾"] {
            for _ in 0..4 {
                kept.add(End {
                    says: says.repeat(10_000),
                    ..end(u32::MAX)
                });
            }
            assert_eq!(Kept::parse(&kept.encode()).unwrap(), kept, "{says:?}");
        }
    }

    #[test]
    fn what_anyone_may_have_written_is_refused() {
        let mut kept = Kept::default();
        kept.add(end(20));
        let json = String::from_utf8(kept.encode()).unwrap();
        for bad in [
            String::new(),
            "{}".to_owned(),
            "[[]]".to_owned(),
            format!("{json}x"),
            json.replace("\"reboot\"", "\"sleep\""),
            json.replace("\"code\"", "\"cause\""),
            json.replace("2026-11-21", "2026-13-41"),
            format!("{json}{}", " ".repeat(KEPT_BYTES)),
        ] {
            assert!(Kept::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
