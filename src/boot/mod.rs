//! The boot.

pub mod unpack;
