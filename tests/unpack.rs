//! Archives that are validly signed and still not what their manifest describes: each is refused with
//! its exact code. What a signer was tricked into signing must not be unpacked either.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod lab;

use std::io::Read as _;

use lab::archives::{CHUNK, Files, claim, entry, image, noise, verified};
use lab::{gzip, tar};
use sealboot::boot::unpack::{StoredArchiveError, UnpackError, verify_archive};
use sealboot::failure::{Diagnose as _, FailureCode};
use sealboot::format::archive;
use sealboot::format::manifest::{Encoding, Manifest};

fn check(manifest: &Manifest, stored: &[u8]) -> Result<(), StoredArchiveError> {
    verify_archive(&verified(manifest), stored, &mut |_| {})
}

/// Signs exactly `stored`, whatever it is, as an archive of these files, and checks it.
fn check_signed(
    stored: &[u8],
    encoding: Encoding,
    files: &Files,
) -> Result<(), StoredArchiveError> {
    let entries = files
        .iter()
        .map(|(path, bytes)| entry(path, bytes))
        .collect();
    check(&claim(stored, encoding, entries), stored)
}

fn small() -> Files {
    vec![
        ("boot/vmlinuz", noise(1000, 1)),
        ("boot/initrd", noise(1500, 2)),
        ("meta/os-release", b"ID=test\n".to_vec()),
    ]
}

fn code(result: Result<(), StoredArchiveError>) -> Result<(), FailureCode> {
    result.map_err(|error| error.code())
}

#[test]
fn a_good_archive_passes_plain_and_gzipped() {
    for encoding in [Encoding::None, Encoding::Gzip] {
        let (_, stored, manifest) = image(encoding);
        let mut read = 0;
        let manifest = verified(&manifest);
        verify_archive(&manifest, stored.as_slice(), &mut |bytes| read += bytes).unwrap();
        assert_eq!(read, stored.len() as u64);
    }
}

