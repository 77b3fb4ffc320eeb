//! Streams an archive from whichever mirror still sends.
//!
//! One mirror is read at a time. When it fails, the next one goes on at the chunk that was reached:
//! chunks that passed stay. A mirror that sends a chunk with a wrong hash is not asked again in this
//! attempt; one that is gone or slow may be back later and is. Between rounds through all mirrors the
//! wait doubles. Once every mirror is wrong rather than away, or after [`Patience`]`::rounds` rounds
//! without a single new chunk, the stage gives up, and the failure policy decides about the machine.

use std::time::Duration;

use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode, Url};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::chunk::{ChunkCheck, ChunkMismatch, VerifiedChunk};
use super::client::{Client, FetchError, FetchProblem, expect_status};
use crate::failure::{Diagnose, FailureCode, Report};
use crate::format::host_config::MirrorUrl;
use crate::format::manifest::Manifest;
use crate::jitter;
use crate::trust::Verified;

/// How long mirrors are asked again when nothing comes from any of them.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Rounds through all mirrors without a new chunk before giving up.
    pub rounds: u32,
    /// The wait after the first round that brought nothing; it doubles with each.
    pub first_wait: Duration,
    /// The longest wait between rounds.
    pub longest_wait: Duration,
    /// How long a mirror's speed is looked at before it is judged.
    pub slow_after: Duration,
    /// What a mirror must send within that time where another could be asked, in bytes.
    pub slow_bytes: u64,
}

impl Default for Patience {
    /// About a minute of rounds, which a restarting server or a failing-over router needs. Speed is judged
    /// over longer than TCP takes to get over a loss, and found slow below 128 kbit/s, at which a small
    /// image takes a quarter of an hour.
    fn default() -> Self {
        Self {
            rounds: 7,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(16),
            slow_after: Duration::from_secs(30),
            slow_bytes: 480 << 10,
        }
    }
}

/// How often progress is said: a serial line at 9600 baud must not be what a boot waits for.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What a download took.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Bytes received, those of discarded chunks included.
    pub received: u64,
    /// The mirror that sent the last chunk.
    pub mirror: MirrorUrl,
}

/// The archive could not be had from any mirror.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The mirrors failed one after the other; this is how the last one did.
    #[error("no mirror gave the whole archive: {verified} of {chunks} chunks arrived")]
    Mirrors {
        /// Chunks that passed.
        verified: usize,
        /// Chunks in all.
        chunks: usize,
        /// How the last attempt failed.
        #[source]
        last: Box<FetchError>,
    },
    /// Every mirror sent a wrong chunk; this is the last one's.
    #[error("every mirror sent data that was not signed, the last one {mirror}")]
    Lies {
        /// The mirror.
        mirror: MirrorUrl,
        /// The chunk.
        #[source]
        chunk: Box<ChunkMismatch>,
    },
    /// Nobody takes the chunks any more: unpacking has failed, and says why.
    #[error("unpacking stopped")]
    Unwanted,
}

impl Diagnose for ArchiveError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Mirrors { last, .. } => last.code(),
            Self::Lies { chunk, .. } => chunk.code(),
            Self::Unwanted => FailureCode::ImageArchive,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Mirrors { last, .. } => last.hint(),
            Self::Lies { .. } | Self::Unwanted => self.code().remedy().to_owned(),
        }
    }
}

/// How one attempt with one mirror ended before the archive did.
enum Fault {
    Fetch(FetchError),
    Lie(ChunkMismatch),
    Unwanted,
}

/// A download in progress.
struct Download<'a> {
    client: &'a Client,
    manifest: &'a Verified<Manifest>,
    check: ChunkCheck<'a>,
    chunks: mpsc::Sender<VerifiedChunk>,
    /// The first chunk that has not passed yet.
    next: usize,
    received: u64,
    progress_at: Instant,
    patience: Patience,
    /// Mirrors that were left because they were slow. Each is left once: slow is better than nothing.
    slow: Vec<&'a MirrorUrl>,
}

/// Fetches the archive and sends its chunks, checked and in order, into `chunks`.
///
/// `mirrors` are tried in order, beginning with `first`, and again for as long as `patience` has it.
///
/// # Errors
///
/// [`ArchiveError`], after every mirror was given its chances.
pub async fn fetch<'a>(
    client: &'a Client,
    mirrors: &'a [MirrorUrl],
    first: &'a MirrorUrl,
    manifest: &'a Verified<Manifest>,
    patience: Patience,
    chunks: mpsc::Sender<VerifiedChunk>,
) -> Result<Fetched, ArchiveError> {
    let mut download = Download {
        client,
        manifest,
        check: ChunkCheck::new(manifest),
        chunks,
        next: 0,
        received: 0,
        progress_at: Instant::now() + PROGRESS_EVERY,
        patience,
        slow: Vec::new(),
    };
    let others = mirrors.iter().filter(|mirror| *mirror != first);
    let mut usable: Vec<&MirrorUrl> = std::iter::once(first).chain(others).collect();
    let mut wait = patience.first_wait;
    let mut rounds = 0;
    loop {
        let reached = download.next;
        let mut last = None;
        let mut may_recover = false;
        for mirror in usable.clone() {
            let alone = usable.len() == 1;
            match download.read_from(mirror, alone).await {
                Ok(()) => {
                    return Ok(Fetched {
                        received: download.received,
                        mirror: mirror.clone(),
                    });
                }
                Err(Fault::Unwanted) => return Err(ArchiveError::Unwanted),
                Err(Fault::Fetch(error)) => {
                    warn!("{:#}", Report(&error));
                    may_recover |= error.is_transient();
                    last = Some(error);
                }
                Err(Fault::Lie(chunk)) => {
                    warn!("{mirror} is not asked again in this attempt: {chunk}");
                    usable.retain(|other| *other != mirror);
                    if usable.is_empty() {
                        return Err(ArchiveError::Lies {
                            mirror: mirror.clone(),
                            chunk: Box::new(chunk),
                        });
                    }
                }
            }
        }
        if download.next > reached {
            (wait, rounds) = (patience.first_wait, 0);
        }
        rounds += 1;
        if let Some(last) = last.filter(|_| rounds >= patience.rounds || !may_recover) {
            let (verified, chunks) = (download.next, download.check.count());
            return Err(ArchiveError::Mirrors {
                verified,
                chunks,
                last: Box::new(last),
            });
        }
        let jittered = jitter::shortened(wait, jitter::random());
        info!(
            "asking the mirrors again in {:.1} s",
            jittered.as_secs_f64()
        );
        sleep(jittered).await;
        wait = patience.longest_wait.min(wait * 2);
    }
}

