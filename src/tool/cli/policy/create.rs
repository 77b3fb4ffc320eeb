//! `sealboot policy create`: the first policy of a fleet, or the one that follows another.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::advice::weaknesses;
use super::describe::{compared, describe};
use super::keys::Keys;
use super::roots::Roots;
use super::rules::Rules;
use crate::cli::support::unknown::listed;
use crate::cli::support::{Failure, output, time};
use sealboot_core::format::Invalid;
use sealboot_core::format::json::Read;
use sealboot_core::format::payload::PayloadError;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{Fields, Roles};
use sealboot_store::files::{self, Existing};
use sealboot_store::policy::before;

/// Create a trust policy, or the next version of one
///
/// Prints the path of the new file; stderr has what the policy means, and what is weak about it.
///
/// With --from, the new policy is the old one with what is given here, and stderr also has what changes
/// and which signatures are needed. Images and the keys of a role that are given replace the old ones;
/// denials are added. --key replaces the people of root and release where these are the same group; with
/// --root, --release or a group of an image, it adds a key. A key that no role has any more leaves the
/// policy.
/// What no option takes back, such as a denial, can be edited out of the file before it is signed.
///
/// The policy is created now, or at SOURCE_DATE_EPOCH.
#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// The policy that the new one follows; with --store, the one that the machines have baked in
    #[arg(long, value_name = "OLD")]
    from: Option<PathBuf>,

    /// Follow the newest policy in this store, found from OLD as a machine finds it
    #[arg(long, value_name = "DIR", requires = "from")]
    store: Option<PathBuf>,

    #[command(flatten)]
    keys: Keys,

    #[command(flatten)]
    rules: Rules,

    /// The file to create; one that exists is not replaced
    #[arg(long, value_name = "FILE", help_heading = None::<&str>)]
    out: PathBuf,
}

pub(super) fn run(args: CreateArgs) -> Result<(), Failure> {
    let old = match &args.from {
        Some(path) => Some(before(path, args.store.as_deref(), None)?),
        None => None,
    };
    let created = time::today()?;
    let policy = policy(
        old.as_ref().map(|read| &read.value),
        created,
        args.keys,
        args.rules,
    )?;
    files::write(&args.out, &policy.encode(), 0o644, Existing::Keep)?;
    output::talk(describe(&policy).trim_end());
    if let Some(Read {
        value: old,
        unknown,
    }) = &old
    {
        let roots = Roots {
            old: Some(old),
            new: &policy,
        };
        output::talk(compared(old, &policy));
        output::talk(roots.required().trim_end());
        roots.warnings().iter().for_each(output::warn);
        if !unknown.is_empty() {
            output::warn(format!(
                "the new policy leaves out {} of version {}, which this version of sealboot does not know",
                listed(unknown),
                old.version()
            ));
        }
    }
    weaknesses(&policy, created).iter().for_each(output::warn);
    output::data(&format!("{}\n", args.out.display()))
}

/// Returns the policy that follows `old`, with what is given; without `old`, the first one.
fn policy(
    old: Option<&TrustPolicy>,
    created: Timestamp,
    keys: Keys,
    rules: Rules,
) -> Result<TrustPolicy, Failure> {
    let mut fields = match old {
        Some(old) => next(old, created)?,
        None => {
            let roles = Roles {
                root: Vec::new(),
                release: Vec::new(),
                freshness: None,
                host_config: None,
            };
            Fields::new(created, Vec::new(), roles, Vec::new())
        }
    };
    rules.apply_images(&mut fields)?;
    keys.apply(&mut fields)?;
    rules.apply(&mut fields)?;
    TrustPolicy::try_from(fields)
        .map_err(PayloadError::Contradiction)
        // What is written must load, and could be larger than a policy may be.
        .and_then(|policy| TrustPolicy::parse(&policy.encode()))
        .map_err(|error| unusable(&error))
}

/// Returns the fields of the old policy under the next version.
fn next(old: &TrustPolicy, created: Timestamp) -> Result<Fields, Failure> {
    let mut fields = old.fields().clone();
    fields.version = old.version().next().ok_or_else(|| {
        Failure::new("the old trust policy has the last possible version")
            .hint("bake a first version into a new initramfs")
    })?;
    if created < fields.created {
        return Err(Failure::new(format!(
            "it is {created}, and the old trust policy was created at {}",
            fields.created
        ))
        .hint("set the clock, or SOURCE_DATE_EPOCH"));
    }
    fields.created = created;
    Ok(fields)
}

const FEWER_DENIALS: &str = "deny less: raise the oldest version with --image IMAGE=MIN_VERSION, and edit what is below it out of the old policy's file";

fn unusable(error: &PayloadError) -> Failure {
    let failure = Failure::new("cannot create this trust policy").because(error);
    match error {
        PayloadError::Contradiction(invalid) => match hint(invalid) {
            Some(hint) => failure.hint(hint),
            None => failure,
        },
        PayloadError::TooLarge { .. } => failure.hint(FEWER_DENIALS),
        _ => failure,
    }
}

fn hint(invalid: &Invalid) -> Option<&'static str> {
    if invalid.takes.starts_with("a threshold") {
        return Some("at least 1 key of a group signs, and at most all of them");
    }
    Some(match invalid.field {
        "keys" => "give at most 64 keys, each with a role",
        "keys.key" => "give each key once, and its name in every group that it belongs to",
        "keys.name" => "give each key another name: --key NAME=FILE.pub",
        "roles.root" | "roles.release" => {
            "give 1 to 4 groups with --root and --release; a key is in one group of a role"
        }
        "roles.freshness" => {
            "keys for freshness are often on a server, so they have no other role, and each is in one group; see --freshness-key"
        }
        "roles.host_config" => {
            "keys for host configs are of people who install machines, so they release nothing, and each is in one group; see --host-config-key"
        }
        "images.release" => "a key is in one group of an image; see --image-release",
        "images.freshness" => {
            "give keys that sign freshness statements alone, each in one group; see --image-freshness"
        }
        "images.name" => "give each --image once, with the oldest version that may boot",
        "images.denied_versions" | "denied_digests" => FEWER_DENIALS,
        "freshness.max_releases" => "give another --max-releases",
        "expires" => "the policy expires before it is created: give a later time with --expires",
        "on_failure.retry_max_seconds" => "make --retry-max at least as long as --retry-initial",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
