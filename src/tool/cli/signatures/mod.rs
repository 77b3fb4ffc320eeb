//! Signatures over a statement in a file, of any kind, as the commands create, add and show them.

mod attach;
mod sign;

use std::path::PathBuf;

use super::support::{Failure, output};
use sealboot_core::trust::Role;
use sealboot_store::EnvelopeFile;
use sealboot_store::merge::Merge;
use sealboot_store::tally::{Counted, names};

pub(super) use attach::Command;
pub(super) use sign::{Options, Outcome};

/// Runs a command of `sealboot signature`.
pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Attach(args) => attach::run(&args),
    }
}

/// Joins copies of an envelope in its file, and says on stderr what became of each signature.
pub(super) fn merge(
    file: &EnvelopeFile,
    copies: &[PathBuf],
    roles: &[Role<'_>],
) -> Result<(), Failure> {
    let merged = Merge::read(file, copies, roles)?.write()?;
    merged.joined.iter().for_each(output::talk);
    output::talk(now_holds(file, merged.signatures));
    Ok(())
}

/// `FILE now holds 2 signatures`.
fn now_holds(file: &EnvelopeFile, count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!(
        "{} now holds {count} signature{plural}",
        file.shown().display()
    )
}

/// The rows of a description of who has signed.
pub(super) fn rows(counted: &Counted) -> Vec<[String; 2]> {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let signed = if counted.signers.is_empty() {
        "nobody".to_owned()
    } else {
        names(&counted.signers)
    };
    let required = match counted.missing {
        0 => format!("{} required", counted.required),
        missing => format!("{} required, {missing} missing", counted.required),
    };
    let mut rows = vec![row("signed by", format!("{signed} ({required})"))];
    if !counted.not_signed_by.is_empty() {
        rows.push(row("not signed by", names(&counted.not_signed_by)));
    }
    let ignored = counted.ignored.iter();
    rows.extend(ignored.map(|ignored| row("ignored", ignored.to_string())));
    rows
}

/// The rows as text.
pub(super) fn describe(counted: &Counted) -> String {
    output::columns(rows(counted))
}
