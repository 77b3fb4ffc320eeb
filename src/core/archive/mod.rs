//! From archive bytes to an image's files: the chunk check, decompression, and the one tar that a manifest describes.
//!
//! ```text
//! bytes ──▶ ChunkCheck ──▶ VerifiedChunk ──▶ VerifiedReader ──▶ unpack ──▶ Destination
//! ```
//!
//! Pure: the loader feeds it from mirrors, the operator's tool from a store ([`verify_archive`]).
//!
//! | module | holds |
//! |---|---|
//! | `chunk` | the check that lets bytes through, and the reader of what passed |
//! | `destination` | where an image's files go, and what can be wrong with an archive |
//! | `unpack` | decompression, bounded |
//! | `tar` | the comparison with the manifest, member by member |
//! | `stored` | the whole check of an archive in a store |

mod chunk;
mod destination;
mod stored;
mod tar;
mod unpack;

pub use self::chunk::{
    ChunkCheck, ChunkListMismatch, ChunkMismatch, VerifiedChunk, VerifiedReader,
};
pub use self::destination::{Destination, Discard, UnpackError};
pub use self::stored::{StoredArchiveError, compare_archive, verify_archive};
pub use self::unpack::{FileHashes, unpack};
