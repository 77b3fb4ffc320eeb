//! The check of an archive that lies in a store: what the operator's tool does before it publishes.

use std::io::{self, Read};

use super::chunk::{ChunkCheck, ChunkListMismatch, ChunkMismatch, VerifiedReader};
use super::destination::{Discard, UnpackError};
use super::unpack::{FileHashes, unpack};
use crate::failure::{Diagnose, FailureCode};
use crate::format::manifest::Manifest;
use crate::trust::Verified;

/// A stored archive does not stand the check.
#[derive(Debug, thiserror::Error)]
pub enum StoredArchiveError {
    /// The file could not be read.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// It has another length than was signed.
    #[error("the archive ends after {found} of {expected} bytes")]
    Cut {
        /// The signed length.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// Bytes follow the signed length.
    #[error("the archive is longer than the {expected} bytes that were signed")]
    TooLong {
        /// The signed length.
        expected: u64,
    },
    /// The chunk list is not the one that was signed.
    #[error(transparent)]
    List(ChunkListMismatch),
    /// A chunk does not have its signed hash.
    #[error(transparent)]
    Chunk(ChunkMismatch),
    /// The chunks are as signed, but what they hold is not what the manifest describes.
    #[error(transparent)]
    Unpack(UnpackError),
}

impl Diagnose for StoredArchiveError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Read(_) | Self::Cut { .. } => FailureCode::FetchTruncated,
            Self::TooLong { .. } => FailureCode::FetchTooLarge,
            Self::List(mismatch) => mismatch.code(),
            Self::Chunk(mismatch) => mismatch.code(),
            Self::Unpack(error) => error.code(),
        }
    }
}

/// Checks a stored archive as a boot does, keeping nothing, and the hash of every file, which a boot leaves out where
/// the chunks say it all; `list` is the chunk list that is stored beside it, `progress` gets the bytes as they are read.
///
/// # Errors
///
/// The first check that fails.
pub fn verify_archive(
    manifest: &Verified<Manifest>,
    list: Vec<u8>,
    mut stored: impl Read,
    progress: &mut dyn FnMut(u64),
) -> Result<(), StoredArchiveError> {
    let check = ChunkCheck::new(manifest, list).map_err(StoredArchiveError::List)?;
    let archive = check.archive();
    let mut next = 0;
    let chunks = std::iter::from_fn(|| {
        if next == check.count() {
            return None;
        }
        let mut bytes = Vec::with_capacity(check.len(next));
        if let Err(error) = stored
            .by_ref()
            .take(check.len(next) as u64)
            .read_to_end(&mut bytes)
        {
            return Some(Err(StoredArchiveError::Read(error)));
        }
        if bytes.len() < check.len(next) {
            let found = check.start(next) + bytes.len() as u64;
            return Some(Err(StoredArchiveError::Cut {
                expected: archive.size,
                found,
            }));
        }
        progress(bytes.len() as u64);
        let chunk = check.check(next, bytes).map_err(StoredArchiveError::Chunk);
        next += 1;
        Some(chunk)
    });
    let mut reader = VerifiedReader::new(chunks);
    let unpacked = unpack(manifest, &mut reader, &mut Discard, FileHashes::All);
    if let Some(failure) = reader.take_failure() {
        return Err(failure);
    }
    unpacked.map_err(StoredArchiveError::Unpack)?;
    drop(reader);
    match stored.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(StoredArchiveError::TooLong {
            expected: archive.size,
        }),
        Err(error) => Err(StoredArchiveError::Read(error)),
    }
}
