//! Getting bytes from mirrors that are trusted for nothing else.
//!
//! ```text
//!            commands                         bytes               checked chunks, in their order
//! schedule ───────────▶ archive ── client ───────────▶ chunk ────────────────────────────────────▶ unpack
//!    ▲                     │      (answer)             check  (in_order)
//!    └─────────────────────┘
//!      events, with the time
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`client`] | HTTPS with the baked-in roots alone; small files, bounded |
//! | [`schedule`] | which mirror is asked for which chunks, and when: pure |
//! | [`archive`] | the shell round it: sockets, clock, what the console says |
//! | `answer` | whether a head announces what was asked for: pure |
//! | [`chunk`] | the check that lets bytes through |
//! | [`in_order`] | chunks that came too early |
//! | [`reputation`] | which mirrors have lied in this boot |
//!
//! What leaves this module is an envelope for [`crate::trust`] to judge, and [`VerifiedChunk`]s.

mod answer;
pub mod archive;
pub mod chunk;
pub mod client;
pub mod in_order;
mod progress;
pub mod reputation;
pub mod schedule;

pub use archive::{ArchiveError, Download, Fetched};
pub use chunk::{ChunkCheck, ChunkMismatch, VerifiedChunk, VerifiedReader};
pub use client::{Client, FetchError};
pub use in_order::InOrder;
pub use reputation::Reputation;
pub use schedule::Patience;
