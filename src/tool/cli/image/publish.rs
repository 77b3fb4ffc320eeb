//! `sealboot image publish`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::policy;
use crate::cli::renewing::{Renewing, explained};
use crate::cli::support::{Failure, output, time};
use sealboot_store::{Older, Release, Store};

/// Verify an image, then make it the newest of its name in a store.
///
/// Everything is checked that a loader checks, the archive included, which is copied from the store
/// that ENVELOPE stands in if the other does not have it. Machines that boot from then on fetch this
/// image. Prints the path of what they fetch.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The trust policy that the machines have; the newest that follows it in the store judges
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The store to publish in
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// Go back below the newest version that was published
    ///
    /// For taking back a bad release in a hurry; a policy's min_version still holds. Better is to pack
    /// the good image again under a higher version.
    #[arg(long)]
    allow_rollback: bool,

    /// State with this key that the image is current, as `sealboot freshness renew` does; give as many as
    /// the threshold of the policy's freshness role
    ///
    /// Without it, the statement stays as it is, and machines go on with what it lists.
    #[arg(long = "freshness-key", value_name = "FILE")]
    keys: Vec<PathBuf>,

    #[command(flatten)]
    renewing: Renewing,

    /// The envelope, or another store's channel, signed by enough of the policy's signers
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

pub(super) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let store = Store::open(&args.store)?;
    let now = time::now();
    let mut renewer = if args.keys.is_empty() {
        None
    } else {
        Some(args.renewing.renewer(&args.keys, &args.policy, &store)?)
    };
    let mut turn = match &mut renewer {
        Some(renewer) => Some(renewer.turn(now, &mut output::say).map_err(explained)?),
        None => None,
    };
    let policy = match &turn {
        Some(turn) => turn.policy().clone(),
        None => policy::in_force(&args.policy, &args.store, now)?,
    };
    let release = Release::read(&args.envelope, &policy, now)?;
    let older = Older::allowed(args.allow_rollback);
    let size = release.manifest().as_ref().archive.size;
    let channel = output::with_progress(size, |say, progress| {
        store.publish(&release, older, turn.as_mut(), say, progress)
    })?;
    output::talk(format!("published {release}"));
    output::data(&format!("{}\n", channel.display()))
}
