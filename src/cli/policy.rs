//! `sealboot policy`: what loaders will accept, made and explained.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::files::{self, Existing};
use super::{Failure, key_file, output, time};
use crate::format::Invalid;
use crate::format::limits::LIMITS;
use crate::format::manifest::{ImageName, ImageVersion};
use crate::trust::policy::{
    AcceptedImage, ExpiryRule, FailurePolicy, PolicyError, Signer, SignerName, TrustPolicy,
};

/// Make and check trust policies: what a loader accepts.
///
/// The policy is baked into the loader's initramfs and never fetched. It names the keys that may
/// sign, how many of them must, the images that may boot, and how fresh they must be.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Create(CreateArgs),
    Check(CheckArgs),
}

/// Make a trust policy.
///
/// Prints the path of the new file; what the policy means, and what is weak about it, goes to stderr.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// How many of the signers must sign an image
    #[arg(long, value_name = "N")]
    threshold: usize,

    /// A signer's public key; give one for each signer
    ///
    /// The signer's name is that of the file without its suffix (alice.pub is alice's), or what stands
    /// before `=`: alice=keys/2026.pub. Compare key ids with their holders first.
    #[arg(long = "key", value_name = "[NAME=]FILE.pub", required = true)]
    keys: Vec<KeyArgument>,

    /// An image that may boot, and the oldest version of it; give one for each image
    ///
    /// Without a version, every version may boot: name the oldest good one, for a stale or hostile
    /// mirror can serve any that was ever signed.
    #[arg(long = "name", value_name = "IMAGE[=MIN_VERSION]", required = true, value_parser = accepted_image)]
    images: Vec<AcceptedImage>,

    /// Refuse images that have no expiry
    #[arg(long)]
    require_expiry: bool,

    /// The longest time from creation to expiry that an image may grant itself, such as 90d
    #[arg(long, value_name = "DAYS", value_parser = time::days)]
    max_life: Option<u32>,

    /// Let mirrors be plain http
    ///
    /// Signatures protect the image all the same, but everybody on the way sees which image is fetched.
    #[arg(long)]
    allow_http: bool,

    /// How long the loader waits after its first failure, such as 2s; the wait then doubles
    #[arg(long, value_name = "SPAN", value_parser = time::seconds, default_value = "2s")]
    first_wait: u32,

    /// The longest that the loader waits between two tries, such as 60s or 5m
    #[arg(long, value_name = "SPAN", value_parser = time::seconds, default_value = "60s")]
    longest_wait: u32,

    /// Reboot after this many failures; 0 is never
    #[arg(long, value_name = "FAILURES", default_value_t = FailurePolicy::default().reboot_after)]
    reboot_after: u32,

    /// The file to make; one that exists is not replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Read a trust policy as a loader does, and say what it means.
///
/// Exits with 3 and the loader's failure code where a loader would refuse the file.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The trust policy
    file: PathBuf,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create(args),
        Command::Check(args) => check(&args),
    }
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

fn accepted_image(text: &str) -> Result<AcceptedImage, Invalid> {
    let (name, min_version) = match text.split_once('=') {
        Some((name, version)) => (name, version.parse()?),
        None => (text, ImageVersion::FIRST),
    };
    Ok(AcceptedImage::new(name.parse::<ImageName>()?, min_version))
}

fn create(args: CreateArgs) -> Result<(), Failure> {
    let signers = args
        .keys
        .into_iter()
        .map(KeyArgument::signer)
        .collect::<Result<Vec<_>, _>>()?;
    let expiry = ExpiryRule {
        required: args.require_expiry,
        max_days: args.max_life,
    };
    let on_failure = FailurePolicy {
        first_wait_seconds: args.first_wait,
        longest_wait_seconds: args.longest_wait,
        reboot_after: args.reboot_after,
    };
    let policy = TrustPolicy::new(signers, args.threshold, args.images)
        .and_then(|policy| policy.with_expiry(expiry))
        .and_then(|policy| policy.with_on_failure(on_failure))
        .map_err(|error| contradiction(&error))?;
    let policy = if args.allow_http {
        policy.with_plain_http()
    } else {
        policy
    };
    files::write(&args.out, &policy.encode(), 0o644, Existing::Keep)?;
    output::talk(describe(&policy).trim_end());
    for weakness in weaknesses(&policy) {
        output::warn(weakness);
    }
    output::data(&format!("{}\n", args.out.display()))
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
        "on_failure.longest_wait_seconds" => failure.hint("make --longest-wait at least as long as --first-wait"),
        _ => failure,
    }
}

