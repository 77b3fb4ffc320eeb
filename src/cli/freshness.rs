//! `sealboot freshness`: says again what is newest, before the last word runs out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use super::files::{self, Existing};
use super::signer::{Ready, Signer};
use super::{Failure, output, passphrase, policy, rotation, time};
use crate::format::freshness::Freshness;
use crate::format::limits::LIMITS;
use crate::format::manifest::{ImageName, Manifest};
use crate::trust::verified::Expected;
use crate::trust::{Channel, Envelope, TrustPolicy};

/// Say until when an image's newest version is the newest.
///
/// A policy with a role for freshness lets machines notice a mirror that is frozen, by fault or by
/// intent: what it shows is then too old to count. The role's key signs nothing but this, so it may live
/// on the machine that publishes.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Renew(RenewArgs),
}

/// Renew the freshness statements of a store's images.
///
/// For each image, everything is verified that a machine verifies of its channel; then a new statement
/// takes the old one's place: this version is the newest, and so is the newest trust policy in the store,
/// until so and so. To be run by a timer well before the last statement ends, or left to
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
    #[arg(long = "for", value_name = "SPAN", value_parser = time::span)]
    life: Option<SignedDuration>,

    /// The images [default: all that the policy accepts and the store has]
    #[arg(value_name = "IMAGE")]
    images: Vec<ImageName>,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Renew(args) => renew(&args),
    }
}

