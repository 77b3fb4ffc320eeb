//! `sealboot serve` and `sealboot tls`, as machines and people meet them: the real binary, real curl,
//! real sockets on loopback. What needs shorter deadlines than the binary has runs in-process.
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod bounds;
mod certificates;
mod command_line;
mod paths;
mod renew;
mod requests;
mod tls;
mod transfers;
