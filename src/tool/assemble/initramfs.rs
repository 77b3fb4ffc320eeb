//! Building the initramfs that a machine boots first: the loader, and all that it is to trust.
//!
//! What is baked in is the contract with the loader:
//!
//! | path | holds |
//! |---|---|
//! | `/init` | the loader |
//! | `/etc/sealboot/trust.json` | the trust policy |
//! | `/etc/sealboot/host.json` | the host config, where one is given |
//! | `/etc/sealboot/tls-roots.pem` | the certificate authorities of the mirrors |
//! | `/etc/sealboot/modules` | the names of kernel modules that are loaded on every machine, one a line |
//! | `/etc/sealboot/build-time` | Unix seconds, where `SOURCE_DATE_EPOCH` is set: the clock is never earlier |
//! | `/lib/modules/VERSION/…` | the modules, and what is left of depmod's index for them: `modules.dep`, `modules.alias`, `modules.softdep`; in `modules.firmware`, which of them asks for which firmware |
//! | `/lib/firmware/…` | what the modules may ask the kernel for, as far as it was there |
//! | `/etc/sealboot/fallback/` | `vmlinuz`, `initrd` and `cmdline` of the fallback, and the `SHA256SUMS` of the three, where one is given |
//! | `/bin/sh` | a shell, where one is given |
//! | `/dev/console`, `/dev/null` | what exists before devtmpfs is mounted |
//!
//! A mistake here is found by a machine with nobody in front of it. So all that the loader would refuse
//! is refused now, and so is what fits each on its own but not together.

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};

use super::elf::{Elf, ElfError};
use super::emergency::{Emergency, EmergencyError, Unused};
use super::initrd::Compression;
use super::modules::firmware::{Firmware, FirmwareDir};
use super::modules::{BuiltIn, LoadOrder, ModulesDir, ModulesError, Selection};
use super::{FileError, KERNEL_WINDOW, read_bounded, zstd_encoder};
use crate::cpio::{Tree, WriteError};
use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::host_config::{HostConfigError, MirrorTemplate};
use sealboot_core::format::json::Read;
use sealboot_core::format::layout;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, ImageName};
use sealboot_core::format::payload::{PayloadError, parse_with_unknown};
use sealboot_core::trust::envelope::is_envelope;
use sealboot_core::trust::{Presented, Refusal, Statement, TrustPolicy};
use sealboot_store::files::{Existing, directory, quoted};
use sealboot_store::pending::PendingFile;

/// Bytes of a loader; ten times what one has.
const LOADER_BYTES: u64 = 64 << 20;

/// zstd's best level below "ultra": a few seconds for the few megabytes of an initramfs.
const LEVEL: i32 = 19;

/// What is to be baked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The static loader program.
    pub loader: PathBuf,
    /// The trust policy.
    pub policy: PathBuf,
    /// The host config; without it, the machine must be told on its kernel command line.
    pub host_config: Option<PathBuf>,
    /// The certificate authorities of the mirrors, as PEM.
    pub tls_roots: PathBuf,
    /// The modules directory of the kernel that will boot the initramfs.
    pub modules: PathBuf,
    /// The modules to bake in.
    pub selection: Selection,
    /// Where firmware is; without it, beside the modules, if it is there.
    pub firmware: Option<PathBuf>,
    /// What it holds for a machine that cannot have its image.
    pub emergency: Emergency,
    /// How the initramfs is compressed.
    pub compression: Compression,
    /// When it is built: a trust policy that has expired by then is not baked in where it refuses every image.
    pub now: Timestamp,
    /// Whether a policy or a host config may have fields that this version does not know.
    pub unknown_fields: UnknownFields,
    /// The build time that the loader is told, and the time of every file.
    pub build_time: Option<Timestamp>,
    /// Where the initramfs goes.
    pub out: PathBuf,
}

/// What to do with fields of a policy or a host config that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// Refuse the file: a misspelt field would be ignored by every loader.
    Refuse,
    /// Bake the file in unchanged, for a newer loader.
    Accept,
}

/// What was baked.
#[derive(Debug)]
pub struct Built {
    /// Its length in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: Sha256Digest,
    /// The version of the kernel that the modules are for.
    pub kernel_version: String,
    /// What that kernel has built in that reads disks.
    pub builtin: BuiltIn,
    /// The modules.
    pub modules: LoadOrder,
    /// The files that they may ask for.
    pub firmware: Firmware,
    /// Where those were looked for.
    pub firmware_dir: PathBuf,
    /// Bytes of the fallback's kernel and initrd, where there is one.
    pub fallback: Option<u64>,
    /// What was baked in, and is of no use under the trust policy.
    pub unused: Vec<Unused>,
}

