//! Reading an archive that anyone may have made.

use std::io::{self, Read};

use super::{
    KIND_BLOCK, KIND_CHAR, KIND_DIRECTORY, KIND_MASK, KIND_REGULAR, KIND_SYMLINK, NAME_MAX, TRAILER,
};

/// The length of a header: the magic number and 13 fields of 8 hex digits.
const HEADER_LEN: usize = 110;

/// What an archive holds at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path as it stands in the archive: any bytes but NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The permissions, 12 bits.
    pub permissions: u32,
    /// The owner.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// The modification time, in Unix seconds.
    pub mtime: u32,
    /// The length of the content in bytes.
    pub size: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Its driver.
        major: u32,
        /// Which of the driver's devices.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Its driver.
        major: u32,
        /// Which of the driver's devices.
        minor: u32,
    },
    /// A FIFO, a socket, or nothing that the kernel knows: the mode's kind bits.
    Other(u32),
}

/// The bytes are no newc archive.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// An entry does not start as one does.
    #[error("byte {at} of the cpio archive starts no entry")]
    Magic {
        /// The offset from the archive's start.
        at: u64,
    },
    /// A header field is not 8 hex digits.
    #[error("the cpio header at byte {at} has a field that is no number")]
    Number {
        /// The offset from the archive's start.
        at: u64,
    },
    /// A name or a link's target is empty, unterminated or longer than the kernel takes.
    #[error("the cpio entry at byte {at} has an unusable name or link target")]
    Name {
        /// The offset from the archive's start.
        at: u64,
    },
    /// The archive ends in the middle of an entry, or without a trailer.
    #[error("the cpio archive is cut off at byte {at}")]
    Truncated {
        /// Where more bytes were to come.
        at: u64,
    },
    /// The bytes could not be read.
    #[error("the cpio archive cannot be read")]
    Input(#[source] io::Error),
}

/// Reads one archive, entry by entry, holding no more than a name in memory.
///
/// Content is passed over. After the trailer, what follows the archive is left in the input.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    position: u64,
    /// Content of the last entry that has not been passed over.
    pending: u64,
}

impl<R: Read> Reader<R> {
    /// Starts at the first header of an archive.
    pub const fn new(input: R) -> Self {
        Self {
            input,
            position: 0,
            pending: 0,
        }
    }

    /// The next entry, or `None` at the trailer.
    ///
    /// # Errors
    ///
    /// Refuses what is no newc archive, one without a trailer included.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        let pending = std::mem::take(&mut self.pending);
        self.skip(pending)?;
        self.align()?;
        let at = self.position;
        let mut header = [0; HEADER_LEN];
        self.fill(&mut header)?;
        // 070702 carries a checksum, which the kernel checks; nothing here needs to.
        if !matches!(&header[..6], b"070701" | b"070702") {
            return Err(ReadError::Magic { at });
        }
        let mut fields = [0; 13];
        for (field, digits) in fields.iter_mut().zip(header[6..].chunks_exact(8)) {
            *field = hex(digits).ok_or(ReadError::Number { at })?;
        }
        let [
            _inode,
            mode,
            uid,
            gid,
            _links,
            mtime,
            size,
            _,
            _,
            major,
            minor,
            name_size,
            _,
        ] = fields;
        let name = self.text(u64::from(name_size), at)?;
        if name.last() != Some(&0) {
            return Err(ReadError::Name { at });
        }
        // Some writers align content by padding the name with NULs.
        let name = up_to_nul(name, at)?;
        self.align()?;
        self.pending = u64::from(size);
        if name == TRAILER.as_bytes() {
            let pending = std::mem::take(&mut self.pending);
            self.skip(pending)?;
            self.align()?;
            return Ok(None);
        }
        let kind = match mode & KIND_MASK {
            KIND_DIRECTORY => Kind::Directory,
            KIND_REGULAR => Kind::File,
            KIND_CHAR => Kind::CharDevice { major, minor },
            KIND_BLOCK => Kind::BlockDevice { major, minor },
            KIND_SYMLINK => {
                self.pending = 0;
                Kind::Symlink {
                    target: up_to_nul(self.text(u64::from(size), at)?, at)?,
                }
            }
            other => Kind::Other(other),
        };
        Ok(Some(Entry {
            name,
            kind,
            permissions: mode & 0o7777,
            uid,
            gid,
            mtime,
            size,
        }))
    }

    /// The content of the entry that was just read, where it is a regular file of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// When the archive ends before the content does.
    pub fn content(&mut self, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if self.pending > limit {
            return Ok(None);
        }
        let size = std::mem::take(&mut self.pending);
        self.take(size).map(Some)
    }

    /// The input, after what has been read.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn text(&mut self, len: u64, at: u64) -> Result<Vec<u8>, ReadError> {
        if !(1..=NAME_MAX).contains(&len) {
            return Err(ReadError::Name { at });
        }
        self.take(len)
    }

    fn take(&mut self, len: u64) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        let n = (&mut self.input)
            .take(len)
            .read_to_end(&mut bytes)
            .map_err(ReadError::Input)?;
        self.advance(n as u64, len)?;
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        let bytes = self.take(buffer.len() as u64)?;
        buffer.copy_from_slice(&bytes);
        Ok(())
    }

    fn skip(&mut self, len: u64) -> Result<(), ReadError> {
        let n = io::copy(&mut (&mut self.input).take(len), &mut io::sink())
            .map_err(ReadError::Input)?;
        self.advance(n, len)
    }

    fn align(&mut self) -> Result<(), ReadError> {
        self.skip(self.position.next_multiple_of(4) - self.position)
    }

    fn advance(&mut self, found: u64, expected: u64) -> Result<(), ReadError> {
        self.position += found;
        if found < expected {
            return Err(ReadError::Truncated { at: self.position });
        }
        Ok(())
    }
}

/// What the kernel takes a name or a target for: it stops at the first NUL.
fn up_to_nul(mut text: Vec<u8>, at: u64) -> Result<Vec<u8>, ReadError> {
    let end = text.iter().position(|byte| *byte == 0);
    text.truncate(end.unwrap_or(text.len()));
    if text.is_empty() {
        return Err(ReadError::Name { at });
    }
    Ok(text)
}

/// Reads exactly 8 hex digits; `from_str_radix` would also take a sign.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number: u32, digit| {
        Some(number << 4 | char::from(*digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests;
