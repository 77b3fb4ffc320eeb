//! `sealboot man`.

use super::Failure;

/// Stub.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(args: &Args, command: clap::Command) -> Result<(), Failure> {
    let Args {} = args;
    Err(Failure::new(format!(
        "{} not there yet",
        command.get_name()
    )))
}
