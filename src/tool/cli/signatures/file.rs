//! The file of an envelope, which others may be writing to while somebody reads what to sign.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::Kind;
use crate::cli::support::Failure;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::{Envelope, EnvelopeError};
use sealboot_store::StoreError;
use sealboot_store::files::{self, Existing};

/// An envelope, and the file that it stands in or will stand in.
#[derive(Debug)]
pub(in crate::cli) struct EnvelopeFile {
    kind: &'static Kind,
    /// The path, for messages.
    shown: PathBuf,
    /// What was typed: the path, or that of the file which the envelope goes with.
    typed: PathBuf,
    /// What a link points at is replaced, not the link.
    path: PathBuf,
    envelope: Envelope,
    /// Whether the file was there.
    existing: bool,
}

impl EnvelopeFile {
    /// Reads the envelope of a file that is there.
    pub(in crate::cli) fn open(kind: &'static Kind, shown: &Path) -> Result<Self, Failure> {
        let path = shown
            .canonicalize()
            .map_err(StoreError::unreadable(shown))?;
        let envelope = (kind.read)(shown)?;
        Ok(Self {
            kind,
            shown: shown.to_owned(),
            typed: shown.to_owned(),
            path,
            envelope,
            existing: true,
        })
    }

    /// The file, not there yet, of this envelope.
    fn absent(kind: &'static Kind, shown: &Path, envelope: Envelope) -> Self {
        Self {
            kind,
            shown: shown.to_owned(),
            typed: shown.to_owned(),
            path: shown.to_owned(),
            envelope,
            existing: false,
        }
    }

    /// The envelope beside a plain file, which is `unsigned` as long as nobody has signed it.
    pub(in crate::cli) fn beside(
        kind: &'static Kind,
        file: &Path,
        unsigned: Envelope,
    ) -> Result<Self, Failure> {
        let path = files::signed_path(file);
        if matches!(path.try_exists(), Ok(false)) {
            return Ok(Self::absent(kind, &path, unsigned).of(file));
        }
        let there = Self::open(kind, &path)?.of(file);
        if there.envelope.signed_bytes() == unsigned.signed_bytes() {
            return Ok(there);
        }
        let what = kind.what;
        Err(Failure::refusal(format!(
            "{} holds another {what} than {}",
            path.display(),
            file.display()
        ))
        .hint(format!(
            "nothing was changed; if the {what} was changed after it was signed, move {} away and sign anew",
            path.display()
        )))
    }

    /// The same, where the command line named another file, which the envelope goes with.
    fn of(self, typed: &Path) -> Self {
        Self {
            typed: typed.to_owned(),
            ..self
        }
    }

    /// The envelope as it was read.
    pub(in crate::cli) const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The path, for messages.
    pub(in crate::cli) fn shown(&self) -> &Path {
        &self.shown
    }

    /// What was typed.
    pub(super) fn typed(&self) -> &Path {
        &self.typed
    }

    /// The commands that work on this file.
    pub(super) const fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// Adds `signatures` over what was read, in one step, and says how many the file holds then.
    ///
    /// Reads the file anew under a lock: between the moment at which somebody began to read what to sign
    /// and this one, others may have signed. Where it holds another statement by now, nothing is written.
    pub(super) fn add(&self, signatures: Vec<EnvelopeSignature>) -> Result<usize, Failure> {
        let _lock = files::lock(files::directory(&self.path));
        let mut envelope = if self.existing || self.path.exists() {
            (self.kind.read)(&self.shown)?
        } else {
            self.envelope.clone()
        };
        if envelope.signed_bytes() != self.envelope.signed_bytes() {
            return Err(Failure::new(format!(
                "{} was replaced by another statement meanwhile",
                self.shown.display()
            ))
            .hint(format!(
                "nothing was changed; look at it again with `{}`",
                self.kind.show
            )));
        }
        for signature in signatures {
            envelope.join(signature);
        }
        self.check_room(&envelope, 0)?;
        files::write(&self.path, &envelope.encode(), 0o644, Existing::Replace)?;
        Ok(envelope.signatures().len())
    }

    /// Refuses to replace a file that somebody has protected from being written: a rename would not ask.
    pub(super) fn check_writable(&self, hint: &str) -> Result<(), Failure> {
        if !self.existing {
            return Ok(());
        }
        access(&self.path, AccessFlags::W_OK).map_err(|error| {
            Failure::new(format!("{} is write-protected", self.shown.display()))
                .because(&error)
                .hint(hint)
        })
    }

    /// Refuses to make an envelope that nobody could read.
    pub(super) fn check_room(&self, envelope: &Envelope, more: usize) -> Result<(), Failure> {
        let limit = self.kind.limit;
        let full = |cause: EnvelopeError| {
            let failure = Failure::new("with one more signature, nobody could read the envelope");
            let hint = match cause {
                EnvelopeError::TooLarge { .. } => format!(
                    "in base64 and with its signatures, a signed {} must have room in {limit} bytes: make it smaller",
                    self.kind.what
                ),
                _ => format!(
                    "an envelope holds at most {} signatures; {} and let only its signers sign",
                    LIMITS.signatures, self.kind.make
                ),
            };
            failure.because(&cause).hint(hint)
        };
        let mut probe = envelope.clone();
        for at in 0..more {
            probe.join(EnvelopeSignature {
                key_id: format!("{at:016x}"),
                bytes: vec![0; 64],
            });
        }
        let bytes = probe.encode();
        if u64::try_from(bytes.len()).is_ok_and(|len| len > limit) {
            let found = bytes.len();
            return Err(full(EnvelopeError::TooLarge { found, limit }));
        }
        Envelope::parse(&bytes).map(drop).map_err(full)
    }
}
