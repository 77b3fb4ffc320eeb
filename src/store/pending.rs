//! Files that appear under their name whole, or not at all.
//!
//! A [`PendingFile`] has no name while it is written (`O_TMPFILE`), so that an interrupted program,
//! a killed one included, leaves nothing behind. Where the file system cannot do that, it has a
//! temporary name, which is removed on every error.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use sha2::{Digest as _, Sha256};
use tempfile::TempPath;

use sealboot_core::format::digest::Sha256Digest;

use crate::files::{Existing, directory};

/// The mode of everything that is to be published.
const MODE: u32 = 0o644;

/// A file that is being written and is not visible yet. Knows its length and hash.
#[derive(Debug)]
pub struct PendingFile {
    file: File,
    directory: PathBuf,
    /// The temporary name, where the file system insists on one.
    name: Option<TempPath>,
    size: u64,
    sha256: Sha256,
}

impl PendingFile {
    /// Starts a file that will be published (mode 0644) from a directory of the file system of `directory`.
    ///
    /// # Errors
    ///
    /// The operating system's error where no file can be created there.
    pub fn create_in(directory: &Path) -> io::Result<Self> {
        Self::create_with_mode(directory, MODE)
    }

    /// Starts a file with these permissions, whatever the umask, and with no others at any time.
    ///
    /// # Errors
    ///
    /// The operating system's error where no file can be created there.
    pub fn create_with_mode(directory: &Path, mode: u32) -> io::Result<Self> {
        let (file, name) = match unnamed_in(directory, mode)? {
            Some(file) => (file, None),
            None => {
                // Opened here rather than by `tempfile_in`, whose errors hold its own random path.
                let (file, name) = tempfile::Builder::new()
                    .prefix(".sealboot-")
                    .make_in(directory, |beside| {
                        let mut options = OpenOptions::new();
                        options.read(true).write(true).create_new(true);
                        options.mode(mode).open(beside)
                    })?
                    .into_parts();
                (file, Some(name))
            }
        };
        // Not in `open`, where the umask would narrow it.
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(Self {
            file,
            directory: directory.to_owned(),
            name,
            size: 0,
            sha256: Sha256::new(),
        })
    }

    /// Returns how many bytes were written so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the SHA-256 of the bytes written so far.
    #[must_use]
    pub fn sha256(&self) -> Sha256Digest {
        Sha256Digest::finish(self.sha256.clone())
    }

    /// Returns the file from its start, to read what was written.
    ///
    /// # Errors
    ///
    /// The errno of lseek(2).
    pub fn written(&mut self) -> io::Result<&File> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(&self.file)
    }

    /// Gives the file its name, after its bytes have reached the disk.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] with [`Existing::Keep`] and a name that is taken.
    pub fn commit(self, path: &Path, existing: Existing) -> io::Result<()> {
        self.file.sync_all()?;
        match (self.name, existing) {
            (Some(name), Existing::Keep) => name.persist_noclobber(path)?,
            (Some(name), Existing::Replace) => name.persist(path)?,
            (None, Existing::Keep) => link(&self.file, path)?,
            // A link never replaces; a rename does, in one step.
            (None, Existing::Replace) => {
                tempfile::Builder::new()
                    .prefix(".sealboot-")
                    .make_in(&self.directory, |name| link(&self.file, name))?
                    .into_temp_path()
                    .persist(path)?;
            }
        }
        sync_directory(path)
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.sha256.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file without a name, or `None` where it could not be had, or could not be given one later.
fn unnamed_in(directory: &Path, mode: u32) -> io::Result<Option<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(mode)
        .custom_flags(OFlag::O_TMPFILE.bits())
        .open(directory);
    match opened {
        Ok(file) => Ok(descriptor_path(&file).exists().then_some(file)),
        // What a file system says that cannot do it, and what one says that does not know the flag.
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EOPNOTSUPP | Errno::EISDIR) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Gives an unnamed file a name, by the way that open(2) shows for `O_TMPFILE`.
fn link(file: &File, path: &Path) -> io::Result<()> {
    nix::unistd::linkat(
        AT_FDCWD,
        &descriptor_path(file),
        AT_FDCWD,
        path,
        AtFlags::AT_SYMLINK_FOLLOW,
    )
    .map_err(io::Error::from)
}

fn descriptor_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// A name is only as durable as the directory that holds it.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Both ways of being unseen, whichever this file system offers.
    fn both(directory: &Path) -> [PendingFile; 2] {
        let (file, name) = tempfile::NamedTempFile::new_in(directory)
            .unwrap()
            .into_parts();
        file.set_permissions(Permissions::from_mode(MODE)).unwrap();
        let named = PendingFile {
            file,
            directory: directory.to_owned(),
            name: Some(name),
            size: 0,
            sha256: Sha256::new(),
        };
        [PendingFile::create_in(directory).unwrap(), named]
    }

    #[test]
    fn a_file_that_is_not_committed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for mut file in both(dir.path()) {
            file.write_all(b"half").unwrap();
        }
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn a_committed_file_is_whole_and_readable_by_all() {
        let dir = tempfile::tempdir().unwrap();
        for (index, mut file) in both(dir.path()).into_iter().enumerate() {
            file.write_all(b"whole").unwrap();
            assert_eq!(
                (file.size(), file.sha256()),
                (5, Sha256Digest::of(b"whole"))
            );
            let path = dir.path().join(index.to_string());
            file.commit(&path, Existing::Keep).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"whole");
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o644);
        }
        assert_eq!(names(dir.path()), ["0", "1"]);
    }

    #[test]
    fn a_taken_name_is_kept_or_replaced_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("name");
        for existing in [Existing::Keep, Existing::Replace] {
            for way in 0..2 {
                let mut file = both(dir.path()).into_iter().nth(way).unwrap();
                std::fs::write(&path, "old").unwrap();
                file.write_all(b"new").unwrap();
                let committed = file.commit(&path, existing);
                let content = std::fs::read(&path).unwrap();
                match existing {
                    Existing::Keep => {
                        let error = committed.unwrap_err();
                        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
                        assert_eq!(content, b"old");
                    }
                    Existing::Replace => {
                        committed.unwrap();
                        assert_eq!(content, b"new");
                    }
                }
                assert_eq!(names(dir.path()), ["name"]);
            }
        }
    }
}
