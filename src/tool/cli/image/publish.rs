//! `sealboot image publish`.

use std::path::PathBuf;

use clap::Args;
use jiff::SignedDuration;

use crate::cli::support::{Failure, output, passphrase, time};
use crate::cli::{freshness, policy};
use sealboot_store::tally::names;
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
    allow_older: bool,

    /// Say with this key that the image is the newest, as `sealboot freshness renew` does; give as many as
    /// the threshold of the policy's freshness role
    ///
    /// Without it, a statement that still counts is kept.
    #[arg(long = "freshness-key", value_name = "FILE")]
    freshness_keys: Vec<PathBuf>,

    #[command(flatten)]
    passphrase: passphrase::Source,

    /// For how long that statement counts, such as 24h
    #[arg(long, value_name = "SPAN", value_parser = time::span, requires = "freshness_keys")]
    fresh_for: Option<SignedDuration>,

    /// The envelope, or another store's channel, signed by enough of the policy's signers
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

pub(super) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let store = Store::open(&args.store)?;
    let policy = policy::newest(&args.policy, Some(&args.store))?;
    let mut renewal = match args.freshness_keys.as_slice() {
        [] => None,
        keys => Some(freshness::renewal(keys, &args.passphrase, args.fresh_for)?),
    };
    if let Some(renewal) = &renewal {
        renewal.check(&policy)?;
    }
    let release = Release::read(&args.envelope, &policy, time::now())?;
    let (manifest, signers) = (release.manifest().as_ref(), release.manifest().signers());
    let older = if args.allow_older {
        Older::Allow
    } else {
        Older::Refuse
    };
    let channel = output::with_progress(manifest.archive.size, |say, progress| {
        store.publish(&release, older, renewal.as_mut(), say, progress)
    })?;
    output::talk(format!(
        "published image {}, version {} ({}), signed by {}",
        manifest.name,
        manifest.version,
        manifest.label,
        names(signers)
    ));
    output::data(&format!("{}\n", channel.display()))
}
