//! Why something could not be done to a store.

mod hint;
mod refused;
mod state;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use sealboot_core::archive::StoredArchiveError;
use sealboot_core::failure::{Diagnose as _, FailureCode, causes};
use sealboot_core::format::Invalid;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Arch, AttachmentName, ImageName, ImageVersion};
use sealboot_core::format::payload::PayloadError;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::{EnvelopeError, KeyId, Refusal};

use crate::attach::NotSigned;
use crate::kind::Kind;
use crate::merge::OtherStatement;
use crate::signer::SignError;

pub use refused::{Damaged, NotNext, Refused};
pub use state::{StateDamage, StateError};

/// Why something was not done: one variant for each thing that a caller or an operator would do differently.
///
/// `Display` is the fact alone; `source` leads to its causes, and [`hint`](Self::hint) says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than what is read of its kind.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes of the largest that is read.
        limit: u64,
    },
    /// A store holds something else than a regular file under this name.
    #[error("{} is no regular file", path.display())]
    NotRegular {
        /// What it is instead of a file.
        path: PathBuf,
    },
    /// A file to read is a FIFO or a device, which may never end.
    #[error("{} is not a regular file", path.display())]
    NotFile {
        /// What it is instead of a file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that must not be replaced exists.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A directory cannot be created.
    #[error("cannot create the directory {}", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A check of the trust chain said no to a file.
    #[error(transparent)]
    Refused(#[from] Refused<Refusal>),
    /// A file does not hold an envelope.
    #[error("{} is no envelope", path.display())]
    NotEnvelope {
        /// The file.
        path: PathBuf,
        /// The kind of statement that was expected in it.
        kind: Kind,
        /// What is wrong with it.
        source: EnvelopeError,
    },
    /// An envelope holds another kind of statement.
    #[error("{} holds a statement of type \"{found}\"\n  expected \"{}\"", path.display(), kind.payload_type())]
    PayloadType {
        /// The envelope's file.
        path: PathBuf,
        /// The type that it names, escaped.
        found: String,
        /// What was expected.
        kind: Kind,
    },
    /// A file does not hold a trust policy that can be used.
    #[error("cannot use the trust policy {}", path.display())]
    UnusablePolicy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PayloadError,
    },
    /// An envelope does not hold a trust policy that can be used.
    #[error("{} holds no usable trust policy", path.display())]
    NoPolicy {
        /// The envelope's file.
        path: PathBuf,
        /// What is wrong with its payload.
        source: PayloadError,
    },
    /// A signed policy was given where the one is needed that machines have.
    #[error("{} is a signed policy, and nothing says that the right people signed it", path.display())]
    SignedPolicy {
        /// The envelope's file.
        path: PathBuf,
    },
    /// The store lacks a trust policy but has a later one.
    #[error("the store {} has version {later} of the trust policy, but not version {missing}", root.display())]
    PolicyGap {
        /// The store.
        root: PathBuf,
        /// The newest that it has.
        later: PolicyVersion,
        /// The one that machines look for.
        missing: PolicyVersion,
    },
    /// A file does not hold a channel.
    #[error("{} is no channel", path.display())]
    NotChannel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: EnvelopeError,
    },
    /// The store shows less than the freshness role has said that there is.
    #[error(transparent)]
    Behind(Refused<Refusal>),
    /// A renewer cannot go on from its state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store does not have a release as the last statement lists it.
    #[error(
        "the last statement of image {image} lists version {version} ({arch}), which the store does not have as it was listed"
    )]
    NotAsListed {
        /// The image.
        image: ImageName,
        /// The version.
        version: ImageVersion,
        /// The architecture.
        arch: Arch,
        /// What is wrong with it.
        source: Box<StoreError>,
    },
    /// An archive or a chunk list has another size than was signed.
    #[error("{} has another size than was signed\n  expected {expected} bytes\n  found    {found} bytes", path.display())]
    BlobSize {
        /// The file.
        path: PathBuf,
        /// The size that was signed.
        expected: u64,
        /// Its size.
        found: u64,
    },
    /// A statement cannot list all versions that are withdrawn.
    #[error("image {image} has {found} withdrawn versions; a statement lists at most {limit}")]
    TooManyWithdrawn {
        /// The image.
        image: ImageName,
        /// How many there are.
        found: usize,
        /// How many a statement lists.
        limit: usize,
    },
    /// The store has no image that the trust policy accepts.
    #[error("the store {} has no image that the trust policy accepts", root.display())]
    NoImages {
        /// The store.
        root: PathBuf,
    },
    /// The trust policy has no role for freshness.
    #[error(
        "version {version} of the trust policy has no role for freshness, so nothing is to be renewed"
    )]
    NoFreshnessRole {
        /// The policy's version.
        version: PolicyVersion,
    },
    /// A key that was to renew may not.
    #[error("key {key} is not of the freshness role of version {version} of the trust policy")]
    NotOfFreshnessRole {
        /// The key.
        key: KeyId,
        /// The policy's version.
        version: PolicyVersion,
    },
    /// Statements were to count for longer than the policy allows.
    #[error(
        "a freshness statement may count for at most {max_hours} hours by version {version} of the trust policy"
    )]
    LifeTooLong {
        /// The longest that it allows, in hours.
        max_hours: u32,
        /// The policy's version.
        version: PolicyVersion,
    },
    /// A statement was to count past the end of the calendar.
    #[error("the freshness statement cannot count that long")]
    LifeUnusable(#[source] Invalid),
    /// A signer did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A channel was given where the envelope of one version is needed.
    #[error("{} is a channel, which machines fetch: it is published, not signed", path.display())]
    IsChannel {
        /// The file.
        path: PathBuf,
    },
    /// An envelope does not hold a manifest that can be used.
    #[error("{} holds no usable manifest", path.display())]
    NoManifest {
        /// The envelope's file.
        path: PathBuf,
        /// What is wrong with its payload.
        source: PayloadError,
    },
    /// A channel does not hold a freshness statement that can be used.
    #[error("{} holds no usable freshness statement", path.display())]
    NoFreshness {
        /// The channel.
        path: PathBuf,
        /// What is wrong with it.
        source: PayloadError,
    },
    /// A file of the store that is to be compared with cannot be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// A file of the store holds another image than its name says.
    #[error("{} holds image \"{found}\" instead of \"{expected}\"", path.display())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The image that it holds.
        found: ImageName,
        /// The image that its path names.
        expected: ImageName,
    },
    /// A newer version was published.
    #[error(
        "version {version} of image \"{image}\" is older than version {newest}, which is published"
    )]
    Older {
        /// The image.
        image: ImageName,
        /// The version that was to be published.
        version: ImageVersion,
        /// The newest that was.
        newest: ImageVersion,
    },
    /// Another statement of the same version was published.
    #[error("another version {version} of image \"{image}\" stands at {}\n  expected manifest sha256 {expected}\n  found    manifest sha256 {found}", path.display())]
    OtherVersion {
        /// The image.
        image: ImageName,
        /// The version.
        version: ImageVersion,
        /// Where the other one is.
        path: PathBuf,
        /// The hash of the manifest that was to be published.
        expected: Box<Sha256Digest>,
        /// The hash of the one that was.
        found: Box<Sha256Digest>,
    },
    /// An archive is a link to a file outside the store.
    #[error("{} is a link that leads out of the store, which `sealboot serve` does not follow", path.display())]
    LeadsOut {
        /// The link.
        path: PathBuf,
    },
    /// The store's archive cannot be opened.
    #[error(transparent)]
    NoArchive(Box<StoreError>),
    /// Withdrawing a version would leave no release for an architecture.
    #[error("no release of image {image} for {arch} is left once version {version} is withdrawn")]
    NothingLeft {
        /// The image.
        image: ImageName,
        /// The version.
        version: ImageVersion,
        /// The architecture.
        arch: Arch,
    },
    /// An older version would take the place of one that the freshness statement lists.
    #[error(
        "the freshness statement of image {image} lists version {current}: machines would boot neither that nor version {version}"
    )]
    StillCurrent {
        /// The image.
        image: ImageName,
        /// The version that was to be published.
        version: ImageVersion,
        /// The version that is current.
        current: ImageVersion,
    },
    /// A version that is to be withdrawn is not there.
    #[error("image {image} is not published in version {version}")]
    NotOffered {
        /// The image.
        image: ImageName,
        /// The version.
        version: ImageVersion,
    },
    /// An attachment is missing, or is not as it was signed.
    #[error("there is no attachment \"{name}\" as it was signed at {}", path.display())]
    NoAttachment {
        /// Its name in the manifest.
        name: AttachmentName,
        /// Its place.
        path: PathBuf,
    },
    /// An archive is not as it was signed.
    #[error(transparent)]
    ArchiveRefused(Refused<StoredArchiveError>),
    /// An archive or attachment cannot be copied into the store.
    #[error("cannot copy {} to {}", from.display(), to.display())]
    Copy {
        /// The file of another store.
        from: PathBuf,
        /// Its place in this one.
        to: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A policy was given without signatures.
    #[error("{} is a policy without signatures", path.display())]
    UnsignedPolicy {
        /// The file.
        path: PathBuf,
    },
    /// A policy is not newer than the one that machines have baked in.
    #[error("{} is version {version} of the trust policy, but {} is version {from} already", path.display(), baked_in.display())]
    PolicyNotNewer {
        /// The policy's envelope.
        path: PathBuf,
        /// Its version.
        version: PolicyVersion,
        /// The file of the policy that machines have.
        baked_in: PathBuf,
        /// Its version.
        from: PolicyVersion,
    },
    /// A policy leaves out a version.
    #[error(transparent)]
    PolicySkips(Refused<Refusal>),
    /// A policy does not follow the newest of the store.
    #[error(transparent)]
    NotNext(#[from] NotNext),
    /// Another policy of the same version was published.
    #[error("another version {version} of the trust policy stands at {}\n  given      sha256 {given}\n  published  sha256 {published}", path.display())]
    OtherPolicy {
        /// Where it is.
        path: PathBuf,
        /// The version.
        version: PolicyVersion,
        /// The hash of the policy that was to be published.
        given: Box<Sha256Digest>,
        /// The hash of the one that was.
        published: Box<Sha256Digest>,
    },
    /// A policy has expired, and refuses every image since.
    #[error(transparent)]
    PolicyExpired(Box<Refusal>),
    /// A policy would stop machines, and that was not agreed to.
    #[error(
        "version {version} of the trust policy would stop the machines that run {}",
        list(images)
    )]
    WouldStop {
        /// The policy's version.
        version: PolicyVersion,
        /// The images that it refuses.
        images: Vec<ImageName>,
    },
    /// A first policy was to be signed, which needs no signature.
    #[error("{} is version 1 of a trust policy, which follows no other", path.display())]
    FirstPolicy {
        /// The file.
        path: PathBuf,
    },
    /// The envelope beside a plain file holds another statement.
    #[error("{} holds another {} than {}", path.display(), kind.what(), file.display())]
    OtherStatement {
        /// The envelope.
        path: PathBuf,
        /// The plain file.
        file: PathBuf,
        /// What both hold.
        kind: Kind,
    },
    /// An envelope was replaced while a signer read what to sign.
    #[error("{} was replaced by another statement meanwhile", path.display())]
    Replaced {
        /// The envelope.
        path: PathBuf,
        /// What it held.
        kind: Kind,
    },
    /// An envelope is protected from being written.
    #[error("{} is write-protected", path.display())]
    WriteProtected {
        /// The envelope.
        path: PathBuf,
        /// What it holds.
        kind: Kind,
        /// Why it cannot be written.
        source: Errno,
    },
    /// An envelope has no room for one more signature.
    #[error("with one more signature, nobody could read the envelope")]
    Full {
        /// What it holds.
        kind: Kind,
        /// Which limit it would exceed.
        source: EnvelopeError,
    },
    /// A file that should hold signatures is an envelope without any.
    #[error("{} holds no signature", path.display())]
    NoSignature {
        /// The file.
        path: PathBuf,
        /// What was to be signed.
        kind: Kind,
    },
    /// A file that should be a copy of the envelope holds another statement.
    #[error("{}: {statement}", from.display())]
    OverOther {
        /// The file.
        from: PathBuf,
        /// The envelope.
        path: PathBuf,
        /// How the two differ.
        statement: Box<OtherStatement>,
    },
    /// A file to which a signature is to be attached does not hold an envelope.
    #[error("{} is not an envelope", path.display())]
    NotSignable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: EnvelopeError,
    },
    /// An envelope holds a statement that people do not sign.
    #[error("{} holds a statement of type \"{found}\", which this version of sealboot does not sign", path.display())]
    UnknownStatement {
        /// The envelope's file.
        path: PathBuf,
        /// The type that it names, escaped.
        found: String,
    },
    /// A signature does not verify.
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    /// A signature is not by a signer of the trust policy.
    #[error("{}: no signer of the trust policy made the signature under key id {key_id}", from.display())]
    ByNoSigner {
        /// The file of the signature.
        from: PathBuf,
        /// The key id beside it, fit to be printed.
        key_id: String,
    },
    /// The store that is to be changed does not exist.
    #[error("the store {} is no directory", root.display())]
    NoStore {
        /// Its path.
        root: PathBuf,
    },
}

