//! `sealboot image verify`: the loader's check, at a workstation.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::release_role;
use crate::cli::policy;
use crate::cli::signatures;
use crate::cli::support::{Failure, output, time};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{ImageName, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Envelope, Refusal, Statement, TrustPolicy, Verified};
use sealboot_store::Store;
use sealboot_store::files;
use sealboot_store::image::{StoredImage, unverified_manifest};
use sealboot_store::path::Place;
use sealboot_store::tally::Counted;

/// Check an envelope and its archive as a loader does, and its attachments.
///
/// Signatures against the trust policy, then name, dates and version, then, for a channel, whether it is
/// the newest, then every chunk and file of the archive, and the attachments. Where the store holds trust policies that follow
/// the one given, the newest of them judges, as on a machine. Exits with 3 and the code that the loader would print where one check says no. Only
/// the architecture is left open, as the image is for another machine.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The trust policy that the machines have
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The image that a machine asks for; without it, the name by which ENVELOPE stands in its store
    #[arg(long, value_name = "IMAGE")]
    name: Option<ImageName>,

    /// The store that holds the archive; without it, the one that ENVELOPE stands in
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    /// Check as if it were this time, such as 2026-12-21T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// Leave the archive and the attachments unread
    #[arg(long)]
    manifest_only: bool,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,

    /// The channel that machines fetch, STORE/images/NAME.json, or the envelope of one version
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

#[derive(Serialize)]
struct Report<'a> {
    verified: bool,
    archive_checked: bool,
    attachments_checked: bool,
    manifest: &'a Manifest,
    payload_sha256: &'a Sha256Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    freshness: Option<&'a Freshness>,
    #[serde(flatten)]
    counted: Counted,
}

pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let place = Place::of(&args.envelope);
    let placed = place.as_ref().and_then(|place| place.name.parse().ok());
    let fetched = place.as_ref().is_some_and(|place| place.fetched);
    let root = args
        .store
        .clone()
        .or(place.map(|place| place.store.root().to_owned()));
    let policy = policy::newest(&args.policy, root.as_deref())?;
    let bytes = files::read_stored(&args.envelope, LIMITS.channel_bytes)?;
    let refused = |refusal: Refusal| Failure::refused(&refusal).context(args.envelope.display());
    // A machine takes nothing but a channel from where it looks for one.
    let stored = StoredImage::parse(&bytes);
    let is_channel = matches!(stored, Ok(StoredImage::Channel(_)));
    let name = match args.name.clone().or(placed) {
        Some(name) => name,
        // Without another, the name that the envelope claims selects the role that must have signed it.
        None => {
            let envelope = stored.map(StoredImage::into_envelope).map_err(|source| {
                let statement = Statement::Manifest;
                refused(Refusal::Envelope { statement, source })
            })?;
            unverified_manifest(&args.envelope, &envelope)?.name
        }
    };
    let expected = Expected {
        name: &name,
        arch: None,
        now: args.at.unwrap_or_else(time::now).into(),
    };
    policy.check_expiry(expected.now.at()).map_err(refused)?;
    let (verified, freshness) = if fetched || is_channel || Channel::is_one(&bytes) {
        let current = policy.verify_channel(&bytes, &expected).map_err(refused)?;
        (current.manifest().clone(), current.freshness().cloned())
    } else {
        let verified = policy.verify_manifest(&bytes, &expected).map_err(refused)?;
        (verified, None)
    };
    if !args.manifest_only {
        let root = root.ok_or_else(|| {
            Failure::new(format!(
                "{} stands in no store, so its archive is not found",
                args.envelope.display()
            ))
            .hint("say where the archive is with --store DIR, or leave it unread with --manifest-only")
        })?;
        let size = verified.as_ref().archive.size;
        output::with_progress(size, |_, progress| {
            Store::at(&root).check_blobs(&verified, progress)
        })?;
    }
    report(args, &policy, &bytes, &verified, freshness.as_ref())
}

fn report(
    args: &VerifyArgs,
    policy: &TrustPolicy,
    stored: &[u8],
    verified: &Verified<Manifest>,
    freshness: Option<&Verified<Freshness>>,
) -> Result<(), Failure> {
    let stored = StoredImage::parse(stored)
        .map_err(|error| Failure::new("the envelope cannot be read again").because(&error))?;
    let is_channel = matches!(stored, StoredImage::Channel(_));
    let manifest = verified.as_ref();
    let role = release_role(policy, &manifest.name)?;
    let is_verified = |envelope: &Envelope| {
        Sha256Digest::of(envelope.unverified_payload()) == *verified.payload_sha256()
    };
    let envelope = match stored {
        // The one that a machine takes need not be the first.
        StoredImage::Channel(channel) => (channel.releases.into_iter())
            .map(|release| release.manifest)
            .find(is_verified)
            .ok_or_else(|| Failure::new("the channel cannot be read again"))?,
        StoredImage::Envelope(envelope) => envelope,
    };
    let counted = Counted::of(role, &envelope);
    if args.json {
        return output::json(&Report {
            verified: true,
            archive_checked: !args.manifest_only,
            attachments_checked: !args.manifest_only,
            manifest,
            payload_sha256: verified.payload_sha256(),
            freshness: freshness.map(AsRef::as_ref),
            counted,
        });
    }
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![
        row("label", manifest.label.to_string()),
        row("created", manifest.created.to_string()),
        row(
            "expires",
            manifest
                .expires
                .map_or("never".to_owned(), |expires| expires.to_string()),
        ),
    ];
    rows.push(row(
        "freshness",
        match freshness.map(AsRef::as_ref) {
            Some(freshness) => format!("current until {}", freshness.expires),
            None if is_channel => "nothing says that this is current".to_owned(),
            None => "not asked: this is one version's envelope, not the channel".to_owned(),
        },
    ));
    rows.extend(signatures::rows(&counted));
    rows.push(row(
        "manifest",
        format!("sha256 {}", verified.payload_sha256()),
    ));
    rows.push(row(
        "archive",
        if args.manifest_only {
            "not read (--manifest-only)".to_owned()
        } else {
            format!(
                "{} bytes, every chunk and file as signed",
                manifest.archive.size
            )
        },
    ));
    let attachments = manifest.attachments.len();
    if attachments > 0 && !args.manifest_only {
        rows.push(row("attachments", format!("{attachments}, each as signed")));
    }
    output::data(&format!(
        "verified: image {}, version {}\n{}",
        manifest.name,
        manifest.version,
        output::columns(rows)
    ))
}
