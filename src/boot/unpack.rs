//! From verified archive bytes to files.
//!
//! On entry every byte has its signed chunk hash. Here it is decompressed, and compared with the only
//! tar that the manifest describes: each member's header byte for byte, its data by SHA-256, padding
//! and end by being zero, and nothing after it. The decompressor's output is bounded by that length. At
//! the end the whole has the archive's own signed hash, by which policies deny and stores name it.

use std::io::{self, BufRead, Read};

use sha2::{Digest as _, Sha256};

use crate::failure::{Diagnose, FailureCode};
use crate::fetch::chunk::{ChunkCheck, ChunkMismatch, VerifiedChunk, VerifiedReader};
use crate::format::archive::{BLOCK, END_OF_ARCHIVE, MemberPath, Role, header};
use crate::format::digest::Sha256Digest;
use crate::format::manifest::{Encoding, ImageFile, Manifest};
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
    /// All chunks are as signed, but the archive's own hash is not.
    #[error(
        "the archive's chunks are as signed, but not its sha256\n  expected {expected}\n  found    {found}"
    )]
    Whole {
        /// The signed hash.
        expected: Sha256Digest,
        /// The hash of the whole.
        found: Sha256Digest,
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
            | Self::Whole { .. } => FailureCode::ImageArchive,
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
            let mut decoder = flate2::bufread::GzDecoder::new(&mut *archive);
            read_tar(&manifest.files, &mut decoder, destination)?;
        }
    }
    match archive.fill_buf() {
        Ok([]) => {}
        Ok(_) => return Err(UnpackError::Trailing),
        Err(error) => return Err(UnpackError::Broken(error)),
    }
    let (expected, found) = (manifest.archive.sha256, archive.sha256());
    if found == expected {
        Ok(())
    } else {
        Err(UnpackError::Whole { expected, found })
    }
}

fn read_tar(
    files: &[ImageFile],
    tar: &mut dyn Read,
    destination: &mut dyn Destination,
) -> Result<(), UnpackError> {
    // Large enough to make calls rare, small enough to stay in the second-level cache.
    let mut buffer = vec![0; 128 << 10];
    for file in files {
        read_header(file, tar)?;
        read_data(file, tar, &mut buffer, destination)?;
        let padding = file.size.next_multiple_of(BLOCK) - file.size;
        read_zeros(padding, tar, || format!("after {}", file.path))?;
    }
    read_zeros(END_OF_ARCHIVE, tar, || "at its end".to_owned())?;
    // Reading on makes a gzip decoder check its trailer, and shows what should not be there.
    match tar.read(&mut buffer[..1]).map_err(UnpackError::Broken)? {
        0 => Ok(()),
        _ => Err(UnpackError::Trailing),
    }
}

fn read_header(file: &ImageFile, tar: &mut dyn Read) -> Result<(), UnpackError> {
    let mut found = tar::Header::new_old();
    tar.read_exact(found.as_mut_bytes())
        .map_err(UnpackError::Broken)?;
    let due = header(&file.path, file.size);
    if found.as_bytes() == due.as_bytes() {
        return Ok(());
    }
    let mut description = describe(&found);
    if description == describe(&due) {
        description += ", but with another owner, time or format of its header";
    }
    Err(UnpackError::Member {
        expected: format!("{} of {} bytes", file.path, file.size),
        found: description,
    })
}

/// What a header says, for a person; nothing acts on it.
fn describe(header: &tar::Header) -> String {
    if header.as_bytes().iter().all(|byte| *byte == 0) {
        return "the archive's end".to_owned();
    }
    let kind = match header.entry_type() {
        tar::EntryType::Regular => "a file",
        tar::EntryType::Link => "a hard link",
        tar::EntryType::Symlink => "a symbolic link",
        tar::EntryType::Char | tar::EntryType::Block => "a device",
        tar::EntryType::Directory => "a directory",
        tar::EntryType::Fifo => "a FIFO",
        tar::EntryType::GNUSparse => "a sparse file",
        tar::EntryType::XHeader | tar::EntryType::XGlobalHeader => "a pax header",
        _ => "a member of an unknown kind",
    };
    let path = header.path_bytes();
    let path = path[..path.len().min(100)].escape_ascii();
    let size = header
        .entry_size()
        .map_or("unreadable".to_owned(), |size| size.to_string());
    let mode = header
        .mode()
        .map_or("unreadable".to_owned(), |mode| format!("{mode:04o}"));
    format!("{kind} \"{path}\" of size {size}, mode {mode}")
}

fn read_data(
    file: &ImageFile,
    tar: &mut dyn Read,
    buffer: &mut [u8],
    destination: &mut dyn Destination,
) -> Result<(), UnpackError> {
    let role = file.path.role();
    let mut hasher = Sha256::new();
    let mut left = file.size;
    while left > 0 {
        let want = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = tar.read(&mut buffer[..want]).map_err(UnpackError::Broken)?;
        if read == 0 {
            return Err(UnpackError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        hasher.update(&buffer[..read]);
        destination
            .write(role, &buffer[..read])
            .map_err(|source| UnpackError::Keep {
                path: file.path.clone(),
                source,
            })?;
        left -= read as u64;
    }
    let found = Sha256Digest::finish(hasher);
    if found == file.sha256 {
        Ok(())
    } else {
        Err(UnpackError::File {
            path: file.path.clone(),
            expected: file.sha256,
            found,
        })
    }
}

fn read_zeros(
    count: u64,
    tar: &mut dyn Read,
    place: impl FnOnce() -> String,
) -> Result<(), UnpackError> {
    let mut bytes = Vec::new();
    tar.take(count)
        .read_to_end(&mut bytes)
        .map_err(UnpackError::Broken)?;
    if bytes.len() as u64 != count {
        return Err(UnpackError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    if bytes.iter().all(|byte| *byte == 0) {
        Ok(())
    } else {
        Err(UnpackError::NotZero { place: place() })
    }
}

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
            Self::Read(_) | Self::Cut { .. } => FailureCode::FetchCut,
            Self::TooLong { .. } => FailureCode::FetchTooLarge,
            Self::Chunk(mismatch) => mismatch.code(),
            Self::Unpack(error) => error.code(),
        }
    }
}

/// Checks a stored archive as a boot does, keeping nothing; `progress` is told of bytes as they are read.
///
/// # Errors
///
/// The first check that fails.
pub fn verify_archive(
    manifest: &Verified<Manifest>,
    mut stored: impl Read,
    progress: &mut dyn FnMut(u64),
) -> Result<(), StoredArchiveError> {
    let check = ChunkCheck::new(manifest);
    let archive = &manifest.as_ref().archive;
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
    let unpacked = unpack(manifest, &mut reader, &mut Discard);
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
