//! The flag that keeps a file as it is (chattr(1) calls it `i`).

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

/// `FS_IMMUTABLE_FL` of linux/fs.h.
const IMMUTABLE: libc::c_int = 0x10;

mod ioctl {
    // Declared with `long` in linux/fs.h, which is in their numbers; the kernel moves an int all the same.
    nix::ioctl_read_bad!(
        get_flags,
        nix::request_code_read!(b'f', 1, size_of::<libc::c_long>()),
        libc::c_int
    );
    nix::ioctl_write_ptr_bad!(
        set_flags,
        nix::request_code_write!(b'f', 2, size_of::<libc::c_long>()),
        libc::c_int
    );
}

/// Lets a file be written and removed; nothing is done to one that may be already.
///
/// # Errors
///
/// `EPERM` without `CAP_LINUX_IMMUTABLE`.
#[expect(unsafe_code, reason = "nix has no safe FS_IOC_SETFLAGS")]
pub fn lift(file: &File) -> nix::Result<()> {
    let mut flags: libc::c_int = 0;
    // SAFETY: the descriptor is open while `file` is borrowed; FS_IOC_GETFLAGS writes one int to the
    // address that it is given, and `flags` is one.
    match unsafe { ioctl::get_flags(file.as_raw_fd(), &raw mut flags) } {
        Ok(_) => {}
        // A file system that has no such flags holds no file by one.
        Err(Errno::ENOTTY | Errno::EOPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    if flags & IMMUTABLE == 0 {
        return Ok(());
    }
    flags &= !IMMUTABLE;
    // SAFETY: as above; FS_IOC_SETFLAGS reads one int from the address that it is given.
    unsafe { ioctl::set_flags(file.as_raw_fd(), &raw const flags) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nothing_holds_is_left_as_it_is() {
        lift(&tempfile::tempfile().unwrap()).unwrap();
        // No file system of files.
        lift(&File::open("/proc/self/stat").unwrap()).unwrap();
    }
}
