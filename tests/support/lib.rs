//! What test binaries and benchmarks share. Each module is written so that another package could use it: it
//! names nothing of the binary that includes it, and finds its files at run time.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each binary uses its part, and a test that unwraps fails where it should"
)]

pub mod net;
pub mod noise;
pub mod patience;
pub mod places;
pub mod release;
pub mod served;
pub mod server;
pub mod world;
