//! Archives of any shape and manifests that claim anything of them, validly signed.

use jiff::{SignedDuration, Timestamp};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Encoding, ImageFile, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Current, Verified};

use super::super::noise::noise;
pub use super::CHUNK;
use super::{alice, bob, channel, encoded, manifest, policy, seal_manifest, stored, tar};

/// A noon in 2026.
pub fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// The manifest's entry for a file of these bytes.
pub fn entry(path: &str, bytes: &[u8]) -> ImageFile {
    ImageFile {
        path: path.parse().unwrap(),
        size: bytes.len() as u64,
        sha256: Sha256Digest::of(bytes),
        unpacked_size: None,
    }
}

/// A manifest that claims `files` of an archive whose stored bytes are `archive`.
pub fn claim(archive: &[u8], encoding: Encoding, files: Vec<ImageFile>) -> Manifest {
    Manifest {
        created: noon(),
        expires: Some(noon() + SignedDuration::from_hours(24 * 30)),
        archive: stored(archive, encoding),
        files,
        ..manifest(42)
    }
}

/// `manifest` as a boot would have it.
pub fn current(manifest: &Manifest) -> Current {
    let expected = Expected {
        name: &"relay".parse().unwrap(),
        arch: None,
        now: noon().into(),
    };
    let envelope = seal_manifest(manifest, &[alice(), bob()]);
    policy()
        .verify_channel(&channel(&envelope, None), &expected)
        .unwrap()
}

/// The same without the channel around it.
pub fn verified(manifest: &Manifest) -> Verified<Manifest> {
    current(manifest).manifest().clone()
}

/// The members of an archive, by their paths.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// A good image of ten chunks: its files, two initrds among them, its stored archive and its manifest.
pub fn image(encoding: Encoding) -> (Files, Vec<u8>, Manifest) {
    let files = vec![
        ("boot/vmlinuz", noise(200_001, 1)),
        ("boot/initrd.0", noise(300_001, 2)),
        ("boot/initrd.1", noise(100_002, 3)),
    ];
    let archive = encoded(&tar(&files), encoding);
    let entries = files
        .iter()
        .map(|(path, bytes)| entry(path, bytes))
        .collect();
    let manifest = claim(&archive, encoding, entries);
    (files, archive, manifest)
}
