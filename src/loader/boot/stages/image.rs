//! Stage `image`: an archive becomes a kernel and an initrd in memory.
//!
//! On entry the manifest is verified and the network is up. The chunk list comes first, then the archive. On exit
//! kernel and initrd stand in a tmpfs of exactly the size that the manifest signs for, with the signed bytes; several initrds are one
//! file, each but the first starting at a multiple of four bytes, as boot loaders hand them to a kernel
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! This thread receives and decrypts, others check chunks, and one decompresses, compares and writes, all at
//! the same time; between them stands a window of a few chunks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::truncate;

use super::manifest::Accepted;
use super::memory::{Demand, Loading, Memory, Shortage};
use crate::boot::console::Done;
use crate::fetch::{ArchiveError, Client, Download, Fetched, Patience, Reputation, chunk_list};
use sealboot_core::archive::{Destination, FileHashes, UnpackError, VerifiedReader, unpack};
use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::archive::Role;
use sealboot_core::format::cmdline::Cmdline;
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::Verified;

/// Where the tmpfs for the image is mounted.
const IMAGE_DIR: &str = "/run/sealboot/image";

/// A kernel and an initrd, unpacked and checked to the last byte.
#[derive(Debug)]
pub struct Image {
    manifest: Verified<Manifest>,
    tmpfs: Tmpfs,
}

/// A tmpfs that is given back when it is dropped, however an attempt ends: the next one reckons with
/// the memory.
#[derive(Debug)]
struct Tmpfs(PathBuf);

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // What is still open keeps its pages until it is closed; nothing is, by then.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

impl Image {
    /// What was signed.
    #[must_use]
    pub const fn manifest(&self) -> &Verified<Manifest> {
        &self.manifest
    }

    /// The kernel, opened for reading.
    ///
    /// # Errors
    ///
    /// The errno of open(2).
    pub fn kernel(&self) -> io::Result<File> {
        File::open(self.tmpfs.0.join(KERNEL))
    }

    /// The initrds as one file, opened for reading.
    ///
    /// # Errors
    ///
    /// The errno of open(2).
    pub fn initrd(&self) -> io::Result<File> {
        File::open(self.tmpfs.0.join(INITRD))
    }

    /// Gives the memory of kernel and initrd back; both are empty files then.
    ///
    /// # Errors
    ///
    /// The errno of truncate(2): `ETXTBSY` while the kernel reads one for kexec.
    pub fn empty(&self) -> io::Result<()> {
        for file in [KERNEL, INITRD] {
            truncate(&self.tmpfs.0.join(file), 0)?;
        }
        Ok(())
    }

    /// The command line for the kernel.
    #[must_use]
    pub fn cmdline(&self) -> &Cmdline {
        &self.manifest.as_ref().cmdline
    }
}

const KERNEL: &str = "vmlinuz";
const INITRD: &str = "initrd";

/// The image did not come into memory.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The machine has too little memory; nothing was fetched.
    #[error("this machine has too little memory for the image")]
    Memory(#[source] Shortage),
    /// A tmpfs could not be mounted.
    #[error("no tmpfs of {size} bytes can be mounted for the image")]
    Tmpfs {
        /// Its size.
        size: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The files of the image cannot be created in the tmpfs.
    #[error("cannot create the files of the image in {}", directory.display())]
    Create {
        /// The tmpfs.
        directory: PathBuf,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// The archive could not be had.
    #[error(transparent)]
    Fetch(ArchiveError),
    /// The archive could not be unpacked.
    #[error(transparent)]
    Unpack(UnpackError),
}

impl Diagnose for ImageError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Memory(_) | Self::Tmpfs { .. } | Self::Create { .. } => FailureCode::ImageMemory,
            Self::Fetch(error) => error.code(),
            Self::Unpack(error) => error.code(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Memory(shortage) => shortage.hint(),
            Self::Tmpfs { .. } | Self::Create { .. } => self.code().remedy().to_owned(),
            Self::Fetch(error) => error.hint(),
            Self::Unpack(error) => error.hint(),
        }
    }
}

/// Fetches the archive and unpacks it into a new tmpfs.
///
/// # Errors
///
/// [`ImageError`]; nothing of the image is left in memory then.
pub async fn run(
    accepted: Accepted,
    client: &Client,
    mirrors: &[MirrorUrl],
    reputation: &mut Reputation,
) -> Result<Done<Image>, ImageError> {
    check_memory(accepted.current.manifest().as_ref())?;
    let size = tmpfs_size(accepted.current.manifest().as_ref());
    let tmpfs = mount_tmpfs(size).map_err(|source| ImageError::Tmpfs { size, source })?;
    let fetched = fetch_and_unpack(
        &accepted,
        client,
        mirrors,
        reputation,
        Patience::DEFAULT,
        &tmpfs.0,
    )
    .await?;
    let manifest = accepted.current.manifest().clone();
    Ok(done(Image { manifest, tmpfs }, &fetched))
}

