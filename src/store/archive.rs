//! Blobs: the check of those that a store has, and the copy of those that it lacks.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use sealboot_core::archive::{StoredArchiveError, verify_archive};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Archive, Attachment, Manifest};
use sealboot_core::trust::Verified;

use crate::error::Refused;
use crate::files::{self, Existing};
use crate::path::{Place, StorePath};
use crate::pending::PendingFile;
use crate::{Notice, Store, StoreError};

/// The SHA-256 of blobs, by their file names.
type Sums = BTreeMap<String, Sha256Digest>;

impl Store {
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
        let archive = &manifest.as_ref().archive;
        let list = self.read_chunk_list(archive)?;
        let path = self.archive(archive);
        let file =
            files::open_stored(&path).map_err(|error| StoreError::NoArchive(Box::new(error)))?;
        check(&path, list, file, manifest, progress)
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
        if is_attachment(&own, attachment) {
            return Ok(());
        }
        let from = other.map(|other| other.attachment(attachment));
        let Some(from) = from.filter(|from| is_attachment(from, attachment)) else {
            return Err(StoreError::NoAttachment {
                name: attachment.name.clone(),
                path: own,
            });
        };
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

    /// Adds lines to `SHA256SUMS`, and drops those of blobs that are gone.
    fn add_sums(&self, new: Sums) -> Result<(), StoreError> {
        let blobs = self.blobs();
        let _lock = files::lock(&blobs);
        let path = self.path(&StorePath::Sums);
        // What cannot be read is made anew: nothing depends on it.
        let old = files::read_stored(&path, LIMITS.channel_bytes).unwrap_or_default();
        let mut sums = parse_sums(&String::from_utf8_lossy(&old));
        sums.retain(|name, _| blobs.join(name).exists());
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

/// Reads the lines of `SHA256SUMS` that name a blob; drops the others.
fn parse_sums(text: &str) -> Sums {
    let lines = text.lines().filter_map(|line| {
        let (sha256, name) = line.split_once("  ")?;
        StorePath::parse(&format!("/blobs/{name}"))?;
        Some((name.to_owned(), sha256.parse().ok()?))
    });
    lines.collect()
}

fn name_of(blob: &str) -> String {
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

/// Returns `true` if there is a file with the attachment's bytes.
fn is_attachment(path: &Path, attachment: &Attachment) -> bool {
    let hash = |path| {
        let file = files::open_stored(path).ok()?;
        Sha256Digest::of_rest(file.take(attachment.size.saturating_add(1))).ok()
    };
    hash(path) == Some(attachment.sha256)
}

/// Checks an archive, and returns its SHA-256; `path` is what to call it.
fn check(
    path: &Path,
    list: Vec<u8>,
    stored: impl Read,
    manifest: &Verified<Manifest>,
    progress: &mut dyn FnMut(u64),
) -> Result<Sha256Digest, StoreError> {
    let mut done = 0;
    let mut stored = Hashed {
        inner: stored,
        hasher: Sha256::new(),
    };
    let checked = verify_archive(manifest, list, &mut stored, &mut |bytes| {
        done += bytes;
        progress(done);
    });
    checked.map_err(|error| match error {
        // The disk failed, not the check.
        StoredArchiveError::Read(source) => StoreError::unreadable(path)(source),
        error => StoreError::ArchiveRefused(Refused::at(path)(error)),
    })?;
    Ok(Sha256Digest::finish(stored.hasher))
}

/// Hashes what is read.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// Returns `true` if `path` is, or lies behind, a link that leads out of `store`.
fn leaves(store: &Path, path: &Path) -> bool {
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
    use std::fs;

    use super::*;
    use crate::testing::store;

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
}
