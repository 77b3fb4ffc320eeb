//! `sealboot freshness`: says again what is newest, before the last word runs out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use super::policy;
use super::support::signer::{Ready, Signer};
use super::support::{Failure, output, passphrase, time};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{ImageName, ImageVersion, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Chain, Channel, Envelope, Refusal, TrustPolicy};
use sealboot_store::Store;
use sealboot_store::files::{self, Existing};
use sealboot_store::policy::load;

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

    /// Renew though the last statement names a newer version than the store shows: after going back below
    /// it on purpose
    #[arg(long)]
    allow_older: bool,

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
    Store::open(&args.store)?;
    let mut renewal = Renewal::new(&args.keys, &args.passphrase, args.life)?;
    let policy = policy::newest(&args.policy, Some(&args.store))?;
    renewal.check(&policy)?;
    let images = if args.images.is_empty() {
        published(&policy, &args.store)?
    } else {
        args.images.clone()
    };
    // One image whose manifest has expired must not keep the others from being renewed.
    let mut failed = Vec::new();
    for image in &images {
        let last = Last::stated(&policy, &args.store, image)?;
        let last = last.filter(|_| !args.allow_older);
        let renewed = last
            .map_or(Ok(()), |last| last.check(&policy, &args.store, image))
            .and_then(|()| renewal.renew(&policy, &args.store, image, time::now()));
        match renewed {
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

/// What the role said last of an image: what is newest does not become older by itself, so who renews
/// refuses to say so. A store that lost files looks just like one that somebody has put back.
#[derive(Debug, Clone)]
pub(super) struct Last(Freshness);

impl Last {
    /// What the image's channel says that the role has said, be it still in force or not.
    pub(super) fn stated(
        policy: &TrustPolicy,
        store: &Path,
        image: &ImageName,
    ) -> Result<Option<Self>, Failure> {
        let path = place(store, image);
        if matches!(path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        let bytes = files::read_stored(&path, LIMITS.channel_bytes)?;
        let channel = Channel::parse(&bytes).ok();
        let stated = channel
            .and_then(|channel| channel.freshness)
            .and_then(|envelope| policy.stated(&envelope))
            .filter(|freshness| freshness.name == *image);
        Ok(stated.map(Self))
    }

    /// Fails where the store shows less than the role has said there is.
    pub(super) fn check(
        &self,
        policy: &TrustPolicy,
        store: &Path,
        image: &ImageName,
    ) -> Result<(), Failure> {
        let path = place(store, image);
        self.check_policy(policy, &path)?;
        let bytes = files::read_stored(&path, LIMITS.channel_bytes)?;
        // What cannot be read is refused, with its reason, by who renews.
        let Some(manifest) = Channel::parse(&bytes)
            .ok()
            .and_then(|channel| Manifest::parse(channel.manifest.unverified_payload()).ok())
        else {
            return Ok(());
        };
        self.check_version(manifest.version, &path)
    }

    /// Fails where the role has said that there is a newer policy.
    pub(super) fn check_policy(&self, policy: &TrustPolicy, path: &Path) -> Result<(), Failure> {
        if self.0.trust <= policy.version() {
            return Ok(());
        }
        let stale = Refusal::StalePolicy {
            found: policy.version(),
            newest: self.0.trust,
        };
        Err(Failure::refused(&stale).context(path.display()).hint(format!(
            "the last statement names version {0}: bring trust/{0}.json back from another copy of the store, and find out who removed it",
            self.0.trust
        )))
    }

    /// Fails where the role has said that there is a newer version.
    pub(super) fn check_version(&self, found: ImageVersion, path: &Path) -> Result<(), Failure> {
        if self.0.version <= found {
            return Ok(());
        }
        let stale = Refusal::Stale {
            name: self.0.name.clone(),
            found,
            newest: self.0.version,
        };
        Err(Failure::refused(&stale).context(path.display()).hint(format!(
            "publish version {} again; if machines are to go back on purpose, say so with --allow-older",
            self.0.version
        )))
    }

    /// The one that was said later.
    fn later(self, other: Self) -> Self {
        if other.0.created > self.0.created {
            other
        } else {
            self
        }
    }
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
            .hint(format!("make it {}h, or less", rule.max_hours)));
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
        let bytes = files::read_stored(&path, LIMITS.channel_bytes)?;
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
    let bytes = files::read_stored(&place(store, image), LIMITS.channel_bytes)?;
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
    /// The walk so far: a policy that has been seen is not forgotten because its file is gone.
    chain: Option<Chain>,
    /// What the role said last of each image, whatever has become of the file in which it stood.
    last: HashMap<ImageName, Last>,
    /// What was said last of the policy (under no name) and of each image: a fault is said once, not
    /// every minute.
    said: HashMap<Option<ImageName>, String>,
}

impl Keeper {
    /// Checks everything that can be checked before the first renewal.
    pub(super) fn new(renewal: Renewal, policy: PathBuf, store: PathBuf) -> Result<Self, Failure> {
        let mut keeper = Self {
            renewal,
            policy,
            store,
            chain: None,
            last: HashMap::new(),
            said: HashMap::new(),
        };
        let newest = keeper.newest()?;
        keeper.renewal.check(&newest)?;
        Ok(keeper)
    }

    fn newest(&mut self) -> Result<TrustPolicy, Failure> {
        let chain = match &self.chain {
            Some(chain) => chain.clone(),
            None => Chain::from(load(&self.policy)?),
        };
        let chain = Store::at(&self.store).walk(chain, None)?;
        Ok(self.chain.insert(chain).newest().clone())
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
            let renewed = self.renew(&policy, image, now);
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
    /// Renews one image, if it is due and is not behind what was said of it before.
    fn renew(
        &mut self,
        policy: &TrustPolicy,
        image: &ImageName,
        now: Timestamp,
    ) -> Result<Option<(PathBuf, Freshness)>, Failure> {
        let stated = Last::stated(policy, &self.store, image)?;
        // Who has a key of the role and goes back on purpose says so, later than what was said before.
        let last = match (self.last.remove(image), stated) {
            (Some(last), Some(stated)) => Some(last.later(stated)),
            (last, stated) => last.or(stated),
        };
        if let Some(last) = last {
            self.last.insert(image.clone(), last.clone());
            last.check(policy, &self.store, image)?;
        }
        if !is_due(policy, &self.store, image, now)? {
            return Ok(None);
        }
        self.renewal.check(policy)?;
        let renewed = self.renewal.renew(policy, &self.store, image, now)?;
        self.last.insert(image.clone(), Last(renewed.1.clone()));
        Ok(Some(renewed))
    }

    fn say(&mut self, of: Option<&ImageName>, what: &str) {
        let said = self.said.insert(of.cloned(), what.to_owned());
        if said.as_deref() != Some(what) {
            output::talk(what);
        }
    }
}
