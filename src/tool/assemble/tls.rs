//! A certificate authority and server certificates for labs and private fleets.
//!
//! Where an organisation has an authority, or the mirrors are public and have certificates by ACME,
//! those are the better choice. This is for everything before that: two commands, and loaders trust
//! exactly one authority, which exists for nothing else.
//!
//! Keys are ECDSA on P-256, the one kind that every TLS library knows. The authority can issue no
//! further authorities (`pathlen:0`), the server certificate is good for TLS servers only.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
};
use x509_parser::pem::Pem;
use x509_parser::time::ASN1Time;
use zeroize::Zeroizing;

use sealboot_core::format::Invalid;

/// How long before its making a certificate is valid: machines whose clock runs late accept it too.
const BACKDATED: SignedDuration = SignedDuration::from_hours(24);

/// How long an authority is valid: 10 years. It is baked into initramfs images, so it must outlive
/// them; nothing revokes it but building them anew.
const AUTHORITY_DAYS: u32 = 3650;

/// A host that a server certificate is for: a DNS name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A DNS name, in lower case, without a trailing dot and without a wildcard.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl FromStr for Host {
    type Err = Invalid;

    fn from_str(host: &str) -> Result<Self, Invalid> {
        if let Ok(address) = host.parse() {
            return Ok(Self::Address(address));
        }
        // RFC 1123, section 2.1. A last label of digits alone is a mistyped IPv4 address.
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let last = host.rsplit('.').next().unwrap_or_default();
        if host.len() <= 253
            && host.split('.').all(label)
            && !last.bytes().all(|byte| byte.is_ascii_digit())
        {
            Ok(Self::Name(host.to_ascii_lowercase()))
        } else {
            Err(Invalid::new(
                "host",
                host,
                "a DNS name or an IP address, without scheme, port, wildcard or brackets",
            ))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// An authority or certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority's certificate file holds no certificate.
    #[error("the authority's certificate is no X.509 certificate in PEM")]
    Certificate,
    /// The authority's key file holds no key.
    #[error("the authority's key is no private key in PEM")]
    Key(#[source] rcgen::Error),
    /// The two are no pair.
    #[error("the authority's key does not belong to its certificate")]
    Mismatch,
    /// The certificate is a server's, say.
    #[error("the certificate is not one of an authority")]
    NotAnAuthority,
    /// Loaders would refuse the server certificate once the authority has expired.
    #[error("the authority expires on {authority}, before the certificate would, on {certificate}")]
    Outlived {
        /// When the authority expires.
        authority: Timestamp,
        /// When the certificate would.
        certificate: Timestamp,
    },
    /// The time is past what a certificate can say.
    #[error("{0} days from now is past the year 9999")]
    Days(u32),
    /// The library refused, as it does without random numbers.
    #[error("the certificate cannot be made")]
    Make(#[source] rcgen::Error),
}

impl TlsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Certificate | Self::Key(_) | Self::Mismatch | Self::NotAnAuthority => {
                "restore ca.pem and ca.key as they were made, or move both away to start a new authority; loaders then need new --tls-roots"
            }
            Self::Outlived { .. } => {
                "ask for fewer --days, or move ca.pem and ca.key away to start a new authority; loaders then need new --tls-roots"
            }
            Self::Days(_) => "ask for fewer --days",
            Self::Make(_) => "look at the cause above; nothing was written",
        }
    }
}

/// A certificate in PEM and its private key in PKCS#8 PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: Zeroizing<String>,
    /// When the certificate expires.
    pub not_after: Timestamp,
}

/// Shows no secret.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// A certificate authority that can issue server certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    not_after: Timestamp,
}

