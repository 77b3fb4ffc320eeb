//! Stage `load`: the image's kernel is placed in memory, ready to be entered.
//!
//! On entry kernel and initrd stand verified in tmpfs. On exit the kernel has its own copy of both, and
//! the tmpfs has been given back.

use std::io;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::measure::Measured;
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
    /// There is no room.
    #[error("there is not enough memory to load the image's kernel and initrd")]
    Memory(#[source] io::Error),
}

impl Diagnose for LoadError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Open(_) | Self::Memory(_) => FailureCode::LoadMemory,
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
pub fn load(measured: &Measured) -> Result<Done<Loaded>, LoadError> {
    let image = measured.image();
    let kernel = image.kernel().map_err(LoadError::Open)?;
    let initrd = image.initrd().map_err(LoadError::Open)?;
    kexec_file_load(&kernel, &initrd, image.cmdline()).map_err(LoadError::from_kexec)?;
    drop((kernel, initrd));
    let _ = umount2(image.directory(), MntFlags::MNT_DETACH);
    let says = format!(
        "kernel, initrd and command line \"{}\" are loaded",
        image.cmdline()
    );
    Ok(Done::new(Loaded(()), says))
}
