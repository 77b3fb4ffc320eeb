//! Who does the cryptography of TLS, for every binary.

use std::sync::Arc;

/// The one TLS provider of every binary: aws-lc-rs, which prefers X25519MLKEM768.
#[must_use]
pub fn tls_provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
