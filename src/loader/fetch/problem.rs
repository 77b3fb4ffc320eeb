//! What can be wrong with a fetch, and what it means for the mirror.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use reqwest::{StatusCode, Url};
use rustls::CertificateError;

use super::schedule::Fault;
use crate::net::resolver::ResolveError;
use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::shown;

/// How long a mirror may send nothing before it counts as stalled. Longer than TCP needs to get over a
/// second of loss, short enough that a dead mirror costs less than the wait for a rack's switch.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Characters of a URL that are shown: a server that sends us on chooses its length, and a console has a line for it.
const LONGEST_URL: usize = 200;

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
    /// The server's key is none of those that the trust policy names.
    #[error("the server's key is none of the mirror keys in the host config")]
    TlsKey,
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
            FetchProblem::Address => FailureCode::FetchDns,
            FetchProblem::Connect => FailureCode::FetchConnect,
            FetchProblem::TlsRoots => FailureCode::FetchTlsRoots,
            FetchProblem::TlsKey => FailureCode::FetchTlsKey,
            FetchProblem::TlsClock => FailureCode::FetchTlsClock,
            FetchProblem::Tls | FetchProblem::NoTls => FailureCode::FetchTls,
            FetchProblem::Stalled { .. } => FailureCode::FetchStalled,
            FetchProblem::Slow => FailureCode::FetchSlow,
            FetchProblem::Status(_) => FailureCode::FetchStatus,
            FetchProblem::Busy { .. } => FailureCode::FetchBusy,
            FetchProblem::Redirect(_) => FailureCode::FetchRedirect,
            FetchProblem::WebPage => FailureCode::FetchWebPage,
            FetchProblem::NoRanges => FailureCode::FetchRange,
            FetchProblem::Answer(_) => FailureCode::FetchResponse,
            FetchProblem::TooLarge { .. } => FailureCode::FetchTooLarge,
            FetchProblem::Cut | FetchProblem::Short { .. } => FailureCode::FetchTruncated,
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
    /// Returns the failure of a request for `url`.
    #[must_use]
    pub fn new(url: &Url, problem: FetchProblem) -> Self {
        Self {
            url: shown(url.as_str(), LONGEST_URL),
            problem,
            source: None,
        }
    }

    /// The same, of a server that the mirror sent us on to.
    pub(super) fn sent_on_from(mut self, mirror: &Url) -> Self {
        self.url = format!(
            "{}, sent on to {}",
            shown(mirror.as_str(), LONGEST_URL),
            self.url
        );
        self
    }

    /// How long the mirror asked to be left alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.problem {
            FetchProblem::Busy { retry_after } => retry_after,
            _ => None,
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
            | FetchProblem::WebPage
            | FetchProblem::Cut => away,
            FetchProblem::Status(status) if status.is_server_error() => away,
            FetchProblem::Status(StatusCode::REQUEST_TIMEOUT) => away,
            FetchProblem::Status(_)
            | FetchProblem::TlsRoots
            | FetchProblem::TlsKey
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
            .is_some_and(|error| error.code() == FailureCode::FetchDns)
        {
            FetchProblem::Address
        } else if find_cause::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
            FetchProblem::Answer("its head is not HTTP, or too large".to_owned())
        } else if find_cause::<std::io::Error>(&error).is_some_and(is_bad_chunking) {
            FetchProblem::Answer("its transfer coding is broken".to_owned())
        } else if error.is_connect() {
            FetchProblem::Connect
        } else if error.is_timeout() {
            let seconds = STALL_TIMEOUT.as_secs();
            FetchProblem::Stalled { seconds }
        } else {
            FetchProblem::Cut
        };
        Self {
            url: shown(url.as_str(), LONGEST_URL),
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

/// What hyper says of a body in chunks whose sizes make no sense (its `proto/h1/decode.rs`).
fn is_bad_chunking(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::InvalidData
    )
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
        rustls::Error::InvalidCertificate(Bad::Other(other))
            if find_cause::<webpki::Error>(other) == Some(&webpki::Error::CaUsedAsEndEntity) =>
        {
            FetchProblem::TlsRoots
        }
        rustls::Error::InvalidCertificate(Bad::ApplicationVerificationFailure) => {
            FetchProblem::TlsKey
        }
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