// A server hands errors from thread to thread.
const _: fn() = || {
    fn travels<T: Send + Sync + 'static>() {}
    travels::<StoreError>();
};

impl StoreError {
    /// Returns what makes an error of reading `path`.
    pub fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unreadable {
            path: path.to_owned(),
            source,
        }
    }

    /// Returns what makes an error of a policy in `path` that cannot be used.
    pub fn unusable_policy(path: &Path) -> impl FnOnce(PayloadError) -> Self {
        move |source| Self::UnusablePolicy {
            path: path.to_owned(),
            source,
        }
    }

    /// Returns the whole of it in lines: the fact, its causes, the code and what to do next.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        for cause in causes(self.source()) {
            text += &format!("\n  caused by: {cause}");
        }
        if let Some(code) = self.code() {
            text += &format!("\n  code: {code}");
        }
        if let Some(hint) = self.hint() {
            text += &format!("\nhint: {hint}");
        }
        text
    }

    /// Returns the code that a loader would print for the same refusal.
    #[must_use]
    pub fn code(&self) -> Option<FailureCode> {
        match self {
            Self::Refused(refused)
            | Self::Behind(refused)
            | Self::PolicySkips(refused)
            | Self::NotNext(NotNext { refused, .. }) => Some(refused.refusal.code()),
            Self::ArchiveRefused(refused) => Some(refused.refusal.code()),
            Self::PolicyExpired(refusal) => Some(refusal.code()),
            Self::NotAsListed { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Returns `true` if a signature, hash, policy or freshness check said no, rather than that something failed.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        if let Self::State(error) = self {
            return error.is_refusal();
        }
        matches!(
            self,
            Self::Refused(_)
                | Self::Behind(_)
                | Self::OtherStatement { .. }
                | Self::OverOther { .. }
                | Self::ByNoSigner { .. }
                | Self::NotSigned(_)
                | Self::PolicySkips(_)
                | Self::NotNext(_)
                | Self::PolicyNotNewer { .. }
                | Self::OtherPolicy { .. }
                | Self::PolicyExpired(_)
                | Self::WouldStop { .. }
                | Self::ArchiveRefused(_)
                | Self::NotAsListed { .. }
                | Self::BlobSize { .. }
                | Self::NothingLeft { .. }
                | Self::StillCurrent { .. }
                | Self::Older { .. }
                | Self::OtherVersion { .. }
                | Self::NotOfFreshnessRole { .. }
                | Self::LifeTooLong { .. }
        )
    }
}

fn list(images: &[ImageName]) -> String {
    let images: Vec<&str> = images.iter().map(ImageName::as_str).collect();
    images.join(", ")
}
