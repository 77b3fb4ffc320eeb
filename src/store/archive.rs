//! Blobs: the check of those that a store has, and the copy of those that it lacks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use sealboot_core::archive::{StoredArchiveError, compare_archive, verify_archive};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Archive, Attachment, Manifest};
use sealboot_core::trust::Verified;

use crate::error::{Content, Refused};
use crate::files::{self, Existing};
use crate::path::{Place, StorePath};
use crate::pending::PendingFile;
use crate::{Notice, Store, StoreError};

/// The SHA-256 of blobs, by their file names.
type Sums = BTreeMap<String, Sha256Digest>;

/// The powers of two that chunks can have as their size.
const CHUNK_SIZES: [u32; 9] = [16, 17, 18, 19, 20, 21, 22, 23, 24];

/// Bytes of the longest chunk list: of 64 GiB in the smallest chunks.
const CHUNK_LIST_BYTES: u64 = 32 << 20;

impl Store {
    /// Checks all that the manifest names and the store has: the archive as [`check_archive`](Self::check_archive) does,
    /// and each attachment.
    ///
    /// # Errors
    ///
    /// As for [`check_archive`](Self::check_archive) and [`check_attachment`](Self::check_attachment).
    pub fn check_blobs(
        &self,
        manifest: &Verified<Manifest>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        self.check_archive(manifest, progress)?;
        let mut attachments = manifest.as_ref().attachments.iter();
        attachments.try_for_each(|attachment| self.check_attachment(attachment))
    }

    /// Checks that the store has an attachment with the length and hash that its manifest says.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoAttachment`] where there is none, [`StoreError::AttachmentRefused`] where it has other bytes, and as
    /// for [`files::open_stored`].
    pub fn check_attachment(&self, attachment: &Attachment) -> Result<(), StoreError> {
        let (name, path) = (attachment.name.clone(), self.attachment(attachment));
        if matches!(path.try_exists(), Ok(false)) {
            return Err(StoreError::NoAttachment { name, path });
        }
        let file = files::open_stored(&path)?;
        // One byte too many is read, so that a longer one is refused as what it is.
        let mut file = Hashed::of(file.take(attachment.size.saturating_add(1)));
        let size = io::copy(&mut file, &mut io::sink()).map_err(StoreError::unreadable(&path))?;
        let sha256 = file.sha256();
        let expected = Content {
            size: attachment.size,
            sha256: attachment.sha256,
        };
        let found = Content { size, sha256 };
        if found == expected {
            return Ok(());
        }
        Err(StoreError::AttachmentRefused {
            name,
            path,
            expected: Box::new(expected),
            found: Box::new(found),
        })
    }

    /// Checks the chunk list and the archive that the store has as a machine does, and the files in it; `progress` is
    /// called with the bytes checked so far.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoArchive`] where one of them cannot be opened, [`StoreError::ArchiveRefused`] where it is not as
    /// signed.
    pub fn check_archive(
        &self,
        manifest: &Verified<Manifest>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        self.hash_archive(manifest, progress).map(drop)
    }

