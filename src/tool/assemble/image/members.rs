//! The members of an archive before they are written: opened, looked at, compressed where that helps.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use super::{PackError, Progress, RawInitrd, Request};
use crate::assemble::initrd::{self, Initrd};
use crate::assemble::kernel::{self, Kernel};
use crate::assemble::{FileError, KERNEL_WINDOW, open_regular, zstd_encoder};
use sealboot_core::format::archive::MemberPath;

/// A ustar header counts a file's bytes in 11 octal digits.
pub(super) const MEMBER_MAX: u64 = (1 << 33) - 1;

/// How much of a file is held in memory at a time.
const WINDOW: usize = 128 << 10;

/// Below this, zstd's level 19 takes half a minute at most (2 MB/s and 95 MiB of memory were measured);
/// above it, level 12 spares the patience of whoever packs (15 MB/s and 55 MiB).
const THOROUGH_BELOW: u64 = 64 << 20;

/// A member that is ready to be written.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: MemberPath,
    /// Bytes that it has in the archive.
    pub(super) size: u64,
    pub(super) treatment: Treatment,
    /// The file that was given.
    pub(super) source: PathBuf,
    /// The bytes for the archive: that file, or what it was compressed into.
    content: File,
}

/// What was done to a file before it was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It is compressed already, by this.
    Compressed(&'static str),
    /// It was compressed with zstd.
    CompressedHere {
        /// Its length in bytes before.
        from: u64,
    },
    /// Raw, and left so because the kernel reads its first archive before it can decompress.
    Early,
    /// Raw at first and compressed after: left so because the kernel does not unpack one inside the other.
    Mixed,
    /// Left as it is.
    AsIs,
}

impl Treatment {
    /// Whether compressing the archive could make the member smaller: what is not compressed to its end.
    pub(super) const fn may_shrink(self) -> bool {
        matches!(self, Self::AsIs | Self::Early | Self::Mixed)
    }
}

impl Member {
    /// Hands the content to `sink` piece by piece, from the start.
    ///
    /// # Errors
    ///
    /// Also when the file is not as long as it was when it was opened.
    pub(super) fn read(
        &mut self,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let changed = || PackError::Changed {
            path: self.source.clone(),
        };
        self.content
            .rewind()
            .map_err(FileError::new("read", &self.source))?;
        let mut left = self.size;
        let mut window = vec![0; WINDOW];
        loop {
            let n = match self.content.read(&mut window) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(FileError::new("read", &self.source)(error).into()),
            };
            left = left.checked_sub(n as u64).ok_or_else(changed)?;
            sink(&window[..n])?;
        }
        if left == 0 { Ok(()) } else { Err(changed()) }
    }

    /// Returns how many bytes the kernel unpacks an initrd to, where packing it has shown that.
    pub(super) fn unpacked_size(&self) -> Option<u64> {
        match self.treatment {
            Treatment::CompressedHere { from } => Some(from),
            _ => None,
        }
    }

    fn open(path: MemberPath, source: &Path) -> Result<Self, PackError> {
        let (content, size) = open_regular(source)?;
        if size == 0 {
            return Err(PackError::Empty {
                path: source.to_owned(),
            });
        }
        Ok(Self {
            path,
            size,
            treatment: Treatment::AsIs,
            source: source.to_owned(),
            content,
        })
    }

    fn head(&self, len: u64) -> Result<Vec<u8>, PackError> {
        let mut head = Vec::new();
        (&self.content)
            .take(len)
            .read_to_end(&mut head)
            .and_then(|_| (&self.content).rewind())
            .map_err(FileError::new("read", &self.source))?;
        Ok(head)
    }
}

/// Opens everything that a request names and checks it, without writing anything.
pub(super) fn open(request: &Request) -> Result<(Vec<Member>, Kernel), PackError> {
    let path =
        |text: &str| -> Result<MemberPath, PackError> { text.parse().map_err(PackError::Manifest) };
    let mut kernel = Member::open(path(MemberPath::KERNEL)?, &request.kernel)?;
    let facts = kernel::probe(&kernel.head(kernel::HEAD)?, kernel.size).map_err(|source| {
        PackError::Kernel {
            path: request.kernel.clone(),
            source,
        }
    })?;
    if facts.is_compressed {
        kernel.treatment = Treatment::Compressed("its own");
    }
    let mut members = vec![kernel];
    for (index, source) in request.initrds.iter().enumerate() {
        let name = match request.initrds.len() {
            1 => path(MemberPath::INITRD)?,
            _ => path(&format!("{}.{index}", MemberPath::INITRD))?,
        };
        members.push(open_initrd(name, source, request.raw_initrd)?);
    }
    Ok((members, facts))
}

fn open_initrd(
    path: MemberPath,
    source: &Path,
    raw_initrd: RawInitrd,
) -> Result<Member, PackError> {
    let mut member = Member::open(path, source)?;
    if raw_initrd == RawInitrd::Keep {
        if let Some(name) = initrd::compression_of(&member.head(16)?) {
            member.treatment = Treatment::Compressed(name);
        }
        return Ok(member);
    }
    let kind =
        initrd::examine(BufReader::with_capacity(WINDOW, &member.content)).map_err(|cause| {
            PackError::Initrd {
                path: source.to_owned(),
                source: cause,
            }
        })?;
    member.treatment = match kind {
        Initrd::Compressed(name) => Treatment::Compressed(name),
        Initrd::Plain => Treatment::CompressedHere { from: member.size },
        Initrd::Early => Treatment::Early,
        Initrd::Mixed => Treatment::Mixed,
    };
    Ok(member)
}

/// Compresses what is to be compressed into nameless files in `scratch`.
pub(super) fn compress(
    members: &mut [Member],
    scratch: &Path,
    on_progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), PackError> {
    for member in members {
        let Treatment::CompressedHere { from } = member.treatment else {
            continue;
        };
        on_progress(Progress::Begin {
            what: &format!("compressing {}", member.source.display()),
            bytes: from,
        });
        let level = if from < THOROUGH_BELOW { 19 } else { 12 };
        let failed = FileError::new("write a temporary file in", scratch);
        let written = || -> io::Result<_> {
            let mut encoder = zstd_encoder(tempfile::tempfile_in(scratch)?, level, KERNEL_WINDOW)?;
            // In the frame's header it lets the kernel take a window no larger than the content.
            encoder.set_pledged_src_size(Some(from))?;
            Ok(encoder)
        };
        let mut encoder = written().map_err(failed)?;
        member.read(&mut |bytes| {
            encoder
                .write_all(bytes)
                .map_err(FileError::new("write a temporary file in", scratch))?;
            on_progress(Progress::Advance(bytes.len() as u64));
            Ok(())
        })?;
        let compressed = encoder
            .finish()
            .and_then(|file| Ok((file.metadata()?.len(), file)))
            .map_err(FileError::new("write a temporary file in", scratch))?;
        (member.size, member.content) = compressed;
    }
    Ok(())
}
