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
mod tests {
    use super::super::Tree;
    use super::*;

    fn entries(bytes: &[u8]) -> Result<Vec<Entry>, ReadError> {
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    fn archive() -> Vec<u8> {
        let mut tree = Tree::new();
        tree.file("init", 0o755, 5, &b"hello"[..]).unwrap();
        tree.char_device("dev/console", 0o600, 5, 1).unwrap();
        tree.symlink("bin/sh", "busybox").unwrap();
        tree.file("empty", 0o644, 0, io::empty()).unwrap();
        tree.write(Vec::new(), 7).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let entries = entries(&archive()).unwrap();
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| (entry.name.as_slice(), entry.permissions, entry.size))
            .collect();
        assert_eq!(
            shown,
            [
                (&b"bin"[..], 0o755, 0),
                (b"bin/sh", 0o777, 7),
                (b"dev", 0o755, 0),
                (b"dev/console", 0o600, 0),
                (b"empty", 0o644, 0),
                (b"init", 0o755, 5),
            ]
        );
        assert_eq!(
            entries[1].kind,
            Kind::Symlink {
                target: b"busybox".to_vec()
            }
        );
        assert_eq!(entries[3].kind, Kind::CharDevice { major: 5, minor: 1 });
        assert!(
            entries
                .iter()
                .all(|entry| (entry.uid, entry.gid, entry.mtime) == (0, 0, 7))
        );
    }

    #[test]
    fn what_follows_the_archive_stays_in_the_input() {
        let mut bytes = archive();
        bytes.extend_from_slice(b"next");
        let mut reader = Reader::new(bytes.as_slice());
        while reader.next_entry().unwrap().is_some() {}
        assert_eq!(reader.into_inner(), b"next");
    }

    #[test]
    fn content_is_read_up_to_a_limit() {
        let bytes = archive();
        let mut reader = Reader::new(bytes.as_slice());
        while reader.next_entry().unwrap().unwrap().name != b"init" {}
        assert_eq!(reader.content(4).unwrap(), None);
        assert_eq!(reader.content(5).unwrap().unwrap(), b"hello");
        assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn every_shorter_archive_is_refused() {
        let bytes = archive();
        for len in 0..bytes.len() {
            assert!(
                matches!(entries(&bytes[..len]), Err(ReadError::Truncated { .. })),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn every_changed_byte_is_survived() {
        let bytes = archive();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                let _ = entries(&bytes);
            }
        }
    }

    #[test]
    fn a_name_of_4_gib_is_refused_without_waiting_for_it() {
        for size in ["00000000", "ffffffff", "00001001"] {
            let mut bytes = archive();
            bytes[94..102].copy_from_slice(size.as_bytes());
            let endless = bytes.as_slice().chain(io::repeat(b'a'));
            let error = Reader::new(endless).next_entry().unwrap_err();
            assert!(
                matches!(error, ReadError::Name { at: 0 }),
                "{size}: {error}"
            );
        }
    }

    // Found by fuzzing `cpio`: the name was looked at before it was cut at its first NUL.
    #[test]
    fn a_name_or_target_that_is_empty_for_the_kernel_is_refused() {
        let name = archive().windows(4).position(|bytes| bytes == b"bin\0");
        let target = archive().windows(7).position(|bytes| bytes == b"busybox");
        for (start, len) in [(name.unwrap(), 3), (target.unwrap(), 7)] {
            let mut bytes = archive();
            bytes[start..start + len].fill(0);
            let error = entries(&bytes).unwrap_err();
            assert!(matches!(error, ReadError::Name { .. }), "{error}");
        }
    }

    #[test]
    fn a_target_ends_where_it_does_for_the_kernel() {
        let mut bytes = archive();
        let start = bytes.windows(7).position(|bytes| bytes == b"busybox");
        bytes[start.unwrap() + 4] = 0;
        let target = b"busy".to_vec();
        assert_eq!(entries(&bytes).unwrap()[1].kind, Kind::Symlink { target });
    }

    #[test]
    fn numbers_with_signs_and_other_formats_are_refused() {
        let mut signed = archive();
        signed[6..14].copy_from_slice(b"+0000001");
        assert!(matches!(entries(&signed), Err(ReadError::Number { at: 0 })));
        let mut old = archive();
        old[..6].copy_from_slice(b"070707");
        assert!(matches!(entries(&old), Err(ReadError::Magic { at: 0 })));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = entries(&bytes);
        }

        #[test]
        fn any_header_is_survived(fields in proptest::collection::vec("[0-9a-f]{8}", 13), rest: Vec<u8>) {
            let mut bytes = b"070701".to_vec();
            fields.iter().for_each(|field| bytes.extend_from_slice(field.as_bytes()));
            bytes.extend_from_slice(&rest);
            let _ = entries(&bytes);
        }

        #[test]
        fn any_files_are_read_as_written(files: std::collections::BTreeMap<u16, Vec<u8>>) {
            let mut tree = Tree::new();
            for (name, content) in &files {
                tree.file(&format!("d/{name:05}"), 0o644, content.len() as u64, content.as_slice()).unwrap();
            }
            let bytes = tree.write(Vec::new(), 0).unwrap();
            let mut reader = Reader::new(bytes.as_slice());
            let mut found = std::collections::BTreeMap::new();
            while let Some(entry) = reader.next_entry().unwrap() {
                if entry.kind == Kind::File {
                    let name = String::from_utf8(entry.name).unwrap()[2..].parse().unwrap();
                    found.insert(name, reader.content(u64::MAX).unwrap().unwrap());
                }
            }
            assert_eq!(found, files);
        }
    }
}
