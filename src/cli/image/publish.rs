//! `sealboot image publish`: from an envelope that its signers have signed to what machines fetch.
//!
//! Order is what keeps a machine that fetches meanwhile from seeing a half: first the archive, then
//! `images/NAME/VERSION.json`, last `images/NAME.json`, each in one step.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{place, read_envelope, unverified_manifest, verify};
use crate::cli::files::{self, Existing};
use crate::cli::{Failure, output, policy, time};
use crate::format::digest::Sha256Digest;
use crate::format::limits::LIMITS;
use crate::format::manifest::{ImageName, ImageVersion, Manifest};
use crate::trust::Verified;

/// Verify an image, then make it the newest of its name in a store.
///
/// Everything is checked that a loader checks, the archive included, which is copied from the store
/// that ENVELOPE stands in if the other does not have it. Machines that boot from then on fetch this
/// image. Prints the path of what they fetch.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The trust policy that the machines have
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

    /// The envelope, signed by enough of the policy's signers
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

pub(super) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let policy = policy::load(&args.policy)?;
    if !args.store.is_dir() {
        return Err(Failure::new(format!(
            "the store {} is no directory",
            args.store.display()
        ))
        .hint("give the store that the server serves; `sealboot image pack --store` makes one"));
    }
    let bytes = files::read(&args.envelope, LIMITS.envelope_bytes)?;
    let verified = verify::manifest(&args.envelope, &bytes, &policy, None, time::now())?;
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

    provide_archive(args, &verified)?;
    files::write(&versioned, &bytes, 0o644, Existing::Replace)?;
    files::write(&newest, &bytes, 0o644, Existing::Replace)?;
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
    let envelope = read_envelope(path)?;
    let manifest = unverified_manifest(path, &envelope)?;
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
    let other = place(&args.envelope).map(|place| place.root.join(&archive.path));
    let (false, Some(other)) = (own.exists(), other.filter(|other| other.exists())) else {
        return verify::archive_in(&args.store, verified);
    };
    files::create_directory(files::directory(&own))?;
    // Under no name that a server serves, until it is checked.
    let mut copy = files::create_beside(&own, 0o644)?;
    let mut source = File::open(&other)
        .map_err(|error| files::unreadable(&other, &error))?
        .take(archive.size.saturating_add(1));
    io::copy(&mut source, &mut copy)
        .and_then(|_| copy.rewind())
        .map_err(|error| {
            Failure::new(format!(
                "cannot copy the archive from {} to {}",
                other.display(),
                own.display()
            ))
            .because(&error)
        })?;
    verify::archive(&other, copy.as_file(), verified)?;
    files::put(copy, &own, Existing::Replace)?;
    output::talk(format!("copied the archive to {}", own.display()));
    Ok(())
}
