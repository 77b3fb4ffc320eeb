//! The archive's bytes: a plain ustar, hashed in chunks while it is written.
//!
//! Every header is the same function of path and size: mode 0644, root without a name, time 0, no
//! extension of any kind. Sizes are known before the first byte is written, so nothing is written twice.

use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

use super::members::Member;
use super::{PackError, Progress};
use crate::assemble::{FileError, zstd_encoder};
use sealboot_core::format::archive::{BLOCK, END_OF_ARCHIVE, header};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Encoding, ImageFile};

/// Passes bytes on and hashes every chunk of them.
pub(super) struct ChunkHasher<W> {
    out: W,
    chunk_size: u64,
    /// Bytes that the chunk that is being hashed still takes.
    left: u64,
    hasher: Sha256,
    /// The chunk list so far: the hashes of the whole chunks.
    list: Vec<u8>,
}

impl<W: Write> ChunkHasher<W> {
    pub(super) fn new(out: W, chunk_size: u64) -> Self {
        Self {
            out,
            chunk_size,
            left: chunk_size,
            hasher: Sha256::new(),
            list: Vec::new(),
        }
    }

    /// Returns the output and the chunk list.
    pub(super) fn finish(mut self) -> (W, Vec<u8>) {
        if self.left < self.chunk_size {
            self.list.extend(self.hasher.finalize());
        }
        (self.out, self.list)
    }
}

impl<W: Write> Write for ChunkHasher<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        let mut written = &bytes[..n];
        while !written.is_empty() {
            let fits =
                usize::try_from(self.left).map_or(written.len(), |left| left.min(written.len()));
            let (chunk, rest) = written.split_at(fits);
            self.hasher.update(chunk);
            self.left -= fits as u64;
            if self.left == 0 {
                self.left = self.chunk_size;
                self.list.extend(self.hasher.finalize_reset());
            }
            written = rest;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Level 12 takes 10 s for 200 MB of programs, which it makes 60 MB of; 19 takes 100 s for 54 MB, which are
/// unpacked more slowly, and as long where nothing can be saved; 9 takes 5 s for 61 MB.
const ZSTD_LEVEL: i32 = 12;

/// Writes the tar of these members in this encoding, and tells each member's size and hash.
///
/// The tar will have `tar_size` bytes. `failed` makes the error of output that cannot be written.
pub(super) fn write<W: Write>(
    out: W,
    encoding: Encoding,
    tar_size: u64,
    members: &mut [Member],
    failed: &dyn Fn(io::Error) -> FileError,
    on_progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(W, Vec<ImageFile>), PackError> {
    match encoding {
        Encoding::None => write_tar(out, members, failed, on_progress),
        Encoding::Gzip => {
            // No name, no time, no operating system: nothing of this machine in the header.
            let encoder = GzBuilder::new()
                .mtime(0)
                .operating_system(255)
                .write(out, Compression::best());
            let (encoder, files) = write_tar(encoder, members, failed, on_progress)?;
            Ok((encoder.finish().map_err(failed)?, files))
        }
        Encoding::Zstd => {
            let mut encoder = zstd_encoder(out, ZSTD_LEVEL, encoding.window()).map_err(failed)?;
            // The loader wants it in the frame's header, and is bound by it.
            encoder
                .set_pledged_src_size(Some(tar_size))
                .map_err(failed)?;
            let (encoder, files) = write_tar(encoder, members, failed, on_progress)?;
            Ok((encoder.finish().map_err(failed)?, files))
        }
    }
}

fn write_tar<W: Write>(
    mut out: W,
    members: &mut [Member],
    failed: &dyn Fn(io::Error) -> FileError,
    on_progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(W, Vec<ImageFile>), PackError> {
    let mut files = Vec::with_capacity(members.len());
    for member in members {
        out.write_all(header(&member.path, member.size).as_bytes())
            .map_err(failed)?;
        let mut hasher = Sha256::new();
        member.read(&mut |bytes| {
            hasher.update(bytes);
            out.write_all(bytes).map_err(failed)?;
            on_progress(Progress::Advance(bytes.len() as u64));
            Ok(())
        })?;
        let padding = member.size.next_multiple_of(BLOCK) - member.size;
        write_zeros(&mut out, padding).map_err(failed)?;
        files.push(ImageFile {
            path: member.path.clone(),
            size: member.size,
            sha256: Sha256Digest::finish(hasher),
            unpacked_size: member.unpacked_size(),
        });
    }
    write_zeros(&mut out, END_OF_ARCHIVE).map_err(failed)?;
    Ok((out, files))
}

fn write_zeros(out: &mut impl Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(count), out).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_hashed_however_the_bytes_arrive() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let expected: Vec<u8> = (bytes.chunks(64))
            .flat_map(|chunk| *Sha256Digest::of(chunk).as_bytes())
            .collect();
        for piece in [1, 63, 64, 65, 200, 1000] {
            let mut hasher = ChunkHasher::new(Vec::new(), 64);
            for piece in bytes.chunks(piece) {
                hasher.write_all(piece).unwrap();
            }
            let (out, list) = hasher.finish();
            assert_eq!(out, bytes);
            assert_eq!(list, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_last_whole_chunk_is_not_followed_by_an_empty_one() {
        let mut hasher = ChunkHasher::new(Vec::new(), 64);
        hasher.write_all(&[7; 128]).unwrap();
        assert_eq!(hasher.finish().1.len(), 2 * Sha256Digest::LEN);
        assert!(ChunkHasher::new(Vec::new(), 64).finish().1.is_empty());
    }
}
