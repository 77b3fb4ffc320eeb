//! A newc archive: the initrd that an operator packs, and what any build system may have put into it.
//!
//! | property | because |
//! |---|---|
//! | no entry holds more than the input has, whatever its header says | 4 GiB are announced in 8 digits |
//! | names and targets are what the kernel takes | they are compared with those that an initrd must have |
//! | an archive that ends, cut off anywhere before its end, does not | half an initrd must not pass for one |
//! | passing over content and reading it lead to the same entries | both are done |
//! | what can be written in our own archive is read from it as it was | the initramfs is built by it |

use sealboot::cpio::{Entry, Kind, Reader, Tree};

use super::Verdict;

/// The longest name with its NUL, by the kernel's `PATH_MAX`.
const NAME_MAX: usize = 4096;
/// The longest file whose content is read.
const LIMIT: u64 = 1000;

/// The bytes are an archive, and what may follow one.
pub fn run(bytes: &[u8]) -> Verdict {
    let Some((entries, after)) = read(bytes, Some(LIMIT)) else {
        assert!(read(bytes, None).is_none());
        return Verdict::Refused;
    };
    let (passed_over, after_too) = read(bytes, None).expect("the same archive");
    assert_eq!(after, after_too);
    assert!(
        passed_over
            .iter()
            .map(|(entry, _)| entry)
            .eq(entries.iter().map(|(entry, _)| entry))
    );

    let archive = &bytes[..bytes.len() - after];
    let (again, nothing) = read(archive, None).expect("whole without what follows");
    assert_eq!((again, nothing), (passed_over, 0));
    // Each cut costs a reading: near the end, and a few before.
    let cuts = (1..=8).chain((1..8).map(|eighth| archive.len() * eighth / 8));
    for cut in cuts.filter(|cut| (1..=archive.len()).contains(cut)) {
        let cut_off = &archive[..archive.len() - cut];
        assert!(
            read(cut_off, None).is_none(),
            "{cut} bytes of {} are missing",
            archive.len()
        );
    }
    written_again(&entries);
    Verdict::Taken
}

/// An entry, and its content where it is a short file.
type Item = (Entry, Option<Vec<u8>>);

/// All entries, and how many bytes follow the archive; `None` where it is none.
fn read(mut bytes: &[u8], limit: Option<u64>) -> Option<(Vec<Item>, usize)> {
    let len = bytes.len();
    let mut reader = Reader::new(&mut bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        let name = &entry.name;
        assert!((1..NAME_MAX).contains(&name.len()) && !name.contains(&0));
        assert!(entry.permissions <= 0o7777);
        if let Kind::Symlink { target } = &entry.kind {
            assert!((1..=NAME_MAX).contains(&target.len()) && !target.contains(&0));
            assert!(u32::try_from(target.len()).is_ok_and(|len| len <= entry.size));
        }
        let content = match (&entry.kind, limit) {
            (Kind::File, Some(limit)) => reader.content(limit).ok()?,
            _ => None,
        };
        if let Some(content) = &content {
            assert_eq!(u32::try_from(content.len()), Ok(entry.size));
        }
        entries.push((entry, content));
        assert!(entries.len() * 110 <= len);
    }
    Some((entries, bytes.len()))
}

/// Writes those entries that our own archives can hold, and reads them.
fn written_again(entries: &[Item]) {
    let mut tree = Tree::new();
    let mut held: Vec<&Item> = Vec::new();
    for item in entries {
        let (entry, content) = item;
        let Ok(path) = std::str::from_utf8(&entry.name) else {
            continue;
        };
        let added = match &entry.kind {
            Kind::Directory => tree.directory(path, entry.permissions),
            Kind::File => match content {
                Some(content) => tree.file(
                    path,
                    entry.permissions,
                    content.len() as u64,
                    content.as_slice(),
                ),
                None => continue,
            },
            Kind::Symlink { target } => match std::str::from_utf8(target) {
                Ok(target) => tree.symlink(path, target),
                Err(_) => continue,
            },
            Kind::CharDevice { major, minor } => {
                tree.char_device(path, entry.permissions, *major, *minor)
            }
            Kind::BlockDevice { .. } | Kind::Other(_) => continue,
        };
        if added.is_ok() {
            held.push(item);
        }
    }
    // Where something stands below what is no directory, there is no such tree.
    let Ok(archive) = tree.write(Vec::new(), 7) else {
        return;
    };
    let (found, after) = read(&archive, Some(LIMIT)).expect("our own archive");
    assert_eq!(after, 0);
    assert!(found.is_sorted_by(|(one, _), (next, _)| one.name < next.name));
    for (entry, content) in held {
        let (other, other_content) = found
            .iter()
            .find(|(other, _)| other.name == entry.name)
            .expect("what was held is there");
        assert_eq!((&other.kind, other_content), (&entry.kind, content));
        assert_eq!((other.uid, other.gid, other.mtime), (0, 0, 7));
        if !matches!(entry.kind, Kind::Symlink { .. }) {
            assert_eq!(other.permissions, entry.permissions);
        }
    }
}
