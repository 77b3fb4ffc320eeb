//! Signed images of any shape, good and hostile, made in memory.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::Write as _;

use jiff::{SignedDuration, Timestamp};
use sealboot::format::archive;
use sealboot::format::digest::Sha256Digest;
use sealboot::format::manifest::{Archive, Encoding, ImageFile, Manifest};
use sealboot::format::pem::PrivateKey;
use sealboot::trust::policy::{AcceptedImage, Signer, TrustPolicy};
use sealboot::trust::verified::Expected;
use sealboot::trust::{Envelope, Verified};

/// The smallest chunk there is, so that small archives have several.
pub(crate) const CHUNK: u64 = 64 << 10;

/// A noon in 2026.
pub(crate) fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// Bytes that no compressor can shorten, the same at every run.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// The manifest's entry for a file of these bytes.
pub(crate) fn entry(path: &str, bytes: &[u8]) -> ImageFile {
    ImageFile {
        path: path.parse().unwrap(),
        size: bytes.len() as u64,
        sha256: Sha256Digest::of(bytes),
    }
}

/// The tar that a packer makes of these files.
pub(crate) fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (path, bytes) in files {
        tar.extend_from_slice(
            archive::header(&path.parse().unwrap(), bytes.len() as u64).as_bytes(),
        );
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// One gzip member of these bytes.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A manifest that claims `files` of an archive whose stored bytes are `stored`.
pub(crate) fn manifest(stored: &[u8], encoding: Encoding, files: Vec<ImageFile>) -> Manifest {
    let sha256 = Sha256Digest::of(stored);
    Manifest {
        name: "relay".parse().unwrap(),
        version: 42.try_into().unwrap(),
        label: "2026.11.21-test".parse().unwrap(),
        arch: sealboot::format::manifest::Arch::X86_64,
        created: noon(),
        expires: Some(noon() + SignedDuration::from_hours(24 * 30)),
        cmdline: "console=ttyS0".parse().unwrap(),
        archive: Archive {
            path: Archive::blob_path(&sha256, encoding),
            encoding,
            size: stored.len() as u64,
            sha256,
            chunk_size: CHUNK,
            chunks: stored
                .chunks(CHUNK as usize)
                .map(Sha256Digest::of)
                .collect(),
        },
        files,
    }
}

/// Two signers and the policy that asks for both.
pub(crate) struct Trust {
    pub(crate) alice: PrivateKey,
    pub(crate) bob: PrivateKey,
    pub(crate) policy: TrustPolicy,
}

impl Trust {
    pub(crate) fn new() -> Self {
        let (alice, bob) = (
            PrivateKey::generate().unwrap(),
            PrivateKey::generate().unwrap(),
        );
        let signer = |name: &str, key: &PrivateKey| Signer {
            name: name.parse().unwrap(),
            key: key.public(),
        };
        let images = vec![AcceptedImage {
            name: "relay".parse().unwrap(),
            min_version: 41.try_into().unwrap(),
        }];
        let policy = TrustPolicy::new(
            vec![signer("alice", &alice), signer("bob", &bob)],
            2,
            images,
        )
        .unwrap();
        Self { alice, bob, policy }
    }

    /// The envelope of `manifest`, signed by these keys in order.
    pub(crate) fn signed_by(&self, manifest: &Manifest, keys: &[&PrivateKey]) -> Envelope {
        let mut envelope = Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest.encode());
        for key in keys {
            let signature = key.sign(&envelope.signed_bytes());
            envelope.add_signature(key.public().id(), signature);
        }
        envelope
    }

    /// The envelope of `manifest`, signed by both.
    pub(crate) fn signed(&self, manifest: &Manifest) -> Envelope {
        self.signed_by(manifest, &[&self.alice, &self.bob])
    }

    /// `manifest` as a boot would have it.
    pub(crate) fn verified(&self, manifest: &Manifest) -> Verified<Manifest> {
        let expected = Expected {
            name: None,
            arch: None,
            now: noon(),
        };
        self.policy
            .verify_manifest(&self.signed(manifest).encode(), &expected)
            .unwrap()
    }
}

/// A small good image: its files, its stored archive and its manifest.
pub(crate) fn image(encoding: Encoding) -> (Vec<(&'static str, Vec<u8>)>, Vec<u8>, Manifest) {
    let files = vec![
        ("boot/vmlinuz", noise(200_001, 1)),
        ("boot/initrd.0", noise(300_001, 2)),
        ("boot/initrd.1", noise(100_002, 3)),
        ("meta/os-release", b"ID=test\n".to_vec()),
    ];
    let tar = tar_of(&files);
    let stored = match encoding {
        Encoding::None => tar,
        Encoding::Gzip => gzip(&tar),
    };
    let entries = files
        .iter()
        .map(|(path, bytes)| entry(path, bytes))
        .collect();
    let manifest = manifest(&stored, encoding, entries);
    (files, stored, manifest)
}