/// The initramfs cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a program for machines that images exist for.
    #[error("{} cannot be the loader", path.display())]
    Loader {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
    /// An object file, a library without an entry.
    #[error("{} cannot be the loader: it is no program", .0.display())]
    NotProgram(PathBuf),
    /// A program, and another one.
    #[error("{} is not the loader of Sealboot", .0.display())]
    OtherProgram(PathBuf),
    /// The loader asks for a dynamic linker.
    #[error("{} cannot be the loader: it is dynamically linked", .0.display())]
    Dynamic(PathBuf),
    /// The loader and a module are for different machines.
    #[error("the loader is for {loader}, module \"{module}\" is for {found}")]
    Arch {
        /// The loader's architecture.
        loader: Arch,
        /// The module.
        module: String,
        /// The module's architecture.
        found: Arch,
    },
    /// The trust policy does not load.
    #[error("{} cannot be baked in", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PayloadError,
    },
    /// A signed policy was given where a plain one is baked in.
    #[error("{} is a signed trust policy, and a plain one is baked in", .0.display())]
    SignedPolicy(PathBuf),
    /// No loader could use the trust policy, or boot under it.
    #[error("{} cannot be baked in", path.display())]
    PolicyRefused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<Refusal>,
    },
    /// A loader would ignore a part of a file that a person wrote.
    #[error("{} has {}, which loaders of this version ignore", path.display(), fields.join(", "))]
    UnknownFields {
        /// The file.
        path: PathBuf,
        /// The paths of the fields.
        fields: Vec<String>,
        /// The command that explains such a file.
        check: &'static str,
    },
    /// The host config does not load.
    #[error("{} cannot be baked in", path.display())]
    HostConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: HostConfigError,
    },
    /// The trust policy does not take the host config: a loader would say the same.
    #[error("{} cannot be baked in with this trust policy", path.display())]
    HostConfigRefused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<Refusal>,
    },
    /// A mirror is plain http and the policy does not allow that.
    #[error("mirror {mirror} is plain http, which the trust policy does not allow")]
    PlainHttp {
        /// The mirror.
        mirror: MirrorTemplate,
    },
    /// The host config asks for an image that the policy does not accept.
    #[error("the host config asks for image \"{image}\", which the trust policy does not accept")]
    ImageNotAccepted {
        /// The image.
        image: ImageName,
        /// What the policy accepts.
        accepted: Vec<ImageName>,
    },
    /// The TLS roots hold a secret.
    #[error("{} holds a private key", .0.display())]
    PrivateKey(PathBuf),
    /// The TLS roots hold nothing that a certificate can be checked against.
    #[error("{} holds no certificate", .0.display())]
    NoRoots(PathBuf),
    /// The TLS roots hold a certificate that can have issued no other.
    #[error("certificate {number} in {} is not an authority's", path.display())]
    NotAuthority {
        /// The file.
        path: PathBuf,
        /// Which certificate, from 1.
        number: usize,
    },
    /// The TLS roots hold a certificate that is none.
    #[error("certificate {number} in {} cannot be used", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Which certificate, from 1.
        number: usize,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The build time does not fit where the kernel reads it.
    #[error("{0} is no time that a cpio archive can hold")]
    BuildTime(Timestamp),
    /// The fallback or the shell cannot be baked in.
    #[error(transparent)]
    Emergency(#[from] EmergencyError),
    /// The modules cannot be resolved.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// The archive cannot be written.
    #[error("cannot write the archive for {}", path.display())]
    Archive {
        /// The output.
        path: PathBuf,
        /// Why.
        source: WriteError,
    },
}

