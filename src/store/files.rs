//! Reading and writing files as every command does it: bounded reads, whole writes, errors with the path.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::StoreError;
use crate::pending::PendingFile;

/// Reads a file of at most `limit` bytes. A FIFO, at which a reader would wait for ever, is refused, and so is a device.
///
/// # Errors
///
/// As for [`open`], and [`StoreError::TooLarge`] past the limit.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    read_all(path, open(path)?, limit)
}

/// Opens a file that is neither a FIFO nor a device.
///
/// # Errors
///
/// [`StoreError::Unreadable`], for a directory too, and [`StoreError::NotFile`] for a FIFO, a device or a socket.
pub fn open(path: &Path) -> Result<File, StoreError> {
    let (file, metadata) = open_any(path)?;
    if metadata.is_dir() {
        let source = Errno::EISDIR.into();
        return Err(StoreError::unreadable(path)(source));
    }
    if metadata.is_file() {
        return Ok(file);
    }
    Err(StoreError::NotFile {
        path: path.to_owned(),
    })
}

/// Reads a file of a store, of at most `limit` bytes; a FIFO, at which a reader would wait for ever, is refused.
///
/// # Errors
///
/// As for [`read`] and [`open_stored`].
pub fn read_stored(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    read_all(path, open_stored(path)?, limit)
}

pub(crate) fn read_all(path: &Path, file: File, limit: u64) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(StoreError::unreadable(path))?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Opens a regular file of a store.
///
/// # Errors
///
/// [`StoreError::Unreadable`], or [`StoreError::NotRegular`] for everything but a regular file.
pub fn open_stored(path: &Path) -> Result<File, StoreError> {
    let (file, metadata) = open_any(path)?;
    if metadata.is_file() {
        return Ok(file);
    }
    Err(StoreError::NotRegular {
        path: path.to_owned(),
    })
}

/// Opens whatever it is without waiting for a writer.
fn open_any(path: &Path) -> Result<(File, Metadata), StoreError> {
    let file = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(StoreError::unreadable(path))?;
    let metadata = file.metadata().map_err(StoreError::unreadable(path))?;
    Ok((file, metadata))
}

/// What to do where a file has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Fail, and leave it as it is.
    Keep,
    /// Put the new one in its place, in one step.
    Replace,
}

/// Writes a file that appears whole or not at all, with these permissions, and stays after a power cut.
///
/// # Errors
///
/// [`StoreError::Exists`] with [`Existing::Keep`] and a name that is taken, otherwise [`StoreError::Unwritable`].
pub fn write(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> Result<(), StoreError> {
    let put = || {
        let mut file = PendingFile::create_with_mode(directory(path), mode)?;
        file.write_all(bytes)?;
        file.commit(path, existing)
    };
    put().map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => StoreError::Exists {
            path: path.to_owned(),
        },
        _ => StoreError::Unwritable {
            path: path.to_owned(),
            source,
        },
    })
}

/// Returns the directory that holds `path`.
#[must_use]
pub fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Creates a directory and those above it, open to readers whatever the umask: a web server that
/// runs as another user serves what is published.
///
/// # Errors
///
/// [`StoreError::NoDirectory`].
pub fn create_directory(path: &Path) -> Result<(), StoreError> {
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
        .map_err(|source| StoreError::NoDirectory {
            path: path.to_owned(),
            source,
        })
}

/// Returns `path` with `suffix` after its last name: with a dot in that name, `with_extension` would cut it.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns the envelope's path for a plain file: `trust-2.json` is signed in `trust-2.signed.json`.
#[must_use]
pub fn signed_path(file: &Path) -> PathBuf {
    let stem = if file.extension().is_some_and(|suffix| suffix == "json") {
        file.with_extension("")
    } else {
        file.to_owned()
    };
    with_suffix(&stem, ".signed.json")
}

/// Returns `path` as one word of a shell's command line, in quotes where it needs them.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let word = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    // A leading `-` would be an option, quoted or not.
    if word.starts_with('-') {
        return quoted(&Path::new(".").join(path));
    }
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Keeps other `sealboot` processes from changing files in `directory` until dropped.
///
/// Best effort: some network file systems cannot lock a directory, and there two signers who write
/// one envelope in the same second can lose a signature, which `image verify` then reports.
#[must_use]
pub fn lock(directory: &Path) -> Option<File> {
    let file = File::open(directory).ok()?;
    file.lock().ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_file_past_its_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, [0; 9]).unwrap();
        for read in [read, read_stored] {
            assert_eq!(read(&path, 9).unwrap(), [0; 9]);
            let error = read(&path, 8).unwrap_err();
            assert!(matches!(error, StoreError::TooLarge { limit: 8, .. }));
        }
    }

    #[test]
    fn a_store_holds_regular_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for path in [&fifo, &link, dir.path()] {
            let error = read_stored(path, 9).unwrap_err();
            assert!(
                matches!(&error, StoreError::NotRegular { path: of } if of == path),
                "{error:?}"
            );
        }
        let error = read_stored(&dir.path().join("absent"), 9).unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }));
    }

    #[test]
    fn a_file_that_never_ends_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for path in [&fifo, Path::new("/dev/zero")] {
            let error = read(path, 9).unwrap_err();
            assert!(matches!(error, StoreError::NotFile { .. }), "{error:?}");
        }
        let error = read(dir.path(), 9).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("give a file in it"));
    }

    #[test]
    fn a_path_in_a_command_is_one_word_for_a_shell() {
        for (path, word, read) in [
            ("keys/alice-2.pub", "keys/alice-2.pub", "keys/alice-2.pub"),
            ("a b", "'a b'", "a b"),
            ("it's", r"'it'\''s'", "it's"),
            ("$(id);*", "'$(id);*'", "$(id);*"),
            ("~/x", "'~/x'", "~/x"),
            ("-rf", "./-rf", "./-rf"),
            ("", "''", ""),
        ] {
            assert_eq!(quoted(Path::new(path)), word);
            let script = format!("printf %s {word}");
            let shell = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), read);
        }
    }

    #[test]
    fn a_signed_file_stands_beside_the_plain_one() {
        for (plain, signed) in [
            ("trust-2.json", "trust-2.signed.json"),
            ("keys/trust.v2.json", "keys/trust.v2.signed.json"),
            ("keys.d/trust", "keys.d/trust.signed.json"),
            ("trust.2", "trust.2.signed.json"),
        ] {
            assert_eq!(signed_path(Path::new(plain)), Path::new(signed));
        }
    }

    #[test]
    fn a_taken_name_is_kept_and_a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, b"old", 0o600, Existing::Keep).unwrap();
        let error = write(&path, b"new", 0o600, Existing::Keep).unwrap_err();
        assert!(matches!(&error, StoreError::Exists { path: of } if *of == path));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let nowhere = dir.path().join("absent").join("file");
        let error = write(&nowhere, b"", 0o644, Existing::Replace).unwrap_err();
        assert!(matches!(&error, StoreError::Unwritable { path: of, .. } if *of == nowhere));
        let hint = error.hint().unwrap();
        assert!(hint.starts_with("create the directory "), "{hint}");
    }
}
