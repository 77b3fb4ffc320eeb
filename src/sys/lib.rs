//! System calls that nix does not wrap, and what the firmware stores: the one home of `unsafe`.
//!
//! One call a block, each with what its arguments owe the kernel. Everything here is safe to call.
//!
//! [`firmware`] has EFI variables and the machine's identity.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails where it should"
    )
)]

pub mod child;
pub mod fd;
pub mod firmware;
pub mod immutable;
pub mod kexec;
mod late_page;
pub mod packet;
pub mod signal;
pub mod socket;
pub mod terminal;
pub mod watchdog;
