//! HTTPS with the baked-in roots and nothing else.
//!
//! TLS 1.3 only, post-quantum key exchange preferred, certificates checked against the initramfs's
//! roots alone, names resolved by the servers of the link. No proxy, no cookie, no credential, no user
//! agent: a mirror learns which file was asked for, and from where. Redirects are followed to https alone.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve;
use reqwest::header::{ACCEPT_ENCODING, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode, Url};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::answer::{self, Body, Part, REDIRECTS};
use super::schedule::Fault;
use crate::failure::{Diagnose, FailureCode};
use crate::format::host_config::MirrorUrl;
use crate::format::limits::LIMITS;
use crate::format::manifest::ImageName;
use crate::format::version::PolicyVersion;
use crate::net::resolver::{ResolveError, to_port};

/// How long a connection may take: 8 s for the name and the race of its addresses (`net::race`), in which
/// a SYN can be lost three times (1, 2 and 4 s; RFC 6298), and the rest for a slow server's handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a mirror may send nothing before it counts as stalled. Longer than TCP needs to get over a
/// second of loss, short enough that a dead mirror costs less than the wait for a rack's switch.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the whole of a manifest may take: 4 MiB, the most it can be, at 1.1 Mbit/s. A mirror that
/// sends a byte now and then is never stalled, and must not hold up a machine that has others.
const MANIFEST_TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTPS client for mirrors.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
}

