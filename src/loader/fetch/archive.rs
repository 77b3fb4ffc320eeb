//! Fetches an archive from whichever mirrors still send: the shell round [`super::schedule`].
//!
//! Here are the clock and the words for the console; what to ask whom for is decided there, and each request
//! is a task of its own (`transfer`). Chunks are received up to a window ahead of the one that is being unpacked, so that a
//! mirror that sends faster than the machine unpacks is slowed down by TCP, and memory stays bounded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout_at;
use tracing::{info, warn};

use super::client::Client;
use super::in_order::InOrder;
use super::problem::{FetchError, FetchProblem};
use super::progress::Progress;
use super::report::Report;
use super::schedule::{Command, End, Event, Patience, Plan, RequestId, Schedule, Why};
use super::transfer::{Shared, Transfer};
use crate::jitter;
use sealboot_core::archive::{ChunkCheck, ChunkListMismatch, ChunkMismatch};
use sealboot_core::failure::{Diagnose, FailureCode, Report as Shown};
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::Encoding;

/// Bytes of chunks that are on their way from a mirror to the unpacker, and what its decompressor remembers.
/// Enough to ride out a hiccup of either side, and for a few mirrors to be asked for more than one chunk
/// each; the loader's memory beyond the image is this and its own few megabytes.
const WINDOW_BYTES: u64 = 10 << 20;

/// With fewer chunks than this in the window, receiving, checking and unpacking wait for each other.
const FEWEST_CHUNKS: usize = 3;

/// A rest that is shorter is over before it is read.
const SHORTEST_REST_SAID: Duration = Duration::from_secs(1);

/// Rests are said no more often than so; as the lines of progress.
const REST_SAID_AGAIN: Duration = Duration::from_secs(10);

/// Chunks that are on their way from a mirror to the unpacker.
fn window(chunk_size: u64, encoding: Encoding) -> usize {
    let bytes = WINDOW_BYTES - encoding.window();
    let chunks = usize::try_from(bytes / chunk_size).unwrap_or(usize::MAX);
    chunks.max(FEWEST_CHUNKS)
}

/// Chunks that are in hand at most: those of the window, and the one that is being unpacked.
const fn places(window: usize) -> usize {
    window + 1
}

/// The most bytes that a download holds beside the image: its chunks, and what a decompressor remembers.
#[must_use]
pub fn bytes_in_hand(chunk_size: u64, encoding: Encoding) -> u64 {
    let places = places(window(chunk_size, encoding)) as u64;
    chunk_size
        .saturating_mul(places)
        .saturating_add(encoding.window())
}

/// What a download took.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Bytes received, those of discarded chunks included.
    pub received: u64,
    /// The mirror that sent the most.
    pub mirror: MirrorUrl,
    /// How many mirrors sent anything.
    pub mirrors: usize,
    /// What went wrong on the way, each fault of a mirror once.
    pub faults: Vec<(MirrorUrl, FailureCode)>,
}

/// The archive could not be had from any mirror.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The mirrors failed one after the other; this is how the last one did.
    #[error("no mirror gave the whole archive: {checked} of {chunks} chunks arrived")]
    Mirrors {
        /// Chunks that passed.
        checked: usize,
        /// Chunks in all.
        chunks: usize,
        /// How the last attempt failed.
        #[source]
        last: Box<FetchError>,
    },
    /// No mirror is left to ask, and the last one has lied.
    #[error(
        "no mirror gave the whole archive: {checked} of {chunks} chunks arrived, and then {mirror} sent one that was not signed"
    )]
    Lies {
        /// Chunks that passed.
        checked: usize,
        /// Chunks in all.
        chunks: usize,
        /// The mirror.
        mirror: MirrorUrl,
        /// The chunk.
        #[source]
        chunk: Box<ChunkMismatch>,
    },
    /// No mirror gave the chunk list; this is how the last one failed.
    #[error("no mirror gave the chunk list of the archive")]
    List(#[source] Box<FetchError>),
    /// The last mirror gave another chunk list than was signed.
    #[error("{mirror} gave a chunk list that was not signed")]
    WrongList {
        /// The mirror.
        mirror: MirrorUrl,
        /// The list.
        #[source]
        source: Box<ChunkListMismatch>,
    },
    /// Nobody takes the chunks any more: unpacking has failed, and says why.
    #[error("unpacking stopped")]
    Unwanted,
}

impl Diagnose for ArchiveError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Mirrors { last, .. } | Self::List(last) => last.code(),
            Self::Lies { chunk, .. } => chunk.code(),
            Self::WrongList { source, .. } => source.code(),
            Self::Unwanted => FailureCode::ImageArchive,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Mirrors { last, .. } | Self::List(last) => last.hint(),
            Self::Lies { .. } | Self::WrongList { .. } | Self::Unwanted => {
                self.code().remedy().to_owned()
            }
        }
    }
}

