//! The provisioning server: a store over HTTPS, and nothing else.
//!
//! It is trusted for nothing but bytes, and made so that there is little to trust: GET and HEAD of the
//! three kinds of path that a store has, TLS 1.3 alone, no log of who asked for what. What it promises:
//!
//! - no file outside the store is ever read (`store`: the URL's own grammar, then openat2(2));
//! - memory stays flat: a connection holds one window of a file, and connections are counted;
//! - nobody can hold a connection without using it: handshake, header and progress have deadlines;
//! - a stop lets transfers finish.
//!
//! | module | holds |
//! |---|---|
//! | `store` | which URL paths exist, and opening them beneath the store |
//! | [`range`] | the `Range` header; pure |
//! | `answer` | request to response |
//! | `body` | streaming a part of a file |
//! | `connection` | how many at once, and the deadline on progress |
//! | `tls` | certificate and key |
//! | `access_log` | off by default |
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails where it should"
    )
)]

mod access_log;
mod answer;
mod body;
mod connection;
pub mod range;
mod store;
mod tls;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use nix::errno::Errno;
use nix::sys::socket::{Backlog, listen};

pub use access_log::AccessLog;
pub use tls::{Identity, IdentityError};

use answer::Service;
use connection::{Gate, Peer};
use store::Store;

/// What to serve, where, and as whom.
#[derive(Debug, Clone)]
pub struct Config {
    /// The store's directory.
    pub store: PathBuf,
    /// Address and port; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Certificate chain and key.
    pub identity: Identity,
    /// Whether requests are recorded.
    pub access_log: AccessLog,
    /// Deadlines and counts.
    pub bounds: Bounds,
}

/// What a client may take of the server. Each field says what it stops.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the connection to the end of the TLS handshake. Stops clients that connect and say nothing.
    pub handshake: Duration,
    /// To receive one request's header, waiting for it on an open connection included. Stops headers
    /// that arrive a byte at a time, and connections that are kept and not used.
    pub header: Duration,
    /// Without one byte acknowledged while there are bytes to send. Stops clients that ask and do not
    /// read. A client that reads, at whatever rate, is served to the end.
    pub stall: Duration,
    /// For transfers to finish once the server is told to stop.
    pub grace: Duration,
    /// Connections at once; more wait in the kernel's backlog.
    pub connections: usize,
    /// Bytes of a request's header, and of an answer that is buffered before TLS.
    pub header_bytes: usize,
}

impl Bounds {
    /// The bounds of `sealboot serve`.
    pub const DEFAULT: Self = Self {
        // Three round trips of a bad satellite link, and a lost packet.
        handshake: Duration::from_secs(10),
        // A loader sends its next request at once; a person's curl sends one.
        header: Duration::from_secs(15),
        // A receiver whose buffer is full acknowledges again once a sixteenth of it is free: of 6 MiB,
        // which is tcp_rmem's usual limit, that takes 40 s at 10 kB/s.
        stall: Duration::from_secs(60),
        // Below the 90 s after which systemd kills.
        grace: Duration::from_secs(30),
        // Two descriptors each (socket, file) fit into the usual limit of 1,024. The sum of a window
        // (128 KiB), what rustls buffers (64 KiB) and two header buffers is 110 MB for all of them.
        connections: 480,
        // The longest request that a loader sends has less than 1 KiB; 16 KiB is what web servers allow.
        header_bytes: 16 << 10,
    };
}

impl Config {
    /// No access log, default bounds.
    #[must_use]
    pub fn new(store: impl Into<PathBuf>, listen: SocketAddr, identity: Identity) -> Self {
        Self {
            store: store.into(),
            listen,
            identity,
            access_log: AccessLog::Off,
            bounds: Bounds::DEFAULT,
        }
    }
}

