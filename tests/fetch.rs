//! Fetching over real TLS sockets, from servers that misbehave in one way each.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod lab;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lab::archives::{CHUNK, Files, current, image};
use reqwest::dns::{Name, Resolve, Resolving};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sealboot::boot::image::{ImageError, fetch_and_unpack};
use sealboot::boot::manifest::Accepted;
use sealboot::failure::{Diagnose as _, FailureCode};
use sealboot::fetch::Client;
use sealboot::fetch::archive::{Fetched, Patience};
use sealboot::fetch::client::tls_provider;
use sealboot::format::host_config::MirrorUrl;
use sealboot::format::manifest::{Encoding, Manifest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a server does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The first answer is cut off after this many bytes of the body.
    CutOnce(usize),
    /// Every answer is cut off after this many bytes.
    CutAlways(usize),
    /// Range is not understood, and the first answer is cut off.
    NoRangeAndCutOnce(usize),
    /// The first answer is cut off, later ones start one byte too late.
    WrongRangeAfterCut(usize),
    /// The byte at this offset is flipped.
    Flip(usize),
    /// This many bytes are missing at the end of the file.
    Truncated(usize),
    /// The body goes on after its end, with a length that says so, or without any length.
    Longer,
    LongerWithoutLength,
    /// Another status.
    Status(&'static str),
    /// A redirect to another path.
    Redirect,
    /// Not HTTP.
    Garbage,
    /// The body never ends.
    Endless,
    /// Four kilobytes every twenty milliseconds.
    Drips,
}

/// Which certificate a server has.
#[derive(Clone, Copy, PartialEq)]
enum Certificate {
    Good,
    Expired,
    NotYet,
    OtherHost,
    Tls12,
}

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    roots: RootCertStore,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Self {
            issuer: rcgen::Issuer::new(params, key),
            roots,
        }
    }

    fn acceptor(&self, kind: Certificate) -> TlsAcceptor {
        let key = rcgen::KeyPair::generate().unwrap();
        let host = if kind == Certificate::OtherHost {
            "127.0.0.2"
        } else {
            "127.0.0.1"
        };
        let mut params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
        match kind {
            Certificate::Expired => params.not_after = rcgen::date_time_ymd(2020, 1, 1),
            Certificate::NotYet => params.not_before = rcgen::date_time_ymd(2100, 1, 1),
            _ => {}
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let versions = if kind == Certificate::Tls12 {
            &[&rustls::version::TLS12]
        } else {
            &[&rustls::version::TLS13]
        };
        let config = rustls::ServerConfig::builder_with_provider(tls_provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A running server: its address, and how often it was asked for anything.
struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    sent: Arc<AtomicU64>,
}

impl Server {
    async fn start(
        authority: &Authority,
        certificate: Certificate,
        fault: Fault,
        body: Vec<u8>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let acceptor = authority.acceptor(certificate);
        let body = Arc::new(body);
        let (counted, counted_bytes) = (requests.clone(), sent.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, body) = (acceptor.clone(), body.clone());
                let (counted, counted_bytes) = (counted.clone(), counted_bytes.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    let Some(start) = read_request(&mut stream).await else {
                        return;
                    };
                    let number = counted.fetch_add(1, Ordering::SeqCst);
                    let answer = answer(fault, number, start, &body);
                    if fault == Fault::Drips {
                        for bytes in answer.chunks(4000) {
                            if stream.write_all(bytes).await.is_err()
                                || stream.flush().await.is_err()
                            {
                                return;
                            }
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        return;
                    }
                    // A client that has seen enough closes; that is not the server's failure.
                    if stream.write_all(&answer).await.is_ok() {
                        counted_bytes.fetch_add(answer.len() as u64, Ordering::SeqCst);
                        while fault == Fault::Endless
                            && stream.write_all(&[b' '; 65536]).await.is_ok()
                        {
                        }
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
        Self {
            address,
            requests,
            sent,
        }
    }

    fn url(&self) -> MirrorUrl {
        format!("https://{}/store/", self.address).parse().unwrap()
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Reads a request's head; gives where its range starts.
async fn read_request(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<usize> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    assert!(head.starts_with("get /store/"), "{head}");
    assert!(!head.contains("user-agent"), "{head}");
    let range = head
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes="));
    Some(range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap()))
}

/// The whole answer to request `number`, for the bytes from `start` on.
fn answer(fault: Fault, number: usize, start: usize, body: &[u8]) -> Vec<u8> {
    let first = number == 0;
    let mut body = body.to_vec();
    let total = body.len();
    match fault {
        Fault::Flip(at) => body[at] ^= 1,
        Fault::Truncated(missing) => body.truncate(total - missing),
        Fault::Longer | Fault::LongerWithoutLength => body.extend_from_slice(&[0; 100]),
        _ => {}
    }
    let start = match fault {
        Fault::NoRangeAndCutOnce(_) => 0,
        Fault::WrongRangeAfterCut(_) if !first => start + 1,
        _ => start,
    };
    let (total, body) = (body.len(), &body[start..]);
    let mut head = match fault {
        Fault::Status(status) => format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n"),
        Fault::Redirect => {
            "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n".to_owned()
        }
        Fault::Garbage => "SSH-2.0-OpenSSH\r\n".to_owned(),
        Fault::LongerWithoutLength | Fault::Endless => "HTTP/1.1 200 OK\r\n".to_owned(),
        _ if start == 0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len()),
        _ => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{total}\r\n",
            body.len(),
            total - 1
        ),
    };
    head.push_str("Connection: close\r\n\r\n");
    let body = match fault {
        Fault::CutOnce(len) | Fault::NoRangeAndCutOnce(len) | Fault::WrongRangeAfterCut(len)
            if first =>
        {
            &body[..len]
        }
        Fault::CutAlways(len) => &body[..len.min(body.len())],
        Fault::Status(_) | Fault::Redirect | Fault::Garbage => &[],
        _ => body,
    };
    [head.as_bytes(), body].concat()
}

/// Mirrors are named by address here.
struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, name: Name) -> Resolving {
        panic!("asked to resolve {}", name.as_str());
    }
}

/// Long enough to see a retry, short enough for a test.
const PATIENCE: Patience = Patience {
    rounds: 3,
    first_wait: Duration::from_millis(10),
    longest_wait: Duration::from_millis(20),
    slow_after: Duration::from_millis(100),
    slow_bytes: 40_000,
};

struct Boot {
    result: Result<Fetched, ImageError>,
    directory: tempfile::TempDir,
}

impl Boot {
    async fn from(authority: &Authority, mirrors: &[MirrorUrl], manifest: &Manifest) -> Self {
        let client = Client::new(authority.roots.clone(), NoNames).unwrap();
        let accepted = Accepted {
            current: current(manifest),
            mirror: mirrors[0].clone(),
        };
        let directory = tempfile::tempdir().unwrap();
        let result =
            fetch_and_unpack(&accepted, &client, mirrors, PATIENCE, directory.path()).await;
        Self { result, directory }
    }

    fn code(&self) -> FailureCode {
        self.result
            .as_ref()
            .expect_err("the boot should have failed")
            .code()
    }

    fn assert_whole(&self, files: &[(&str, Vec<u8>)]) -> &Fetched {
        let fetched = self
            .result
            .as_ref()
            .unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(
            std::fs::read(self.directory.path().join("vmlinuz")).unwrap(),
            files[0].1
        );
        // The second initrd starts at a multiple of four.
        let mut initrd = files[1].1.clone();
        initrd.resize(initrd.len().next_multiple_of(4), 0);
        initrd.extend_from_slice(&files[2].1);
        assert_eq!(
            std::fs::read(self.directory.path().join("initrd")).unwrap(),
            initrd
        );
        fetched
    }
}

/// Boots from one server per fault, in this order; gives the servers too.
async fn boot_from(faults: &[Fault]) -> (Files, Boot, Vec<Server>) {
    let (files, stored, manifest) = image(Encoding::None);
    let authority = Authority::new();
    let mut servers = Vec::new();
    for fault in faults {
        servers.push(Server::start(&authority, Certificate::Good, *fault, stored.clone()).await);
    }
    let mirrors: Vec<MirrorUrl> = servers.iter().map(Server::url).collect();
    let boot = Boot::from(&authority, &mirrors, &manifest).await;
    (files, boot, servers)
}

#[tokio::test]
async fn a_whole_archive_becomes_a_kernel_and_an_initrd() {
    let (files, boot, servers) = boot_from(&[Fault::None]).await;
    let fetched = boot.assert_whole(&files);
    assert_eq!(servers[0].requests(), 1);
    assert!(servers[0].sent.load(Ordering::SeqCst) > fetched.received);
}

#[tokio::test]
async fn a_compressed_archive_becomes_the_same() {
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let (files, stored, manifest) = image(encoding);
        let authority = Authority::new();
        let server = Server::start(&authority, Certificate::Good, Fault::None, stored).await;
        Boot::from(&authority, &[server.url()], &manifest)
            .await
            .assert_whole(&files);
    }
}

#[tokio::test]
async fn a_transfer_that_is_cut_goes_on_at_the_chunk_reached() {
    let (files, boot, servers) = boot_from(&[Fault::CutOnce(200_000)]).await;
    let received = boot.assert_whole(&files).received;
    assert_eq!(servers[0].requests(), 2);
    let (_, stored, _) = image(Encoding::None);
    assert!(
        received < stored.len() as u64 + CHUNK,
        "received {received} of {}",
        stored.len()
    );
}

#[tokio::test]
async fn a_server_without_ranges_sends_everything_again() {
    let (files, boot, servers) = boot_from(&[Fault::NoRangeAndCutOnce(200_000)]).await;
    boot.assert_whole(&files);
    assert_eq!(servers[0].requests(), 2);
}

#[tokio::test]
async fn another_mirror_goes_on_where_the_first_was_cut() {
    let (files, boot, servers) = boot_from(&[Fault::CutAlways(200_000), Fault::None]).await;
    boot.assert_whole(&files);
    assert_eq!((servers[0].requests(), servers[1].requests()), (1, 1));
}

#[tokio::test]
async fn a_mirror_that_is_cut_again_and_again_still_gets_there() {
    // Each connection brings one chunk and a bit.
    let (files, boot, servers) = boot_from(&[Fault::CutAlways(70_000)]).await;
    boot.assert_whole(&files);
    assert!(servers[0].requests() > 5);
}

#[tokio::test]
async fn a_flipped_byte_in_any_chunk_is_refused() {
    let (_, stored, _) = image(Encoding::None);
    for at in [0, stored.len() / 2, stored.len() - 1] {
        let (_, boot, servers) = boot_from(&[Fault::Flip(at)]).await;
        assert_eq!(boot.code(), FailureCode::ImageChunk, "byte {at}");
        assert_eq!(servers[0].requests(), 1, "a liar is not asked again");
    }
}

#[tokio::test]
async fn where_one_mirror_lies_another_is_asked_from_that_chunk_on() {
    let (files, boot, servers) = boot_from(&[Fault::Flip(300_000), Fault::None]).await;
    boot.assert_whole(&files);
    assert_eq!((servers[0].requests(), servers[1].requests()), (1, 1));
}

#[tokio::test]
async fn a_mirror_that_drips_is_left_for_another_that_does_not() {
    let (files, boot, servers) = boot_from(&[Fault::Drips, Fault::None]).await;
    boot.assert_whole(&files);
    assert_eq!((servers[0].requests(), servers[1].requests()), (1, 1));
}

#[tokio::test]
async fn a_mirror_that_drips_is_better_than_none() {
    let (files, boot, servers) = boot_from(&[Fault::Drips, Fault::Status("404 Not Found")]).await;
    boot.assert_whole(&files);
    assert_eq!(
        servers[0].requests(),
        2,
        "left once for being slow, and then kept"
    );
}

#[tokio::test]
async fn what_a_mirror_does_wrong_has_its_own_code() {
    for (fault, code, requests) in [
        (Fault::Truncated(1), FailureCode::FetchCut, 1),
        (Fault::Truncated(400_000), FailureCode::FetchCut, 1),
        (Fault::CutAlways(0), FailureCode::FetchCut, 3),
        (Fault::CutAlways(60_000), FailureCode::FetchCut, 3),
        (Fault::Longer, FailureCode::FetchTooLarge, 1),
        (Fault::LongerWithoutLength, FailureCode::FetchTooLarge, 1),
        (Fault::Status("404 Not Found"), FailureCode::FetchStatus, 1),
        (Fault::Status("403 Forbidden"), FailureCode::FetchStatus, 1),
        (
            Fault::Status("503 Service Unavailable"),
            FailureCode::FetchStatus,
            3,
        ),
        (Fault::Status("204 No Content"), FailureCode::FetchAnswer, 1),
        (Fault::Redirect, FailureCode::FetchStatus, 1),
        (
            Fault::WrongRangeAfterCut(200_000),
            FailureCode::FetchAnswer,
            2,
        ),
        (Fault::Garbage, FailureCode::FetchAnswer, 1),
    ] {
        let (_, boot, servers) = boot_from(&[fault]).await;
        let error = boot.result.as_ref().expect_err("refused");
        assert_eq!(error.code(), code, "{error:?}");
        assert_eq!(servers[0].requests(), requests, "{error:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_is_not_there_is_said_to_be() {
    let (_, _, manifest) = image(Encoding::None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(listener);
    let boot = Boot::from(&Authority::new(), &[url], &manifest).await;
    assert_eq!(boot.code(), FailureCode::FetchConnect);
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_has_its_own_code() {
    let (_, stored, manifest) = image(Encoding::None);
    for (certificate, code) in [
        (Certificate::Expired, FailureCode::FetchTlsClock),
        (Certificate::NotYet, FailureCode::FetchTlsClock),
        (Certificate::OtherHost, FailureCode::FetchTls),
        (Certificate::Tls12, FailureCode::FetchTls),
    ] {
        let authority = Authority::new();
        let server = Server::start(&authority, certificate, Fault::None, stored.clone()).await;
        let boot = Boot::from(&authority, &[server.url()], &manifest).await;
        assert_eq!(boot.code(), code);
        assert_eq!(server.requests(), 0, "nothing was asked for");
    }
    let server = Server::start(&Authority::new(), Certificate::Good, Fault::None, stored).await;
    let boot = Boot::from(&Authority::new(), &[server.url()], &manifest).await;
    assert_eq!(boot.code(), FailureCode::FetchTlsRoots);
}

#[tokio::test]
async fn an_envelope_is_read_up_to_its_limit_and_no_further() {
    let authority = Authority::new();
    let client = Client::new(authority.roots.clone(), NoNames).unwrap();
    let name = "relay".parse().unwrap();
    for (fault, expected) in [
        (Fault::None, Ok(b"{}".to_vec())),
        (Fault::Endless, Err(FailureCode::FetchTooLarge)),
        (
            Fault::Status("404 Not Found"),
            Err(FailureCode::FetchStatus),
        ),
        (Fault::Redirect, Err(FailureCode::FetchStatus)),
        (Fault::CutAlways(1), Err(FailureCode::FetchCut)),
    ] {
        let server = Server::start(&authority, Certificate::Good, fault, b"{}".to_vec()).await;
        let envelope = client.channel(&server.url(), &name).await;
        assert_eq!(envelope.map_err(|error| error.code()), expected);
    }
}
