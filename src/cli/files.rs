//! Reading and writing files as every command does it: bounded reads, whole writes, errors with the path.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Failure;

/// Reads a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot read {}", path.display())).because(&error)
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(
            Failure::new(format!("{} is larger than {limit} bytes", path.display()))
                .hint("is this the file that you meant?"),
        );
    }
    Ok(bytes)
}

/// Reads a text file of at most `limit` bytes.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, Failure> {
    String::from_utf8(read(path, limit)?).map_err(|_| {
        Failure::new(format!("{} is not a text file", path.display()))
            .hint("is this the file that you meant?")
    })
}

/// What to do where the file is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Fail, and leave it as it is.
    Keep,
    /// Put the new one in its place, in one step.
    Replace,
}

/// Writes a file that appears whole or not at all.
pub(super) fn write(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    existing: Existing,
) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| {
        Failure::new(format!("cannot write {}", path.display())).because(error)
    };
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".sealboot-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory)
        .map_err(|error| failed(&error))?;
    // The umask has narrowed what was asked for.
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))
        .map_err(|error| failed(&error))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| failed(&error))?;
    let persisted = match existing {
        Existing::Keep => file.persist_noclobber(path),
        Existing::Replace => file.persist(path),
    };
    persisted
        .map(drop)
        .map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new(format!("{} exists already", path.display())).hint(
                    "nothing was changed; choose another name, or move the file away yourself",
                )
            }
            _ => failed(&error.error),
        })
}
