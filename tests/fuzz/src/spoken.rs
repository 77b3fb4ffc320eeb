//! What a refusal says on the console, where the bytes that were refused must not speak for themselves.

use sealboot_core::failure::{Diagnose, Report};

/// More than any refusal needs, one that names 32 signers included; a serial console takes less than a
/// second for as much.
const LONGEST: usize = 8 << 10;

/// Asserts that a person can read why something was refused, and that nothing in it passes for a line
/// of the loader or for a command to the terminal.
pub fn is_safe_to_print(error: &impl Diagnose) {
    assert!(!error.hint().is_empty());
    let report = Report(error).to_string();
    assert!(
        report.len() <= LONGEST,
        "{} bytes: {report:?}",
        report.len()
    );
    let (first, more) = report.split_once('\n').expect("a report ends in a hint");
    assert!(!first.is_empty());
    for line in more.split('\n') {
        assert!(line.starts_with("  "), "{line:?} of {report:?}");
    }
    assert_eq!(report.matches("\n  hint: ").count(), 1, "{report:?}");
    let unsafe_at = report.find(|character: char| character.is_control() && character != '\n');
    assert_eq!(unsafe_at, None, "{report:?}");
}
