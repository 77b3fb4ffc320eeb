//! Reproducible artifacts: the same inputs give the same bytes.
//!
//! | module | makes |
//! |---|---|
//! | [`image`] | the archive and the unsigned envelope of an image |
//! | [`initramfs`] | what a machine boots first: the loader and all that it is to trust |
//! | [`emergency`] | what an initramfs holds for a machine that cannot have its image |
//! | [`modules`] | the order in which kernel modules are loaded, from a modules directory |
//! | [`baked`] | what is baked into an initramfs, read back out of it |
//! | [`initrd`] | what is known of an initrd without unpacking it |
//!
//! What is written appears under its name whole or not at all; see [`PendingFile`](sealboot_store::pending::PendingFile).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub mod baked;
mod elf;
pub mod emergency;
pub mod image;
pub mod initramfs;
pub mod initrd;
mod kernel;
pub mod modules;
pub mod tls;

pub use elf::ElfError;
pub use initrd::InitrdError;
pub use kernel::KernelError;

/// A file or directory could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was to be done: "read", "write", …
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why it could not be done.
    pub source: io::Error,
}

impl FileError {
    fn new(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

/// Opens a regular file, and tells its length.
///
/// Asks before it opens: opening a FIFO would wait for somebody to write into it.
fn open_regular(path: &Path) -> Result<(File, u64), FileError> {
    let open = || {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok((file, len))
    };
    open().map_err(FileError::new("read", path))
}

/// Reads a regular file of at most `limit` bytes.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    use std::io::Read as _;

    let (file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    let read = file
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .and_then(|n| match n as u64 > limit {
            true => Err(io::Error::other(format!("it is larger than {limit} bytes"))),
            false => Ok(()),
        });
    read.map_err(FileError::new("read", path))?;
    Ok(bytes)
}

/// The window of a file that the kernel unpacks: what level 19 uses, and a sixteenth of what the kernel takes.
const KERNEL_WINDOW: u64 = 8 << 20;

/// zstd as everything here is compressed by: one thread, so that the same input gives the same bytes,
/// and a window that the one who reads it takes.
fn zstd_encoder<W: io::Write>(
    out: W,
    level: i32,
    window: u64,
) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(out, level)?;
    encoder.window_log(window.ilog2())?;
    // The loader wants it of archives, and the kernel checks it: a corrupted initramfs is then a clear message instead of a strange boot.
    encoder.include_checksum(true)?;
    Ok(encoder)
}