/// A mirror, and what was seen of it.
#[derive(Debug)]
struct Source {
    url: MirrorUrl,
    request: Option<(RequestId, AbortHandle)>,
    received: u64,
}

/// What went wrong last.
#[derive(Debug)]
enum Last {
    Failed(Box<FetchError>),
    Lied,
}

/// A download.
#[derive(Debug)]
pub struct Download {
    shared: Arc<Shared>,
    reports: UnboundedReceiver<Report>,
    sources: Vec<Source>,
    schedule: Schedule,
    requests: JoinSet<()>,
    progress: Progress,
    received: u64,
    /// Faults that were said: each of a mirror's once.
    said: BTreeSet<(usize, FailureCode)>,
    /// When the next rest may be said.
    said_rest: Option<Instant>,
    last: Option<Last>,
    lies: Vec<(usize, ChunkMismatch)>,
}

impl Download {
    /// A download from `mirrors`, at least one and the preferred ones first, of the archive whose chunks `check` lets
    /// through, and the chunks that will come of it.
    ///
    /// The chunks have to be taken by another thread while [`Download::run`] runs.
    #[must_use]
    pub fn new(
        client: &Client,
        mirrors: &[&MirrorUrl],
        check: ChunkCheck,
        patience: Patience,
    ) -> (Self, InOrder) {
        let archive = check.archive().clone();
        let plan = Plan {
            chunks: check.count(),
            chunk_size: archive.chunk_size,
            window: window(archive.chunk_size, archive.encoding),
        };
        let now = Instant::now();
        let (chunks, arriving) = channel();
        let (reporting, reports) = unbounded_channel();
        let (unpacking, unpacked) = watch::channel(0);
        let in_order = InOrder::new(plan.chunks, arriving, unpacking, reporting.clone());
        let sources = mirrors.iter().map(|url| Source {
            url: (*url).clone(),
            request: None,
            received: 0,
        });
        let download = Self {
            shared: Arc::new(Shared {
                client: client.clone(),
                check,
                chunks,
                places: places(plan.window),
                unpacked,
                reports: reporting,
            }),
            reports,
            sources: sources.collect(),
            schedule: Schedule::new(plan, mirrors.len(), patience, jitter::seed(), now),
            requests: JoinSet::new(),
            progress: Progress::new(archive.size, now),
            received: 0,
            said: BTreeSet::new(),
            said_rest: None,
            last: None,
            lies: Vec::new(),
        };
        (download, in_order)
    }

    /// Fetches the archive, and gives the mirrors that have lied with what came of it.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`], after every mirror was given its chances.
    pub async fn run(mut self) -> (Vec<MirrorUrl>, Result<Fetched, ArchiveError>) {
        let result = self.fetch().await;
        let liars = self
            .lies
            .iter()
            .map(|(mirror, _)| self.sources[*mirror].url.clone());
        (liars.collect(), result)
    }

    async fn fetch(&mut self) -> Result<Fetched, ArchiveError> {
        self.handle(Event::Tick);
        loop {
            if let Some(end) = self.schedule.end() {
                return self.ended(end);
            }
            self.say_progress();
            let now = Instant::now();
            let wake = self.schedule.wake_at(now).min(self.progress.next());
            // The download holds a sender itself, so the channel does not end.
            match timeout_at(wake.into(), self.reports.recv()).await {
                Ok(Some(report)) => self.take_in(report)?,
                Ok(None) | Err(_) => self.handle(Event::Tick),
            }
        }
    }

