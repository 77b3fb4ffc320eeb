//! Joining signatures that were made elsewhere.

use std::fmt;
use std::path::{Path, PathBuf};

use sealboot_core::format::limits::LIMITS;
use sealboot_core::trust::detached::DetachedSignatures;
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::policy::SignerName;
use sealboot_core::trust::{Envelope, Role, Verifications};

use crate::envelope_file::{Adding, EnvelopeFile};
use crate::kind::Kind;
use crate::tally::claimed_key_id;
use crate::{StoreError, files};

/// Signatures out of files, found to be over what an envelope holds, and not written yet.
#[derive(Debug)]
pub struct Merge<'a> {
    file: &'a EnvelopeFile,
    joined: Envelope,
    added: Vec<EnvelopeSignature>,
    report: Vec<Joined>,
}

/// What became of one signature; `Display` is the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The file that it came in.
    pub from: PathBuf,
    /// Who made it.
    pub by: By,
    /// Whether the envelope held it already.
    pub was_there: bool,
}

/// Who made a signature, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// A signer of one of the roles.
    Signer(SignerName),
    /// Not checked: the key id beside it, fit to be printed.
    Claimed(String),
}

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.from.display())?;
        match &self.by {
            By::Signer(signer) => write!(f, "{signer}'s signature")?,
            By::Claimed(key_id) => write!(f, "the signature under key id {key_id}")?,
        }
        f.write_str(if self.was_there {
            " is there already"
        } else {
            " was added"
        })
    }
}

/// What became of an envelope.
#[derive(Debug)]
pub struct Merged {
    /// Each signature of the files, in their order.
    pub joined: Vec<Joined>,
    /// How many signatures the envelope holds now.
    pub signatures: usize,
}

