//! The file of an envelope, which others may be writing to while a signer reads what to sign.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use sealboot_core::format;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::{Envelope, EnvelopeError, PublicKey};

use crate::StoreError;
use crate::files::{self, Existing, signed_path};
use crate::image::StoredImage;
use crate::kind::Kind;
use crate::signer::Signer;

/// An envelope, and the file that holds it or will hold it.
#[derive(Debug)]
pub struct EnvelopeFile {
    kind: Kind,
    /// The path, for messages.
    shown: PathBuf,
    /// What a link points at is replaced, not the link.
    path: PathBuf,
    envelope: Envelope,
    /// Whether the file was there.
    existing: bool,
}

impl EnvelopeFile {
    /// Reads the envelope of a file that exists.
    ///
    /// # Errors
    ///
    /// As for [`Kind::read`].
    pub fn open(kind: Kind, shown: &Path) -> Result<Self, StoreError> {
        let path = shown
            .canonicalize()
            .map_err(StoreError::unreadable(shown))?;
        let envelope = kind.read(shown)?;
        Ok(Self {
            kind,
            shown: shown.to_owned(),
            path,
            envelope,
            existing: true,
        })
    }

    /// Reads the envelope of a file that exists, whichever kind of statement it holds.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotSignable`], [`StoreError::UnknownStatement`], [`StoreError::IsChannel`], and as for
    /// [`files::read_stored`].
    pub fn open_any(shown: &Path) -> Result<Self, StoreError> {
        let path = || shown.to_owned();
        match StoredImage::read(shown) {
            Ok(StoredImage::Envelope(envelope)) => match Kind::of(envelope.payload_type()) {
                Some(kind) => Self::open(kind, shown),
                None => Err(StoreError::UnknownStatement {
                    path: path(),
                    found: format::shown(envelope.payload_type(), 80),
                }),
            },
            Ok(StoredImage::Channel(_)) => Err(StoreError::IsChannel { path: path() }),
            Err(StoreError::NotEnvelope { source, .. }) => Err(StoreError::NotSignable {
                path: path(),
                source,
            }),
            Err(error) => Err(error),
        }
    }

    /// Reads the envelope beside a plain file, which is `unsigned` as long as no one has signed it.
    ///
    /// # Errors
    ///
    /// [`StoreError::OtherStatement`] where that holds something else, and as for [`open`](Self::open).
    pub fn beside(kind: Kind, file: &Path, unsigned: Envelope) -> Result<Self, StoreError> {
        let path = signed_path(file);
        if matches!(path.try_exists(), Ok(false)) {
            return Ok(Self {
                kind,
                shown: path.clone(),
                path,
                envelope: unsigned,
                existing: false,
            });
        }
        let there = Self::open(kind, &path)?;
        if there.envelope.signed_bytes() == unsigned.signed_bytes() {
            return Ok(there);
        }
        Err(StoreError::OtherStatement {
            path,
            file: file.to_owned(),
            kind,
        })
    }

    /// Returns the envelope as it was read.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Returns the path, for messages.
    #[must_use]
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// Returns what the envelope holds.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns `true` if `key` has validly signed what was read.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.envelope.has_signature_of(key)
    }

    /// Signs what was read; returns it with this signature alone, and writes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Sign`].
    pub fn sign(&self, signer: &mut dyn Signer) -> Result<Envelope, StoreError> {
        let id = signer.public().id().to_string();
        let bytes = signer.sign(&self.envelope.signed_bytes())?;
        Ok(self.envelope.with_only(EnvelopeSignature::new(id, bytes)))
    }

    /// Adds the signatures and unknown fields of copies of what was read, in one step; returns how many signatures the
    /// file holds then.
    ///
    /// Reads the file again under a lock: since it was read to be signed, others may have signed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Replaced`] where it holds another statement by now, [`StoreError::Full`], and where it cannot be
    /// read or written; nothing is written then.
    pub fn add(&self, copies: &[Envelope]) -> Result<usize, StoreError> {
        let _lock = files::lock(files::directory(&self.path));
        let mut envelope = if self.existing || self.path.exists() {
            self.kind.read(&self.shown)?
        } else {
            self.envelope.clone()
        };
        if envelope.signed_bytes() != self.envelope.signed_bytes() {
            return Err(StoreError::Replaced {
                path: self.shown.clone(),
                kind: self.kind,
            });
        }
        for copy in copies {
            envelope.join_copy(copy);
        }
        self.check_room(&envelope, 0)?;
        files::write(&self.path, &envelope.encode(), 0o644, Existing::Replace)?;
        Ok(envelope.signatures().len())
    }

    /// Writes the envelope into its file, where that did not exist when it was read.
    ///
    /// # Errors
    ///
    /// As for [`add`](Self::add).
    pub fn create(&self) -> Result<(), StoreError> {
        if !self.existing {
            self.add(&[])?;
        }
        Ok(())
    }

    /// Checks that the file is not protected from being written: a rename would not ask.
    ///
    /// # Errors
    ///
    /// [`StoreError::WriteProtected`].
    pub fn check_writable(&self) -> Result<(), StoreError> {
        if !self.existing {
            return Ok(());
        }
        access(&self.path, AccessFlags::W_OK).map_err(|source| StoreError::WriteProtected {
            path: self.shown.clone(),
            kind: self.kind,
            source,
        })
    }

    /// Checks that one more signature makes no envelope that is too large to be read.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`].
    pub fn check_room_for_one(&self) -> Result<(), StoreError> {
        self.check_room(&self.envelope, 1)
    }

    /// Checks the same of an envelope in place of the one that was read, and of so many more.
    pub(crate) fn check_room(&self, envelope: &Envelope, more: usize) -> Result<(), StoreError> {
        let (kind, limit) = (self.kind, self.kind.limit());
        let full = |source| StoreError::Full { kind, source };
        let mut probe = envelope.clone();
        for at in 0..more {
            probe.join(EnvelopeSignature::new(format!("{at:016x}"), [0; 64]));
        }
        let bytes = probe.encode();
        if u64::try_from(bytes.len()).is_ok_and(|len| len > limit) {
            let found = bytes.len();
            return Err(full(EnvelopeError::TooLarge { found, limit }));
        }
        Envelope::parse(&bytes).map(drop).map_err(full)
    }
}