impl BuildError {
    /// What to do about it, where that is not plain from the fact.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::File(_) | Self::Archive { .. } => return None,
            Self::Modules(error) => error.hint(),
            Self::Emergency(error) => return error.hint().map(str::to_owned),
            Self::Loader { .. } | Self::NotProgram(_) | Self::OtherProgram(_) => {
                "give the sealboot-init that was built for the machines".to_owned()
            }
            Self::Dynamic(_) => {
                "an initramfs has no dynamic linker: build the loader with -C target-feature=+crt-static (`make build` does)".to_owned()
            }
            Self::Arch { loader, .. } => {
                format!("give a --modules-dir directory of a kernel for {loader}, or the loader for the kernel's architecture")
            }
            Self::Policy { source, .. } if source.needs_upgrade() => {
                "use a newer version of sealboot, in the loaders too".to_owned()
            }
            Self::HostConfig { source, .. } if source.needs_upgrade() => source.hint(),
            Self::Policy { path, .. } => format!("check it with `sealboot policy check {}`", quoted(path)),
            Self::SignedPolicy(path) => match plain_path(path) {
                Some(plain) => format!("give the policy that was signed: --policy {}", quoted(&plain)),
                None => "give the policy that was signed, the file that `sealboot policy create --out` wrote".to_owned(),
            },
            Self::PolicyRefused { source, .. } => match &**source {
                Refusal::PolicyExpired { .. } => "machines refuse every image under it: sign a next policy with a later date, which `sealboot policy create --from FILE --expires 365d` creates, and bake that one in".to_owned(),
                _ => "give root as many ed25519 keys as its threshold, or use a newer version of sealboot, in the loaders too".to_owned(),
            },
            Self::HostConfig { path, .. } => {
                format!("check it with `sealboot host-config check {}`", quoted(path))
            }
            Self::UnknownFields { path, check, .. } => format!(
                "check it with `sealboot {check} {}`; if a newer version wrote it, --unknown-fields bakes it in as it is",
                quoted(path)
            ),
            Self::HostConfigRefused { source, .. } => source.hint(),
            Self::PlainHttp { .. } => {
                "use an https mirror, or create the policy with --allow-http".to_owned()
            }
            Self::ImageNotAccepted { accepted, .. } => {
                let accepted: Vec<&str> = accepted.iter().map(ImageName::as_str).collect();
                format!("the policy accepts {}; correct `image` in the host config or `images` in the policy", accepted.join(", "))
            }
            Self::PrivateKey(_) => {
                "everybody can read an initramfs: give a PEM file of certificates alone, and replace the key if the file has been anywhere public".to_owned()
            }
            Self::NoRoots(_) => {
                "give the PEM file of the certificate authority that issued the mirrors' certificates".to_owned()
            }
            Self::NotAuthority { .. } => {
                "give the certificate of the authority that issued the mirrors' certificates (ca.pem, where `sealboot tls generate` made them)".to_owned()
            }
            Self::Root { .. } => "export the certificate again, as PEM".to_owned(),
            Self::BuildTime(_) => {
                "set SOURCE_DATE_EPOCH to a time between 1970 and 2106, or unset it".to_owned()
            }
        };
        Some(hint)
    }

    /// Returns the code that a loader would print for the same input.
    #[must_use]
    pub fn code(&self) -> Option<FailureCode> {
        Some(match self {
            Self::Policy { source, .. } if source.needs_upgrade() => FailureCode::TrustUpgrade,
            Self::Policy { .. } => FailureCode::ConfigurePolicy,
            Self::PolicyRefused { source, .. } | Self::HostConfigRefused { source, .. } => {
                source.code()
            }
            Self::HostConfig { source, .. } => source.code(),
            Self::PlainHttp { .. } => FailureCode::FetchPlainHttp,
            Self::ImageNotAccepted { .. } => FailureCode::ManifestName,
            _ => return None,
        })
    }

    /// Returns `true` if the trust policy forbids what was to be baked in, though a loader would not say so.
    #[must_use]
    pub const fn is_forbidden(&self) -> bool {
        matches!(self, Self::Emergency(EmergencyError::ShellForbidden))
    }
}

/// Returns the path of the plain file whose envelope is at `path` by its name, where that file exists.
fn plain_path(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix(".signed.json")?;
    let named = |suffix: &str| path.with_file_name(format!("{name}{suffix}"));
    [named(".json"), named("")]
        .into_iter()
        .find(|plain| plain.is_file())
}

