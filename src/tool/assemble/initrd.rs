//! What is known of an initrd without unpacking it: how it is compressed, and what it holds.
//!
//! An initrd is what the kernel's `unpack_to_rootfs` (`init/initramfs.c`) takes: cpio archives and
//! compressed streams of cpio archives, one after the other, with zero bytes between them. A later
//! archive overwrites what an earlier one unpacked, so [`archives`] shows them all: whoever can append
//! to an initramfs decides what runs.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

use crate::cpio::{self, Entry, ReadError};
use sealboot_core::format::limits::LIMITS;

/// Entries of an initrd that are listed before it is refused: more than any distribution's.
const ENTRIES_MAX: usize = 1 << 20;

/// How an archive within an initrd is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By zstd.
    Zstd,
}

/// One archive of an initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// How it is compressed.
    pub compression: Compression,
    /// What it holds, in order.
    pub entries: Vec<Entry>,
}

/// What files of an initrd hold, by their paths.
pub type Contents = BTreeMap<String, Vec<u8>>;

/// The bytes are no initrd, or not one that this program can look into.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// There is nothing in it.
    #[error("it holds no archive")]
    Empty,
    /// An archive is damaged.
    #[error("the cpio archive at byte {at} is damaged")]
    Cpio {
        /// Where the archive starts, after decompression if there is any.
        at: u64,
        /// How.
        #[source]
        source: ReadError,
    },
    /// A plain archive stands where the kernel does not look for one.
    #[error("the cpio archive at byte {at} does not start at a multiple of 4")]
    Misaligned {
        /// Where the archive starts.
        at: u64,
    },
    /// What stands there is compressed in a way that this program does not read.
    #[error("what starts at byte {at} is compressed with {found}, which is not read here")]
    Compression {
        /// Where it starts.
        at: u64,
        /// By what.
        found: &'static str,
    },
    /// What stands there is nothing that the kernel unpacks.
    #[error("what starts at byte {at} is nothing that the kernel unpacks")]
    Unknown {
        /// Where it starts.
        at: u64,
    },
    /// More entries than are listed.
    #[error("it holds more than {ENTRIES_MAX} files")]
    TooMany,
    /// The bytes could not be read.
    #[error("it cannot be read")]
    Input(#[source] io::Error),
}

/// What packing does with an initrd depends on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Initrd {
    /// Compressed already, by this.
    Compressed(&'static str),
    /// Nothing but plain cpio archives: can be compressed as a whole.
    Plain,
    /// Starts with an archive of what the kernel wants before it unpacks anything (microcode, ACPI
    /// tables) and therefore looks for uncompressed (`find_cpio_data`).
    Early,
    /// Plain archives, then a compressed one: the kernel does not unpack one inside of another.
    Mixed,
}

