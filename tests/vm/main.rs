//! Machines in QEMU that boot what ships: the release binaries, and the initramfs that they build.
//!
//! `make test` builds those first. Each test has a store, a server and a machine of its own; keys,
//! policy, certificates and the initramfs come from one [`lab`](lab::Lab), built once.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod boots;
mod comes_back;
mod compat;
mod demo;
mod far_side;
mod gate;
mod hardware;
mod host_config;
mod kernels;
mod lab;
mod machine;
mod memory;
mod mirrors;
mod network_cases;
mod network_lab;
mod networks;
mod no_disk;
mod recovery;
mod refusals;
mod rotation;
mod router;
mod saved;
mod server;
mod signed_host_config;
mod stale;
mod store;
mod time;
