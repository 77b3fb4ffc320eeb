//! What a child process does between fork and exec.
//!
//! Both functions here run a closure in the forked child, where only async-signal-safe functions may
//! be called: other threads of the parent may have held a lock, say of the allocator, when it forked.
#![expect(
    unsafe_code,
    reason = "CommandExt::pre_exec is unsafe, and std has no other way to these settings"
)]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Has the kernel kill the child when the *thread* that starts it ends, however it ends: not even a
/// parent that was killed leaves a child behind (prctl(2), `PR_SET_PDEATHSIG`).
pub fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let before_exec = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above: then nobody sends the signal any more.
        if getppid() == parent {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::NotFound))
        }
    };
    // SAFETY: the closure makes two system calls and builds errors that do not allocate.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Hands `fd` to the child under the number returned, and closes it here when `command` is dropped.
///
/// The descriptor stays close-on-exec in this process, so that no other child inherits it.
pub fn inherit(command: &mut Command, fd: OwnedFd) -> RawFd {
    let number = fd.as_raw_fd();
    let before_exec = move || {
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    };
    // SAFETY: the closure makes one system call, on a descriptor that it owns, and its error does not
    // allocate.
    unsafe {
        command.pre_exec(before_exec);
    }
    number
}
