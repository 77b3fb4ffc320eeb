//! What an operator does to a store: publishing, renewing, handing on trust, and collecting signatures.
//!
//! A store is the directory that mirrors serve and machines fetch from. Everything here works on that directory and on
//! files beside it, without a terminal: what a caller should know comes as a [`Notice`] or in the returned value, what
//! went wrong as a [`StoreError`], and a question to a person is a value that the caller must hand back.
//! `examples/publish.rs` publishes an image, renews it and hands on the trust in thirty lines.
//!
//! | module | holds |
//! |---|---|
//! | [`path`] | [`Store`] and [`StorePath`]: where a store keeps what |
//! | [`files`] | bounded reads, whole writes, locks |
//! | [`pending`] | files that appear under their name whole, or not at all |
//! | [`policy`], [`chain`], [`rotation`] | trust policies in files, the walk along those of a store, and the next one |
//! | [`envelope_file`], [`attach`], [`merge`], [`tally`] | signatures in an envelope's file: added, joined and counted |
//! | [`image`], [`publish`] | from the envelope of an image to what machines fetch |
//! | [`renewal`] | freshness statements, and what their renewer remembers |
//! | [`signer`] | [`Signer`]: a key in memory, an agent, a token |
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

mod archive;
pub mod attach;
pub mod chain;
pub mod envelope_file;
pub mod error;
pub mod files;
pub mod image;
pub mod kind;
pub mod merge;
pub mod notice;
pub mod path;
pub mod pending;
pub mod policy;
pub mod publish;
pub mod renewal;
pub mod rotation;
pub mod signer;
pub mod tally;
#[cfg(test)]
mod testing;

pub use envelope_file::EnvelopeFile;
pub use error::StoreError;
pub use kind::Kind;
pub use notice::Notice;
pub use path::{Store, StorePath};
pub use publish::{Older, Release};
pub use renewal::{Renewal, Renewer, Start, Turn};
pub use rotation::{NextPolicy, Published, Step};
pub use signer::{SignError, Signer};
