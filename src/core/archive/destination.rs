//! The destination of an archive's files, and the errors of unpacking.

use std::io;

use crate::failure::{Diagnose, FailureCode};
use crate::format::archive::{MemberPath, Role};
use crate::format::digest::Sha256Digest;
use crate::format::frame::FrameError;

/// The destination of an archive's files. Bytes arrive before their file's hash is known to be right; what
/// takes them must not use them before [`unpack`](super::unpack) has returned `Ok`.
pub trait Destination {
    /// Takes the next bytes of the member that is in this role.
    ///
    /// # Errors
    ///
    /// If the bytes cannot be stored.
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
        /// The header's content, or that it is not a header.
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
        /// The place of the padding.
        place: String,
    },
    /// Bytes follow the archive's end.
    #[error("the archive goes on after its end")]
    Trailing,
    /// The archive ends early, or its compression is broken.
    #[error("the archive cannot be read to its end")]
    Broken(#[source] io::Error),
    /// It is not one zstd frame as archives are.
    #[error("the archive is not compressed as it should be")]
    Frame(#[source] FrameError),
    /// What was unpacked does not have the checksum of its zstd frame.
    #[error(
        "the archive's content does not have its checksum\n  expected {expected:08x}\n  found    {found:08x}"
    )]
    Checksum {
        /// What stands at the frame's end.
        expected: u32,
        /// That of what was unpacked.
        found: u32,
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
            | Self::Frame(_)
            | Self::Checksum { .. } => FailureCode::ImageArchive,
            Self::File { .. } => FailureCode::ImageFile,
            Self::Keep { .. } => FailureCode::ImageMemory,
        }
    }
}