    fn take_in(&mut self, report: Report) -> Result<(), ArchiveError> {
        // Whatever came: a mirror that sends for ever and never a chunk is the schedule's to give up.
        self.shared.client.heartbeat().beat();
        match report {
            Report::Event(event) => {
                if let Event::Received { request, bytes } = event {
                    self.received += bytes;
                    if let Some(mirror) = self.mirror_of(request) {
                        self.sources[mirror].received += bytes;
                    }
                }
                self.handle(event);
            }
            Report::Failed { request, error } => {
                if let Some(mirror) = self.mirror_of(request) {
                    let fault = error.fault();
                    self.say_fault(mirror, &error);
                    self.last = Some(Last::Failed(Box::new(error)));
                    self.handle(Event::Failed { request, fault });
                }
            }
            Report::Lied { mirror, mismatch } => {
                let (url, chunk) = (&self.sources[mirror].url, mismatch.index);
                if self.said.insert((mirror, mismatch.code())) {
                    warn!(
                        "{}: {url} is not asked again in this boot: {mismatch}",
                        mismatch.code()
                    );
                }
                self.lies.push((mirror, mismatch));
                self.last = Some(Last::Lied);
                self.handle(Event::Lied { mirror, chunk });
            }
            Report::Unwanted => return Err(ArchiveError::Unwanted),
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        for command in self.schedule.handle(event, Instant::now()) {
            match command {
                Command::Ask {
                    request,
                    mirror,
                    chunks,
                    ranges,
                } => {
                    let source = &self.sources[mirror];
                    let transfer = Transfer {
                        shared: self.shared.clone(),
                        mirror,
                        request,
                        url: source.url.clone(),
                        chunks,
                        ranges,
                    };
                    let task = self.requests.spawn(transfer.run());
                    self.sources[mirror].request = Some((request, task));
                }
                Command::Leave { mirror, why, .. } => self.leave(mirror, why),
            }
        }
        // Tasks that have ended are forgotten; what they had to say they have reported.
        while self.requests.try_join_next().is_some() {}
    }

    fn leave(&mut self, mirror: usize, why: Why) {
        if let Some((_, task)) = self.sources[mirror].request.take() {
            task.abort();
        }
        let problem = match why {
            Why::Silent(time) => FetchProblem::Stalled {
                seconds: time.as_secs(),
            },
            Why::Slow => FetchProblem::Slow,
            // Said when it was found out; and nobody's fault.
            Why::Lied | Why::Early => return,
        };
        let url = self.sources[mirror]
            .url
            .file(&self.shared.check.archive().blob_path());
        let error = FetchError::new(&url, problem);
        self.say_fault(mirror, &error);
        self.last = Some(Last::Failed(Box::new(error)));
    }

    fn mirror_of(&self, request: RequestId) -> Option<usize> {
        let is = |source: &Source| {
            source
                .request
                .as_ref()
                .is_some_and(|(id, _)| *id == request)
        };
        self.sources.iter().position(is)
    }

    /// Says each fault of a mirror once: what comes back every few seconds would hide the others.
    fn say_fault(&mut self, mirror: usize, error: &FetchError) {
        if self.said.insert((mirror, error.code())) {
            warn!("{}: {:#}", error.code(), Shown(error));
        } else {
            tracing::debug!("{}: {:#}", error.code(), Shown(error));
        }
    }

    fn say_progress(&mut self) {
        let now = Instant::now();
        if let Some(until) = self.schedule.rests_until() {
            self.shared.client.heartbeat().expect_quiet_until(until);
        }
        let worth = |until: &Instant| *until >= now + SHORTEST_REST_SAID;
        let rest = self.schedule.rests_until().filter(worth);
        if let Some(until) = rest.filter(|_| self.said_rest.is_none_or(|said| said <= now)) {
            // Mirrors that fail again and again would bury their faults, each of which is said once.
            self.said_rest = Some(until.max(now + REST_SAID_AGAIN));
            let seconds = (until - now).as_secs_f64();
            info!("asking the mirrors again in {seconds:.1} s");
        }
        if now < self.progress.next() {
            return;
        }
        let archive = self.shared.check.archive();
        let checked = archive.chunk_size * self.schedule.checked() as u64;
        let busy = self
            .schedule
            .busy()
            .map(|mirror| self.sources[mirror].url.to_string());
        let busy: Vec<String> = busy.collect();
        let checked = checked.min(archive.size);
        if let Some(line) = self.progress.line(checked, self.received, &busy, now) {
            info!("{line}");
        }
    }

    fn ended(&mut self, end: End) -> Result<Fetched, ArchiveError> {
        if end == End::Whole {
            let most = self.sources.iter().max_by_key(|source| source.received);
            let most = most.unwrap_or_else(|| unreachable!("the chunks came from somewhere"));
            return Ok(Fetched {
                received: self.received,
                mirror: most.url.clone(),
                mirrors: self
                    .sources
                    .iter()
                    .filter(|source| source.received > 0)
                    .count(),
                faults: (self.said.iter())
                    .map(|(mirror, code)| (self.sources[*mirror].url.clone(), *code))
                    .collect(),
            });
        }
        let archive = self.shared.check.archive();
        let (checked, chunks) = (self.schedule.checked(), self.shared.check.count());
        match self.last.take() {
            Some(Last::Lied) if !self.schedule.has_mirrors() => {
                let Some((mirror, mismatch)) = self.lies.last() else {
                    unreachable!("a lie is kept with its mirror");
                };
                Err(ArchiveError::Lies {
                    checked,
                    chunks,
                    mirror: self.sources[*mirror].url.clone(),
                    chunk: Box::new(mismatch.clone()),
                })
            }
            Some(Last::Failed(last)) => Err(ArchiveError::Mirrors {
                checked,
                chunks,
                last,
            }),
            // Nothing failed, and yet no chunk came for as long as we wait.
            Some(Last::Lied) | None => {
                let lied = |index: &usize| self.lies.iter().any(|(liar, _)| liar == index);
                let slow = (0..self.sources.len()).find(|index| !lied(index));
                let url = &self.sources[slow.unwrap_or_default()].url;
                let slow = FetchError::new(&url.file(&archive.blob_path()), FetchProblem::Slow);
                Err(ArchiveError::Mirrors {
                    checked,
                    chunks,
                    last: Box::new(slow),
                })
            }
        }
    }
}
