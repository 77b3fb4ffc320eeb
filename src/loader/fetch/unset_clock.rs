//! Certificates under a clock that is unset.
//!
//! A machine without a battery starts at the time at which its loader was built, and its mirror's certificate may be
//! newer. A certificate that is not valid yet is therefore judged at the time at which it becomes valid, and
//! must lead to a baked-in root then. What has ended stays refused. Nothing is kept: the next connection is
//! judged at the loader's time again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// How many certificates a path may have: the server's own and webpki's limit of six authorities.
const LONGEST_PATH: usize = 7;

/// Judges certificates as rustls does, but refuses none for being from the future.
#[derive(Debug)]
pub(super) struct UnsetClock {
    by_roots: Arc<WebPkiServerVerifier>,
    earliest: UnixTime,
}

impl UnsetClock {
    /// Returns a verifier that judges as `by_roots` does, at `earliest` or later.
    pub(super) fn new(by_roots: Arc<WebPkiServerVerifier>, earliest: Timestamp) -> Self {
        let since = u64::try_from(earliest.as_second()).unwrap_or_default();
        Self {
            by_roots,
            earliest: UnixTime::since_unix_epoch(Duration::from_secs(since)),
        }
    }
}

impl ServerCertVerifier for UnsetClock {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judge = |at| {
            self.by_roots
                .verify_server_cert(certificate, intermediates, name, ocsp, at)
        };
        let mut at = now.max(self.earliest);
        let mut judged = judge(at);
        // One certificate of the path after the other may be the one that is not valid yet.
        for _ in 0..LONGEST_PATH {
            match judged {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if not_before > at => at = not_before,
                judged => return judged,
            }
            judged = judge(at);
        }
        judged
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_roots
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_roots
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_roots.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::RootCertStore;

    use super::*;
    use crate::net::provider::tls_provider;

    /// From the first of January of one year to that of the other.
    type Years = (i32, i32);

    fn params((from, to): Years, names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        params
    }

    fn authority(years: Years, name: &str) -> CertificateParams {
        let mut params = params(years, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params
    }

    /// Judges a server's certificate of these years, below two authorities of those, at the start of 2026.
    fn judged(server: Years, lower: Years, upper: Years) -> Result<(), CertificateError> {
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(authority((2000, 2001), "root"), key()).unwrap();
        let upper = CertifiedIssuer::signed_by(authority(upper, "upper"), key(), &root).unwrap();
        let lower = CertifiedIssuer::signed_by(authority(lower, "lower"), key(), &upper).unwrap();
        let server = params(server, &["mirror.example"]);
        let server = server.signed_by(&key(), &lower).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let by_roots =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls_provider()).build();
        let judged = UnsetClock::new(by_roots.unwrap(), "2026-01-01T00:00:00Z".parse().unwrap())
            .verify_server_cert(
                server.der(),
                &[lower.der().clone(), upper.der().clone()],
                &ServerName::try_from("mirror.example").unwrap(),
                &[],
                UnixTime::since_unix_epoch(Duration::ZERO),
            );
        match judged {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_certificate_of_a_path_may_be_of_the_future() {
        for (server, lower, upper) in [
            ((2027, 2028), (2026, 2030), (2025, 2040)),
            // A cross-signed authority is younger than what it has signed.
            ((2027, 2040), (2028, 2040), (2029, 2040)),
        ] {
            assert_eq!(judged(server, lower, upper), Ok(()));
        }
    }

    #[test]
    fn a_path_that_was_never_valid_as_a_whole_is_refused() {
        for (server, lower, upper) in [
            // The server's own has ended, or an authority when the other became valid.
            ((2020, 2025), (2020, 2040), (2020, 2040)),
            ((2028, 2029), (2020, 2027), (2020, 2040)),
            ((2027, 2028), (2026, 2030), (2029, 2040)),
        ] {
            let judged = judged(server, lower, upper);
            assert!(
                matches!(judged, Err(CertificateError::ExpiredContext { .. })),
                "{judged:?}"
            );
        }
    }
}
