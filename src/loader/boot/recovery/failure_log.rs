//! The log of failed boots, where the machine can keep it: in an EFI variable.
//!
//! A loader that gives up, hangs or panics appends one record before the machine is reset. The next loader prints the
//! log, and removes it once an image is about to be entered: until then the machine has not had a good boot. Nothing is
//! written at other times, because the memory behind variables wears out.
//!
//! A machine without EFI keeps nothing. The kernels of distributions have no other place for it: their pstore keeps
//! the kernel's own last words after a crash, and accepts none of a program's (`CONFIG_PSTORE_PMSG`).

use std::path::Path;

use crate::boot::console::Console;
use sealboot_core::failure::causes;
use sealboot_core::format::failure_log::{FailureLog, FailureRecord};
use sealboot_sys::firmware::efi::{EfiError, Variable, Variables};

/// Prints the log of the previous boots, and returns it.
pub(in crate::boot) fn print(console: &mut Console<'_, impl std::io::Write>) -> FailureLog {
    let log = match read() {
        Ok(log) => log,
        Err(why) => {
            console.say(format_args!(
                "cannot read the failure record of the previous boot: {why}"
            ));
            FailureLog::default()
        }
    };
    for record in log.failures() {
        console.say(describe(record));
        console.say(format_args!(
            "last_failure at={} stage={} code={} attempts={} action={}",
            record.at,
            record.stage.as_deref().map_or("none", plain_word),
            plain_word(&record.code),
            record.attempts,
            plain_word(&record.action),
        ));
    }
    log
}

/// Appends a record to the log. Where that fails the console shows a warning, and nothing else follows.
pub(super) fn append(record: FailureRecord) {
    let mut log = read().unwrap_or_default();
    log.append(record);
    let written = variables().and_then(|variables| match variables {
        Some(variables) => variables.write(Variable::FAILURES, &log.encode()).map(drop),
        None => Ok(()),
    });
    if let Err(error) = written {
        tracing::warn!(
            "cannot record this failure for the next boot: {}",
            in_one_line(&error)
        );
    }
}

/// Removes the log: an image is about to be entered.
pub(in crate::boot) fn clear(console: &mut Console<'_, impl std::io::Write>, log: &FailureLog) {
    if log.failures().is_empty() {
        return;
    }
    let removed = variables().and_then(|variables| match variables {
        Some(variables) => variables.remove(Variable::FAILURES),
        None => Ok(()),
    });
    match removed {
        Ok(()) => console.say(format_args!(
            "the image is verified and loaded; cleared the record of failed boots: {}",
            log.failures().len()
        )),
        Err(error) => tracing::warn!(
            "cannot clear the record of failed boots: {}",
            in_one_line(&error)
        ),
    }
}

fn read() -> Result<FailureLog, String> {
    let stored = match variables() {
        Ok(Some(variables)) => variables.read(Variable::FAILURES),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    match stored.map_err(|error| in_one_line(&error))? {
        Some(bytes) => FailureLog::parse(&bytes).map_err(|error| in_one_line(&error)),
        None => Ok(FailureLog::default()),
    }
}

fn variables() -> Result<Option<Variables>, EfiError> {
    Variables::open(Path::new("/"))
}

fn describe(record: &FailureRecord) -> String {
    let stage = match &record.stage {
        Some(stage) => format!("in stage {}", plain_word(stage)),
        None => "outside of a stage".to_owned(),
    };
    let message: String = record
        .message
        .chars()
        .flat_map(char::escape_debug)
        .collect();
    format!(
        "a previous boot failed {stage} at {}: {}: {message}",
        record.at,
        plain_word(&record.code)
    )
}

/// Returns a word as a loader writes it; any other, which another program may have written, is not repeated.
fn plain_word(word: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !word.is_empty() && word.len() <= 40 && word.bytes().all(is_plain) {
        word
    } else {
        "unreadable"
    }
}

fn in_one_line(error: &(dyn std::error::Error + 'static)) -> String {
    causes(Some(error)).join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_record_cannot_imitate_a_line_of_the_loader() {
        let record = FailureRecord {
            at: "2026-11-21T12:00:00Z".parse().unwrap(),
            stage: Some("image status=ok".to_owned()),
            code: "FETCH-DNS".to_owned(),
            attempts: 3,
            action: "reboot".to_owned(),
            message: "x\nsealboot: stage=load status=ok\u{1b}[2J".to_owned(),
        };
        assert_eq!(
            describe(&record),
            "a previous boot failed in stage unreadable at 2026-11-21T12:00:00Z: FETCH-DNS: x\\nsealboot: stage=load status=ok\\u{1b}[2J"
        );
        for word in ["", "a b", "a=b", "a\nb", &"x".repeat(41)] {
            assert_eq!(plain_word(word), "unreadable");
        }
    }
}
