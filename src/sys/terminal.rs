//! A program that a terminal belongs to.
#![expect(
    unsafe_code,
    reason = "CommandExt::pre_exec is unsafe, and std has no other way to these settings"
)]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::setsid;

mod ioctl {
    nix::ioctl_write_int_bad!(set_controlling_terminal, libc::TIOCSCTTY);
}

/// Makes the child the leader of a session of its own, whose terminal is what it reads from: Ctrl-C ends what runs in
/// it, and jobs work. It hears of its children again, whatever this process does about its own.
pub fn lead_session(command: &mut Command) {
    let before_exec = || {
        setsid()?;
        // SAFETY: descriptor 0 is what std has put there for the child; where it is no terminal, this is an error.
        unsafe { ioctl::set_controlling_terminal(0, 0) }?;
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: no handler is installed that could run code in a signal's context.
        unsafe { sigaction(Signal::SIGCHLD, &default) }?;
        Ok::<(), io::Error>(())
    };
    // SAFETY: the closure makes three system calls and builds errors that do not allocate.
    unsafe {
        command.pre_exec(before_exec);
    }
}
