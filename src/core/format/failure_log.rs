//! The record of failed boots that one loader leaves to the next: a few lines of JSON, in the machine's own memory.
//!
//! ```json
//! {"failures": [{"at": "2026-11-21T12:00:00Z", "stage": "image", "code": "FETCH-STALLED", "attempts": 20,
//!                "action": "reboot", "message": "https://boot.example/… sent nothing for 20 s"}]}
//! ```
//!
//! Any program that can write the firmware's variables can write this record. So the loader reads it within bounds,
//! prints it, and decides nothing by it. It contains no more than the console has shown. An unknown field is ignored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::json;

/// Records that are kept: a fault that lasts looks the same every time.
const RECORDS: usize = 4;

/// Bytes of each message; quoted in JSON they are twice as many at most.
const MESSAGE_BYTES: usize = 400;

/// Bytes that are read and written at most. Firmware has some tens of kilobytes for all variables of a machine.
pub const FAILURE_LOG_BYTES: usize = 4096;

/// The failed boots since the last image was entered, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureLog {
    failures: Vec<FailureRecord>,
}

/// One failed boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// The time of the failure, by a clock that may have been wrong.
    pub at: Timestamp,
    /// The stage that failed; absent where the loader was in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The failure code.
    pub code: String,
    /// Failed attempts of that boot; 0 where the loader panicked or hung.
    pub attempts: u32,
    /// The action that followed: a value of the policy's `final_action`.
    pub action: String,
    /// The failure and its causes.
    pub message: String,
}

/// The bytes are not a failure log.
#[derive(Debug, thiserror::Error)]
pub enum FailureLogError {
    /// Longer than a loader writes it.
    #[error("it is longer than {FAILURE_LOG_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or JSON of another shape; the message can be shown.
    #[error("it is not JSON of the expected shape")]
    Json(#[source] serde_json::Error),
}

impl FailureLog {
    /// Reads a log.
    ///
    /// # Errors
    ///
    /// [`FailureLogError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FailureLogError> {
        if bytes.len() > FAILURE_LOG_BYTES {
            return Err(FailureLogError::TooLarge);
        }
        let read = json::read(bytes).map_err(|error| FailureLogError::Json(error.source))?;
        Ok(read.value)
    }

    /// Writes it, in one line.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self)
            .unwrap_or_else(|error| unreachable!("this holds no map and no float: {error}"))
    }

    /// Appends a record, shortened to what fits, and removes the oldest ones above the bound.
    pub fn append(&mut self, mut record: FailureRecord) {
        // A control character would take six bytes, and means nothing here.
        record.message = record.message.replace(char::is_control, " ");
        if record.message.len() > MESSAGE_BYTES {
            let end = record.message.floor_char_boundary(MESSAGE_BYTES);
            record.message.truncate(end);
            record.message.push('…');
        }
        self.failures.push(record);
        let too_many = self.failures.len().saturating_sub(RECORDS);
        self.failures.drain(..too_many);
    }

    /// Returns the records, oldest first.
    #[must_use]
    pub fn failures(&self) -> &[FailureRecord] {
        &self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(attempts: u32) -> FailureRecord {
        FailureRecord {
            at: "2026-11-21T12:00:00Z".parse().unwrap(),
            stage: Some("image".to_owned()),
            code: "FETCH-STALLED".to_owned(),
            attempts,
            action: "reboot".to_owned(),
            message: "https://boot.example/ sent nothing for 20 s".to_owned(),
        }
    }

    #[test]
    fn a_written_log_is_read() {
        let mut log = FailureLog::default();
        log.append(record(20));
        log.append(FailureRecord {
            stage: None,
            action: "power-off".to_owned(),
            ..record(1)
        });
        assert_eq!(FailureLog::parse(&log.encode()).unwrap(), log);
        let json = String::from_utf8(log.encode()).unwrap();
        assert!(json.starts_with(
            r#"{"failures":[{"at":"2026-11-21T12:00:00Z","stage":"image","code":"FETCH-STALLED","attempts":20,"action":"reboot","message":"#
        ), "{json}");
    }

    #[test]
    fn the_last_four_records_are_kept_and_always_fit() {
        let mut log = FailureLog::default();
        for attempts in 0..100 {
            log.append(record(attempts));
        }
        let left: Vec<u32> = log.failures().iter().map(|it| it.attempts).collect();
        assert_eq!(left, [96, 97, 98, 99]);
        for message in ["\u{7}", "ä", "\"", "\\", "\n", "💾"] {
            for _ in 0..4 {
                log.append(FailureRecord {
                    message: message.repeat(10_000),
                    ..record(u32::MAX)
                });
            }
            assert_eq!(
                FailureLog::parse(&log.encode()).unwrap(),
                log,
                "{message:?}"
            );
        }
    }

    #[test]
    fn a_log_of_a_newer_loader_is_read() {
        let mut log = FailureLog::default();
        log.append(record(20));
        let json = String::from_utf8(log.encode()).unwrap();
        let newer = json
            .replace("\"reboot\"", "\"next-release\"")
            .replace("{\"at\"", "{\"release\":43,\"at\"");
        let log = FailureLog::parse(newer.as_bytes()).unwrap();
        assert_eq!(log.failures()[0].action, "next-release");
    }

    #[test]
    fn a_malformed_log_is_refused() {
        let mut log = FailureLog::default();
        log.append(record(20));
        let json = String::from_utf8(log.encode()).unwrap();
        for bad in [
            String::new(),
            "{}".to_owned(),
            "[[]]".to_owned(),
            format!("{json}x"),
            json.replace("\"code\"", "\"cause\""),
            json.replace("2026-11-21", "2026-13-41"),
            format!("{json}{}", " ".repeat(FAILURE_LOG_BYTES)),
        ] {
            assert!(FailureLog::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
