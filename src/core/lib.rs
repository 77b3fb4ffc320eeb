//! Sealboot's formats, trust and archive check: everything that decides what may boot.
//!
//! Pure: bytes and a time go in, types and refusals come out. Nothing here opens a file or a socket, reads a clock, or
//! holds a private key, so the loader, the operator's tool and the servers decide alike.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@format`] | bytes to types and back |
//! | [`trust`] | envelope, policies and their chain, freshness, [`Verified`](trust::Verified): the only way to trust anything |
//! | [`archive`] | the check of an archive's chunks, and its unpacking |
//! | [`failure`] | the stable codes of everything that can go wrong |
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails where it should"
    )
)]

pub mod archive;
pub mod failure;
pub mod format;
pub mod trust;
