//! Statements that satisfied a trust policy, and the one function that makes them.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::envelope::{Envelope, EnvelopeError};
use super::policy::{SignerName, TrustPolicy};
use crate::failure::{Diagnose, FailureCode};
use crate::format::digest::Sha256Digest;
use crate::format::manifest::{Arch, ImageName, ImageVersion, Manifest, ManifestError};

/// A statement that satisfied a trust policy.
///
/// The fields are private and [`TrustPolicy::verify_manifest`] is the only constructor: to hold one
/// is to have passed every check.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    statement: T,
    signers: Vec<SignerName>,
    payload_sha256: Sha256Digest,
}

impl<T> Verified<T> {
    /// Who signed, by the policy's names, in the policy's order.
    #[must_use]
    pub fn signers(&self) -> &[SignerName] {
        &self.signers
    }

    /// SHA-256 of the signed payload's bytes: what identifies this statement, for measuring.
    #[must_use]
    pub const fn payload_sha256(&self) -> &Sha256Digest {
        &self.payload_sha256
    }
}

impl<T> AsRef<T> for Verified<T> {
    fn as_ref(&self) -> &T {
        &self.statement
    }
}

/// What an envelope is checked for besides its signatures.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The image that was asked for; `None` takes every name that the policy accepts.
    pub name: Option<&'a ImageName>,
    /// The architecture that must be able to run it; `None` takes every one.
    pub arch: Option<Arch>,
    /// What time it is.
    pub now: Timestamp,
}

/// Who signed, and which signatures count for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// The distinct keys of the policy that validly signed, by name, in the policy's order.
    pub signers: Vec<SignerName>,
    /// Signatures that count for nothing: the key id they claim, and why.
    pub ignored: Vec<(String, Ignored)>,
}

/// Why a signature counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// No key of the policy made it.
    NotByATrustedKey,
    /// The same key has made an earlier one.
    SameKeyAgain,
}

/// An envelope is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no envelope.
    #[error("the manifest is no signed envelope")]
    Envelope(#[source] EnvelopeError),
    /// The envelope holds another kind of statement.
    #[error(
        "the envelope holds a statement of type \"{found}\"\n  expected \"{}\"",
        Manifest::PAYLOAD_TYPE
    )]
    PayloadType {
        /// The type that it names, escaped.
        found: String,
    },
    /// Too few distinct trusted keys have signed.
    #[error("{} of {threshold} required signatures are there{}", tally.signers.len(), describe(tally))]
    Threshold {
        /// How many the policy asks for.
        threshold: usize,
        /// Who has signed, and what did not count.
        tally: Tally,
        /// The policy's signers who have not.
        missing: Vec<SignerName>,
    },
    /// The signed payload is no manifest.
    #[error("the signed manifest cannot be used")]
    Manifest(#[source] ManifestError),
    /// It is about another image than the one asked for.
    #[error("the manifest is of image \"{found}\", not of \"{expected}\"")]
    OtherImage {
        /// The image that it is about.
        found: ImageName,
        /// The image that was asked for.
        expected: ImageName,
    },
    /// The policy does not accept its name.
    #[error("the trust policy does not accept image \"{name}\"")]
    NameNotAccepted {
        /// The image's name.
        name: ImageName,
    },
    /// It is for another architecture.
    #[error("the image is for {found}, this machine is {expected}")]
    Arch {
        /// The image's architecture.
        found: Arch,
        /// This machine's.
        expected: Arch,
    },
    /// It was created later than now.
    #[error("the manifest was created at {created}, but now is {now}")]
    Future {
        /// When it says it was created.
        created: Timestamp,
        /// What time was taken as now.
        now: Timestamp,
    },
    /// Its expiry has passed.
    #[error("the manifest expired at {expires}, now is {now}")]
    Expired {
        /// When it expired.
        expires: Timestamp,
        /// What time was taken as now.
        now: Timestamp,
    },
    /// It has no expiry, but the policy requires one.
    #[error("the manifest has no expiry, but the trust policy requires one")]
    NoExpiry,
    /// It grants itself a longer life than the policy allows.
    #[error("the manifest grants itself {granted_days} days, the trust policy allows {max_days}")]
    LifeTooLong {
        /// From `created` to `expires`, in days, rounded up.
        granted_days: i64,
        /// The policy's longest.
        max_days: u32,
    },
    /// It is older than the policy's floor.
    #[error(
        "version {found} of image \"{name}\" is older than min_version {min_version} of the trust policy"
    )]
    Rollback {
        /// The image's name.
        name: ImageName,
        /// Its version.
        found: ImageVersion,
        /// The oldest that is accepted.
        min_version: ImageVersion,
    },
}

impl Diagnose for Refusal {
    fn code(&self) -> FailureCode {
        match self {
            Self::Envelope(_) => FailureCode::ManifestEnvelope,
            Self::PayloadType { .. } => FailureCode::ManifestPayloadType,
            Self::Threshold { .. } => FailureCode::ManifestThreshold,
            Self::Manifest(_) => FailureCode::ManifestInvalid,
            Self::OtherImage { .. } | Self::NameNotAccepted { .. } => FailureCode::ManifestName,
            Self::Arch { .. } => FailureCode::ManifestArch,
            Self::Future { .. } => FailureCode::ManifestFuture,
            Self::Expired { .. } => FailureCode::ManifestExpired,
            Self::NoExpiry | Self::LifeTooLong { .. } => FailureCode::ManifestExpiry,
            Self::Rollback { .. } => FailureCode::ManifestRollback,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Threshold {
                missing,
                threshold,
                tally,
            } if !missing.is_empty() => {
                let names: Vec<&str> = missing.iter().map(SignerName::as_str).collect();
                let needed = threshold - tally.signers.len();
                format!(
                    "{needed} more of {} must run `sealboot image sign`; then publish again",
                    names.join(", ")
                )
            }
            Self::Rollback { min_version, .. } => format!(
                "publish version {min_version} or newer; a mirror that serves older ones is stale or hostile"
            ),
            _ => self.code().remedy().to_owned(),
        }
    }
}

