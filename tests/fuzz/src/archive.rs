//! An archive, after its chunks have matched their signed hashes: what a signer's broken packer, or one
//! who holds signing keys, can make the loader decompress and read.
//!
//! The manifest is made to fit the bytes, and signed. Then there is one tar that it describes, and:
//!
//! | property | because |
//! |---|---|
//! | an archive is taken exactly where it is that tar, byte for byte | nothing has two readings |
//! | zstd is taken wherever the reference decoder finds that tar, and nothing is that is not one frame as it should be | of 120,000 damaged frames the loader's decoder took 13 that the reference refused, each with the right content |
//! | no file ever gets more bytes than its manifest says, even of an archive that is refused in the end | they are written to memory as they come |
//! | what is taken was unpacked to the files that were hashed | the kernel boots them |
//! | the same archive with one byte touched does not pass its hashes | they are of all of it |
//! | a path that is taken stays below the directory that it is joined to | traversal |
//! | members are taken in one order only | so is the tar |

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use sealboot_core::archive::{
    ChunkCheck, ChunkMismatch, Destination, FileHashes, VerifiedReader, unpack, verify_archive,
};
use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::archive::{self, MemberPath, Role, check_order, tar_size};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Arch, Archive, Encoding, ImageFile, Manifest};
use sealboot_core::trust::verified::Expected;

use super::Verdict;
use super::input::{Input, touch};
use super::signed::{ALICE, NOW, POLICY_OF_ONE, seal};
use super::spoken;

/// Bits of the input's first byte.
const PATHS: u8 = 0x80;
const GZIP: u8 = 0x01;
/// The input is the stored archive; without this bit it is what the files hold, and the tar is made.
const RAW: u8 = 0x02;
/// Makes the archive longer than one chunk.
const LONG: u8 = 0x04;
/// The hashes are of what the archive holds after it was touched.
const HASH_WHAT_IS_THERE: u8 = 0x08;
/// Stronger than `GZIP`.
const ZSTD: u8 = 0x20;

/// A byte of bits; then paths, or the sizes of the files, where to touch, and the rest.
pub fn run(bytes: &[u8]) -> Verdict {
    let mut input = Input::new(bytes);
    let bits = input.byte();
    if bits & PATHS == 0 {
        tar(bits, input)
    } else {
        paths(&String::from_utf8_lossy(input.rest()))
    }
}

/// One path a line.
fn paths(text: &str) -> Verdict {
    let Ok(paths) = text.lines().map(path).collect::<Result<Vec<_>, _>>() else {
        return Verdict::Refused;
    };
    let parts = paths
        .iter()
        .filter(|path| matches!(path.role(), Role::InitrdPart(_)))
        .count();
    let mut order = vec!["boot/vmlinuz".to_owned()];
    match parts {
        0 => order.push("boot/initrd".to_owned()),
        _ => order.extend((0..parts).map(|part| format!("boot/initrd.{part}"))),
    }
    let found: Vec<&str> = paths.iter().map(MemberPath::as_str).collect();
    let in_order = found == order;
    assert_eq!(check_order(paths.iter()).is_ok(), in_order, "{found:?}");
    if in_order {
        Verdict::Taken
    } else {
        Verdict::Refused
    }
}

fn path(text: &str) -> Result<MemberPath, ()> {
    let path: MemberPath = text.parse().map_err(|_| ())?;
    assert_eq!(path.as_str(), text);
    assert!((1..=100).contains(&text.len()));
    let mut components = Path::new(text).components();
    assert!(components.all(|component| matches!(component, Component::Normal(_))));
    // One spelling: joining its parts again gives the same text.
    assert_eq!(
        Path::new(text)
            .iter()
            .collect::<Vec<_>>()
            .join("/".as_ref()),
        text
    );
    let header = archive::header(&path, 1 << 33);
    assert_eq!(&*header.path_bytes(), text.as_bytes());
    Ok(path)
}

fn tar(bits: u8, mut input: Input<'_>) -> Verdict {
    let encoding = if bits & ZSTD != 0 {
        Encoding::Zstd
    } else if bits & GZIP != 0 {
        Encoding::Gzip
    } else {
        Encoding::None
    };
    let mut sizes = [
        ("boot/vmlinuz", 1 + input.word() % 1500),
        ("boot/initrd", 1 + input.word() % 1500),
    ];
    if bits & LONG != 0 {
        sizes[0].1 += 70_000;
    }
    let (stored, files) = if bits & RAW == 0 {
        made(bits, encoding, &sizes, &mut input)
    } else {
        raw(encoding, &sizes, input.rest())
    };
    if stored.is_empty() {
        return Verdict::Refused;
    }
    compare(encoding, &stored, &files)
}