#[test]
fn a_flipped_byte_in_any_chunk_is_found_in_that_chunk() {
    for encoding in [Encoding::None, Encoding::Gzip] {
        let (_, stored, manifest) = image(encoding);
        for (chunk, at) in [
            (0, 0),
            (4, 300_000),
            (manifest.archive.chunks.len() - 1, stored.len() - 1),
        ] {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            match check(&manifest, &flipped) {
                Err(StoredArchiveError::Chunk(mismatch)) => assert_eq!(mismatch.index, chunk),
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_stored_archive_of_another_length_is_refused() {
    let (_, stored, manifest) = image(Encoding::None);
    for len in [0, 1, stored.len() / 2, stored.len() - 1] {
        assert_eq!(
            code(check(&manifest, &stored[..len])),
            Err(FailureCode::FetchCut),
            "{len}"
        );
    }
    let longer = [stored.as_slice(), b"x"].concat();
    assert_eq!(
        code(check(&manifest, &longer)),
        Err(FailureCode::FetchTooLarge)
    );
}

#[test]
fn a_blob_whose_own_hash_was_signed_wrongly_is_refused() {
    let (_, stored, mut manifest) = image(Encoding::None);
    manifest.archive.sha256 = sealboot::format::digest::Sha256Digest::of(b"another");
    manifest.archive.path = format!("blobs/sha256-{}.tar", manifest.archive.sha256);
    assert!(matches!(
        check(&manifest, &stored),
        Err(StoredArchiveError::Unpack(UnpackError::Whole { .. }))
    ));
}

#[test]
fn a_file_that_is_not_the_signed_one_is_refused() {
    let mut other = small();
    other[1].1[700] ^= 1;
    let stored = tar(&other);
    match check_signed(&stored, Encoding::None, &small()) {
        Err(StoredArchiveError::Unpack(UnpackError::File { path, .. })) => {
            assert_eq!(path.as_str(), "boot/initrd")
        }
        other => panic!("{other:?}"),
    }
}

/// Changes the header of the member at `index` and signs the result.
fn with_header(
    index: usize,
    change: impl FnOnce(&mut tar::Header),
) -> Result<(), StoredArchiveError> {
    let files = small();
    let mut stored = tar(&files);
    let at: usize = files[..index]
        .iter()
        .map(|(_, bytes)| 512 + bytes.len().next_multiple_of(512))
        .sum();
    let mut header = tar::Header::from_byte_slice(&stored[at..at + 512]).clone();
    change(&mut header);
    header.set_cksum();
    stored[at..at + 512].copy_from_slice(header.as_bytes());
    check_signed(&stored, Encoding::None, &files)
}

#[test]
fn a_member_of_another_kind_is_refused() {
    use tar::EntryType as Kind;
    for kind in [
        Kind::Link,
        Kind::Symlink,
        Kind::Char,
        Kind::Block,
        Kind::Directory,
        Kind::Fifo,
        Kind::Continuous,
        Kind::GNULongName,
        Kind::GNULongLink,
        Kind::GNUSparse,
        Kind::XGlobalHeader,
        Kind::XHeader,
    ] {
        let result = with_header(1, |header| {
            header.set_entry_type(kind);
            if matches!(kind, Kind::Link | Kind::Symlink) {
                header.set_link_name("/etc/passwd").unwrap();
            }
        });
        assert!(
            matches!(
                result,
                Err(StoredArchiveError::Unpack(UnpackError::Member { .. }))
            ),
            "{kind:?}: {result:?}"
        );
    }
}

#[test]
fn a_header_that_differs_in_anything_is_refused() {
    type Change = fn(&mut tar::Header);
    let changes: [(&str, Change); 13] = [
        ("setuid", |header| header.set_mode(0o4755)),
        ("executable", |header| header.set_mode(0o755)),
        ("owner", |header| header.set_uid(1000)),
        ("group", |header| header.set_gid(1000)),
        ("time", |header| header.set_mtime(1)),
        ("larger", |header| header.set_size(1501)),
        ("smaller", |header| header.set_size(1499)),
        ("traversal", |header| {
            header.as_mut_bytes()[..18].copy_from_slice(b"../../etc/shadow\0\0")
        }),
        ("absolute", |header| {
            header.as_mut_bytes()[..12].copy_from_slice(b"/boot/initrd")
        }),
        ("prefix", |header| {
            header.as_mut_bytes()[345..350].copy_from_slice(b"../..")
        }),
        ("name after NUL", |header| {
            header.as_mut_bytes()[12..16].copy_from_slice(b"x\0yz")
        }),
        ("type NUL", |header| header.as_mut_bytes()[156] = 0),
        ("old format", |header| {
            header.as_mut_bytes()[257..265].fill(0)
        }),
    ];
    for (what, change) in changes {
        assert_eq!(
            code(with_header(1, change)),
            Err(FailureCode::ImageArchive),
            "{what}"
        );
    }
    let mut stored = tar(&small());
    stored[148] ^= 1;
    assert_eq!(
        code(check_signed(&stored, Encoding::None, &small())),
        Err(FailureCode::ImageArchive),
        "checksum"
    );
}

#[test]
fn members_that_are_missing_extra_twice_or_out_of_order_are_refused() {
    let files = small();
    let variants: [(&str, Files); 5] = [
        ("missing kernel", files[1..].to_vec()),
        ("missing initrd", vec![files[0].clone(), files[2].clone()]),
        (
            "order",
            vec![files[1].clone(), files[0].clone(), files[2].clone()],
        ),
        (
            "twice",
            vec![
                files[0].clone(),
                files[0].clone(),
                files[1].clone(),
                files[2].clone(),
            ],
        ),
        (
            "extra",
            [files.clone(), vec![("meta/extra", b"x".to_vec())]].concat(),
        ),
    ];
    for (what, archived) in variants {
        // Compressed, a signed size says nothing about what is inside.
        let stored = gzip(&tar(&archived));
        assert_eq!(
            code(check_signed(&stored, Encoding::Gzip, &files)),
            Err(FailureCode::ImageArchive),
            "{what}"
        );
    }
}

#[test]
fn data_in_padding_or_after_the_end_is_refused() {
    let tar = lab::tar(&small());
    for at in [512 + 1000, 1024 + 511, tar.len() - 1024, tar.len() - 1] {
        let mut stored = tar.clone();
        assert_eq!(stored[at], 0);
        stored[at] = 1;
        let result = check_signed(&stored, Encoding::None, &small());
        assert!(
            matches!(
                result,
                Err(StoredArchiveError::Unpack(UnpackError::NotZero { .. }))
            ),
            "{at}: {result:?}"
        );
    }
    let zipped = |tar: &[u8], after: &[u8]| [gzip(tar).as_slice(), after].concat();
    for (what, stored) in [
        (
            "zeros after the tar",
            zipped(&[tar.as_slice(), &[0; 512]].concat(), b""),
        ),
        ("bytes after the gzip member", zipped(&tar, b"x")),
        ("a second gzip member", zipped(&tar, &gzip(b"x"))),
        ("an empty second gzip member", zipped(&tar, &gzip(b""))),
    ] {
        let result = check_signed(&stored, Encoding::Gzip, &small());
        assert!(
            matches!(
                result,
                Err(StoredArchiveError::Unpack(UnpackError::Trailing))
            ),
            "{what}: {result:?}"
        );
    }
}

#[test]
fn broken_compression_is_refused() {
    let good = gzip(&tar(&small()));
    let mut variants = vec![
        ("not gzip", noise(3000, 9)),
        ("plain tar", tar(&small())),
        ("cut in the trailer", good[..good.len() - 4].to_vec()),
        ("cut in the data", good[..good.len() / 2].to_vec()),
    ];
    let mut crc = good.clone();
    let at = crc.len() - 8;
    crc[at] ^= 1;
    variants.push(("checksum", crc));
    let mut size = good.clone();
    *size.last_mut().unwrap() ^= 1;
    variants.push(("length", size));
    for (what, stored) in variants {
        assert_eq!(
            code(check_signed(&stored, Encoding::Gzip, &small())),
            Err(FailureCode::ImageArchive),
            "{what}"
        );
    }
}

#[test]
fn a_gzip_bomb_is_read_no_further_than_the_signed_sizes() {
    // A gigabyte of zeros behind the members; stored, a megabyte.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut tar(&small()).as_slice(), &mut encoder).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(1 << 30), &mut encoder).unwrap();
    let stored = encoder.finish().unwrap();
    let entries = small()
        .iter()
        .map(|(path, bytes)| entry(path, bytes))
        .collect();
    let manifest = claim(&stored, Encoding::Gzip, entries);
    let mut read = 0;
    let result = verify_archive(&verified(&manifest), stored.as_slice(), &mut |bytes| {
        read += bytes
    });
    assert!(
        matches!(
            result,
            Err(StoredArchiveError::Unpack(UnpackError::Trailing))
        ),
        "{result:?}"
    );
    assert!(
        read <= 2 * CHUNK,
        "read {read} of {} stored bytes",
        stored.len()
    );
}

#[test]
fn an_encoding_that_contradicts_the_size_never_verifies() {
    let files = small();
    let entries: Vec<_> = files
        .iter()
        .map(|(path, bytes)| entry(path, bytes))
        .collect();
    let stored = tar(&files);
    let longer = [stored.as_slice(), &[0; 512]].concat();
    assert!(Manifest::parse(&claim(&longer, Encoding::None, entries.clone()).encode()).is_err());
    assert!(Manifest::parse(&claim(&stored, Encoding::None, entries).encode()).is_ok());
}

#[test]
fn the_packers_header_is_read_by_the_tar_crate() {
    let (files, stored, _) = image(Encoding::None);
    let mut archive = tar::Archive::new(stored.as_slice());
    for (entry, (path, bytes)) in archive.entries().unwrap().zip(&files) {
        let mut entry = entry.unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some(*path));
        let mut found = Vec::new();
        entry.read_to_end(&mut found).unwrap();
        assert_eq!(&found, bytes);
    }
    assert_eq!(
        archive::tar_size(files.iter().map(|(_, bytes)| bytes.len() as u64)),
        Some(stored.len() as u64)
    );
}
