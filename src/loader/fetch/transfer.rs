//! One request: bytes of chunks come in, and every whole chunk goes to a thread that checks it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use hyper::body::{Buf as _, Bytes};
use reqwest::{Response, Url};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::answer::Part;
use super::client::Client;
use super::in_order::Arrived;
use super::problem::{FetchError, FetchProblem};
use super::report::Report;
use super::schedule::{Event, Ranges, RequestId};
use sealboot_core::archive::ChunkCheck;
use sealboot_core::format::host_config::MirrorUrl;

/// Received bytes are reported after so many, or so long: the schedule needs no more.
const REPORT_BYTES: u64 = 256 << 10;
const REPORT_EVERY: Duration = Duration::from_millis(50);

/// What every request of a download needs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) check: ChunkCheck,
    pub(super) chunks: Sender<Arrived>,
    /// How many chunks may be in hand, and how many the unpacker has done with.
    pub(super) places: usize,
    pub(super) unpacked: watch::Receiver<usize>,
    pub(super) reports: UnboundedSender<Report>,
}

/// One request of one mirror.
pub(super) struct Transfer {
    pub(super) shared: Arc<Shared>,
    pub(super) mirror: usize,
    pub(super) request: RequestId,
    pub(super) url: MirrorUrl,
    pub(super) chunks: Range<usize>,
    pub(super) ranges: Ranges,
}

impl Transfer {
    pub(super) async fn run(self) {
        let request = self.request;
        let report = match self.receive().await {
            Ok(()) => Report::Event(Event::Ended { request }),
            Err(error) => Report::Failed { request, error },
        };
        self.report(report);
    }

    /// Nobody listens where the download has ended, and then nothing matters.
    fn report(&self, report: Report) {
        let _ = self.shared.reports.send(report);
    }

    async fn receive(&self) -> Result<(), FetchError> {
        let check = &self.shared.check;
        let archive = check.archive();
        let url = self.url.file(&archive.blob_path());
        let part = Part {
            start: check.start(self.chunks.start),
            end: check.start(self.chunks.end).min(archive.size),
            size: archive.size,
            whole: self.ranges == Ranges::Unknown,
        };
        let (response, skip) = self.shared.client.part(&url, &part).await?;
        let request = self.request;
        let mut incoming = Incoming {
            transfer: self,
            url: &url,
            response,
            left: Bytes::new(),
            unreported: 0,
            reported: Instant::now(),
        };
        incoming.skip(skip).await?;
        for index in self.chunks.clone() {
            self.wait_for(index).await;
            let len = check.len(index);
            let bytes = incoming.take(len).await?;
            incoming.report();
            self.report(Report::Event(Event::Arrived {
                request,
                chunk: index,
            }));
            self.check(index, bytes);
        }
        incoming.end(part.size).await
    }

    /// Waits until a chunk is not too far ahead of the unpacker: so much and no more is ever in hand, and the chunk
    /// that the unpacker waits for never waits itself, whatever came before it. The mirror is not to blame for the
    /// time that this takes.
    async fn wait_for(&self, chunk: usize) {
        let mut unpacked = self.shared.unpacked.clone();
        let may_come = |unpacked: &usize| chunk < *unpacked + self.shared.places;
        if may_come(&unpacked.borrow()) {
            return;
        }
        let request = self.request;
        self.report(Report::Event(Event::Held { request }));
        // Where the unpacker has gone, the download is over, and ends this.
        if unpacked.wait_for(may_come).await.is_err() {
            std::future::pending::<()>().await;
        }
        self.report(Report::Event(Event::Resumed { request }));
    }

    /// Checks a chunk on another thread, and hands it on from there.
    fn check(&self, index: usize, bytes: Vec<u8>) {
        let (shared, mirror) = (self.shared.clone(), self.mirror);
        spawn_blocking(move || {
            let report = match shared.check.check(index, bytes) {
                Ok(chunk) => {
                    // Nobody takes it where all have been taken, and this is one that came twice; or where
                    // unpacking has failed, which is reported when that is seen.
                    let _ = shared.chunks.send(Arrived { index, chunk });
                    Report::Event(Event::Checked {
                        mirror,
                        chunk: index,
                    })
                }
                Err(mismatch) => Report::Lied { mirror, mismatch },
            };
            let _ = shared.reports.send(report);
        });
    }
}

/// The body of an answer.
struct Incoming<'a> {
    transfer: &'a Transfer,
    url: &'a Url,
    response: Response,
    /// Received, and not taken yet.
    left: Bytes,
    unreported: u64,
    reported: Instant,
}

/// How long the end of a body without a length is waited for: it decides whether the connection can be used
/// again, and nothing else.
const END_WAIT: Duration = Duration::from_millis(200);

impl Incoming<'_> {
    /// Passes over bytes that nobody asked for.
    async fn skip(&mut self, mut bytes: u64) -> Result<(), FetchError> {
        while bytes > 0 {
            self.receive().await?;
            let passed = self
                .left
                .len()
                .min(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.left.advance(passed);
            bytes -= passed as u64;
        }
        Ok(())
    }

    /// The next `len` bytes.
    async fn take(&mut self, len: usize) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            self.receive().await?;
            let taken = self.left.len().min(len - bytes.len());
            bytes.extend_from_slice(&self.left[..taken]);
            self.left.advance(taken);
        }
        Ok(bytes)
    }

    /// Waits for bytes, where none are left.
    async fn receive(&mut self) -> Result<(), FetchError> {
        while self.left.is_empty() {
            let received = self.response.chunk().await;
            let received = received.map_err(|error| FetchError::from_reqwest(self.url, error))?;
            self.left = received.ok_or_else(|| FetchError::new(self.url, FetchProblem::Cut))?;
            self.unreported += self.left.len() as u64;
            let due = self.unreported >= REPORT_BYTES || self.reported.elapsed() >= REPORT_EVERY;
            if due {
                self.report();
            }
        }
        Ok(())
    }

    fn report(&mut self) {
        if self.unreported == 0 {
            return;
        }
        let (request, bytes) = (self.transfer.request, std::mem::take(&mut self.unreported));
        self.transfer
            .report(Report::Event(Event::Received { request, bytes }));
        self.reported = Instant::now();
    }

    /// Sees whether the body ends where it must.
    async fn end(&mut self, limit: u64) -> Result<(), FetchError> {
        let length = self.response.content_length();
        let more = if !self.left.is_empty() {
            true
        } else if length.is_some() {
            false
        } else {
            let end = timeout(END_WAIT, self.response.chunk()).await;
            matches!(end, Ok(Ok(Some(_))))
        };
        match more {
            true => Err(FetchError::new(self.url, FetchProblem::TooLarge { limit })),
            false => Ok(()),
        }
    }
}
