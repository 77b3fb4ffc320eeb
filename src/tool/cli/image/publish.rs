//! `sealboot image publish`: from an envelope that its signers have signed to what machines fetch.
//!
//! Order is what keeps a machine that fetches meanwhile from seeing a half: first the archive, then
//! `images/NAME/VERSION.json`, last `images/NAME.json`, each in one step.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::SignedDuration;

use super::{Stored, unverified_manifest, verify};
use crate::cli::freshness;
use crate::cli::policy;
use crate::cli::support::{Failure, output, passphrase, time};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{ImageName, ImageVersion, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Envelope, TrustPolicy, Verified};
use sealboot_store::Renewal;
use sealboot_store::Store;
use sealboot_store::files::{self, Existing};
use sealboot_store::path::Place;
use sealboot_store::pending::PendingFile;

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
    let mut renewal = renewal(args, &policy)?;
    let envelope = Stored::read(&args.envelope)?.into_envelope();
    let expected = Expected {
        name: None,
        arch: None,
        now: time::now(),
    };
    let verified = policy
        .verify_manifest(&envelope.encode(), &expected)
        .map_err(|refusal| Failure::refused(&refusal).context(args.envelope.display()))?;
    let manifest = verified.as_ref();

    let images = args.store.join("images");
    let versions = images.join(manifest.name.as_str());
    files::create_directory(&versions)?;
    let _lock = files::lock(&versions);
    let newest = images.join(format!("{}.json", manifest.name));
    let versioned = versions.join(format!("{}.json", manifest.version));
    let published = published(&newest, &manifest.name)?;
    if let Some(published) = &published {
        check_order(args, manifest, published.version)?;
    }
    for there in published
        .into_iter()
        .chain(self::published(&versioned, &manifest.name)?)
    {
        check_same(&verified, &there)?;
    }

    if let Some(last) = store.floor(&policy, &manifest.name)? {
        last.check_policy(&policy, &newest)?;
        if !args.allow_older {
            last.check_version(manifest.version, &newest)?;
        }
    }
    provide_archive(args, &verified)?;
    files::write(&versioned, &envelope.encode(), 0o644, Existing::Replace)?;
    let freshness = match &mut renewal {
        Some(renewal) => Some(renewal.statement(&policy, manifest, expected.now)?.0),
        None => stated(&newest),
    };
    let channel = judged(
        Channel {
            manifest: envelope,
            freshness,
        },
        &policy,
        &expected,
    );
    files::write(&newest, &channel.encode(), 0o644, Existing::Replace)?;
    let signers: Vec<&str> = verified
        .signers()
        .iter()
        .map(|name| name.as_str())
        .collect();
    output::talk(format!(
        "published image {}, version {} ({}), signed by {}",
        manifest.name,
        manifest.version,
        manifest.label,
        signers.join(", ")
    ));
    output::data(&format!("{}\n", newest.display()))
}

/// Who renews the freshness statement, where the command line names a key for it.
fn renewal(args: &PublishArgs, policy: &TrustPolicy) -> Result<Option<Renewal>, Failure> {
    if args.freshness_keys.is_empty() {
        return Ok(None);
    }
    let renewal = freshness::renewal(&args.freshness_keys, &args.passphrase, args.fresh_for)?;
    renewal.check(policy)?;
    Ok(Some(renewal))
}

/// The freshness statement in the channel so far.
fn stated(newest: &Path) -> Option<Envelope> {
    let bytes = files::read_stored(newest, LIMITS.channel_bytes).ok()?;
    Channel::parse(&bytes).ok()?.freshness
}

/// The channel as machines will take it. A statement that they would refuse, because it has expired or
/// names another version, is left out; where they refuse one that is not there too, says so.
fn judged(channel: Channel, policy: &TrustPolicy, expected: &Expected<'_>) -> Channel {
    if channel.freshness.is_some() && policy.verify_channel(&channel.encode(), expected).is_ok() {
        return channel;
    }
    let channel = Channel {
        freshness: None,
        ..channel
    };
    if policy.freshness().is_some_and(|rule| rule.required) {
        output::warn(
            "machines refuse this image until `sealboot freshness renew` has said that it is the newest: the trust policy requires it",
        );
    }
    channel
}

/// What an envelope that stands in the store already says of itself.
///
/// It is not verified: it may be expired, or of signers who have left, and its number counts all the
/// same. Whoever can write to the store can make it say anything, and gains that nothing is published
/// without --allow-older.
struct Published {
    path: PathBuf,
    version: ImageVersion,
    payload_sha256: Sha256Digest,
}

