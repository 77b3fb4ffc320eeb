//! `sealboot image`: packed, signed, checked, published. Here is what its commands share.

mod compare;
mod inspect;
mod merge;
mod pack;
mod publish;
mod sign;
mod verify;

use std::path::Path;

use clap::Subcommand;

use super::signatures::Kind;
use super::support::{Failure, output};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Manifest, ManifestError};
use sealboot_core::format::shown;
use sealboot_core::trust::{Channel, Envelope, EnvelopeError};
use sealboot_store::files;

/// Pack, sign, check and publish images.
///
/// An image is one bootable operating system: kernel, initrds and command line. Its manifest says
/// what it is, down to the hash of every chunk of its archive; an envelope holds the manifest with
/// the signatures over it; and a store holds envelopes and archives as machines fetch them:
///
///   STORE/images/NAME.json             an image's channel: the envelope of its newest version, and
///                                      the statement that says until when it is the newest
///   STORE/images/NAME/VERSION.json     every version's envelope
///   STORE/trust/VERSION.json           the trust policies that follow the machines' own
///   STORE/blobs/sha256-HEX.tar[.gz|.zst]    archives
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

/// Envelopes of images, as signing sees them.
const IMAGE: Kind = Kind {
    command: "image",
    what: "image",
    limit: LIMITS.envelope_bytes,
    read: read_envelope,
    show: "sealboot image inspect",
    make: "pack the image again",
};

/// Reads the manifest out of an envelope whose signatures say nothing yet: to show it, or to sign it.
fn unverified_manifest(path: &Path, envelope: &Envelope) -> Result<Manifest, Failure> {
    if envelope.payload_type() != Manifest::PAYLOAD_TYPE {
        return Err(Failure::new(format!(
            "{} holds a statement of type \"{}\"\n  expected \"{}\"",
            path.display(),
            shown(envelope.payload_type(), 80),
            Manifest::PAYLOAD_TYPE
        ))
        .hint("give an envelope that this version of `sealboot image pack` made"));
    }
    Manifest::parse(envelope.unverified_payload()).map_err(|error: ManifestError| {
        Failure::new(format!("{} holds no usable manifest", path.display()))
            .because(&error)
            .hint("pack the image again with `sealboot image pack`")
    })
}

/// A file that holds an image's envelope.
#[derive(Debug)]
enum Stored {
    /// The envelope of one version.
    Envelope(Envelope),
    /// The channel, which holds the envelope of the newest.
    Channel(Channel),
}

impl Stored {
    /// Reads either, to look at it.
    fn read(path: &Path) -> Result<Self, Failure> {
        Self::parse(&files::read_stored(path, LIMITS.channel_bytes)?).map_err(|error| {
            Failure::new(format!("{} is no envelope", path.display()))
                .because(&error)
                .hint("give the file that `sealboot image pack` made, or the channel that `sealboot image publish` made")
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if Channel::is_one(bytes) {
            return Channel::parse(bytes).map(Self::Channel);
        }
        match Envelope::parse(bytes) {
            Ok(envelope) => Ok(Self::Envelope(envelope)),
            // JSON can spell `manifest` in more ways than one looks for, and a machine would read it.
            Err(error) => Channel::parse(bytes).map(Self::Channel).map_err(|_| error),
        }
    }

    /// What a channel says of its freshness, with nothing verified.
    fn unverified_freshness(&self, path: &Path) -> Result<Option<Freshness>, Failure> {
        let Self::Channel(Channel {
            freshness: Some(envelope),
            ..
        }) = self
        else {
            return Ok(None);
        };
        Freshness::parse(envelope.unverified_payload())
            .map(Some)
            .map_err(|error| {
                Failure::new(format!(
                    "{} holds no usable freshness statement",
                    path.display()
                ))
                .because(&error)
                .hint("renew it with `sealboot freshness renew`")
            })
    }

    /// The image's envelope.
    fn into_envelope(self) -> Envelope {
        match self {
            Self::Envelope(envelope) => envelope,
            Self::Channel(channel) => channel.manifest,
        }
    }
}

/// Reads the envelope of one version, to work on it.
fn read_envelope(path: &Path) -> Result<Envelope, Failure> {
    match Stored::read(path)? {
        Stored::Envelope(envelope) => Ok(envelope),
        Stored::Channel(_) => Err(Failure::new(format!(
            "{} is a channel, which machines fetch: it is published, not signed",
            path.display()
        ))
        .hint("give the envelope of a version, such as STORE/images/NAME/VERSION.json")),
    }
}

/// A manifest, in words. Every field's type has checked that it can be shown.
fn describe(manifest: &Manifest) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let expires = manifest
        .expires
        .map_or("never".to_owned(), |expires| expires.to_string());
    let archive = &manifest.archive;
    let about = output::columns([
        row("image", manifest.name.to_string()),
        row("version", manifest.version.to_string()),
        row("label", manifest.label.to_string()),
        row("arch", manifest.arch.to_string()),
        row("created", manifest.created.to_string()),
        row("expires", expires),
        row("cmdline", manifest.cmdline.to_string()),
        row("archive", archive.path.clone()),
        row(
            "",
            format!(
                "{} bytes, {} chunks of {}",
                archive.size,
                archive.chunks.len(),
                archive.chunk_size
            ),
        ),
    ]);
    let files = manifest.files.iter().map(|file| {
        [
            file.path.to_string(),
            format!("{} bytes", file.size),
            format!("sha256 {}", file.sha256),
        ]
    });
    format!("{about}files\n{}", output::columns(files))
}

/// A freshness statement, in words.
fn describe_freshness(freshness: &Freshness) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    output::columns([
        row("image", freshness.name.to_string()),
        row("newest version", freshness.version.to_string()),
        row("newest policy", freshness.trust.to_string()),
        row("created", freshness.created.to_string()),
        row("expires", freshness.expires.to_string()),
    ])
}
