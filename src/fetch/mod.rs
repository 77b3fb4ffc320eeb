//! Getting bytes from mirrors that are trusted for nothing else.
//!
//! [`client`] speaks HTTPS with only the baked-in roots and reads a bounded envelope; [`archive`]
//! streams a blob from whichever mirror still sends, resuming at the chunk it has reached. What leaves
//! this module is an envelope for [`crate::trust`] to judge, and
//! [`VerifiedChunk`]s.

pub mod archive;
pub mod chunk;
pub mod client;

pub use archive::{ArchiveError, Fetched};
pub use chunk::{ChunkCheck, ChunkMismatch, VerifiedChunk, VerifiedReader};
pub use client::{Client, FetchError};
