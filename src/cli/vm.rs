//! `sealboot vm`.

use clap::Subcommand;

use super::Failure;

/// Stub.
#[derive(Debug, Subcommand)]
pub(super) enum Command {}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {}
}
