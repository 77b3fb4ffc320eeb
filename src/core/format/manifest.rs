//! The manifest: the signed statement about an image.
//!
//! `docs/formats.md` shows it byte by byte. A [`Manifest`] has only values that agree with each other: the members are
//! in order, and a compressed archive cannot unpack to more than its members say. The hashes of the archive's chunks
//! stand in a file of their own, the chunk list, whose hash the manifest has: a manifest stays small enough for every
//! key store to sign, whatever the image's size.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Invalid;
use super::archive::{self, MemberPath, Role};
use super::cmdline::Cmdline;
use super::digest::Sha256Digest;
use super::limits::LIMITS;
use super::payload::{self, Payload, PayloadError, words};
use super::time;
pub use super::version::ImageVersion;

/// The signed statement about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which image this is; the host config asks for one by this name.
    pub name: ImageName,
    /// The rollback counter of `name`: it only grows.
    pub version: ImageVersion,
    /// What people call this version.
    pub label: Label,
    /// The processor architecture that the kernel runs on.
    pub arch: Arch,
    /// When the image was packed.
    #[serde(with = "time")]
    pub created: Timestamp,
    /// When the image stops being bootable, if ever.
    #[serde(
        with = "time::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub expires: Option<Timestamp>,
    /// The kernel command line that the image's kernel gets, whole.
    pub cmdline: Cmdline,
    /// The image's bytes as stored.
    pub archive: Archive,
    /// The archive's members, in order.
    pub files: Vec<ImageFile>,
    /// How long one boot of the image may run, in hours. The image's own system enforces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uptime_hours: Option<MaxUptimeHours>,
    /// Files about the image, which no machine fetches: an SBOM, the recipe, the changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// The image's bytes as stored: how encoded, how many, and the hash of the hashes of their chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// How the tar is compressed.
    pub encoding: Encoding,
    /// Bytes as stored.
    pub size: u64,
    /// Bytes of every chunk but the last, which may be shorter; a power of two.
    pub chunk_size: u64,
    /// SHA-256 of the chunk list: the SHA-256 of each chunk, 32 bytes each, in order.
    pub chunks_sha256: Sha256Digest,
}

/// A member of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFile {
    /// Its path in the archive.
    pub path: MemberPath,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: Sha256Digest,
    /// Of an initrd: bytes in memory once a kernel has unpacked it. A hint that no reader checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked_size: Option<u64>,
}

/// A file about an image: fetched by tools alone, never by a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its file name.
    pub name: AttachmentName,
    /// Its media type (RFC 6838), such as `application/vnd.cyclonedx+json`.
    pub media_type: MediaType,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: Sha256Digest,
}

words! {
    /// The encoding in which an archive's tar is stored.
    pub enum Encoding("archive.encoding") {
        /// As is.
        None = "none",
        /// One gzip member (RFC 1952).
        Gzip = "gzip",
        /// One zstd frame (RFC 8878), with a header as [`frame`](super::frame) says.
        Zstd = "zstd",
    }
}

impl Encoding {
    /// The most bytes of its output that a decompressor has to remember.
    #[must_use]
    pub const fn window(self) -> u64 {
        match self {
            Self::None => 0,
            // The farthest that a DEFLATE block refers back (RFC 1951, section 2).
            Self::Gzip => 32 << 10,
            Self::Zstd => LIMITS.zstd_window,
        }
    }
}

/// A processor architecture, as the kernel's build calls it: 1 to 32 of `a-z`, `0-9` and `_`, a letter first.
///
/// A name that this version does not know is not an error: the image is for another machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// Another.
    Other(OtherArch),
}

/// The name of a processor architecture that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OtherArch(String);

/// How long one boot of an image may run, in hours: 1 to 720.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct MaxUptimeHours(u16);

impl Payload for Manifest {
    const TYPE: &'static str = Self::PAYLOAD_TYPE;
    const NAME: &'static str = "manifest";
    const LIMIT: u64 = LIMITS.payload_bytes;

    fn check(&self) -> Result<(), Invalid> {
        self.check_agreement()
    }
}

impl Manifest {
    /// The DSSE payload type of this format.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.sealboot.manifest.v1+json";

    /// Reads a manifest and checks that its fields agree.
    ///
    /// The bytes may come from anywhere; outside `image inspect`, they come out of a verified envelope.
    ///
    /// # Errors
    ///
    /// [`PayloadError`], for the first rule that they break.
    pub fn parse(json: &[u8]) -> Result<Self, PayloadError> {
        payload::parse(json)
    }

