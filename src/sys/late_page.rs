//! A page of memory that is filled when somebody reads it: userfaultfd(2).
//!
//! Whoever reads it waits for that, the kernel within a system call included. So a page that is an
//! argument of a system call tells how far the call has come, and holds it there.
#![expect(
    unsafe_code,
    reason = "neither nix nor libc wraps userfaultfd, and its page must be mapped, not allocated"
)]

use std::ffi::{c_char, c_void};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::{fs, ptr};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{SysconfVar, sysconf};

/// The page. It is unmapped when this is dropped.
#[derive(Debug)]
pub(super) struct Page {
    address: usize,
    size: usize,
}

/// Tells of the page's first reader, and fills it. Without it the page reads as zeros.
#[derive(Debug)]
pub(super) struct Reads {
    faults: fs::File,
    address: usize,
    size: usize,
}

/// `struct uffdio_api`, in include/uapi/linux/userfaultfd.h as all below.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`, with its `struct uffdio_range`.
#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

/// `struct uffdio_copy`.
#[repr(C)]
struct Copy {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

/// `UFFD_API`, the version of the interface.
const API: u64 = 0xaa;
/// `UFFDIO_REGISTER_MODE_MISSING`: tell of a page that is not there yet.
const MISSING: u64 = 1;
/// `sizeof(struct uffd_msg)`.
const MESSAGE: usize = 32;

nix::ioctl_readwrite!(uffdio_api, 0xaa, 0x3f, Api);
nix::ioctl_readwrite!(uffdio_register, 0xaa, 0x00, Register);
nix::ioctl_readwrite!(uffdio_copy, 0xaa, 0x03, Copy);

/// Maps a page that nobody has read yet.
///
/// # Errors
///
/// `ENOSYS` where the kernel has no userfaultfd, `EPERM` where it lets this process have none that the
/// kernel itself waits for.
pub(super) fn late_page() -> io::Result<(Page, Reads)> {
    let faults = userfaultfd()?;
    let page = Page::map()?;
    let mut api = Api {
        api: API,
        features: 0,
        ioctls: 0,
    };
    // SAFETY: the descriptor is a userfaultfd, whose UFFDIO_API takes this struct, live and writable.
    unsafe { uffdio_api(faults.as_raw_fd(), &raw mut api) }?;
    let mut register = Register {
        start: page.address as u64,
        len: page.size as u64,
        mode: MISSING,
        ioctls: 0,
    };
    // SAFETY: as above for UFFDIO_REGISTER. The range is one page that is mapped here and nowhere
    // referenced: only raw addresses of it are given out.
    unsafe { uffdio_register(faults.as_raw_fd(), &raw mut register) }?;
    let reads = Reads {
        faults: faults.into(),
        address: page.address,
        size: page.size,
    };
    Ok((page, reads))
}

fn userfaultfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes flags alone.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
    let fd = RawFd::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Page {
    fn map() -> io::Result<Self> {
        let size = sysconf(SysconfVar::PAGE_SIZE)?
            .and_then(|size| usize::try_from(size).ok())
            .ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no other memory.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            address: address.expose_provenance(),
            size,
        })
    }

    /// Where the page is, for a system call's argument. Only the kernel may read it.
    #[must_use]
    pub(super) fn address(&self) -> *const c_char {
        ptr::with_exposed_provenance(self.address)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let address: *mut c_void = ptr::with_exposed_provenance_mut(self.address);
        // SAFETY: the range is the mapping that `map` made, and nothing refers into it: only raw
        // addresses of it were given out, for the length of a system call.
        unsafe { libc::munmap(address, self.size) };
    }
}

