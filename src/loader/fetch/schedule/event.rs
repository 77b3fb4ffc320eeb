//! What the schedule is told, and what it commands.

use std::ops::Range;
use std::time::Duration;

/// Names one request of one mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// What has happened. Mirrors are named by their place in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time has passed; the first event, too.
    Tick,
    /// Bytes of an answer's body arrived.
    Received {
        /// Whose answer.
        request: RequestId,
        /// How many, since the last time.
        bytes: u64,
    },
    /// Bytes that are there are not taken: the chunk is too far ahead of the unpacker.
    Held {
        /// Of which request.
        request: RequestId,
    },
    /// There is room again.
    Resumed {
        /// Of which request.
        request: RequestId,
    },
    /// A chunk is whole, and is being checked.
    Arrived {
        /// Of which request.
        request: RequestId,
        /// Which chunk.
        chunk: usize,
    },
    /// The last chunk of a request has arrived.
    Ended {
        /// Which request.
        request: RequestId,
    },
    /// A request failed; what had arrived before stays.
    Failed {
        /// Which request.
        request: RequestId,
        /// What it means for the mirror.
        fault: Fault,
    },
    /// A chunk is as signed.
    Checked {
        /// Who sent it.
        mirror: usize,
        /// Which chunk.
        chunk: usize,
    },
    /// A chunk is not as signed.
    Lied {
        /// Who sent it.
        mirror: usize,
        /// Which chunk.
        chunk: usize,
    },
    /// The unpacker has taken every chunk before this one.
    Taken {
        /// The first that it has not taken.
        next: usize,
    },
}

/// What a failed request means for its mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is away, overloaded or was cut off, and may be asked again later.
    Away {
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// It sends the whole file whatever part is asked for.
    NoRanges,
    /// What it has, or is, will not do, however often it is asked.
    Wrong,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Ask a mirror for chunks.
    Ask {
        /// The name of the request.
        request: RequestId,
        /// Which mirror.
        mirror: usize,
        /// Which chunks, in this order.
        chunks: Range<usize>,
        /// How.
        ranges: Ranges,
    },
    /// End a request.
    Leave {
        /// Which request.
        request: RequestId,
        /// Whose it is.
        mirror: usize,
        /// For what.
        why: Why,
    },
}

/// Whether a mirror knows how to send a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranges {
    /// It is asked for the chunks alone.
    Asked,
    /// It is asked for the whole file; what stands before the chunks is passed over.
    Unknown,
}

/// Why a request is ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nothing came for this long.
    Silent(Duration),
    /// Too little came, and others are faster.
    Slow,
    /// The mirror has lied meanwhile.
    Lied,
    /// What it sends waits for a chunk before it, which it is asked for now. Nobody is to blame.
    Early,
}

/// How a download has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every chunk has arrived and is as signed.
    Whole,
    /// No mirror is left to ask, or none has sent a chunk for too long.
    GivenUp,
}
