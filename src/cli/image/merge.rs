//! `sealboot image merge`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::tally::Counted;
use super::{claimed_key_id, join, place, read_envelope, unverified_manifest};
use crate::cli::{Failure, files, output, policy, rotation};
use crate::format::limits::LIMITS;
use crate::trust::detached::DetachedSignatures;
use crate::trust::envelope::EnvelopeSignature;
use crate::trust::{Envelope, TrustPolicy};

/// Join signatures that were made elsewhere to an envelope, in place.
///
/// Takes what `sealboot image sign --detached` wrote, and copies of the envelope that were signed in
/// place. A signature over anything else is refused, and then nothing is changed; one that is there
/// already is left as it is.
///
/// Without --policy nothing is verified: the envelope then holds what the files held. With it, each
/// signature must be by one of the policy's signers, and it is said how many are missing.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Refuse signatures that no signer of this trust policy made
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The envelope that `sealboot image pack` made
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,

    /// Detached signatures, or signed copies of the envelope
    #[arg(value_name = "SIGNATURE", required = true)]
    signatures: Vec<PathBuf>,
}

pub(super) fn run(args: &MergeArgs) -> Result<(), Failure> {
    let store = place(&args.envelope).map(|place| place.root);
    let policy = match &args.policy {
        Some(path) => Some(rotation::newest(policy::load(path)?, store.as_deref())?),
        None => None,
    };
    let path = args
        .envelope
        .canonicalize()
        .map_err(|error| files::unreadable(&args.envelope, &error))?;
    let envelope = read_envelope(&args.envelope)?;
    unverified_manifest(&args.envelope, &envelope)?;

    let mut joined = envelope.clone();
    let mut added = Vec::new();
    let mut report = Vec::new();
    for file in &args.signatures {
        let detached = read(file)?;
        detached.check_over(&envelope).map_err(|error| {
            Failure::refusal(format!("{}: {error}", file.display())).hint(format!(
                "nothing was changed; was {} signed in another version, or changed since?",
                args.envelope.display()
            ))
        })?;
        for signature in detached.signatures() {
            let whose = match &policy {
                Some(policy) => maker(policy, &envelope, signature, file)?,
                None => format!("the signature under key id {}", claimed_key_id(signature)),
            };
            let fate = if joined.signatures().contains(signature) {
                "is there already"
            } else {
                joined.join(signature.clone());
                added.push(signature.clone());
                "was added"
            };
            report.push(format!("{}: {whose} {fate}", file.display()));
        }
    }
    join::check_room(&joined, 0)?;
    let count = if added.is_empty() {
        envelope.signatures().len()
    } else {
        join::check_writable(
            &args.envelope,
            &path,
            "signatures are added in place: make the file writable, or merge into a copy",
        )?;
        join::into_file(&args.envelope, &path, &envelope, added)?
    };

    report.iter().for_each(output::talk);
    let plural = if count == 1 { "" } else { "s" };
    output::talk(format!(
        "{} now holds {count} signature{plural}",
        args.envelope.display()
    ));
    match &policy {
        Some(policy) => {
            let counted = Counted::new(policy, &read_envelope(&args.envelope)?);
            output::talk(counted.describe().trim_end());
        }
        None => output::warn(
            "no signature was verified: give --policy, or run `sealboot image verify` on the envelope",
        ),
    }
    Ok(())
}

/// Reads signatures, out of a file of their own or out of a signed copy of the envelope.
fn read(path: &Path) -> Result<DetachedSignatures, Failure> {
    let bytes = files::read(path, LIMITS.envelope_bytes)?;
    let error = match DetachedSignatures::parse(&bytes) {
        Ok(detached) => return Ok(detached),
        Err(error) => error,
    };
    match Envelope::parse(&bytes) {
        Ok(envelope) if envelope.signatures().is_empty() => {
            Err(Failure::new(format!("{} holds no signature", path.display()))
                .hint("sign it first, with `sealboot image sign`"))
        }
        Ok(envelope) => Ok(DetachedSignatures::of(&envelope)),
        Err(_) => Err(
            Failure::new(format!("{} holds no signatures", path.display()))
                .because(&error)
                .hint("give a file that `sealboot image sign --detached` wrote, or a signed copy of the envelope"),
        ),
    }
}

/// Whose signature it is, by the policy's names.
fn maker(
    policy: &TrustPolicy,
    envelope: &Envelope,
    signature: &EnvelopeSignature,
    file: &Path,
) -> Result<String, Failure> {
    let tally = policy.tally(&envelope.with_only(signature.clone()));
    match tally.signers.as_slice() {
        [signer, ..] => Ok(format!("{signer}'s signature")),
        [] => Err(Failure::refusal(format!(
            "{}: no signer of the trust policy made the signature under key id {}",
            file.display(),
            claimed_key_id(signature)
        ))
        .hint("nothing was changed; ask who sent that file what they signed, and with which key")),
    }
}