/// Reads a policy to work with; `policy check` reads one to judge it.
pub(super) fn load(path: &Path) -> Result<TrustPolicy, Failure> {
    TrustPolicy::parse(&files::read(path, LIMITS.policy_bytes)?).map_err(|error| {
        Failure::new(format!("cannot use the trust policy {}", path.display()))
            .because(&error)
            .hint("check the file with `sealboot policy check`")
    })
}

#[derive(Serialize)]
struct Summary<'a> {
    threshold: usize,
    signers: Vec<SummarySigner<'a>>,
    images: &'a [AcceptedImage],
    expiry: ExpiryRule,
    allow_http: bool,
    clock_tolerance_seconds: u64,
    on_failure: FailurePolicy,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct SummarySigner<'a> {
    name: &'a SignerName,
    key_id: String,
    key: String,
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let bytes = files::read(&args.file, LIMITS.policy_bytes)?;
    let policy = TrustPolicy::parse(&bytes).map_err(|error| {
        Failure::refused(&error)
            .context(args.file.display())
            .hint("correct the file, or make it with `sealboot policy create`")
    })?;
    let warnings = weaknesses(&policy);
    if !args.json {
        output::data(&describe(&policy))?;
        warnings.iter().for_each(output::warn);
        return Ok(());
    }
    let signers = policy.keys().iter().map(|signer| SummarySigner {
        name: &signer.name,
        key_id: signer.key.id().to_string(),
        key: signer.key.to_string(),
    });
    output::json(&Summary {
        threshold: policy.threshold(),
        signers: signers.collect(),
        images: policy.images(),
        expiry: policy.expiry(),
        allow_http: policy.allows_http(),
        clock_tolerance_seconds: policy.clock_tolerance().as_secs(),
        on_failure: policy.on_failure(),
        warnings,
    })
}

/// What a policy means, in words.
fn describe(policy: &TrustPolicy) -> String {
    let signers = policy
        .keys()
        .iter()
        .map(|signer| [signer.name.to_string(), signer.key.id().to_string()]);
    let images = policy.images().iter().map(|image| {
        [
            image.name.to_string(),
            format!("version {} or newer", image.min_version),
        ]
    });
    let ExpiryRule { required, max_days } = policy.expiry();
    let expiry = match (required, max_days) {
        (true, Some(days)) => format!("must expire, at most {days} days after creation"),
        (true, None) => "must expire".to_owned(),
        (false, Some(days)) => {
            format!("need not expire; one that does lives at most {days} days")
        }
        (false, None) => "need not expire".to_owned(),
    };
    let on_failure = policy.on_failure();
    let reboot = match on_failure.reboot_after {
        0 => "never reboot".to_owned(),
        1 => "reboot after the first failure".to_owned(),
        failures => format!("reboot after {failures} failures"),
    };
    let mirrors = if policy.allows_http() {
        "https or plain http"
    } else {
        "https only"
    };
    format!(
        "signers, of whom {} of {} must sign\n{}images that may boot\n{}rules\n{}",
        policy.threshold(),
        policy.keys().len(),
        output::columns(signers),
        output::columns(images),
        output::columns([
            ["images".to_owned(), expiry],
            [
                "clocks".to_owned(),
                format!(
                    "may differ by {} seconds",
                    policy.clock_tolerance().as_secs()
                )
            ],
            ["mirrors".to_owned(), mirrors.to_owned()],
            [
                "failures".to_owned(),
                format!(
                    "wait {} to {} seconds, doubling; {reboot}",
                    on_failure.first_wait_seconds, on_failure.longest_wait_seconds
                )
            ],
        ]),
    )
}

/// What a policy allows that its author may not have thought of.
fn weaknesses(policy: &TrustPolicy) -> Vec<String> {
    let ExpiryRule { required, max_days } = policy.expiry();
    let mut found = Vec::new();
    if policy.threshold() == 1 {
        found.push("threshold 1: one stolen key is enough to change what runs".to_owned());
    } else if policy.threshold() == policy.keys().len() {
        found.push("every signer must sign: one lost key stops every new image".to_owned());
    }
    if !required {
        found.push(
            "no expiry required: a stale or hostile mirror can replay any old image that is at or above its min_version"
                .to_owned(),
        );
    } else if max_days.is_none() {
        found.push(
            "no longest life: an image can grant itself an expiry in the far future; see --max-life"
                .to_owned(),
        );
    }
    if policy.allows_http() {
        found.push(
            "plain http allowed: everybody between a machine and its mirror sees which image it fetches"
                .to_owned(),
        );
    }
    found
}
