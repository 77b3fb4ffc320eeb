//! What trust costs: each check beside a plain SHA-256 of the same bytes, which is its floor.
//!
//! `make bench`; criterion keeps the last run in target/criterion and reports the difference.
#![allow(
    missing_docs,
    reason = "criterion_group! makes an undocumented function"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark whose set-up fails measures nothing"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ed25519_dalek::{Signer as _, SigningKey};
use jiff::{SignedDuration, Timestamp};
use sealboot::fetch::ChunkCheck;
use sealboot::format::archive;
use sealboot::format::digest::Sha256Digest;
use sealboot::format::manifest::{Arch, Archive, Encoding, ImageFile, ImageVersion, Manifest};
use sealboot::trust::policy::{AcceptedImage, Signer};
use sealboot::trust::verified::Expected;
use sealboot::trust::{Envelope, PublicKey, TrustPolicy, Verified};
use sha2::{Digest as _, Sha256};

const CHUNK: usize = 1 << 20;
/// An image of 1 GiB; every chunk of it holds the same bytes.
const IMAGE: u64 = 1 << 30;

fn manifest(chunk: &[u8]) -> Manifest {
    let now = Timestamp::now();
    let sizes = [
        16 << 20,
        IMAGE - (16 << 20) - 2 * archive::BLOCK - archive::END_OF_ARCHIVE,
    ];
    assert_eq!(archive::tar_size(sizes.into_iter()), Some(IMAGE));
    let sha256 = Sha256Digest::of(chunk);
    let file = |path: &str, size| ImageFile {
        path: path.parse().unwrap(),
        size,
        sha256,
    };
    Manifest {
        name: "bench".parse().unwrap(),
        version: ImageVersion::FIRST,
        label: "bench".parse().unwrap(),
        arch: Arch::NATIVE,
        created: now,
        expires: Some(now + SignedDuration::from_hours(24)),
        cmdline: "console=ttyS0".parse().unwrap(),
        archive: Archive {
            path: Archive::blob_path(&sha256, Encoding::None),
            encoding: Encoding::None,
            size: IMAGE,
            sha256,
            chunk_size: CHUNK as u64,
            chunks: vec![sha256; usize::try_from(IMAGE).unwrap() / CHUNK],
        },
        files: vec![
            file("boot/vmlinuz", sizes[0]),
            file("boot/initrd", sizes[1]),
        ],
    }
}

/// A policy that asks for two of two signatures, and the manifest in an envelope that has them.
fn signed(manifest: &Manifest) -> (TrustPolicy, Vec<u8>) {
    let keys = [
        SigningKey::from_bytes(&[1; 32]),
        SigningKey::from_bytes(&[2; 32]),
    ];
    let mut envelope = Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest.encode());
    let mut signers = Vec::new();
    for (name, key) in ["alice", "bob"].into_iter().zip(&keys) {
        let public = PublicKey::from_bytes(key.verifying_key().as_bytes()).unwrap();
        envelope.add_signature(public.id(), key.sign(&envelope.signed_bytes()).to_bytes());
        signers.push(Signer {
            name: name.parse().unwrap(),
            key: public,
        });
    }
    let images = vec![AcceptedImage::new(
        manifest.name.clone(),
        ImageVersion::FIRST,
    )];
    let policy = TrustPolicy::new(signers, 2, images).unwrap();
    (policy, envelope.encode())
}

fn verify(policy: &TrustPolicy, envelope: &[u8]) -> Verified<Manifest> {
    let expected = Expected {
        name: None,
        arch: None,
        now: Timestamp::now(),
    };
    policy.verify_manifest(envelope, &expected).unwrap()
}

fn envelope(criterion: &mut Criterion) {
    let manifest = manifest(&vec![0x5a; CHUNK]);
    let (policy, bytes) = signed(&manifest);
    let mut group = criterion.benchmark_group("envelope of a 1 GiB image, two signatures");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("plain sha256", |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&bytes)));
    });
    group.bench_function("verify", |bencher| {
        bencher.iter(|| verify(&policy, black_box(&bytes)));
    });
    group.finish();
}

fn chunk(criterion: &mut Criterion) {
    let chunk = vec![0x5a; CHUNK];
    let manifest = manifest(&chunk);
    let (policy, bytes) = signed(&manifest);
    let verified = verify(&policy, &bytes);
    let check = ChunkCheck::new(&verified);
    let mut group = criterion.benchmark_group("chunk of 1 MiB");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    group.bench_function("plain sha256", |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&chunk)));
    });
    group.bench_function("check", |bencher| {
        bencher.iter_batched(
            || chunk.clone(),
            |bytes| check.check(0, bytes).unwrap(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, envelope, chunk);
criterion_main!(benches);
