//! Which release of a channel a machine takes, and what it keeps of the proofs that it was shown.
//!
//! A freshness statement lists the releases that are current. Within a run of the loader the newest statement that any
//! mirror has shown is kept, and every channel is judged by it, whichever mirror shows the channel. So a mirror, or a
//! later attempt, cannot go back behind what was proved. For a name without statements, the highest version that
//! verified is kept in the same way.
//!
//! Of a channel, releases that the statement does not list are skipped before a signature is verified; the first one
//! that passes every check is taken. What is refused is reported only where nothing is left.

use std::collections::BTreeMap;

use super::channel::{Channel, OfferedRelease};
use super::policy::TrustPolicy;
use super::refusal::Refusal;
use super::role::{Role, Verifications};
use super::statement::Statement;
use super::verified::{Expected, Verified};
use crate::format::digest::Sha256Digest;
use crate::format::freshness::{CurrentRelease, Freshness};
use crate::format::manifest::{ImageName, Manifest};

/// A manifest that is accepted, and is current.
#[derive(Debug, Clone)]
pub struct Current {
    manifest: Verified<Manifest>,
    freshness: Option<Verified<Freshness>>,
}

impl Current {
    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Verified<Manifest> {
        &self.manifest
    }

    /// The statement by which it is current, if the policy has a role for one and any mirror has shown one.
    #[must_use]
    pub const fn freshness(&self) -> Option<&Verified<Freshness>> {
        self.freshness.as_ref()
    }
}

/// What a run has proved about which releases are current.
#[derive(Debug, Clone, Default)]
pub struct KeptProofs(BTreeMap<ImageName, OfName>);

#[derive(Debug, Clone, Default)]
struct OfName {
    /// The statement that was created last.
    statement: Option<Verified<Freshness>>,
    /// The highest version that verified without a statement.
    highest: Option<Verified<Manifest>>,
    /// Whether another statement than the kept one says that it was created in the same second.
    is_in_conflict: bool,
}

impl KeptProofs {
    /// Returns the statement that is kept of an image.
    #[must_use]
    pub fn statement(&self, name: &ImageName) -> Option<&Verified<Freshness>> {
        self.0.get(name)?.statement.as_ref()
    }

    /// Returns `true` if two different statements of an image were created in the same second: two renewers sign it, or
    /// a key is in other hands. The first one counts.
    #[must_use]
    pub fn is_in_conflict(&self, name: &ImageName) -> bool {
        self.0.get(name).is_some_and(|kept| kept.is_in_conflict)
    }

    /// Forgets what freshness roles have said whose keys or thresholds `new`, which follows `old`, changes.
    pub fn follow(&mut self, old: &TrustPolicy, new: &TrustPolicy) {
        for (name, kept) in &mut self.0 {
            let (old, new) = (old.freshness_role(name), new.freshness_role(name));
            if old.as_ref().map(Role::material) != new.as_ref().map(Role::material) {
                (kept.statement, kept.is_in_conflict) = (None, false);
            }
        }
    }

    fn of(&mut self, name: &ImageName) -> &mut OfName {
        self.0.entry(name.clone()).or_default()
    }
}

impl OfName {
    fn keep(&mut self, stated: Verified<Freshness>) {
        match &self.statement {
            Some(kept) if kept.as_ref().created > stated.as_ref().created => {}
            Some(kept) if kept.as_ref().created == stated.as_ref().created => {
                self.is_in_conflict |= kept.payload_sha256() != stated.payload_sha256();
            }
            _ => (self.statement, self.is_in_conflict) = (Some(stated), false),
        }
    }
}

impl TrustPolicy {
    /// Checks the bytes of a channel file and, if everything holds, gives the first release in it that is current.
    ///
    /// # Errors
    ///
    /// Why the release that came closest is not taken. Where the policy has no role for freshness, a statement says
    /// nothing and is not looked at.
    pub fn verify_channel(
        &self,
        channel: &[u8],
        expected: &Expected<'_>,
    ) -> Result<Current, Refusal> {
        self.judge_channel(channel, &mut expected.clone(), &mut KeptProofs::default())
    }

    /// Does the same by what `kept` has of earlier channels, and keeps what this one proves, also where it is refused.
    /// Moves `expected.now` as [`JudgingTime::prove`](super::JudgingTime::prove) says by the `created` of each verified
    /// manifest.
    ///
    /// # Errors
    ///
    /// As for [`TrustPolicy::verify_channel`].
    pub fn judge_channel(
        &self,
        channel: &[u8],
        expected: &mut Expected<'_>,
        kept: &mut KeptProofs,
    ) -> Result<Current, Refusal> {
        let channel = Channel::parse(channel).map_err(|source| Refusal::Envelope {
            statement: Statement::Manifest,
            source,
        })?;
        let name = expected.name;
        let kept = kept.of(name);
        let mut left = Verifications::default();
        let skipped = self.keep_statements(&channel, expected, kept, &mut left);
        let has_role = self.freshness_role(name).is_some();
        let statement = kept.statement.clone().filter(|_| has_role);

        let mut failure: Option<Refusal> = None;
        for release in &channel.releases {
            let judged = match &statement {
                Some(statement) => check_listed(release, statement.as_ref(), expected),
                None => Ok(()),
            };
            let judged = judged.and_then(|()| {
                let manifest = self.judge_manifest(&release.manifest, expected, &mut left)?;
                match &statement {
                    Some(_) => Ok(manifest),
                    None => self.check_highest(manifest, expected, kept),
                }
            });
            match judged {
                Ok(manifest) => {
                    return self.accept(manifest, statement, skipped, expected, kept);
                }
                Err(refusal) => {
                    let says_more = |failure: &Refusal| rank(&refusal) > rank(failure);
                    if failure.as_ref().is_none_or(says_more) {
                        failure = Some(refusal);
                    }
                }
            }
        }
        Err(failure.unwrap_or(Refusal::NoRelease))
    }