    /// Encodes the manifest as the bytes to sign: compact JSON in the order of the fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        payload::encode(self)
    }

    /// Checks the agreement of the fields; what one field alone must be, its type has checked.
    pub(crate) fn check_agreement(&self) -> Result<(), Invalid> {
        self.archive.check()?;
        if self.expires.is_some_and(|expires| expires <= self.created) {
            return Err(Invalid::new(
                "expires",
                self.expires.unwrap_or_default(),
                "after `created`",
            ));
        }
        if self.files.len() > LIMITS.archive_members {
            return Err(Invalid::new(
                "files",
                self.files.len(),
                "a list of at most 128 files",
            ));
        }
        archive::check_order(self.files.iter().map(|file| &file.path))?;
        if let Some(file) = self.files.iter().find(|file| file.size == 0) {
            return Err(Invalid::new(
                "files.size",
                0,
                if file.path.role() == Role::Kernel {
                    "the size of a kernel"
                } else {
                    "the size of an initrd"
                },
            ));
        }
        let unpacked = archive::tar_size(self.files.iter().map(|file| file.size))
            .filter(|size| *size <= LIMITS.archive_bytes)
            .ok_or_else(|| Invalid::new("files.size", "their sum", "at most 64 GiB"))?;
        if self.archive.encoding == Encoding::None && self.archive.size != unpacked {
            return Err(Invalid::new(
                "archive.size",
                self.archive.size,
                "the size of a tar of these files",
            ));
        }
        check_attachments(&self.attachments)
    }

    /// The exact length of the archive's tar after decompression, in bytes.
    #[must_use]
    pub fn unpacked_size(&self) -> u64 {
        archive::tar_size(self.files.iter().map(|file| file.size)).unwrap_or(u64::MAX)
    }

    /// Bytes of kernel and initrds: what a boot keeps.
    #[must_use]
    pub fn boot_size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Checks a manifest's attachments: at most 16 of at most 256 MiB, no name twice.
///
/// # Errors
///
/// Names the first field that breaks a rule.
pub fn check_attachments(attachments: &[Attachment]) -> Result<(), Invalid> {
    if attachments.len() > LIMITS.attachments {
        return Err(Invalid::new(
            "attachments",
            attachments.len(),
            "a list of at most 16 files",
        ));
    }
    for (at, attachment) in attachments.iter().enumerate() {
        if attachment.size > LIMITS.attachment_bytes {
            return Err(Invalid::new(
                "attachments.size",
                attachment.size,
                "at most 256 MiB",
            ));
        }
        let name = &attachment.name;
        if attachments[..at].iter().any(|one| one.name == *name) {
            return Err(Invalid::new("attachments.name", name, "no name twice"));
        }
    }
    Ok(())
}

impl Attachment {
    /// The path in a store of the blob with this hash.
    #[must_use]
    pub fn blob_path(&self) -> String {
        format!("blobs/sha256-{}", self.sha256)
    }
}

impl Archive {
    /// The path of the archive in a store: its chunk list's hash, with the encoding's suffix.
    #[must_use]
    pub fn blob_path(&self) -> String {
        format!("blobs/{}.{}", self.chunks_sha256, self.encoding.suffix())
    }

    /// The path of the chunk list in a store.
    #[must_use]
    pub fn chunk_list_path(&self) -> String {
        format!("blobs/{}.chunks", self.chunks_sha256)
    }

    /// How many chunks the archive has.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        let count = self.size.div_ceil(self.chunk_size);
        usize::try_from(count)
            .unwrap_or_else(|_| unreachable!("at most 64 GiB in chunks of 64 KiB"))
    }

    /// The exact length of the chunk list in bytes.
    #[must_use]
    pub fn chunk_list_len(&self) -> usize {
        self.chunk_count() * Sha256Digest::LEN
    }

    /// The length of chunk `index` in bytes, or `None` past the last.
    #[must_use]
    pub fn chunk_len(&self, index: usize) -> Option<u64> {
        let start = self.chunk_size.checked_mul(u64::try_from(index).ok()?)?;
        (start < self.size).then(|| self.chunk_size.min(self.size - start))
    }

    fn check(&self) -> Result<(), Invalid> {
        if self.size == 0 || self.size > LIMITS.archive_bytes {
            return Err(Invalid::new(
                "archive.size",
                self.size,
                "between 1 byte and 64 GiB",
            ));
        }
        if !self.chunk_size.is_power_of_two()
            || !(LIMITS.chunk_size_min..=LIMITS.chunk_size_max).contains(&self.chunk_size)
        {
            return Err(Invalid::new(
                "archive.chunk_size",
                self.chunk_size,
                "a power of two between 65536 and 16777216",
            ));
        }
        Ok(())
    }
}

