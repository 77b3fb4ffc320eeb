//! Detached signatures that each hold one mistake, and envelopes for them to be merged into.

use std::path::Path;

use sealboot_core::trust::Envelope;
use sealboot_core::trust::detached::DetachedSignatures;
use sealboot_core::trust::envelope::EnvelopeSignature;

use super::{alice, bob, carol, mallory, manifest, put, seal_manifest};

/// Writes each as a file of its own; `full` is an envelope with as many signatures as are read.
pub fn build(directory: &Path, full: &Path) {
    let unsigned = Envelope::parse(&seal_manifest(&manifest(42), &[])).unwrap();
    let detached = |key_id: String, bytes: Vec<u8>| {
        let signature = EnvelopeSignature::new(key_id, bytes);
        DetachedSignatures::of(&unsigned.with_only(signature)).encode()
    };
    let signed = |envelope: &Envelope| mallory().sign(&envelope.signed_bytes()).to_vec();
    let good = String::from_utf8(detached(
        alice().public().id().to_string(),
        alice().sign(&unsigned.signed_bytes()).to_vec(),
    ))
    .unwrap();
    let edited = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1).into_bytes()
    };
    let full = Envelope::parse(&std::fs::read(full).unwrap()).unwrap();
    let for_full = full.with_only(EnvelopeSignature::new(
        mallory().public().id().to_string(),
        signed(&full),
    ));
    let list = &good[good.find("    {").unwrap()..good.find("\n  ]").unwrap()];
    for (name, bytes) in [
        (
            "under-bobs-key-id.sig",
            detached(bob().public().id().to_string(), signed(&unsigned)),
        ),
        (
            "under-carols-key-id.sig",
            detached(carol().public().id().to_string(), vec![7; 64]),
        ),
        (
            "other-type.sig",
            edited("vnd.sealboot.manifest.v1+json", "vnd.example+json"),
        ),
        (
            "unknown-field.sig",
            edited("{\n", "{\n  \"certificate\": \"\",\n"),
        ),
        (
            "short.sig",
            detached(alice().public().id().to_string(), vec![7; 63]),
        ),
        ("none.sig", edited(list, "")),
        ("huge.sig", vec![b' '; 32_769]),
        ("for-full.sig", DetachedSignatures::of(&for_full).encode()),
        ("unsigned.json", unsigned.encode()),
    ] {
        put(&directory.join(name), &bytes);
    }
}
