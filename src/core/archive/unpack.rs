//! From verified archive bytes to files.
//!
//! On entry every byte has its signed chunk hash. Here it is decompressed, and compared with the only
//! tar that the manifest describes: each member's header byte for byte, its data by SHA-256, padding
//! and end by being zero, and nothing after it. What is written is bounded by that length, and what a
//! decompressor holds by its format: 32 KiB for gzip, a window of [`LIMITS`] and two blocks for zstd.
//!
//! The archive's own hash is not computed here. The chunk hashes, which are signed beside it, pin every
//! byte and their order; whoever could sign another `archive.sha256` than that of those bytes could sign
//! any image. A boot so hashes each byte twice, in its chunk and in its file. [`super::verify_archive`], by which
//! the operator's tool verifies and publishes, compares it: stores name archives by it, and policies deny.

use std::io::{self, BufRead, BufReader};

use ruzstd::decoding::StreamingDecoder;

use super::chunk::{VerifiedChunk, VerifiedReader};
use super::tar::{PIECE, read_tar};
use crate::failure::{Diagnose, FailureCode};
use crate::format::archive::{MemberPath, Role};
use crate::format::digest::Sha256Digest;
use crate::format::frame::{self, FrameError};
use crate::format::limits::LIMITS;
use crate::format::manifest::{Encoding, Manifest};
use crate::trust::Verified;

/// Where the files of an archive go. Bytes arrive before their file's hash is known to be right; what
/// takes them must not use them before [`unpack`] has returned `Ok`.
pub trait Destination {
    /// Takes the next bytes of the member that is in this role.
    ///
    /// # Errors
    ///
    /// Where the bytes cannot be kept.
    fn write(&mut self, role: Role, bytes: &[u8]) -> io::Result<()>;
}

/// Keeps nothing: for checking an archive.
#[derive(Debug, Clone, Copy)]
pub struct Discard;

impl Destination for Discard {
    fn write(&mut self, _: Role, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// An archive is not what its manifest describes, or could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A member's header is another than the one it must be.
    #[error("the archive does not hold {expected} where it should\n  found {found}")]
    Member {
        /// The member that stands here by the manifest, and its size.
        expected: String,
        /// What the header says, or that it is none.
        found: String,
    },
    /// A member does not have its signed hash.
    #[error(
        "{path} is not what was signed\n  expected sha256 {expected}\n  found    sha256 {found}"
    )]
    File {
        /// The member.
        path: MemberPath,
        /// The signed hash.
        expected: Sha256Digest,
        /// The hash of what came.
        found: Sha256Digest,
    },
    /// Padding or the end of the archive is not zero.
    #[error("the archive has data {place}, where there should be zeros")]
    NotZero {
        /// Which padding.
        place: String,
    },
    /// Bytes follow the archive's end.
    #[error("the archive goes on after its end")]
    Trailing,
    /// The archive ends early, or its compression is broken.
    #[error("the archive cannot be read to its end")]
    Broken(#[source] io::Error),
    /// It is not one zstd frame as archives are.
    #[error("the archive is not compressed as it should be")]
    Frame(#[source] FrameError),
    /// What was unpacked does not have the checksum of its zstd frame.
    #[error(
        "the archive's content does not have its checksum\n  expected {expected:08x}\n  found    {found:08x}"
    )]
    Checksum {
        /// What stands at the frame's end.
        expected: u32,
        /// That of what was unpacked.
        found: u32,
    },
    /// A file could not be written.
    #[error("{path} cannot be kept in memory")]
    Keep {
        /// The member.
        path: MemberPath,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Diagnose for UnpackError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Member { .. }
            | Self::NotZero { .. }
            | Self::Trailing
            | Self::Broken(_)
            | Self::Frame(_)
            | Self::Checksum { .. } => FailureCode::ImageArchive,
            Self::File { .. } => FailureCode::ImageFile,
            Self::Keep { .. } => FailureCode::ImageMemory,
        }
    }
}

/// Unpacks an archive into `destination`.
///
/// # Errors
///
/// The first way in which the archive is not the one tar that the manifest describes. If `archive`
/// ended early because of its own failure, that is the cause; ask it.
pub fn unpack<I, E>(
    manifest: &Verified<Manifest>,
    archive: &mut VerifiedReader<I, E>,
    destination: &mut dyn Destination,
) -> Result<(), UnpackError>
where
    I: Iterator<Item = Result<VerifiedChunk, E>>,
{
    let manifest = manifest.as_ref();
    match manifest.archive.encoding {
        Encoding::None => read_tar(&manifest.files, archive, destination)?,
        Encoding::Gzip => {
            let decoder = flate2::bufread::GzDecoder::new(&mut *archive);
            let mut tar = BufReader::with_capacity(PIECE, decoder);
            read_tar(&manifest.files, &mut tar, destination)?;
        }
        Encoding::Zstd => read_zstd(manifest, archive, destination)?,
    }
    match archive.fill_buf() {
        Ok([]) => Ok(()),
        Ok(_) => Err(UnpackError::Trailing),
        Err(error) => Err(UnpackError::Broken(error)),
    }
}

fn read_zstd(
    manifest: &Manifest,
    archive: &mut dyn BufRead,
    destination: &mut dyn Destination,
) -> Result<(), UnpackError> {
    // The first chunk is longer than a header, or is all there is.
    let start = archive.fill_buf().map_err(UnpackError::Broken)?;
    frame::check(start, manifest.unpacked_size()).map_err(UnpackError::Frame)?;
    let decoder = StreamingDecoder::new_with_max_window_size(archive, LIMITS.zstd_window)
        .map_err(|error| UnpackError::Broken(io::Error::other(error)))?;
    let mut tar = BufReader::with_capacity(PIECE, decoder);
    read_tar(&manifest.files, &mut tar, destination)?;
    // The decoder leaves the comparison to its caller.
    let frame = tar.into_inner().decoder;
    let (expected, found) = (
        frame.get_checksum_from_data().unwrap_or_default(),
        frame.get_calculated_checksum().unwrap_or_default(),
    );
    if found == expected {
        Ok(())
    } else {
        Err(UnpackError::Checksum { expected, found })
    }
}
