//! `sealboot image sign`.

use std::path::PathBuf;

use clap::Args;

use super::{compare, describe};
use crate::cli::signatures;
use crate::cli::support::{Failure, output};
use sealboot_core::format::json::Read;
use sealboot_store::image::unverified;
use sealboot_store::path::Place;
use sealboot_store::{EnvelopeFile, Kind};

/// Add a signature to an envelope
///
/// Shows on stderr what is being signed, and what differs from the newest published version of the
/// image in the same store; on a terminal, it then asks. Read it: with your signature, machines that
/// trust your key may boot this image. The signature covers the manifest, and by its hashes every byte
/// of the archive; whether the archive is there and as described, `sealboot image verify` says.
///
/// Other signatures stay. Signing again with the same key changes nothing. The envelope may be a copy
/// that came by mail: sign it, send it back, and `sealboot image merge` joins it with the others.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    options: signatures::Options,

    /// The envelope that `sealboot image pack` made
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

pub(super) fn run(args: &SignArgs) -> Result<(), Failure> {
    let signer = args.options.signer()?;
    let file = EnvelopeFile::open(Kind::Image, &args.envelope)?;
    let Read {
        value: manifest,
        unknown,
    } = unverified(&args.envelope, file.envelope())?;
    args.options.sign(signer, &file, &unknown, |_| {
        output::talk(describe(&manifest).trim_end());
        let place = Place::of(&args.envelope);
        output::talk(compare::with_published(
            place.as_ref(),
            file.envelope(),
            &manifest,
        ));
    })?;
    Ok(())
}
