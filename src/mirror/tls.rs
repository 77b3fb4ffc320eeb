//! Who the server says it is: a certificate chain and its private key, ready for TLS 1.3.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate chain and the private key of its first certificate, checked against each other.
#[derive(Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// The PEM files do not make an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No certificate in the certificate file, or one that cannot be read.
    #[error("the certificate file holds no usable X.509 certificate in PEM")]
    Certificate(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// No private key in the key file, or an encrypted one, or one of an unknown kind.
    #[error("the key file holds no usable private key in PEM")]
    Key(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// The private key is another certificate's.
    #[error("the private key does not belong to the first certificate of the certificate file")]
    Mismatch,
}

impl IdentityError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Certificate(_) => "give the server's certificate first, then the intermediate ones, as BEGIN CERTIFICATE blocks; for a lab, `sealboot tls generate` makes one",
            Self::Key(_) => "give an unencrypted PKCS#8, PKCS#1 or SEC1 key (ECDSA, ed25519 or RSA)",
            Self::Mismatch => "give the key that was made with this certificate, and put the server's own certificate first in the file",
        }
        .to_owned()
    }
}

impl Identity {
    /// Reads a PEM chain, the server's own certificate first, and an unencrypted PEM key.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] says which of the two files is wrong, or that they do not fit.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| IdentityError::Certificate(Some(error.into())))?;
        let leaf = chain.first().ok_or(IdentityError::Certificate(None))?;
        let (not_before, not_after) = validity(leaf)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            IdentityError::Key(match error {
                pem::Error::NoItemsFound => None,
                error => Some(error.into()),
            })
        })?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap_or_else(|error| unreachable!("the provider has TLS 1.3 cipher suites: {error}"))
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => IdentityError::Mismatch,
                error @ rustls::Error::InvalidCertificate(_) => {
                    IdentityError::Certificate(Some(error.into()))
                }
                error => IdentityError::Key(Some(error.into())),
            })?;
        // A client that offers HTTP/2 alone learns in the handshake that it is not spoken here.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            not_before,
            not_after,
        })
    }

    /// From when to when clients accept the certificate.
    #[must_use]
    pub const fn validity(&self) -> (Timestamp, Timestamp) {
        (self.not_before, self.not_after)
    }

    pub(super) fn into_config(self) -> Arc<ServerConfig> {
        self.config
    }
}

/// Shows no secret.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// aws-lc-rs, with the post-quantum hybrid first: an image that crosses a network today may be worth
/// reading in twenty years. The classical groups are for clients that lack it. rustls takes the first
/// group of the *client's* list that stands here, and clients that have the hybrid put it first.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
            aws_lc_rs::kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    }
}

fn validity(leaf: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), IdentityError> {
    let unusable =
        |error: Box<dyn std::error::Error + Send + Sync>| IdentityError::Certificate(Some(error));
    let (_, certificate) =
        x509_parser::parse_x509_certificate(leaf).map_err(|error| unusable(error.into()))?;
    let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp());
    let validity = certificate.validity();
    let not_before = time(validity.not_before).map_err(|error| unusable(error.into()))?;
    let not_after = time(validity.not_after).map_err(|error| unusable(error.into()))?;
    Ok((not_before, not_after))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn identity(chain: &str, key: &str) -> Result<Identity, IdentityError> {
        Identity::from_pem(chain.as_bytes(), key.as_bytes())
    }

    #[test]
    fn a_certificate_and_its_key_make_an_identity() {
        let (chain, key) = pair();
        let made = identity(&chain, &key).unwrap();
        assert!(made.validity().0 < made.validity().1);
        assert!(!format!("{made:?}").contains("PRIVATE"));
        // A second certificate, as of an authority, may follow; order of other PEM blocks does not matter.
        identity(&format!("{key}{chain}{}", pair().0), &key).unwrap();
    }

    #[test]
    fn the_key_of_another_certificate_is_refused() {
        let error = identity(&pair().0, &pair().1).unwrap_err();
        assert!(matches!(error, IdentityError::Mismatch), "{error:?}");
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let (chain, key) = pair();
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n";
        for bad in [
            "",
            "hello",
            &key,
            garbage,
            broken,
            &chain[..chain.len() / 2],
        ] {
            let error = identity(bad, &key).unwrap_err();
            assert!(
                matches!(error, IdentityError::Certificate(_)),
                "{bad}: {error:?}"
            );
        }
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        let (chain, key) = pair();
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for bad in [
            "",
            "hello",
            &chain,
            &encrypted,
            garbage,
            &key[..key.len() / 2],
        ] {
            let error = identity(&chain, bad).unwrap_err();
            assert!(matches!(error, IdentityError::Key(_)), "{bad}: {error:?}");
        }
    }

    #[test]
    fn the_post_quantum_group_is_there_and_first() {
        assert_eq!(
            provider().kx_groups[0].name(),
            rustls::NamedGroup::X25519MLKEM768
        );
    }
}
