//! `sealboot policy publish`: hands on the trust of every machine that reads a store.
//!
//! What machines run until then must run after, or they stop at their next start. So each image of the
//! store is judged by the new policy first.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::roles::Roles;
use crate::cli::signatures::signed_path;
use crate::cli::support::{Failure, output, passphrase, time};
use sealboot_core::failure::Diagnose as _;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::ImageName;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Chain, Channel, Envelope, Refusal, TrustPolicy};
use sealboot_store::files::{self, Existing};
use sealboot_store::policy::{StoredPolicy, load};
use sealboot_store::{Kind, Store, StoreError};

/// Hand machines the policy that follows theirs.
///
/// Walks the store's policies from the one that is baked in, as a machine does, checks that the signed
/// policy is the next one, and puts it into the store. From then on it judges everything for all
/// machines that read this store: a removed key counts for nothing at once. Prints the path of what
/// they fetch. What was published stays: a policy is replaced by one that follows it.
///
/// Images of the store that the new policy would refuse stop the machines that run them. They are named
/// first, and nothing is done unless that is agreed to. To avoid it, have each image that runs signed as
/// both policies ask, and publish it again, before the policy.
#[derive(Debug, Args)]
pub(in crate::cli) struct PublishArgs {
    /// The trust policy that the machines have
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The store to publish in
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// Publish though the new policy refuses this image, and its machines will not boot; give one for
    /// each
    #[arg(long, value_name = "IMAGE")]
    let_stop: Vec<ImageName>,

    /// The signed policy
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

pub(super) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let store = Store::open(&args.store)?;
    let baked_in = load(&args.policy)?;
    let chain = store.walk(Chain::from(baked_in.clone()), None)?;
    let envelope = signed_envelope(&args.envelope)?;
    if let Some(version) = claimed_version(&envelope) {
        let path = store.policy(version);
        if version > baked_in.version() && version <= chain.newest().version() {
            return published_already(&path, version, &envelope);
        }
        check_order(args, version, &baked_in, &chain)?;
    }
    let next =
        successor(&chain, &envelope).map_err(|failure| failure.context(args.envelope.display()))?;
    let roles = Roles {
        old: Some(chain.newest()),
        new: &next,
    };
    judge_images(args, roles, time::now())?;

    let path = store.policy(next.version());
    files::create_directory(files::directory(&path))?;
    // Never in another's place, so that what machines have seen stays what it was, and of two who publish
    // in the same moment one is told.
    files::write(&path, &envelope.encode(), 0o644, Existing::Keep)?;
    output::talk(format!(
        "published version {} of the trust policy",
        next.version()
    ));
    output::talk(roles.standing(&envelope).trim_end());
    if next.freshness().is_some() {
        output::talk(
            "now run `sealboot freshness renew`: until then, a mirror can keep the new policy from machines unnoticed",
        );
    }
    output::data(&format!("{}\n", path.display()))
}

/// Reads the envelope; of a policy that nobody has signed yet, says what to do with it.
fn signed_envelope(path: &Path) -> Result<Envelope, Failure> {
    match StoredPolicy::read(path) {
        Ok(StoredPolicy::Plain(_)) => Err(Failure::new(format!(
            "{} is a policy without signatures",
            path.display()
        ))
        .hint(format!(
            "sign it with `sealboot policy sign`, and give {}",
            signed_path(path).display()
        ))),
        _ => Ok(Kind::Policy.read(path)?),
    }
}

/// What the envelope says of its version, for messages that come before it is judged.
fn claimed_version(envelope: &Envelope) -> Option<PolicyVersion> {
    if envelope.payload_type() != TrustPolicy::PAYLOAD_TYPE {
        return None;
    }
    let policy = TrustPolicy::parse_signed(envelope.unverified_payload()).ok()?;
    Some(policy.version())
}

fn published_already(
    path: &Path,
    version: PolicyVersion,
    envelope: &Envelope,
) -> Result<(), Failure> {
    let there = Kind::Policy.read(path)?;
    if there.signed_bytes() == envelope.signed_bytes() {
        output::talk(format!(
            "nothing to do: version {version} of the trust policy is published already"
        ));
        return output::data(&format!("{}\n", path.display()));
    }
    Err(Failure::refusal(format!(
        "another version {version} of the trust policy stands at {}\n  given      sha256 {}\n  published  sha256 {}",
        path.display(),
        Sha256Digest::of(envelope.unverified_payload()),
        Sha256Digest::of(there.unverified_payload())
    ))
    .hint("machines may have gone on to it: make the next version with `sealboot policy create --from`, of what the machines have, and --store"))
}

fn check_order(
    args: &PublishArgs,
    version: PolicyVersion,
    baked_in: &TrustPolicy,
    chain: &Chain,
) -> Result<(), Failure> {
    if version <= baked_in.version() {
        return Err(Failure::refusal(format!(
            "{} is version {version} of the trust policy, but {} is version {} already",
            args.envelope.display(),
            args.policy.display(),
            baked_in.version()
        ))
        .hint("machines only go on: make the next version with `sealboot policy create --from`, and --store"));
    }
    match chain.next() {
        Some(next) if version > next => Err(Failure::refused(&Refusal::PolicyVersion {
            found: version,
            expected: next,
        })
        .context(args.envelope.display())
        .hint(format!(
            "machines take one step after the other: publish version {next} first"
        ))),
        _ => Ok(()),
    }
}

