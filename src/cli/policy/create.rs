//! `sealboot policy create`: the first policy of a fleet, or the one that follows another.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use super::Stored;
use super::describe::{describe, weaknesses};
use super::roles::Roles;
use super::sign::compared;
use crate::cli::files::{self, Existing};
use crate::cli::{Failure, key_file, output, time};
use crate::format::Invalid;
use crate::format::digest::Sha256Digest;
use crate::format::manifest::{ImageName, ImageVersion};
use crate::format::version::PolicyVersion;
use crate::trust::TrustPolicy;
use crate::trust::policy::{
    AcceptedImage, ExpiryRule, FailurePolicy, FreshnessRule, PolicyError, Signer, SignerName,
};

/// Make a trust policy, or the next version of one.
///
/// Prints the path of the new file; what the policy means, and what is weak about it, goes to stderr.
///
/// With --from, everything is as in the old policy but what is given here, and it is said what changes
/// and who must sign. A list that is given (--key, --name, --freshness-key) replaces the old one;
/// denials add up. What no option takes back, a denial or a permission, can be edited out of the file
/// before it is signed.
#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// The policy that the new one follows, as it is baked in or as it stands in STORE/trust
    #[arg(long, value_name = "OLD")]
    from: Option<PathBuf>,

    /// A signer's public key; give one for each signer
    ///
    /// The signer's name is that of the file without its suffix (alice.pub is alice's), or what stands
    /// before `=`: alice=keys/2026.pub. Compare key ids with their holders first.
    #[arg(
        long = "key",
        value_name = "[NAME=]FILE.pub",
        required_unless_present = "from"
    )]
    keys: Vec<KeyArgument>,

    /// The public key of who says which version is the newest, often a machine; give one for each
    ///
    /// With such a role, machines notice a mirror that is frozen. Its keys sign nothing else, so none
    /// of them may be a --key too.
    #[arg(long = "freshness-key", value_name = "[NAME=]FILE.pub")]
    freshness_keys: Vec<KeyArgument>,

    #[command(flatten)]
    rules: Rules,

    /// The file to make; one that exists is not replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What a policy says besides its keys, as far as the command line does.
#[derive(Debug, Default, Args)]
struct Rules {
    /// How many of the signers must sign an image
    #[arg(long, value_name = "N", required_unless_present = "from")]
    threshold: Option<usize>,

    /// An image that may boot, and the oldest version of it; give one for each image
    ///
    /// Without a version, every version may boot: name the oldest good one, for a stale or hostile
    /// mirror can serve any that was ever signed. With --from, the old policy's oldest version stays.
    #[arg(
        long = "name",
        value_name = "IMAGE[=MIN_VERSION]",
        required_unless_present = "from"
    )]
    images: Vec<ImageArgument>,

    /// Refuse this version of an image whatever it is signed by: a bad release
    #[arg(long = "deny-version", value_name = "IMAGE=VERSION", value_parser = denied_version)]
    denied_versions: Vec<(ImageName, ImageVersion)>,

    /// Refuse what has this SHA-256, be it a manifest or an archive
    #[arg(long = "deny-digest", value_name = "HEX")]
    denied_digests: Vec<Sha256Digest>,

    /// Refuse images that have no expiry
    #[arg(long)]
    require_expiry: bool,

    /// The longest time from creation to expiry that an image may grant itself, such as 90d
    #[arg(long, value_name = "DAYS", value_parser = time::days)]
    max_life: Option<u32>,

    /// How many of the keys of freshness must sign a statement [default: 1]
    #[arg(long, value_name = "N")]
    freshness_threshold: Option<usize>,

    /// Refuse an image of which no statement says that it is the newest
    #[arg(long)]
    require_freshness: bool,

    /// The longest that such a statement may count for, such as 72h or 3d [default: 72h]
    #[arg(long, value_name = "SPAN", value_parser = time::hours)]
    max_freshness: Option<u32>,

    /// Let mirrors be plain http
    ///
    /// Signatures protect the image all the same, but everybody on the way sees which image is fetched.
    #[arg(long)]
    allow_http: bool,

    /// How long the loader waits after its first failure, such as 2s; the wait then doubles [default: 2s]
    #[arg(long, value_name = "SPAN", value_parser = time::seconds)]
    first_wait: Option<u32>,

    /// The longest that the loader waits between two tries, such as 60s or 5m [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = time::seconds)]
    longest_wait: Option<u32>,

    /// Reboot after this many failures; 0 is never [default: 20]
    #[arg(long, value_name = "FAILURES")]
    reboot_after: Option<u32>,
}

