//! `sealboot freshness`: states again what is current, before the last statement ends.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::SignedDuration;

use super::policy;
use super::support::signer::Signer;
use super::support::{Failure, output, passphrase, time};
use sealboot_core::format::manifest::{ImageName, ImageVersion};
use sealboot_core::trust::TrustPolicy;
use sealboot_store::{Notice, Renewal, Store};

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
/// The new statement lists the version as withdrawn, and the newest versions below it as current. Where the channel
/// offers none, the newest one that lies in the store and that the policy accepts takes its place. Renewals carry the
/// withdrawal on, until the policy denies the version or its min_version passes it. Prints the channel.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sealboot freshness withdraw --version 43 --key clockwork.key --policy trust.json --store /srv/boot relay")]
pub(super) struct WithdrawArgs {
    /// The version to take back
    #[arg(long, value_name = "N")]
    version: ImageVersion,

    /// A key of the policy's freshness role, as for `sealboot image sign`; give as many as its threshold
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,

    #[command(flatten)]
    passphrase: passphrase::Source,

    /// The trust policy that the machines have
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// For how long the statement counts, such as 24h [default: as for `sealboot freshness renew`]
    #[arg(long = "valid-for", value_name = "SPAN", value_parser = time::span)]
    life: Option<SignedDuration>,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: ImageName,
}

/// Renew the freshness statements of a store's images.
///
/// For each image, everything is verified that a machine verifies of its channel; then a new statement
/// takes the old one's place: the newest versions in the channel are current, as many as the policy allows, and
/// the newest trust policy in the store is the newest. To be run by a timer well before the last statement ends, or left to
/// `sealboot serve --renew`. Prints the channels that were renewed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example, a line for cron, which renews every six hours what counts for a day:
  17 */6 * * *  cd /etc/sealboot && sealboot freshness renew --key clockwork.key --policy trust.json --store /srv/boot")]
pub(super) struct RenewArgs {
    /// A key of the policy's freshness role, as for `sealboot image sign`; give as many as its threshold
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,

    #[command(flatten)]
    passphrase: passphrase::Source,

    /// The trust policy that the machines have
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// For how long the statements count, such as 24h [default: 24h, or the policy's max_hours if that is
    /// less]
    #[arg(long = "valid-for", value_name = "SPAN", value_parser = time::span)]
    life: Option<SignedDuration>,

    /// Renew though the last statement lists a newer version than the store shows: after going back below it on
    /// purpose. That version is withdrawn
    #[arg(long)]
    allow_rollback: bool,

    /// The images [default: all that the policy accepts and the store has]
    #[arg(value_name = "IMAGE")]
    images: Vec<ImageName>,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Renew(args) => renew(&args),
        Command::Withdraw(args) => withdraw(&args),
    }
}

fn withdraw(args: &WithdrawArgs) -> Result<(), Failure> {
    let store = Store::open(&args.store)?;
    let mut renewal = renewal(&args.keys, &args.passphrase, args.life)?;
    let policy = policy::newest(&args.policy, Some(&args.store))?;
    renewal.check(&policy)?;
    let (image, version) = (&args.image, args.version);
    let (channel, freshness) = renewal.withdraw(&policy, &store, image, version, time::now())?;
    output::say(Notice::Renewed { freshness });
    output::data(&format!("{}\n", channel.display()))
}

fn renew(args: &RenewArgs) -> Result<(), Failure> {
    let store = Store::open(&args.store)?;
    let mut renewal = renewal(&args.keys, &args.passphrase, args.life)?;
    let policy = policy::in_force(&args.policy, &args.store, time::now())?;
    renewal.check(&policy)?;
    let images = if args.images.is_empty() {
        store.published(&policy)?
    } else {
        args.images.clone()
    };
    // One image whose manifest has expired must not keep the others from being renewed.
    let mut failed = Vec::new();
    for image in &images {
        let floor = store.floor(&policy, image)?;
        let floor = floor.filter(|_| !args.allow_rollback);
        let renewed = floor
            .map_or(Ok(()), |floor| floor.check(&policy, &store, image))
            .and_then(|()| renewal.renew(&policy, &store, image, time::now()));
        match renewed {
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

/// The keys of `sealboot image publish` that say that what it publishes is the newest.
#[derive(Debug, Args)]
pub(super) struct AtPublish {
    /// State with this key that the image is current, as `sealboot freshness renew` does; give as many as
    /// the threshold of the policy's freshness role
    ///
    /// Without it, the statement stays as it is, and machines go on with what it lists.
    #[arg(long = "freshness-key", value_name = "FILE")]
    freshness_keys: Vec<PathBuf>,

    #[command(flatten)]
    passphrase: passphrase::Source,

    /// For how long that statement counts, such as 24h
    #[arg(long, value_name = "SPAN", value_parser = time::span, requires = "freshness_keys")]
    valid_for: Option<SignedDuration>,
}

impl AtPublish {
    /// Reads and unlocks the keys, and checks that `policy` accepts their statements; `None` without a key.
    pub(super) fn renewal(&self, policy: &TrustPolicy) -> Result<Option<Renewal>, Failure> {
        if self.freshness_keys.is_empty() {
            return Ok(None);
        }
        let renewal = renewal(&self.freshness_keys, &self.passphrase, self.valid_for)?;
        renewal.check(policy)?;
        Ok(Some(renewal))
    }
}

/// Reads and unlocks the keys that renew.
pub(super) fn renewal(
    keys: &[PathBuf],
    passphrase: &passphrase::Source,
    life: Option<SignedDuration>,
) -> Result<Renewal, Failure> {
    let signers: Vec<Signer> = keys
        .iter()
        .map(|key| Signer::of(key))
        .collect::<Result<_, _>>()?;
    for signer in &signers {
        signer.check_askable(passphrase)?;
    }
    let unlock = |signer: Signer| -> Result<Box<dyn sealboot_store::Signer>, Failure> {
        Ok(Box::new(signer.unlock(passphrase)?))
    };
    let signers = signers.into_iter().map(unlock).collect::<Result<_, _>>()?;
    Ok(Renewal::new(signers, life))
}
