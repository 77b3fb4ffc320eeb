//! `sealboot policy`: creates, checks, signs and publishes what loaders accept.

mod advice;
mod check;
mod create;
mod describe;
mod fields;
mod keys;
mod merge;
mod publish;
mod roots;
mod rules;
mod sign;
#[cfg(test)]
mod testing;

use std::path::Path;

use clap::Subcommand;
use jiff::Timestamp;

use super::support::{Failure, output};
use sealboot_core::trust::TrustPolicy;
use sealboot_store::Store;
use sealboot_store::policy::{check_in_force, load};

/// Create, check, sign and publish trust policies: what a loader accepts
///
/// A policy has keys, and roles with the signatures that each needs: root signs the next
/// policy, release signs images, freshness the statements that list current releases, host config the
/// host configs. It names the images that may boot, and how fresh they must be. The first policy is
/// baked into the loader's initramfs. The next ones come from a store, each signed by root of the one
/// before and by its own root; nothing else changes what a machine trusts.
///
/// To replace a key of a fleet whose machines have trust.json baked in:
///
///   sealboot policy create --from trust.json --key A.pub --key B.pub --out trust-2.json
///   sealboot policy sign --policy trust.json --key K.key trust-2.json       each signer
///   sealboot image sign and publish, for the images that run: signed as both policies require
///   sealboot policy publish --policy trust.json --store DIR trust-2.signed.json
///   sealboot freshness renew, where the policy has a role for it
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Command {
    Create(Box<create::CreateArgs>),
    Check(check::CheckArgs),
    Sign(sign::SignArgs),
    Merge(merge::MergeArgs),
    Publish(publish::PublishArgs),
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Publish(args) => publish::run(&args),
    }
}

/// Reads the policy that machines have, and returns the one that judges there: the newest that follows it in `store`.
pub(super) fn newest(path: &Path, store: Option<&Path>) -> Result<TrustPolicy, Failure> {
    let policy = load(path)?;
    Ok(match store {
        Some(store) => Store::at(store).newest_policy(policy, &mut output::say)?,
        None => policy,
    })
}

/// As [`newest`], for what is published: refuses a policy under which machines refuse every image at `now`.
pub(super) fn in_force(path: &Path, store: &Path, now: Timestamp) -> Result<TrustPolicy, Failure> {
    let policy = newest(path, Some(store))?;
    check_in_force(&policy, now)?;
    Ok(policy)
}
