//! Statements that satisfied a trust policy, and the functions that make them.

use jiff::SignedDuration;

use super::envelope::Envelope;
use super::judging_time::JudgingTime;
use super::policy::{SignerName, TrustPolicy};
use super::refusal::Refusal;
use super::role::Verifications;
use super::statement::Statement;
use crate::format::digest::Sha256Digest;
use crate::format::freshness::Freshness;
use crate::format::manifest::{Arch, ImageName, Manifest};

/// A statement that satisfied a trust policy.
///
/// The fields are private and the methods of [`TrustPolicy`] are the only constructors: to hold one is
/// to have passed every check.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    statement: T,
    signers: Vec<SignerName>,
    payload_sha256: Sha256Digest,
}

impl<T> Verified<T> {
    pub(super) fn new(statement: T, signers: Vec<SignerName>, payload: &[u8]) -> Self {
        Self {
            statement,
            signers,
            payload_sha256: Sha256Digest::of(payload),
        }
    }

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

    /// The statement alone.
    pub(super) fn into_statement(self) -> T {
        self.statement
    }
}

impl<T> AsRef<T> for Verified<T> {
    fn as_ref(&self) -> &T {
        &self.statement
    }
}

/// What a manifest is checked for besides its signatures.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// The image that was asked for. It selects the roles that sign for it.
    pub name: &'a ImageName,
    /// The architecture that must be able to run it; `None` takes every one.
    pub arch: Option<Arch>,
    /// What time it is.
    pub now: JudgingTime,
}

