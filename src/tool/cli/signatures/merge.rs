//! Joining signatures that were made elsewhere.

use std::path::{Path, PathBuf};

use super::{EnvelopeFile, Kind, claimed_key_id, signatures};
use crate::cli::support::{Failure, output};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::trust::detached::DetachedSignatures;
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::{Envelope, Role};
use sealboot_store::files;

/// Signatures out of files, found to be over what an envelope holds, and not written yet.
#[derive(Debug)]
pub(in crate::cli) struct Merge {
    joined: Envelope,
    added: Vec<EnvelopeSignature>,
    report: Vec<String>,
}

impl Merge {
    /// Reads the signatures of `files`. One that no key of these roles made is refused, where there
    /// is a role.
    pub(in crate::cli) fn read(
        file: &EnvelopeFile,
        files: &[PathBuf],
        roles: &[Role<'_>],
    ) -> Result<Self, Failure> {
        let envelope = file.envelope();
        let mut merge = Self {
            joined: envelope.clone(),
            added: Vec::new(),
            report: Vec::new(),
        };
        for from in files {
            let detached = read(file.kind(), from)?;
            detached.check_over(envelope).map_err(|error| {
                Failure::refusal(format!("{}: {error}", from.display())).hint(format!(
                    "nothing was changed; was {} signed in another version, or changed since?",
                    file.shown().display()
                ))
            })?;
            for signature in detached.signatures() {
                let alone = envelope.with_only(signature.clone());
                let mut by = roles.iter().flat_map(|role| role.tally(&alone).signers);
                let whose = match by.next() {
                    Some(signer) => format!("{signer}'s signature"),
                    None if roles.is_empty() => {
                        format!("the signature under key id {}", claimed_key_id(signature))
                    }
                    None => return Err(by_nobody(from, signature)),
                };
                merge.join(from, &whose, signature);
            }
        }
        file.check_room(&merge.joined, 0)?;
        Ok(merge)
    }

    fn join(&mut self, from: &Path, whose: &str, signature: &EnvelopeSignature) {
        let fate = if self.joined.signatures().contains(signature) {
            "is there already"
        } else {
            self.joined.join(signature.clone());
            self.added.push(signature.clone());
            "was added"
        };
        self.report
            .push(format!("{}: {whose} {fate}", from.display()));
    }

    /// Writes them into the file, and says on stderr what became of each.
    pub(in crate::cli) fn write(self, file: &EnvelopeFile) -> Result<(), Failure> {
        let count = if self.added.is_empty() {
            file.envelope().signatures().len()
        } else {
            file.check_writable(
                "signatures are added in place: make the file writable, or merge into a copy",
            )?;
            file.add(self.added)?
        };
        self.report.iter().for_each(output::talk);
        output::talk(format!(
            "{} now holds {}",
            file.shown().display(),
            signatures(count)
        ));
        Ok(())
    }
}

/// Reads signatures, out of a file of their own or out of a signed copy of the envelope.
fn read(kind: &Kind, path: &Path) -> Result<DetachedSignatures, Failure> {
    let sign = format!("sealboot {} sign", kind.command);
    let bytes = files::read(path, LIMITS.envelope_bytes)?;
    let error = match DetachedSignatures::parse(&bytes) {
        Ok(detached) => return Ok(detached),
        Err(error) => error,
    };
    match Envelope::parse(&bytes) {
        Ok(envelope) if envelope.signatures().is_empty() => Err(Failure::new(format!(
            "{} holds no signature",
            path.display()
        ))
        .hint(format!("sign it first, with `{sign}`"))),
        Ok(envelope) => Ok(DetachedSignatures::of(&envelope)),
        Err(_) => Err(
            Failure::new(format!("{} holds no signatures", path.display()))
                .because(&error)
                .hint(format!(
                    "give a file that `{sign} --detached` wrote, or a signed copy of the envelope"
                )),
        ),
    }
}

fn by_nobody(from: &Path, signature: &EnvelopeSignature) -> Failure {
    Failure::refusal(format!(
        "{}: no signer of the trust policy made the signature under key id {}",
        from.display(),
        claimed_key_id(signature)
    ))
    .hint("nothing was changed; ask who sent that file what they signed, and with which key")
}