/// Returns what to do where there is no room for one more signature.
pub(crate) fn full(kind: Kind, source: &EnvelopeError) -> String {
    match source {
        EnvelopeError::TooLarge { .. } => format!(
            "in base64 and with its signatures, a signed {} must have room in {} bytes: make it smaller",
            kind.what(),
            kind.limit()
        ),
        _ => format!(
            "an envelope holds at most {} signatures; {} and let only its signers sign",
            LIMITS.signatures,
            kind.make()
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{Key, policy, sealed_manifest, sealed_policy, write};

    fn directory() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("42.json");
        (dir, path)
    }

    fn signed(file: &EnvelopeFile, by: &str) -> [Envelope; 1] {
        [file.sign(&mut Key::of(by)).unwrap()]
    }

    #[test]
    fn a_statement_that_was_replaced_meanwhile_gets_no_signature() {
        let (_dir, path) = directory();
        write(&path, &sealed_manifest(42, &[]));
        let file = EnvelopeFile::open(Kind::Image, &path).unwrap();
        let signed = signed(&file, "alice");
        write(&path, &sealed_manifest(43, &[]));
        let before = fs::read(&path).unwrap();
        let error = file.add(&signed).unwrap_err();
        assert!(matches!(error, StoreError::Replaced { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn an_envelope_beside_another_statement_is_refused() {
        let (_dir, path) = directory();
        let unsigned = |threshold: &[&str]| sealed_policy(&policy(threshold), &[]);
        write(&signed_path(&path), &unsigned(&["alice"]));
        let error = EnvelopeFile::beside(Kind::Policy, &path, unsigned(&["bob"])).unwrap_err();
        assert!(matches!(&error, StoreError::OtherStatement { .. }));
        assert!(error.is_refusal());
        EnvelopeFile::beside(Kind::Policy, &path, unsigned(&["alice"])).unwrap();
    }

    #[test]
    fn an_envelope_beside_a_plain_file_is_created_once() {
        let (_dir, path) = directory();
        let unsigned = sealed_policy(&policy(&["alice"]), &[]);
        let beside = || EnvelopeFile::beside(Kind::Policy, &path, unsigned.clone()).unwrap();
        beside().create().unwrap();
        let written = signed_path(&path);
        assert_eq!(fs::read(&written).unwrap(), unsigned.encode());
        // One that is there is left as it is, to the byte.
        let spelled = [&unsigned.encode()[..], b"\n"].concat();
        fs::write(&written, &spelled).unwrap();
        beside().create().unwrap();
        assert_eq!(fs::read(&written).unwrap(), spelled);
    }

    #[test]
    fn a_channel_is_not_signed() {
        let (_dir, path) = directory();
        let manifest = sealed_manifest(42, &[]);
        let channel = sealboot_core::trust::Channel::new([manifest], []);
        fs::write(&path, channel.encode()).unwrap();
        let error = EnvelopeFile::open(Kind::Image, &path).unwrap_err();
        assert!(matches!(error, StoreError::IsChannel { .. }), "{error:?}");
    }

    #[test]
    fn an_envelope_holds_no_more_signatures_than_are_read() {
        let (_dir, path) = directory();
        let names: Vec<String> = (0..32).map(|at| format!("signer-{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        write(&path, &sealed_manifest(42, &names[1..]));
        let file = EnvelopeFile::open(Kind::Image, &path).unwrap();
        file.check_room_for_one().unwrap();
        assert_eq!(file.add(&signed(&file, names[0])).unwrap(), 32);
        let file = EnvelopeFile::open(Kind::Image, &path).unwrap();
        let error = file.check_room_for_one().unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        let error = file.add(&signed(&file, "one-more")).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    }

    #[test]
    fn two_who_sign_at_once_both_have_signed() {
        let (_dir, path) = directory();
        write(&path, &sealed_manifest(42, &[]));
        let open = || EnvelopeFile::open(Kind::Image, &path).unwrap();
        let (one, other) = (open(), open());
        assert_eq!(one.add(&signed(&one, "alice")).unwrap(), 1);
        assert_eq!(other.add(&signed(&other, "bob")).unwrap(), 2);
        for by in ["alice", "bob"] {
            assert!(open().is_signed_by(&Key::of(by).public()), "{by}");
        }
        assert!(!open().is_signed_by(&Key::of("eve").public()));
    }
}
