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
//! | [`policy`], [`chain`] | trust policies in files, and the walk along those of a store |
//! | [`kind`] | the kinds of statement that people sign |
//! | [`error`], [`notice`] | [`StoreError`] and [`Notice`] |
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails where it should"
    )
)]

pub mod chain;
pub mod error;
pub mod files;
pub mod kind;
pub mod notice;
pub mod path;
pub mod pending;
pub mod policy;
#[cfg(test)]
mod testing;

pub use error::StoreError;
pub use kind::Kind;
pub use notice::Notice;
pub use path::{Store, StorePath};