/// How much came within the last [`Patience::slow_after`].
struct Pace {
    patience: Patience,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(patience: Patience) -> Self {
        Self {
            patience,
            since: Instant::now(),
            bytes: 0,
        }
    }

    fn is_slow(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        if self.since.elapsed() < self.patience.slow_after {
            return false;
        }
        let slow = self.bytes < self.patience.slow_bytes;
        *self = Self::new(self.patience);
        slow
    }
}

impl<'a> Download<'a> {
    /// Reads from one mirror until the archive is whole or the mirror fails; being slow is a failure too,
    /// unless the mirror is `alone`.
    async fn read_from(&mut self, mirror: &'a MirrorUrl, alone: bool) -> Result<(), Fault> {
        let url = mirror.file(&self.manifest.as_ref().archive.path);
        let start = self.check.start(self.next);
        let mut response = self.client.get(&url, start).await.map_err(Fault::Fetch)?;
        let mut skip = self
            .expect_from(&url, &response, start)
            .map_err(Fault::Fetch)?;
        let mut chunk = Vec::with_capacity(self.check.len(self.next));
        let mut pace = Pace::new(self.patience);
        loop {
            let bytes = response
                .chunk()
                .await
                .map_err(|error| Fault::Fetch(FetchError::from_reqwest(&url, error)))?;
            let Some(bytes) = bytes else {
                return match self.next == self.check.count() {
                    true => Ok(()),
                    false => Err(Fault::Fetch(FetchError::new(&url, FetchProblem::Cut))),
                };
            };
            self.received += bytes.len() as u64;
            if !alone && !self.slow.contains(&mirror) && pace.is_slow(bytes.len() as u64) {
                self.slow.push(mirror);
                return Err(Fault::Fetch(FetchError::new(&url, FetchProblem::Slow)));
            }
            let skipped = usize::try_from(skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
            skip -= skipped as u64;
            let mut bytes = &bytes[skipped..];
            while !bytes.is_empty() {
                if self.next == self.check.count() {
                    let limit = self.manifest.as_ref().archive.size;
                    return Err(Fault::Fetch(FetchError::new(
                        &url,
                        FetchProblem::TooLarge { limit },
                    )));
                }
                let take = bytes.len().min(self.check.len(self.next) - chunk.len());
                chunk.extend_from_slice(&bytes[..take]);
                bytes = &bytes[take..];
                if chunk.len() == self.check.len(self.next) {
                    let following = Vec::with_capacity(self.check.len(self.next + 1));
                    self.pass(std::mem::replace(&mut chunk, following)).await?;
                }
            }
            self.say_progress(mirror);
        }
    }

    /// Sees whether an answer is the archive from `start` on; gives how many of its bytes to skip.
    fn expect_from(&self, url: &Url, response: &Response, start: u64) -> Result<u64, FetchError> {
        let size = self.manifest.as_ref().archive.size;
        // A server that does not know Range sends everything with 200, and may.
        let (skip, expected) = if start > 0 && response.status() == StatusCode::PARTIAL_CONTENT {
            let range = response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|range| range.to_str().ok());
            if range != Some(&format!("bytes {start}-{}/{size}", size - 1)) {
                let problem = format!(
                    "bytes from {start} of {size} were due, Content-Range says \"{}\"",
                    range.unwrap_or_default().escape_default()
                );
                return Err(FetchError::new(url, FetchProblem::Answer(problem)));
            }
            (0, size - start)
        } else {
            expect_status(url, response, StatusCode::OK)?;
            (start, size)
        };
        match response.content_length() {
            Some(length) if length > expected => {
                Err(FetchError::new(url, FetchProblem::TooLarge { limit: size }))
            }
            Some(found) if found < expected => Err(FetchError::new(
                url,
                FetchProblem::Short { found, expected },
            )),
            _ => Ok(skip),
        }
    }

    async fn pass(&mut self, bytes: Vec<u8>) -> Result<(), Fault> {
        let chunk = self.check.check(self.next, bytes).map_err(Fault::Lie)?;
        self.chunks.send(chunk).await.map_err(|_| Fault::Unwanted)?;
        self.next += 1;
        Ok(())
    }

    fn say_progress(&mut self, mirror: &MirrorUrl) {
        if Instant::now() >= self.progress_at {
            let (done, size) = (
                self.check.start(self.next),
                self.manifest.as_ref().archive.size,
            );
            info!(
                "{} of {} MB from {mirror}",
                done / 1_000_000,
                size / 1_000_000
            );
            self.progress_at = Instant::now() + PROGRESS_EVERY;
        }
    }
}
