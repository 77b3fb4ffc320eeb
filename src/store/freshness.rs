//! Freshness statements: what was said last of an image, and a new one in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use sealboot_core::format::Invalid;
use sealboot_core::format::freshness::{CurrentRelease, Freshness, ReleaseType};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, ImageName, ImageVersion, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Envelope, Refusal, Role, TrustPolicy, Verified};

use crate::error::Refused;
use crate::files::{self, Existing};
use crate::signer::Signer;
use crate::{Store, StoreError};

/// What the freshness role said last of an image: what is current does not become older by itself, so nothing that
/// renews says so. A store that lost files looks just like one that an attacker has put back.
#[derive(Debug, Clone)]
pub struct FreshnessFloor(Freshness);

impl FreshnessFloor {
    /// Checks that the store shows no less than the role has said that there is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Behind`], and as for [`files::read_stored`].
    pub fn check(
        &self,
        policy: &TrustPolicy,
        store: &Store,
        image: &ImageName,
    ) -> Result<(), StoreError> {
        let path = store.channel(image);
        self.check_policy(policy, &path)?;
        let bytes = files::read_stored(&path, LIMITS.channel_bytes)?;
        // What cannot be read is refused, with its reason, by what renews.
        let Ok(channel) = Channel::parse(&bytes) else {
            return Ok(());
        };
        let offered = offered(&channel);
        if offered.is_empty() {
            return Ok(());
        }
        for arch in self.0.releases.iter().map(|release| &release.arch) {
            let newest = offered.iter().filter(|(_, of)| of == arch);
            let newest = newest.map(|(version, _)| *version).max();
            self.check_version(newest.unwrap_or(ImageVersion::FIRST), arch, &path)?;
        }
        Ok(())
    }

    /// Fails where the role has said that there is a newer policy.
    pub(crate) fn check_policy(&self, policy: &TrustPolicy, path: &Path) -> Result<(), StoreError> {
        if self.0.trust <= policy.version() {
            return Ok(());
        }
        Err(StoreError::Behind(Refused::at(path)(
            Refusal::StalePolicy {
                found: policy.version(),
                newest: self.0.trust,
            },
        )))
    }

    /// Fails where the role has said that a newer version is current.
    pub(crate) fn check_version(
        &self,
        found: ImageVersion,
        arch: &Arch,
        path: &Path,
    ) -> Result<(), StoreError> {
        match self.0.newest_for(Some(arch)) {
            Some(newest) if newest > found => {
                Err(StoreError::Behind(Refused::at(path)(Refusal::Stale {
                    name: self.0.name.clone(),
                    found,
                    newest,
                })))
            }
            _ => Ok(()),
        }
    }

    /// Fails where the role has said that a newer version is current than the one that is to take its place.
    pub(crate) fn check_replaced(&self, manifest: &Manifest) -> Result<(), StoreError> {
        match self.0.newest_for(Some(&manifest.arch)) {
            Some(current) if current > manifest.version => Err(StoreError::StillCurrent {
                image: manifest.name.clone(),
                version: manifest.version,
                current,
            }),
            _ => Ok(()),
        }
    }

    /// Fails where the role has withdrawn the version.
    pub(crate) fn check_withdrawn(
        &self,
        found: ImageVersion,
        path: &Path,
    ) -> Result<(), StoreError> {
        if !self.0.withdrawn.contains(&found) {
            return Ok(());
        }
        let name = self.0.name.clone();
        Err(StoreError::Behind(Refused::at(path)(Refusal::Withdrawn {
            name,
            found,
        })))
    }

    /// Returns the one that was said later.
    pub(crate) fn later(self, other: Self) -> Self {
        if other.0.created > self.0.created {
            other
        } else {
            self
        }
    }
}

impl From<Freshness> for FreshnessFloor {
    fn from(said: Freshness) -> Self {
        Self(said)
    }
}

