//! Joining copies of an envelope, which were signed elsewhere.

use std::fmt;
use std::path::{Path, PathBuf};

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::shown;
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::policy::SignerName;
use sealboot_core::trust::{Envelope, Role, Verifications};

use crate::StoreError;
use crate::envelope_file::EnvelopeFile;
use crate::tally::claimed_key_id;

/// Copies of an envelope, found to hold the same statement, and not joined in its file yet.
#[derive(Debug)]
pub struct Merge<'a> {
    file: &'a EnvelopeFile,
    copies: Vec<Envelope>,
    joined: Envelope,
    report: Vec<Joined>,
}

/// What became of one signature of a copy; `Display` is the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The file of the copy.
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
    /// Not known: the key id beside it, fit to be printed.
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
    /// Each signature of the copies, in their order.
    pub joined: Vec<Joined>,
    /// How many signatures the envelope holds now.
    pub signatures: usize,
}

/// A file is not a copy of the envelope: it holds another statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtherStatement {
    /// Another kind of statement.
    #[error("it holds a statement of type \"{copy}\"\n  the envelope holds one of type \"{held}\"")]
    Type {
        /// What the file holds, escaped.
        copy: String,
        /// What the envelope holds, escaped.
        held: String,
    },
    /// Another statement of that kind.
    #[error(
        "it holds another statement than the envelope\n  copy      sha256 {copy}\n  envelope  sha256 {held}"
    )]
    Payload {
        /// What the file holds.
        copy: Sha256Digest,
        /// What the envelope holds.
        held: Sha256Digest,
    },
}

impl OtherStatement {
    /// Checks that `copy` holds the statement of `envelope`.
    fn check(copy: &Envelope, envelope: &Envelope) -> Result<(), Self> {
        let shown = |envelope: &Envelope| shown(envelope.payload_type(), 80);
        let digest = |envelope: &Envelope| Sha256Digest::of(envelope.unverified_payload());
        if copy.payload_type() != envelope.payload_type() {
            return Err(Self::Type {
                copy: shown(copy),
                held: shown(envelope),
            });
        }
        if copy.unverified_payload() == envelope.unverified_payload() {
            return Ok(());
        }
        Err(Self::Payload {
            copy: digest(copy),
            held: digest(envelope),
        })
    }
}

