//! Adding signatures to an envelope's file, which others may be writing to.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::read_envelope;
use crate::cli::Failure;
use crate::cli::files::{self, Existing};
use crate::format::limits::LIMITS;
use crate::trust::Envelope;
use crate::trust::envelope::EnvelopeSignature;

/// Adds `signatures` over what `signed` holds to the envelope at `path`, in one step, and says how many it
/// holds then. `shown` is the path as it was typed.
///
/// Reads the file anew under a lock: between the moment at which somebody began to read what to sign and
/// this one, others may have signed. Where it holds another statement by now, nothing is written.
pub(super) fn into_file(
    shown: &Path,
    path: &Path,
    signed: &Envelope,
    signatures: Vec<EnvelopeSignature>,
) -> Result<usize, Failure> {
    let _lock = files::lock(files::directory(path));
    let mut envelope = read_envelope(shown)?;
    if envelope.signed_bytes() != signed.signed_bytes() {
        return Err(Failure::new(format!(
            "{} was replaced by another statement meanwhile",
            shown.display()
        ))
        .hint("nothing was changed; look at it again with `sealboot image inspect`"));
    }
    for signature in signatures {
        envelope.join(signature);
    }
    check_room(&envelope, 0)?;
    files::write(path, &envelope.encode(), 0o644, Existing::Replace)?;
    Ok(envelope.signatures().len())
}

/// Refuses to replace a file that somebody has protected from being written: a rename would not ask.
pub(super) fn check_writable(shown: &Path, path: &Path, hint: &str) -> Result<(), Failure> {
    access(path, AccessFlags::W_OK).map_err(|error| {
        Failure::new(format!("{} is write-protected", shown.display()))
            .because(&error)
            .hint(hint)
    })
}

/// Refuses to make an envelope that nobody could read.
pub(super) fn check_room(envelope: &Envelope, more: usize) -> Result<(), Failure> {
    let full = |cause: &(dyn std::error::Error + 'static)| {
        Failure::new("with one more signature, nobody could read the envelope")
            .because(cause)
            .hint(format!(
                "an envelope holds at most {} signatures; pack the image again and let only its signers sign",
                LIMITS.signatures
            ))
    };
    let mut probe = envelope.clone();
    for at in 0..more {
        probe.join(EnvelopeSignature {
            key_id: format!("{at:016x}"),
            bytes: vec![0; 64],
        });
    }
    Envelope::parse(&probe.encode())
        .map(drop)
        .map_err(|error| full(&error))
}
