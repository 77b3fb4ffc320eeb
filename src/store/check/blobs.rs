//! The check of archives, chunk lists and attachments, and of `SHA256SUMS`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Attachment, Manifest};

use super::{Check, Fault, Note};
use crate::archive::{leaves, name_of};
use crate::path::StorePath;
use crate::{Store, StoreError, files};

impl Store {
    /// Returns how many bytes the archives and attachments have that [`check`](Self::check) reads.
    #[must_use]
    pub fn blob_bytes(&self) -> u64 {
        let blobs = self.stored_blobs().unwrap_or_default();
        let sizes = blobs
            .iter()
            .filter_map(|blob| fs::metadata(self.path(blob)).ok());
        sizes.map(|metadata| metadata.len()).sum()
    }
}

impl Check<'_> {
    /// Checks every blob: those that releases name as these say, and the others by their own names.
    pub(super) fn blobs(&mut self, files: &[StorePath]) {
        let store = self.store;
        let mut named = BTreeSet::new();
        let mut archives: Vec<Manifest> = Vec::new();
        let mut attachments = Vec::new();
        for manifest in std::mem::take(&mut self.named) {
            let archive = &manifest.archive;
            named.extend([archive.blob_path(), archive.chunk_list_path()]);
            for attachment in &manifest.attachments {
                named.insert(attachment.blob_path());
                let is_same = |other: &Attachment| {
                    (other.sha256, other.size) == (attachment.sha256, attachment.size)
                };
                if !attachments.iter().any(is_same) {
                    attachments.push(attachment.clone());
                }
            }
            let is_same = |other: &Manifest| {
                other.archive == manifest.archive && other.files == manifest.files
            };
            if !archives.iter().any(is_same) {
                archives.push(manifest);
            }
        }
        let blobs = files.iter().filter(|file| {
            use StorePath::{Archive, Attachment, ChunkList};
            matches!(file, Archive(..) | ChunkList(_) | Attachment(_))
        });
        let blobs: Vec<&StorePath> = blobs.collect();
        self.checked.blobs = blobs.len();
        for blob in &blobs {
            let path = store.path(blob);
            if leaves(store.root(), &path) {
                let path = path.clone();
                self.fault(&path.clone(), StoreError::LeadsOut { path });
            }
        }
        for manifest in &archives {
            let archive = &manifest.archive;
            let path = store.archive(archive);
            let (before, progress) = (self.done, &mut *self.progress);
            match store.compare_archive(manifest, &mut |done| progress(before + done)) {
                Ok(sha256) => {
                    self.sums.insert(name_of(&archive.blob_path()), sha256);
                    let list = name_of(&archive.chunk_list_path());
                    self.sums.insert(list, archive.chunks_sha256);
                }
                Err(error) => self.fault(&path, error),
            }
            self.advance(&path);
        }
        for attachment in &attachments {
            let path = store.attachment(attachment);
            match store.check_attachment(attachment) {
                Ok(()) => {
                    let name = name_of(&attachment.blob_path());
                    self.sums.insert(name, attachment.sha256);
                }
                Err(error) => self.fault(&path, error),
            }
            self.advance(&path);
        }
        for blob in blobs {
            if named.contains(&blob.to_string()) {
                continue;
            }
            let path = store.path(blob);
            self.note(&path, Note::Unused);
            match self.by_name(blob, &path) {
                Ok(sha256) => {
                    self.sums.insert(name_of(&blob.to_string()), sha256);
                }
                Err(error) => self.fault(&path, error),
            }
            self.advance(&path);
        }
    }

    /// Returns the SHA-256 of a blob that no release names, if it is what its name says.
    fn by_name(&self, blob: &StorePath, path: &Path) -> Result<Sha256Digest, StoreError> {
        let expected = self.store.expected_sha256(blob)?;
        if matches!(blob, StorePath::Archive(..)) {
            return Ok(expected);
        }
        let file = files::open_stored(path)?;
        let found = Sha256Digest::of_rest(file).map_err(StoreError::unreadable(path))?;
        if found == expected {
            return Ok(found);
        }
        Err(StoreError::NotByName {
            path: path.to_owned(),
        })
    }

    fn advance(&mut self, path: &Path) {
        self.done += fs::metadata(path).map_or(0, |metadata| metadata.len());
        (self.progress)(self.done);
    }

    /// Compares the lines of `SHA256SUMS` with the blobs.
    pub(super) fn sums(&mut self, files: &[StorePath]) {
        let path = self.store.path(&StorePath::Sums);
        let names = files.iter().map(StorePath::to_string);
        let mut blobs: BTreeSet<String> = names
            .filter(|file| file.starts_with("blobs/"))
            .map(|blob| name_of(&blob))
            .collect();
        blobs.remove("SHA256SUMS");
        let text = match files::read_stored(&path, LIMITS.channel_bytes) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(StoreError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                if !blobs.is_empty() {
                    self.note(&path, Note::NoSums);
                }
                return;
            }
            Err(error) => return self.fault(&path, error),
        };
        let mut unreadable = Vec::new();
        let mut without = blobs.clone();
        for (number, line) in (1..).zip(text.lines()) {
            let parsed = line.split_once("  ").and_then(|(sha256, name)| {
                StorePath::parse(&format!("/blobs/{name}"))?;
                Some((sha256.parse::<Sha256Digest>().ok()?, name.to_owned()))
            });
            let Some((found, name)) = parsed else {
                unreadable.push(number);
                continue;
            };
            without.remove(&name);
            match self.sums.get(&name).copied() {
                Some(expected) if expected != found => {
                    let fault = Fault::WrongSum {
                        number,
                        name,
                        expected,
                        found,
                    };
                    self.fault(&path, fault);
                }
                None if !blobs.contains(&name) => {
                    self.fault(&path, Fault::SumOfNothing { number, name });
                }
                // The fault of a damaged blob is a finding already.
                _ => {}
            }
        }
        if let [number, more @ ..] = &unreadable[..] {
            let (number, more) = (*number, more.len());
            self.fault(&path, Fault::SumsLine { number, more });
        }
        for name in without {
            let path = self.store.blobs().join(name);
            self.note(&path, Note::NoSum);
        }
    }
}
