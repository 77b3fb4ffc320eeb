//! What the parts of a download tell it.

use super::problem::FetchError;
use super::schedule::{Event, RequestId};
use sealboot_core::archive::ChunkMismatch;

/// From a request, a check or the unpacker.
#[derive(Debug)]
pub(super) enum Report {
    Event(Event),
    Failed {
        request: RequestId,
        error: FetchError,
    },
    Lied {
        mirror: usize,
        mismatch: ChunkMismatch,
    },
    /// The unpacker takes no more.
    Unwanted,
}
