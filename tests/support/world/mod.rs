//! A small world to test in: four signers with fixed keys, an image, and stores that hold it.
//!
//! Everything is a function of its arguments: ed25519 signatures are deterministic, and no clock is
//! asked. So hashes in snapshots stay what they are until a format changes, which they then show.
pub mod archives;
pub mod attacks;
pub mod extended;
pub mod mirror;
pub mod odd_signatures;
pub mod policies;
pub mod raw_signatures;
pub mod trust;
pub mod zstd;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sealboot::keys::pem::PrivateKey;
use sealboot_core::format::archive::{self, END_OF_ARCHIVE};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Arch, Archive, Encoding, ImageFile, Manifest};
use sealboot_core::trust::policy::{AcceptedImage, ExpiryRule};
use sealboot_core::trust::{Envelope, TrustPolicy};

use super::places::repository;

macro_rules! signer {
    ($name:ident) => {
        /// The private key of this signer.
        pub fn $name() -> PrivateKey {
            PrivateKey::from_pem(include_str!(concat!(
                "../../cli/fixtures/test-only-keys/",
                stringify!($name),
                ".key"
            )))
            .unwrap()
        }
    };
}
signer!(alice);
signer!(bob);
signer!(carol);
// Of no policy.
signer!(mallory);
// Renews: of the freshness role of `fresh.json`.
signer!(clockwork);

/// Two of alice, bob and carol; image `relay` from version 41, and `exit`.
pub fn policy() -> TrustPolicy {
    let image = |name: &str, min_version: u64| {
        AcceptedImage::new(name.parse().unwrap(), min_version.try_into().unwrap())
    };
    let keys = [("alice", &alice()), ("bob", &bob()), ("carol", &carol())];
    trust::policy_of(2, &keys, vec![image("relay", 41), image("exit", 1)])
}

/// The same, for images that expire at most 90 days after they were made.
pub fn strict_policy() -> TrustPolicy {
    let rule = ExpiryRule {
        required: true,
        max_days: Some(90),
    };
    let changed = policy().with(|fields| fields.expiry = rule);
    changed.unwrap()
}

/// The smallest chunk there is, so that small archives have several.
pub const CHUNK: u64 = 64 << 10;

/// The members of an archive: large enough for three chunks of the smallest size.
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    let bytes = |seed: u32, len: u32| {
        (0..len)
            .map(|at| (at.wrapping_mul(seed) >> 8).to_le_bytes()[0])
            .collect::<Vec<u8>>()
    };
    vec![
        ("boot/vmlinuz", bytes(2_654_435_761, 40_000)),
        ("boot/initrd", bytes(40_503, 100_000)),
    ]
}

/// The tar of these files, as an archive holds it.
pub fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (path, bytes) in files {
        let header = archive::header(&path.parse().unwrap(), bytes.len() as u64);
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + usize::try_from(END_OF_ARCHIVE).unwrap(), 0);
    tar
}

/// What a manifest says of these stored bytes.
pub fn stored(bytes: &[u8], encoding: Encoding) -> Archive {
    Archive {
        encoding,
        size: bytes.len() as u64,
        chunk_size: CHUNK,
        chunks_sha256: Sha256Digest::of(&chunk_list(bytes)),
    }
}

/// The chunk list of these stored bytes, in the smallest chunks that there are.
pub fn chunk_list(bytes: &[u8]) -> Vec<u8> {
    (bytes.chunks(usize::try_from(CHUNK).unwrap()))
        .flat_map(|chunk| *Sha256Digest::of(chunk).as_bytes())
        .collect()
}

/// Writes an archive and its chunk list into a store.
pub fn put_archive(store: &Path, archive: &Archive, bytes: &[u8]) {
    put(&store.join(archive.blob_path()), bytes);
    put(&store.join(archive.chunk_list_path()), &chunk_list(bytes));
}