impl<'a> Merge<'a> {
    /// Reads `files`, copies of the envelope. A signature that the envelope lacks must be by a key of these roles, where
    /// there is a role.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSignature`] for a file without, [`StoreError::OverOther`], [`StoreError::ByNoSigner`],
    /// [`StoreError::Full`], and as for [`Kind::read`](crate::Kind::read).
    pub fn read(
        file: &'a EnvelopeFile,
        files: &[PathBuf],
        roles: &[Role<'_>],
    ) -> Result<Self, StoreError> {
        let mut merge = Self {
            file,
            copies: Vec::new(),
            joined: file.envelope().clone(),
            report: Vec::new(),
        };
        for from in files {
            let copy = file.kind().read(from)?;
            if copy.signatures().is_empty() {
                return Err(StoreError::NoSignature {
                    path: from.clone(),
                    kind: file.kind(),
                });
            }
            OtherStatement::check(&copy, file.envelope()).map_err(|statement| {
                StoreError::OverOther {
                    from: from.clone(),
                    path: file.shown().to_owned(),
                    statement: Box::new(statement),
                }
            })?;
            for signature in copy.signatures() {
                let joined = merge.judge(from, signature, roles)?;
                merge.report.push(joined);
            }
            merge.joined.join_copy(&copy);
            merge.copies.push(copy);
        }
        file.check_room(&merge.joined, 0)?;
        Ok(merge)
    }

    fn judge(
        &self,
        from: &Path,
        signature: &EnvelopeSignature,
        roles: &[Role<'_>],
    ) -> Result<Joined, StoreError> {
        let was_there = self.joined.holds(signature);
        let alone = self.joined.with_only(signature.clone());
        let mut signers = roles.iter().flat_map(|role| {
            let mut left = Verifications::default();
            role.count(&alone, &mut left).signers
        });
        let by = match signers.next() {
            Some(signer) => By::Signer(signer),
            None if was_there || roles.is_empty() => By::Claimed(claimed_key_id(signature)),
            None => {
                return Err(StoreError::ByNoSigner {
                    from: from.to_owned(),
                    key_id: claimed_key_id(signature),
                });
            }
        };
        Ok(Joined {
            from: from.to_owned(),
            by,
            was_there,
        })
    }

    /// Joins the copies in the envelope's file, if they hold anything that it lacks.
    ///
    /// # Errors
    ///
    /// As for [`EnvelopeFile::check_writable`] and [`EnvelopeFile::add`].
    pub fn write(self) -> Result<Merged, StoreError> {
        let signatures = if self.joined == *self.file.envelope() {
            self.joined.signatures().len()
        } else {
            self.file.check_writable()?;
            self.file.add(&self.copies)?
        };
        Ok(Merged {
            joined: self.report,
            signatures,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sealboot_core::trust::TrustPolicy;

    use super::*;
    use crate::kind::Kind;
    use crate::testing::{policy, sealed, sealed_manifest, write};

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
        let digest = |version| {
            let payload = sealed_manifest(version, &[]);
            Sha256Digest::of(payload.unverified_payload()).to_string()
        };
        for version in [42, 43] {
            assert!(error.to_string().contains(&digest(version)), "{error}");
        }
        let alices = policy(&["alice"]);
        let error = desk
            .merge(42, &["alice", "eve"], Some(&alices))
            .unwrap_err();
        assert!(matches!(&error, StoreError::ByNoSigner { .. }) && error.is_refusal());
        let file = EnvelopeFile::open(Kind::Image, &path).unwrap();
        let from = desk.0.path().join("from.json");
        fs::write(&from, "{}").unwrap();
        let error = Merge::read(&file, &[from], &[]).unwrap_err();
        assert!(matches!(error, StoreError::NotEnvelope { .. }), "{error:?}");
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

    #[test]
    fn another_payload_type_is_another_statement() {
        let copy = |payload_type: String| sealed(&payload_type, b"payload".to_vec(), &[]);
        let error = OtherStatement::check(
            &copy(format!("\x1b{}", "x".repeat(100))),
            &copy("type".to_owned()),
        );
        assert_eq!(
            error,
            Err(OtherStatement::Type {
                copy: shown(&format!("\x1b{}", "x".repeat(100)), 80),
                held: "type".to_owned(),
            })
        );
    }

    #[test]
    fn a_copy_may_hold_a_strangers_signature_that_is_there() {
        let desk = desk();
        let alices = policy(&["alice"]);
        desk.merge(42, &["eve"], None).unwrap();
        let report = desk.merge(42, &["eve", "alice"], Some(&alices)).unwrap();
        assert!(report[0].ends_with(" is there already"), "{report:?}");
        assert_eq!(report[1], "alice's signature was added");
    }

    #[test]
    fn unknown_fields_of_both_copies_are_kept() {
        let desk = desk();
        let path = desk.0.path().join("42.json");
        let from = desk.0.path().join("from.json");
        let put = |path: &Path, field: &str, by: &[&str]| {
            let json = String::from_utf8(sealed_manifest(42, by).encode()).unwrap();
            fs::write(path, json.replace('{', &format!("{{\"{field}\": 1,"))).unwrap();
        };
        put(&path, "own", &["alice"]);
        put(&from, "other", &["alice"]);
        let file = EnvelopeFile::open(Kind::Image, &path).unwrap();
        let merged = Merge::read(&file, &[from], &[]).unwrap().write().unwrap();
        assert_eq!(merged.signatures, 1);
        let written = fs::read_to_string(&path).unwrap();
        for field in ["own", "other"] {
            assert_eq!(
                written.matches(&format!("\"{field}\": 1")).count(),
                2,
                "{written}"
            );
        }
    }
}
