//! Signals of PID 1.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Lets the kernel reap every child that ends, adopted ones included: with `SIGCHLD` ignored, no
/// zombie is ever made (wait(2), NOTES).
///
/// # Errors
///
/// The errno of sigaction(2), which knows none for these arguments.
#[expect(
    unsafe_code,
    reason = "sigaction is unsafe for the sake of handlers that run code"
)]
pub fn ignore_children() -> nix::Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed that could run code in a signal's context.
    unsafe { sigaction(Signal::SIGCHLD, &ignore) }.map(drop)
}
