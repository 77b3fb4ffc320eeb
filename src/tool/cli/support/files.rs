//! Reading and writing files as every command does it: bounded reads, whole writes, errors with the path.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use tempfile::NamedTempFile;

use super::Failure;

/// Reads a file of at most `limit` bytes.
pub(in crate::cli) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(path, limit));
    }
    Ok(bytes)
}

/// Reads a file of a store, where nothing but regular files belongs: whoever can write to the store must not
/// make a reader wait at a FIFO for ever.
pub(in crate::cli) fn read_stored(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    open_stored(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(path, limit));
    }
    Ok(bytes)
}

/// Opens a regular file of a store.
pub(in crate::cli) fn open_stored(path: &Path) -> Result<File, Failure> {
    let file = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| unreadable(path, &error))?;
    let kind = file
        .metadata()
        .map_err(|error| unreadable(path, &error))?
        .file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(
        Failure::new(format!("{} is no regular file", path.display()))
            .hint("a store holds nothing else: remove it, and publish again"),
    )
}

/// Reads a text file of at most `limit` bytes.
pub(in crate::cli) fn read_text(path: &Path, limit: u64) -> Result<String, Failure> {
    String::from_utf8(read(path, limit)?).map_err(|_| {
        Failure::new(format!("{} is not a text file", path.display()))
            .hint("is this the file that you meant?")
    })
}

/// The failure of a read.
pub(in crate::cli) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("cannot read {}", path.display())).because(error);
    match error.kind() {
        ErrorKind::NotFound => failure.hint("check the path"),
        ErrorKind::IsADirectory => failure.hint("give a file in it"),
        _ => failure,
    }
}

/// The failure of a read past its limit.
pub(in crate::cli) fn too_large(path: &Path, limit: u64) -> Failure {
    Failure::new(format!("{} is larger than {limit} bytes", path.display()))
        .hint("is this the file that you meant?")
}

/// What to do where the file is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Existing {
    /// Fail, and leave it as it is.
    Keep,
    /// Put the new one in its place, in one step.
    Replace,
}

/// Writes a file that appears whole or not at all, and stays after a power cut.
pub(in crate::cli) fn write(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    existing: Existing,
) -> Result<(), Failure> {
    let mut file = create_beside(path, mode)?;
    file.write_all(bytes)
        .map_err(|error| unwritable(path, &error))?;
    put(file, path, existing)
}

/// A file in the directory of `path` under a name that goes with it, until [`put`] gives it its own.
pub(in crate::cli) fn create_beside(path: &Path, mode: u32) -> Result<NamedTempFile, Failure> {
    // Opened here rather than by `tempfile_in`, whose errors hold its own random path.
    let file = tempfile::Builder::new()
        .prefix(".sealboot-")
        .make_in(directory(path), |beside| {
            File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(beside)
        })
        .map_err(|error| unwritable(path, &error))?;
    // The umask has narrowed what was asked for.
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))
        .map_err(|error| unwritable(path, &error))?;
    Ok(file)
}

/// Gives a file made by [`create_beside`] its name, after its bytes have reached the disk.
pub(in crate::cli) fn put(
    file: NamedTempFile,
    path: &Path,
    existing: Existing,
) -> Result<(), Failure> {
    file.as_file()
        .sync_all()
        .map_err(|error| unwritable(path, &error))?;
    let persisted = match existing {
        Existing::Keep => file.persist_noclobber(path),
        Existing::Replace => file.persist(path),
    };
    persisted
        .map(drop)
        .map_err(|error| match error.error.kind() {
            ErrorKind::AlreadyExists => exists_already(path),
            _ => unwritable(path, &error.error),
        })?;
    // The name is an entry of the directory, and lasts once that has reached the disk too.
    File::open(directory(path))
        .and_then(|directory| directory.sync_all())
        .map_err(|error| unwritable(path, &error))
}

/// The failure where a file must not be replaced.
pub(in crate::cli) fn exists_already(path: &Path) -> Failure {
    Failure::new(format!("{} exists already", path.display()))
        .hint("nothing was changed; choose another name, or move the file away yourself")
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let directory = directory(path).display();
    let failure = Failure::new(format!("cannot write {}", path.display())).because(error);
    match error.kind() {
        ErrorKind::NotFound => failure.hint(format!("create the directory {directory} first")),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => failure.hint(format!(
            "a file is written beside its place and then renamed, so the directory {directory} must be writable"
        )),
        _ => failure,
    }
}

/// The directory that holds `path`.
pub(in crate::cli) fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Creates a directory and those above it, open to readers whatever the umask: a web server that
/// runs as somebody else serves what is published.
pub(in crate::cli) fn create_directory(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    if directory(path) != path {
        create_directory(directory(path))?;
    }
    let created = match fs::create_dir(path) {
        // Another process was faster, and cares for its mode.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        created => created,
    };
    created
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .map_err(|error| {
            Failure::new(format!("cannot create the directory {}", path.display())).because(&error)
        })
}

/// `path` with `suffix` after its last name: with a dot in that name, `with_extension` would cut it.
pub(in crate::cli) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Keeps other `sealboot` processes from changing files in `directory` until dropped.
///
/// Best effort: some network file systems cannot lock a directory, and there two signers who write
/// one envelope in the same second can lose a signature, which `image verify` then reports.
pub(in crate::cli) fn lock(directory: &Path) -> Option<File> {
    let file = File::open(directory).ok()?;
    file.lock().ok()?;
    Some(file)
}
