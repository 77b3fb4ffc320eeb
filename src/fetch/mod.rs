//! Getting bytes from mirrors that are trusted for nothing else.
//!
//! What leaves this module is an envelope for [`trust`](crate::trust) to judge, and
//! [`VerifiedChunk`](chunk::VerifiedChunk)s.

pub mod chunk;

pub use chunk::{ChunkCheck, ChunkMismatch, VerifiedChunk, VerifiedReader};
