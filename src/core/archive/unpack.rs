//! From verified archive bytes to files.
//!
//! On entry every byte has its signed chunk hash. Here it is decompressed, and compared with the only
//! tar that the manifest describes: each member's header byte for byte, its data by SHA-256, padding
//! and end by being zero, and nothing after it. What is written is bounded by that length, and what a
//! decompressor holds by its format: 32 KiB for gzip, a window of [`LIMITS`] and two blocks for zstd.
//!
//! The hash of each file is checked too, but where [`FileHashes::OfCompressed`] leaves it out.

use std::io::{self, BufRead, BufReader};

use ruzstd::decoding::StreamingDecoder;

use super::chunk::{VerifiedChunk, VerifiedReader};
use super::destination::{Destination, UnpackError};
use super::tar::{PIECE, read_tar};
use crate::format::frame;
use crate::format::limits::LIMITS;
use crate::format::manifest::{Encoding, Manifest};
use crate::trust::Verified;

/// Which files' own hashes are checked while an archive is unpacked.
///
/// The bytes of a plain archive are those that its chunk hashes pin, at places that signed paths and sizes determine.
/// A second hash of each byte finds nothing there but a manifest that contradicts itself, and takes half of the
/// processor time of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileHashes {
    /// Those of every archive: what the tools check before anybody signs or publishes.
    All,
    /// Those of compressed archives: what a boot checks.
    OfCompressed,
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
    hashes: FileHashes,
) -> Result<(), UnpackError>
where
    I: Iterator<Item = Result<VerifiedChunk, E>>,
{
    unpack_as(manifest.as_ref(), archive, destination, hashes)
}

/// Does the same by a manifest that may be unverified.
pub(super) fn unpack_as<I, E>(
    manifest: &Manifest,
    archive: &mut VerifiedReader<I, E>,
    destination: &mut dyn Destination,
    hashes: FileHashes,
) -> Result<(), UnpackError>
where
    I: Iterator<Item = Result<VerifiedChunk, E>>,
{
    match manifest.archive.encoding {
        Encoding::None => {
            let checked = hashes == FileHashes::All;
            read_tar(&manifest.files, checked, archive, destination)?;
        }
        Encoding::Gzip => {
            let decoder = flate2::bufread::GzDecoder::new(&mut *archive);
            let mut tar = BufReader::with_capacity(PIECE, decoder);
            read_tar(&manifest.files, true, &mut tar, destination)?;
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
    read_tar(&manifest.files, true, &mut tar, destination)?;
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
