//! Sealboot's loader: PID 1 of an initramfs, from power-on to the verified kernel.
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
//! load       kexec_file_load                     → Loaded
//! measure    extend the TPM, where there is one  → Measured
//! handover   reboot into it
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`boot`] | the stages, PID 1's duties, failure policy, kexec |
//! | [`net`] | links, addresses, DHCP, name resolution, clock |
//! | [`fetch`] | mirrors, ranges, retries |
//! | [`hardware`] | the machine's devices, and the kernel modules that they ask for |
//! | [`heartbeat`] | what shows the watchdog that the loader works, and what it waits for |
//! | [`jitter`] | waits that differ from machine to machine |
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails where it should"
    )
)]

pub mod boot;
pub mod fetch;
pub mod hardware;
pub mod heartbeat;
pub mod jitter;
pub mod net;
