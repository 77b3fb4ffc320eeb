//! `sealboot policy publish`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::roots::Roots;
use crate::cli::support::{Failure, output, passphrase, time};
use sealboot_core::format::version::PolicyVersion;
use sealboot_store::tally::{in_words, names};
use sealboot_store::{Break, NextPolicy, Orphan, Published, Step, Store};

/// Publish the next trust policy to a store
///
/// Walks the store's policies from the one that is baked in, as a machine does, checks that the signed
/// policy is the next one, and writes it to the store. From then on it judges everything for all
/// machines that read this store: a removed key counts for nothing at once. Prints the path of what
/// they fetch. What was published stays: a policy is replaced by one that follows it.
///
/// What the new policy would orphan is named first, and nothing is done until the operator agrees:
/// current releases and freshness statements of the store, and the host configs of --host-config. To
/// avoid it, have each release that runs signed as both policies require, and publish it again, before
/// the policy. Keys that left root are named too: until the initramfs is built again with the new
/// policy, enough of them can fork the chain.
#[derive(Debug, Args)]
pub(in crate::cli) struct PublishArgs {
    /// The trust policy that the machines have
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The store to publish in
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// A host config that machines have, plain or signed, to be judged by the new policy too (repeatable)
    #[arg(long = "host-config", value_name = "FILE")]
    host_configs: Vec<PathBuf>,

    /// Publish though the new policy orphans this: an image and the version that machines boot, or a
    /// host config's file and the version of the new policy (repeatable)
    #[arg(long, value_name = "NAME=VERSION")]
    breaks: Vec<Break>,

    /// The signed policy
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

pub(super) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let store = Store::open(&args.store)?;
    let prepared = store.prepare_policy(
        &args.policy,
        &args.envelope,
        &args.host_configs,
        time::now(),
    )?;
    let next = match prepared {
        Step::Published { path, version } => return nothing_to_do(version, &path),
        Step::Next(next) => next,
    };
    next.orphans().iter().for_each(output::warn);
    next.waiting().iter().for_each(output::warn);
    next.ends_soon().iter().for_each(output::warn);
    fork(&next).iter().for_each(output::warn);
    unmatched(&next, &args.breaks).iter().for_each(output::warn);
    let mut agreed = args.breaks.clone();
    agreed.extend(agreed_to(&next, &agreed)?);

    let version = next.policy().version();
    let roles = &next.policy().fields().roles;
    let mut images = next.policy().images().iter();
    let renewed = roles.freshness.is_some() || images.any(|image| image.freshness.is_some());
    let roots = Roots {
        old: Some(next.before()),
        new: next.policy(),
    };
    let standing = roots.standing(next.envelope());
    let path = match next.publish(&agreed)? {
        Published::Now(path) => path,
        Published::Before(path) => return nothing_to_do(version, &path),
    };
    output::talk(format!("published version {version} of the trust policy"));
    output::talk(standing.trim_end());
    if renewed {
        output::talk(
            "now run `sealboot freshness renew`: until then, a mirror can keep the new policy from machines unnoticed",
        );
    }
    output::data(&format!("{}\n", path.display()))
}

fn nothing_to_do(version: PolicyVersion, path: &Path) -> Result<(), Failure> {
    output::talk(format!(
        "nothing to do: version {version} of the trust policy is published already"
    ));
    output::data(&format!("{}\n", path.display()))
}

/// Returns whose keys could still fork the chain of policies on machines that begin with the baked-in one.
fn fork(next: &NextPolicy) -> Option<String> {
    let fork = next.fork();
    let removed = fork.removed();
    let (baked_in, version) = (next.baked_in(), next.policy().version());
    let alone = match fork.lacking {
        0 => "; the removed keys are enough for that",
        _ => "",
    };
    (!removed.is_empty()).then(|| {
        format!(
            "version {version} no longer has {} in its root, but machines begin with version {}: {} can still give them another version {}, and with it any image{alone}; build their initramfs again with version {version}",
            names(&removed),
            baked_in.version(),
            in_words(baked_in.root_role().groups()),
            baked_in.version().next().unwrap_or(version),
        )
    })
}

/// Returns what was agreed to and does not happen: it may be misspelt.
fn unmatched(next: &NextPolicy, agreed: &[Break]) -> Vec<String> {
    let happens = |agreed: &Break| {
        next.orphans()
            .iter()
            .any(|orphan| orphan.as_break() == *agreed)
    };
    let others = agreed.iter().filter(|agreed| !happens(agreed));
    let version = next.policy().version();
    others
        .map(|agreed| format!("--breaks {agreed}: version {version} does not break that"))
        .collect()
}

/// Asks, on a terminal, whether what else the policy orphans may break.
fn agreed_to(next: &NextPolicy, agreed: &[Break]) -> Result<Vec<Break>, Failure> {
    let mut breaking: Vec<Break> = (next.breaking(agreed).into_iter())
        .map(Orphan::as_break)
        .collect();
    breaking.dedup();
    let names: Vec<String> = breaking.iter().map(Break::to_string).collect();
    let question = format!(
        "Machines that need {} will not boot. Publish all the same?",
        names.join(", ")
    );
    if !names.is_empty() && passphrase::interactive() && output::agreed(&question)? {
        return Ok(breaking);
    }
    Ok(Vec::new())
}
