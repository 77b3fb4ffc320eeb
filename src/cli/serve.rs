//! `sealboot serve`.

use super::Failure;

/// Stub.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let Args {} = args;
    Err(Failure::new("not there yet"))
}
