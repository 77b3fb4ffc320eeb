//! `sealboot policy merge`.

use std::path::PathBuf;

use clap::Args;

use super::roles::Roles;
use crate::cli::signatures::merge;
use crate::cli::support::{Failure, output};
use sealboot_core::trust::{Role, TrustPolicy};
use sealboot_store::Kind;
use sealboot_store::policy::{before, to_be_signed};

/// Join signatures that were made elsewhere to a policy's envelope, in place.
///
/// Takes what `sealboot policy sign --detached` wrote, and copies of the envelope that were signed in
/// place. A signature over anything else is refused, and then nothing is changed; one that is there
/// already is left as it is. Prints the path of the envelope.
///
/// Without --policy nothing is verified: the envelope then holds what the files held. With it, each
/// signature must be by a signer of one of the two policies, and it is said who is missing.
#[derive(Debug, Args)]
pub(in crate::cli) struct MergeArgs {
    /// Refuse signatures that no signer made, be it of this policy, which the new one follows, or of
    /// the new one
    #[arg(long, value_name = "OLD")]
    policy: Option<PathBuf>,

    /// Take the policy before this one from this store, found from OLD as a machine finds it
    #[arg(long, value_name = "DIR", requires = "policy")]
    store: Option<PathBuf>,

    /// The policy, or the envelope that holds it
    file: PathBuf,

    /// Detached signatures, or signed copies of the envelope
    #[arg(value_name = "SIGNATURE", required = true)]
    signatures: Vec<PathBuf>,
}

pub(super) fn run(args: &MergeArgs) -> Result<(), Failure> {
    let (file, policy) = to_be_signed(&args.file)?;
    let old = match &args.policy {
        Some(path) => Some(before(path, args.store.as_deref(), Some(policy.version()))?),
        None => None,
    };
    let roles = Roles {
        old: old.as_ref(),
        new: &policy,
    };
    let counting: Vec<Role<'_>> = match old {
        Some(_) => roles.each().map(TrustPolicy::signing).collect(),
        None => Vec::new(),
    };
    merge(&file, &args.signatures, &counting)?;
    if old.is_some() {
        output::talk(roles.standing(&Kind::Policy.read(file.shown())?).trim_end());
    } else {
        output::warn(
            "no signature was verified: give --policy, or leave it to `sealboot policy publish`",
        );
    }
    output::data(&format!("{}\n", file.shown().display()))
}
