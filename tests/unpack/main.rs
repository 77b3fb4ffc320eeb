//! What is found in which chunk, how far is read, and what a refusal says.
//!
//! Archives that were made to break something have their home in `tests/vectors`: a file, a code.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

use std::io::Read as _;

use proptest::collection::vec;
use proptest::prelude::*;
use sealboot_core::archive::{
    ChunkCheck, ChunkListMismatch, Discard, FileHashes, StoredArchiveError, UnpackError,
    VerifiedReader, unpack, verify_archive,
};
use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::archive;
use sealboot_core::format::manifest::{Encoding, Manifest};
use support::noise::noise;
use support::world::archives::{CHUNK, Files, claim, entry, image, verified};
use support::world::{self, gzip, tar, zstd};

/// Checks `stored` against a manifest of another archive, whose chunk list is as signed.
fn check(manifest: &Manifest, signed: &[u8], stored: &[u8]) -> Result<(), StoredArchiveError> {
    verify_with_list(manifest, world::chunk_list(signed), stored)
}

fn verify_with_list(
    manifest: &Manifest,
    list: Vec<u8>,
    stored: &[u8],
) -> Result<(), StoredArchiveError> {
    verify_archive(&verified(manifest), list, stored, &mut |_| {})
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
    check(&claim(stored, encoding, entries), stored, stored)
}

fn small() -> Files {
    vec![
        ("boot/vmlinuz", noise(1000, 1)),
        ("boot/initrd", noise(1500, 2)),
    ]
}

fn code(result: Result<(), StoredArchiveError>) -> Result<(), FailureCode> {
    result.map_err(|error| error.code())
}

#[test]
fn a_good_archive_passes_in_every_encoding() {
    for &encoding in Encoding::ALL {
        let (_, stored, manifest) = image(encoding);
        let mut read = 0;
        let manifest = verified(&manifest);
        let list = world::chunk_list(&stored);
        verify_archive(&manifest, list, stored.as_slice(), &mut |bytes| {
            read += bytes
        })
        .unwrap();
        assert_eq!(read, stored.len() as u64);
    }
}