impl<'a> Merge<'a> {
    /// Reads the signatures of `files`. One that no key of these roles made is refused, where there
    /// is a role.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSignature`] or [`StoreError::NotSignatures`] for a file without, [`StoreError::OverOther`],
    /// [`StoreError::ByNoSigner`], [`StoreError::Full`], and as for [`files::read`].
    pub fn read(
        file: &'a EnvelopeFile,
        files: &[PathBuf],
        roles: &[Role<'_>],
    ) -> Result<Self, StoreError> {
        let envelope = file.envelope();
        let mut merge = Self {
            file,
            joined: envelope.clone(),
            added: Vec::new(),
            report: Vec::new(),
        };
        for from in files {
            let detached = read(file.kind(), from)?;
            detached
                .check_over(envelope)
                .map_err(|statement| StoreError::OverOther {
                    from: from.clone(),
                    path: file.shown().to_owned(),
                    statement: Box::new(statement),
                })?;
            for signature in detached.signatures() {
                let alone = envelope.with_only(signature.clone());
                let mut by = roles.iter().flat_map(|role| {
                    let mut left = Verifications::default();
                    role.count(&alone, &mut left).signers
                });
                let by = match by.next() {
                    Some(signer) => By::Signer(signer),
                    None if roles.is_empty() => By::Claimed(claimed_key_id(signature)),
                    None => {
                        return Err(StoreError::ByNoSigner {
                            from: from.clone(),
                            key_id: claimed_key_id(signature),
                        });
                    }
                };
                merge.join(from, by, signature);
            }
        }
        file.check_room(&merge.joined, 0)?;
        Ok(merge)
    }

    fn join(&mut self, from: &Path, by: By, signature: &EnvelopeSignature) {
        let was_there = self.joined.signatures().contains(signature);
        if !was_there {
            self.joined.join(signature.clone());
            self.added.push(signature.clone());
        }
        self.report.push(Joined {
            from: from.to_owned(),
            by,
            was_there,
        });
    }

    /// Writes them into the envelope's file, if there is a new one.
    ///
    /// # Errors
    ///
    /// As for [`EnvelopeFile::check_writable`] and [`EnvelopeFile::add`].
    pub fn write(self) -> Result<Merged, StoreError> {
        let signatures = if self.added.is_empty() {
            self.file.envelope().signatures().len()
        } else {
            self.file.check_writable(Adding::Others)?;
            self.file.add(self.added)?
        };
        Ok(Merged {
            joined: self.report,
            signatures,
        })
    }
}

/// Reads signatures, out of a file of their own or out of a signed copy of the envelope.
fn read(kind: Kind, path: &Path) -> Result<DetachedSignatures, StoreError> {
    let bytes = files::read(path, LIMITS.envelope_bytes)?;
    let source = match DetachedSignatures::parse(&bytes) {
        Ok(detached) => return Ok(detached),
        Err(error) => error,
    };
    let path = path.to_owned();
    match Envelope::parse(&bytes) {
        Ok(envelope) if envelope.signatures().is_empty() => {
            Err(StoreError::NoSignature { path, kind })
        }
        Ok(envelope) => Ok(DetachedSignatures::of(&envelope)),
        Err(_) => Err(StoreError::NotSignatures { path, kind, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sealboot_core::trust::TrustPolicy;

    use super::*;
    use crate::testing::{policy, sealed_manifest, write};

    struct Desk(tempfile::TempDir);

    impl Desk {
        /// Merges the signatures in an envelope over this version into an unsigned one of version 42.
        fn merge(
            &self,
            version: u64,
            by: &[&str],
            policy: Option<&TrustPolicy>,
        ) -> Result<Vec<String>, StoreError> {
            let path = self.0.path().join("42.json");
            let file = EnvelopeFile::open(Kind::Image, &path).unwrap();
            let from = self.0.path().join("from.json");
            write(&from, &sealed_manifest(version, by));
            let roles: Vec<_> = policy.map(TrustPolicy::root_role).into_iter().collect();
            let merged = Merge::read(&file, &[from], &roles)?.write()?;
            let held = Kind::Image.read(&path).unwrap().signatures().len();
            assert_eq!(held, merged.signatures);
            let report = merged.joined.iter().map(|joined| {
                let joined = joined.to_string();
                let (_, said) = joined.split_once(": ").unwrap();
                said.to_owned()
            });
            Ok(report.collect())
        }
    }

    fn desk() -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        write(&desk.0.path().join("42.json"), &sealed_manifest(42, &[]));
        desk
    }

    #[test]
    fn what_is_no_signature_over_the_statement_is_refused() {
        let desk = desk();
        let path = desk.0.path().join("42.json");
        let before = fs::read(&path).unwrap();
        let error = desk.merge(42, &[], None).unwrap_err();
        assert!(matches!(error, StoreError::NoSignature { .. }), "{error:?}");
        let error = desk.merge(43, &["alice"], None).unwrap_err();
        assert!(matches!(&error, StoreError::OverOther { .. }) && error.is_refusal());
        let alices = policy(&["alice"]);
        let error = desk
            .merge(42, &["alice", "eve"], Some(&alices))
            .unwrap_err();
        assert!(matches!(&error, StoreError::ByNoSigner { .. }) && error.is_refusal());
        let file = EnvelopeFile::open(Kind::Image, &path).unwrap();
        let from = desk.0.path().join("from.json");
        fs::write(&from, "{}").unwrap();
        let error = Merge::read(&file, &[from], &[]).unwrap_err();
        assert!(
            matches!(error, StoreError::NotSignatures { .. }),
            "{error:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_signature_is_joined_once() {
        let desk = desk();
        let alices = policy(&["alice"]);
        for fate in [
            "alice's signature was added",
            "alice's signature is there already",
        ] {
            assert_eq!(desk.merge(42, &["alice"], Some(&alices)).unwrap(), [fate]);
        }
        let unchecked = desk.merge(42, &["bob"], None).unwrap();
        assert!(
            unchecked[0].starts_with("the signature under key id "),
            "{unchecked:?}"
        );
    }
}
