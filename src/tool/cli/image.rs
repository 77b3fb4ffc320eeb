//! `sealboot image`: packed, signed, checked, published. Here is what its commands share.

mod compare;
mod inspect;
mod merge;
mod pack;
mod publish;
mod sign;
mod verify;

use clap::Subcommand;

use super::support::{Failure, output};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::{ImageName, Manifest};
use sealboot_core::trust::{Refusal, Role, TrustPolicy};

/// Pack, sign, check and publish images.
///
/// An image is one bootable operating system: kernel, initrds and command line. Its manifest says
/// what it is, down to the hash of the list of its archive's chunks; an envelope holds the manifest with
/// the signatures over it; and a store holds envelopes and archives as machines fetch them:
///
///   STORE/images/NAME.json             an image's channel: the releases that it offers, and the
///                                      statement of which are current, and until when
///   STORE/images/NAME/VERSION/ARCH.json    the envelope of every release
///   STORE/trust/VERSION.json           the trust policies that follow the machines' own
///   STORE/blobs/HEX.tar[.gz|.zst]      archives; HEX is the SHA-256 of the chunk list
///   STORE/blobs/HEX.chunks             chunk lists: the SHA-256 of each chunk of an archive
///   STORE/blobs/sha256-HEX             attachments, which machines do not fetch
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Command {
    Pack(pack::PackArgs),
    Sign(sign::SignArgs),
    Merge(merge::MergeArgs),
    Verify(verify::VerifyArgs),
    Inspect(inspect::InspectArgs),
    Publish(publish::PublishArgs),
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Pack(args) => pack::run(args),
        Command::Sign(args) => sign::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Publish(args) => publish::run(&args),
    }
}

/// A manifest, in words. Every field's type has checked that it can be shown.
fn describe(manifest: &Manifest) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let expires = manifest
        .expires
        .map_or("never".to_owned(), |expires| expires.to_string());
    let archive = &manifest.archive;
    let uptime = manifest
        .max_uptime_hours
        .map(|hours| row("max uptime", format!("{} h", hours.get())));
    let rows = [
        row("image", manifest.name.to_string()),
        row("version", manifest.version.to_string()),
        row("label", manifest.label.to_string()),
        row("arch", manifest.arch.to_string()),
        row("created", manifest.created.to_string()),
        row("expires", expires),
        row("cmdline", manifest.cmdline.to_string()),
        row("archive", archive.blob_path()),
        row(
            "",
            format!(
                "{} bytes, {} chunks of {}",
                archive.size,
                archive.chunk_count(),
                archive.chunk_size
            ),
        ),
    ];
    let about = output::columns(rows.into_iter().chain(uptime));
    let files = manifest.files.iter().map(|file| {
        let unpacked = file.unpacked_size;
        let unpacked = unpacked.map_or(String::new(), |size| format!(", {size} unpacked"));
        [
            file.path.to_string(),
            format!("{} bytes{unpacked}", file.size),
            format!("sha256 {}", file.sha256),
        ]
    });
    let files = output::columns(files);
    if manifest.attachments.is_empty() {
        return format!("{about}files\n{files}");
    }
    let attachments = manifest.attachments.iter().map(|attachment| {
        [
            attachment.name.to_string(),
            format!("{} bytes", attachment.size),
            format!("sha256 {}", attachment.sha256),
            attachment.media_type.to_string(),
        ]
    });
    let attachments = output::columns(attachments);
    format!("{about}files\n{files}attachments\n{attachments}")
}

/// Returns the role of a policy that signs the manifests of an image.
fn release_role<'a>(policy: &'a TrustPolicy, name: &ImageName) -> Result<Role<'a>, Failure> {
    policy.release_role(name).ok_or_else(|| {
        let name = name.clone();
        Failure::refused(&Refusal::NameNotAccepted { name })
    })
}

/// A freshness statement, in words.
fn describe_freshness(freshness: &Freshness) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let releases = freshness.releases.iter().map(|release| {
        let until = release.until.map(|until| format!(", until {until}"));
        let value = format!(
            "version {} for {}, manifest sha256 {}{}",
            release.version,
            release.arch,
            release.sha256,
            until.unwrap_or_default()
        );
        row("current", value)
    });
    let withdrawn = freshness.withdrawn.iter();
    let withdrawn = withdrawn.map(|version| row("withdrawn", format!("version {version}")));
    output::columns(
        [
            row("image", freshness.name.to_string()),
            row("newest policy", freshness.trust.to_string()),
            row("created", freshness.created.to_string()),
            row("expires", freshness.expires.to_string()),
        ]
        .into_iter()
        .chain(releases)
        .chain(withdrawn),
    )
}
