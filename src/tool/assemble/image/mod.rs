//! Packing an image: from a kernel, initrds and a command line to an archive and an unsigned envelope.
//!
//! On entry there are files that nobody has looked at. On success the store holds the archive as
//! `blobs/<hex>.tar[.gz|.zst]`, the hashes of its chunks as `blobs/<hex>.chunks`, each attachment as
//! `blobs/sha256-<hex>`, and the manifest as `images/<name>/<version>/<arch>.json`: all whole, all readable by all. On any
//! error the store is as it was before.
//!
//! No image is ever held in memory: what is compressed goes through a nameless file in the store, and
//! the archive is hashed while it is written, member by member, chunk by chunk and whole.

mod archive;
mod attachments;
mod encoding;
mod error;
mod members;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;

pub use self::error::PackError;
pub use self::members::Treatment;
use self::members::{MEMBER_MAX, Member};
use super::FileError;
use sealboot_core::format::Invalid;
use sealboot_core::format::archive::tar_size;
use sealboot_core::format::cmdline::Cmdline;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{
    Arch, Archive, AttachmentName, ImageName, ImageVersion, Label, Manifest, MaxUptimeHours,
    MediaType,
};
use sealboot_core::format::payload::PayloadError;
use sealboot_core::trust::Envelope;
use sealboot_store::Store;
use sealboot_store::files::{self, Existing};
use sealboot_store::pending::PendingFile;

/// What is to be packed.
#[derive(Debug, Clone)]
pub struct Request {
    /// The image's name.
    pub name: ImageName,
    /// Its version.
    pub version: ImageVersion,
    /// What people call this version.
    pub label: Label,
    /// The architecture that the kernel must be for; without it, whatever the kernel is for.
    pub arch: Option<Arch>,
    /// When the image counts as packed.
    pub created: Timestamp,
    /// When it stops being bootable, if ever.
    pub expires: Option<Timestamp>,
    /// The kernel's command line.
    pub cmdline: Cmdline,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initrds, in the order in which the kernel unpacks them.
    pub initrds: Vec<PathBuf>,
    /// How long one boot of it may run.
    pub max_uptime: Option<MaxUptimeHours>,
    /// Files about the image.
    pub attachments: Vec<AttachmentFile>,
    /// What to do with an initrd that nobody has compressed.
    pub raw_initrd: RawInitrd,
    /// How the archive is stored.
    pub compress: Compress,
    /// Bytes of a chunk.
    pub chunk_size: ChunkSize,
    /// The store's root.
    pub store: PathBuf,
}

/// A file about the image, for people and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentFile {
    /// The name under which the manifest lists it.
    pub name: AttachmentName,
    /// Its media type.
    pub media_type: MediaType,
    /// The file.
    pub path: PathBuf,
}

/// What to do with an initrd that nobody has compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawInitrd {
    /// Compress it with zstd, inside of the archive: the machine then holds the smaller one.
    Compress,
    /// Pack any initrd byte for byte, unexamined.
    Keep,
}

/// How an archive is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compress {
    /// With zstd where that saves more than 5 %, else as a plain tar.
    Auto,
    /// As a plain tar.
    None,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

/// Bytes of a chunk: a power of two from 64 KiB to 16 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize(u64);

/// What was packed.
#[derive(Debug)]
pub struct Packed {
    /// The new envelope.
    pub envelope: PathBuf,
    /// What it says.
    pub manifest: Manifest,
    /// Where each member came from, and what was done to it, in the manifest's order.
    pub sources: Vec<(PathBuf, Treatment)>,
    /// Why the archive is encoded as it is.
    pub encoding_reason: String,
    /// What became of the archive.
    pub blob: Blob,
}

/// What became of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blob {
    /// It is new in the store.
    New,
    /// The store held it already.
    Present,
    /// The store held something damaged under its name, which it replaced.
    Repaired,
}

/// How far packing is.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A step begins that will pass over this many bytes.
    Begin {
        /// What is being done.
        what: &'a str,
        /// The bytes.
        bytes: u64,
    },
    /// So many more bytes are done.
    Advance(u64),
}