#[test]
fn a_flipped_byte_in_any_chunk_is_found_in_that_chunk() {
    for &encoding in Encoding::ALL {
        let (_, stored, manifest) = image(encoding);
        for (chunk, at) in [
            (0, 0),
            (4, 300_000),
            (manifest.archive.chunk_count() - 1, stored.len() - 1),
        ] {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            match check(&manifest, &stored, &flipped) {
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
            code(check(&manifest, &stored, &stored[..len])),
            Err(FailureCode::FetchTruncated),
            "{len}"
        );
    }
    let longer = [stored.as_slice(), b"x"].concat();
    assert_eq!(
        code(check(&manifest, &stored, &longer)),
        Err(FailureCode::FetchTooLarge)
    );
}

#[test]
fn a_chunk_list_is_taken_as_signed_or_not_at_all() {
    let (_, stored, manifest) = image(Encoding::None);
    let list = world::chunk_list(&stored);
    for at in 0..list.len() {
        let mut flipped = list.clone();
        flipped[at] ^= 1;
        let result = verify_with_list(&manifest, flipped, &stored);
        assert!(
            matches!(
                result,
                Err(StoredArchiveError::List(ChunkListMismatch::Hash { .. }))
            ),
            "{at}: {result:?}"
        );
    }
    for len in [0, 1, list.len() - 32, list.len() - 1] {
        let result = verify_with_list(&manifest, list[..len].to_vec(), &stored);
        assert_eq!(code(result), Err(FailureCode::FetchTruncated), "{len}");
    }
    let longer = [list.as_slice(), &[0; 32]].concat();
    let result = verify_with_list(&manifest, longer, &stored);
    assert_eq!(code(result), Err(FailureCode::FetchTooLarge));
}

/// Unpacks signed bytes as a boot does.
fn boot(stored: &[u8], encoding: Encoding, files: &Files) -> Result<(), UnpackError> {
    let entries = files.iter().map(|(path, bytes)| entry(path, bytes));
    let manifest = verified(&claim(stored, encoding, entries.collect()));
    let check = ChunkCheck::new(&manifest, world::chunk_list(stored)).unwrap();
    let chunks = stored.chunks(usize::try_from(CHUNK).unwrap()).enumerate();
    let chunks = chunks.map(|(index, chunk)| check.check(index, chunk.to_vec()));
    let mut reader = VerifiedReader::new(chunks);
    unpack(
        &manifest,
        &mut reader,
        &mut Discard,
        FileHashes::OfCompressed,
    )
}

#[test]
fn a_boot_leaves_the_files_of_a_plain_archive_to_its_chunks() {
    let mut other = small();
    other[1].1[700] ^= 1;
    boot(&tar(&other), Encoding::None, &small()).unwrap();
    for (stored, encoding) in [
        (gzip(&tar(&other)), Encoding::Gzip),
        (world::encoded(&tar(&other), Encoding::Zstd), Encoding::Zstd),
    ] {
        let error = boot(&stored, encoding, &small()).unwrap_err();
        assert!(matches!(error, UnpackError::File { .. }), "{error:?}");
    }
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

#[test]
fn a_refusal_says_what_is_where_a_member_should_be() {
    let tar = world::tar(&small());
    let with_header = |change: &dyn Fn(&mut tar::Header)| {
        let mut stored = tar.clone();
        let header = tar::Header::from_byte_slice(&tar[..512]);
        let mut header = header.clone();
        change(&mut header);
        header.set_cksum();
        stored[..512].copy_from_slice(header.as_bytes());
        check_signed(&stored, Encoding::None, &small())
    };
    type Change = fn(&mut tar::Header);
    let cases: [(Change, &str); 7] = [
        (
            |header| header.set_uid(1000),
            r#"a file "boot/vmlinuz" of size 1000, mode 0644, but with another owner, time or format of its header"#,
        ),
        (
            |header| header.as_mut_bytes()[257..265].fill(0),
            r#"a file "boot/vmlinuz" of size 1000, mode 0644, but with another owner, time or format of its header"#,
        ),
        (
            |header| header.set_entry_type(tar::EntryType::Symlink),
            r#"a symbolic link "boot/vmlinuz" of size 1000, mode 0644"#,
        ),
        (
            |header| header.set_entry_type(tar::EntryType::XHeader),
            r#"a pax header "boot/vmlinuz" of size 1000, mode 0644"#,
        ),
        (
            |header| header.set_mode(0o4755),
            r#"a file "boot/vmlinuz" of size 1000, mode 4755"#,
        ),
        (
            |header| header.as_mut_bytes()[..5].copy_from_slice(b"\x1b[2J\n"),
            r#"a file "\x1b[2J\nvmlinuz" of size 1000, mode 0644"#,
        ),
        (
            |header| header.as_mut_bytes()[124..136].copy_from_slice(b"no number..."),
            r#"a file "boot/vmlinuz" of size unreadable, mode 0644"#,
        ),
    ];
    for (change, says) in cases {
        match with_header(&change) {
            Err(StoredArchiveError::Unpack(UnpackError::Member { expected, found })) => {
                assert_eq!(expected, "boot/vmlinuz of 1000 bytes");
                assert_eq!(found, says);
            }
            other => panic!("{says}: {other:?}"),
        }
    }
    let ended = check_signed(&gzip(&[0; 1024]), Encoding::Gzip, &small());
    assert!(
        matches!(&ended, Err(StoredArchiveError::Unpack(UnpackError::Member { found, .. })) if found == "the archive's end"),
        "{ended:?}"
    );
}

#[test]
fn a_refusal_says_in_which_padding_data_is() {
    let tar = world::tar(&small());
    for (at, says) in [
        (512 + 1000, "after boot/vmlinuz"),
        (1024 + 511, "after boot/vmlinuz"),
        (tar.len() - 1024, "at its end"),
        (tar.len() - 1, "at its end"),
    ] {
        let mut stored = tar.clone();
        assert_eq!(stored[at], 0);
        stored[at] = 1;
        let result = check_signed(&stored, Encoding::None, &small());
        assert!(
            matches!(&result, Err(StoredArchiveError::Unpack(UnpackError::NotZero { place })) if place == says),
            "{at}: {result:?}"
        );
    }
}

#[test]
fn no_byte_of_a_signed_tar_may_be_another() {
    let good = world::tar(&small());
    check_signed(&good, Encoding::None, &small()).unwrap();
    // The second header closely, and some of everything.
    let header = 1536..2048;
    for at in (0..good.len()).filter(|at| at % if header.contains(at) { 3 } else { 61 } == 0) {
        let mut stored = good.clone();
        stored[at] ^= 1 << (at % 8);
        let code = code(check_signed(&stored, Encoding::None, &small()));
        assert!(
            matches!(
                code,
                Err(FailureCode::ImageArchive | FailureCode::ImageFile)
            ),
            "byte {at}: {code:?}"
        );
    }
}

#[test]
fn a_gzip_bomb_is_read_no_further_than_the_signed_sizes() {
    // A quarter of a gigabyte of zeros behind the members; stored, a megabyte.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut tar(&small()).as_slice(), &mut encoder).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(1 << 28), &mut encoder).unwrap();
    let stored = encoder.finish().unwrap();
    let entries = small()
        .iter()
        .map(|(path, bytes)| entry(path, bytes))
        .collect();
    let manifest = claim(&stored, Encoding::Gzip, entries);
    let mut read = 0;
    let list = world::chunk_list(&stored);
    let result = verify_archive(
        &verified(&manifest),
        list,
        stored.as_slice(),
        &mut |bytes| read += bytes,
    );
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
fn a_zstd_bomb_is_read_no_further_than_a_window_past_the_signed_sizes() {
    // Ten gigabytes of zeros behind the members; stored, a third of a megabyte.
    let tar = tar(&small());
    let zeros = vec![zstd::Block::Repeated(0, zstd::BLOCK_MAX); 80_000];
    let stored = zstd::Frame {
        window: Some(zstd::LARGEST_WINDOW),
        blocks: [zstd::raw(&tar), zeros].concat(),
        ..zstd::Frame::raw(&tar)
    }
    .encode();
    let entries = small()
        .iter()
        .map(|(path, bytes)| entry(path, bytes))
        .collect();
    let manifest = claim(&stored, Encoding::Zstd, entries);
    let mut read = 0;
    let list = world::chunk_list(&stored);
    let result = verify_archive(
        &verified(&manifest),
        list,
        stored.as_slice(),
        &mut |bytes| read += bytes,
    );
    assert!(
        matches!(
            result,
            Err(StoredArchiveError::Unpack(UnpackError::Trailing))
        ),
        "{result:?}"
    );
    assert!(
        read == CHUNK,
        "read {read} of {} stored bytes",
        stored.len()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_compressor_makes_of_an_archive_is_taken(
        level in -7..=19,
        window in 10..=23_u32,
        pieces in vec((any::<u8>(), 1..40_000_usize, any::<bool>()), 1..8),
    ) {
        let mut initrd = Vec::new();
        for (seed, len, is_noise) in pieces {
            if is_noise {
                initrd.extend(noise(len, seed.into()));
            } else {
                // Again and again what came before, or one byte.
                initrd.push(seed);
                let start = initrd.len() / 3;
                let again: Vec<u8> = initrd[start..].iter().copied().cycle().take(len).collect();
                initrd.extend(again);
            }
        }
        let files = vec![("boot/vmlinuz", noise(1000, 1)), ("boot/initrd", initrd)];
        let tar = world::tar(&files);
        let mut encoder = ::zstd::Encoder::new(Vec::new(), level).unwrap();
        encoder.window_log(window).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.set_pledged_src_size(Some(tar.len() as u64)).unwrap();
        std::io::copy(&mut tar.as_slice(), &mut encoder).unwrap();
        let stored = encoder.finish().unwrap();
        check_signed(&stored, Encoding::Zstd, &files).unwrap();
    }
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
