//! How the archive is encoded as a whole: what boots fastest in least memory.
//!
//! Kernel and initrd are compressed already, mostly, and a plain archive is unpacked without a
//! decompressor's time and memory. What it costs the machine in kexec is the initrd's own compression's
//! affair, not this one's. So by itself an archive is compressed only where that saves more than a
//! twentieth of what is fetched, which is found out by doing it; and then with zstd, which saves a fifth
//! more than gzip. gzip is decompressed almost twice as fast, at 500 to 650 MB/s on one processor against 270 to
//! 350: where a link carries more than zstd's 60 to 90 MB/s of compressed bytes, an operator can ask for it.

use std::path::Path;

use super::archive::{self, ChunkHasher};
use super::members::Member;
use super::{Compress, PackError, Progress, Request};
use crate::assemble::FileError;
use sealboot_core::format::manifest::{Encoding, ImageFile};
use sealboot_store::pending::PendingFile;

/// One part in so many must be saved.
const WORTH: u64 = 20;

/// An archive that is written and has no name yet.
pub(super) struct Encoded {
    pub(super) pending: PendingFile,
    /// The SHA-256 of each chunk, one after the other.
    pub(super) chunk_list: Vec<u8>,
    pub(super) files: Vec<ImageFile>,
    pub(super) encoding: Encoding,
    /// Why it is encoded so, for whoever packs.
    pub(super) reason: String,
}

/// Writes the archive into a nameless file in `blobs`, in the encoding that was asked for, or in the better one.
pub(super) fn encode(
    request: &Request,
    members: &mut [Member],
    tar_size: u64,
    blobs: &Path,
    on_progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Encoded, PackError> {
    let possible: u64 = members
        .iter()
        .filter(|member| member.treatment.may_shrink())
        .map(|member| member.size)
        .sum();
    let mut write = |what, encoding, reason: String| {
        on_progress(Progress::Begin {
            what,
            bytes: members.iter().map(|member| member.size).sum(),
        });
        let failed = |error| FileError::new("write an archive in", blobs)(error);
        let pending = PendingFile::create_in(blobs).map_err(failed)?;
        let hasher = ChunkHasher::new(pending, request.chunk_size.0);
        let (hasher, files) =
            archive::write(hasher, encoding, tar_size, members, &failed, on_progress)?;
        let (pending, chunk_list) = hasher.finish();
        Ok::<_, PackError>(Encoded {
            pending,
            chunk_list,
            files,
            encoding,
            reason,
        })
    };
    let asked = match request.compress {
        Compress::None => Encoding::None,
        Compress::Gzip => Encoding::Gzip,
        Compress::Zstd => Encoding::Zstd,
        Compress::Auto if possible <= tar_size / WORTH => {
            let reason = "kernel and initrd are compressed already".to_owned();
            return write("writing the archive", Encoding::None, reason);
        }
        Compress::Auto => {
            let tried = write("compressing the archive", Encoding::Zstd, String::new())?;
            let saved = tar_size.saturating_sub(tried.pending.size());
            let share = saved * 100 / tar_size;
            if saved > tar_size / WORTH {
                let reason = format!(
                    "zstd saves {share} % of {tar_size} bytes; unpacking takes up to 4 MiB of memory"
                );
                return Ok(Encoded { reason, ..tried });
            }
            let reason = format!(
                "zstd would save only {share} %, less than the time and memory to unpack it are worth"
            );
            return write("writing the archive", Encoding::None, reason);
        }
    };
    write("writing the archive", asked, "as asked".to_owned())
}