/// The server could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store cannot be opened as a directory.
    #[error("cannot open the store {}", path.display())]
    Store {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel, or a sandbox, does not let paths be resolved beneath a directory.
    #[error("this system does not have openat2(2), which keeps requests inside the store")]
    NoOpenat2(#[source] io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The listener failed while serving.
    #[error("the server stopped")]
    Run(#[source] io::Error),
}

impl ServeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Store { path, source } => match source.kind() {
                io::ErrorKind::NotFound => format!(
                    "check the path, or make the store: sealboot image pack --store {} …",
                    path.display()
                ),
                io::ErrorKind::NotADirectory => {
                    "give the directory that holds images/ and blobs/".to_owned()
                }
                _ => "give this user read and search permission on the directory".to_owned(),
            },
            Self::NoOpenat2(_) => {
                "use Linux 5.6 or newer, and a container runtime whose seccomp profile allows openat2"
                    .to_owned()
            }
            Self::Listen { address, source } => match source.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "choose another port, or stop what listens there: ss -ltnp 'sport = :{}'",
                    address.port()
                ),
                io::ErrorKind::PermissionDenied => {
                    "use a port of 1024 or above, or give the process CAP_NET_BIND_SERVICE".to_owned()
                }
                io::ErrorKind::AddrNotAvailable => {
                    "give an address that this machine has: ip address; 0.0.0.0 is all of IPv4"
                        .to_owned()
                }
                _ => "give an address that this machine has, and a free port".to_owned(),
            },
            Self::Run(_) => "start it again".to_owned(),
        }
    }
}

/// A server that listens and does not answer yet: connections wait until [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    service: Service,
    tls: RustlsConfig,
    bounds: Bounds,
}

/// Gives a running server another certificate.
#[derive(Debug, Clone)]
pub struct Reloader(RustlsConfig);

impl Reloader {
    /// New connections get `identity`; those that are open go on.
    pub fn replace(&self, identity: Identity) {
        self.0.reload_from_config(identity.into_config());
    }
}

/// Connections that the kernel keeps while all places are taken: a rack or two that powers on at
/// once. The kernel cuts it to net.core.somaxconn, 4096 by default.
const BACKLOG: i32 = 1024;

impl Server {
    /// Opens the store and binds the address.
    ///
    /// # Errors
    ///
    /// Every variant of [`ServeError`] but [`ServeError::Run`].
    pub fn bind(config: Config) -> Result<Self, ServeError> {
        let Config {
            store,
            listen: address,
            identity,
            access_log,
            bounds,
        } = config;
        let store = Store::open_directory(&store).map_err(|source| {
            match source.raw_os_error().map(Errno::from_raw) {
                // Old seccomp profiles answer EPERM to system calls that they do not know.
                Some(Errno::ENOSYS | Errno::EPERM) => ServeError::NoOpenat2(source),
                _ => ServeError::Store {
                    path: store,
                    source,
                },
            }
        })?;
        let (listener, address) =
            bind(address).map_err(|source| ServeError::Listen { address, source })?;
        Ok(Self {
            listener,
            address,
            service: Service { store, access_log },
            tls: RustlsConfig::from_config(identity.into_config()),
            bounds,
        })
    }

    /// The address that is listened on, with its real port.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle that replaces the certificate while the server runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader(self.tls.clone())
    }

    /// Serves until `shutdown` is ready, then accepts no more, lets transfers go on for at most
    /// [`Bounds::grace`], and returns. Dropped before, it cuts all connections.
    ///
    /// Runs in a tokio runtime with time and I/O.
    ///
    /// # Errors
    ///
    /// [`ServeError::Run`] where the runtime cannot watch the listener.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self {
            listener,
            service,
            tls,
            bounds,
            ..
        } = self;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Run)?;
        let gate = Gate::new(listener, bounds.connections, bounds.stall);
        let handle = Handle::new();
        let _cut = CutOnDrop(handle.clone());
        let mut server = axum_server::Server::<Peer>::from_listener(gate)
            .acceptor(RustlsAcceptor::new(tls).handshake_timeout(bounds.handshake))
            .http1_only()
            .handle(handle.clone());
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.header)
            .max_buf_size(bounds.header_bytes);
        let app = Router::new()
            .fallback(answer::answer)
            .with_state(Arc::new(service))
            .into_make_service_with_connect_info::<Peer>();

        let mut serving = pin!(server.serve(app));
        tokio::select! {
            stopped = &mut serving => return stopped.map_err(ServeError::Run),
            () = shutdown => handle.graceful_shutdown(Some(bounds.grace)),
        }
        serving.await.map_err(ServeError::Run)
    }
}

/// Connections run as tasks of their own: they would outlive a `run` that is dropped.
#[derive(Debug)]
struct CutOnDrop(Handle<Peer>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    // std chose a backlog of 128; listening again only changes it (listen(2)).
    listen(&listener, Backlog::new(BACKLOG)?)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