/// The policy in the envelope, if it is the one that follows.
fn successor(chain: &Chain, envelope: &Envelope) -> Result<TrustPolicy, Failure> {
    let mut longer = chain.clone();
    match longer.step(&envelope.encode()) {
        Ok(()) => Ok(longer.newest().clone()),
        Err(refusal) => {
            let failure = Failure::refused(&refusal);
            Err(match (&refusal, remedy(chain, envelope)) {
                (_, Some(remedy)) => failure.hint(remedy),
                (Refusal::PayloadType { .. }, _) => {
                    failure.hint("give the envelope that `sealboot policy sign` made")
                }
                (Refusal::Policy(_), _) => failure.hint(
                    "make the policy with `sealboot policy create --from`, and have that one signed",
                ),
                _ => failure,
            })
        }
    }
}

/// Who must still sign. The loader looks at one role after the other; people want to hear of both.
fn remedy(chain: &Chain, envelope: &Envelope) -> Option<String> {
    if envelope.payload_type() != TrustPolicy::PAYLOAD_TYPE {
        return None;
    }
    let policy = TrustPolicy::parse_signed(envelope.unverified_payload()).ok()?;
    let roles = Roles {
        old: Some(chain.newest()),
        new: &policy,
    };
    roles.remedy(envelope)
}

/// An image that machines accept now, and will not when the new policy judges.
struct Refused {
    image: ImageName,
    refusal: Refusal,
    what: Lacking,
}

/// What an image lacks by the new policy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lacking {
    /// Its envelope is refused: people must sign, or publish another version.
    Envelope,
    /// The envelope is good, and a statement that says so is all that is missing: a machine can make it,
    /// once the policy is in the store.
    Freshness,
}

/// Names the images that the new policy refuses and the old one does not, and stops unless that is
/// agreed to.
fn judge_images(args: &PublishArgs, roles: Roles<'_>, now: Timestamp) -> Result<(), Failure> {
    let version = roles.new.version();
    let refused = refused(&args.store, roles, now)?;
    for Refused {
        image,
        refusal,
        what,
    } in &refused
    {
        output::warn(match what {
            Lacking::Envelope => format!(
                "image {image} will be refused by version {version} of the trust policy: {refusal}\n  code: {}\n  {}",
                refusal.code(),
                refusal.hint()
            ),
            Lacking::Freshness => format!(
                "image {image} will be refused by version {version} of the trust policy until `sealboot freshness renew` is run: {refusal}"
            ),
        });
    }
    let stopped: Vec<&str> = refused
        .iter()
        .filter(|refused| refused.what == Lacking::Envelope)
        .filter(|refused| !args.let_stop.contains(&refused.image))
        .map(|refused| refused.image.as_str())
        .collect();
    if stopped.is_empty() {
        return Ok(());
    }
    let question = format!(
        "Machines that run {} will not boot. Publish all the same?",
        stopped.join(", ")
    );
    if passphrase::interactive() && output::agreed(&question)? {
        return Ok(());
    }
    let options: Vec<String> = stopped
        .iter()
        .map(|name| format!("--let-stop {name}"))
        .collect();
    Err(Failure::refusal(format!(
        "version {version} of the trust policy would stop the machines that run {}",
        stopped.join(", ")
    ))
    .hint(format!(
        "nothing was changed; first publish images that both policies accept, signed by whom both ask for; or let those machines stop, with {}",
        options.join(" ")
    )))
}

fn refused(store: &Path, roles: Roles<'_>, now: Timestamp) -> Result<Vec<Refused>, Failure> {
    let images = store.join("images");
    let entries = match fs::read_dir(&images) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(StoreError::unreadable(&images))?,
    };
    let mut refused = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::unreadable(&images))?.path();
        let is_channel = path.is_file() && path.extension().is_some_and(|suffix| suffix == "json");
        let name = path.file_stem().and_then(|stem| stem.to_str());
        if let Some(image) = name
            .filter(|_| is_channel)
            .and_then(|name| name.parse().ok())
        {
            refused.extend(refused_image(&path, image, roles, now)?);
        }
    }
    refused.sort_by(|one, other| one.image.as_str().cmp(other.image.as_str()));
    Ok(refused)
}

/// What the old policy refuses too does not stop now. A statement of freshness that has run out is none
/// of that: it is renewed in a moment, and then the image must be good.
fn refused_image(
    path: &Path,
    image: ImageName,
    roles: Roles<'_>,
    now: Timestamp,
) -> Result<Option<Refused>, Failure> {
    let bytes = files::read(path, LIMITS.channel_bytes)?;
    let Ok(channel) = Channel::parse(&bytes) else {
        return Ok(None);
    };
    let expected = Expected {
        name: Some(&image),
        arch: None,
        now,
    };
    let envelope = channel.manifest.encode();
    let signed = |policy: &TrustPolicy| policy.verify_manifest(&envelope, &expected).map(drop);
    let boots = |policy: &TrustPolicy| policy.verify_channel(&bytes, &expected).map(drop);
    let by_old = |accepts: &dyn Fn(&TrustPolicy) -> Result<(), Refusal>| {
        roles.old.is_none_or(|old| accepts(old).is_ok())
    };
    let found = match (signed(roles.new), boots(roles.new)) {
        (Err(refusal), _) if by_old(&signed) => Some((Lacking::Envelope, refusal)),
        (Ok(()), Err(refusal)) if by_old(&boots) => Some((Lacking::Freshness, refusal)),
        _ => None,
    };
    Ok(found.map(|(what, refusal)| Refused {
        image,
        refusal,
        what,
    }))
}
