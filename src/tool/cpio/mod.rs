//! newc cpio archives, the kernel's own format for what it unpacks at boot.
//!
//! The format is documented in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`:
//! a header of 110 ASCII bytes, the name, the content, each padded to 4 bytes, and an entry named
//! `TRAILER!!!` at the end. [`Tree`] writes one so that the same entries give the same bytes: sorted,
//! owned by root, numbered in order, at one time. [`Reader`] reads any, and trusts none.

mod read;
mod write;

pub use read::{Entry, Kind, ReadError, Reader};
pub use write::{Tree, WriteError};

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// The longest name, its NUL included: the kernel's `PATH_MAX`, past which it skips an entry.
const NAME_MAX: u64 = 4096;

/// The bits of a mode that say what kind of file it is.
const KIND_MASK: u32 = 0o170_000;
const KIND_DIRECTORY: u32 = 0o040_000;
const KIND_REGULAR: u32 = 0o100_000;
const KIND_SYMLINK: u32 = 0o120_000;
const KIND_CHAR: u32 = 0o020_000;
const KIND_BLOCK: u32 = 0o060_000;
