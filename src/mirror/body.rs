//! What follows the header of an answer: nothing, a sentence, or a part of a file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::access_log::Entry;
use sealboot_store::StorePath;

/// Bytes that are read from a file at once: all of a file that a connection holds in memory. Each read
/// costs a switch to another thread; eight TLS records make that small beside their encryption.
const WINDOW: u64 = 128 << 10;

/// The body of an answer.
#[derive(Debug)]
pub(super) struct AnswerBody {
    content: Content,
    entry: Option<Entry>,
}

/// Where the bytes come from.
#[derive(Debug)]
pub(super) enum Content {
    /// Nowhere.
    Empty,
    /// From memory.
    Text(Bytes),
    /// From a file, a window at a time.
    File(FilePart),
}

/// A part of a file, read as the client takes it.
#[derive(Debug)]
pub(super) struct FilePart {
    path: StorePath,
    /// What is still to be read.
    rest: Range<u64>,
    state: ReadState,
}

#[derive(Debug)]
enum ReadState {
    Idle(File),
    Reading(JoinHandle<(File, io::Result<Vec<u8>>)>),
    Ended,
}

impl AnswerBody {
    /// `entry` is printed when the body is dropped: sent whole, or given up.
    pub(super) const fn new(content: Content, entry: Option<Entry>) -> Self {
        Self { content, entry }
    }
}

impl Content {
    /// Bytes that are still to come.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Text(text) => text.len() as u64,
            Self::File(part) => part.rest.end - part.rest.start,
        }
    }
}

impl FilePart {
    pub(super) const fn new(path: StorePath, file: File, part: Range<u64>) -> Self {
        Self {
            path,
            rest: part,
            state: ReadState::Idle(file),
        }
    }

    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match std::mem::replace(&mut self.state, ReadState::Ended) {
                ReadState::Idle(_) if self.rest.is_empty() => return Poll::Ready(None),
                ReadState::Ended => return Poll::Ready(None),
                ReadState::Idle(file) => {
                    let Range { start, end } = self.rest;
                    self.state = ReadState::Reading(spawn_blocking(move || {
                        let window = read_window(&file, start, WINDOW.min(end - start));
                        (file, window)
                    }));
                }
                ReadState::Reading(mut reading) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(cx) else {
                        self.state = ReadState::Reading(reading);
                        return Poll::Pending;
                    };
                    let window = read.map_err(io::Error::other).and_then(|(file, window)| {
                        let window = window?;
                        self.rest.start += window.len() as u64;
                        self.state = ReadState::Idle(file);
                        Ok(Bytes::from(window))
                    });
                    if let Err(error) = &window {
                        tracing::warn!("cannot go on sending {}: {error}", self.path);
                    }
                    return Poll::Ready(Some(window));
                }
            }
        }
    }
}

/// Reads at least one byte and at most `length`. A file that has become shorter than its header said
/// is an error: the client must see a cut connection, not a short answer that looks whole.
fn read_window(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut window = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let read = loop {
        match file.read_at(&mut window, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if read == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it became shorter while it was being sent",
        ));
    }
    window.truncate(read);
    Ok(window)
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match &mut self.content {
            Content::Empty => None,
            Content::Text(text) => Some(Ok(std::mem::take(text)))
                .filter(|text| text.as_ref().is_ok_and(|text| !text.is_empty())),
            Content::File(part) => ready!(part.poll_window(cx)),
        };
        if let (Some(Ok(bytes)), Some(entry)) = (&next, &mut self.entry) {
            entry.sent += bytes.len() as u64;
        }
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.content.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.content.len())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;

    use super::*;

    fn file(len: u64) -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    fn path() -> StorePath {
        StorePath::Newest("relay".parse().unwrap())
    }

    async fn collect(mut part: FilePart) -> io::Result<(Vec<u8>, u64)> {
        let (mut all, mut largest) = (Vec::new(), 0);
        while let Some(window) = poll_fn(|cx| part.poll_window(cx)).await {
            let window = window?;
            largest = largest.max(window.len() as u64);
            all.extend_from_slice(&window);
        }
        Ok((all, largest))
    }

    #[tokio::test]
    async fn a_part_is_read_in_windows() {
        let len = 2 * WINDOW + 7;
        let (_, bytes) = file(len);
        for part in [0..len, 0..1, 5..WINDOW + 6, len - 1..len, 3..3] {
            let (file, _) = file(len);
            let (read, largest) = collect(FilePart::new(path(), file, part.clone()))
                .await
                .unwrap();
            let at = |at| usize::try_from(at).unwrap();
            assert!(read == bytes[at(part.start)..at(part.end)], "{part:?}");
            assert!(largest <= WINDOW);
        }
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error_and_not_a_short_answer() {
        let (file, _) = file(100);
        let error = collect(FilePart::new(path(), file, 0..101))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
