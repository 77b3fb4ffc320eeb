//! Checked chunks, put back into the order of the archive.
//!
//! Mirrors that are asked at once, and checks that run at once, finish in any order; the decompressor
//! reads in one. What came too early waits here. How much that can be is bounded by who asks: each chunk
//! holds a place of the window until the one after it is taken.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::mpsc::Receiver;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use super::chunk::VerifiedChunk;
use super::report::Report;
use super::schedule::Event;

/// A chunk that is as signed, and its place in the window.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) index: usize,
    pub(super) chunk: VerifiedChunk,
    pub(super) place: OwnedSemaphorePermit,
}

/// The chunks of an archive in their order, as they come; ends early where the download does.
#[derive(Debug)]
pub struct InOrder {
    arriving: Receiver<Arrived>,
    early: BTreeMap<usize, Arrived>,
    next: usize,
    count: usize,
    /// The place of the chunk that was taken last: it is being unpacked.
    place: Option<OwnedSemaphorePermit>,
    reports: UnboundedSender<Report>,
}

impl InOrder {
    pub(super) fn new(
        count: usize,
        arriving: Receiver<Arrived>,
        reports: UnboundedSender<Report>,
    ) -> Self {
        Self {
            arriving,
            early: BTreeMap::new(),
            next: 0,
            count,
            place: None,
            reports,
        }
    }
}

impl Drop for InOrder {
    fn drop(&mut self) {
        if self.next < self.count {
            // Unpacking has failed, or the download has, and then nobody listens.
            let _ = self.reports.send(Report::Unwanted);
        }
    }
}

impl Iterator for InOrder {
    type Item = Result<VerifiedChunk, Infallible>;

    fn next(&mut self) -> Option<Self::Item> {
        self.place = None;
        if self.next == self.count {
            return None;
        }
        let arrived = loop {
            if let Some(arrived) = self.early.remove(&self.next) {
                break arrived;
            }
            let arrived = self.arriving.recv().ok()?;
            // One that was fetched twice came from another mirror before.
            if arrived.index >= self.next {
                self.early.insert(arrived.index, arrived);
            }
        };
        self.next += 1;
        self.place = Some(arrived.place);
        // Nobody listens any more where the download has ended.
        let _ = self
            .reports
            .send(Report::Event(Event::Taken { next: self.next }));
        Some(Ok(arrived.chunk))
    }
}
