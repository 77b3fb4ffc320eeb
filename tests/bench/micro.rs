//! What each step of a boot costs that touches every byte, beside the least that its work takes.
//!
//! `make bench BENCH=micro`; criterion keeps the last run in target/criterion and reports the difference.
//! A run of a part, such as `cargo bench --bench micro -- chunk`, leaves the document as it is.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark whose set-up fails measures nothing"
)]

mod report;

use std::convert::Infallible;
use std::hint::black_box;
use std::io::{Read, Write as _};
use std::path::Path;
use std::{env, fs};

use criterion::{BatchSize, Criterion, Throughput};
use ed25519_dalek::{Signer as _, SigningKey};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use report::{Report, Table};
use sealboot_core::archive::{
    ChunkCheck, Discard, FileHashes, VerifiedChunk, VerifiedReader, unpack,
};
use sealboot_core::format::archive;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Arch, Archive, Encoding, ImageFile, ImageVersion, Manifest};
use sealboot_core::trust::policy::{AcceptedImage, Fields, Group, Roles, Signer};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Envelope, PublicKey, TrustPolicy, Verified};
use sha2::{Digest as _, Sha256};

const CHUNK: usize = 1 << 20;
/// An image of 1 GiB; every chunk of it holds the same bytes.
const IMAGE: u64 = 1 << 30;

/// The groups, each of two: the floor, and what is held against it.
const GROUPS: [[&str; 3]; 5] = [
    [
        "envelope of a 1 GiB image, two signatures",
        "plain sha256",
        "verify",
    ],
    ["chunk of 1 MiB", "plain sha256", "check"],
    ["untar", "plain sha256", "unpack"],
    ["gunzip and untar", "flate2 and sha256", "unpack"],
    // Not what the loader is built of: C is what it forgoes.
    ["unzstd and untar", "libzstd and sha256", "unpack"],
];

/// A manifest that says these things of an archive.
fn manifest(archive: Archive, files: Vec<ImageFile>) -> Manifest {
    let now = Timestamp::now();
    Manifest {
        name: "bench".parse().unwrap(),
        version: ImageVersion::FIRST,
        label: "bench".parse().unwrap(),
        arch: Arch::NATIVE,
        created: now,
        expires: Some(now + SignedDuration::from_hours(24)),
        cmdline: "console=ttyS0".parse().unwrap(),
        archive,
        files,
        max_uptime_hours: None,
        attachments: Vec::new(),
    }
}

fn file(path: &str, size: u64, sha256: Sha256Digest) -> ImageFile {
    ImageFile {
        path: path.parse().unwrap(),
        size,
        sha256,
        unpacked_size: None,
    }
}

/// The chunk list of an image that is this chunk again and again.
fn large_list(chunk: &[u8]) -> Vec<u8> {
    let chunks = usize::try_from(IMAGE).unwrap() / CHUNK;
    Sha256Digest::of(chunk).as_bytes().repeat(chunks)
}

fn large_manifest(chunk: &[u8]) -> Manifest {
    let sizes = [
        16 << 20,
        IMAGE - (16 << 20) - 2 * archive::BLOCK - archive::END_OF_ARCHIVE,
    ];
    assert_eq!(archive::tar_size(sizes.into_iter()), Some(IMAGE));
    let sha256 = Sha256Digest::of(chunk);
    let archive = Archive {
        encoding: Encoding::None,
        size: IMAGE,
        chunk_size: CHUNK as u64,
        chunks_sha256: Sha256Digest::of(&large_list(chunk)),
    };
    let files = vec![
        file("boot/vmlinuz", sizes[0], sha256),
        file("boot/initrd", sizes[1], sha256),
    ];
    manifest(archive, files)
}

/// An image of this program's own bytes: its tar, as it is stored in this encoding, and its manifest.
fn stored(encoding: Encoding) -> (Vec<u8>, Vec<u8>, Verified<Manifest>) {
    let program = fs::read(env::current_exe().unwrap()).unwrap();
    let mut tar = Vec::new();
    let mut files = Vec::new();
    for (path, bytes) in [
        ("boot/vmlinuz", &program[..4096]),
        ("boot/initrd", &program),
    ] {
        let size = bytes.len() as u64;
        tar.extend_from_slice(archive::header(&path.parse().unwrap(), size).as_bytes());
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
        files.push(file(path, size, Sha256Digest::of(bytes)));
    }
    tar.resize(
        tar.len() + usize::try_from(archive::END_OF_ARCHIVE).unwrap(),
        0,
    );
    let stored = match encoding {
        Encoding::None => tar.clone(),
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&tar).unwrap();
            encoder.finish().unwrap()
        }
        // At the packer's level.
        Encoding::Zstd => {
            let mut encoder = zstd::bulk::Compressor::new(12).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.include_contentsize(true).unwrap();
            encoder.compress(&tar).unwrap()
        }
    };
    let archive = Archive {
        encoding,
        size: stored.len() as u64,
        chunk_size: CHUNK as u64,
        chunks_sha256: Sha256Digest::of(&chunk_list(&stored)),
    };
    let (policy, envelope) = signed(&manifest(archive, files));
    let verified = verify(&policy, &envelope);
    (tar, stored, verified)
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
        signers.push(Signer::new(name.parse().unwrap(), public));
    }
    let images = vec![AcceptedImage::new(
        manifest.name.clone(),
        ImageVersion::FIRST,
    )];
    let both = vec![Group {
        keys: signers.iter().map(|signer| signer.name.clone()).collect(),
        threshold: 2,
    }];
    let roles = Roles {
        root: both.clone(),
        release: both,
        freshness: None,
        host_config: None,
    };
    let policy = Fields::new(manifest.created, signers, roles, images);
    (policy.try_into().unwrap(), envelope.encode())
}

