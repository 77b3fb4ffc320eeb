//! HTTPS with the baked-in roots and nothing else.
//!
//! TLS 1.3 only, post-quantum key exchange preferred, certificates checked against the initramfs's
//! roots alone, names resolved by the servers of the link. No proxy, no cookie, no credential, no user
//! agent: a mirror learns which file was asked for, and from where. Redirects are followed to https alone.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use jiff::Timestamp;
use reqwest::dns::Resolve;
use reqwest::header::{ACCEPT_ENCODING, RANGE};
use reqwest::{Response, StatusCode, Url};
use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tokio::time::timeout;

use super::answer::{self, Part, REDIRECTS};
use super::mirror_keys::MirrorKeys;
use super::problem::{FetchError, FetchProblem, STALL_TIMEOUT};
use super::unset_clock::UnsetClock;
use crate::heartbeat::Heartbeat;
use crate::net::provider::tls_provider;
use crate::net::resolver::to_port;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::host_config::{HostConfig, MirrorUrl};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Archive, ImageName};
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::{ClockState, JudgingTime};

/// How long a connection may take: 8 s for the name and the race of its addresses (`net::race`), in which
/// a SYN can be lost three times (1, 2 and 4 s; RFC 6298), and the rest for a slow server's handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a small file may take: a channel of 1 MiB, the most it can be, at 0.3 Mbit/s. A mirror that
/// sends a byte now and then is never stalled, and must not hold up a machine that has others.
const SMALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a chunk list gets beyond that: a second for so many bytes, as 1 Mbit/s carries.
const LIST_BYTES_A_SECOND: u64 = 128 << 10;

/// An HTTPS client for mirrors.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    heartbeat: &'static Heartbeat,
}

impl Client {
    /// Returns a client that trusts certificates from `roots` alone and resolves names with `resolver`. Fetches through
    /// it beat `heartbeat`.
    ///
    /// # Errors
    ///
    /// If the TLS library refuses its own configuration.
    pub fn new(
        roots: RootCertStore,
        resolver: impl Resolve + 'static,
        heartbeat: &'static Heartbeat,
    ) -> Result<Self, reqwest::Error> {
        let tls = tls().with_root_certificates(roots).with_no_client_auth();
        Self::over(tls, resolver, heartbeat)
    }

