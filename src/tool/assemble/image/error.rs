//! Why an image cannot be packed, and what to do about it.

use std::path::PathBuf;

use super::members::MEMBER_MAX;
use crate::assemble::{FileError, InitrdError, KernelError};
use sealboot_core::format::Invalid;
use sealboot_core::format::manifest::{Arch, ImageVersion};

/// The image cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file has no bytes.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file's length changed while it was read.
    #[error("{} changed while it was packed", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file is too large for a ustar header.
    #[error("{} has {size} bytes; a member of an archive has at most {MEMBER_MAX}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in the archive.
        size: u64,
    },
    /// Not a kernel that can be booted.
    #[error("{} cannot be the kernel of an image", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KernelError,
    },
    /// The kernel is for another architecture than the one asked for.
    #[error("{} is a kernel for {found}, not for {expected}", path.display())]
    Arch {
        /// The kernel.
        path: PathBuf,
        /// What it is for.
        found: Arch,
        /// What was asked for.
        expected: Arch,
    },
    /// The kernel says that it takes only a shorter command line.
    #[error("the command line has {len} bytes; this kernel takes at most {max}")]
    CmdlineTooLong {
        /// Its length in bytes.
        len: usize,
        /// What the kernel's header says.
        max: u32,
    },
    /// Not an initrd that a kernel unpacks.
    #[error("{} cannot be an initrd of an image", path.display())]
    Initrd {
        /// The file.
        path: PathBuf,
        /// Why.
        source: InitrdError,
    },
    /// The values do not make a manifest.
    #[error("{0}")]
    Manifest(Invalid),
    /// The version was packed before.
    #[error("{} exists already", path.display())]
    VersionExists {
        /// Its envelope.
        path: PathBuf,
        /// The version.
        version: ImageVersion,
    },
}

impl PackError {
    /// What to do about it, where that is not plain from the fact.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::File(_) | Self::Manifest(_) => return None,
            Self::Empty { .. } => "an empty file is usually a failed build; look at what made it".to_owned(),
            Self::Changed { .. } => "pack again when whatever writes it is done".to_owned(),
            Self::TooLarge { .. } => {
                "give the initrd in several files (--initrd A --initrd B): the kernel unpacks them one after the other".to_owned()
            }
            Self::Kernel { source: KernelError::Wrapped("gzip"), path } => {
                format!("decompress it first: zcat {} > Image", path.display())
            }
            Self::Kernel { source: KernelError::Truncated { .. }, .. } => {
                "copy the kernel again, whole".to_owned()
            }
            Self::Kernel { .. } => {
                "give the kernel's vmlinuz (x86: a bzImage; arm64: an uncompressed Image), not a UKI, a vmlinux or an initrd".to_owned()
            }
            Self::Arch { found, .. } => format!("leave out --arch, or give --arch {found}"),
            Self::CmdlineTooLong { .. } => {
                "shorten it, or move settings into the image's initrd".to_owned()
            }
            Self::Initrd { .. } => {
                "give a cpio archive (newc), plain or compressed; --keep-initrd packs any file unexamined".to_owned()
            }
            Self::VersionExists { version, .. } => format!(
                "a version is packed once; use --version {}, or remove the file if it was never published",
                version.as_u64().saturating_add(1)
            ),
        };
        Some(hint)
    }
}
