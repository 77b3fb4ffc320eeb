//! `sealboot policy publish`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::describe::in_words;
use super::roots::Roots;
use crate::cli::support::{Failure, output, passphrase, time};
use sealboot_core::format::manifest::ImageName;
use sealboot_core::format::version::PolicyVersion;
use sealboot_store::tally::names;
use sealboot_store::{NextPolicy, Published, Step, Store};

/// Publish the next trust policy to a store
///
/// Walks the store's policies from the one that is baked in, as a machine does, checks that the signed
/// policy is the next one, and writes it to the store. From then on it judges everything for all
/// machines that read this store: a removed key counts for nothing at once. Prints the path of what
/// they fetch. What was published stays: a policy is replaced by one that follows it.
///
/// Images of the store that the new policy would refuse stop the machines that run them. They are named
/// first, and nothing is done until the operator agrees. To avoid it, have each image that runs signed as
/// both policies require, and publish it again, before the policy.
#[derive(Debug, Args)]
pub(in crate::cli) struct PublishArgs {
    /// The trust policy that the machines have
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The store to publish in
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// Publish though the new policy refuses this image, and its machines will not boot (repeatable)
    #[arg(long, value_name = "IMAGE")]
    let_stop: Vec<ImageName>,

    /// The signed policy
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

pub(super) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let store = Store::open(&args.store)?;
    let next = match store.prepare_policy(&args.policy, &args.envelope, time::now())? {
        Step::Published { path, version } => return nothing_to_do(version, &path),
        Step::Next(next) => next,
    };
    next.stops().iter().for_each(output::warn);
    next.ends_soon().iter().for_each(output::warn);
    fork(&next).iter().for_each(output::warn);
    let mut agreed = args.let_stop.clone();
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

/// Whose keys could still fork the chain of policies on machines that begin with the baked-in one.
fn fork(next: &NextPolicy) -> Option<String> {
    let removed = next.removed_root_keys();
    let (baked_in, version) = (next.baked_in(), next.policy().version());
    (!removed.is_empty()).then(|| {
        format!(
            "version {version} no longer has {} in its root, but machines begin with version {}: {} can still give them another version {}, and with it any image; build their initramfs again with version {version}",
            names(&removed),
            baked_in.version(),
            in_words(baked_in.root_role().groups()),
            baked_in.version().next().unwrap_or(version),
        )
    })
}

/// Asks, on a terminal, whether the machines of the other images that stop may do so.
fn agreed_to(next: &NextPolicy, agreed: &[ImageName]) -> Result<Vec<ImageName>, Failure> {
    let stopping = next.stopping(agreed);
    let names: Vec<&str> = stopping.iter().map(ImageName::as_str).collect();
    let question = format!(
        "Machines that run {} will not boot. Publish all the same?",
        names.join(", ")
    );
    if !names.is_empty() && passphrase::interactive() && output::agreed(&question)? {
        return Ok(stopping);
    }
    Ok(Vec::new())
}