    /// Returns the same client for a machine whose clock is unset: it accepts certificates that are not valid yet, and
    /// judges all at `earliest` or later.
    ///
    /// # Errors
    ///
    /// As [`Client::new`].
    ///
    /// # Panics
    ///
    /// If `roots` is empty.
    pub fn with_unset_clock(
        roots: RootCertStore,
        earliest: Timestamp,
        resolver: impl Resolve + 'static,
        heartbeat: &'static Heartbeat,
    ) -> Result<Self, reqwest::Error> {
        let by_roots =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls_provider()).build();
        let by_roots = by_roots.unwrap_or_else(|error| panic!("cannot use the TLS roots: {error}"));
        let tls = tls()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(UnsetClock::new(by_roots, earliest)));
        Self::over(tls.with_no_client_auth(), resolver, heartbeat)
    }

    /// Returns the client that a host config asks for: one that identifies every mirror by its `mirror_keys`, or by
    /// certificates from `roots` where it has none. `judged` is the time at which certificates are judged.
    ///
    /// # Errors
    ///
    /// As [`Client::new`].
    pub fn of_host(
        host: &HostConfig,
        roots: RootCertStore,
        judged: &JudgingTime,
        resolver: impl Resolve + 'static,
        heartbeat: &'static Heartbeat,
    ) -> Result<Self, reqwest::Error> {
        match (&host.mirror_keys[..], judged.clock()) {
            ([], ClockState::Set) => Self::new(roots, resolver, heartbeat),
            ([], ClockState::Unset) => {
                Self::with_unset_clock(roots, judged.at(), resolver, heartbeat)
            }
            (keys, _) => Self::with_mirror_keys(keys, resolver, heartbeat),
        }
    }

    fn with_mirror_keys(
        keys: &[Sha256Digest],
        resolver: impl Resolve + 'static,
        heartbeat: &'static Heartbeat,
    ) -> Result<Self, reqwest::Error> {
        let by_key = MirrorKeys::new(keys, tls_provider());
        let tls = tls()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(by_key));
        Self::over(tls.with_no_client_auth(), resolver, heartbeat)
    }

    fn over(
        tls: ClientConfig,
        resolver: impl Resolve + 'static,
        heartbeat: &'static Heartbeat,
    ) -> Result<Self, reqwest::Error> {
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
        Ok(Self { http, heartbeat })
    }

    /// Returns the heartbeat of the loader that fetches.
    #[must_use]
    pub const fn heartbeat(&self) -> &'static Heartbeat {
        self.heartbeat
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
        within(&url, SMALL_TIMEOUT, request).await
    }

    /// Reads the chunk list of an archive, exactly as many bytes as it has.
    ///
    /// # Errors
    ///
    /// The mirror did not give it.
    pub(super) async fn chunk_list(
        &self,
        mirror: &MirrorUrl,
        archive: &Archive,
    ) -> Result<Vec<u8>, FetchError> {
        let url = mirror.file(&archive.chunk_list_path());
        let expected = archive.chunk_list_len() as u64;
        let time = SMALL_TIMEOUT + Duration::from_secs(expected / LIST_BYTES_A_SECOND);
        let request = async {
            let response = self.get(&url).await?;
            let list = read_bounded(&url, response, expected).await?;
            let found = list.len() as u64;
            if found < expected {
                let short = FetchProblem::Short { found, expected };
                return Err(FetchError::new(&url, short));
            }
            Ok(list)
        };
        within(&url, time, request).await
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
        within(&url, SMALL_TIMEOUT, request).await
    }

    /// Reads the envelopes of the trust policies from version `first` on, as [`Client::policy`] does, in the order of
    /// their versions. Ends with the last version that there can be; the caller stops at the first that is `None`.
    ///
    /// Once the mirror has the first, the next eight are requested at once; where it does not, no other is.
    pub fn policies(
        &self,
        mirror: &MirrorUrl,
        first: PolicyVersion,
    ) -> impl Stream<Item = Result<Option<Vec<u8>>, FetchError>> {
        const AT_ONCE: usize = 8;
        let later = iter::successors(first.next(), |version| version.next());
        let later = stream::iter(later).map(|version| self.policy(mirror, version));
        stream::once(self.policy(mirror, first)).chain(later.buffered(AT_ONCE))
    }

    /// Asks for a small file.
    async fn get(&self, url: &Url) -> Result<Response, FetchError> {
        self.send(url, None).await
    }

    /// Requests a part of the archive. Returns an answer whose head fits, and how many bytes of it come before the part.
    pub(super) async fn part(&self, url: &Url, part: &Part) -> Result<(Response, u64), FetchError> {
        let response = self.send(url, Some(part)).await?;
        let skip = part
            .of(response.status(), response.headers())
            .map_err(|problem| FetchError::new(url, problem))?;
        Ok((response, skip))
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
            }
            // Mirrors are http or https, and both have a port of their own.
            let port = at.port_or_known_default().unwrap_or_default();
            let response = to_port(port, request.send()).await.map_err(|error| {
                let error = FetchError::from_reqwest(&at, error);
                if at == *url {
                    error
                } else {
                    error.sent_on_from(url)
                }
            })?;
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

/// TLS 1.3 and nothing else.
fn tls() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(tls_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap_or_else(|error| unreachable!("aws-lc-rs speaks TLS 1.3: {error}"))
}

/// The statuses that say where else the file is; the others of 3xx say something else.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Gives up on a small file that takes too long, however steadily it comes.
async fn within<T>(
    url: &Url,
    time: Duration,
    request: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    let slow = |_| FetchError::new(url, FetchProblem::Slow);
    timeout(time, request).await.map_err(slow)?
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
        StatusCode::OK if answer::is_web_page(response.headers()) => FetchProblem::WebPage,
        StatusCode::OK => return Ok(()),
        status if status.is_success() => {
            FetchProblem::Answer(format!("status {status} where {} was due", StatusCode::OK))
        }
        status => answer::refusal(status, response.headers()),
    };
    Err(FetchError::new(url, problem))
}
