//! Copies of envelopes that each hold one mistake, and envelopes for them to be merged into.

use std::path::Path;

use sealboot_core::trust::Envelope;
use sealboot_core::trust::envelope::EnvelopeSignature;

use super::{PrivateKey, alice, bob, carol, mallory, manifest, put, seal_manifest};

/// Writes each as a file of its own; `full` is an envelope with as many signatures as are read.
pub fn build(directory: &Path, full: &Path) {
    let unsigned = Envelope::parse(&seal_manifest(&manifest(42), &[])).unwrap();
    let full = Envelope::parse(&std::fs::read(full).unwrap()).unwrap();
    let copy = |of: &Envelope, key_id: &PrivateKey, signature: &[u8]| {
        let key_id = key_id.public().id().to_string();
        of.with_only(EnvelopeSignature::new(key_id, signature))
    };
    let mallorys = mallory().sign(&unsigned.signed_bytes());
    let alices = copy(&unsigned, &alice(), &alice().sign(&unsigned.signed_bytes()));
    let edited = |from: &str, to: &str| {
        let json = String::from_utf8(alices.encode()).unwrap();
        assert!(json.contains(from), "{from}");
        json.replacen(from, to, 1).into_bytes()
    };
    let other_type = Envelope::unsigned("application/vnd.example+json", b"{}".to_vec());
    for (name, bytes) in [
        (
            "under-bobs-key-id.json",
            copy(&unsigned, &bob(), &mallorys).encode(),
        ),
        (
            "under-carols-key-id.json",
            copy(&unsigned, &carol(), &[7; 64]).encode(),
        ),
        (
            "other-type.json",
            copy(&other_type, &alice(), &[7; 64]).encode(),
        ),
        (
            "unknown-field.json",
            edited("{\n", "{\n  \"certificate\": \"\",\n"),
        ),
        ("short.json", copy(&unsigned, &alice(), &[7; 63]).encode()),
        (
            "for-full.json",
            copy(&full, &mallory(), &mallory().sign(&full.signed_bytes())).encode(),
        ),
        ("unsigned.json", unsigned.encode()),
    ] {
        put(&directory.join(name), &bytes);
    }
}
