//! `sealboot image pack`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use crate::assemble::image::{
    self, AttachmentFile, Blob, ChunkSize, Compress, PackError, Packed, Progress, RawInitrd,
    Request, Treatment,
};
use crate::cli::support::time::{self, Expiry};
use crate::cli::support::{Failure, output};
use sealboot_core::format::Invalid;
use sealboot_core::format::cmdline::Cmdline;
use sealboot_core::format::manifest::{Arch, ImageName, ImageVersion, Label, MaxUptimeHours};

/// Pack a kernel and its initrds into a store, as an image that nobody has signed yet
///
/// Writes the archive to STORE/blobs and its manifest, in an envelope without signatures, to
/// STORE/images/NAME/VERSION/ARCH.json, and prints that path. Nothing boots from it until enough signers
/// have run `sealboot image sign` on it and `sealboot image publish` has made it the newest of its name.
///
/// An initrd that is a plain cpio archive is compressed with zstd (level 19, or 12 from 64 MiB on),
/// because the machine holds it in memory as it is packed; its kernel must be able to unpack zstd
/// (CONFIG_RD_ZSTD, since Linux 5.9). An initrd that is compressed already, or that begins with
/// microcode, is packed byte for byte.
///
/// The same inputs give the same bytes: set SOURCE_DATE_EPOCH or --created to fix the one value that
/// comes from the clock.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  sealboot image pack --name relay --version 42 --kernel vmlinuz --initrd initrd.img \\
    --cmdline 'console=ttyS0 quiet' --expires 30d --store /srv/sealboot")]
pub(crate) struct PackArgs {
    /// The image's name: 1 to 64 of a-z, 0-9, - and _
    #[arg(long)]
    name: ImageName,

    /// The image's version: a whole number that only grows; machines can be told to refuse older ones
    #[arg(long, value_name = "N")]
    version: ImageVersion,

    /// The kernel: an x86 bzImage, or an uncompressed arm64 Image
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,

    /// An initrd; given several times, the kernel unpacks them in this order
    #[arg(long = "initrd", value_name = "FILE", required = true)]
    initrds: Vec<PathBuf>,

    /// The kernel's whole command line; "" for none
    #[arg(long, value_name = "LINE", allow_hyphen_values = true)]
    cmdline: Cmdline,

    /// What people call this version [default: NAME VERSION]
    #[arg(long, value_name = "TEXT")]
    label: Option<Label>,

    /// Refuse a kernel of another architecture: x86_64 or aarch64 [default: what the kernel is for]
    #[arg(long)]
    arch: Option<Arch>,

    /// A file about the image (SBOM, recipe, changes), kept beside it and named in the signed manifest
    ///
    /// Machines do not fetch it. NAME is 1 to 64 of a-z, 0-9, ., _ and -; TYPE is a media type, application/json for
    /// a NAME that ends in .json, else application/octet-stream.
    #[arg(long = "attach", value_name = "NAME=FILE[;TYPE]", value_parser = parse_attachment)]
    attachments: Vec<AttachmentFile>,

    /// How long one boot of the image may run, in hours: 1 to 720; the image's own system enforces it
    #[arg(long, value_name = "HOURS", value_parser = parse_hours)]
    max_uptime: Option<MaxUptimeHours>,

    /// When machines stop booting it: a time from its creation (12h, 30d) or an RFC 3339 timestamp
    #[arg(long, value_name = "TIME")]
    expires: Option<Expiry>,

    /// When it counts as packed, as an RFC 3339 timestamp [default: SOURCE_DATE_EPOCH, or now]
    #[arg(long, value_name = "TIME")]
    created: Option<Timestamp>,

    /// Bytes that machines check at a time: a power of two from 64KiB to 16MiB
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    chunk_size: ChunkSize,

    /// Whether the archive is compressed as a whole
    #[arg(long, value_enum, default_value_t = CompressArg::Auto)]
    compress: CompressArg,

    /// Pack every initrd byte for byte, whatever it is
    #[arg(long)]
    keep_initrd: bool,