/// A file's path, and what its signed hash is of.
type File = (&'static str, Vec<u8>);

/// A tar of files that hold the input, touched here and there; compressed, and touched again.
fn made(
    bits: u8,
    encoding: Encoding,
    sizes: &[(&'static str, usize)],
    input: &mut Input<'_>,
) -> (Vec<u8>, Vec<File>) {
    let mut plain_touches = *input;
    input.take(1 + 3 * 8);
    let mut stored_touches = *input;
    input.take(1 + 3 * 8);
    let mut files: Vec<File> = sizes
        .iter()
        .map(|(path, size)| {
            let mut content = input.take(*size).to_vec();
            content.resize(*size, 0);
            (*path, content)
        })
        .collect();
    let mut tar = tar_of(&files);
    touch(&mut plain_touches, &mut tar, 8);
    if bits & HASH_WHAT_IS_THERE != 0 {
        fill_from(&tar, &mut files);
    }
    let mut stored = match encoding {
        Encoding::None => tar,
        Encoding::Gzip => gzip(&tar),
        Encoding::Zstd => zstd(&tar),
    };
    if encoding != Encoding::None {
        touch(&mut stored_touches, &mut stored, 8);
    }
    (stored, files)
}

/// The input as it is, cut or filled up to the length that its manifest must give it.
fn raw(encoding: Encoding, sizes: &[(&'static str, usize)], input: &[u8]) -> (Vec<u8>, Vec<File>) {
    let mut files: Vec<File> = sizes
        .iter()
        .map(|(path, size)| (*path, vec![0; *size]))
        .collect();
    let mut stored = input.to_vec();
    let tar = match encoding {
        Encoding::None => {
            stored.resize(tar_len(&files), 0);
            stored.clone()
        }
        Encoding::Gzip => gunzipped(&stored, tar_len(&files)).map_or_else(Vec::new, |(tar, _)| tar),
        Encoding::Zstd => unzstd(&stored, tar_len(&files)).map_or_else(Vec::new, |(tar, _)| tar),
    };
    fill_from(&tar, &mut files);
    (stored, files)
}

fn compare(encoding: Encoding, stored: &[u8], files: &[File]) -> Verdict {
    let manifest = manifest(encoding, stored, files);
    let envelope = seal(Manifest::PAYLOAD_TYPE, &manifest.encode(), &[&ALICE]).encode();
    let expected = Expected {
        name: &"relay".parse().expect("a name"),
        arch: None,
        now: (*NOW).into(),
    };
    let verified = POLICY_OF_ONE
        .verify_manifest(&envelope, &expected)
        .expect("made to be taken");

    let described = tar_of(files);
    let is_described = match encoding {
        Encoding::None => stored == described,
        Encoding::Gzip => gunzipped(stored, described.len())
            .is_some_and(|(tar, after)| tar == described && after == 0),
        Encoding::Zstd => {
            is_one_frame(stored, described.len())
                && unzstd(stored, described.len())
                    .is_some_and(|(tar, after)| tar == described && after == 0)
        }
    };

    let list = chunk_list(stored);
    let check = ChunkCheck::new(&verified, list.clone()).expect("its list");
    let chunk_size = usize::try_from(manifest.archive.chunk_size).expect("small");
    let chunks = stored
        .chunks(chunk_size)
        .enumerate()
        .map(|(index, chunk)| check.check(index, chunk.to_vec()));
    let mut reader = VerifiedReader::<_, ChunkMismatch>::new(chunks);
    let mut kept = Kept {
        files,
        taken: BTreeMap::new(),
    };
    let result = unpack(&verified, &mut reader, &mut kept, FileHashes::All);
    assert!(
        reader.take_failure().is_none(),
        "the hashes are of these bytes"
    );
    let is_taken = result.is_ok();
    if encoding == Encoding::Zstd && is_taken {
        assert!(is_one_frame(stored, described.len()));
    } else {
        assert_eq!(is_taken, is_described, "{result:?}");
    }

    let mut read = 0;
    let checked = verify_archive(&verified, list.clone(), stored, &mut |bytes| read += bytes);
    assert!(read <= manifest.archive.size);
    assert_eq!(checked.is_ok(), is_taken, "{checked:?}");
    let at = stored.len() / 2;
    let touched = [&stored[..at], &[!stored[at]], &stored[at + 1..]].concat();
    let error =
        verify_archive(&verified, list, touched.as_slice(), &mut |_| {}).expect_err("touched");
    // Where an earlier chunk has been refused for what it holds, the touched one is not reached.
    if is_taken || at < chunk_size {
        assert_eq!(error.code(), FailureCode::ImageChunk);
    }

    match result {
        Ok(()) => {
            for (path, content) in files {
                assert_eq!(kept.taken.get(path), Some(content), "{path}");
            }
            Verdict::Taken
        }
        Err(error) => {
            spoken::is_safe_to_print(&error);
            Verdict::Refused
        }
    }
}

/// Takes what is unpacked, and never more of a file than there should be.
struct Kept<'a> {
    files: &'a [File],
    taken: BTreeMap<&'static str, Vec<u8>>,
}

impl Destination for Kept<'_> {
    fn write(&mut self, role: Role, bytes: &[u8]) -> io::Result<()> {
        let at = match role {
            Role::Kernel => 0,
            Role::Initrd => 1,
            Role::InitrdPart(_) => panic!("there is one initrd"),
        };
        let (path, content) = &self.files[at];
        let taken = self.taken.entry(path).or_default();
        taken.extend_from_slice(bytes);
        assert!(taken.len() <= content.len(), "{path} is over its size");
        Ok(())
    }
}

fn manifest(encoding: Encoding, stored: &[u8], files: &[File]) -> Manifest {
    Manifest {
        name: "relay".parse().expect("a name"),
        version: 42.try_into().expect("in range"),
        label: "fuzzed".parse().expect("a label"),
        arch: Arch::NATIVE,
        created: "2026-01-01T00:00:00Z".parse().expect("a time"),
        expires: Some("2026-02-01T00:00:00Z".parse().expect("a time")),
        cmdline: "quiet".parse().expect("a line"),
        archive: Archive {
            encoding,
            size: stored.len() as u64,
            chunk_size: CHUNK as u64,
            chunks_sha256: Sha256Digest::of(&chunk_list(stored)),
        },
        files: files
            .iter()
            .map(|(path, content)| ImageFile {
                path: path.parse().expect("a member"),
                size: content.len() as u64,
                sha256: Sha256Digest::of(content),
                unpacked_size: None,
            })
            .collect(),
        max_uptime_hours: None,
        attachments: Vec::new(),
    }
}

const CHUNK: usize = 64 << 10;

fn chunk_list(stored: &[u8]) -> Vec<u8> {
    (stored.chunks(CHUNK))
        .flat_map(|chunk| *Sha256Digest::of(chunk).as_bytes())
        .collect()
}

/// The one tar of these files.
fn tar_of(files: &[File]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (path, content) in files {
        let header = archive::header(&path.parse().expect("a member"), content.len() as u64);
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    assert_eq!(tar.len(), tar_len(files));
    tar
}

fn tar_len(files: &[File]) -> usize {
    let size = tar_size(files.iter().map(|(_, content)| content.len() as u64));
    size.and_then(|size| usize::try_from(size).ok())
        .expect("small")
}

/// Takes the files' contents from where they stand in a tar, as far as it goes.
fn fill_from(tar: &[u8], files: &mut [File]) {
    let mut at = 0;
    for (_, content) in files {
        at += 512;
        for (byte, found) in content.iter_mut().zip(tar.iter().skip(at)) {
            *byte = *found;
        }
        at += content.len().next_multiple_of(512);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// What one gzip member holds, if it is whole and holds at most `longest` bytes, and how many bytes follow it.
fn gunzipped(mut stored: &[u8], longest: usize) -> Option<(Vec<u8>, usize)> {
    let mut tar = Vec::new();
    let mut decoder = GzDecoder::new(&mut stored);
    let read = decoder
        .by_ref()
        .take(longest as u64 + 1)
        .read_to_end(&mut tar);
    (read.is_ok() && tar.len() <= longest).then_some((tar, stored.len()))
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(3).expect("memory takes it");
    compressor.include_checksum(true).expect("it is known");
    compressor.compress(bytes).expect("memory takes it")
}

/// Whether this is a zstd frame as an archive's is, and nothing else: no dictionary, a checksum, a window of up
/// to 4 MiB, and this length of its content. Not whether it can be decompressed.
fn is_one_frame(stored: &[u8], content: usize) -> bool {
    let Some((magic, &[descriptor, window, ..])) = stored.split_first_chunk() else {
        return false;
    };
    let is_single_segment = descriptor & 0x20 != 0;
    let found = zstd::zstd_safe::get_frame_content_size(stored);
    *magic == [0x28, 0xb5, 0x2f, 0xfd]
        && descriptor & 0x0f == 0x04
        && (is_single_segment || window <= 12 << 3)
        && found.is_ok_and(|found| found == Some(content as u64))
        && zstd::zstd_safe::find_frame_compressed_size(stored) == Ok(stored.len())
}

/// What the reference decoder makes of one zstd frame, as [`gunzipped`].
fn unzstd(mut stored: &[u8], longest: usize) -> Option<(Vec<u8>, usize)> {
    let mut tar = Vec::new();
    let mut decoder = zstd::Decoder::with_buffer(&mut stored).ok()?.single_frame();
    let read = decoder
        .by_ref()
        .take(longest as u64 + 1)
        .read_to_end(&mut tar);
    (read.is_ok() && tar.len() <= longest).then_some((tar, stored.len()))
}