fn published(path: &Path, name: &ImageName) -> Result<Option<Published>, Failure> {
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let damaged = |failure: Failure| {
        failure
            .context("the store's own file is damaged")
            .hint(format!(
                "look at {}, and remove it if it is worth nothing; then publish again",
                path.display()
            ))
    };
    let envelope = Stored::read(path).map_err(damaged)?.into_envelope();
    let manifest = unverified_manifest(path, &envelope).map_err(damaged)?;
    if manifest.name != *name {
        return Err(Failure::new(format!(
            "{} holds image \"{}\" instead of \"{name}\"",
            path.display(),
            manifest.name
        ))
        .hint("the store was rearranged by hand: move that file to where it belongs"));
    }
    Ok(Some(Published {
        path: path.to_owned(),
        version: manifest.version,
        payload_sha256: Sha256Digest::of(envelope.unverified_payload()),
    }))
}

fn check_order(
    args: &PublishArgs,
    manifest: &Manifest,
    newest: ImageVersion,
) -> Result<(), Failure> {
    if newest <= manifest.version {
        return Ok(());
    }
    if args.allow_older {
        output::warn(format!(
            "version {newest} of image {} was published before: machines go back to version {}",
            manifest.name, manifest.version
        ));
        return Ok(());
    }
    Err(Failure::refusal(format!(
        "version {} of image \"{}\" is older than version {newest}, which is published",
        manifest.version, manifest.name
    ))
    .hint("pack the image again under a higher version, or go back with --allow-older"))
}

/// A version is one statement for ever: machines, reports and people name images by it.
fn check_same(verified: &Verified<Manifest>, there: &Published) -> Result<(), Failure> {
    let manifest = verified.as_ref();
    if there.version != manifest.version || there.payload_sha256 == *verified.payload_sha256() {
        return Ok(());
    }
    Err(Failure::refusal(format!(
        "another version {} of image \"{}\" stands at {}\n  expected manifest sha256 {}\n  found    manifest sha256 {}",
        manifest.version,
        manifest.name,
        there.path.display(),
        verified.payload_sha256(),
        there.payload_sha256
    ))
    .hint("pack the image again under a higher version"))
}

/// Sees to it that the store holds the archive, and that it is as signed.
fn provide_archive(args: &PublishArgs, verified: &Verified<Manifest>) -> Result<(), Failure> {
    let archive = &verified.as_ref().archive;
    let own = args.store.join(&archive.path);
    if leaves(&args.store, &own) {
        return Err(Failure::new(format!(
            "{} is a link that leads out of the store, which `sealboot serve` does not follow",
            own.display()
        ))
        .hint("put the archive itself in its place"));
    }
    let there = own
        .exists()
        .then(|| verify::archive_in(&args.store, verified));
    let other = Place::of(&args.envelope)
        .map(|place| place.store.archive(archive))
        .filter(|other| other.exists() && !is_same(other, &own));
    // A damaged archive is replaced where a good one can be had.
    let other = match (there, other) {
        (Some(Ok(())), _) => return Ok(()),
        (Some(Err(failure)), None) => return Err(failure),
        (None, None) => return verify::archive_in(&args.store, verified),
        (Some(Err(_)) | None, Some(other)) => other,
    };
    files::create_directory(files::directory(&own))?;
    // Without a name until it is checked, so that nothing of it stays if this run is ended.
    let unwritable = |error: &io::Error| {
        Failure::new(format!(
            "cannot copy the archive from {} to {}",
            other.display(),
            own.display()
        ))
        .because(error)
    };
    let mut copy =
        PendingFile::create_in(files::directory(&own)).map_err(|error| unwritable(&error))?;
    let mut source = files::open_stored(&other)?.take(archive.size.saturating_add(1));
    io::copy(&mut source, &mut copy).map_err(|error| unwritable(&error))?;
    let written = copy.written().map_err(|error| unwritable(&error))?;
    verify::archive(&other, written, verified)?;
    copy.commit(&own, Existing::Replace)
        .map_err(|error| unwritable(&error))?;
    output::talk(format!("copied the archive to {}", own.display()));
    Ok(())
}

/// Whether `path` is, or stands behind, a link that leads out of `store`.
fn leaves(store: &Path, path: &Path) -> bool {
    match (store.canonicalize(), path.canonicalize()) {
        (Ok(store), Ok(path)) => !path.starts_with(store),
        _ => false,
    }
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
