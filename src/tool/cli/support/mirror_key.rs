//! The key of a mirror, as it is typed.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use sealboot_core::format::digest::Sha256Digest;

/// Reads a mirror's key: digits, or a PEM file with its certificate; the first certificate counts.
///
/// # Errors
///
/// Where it is neither.
pub(in crate::cli) fn mirror_key(text: &str) -> Result<Sha256Digest, String> {
    if let Ok(digest) = text.parse() {
        return Ok(digest);
    }
    let certificate = CertificateDer::from_pem_file(text).map_err(|error| {
        format!("it is neither 64 hexadecimal digits nor a PEM file with a certificate: {error}")
    })?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate)
        .map_err(|_| "the certificate in it cannot be read".to_owned())?;
    Ok(Sha256Digest::of(certificate.public_key().raw))
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::SubjectPublicKeyInfoDer;

    use super::*;

    #[test]
    fn a_mirrors_key_is_digits_or_in_a_certificate() {
        let digest = "ab".repeat(32);
        assert_eq!(mirror_key(&digest).expect("digits").to_string(), digest);
        let key = rcgen::KeyPair::generate().expect("a key");
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(key.public_key_pem().as_bytes());
        let spki = Sha256Digest::of(&spki.expect("a public key"));
        let directory = tempfile::tempdir().expect("a directory");
        let put = |name: &str, pem: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, pem).expect("written");
            path.to_str().expect("text").to_owned()
        };
        let params = rcgen::CertificateParams::new(["boot.example".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("signed");
        let file = put("server.pem", certificate.pem());
        assert_eq!(mirror_key(&file), Ok(spki));
        for bad in [
            put("key.pem", key.serialize_pem()),
            put("empty.pem", String::new()),
            "absent.pem".to_owned(),
            digest.to_uppercase(),
        ] {
            assert!(mirror_key(&bad).is_err(), "{bad}");
        }
    }
}
