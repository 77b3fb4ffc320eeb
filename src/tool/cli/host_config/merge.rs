//! `sealboot host-config merge`.

use std::path::PathBuf;

use clap::Args;

use super::to_be_signed;
use crate::cli::signatures::merge;
use crate::cli::support::{Failure, output};
use sealboot_core::trust::{Refusal, Role, TrustPolicy};
use sealboot_store::policy::load;

/// Join signatures that were made elsewhere to a host config's envelope, in place.
///
/// Takes what `sealboot host-config sign --detached` wrote, and copies of the envelope that were signed
/// in place. A signature over anything else is refused, and then nothing is changed; one that is there
/// already is left as it is. Prints the path of the envelope.
///
/// Without --policy nothing is verified: the envelope then holds what the files held.
#[derive(Debug, Args)]
pub(in crate::cli) struct MergeArgs {
    /// Refuse signatures that nobody made whom this trust policy names for host configs
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The host config, or the envelope that holds it
    file: PathBuf,

    /// Detached signatures, or signed copies of the envelope
    #[arg(value_name = "SIGNATURE", required = true)]
    signatures: Vec<PathBuf>,
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
    merge(&file, &args.signatures, &roles)?;
    if policy.is_none() {
        output::warn(
            "no signature was verified: give --policy, or run `sealboot host-config check --policy` on the envelope",
        );
    }
    output::data(&format!("{}\n", file.shown().display()))
}
