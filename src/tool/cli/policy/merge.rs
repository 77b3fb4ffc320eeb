//! `sealboot policy merge`.

use std::path::PathBuf;

use clap::Args;

use super::roots::Roots;
use crate::cli::signatures::merge;
use crate::cli::support::{Failure, output};
use sealboot_core::trust::Role;
use sealboot_store::Kind;
use sealboot_store::policy::{ToSign, before, to_be_signed};

/// Join signed copies of a policy's envelope, in place
///
/// Each signer signs a copy with `sealboot policy sign`. A copy of anything else is refused, and then
/// nothing is changed. What is there already stays, and so do fields that this version does not know.
/// Prints the path of the envelope.
///
/// Without --policy nothing is verified: the envelope then holds what the copies held. With it, each
/// new signature must be by a root key of one of the two policies, and stderr has which are missing.
#[derive(Debug, Args)]
pub(in crate::cli) struct MergeArgs {
    /// Refuse signatures that no root key made: of this policy, which the new one follows, or of the
    /// new one
    #[arg(long, value_name = "OLD")]
    policy: Option<PathBuf>,

    /// Take the policy before this one from this store, found from OLD as a machine finds it
    #[arg(long, value_name = "DIR", requires = "policy")]
    store: Option<PathBuf>,

    /// The policy, or the envelope that holds it
    file: PathBuf,

    /// Signed copies of the envelope
    #[arg(value_name = "COPY", required = true)]
    copies: Vec<PathBuf>,
}

pub(super) fn run(args: &MergeArgs) -> Result<(), Failure> {
    let ToSign { file, policy, .. } = to_be_signed(&args.file)?;
    let old = match &args.policy {
        Some(path) => Some(before(path, args.store.as_deref(), Some(policy.version()))?.value),
        None => None,
    };
    let roots = Roots {
        old: old.as_ref(),
        new: &policy,
    };
    let counting: Vec<Role<'_>> = match old {
        Some(_) => roots.each().collect(),
        None => Vec::new(),
    };
    merge(&file, &args.copies, &counting)?;
    if old.is_some() {
        output::talk(roots.standing(&Kind::Policy.read(file.shown())?).trim_end());
    } else {
        output::warn(
            "no signature was verified: give --policy, or leave it to `sealboot policy publish`",
        );
    }
    output::data(&format!("{}\n", file.shown().display()))
}