fn describe(tally: &Tally) -> String {
    let mut text = String::new();
    for signer in &tally.signers {
        text.push_str(&format!("\n  signed by {signer}"));
    }
    for (key_id, why) in &tally.ignored {
        text.push_str(&format!(
            "\n  ignored the signature under key id \"{}\": {why}",
            key_id.escape_default()
        ));
    }
    text
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotByATrustedKey => "no key of the trust policy made it",
            Self::SameKeyAgain => "its key has signed already, and counts once",
        })
    }
}

impl TrustPolicy {
    /// Checks the bytes of an envelope and, if everything holds, gives the manifest in it.
    ///
    /// In order: the envelope's shape and the type it names, the signatures against the threshold,
    /// then, for the first time reading the payload, its shape, name, architecture, dates and version.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn verify_manifest(
        &self,
        envelope: &[u8],
        expected: &Expected<'_>,
    ) -> Result<Verified<Manifest>, Refusal> {
        let envelope = Envelope::parse(envelope).map_err(Refusal::Envelope)?;
        if envelope.payload_type() != Manifest::PAYLOAD_TYPE {
            let found = envelope
                .payload_type()
                .chars()
                .take(80)
                .flat_map(char::escape_default)
                .collect();
            return Err(Refusal::PayloadType { found });
        }
        let tally = self.tally(&envelope);
        if tally.signers.len() < self.threshold() {
            let missing = self
                .keys()
                .iter()
                .filter(|key| !tally.signers.contains(&key.name));
            let missing = missing.map(|key| key.name.clone()).collect();
            return Err(Refusal::Threshold {
                threshold: self.threshold(),
                tally,
                missing,
            });
        }
        let manifest = Manifest::parse(envelope.payload()).map_err(Refusal::Manifest)?;
        self.check_identity(&manifest, expected)?;
        self.check_freshness(&manifest, expected.now)?;
        Ok(Verified {
            statement: manifest,
            signers: tally.signers,
            payload_sha256: Sha256Digest::of(envelope.payload()),
        })
    }

    /// Counts who signed, by distinct public key.
    ///
    /// Every signature is tried with every key: the key id that stands beside it is the word of
    /// whoever wrote the file. [`LIMITS`](crate::format::limits::LIMITS) bounds both numbers.
    #[must_use]
    pub fn tally(&self, envelope: &Envelope) -> Tally {
        let signed_bytes = envelope.signed_bytes();
        let mut signed = vec![false; self.keys().len()];
        let mut ignored = Vec::new();
        for (index, signature) in envelope.signatures().iter().enumerate() {
            let by = self
                .keys()
                .iter()
                .position(|signer| envelope.is_signed_by(&signed_bytes, index, &signer.key));
            match by {
                Some(by) if !signed[by] => signed[by] = true,
                Some(_) => ignored.push((signature.key_id.clone(), Ignored::SameKeyAgain)),
                None => ignored.push((signature.key_id.clone(), Ignored::NotByATrustedKey)),
            }
        }
        let signers = self.keys().iter().zip(signed).filter(|(_, signed)| *signed);
        Tally {
            signers: signers.map(|(key, _)| key.name.clone()).collect(),
            ignored,
        }
    }

    fn check_identity(&self, manifest: &Manifest, expected: &Expected<'_>) -> Result<(), Refusal> {
        if let Some(expected) = expected.name.filter(|name| **name != manifest.name) {
            return Err(Refusal::OtherImage {
                found: manifest.name.clone(),
                expected: expected.clone(),
            });
        }
        let accepted = self
            .images()
            .iter()
            .find(|image| image.name == manifest.name)
            .ok_or_else(|| Refusal::NameNotAccepted {
                name: manifest.name.clone(),
            })?;
        if let Some(expected) = expected.arch.filter(|arch| *arch != manifest.arch) {
            return Err(Refusal::Arch {
                found: manifest.arch,
                expected,
            });
        }
        if manifest.version < accepted.min_version {
            return Err(Refusal::Rollback {
                name: manifest.name.clone(),
                found: manifest.version,
                min_version: accepted.min_version,
            });
        }
        Ok(())
    }

    fn check_freshness(&self, manifest: &Manifest, now: Timestamp) -> Result<(), Refusal> {
        let tolerance =
            SignedDuration::try_from(self.clock_tolerance()).unwrap_or(SignedDuration::ZERO);
        if manifest.created.duration_since(now) > tolerance {
            return Err(Refusal::Future {
                created: manifest.created,
                now,
            });
        }
        let Some(expires) = manifest.expires else {
            return if self.expiry().required {
                Err(Refusal::NoExpiry)
            } else {
                Ok(())
            };
        };
        if now.duration_since(expires) >= tolerance {
            return Err(Refusal::Expired { expires, now });
        }
        let granted = expires.duration_since(manifest.created);
        match self.expiry().max_days {
            Some(max_days) if granted > SignedDuration::from_hours(24 * i64::from(max_days)) => {
                // Rounded up by a last nanosecond less: a life of a second too much is a day too much.
                let short = granted.saturating_sub(SignedDuration::from_nanos(1));
                let granted_days = short.as_secs() / 86_400 + 1;
                Err(Refusal::LifeTooLong {
                    granted_days,
                    max_days,
                })
            }
            _ => Ok(()),
        }
    }
}