fn verify(policy: &TrustPolicy, envelope: &[u8]) -> Verified<Manifest> {
    let expected = Expected {
        name: &policy.images()[0].name,
        arch: None,
        now: Timestamp::now().into(),
    };
    policy.verify_manifest(envelope, &expected).unwrap()
}

fn envelope(criterion: &mut Criterion) {
    let manifest = large_manifest(&vec![0x5a; CHUNK]);
    let (policy, bytes) = signed(&manifest);
    let mut group = criterion.benchmark_group(GROUPS[0][0]);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function(GROUPS[0][1], |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&bytes)));
    });
    group.bench_function(GROUPS[0][2], |bencher| {
        bencher.iter(|| verify(&policy, black_box(&bytes)));
    });
    group.finish();
}

fn chunk(criterion: &mut Criterion) {
    let chunk = vec![0x5a; CHUNK];
    let manifest = large_manifest(&chunk);
    let (policy, bytes) = signed(&manifest);
    let verified = verify(&policy, &bytes);
    let check = ChunkCheck::new(&verified, large_list(&chunk)).unwrap();
    let mut group = criterion.benchmark_group(GROUPS[1][0]);
    group.throughput(Throughput::Bytes(CHUNK as u64));
    group.bench_function(GROUPS[1][1], |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&chunk)));
    });
    group.bench_function(GROUPS[1][2], |bencher| {
        bencher.iter_batched(
            || chunk.clone(),
            |bytes| check.check(0, bytes).unwrap(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn chunk_list(stored: &[u8]) -> Vec<u8> {
    (stored.chunks(CHUNK))
        .flat_map(|chunk| *Sha256Digest::of(chunk).as_bytes())
        .collect()
}

/// The chunks that the loader's receiving side would hand over.
fn chunks(stored: &[u8], manifest: &Verified<Manifest>) -> Vec<VerifiedChunk> {
    let check = ChunkCheck::new(manifest, chunk_list(stored)).unwrap();
    let chunks = stored.chunks(CHUNK).enumerate();
    chunks
        .map(|(index, bytes)| check.check(index, bytes.to_vec()).unwrap())
        .collect()
}

fn unpacking(criterion: &mut Criterion) {
    for (encoding, [name, floor, ours]) in [
        (Encoding::None, GROUPS[2]),
        (Encoding::Gzip, GROUPS[3]),
        (Encoding::Zstd, GROUPS[4]),
    ] {
        let (tar, stored, manifest) = stored(encoding);
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        group.throughput(Throughput::Bytes(tar.len() as u64));
        group.bench_function(floor, |bencher| {
            bencher.iter(|| {
                let stored = black_box(stored.as_slice());
                match encoding {
                    Encoding::None => Sha256Digest::of(stored),
                    Encoding::Gzip => hash_of(GzDecoder::new(stored)),
                    Encoding::Zstd => hash_of(zstd::Decoder::with_buffer(stored).unwrap()),
                }
            });
        });
        group.bench_function(ours, |bencher| {
            bencher.iter_batched(
                || chunks(&stored, &manifest),
                |chunks| {
                    let chunks = chunks.into_iter().map(Ok::<_, Infallible>);
                    let mut reader = VerifiedReader::new(chunks);
                    let hashes = FileHashes::OfCompressed;
                    unpack(&manifest, &mut reader, &mut Discard, hashes).unwrap();
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

/// Read in pieces as large as those in which the loader unpacks.
fn hash_of(mut tar: impl Read) -> Sha256Digest {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match tar.read(&mut buffer).unwrap() {
            0 => return Sha256Digest::finish(hasher),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn main() {
    let report = Report::begin("micro");
    let results = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion");
    let mut criterion = Criterion::default()
        .output_directory(&results)
        .configure_from_args();
    envelope(&mut criterion);
    chunk(&mut criterion);
    unpacking(&mut criterion);
    criterion.final_summary();
    // cargo itself gives `--bench`; whoever gives more wants a part, or wants it in another way.
    if env::args().skip(1).all(|word| word == "--bench") {
        write(report, &results);
    }
}

/// The medians that criterion has left, one row a group.
fn write(mut report: Report, results: &Path) {
    let median = |group: &str, function: &str| -> (f64, f64) {
        let read = |name: &str| -> serde_json::Value {
            let place = results.join(group).join(function).join("new").join(name);
            serde_json::from_slice(&fs::read(&place).unwrap()).unwrap()
        };
        let nanoseconds = read("estimates.json")["median"]["point_estimate"].as_f64();
        let bytes = read("benchmark.json")["throughput"]["Bytes"].as_f64();
        (nanoseconds.unwrap(), bytes.unwrap())
    };
    let mut table = Table::new(&[
        "step",
        "floor",
        "its rate",
        "ours",
        "our rate",
        "times the floor",
    ]);
    for [group, floor, ours] in GROUPS {
        let (least, bytes) = median(group, floor);
        let (found, _) = median(group, ours);
        // Bytes a nanosecond are gigabytes a second.
        let rate = |nanoseconds: f64| format!("{:.2} GB/s", bytes / nanoseconds);
        table.row(&[
            group.to_owned(),
            floor.to_owned(),
            rate(least),
            ours.to_owned(),
            rate(found),
            format!("{:.2} ×", found / least),
        ]);
    }
    report.add(&table.into_text());
    report.write();
}
