//! kexec_file_load(2).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use crate::format::cmdline::Cmdline;

/// Loads a kernel, an initrd and a command line to be entered by a reboot with `RB_KEXEC`.
///
/// The kernel reads both files into memory of its own; they are not needed after the call.
///
/// # Errors
///
/// The errno of kexec_file_load(2).
#[expect(unsafe_code, reason = "neither nix nor libc wraps kexec_file_load")]
pub fn kexec_file_load(kernel: &File, initrd: &File, cmdline: &Cmdline) -> io::Result<()> {
    const NO_FLAGS: libc::c_ulong = 0;
    let cmdline = CString::new(cmdline.as_str())
        .unwrap_or_else(|error| unreachable!("a command line is printable: {error}"));
    let cmdline = cmdline.as_bytes_with_nul();
    // SAFETY: both descriptors are open files for the length of the call; the pointer and length are
    // those of one live buffer whose last byte is NUL, as the call asks; the kernel only reads it.
    let status = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.as_raw_fd(),
            cmdline.len(),
            cmdline.as_ptr(),
            NO_FLAGS,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