    /// The store's root; it is made where it does not exist
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CompressArg {
    /// With zstd where that saves more than 5 %, which it seldom does
    Auto,
    /// Not at all: there is nothing to decompress. For links above 4 Gbit/s
    None,
    /// With gzip: a fifth larger than with zstd, decompressed almost twice as fast. For links of 1 to 4 Gbit/s
    Gzip,
    /// With zstd: the smallest, decompressed at about 300 MB/s in up to 4 MiB of memory
    Zstd,
}

pub(super) fn run(args: PackArgs) -> Result<(), Failure> {
    let created = match args.created {
        Some(created) => created,
        None => match time::source_date_epoch()? {
            Some(epoch) => epoch,
            None => time::now(),
        },
    };
    let expires = args
        .expires
        .map(|expiry| expiry.of(created))
        .transpose()
        .map_err(|error| {
            Failure::new("--expires cannot be used")
                .because(&error)
                .hint("give a later time, or a span from the image's creation such as 30d")
        })?;
    let label = match args.label {
        Some(label) => label,
        None => format!("{} {}", args.name, args.version)
            .parse()
            .map_err(|error| Failure::new("the image has no label").because(&error))?,
    };
    let request = Request {
        name: args.name,
        version: args.version,
        label,
        arch: args.arch,
        created,
        expires,
        cmdline: args.cmdline,
        kernel: args.kernel,
        initrds: args.initrds,
        max_uptime: args.max_uptime,
        attachments: args.attachments,
        raw_initrd: if args.keep_initrd {
            RawInitrd::Keep
        } else {
            RawInitrd::Compress
        },
        compress: match args.compress {
            CompressArg::Auto => Compress::Auto,
            CompressArg::None => Compress::None,
            CompressArg::Gzip => Compress::Gzip,
            CompressArg::Zstd => Compress::Zstd,
        },
        chunk_size: args.chunk_size,
        store: args.store,
    };
    let bar = Bar::new();
    let packed = image::pack(&request, &mut |progress| bar.show(progress));
    bar.finish();
    let packed = packed?;
    tell(&packed);
    output::data(&format!("{}\n", packed.envelope.display()))
}

/// Says on stderr what was made of what.
fn tell(packed: &Packed) {
    for (file, (source, treatment)) in packed.manifest.files.iter().zip(&packed.sources) {
        let how = match treatment {
            Treatment::Compressed(name) => format!("left as it is ({name} compression)"),
            Treatment::CompressedHere { from } => {
                format!("compressed with zstd from {from} bytes")
            }
            Treatment::Early => {
                "left as it is: the kernel looks for microcode or tables in it before it can decompress".to_owned()
            }
            Treatment::Mixed => {
                "left as it is: it ends in an archive that is compressed already".to_owned()
            }
            Treatment::AsIs => "left as it is".to_owned(),
        };
        anstream::eprintln!(
            "{}: {} bytes, from {}; {how}",
            file.path,
            file.size,
            source.display()
        );
    }
    let archive = &packed.manifest.archive;
    let fate = match packed.blob {
        Blob::New => "",
        Blob::Present => "; the store held it already",
        Blob::Repaired => "; the store held a damaged file under its name, which was replaced",
    };
    anstream::eprintln!(
        "{}: {} bytes in {} chunk{}, encoding {} ({}){fate}",
        archive.blob_path(),
        archive.size,
        archive.chunk_count(),
        if archive.chunk_count() == 1 { "" } else { "s" },
        archive.encoding,
        packed.encoding_reason
    );
    for attachment in &packed.manifest.attachments {
        anstream::eprintln!(
            "{}: {} bytes, attached as {} ({})",
            attachment.blob_path(),
            attachment.size,
            attachment.name,
            attachment.media_type
        );
    }
}

fn parse_attachment(text: &str) -> Result<AttachmentFile, String> {
    let (name, file) = text
        .split_once('=')
        .ok_or("give NAME=FILE, such as sbom.cdx.json=build/sbom.json")?;
    let (file, media_type) = match file.rsplit_once(';') {
        Some((file, media_type)) => (file, media_type),
        None if has_extension(name, "json") => (file, "application/json"),
        None => (file, "application/octet-stream"),
    };
    if file.is_empty() {
        return Err("FILE is empty".to_owned());
    }
    Ok(AttachmentFile {
        name: name.parse().map_err(|error: Invalid| error.to_string())?,
        media_type: (media_type.trim().parse()).map_err(|error: Invalid| error.to_string())?,
        path: file.into(),
    })
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|is| is == extension)
}

fn parse_hours(text: &str) -> Result<MaxUptimeHours, String> {
    let hours: u64 = (text.strip_suffix('h').unwrap_or(text).parse())
        .map_err(|_| "give a number of hours, such as 24")?;
    MaxUptimeHours::try_from(hours).map_err(|error| error.to_string())
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        Self::from_error(&error, error.hint())
    }
}

/// A progress bar, on a terminal only.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    fn show(&self, progress: Progress<'_>) {
        match progress {
            Progress::Begin { what, bytes } => {
                self.0.reset();
                self.0.set_length(bytes);
                self.0.set_message(what.to_owned());
            }
            Progress::Advance(bytes) => self.0.inc(bytes),
        }
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_is_a_name_a_file_and_a_type() {
        for (text, name, path, media_type) in [
            ("a=b", "a", "b", "application/octet-stream"),
            ("a.json=b=c", "a.json", "b=c", "application/json"),
            ("a=b;text/plain", "a", "b", "text/plain"),
            ("a=b; text/plain", "a", "b", "text/plain"),
        ] {
            let file = parse_attachment(text).expect(text);
            assert_eq!(file.name.to_string(), name);
            assert_eq!(file.path, Path::new(path));
            assert_eq!(file.media_type.to_string(), media_type);
        }
        for bad in [
            "",
            "=",
            "a",
            "a=",
            "=b",
            "A=b",
            "../a=b",
            "a=b;",
            "a=;text/plain",
            "a=b;text",
        ] {
            assert!(parse_attachment(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_uptime_is_a_number_of_hours() {
        for (text, hours) in [("1", 1), ("24h", 24), ("720", 720)] {
            assert_eq!(parse_hours(text).expect(text).get(), hours);
        }
        for bad in ["", "0", "721", "1d", "h", "-1"] {
            assert!(parse_hours(bad).is_err(), "{bad:?}");
        }
    }
}
