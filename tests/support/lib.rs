//! What test binaries and benchmarks share. A module names nothing of the binary that uses it, and finds its files
//! at run time.
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

pub mod net;
pub mod noise;
pub mod patience;
pub mod places;
pub mod release;
pub mod served;
pub mod server;
pub mod universe;
pub mod world;
