//! What an initramfs may hold for a machine that cannot have its image: another kernel to fall back on, and a shell.
//!
//! Both are of use only where the trust policy that is baked in beside them says so, and either missing half is found
//! here, and not on a machine in the field. A shell that the policy forbids is refused: the kernel starts whatever
//! `rdinit=` names.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use super::elf::{Elf, ElfError};
use super::initrd::{self, InitrdError};
use super::kernel::{self, KernelError};
use super::{FileError, open_regular, read_bounded};
use crate::cpio::{Tree, WriteError};
use sealboot_core::failure::FailureCode;
use sealboot_core::format::cmdline::Cmdline;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::layout::{
    self, FALLBACK_CMDLINE_FILE, FALLBACK_INITRD_FILE, FALLBACK_KERNEL_FILE, FALLBACK_SUMS_FILE,
    FallbackSums, SHELL_FILE,
};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::Arch;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::FinalAction;

/// Bytes of a shell; ten times what busybox has.
const SHELL_BYTES: u64 = 32 << 20;

/// The kernel that a machine falls back on.
#[derive(Debug, Clone)]
pub struct Fallback {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its initrd.
    pub initrd: PathBuf,
    /// Its command line, to which the loader adds why it runs.
    pub cmdline: Cmdline,
}

/// What is given for the machine that cannot have its image.
#[derive(Debug, Clone, Default)]
pub struct Emergency {
    /// What it falls back on.
    pub fallback: Option<Fallback>,
    /// A static program that is a shell under the name `sh`, such as busybox.
    pub shell: Option<PathBuf>,
}

/// What was baked in that the trust policy does not let be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unused {
    /// The policy reboots or powers off instead.
    #[error("the trust policy never enters the fallback: create it with --final-action fallback")]
    Fallback,
}

/// It cannot be baked in.
#[derive(Debug, thiserror::Error)]
pub enum EmergencyError {
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The policy falls back on what is not there.
    #[error("the trust policy has the fallback as its final action, and none is given")]
    NoFallback,
    /// The fallback's kernel cannot be entered.
    #[error("{} cannot be the fallback's kernel", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KernelError,
    },
    /// The fallback's initrd is nothing that a kernel unpacks.
    #[error("{} cannot be the fallback's initrd", path.display())]
    Initrd {
        /// The file.
        path: PathBuf,
        /// Why.
        source: InitrdError,
    },
    /// The fallback's command line has no room for what the loader adds.
    #[error("the fallback's command line has {len} characters, the loader adds up to {added}, and a kernel takes {limit}", limit = LIMITS.cmdline_bytes)]
    Cmdline {
        /// What was given.
        len: usize,
        /// What ` sealboot.failed=CODE` takes at most.
        added: usize,
    },
    /// The fallback is for other machines than the loader.
    #[error("the loader is for {loader}, the fallback's kernel is for {found}")]
    KernelArch {
        /// The loader's architecture.
        loader: Arch,
        /// The kernel's.
        found: Arch,
    },
    /// The policy allows no shell.
    #[error("the trust policy allows no shell")]
    ShellForbidden,
    /// The shell is no program of these machines.
    #[error("{} cannot be the shell", path.display())]
    Shell {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
    /// The shell asks for what an initramfs does not have, or is for other machines.
    #[error("{} cannot be the shell: {reason}", path.display())]
    ShellUnfit {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

impl EmergencyError {
    /// What to do about it, where that is not plain from the fact.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File(_) => None,
            Self::NoFallback => Some(
                "give --fallback-kernel and --fallback-initrd, or create the policy with --final-action reboot",
            ),
            Self::Kernel { .. } | Self::KernelArch { .. } => {
                Some("give a kernel that kexec can enter on these machines")
            }
            Self::Initrd { .. } => Some("give a cpio archive, plain or compressed"),
            Self::Cmdline { .. } => {
                Some("make it shorter, so that the fallback learns why it runs")
            }
            Self::ShellForbidden => Some(
                "leave --shell out, or create the policy with --allow-shell: a kernel command line with rdinit=/bin/sh starts a shell that is baked in, whatever the policy says",
            ),
            Self::Shell { .. } | Self::ShellUnfit { .. } => Some(
                "give a static program that is a shell when it is called sh: Debian's package busybox-static has one, /bin/busybox",
            ),
        }
    }
}

impl Emergency {
    /// What will be of no use under this policy.
    #[must_use]
    pub fn unused(&self, policy: &TrustPolicy) -> Vec<Unused> {
        let rules = policy.on_failure();
        let mut unused = Vec::new();
        if self.fallback.is_some() && rules.final_action != FinalAction::Fallback {
            unused.push(Unused::Fallback);
        }
        unused
    }

