//! `sealboot image merge`.

use std::path::PathBuf;

use clap::Args;

use super::release_role;
use crate::cli::policy;
use crate::cli::signatures::{describe, merge};
use crate::cli::support::{Failure, output};
use sealboot_store::image::unverified_manifest;
use sealboot_store::path::Place;
use sealboot_store::tally::Counted;
use sealboot_store::{EnvelopeFile, Kind};

/// Join signed copies of an envelope, in place
///
/// Each signer signs a copy with `sealboot image sign`. A copy of anything else is refused, and then
/// nothing is changed. What is there already stays, and so do fields that this version does not know.
///
/// Without --policy nothing is verified: the envelope then holds what the copies held. With it, each
/// new signature must be by one of the policy's signers, and stderr has how many are missing.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Refuse signatures that no signer of this trust policy made
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The envelope that `sealboot image pack` made
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,

    /// Signed copies of the envelope
    #[arg(value_name = "COPY", required = true)]
    copies: Vec<PathBuf>,
}

pub(super) fn run(args: &MergeArgs) -> Result<(), Failure> {
    let store = Place::of(&args.envelope).map(|place| place.store.root().to_owned());
    let policy = match &args.policy {
        Some(path) => Some(policy::newest(path, store.as_deref())?),
        None => None,
    };
    let file = EnvelopeFile::open(Kind::Image, &args.envelope)?;
    let name = unverified_manifest(&args.envelope, file.envelope())?.name;
    let role = match &policy {
        Some(policy) => Some(release_role(policy, &name)?),
        None => None,
    };
    merge(&file, &args.copies, role.as_slice())?;
    match role {
        Some(role) => {
            let counted = Counted::of(role, &Kind::Image.read(&args.envelope)?);
            output::talk(describe(&counted).trim_end());
        }
        None => output::warn(
            "no signature was verified: give --policy, or run `sealboot image verify` on the envelope",
        ),
    }
    Ok(())
}
