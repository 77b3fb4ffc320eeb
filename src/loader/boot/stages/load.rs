//! Stage `load`: the image's kernel is placed in memory, ready to be entered.
//!
//! On entry kernel and initrd stand verified in tmpfs. On exit the kernel has its own copy of both, and
//! the tmpfs has been given back: after the call, or, where memory is short, within it, when the kernel
//! has read both files and before it takes the pages that they go to.

use std::fs::{File, FileTimes};
use std::io;
use std::time::SystemTime;

use nix::errno::Errno;

use super::image::Image;
use super::memory::{Demand, Loading, Memory, Shortage};
use crate::boot::DisksError;
use crate::boot::console::Done;
use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_sys::kexec::{kexec_file_load, kexec_file_load_in_turn};

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
    #[error("this machine has too little memory to load the image's kernel and initrd")]
    TooLittle(#[source] Shortage),
    /// A disk has appeared that the trust policy refuses.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// There is no room.
    #[error("there is not enough memory to load the image's kernel and initrd")]
    Memory(#[source] io::Error),
}

impl Diagnose for LoadError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Open(_) | Self::TooLittle(_) | Self::Memory(_) => FailureCode::LoadMemory,
            Self::Unsupported(_) => FailureCode::LoadUnsupported,
            Self::Refused(_) => FailureCode::LoadRefused,
            Self::Kernel(_) => FailureCode::LoadKernel,
            Self::Disks(error) => error.code(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::TooLittle(shortage) => shortage.hint(),
            other => other.code().remedy().to_owned(),
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
            // What is no errno comes from giving back the tmpfs, which failed.
            Some(Errno::ENOMEM | Errno::EADDRNOTAVAIL | Errno::EFBIG) | None => Self::Memory(error),
            _ => Self::Kernel(error),
        }
    }
}

/// Loads the image's kernel, initrd and command line.
///
/// # Errors
///
/// [`LoadError`], by what an operator would do about it.
pub fn run(image: Image) -> Result<Done<Loaded>, LoadError> {
    let kernel = image.kernel().map_err(LoadError::Open)?;
    let initrd = image.initrd().map_err(LoadError::Open)?;
    let loading = loading(&kernel, &initrd)?;
    let loaded = match loading {
        Loading::AtOnce => kexec_file_load(&kernel, &initrd, image.cmdline()),
        Loading::InTurn => {
            mark_unread([&kernel, &initrd]).map_err(LoadError::Open)?;
            kexec_file_load_in_turn(&kernel, &initrd, image.cmdline(), || {
                check_read([&kernel, &initrd])
                    .and_then(|()| image.empty())
                    .map_err(io::Error::other)
            })
        }
    };
    loaded.map_err(LoadError::from_kexec)?;
    let says = format!(
        "kernel, initrd and command line \"{}\" are loaded",
        image.cmdline()
    );
    // The kernel has its own copies; the tmpfs goes before the handover.
    drop((kernel, initrd, image));
    Ok(Done::new(Loaded(()), says).with("copies", loading.copies()))
}

/// Refuses what the kernel would run out of memory over, which as PID 1's only program means a panic.
fn loading(kernel: &File, initrd: &File) -> Result<Loading, LoadError> {
    let demand = Demand::of_files(kernel, initrd).map_err(LoadError::Open)?;
    // A kernel that does not say is given the benefit of the doubt.
    let Ok(memory) = Memory::now() else {
        return Ok(Loading::AtOnce);
    };
    tracing::debug!(?memory, ?demand, "before kexec_file_load");
    demand
        .check_before_loading(memory, Loading::thriftiest())
        .map_err(LoadError::TooLittle)
}

/// Sets when the files were last read to a time at which they were not.
fn mark_unread(files: [&File; 2]) -> io::Result<()> {
    let never = FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH);
    files.into_iter().try_for_each(|file| file.set_times(never))
}

/// A kernel that asks for the command line before it has read the files needs them still.
fn check_read(files: [&File; 2]) -> io::Result<()> {
    for file in files {
        if file.metadata()?.accessed()? == SystemTime::UNIX_EPOCH {
            return Err(io::Error::other(
                "this kernel reads the command line before the files, so their memory cannot be given back in time",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn files_that_were_not_read_are_told_from_those_that_were() {
        let mut files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        for file in &mut files {
            file.write_all(b"bytes").unwrap();
        }
        let [kernel, initrd] = &files;
        mark_unread([kernel, initrd]).unwrap();
        assert!(check_read([kernel, initrd]).is_err());
        for (at, mut file) in [kernel, initrd].into_iter().enumerate() {
            std::io::Seek::rewind(&mut file).unwrap();
            file.read_exact(&mut [0; 5]).unwrap();
            assert_eq!(check_read([kernel, initrd]).is_ok(), at == 1);
        }
    }

    #[test]
    fn each_errno_has_its_code() {
        let code = |errno: Errno| LoadError::from_kexec(errno.into()).code();
        assert_eq!(code(Errno::ENOSYS), FailureCode::LoadUnsupported);
        assert_eq!(code(Errno::EKEYREJECTED), FailureCode::LoadRefused);
        assert_eq!(code(Errno::EADDRNOTAVAIL), FailureCode::LoadMemory);
        assert_eq!(code(Errno::ENOEXEC), FailureCode::LoadKernel);
        // The tmpfs that cannot be given back, whatever the reason.
        let error = LoadError::from_kexec(io::Error::other(io::Error::from(Errno::ETXTBSY)));
        assert_eq!(error.code(), FailureCode::LoadMemory);
    }
}