impl Authority {
    /// Makes a new authority, as it is valid at `now`; the pair is what is to be kept.
    ///
    /// # Errors
    ///
    /// [`TlsError::Make`].
    pub fn generate(now: Timestamp) -> Result<(Self, Pair), TlsError> {
        let key = KeyPair::generate().map_err(TlsError::Make)?;
        let mut params = params(now, AUTHORITY_DAYS)?;
        // The key id tells apart two authorities that were made here.
        let name = format!("Sealboot lab authority {}", short_id(&key));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).map_err(TlsError::Make)?;
        let not_after = expiry(now, AUTHORITY_DAYS)?;
        let pair = Pair {
            certificate: certificate.pem(),
            key: Zeroizing::new(key.serialize_pem()),
            not_after,
        };
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer, not_after }, pair))
    }

    /// Takes up an authority that exists: the first certificate in `certificate`, and its key.
    ///
    /// # Errors
    ///
    /// [`TlsError`] for files that are no pair, or no authority's.
    pub fn from_pem(certificate: &[u8], key: &str) -> Result<Self, TlsError> {
        let pem = Pem::iter_from_buffer(certificate)
            .next()
            .and_then(Result::ok)
            .filter(|pem| pem.label == "CERTIFICATE")
            .ok_or(TlsError::Certificate)?;
        let parsed = pem.parse_x509().map_err(|_| TlsError::Certificate)?;
        let key = KeyPair::from_pem(key).map_err(TlsError::Key)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(TlsError::Mismatch);
        }
        let may_sign = parsed
            .key_usage()
            .map_err(|_| TlsError::Certificate)?
            .is_none_or(|usage| usage.value.key_cert_sign());
        if !parsed.is_ca() || !may_sign {
            return Err(TlsError::NotAnAuthority);
        }
        let not_after = timestamp(parsed.validity().not_after).ok_or(TlsError::Certificate)?;
        let der = pem.contents.as_slice().into();
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|_| TlsError::Certificate)?;
        Ok(Self { issuer, not_after })
    }

    /// Issues a certificate for a server, valid for `days` from `now`.
    ///
    /// # Errors
    ///
    /// [`TlsError::Outlived`], [`TlsError::Days`], [`TlsError::Make`].
    pub fn issue(&self, hosts: &[Host], days: u32, now: Timestamp) -> Result<Pair, TlsError> {
        let not_after = expiry(now, days)?;
        if not_after > self.not_after {
            return Err(TlsError::Outlived {
                authority: self.not_after,
                certificate: not_after,
            });
        }
        let key = KeyPair::generate().map_err(TlsError::Make)?;
        let mut params = params(now, days)?;
        // Names stand in the alternative names alone, where clients look (RFC 9525, section 6); this
        // one is for people, and has room for 64 characters.
        let name = format!("Sealboot server {}", short_id(&key));
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = hosts
            .iter()
            .map(|host| match host {
                Host::Address(address) => Ok(SanType::IpAddress(*address)),
                Host::Name(name) => name.as_str().try_into().map(SanType::DnsName),
            })
            .collect::<Result<_, _>>()
            .map_err(TlsError::Make)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(TlsError::Make)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: Zeroizing::new(key.serialize_pem()),
            not_after,
        })
    }
}

fn params(now: Timestamp, days: u32) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let date = |time: Timestamp| ASN1Time::from_timestamp(time.as_second()).ok();
    let before = now.checked_sub(BACKDATED).ok().and_then(date);
    let after = date(expiry(now, days)?);
    let (Some(before), Some(after)) = (before, after) else {
        return Err(TlsError::Days(days));
    };
    params.not_before = before.to_datetime();
    params.not_after = after.to_datetime();
    Ok(params)
}

fn expiry(now: Timestamp, days: u32) -> Result<Timestamp, TlsError> {
    now.checked_add(SignedDuration::from_hours(24 * i64::from(days)))
        .map_err(|_| TlsError::Days(days))
}

fn timestamp(time: ASN1Time) -> Option<Timestamp> {
    Timestamp::from_second(time.timestamp()).ok()
}