/// Names what a compressed initrd starts with, of all that the kernel knows (`lib/decompress.c`).
pub(super) fn compression_of(head: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 8] = [
        (&[0x1f, 0x8b], "gzip"),
        (&[0x1f, 0x9e], "gzip"),
        (b"BZh", "bzip2"),
        (&[0x5d, 0, 0], "lzma"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
        (&[0x89, b'L', b'Z', b'O', 0, 0x0d, 0x0a, 0x1a, 0x0a], "lzo"),
        (&[0x02, 0x21, 0x4c, 0x18], "lz4"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    ];
    MAGIC
        .into_iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map(|(_, name)| name)
}

/// Reads as much of an initrd as it takes to say which kind it is.
pub(super) fn examine(input: impl BufRead) -> Result<Initrd, InitrdError> {
    let mut input = Counted::new(input);
    let mut kind = None;
    while let Some(first) = input.next_after_zeros()? {
        if first != b'0' {
            let at = input.position;
            let mut head = [0; 9];
            let n = input.read_up_to(&mut head)?;
            return match (compression_of(&head[..n]), kind) {
                (None, _) => Err(InitrdError::Unknown { at }),
                (Some(name), None) => Ok(Initrd::Compressed(name)),
                (Some(_), Some(_)) => Ok(Initrd::Mixed),
            };
        }
        let mut is_early = false;
        input.read_archive(&mut |entry, _| {
            is_early |= entry.name.starts_with(b"kernel/");
            Ok(())
        })?;
        if is_early {
            return Ok(Initrd::Early);
        }
        kind = Some(Initrd::Plain);
    }
    kind.ok_or(InitrdError::Empty)
}

/// Lists everything that the kernel would unpack, in its order.
///
/// # Errors
///
/// Refuses what the kernel would stumble over, and compressions other than zstd.
pub fn archives(input: impl BufRead) -> Result<Vec<Archive>, InitrdError> {
    Ok(archives_with(input, &[])?.0)
}

/// Does the same, and returns what the files of these paths hold once everything is unpacked; each path comes with the
/// most bytes that are read. A longer file, or something else than a file, is left out.
///
/// # Errors
///
/// As for [`archives`].
pub fn archives_with(
    input: impl BufRead,
    wanted: &[(&str, u64)],
) -> Result<(Vec<Archive>, Contents), InitrdError> {
    let mut archives = Vec::new();
    let mut contents = Contents::new();
    let mut left = ENTRIES_MAX;
    let mut collect = |input: &mut Counted<&mut dyn BufRead>, compression| {
        let mut entries = Vec::new();
        input.read_archive(&mut |entry, content| {
            left = left.checked_sub(1).ok_or(InitrdError::TooMany)?;
            // A later entry overwrites an earlier one, whatever it is.
            if let Some((path, limit)) = wanted.iter().find(|(path, _)| is_at(&entry, path)) {
                contents.remove(*path);
                if entry.kind == cpio::Kind::File
                    && let Some(bytes) = content(*limit)?
                {
                    contents.insert((*path).to_owned(), bytes);
                }
            }
            entries.push(entry);
            Ok(())
        })?;
        archives.push(Archive {
            compression,
            entries,
        });
        Ok(())
    };
    let mut input = input;
    let mut input = Counted::new(&mut input as &mut dyn BufRead);
    while let Some(first) = input.next_after_zeros()? {
        let at = input.position;
        if first == b'0' {
            collect(&mut input, Compression::None)?;
            continue;
        }
        let mut head = [0; 9];
        let n = input.read_up_to(&mut head)?;
        match compression_of(&head[..n]) {
            Some("zstd") => {}
            Some(found) => return Err(InitrdError::Compression { at, found }),
            None => return Err(InitrdError::Unknown { at }),
        }
        let frame = zstd::Decoder::with_buffer(head[..n].chain(&mut input))
            .map_err(InitrdError::Input)?
            .single_frame();
        let mut frame = BufReader::new(frame.take(LIMITS.archive_bytes));
        let mut inner = Counted::new(&mut frame as &mut dyn BufRead);
        while let Some(first) = inner.next_after_zeros()? {
            if first != b'0' {
                return Err(InitrdError::Unknown { at: inner.position });
            }
            collect(&mut inner, Compression::Zstd)?;
        }
    }
    if archives.is_empty() {
        return Err(InitrdError::Empty);
    }
    Ok((archives, contents))
}

/// Returns `true` if the kernel unpacks an entry at this path from the root.
fn is_at(entry: &Entry, path: &str) -> bool {
    let mut name = entry.name.as_slice();
    while let Some(rest) = name.strip_prefix(b"/").or(name.strip_prefix(b"./")) {
        name = rest;
    }
    name == path.trim_start_matches('/').as_bytes()
}

/// Reads the content of an entry, where that is not longer than so many bytes.
type Content<'a> = dyn FnMut(u64) -> Result<Option<Vec<u8>>, InitrdError> + 'a;

/// A reader that knows how far it is.
struct Counted<R> {
    inner: R,
    position: u64,
}

impl<R: BufRead> Counted<R> {
    const fn new(inner: R) -> Self {
        Self { inner, position: 0 }
    }

    /// Passes over zero bytes and shows the one after them, or `None` at the end.
    fn next_after_zeros(&mut self) -> Result<Option<u8>, InitrdError> {
        loop {
            let buffer = self.fill_buf().map_err(InitrdError::Input)?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
            let next = buffer.get(zeros).copied();
            self.consume(zeros);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    fn read_up_to(&mut self, buffer: &mut [u8]) -> Result<usize, InitrdError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(InitrdError::Input(error)),
            }
        }
        Ok(filled)
    }

    fn read_archive(
        &mut self,
        visit: &mut dyn FnMut(Entry, &mut Content<'_>) -> Result<(), InitrdError>,
    ) -> Result<(), InitrdError> {
        let at = self.position;
        if !at.is_multiple_of(4) {
            return Err(InitrdError::Misaligned { at });
        }
        let mut reader = cpio::Reader::new(self);
        let damaged = |source| InitrdError::Cpio { at, source };
        while let Some(entry) = reader.next_entry().map_err(damaged)? {
            visit(entry, &mut |limit| reader.content(limit).map_err(damaged))?;
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.inner.consume(n);
        self.position += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(paths: &[&str]) -> Vec<u8> {
        let mut tree = cpio::Tree::new();
        for path in paths {
            tree.file(path, 0o644, 4, &b"data"[..]).unwrap();
        }
        tree.write(Vec::new(), 0).unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    fn names(bytes: &[u8]) -> Vec<(Compression, Vec<String>)> {
        archives(bytes)
            .unwrap()
            .into_iter()
            .map(|archive| {
                let names = archive.entries.into_iter();
                let names = names.map(|entry| String::from_utf8(entry.name).unwrap());
                (archive.compression, names.collect())
            })
            .collect()
    }

    #[test]
    fn every_archive_that_the_kernel_would_unpack_is_listed() {
        let mut bytes = zstd(&[plain(&["init"]), vec![0; 512], plain(&["etc"])].concat());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(&plain(&["init", "appended"]));
        bytes.extend_from_slice(&zstd(&plain(&["last"])));
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            names(&bytes),
            [
                (Compression::Zstd, list(&["init"])),
                (Compression::Zstd, list(&["etc"])),
                (Compression::None, list(&["appended", "init"])),
                (Compression::Zstd, list(&["last"])),
            ]
        );
    }

    #[test]
    fn what_is_unpacked_last_is_what_a_file_holds() {
        let with = |path: &str, content: &[u8]| {
            let mut tree = cpio::Tree::new();
            let size = content.len() as u64;
            tree.file(path, 0o644, size, content).unwrap();
            tree.write(Vec::new(), 0).unwrap()
        };
        let wanted = [("/etc/trust.json", 9)];
        let holds = |bytes: &[u8]| {
            let (_, contents) = archives_with(bytes, &wanted).unwrap();
            contents.get("/etc/trust.json").cloned()
        };
        let first = with("etc/trust.json", b"first");
        assert_eq!(holds(&zstd(&first)).unwrap(), b"first");
        let mut second = zstd(&first);
        second.resize(second.len().next_multiple_of(4), 0);
        second.extend_from_slice(&with("etc/trust.json", b"second"));
        assert_eq!(holds(&second).unwrap(), b"second");
        let longer = [first.clone(), with("etc/trust.json", b"ten bytes.")].concat();
        assert_eq!(holds(&longer), None);
        let mut tree = cpio::Tree::new();
        tree.directory("etc/trust.json", 0o755).unwrap();
        let directory = tree.write(Vec::new(), 0).unwrap();
        assert_eq!(holds(&[first, directory].concat()), None);
        assert_eq!(holds(&with("etc/trust.json.old", b"old")), None);
    }

    #[test]
    fn what_the_kernel_would_stumble_over_is_refused() {
        let misaligned = [plain(&["a"]), zstd(&plain(&["bb"])), b"\0".to_vec()].concat();
        let mut misaligned = misaligned;
        while misaligned.len() % 4 != 2 {
            misaligned.push(0);
        }
        misaligned.extend_from_slice(&plain(&["c"]));
        assert!(matches!(
            archives(misaligned.as_slice()),
            Err(InitrdError::Misaligned { .. })
        ));
        let nested = zstd(&[plain(&["a"]), zstd(&plain(&["b"]))].concat());
        assert!(matches!(
            archives(nested.as_slice()),
            Err(InitrdError::Unknown { .. })
        ));
        for empty in [&b""[..], &[0; 100]] {
            assert!(matches!(archives(empty), Err(InitrdError::Empty)));
            assert!(matches!(examine(empty), Err(InitrdError::Empty)));
        }
        assert!(matches!(
            archives(&b"\x1f\x8b\x08\0\0"[..]),
            Err(InitrdError::Compression {
                at: 0,
                found: "gzip"
            })
        ));
        assert!(matches!(
            archives(&b"hsqs"[..]),
            Err(InitrdError::Unknown { at: 0 })
        ));
    }

    #[test]
    fn a_damaged_or_cut_initrd_is_never_listed_as_whole() {
        let whole = zstd(&plain(&["init", "etc/passwd"]));
        for len in 1..whole.len() {
            assert!(archives(&whole[..len]).is_err(), "{len} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = archives(changed.as_slice());
            let _ = examine(changed.as_slice());
        }
    }

    #[test]
    fn what_can_be_compressed_is_told_from_what_cannot() {
        let archive = plain(&["init"]);
        let early = plain(&["kernel/x86/microcode/GenuineIntel.bin"]);
        for (bytes, expected) in [
            (archive.clone(), Initrd::Plain),
            ([archive.clone(), archive.clone()].concat(), Initrd::Plain),
            ([archive.clone(), vec![0; 300]].concat(), Initrd::Plain),
            ([archive.clone(), zstd(&archive)].concat(), Initrd::Mixed),
            ([early.clone(), zstd(&archive)].concat(), Initrd::Early),
            ([early, archive.clone()].concat(), Initrd::Early),
            (zstd(&archive), Initrd::Compressed("zstd")),
            (b"\xfd7zXZ\0".to_vec(), Initrd::Compressed("xz")),
        ] {
            assert_eq!(examine(bytes.as_slice()).unwrap(), expected);
        }
        let cut = &archive[..archive.len() - 20];
        assert!(matches!(examine(cut), Err(InitrdError::Cpio { .. })));
        assert!(matches!(
            examine(&b"MZ"[..]),
            Err(InitrdError::Unknown { at: 0 })
        ));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = archives(bytes.as_slice());
            let _ = examine(bytes.as_slice());
        }
    }
}