/// Refuses an image that the machine's memory cannot take, before a byte of it is fetched.
fn check_memory(manifest: &Manifest) -> Result<(), ImageError> {
    // A kernel that does not say is given the benefit of the doubt.
    let Ok(memory) = Memory::now() else {
        return Ok(());
    };
    let demand = Demand::of(manifest);
    tracing::debug!(?memory, ?demand, "before fetching");
    demand
        .check_before_fetching(memory, Loading::thriftiest())
        .map_err(ImageError::Memory)
}

/// Fetches and unpacks at the same time, into files in `directory`.
///
/// The mirror that had the manifest is asked first, then the others of `mirrors` in their order.
/// `reputation` learns who has lied.
///
/// # Errors
///
/// How fetching failed, or, where everything arrived, how unpacking did.
pub async fn fetch_and_unpack(
    accepted: &Accepted,
    client: &Client,
    mirrors: &[MirrorUrl],
    reputation: &mut Reputation,
    patience: Patience,
    directory: &Path,
) -> Result<Fetched, ImageError> {
    let manifest = accepted.current.manifest().clone();
    let others = mirrors.iter().filter(|mirror| **mirror != accepted.mirror);
    let mut mirrors: Vec<&MirrorUrl> = std::iter::once(&accepted.mirror).chain(others).collect();
    let check = chunk_list::fetch(client, &mirrors, &manifest, reputation).await;
    let check = check.map_err(ImageError::Fetch)?;
    mirrors.retain(|mirror| !reputation.has_lied(mirror));
    let (download, chunks) = Download::new(client, &mirrors, check, patience);
    let mut files = Files::create(directory).map_err(|source| ImageError::Create {
        directory: directory.to_owned(),
        source,
    })?;
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut chunks = VerifiedReader::new(chunks);
        unpack(&manifest, &mut chunks, &mut files, FileHashes::OfCompressed)
    });
    let (liars, fetched) = download.run().await;
    reputation.add(liars);
    let unpacked = unpacking
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    match (fetched, unpacked) {
        (Ok(fetched), Ok(())) => Ok(fetched),
        // Unpacking has seen the end of what had arrived: the cause lies with the mirrors.
        (Err(error @ (ArchiveError::Mirrors { .. } | ArchiveError::Lies { .. })), _) => {
            Err(ImageError::Fetch(error))
        }
        (_, Err(error)) => Err(ImageError::Unpack(error)),
        (Err(error), Ok(())) => Err(ImageError::Fetch(error)),
    }
}

fn done(image: Image, fetched: &Fetched) -> Done<Image> {
    let manifest = image.manifest.as_ref();
    let archive = &manifest.archive;
    let says = format!(
        "{:.1} MB in {} chunks from {}{}, all as signed; {:.1} MB of kernel and initrd in memory",
        megabytes(archive.size),
        archive.chunk_count(),
        fetched.mirror,
        match fetched.mirrors {
            0 | 1 => String::new(),
            2 => " and another mirror".to_owned(),
            mirrors => format!(" and {} other mirrors", mirrors - 1),
        },
        megabytes(manifest.boot_size()),
    );
    Done::new((), says)
        .with("bytes", archive.size)
        .with("received", fetched.received)
        .with("mirrors", fetched.mirrors)
        .with("faults", fetched.faults.len())
        .with("url", &fetched.mirror)
        .map(|()| image)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "shown with one digit after the point"
)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Kernel and initrds in whole pages, and two pages for the padding between initrds: 128 members at
/// most, four bytes each.
fn tmpfs_size(manifest: &Manifest) -> u64 {
    const PAGE: u64 = 4096;
    (manifest.files.iter())
        .map(|file| file.size.next_multiple_of(PAGE))
        .sum::<u64>()
        + 2 * PAGE
}

fn mount_tmpfs(size: u64) -> io::Result<Tmpfs> {
    let directory = PathBuf::from(IMAGE_DIR);
    fs::create_dir_all(&directory)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = format!("size={size},mode=0700");
    mount(
        Some("sealboot"),
        &directory,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )?;
    Ok(Tmpfs(directory))
}

/// The two files that an image becomes.
struct Files {
    kernel: File,
    initrd: File,
    /// Which initrd is being written, and how long the file is.
    part: usize,
    initrd_len: u64,
}

impl Files {
    fn create(directory: &Path) -> io::Result<Self> {
        let create = |name| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(directory.join(name))
        };
        Ok(Self {
            kernel: create(KERNEL)?,
            initrd: create(INITRD)?,
            part: 0,
            initrd_len: 0,
        })
    }

    fn write_initrd(&mut self, part: usize, bytes: &[u8]) -> io::Result<()> {
        if part != self.part {
            let padding = self.initrd_len.next_multiple_of(4) - self.initrd_len;
            self.initrd
                .write_all(&[0; 4][..usize::try_from(padding).unwrap_or(0)])?;
            self.initrd_len += padding;
            self.part = part;
        }
        self.initrd.write_all(bytes)?;
        self.initrd_len += bytes.len() as u64;
        Ok(())
    }
}

impl Destination for Files {
    fn write(&mut self, role: Role, bytes: &[u8]) -> io::Result<()> {
        match role {
            Role::Kernel => self.kernel.write_all(bytes),
            Role::Initrd => self.write_initrd(0, bytes),
            Role::InitrdPart(part) => self.write_initrd(part, bytes),
        }
    }
}
