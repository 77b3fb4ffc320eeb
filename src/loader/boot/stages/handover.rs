//! Stage `handover`: into the loaded kernel.
//!
//! This stage reports success before it acts, because nobody is left to report afterwards.

use std::convert::Infallible;

use nix::sys::reboot::{RebootMode, reboot};

use super::measure::Measured;
use crate::boot::console::Consoles;
use crate::boot::recovery::LAST_LINES;
use sealboot_core::failure::{Diagnose, FailureCode};

/// The loaded kernel was not entered.
#[derive(Debug, thiserror::Error)]
#[error("the loaded kernel was not entered")]
pub struct HandoverError(#[source] nix::errno::Errno);

impl Diagnose for HandoverError {
    fn code(&self) -> FailureCode {
        FailureCode::HandoverFailed
    }
}

/// Lets the consoles finish, then enters the loaded kernel. Returns only if that fails.
///
/// # Errors
///
/// The errno of reboot(2).
pub fn run(_: Measured, consoles: &Consoles) -> Result<Infallible, HandoverError> {
    consoles.drain(LAST_LINES);
    reboot(RebootMode::RB_KEXEC).map_err(HandoverError)
}
