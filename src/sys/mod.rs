//! The one home of `unsafe`: system calls that nix does not wrap.
//!
//! One call a block, each with what its arguments owe the kernel. Everything here is safe to call.

#[cfg(feature = "operator")]
pub mod child;
#[cfg(feature = "operator")]
pub mod fd;
pub mod immutable;
pub mod kexec;
mod late_page;
pub mod packet;
pub mod signal;
#[cfg(feature = "operator")]
pub mod socket;
pub mod terminal;
pub mod watchdog;