impl Encoding {
    /// The suffix of a blob's file name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "tar",
            Self::Gzip => "tar.gz",
            Self::Zstd => "tar.zst",
        }
    }
}

impl Arch {
    /// The architecture that this binary was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The architecture that this binary was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Other(name) => &name.0,
        }
    }
}

impl FromStr for Arch {
    type Err = Invalid;

    fn from_str(arch: &str) -> Result<Self, Invalid> {
        let fits = (1..=32).contains(&arch.len())
            && arch.starts_with(|first: char| first.is_ascii_lowercase())
            && (arch.bytes())
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let known = [Self::X86_64, Self::Aarch64];
        if let Some(known) = known.into_iter().find(|known| known.as_str() == arch) {
            return Ok(known);
        }
        if fits {
            Ok(Self::Other(OtherArch(arch.to_owned())))
        } else {
            Err(Invalid::new(
                "arch",
                arch,
                "1 to 32 of a-z, 0-9 and _, a letter first, such as x86_64 or aarch64",
            ))
        }
    }
}

impl MaxUptimeHours {
    /// The number of hours.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u64> for MaxUptimeHours {
    type Error = Invalid;

    fn try_from(hours: u64) -> Result<Self, Invalid> {
        (u16::try_from(hours).ok())
            .filter(|hours| (1..=720).contains(hours))
            .map(Self)
            .ok_or_else(|| Invalid::new("max_uptime_hours", hours, "from 1 to 720"))
    }
}

impl From<MaxUptimeHours> for u64 {
    fn from(hours: MaxUptimeHours) -> Self {
        hours.0.into()
    }
}

/// The file name of an attachment: 1 to 64 of `a-z`, `0-9`, `.`, `_` and `-`, a letter or digit first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttachmentName(String);

impl AttachmentName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AttachmentName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = name.len() <= 64
            && name.bytes().next().is_some_and(plain)
            && (name.bytes()).all(|byte| plain(byte) || b"._-".contains(&byte));
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(Invalid::new(
                "attachments.name",
                name,
                "1 to 64 of a-z, 0-9, ., _ and -, a letter or digit first",
            ))
        }
    }
}

/// A media type without parameters (RFC 6838, section 4.2), in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType(String);

impl MediaType {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MediaType {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = |name: &str| {
            name.len() <= 127
                && name.bytes().next().is_some_and(plain)
                && (name.bytes()).all(|byte| plain(byte) || b"!#$&^_.+-".contains(&byte))
        };
        match text.split_once('/') {
            Some((kind, name)) if is_name(kind) && is_name(name) => Ok(Self(text.to_owned())),
            _ => Err(Invalid::new(
                "attachments.media_type",
                text,
                "a media type in lower case without parameters, such as application/json",
            )),
        }
    }
}

/// The name of an image: 1 to 64 of `a-z`, `0-9`, `-` and `_`, a letter or digit first.
///
/// It is part of file names and URLs; without dots, a name's channel file (`NAME.json`) is never
/// another name's directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName(String);

impl ImageName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = name.len() <= 64
            && name.bytes().next().is_some_and(plain)
            && name
                .bytes()
                .all(|byte| plain(byte) || byte == b'-' || byte == b'_');
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(Invalid::new(
                "name",
                name,
                "1 to 64 of a-z, 0-9, - and _, a letter or digit first",
            ))
        }
    }
}

/// What people call a version of an image: 1 to 128 visible characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

impl Label {
    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = Invalid;

    fn from_str(label: &str) -> Result<Self, Invalid> {
        // ASCII only: the label is shown before signing, and must not be able to look like another.
        if (1..=128).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            Ok(Self(label.to_owned()))
        } else {
            Err(Invalid::new(
                "label",
                label,
                "1 to 128 printable ASCII characters",
            ))
        }
    }
}

macro_rules! string_like {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.as_str().fmt(f)
            }
        }
    )*};
}
string_like!(ImageName, Label, Arch, AttachmentName, MediaType);

macro_rules! json_string {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
json_string!(ImageName, Label, Arch, AttachmentName, MediaType);

#[cfg(test)]
mod tests;
