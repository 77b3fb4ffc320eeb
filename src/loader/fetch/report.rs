//! What the parts of a download tell it.

use reqwest::header::HeaderValue;

use super::problem::FetchError;
use super::schedule::{Event, RequestId};
use sealboot_core::archive::ChunkMismatch;

/// From a request, a check or the unpacker.
#[derive(Debug)]
pub(super) enum Report {
    Event(Event),
    /// A head that fits has come.
    Answered {
        request: RequestId,
        etag: Option<HeaderValue>,
    },
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