/// Returns version and architecture of what a channel offers, by its own word.
fn offered(channel: &Channel) -> Vec<(ImageVersion, Arch)> {
    let manifests = channel.releases.iter().filter_map(|release| {
        let manifest = Manifest::parse(release.manifest.unverified_payload()).ok()?;
        Some((manifest.version, manifest.arch))
    });
    manifests.collect()
}

impl Store {
    /// Returns what an image's channel shows that the role has said last, be it still in force or not.
    ///
    /// # Errors
    ///
    /// As for [`files::read_stored`].
    pub fn floor(
        &self,
        policy: &TrustPolicy,
        image: &ImageName,
    ) -> Result<Option<FreshnessFloor>, StoreError> {
        let path = self.channel(image);
        if matches!(path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        let bytes = files::read_stored(&path, LIMITS.channel_bytes)?;
        let channel = Channel::parse(&bytes).ok();
        let last = channel.and_then(|channel| last_statement(policy, image, &channel));
        Ok(last.map(FreshnessFloor))
    }

    /// Returns the images of the policy that the store has.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoImages`] where it has none.
    pub fn published(&self, policy: &TrustPolicy) -> Result<Vec<ImageName>, StoreError> {
        let names = policy.images().iter().map(|image| image.name.clone());
        let there: Vec<ImageName> = names.filter(|name| self.channel(name).exists()).collect();
        if there.is_empty() {
            return Err(StoreError::NoImages {
                root: self.root().to_owned(),
            });
        }
        Ok(there)
    }

    /// Returns `true` if an image's statement should be renewed: it is not there, does not count, lists other releases
    /// than it would now, is about an older policy, or more than half of its life has passed.
    ///
    /// # Errors
    ///
    /// As for [`files::read_stored`].
    pub fn is_due(
        &self,
        policy: &TrustPolicy,
        image: &ImageName,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let path = self.channel(image);
        let bytes = files::read_stored(&path, LIMITS.channel_bytes)?;
        let current = policy.verify_channel(&bytes, &expected(image, now));
        let (Ok(current), Ok(channel)) = (current, Channel::parse(&bytes)) else {
            return Ok(true);
        };
        let Some(stated) = current.freshness().map(|freshness| freshness.as_ref()) else {
            return Ok(true);
        };
        let due = listing(policy, image, &channel, &stated.withdrawn, now);
        let left = stated.expires.duration_since(now);
        Ok(due.is_ok_and(|due| due != stated.releases)
            || stated.trust != policy.version()
            || left * 2 < stated.expires.duration_since(stated.created))
    }

    /// Returns the releases of an image that lie in the store and that the policy accepts, published or not.
    fn accepted_releases(
        &self,
        policy: &TrustPolicy,
        image: &ImageName,
        now: Timestamp,
    ) -> Vec<(Envelope, Verified<Manifest>)> {
        let entries = |directory: &Path| {
            let entries = std::fs::read_dir(directory).into_iter().flatten();
            entries.flatten().map(|entry| entry.path())
        };
        let versions = entries(&self.versions(image));
        let accepted = versions
            .flat_map(|version| entries(&version))
            .filter_map(|path| {
                let bytes = files::read_stored(&path, LIMITS.envelope_bytes).ok()?;
                let verified = policy.verify_manifest(&bytes, &expected(image, now)).ok()?;
                Some((Envelope::parse(&bytes).ok()?, verified))
            });
        accepted.collect()
    }
}

fn expected(image: &ImageName, now: Timestamp) -> Expected<'_> {
    Expected {
        name: image,
        arch: None,
        now: now.into(),
    }
}

/// Returns what the role said last in a channel.
pub(crate) fn last_statement(
    policy: &TrustPolicy,
    image: &ImageName,
    channel: &Channel,
) -> Option<Freshness> {
    let stated = channel.freshness.iter();
    let stated = stated.filter_map(|envelope| policy.stated(image, envelope));
    let of_image = stated.filter(|freshness| freshness.name == *image);
    of_image.max_by_key(|freshness| freshness.created)
}

