//! Which releases the next statement lists.
//!
//! | a release | is listed |
//! |---|---|
//! | that the last statement lists | as long as it is not withdrawn, the policy accepts it, and it is among the newest versions of its architecture, as many as the policy allows |
//! | above those, in the store and in its channel | likewise: `image publish` puts it there |
//! | above those, in the store alone | never: it is staged |
//! | below those | never, unless nothing else is left for its architecture because of a withdrawal or a denial, and it was published before |
//!
//! The attacker who writes to the store decides nothing else by it than which releases above the last statement count as
//! published. A release that is listed and missing stops the renewal, so taking it away brings no older one back.

use std::collections::BTreeSet;

use sealboot_core::format::freshness::CurrentRelease;
use sealboot_core::format::manifest::{Arch, ImageVersion};
use sealboot_core::trust::Refusal;

use super::known::Known;
use super::stored::{StoredRelease, falling, offered, retain_newest};
use crate::{Notice, StoreError};

/// What an operator changes about the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    Nothing,
    /// This release is published. Versions above it that are listed for its architecture are withdrawn.
    Publish(CurrentRelease),
    /// This version is withdrawn.
    Withdraw(ImageVersion),
}

/// What the next statement lists.
#[derive(Debug)]
pub(super) struct Plan {
    /// The releases, versions falling.
    pub(super) listed: Vec<StoredRelease>,
    /// Entries of the last statement for newer machines: of a listed version, in a type that this version does not know.
    newer: Vec<CurrentRelease>,
    /// The withdrawn versions, falling.
    pub(super) withdrawn: Vec<ImageVersion>,
    /// What is to be remembered as published.
    pub(super) published: Vec<CurrentRelease>,
    /// What an operator should know.
    pub(super) notices: Vec<Notice>,
}

impl Plan {
    /// Returns the entries of the statement.
    pub(super) fn releases(&self) -> Vec<CurrentRelease> {
        let listed = self.listed.iter().map(|stored| stored.release.clone());
        let mut releases: Vec<CurrentRelease> = listed.chain(self.newer.iter().cloned()).collect();
        releases.sort_by(falling);
        releases
    }
}

