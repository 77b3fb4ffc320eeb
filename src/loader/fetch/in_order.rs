//! Checked chunks, put back into the order of the archive.
//!
//! Mirrors that are asked at once, and checks that run at once, finish in any order; the decompressor
//! reads in one. What came too early waits here. How much that can be is bounded by those who receive: they wait
//! with a chunk until it is less than a window ahead of the one that is being unpacked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::mpsc::Receiver;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::report::Report;
use super::schedule::Event;
use sealboot_core::archive::VerifiedChunk;

/// A chunk that is as signed.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) index: usize,
    pub(super) chunk: VerifiedChunk,
}

/// The chunks of an archive in their order, as they come; ends early where the download does.
#[derive(Debug)]
pub struct InOrder {
    arriving: Receiver<Arrived>,
    early: BTreeMap<usize, VerifiedChunk>,
    next: usize,
    count: usize,
    /// Every chunk before this one is unpacked.
    unpacked: watch::Sender<usize>,
    reports: UnboundedSender<Report>,
}

impl InOrder {
    pub(super) fn new(
        count: usize,
        arriving: Receiver<Arrived>,
        unpacked: watch::Sender<usize>,
        reports: UnboundedSender<Report>,
    ) -> Self {
        Self {
            arriving,
            early: BTreeMap::new(),
            next: 0,
            count,
            unpacked,
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
        // Whoever asks for more has done with what it had.
        self.unpacked.send_replace(self.next);
        if self.next == self.count {
            return None;
        }
        let chunk = loop {
            if let Some(chunk) = self.early.remove(&self.next) {
                break chunk;
            }
            let arrived = self.arriving.recv().ok()?;
            // One that was fetched twice came from another mirror before.
            if arrived.index >= self.next {
                self.early.insert(arrived.index, arrived.chunk);
            }
        };
        self.next += 1;
        // Nobody listens any more where the download has ended.
        let _ = self
            .reports
            .send(Report::Event(Event::Taken { next: self.next }));
        Some(Ok(chunk))
    }
}