/// Returns the releases of a channel that are current: those that the policy accepts and that are not withdrawn, of each
/// architecture the newest versions, as many as the policy allows.
///
/// # Errors
///
/// [`StoreError::Refused`] with the reason why the first release is not, where none is.
fn listing(
    policy: &TrustPolicy,
    image: &ImageName,
    channel: &Channel,
    withdrawn: &[ImageVersion],
    now: Timestamp,
) -> Result<Vec<CurrentRelease>, Refusal> {
    let mut releases = Vec::new();
    let mut refused = None;
    for release in &channel.releases {
        match policy.verify_manifest(&release.manifest.encode(), &expected(image, now)) {
            Ok(verified) if withdrawn.contains(&verified.as_ref().version) => {
                refused.get_or_insert(Refusal::Withdrawn {
                    name: image.clone(),
                    found: verified.as_ref().version,
                });
            }
            Ok(verified) => releases.push(CurrentRelease {
                version: verified.as_ref().version,
                arch: verified.as_ref().arch.clone(),
                payload_type: ReleaseType::known(),
                sha256: *verified.payload_sha256(),
                until: None,
            }),
            Err(refusal) => {
                refused.get_or_insert(refusal);
            }
        }
    }
    releases.sort_by(|one, other| {
        let falling = other.version.cmp(&one.version);
        falling.then_with(|| one.arch.cmp(&other.arch))
    });
    releases.dedup();
    let most = usize::try_from(policy.fields().freshness.max_releases).unwrap_or(usize::MAX);
    let mut versions: BTreeMap<Arch, BTreeSet<ImageVersion>> = BTreeMap::new();
    releases.retain(|release| {
        let of_arch = versions.entry(release.arch.clone()).or_default();
        if of_arch.len() < most {
            of_arch.insert(release.version);
        }
        of_arch.contains(&release.version)
    });
    match (releases.is_empty(), refused) {
        (false, _) => Ok(releases),
        (true, refused) => Err(refused.unwrap_or(Refusal::NoRelease)),
    }
}

/// The keys that make statements, and for how long these count. Forgets its secrets when dropped.
#[derive(Debug)]
pub struct Renewal {
    signers: Vec<Box<dyn Signer>>,
    life: Option<SignedDuration>,
}

/// As long as a statement counts if the caller does not say otherwise, where the policy allows it: a day in which
/// an operator notices that renewing has stopped.
const USUAL_LIFE: SignedDuration = SignedDuration::from_hours(24);

impl Renewal {
    /// Returns the renewal by these keys, as many as the policy's freshness role asks for; without a `life`, statements
    /// count for 24 hours, or for the policy's `max_hours` if that is less.
    #[must_use]
    pub fn new(signers: Vec<Box<dyn Signer>>, life: Option<SignedDuration>) -> Self {
        Self { signers, life }
    }

    /// Checks that statements of these keys, for so long, would count.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoFreshnessRole`], [`StoreError::NotOfFreshnessRole`] or [`StoreError::LifeTooLong`].
    pub fn check(&self, policy: &TrustPolicy) -> Result<(), StoreError> {
        let version = policy.version();
        let names = policy.images().iter().map(|image| &image.name);
        let roles: Vec<_> = names
            .filter_map(|name| policy.freshness_role(name))
            .collect();
        if roles.is_empty() {
            return Err(StoreError::NoFreshnessRole { version });
        }
        for signer in &self.signers {
            let key = signer.public();
            let mut trusted = roles.iter().flat_map(Role::signers);
            if trusted.all(|trusted| trusted.key.known() != Some(&key)) {
                let key = key.id();
                return Err(StoreError::NotOfFreshnessRole { key, version });
            }
        }
        let max_hours = policy.fields().freshness.max_hours;
        let longest = SignedDuration::from_hours(max_hours.into());
        if self.life.is_some_and(|life| life > longest) {
            return Err(StoreError::LifeTooLong { max_hours, version });
        }
        Ok(())
    }