impl Known<'_> {
    /// Decides what the next statement lists.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotAsListed`] where the store lacks what is to stay listed, [`StoreError::NotOffered`] and
    /// [`StoreError::NothingLeft`] for a withdrawal, and why the first release does not count where none does.
    pub(super) fn plan(mut self, change: &Change) -> Result<Plan, StoreError> {
        let offered = offered(self.judge.image, self.channel);
        let withdrawn_now = self.withdraw(change, &offered)?;
        let mut notices = Vec::new();
        let mut listed = self.added(change, &offered, &mut notices)?;
        self.published
            .extend(listed.iter().map(|stored| stored.release.clone()));
        let kept = self.kept(&listed)?;
        listed.extend(kept.listed);
        self.trim(&mut listed);
        let arches: BTreeSet<Arch> = (self.listed().chain(&offered))
            .filter(|release| {
                let was_listed = self.listed().any(|listed| listed == *release);
                was_listed || withdrawn_now.contains(&release.version)
            })
            .map(|release| release.arch.clone())
            .collect();
        for arch in arches {
            if listed.iter().any(|stored| stored.release.arch == arch) {
                continue;
            }
            // That is no reason to go back.
            let has_ended = (self.listed().filter(|listed| self.has_ended(listed)))
                .chain(&kept.expired)
                .any(|release| release.arch == arch);
            let before = if has_ended {
                None
            } else {
                self.before(&arch, &offered)
            };
            let lost = (self.listed().chain(&offered))
                .find(|release| release.arch == arch && withdrawn_now.contains(&release.version));
            match (before, lost) {
                (Some(before), _) => listed.push(before),
                (None, Some(lost)) => {
                    return Err(StoreError::NothingLeft {
                        image: self.judge.image.clone(),
                        version: lost.version,
                        arch,
                    });
                }
                (None, None) => notices.push(Notice::NothingCurrent {
                    image: self.judge.image.clone(),
                    arch,
                }),
            }
        }
        if listed.is_empty() {
            return Err(self.nothing(&offered, kept.refused, notices));
        }
        listed.sort_by(|one, other| falling(&one.release, &other.release));
        let last = self.last.iter().flat_map(|last| &last.freshness.releases);
        let newer = last.filter(|release| {
            let twin = |stored: &StoredRelease| {
                (stored.release.version, &stored.release.arch) == (release.version, &release.arch)
            };
            !release.payload_type.is_known() && listed.iter().any(twin)
        });
        Ok(Plan {
            newer: newer.cloned().collect(),
            listed,
            withdrawn: self.withdrawn.iter().rev().copied().collect(),
            published: self.remember(),
            notices,
        })
    }

    /// Adds the versions that the change withdraws, and drops those that the policy denies for ever. Returns the
    /// former.
    fn withdraw(
        &mut self,
        change: &Change,
        offered: &[CurrentRelease],
    ) -> Result<BTreeSet<ImageVersion>, StoreError> {
        let withdrawn: BTreeSet<ImageVersion> = match change {
            Change::Nothing => BTreeSet::new(),
            Change::Publish(release) => {
                let above = self.listed().filter(|listed| {
                    listed.arch == release.arch && listed.version > release.version
                });
                above.map(|listed| listed.version).collect()
            }
            Change::Withdraw(version) => {
                let mut known = self.listed().chain(&self.published).chain(offered);
                if !known.any(|release| release.version == *version) {
                    return Err(StoreError::NotOffered {
                        image: self.judge.image.clone(),
                        version: *version,
                    });
                }
                BTreeSet::from([*version])
            }
        };
        self.withdrawn.extend(&withdrawn);
        let judge = self.judge;
        self.withdrawn.retain(|version| !judge.is_past(*version));
        Ok(withdrawn)
    }

    /// Returns the releases that were published since the last statement.
    fn added(
        &self,
        change: &Change,
        offered: &[CurrentRelease],
        notices: &mut Vec<Notice>,
    ) -> Result<Vec<StoredRelease>, StoreError> {
        let mut added: Vec<StoredRelease> = Vec::new();
        for release in offered {
            let is_asked_for = *change == Change::Publish(release.clone());
            let is_known = (added
                .iter()
                .map(|stored| &stored.release)
                .chain(self.listed()))
            .any(|other| (other.version, &other.arch) == (release.version, &release.arch));
            if is_known || self.is_out(release) || !(is_asked_for || self.is_new(release)) {
                continue;
            }
            match self.judge.load(release, self.channel) {
                Ok(stored) => added.push(stored),
                Err(error) if is_asked_for => return Err(error),
                Err(error) => notices.push(Notice::NotListed {
                    image: self.judge.image.clone(),
                    version: release.version,
                    arch: release.arch.clone(),
                    error,
                }),
            }
        }
        Ok(added)
    }

    /// Loads what stays listed of the last statement, beside what is `added`.
    fn kept(&self, added: &[StoredRelease]) -> Result<Kept, StoreError> {
        let mut kept = Kept::default();
        let mut newest: Vec<&CurrentRelease> = (self.listed())
            .filter(|release| !self.is_out(release) && !self.has_ended(release))
            .chain(added.iter().map(|stored| &stored.release))
            .collect();
        newest.sort_by(|one, other| falling(one, other));
        self.retain_newest(&mut newest, |release| release);
        for release in newest {
            if added.iter().any(|stored| stored.release == *release) {
                continue;
            }
            match self.judge.load(release, self.channel) {
                Ok(stored) => kept.listed.push(stored),
                Err(StoreError::Refused(refused))
                    if is_by_date(&refused.refusal) || is_by_policy(&refused.refusal) =>
                {
                    if is_by_date(&refused.refusal) {
                        kept.expired.push(release.clone());
                    }
                    kept.refused.get_or_insert(StoreError::Refused(refused));
                }
                Err(error) => {
                    return Err(StoreError::NotAsListed {
                        image: self.judge.image.clone(),
                        version: release.version,
                        arch: release.arch.clone(),
                        source: Box::new(error),
                    });
                }
            }
        }
        Ok(kept)
    }

    /// Leaves the newest versions of each architecture, as many as the policy allows.
    fn trim(&self, listed: &mut Vec<StoredRelease>) {
        listed.sort_by(|one, other| falling(&one.release, &other.release));
        self.retain_newest(listed, |stored| &stored.release);
    }

    fn retain_newest<T>(&self, sorted: &mut Vec<T>, release: impl Fn(&T) -> &CurrentRelease) {
        let most = self.judge.policy.fields().freshness.max_releases;
        retain_newest(sorted, usize::try_from(most).unwrap_or(usize::MAX), release);
    }
}

/// What stays of the last statement.
#[derive(Debug, Default)]
struct Kept {
    listed: Vec<StoredRelease>,
    /// What does not count by its dates: that is no reason to go back.
    expired: Vec<CurrentRelease>,
    /// Why the first one that does not stay does not.
    refused: Option<StoreError>,
}

/// Returns `true` for a refusal by what the release's own dates say, which a change of the store cannot alter.
const fn is_by_date(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Expired { .. }
            | Refusal::Future { .. }
            | Refusal::NoExpiry
            | Refusal::LifeTooLong { .. }
    )
}

/// Returns `true` for a refusal by what the policy denies, which a change of the store cannot alter.
const fn is_by_policy(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Rollback { .. } | Refusal::DeniedVersion { .. } | Refusal::DeniedDigest { .. }
    )
}
