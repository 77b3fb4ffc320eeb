//! A TLS server that misbehaves in one way, and the certificates that it can have.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_init::net::provider::tls_provider;
use support::world;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// What a server does wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Its first answer is cut off after so many bytes of the body.
    CutOnce(usize),
    /// Every answer is.
    CutAlways(usize),
    /// The whole file comes, whatever part is asked for; the first answer is cut off after so many bytes.
    NoRanges {
        cut: Option<usize>,
    },
    /// Parts start one byte too late.
    WrongRange,
    /// Parts are said to be of a file of another size.
    OtherSize(i64),
    /// The byte at this offset is flipped.
    Flip(usize),
    /// So many bytes are missing at the end of the file.
    Truncated(usize),
    /// The body goes on after its end: as announced, or without a word about its length.
    Longer,
    LongerWithoutLength,
    /// Chunked transfer encoding, which announces no length; with so many bytes missing at the end.
    Chunked {
        missing: usize,
    },
    /// Compressed on the way, though it was asked not to.
    ContentEncoding,
    /// A page for people, with status 200.
    WebPage,
    /// An ETag that is another in each answer, as the nodes of a content network have.
    ChangingTag,
    /// So many times another status, with further headers; then all is well.
    Status(&'static str, usize),
    /// A redirect to this URL.
    Redirect(String),
    /// A redirect to itself, for ever.
    RedirectLoop,
    /// Not HTTP.
    Garbage,
    /// The body never ends.
    Endless,
    /// Accepts a request, and says nothing, for ever.
    Silent,
    /// Falls silent after so many bytes of a body.
    SilentAfter(usize),
    /// Four kilobytes every so often.
    Drips(Duration),
    /// So many bytes a second.
    Speed(u64),
    /// A bit of the chunk list is flipped; the archive is as signed.
    ListFlip,
    /// The chunk list is a digest short.
    ListShort,
    /// The chunk list is a digest too long.
    ListLonger,
    /// There is no chunk list.
    ListMissing,
}

/// Which certificate a server has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Certificate {
    Good,
    Expired,
    NotYet,
    OtherHost,
    Tls12,
    /// Its own authority, as `openssl req -x509` makes it.
    SelfSigned,
}

pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub(crate) roots: RootCertStore,
}

impl Authority {
    pub(crate) fn new() -> Self {
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

    /// What accepts connections, and the certificate that it shows.
    fn acceptor(&self, kind: Certificate) -> (TlsAcceptor, CertificateDer<'static>) {
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
            Certificate::SelfSigned => {
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }
            _ => {}
        }
        let certificate = match kind {
            Certificate::SelfSigned => params.self_signed(&key).unwrap(),
            _ => params.signed_by(&key, &self.issuer).unwrap(),
        };
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
        (
            TlsAcceptor::from(Arc::new(config)),
            certificate.der().clone(),
        )
    }
}

/// What a server was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// The first byte, and the one after the last where it was named.
    pub(crate) range: Option<(usize, Option<usize>)>,
    /// The whole head, in lower case.
    pub(crate) head: String,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    requests: Arc<Mutex<Vec<Request>>>,
    sent: Arc<AtomicU64>,
}