    /// Puts a new statement into an image's channel; returns the channel's path and the statement.
    ///
    /// The channel is verified first as a machine verifies it. Whether the store is behind what was said before is not
    /// asked: see [`Store::floor`]. Versions that the last statement lists above all that the channel offers are
    /// withdrawn by it.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotChannel`], [`StoreError::Refused`] where a machine would refuse the channel with the new
    /// statement, and where the keys do not sign or the file cannot be read or written.
    pub fn renew(
        &mut self,
        policy: &TrustPolicy,
        store: &Store,
        image: &ImageName,
        now: Timestamp,
    ) -> Result<(PathBuf, Freshness), StoreError> {
        self.restate(policy, store, image, now, &mut |_| Ok(Vec::new()))
    }

    /// Withdraws a version of an image: no machine boots it from then on. Where the channel offers no other release for an
    /// architecture, the newest older one that lies in the store takes its place.
    ///
    /// # Errors
    ///
    /// As for [`Renewal::renew`], [`StoreError::NotOffered`], and [`StoreError::NothingLeft`] where no other release is
    /// left for an architecture.
    pub fn withdraw(
        &mut self,
        policy: &TrustPolicy,
        store: &Store,
        image: &ImageName,
        version: ImageVersion,
        now: Timestamp,
    ) -> Result<(PathBuf, Freshness), StoreError> {
        self.restate(policy, store, image, now, &mut |channel| {
            let is_of = |envelope: &Envelope, of: &dyn Fn(&Manifest) -> bool| {
                Manifest::parse(envelope.unverified_payload()).is_ok_and(|manifest| of(&manifest))
            };
            let last = last_statement(policy, image, channel);
            let listed = last.iter().flat_map(|last| &last.releases);
            let listed = listed.map(|release| (release.version, release.arch.clone()));
            let arches: BTreeSet<Arch> = (offered(channel).into_iter().chain(listed))
                .filter_map(|(of, arch)| (of == version).then_some(arch))
                .collect();
            if arches.is_empty() {
                let image = image.clone();
                return Err(StoreError::NotOffered { image, version });
            }
            let withdrawn = |manifest: &Manifest| manifest.version == version;
            (channel.releases).retain(|release| !is_of(&release.manifest, &withdrawn));
            let mut withdrawn = last.map(|last| last.withdrawn).unwrap_or_default();
            withdrawn.push(version);
            for arch in arches {
                if offered(channel).iter().any(|(_, of)| *of == arch) {
                    continue;
                }
                let accepted = store.accepted_releases(policy, image, now).into_iter();
                let older = accepted.filter(|(_, verified)| {
                    let manifest = verified.as_ref();
                    manifest.arch == arch
                        && manifest.version < version
                        && !withdrawn.contains(&manifest.version)
                        && store.archive(&manifest.archive).is_file()
                        && store.chunk_list(&manifest.archive).is_file()
                });
                let newest = older.max_by_key(|(_, verified)| verified.as_ref().version);
                let Some((envelope, _)) = newest else {
                    return Err(StoreError::NothingLeft {
                        image: image.clone(),
                        version,
                        arch,
                    });
                };
                channel.releases.push(envelope.into());
            }
            Ok(vec![version])
        })
    }

    fn restate(
        &mut self,
        policy: &TrustPolicy,
        store: &Store,
        image: &ImageName,
        now: Timestamp,
        change: &mut dyn FnMut(&mut Channel) -> Result<Vec<ImageVersion>, StoreError>,
    ) -> Result<(PathBuf, Freshness), StoreError> {
        let path = store.channel(image);
        let _lock = files::lock(&store.versions(image));
        let bytes = files::read_stored(&path, LIMITS.channel_bytes)?;
        let mut channel = Channel::parse(&bytes).map_err(|source| StoreError::NotChannel {
            path: path.clone(),
            source,
        })?;
        let withdrawn = change(&mut channel)?;
        let refused = |refusal| StoreError::Refused(Refused::at(&path)(refusal));
        let stated = self.state(policy, image, &mut channel, &withdrawn, now, &refused)?;
        let bytes = channel.encode();
        // What is about to be served is judged as a machine will judge it.
        let judged = policy.verify_channel(&bytes, &expected(image, now));
        judged.map_err(refused)?;
        files::write(&path, &bytes, 0o644, Existing::Replace)?;
        Ok((path, stated))
    }

