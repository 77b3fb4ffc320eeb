//! What an operator does to a store: publishing, renewing, handing on trust, and collecting signatures.
//!
//! A store is the directory that mirrors serve and machines fetch from. Everything here works on that directory and on
//! files beside it, without a terminal: what a caller should know comes as a [`Notice`] or in the returned value, what
//! went wrong as a [`StoreError`], and a question to a person is a value that the caller must hand back.
//!
//! | module | holds |
//! |---|---|
//! | [`path`] | [`Store`] and [`StorePath`]: where a store keeps what |
//! | [`files`] | bounded reads, whole writes, locks |
//! | [`pending`] | files that appear under their name whole, or not at all |
//! | [`error`] | [`StoreError`] |
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails where it should"
    )
)]

pub mod error;
pub mod files;
pub mod path;
pub mod pending;

pub use error::StoreError;
pub use path::{Store, StorePath};
