//! `sealboot image`.

use clap::Subcommand;

use super::{Failure, image_pack};

/// Pack, sign, check and publish images
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Pack(image_pack::PackArgs),
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Pack(args) => image_pack::run(args),
    }
}