/// A manifest of `relay` in this version with [`files`].
pub fn manifest(version: u64) -> Manifest {
    let files = files();
    Manifest {
        name: "relay".parse().unwrap(),
        version: version.try_into().unwrap(),
        label: format!("2026.01.{version}-debian12").parse().unwrap(),
        arch: Arch::X86_64,
        created: "2026-01-01T12:00:00Z".parse().unwrap(),
        expires: None,
        cmdline: "console=ttyS0 quiet".parse().unwrap(),
        archive: stored(&tar(&files), Encoding::None),
        files: files
            .iter()
            .map(|(path, bytes)| ImageFile {
                path: path.parse().unwrap(),
                size: bytes.len() as u64,
                sha256: Sha256Digest::of(bytes),
                unpacked_size: None,
            })
            .collect(),
        max_uptime_hours: None,
        attachments: Vec::new(),
    }
}

/// An envelope over any payload, signed by each of `keys`.
pub fn seal<'k>(
    payload_type: &str,
    payload: Vec<u8>,
    keys: impl IntoIterator<Item = &'k PrivateKey>,
) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(payload_type, payload);
    for key in keys {
        let signature = key.sign(&envelope.signed_bytes());
        envelope.add_signature(key.public().id(), signature);
    }
    envelope.encode()
}

/// An envelope over a manifest, signed by each of `keys`.
pub fn seal_manifest(manifest: &Manifest, keys: &[PrivateKey]) -> Vec<u8> {
    seal(Manifest::PAYLOAD_TYPE, manifest.encode(), keys)
}

/// A channel file around an envelope, as text: what is broken stays broken.
pub fn channel(envelope: &[u8], freshness: Option<&[u8]>) -> Vec<u8> {
    let mut channel = b"{\"releases\": [{\"manifest\": ".to_vec();
    channel.extend_from_slice(envelope.trim_ascii_end());
    channel.extend_from_slice(b"}]");
    if let Some(freshness) = freshness {
        channel.extend_from_slice(b", \"freshness\": [");
        channel.extend_from_slice(freshness.trim_ascii_end());
        channel.push(b']');
    }
    channel.extend_from_slice(b"}\n");
    channel
}

/// Writes a file and the directories above it.
pub fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Writes what every page of `tests/cli` starts with:
///
/// - `tests/cli/fixtures`, with private keys for their owner alone, but for `loose.key`;
/// - `trust.json` and `strict.json`, [`policy`] and [`strict_policy`], and `fresh.json`, which requires that
///   clockwork says what is newest;
/// - `store/`, where `relay` is published in version 41 and version 42 waits for signatures;
/// - `staging/`, a store of its own with version 43 of `relay`, signed by alice and bob;
/// - `flipped/`, the same with version 44 and one bit of the archive flipped;
/// - `arches/`, a store with versions 42 and 43 of `relay`, the former for two architectures, signed by alice and bob;
/// - `changes/`, a store where version 41 is published, 40 is older, and 43 changes much;
/// - `odd-envelopes/` and `odd-signatures/`, each of which is one mistake;
/// - `raw-signatures/`, as a KMS or an HSM returns them, and mistakes.
pub fn build_world(world: &Path) {
    copy_fixtures(&repository().join("tests/cli/fixtures"), world);
    let loose = world.join("test-only-keys/loose.key");
    put(&loose, alice().to_pem().as_bytes());
    fs::set_permissions(loose, fs::Permissions::from_mode(0o644)).unwrap();
    let keys = world.join("test-only-keys");
    let read = |name: &str| fs::read(keys.join(name)).unwrap();
    let public = read("dora-openssh.pub");
    put(&world.join("broken-keys/two-lines.pub"), &public.repeat(2));
    for (from, to) in [
        ("eve-openssh.key", "cut-openssh.key"),
        ("encrypted.key", "cut-encrypted.key"),
    ] {
        let cut = world.join("broken-keys").join(to);
        put(&cut, &read(from)[..120]);
        fs::set_permissions(cut, fs::Permissions::from_mode(0o600)).unwrap();
    }
    put(&world.join("not-text.pub"), &[0xff; 64]);
    put(&world.join("broken-policies/huge.json"), &[b' '; 131_073]);
    put(&world.join("host-configs/huge.json"), &[b' '; 65_537]);
    put(&world.join("trust.json"), &policy().encode());
    put(&world.join("strict.json"), &strict_policy().encode());
    let fresh = trust::renewed_by(policy(), &clockwork(), true);
    put(&world.join("fresh.json"), &fresh.encode());

    let store = world.join("store");
    let archive = tar(&files());
    let published = seal_manifest(&manifest(41), &[alice(), bob()]);
    put_archive(&store, &manifest(41).archive, &archive);
    put(&store.join("images/relay/41/x86_64.json"), &published);
    put(&store.join("images/relay.json"), &channel(&published, None));
    let unsigned = seal_manifest(&manifest(42), &[]);
    put(&store.join("images/relay/42/x86_64.json"), &unsigned);

    for (name, version, flip) in [("staging", 43, false), ("flipped", 44, true)] {
        let store = world.join(name);
        let (manifest, archive) = in_gzip(version);
        put_archive(&store, &manifest.archive, &archive);
        if flip {
            let flipped = attacks::flipped(&archive, 70_000);
            put(&store.join(manifest.archive.blob_path()), &flipped);
        }
        put(
            &store.join(format!("images/relay/{version}/x86_64.json")),
            &seal_manifest(&manifest, &[alice(), bob()]),
        );
    }
    let arches = world.join("arches");
    for (version, arch) in [(42, Arch::X86_64), (42, Arch::Aarch64), (43, Arch::X86_64)] {
        let manifest = Manifest {
            arch: arch.clone(),
            ..manifest(version)
        };
        put_archive(&arches, &manifest.archive, &archive);
        let envelope = seal_manifest(&manifest, &[alice(), bob()]);
        put(
            &arches.join(format!("images/relay/{version}/{arch}.json")),
            &envelope,
        );
    }
    attacks::build_odd_envelopes(&world.join("odd-envelopes"));
    for manifest in [manifest(40), manifest(41), with_files_changed()] {
        let images = world.join("changes/images");
        let envelope = seal_manifest(&manifest, &[alice(), bob()]);
        put(
            &images.join(format!("relay/{}/{}.json", manifest.version, manifest.arch)),
            &envelope,
        );
        if manifest.version.as_u64() == 41 {
            put(&images.join("relay.json"), &channel(&envelope, None));
        }
    }
    raw_signatures::build(&world.join("raw-signatures"));
    odd_signatures::build(
        &world.join("odd-signatures"),
        &world.join("odd-envelopes/full.json"),
    );
}

