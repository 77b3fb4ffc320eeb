//! Stage `load`: the image's kernel is placed in memory, ready to be entered.
//!
//! On entry kernel and initrd stand verified in tmpfs. On exit the kernel has its own copy of both, and
//! the tmpfs has been given back.

use std::fs::File;
use std::io;

use nix::errno::Errno;

use super::measure::Measured;
use super::memory::{self, Memory, mib};
use super::stage::Done;
use crate::failure::{Diagnose, FailureCode};
use crate::sys::kexec::kexec_file_load;

/// Proof that a kernel is loaded.
#[derive(Debug)]
pub struct Loaded(());

/// The kernel could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The unpacked files cannot be opened.
    #[error("the unpacked kernel and initrd cannot be opened")]
    Open(#[source] io::Error),
    /// This kernel cannot kexec, or may not any more.
    #[error("this kernel does no kexec_file_load")]
    Unsupported(#[source] io::Error),
    /// The signature of the image's kernel does not satisfy this kernel.
    #[error("this kernel does not accept the signature of the image's kernel")]
    Refused(#[source] io::Error),
    /// The file is no kernel that can be entered from here.
    #[error("the image's kernel or command line cannot be used for kexec")]
    Kernel(#[source] io::Error),
    /// There is too little memory; kexec was not tried.
    #[error(
        "to load the kernel and initrd needs {} of free memory, this machine has {} of {}",
        mib(*needed),
        mib(memory.available),
        mib(memory.total)
    )]
    TooLittle {
        /// What it needs in bytes.
        needed: u64,
        /// What there is.
        memory: Memory,
    },
    /// There is no room.
    #[error("there is not enough memory to load the image's kernel and initrd")]
    Memory(#[source] io::Error),
}

impl Diagnose for LoadError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Open(_) | Self::TooLittle { .. } | Self::Memory(_) => FailureCode::LoadMemory,
            Self::Unsupported(_) => FailureCode::LoadUnsupported,
            Self::Refused(_) => FailureCode::LoadRefused,
            Self::Kernel(_) => FailureCode::LoadKernel,
        }
    }
}

impl LoadError {
    /// What kexec_file_load(2) means by an errno.
    fn from_kexec(error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOSYS | Errno::EPERM | Errno::EBUSY) => Self::Unsupported(error),
            Some(
                Errno::EKEYREJECTED
                | Errno::ENOKEY
                | Errno::EBADMSG
                | Errno::ENODATA
                | Errno::EACCES,
            ) => Self::Refused(error),
            Some(Errno::ENOMEM | Errno::EADDRNOTAVAIL | Errno::EFBIG) => Self::Memory(error),
            _ => Self::Kernel(error),
        }
    }
}

/// Loads the image's kernel, initrd and command line.
///
/// # Errors
///
/// [`LoadError`], by what an operator would do about it.
pub fn load(measured: Measured) -> Result<Done<Loaded>, LoadError> {
    let image = measured.image();
    let kernel = image.kernel().map_err(LoadError::Open)?;
    let initrd = image.initrd().map_err(LoadError::Open)?;
    check_memory(&kernel, &initrd)?;
    kexec_file_load(&kernel, &initrd, image.cmdline()).map_err(LoadError::from_kexec)?;
    let says = format!(
        "kernel, initrd and command line \"{}\" are loaded",
        image.cmdline()
    );
    // The kernel has its own copies; the tmpfs goes before the handover.
    drop((kernel, initrd, measured));
    Ok(Done::new(Loaded(()), says))
}

/// Refuses what the kernel would run out of memory over, which as PID 1's only program means a panic.
///
/// It also refuses segments that take more than half of the memory (`sanity_check_segment_list`), with
/// an errno that says no more than that something is invalid.
fn check_memory(kernel: &File, initrd: &File) -> Result<(), LoadError> {
    let Ok(memory) = Memory::now() else {
        return Ok(());
    };
    let kernel_len = kernel.metadata().map_err(LoadError::Open)?.len();
    let initrd_len = initrd.metadata().map_err(LoadError::Open)?.len();
    let init_size = memory::init_size(kernel)
        .map_err(LoadError::Open)?
        .unwrap_or(kernel_len);
    let needed = memory::needed_to_load(kernel_len, initrd_len, init_size);
    if memory.available < needed || memory.total / 2 < initrd_len.saturating_add(init_size) {
        return Err(LoadError::TooLittle { needed, memory });
    }
    Ok(())
}
