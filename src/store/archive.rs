//! Archives: the check of one that a store has, and the copy of one that it lacks.

use std::io::{self, Read};
use std::path::Path;

use sealboot_core::archive::{StoredArchiveError, verify_archive};
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::Verified;

use crate::error::Refused;
use crate::files::{self, Existing};
use crate::path::Place;
use crate::pending::PendingFile;
use crate::{Notice, Store, StoreError};

impl Store {
    /// Checks the archive that the store has as a machine does; `progress` is called with the bytes checked so far.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoArchive`] where it cannot be opened, [`StoreError::ArchiveRefused`] where it is not as signed.
    pub fn check_archive(
        &self,
        manifest: &Verified<Manifest>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let path = self.archive(&manifest.as_ref().archive);
        let file =
            files::open_stored(&path).map_err(|error| StoreError::NoArchive(Box::new(error)))?;
        check(&path, file, manifest, progress)
    }

    /// Sees to it that the store has the archive, and that it is as signed: one that it lacks, or that is damaged, is
    /// copied from the store that `envelope` is in.
    pub(crate) fn provide_archive(
        &self,
        envelope: &Path,
        manifest: &Verified<Manifest>,
        say: &mut dyn FnMut(Notice),
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let archive = &manifest.as_ref().archive;
        let own = self.archive(archive);
        if leaves(self.root(), &own) {
            return Err(StoreError::LeadsOut { path: own });
        }
        let there = own.exists().then(|| self.check_archive(manifest, progress));
        let other = Place::of(envelope)
            .map(|place| place.store.archive(archive))
            .filter(|other| other.exists() && !is_same(other, &own));
        // A damaged archive is replaced where a good one can be had.
        let other = match (there, other) {
            (Some(Ok(())), _) => return Ok(()),
            (Some(Err(error)), None) => return Err(error),
            (None, None) => return self.check_archive(manifest, progress),
            (Some(Err(_)) | None, Some(other)) => other,
        };
        files::create_directory(files::directory(&own))?;
        let failed = |source: io::Error| StoreError::Copy {
            from: other.clone(),
            to: own.clone(),
            source,
        };
        // Without a name until it is checked, so that nothing of it stays if this run is ended.
        let mut copy = PendingFile::create_in(files::directory(&own)).map_err(failed)?;
        let mut source = files::open_stored(&other)?.take(archive.size.saturating_add(1));
        io::copy(&mut source, &mut copy).map_err(failed)?;
        let written = copy.written().map_err(failed)?;
        check(&other, written, manifest, progress)?;
        copy.commit(&own, Existing::Replace).map_err(failed)?;
        say(Notice::ArchiveCopied { path: own });
        Ok(())
    }
}

/// Checks an archive; `path` is what to call it.
fn check(
    path: &Path,
    stored: impl Read,
    manifest: &Verified<Manifest>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    let mut done = 0;
    let checked = verify_archive(manifest, stored, &mut |bytes| {
        done += bytes;
        progress(done);
    });
    checked.map_err(|error| match error {
        // The disk failed, not the check.
        StoredArchiveError::Read(source) => StoreError::unreadable(path)(source),
        error => StoreError::ArchiveRefused(Refused::at(path)(error)),
    })
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