    /// Does the same, and returns the SHA-256 of the archive.
    fn hash_archive(
        &self,
        manifest: &Verified<Manifest>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Sha256Digest, StoreError> {
        let (path, list, file) = self.open_archive(&manifest.as_ref().archive)?;
        check(&path, list, file, manifest, progress)
    }

    /// Does the same by an unverified manifest.
    pub(crate) fn compare_archive(
        &self,
        manifest: &Manifest,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Sha256Digest, StoreError> {
        let (path, list, file) = self.open_archive(&manifest.archive)?;
        check_by(&path, file, progress, |file, progress| {
            compare_archive(manifest, list, file, progress)
        })
    }

    /// Opens an archive, and reads its chunk list.
    fn open_archive(&self, archive: &Archive) -> Result<(PathBuf, Vec<u8>, File), StoreError> {
        let list = self.read_chunk_list(archive)?;
        let path = self.archive(archive);
        let file =
            files::open_stored(&path).map_err(|error| StoreError::NoArchive(Box::new(error)))?;
        Ok((path, list, file))
    }

    fn read_chunk_list(&self, archive: &Archive) -> Result<Vec<u8>, StoreError> {
        // One byte too many is read, so that a longer list is refused as what it is.
        let limit = archive.chunk_list_len() as u64 + 1;
        files::read_stored(&self.chunk_list(archive), limit)
            .map_err(|error| StoreError::NoArchive(Box::new(error)))
    }

    /// Sees to it that the store has what the manifest names, and that it is as signed: what it lacks, or what is
    /// damaged, is copied from the store that `envelope` is in. Then writes `SHA256SUMS`.
    pub(crate) fn provide_blobs(
        &self,
        envelope: &Path,
        manifest: &Verified<Manifest>,
        say: &mut dyn FnMut(Notice),
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let other = Place::of(envelope).map(|place| place.store);
        let other = other.filter(|other| !is_same(other.root(), self.root()));
        let archive = &manifest.as_ref().archive;
        let mut sums = Sums::new();
        let sha256 = self.provide_archive(other.as_ref(), manifest, say, progress)?;
        sums.insert(name_of(&archive.blob_path()), sha256);
        sums.insert(name_of(&archive.chunk_list_path()), archive.chunks_sha256);
        for attachment in &manifest.as_ref().attachments {
            self.provide_attachment(other.as_ref(), attachment)?;
            sums.insert(name_of(&attachment.blob_path()), attachment.sha256);
        }
        self.add_sums(sums)
    }

    fn provide_archive(
        &self,
        other: Option<&Self>,
        manifest: &Verified<Manifest>,
        say: &mut dyn FnMut(Notice),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Sha256Digest, StoreError> {
        let archive = &manifest.as_ref().archive;
        let (own, own_list) = (self.archive(archive), self.chunk_list(archive));
        for path in [&own, &own_list] {
            if leaves(self.root(), path) {
                return Err(StoreError::LeadsOut { path: path.clone() });
            }
        }
        let is_there = own.exists() && own_list.exists();
        let there = is_there.then(|| self.hash_archive(manifest, progress));
        let other = other.filter(|other| other.archive(archive).exists());
        // A damaged archive is replaced where a good one can be had.
        let other = match (there, other) {
            (Some(Ok(sha256)), _) => return Ok(sha256),
            (Some(Err(error)), None) => return Err(error),
            (None, None) => return self.hash_archive(manifest, progress),
            (Some(Err(_)) | None, Some(other)) => other,
        };
        files::create_directory(files::directory(&own))?;
        let from = other.archive(archive);
        let failed = copy_failed(&from, &own);
        let list = other.read_chunk_list(archive)?;
        // Without a name until it is checked, so that nothing of it stays if this run is ended.
        let mut copy = PendingFile::create_in(files::directory(&own)).map_err(&failed)?;
        let mut source = files::open_stored(&from)?.take(archive.size.saturating_add(1));
        io::copy(&mut source, &mut copy).map_err(&failed)?;
        let written = copy.written().map_err(&failed)?;
        let sha256 = check(&from, list.clone(), written, manifest, progress)?;
        files::write(&own_list, &list, 0o644, Existing::Replace)?;
        copy.commit(&own, Existing::Replace).map_err(&failed)?;
        say(Notice::ArchiveCopied { path: own });
        Ok(sha256)
    }

    fn provide_attachment(
        &self,
        other: Option<&Self>,
        attachment: &Attachment,
    ) -> Result<(), StoreError> {
        let own = self.attachment(attachment);
        if leaves(self.root(), &own) {
            return Err(StoreError::LeadsOut { path: own });
        }
        let Err(refused) = self.check_attachment(attachment) else {
            return Ok(());
        };
        let Some(other) = other.filter(|other| other.check_attachment(attachment).is_ok()) else {
            return Err(refused);
        };
        let from = other.attachment(attachment);
        let failed = copy_failed(&from, &own);
        let mut copy = PendingFile::create_in(files::directory(&own)).map_err(&failed)?;
        let mut source = files::open_stored(&from)?.take(attachment.size.saturating_add(1));
        io::copy(&mut source, &mut copy).map_err(&failed)?;
        if copy.sha256() != attachment.sha256 {
            return Err(StoreError::NoAttachment {
                name: attachment.name.clone(),
                path: from,
            });
        }
        copy.commit(&own, Existing::Replace).map_err(&failed)
    }

    /// Writes `SHA256SUMS` with these lines, and keeps or adds those of all other blobs.
    ///
    /// The names of chunk lists and attachments are their hashes. An archive of another release is hashed only where it has
    /// no line: to read all archives for each release would take minutes in a large store. [`Store::check`] finds a
    /// wrong line, and publishing that release again corrects it.
    fn add_sums(&self, new: Sums) -> Result<(), StoreError> {
        let blobs = self.blobs();
        let _lock = files::lock(&blobs);
        let path = self.path(&StorePath::Sums);
        // An unreadable file is written again: nothing depends on it.
        let old = files::read_stored(&path, LIMITS.channel_bytes).unwrap_or_default();
        let mut sums = parse_sums(&String::from_utf8_lossy(&old));
        sums.retain(|name, _| blobs.join(name).exists());
        for blob in self.stored_blobs()? {
            let name = name_of(&blob.to_string());
            let is_archive = matches!(blob, StorePath::Archive(..));
            if new.contains_key(&name) || (is_archive && sums.contains_key(&name)) {
                continue;
            }
            if let Ok(sha256) = self.expected_sha256(&blob) {
                sums.insert(name, sha256);
            }
        }
        sums.extend(new);
        let lines: String = (sums.iter())
            .map(|(name, sha256)| format!("{sha256}  {name}\n"))
            .collect();
        if lines.as_bytes() == old {
            return Ok(());
        }
        files::write(&path, lines.as_bytes(), 0o644, Existing::Replace)
    }
}

impl Store {
    /// Returns the files that lie in `blobs/` under a name that a blob can have, in the order of their names.
    pub(crate) fn stored_blobs(&self) -> Result<Vec<StorePath>, StoreError> {
        let blobs = self.blobs();
        let entries = match fs::read_dir(&blobs) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(StoreError::unreadable(&blobs))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(StoreError::unreadable(&blobs))?.file_name();
            names.extend(name.to_str().map(|name| format!("/blobs/{name}")));
        }
        names.sort();
        let blobs = names.iter().filter_map(|name| StorePath::parse(name));
        Ok(blobs.filter(|blob| *blob != StorePath::Sums).collect())
    }

    /// Returns the SHA-256 that a blob must have by its name. Of an archive, the name is the hash of its chunk list, so all
    /// of it is read and compared with that.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotByName`] for an archive that is not what its name says, and where it cannot be read.
    pub(crate) fn expected_sha256(&self, blob: &StorePath) -> Result<Sha256Digest, StoreError> {
        let list = match blob {
            StorePath::Attachment(sha256) | StorePath::ChunkList(sha256) => return Ok(*sha256),
            StorePath::Archive(list, _) => list,
            _ => {
                let path = self.path(blob);
                return Err(StoreError::NotByName { path });
            }
        };
        let path = self.path(blob);
        let not_by_name = || StoreError::NotByName { path: path.clone() };
        let chunks = self.path(&StorePath::ChunkList(*list));
        let hashes = files::read_stored(&chunks, CHUNK_LIST_BYTES)?;
        let (hashes, rest) = hashes.as_chunks::<{ Sha256Digest::LEN }>();
        let file = files::open_stored(&path)?;
        let size = (file.metadata().map_err(StoreError::unreadable(&path))?).len();
        // Of two chunks or more, length and count leave one size; a single chunk has any.
        let count = u64::try_from(hashes.len()).unwrap_or(u64::MAX);
        let chunk_size = CHUNK_SIZES.map(|power| 1 << power);
        let chunk_size = chunk_size
            .into_iter()
            .find(|chunk_size| size.div_ceil(*chunk_size) == count && rest.is_empty())
            .ok_or_else(not_by_name)?;
        if Sha256Digest::of(hashes.as_flattened()) != *list {
            return Err(not_by_name());
        }
        let mut file = Hashed::of(file);
        for expected in hashes {
            let found = Sha256Digest::of_rest((&mut file).take(chunk_size))
                .map_err(StoreError::unreadable(&path))?;
            if found.as_bytes() != expected {
                return Err(not_by_name());
            }
        }
        Ok(file.sha256())
    }
}

/// Reads the lines of `SHA256SUMS` that name a blob; drops the others.
fn parse_sums(text: &str) -> Sums {
    let lines = text.lines().filter_map(|line| {
        let (sha256, name) = line.split_once("  ")?;
        StorePath::parse(&format!("/blobs/{name}"))?;
        Some((name.to_owned(), sha256.parse().ok()?))
    });
    lines.collect()
}

/// Returns the file name of a blob, as `SHA256SUMS` has it.
pub(crate) fn name_of(blob: &str) -> String {
    blob.strip_prefix("blobs/").unwrap_or(blob).to_owned()
}

fn copy_failed(from: &Path, to: &Path) -> impl Fn(io::Error) -> StoreError + use<> {
    let (from, to) = (from.to_owned(), to.to_owned());
    move |source| StoreError::Copy {
        from: from.clone(),
        to: to.clone(),
        source,
    }
}

/// Checks an archive, and returns its SHA-256; `path` is what to call it.
fn check(
    path: &Path,
    list: Vec<u8>,
    stored: impl Read,
    manifest: &Verified<Manifest>,
    progress: &mut dyn FnMut(u64),
) -> Result<Sha256Digest, StoreError> {
    check_by(path, stored, progress, |stored, progress| {
        verify_archive(manifest, list, stored, progress)
    })
}

/// Hashes what `by` reads, and tells how much that was.
fn check_by<R: Read>(
    path: &Path,
    stored: R,
    progress: &mut dyn FnMut(u64),
    by: impl FnOnce(&mut Hashed<R>, &mut dyn FnMut(u64)) -> Result<(), StoredArchiveError>,
) -> Result<Sha256Digest, StoreError> {
    let mut done = 0;
    let mut stored = Hashed::of(stored);
    let checked = by(&mut stored, &mut |bytes| {
        done += bytes;
        progress(done);
    });
    checked.map_err(|error| match error {
        // The disk failed, not the check.
        StoredArchiveError::Read(source) => StoreError::unreadable(path)(source),
        error => StoreError::ArchiveRefused(Refused::at(path)(error)),
    })?;
    Ok(stored.sha256())
}

/// Hashes what is read.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R> Hashed<R> {
    fn of(inner: R) -> Self {
        let hasher = Sha256::new();
        Self { inner, hasher }
    }

    /// Returns the SHA-256 of what was read.
    fn sha256(self) -> Sha256Digest {
        Sha256Digest::finish(self.hasher)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Returns `true` if `path` is, or lies behind, a link that leads out of `store`.
pub(crate) fn leaves(store: &Path, path: &Path) -> bool {
    match (store.canonicalize(), path.canonicalize()) {
        (Ok(store), Ok(path)) => !path.starts_with(store),
        _ => false,
    }
}

/// Returns `true` if two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use support::world;

    use super::*;
    use crate::testing::{made, policy, release_file, sealed, store, write};
    use crate::{Older, Release};

    #[test]
    fn sums_keep_what_is_there_and_drop_what_is_gone() {
        let (_dir, store) = store();
        let digest = Sha256Digest::of;
        let (kept, gone, new) = (digest(b"kept"), digest(b"gone"), digest(b"new"));
        fs::write(store.blobs().join(format!("sha256-{kept}")), "kept").unwrap();
        let old = format!("{kept}  sha256-{kept}\n{gone}  sha256-{gone}\nnoise\n{kept}  ../x\n");
        fs::write(store.path(&StorePath::Sums), old).unwrap();
        store
            .add_sums(Sums::from([(format!("sha256-{new}"), new)]))
            .unwrap();
        let sums = fs::read_to_string(store.path(&StorePath::Sums)).unwrap();
        let mut expected = [
            format!("{kept}  sha256-{kept}"),
            format!("{new}  sha256-{new}"),
        ];
        expected.sort_by(|one, other| one[64..].cmp(&other[64..]));
        assert_eq!(sums.lines().collect::<Vec<_>>(), expected);
    }
    #[test]
    fn lines_of_other_blobs_are_derived_or_kept() {
        let (_dir, store) = store();
        release_file(&store, 42, &["alice"]);
        let archive = world::manifest(42).archive;
        let attachment = Sha256Digest::of(b"notes");
        fs::write(store.blobs().join(format!("sha256-{attachment}")), "notes").unwrap();
        let names = [
            name_of(&archive.blob_path()),
            name_of(&archive.chunk_list_path()),
            format!("sha256-{attachment}"),
        ];
        let wrong = Sha256Digest::of(b"another");
        let lines: String = (names.iter())
            .map(|name| format!("{wrong}  {name}\n"))
            .collect();
        let path = store.path(&StorePath::Sums);
        let sums = || parse_sums(&fs::read_to_string(&path).unwrap());
        fs::write(&path, &lines).unwrap();
        store.add_sums(Sums::new()).unwrap();
        // Only to read the archive would tell that its line is wrong.
        assert_eq!(sums()[&names[0]], wrong);
        assert_eq!(sums()[&names[1]], archive.chunks_sha256);
        assert_eq!(sums()[&names[2]], attachment);
        fs::remove_file(&path).unwrap();
        store.add_sums(Sums::new()).unwrap();
        let bytes = fs::read(store.archive(&archive)).unwrap();
        assert_eq!(sums()[&names[0]], Sha256Digest::of(&bytes));
        // The line of a damaged one stays, so that `sha256sum -c` names it.
        fs::write(store.archive(&archive), &bytes[1..]).unwrap();
        let before = sums();
        store.add_sums(Sums::new()).unwrap();
        assert_eq!(sums(), before);
    }

    #[test]
    fn an_attachment_with_other_bytes_is_refused() {
        let (_dir, store) = store();
        release_file(&store, 42, &["alice"]);
        let mut manifest = world::manifest(43);
        let bytes = b"notes";
        manifest.attachments = vec![Attachment {
            name: "notes.txt".parse().unwrap(),
            media_type: "text/plain".parse().unwrap(),
            size: 5,
            sha256: Sha256Digest::of(bytes),
        }];
        let envelope = sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice"]);
        let path = write(&store.root().join("43.json"), &envelope);
        let policy = policy(&["alice"]);
        let release = Release::read(&path, &policy, made()).unwrap();
        let checked = || store.check_blobs(release.manifest(), &mut |_| {});
        let place = store.attachment(&manifest.attachments[0]);
        let error = checked().unwrap_err();
        assert!(
            matches!(&error, StoreError::NoAttachment { path, .. } if *path == place),
            "{error:?}"
        );
        assert!(!error.is_refusal());
        fs::write(&place, bytes).unwrap();
        checked().unwrap();
        for other in ["nodes", "note", "notes and more"] {
            fs::write(&place, other).unwrap();
            let error = checked().unwrap_err();
            assert!(
                matches!(error, StoreError::AttachmentRefused { .. }),
                "{error:?}"
            );
            assert!(error.is_refusal());
            let published = store.publish(&release, Older::Refuse, None, &mut |_| {}, &mut |_| {});
            assert!(matches!(
                published,
                Err(StoreError::AttachmentRefused { .. })
            ));
        }
    }
}