impl Server {
    pub(crate) async fn start(
        authority: &Authority,
        certificate: Certificate,
        fault: Fault,
        body: Vec<u8>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, shown) = authority.acceptor(certificate);
        let server = Self {
            address,
            certificate: shown,
            requests: Arc::default(),
            sent: Arc::default(),
        };
        let (requests, sent) = (server.requests.clone(), server.sent.clone());
        let body = Arc::new(body);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, fault, body) = (acceptor.clone(), fault.clone(), body.clone());
                let (requests, sent) = (requests.clone(), sent.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    while let Some(request) = read_request(&mut stream).await {
                        if request.head.contains(".chunks ") {
                            // Faults are of the archive, but those that name the list.
                            let answer = Answer::to_list(&fault, &request, &body);
                            if !answer
                                .send(&mut stream, &Fault::None, &AtomicU64::new(0))
                                .await
                            {
                                return;
                            }
                            continue;
                        }
                        let number = {
                            let mut requests = requests.lock().unwrap();
                            requests.push(request.clone());
                            requests.len() - 1
                        };
                        let answer = Answer::to(&fault, number, &request, &body);
                        if !answer.send(&mut stream, &fault, &sent).await {
                            return;
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> MirrorUrl {
        format!("https://{}/store/", self.address).parse().unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.requests().len()
    }

    /// Bytes of bodies that it has sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    assert!(head.starts_with("get /store/"), "{head}");
    let secrets = ["user-agent", "authorization", "cookie", "referer"];
    let conditions = ["if-range", "if-match", "if-none-match"];
    for absent in secrets.iter().chain(&conditions) {
        assert!(!head.contains(&format!("{absent}:")), "{head}");
    }
    let field = |name: &str| {
        let mut lines = head.lines();
        lines
            .find_map(|line| line.strip_prefix(name))
            .map(str::to_owned)
    };
    let range = field("range: bytes=").map(|range| {
        let (first, last) = range.split_once('-').unwrap();
        let end = (!last.is_empty()).then(|| last.parse::<usize>().unwrap() + 1);
        (first.parse().unwrap(), end)
    });
    Some(Request { range, head })
}

/// What a server sends: a head, and what follows.
struct Answer {
    head: String,
    body: Vec<u8>,
    /// Whether another request may follow on the connection.
    keep: bool,
    then_silent: bool,
}

impl Answer {
    fn to_list(fault: &Fault, request: &Request, file: &[u8]) -> Self {
        let mut list = world::chunk_list(file);
        match fault {
            Fault::ListFlip => list[40] ^= 1,
            Fault::ListShort => list.truncate(list.len() - 32),
            Fault::ListLonger => list.extend([0; 32]),
            Fault::ListMissing => {
                let head = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n";
                return Self::of(head.to_owned(), &[]);
            }
            _ => {}
        }
        Self::to(&Fault::None, 0, request, &list)
    }

    fn to(fault: &Fault, number: usize, request: &Request, file: &[u8]) -> Self {
        let first = number == 0;
        let mut file = file.to_vec();
        match fault {
            Fault::Flip(at) => file[*at] ^= 1,
            Fault::Truncated(missing) => file.truncate(file.len() - missing),
            Fault::Longer | Fault::LongerWithoutLength => file.extend_from_slice(&[0; 100]),
            _ => {}
        }
        match fault {
            Fault::Status(status, times) if number < *times => {
                return Self::of(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n"), &[]);
            }
            Fault::Redirect(to) => {
                return Self::of(
                    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n"),
                    &[],
                );
            }
            Fault::RedirectLoop => {
                let head = format!(
                    "HTTP/1.1 307 Temporary Redirect\r\nLocation: /store/{number}\r\nContent-Length: 0\r\n"
                );
                return Self::of(head, &[]);
            }
            Fault::Garbage => return Self::of("SSH-2.0-OpenSSH\r\n".to_owned(), &[]),
            Fault::WebPage => {
                let page = b"<html>Please log in</html>";
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 26\r\n";
                return Self::of(head.to_owned(), page);
            }
            _ => {}
        }
        let honoured = !matches!(fault, Fault::NoRanges { .. });
        let range = request.range.filter(|_| honoured);
        let (mut start, end) = match range {
            Some((start, end)) => (start, end.unwrap_or(file.len()).min(file.len())),
            None => (0, file.len()),
        };
        if *fault == Fault::WrongRange && range.is_some() {
            start += 1;
        }
        let body = file.get(start..end).unwrap_or_default();
        let mut head = match range {
            None => "HTTP/1.1 200 OK\r\n".to_owned(),
            Some(_) if start >= file.len() => {
                let size = file.len();
                return Self::of(
                    format!(
                        "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n"
                    ),
                    &[],
                );
            }
            Some(_) => {
                let size = match fault {
                    Fault::OtherSize(by) => file
                        .len()
                        .checked_add_signed(isize::try_from(*by).unwrap())
                        .unwrap(),
                    _ => file.len(),
                };
                format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}\r\n",
                    end - 1
                )
            }
        };
        if *fault == Fault::ChangingTag {
            head.push_str(&format!("ETag: \"{number}\"\r\n"));
        }
        let mut keep = true;
        let body = match fault {
            Fault::LongerWithoutLength | Fault::Endless => {
                keep = false;
                body.to_vec()
            }
            Fault::Chunked { missing } => {
                head.push_str("Transfer-Encoding: chunked\r\n");
                let sent = &body[..body.len().saturating_sub(*missing)];
                let mut chunked = Vec::new();
                for piece in sent.chunks(10_000) {
                    chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    chunked.extend_from_slice(piece);
                    chunked.extend_from_slice(b"\r\n");
                }
                chunked.extend_from_slice(b"0\r\n\r\n");
                chunked
            }
            _ => {
                head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                body.to_vec()
            }
        };
        if *fault == Fault::ContentEncoding {
            head.push_str("Content-Encoding: gzip\r\n");
        }
        let cut = match fault {
            Fault::CutOnce(len) if first => Some(*len),
            Fault::NoRanges { cut } if first => *cut,
            Fault::CutAlways(len) | Fault::SilentAfter(len) => Some(*len),
            _ => None,
        };
        let cut = cut.filter(|cut| *cut < body.len());
        let mut answer = Self::of(head, &body[..cut.unwrap_or(body.len())]);
        answer.keep = keep && cut.is_none();
        answer.then_silent = matches!(fault, Fault::SilentAfter(_)) && cut.is_some();
        answer
    }

    fn of(mut head: String, body: &[u8]) -> Self {
        head.push_str("\r\n");
        Self {
            head,
            body: body.to_vec(),
            keep: true,
            then_silent: false,
        }
    }

    /// Sends it; gives whether another request may follow. A client that has seen enough closes, and that
    /// is not the server's failure.
    async fn send(
        self,
        stream: &mut (impl AsyncWrite + Unpin),
        fault: &Fault,
        sent: &AtomicU64,
    ) -> bool {
        if *fault == Fault::Silent {
            sleep(Duration::from_secs(3600)).await;
        }
        if stream.write_all(self.head.as_bytes()).await.is_err() {
            return false;
        }
        let (piece, pause) = match fault {
            Fault::Drips(pause) => (4000, *pause),
            Fault::Speed(speed) => (4096, Duration::from_micros(4096 * 1_000_000 / speed)),
            _ => (usize::MAX, Duration::ZERO),
        };
        let mut due = tokio::time::Instant::now();
        for bytes in self.body.chunks(piece) {
            if stream.write_all(bytes).await.is_err() || stream.flush().await.is_err() {
                return false;
            }
            sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            due += pause;
            tokio::time::sleep_until(due).await;
        }
        if *fault == Fault::Endless {
            while stream.write_all(&[b' '; 65_536]).await.is_ok() {}
            return false;
        }
        if stream.flush().await.is_err() {
            return false;
        }
        if self.then_silent {
            sleep(Duration::from_secs(3600)).await;
        }
        if !self.keep {
            let _ = stream.shutdown().await;
        }
        self.keep
    }
}