/// Builds an initramfs.
///
/// # Errors
///
/// The output is then as it was before.
pub fn build(request: &Request) -> Result<Built, BuildError> {
    let (loader, arch) = read_loader(&request.loader)?;
    let (policy_json, policy) = read_policy(request)?;
    let host_json = match &request.host_config {
        Some(path) => Some(read_host_config(path, &policy, request)?),
        None => None,
    };
    let tls_roots = read_tls_roots(&request.tls_roots)?;
    let emergency = request.emergency.open(&policy, &arch)?;
    let mtime = match request.build_time {
        Some(time) => u32::try_from(time.as_second()).map_err(|_| BuildError::BuildTime(time))?,
        None => 0,
    };
    let directory = ModulesDir::open(&request.modules)?;
    let modules = directory.resolve(&request.selection)?;
    let firmware_dir = FirmwareDir::open(request.firmware.as_deref(), directory.path())?;

    let archive_error = |source| BuildError::Archive {
        path: request.out.clone(),
        source,
    };
    let mut tree = Tree::new();
    let mut add = |path: &str, mode, bytes: Vec<u8>| {
        let size = bytes.len() as u64;
        tree.file(layout::member(path), mode, size, io::Cursor::new(bytes))
            .map_err(archive_error)
    };
    add("init", 0o755, loader)?;
    add(layout::POLICY_FILE, 0o644, policy_json)?;
    if let Some(host_json) = host_json {
        add(layout::HOST_CONFIG_FILE, 0o644, host_json)?;
    }
    add(layout::TLS_ROOTS_FILE, 0o644, tls_roots)?;
    if let Some(time) = request.build_time {
        let seconds = format!("{}\n", time.as_second());
        add(layout::BUILD_TIME_FILE, 0o644, seconds.into_bytes())?;
    }
    let mut firmware = Firmware::default();
    let below = format!("{}/{}", layout::MODULES_DIR, directory.version());
    for module in &modules.modules {
        let object = module.read()?;
        if object.arch != arch {
            return Err(BuildError::Arch {
                loader: arch,
                module: module.name().to_owned(),
                found: object.arch,
            });
        }
        firmware.add(module.name(), object.firmware, &firmware_dir)?;
        add(&format!("{below}/{}", module.path()), 0o644, object.bytes)?;
    }
    for (name, text) in directory.index_of(&request.selection, &modules) {
        add(&format!("{below}/{name}"), 0o644, text.into_bytes())?;
    }
    let index = firmware.index().into_bytes();
    add(&format!("{below}/modules.firmware"), 0o644, index)?;
    for (name, bytes) in &firmware.files {
        add(&format!("lib/firmware/{name}"), 0o644, bytes.clone())?;
    }
    let always = modules.always.iter().map(|name| format!("{name}\n"));
    let always = always.collect::<String>().into_bytes();
    add(layout::ALWAYS_FILE, 0o644, always)?;
    let fallback = emergency.fallback_bytes();
    emergency.add_to(&mut tree).map_err(archive_error)?;
    add_skeleton(&mut tree).map_err(archive_error)?;

    let (size, sha256) = write(tree, mtime, request)?;
    Ok(Built {
        size,
        sha256,
        kernel_version: directory.version().to_owned(),
        builtin: directory.builtin().clone(),
        modules,
        firmware,
        firmware_dir: firmware_dir.path().to_owned(),
        fallback,
        unused: request.emergency.unused(&policy),
    })
}

/// Adds where the loader mounts what it needs, and the two devices that are there before that: the
/// kernel opens `/dev/console` for the loader before the loader can mount anything.
fn add_skeleton(tree: &mut Tree<'_>) -> Result<(), WriteError> {
    for (path, permissions) in [
        ("dev", 0o755),
        ("proc", 0o555),
        ("run", 0o755),
        ("sys", 0o555),
    ] {
        tree.directory(path, permissions)?;
    }
    tree.directory("tmp", 0o1777)?;
    tree.char_device("dev/console", 0o600, 5, 1)?;
    tree.char_device("dev/null", 0o666, 1, 3)
}

fn write(tree: Tree<'_>, mtime: u32, request: &Request) -> Result<(u64, Sha256Digest), BuildError> {
    let failed = |error| FileError::new("write", &request.out)(error);
    let archive_error = |source| match source {
        WriteError::Output(error) => failed(error).into(),
        source => BuildError::Archive {
            path: request.out.clone(),
            source,
        },
    };
    let pending = PendingFile::create_in(directory(&request.out)).map_err(failed)?;
    let buffered = BufWriter::new(pending);
    let buffered = match request.compression {
        Compression::None => tree.write(buffered, mtime).map_err(archive_error)?,
        Compression::Zstd => {
            let encoder = zstd_encoder(buffered, LEVEL, KERNEL_WINDOW).map_err(failed)?;
            let encoder = tree.write(encoder, mtime).map_err(archive_error)?;
            encoder.finish().map_err(failed)?
        }
    };
    let mut pending = buffered
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    pending.flush().map_err(failed)?;
    let written = (pending.size(), pending.sha256());
    pending
        .commit(&request.out, Existing::Replace)
        .map_err(failed)?;
    Ok(written)
}

