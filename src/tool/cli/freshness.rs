//! `sealboot freshness`: states again what is current, before the last statement ends.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::renewing::{Renewing, explained};
use super::support::{Failure, output, time};
use sealboot_core::format::manifest::{ImageName, ImageVersion};
use sealboot_store::{Notice, Store};

/// State which versions of an image are current, and until when.
///
/// A policy with a role for freshness lets machines notice a mirror that is frozen, by fault or by
/// intent: what it shows is then too old to count. The role's key signs nothing but this, so it may live
/// on the machine that publishes.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Renew(RenewArgs),
    Withdraw(WithdrawArgs),
}

/// Take a version of an image back: no machine boots it from then on.
///
/// The new statement lists the version as withdrawn. What was listed beside it stays; where nothing else is left for an
/// architecture, the newest release that was published before takes its place. Renewals carry the withdrawal on,
/// until the policy denies the version or its min_version passes it. Prints the channel.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sealboot freshness withdraw --version 43 --key clockwork.key --state renewer.json --policy trust.json \\
      --store /srv/boot relay")]
pub(super) struct WithdrawArgs {
    /// The version to take back
    #[arg(long, value_name = "N")]
    version: ImageVersion,

    #[command(flatten)]
    by: By,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: ImageName,
}

/// Renew the freshness statements of a store's images.
///
/// For each image, a new statement takes the old one's place. It lists what the last one listed and what was
/// published since, the newest versions, as many as the policy allows; and it names the newest trust policy in the store.
/// Everything is verified that a machine verifies. The last statement is the one in the renewer's state: an
/// old channel that was put back is renewed forward, and a release that is missing from the store stops the
/// renewal. To be run by a timer well before the last statement ends, or left to `sealboot serve --renew`. Prints the
/// channels that were renewed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example, a line for cron, which renews every six hours what is valid for a day:
  17 */6 * * *  cd /etc/sealboot && sealboot freshness renew --key clockwork.key --state renewer.json --policy trust.json --store /srv/boot")]
pub(super) struct RenewArgs {
    #[command(flatten)]
    by: By,

    /// The images [default: all that the keys sign for and the store has]
    #[arg(value_name = "IMAGE")]
    images: Vec<ImageName>,
}

/// Who signs, and where.
#[derive(Debug, Args)]
struct By {
    /// A key of the policy's freshness role, as for `sealboot image sign`; give as many as its threshold
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,

    #[command(flatten)]
    renewing: Renewing,

    /// The trust policy that the machines have
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Renew(args) => renew(&args),
        Command::Withdraw(args) => withdraw(&args),
    }
}

fn withdraw(args: &WithdrawArgs) -> Result<(), Failure> {
    let By { keys, policy, .. } = &args.by;
    let store = Store::open(&args.by.store)?;
    let mut renewer = args.by.renewing.renewer(keys, policy, &store)?;
    let turn = renewer.turn(time::now(), &mut output::say);
    let (channel, freshness) =
        turn.map_err(explained)?
            .withdraw(&args.image, args.version, &mut output::say)?;
    output::say(Notice::Renewed { freshness });
    output::data(&format!("{}\n", channel.display()))
}

fn renew(args: &RenewArgs) -> Result<(), Failure> {
    let By { keys, policy, .. } = &args.by;
    let store = Store::open(&args.by.store)?;
    let mut renewer = args.by.renewing.renewer(keys, policy, &store)?;
    let turn = renewer.turn(time::now(), &mut output::say);
    let mut turn = turn.map_err(explained)?;
    let images = if args.images.is_empty() {
        turn.images()?
    } else {
        args.images.clone()
    };
    // One image whose manifest has expired must not keep the others from being renewed.
    let mut failed = Vec::new();
    for image in &images {
        match turn.renew(image, &mut output::say) {
            Ok((channel, freshness)) => {
                output::say(Notice::Renewed { freshness });
                output::data(&format!("{}\n", channel.display()))?;
            }
            Err(error) => failed.push(Failure::from(error)),
        }
    }
    let Some(last) = failed.pop() else {
        return Ok(());
    };
    for failure in failed {
        output::talk(failure);
    }
    Err(last)
}
