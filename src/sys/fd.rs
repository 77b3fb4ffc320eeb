//! File descriptors that whoever started this process opened for it, given by number.
#![expect(
    unsafe_code,
    reason = "a number becomes a descriptor in no other way; /dev/fd is closed to a process that cannot be dumped"
)]

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// Opens what stands under `number` in this process a second time; both share one position.
///
/// # Errors
///
/// Where nothing stands there.
pub fn duplicate(number: RawFd) -> io::Result<File> {
    // SAFETY: F_DUPFD_CLOEXEC takes two integers and touches no memory; of a number that is no
    // descriptor it makes EBADF.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
    let owned = unsafe { OwnedFd::from_raw_fd(copy) };
    Ok(File::from(owned))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn what_stands_under_a_number_is_read_and_stays_open() {
        let file = File::open("/proc/self/stat").unwrap();
        let mut text = String::new();
        let mut copy = duplicate(file.as_raw_fd()).unwrap();
        copy.read_to_string(&mut text).unwrap();
        drop(copy);
        assert!(text.starts_with(&std::process::id().to_string()));
        assert!(file.metadata().is_ok());
    }

    #[test]
    fn a_number_under_which_nothing_stands_is_an_error() {
        for number in [-1, i32::MAX] {
            assert!(duplicate(number).is_err(), "{number}");
        }
    }
}
