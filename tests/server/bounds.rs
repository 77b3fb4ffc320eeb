//! What a client may take of the server: deadlines and counts, in-process because they are shorter
//! here than in the binary.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBuf;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sealboot_mirror::{Bounds, Config, Identity, ServeError, Server};
use tokio::sync::oneshot;

use support::noise::noise;
use support::patience::PATIENCE;
use support::server::{BLOB, Lab};

/// A server in this process; stopped when dropped.
pub(crate) struct InProcess {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

type Client = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn config(lab: &Lab) -> Config {
    let read = |file| std::fs::read(lab.path(file)).unwrap();
    let identity = Identity::from_pem(&read("tls/server.pem"), &read("tls/server.key")).unwrap();
    Config::new(lab.store(), "127.0.0.1:0".parse().unwrap(), identity)
}

impl InProcess {
    pub(crate) fn start(lab: &Lab, change: impl FnOnce(&mut Bounds)) -> Self {
        let mut config = config(lab);
        change(&mut config.bounds);
        let server = Server::bind(config).unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            tokio::runtime::Runtime::new()
                .unwrap()
                .block_on(server.run(async {
                    let _ = stopped.await;
                }))
        });
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Tells it to stop, and waits until it has.
    fn stop(mut self) -> Result<(), ServeError> {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap()
    }

    fn connect(&self, lab: &Lab) -> Client {
        let mut client = self.begin(lab);
        client.conn.complete_io(&mut client.sock).unwrap();
        client
    }

