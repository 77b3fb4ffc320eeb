//! The only tar that a manifest describes, compared while it is read.

use std::io::{self, BufRead, Read as _};

use sha2::{Digest as _, Sha256};

use super::destination::{Destination, UnpackError};
use crate::format::archive::{BLOCK, END_OF_ARCHIVE, header};
use crate::format::digest::Sha256Digest;
use crate::format::manifest::ImageFile;

/// What is hashed and then written at a time: large enough to make calls rare, small enough to be in the
/// second-level cache still when it is written.
pub(super) const PIECE: usize = 128 << 10;

/// Reads the tar of these files, and then that nothing follows it. Checks the files' own hashes where `hashed`.
pub(super) fn read_tar(
    files: &[ImageFile],
    hashed: bool,
    tar: &mut dyn BufRead,
    destination: &mut dyn Destination,
) -> Result<(), UnpackError> {
    for file in files {
        read_header(file, tar)?;
        read_data(file, hashed, tar, destination)?;
        let padding = file.size.next_multiple_of(BLOCK) - file.size;
        read_zeros(padding, tar, || format!("after {}", file.path))?;
    }
    read_zeros(END_OF_ARCHIVE, tar, || "at its end".to_owned())?;
    // Reading on makes a decoder read its trailer, and shows what should not be there.
    match tar.fill_buf().map_err(UnpackError::Broken)? {
        [] => Ok(()),
        _ => Err(UnpackError::Trailing),
    }
}

fn read_header(file: &ImageFile, tar: &mut dyn BufRead) -> Result<(), UnpackError> {
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
    hashed: bool,
    tar: &mut dyn BufRead,
    destination: &mut dyn Destination,
) -> Result<(), UnpackError> {
    let role = file.path.role();
    let mut hasher = hashed.then(Sha256::new);
    let mut left = file.size;
    while left > 0 {
        // The bytes of a plain archive are written from the chunk that was checked, without a copy between.
        let bytes = tar.fill_buf().map_err(UnpackError::Broken)?;
        if bytes.is_empty() {
            return Err(UnpackError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let most = bytes.len().min(PIECE);
        let len = usize::try_from(left).map_or(most, |left| left.min(most));
        let bytes = &bytes[..len];
        if let Some(hasher) = &mut hasher {
            hasher.update(bytes);
        }
        destination
            .write(role, bytes)
            .map_err(|source| UnpackError::Keep {
                path: file.path.clone(),
                source,
            })?;
        tar.consume(len);
        left -= len as u64;
    }
    match hasher.map(Sha256Digest::finish) {
        Some(found) if found != file.sha256 => Err(UnpackError::File {
            path: file.path.clone(),
            expected: file.sha256,
            found,
        }),
        _ => Ok(()),
    }
}

fn read_zeros(
    count: u64,
    tar: &mut dyn BufRead,
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
