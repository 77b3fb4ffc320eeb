//! Packing an image: from a kernel, initrds and a command line to an archive and an unsigned envelope.
//!
//! On entry there are files that nobody has looked at. On success the store holds the archive as
//! `blobs/sha256-<hex>.tar[.gz|.zst]` and its manifest as `images/<name>/<version>.json`, both whole, both
//! readable by all. On any error the store is as it was before.
//!
//! No image is ever held in memory: what is compressed goes through a nameless file in the store, and
//! the archive is hashed while it is written, member by member, chunk by chunk and whole.

mod archive;
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
use sealboot_core::format::archive::{MemberPath, tar_size};
use sealboot_core::format::cmdline::Cmdline;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, Archive, ImageName, ImageVersion, Label, Manifest};
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
    /// Files that travel with the image.
    pub meta: Vec<(MemberPath, PathBuf)>,
    /// What to do with an initrd that nobody has compressed.
    pub raw_initrd: RawInitrd,
    /// How the archive is stored.
    pub compress: Compress,
    /// Bytes of a chunk.
    pub chunk_size: ChunkSize,
    /// The store's root.
    pub store: PathBuf,
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
    let envelope_path = envelope_path(request);
    let version_exists = || PackError::VersionExists {
        path: envelope_path.clone(),
        version: request.version,
    };
    // Asked again, atomically, when the envelope is written.
    if fs::symlink_metadata(&envelope_path).is_ok() {
        return Err(version_exists());
    }
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
    if let Some(expected) = request.arch.filter(|arch| *arch != kernel.arch) {
        return Err(PackError::Arch {
            path: request.kernel.clone(),
            found: kernel.arch,
            expected,
        });
    }
    let len = request.cmdline.as_str().len();
    if let Some(max) = kernel.cmdline_max.filter(|max| len > *max as usize) {
        return Err(PackError::CmdlineTooLong { len, max });
    }

    let mut directories = NewDirectories::default();
    let blobs = Store::at(&request.store).blobs();
    directories.create(&blobs)?;
    directories.create(files::directory(&envelope_path))?;

    members::compress(&mut members, &blobs, on_progress)?;
    let tar_size = check_sizes(&members, request.chunk_size)?;
    let encoded = encoding::encode(request, &mut members, tar_size, &blobs, on_progress)?;
    let (sha256, size) = (encoded.pending.sha256(), encoded.pending.size());

    let manifest = Manifest {
        name: request.name.clone(),
        version: request.version,
        label: request.label.clone(),
        arch: kernel.arch,
        created: request.created,
        expires: request.expires,
        cmdline: request.cmdline.clone(),
        archive: Archive {
            path: Archive::blob_path(&sha256, encoded.encoding),
            encoding: encoded.encoding,
            size,
            sha256,
            chunk_size: request.chunk_size.0,
            chunks: encoded.chunks,
        },
        files: encoded.files,
    };
    let envelope = encode(&manifest, size)?;

    // Whoever packs the same archive at the same time must not find it there and then lose it to the
    // removal below. Where a directory cannot be locked (NFS), packing goes on without.
    let _lock = File::open(&blobs).and_then(|directory| directory.lock().map(|()| directory));
    let blob_path = request.store.join(&manifest.archive.path);
    let blob = commit_blob(encoded.pending, &blob_path, &sha256)?;
    if let Err(error) = write_envelope(&envelope_path, &envelope) {
        if blob == Blob::New {
            // Nothing names it: an archive that was there before stays.
            let _ = fs::remove_file(&blob_path);
        }
        return Err(match error.kind() {
            io::ErrorKind::AlreadyExists => version_exists(),
            _ => FileError::new("write", envelope_path)(error).into(),
        });
    }
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

fn envelope_path(request: &Request) -> PathBuf {
    Store::at(&request.store).version(&request.name, request.version)
}

/// Checks what can be known before gigabytes are written, and tells the tar's length.
fn check_sizes(members: &[Member], chunk_size: ChunkSize) -> Result<u64, PackError> {
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
    let size = tar_size(members.iter().map(|member| member.size))
        .filter(|size| *size <= LIMITS.archive_bytes)
        .ok_or_else(|| {
            PackError::Manifest(Invalid::new("files.size", "their sum", "at most 64 GiB"))
        })?;
    let announced = envelope_size(size, chunk_size.0);
    if announced > LIMITS.envelope_bytes {
        return Err(too_many_chunks(announced, size));
    }
    Ok(size)
}

/// About how large the envelope of an archive becomes, its signatures included.
fn envelope_size(archive_size: u64, chunk_size: u64) -> u64 {
    // A hash with its quotes and comma, in base64; then, generously, the rest of the manifest and as
    // many signatures as an envelope may have.
    const HASH: u64 = 67;
    const REST: u64 = 32 << 10;
    archive_size.div_ceil(chunk_size) * HASH * 4 / 3 + REST
}

fn too_many_chunks(size: u64, archive_size: u64) -> PackError {
    let mut fitting = LIMITS.chunk_size_min;
    while fitting <= LIMITS.chunk_size_max
        && envelope_size(archive_size, fitting) > LIMITS.envelope_bytes
    {
        fitting *= 2;
    }
    PackError::TooManyChunks {
        size,
        fitting: (fitting <= LIMITS.chunk_size_max).then_some(fitting),
    }
}

/// The envelope's bytes, after the same check that everybody's reader makes.
fn encode(manifest: &Manifest, archive_size: u64) -> Result<Vec<u8>, PackError> {
    let payload = manifest.encode();
    Manifest::parse(&payload).map_err(|error| match error {
        PayloadError::Contradiction(invalid) => PackError::Manifest(invalid),
        error => unreachable!("it was just encoded: {error}"),
    })?;
    let envelope = Envelope::unsigned(Manifest::PAYLOAD_TYPE, payload).encode();
    let size = envelope.len() as u64;
    // Room for the signatures: each has 88 digits of base64, a key id, and JSON around them.
    if size + 256 * LIMITS.signatures as u64 > LIMITS.envelope_bytes {
        return Err(too_many_chunks(size, archive_size));
    }
    Ok(envelope)
}

/// Gives the archive its name, unless the store holds it already.
fn commit_blob(
    pending: PendingFile,
    path: &Path,
    sha256: &Sha256Digest,
) -> Result<Blob, PackError> {
    let (existing, blob) = match hash_of(path) {
        Ok(present) if present == *sha256 => return Ok(Blob::Present),
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
            Ok(blob)
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
    fn the_chunk_size_that_is_proposed_fits() {
        for size in [3 << 30, 30 << 30, LIMITS.archive_bytes] {
            let PackError::TooManyChunks {
                fitting: Some(fitting),
                ..
            } = too_many_chunks(0, size)
            else {
                panic!("no chunk size for {size}");
            };
            assert!(envelope_size(size, fitting) <= LIMITS.envelope_bytes);
            assert!(envelope_size(size, fitting / 2) > LIMITS.envelope_bytes);
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