impl Reads {
    /// Waits until somebody reads the page, or until the other end of the pipe `over` is closed; says
    /// whether it was the former.
    ///
    /// # Errors
    ///
    /// Those of poll(2) and read(2).
    pub(super) fn wait(&mut self, over: &impl AsFd) -> io::Result<bool> {
        loop {
            let mut either = [
                PollFd::new(self.faults.as_fd(), PollFlags::POLLIN),
                PollFd::new(over.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut either, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                result => result?,
            };
            if either[0].any() != Some(true) {
                return Ok(false);
            }
            let mut message = [0; MESSAGE];
            match self.faults.read(&mut message) {
                // Without UFFD_FEATURE_EVENT_* there is only one kind of message: a page fault.
                Ok(read) => return Ok(read == MESSAGE),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the page these bytes, with zeros behind them, and lets its readers go on.
    ///
    /// # Errors
    ///
    /// Where the bytes are more than a page, or the page has been filled.
    pub(super) fn fill(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut whole = vec![0; self.size];
        whole[..bytes.len()].copy_from_slice(bytes);
        let mut copy = Copy {
            dst: self.address as u64,
            src: whole.as_ptr().expose_provenance() as u64,
            len: self.size as u64,
            mode: 0,
            copied: 0,
        };
        // SAFETY: the descriptor is a userfaultfd, whose UFFDIO_COPY takes this struct, live and
        // writable. It reads one page of `whole`, and writes the one registered page, or none where
        // that is unmapped or filled already.
        unsafe { uffdio_copy(self.faults.as_raw_fd(), &raw mut copy) }?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Write as _};
    use std::thread;

    use super::*;

    /// Has the kernel read the page as an argument of write(2), as kexec_file_load reads its own.
    fn write_from(page: &Page, out: &io::PipeWriter, length: usize) -> isize {
        // SAFETY: write(2) only reads the page, or answers EFAULT.
        unsafe { libc::write(out.as_raw_fd(), page.address().cast(), length) }
    }

    fn read(from: &mut PipeReader, length: usize) -> Vec<u8> {
        let mut bytes = vec![1; length];
        from.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_system_call_waits_until_the_page_is_filled() {
        let (page, mut reads) = late_page().unwrap();
        let (over, running) = io::pipe().unwrap();
        let (mut from, to) = io::pipe().unwrap();
        let (mut order, mut says) = io::pipe().unwrap();
        let filling = thread::spawn(move || {
            assert!(reads.wait(&over).unwrap());
            says.write_all(b"read,").unwrap();
            reads.fill(b"late\0").unwrap();
            says
        });
        assert_eq!(write_from(&page, &to, 8), 8);
        filling.join().unwrap().write_all(b"gone on").unwrap();
        assert_eq!(read(&mut from, 8), b"late\0\0\0\0");
        assert_eq!(read(&mut order, 12), b"read,gone on");
        drop(running);
    }

    #[test]
    fn a_call_that_ends_without_the_page_ends_the_wait() {
        let (_page, mut reads) = late_page().unwrap();
        let (over, running) = io::pipe().unwrap();
        let waiting = thread::spawn(move || reads.wait(&over).unwrap());
        drop(running);
        assert!(!waiting.join().unwrap());
    }

    #[test]
    fn a_page_that_nobody_fills_reads_as_zeros() {
        let (page, reads) = late_page().unwrap();
        let (mut from, to) = io::pipe().unwrap();
        let reading = thread::spawn(move || write_from(&page, &to, 8));
        drop(reads);
        assert_eq!(reading.join().unwrap(), 8);
        assert_eq!(read(&mut from, 8), [0; 8]);
    }

    #[test]
    fn a_page_is_filled_once_and_with_no_more_than_it_holds() {
        let (page, reads) = late_page().unwrap();
        let error = reads.fill(&vec![0; page.size + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        reads.fill(&vec![7; page.size]).unwrap();
        assert_eq!(
            reads.fill(b"again").unwrap_err().raw_os_error(),
            Some(libc::EEXIST)
        );
        let (mut from, to) = io::pipe().unwrap();
        assert_eq!(write_from(&page, &to, 4), 4);
        assert_eq!(read(&mut from, 4), [7; 4]);
    }
}
