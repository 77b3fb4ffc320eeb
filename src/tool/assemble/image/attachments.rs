//! Files about an image: hashed before anything is written, copied once the archive is.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{AttachmentFile, PackError};
use crate::assemble::{FileError, open_regular};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{self, Attachment};
use sealboot_store::pending::PendingFile;

/// Reads what the manifest says of each attachment.
pub(super) fn read(files: &[&AttachmentFile]) -> Result<Vec<Attachment>, PackError> {
    let attachments: Result<Vec<_>, PackError> = files
        .iter()
        .map(|file| {
            let (content, size) = open_regular(&file.path)?;
            let sha256 =
                Sha256Digest::of_rest(content).map_err(FileError::new("read", &file.path))?;
            Ok(Attachment {
                name: file.name.clone(),
                media_type: file.media_type.clone(),
                size,
                sha256,
            })
        })
        .collect();
    let attachments = attachments?;
    manifest::check_attachments(&attachments).map_err(PackError::Manifest)?;
    Ok(attachments)
}

/// Copies an attachment into a file of `blobs` that has no name yet.
pub(super) fn copy(
    attachment: &Attachment,
    from: &Path,
    blobs: &Path,
) -> Result<PendingFile, PackError> {
    let failed = FileError::new("write an attachment in", blobs);
    let mut content = File::open(from).map_err(FileError::new("read", from))?;
    let mut write = || {
        let mut pending = PendingFile::create_in(blobs)?;
        io::copy(&mut content, &mut pending)?;
        Ok(pending)
    };
    let pending = write().map_err(failed)?;
    if pending.sha256() == attachment.sha256 {
        Ok(pending)
    } else {
        Err(PackError::Changed {
            path: from.to_owned(),
        })
    }
}
