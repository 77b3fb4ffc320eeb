//! Mirrors that are known by their keys, in place of an authority and the clock.
//!
//! A host config may name the keys of its mirrors: SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 5280, section
//! 4.1). A server that proves in the handshake to have such a key is a mirror, whatever else its certificate says: no
//! authority is asked, no name compared and no date judged. A machine whose clock is years off still reaches its
//! mirrors, and a stolen authority is worth nothing. The price is that a mirror's new key must be in the host configs
//! first.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use webpki::EndEntityCert;

use sealboot_core::format::digest::Sha256Digest;

/// Takes a server for a mirror by its key alone.
#[derive(Debug)]
pub(super) struct MirrorKeys {
    keys: Vec<Sha256Digest>,
    provider: Arc<CryptoProvider>,
}

impl MirrorKeys {
    pub(super) fn new(keys: &[Sha256Digest], provider: Arc<CryptoProvider>) -> Self {
        Self {
            keys: keys.to_vec(),
            provider,
        }
    }
}

/// Returns the name of a certificate's key in a host config; `None` where the bytes are not a certificate.
#[must_use]
pub fn key_of(certificate: &CertificateDer<'_>) -> Option<Sha256Digest> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    Some(Sha256Digest::of(&certificate.subject_public_key_info()))
}

impl ServerCertVerifier for MirrorKeys {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = key_of(certificate);
        let key = key.ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.keys.contains(&key) {
            Ok(ServerCertVerified::assertion())
        } else {
            let other = CertificateError::ApplicationVerificationFailure;
            Err(Error::InvalidCertificate(other))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