/// Eight hex digits of SHA-256 of the public key.
fn short_id(key: &KeyPair) -> String {
    let digest = sealboot_core::format::digest::Sha256Digest::of(&key.subject_public_key_info());
    digest.to_string()[..8].to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::{CertificateError, Error, RootCertStore};
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    fn hosts(hosts: &[&str]) -> Vec<Host> {
        hosts.iter().map(|host| host.parse().unwrap()).collect()
    }

    fn verify(authority: &Pair, server: &Pair, host: &str, at: Timestamp) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap()
            .verify_server_cert(
                &CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap(),
                &[],
                &ServerName::try_from(host.to_owned()).unwrap(),
                &[],
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(
                    at.as_second().try_into().unwrap(),
                )),
            )
            .map(drop)
    }

    #[test]
    fn a_client_that_trusts_the_authority_accepts_the_server() {
        let now = Timestamp::now();
        let (authority, ca) = Authority::generate(now).unwrap();
        let hosts = hosts(&["boot.example", "192.0.2.1", "2001:db8::1"]);
        let server = authority.issue(&hosts, 365, now).unwrap();
        for host in ["boot.example", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(verify(&ca, &server, host, now), Ok(()), "{host}");
        }
        let yesterday = now - SignedDuration::from_hours(23);
        assert_eq!(verify(&ca, &server, "boot.example", yesterday), Ok(()));
    }

    #[test]
    fn a_client_refuses_everything_else() {
        let now = Timestamp::now();
        let (authority, ca) = Authority::generate(now).unwrap();
        let server = authority.issue(&hosts(&["boot.example"]), 2, now).unwrap();
        for host in ["example", "www.boot.example", "192.0.2.1"] {
            let error = verify(&ca, &server, host, now).unwrap_err();
            let Error::InvalidCertificate(error) = error else {
                panic!("{error:?}")
            };
            assert!(matches!(
                error,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ));
        }
        let (_, other) = Authority::generate(now).unwrap();
        for (ca, at) in [
            (&other, now),
            (&ca, now - SignedDuration::from_hours(25)),
            (&ca, now + SignedDuration::from_hours(49)),
        ] {
            assert!(verify(ca, &server, "boot.example", at).is_err());
        }
        // A server certificate signs nothing: not as an authority's, not as a trust anchor's child.
        assert!(verify(&server, &other, "boot.example", now).is_err());
    }

    #[test]
    fn an_authority_is_taken_up_again() {
        let now = Timestamp::now();
        let (_, ca) = Authority::generate(now).unwrap();
        let again = Authority::from_pem(ca.certificate.as_bytes(), &ca.key).unwrap();
        let server = again.issue(&hosts(&["boot.example"]), 30, now).unwrap();
        assert_eq!(verify(&ca, &server, "boot.example", now), Ok(()));
    }

    #[test]
    fn what_is_no_authority_is_not_taken_up() {
        let now = Timestamp::now();
        let (authority, ca) = Authority::generate(now).unwrap();
        let (_, other) = Authority::generate(now).unwrap();
        let server = authority.issue(&hosts(&["boot.example"]), 30, now).unwrap();
        let error = |certificate: &str, key: &str| {
            Authority::from_pem(certificate.as_bytes(), key).unwrap_err()
        };
        assert!(matches!(
            error(&ca.certificate, &other.key),
            TlsError::Mismatch
        ));
        assert!(matches!(
            error(&server.certificate, &server.key),
            TlsError::NotAnAuthority
        ));
        for bad in ["", "hello", &ca.key, &ca.certificate[..200]] {
            assert!(
                matches!(error(bad, &ca.key), TlsError::Certificate),
                "{bad}"
            );
        }
        for bad in ["", "hello", &ca.certificate, &ca.key[..60]] {
            assert!(
                matches!(error(&ca.certificate, bad), TlsError::Key(_)),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_certificate_does_not_outlive_its_authority() {
        let now = Timestamp::now();
        let (authority, ca) = Authority::generate(now).unwrap();
        let hosts = hosts(&["boot.example"]);
        assert!(authority.issue(&hosts, AUTHORITY_DAYS, now).is_ok());
        for days in [AUTHORITY_DAYS + 1, 100_000] {
            let error = authority.issue(&hosts, days, now).unwrap_err();
            assert!(matches!(error, TlsError::Outlived { .. }), "{error}");
        }
        let error = authority.issue(&hosts, u32::MAX, now).unwrap_err();
        assert!(matches!(error, TlsError::Days(_)), "{error}");
        assert!(!format!("{ca:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (text, shown) in [
            ("boot.example", "boot.example"),
            ("BOOT.Example", "boot.example"),
            ("localhost", "localhost"),
            ("a-b.c3", "a-b.c3"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            ".",
            "boot.example.",
            ".example",
            "a..b",
            "*.example",
            "-a.example",
            "a-.example",
            "a_b.example",
            "a b",
            "https://boot.example",
            "boot.example:8443",
            "boot.example/",
            "[2001:db8::1]",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.1/24",
            "bücher.example",
            &"a".repeat(64),
            &"a.".repeat(130),
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?}");
        }
    }
}
