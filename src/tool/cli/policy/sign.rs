//! `sealboot policy sign`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::advice::weaknesses;
use super::describe::{compared, describe};
use super::roots::Roots;
use crate::cli::signatures::{self, Outcome};
use crate::cli::support::{Failure, output, time};
use sealboot_core::trust::PublicKey;
use sealboot_store::Kind;
use sealboot_store::policy::{ToSign, before, to_be_signed};

/// Sign the policy that follows another
///
/// Shows on stderr what is being signed and, with --policy, what it changes and which signatures it has;
/// on a terminal, it then asks. Read it: with enough signatures, every machine that has the policy before
/// trusts this one instead.
///
/// A policy that `policy create` wrote is signed in an envelope beside it: trust-2.json in
/// trust-2.signed.json. An envelope is signed in place, and keeps its other signatures. Prints the path
/// of the envelope. --print-signed-bytes writes that envelope too, without a signature.
#[derive(Debug, Args)]
pub(in crate::cli) struct SignArgs {
    #[command(flatten)]
    options: signatures::Options,

    /// The policy that this one follows, to show what changes and which signatures are needed
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
    let ToSign {
        file,
        policy,
        unknown,
    } = to_be_signed(&args.file)?;
    let old = match &args.policy {
        Some(path) => Some(before(path, args.store.as_deref(), Some(policy.version()))?.value),
        None => None,
    };
    let roots = Roots {
        old: old.as_ref(),
        new: &policy,
    };
    let today = time::today()?;
    let outcome = args.options.sign(signer, &file, &unknown, |key| {
        show(roots, key, today);
    })?;
    if outcome == Outcome::Printed {
        return Ok(());
    }
    output::talk(roots.standing(&Kind::Policy.read(file.shown())?).trim_end());
    output::data(&format!("{}\n", file.shown().display()))
}

/// Shows what is signed, and what it does to the policy before.
fn show(roots: Roots<'_>, key: Option<&PublicKey>, today: Timestamp) {
    let new = roots.new;
    output::talk(describe(new).trim_end());
    if let Some(old) = roots.old {
        output::talk(compared(old, new));
        output::talk(roots.required().trim_end());
        roots.warnings().iter().for_each(output::warn);
        if old.version().next() != Some(new.version()) {
            output::warn(format!(
                "version {} does not follow version {}, and machines never skip a version; with --store, it is compared with the one before it there",
                new.version(),
                old.version()
            ));
        }
    } else {
        output::talk("give --policy to see what it changes, and which signatures it needs");
    }
    weaknesses(new, today).iter().for_each(output::warn);
    if let Some(key) = key.filter(|key| !roots.have(key)) {
        let id = key.id();
        let version = new.version();
        output::warn(match roots.old {
            Some(old) => format!(
                "key {id} is neither in root of version {} nor in root of version {version}: its signature counts for nothing",
                old.version()
            ),
            None => format!(
                "key {id} is not in root of version {version}: its signature counts only if it is in root of the version before"
            ),
        });
    }
}
