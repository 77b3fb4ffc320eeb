//! Chunks of an archive, and the check that lets them through.
//!
//! The decompressor and the tar reader take a [`VerifiedReader`]; it yields the bytes of
//! [`VerifiedChunk`]s; and only [`ChunkCheck::check`] makes those, from bytes that have their signed
//! hash. So nothing unverified is parsed. A [`ChunkCheck`] is made of a verified manifest and of the chunk list whose
//! hash the manifest has.

use std::io::{self, BufRead, Read};

use crate::failure::{Diagnose, FailureCode};
use crate::format::digest::Sha256Digest;
use crate::format::manifest::{Archive, Manifest};
use crate::trust::Verified;

/// Bytes of an archive that have their signed hash.
#[derive(Debug)]
pub struct VerifiedChunk(Vec<u8>);

impl VerifiedChunk {
    /// How many bytes the chunk has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the chunk has no bytes; none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Checks an archive's chunks against the hashes of a chunk list, which a verified manifest names.
#[derive(Debug, Clone)]
pub struct ChunkCheck {
    archive: Archive,
    /// The chunk list: 32 bytes a chunk.
    list: Vec<u8>,
}

/// A chunk list is not the one that was signed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChunkListMismatch {
    /// It has another length.
    #[error("the chunk list has {found} bytes where {expected} were signed")]
    Length {
        /// The length that follows from the manifest.
        expected: usize,
        /// The length that came.
        found: usize,
    },
    /// It has another hash.
    #[error(
        "the chunk list is not what was signed\n  expected sha256 {expected}\n  found    sha256 {found}"
    )]
    Hash {
        /// The signed hash.
        expected: Sha256Digest,
        /// The hash of what came.
        found: Sha256Digest,
    },
}

impl Diagnose for ChunkListMismatch {
    fn code(&self) -> FailureCode {
        match self {
            Self::Length { expected, found } if found < expected => FailureCode::FetchTruncated,
            Self::Length { .. } => FailureCode::FetchTooLarge,
            Self::Hash { .. } => FailureCode::ImageChunk,
        }
    }
}

/// A chunk does not have its signed hash.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "chunk {index} (bytes {start} to {end}) is not what was signed\n  expected sha256 {expected}\n  found    sha256 {found}"
)]
pub struct ChunkMismatch {
    /// Which chunk, counted from 0.
    pub index: usize,
    /// The offset of its first byte in the archive.
    pub start: u64,
    /// The offset after its last byte.
    pub end: u64,
    /// The signed hash.
    pub expected: Sha256Digest,
    /// The hash of what came.
    pub found: Sha256Digest,
}

impl Diagnose for ChunkMismatch {
    fn code(&self) -> FailureCode {
        FailureCode::ImageChunk
    }
}

impl ChunkCheck {
    /// Checks a chunk list against this manifest, and returns the check of the archive's chunks.
    ///
    /// # Errors
    ///
    /// [`ChunkListMismatch`] for another length or hash.
    pub fn new(manifest: &Verified<Manifest>, list: Vec<u8>) -> Result<Self, ChunkListMismatch> {
        let archive = manifest.as_ref().archive.clone();
        let (expected, found) = (archive.chunk_list_len(), list.len());
        if found != expected {
            return Err(ChunkListMismatch::Length { expected, found });
        }
        let (expected, found) = (archive.chunks_sha256, Sha256Digest::of(&list));
        if found != expected {
            return Err(ChunkListMismatch::Hash { expected, found });
        }
        Ok(Self { archive, list })
    }

    /// The archive whose chunks are checked.
    #[must_use]
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// How many chunks the archive has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.archive.chunk_count()
    }

    /// The offset of the first byte of chunk `index` in the archive.
    #[must_use]
    pub fn start(&self, index: usize) -> u64 {
        self.archive.chunk_size.saturating_mul(index as u64)
    }

    /// How many bytes chunk `index` has; 0 past the last.
    #[must_use]
    pub fn len(&self, index: usize) -> usize {
        let len = self.archive.chunk_len(index).unwrap_or(0);
        usize::try_from(len).unwrap_or_else(|_| unreachable!("a chunk has at most 16 MiB"))
    }

    /// Whether the archive has no chunks; none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Lets `bytes` through if they are chunk `index` as signed.
    ///
    /// # Errors
    ///
    /// [`ChunkMismatch`] for another hash, another length included.
    pub fn check(&self, index: usize, bytes: Vec<u8>) -> Result<VerifiedChunk, ChunkMismatch> {
        let found = Sha256Digest::of(&bytes);
        let (hashes, _) = self.list.as_chunks::<{ Sha256Digest::LEN }>();
        let expected = Sha256Digest::from(hashes[index]);
        if bytes.len() == self.len(index) && found == expected {
            return Ok(VerifiedChunk(bytes));
        }
        let start = self.start(index);
        Err(ChunkMismatch {
            index,
            start,
            end: start + bytes.len() as u64,
            expected,
            found,
        })
    }
}

/// Reads the bytes of verified chunks, in the order in which `chunks` yields them.
///
/// An error of `chunks` ends the stream; [`VerifiedReader::take_failure`] then has it with its type.
#[derive(Debug)]
pub struct VerifiedReader<I, E> {
    chunks: I,
    current: Vec<u8>,
    position: usize,
    failure: Option<E>,
}

impl<I, E> VerifiedReader<I, E>
where
    I: Iterator<Item = Result<VerifiedChunk, E>>,
{
    /// Reads what `chunks` yields.
    pub fn new(chunks: I) -> Self {
        Self {
            chunks,
            current: Vec::new(),
            position: 0,
            failure: None,
        }
    }

    /// The error that ended the stream early, once.
    pub fn take_failure(&mut self) -> Option<E> {
        self.failure.take()
    }
}

impl<I, E> BufRead for VerifiedReader<I, E>
where
    I: Iterator<Item = Result<VerifiedChunk, E>>,
{
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.current.len() && self.failure.is_none() {
            match self.chunks.next() {
                Some(Ok(chunk)) => {
                    self.current = chunk.0;
                    self.position = 0;
                }
                Some(Err(failure)) => self.failure = Some(failure),
                None => break,
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.current.len().min(self.position + amount);
    }
}

impl<I, E> Read for VerifiedReader<I, E>
where
    I: Iterator<Item = Result<VerifiedChunk, E>>,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let read = available.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