fn read_loader(path: &Path) -> Result<(Vec<u8>, Arch), BuildError> {
    let bytes = read_bounded(path, LOADER_BYTES)?;
    let not_loader = |source| BuildError::Loader {
        path: path.to_owned(),
        source,
    };
    let elf = Elf::parse(&bytes).map_err(not_loader)?;
    if !elf.is_program() {
        return Err(BuildError::NotProgram(path.to_owned()));
    }
    if elf.has_interpreter().map_err(not_loader)? {
        return Err(BuildError::Dynamic(path.to_owned()));
    }
    let arch = elf.arch;
    let marker = layout::LOADER_MARKER.as_bytes();
    if !bytes.windows(marker.len()).any(|window| window == marker) {
        return Err(BuildError::OtherProgram(path.to_owned()));
    }
    Ok((bytes, arch))
}

fn read_policy(request: &Request) -> Result<(Vec<u8>, TrustPolicy), BuildError> {
    let path = &request.policy;
    // An envelope may be larger than what is in it, and the policy's own error tells about a large one.
    let json = read_bounded(path, LIMITS.policy_envelope_bytes)?;
    if is_envelope(&json) {
        return Err(BuildError::SignedPolicy(path.to_owned()));
    }
    let policy: Read<TrustPolicy> =
        parse_with_unknown(&json).map_err(|source| BuildError::Policy {
            path: path.to_owned(),
            source,
        })?;
    all_known(
        path,
        &policy.unknown,
        "policy check",
        request.unknown_fields,
    )?;
    let refused = |refusal| BuildError::PolicyRefused {
        path: path.to_owned(),
        source: Box::new(refusal),
    };
    if !policy.value.root_role().is_reachable() {
        let statement = Statement::Policy;
        return Err(refused(Refusal::UnknownKeyTypes { statement }));
    }
    policy.value.check_expiry(request.now).map_err(refused)?;
    Ok((json, policy.value))
}

fn all_known(
    path: &Path,
    unknown: &[String],
    check: &'static str,
    unknown_fields: UnknownFields,
) -> Result<(), BuildError> {
    if unknown.is_empty() || unknown_fields == UnknownFields::Accept {
        return Ok(());
    }
    Err(BuildError::UnknownFields {
        path: path.to_owned(),
        fields: unknown.to_vec(),
        check,
    })
}

fn read_host_config(
    path: &Path,
    policy: &TrustPolicy,
    request: &Request,
) -> Result<Vec<u8>, BuildError> {
    let json = read_bounded(path, LIMITS.host_config_bytes + 1)?;
    let presented = Presented {
        stored: Some(json),
        ..Presented::default()
    };
    let judged = policy.judge_host_config(&presented, &request.now.into());
    let judged = judged.map_err(|refusal| match refusal {
        Refusal::HostConfig(source) => BuildError::HostConfig {
            path: path.to_owned(),
            source,
        },
        refusal => BuildError::HostConfigRefused {
            path: path.to_owned(),
            source: Box::new(refusal),
        },
    })?;
    all_known(
        path,
        judged.ignored(),
        "host-config check",
        request.unknown_fields,
    )?;
    let config = judged.into_config();
    if !policy.allows_http()
        && let Some(mirror) = config.mirrors.iter().find(|mirror| !mirror.is_https())
    {
        return Err(BuildError::PlainHttp {
            mirror: mirror.clone(),
        });
    }
    let mut accepted = policy.images().iter().map(|image| &image.name);
    if !accepted.any(|name| *name == config.image) {
        return Err(BuildError::ImageNotAccepted {
            image: config.image,
            accepted: policy
                .images()
                .iter()
                .map(|image| image.name.clone())
                .collect(),
        });
    }
    Ok(presented.stored.unwrap_or_default())
}

/// Reads the TLS roots as the loader will, and looks for what must never be in them.
fn read_tls_roots(path: &Path) -> Result<Vec<u8>, BuildError> {
    let pem = read_bounded(path, LIMITS.tls_roots_bytes)?;
    // Not by parsing: a key in a form that no parser here knows is a secret all the same.
    const SECRET: &[u8] = b"PRIVATE KEY";
    if pem.windows(SECRET.len()).any(|window| window == SECRET) {
        return Err(BuildError::PrivateKey(path.to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(&pem)) {
        let unusable = |source| BuildError::Root {
            path: path.to_owned(),
            number,
            source,
        };
        let certificate = certificate.map_err(|error| unusable(Box::new(error)))?;
        roots
            .add(certificate.clone())
            .map_err(|error| unusable(Box::new(error)))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|error| unusable(Box::new(error)))?;
        // Certificates of version 1 have no extensions, and some old authorities have such.
        if parsed.version() == X509Version::V3 && !parsed.is_ca() {
            return Err(BuildError::NotAuthority {
                path: path.to_owned(),
                number,
            });
        }
    }
    if roots.is_empty() {
        return Err(BuildError::NoRoots(path.to_owned()));
    }
    Ok(pem)
}