    /// Puts a new statement of what is current into a channel. It carries on what was withdrawn before, adds `withdraw`
    /// and whatever was listed above all that the channel offers, and is later than the one before.
    pub(crate) fn state(
        &mut self,
        policy: &TrustPolicy,
        image: &ImageName,
        channel: &mut Channel,
        withdraw: &[ImageVersion],
        now: Timestamp,
        refused: &dyn Fn(Refusal) -> StoreError,
    ) -> Result<Freshness, StoreError> {
        let last = last_statement(policy, image, channel);
        let newest = offered(channel)
            .into_iter()
            .map(|(version, _)| version)
            .max();
        let mut withdrawn: BTreeSet<ImageVersion> = withdraw.iter().copied().collect();
        if let Some(last) = &last {
            withdrawn.extend(&last.withdrawn);
            let listed = last.releases_for(None).map(|release| release.version);
            withdrawn
                .extend(listed.filter(|version| newest.is_none_or(|newest| *version > newest)));
        }
        // The policy says it for ever.
        let accepted = policy.image(image);
        withdrawn.retain(|version| {
            accepted.is_none_or(|accepted| {
                *version >= accepted.min_version && !accepted.denied_versions.contains(version)
            })
        });
        let withdrawn: Vec<ImageVersion> = withdrawn.into_iter().rev().collect();
        let releases = listing(policy, image, channel, &withdrawn, now).map_err(refused)?;
        let earliest = last.map(|last| last.created + SignedDuration::from_secs(1));
        let created = earliest.map_or(now, |earliest| earliest.max(now));
        let longest = SignedDuration::from_hours(policy.fields().freshness.max_hours.into());
        let life = self.life.unwrap_or(USUAL_LIFE.min(longest));
        let freshness = Freshness {
            name: image.clone(),
            trust: policy.version(),
            created,
            expires: expiry(created, life)?,
            releases,
            withdrawn,
        };
        let payload = freshness.encode();
        Freshness::parse(&payload).map_err(|source| refused(Refusal::Freshness(source)))?;
        let mut envelope = Envelope::unsigned(Freshness::PAYLOAD_TYPE, payload);
        for signer in &mut self.signers {
            let signature = signer.sign(&envelope.signed_bytes())?;
            envelope.add_signature(signer.public().id(), signature);
        }
        // What is of another type is for newer machines, and stays.
        (channel.freshness).retain(|other| other.payload_type() != Freshness::PAYLOAD_TYPE);
        channel.freshness.push(envelope);
        Ok(freshness)
    }
}

