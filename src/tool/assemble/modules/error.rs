//! Why modules cannot be baked in, and what to do about it.

use std::path::{Path, PathBuf};

use crate::assemble::FileError;
use crate::assemble::elf::ElfError;
use sealboot_store::files::quoted;

/// Why a module is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It makes disks usable.
    #[error("it is a driver of disks")]
    Disk,
    /// It makes file systems usable.
    #[error("it is a file system")]
    FileSystem,
    /// It stands elsewhere, but does what a driver of disks does.
    #[error("it imports {0}, as drivers of disks do")]
    Import(&'static str),
}

/// The modules cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A file could not be read.
    #[error(transparent)]
    File(FileError),
    /// Firmware could not be read.
    #[error(transparent)]
    Firmware(FileError),
    /// `depmod` has not run over the directory.
    #[error("{} has no {file}", dir.display())]
    NoIndex {
        /// The directory.
        dir: PathBuf,
        /// What is not there.
        file: &'static str,
        /// Its name, the kernel's version.
        version: String,
    },
    /// The directory's name is no kernel version.
    #[error("\"{}\" is no modules directory: its name is no kernel version", .0.display())]
    NoVersion(PathBuf),
    /// A line of an index makes no sense.
    #[error("line {line} of {} cannot be read", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
    /// A module that the kernel does not have.
    #[error("kernel {version} has no module \"{name}\"")]
    Unknown {
        /// The name.
        name: String,
        /// The kernel's version.
        version: String,
        /// Names that it may have been meant for.
        near: Vec<String>,
    },
    /// A module that the loader must not load.
    #[error("module \"{name}\" is refused: {reason}{}", needed(needed_by))]
    Refused {
        /// The name.
        name: String,
        /// Why.
        reason: Refused,
        /// The modules that need it, nearest first.
        needed_by: Vec<String>,
    },
    /// Modules that need each other.
    #[error("modules need each other: {}", .0.join(" → "))]
    Cycle(Vec<String>),
    /// A module that `modules.dep` needs and does not list.
    #[error("module \"{name}\" needs {needs}, which modules.dep does not list")]
    Dangling {
        /// The module.
        name: String,
        /// The path that it needs.
        needs: String,
    },
    /// A file is no kernel module.
    #[error("{} is no kernel module", path.display())]
    NotModule {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ElfError,
    },
}

fn needed(needed_by: &[String]) -> String {
    if needed_by.is_empty() {
        String::new()
    } else {
        format!(" (needed by {})", needed_by.join(", needed by "))
    }
}

impl ModulesError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::File(_) => {
                "give the modules directory of the kernel that boots the initramfs, /lib/modules/VERSION"
                    .to_owned()
            }
            Self::Firmware(_) => {
                "give a directory such as /lib/firmware, or no --firmware where no card needs any".to_owned()
            }
            Self::NoIndex { dir, version, .. } => {
                let base = dir
                    .ends_with(Path::new("lib/modules").join(version))
                    .then(|| dir.ancestors().nth(3))
                    .flatten()
                    .filter(|base| !base.as_os_str().is_empty());
                match base {
                    Some(base) => format!(
                        "run `depmod -b {} {version}` (Debian package kmod)",
                        quoted(base)
                    ),
                    None => format!(
                        "run `depmod -b DIR {version}` (Debian package kmod), where DIR/lib/modules/{version} is this directory"
                    ),
                }
            }
            Self::NoVersion(_) => {
                "give the directory that is named after the kernel's version, such as /lib/modules/6.1.0-56-cloud-amd64"
                    .to_owned()
            }
            Self::Index { .. } | Self::Cycle(_) | Self::Dangling { .. } => {
                "run depmod again over the modules directory".to_owned()
            }
            Self::Unknown { near, .. } if near.is_empty() => {
                "is --modules-dir the directory of the right kernel?".to_owned()
            }
            Self::Unknown { near, .. } => format!("did you mean {}?", near.join(" or ")),
            Self::Refused { name, .. } => format!(
                "the loader runs from memory and touches no disk; an image that needs disks loads their drivers itself. Where the loader must have it all the same: --allow-disk-module {name}"
            ),
            Self::NotModule { .. } => {
                "install the kernel's package again; the file is damaged".to_owned()
            }
        }
    }
}