/// Packs an image into its store.
///
/// # Errors
///
/// The store is then as it was before.
pub fn pack(
    request: &Request,
    on_progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Packed, PackError> {
    if request
        .expires
        .is_some_and(|expires| expires <= request.created)
    {
        return Err(PackError::Manifest(Invalid::new(
            "expires",
            request.expires.unwrap_or_default(),
            "after `created`",
        )));
    }
    let (mut members, kernel) = members::open(request)?;
    if let Some(expected) = request.arch.clone().filter(|arch| *arch != kernel.arch) {
        return Err(PackError::Arch {
            path: request.kernel.clone(),
            found: kernel.arch,
            expected,
        });
    }
    let store = Store::at(&request.store);
    let envelope_path = store.version(&request.name, request.version, &kernel.arch);
    let version_exists = || PackError::VersionExists {
        path: envelope_path.clone(),
        version: request.version,
    };
    // Asked again, atomically, when the envelope is written.
    if fs::symlink_metadata(&envelope_path).is_ok() {
        return Err(version_exists());
    }
    let len = request.cmdline.as_str().len();
    if let Some(max) = kernel.cmdline_max.filter(|max| len > *max as usize) {
        return Err(PackError::CmdlineTooLong { len, max });
    }

    // In one order, however they were given.
    let mut attached: Vec<&AttachmentFile> = request.attachments.iter().collect();
    attached.sort_by_key(|file| &file.name);
    let attachments = attachments::read(&attached)?;

    let mut directories = NewDirectories::default();
    let blobs = store.blobs();
    directories.create(&blobs)?;
    directories.create(files::directory(&envelope_path))?;

    members::compress(&mut members, &blobs, on_progress)?;
    let tar_size = check_sizes(&members)?;
    let encoded = encoding::encode(request, &mut members, tar_size, &blobs, on_progress)?;

    let manifest = Manifest {
        name: request.name.clone(),
        version: request.version,
        label: request.label.clone(),
        arch: kernel.arch,
        created: request.created,
        expires: request.expires,
        cmdline: request.cmdline.clone(),
        archive: Archive {
            encoding: encoded.encoding,
            size: encoded.pending.size(),
            chunk_size: request.chunk_size.0,
            chunks_sha256: Sha256Digest::of(&encoded.chunk_list),
        },
        files: encoded.files,
        max_uptime_hours: request.max_uptime,
        attachments,
    };
    let envelope = encode(&manifest)?;

    // Whoever packs the same archive at the same time must not find it there and then lose it to the
    // removal below. Where a directory cannot be locked (NFS), packing goes on without.
    let _lock = File::open(&blobs).and_then(|directory| directory.lock().map(|()| directory));
    let mut new = NewBlobs::default();
    let blob = new.commit(
        encoded.pending,
        &request.store.join(manifest.archive.blob_path()),
    )?;
    let list = pending(&blobs, &encoded.chunk_list)?;
    new.commit(
        list,
        &request.store.join(manifest.archive.chunk_list_path()),
    )?;
    for (attachment, file) in manifest.attachments.iter().zip(attached) {
        let copy = attachments::copy(attachment, &file.path, &blobs)?;
        new.commit(copy, &request.store.join(attachment.blob_path()))?;
    }
    write_envelope(&envelope_path, &envelope).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => version_exists(),
        _ => FileError::new("write", envelope_path.clone())(error).into(),
    })?;
    new.keep();
    directories.keep();
    Ok(Packed {
        envelope: envelope_path,
        manifest,
        sources: members
            .into_iter()
            .map(|member| (member.source, member.treatment))
            .collect(),
        encoding_reason: encoded.reason,
        blob,
    })
}

/// Checks what can be known before gigabytes are written, and tells the tar's length.
fn check_sizes(members: &[Member]) -> Result<u64, PackError> {
    if let Some(member) = members.iter().find(|member| member.size > MEMBER_MAX) {
        return Err(PackError::TooLarge {
            path: member.source.clone(),
            size: member.size,
        });
    }
    if members.len() > LIMITS.archive_members {
        return Err(PackError::Manifest(Invalid::new(
            "files",
            members.len(),
            "a list of at most 128 files",
        )));
    }
    tar_size(members.iter().map(|member| member.size))
        .filter(|size| *size <= LIMITS.archive_bytes)
        .ok_or_else(|| {
            PackError::Manifest(Invalid::new("files.size", "their sum", "at most 64 GiB"))
        })
}

/// The envelope's bytes, after the same check that everybody's reader makes.
fn encode(manifest: &Manifest) -> Result<Vec<u8>, PackError> {
    let payload = manifest.encode();
    Manifest::parse(&payload).map_err(|error| match error {
        PayloadError::Contradiction(invalid) => PackError::Manifest(invalid),
        PayloadError::TooLarge { .. } => PackError::Manifest(Invalid::new(
            "files",
            format!("what makes a manifest of {} bytes", payload.len()),
            "what fits into a manifest of 64 KiB",
        )),
        error => unreachable!("it was just encoded: {error}"),
    })?;
    Ok(Envelope::unsigned(Manifest::PAYLOAD_TYPE, payload).encode())
}