fn expiry(now: Timestamp, life: SignedDuration) -> Result<Timestamp, StoreError> {
    let takes = match now.checked_add(life) {
        Ok(expires) if expires > now => return Ok(expires),
        Ok(_) => "after the moment at which the statement is created",
        Err(_) => "before the year 10000",
    };
    Err(StoreError::LifeUnusable(Invalid::new(
        "expires", life, takes,
    )))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{
        Key, fresh, image, made, policy, publish_by_hand, release_file, sealed_freshness,
        sealed_manifest, store, versioned, write,
    };

    #[test]
    fn a_renewal_that_would_not_count_is_refused() {
        let by = |name: &str, hours| {
            let life = Some(SignedDuration::from_hours(hours));
            Renewal::new(vec![Box::new(Key::of(name))], life)
        };
        let error = by("clockwork", 1).check(&policy(&["alice"])).unwrap_err();
        assert!(matches!(error, StoreError::NoFreshnessRole { .. }));
        let policy = fresh(policy(&["alice"]));
        let error = by("alice", 1).check(&policy).unwrap_err();
        assert!(matches!(error, StoreError::NotOfFreshnessRole { .. }));
        let error = by("clockwork", 73).check(&policy).unwrap_err();
        assert!(matches!(
            error,
            StoreError::LifeTooLong { max_hours: 72, .. }
        ));
        assert!(error.is_refusal());
        by("clockwork", 72).check(&policy).unwrap();
    }

    #[test]
    fn a_life_past_the_calendar_is_refused() {
        for life in [SignedDuration::MAX, SignedDuration::ZERO] {
            let error = expiry(made(), life).unwrap_err();
            assert!(matches!(error, StoreError::LifeUnusable(_)));
        }
    }

    #[test]
    fn a_store_behind_the_last_statement_is_refused() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        for (said, stale) in [((43, 1), true), ((42, 2), true), ((42, 1), false)] {
            let statement = sealed_freshness(said, &["clockwork"]);
            publish_by_hand(&store, 42, &["alice"], Some(statement));
            let floor = store.floor(&policy, &image()).unwrap().unwrap();
            let checked = floor.check(&policy, &store, &image());
            match checked {
                Err(StoreError::Behind(_)) if stale => {}
                Ok(()) if !stale => {}
                other => panic!("{said:?}: {other:?}"),
            }
        }
        // A statement that the role did not sign says nothing.
        publish_by_hand(
            &store,
            42,
            &["alice"],
            Some(sealed_freshness((43, 1), &["alice"])),
        );
        assert!(store.floor(&policy, &image()).unwrap().is_none());
    }

    #[test]
    fn a_channel_that_machines_refuse_is_not_renewed() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        let mut renewal = Renewal::new(vec![Box::new(Key::of("clockwork"))], None);
        publish_by_hand(&store, 42, &["bob"], None);
        let path = store.channel(&image());
        let before = fs::read(&path).unwrap();
        let error = renewal
            .renew(&policy, &store, &image(), made())
            .unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
        write(&path, &sealed_manifest(42, &["alice"]));
        let error = renewal
            .renew(&policy, &store, &image(), made())
            .unwrap_err();
        assert!(matches!(error, StoreError::NotChannel { .. }), "{error:?}");
    }

    fn versions(list: &[CurrentRelease]) -> Vec<u64> {
        list.iter()
            .map(|release| release.version.as_u64())
            .collect()
    }

    #[test]
    fn the_newest_versions_that_the_policy_allows_are_listed() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        let by_alice = |version| sealed_manifest(version, &["alice"]);
        let unsigned = sealed_manifest(45, &["eve"]);
        let channel = Channel::new([by_alice(41), unsigned, by_alice(43), by_alice(42)], []);
        for (most, withdrawn, expected) in [
            (1, &[][..], &[43][..]),
            (2, &[], &[43, 42]),
            (8, &[], &[43, 42, 41]),
            (1, &[43], &[42]),
        ] {
            let policy = policy
                .with(|fields| fields.freshness.max_releases = most)
                .unwrap();
            fs::write(store.channel(&image()), channel.encode()).unwrap();
            let mut renewal = Renewal::new(vec![Box::new(Key::of("clockwork"))], None);
            let mut channel = channel.clone();
            let withdrawn: Vec<ImageVersion> = withdrawn
                .iter()
                .map(|version: &u64| (*version).try_into().unwrap())
                .collect();
            let refused = |refusal: Refusal| panic!("{refusal}");
            let stated = renewal.state(
                &policy,
                &image(),
                &mut channel,
                &withdrawn,
                made(),
                &refused,
            );
            let stated = stated.unwrap();
            assert_eq!(versions(&stated.releases), expected);
            assert_eq!(stated.withdrawn, withdrawn);
        }
    }

    #[test]
    fn a_withdrawn_version_stays_withdrawn_until_the_policy_denies_it() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        let mut renewal = Renewal::new(vec![Box::new(Key::of("clockwork"))], None);
        // 42 lies in the store, and is offered no more.
        release_file(&store, 42, &["alice"]);
        publish_by_hand(&store, 43, &["alice"], None);
        renewal.renew(&policy, &store, &image(), made()).unwrap();
        let version = 43.try_into().unwrap();
        let (_, stated) = renewal
            .withdraw(&policy, &store, &image(), version, made())
            .unwrap();
        assert_eq!(versions(&stated.releases), [42]);
        assert_eq!(stated.withdrawn, [version]);
        assert_eq!(stated.created, made() + SignedDuration::from_secs(1));
        let (_, stated) = renewal.renew(&policy, &store, &image(), made()).unwrap();
        assert_eq!(stated.withdrawn, [version]);
        let denying = policy.with(|fields| fields.images[0].denied_versions.push(version));
        let denying = versioned(&denying.unwrap(), 2);
        let (_, stated) = renewal.renew(&denying, &store, &image(), made()).unwrap();
        assert!(stated.withdrawn.is_empty());
    }

    #[test]
    fn a_version_that_is_not_published_is_not_withdrawn() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        let mut renewal = Renewal::new(vec![Box::new(Key::of("clockwork"))], None);
        publish_by_hand(&store, 43, &["alice"], None);
        renewal.renew(&policy, &store, &image(), made()).unwrap();
        let error = renewal
            .withdraw(&policy, &store, &image(), 34.try_into().unwrap(), made())
            .unwrap_err();
        assert!(matches!(error, StoreError::NotOffered { .. }), "{error:?}");
    }

    #[test]
    fn a_release_without_its_archive_takes_no_others_place() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        let mut renewal = Renewal::new(vec![Box::new(Key::of("clockwork"))], None);
        release_file(&store, 42, &["alice"]);
        fs::remove_dir_all(store.blobs()).unwrap();
        publish_by_hand(&store, 43, &["alice"], None);
        renewal.renew(&policy, &store, &image(), made()).unwrap();
        let error = renewal
            .withdraw(&policy, &store, &image(), 43.try_into().unwrap(), made())
            .unwrap_err();
        assert!(matches!(error, StoreError::NothingLeft { .. }), "{error:?}");
    }

    #[test]
    fn the_only_release_is_not_withdrawn() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        let mut renewal = Renewal::new(vec![Box::new(Key::of("clockwork"))], None);
        publish_by_hand(&store, 43, &["alice"], None);
        renewal.renew(&policy, &store, &image(), made()).unwrap();
        let before = fs::read(store.channel(&image())).unwrap();
        let version = 43.try_into().unwrap();
        let error = renewal
            .withdraw(&policy, &store, &image(), version, made())
            .unwrap_err();
        assert!(matches!(error, StoreError::NothingLeft { .. }), "{error:?}");
        assert_eq!(fs::read(store.channel(&image())).unwrap(), before);
    }

    #[test]
    fn a_renewed_statement_is_due_at_half_its_life() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        let mut renewal = Renewal::new(vec![Box::new(Key::of("clockwork"))], None);
        publish_by_hand(&store, 42, &["alice"], None);
        let due = |policy: &TrustPolicy, hours| {
            let now = made() + SignedDuration::from_hours(hours);
            store.is_due(policy, &image(), now).unwrap()
        };
        assert!(due(&policy, 0));
        let (path, said) = renewal.renew(&policy, &store, &image(), made()).unwrap();
        assert_eq!(path, store.channel(&image()));
        assert_eq!(said.expires, made() + SignedDuration::from_hours(24));
        assert!(!due(&policy, 0));
        assert!(!due(&policy, 12));
        assert!(due(&policy, 13));
        assert!(due(&versioned(&policy, 2), 0));
    }
}
