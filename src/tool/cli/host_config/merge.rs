//! `sealboot host-config merge`.

use std::path::PathBuf;

use clap::Args;

use super::to_be_signed;
use crate::cli::signatures::merge;
use crate::cli::support::{Failure, output};
use sealboot_core::trust::{Refusal, Role, TrustPolicy};
use sealboot_store::policy::load;

/// Join signed copies of a host config's envelope, in place
///
/// Each signer signs a copy with `sealboot host-config sign`. A copy of anything else is refused, and
/// then nothing is changed. What is there already stays, and so do fields that this version does not
/// know. Prints the path of the envelope.
///
/// Without --policy nothing is verified: the envelope then holds what the copies held.
#[derive(Debug, Args)]
pub(in crate::cli) struct MergeArgs {
    /// Refuse signatures that nobody made whom this trust policy names for host configs
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The host config, or the envelope that holds it
    file: PathBuf,

    /// Signed copies of the envelope
    #[arg(value_name = "COPY", required = true)]
    copies: Vec<PathBuf>,
}

pub(super) fn run(args: &MergeArgs) -> Result<(), Failure> {
    let policy = args.policy.as_deref().map(load).transpose()?;
    let roles: Vec<Role<'_>> = match &policy {
        Some(policy) => vec![
            TrustPolicy::host_config_role(policy)
                .ok_or_else(|| Failure::refused(&Refusal::HostRole))?,
        ],
        None => Vec::new(),
    };
    let (file, _) = to_be_signed(&args.file)?;
    merge(&file, &args.copies, &roles)?;
    if policy.is_none() {
        output::warn(
            "no signature was verified: give --policy, or run `sealboot host-config check --policy` on the envelope",
        );
    }
    output::data(&format!("{}\n", file.shown().display()))
}
