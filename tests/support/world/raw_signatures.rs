//! Signatures over version 42 of `relay` as a KMS or an HSM returns them, mistakes, and public keys that are none.

use std::path::Path;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::trust::Envelope;

use super::{alice, bob, mallory, manifest, put, seal_manifest};

/// Writes each as a file of its own.
pub fn build(directory: &Path) {
    let envelope = Envelope::parse(&seal_manifest(&manifest(42), &[])).unwrap();
    let bytes = envelope.signed_bytes();
    let alices = alice().sign(&bytes);
    let digest = Sha256Digest::of(&bytes);
    let signed = String::from_utf8(seal_manifest(&manifest(42), &[bob()])).unwrap();
    let (_, sig) = signed.split_once("\"sig\": \"").unwrap();
    let (bobs, _) = sig.split_once('"').unwrap();
    for (name, signature) in [
        ("alice.sig", &alices[..]),
        ("bob.base64", format!("{bobs}\n").as_bytes()),
        ("mallory.sig", &mallory().sign(&bytes)),
        (
            "over-payload.sig",
            &alice().sign(envelope.unverified_payload()),
        ),
        ("over-file.sig", &alice().sign(&envelope.encode())),
        ("over-digest.sig", &alice().sign(digest.as_bytes())),
        ("short.sig", &alices[1..]),
        ("long.sig", &[&alices[..], &[0]].concat()),
    ] {
        put(&directory.join(name), signature);
    }
    for (name, key) in [
        ("small-order.pub", SMALL_ORDER),
        ("not-canonical.pub", NOT_CANONICAL),
    ] {
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n");
        put(&directory.join(name), pem.as_bytes());
    }
}

/// The identity of the curve in SPKI (RFC 8410): anyone can make signatures for it.
const SMALL_ORDER: &str = "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// The point of y = 3 in SPKI, spelled as y = p + 3.
const NOT_CANONICAL: &str = "MCowBQYDK2VwAyEA8P///////////////////////////////////////38=";
