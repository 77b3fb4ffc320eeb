//! Sealboot's operator tool: keys, policies, images, initramfs, and machines in QEMU.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | one file per command |
//! | [`assemble`] | reproducible artifacts: image, initramfs |
//! | [`cpio`] | newc archives, written reproducibly and read |
//! | [`keys`] | signers' key files and the agent protocol |
//! | [`vm`] | machines in QEMU |
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails where it should"
    )
)]

pub mod assemble;
pub mod cli;
pub mod cpio;
pub mod keys;
pub mod vm;
