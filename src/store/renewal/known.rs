//! What is known of an image before its next statement: from the renewer's state, and from the store.

use std::collections::BTreeSet;

use jiff::Timestamp;

use sealboot_core::format::freshness::{CurrentRelease, Freshness};
use sealboot_core::format::manifest::{Arch, ImageVersion};
use sealboot_core::trust::{Channel, Refusal};

use super::floor::last_statement;
use super::state::{Remembered, Stated};
use super::stored::{Judge, StoredRelease, falling, retain_newest};
use crate::error::Refused;
use crate::{Notice, StoreError};

/// Published versions of one architecture that are remembered, to go back to.
const REMEMBERED_VERSIONS: usize = 16;
/// Published releases of an image that are remembered.
const REMEMBERED_RELEASES: usize = 256;

/// What is known of an image before the next statement.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) judge: Judge<'a>,
    pub(super) channel: &'a Channel,
    /// The last statement, of the state's and the store's.
    pub(super) last: Option<Stated>,
    /// When the last one was created that the role of the policy has signed.
    pub(super) created: Option<Timestamp>,
    pub(super) published: Vec<CurrentRelease>,
    pub(super) withdrawn: BTreeSet<ImageVersion>,
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

    pub(super) fn listed(&self) -> impl Iterator<Item = &CurrentRelease> {
        let last = self.last.iter();
        last.flat_map(|stated| stated.freshness.releases_for(None))
    }

    pub(super) fn is_out(&self, release: &CurrentRelease) -> bool {
        self.withdrawn.contains(&release.version) || self.judge.is_denied(release)
    }

    /// Returns `true` if the last statement listed a release for a shorter time than its own.
    pub(super) fn has_ended(&self, listed: &CurrentRelease) -> bool {
        listed.until.is_some_and(|until| until <= self.judge.now)
    }

    /// Returns `true` if a release that the channel offers was published since the last statement.
    ///
    /// An architecture that the statement does not list has lost its releases, or is new: it gets none that is older than
    /// what it had.
    pub(super) fn is_new(&self, release: &CurrentRelease) -> bool {
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

    /// Returns the newest release for an architecture that was published before those that are lost.
    pub(super) fn before(&self, arch: &Arch, offered: &[CurrentRelease]) -> Option<StoredRelease> {
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
    pub(super) fn nothing(
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
    pub(super) fn remember(&self) -> Vec<CurrentRelease> {
        let mut published = self.published.clone();
        published.sort_by(falling);
        published.dedup_by(|one, other| (one.version, &one.arch) == (other.version, &other.arch));
        retain_newest(&mut published, REMEMBERED_VERSIONS, |release| release);
        published.truncate(REMEMBERED_RELEASES);
        published
    }
}
