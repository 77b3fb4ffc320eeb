//! The manifest: read only after its signatures, so what stands here is what stolen keys can say.
//!
//! | property | because |
//! |---|---|
//! | what is accepted reads back as it was encoded, and all of it is inside the profile | so that all readers see the same |
//! | sizes, chunks and members agree with each other and with the bounds | memory is set aside by them |
//! | the blob stands where its hash says, every file below the archive | no path leads elsewhere |

use sealboot_core::format::archive::Role;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Encoding, Manifest};
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
    assert_eq!(
        archive.path,
        format!(
            "blobs/sha256-{}.{}",
            archive.sha256,
            archive.encoding.suffix()
        )
    );

    let chunks =
        (0..archive.chunks.len()).map(|index| archive.chunk_len(index).expect("it is there"));
    assert_eq!(chunks.clone().sum::<u64>(), archive.size);
    assert!(
        chunks
            .clone()
            .all(|len| (1..=LIMITS.chunk_size_max).contains(&len))
    );
    assert_eq!(archive.chunk_len(archive.chunks.len()), None);

    assert!((2..=LIMITS.archive_members).contains(&manifest.files.len()));
    assert_eq!(manifest.files[0].path.role(), Role::Kernel);
    let boot: u64 = manifest
        .files
        .iter()
        .filter(|file| file.path.as_str().starts_with("boot/"))
        .map(|file| file.size)
        .sum();
    assert_eq!(manifest.boot_size(), boot);
    let unpacked = manifest.unpacked_size();
    assert!(boot < unpacked && unpacked <= LIMITS.archive_bytes);
    assert!(archive.encoding == Encoding::Gzip || unpacked == archive.size);
}