/// A mirror did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {problem}")]
pub struct FetchError {
    /// What was asked for.
    pub url: String,
    /// What went wrong.
    pub problem: FetchProblem,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What went wrong with a fetch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchProblem {
    /// The host's name has no address.
    #[error("the host's name could not be resolved")]
    Address,
    /// Nothing answered.
    #[error("no connection")]
    Connect,
    /// The certificate's issuer is not among the roots.
    #[error("the server's certificate is from an authority that the baked-in roots do not hold")]
    TlsRoots,
    /// The certificate is out of its dates.
    #[error("the server's certificate is not valid at this machine's time")]
    TlsClock,
    /// What answers does not speak TLS.
    #[error("the server does not speak TLS")]
    NoTls,
    /// The handshake failed otherwise.
    #[error("the TLS handshake failed")]
    Tls,
    /// Nothing came for a while.
    #[error("the server sent nothing for {seconds} s")]
    Stalled {
        /// For how long.
        seconds: u64,
    },
    /// Something came, and too slowly.
    #[error("the server sends too slowly")]
    Slow,
    /// An HTTP status that is no success.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// It has too much to do, or wants to be asked less often.
    #[error("the server is busy{}", after(*retry_after))]
    Busy {
        /// For how long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// A redirect that is not followed.
    #[error("the server's redirect is not followed: {0}")]
    Redirect(String),
    /// A page for people, as captive portals and error pages are.
    #[error("the server sent a web page in place of the file")]
    WebPage,
    /// The whole file came where a part was asked for.
    #[error("the server sends the whole file where a part of it was asked for")]
    NoRanges,
    /// Another ETag than before.
    #[error("the server's file is another than before")]
    Changed,
    /// An answer that breaks HTTP, or is not what was asked for.
    #[error("the server's answer is unusable: {0}")]
    Answer(String),
    /// More bytes than there should be.
    #[error("the server sends more than the {limit} bytes that are allowed")]
    TooLarge {
        /// How many are allowed.
        limit: u64,
    },
    /// The file is shorter than it should be.
    #[error("the file has {found} bytes there, {expected} were due")]
    Short {
        /// How many bytes there are to send.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
    /// The body ended, or the connection broke, before its end.
    #[error("the transfer was cut off")]
    Cut,
}

impl Diagnose for FetchError {
    fn code(&self) -> FailureCode {
        match self.problem {
            FetchProblem::Address => FailureCode::FetchAddress,
            FetchProblem::Connect => FailureCode::FetchConnect,
            FetchProblem::TlsRoots => FailureCode::FetchTlsRoots,
            FetchProblem::TlsClock => FailureCode::FetchTlsClock,
            FetchProblem::Tls | FetchProblem::NoTls => FailureCode::FetchTls,
            FetchProblem::Stalled { .. } => FailureCode::FetchStalled,
            FetchProblem::Slow => FailureCode::FetchSlow,
            FetchProblem::Status(_) => FailureCode::FetchStatus,
            FetchProblem::Busy { .. } => FailureCode::FetchBusy,
            FetchProblem::Redirect(_) => FailureCode::FetchRedirect,
            FetchProblem::WebPage => FailureCode::FetchWebPage,
            FetchProblem::NoRanges => FailureCode::FetchRange,
            FetchProblem::Changed => FailureCode::FetchChanged,
            FetchProblem::Answer(_) => FailureCode::FetchAnswer,
            FetchProblem::TooLarge { .. } => FailureCode::FetchTooLarge,
            FetchProblem::Cut | FetchProblem::Short { .. } => FailureCode::FetchCut,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self.problem {
            FetchProblem::Busy { retry_after } => retry_after,
            _ => None,
        }
    }

    fn hint(&self) -> String {
        match &self.problem {
            FetchProblem::Status(status) if status.is_server_error() => {
                "the mirror, or what stands before it, is overloaded or broken: look at its logs".to_owned()
            }
            FetchProblem::Cut => {
                "check that the mirror runs and speaks HTTP/1.1 over TLS, and the network between it and this machine".to_owned()
            }
            FetchProblem::NoTls => "check the port in the mirror's URL: what answers there does not speak TLS".to_owned(),
            FetchProblem::TooLarge { .. } => "check that the mirror's store is an unmodified copy".to_owned(),
            _ => self.code().remedy().to_owned(),
        }
    }
}

impl FetchError {
    pub(super) fn new(url: &Url, problem: FetchProblem) -> Self {
        Self {
            url: url.to_string(),
            problem,
            source: None,
        }
    }

    /// What it means for the mirror: it is away, slow or overloaded, or it is wrong.
    pub(super) fn fault(&self) -> Fault {
        let away = Fault::Away { retry_after: None };
        match &self.problem {
            FetchProblem::Busy { retry_after } => Fault::Away {
                retry_after: *retry_after,
            },
            FetchProblem::NoRanges => Fault::NoRanges,
            FetchProblem::Address
            | FetchProblem::Connect
            | FetchProblem::Stalled { .. }
            | FetchProblem::Slow
            | FetchProblem::Changed
            | FetchProblem::WebPage
            | FetchProblem::Cut => away,
            FetchProblem::Status(status) if status.is_server_error() => away,
            FetchProblem::Status(StatusCode::REQUEST_TIMEOUT) => away,
            FetchProblem::Status(_)
            | FetchProblem::TlsRoots
            | FetchProblem::TlsClock
            | FetchProblem::Tls
            | FetchProblem::NoTls
            | FetchProblem::Redirect(_)
            | FetchProblem::Answer(_)
            | FetchProblem::TooLarge { .. }
            | FetchProblem::Short { .. } => Fault::Wrong,
        }
    }

    /// Finds out what a failed request, or a body that broke, means.
    pub(super) fn from_reqwest(url: &Url, error: reqwest::Error) -> Self {
        let problem = if let Some(tls) = find_cause::<rustls::Error>(&error) {
            tls_problem(tls)
        } else if find_cause::<ResolveError>(&error)
            .is_some_and(|error| error.code() == FailureCode::FetchAddress)
        {
            FetchProblem::Address
        } else if find_cause::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
            FetchProblem::Answer("it is not HTTP".to_owned())
        } else if error.is_connect() {
            FetchProblem::Connect
        } else if error.is_timeout() {
            let seconds = STALL_TIMEOUT.as_secs();
            FetchProblem::Stalled { seconds }
        } else {
            FetchProblem::Cut
        };
        Self {
            url: url.to_string(),
            problem,
            source: Some(Box::new(error.without_url())),
        }
    }
}

/// How long a busy server asks to be left alone, as the end of a sentence.
fn after(retry_after: Option<Duration>) -> String {
    retry_after.map_or(String::new(), |time| {
        format!(", and asks to be left alone for {} s", time.as_secs())
    })
}

fn tls_problem(error: &rustls::Error) -> FetchProblem {
    use CertificateError as Bad;
    match error {
        // A bad signature is what another authority of the same name gives.
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            FetchProblem::TlsRoots
        }
        rustls::Error::InvalidCertificate(
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. },
        ) => FetchProblem::TlsClock,
        rustls::Error::InvalidMessage(_) => FetchProblem::NoTls,
        _ => FetchProblem::Tls,
    }
}

/// Looks for a cause of type `T` in a chain, also inside of I/O errors, whose `source` skips what they wrap.
fn find_cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// The one TLS provider of every binary: aws-lc-rs, which prefers X25519MLKEM768.
#[must_use]
pub fn tls_provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Client {
    /// A client that trusts certificates from `roots` alone and resolves names with `resolver`.
    ///
    /// # Errors
    ///
    /// Where the TLS library refuses its own configuration.
    pub fn new(
        roots: RootCertStore,
        resolver: impl Resolve + 'static,
    ) -> Result<Self, reqwest::Error> {
        let tls = ClientConfig::builder_with_provider(tls_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap_or_else(|error| unreachable!("aws-lc-rs speaks TLS 1.3: {error}"))
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(resolver))
            .http1_only()
            .no_proxy()
            .referer(false)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(STALL_TIMEOUT)
            .build()?;
        Ok(Self { http })
    }

    /// Reads the channel file of an image, at most [`LIMITS`]`.channel_bytes` of it.
    ///
    /// # Errors
    ///
    /// The mirror did not give it.
    pub async fn channel(
        &self,
        mirror: &MirrorUrl,
        image: &ImageName,
    ) -> Result<Vec<u8>, FetchError> {
        let url = mirror.file(&format!("images/{image}.json"));
        let request = async {
            let response = self.get(&url).await?;
            read_bounded(&url, response, LIMITS.channel_bytes).await
        };
        within(&url, request).await
    }

    /// Reads the envelope of a trust policy, `None` where the mirror has none of this version.
    ///
    /// # Errors
    ///
    /// The mirror gave neither the envelope nor the word that there is none.
    pub async fn policy(
        &self,
        mirror: &MirrorUrl,
        version: PolicyVersion,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        let url = mirror.file(&format!("trust/{version}.json"));
        let request = async {
            let response = self.get(&url).await?;
            // Object stores that may not be listed say 403 of what does not exist.
            if matches!(
                response.status(),
                StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE
            ) {
                return Ok(None);
            }
            read_bounded(&url, response, LIMITS.policy_envelope_bytes)
                .await
                .map(Some)
        };
        within(&url, request).await
    }

    /// Asks for a small file.
    async fn get(&self, url: &Url) -> Result<Response, FetchError> {
        self.send(url, None).await
    }

    /// Asks for a part of the archive; the answer's head has been seen to fit.
    pub(super) async fn part(
        &self,
        url: &Url,
        part: &Part,
    ) -> Result<(Response, Body), FetchError> {
        let response = self.send(url, Some(part)).await?;
        let body = part
            .of(response.status(), response.headers())
            .map_err(|problem| FetchError::new(url, problem))?;
        Ok((response, body))
    }

    /// Sends a request, and follows where it is sent on to.
    async fn send(&self, url: &Url, part: Option<&Part>) -> Result<Response, FetchError> {
        let mut at = url.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self
                .http
                .get(at.clone())
                .header(ACCEPT_ENCODING, "identity");
            if let Some(range) = part.and_then(Part::range) {
                request = request.header(RANGE, range);
                if let Some(etag) = part.and_then(|part| part.etag.as_ref()) {
                    request = request.header(IF_RANGE, etag);
                }
            }
            // Mirrors are http or https, and both have a port of their own.
            let port = at.port_or_known_default().unwrap_or_default();
            let response = to_port(port, request.send())
                .await
                .map_err(|error| FetchError::from_reqwest(&at, error))?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            at = answer::redirect(&at, response.headers())
                .map_err(|problem| FetchError::new(url, problem))?;
        }
        let problem = format!("it is followed by more than {REDIRECTS} others");
        Err(FetchError::new(url, FetchProblem::Redirect(problem)))
    }
}