impl TrustPolicy {
    /// Checks the bytes of a manifest's envelope and, if everything holds, gives the manifest in it.
    ///
    /// In order: the envelope's shape and the type it names, the signatures against the threshold,
    /// then, for the first time reading the payload, its shape, name, architecture, version and digests, and its dates.
    /// Whether it is current is not asked; [`TrustPolicy::verify_channel`] asks that too.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn verify_manifest(
        &self,
        envelope: &[u8],
        expected: &Expected<'_>,
    ) -> Result<Verified<Manifest>, Refusal> {
        let envelope = parse(Statement::Manifest, envelope)?;
        let mut left = Verifications::default();
        self.judge_manifest(&envelope, &mut expected.clone(), &mut left)
    }

    /// Checks the bytes of a freshness statement's envelope and, if everything holds, gives the statement.
    ///
    /// # Errors
    ///
    /// The first check that fails; [`Refusal::NotFresh`] where the policy has no role for freshness.
    pub fn verify_freshness(
        &self,
        envelope: &[u8],
        name: &ImageName,
        now: JudgingTime,
    ) -> Result<Verified<Freshness>, Refusal> {
        let envelope = parse(Statement::Freshness, envelope)?;
        self.judge_freshness(&envelope, name, &now, &mut Verifications::default())
    }

    /// Returns a statement of the role for freshness, of any time: for a renewer, which must not go back behind it.
    /// `None` for what the role did not sign.
    #[must_use]
    pub fn stated(&self, name: &ImageName, freshness: &Envelope) -> Option<Freshness> {
        let mut left = Verifications::default();
        let (payload, _) = self
            .freshness_role(name)?
            .open(Statement::Freshness, freshness, &mut left)
            .ok()?;
        Freshness::parse(payload).ok()
    }

    pub(super) fn judge_manifest(
        &self,
        envelope: &Envelope,
        expected: &mut Expected<'_>,
        left: &mut Verifications,
    ) -> Result<Verified<Manifest>, Refusal> {
        let role = self.release_role(expected.name);
        let role = role.ok_or_else(|| Refusal::NameNotAccepted {
            name: expected.name.clone(),
        })?;
        let (payload, signers) = role.open(Statement::Manifest, envelope, left)?;
        let manifest = Manifest::parse(payload).map_err(Refusal::Manifest)?;
        self.check_identity(&manifest, expected)?;
        let verified = Verified::new(manifest, signers, payload);
        self.check_denied(&verified)?;
        // A denied manifest proves no time: its date may be why it is denied.
        expected.now.prove(verified.as_ref().created);
        self.check_dates(verified.as_ref(), &expected.now)?;
        Ok(verified)
    }

    pub(super) fn check_identity(
        &self,
        manifest: &Manifest,
        expected: &Expected<'_>,
    ) -> Result<(), Refusal> {
        if *expected.name != manifest.name {
            return Err(Refusal::OtherImage {
                found: manifest.name.clone(),
                expected: expected.name.clone(),
            });
        }
        let accepted = self.image(&manifest.name);
        let accepted = accepted.ok_or_else(|| Refusal::NameNotAccepted {
            name: manifest.name.clone(),
        })?;
        if let Some(expected) = (expected.arch.as_ref()).filter(|arch| **arch != manifest.arch) {
            return Err(Refusal::Arch {
                found: manifest.arch.clone(),
                expected: expected.clone(),
            });
        }
        if manifest.version < accepted.min_version {
            return Err(Refusal::Rollback {
                name: manifest.name.clone(),
                found: manifest.version,
                min_version: accepted.min_version,
            });
        }
        if accepted.denied_versions.contains(&manifest.version) {
            return Err(Refusal::DeniedVersion {
                name: manifest.name.clone(),
                version: manifest.version,
            });
        }
        Ok(())
    }

    pub(super) fn check_denied(&self, manifest: &Verified<Manifest>) -> Result<(), Refusal> {
        let statement = manifest.as_ref();
        let files = statement.files.iter().map(|file| ("file", &file.sha256));
        let whole = [
            ("manifest", manifest.payload_sha256()),
            ("archive", &statement.archive.chunks_sha256),
        ];
        for (what, digest) in whole.into_iter().chain(files) {
            if self.fields().denied_digests.contains(digest) {
                return Err(Refusal::DeniedDigest {
                    what,
                    digest: *digest,
                });
            }
        }
        Ok(())
    }

    fn check_dates(&self, manifest: &Manifest, now: &JudgingTime) -> Result<(), Refusal> {
        let tolerance = self.tolerance();
        if now.is_before(manifest.created, tolerance) {
            return Err(Refusal::Future {
                statement: Statement::Manifest,
                created: manifest.created,
                now: now.at(),
            });
        }
        let Some(expires) = manifest.expires else {
            return if self.fields().expiry.required {
                Err(Refusal::NoExpiry)
            } else {
                Ok(())
            };
        };
        if now.is_after(expires, tolerance) {
            let now = now.at();
            return Err(Refusal::Expired { expires, now });
        }
        let granted = expires.duration_since(manifest.created);
        match self.fields().expiry.max_days {
            Some(max_days) if granted > SignedDuration::from_hours(24 * i64::from(max_days)) => {
                Err(Refusal::LifeTooLong {
                    granted_days: rounded_up(granted, 24 * 3600),
                    max_days,
                })
            }
            _ => Ok(()),
        }
    }

    fn judge_freshness(
        &self,
        envelope: &Envelope,
        name: &ImageName,
        now: &JudgingTime,
        left: &mut Verifications,
    ) -> Result<Verified<Freshness>, Refusal> {
        let freshness = self.open_freshness(envelope, name, now, left)?;
        self.check_unexpired(freshness.as_ref(), now)?;
        Ok(freshness)
    }

    /// Checks a freshness statement, but for its end: one that has ended is still proof of what was said last.
    pub(super) fn open_freshness(
        &self,
        envelope: &Envelope,
        name: &ImageName,
        now: &JudgingTime,
        left: &mut Verifications,
    ) -> Result<Verified<Freshness>, Refusal> {
        let role = self.freshness_role(name).ok_or(Refusal::NotFresh)?;
        let (payload, signers) = role.open(Statement::Freshness, envelope, left)?;
        let freshness = Freshness::parse(payload).map_err(Refusal::Freshness)?;
        if freshness.name != *name {
            return Err(Refusal::FreshnessOfOther {
                found: freshness.name,
                expected: name.clone(),
            });
        }
        if now.is_before(freshness.created, self.tolerance()) {
            return Err(Refusal::Future {
                statement: Statement::Freshness,
                created: freshness.created,
                now: now.at(),
            });
        }
        let granted = freshness.expires.duration_since(freshness.created);
        let rule = &self.fields().freshness;
        if granted > SignedDuration::from_hours(i64::from(rule.max_hours)) {
            return Err(Refusal::FreshnessTooLong {
                granted_hours: rounded_up(granted, 3600),
                max_hours: rule.max_hours,
            });
        }
        let found = freshness.versions_of_one_arch();
        if u32::try_from(found).is_ok_and(|found| found > rule.max_releases) {
            return Err(Refusal::FreshnessTooMany {
                found,
                max_releases: rule.max_releases,
            });
        }
        Ok(Verified::new(freshness, signers, payload))
    }

    /// Checks that a freshness statement has not ended.
    pub(super) fn check_unexpired(
        &self,
        freshness: &Freshness,
        now: &JudgingTime,
    ) -> Result<(), Refusal> {
        if now.is_after(freshness.expires, self.tolerance()) {
            return Err(Refusal::FreshnessExpired {
                expires: freshness.expires,
                now: now.at(),
            });
        }
        Ok(())
    }

    pub(super) fn tolerance(&self) -> SignedDuration {
        SignedDuration::try_from(self.clock_tolerance()).unwrap_or(SignedDuration::ZERO)
    }
}

pub(super) fn parse(statement: Statement, envelope: &[u8]) -> Result<Envelope, Refusal> {
    Envelope::parse(envelope).map_err(|source| Refusal::Envelope { statement, source })
}

/// A span in units of so many seconds, a begun one counting whole.
fn rounded_up(span: SignedDuration, unit: i64) -> i64 {
    let seconds = span.as_secs() + i64::from(span.subsec_nanos() > 0);
    seconds.saturating_add(unit - 1) / unit
}

#[cfg(test)]
mod tests;