/// Version 43 of `relay` with another command line, expiry, initrd and set of other files.
fn with_files_changed() -> Manifest {
    let mut files = files();
    files[1].1.push(1);
    let mut manifest = manifest(43);
    manifest.cmdline = "console=ttyS0".parse().unwrap();
    manifest.expires = Some("2026-02-01T12:00:00Z".parse().unwrap());
    manifest.archive = stored(&tar(&files), Encoding::None);
    for (described, (path, bytes)) in manifest.files.iter_mut().zip(&files) {
        described.path = path.parse().unwrap();
        described.size = bytes.len() as u64;
        described.sha256 = Sha256Digest::of(bytes);
    }
    manifest
}

fn copy_fixtures(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_fixtures(&entry.path(), &copy);
            continue;
        }
        fs::copy(entry.path(), &copy).unwrap();
        // git keeps no modes but the executable bit.
        let mode = match copy.extension() {
            Some(suffix) if suffix == "key" => 0o600,
            _ => 0o644,
        };
        fs::set_permissions(copy, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// This version of `relay` with an archive of its own.
fn in_gzip(version: u64) -> (Manifest, Vec<u8>) {
    let mut manifest = manifest(version);
    let mut files = files();
    let (_, initrd) = &mut files[1];
    initrd[0] = version.to_le_bytes()[0];
    manifest.files[1].sha256 = Sha256Digest::of(initrd);
    let archive = gzip(&tar(&files));
    manifest.archive = stored(&archive, Encoding::Gzip);
    (manifest, archive)
}

/// A tar of these bytes, in this encoding; the bytes do not depend on any compressor's version.
pub fn encoded(tar: &[u8], encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::None => tar.to_vec(),
        Encoding::Gzip => gzip(tar),
        Encoding::Zstd => zstd::Frame::raw(tar).encode(),
    }
}

/// gzip without a name and time, in stored blocks: its bytes do not depend on the compressor's version.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
