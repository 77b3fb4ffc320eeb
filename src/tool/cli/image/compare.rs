//! What signing changes: a manifest beside the newest published one of its name.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::support::output;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{AttachmentName, ImageFile, Manifest};
use sealboot_core::trust::Envelope;
use sealboot_store::StoreError;
use sealboot_store::image::{StoredImage, unverified_manifest};
use sealboot_store::path::Place;

/// What differs between `manifest`, which `envelope` holds, and the newest of its name in the store at
/// `place`, in words. Where there is nothing to compare with, or it cannot be read, says that.
pub(super) fn with_published(
    place: Option<&Place>,
    envelope: &Envelope,
    manifest: &Manifest,
) -> String {
    let Some(place) = place else {
        return "this envelope stands in no store: there is no published version to compare with"
            .to_owned();
    };
    let newest = place.store.channel(&manifest.name);
    if matches!(newest.try_exists(), Ok(false)) {
        return format!(
            "nothing is published under the name {} in this store",
            manifest.name
        );
    }
    match read(&newest) {
        Err(why) => format!(
            "cannot compare with {}, the newest that is published: {why}",
            newest.display()
        ),
        Ok((_, payload)) if payload == Sha256Digest::of(envelope.unverified_payload()) => {
            format!("this is what {} publishes already", newest.display())
        }
        Ok((published, _)) => format!(
            "compared with {}, the newest that is published (its signatures were not checked)\n{}",
            newest.display(),
            output::columns(changes(&published, manifest)).trim_end()
        ),
    }
}

fn read(path: &Path) -> Result<(Manifest, Sha256Digest), String> {
    let read = || {
        let envelope = StoredImage::read(path)?.into_envelope();
        let manifest = unverified_manifest(path, &envelope)?;
        Ok((manifest, Sha256Digest::of(envelope.unverified_payload())))
    };
    read().map_err(|error: StoreError| error.to_string())
}

/// One row a field and file, and none left out: what did not change is worth knowing too.
fn changes(old: &Manifest, new: &Manifest) -> Vec<[String; 2]> {
    let expiry = |manifest: &Manifest| {
        manifest
            .expires
            .map_or("never".to_owned(), |moment| moment.to_string())
    };
    let mut rows = Vec::new();
    let mut field = |name: &str, old: String, new: String| {
        if old == new {
            rows.push([name.to_owned(), "same".to_owned()]);
        } else {
            rows.push([name.to_owned(), format!("was {old}")]);
            rows.push([String::new(), format!("now {new}")]);
        }
    };
    let version = if new.version > old.version {
        new.version.to_string()
    } else {
        format!("{}, WHICH IS NOT NEWER", new.version)
    };
    field("version", old.version.to_string(), version);
    field("label", old.label.to_string(), new.label.to_string());
    field("arch", old.arch.to_string(), new.arch.to_string());
    field("expires", expiry(old), expiry(new));
    field("cmdline", old.cmdline.to_string(), new.cmdline.to_string());
    field("archive", archive(old), archive(new));
    field("max uptime", uptime(old), uptime(new));
    let attached = |manifest: &Manifest, name: &AttachmentName| {
        let mut attachments = manifest.attachments.iter();
        attachments
            .find(|one| one.name == *name)
            .map_or("not there".to_owned(), |one| {
                format!("{} bytes, sha256 {}", one.size, one.sha256)
            })
    };
    let names: BTreeSet<_> = (old.attachments.iter().chain(&new.attachments))
        .map(|attachment| &attachment.name)
        .collect();
    for name in names {
        field(
            &format!("attachment {name}"),
            attached(old, name),
            attached(new, name),
        );
    }
    let found = |files: &[ImageFile], path: &ImageFile| {
        files
            .iter()
            .find(|file| file.path == path.path)
            .map_or("not there".to_owned(), describe)
    };
    for file in &new.files {
        field(
            &file.path.to_string(),
            found(&old.files, file),
            describe(file),
        );
    }
    for gone in &old.files {
        if new.files.iter().all(|file| file.path != gone.path) {
            field(
                &gone.path.to_string(),
                describe(gone),
                "not there".to_owned(),
            );
        }
    }
    rows
}

fn archive(manifest: &Manifest) -> String {
    let archive = &manifest.archive;
    format!("{} bytes, chunks {}", archive.size, archive.chunks_sha256)
}

fn uptime(manifest: &Manifest) -> String {
    (manifest.max_uptime_hours).map_or("any".to_owned(), |hours| format!("{} h", hours.get()))
}

fn describe(file: &ImageFile) -> String {
    format!("{} bytes, sha256 {}", file.size, file.sha256)
}
