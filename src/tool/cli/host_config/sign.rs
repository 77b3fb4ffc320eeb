//! `sealboot host-config sign`.

use std::path::PathBuf;

use clap::Args;

use super::{describe, doubts, to_be_signed};
use crate::cli::signatures::{self, Outcome};
use crate::cli::support::{Failure, output, time};
use sealboot_core::format::json::Read;

/// Add a signature to a host config
///
/// Shows on stderr what is being signed; on a terminal, it then asks. Read it: with your signature,
/// every machine whose trust policy names your key for host configs asks these mirrors for this image.
/// Its list `for` names the machines that it is for; without one, any machine takes it.
///
/// A plain host config is signed in an envelope beside it, byte for byte: host.json in host.signed.json. If it has no
/// `created`, the tool adds the current time, so the other signers have to sign that envelope and not a copy of the
/// plain file. An envelope is signed in place, and keeps its other signatures. Prints the path of the envelope, which
/// replaces the plain file: in `initramfs build --host-config`, or wherever a machine finds its host config.
/// --print-signed-bytes writes that envelope too, without a signature.
#[derive(Debug, Args)]
pub(in crate::cli) struct SignArgs {
    #[command(flatten)]
    options: signatures::Options,

    /// The host config, or the envelope that holds it
    file: PathBuf,
}

pub(super) fn run(args: &SignArgs) -> Result<(), Failure> {
    let signer = args.options.signer()?;
    let now = time::today()?;
    let (
        file,
        Read {
            value: config,
            unknown,
        },
    ) = to_be_signed(&args.file)?;
    let outcome = args.options.sign(signer, &file, &unknown, |_| {
        output::talk(describe(&config, None, None).trim_end());
        doubts(&config, now).iter().for_each(output::warn);
    })?;
    if outcome == Outcome::Printed {
        return Ok(());
    }
    output::data(&format!("{}\n", file.shown().display()))
}
