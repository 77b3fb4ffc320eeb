//! `sealboot policy publish`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::roots::Roots;
use crate::cli::support::{Failure, output, passphrase, time};
use sealboot_core::failure::Diagnose as _;
use sealboot_core::format::manifest::ImageName;
use sealboot_core::format::version::PolicyVersion;
use sealboot_store::tally::{in_words, names};
use sealboot_store::{Break, Fork, NextPolicy, Orphan, Published, Step, Store, StoreError};

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

    /// Print JSON instead of the path: {"status": "published", "published-before" or "refused", "version",
    /// "path", "orphans": [{"breaks", "what", "message", "code", "agreed"}], "waiting", "fork"}
    #[arg(long)]
    json: bool,

    /// The signed policy
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

/// What became of the policy, and what it does to machines.
#[derive(Serialize)]
struct Report {
    status: Status,
    version: PolicyVersion,
    /// Where it is in the store, or would be.
    path: String,
    orphans: Vec<OrphanReport>,
    /// Images that wait for their first freshness statement.
    waiting: Vec<ImageName>,
    /// Whose keys could fork the chain, where some have left root.
    #[serde(skip_serializing_if = "Option::is_none")]
    fork: Option<Fork>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Published,
    PublishedBefore,
    Refused,
}

#[derive(Serialize)]
struct OrphanReport {
    /// The value of --breaks that agrees to it.
    breaks: String,
    what: String,
    message: String,
    code: &'static str,
    agreed: bool,
}

impl Report {
    fn before(version: PolicyVersion, path: &Path) -> Self {
        Self {
            status: Status::PublishedBefore,
            version,
            path: path.display().to_string(),
            orphans: Vec::new(),
            waiting: Vec::new(),
            fork: None,
        }
    }

    fn of(next: &NextPolicy, store: &Store, agreed: &[Break]) -> Self {
        let orphan = |orphan: &Orphan| OrphanReport {
            breaks: orphan.as_break().value(),
            what: orphan.used.to_string(),
            message: orphan.refusal.to_string(),
            code: orphan.refusal.code().as_str(),
            agreed: agreed.contains(&orphan.as_break()),
        };
        let version = next.policy().version();
        let fork = next.fork();
        let waiting = next.waiting().iter();
        Self {
            status: Status::Published,
            version,
            path: store.policy(version).display().to_string(),
            orphans: next.orphans().iter().map(orphan).collect(),
            waiting: waiting.map(|waiting| waiting.image.clone()).collect(),
            fork: Some(fork).filter(|fork| !fork.removed().is_empty()),
        }
    }

    fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            return output::json(self);
        }
        match self.status {
            Status::Refused => Ok(()),
            Status::Published | Status::PublishedBefore => {
                output::data(&format!("{}\n", self.path))
            }
        }
    }
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
        Step::Published { path, version } => {
            nothing_to_do(version);
            return Report::before(version, &path).print(args.json);
        }
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
    let mut report = Report::of(&next, &store, &agreed);
    match next.publish(&agreed) {
        Ok(Published::Now(_)) => {}
        Ok(Published::Before(path)) => {
            nothing_to_do(version);
            return Report::before(version, &path).print(args.json);
        }
        Err(error) => {
            if let StoreError::WouldBreak { .. } = error {
                report.status = Status::Refused;
                report.print(args.json)?;
            }
            return Err(error.into());
        }
    }
    output::talk(format!("published version {version} of the trust policy"));
    output::talk(standing.trim_end());
    if renewed {
        output::talk(
            "now run `sealboot freshness renew`: until then, a mirror can keep the new policy from machines unnoticed",
        );
    }
    report.print(args.json)
}

fn nothing_to_do(version: PolicyVersion) {
    output::talk(format!(
        "nothing to do: version {version} of the trust policy is published already"
    ));
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
