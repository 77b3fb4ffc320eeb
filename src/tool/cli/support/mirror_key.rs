//! The key of a mirror, in a file.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::Failure;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_store::files;

/// The key of a mirror, and what its certificate says of it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct MirrorKey {
    /// The SHA-256 of the key's SubjectPublicKeyInfo.
    pub(in crate::cli) digest: Sha256Digest,
    /// The certificate is an authority's: no mirror has its key.
    pub(in crate::cli) is_authority: bool,
}

/// Reads a mirror's key out of a PEM file with its certificate; the first certificate counts.
pub(in crate::cli) fn mirror_key(path: &Path) -> Result<MirrorKey, Failure> {
    let pem = files::read(path, LIMITS.tls_roots_bytes)?;
    let unusable = || {
        Failure::new(format!("{} holds no certificate that can be read", path.display()))
            .hint("give the mirror's certificate in PEM, such as the server.pem of `sealboot tls generate`")
    };
    let certificate =
        CertificateDer::from_pem_slice(&pem).map_err(|error| unusable().because(&error))?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate)
        .map_err(|error| unusable().because(&error))?;
    Ok(MirrorKey {
        digest: Sha256Digest::of(certificate.public_key().raw),
        is_authority: certificate.is_ca(),
    })
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::SubjectPublicKeyInfoDer;

    use super::super::failure::Exit;
    use super::*;

    #[test]
    fn a_mirrors_key_is_in_its_certificate() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(key.public_key_pem().as_bytes());
        let digest = Sha256Digest::of(&spki.expect("a public key"));
        let directory = tempfile::tempdir().expect("a directory");
        let put = |name: &str, pem: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, pem).expect("written");
            path
        };
        let mut params =
            rcgen::CertificateParams::new(["boot.example".to_owned()]).expect("a name");
        for (name, is_ca, is_authority) in [
            ("server.pem", rcgen::IsCa::NoCa, false),
            (
                "ca.pem",
                rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
                true,
            ),
        ] {
            params.is_ca = is_ca;
            let file = put(name, params.self_signed(&key).expect("signed").pem());
            let expected = MirrorKey {
                digest,
                is_authority,
            };
            assert_eq!(mirror_key(&file).expect(name), expected);
        }
        for bad in [
            put("key.pem", key.serialize_pem()),
            put("empty.pem", String::new()),
            "absent.pem".into(),
        ] {
            assert_eq!(mirror_key(&bad).expect_err("refused").exit(), Exit::Failed);
        }
    }
}
