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

use sealboot_core::format::freshness::{CurrentRelease, Freshness};
use sealboot_core::format::manifest::{Arch, ImageVersion};
use sealboot_core::trust::{Channel, Refusal};

use super::floor::last_statement;
use super::state::{Remembered, Stated};
use super::stored::{Judge, StoredRelease, falling, offered, retain_newest};
use crate::error::Refused;
use crate::{Notice, StoreError};

/// Published versions of one architecture that are remembered, to go back to.
const REMEMBERED_VERSIONS: usize = 16;
/// Published releases of an image that are remembered.
const REMEMBERED_RELEASES: usize = 256;

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

/// What is known of an image before the next statement.
#[derive(Debug)]
pub(super) struct Known<'a> {
    judge: Judge<'a>,
    channel: &'a Channel,
    /// The last statement, of the state's and the store's.
    pub(super) last: Option<Stated>,
    /// When the last one was created that the role of the policy has signed.
    pub(super) created: Option<jiff::Timestamp>,
    published: Vec<CurrentRelease>,
    withdrawn: BTreeSet<ImageVersion>,
}

/// What the next statement lists.
#[derive(Debug)]
pub(super) struct Plan {
    /// The releases, versions falling.
    pub(super) listed: Vec<StoredRelease>,
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
        listed.collect()
    }
}

impl<'a> Known<'a> {
    /// Unites what is remembered with what the channel shows.
    ///
    /// Of two statements by the role, the later one is the last; one that the role of a newer policy has signed takes the
    /// place of one that it has not. Withdrawals of both hold, also where the keys of the role have changed.
    pub(super) fn of(judge: Judge<'a>, channel: &'a Channel, remembered: &Remembered) -> Self {
        let shown = last_statement(judge.policy, judge.image, channel);
        let kept = remembered.statement.clone();
        let both = kept.iter().chain(&shown);
        let withdrawn = both.flat_map(|stated| stated.freshness.withdrawn.clone());
        let withdrawn: BTreeSet<ImageVersion> = withdrawn.collect();
        let counts =
            |stated: &Stated| (judge.policy.stated(judge.image, &stated.envelope)).is_some();
        let signed = kept.clone().filter(counts).into_iter().chain(shown);
        let signed = signed.reduce(|one, other| {
            let is_later = other.freshness.created > one.freshness.created;
            if is_later { other } else { one }
        });
        let created = signed.as_ref().map(|stated| stated.freshness.created);
        let last = signed.or(kept);
        let mut known = Self {
            judge,
            channel,
            published: remembered.published.clone(),
            last,
            created,
            withdrawn,
        };
        let listed: Vec<CurrentRelease> = known.listed().cloned().collect();
        known.published.extend(listed);
        known
    }

    /// Returns the last statement with the withdrawals of both.
    pub(super) fn floor(&self) -> Option<Freshness> {
        let last = self.last.as_ref()?;
        let mut freshness = last.freshness.clone();
        freshness.withdrawn = self.withdrawn.iter().copied().collect();
        Some(freshness)
    }

    fn listed(&self) -> impl Iterator<Item = &CurrentRelease> {
        let last = self.last.iter();
        last.flat_map(|stated| stated.freshness.releases_for(None))
    }

    fn is_out(&self, release: &CurrentRelease) -> bool {
        self.withdrawn.contains(&release.version) || self.judge.is_denied(release)
    }

    /// Returns `true` if a release that the channel offers was published since the last statement.
    ///
    /// An architecture that the statement does not list has lost its releases, or is new: it gets none that is older than
    /// what it had.
    fn is_new(&self, release: &CurrentRelease) -> bool {
        let newest = |releases: &mut dyn Iterator<Item = &CurrentRelease>| {
            let of_arch = releases.filter(|other| other.arch == release.arch);
            of_arch.map(|other| other.version).max()
        };
        if self.last.is_none() {
            return true;
        }
        match newest(&mut self.listed()) {
            Some(listed) => release.version > listed,
            None => newest(&mut self.published.iter()).is_none_or(|had| release.version >= had),
        }
    }

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
            let expired = kept.expired.iter().any(|release| release.arch == arch);
            let before = if expired {
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
        Ok(Plan {
            listed,
            withdrawn: self.withdrawn.iter().rev().copied().collect(),
            published: self.remember(),
            notices,
        })
    }

    /// Adds the versions that the change withdraws, and drops those of which the policy says it for ever. Returns the
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
        let now = self.judge.now;
        let mut kept = Kept::default();
        let mut newest: Vec<&CurrentRelease> = (self.listed())
            .filter(|release| !self.is_out(release) && release.until.is_none_or(|at| now < at))
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

    /// Returns the newest release for an architecture that was published before those that are lost.
    fn before(&self, arch: &Arch, offered: &[CurrentRelease]) -> Option<StoredRelease> {
        let of_arch = |release: &&CurrentRelease| release.arch == *arch;
        let lost = self.listed().chain(offered).filter(of_arch);
        let lost = lost.map(|release| release.version).max()?;
        let mut before: Vec<&CurrentRelease> = (self.published.iter().filter(of_arch))
            .filter(|release| release.version < lost && !self.is_out(release))
            .collect();
        before.sort_by(|one, other| falling(one, other));
        let mut stored = before.into_iter();
        stored.find_map(|release| self.judge.load(release, self.channel).ok())
    }

    /// Returns why nothing is current.
    fn nothing(
        &self,
        offered: &[CurrentRelease],
        refused: Option<StoreError>,
        notices: Vec<Notice>,
    ) -> StoreError {
        let not_listed = notices.into_iter().find_map(|notice| match notice {
            Notice::NotListed { error, .. } => Some(error),
            _ => None,
        });
        let at_channel = |refusal| {
            let path = self.judge.store.channel(self.judge.image);
            StoreError::Refused(Refused::at(&path)(refusal))
        };
        let is_withdrawn = |release: &&CurrentRelease| self.withdrawn.contains(&release.version);
        let withdrawn = offered.iter().find(is_withdrawn).map(|release| {
            at_channel(Refusal::Withdrawn {
                name: self.judge.image.clone(),
                found: release.version,
            })
        });
        let unverified = || {
            let envelope = self.channel.releases.first()?;
            let expected = self.judge.expected();
            let bytes = envelope.manifest.encode();
            let refusal = self.judge.policy.verify_manifest(&bytes, &expected).err()?;
            Some(at_channel(refusal))
        };
        not_listed
            .or(refused)
            .or(withdrawn)
            .or_else(unverified)
            .unwrap_or_else(|| at_channel(Refusal::NoRelease))
    }

    /// Returns what is to be remembered as published.
    fn remember(&self) -> Vec<CurrentRelease> {
        let mut published = self.published.clone();
        published.sort_by(falling);
        published.dedup_by(|one, other| (one.version, &one.arch) == (other.version, &other.arch));
        retain_newest(&mut published, REMEMBERED_VERSIONS, |release| release);
        published.truncate(REMEMBERED_RELEASES);
        published
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

/// Returns `true` for a refusal by what the release's own dates say, which no one who writes to the store can change.
const fn is_by_date(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Expired { .. }
            | Refusal::Future { .. }
            | Refusal::NoExpiry
            | Refusal::LifeTooLong { .. }
    )
}

/// Returns `true` for a refusal by what the policy denies, which no one who writes to the store can change.
const fn is_by_policy(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Rollback { .. } | Refusal::DeniedVersion { .. } | Refusal::DeniedDigest { .. }
    )
}