/// A file without a name yet that has these bytes.
fn pending(directory: &Path, bytes: &[u8]) -> Result<PendingFile, PackError> {
    let failed = FileError::new("write a file in", directory);
    let write = || {
        let mut pending = PendingFile::create_in(directory)?;
        io::Write::write_all(&mut pending, bytes)?;
        Ok(pending)
    };
    write().map_err(|error| failed(error).into())
}

/// Blobs that were written on the way, and go again unless they are kept: nothing names them. What was there before
/// stays.
#[derive(Default)]
struct NewBlobs(Vec<PathBuf>);

impl NewBlobs {
    /// Gives a blob its name, unless the store holds it already.
    fn commit(&mut self, pending: PendingFile, path: &Path) -> Result<Blob, PackError> {
        let (existing, blob) = match hash_of(path) {
            Ok(present) if present == pending.sha256() => return Ok(Blob::Present),
            // Its name says what it should hold: a copy was cut off, or a disk has failed.
            Ok(_) => (Existing::Replace, Blob::Repaired),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Existing::Keep, Blob::New),
            Err(error) => return Err(FileError::new("read", path)(error).into()),
        };
        match pending.commit(path, existing) {
            // Somebody else has packed the same bytes in the meantime.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Blob::Present),
            result => {
                result.map_err(FileError::new("write", path))?;
                if blob == Blob::New {
                    self.0.push(path.to_owned());
                }
                Ok(blob)
            }
        }
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for NewBlobs {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

fn hash_of(path: &Path) -> io::Result<Sha256Digest> {
    Sha256Digest::of_rest(File::open(path)?)
}

fn write_envelope(path: &Path, envelope: &[u8]) -> io::Result<()> {
    let mut pending = PendingFile::create_in(files::directory(path))?;
    io::Write::write_all(&mut pending, envelope)?;
    pending.commit(path, Existing::Keep)
}

/// Directories that were made on the way, and go again unless they are kept.
#[derive(Default)]
struct NewDirectories(Vec<PathBuf>);

impl NewDirectories {
    fn create(&mut self, path: &Path) -> Result<(), PackError> {
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
            .collect();
        for directory in missing.into_iter().rev() {
            let created = fs::create_dir(directory).and_then(|()| {
                self.0.push(directory.to_owned());
                // What is published must be found by whoever serves it, whatever the umask says, and
                // a name is only as durable as the directory that holds it.
                fs::set_permissions(directory, Permissions::from_mode(0o755))?;
                File::open(files::directory(directory))?.sync_all()
            });
            match created {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => result.map_err(FileError::new("create directory", directory))?,
            }
        }
        Ok(())
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for NewDirectories {
    fn drop(&mut self) {
        for directory in self.0.iter().rev() {
            // Fails where somebody else has put something into it, and is then right to fail.
            let _ = fs::remove_dir(directory);
        }
    }
}

impl FromStr for ChunkSize {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "chunk size",
                text,
                "a power of two from 64KiB to 16MiB, such as 1MiB",
            )
        };
        let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let unit = match unit {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            _ => return Err(invalid()),
        };
        digits
            .parse()
            .ok()
            .and_then(|number: u64| number.checked_mul(unit))
            .filter(|size| size.is_power_of_two())
            .filter(|size| (LIMITS.chunk_size_min..=LIMITS.chunk_size_max).contains(size))
            .map(Self)
            .ok_or_else(invalid)
    }
}

impl std::fmt::Display for ChunkSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            size if size % (1 << 20) == 0 => write!(f, "{}MiB", size >> 20),
            size => write!(f, "{}KiB", size >> 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_size_is_a_power_of_two_within_the_limits() {
        for (text, shown) in [
            ("64KiB", "64KiB"),
            ("65536", "64KiB"),
            ("1MiB", "1MiB"),
            ("1024KiB", "1MiB"),
            ("16MiB", "16MiB"),
        ] {
            let size: ChunkSize = text.parse().expect(text);
            assert_eq!(size.to_string(), shown);
        }
        for bad in [
            "",
            "0",
            "1",
            "32KiB",
            "32MiB",
            "3MiB",
            "1 MiB",
            "1MB",
            "1mib",
            "-1MiB",
            "1.5MiB",
            "MiB",
            "99999999999999999999MiB",
        ] {
            assert!(bad.parse::<ChunkSize>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn directories_that_are_not_kept_go_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        let mut directories = NewDirectories::default();
        directories.create(&path).unwrap();
        assert!(path.is_dir());
        drop(directories);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        let mut directories = NewDirectories::default();
        directories.create(&path).unwrap();
        directories.keep();
        assert!(path.is_dir());
    }
}