pub(super) fn run(args: CreateArgs) -> Result<(), Failure> {
    let old = args.from.as_deref().map(Stored::read_old).transpose()?;
    let keys = signers(args.keys)?;
    let freshness_keys = signers(args.freshness_keys)?;
    let policy = args.rules.policy(keys, freshness_keys, old.as_ref())?;
    files::write(&args.out, &policy.encode(), 0o644, Existing::Keep)?;
    output::talk(describe(&policy).trim_end());
    if let (Some(path), Some(old)) = (&args.from, &old) {
        say_what_changes(path, old, &policy);
    }
    for weakness in weaknesses(&policy) {
        output::warn(weakness);
    }
    output::data(&format!("{}\n", args.out.display()))
}

fn say_what_changes(path: &Path, old: &TrustPolicy, new: &TrustPolicy) {
    let roles = Roles {
        old: Some(old),
        new,
    };
    output::talk(compared(path, old, new));
    output::talk(roles.required().trim_end());
    roles.warnings().iter().for_each(output::warn);
}

fn signers(keys: Vec<KeyArgument>) -> Result<Vec<Signer>, Failure> {
    keys.into_iter().map(KeyArgument::signer).collect()
}

/// As long as a freshness statement counts at most if nobody says otherwise: a long weekend in which
/// nobody sees that renewing has stopped.
const USUAL_FRESHNESS_HOURS: u32 = 72;

impl Rules {
    /// The policy over these keys. Where it follows `old`, an empty list is the old one.
    fn policy(
        self,
        keys: Vec<Signer>,
        freshness_keys: Vec<Signer>,
        old: Option<&TrustPolicy>,
    ) -> Result<TrustPolicy, Failure> {
        let freshness = self.freshness(freshness_keys, old)?;
        let mut images = self.images(old.map_or(&[], TrustPolicy::images));
        for (name, version) in &self.denied_versions {
            let image = images
                .iter_mut()
                .find(|image| image.name == *name)
                .ok_or_else(|| {
                    Failure::new(format!("the trust policy accepts no image \"{name}\", so none of its versions need be denied"))
                        .hint("an image that is not named boots in no version; deny those of the images that are")
                })?;
            add(&mut image.denied_versions, *version);
        }
        let policy = match old {
            None => TrustPolicy::new(keys, self.threshold.unwrap_or_default(), images),
            Some(old) => self.following(old, next_version(old)?, keys, images),
        };
        policy
            .and_then(|policy| self.with_rules(policy))
            .and_then(|policy| policy.with_freshness(freshness))
            .map_err(|error| contradiction(&error))
    }

    /// The old policy in this version, over these keys and images. Without its freshness: a key may go
    /// from one role to the other.
    fn following(
        &self,
        old: &TrustPolicy,
        version: PolicyVersion,
        keys: Vec<Signer>,
        images: Vec<AcceptedImage>,
    ) -> Result<TrustPolicy, PolicyError> {
        let keys = if keys.is_empty() {
            old.keys().to_vec()
        } else {
            keys
        };
        let threshold = self.threshold.unwrap_or(old.threshold());
        old.clone()
            .with_version(version)
            .with_freshness(None)?
            .with_signers(keys, threshold)?
            .with_images(images)
    }

    fn with_rules(&self, policy: TrustPolicy) -> Result<TrustPolicy, PolicyError> {
        let expiry = ExpiryRule {
            required: self.require_expiry || policy.expiry().required,
            max_days: self.max_life.or(policy.expiry().max_days),
        };
        let old = policy.on_failure();
        let on_failure = FailurePolicy {
            first_wait_seconds: self.first_wait.unwrap_or(old.first_wait_seconds),
            longest_wait_seconds: self.longest_wait.unwrap_or(old.longest_wait_seconds),
            reboot_after: self.reboot_after.unwrap_or(old.reboot_after),
        };
        let mut denied = policy.denied_digests().to_vec();
        for digest in &self.denied_digests {
            add(&mut denied, *digest);
        }
        let policy = policy
            .with_expiry(expiry)?
            .with_on_failure(on_failure)?
            .with_denied_digests(denied)?;
        Ok(if self.allow_http {
            policy.with_plain_http()
        } else {
            policy
        })
    }

    /// The images that are named, with the denials of the old policy; where none is, the old ones.
    fn images(&self, old: &[AcceptedImage]) -> Vec<AcceptedImage> {
        if self.images.is_empty() {
            return old.to_vec();
        }
        let named = self.images.iter().map(|named| {
            let old = old.iter().find(|image| image.name == named.name);
            AcceptedImage {
                name: named.name.clone(),
                min_version: named
                    .min_version
                    .or(old.map(|image| image.min_version))
                    .unwrap_or(ImageVersion::FIRST),
                denied_versions: old.map_or(Vec::new(), |image| image.denied_versions.clone()),
            }
        });
        named.collect()
    }

