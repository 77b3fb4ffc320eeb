//! `sealboot policy sign`.

use std::path::PathBuf;

use clap::Args;

use super::describe::{changes, describe, weaknesses};
use super::roles::Roles;
use crate::cli::signatures::{self, Outcome};
use crate::cli::support::{Failure, output};
use sealboot_core::trust::{PublicKey, TrustPolicy};
use sealboot_store::Kind;
use sealboot_store::policy::{before, to_be_signed};

/// Add a signature to the policy that follows another, or write one that travels by itself.
///
/// Shows on stderr what is being signed and, with --policy, what it changes and whose signatures are
/// there; on a terminal, it then asks. Read it: with enough signatures, every machine that has the
/// policy before trusts this one instead.
///
/// A policy that `policy create` made is signed in an envelope beside it: trust-2.json in
/// trust-2.signed.json. An envelope is signed in place. Other signatures stay. Prints the path of the
/// envelope.
#[derive(Debug, Args)]
pub(in crate::cli) struct SignArgs {
    #[command(flatten)]
    options: signatures::Options,

    /// The policy that this one follows, to say what changes and who must sign
    #[arg(long, value_name = "OLD")]
    policy: Option<PathBuf>,

    /// Take the policy before this one from this store, found from OLD as a machine finds it
    #[arg(long, value_name = "DIR", requires = "policy")]
    store: Option<PathBuf>,

    /// The policy, or the envelope that holds it
    file: PathBuf,
}

pub(super) fn run(args: &SignArgs) -> Result<(), Failure> {
    let signer = args.options.signer()?;
    let (file, policy) = to_be_signed(&args.file)?;
    let old = match &args.policy {
        Some(path) => Some(before(path, args.store.as_deref(), Some(policy.version()))?),
        None => None,
    };
    let roles = Roles {
        old: old.as_ref(),
        new: &policy,
    };
    let outcome = args.options.sign(signer, &file, |key| {
        show(roles, key);
    })?;
    if outcome == Outcome::Detached {
        return Ok(());
    }
    output::talk(roles.standing(&Kind::Policy.read(file.shown())?).trim_end());
    output::data(&format!("{}\n", file.shown().display()))
}

/// What is signed, and what it does to the one before.
fn show(roles: Roles<'_>, key: Option<&PublicKey>) {
    let new = roles.new;
    output::talk(describe(new).trim_end());
    if let Some(old) = roles.old {
        output::talk(compared(old, new));
        output::talk(roles.required().trim_end());
        roles.warnings().iter().for_each(output::warn);
        if old.version().next() != Some(new.version()) {
            output::warn(format!(
                "version {} does not follow version {}, and machines take one step after the other; with --store, it is compared with the one before it there",
                new.version(),
                old.version()
            ));
        }
    } else {
        output::talk("give --policy to see what it changes, and who must sign");
    }
    weaknesses(new).iter().for_each(output::warn);
    if let Some(key) = key.filter(|key| !roles.name(key)) {
        let id = key.id();
        let version = new.version();
        output::warn(match roles.old {
            Some(old) => format!(
                "key {id} is a signer neither of version {} nor of version {version}: its signature counts for nothing",
                old.version()
            ),
            None => format!(
                "key {id} is no signer of version {version}: its signature counts only if it is one of the version before"
            ),
        });
    }
}

/// What differs from the policy before, in words.
pub(super) fn compared(old: &TrustPolicy, new: &TrustPolicy) -> String {
    format!(
        "compared with version {} of the trust policy\n{}",
        old.version(),
        output::columns(changes(old, new)).trim_end()
    )
}
