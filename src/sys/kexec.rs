//! kexec_file_load(2).

use std::ffi::{CString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::thread;

use super::late_page::late_page;
use sealboot_core::format::cmdline::Cmdline;

/// Loads a kernel, an initrd and a command line to be entered by a reboot with `RB_KEXEC`.
///
/// The kernel reads both files into memory of its own; they are not needed after the call.
///
/// # Errors
///
/// The errno of kexec_file_load(2).
pub fn kexec_file_load(kernel: &File, initrd: &File, cmdline: &Cmdline) -> io::Result<()> {
    let cmdline = terminated(cmdline);
    call(
        kernel,
        initrd,
        cmdline.as_ptr(),
        cmdline.as_bytes_with_nul(),
    )
}

/// The same; calls `once_read` after the kernel has read both files, and before it places them.
///
/// The kernel reads its arguments in turn: kernel, initrd, command line (`kimage_file_prepare_segments`
/// in kernel/kexec_file.c, so since kexec_file_load exists). The command line is in a page that only
/// comes when it is read, and until it has, the call stands still. After an error nothing must be entered
/// that may be loaded: where the page itself has failed, its command line is empty.
///
/// # Errors
///
/// Where `once_read` failed, its error; else the errno of kexec_file_load(2), userfaultfd(2) or
/// clone(2).
pub fn kexec_file_load_in_turn(
    kernel: &File,
    initrd: &File,
    cmdline: &Cmdline,
    once_read: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<()> {
    let cmdline = terminated(cmdline);
    let bytes = cmdline.as_bytes_with_nul();
    let (page, mut reads) = late_page()?;
    let (over, running) = io::pipe()?;
    thread::scope(|scope| {
        let serving = thread::Builder::new().spawn_scoped(scope, move || {
            if !reads.wait(&over)? {
                return Ok(());
            }
            match once_read() {
                Ok(()) => reads.fill(bytes),
                Err(error) => {
                    // The kernel takes no command line without a NUL at its end, so the call ends here.
                    reads.fill(&vec![b'-'; bytes.len()])?;
                    Err(error)
                }
            }
        })?;
        let loaded = call(kernel, initrd, page.address(), bytes);
        drop(running);
        let served: io::Result<()> = serving
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        served.and(loaded)
    })
}

/// Can [`kexec_file_load_in_turn`] be had from this kernel?
#[must_use]
pub fn reads_in_turn() -> bool {
    late_page().is_ok()
}

fn terminated(cmdline: &Cmdline) -> CString {
    CString::new(cmdline.as_str())
        .unwrap_or_else(|error| unreachable!("a command line is printable: {error}"))
}

/// `at` is where the command line stands or will stand, `cmdline` the same with its NUL.
#[expect(unsafe_code, reason = "neither nix nor libc wraps kexec_file_load")]
fn call(kernel: &File, initrd: &File, at: *const c_char, cmdline: &[u8]) -> io::Result<()> {
    const NO_FLAGS: libc::c_ulong = 0;
    // SAFETY: both descriptors are open files for the length of the call. The kernel only reads what
    // pointer and length describe, and answers EFAULT where it cannot.
    let status = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.as_raw_fd(),
            cmdline.len(),
            at,
            NO_FLAGS,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_ends_before_it_has_read_the_files_waits_for_nothing() {
        // No kernel at all: refused when it is read, by whatever kernel runs this test.
        let empty = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let mut was_read = false;
        let cmdline = "console=ttyS0".parse().unwrap();
        let loaded = kexec_file_load_in_turn(&empty[0], &empty[1], &cmdline, || {
            was_read = true;
            Ok(())
        });
        assert!(loaded.is_err());
        assert!(!was_read);
    }
}