    fn freshness(
        &self,
        keys: Vec<Signer>,
        old: Option<&TrustPolicy>,
    ) -> Result<Option<FreshnessRule>, Failure> {
        let old = old.and_then(TrustPolicy::freshness);
        let keys = match old {
            Some(old) if keys.is_empty() => old.keys.clone(),
            _ => keys,
        };
        if !keys.is_empty() {
            let threshold = old.map_or(1, |old| old.threshold);
            let max_hours = old.map_or(USUAL_FRESHNESS_HOURS, |old| old.max_hours);
            return Ok(Some(FreshnessRule {
                keys,
                threshold: self.freshness_threshold.unwrap_or(threshold),
                required: self.require_freshness || old.is_some_and(|old| old.required),
                max_hours: self.max_freshness.unwrap_or(max_hours),
            }));
        }
        let asked = [
            (self.require_freshness, "--require-freshness"),
            (self.max_freshness.is_some(), "--max-freshness"),
            (self.freshness_threshold.is_some(), "--freshness-threshold"),
        ];
        match asked.iter().find(|(asked, _)| *asked) {
            None => Ok(None),
            Some((_, option)) => Err(Failure::new(format!(
                "{option} is given, but there is no key for freshness"
            ))
            .hint("say whose statements count: --freshness-key FILE.pub")),
        }
    }
}

fn next_version(old: &TrustPolicy) -> Result<PolicyVersion, Failure> {
    old.version().next().ok_or_else(|| {
        Failure::new("the old trust policy has the last version that there is")
            .hint("bake a first version into new initramfs")
    })
}

/// Adds what is not there yet: what is denied twice is denied once.
fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// `IMAGE[=MIN_VERSION]`.
#[derive(Debug, Clone)]
struct ImageArgument {
    name: ImageName,
    min_version: Option<ImageVersion>,
}

impl FromStr for ImageArgument {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (name, min_version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(version.parse()?)),
            None => (text, None),
        };
        Ok(Self {
            name: name.parse()?,
            min_version,
        })
    }
}

fn denied_version(text: &str) -> Result<(ImageName, ImageVersion), Invalid> {
    let (name, version) = text
        .split_once('=')
        .ok_or_else(|| Invalid::new("denied version", text, "IMAGE=VERSION, such as relay=43"))?;
    Ok((name.parse()?, version.parse()?))
}

/// `[NAME=]FILE`.
#[derive(Debug, Clone)]
struct KeyArgument {
    name: Option<SignerName>,
    file: PathBuf,
}

impl FromStr for KeyArgument {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A `=` in a path: `./a=b.pub`, for no signer's name holds a slash.
        let named = text
            .split_once('=')
            .and_then(|(name, file)| Some((name.parse().ok()?, file)));
        Ok(match named {
            Some((name, file)) => Self {
                name: Some(name),
                file: file.into(),
            },
            None => Self {
                name: None,
                file: text.into(),
            },
        })
    }
}

impl KeyArgument {
    fn signer(self) -> Result<Signer, Failure> {
        let key = key_file::read_public(&self.file)?;
        let name = match self.name {
            Some(name) => name,
            None => self
                .file
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default()
                .parse()
                .map_err(|error: Invalid| {
                    Failure::new(format!(
                        "the name of {} makes no signer's name",
                        self.file.display()
                    ))
                    .because(&error)
                    .hint(format!("give one: --key \"NAME={}\"", self.file.display()))
                })?,
        };
        Ok(Signer { name, key })
    }
}

fn contradiction(error: &PolicyError) -> Failure {
    let failure = Failure::new("these make no trust policy").because(error);
    let PolicyError::Contradiction(invalid) = error else {
        return failure;
    };
    match invalid.field {
        "keys.key" => failure.hint("two of the key files hold the same key; each signer needs one of their own"),
        "keys.name" => failure.hint("tell the signers apart: --key NAME=FILE.pub"),
        "threshold" => failure.hint("with fewer signers than the threshold nothing could ever boot, and with a threshold of 0 anything would"),
        "images.name" => failure.hint("give each --name once, with the oldest version that may boot"),
        "freshness.keys.key" => failure.hint("freshness needs keys of its own, each given once: they often live on a server, and must not count where people sign"),
        "freshness.keys.name" => failure.hint("tell them apart: --freshness-key NAME=FILE.pub"),
        "freshness.threshold" => failure.hint("give as many --freshness-key as must sign, or another --freshness-threshold"),
        "on_failure.longest_wait_seconds" => failure.hint("make --longest-wait at least as long as --first-wait"),
        "images.denied_versions" => failure.hint("raise the oldest version instead: --name IMAGE=MIN_VERSION"),
        _ => failure,
    }
}
