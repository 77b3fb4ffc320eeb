//! The manifest: read only after its signatures, so what stands here is what stolen keys can say.
//!
//! | property | because |
//! |---|---|
//! | what is accepted reads back as it was encoded, and all of it is inside the profile | so that all readers see the same |
//! | sizes, chunks and members agree with each other and with the bounds | memory is set aside by them |
//! | every file is a kernel or an initrd | no path leads elsewhere |

use sealboot_core::format::archive::Role;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Archive, Encoding, Manifest};
use sealboot_core::format::profile;
use sealboot_core::trust::Refusal;

use super::Verdict;
use super::spoken;

/// The bytes are the signed payload.
pub fn run(bytes: &[u8]) -> Verdict {
    match Manifest::parse(bytes) {
        Ok(manifest) => {
            profile::check(bytes).expect("only what is inside is accepted");
            assert_eq!(
                Manifest::parse(&manifest.encode()).expect("our own"),
                manifest
            );
            is_sound(&manifest);
            Verdict::Taken
        }
        Err(error) => {
            spoken::is_safe_to_print(&Refusal::Manifest(error));
            Verdict::Refused
        }
    }
}

fn is_sound(manifest: &Manifest) {
    let archive = &manifest.archive;
    assert!((1..=LIMITS.number_max).contains(&manifest.version.as_u64()));
    assert!(
        manifest
            .expires
            .is_none_or(|expires| expires > manifest.created)
    );
    assert!(manifest.cmdline.as_str().len() <= LIMITS.cmdline_bytes);
    assert!((1..=LIMITS.archive_bytes).contains(&archive.size));
    assert!(manifest.attachments.len() <= LIMITS.attachments);
    for attachment in &manifest.attachments {
        assert!(attachment.size <= LIMITS.attachment_bytes);
    }

    let count = archive.chunk_count();
    assert_eq!(archive.chunk_list_len(), 32 * count);
    // Each of up to a million chunks would take the time that other inputs need.
    if count <= 10_000 {
        are_whole(archive);
    }

    assert!((2..=LIMITS.archive_members).contains(&manifest.files.len()));
    assert_eq!(manifest.files[0].path.role(), Role::Kernel);
    let boot: u64 = manifest.files.iter().map(|file| file.size).sum();
    assert_eq!(manifest.boot_size(), boot);
    let unpacked = manifest.unpacked_size();
    assert!(boot < unpacked && unpacked <= LIMITS.archive_bytes);
    assert!(archive.encoding != Encoding::None || unpacked == archive.size);
}

/// The chunks are the archive, and no part of it stands in two.
fn are_whole(archive: &Archive) {
    let lengths: Vec<u64> = (0..archive.chunk_count())
        .map(|index| archive.chunk_len(index).expect("it is there"))
        .collect();
    assert_eq!(lengths.iter().sum::<u64>(), archive.size);
    let mut lengths = lengths.iter();
    assert!(lengths.all(|len| (1..=LIMITS.chunk_size_max).contains(len)));
    assert_eq!(archive.chunk_len(archive.chunk_count()), None);
}