/// The statuses that say where else the file is; the others of 3xx say something else.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Gives up on a small file that takes too long, however steadily it comes.
async fn within<T>(
    url: &Url,
    request: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    let slow = |_| FetchError::new(url, FetchProblem::Slow);
    timeout(MANIFEST_TIMEOUT, request).await.map_err(slow)?
}

/// Reads a small file, and gives up on one that is larger than it may be.
async fn read_bounded(
    url: &Url,
    mut response: Response,
    limit: u64,
) -> Result<Vec<u8>, FetchError> {
    expect_ok(url, &response)?;
    let mut file = Vec::new();
    while let Some(bytes) = response
        .chunk()
        .await
        .map_err(|error| FetchError::from_reqwest(url, error))?
    {
        if file.len() as u64 + bytes.len() as u64 > limit {
            return Err(FetchError::new(url, FetchProblem::TooLarge { limit }));
        }
        file.extend_from_slice(&bytes);
    }
    Ok(file)
}

fn expect_ok(url: &Url, response: &Response) -> Result<(), FetchError> {
    let problem = match response.status() {
        StatusCode::OK => return Ok(()),
        status if status.is_success() => {
            FetchProblem::Answer(format!("status {status} where {} was due", StatusCode::OK))
        }
        status => answer::refusal(status, response.headers()),
    };
    Err(FetchError::new(url, problem))
}