    /// Keeps the newest of the channel's statements, if none that is newer is kept. Returns why the first one that does
    /// not count does not.
    fn keep_statements(
        &self,
        channel: &Channel,
        expected: &Expected<'_>,
        kept: &mut OfName,
        left: &mut Verifications,
    ) -> Option<Refusal> {
        self.freshness_role(expected.name)?;
        let mut skipped = None;
        for envelope in &channel.freshness {
            match self.open_freshness(envelope, expected.name, &expected.now, left) {
                Ok(stated) => kept.keep(stated),
                Err(refusal) => skipped = skipped.or(Some(refusal)),
            }
        }
        skipped
    }

    /// Refuses a version below the highest that has verified, for a name without statements.
    fn check_highest(
        &self,
        manifest: Verified<Manifest>,
        expected: &Expected<'_>,
        kept: &mut OfName,
    ) -> Result<Verified<Manifest>, Refusal> {
        // One that the newest policy denies is no floor any more.
        let is_denied = |highest: &Verified<Manifest>| {
            let identity = self.check_identity(highest.as_ref(), expected);
            identity.is_err() || self.check_denied(highest).is_err()
        };
        let highest = kept.highest.as_ref();
        let highest = highest.filter(|highest| !is_denied(highest));
        match highest {
            Some(highest) if highest.as_ref().version > manifest.as_ref().version => {
                Err(Refusal::Stale {
                    name: expected.name.clone(),
                    found: manifest.as_ref().version,
                    newest: highest.as_ref().version,
                })
            }
            _ => Ok(manifest),
        }
    }

    /// Takes a release that is verified, if the statement by which it is current still counts.
    fn accept(
        &self,
        manifest: Verified<Manifest>,
        statement: Option<Verified<Freshness>>,
        skipped: Option<Refusal>,
        expected: &Expected<'_>,
        kept: &mut OfName,
    ) -> Result<Current, Refusal> {
        match &statement {
            Some(statement) => {
                let stated = statement.as_ref();
                self.check_unexpired(stated, &expected.now)?;
                if self.version() < stated.trust {
                    return Err(Refusal::StalePolicy {
                        found: self.version(),
                        newest: stated.trust,
                    });
                }
            }
            None => {
                let has_role = self.freshness_role(expected.name).is_some();
                if has_role && self.fields().freshness.required {
                    return Err(skipped.unwrap_or(Refusal::NotFresh));
                }
                kept.highest = Some(manifest.clone());
            }
        }
        Ok(Current {
            manifest,
            freshness: statement,
        })
    }
}

/// Checks that a statement lists a release for this machine, before anything of it is verified. What a refusal says of it
/// is its own word.
fn check_listed(
    release: &OfferedRelease,
    statement: &Freshness,
    expected: &Expected<'_>,
) -> Result<(), Refusal> {
    let payload = release.manifest.unverified_payload();
    let sha256 = Sha256Digest::of(payload);
    let arch = expected.arch.as_ref();
    let counts = |listed: &&CurrentRelease| {
        (listed.until).is_none_or(|until| expected.now.at() < until) && listed.sha256 == sha256
    };
    if statement.releases_for(arch).any(|listed| counts(&listed)) {
        return Ok(());
    }
    if release.manifest.payload_type() != Manifest::PAYLOAD_TYPE {
        // For a newer loader.
        return Err(Refusal::PayloadType {
            statement: Statement::Manifest,
            found: release.manifest.shown_payload_type(),
        });
    }
    let manifest = Manifest::parse(payload).map_err(Refusal::Manifest)?;
    if let Some(expected) = arch.filter(|arch| **arch != manifest.arch) {
        return Err(Refusal::Arch {
            found: manifest.arch,
            expected: expected.clone(),
        });
    }
    let (name, found) = (expected.name.clone(), manifest.version);
    if statement.withdrawn.contains(&found) {
        return Err(Refusal::Withdrawn { name, found });
    }
    Err(match statement.newest_for(arch) {
        Some(newest) if newest > found => Refusal::Stale {
            name,
            found,
            newest,
        },
        newest => Refusal::NotCurrent {
            name,
            found,
            newest,
        },
    })
}

/// How much a refusal says: a release for this machine more than one for another, one that is current more than one that
/// is not.
const fn rank(refusal: &Refusal) -> u8 {
    match refusal {
        Refusal::PayloadType { .. } | Refusal::Arch { .. } => 0,
        Refusal::Stale { .. } => 1,
        Refusal::NotCurrent { .. } => 2,
        Refusal::Withdrawn { .. } => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests;