    /// Connects without a handshake yet.
    fn begin(&self, lab: &Lab) -> Client {
        let tcp = TcpStream::connect(self.address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let groups = aws_lc_rs::default_provider().kx_groups;
        StreamOwned::new(client(lab, groups), tcp)
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn client(lab: &Lab, kx_groups: Vec<&'static dyn SupportedKxGroup>) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(lab.path("tls/ca.pem")).unwrap())
        .unwrap();
    let provider = CryptoProvider {
        kx_groups,
        ..aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().unwrap()).unwrap()
}

fn ask(client: &mut Client, path: &str) {
    write!(client, "GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    client.flush().unwrap();
}

/// Reads the header of an answer, and returns it with what came of the body.
fn read_header(client: &mut Client) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return (String::from_utf8(bytes).unwrap(), body);
        }
        let mut some = [0; 1024];
        let read = client.read(&mut some).unwrap();
        assert_ne!(read, 0, "the connection ended in the header");
        bytes.extend_from_slice(&some[..read]);
    }
}

/// Whether the connection ends, with or without a proper goodbye, before the test's patience does.
fn ends(client: &mut impl std::io::Read) -> bool {
    let mut some = [0; 1 << 16];
    loop {
        match client.read(&mut some) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}

const STALL: Duration = Duration::from_secs(1);

#[test]
fn a_client_that_stops_reading_is_dropped_after_the_deadline() {
    let lab = Lab::new();
    let blob = noise(64 << 20, 1);
    lab.put(BLOB, &blob);
    lab.put("images/relay.json", b"{}");
    let server = InProcess::start(&lab, |bounds| {
        bounds.stall = STALL;
        bounds.connections = 1;
    });
    let mut stalled = server.connect(&lab);
    ask(&mut stalled, BLOB);
    let (header, mut got) = read_header(&mut stalled);
    assert!(header.starts_with("HTTP/1.1 200 OK\r\n"), "{header}");

    // There is one place: the next is served when the first is dropped, and no sooner.
    let start = Instant::now();
    let mut next = server.connect(&lab);
    ask(&mut next, "images/relay.json");
    assert!(read_header(&mut next).0.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(start.elapsed() >= STALL, "{:?}", start.elapsed());

    // What was in flight arrives, and then the connection ends before the blob does.
    let mut some = vec![0; 1 << 16];
    while let Ok(read @ 1..) = stalled.read(&mut some) {
        got.extend_from_slice(&some[..read]);
    }
    assert!(got.len() < blob.len() && blob.starts_with(&got));
}

#[test]
fn a_client_that_reads_slowly_is_served_past_the_deadline() {
    let lab = Lab::new();
    let blob = noise(4 << 20, 1);
    lab.put(BLOB, &blob);
    let server = InProcess::start(&lab, |bounds| bounds.stall = STALL);
    let mut slow = server.connect(&lab);
    // A small window: what is in flight waits at the server, whose queue then takes far longer than the
    // deadline until it has a third free and is writable again. Only its shrinking shows progress.
    setsockopt(&slow.sock, RcvBuf, &(64 << 10)).unwrap();
    ask(&mut slow, BLOB);
    let start = Instant::now();
    let (_, mut got) = read_header(&mut slow);
    let mut some = vec![0; 8 << 10];
    while got.len() < blob.len() {
        let read = slow.read(&mut some).unwrap();
        assert_ne!(read, 0, "cut after {} bytes", got.len());
        got.extend_from_slice(&some[..read]);
        // The pace of a bad line.
        std::thread::sleep(Duration::from_millis(12));
    }
    assert!(got == blob);
    assert!(start.elapsed() > 3 * STALL, "{:?}", start.elapsed());
}

#[test]
fn more_connections_than_there_are_places_for_wait_and_are_served() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = InProcess::start(&lab, |bounds| bounds.connections = 2);
    let first = server.connect(&lab);
    let _second = server.connect(&lab);
    let mut third = server.begin(&lab);
    let brief = Some(Duration::from_millis(300));
    third.sock.set_read_timeout(brief).unwrap();
    let waiting = third.conn.complete_io(&mut third.sock).unwrap_err();
    assert!(
        matches!(waiting.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{waiting}"
    );
    drop(first);
    third.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(&mut third, "images/relay.json");
    assert!(read_header(&mut third).0.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_connection_without_a_handshake_is_dropped() {
    let lab = Lab::new();
    let server = InProcess::start(&lab, |bounds| {
        bounds.handshake = Duration::from_millis(300);
    });
    let start = Instant::now();
    let mut silent = TcpStream::connect(server.address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(ends(&mut silent));
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_header_that_arrives_a_byte_at_a_time_is_not_waited_for() {
    let lab = Lab::new();
    let header = Duration::from_millis(500);
    let server = InProcess::start(&lab, |bounds| bounds.header = header);
    let mut client = server.connect(&lab);
    let start = Instant::now();
    let request = "GET /images/relay.json HTTP/1.1\r\nX: ".bytes();
    let dripped = request.chain(std::iter::repeat(b'x')).take_while(|byte| {
        std::thread::sleep(Duration::from_millis(20));
        client.write_all(&[*byte]).is_ok() && start.elapsed() < PATIENCE
    });
    let sent = dripped.count();
    assert!(start.elapsed() >= header && start.elapsed() < PATIENCE);
    assert!(sent > 5, "{sent}");
}

#[test]
fn a_connection_that_is_kept_and_not_used_is_closed() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = InProcess::start(&lab, |bounds| bounds.header = Duration::from_millis(500));
    let mut client = server.connect(&lab);
    for _ in 0..2 {
        ask(&mut client, "images/relay.json");
        let (header, mut body) = read_header(&mut client);
        assert!(header.starts_with("HTTP/1.1 200 OK\r\n"), "{header}");
        let mut rest = vec![0; 2 - body.len()];
        client.read_exact(&mut rest).unwrap();
        body.append(&mut rest);
        assert_eq!(body, b"{}");
    }
    assert!(ends(&mut client));
}

#[test]
fn a_transfer_longer_than_the_grace_is_cut() {
    let lab = Lab::new();
    lab.put(BLOB, &noise(64 << 20, 1));
    let server = InProcess::start(&lab, |bounds| bounds.grace = Duration::from_millis(500));
    let mut client = server.connect(&lab);
    ask(&mut client, BLOB);
    read_header(&mut client);
    let start = Instant::now();
    server.stop().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert!(start.elapsed() < PATIENCE);
    assert!(ends(&mut client));
}

#[test]
fn a_server_that_is_dropped_cuts_its_connections() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = Server::bind(config(&lab)).unwrap();
    let address = server.local_addr();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let task = runtime.spawn(server.run(std::future::pending()));
    let in_process = InProcess {
        address,
        stop: None,
        thread: None,
    };
    let mut client = in_process.connect(&lab);
    ask(&mut client, "images/relay.json");
    read_header(&mut client);
    task.abort();
    assert!(ends(&mut client));
    // The runtime lives on; the listener does not.
    let start = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(start.elapsed() < PATIENCE);
    }
}