fn renew(args: &RenewArgs) -> Result<(), Failure> {
    rotation::check_store(&args.store)?;
    let mut renewal = Renewal::new(&args.keys, &args.passphrase, args.life)?;
    let policy = rotation::newest(policy::load(&args.policy)?, Some(&args.store))?;
    renewal.check(&policy)?;
    let images = if args.images.is_empty() {
        published(&policy, &args.store)?
    } else {
        args.images.clone()
    };
    // One image whose manifest has expired must not keep the others from being renewed.
    let mut failed = Vec::new();
    for image in &images {
        match renewal.renew(&policy, &args.store, image, time::now()) {
            Ok((channel, freshness)) => {
                output::talk(format!(
                    "image {image}: version {} is the newest until {}",
                    freshness.version, freshness.expires
                ));
                output::data(&format!("{}\n", channel.display()))?;
            }
            Err(failure) => failed.push(failure),
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

/// The images of the policy that the store has.
fn published(policy: &TrustPolicy, store: &Path) -> Result<Vec<ImageName>, Failure> {
    let names = policy.images().iter().map(|image| image.name.clone());
    let there: Vec<ImageName> = names.filter(|name| place(store, name).exists()).collect();
    if there.is_empty() {
        return Err(Failure::new(format!(
            "the store {} has no image that the trust policy accepts",
            store.display()
        ))
        .hint("publish one first, with `sealboot image publish`"));
    }
    Ok(there)
}

/// Where a store keeps the channel of an image.
fn place(store: &Path, image: &ImageName) -> PathBuf {
    store.join("images").join(format!("{image}.json"))
}

/// Who makes statements, and for how long they count. Forgets its secrets when dropped.
#[derive(Debug)]
pub(super) struct Renewal {
    signers: Vec<Ready>,
    life: Option<SignedDuration>,
}

/// As long as a statement counts if nobody says otherwise, where the policy allows it: a day in which
/// somebody notices that renewing has stopped.
const USUAL_LIFE: SignedDuration = SignedDuration::from_hours(24);

impl Renewal {
    /// Reads and unlocks the keys.
    pub(super) fn new(
        keys: &[PathBuf],
        passphrase: &passphrase::Source,
        life: Option<SignedDuration>,
    ) -> Result<Self, Failure> {
        let signers: Vec<Signer> = keys
            .iter()
            .map(|key| Signer::of(key))
            .collect::<Result<_, _>>()?;
        for signer in &signers {
            signer.check_askable(passphrase)?;
        }
        let signers = signers
            .into_iter()
            .map(|signer| signer.unlock(passphrase))
            .collect::<Result<_, _>>()?;
        Ok(Self { signers, life })
    }

    /// Fails where the statements of these keys, for so long, would count for nothing.
    pub(super) fn check(&self, policy: &TrustPolicy) -> Result<(), Failure> {
        let version = policy.version();
        let Some(rule) = policy.freshness() else {
            return Err(Failure::new(format!(
                "version {version} of the trust policy has no role for freshness, so nothing is to be renewed"
            ))
            .hint("make a policy that has: `sealboot policy create --freshness-key`"));
        };
        for signer in &self.signers {
            let key = signer.public();
            if rule.keys.iter().all(|trusted| trusted.key != key) {
                return Err(Failure::refusal(format!(
                    "key {} is not of the freshness role of version {version} of the trust policy",
                    key.id()
                ))
                .hint("renew with a key that the policy names under freshness; `sealboot policy check` shows them"));
            }
        }
        let longest = SignedDuration::from_hours(rule.max_hours.into());
        if self.life.is_some_and(|life| life > longest) {
            return Err(Failure::refusal(format!(
                "a freshness statement may count for at most {} hours by version {version} of the trust policy",
                rule.max_hours
            ))
            .hint(format!("make it --for {}h, or less", rule.max_hours)));
        }
        Ok(())
    }

    /// Puts a new statement into an image's channel.
    pub(super) fn renew(
        &mut self,
        policy: &TrustPolicy,
        store: &Path,
        image: &ImageName,
        now: Timestamp,
    ) -> Result<(PathBuf, Freshness), Failure> {
        let path = place(store, image);
        let _lock = files::lock(&store.join("images").join(image.as_str()));
        let bytes = files::read(&path, LIMITS.channel_bytes)?;
        let refused = |refusal| Failure::refused(&refusal).context(path.display());
        let mut channel = Channel::parse(&bytes).map_err(|error| {
            Failure::new(format!("{} is no channel", path.display()))
                .because(&error)
                .hint("publish the image again with `sealboot image publish`")
        })?;
        let expected = Expected {
            name: Some(image),
            arch: None,
            now,
        };
        let manifest = policy
            .verify_manifest(&channel.manifest.encode(), &expected)
            .map_err(refused)?;
        let (envelope, freshness) = self.statement(policy, manifest.as_ref(), now)?;
        channel.freshness = Some(envelope);
        let bytes = channel.encode();
        // What is about to be served is judged as a machine will judge it.
        policy.verify_channel(&bytes, &expected).map_err(refused)?;
        files::write(&path, &bytes, 0o644, Existing::Replace)?;
        Ok((path, freshness))
    }

    /// A signed statement that this manifest is of the newest version.
    pub(super) fn statement(
        &mut self,
        policy: &TrustPolicy,
        manifest: &Manifest,
        now: Timestamp,
    ) -> Result<(Envelope, Freshness), Failure> {
        let longest = policy.freshness().map_or(USUAL_LIFE, |rule| {
            SignedDuration::from_hours(rule.max_hours.into())
        });
        let life = self.life.unwrap_or(USUAL_LIFE.min(longest));
        let freshness = Freshness {
            name: manifest.name.clone(),
            version: manifest.version,
            trust: policy.version(),
            created: now,
            expires: time::Expiry::After(life).of(now).map_err(|error| {
                Failure::new("the freshness statement cannot count that long").because(&error)
            })?,
        };
        let mut envelope = Envelope::unsigned(Freshness::PAYLOAD_TYPE, freshness.encode());
        for signer in &mut self.signers {
            let signature = signer.sign(&envelope.signed_bytes())?;
            envelope.add_signature(signer.public().id(), signature);
        }
        Ok((envelope, freshness))
    }
}

/// Whether a channel's statement should be renewed: it is not there, does not count, is about an older
/// version or policy, or more than half of its life has passed.
pub(super) fn is_due(
    policy: &TrustPolicy,
    store: &Path,
    image: &ImageName,
    now: Timestamp,
) -> Result<bool, Failure> {
    let bytes = files::read(&place(store, image), LIMITS.channel_bytes)?;
    let expected = Expected {
        name: Some(image),
        arch: None,
        now,
    };
    let Ok(current) = policy.verify_channel(&bytes, &expected) else {
        return Ok(true);
    };
    let stated = current.freshness().map(|freshness| freshness.as_ref());
    Ok(stated.is_none_or(|freshness| {
        let behind = freshness.version != current.manifest().as_ref().version
            || freshness.trust != policy.version();
        let left = freshness.expires.duration_since(now);
        behind || left * 2 < freshness.expires.duration_since(freshness.created)
    }))
}

/// Renews, for as long as a server runs, what is due.
#[derive(Debug)]
pub(super) struct Keeper {
    renewal: Renewal,
    policy: PathBuf,
    store: PathBuf,
    /// What was said last of the policy (under no name) and of each image: a fault is said once, not
    /// every minute.
    said: HashMap<Option<ImageName>, String>,
}

impl Keeper {
    /// Checks everything that can be checked before the first renewal.
    pub(super) fn new(renewal: Renewal, policy: PathBuf, store: PathBuf) -> Result<Self, Failure> {
        let keeper = Self {
            renewal,
            policy,
            store,
            said: HashMap::new(),
        };
        keeper.renewal.check(&keeper.newest()?)?;
        Ok(keeper)
    }

    fn newest(&self) -> Result<TrustPolicy, Failure> {
        let chain = rotation::walk(policy::load(&self.policy)?, &self.store)?;
        Ok(chain.newest().clone())
    }

    /// Renews what is due at `now`, and says on stderr what changed since the last time.
    pub(super) fn tend(&mut self, now: Timestamp) {
        let policy = match self.newest() {
            Ok(policy) => policy,
            Err(failure) => return self.say(None, &failure.to_string()),
        };
        for image in policy.images().iter().map(|image| &image.name) {
            if !place(&self.store, image).exists() {
                continue;
            }
            let renewed = is_due(&policy, &self.store, image, now).and_then(|due| {
                if due {
                    self.renewal.check(&policy)?;
                    self.renewal
                        .renew(&policy, &self.store, image, now)
                        .map(Some)
                } else {
                    Ok(None)
                }
            });
            match renewed {
                Ok(None) => {}
                Ok(Some((_, freshness))) => self.say(
                    Some(image),
                    &format!(
                        "image {image}: version {} is the newest until {}",
                        freshness.version, freshness.expires
                    ),
                ),
                Err(failure) => self.say(
                    Some(image),
                    &failure
                        .context(format!("image {image} is not renewed"))
                        .to_string(),
                ),
            }
        }
    }
    fn say(&mut self, of: Option<&ImageName>, what: &str) {
        let said = self.said.insert(of.cloned(), what.to_owned());
        if said.as_deref() != Some(what) {
            output::talk(what);
        }
    }
}