    /// Opens and checks what is given, for machines of this architecture under this policy.
    ///
    /// # Errors
    ///
    /// [`EmergencyError`].
    pub(super) fn open(&self, policy: &TrustPolicy, arch: &Arch) -> Result<Files, EmergencyError> {
        let mut files = Files::default();
        match &self.fallback {
            None if policy.on_failure().final_action == FinalAction::Fallback => {
                return Err(EmergencyError::NoFallback);
            }
            None => {}
            Some(fallback) => {
                check_kernel(&fallback.kernel, arch)?;
                check_initrd(&fallback.initrd)?;
                check_cmdline(&fallback.cmdline)?;
                let (kernel, kernel_sum) = open_hashed(&fallback.kernel)?;
                let (initrd, initrd_sum) = open_hashed(&fallback.initrd)?;
                let line = format!("{}\n", fallback.cmdline).into_bytes();
                let sums = FallbackSums {
                    kernel: kernel_sum,
                    initrd: initrd_sum,
                    cmdline: Sha256Digest::of(&line),
                };
                let sums = sums.encode().into_bytes();
                files.large.push((FALLBACK_KERNEL_FILE, kernel));
                files.large.push((FALLBACK_INITRD_FILE, initrd));
                files.small.push((FALLBACK_CMDLINE_FILE, 0o644, line));
                files.small.push((FALLBACK_SUMS_FILE, 0o644, sums));
            }
        }
        if let Some(path) = &self.shell {
            // The loader would not start it, but it is not the loader that a kernel command line asks.
            if !policy.on_failure().shell {
                return Err(EmergencyError::ShellForbidden);
            }
            files
                .small
                .push((SHELL_FILE, 0o755, read_shell(path, arch)?));
        }
        Ok(files)
    }
}

/// What is to be added to an initramfs: where, and its bytes.
#[derive(Debug, Default)]
pub(super) struct Files {
    small: Vec<(&'static str, u32, Vec<u8>)>,
    large: Vec<(&'static str, (File, u64))>,
}

impl Files {
    /// Bytes of the fallback's kernel and initrd, where there is one.
    pub(super) fn fallback_bytes(&self) -> Option<u64> {
        let sizes = self.large.iter().map(|(_, (_, size))| *size);
        (!self.large.is_empty()).then(|| sizes.sum())
    }

    pub(super) fn add_to(self, tree: &mut Tree<'_>) -> Result<(), WriteError> {
        for (path, mode, bytes) in self.small {
            let size = bytes.len() as u64;
            tree.file(
                layout::member(path),
                mode,
                size,
                std::io::Cursor::new(bytes),
            )?;
        }
        for (path, (file, size)) in self.large {
            tree.file(layout::member(path), 0o644, size, file)?;
        }
        Ok(())
    }
}

/// Opens a file of the fallback, and hashes what it holds.
fn open_hashed(path: &Path) -> Result<((File, u64), Sha256Digest), FileError> {
    let (mut file, len) = open_regular(path)?;
    let sum = Sha256Digest::of_rest(&file).and_then(|sum| {
        file.rewind()?;
        Ok(sum)
    });
    let sum = sum.map_err(FileError::new("read", path))?;
    Ok(((file, len), sum))
}

fn check_kernel(path: &Path, arch: &Arch) -> Result<(), EmergencyError> {
    let (file, len) = open_regular(path)?;
    let mut head = Vec::new();
    file.take(kernel::HEAD)
        .read_to_end(&mut head)
        .map_err(FileError::new("read", path))?;
    let kernel = kernel::probe(&head, len).map_err(|source| EmergencyError::Kernel {
        path: path.to_owned(),
        source,
    })?;
    if kernel.arch == *arch {
        Ok(())
    } else {
        Err(EmergencyError::KernelArch {
            loader: arch.clone(),
            found: kernel.arch,
        })
    }
}

/// As the packer of an image looks at one: what is compressed is the kernel's to unpack.
fn check_initrd(path: &Path) -> Result<(), EmergencyError> {
    let (file, _) = open_regular(path)?;
    let mut input = BufReader::new(file);
    let head = input.fill_buf().map_err(FileError::new("read", path))?;
    if initrd::compression_of(head).is_some() {
        return Ok(());
    }
    let examined = initrd::examine(input);
    examined.map(drop).map_err(|source| EmergencyError::Initrd {
        path: path.to_owned(),
        source,
    })
}

fn check_cmdline(cmdline: &Cmdline) -> Result<(), EmergencyError> {
    let codes = FailureCode::ALL.iter().map(|code| code.as_str().len());
    let added = " sealboot.failed=".len() + codes.max().unwrap_or_default();
    let len = cmdline.as_str().len();
    if len + added > LIMITS.cmdline_bytes {
        return Err(EmergencyError::Cmdline { len, added });
    }
    Ok(())
}

fn read_shell(path: &Path, arch: &Arch) -> Result<Vec<u8>, EmergencyError> {
    let bytes = read_bounded(path, SHELL_BYTES)?;
    let no_shell = |source| EmergencyError::Shell {
        path: path.to_owned(),
        source,
    };
    let elf = Elf::parse(&bytes).map_err(no_shell)?;
    let reason = if !elf.is_program() {
        Some("it is no program")
    } else if elf.has_interpreter().map_err(no_shell)? {
        Some("it is dynamically linked")
    } else if elf.arch != *arch {
        Some("it is for another architecture than the loader")
    } else {
        None
    };
    match reason {
        None => Ok(bytes),
        Some(reason) => Err(EmergencyError::ShellUnfit {
            path: path.to_owned(),
            reason,
        }),
    }
}
