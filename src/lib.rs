//! Sealboot lets a server run from memory alone.
//!
//! A boot, in ten lines. Each stage takes the type that only the one before can make, so a stage that
//! is skipped does not compile:
//!
//! ```text
//! prepare    mounts, console, clock, kernel modules
//! configure  baked-in files and command line     → TrustPolicy, HostConfig, TLS roots
//! connect    link, address, name servers         → Connection
//! manifest   GET trust/N.json, images/NAME.json  → Current     (a Verified<Manifest>, by the newest policy)
//! image      GET blob, check each chunk, unpack  → Image       (kernel and initrd in tmpfs)
//! measure    extend the TPM, where there is one  → Measured
//! load       kexec_file_load                     → Loaded
//! handover   reboot into it
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`mod@format`] | bytes to types and back; pure |
//! | [`trust`] | envelope, policies and their chain, freshness, [`Verified`](trust::Verified): the only way to trust anything |
//! | [`archive`] | the check of an archive's chunks, and its unpacking; pure |
//! | [`net`] | links, addresses, DHCP, name resolution, clock |
//! | [`hardware`] | the machine's devices, and the kernel modules that they ask for |
//! | [`firmware`] | what the firmware keeps and tells: EFI variables, and which machine this is |
//! | [`fetch`] | mirrors, ranges, retries, chunk checking |
//! | [`boot`] | the stages, PID 1's duties, failure policy, kexec |
//! | [`sys`] | the one home of `unsafe` |
//! | [`heartbeat`] | what shows the watchdog that the loader works, and what it waits for |
//! | [`jitter`] | waits that differ from machine to machine |
//! | [`failure`] | the stable codes of everything that can go wrong |
//! | `keys` | signers' key files and the agent protocol (operator) |
//! | `assemble` | reproducible artifacts: image, initramfs (operator) |
//! | `server` | the provisioning server (operator) |
//! | `vm` | machines in QEMU (operator) |
//! | `cli` | one file per command (operator) |
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails where it should"
    )
)]

pub mod archive;
#[cfg(feature = "operator")]
pub mod assemble;
pub mod boot;
#[cfg(feature = "operator")]
pub mod cli;
pub mod failure;
pub mod fetch;
pub mod firmware;
pub mod format;
pub mod hardware;
pub mod heartbeat;
pub mod jitter;
#[cfg(feature = "operator")]
pub mod keys;
pub mod net;
#[cfg(feature = "operator")]
pub mod server;
pub mod sys;
pub mod trust;
#[cfg(feature = "operator")]
pub mod vm;
