//! Connections: how many at once, and when one is given up.
//!
//! A client that stops reading would hold its connection, and the place of another machine, for as
//! long as it likes. A deadline on the whole answer would instead cut off the slow ones: 160 MB take
//! an hour at 45 kB/s. So the deadline is on progress, and progress is what the peer's kernel has
//! acknowledged.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum_server::{AddrListener, Address};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use sealboot_sys::socket::unacknowledged;

/// The address of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// A listener that takes a connection from the kernel's backlog only when there is room for it.
#[derive(Debug)]
pub(super) struct Gate {
    listener: TcpListener,
    room: Arc<Semaphore>,
    stall: Duration,
}

/// An accepted connection, below TLS.
#[derive(Debug)]
pub(super) struct Connection {
    tcp: TcpStream,
    stall: Duration,
    /// The state of a write that the socket did not take.
    blocked: Option<Blocked>,
    /// Makes room for another when it is dropped.
    _room: OwnedSemaphorePermit,
}

/// A write that waits for the peer.
#[derive(Debug)]
struct Blocked {
    progress: Progress,
    next_look: Pin<Box<Sleep>>,
}

/// Whether the peer has read anything lately. Pure: fed with what is queued, and when.
#[derive(Debug)]
struct Progress {
    since: Instant,
    queued: u32,
}

/// How many looks at the queue fall into one deadline: a stall is noticed at most a quarter late.
const LOOKS: u32 = 4;

impl Gate {
    pub(super) fn new(listener: TcpListener, connections: usize, stall: Duration) -> Self {
        Self {
            listener,
            room: Arc::new(Semaphore::new(connections)),
            stall,
        }
    }
}

impl AddrListener<Connection, Peer> for Gate {
    async fn bind_to(_: Peer) -> io::Result<Self> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a gate is made of a bound listener",
        ))
    }

    async fn accept_stream(&self) -> io::Result<(Connection, Peer)> {
        let room = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (tcp, address) = self.listener.accept().await?;
        // The end of an answer is small and nothing follows it: Nagle would hold it back.
        tcp.set_nodelay(true)?;
        let connection = Connection {
            tcp,
            stall: self.stall,
            blocked: None,
            _room: room,
        };
        Ok((connection, Peer(address)))
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        self.listener.local_addr().map(Peer)
    }
}

impl Address for Peer {
    type Stream = Connection;
    type Listener = Gate;
}

impl Connected<Self> for Peer {
    fn connect_info(peer: Self) -> Self {
        peer
    }
}

impl Progress {
    /// Takes a look at the queue; returns how long it has not shrunk.
    fn look(&mut self, now: Instant, queued: u32) -> Duration {
        if queued < self.queued {
            self.queued = queued;
            self.since = now;
        }
        now.duration_since(self.since)
    }
}

impl Connection {
    /// Turns a write that the socket did not take into an error once the peer has stalled for too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked = None;
            return written;
        }
        let interval = self.stall / LOOKS;
        let tcp = &self.tcp;
        // A socket that does not say what it holds has made no progress.
        let queued = || unacknowledged(tcp).unwrap_or(u32::MAX);
        let blocked = self.blocked.get_or_insert_with(|| {
            let now = Instant::now();
            Blocked {
                progress: Progress {
                    since: now,
                    queued: queued(),
                },
                next_look: Box::pin(sleep_until(now + interval)),
            }
        });
        while blocked.next_look.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if blocked.progress.look(now, queued()) >= self.stall {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client has stopped reading",
                )));
            }
            blocked.next_look.as_mut().reset(now + interval);
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_shrinks_is_progress_and_one_that_stands_is_none() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress {
            since: start,
            queued: 1000,
        };
        assert_eq!(progress.look(at(1), 1000), Duration::from_secs(1));
        assert_eq!(progress.look(at(2), 999), Duration::ZERO);
        assert_eq!(progress.look(at(5), 999), Duration::from_secs(3));
        assert_eq!(progress.look(at(6), u32::MAX), Duration::from_secs(4));
        assert_eq!(progress.look(at(7), 0), Duration::ZERO);
    }
}
