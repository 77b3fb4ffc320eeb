//! Freshness statements: what was said last of an image, and a new one in its place.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use sealboot_core::format::Invalid;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{ImageName, ImageVersion, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Envelope, Refusal, Role, TrustPolicy};

use crate::error::Refused;
use crate::files::{self, Existing};
use crate::signer::Signer;
use crate::{Store, StoreError};

/// What the freshness role said last of an image: the newest version does not become older by itself, so nothing that
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
        let Some(manifest) = Channel::parse(&bytes)
            .ok()
            .and_then(|channel| Manifest::parse(channel.manifest.unverified_payload()).ok())
        else {
            return Ok(());
        };
        self.check_version(manifest.version, &path)
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

    /// Fails where the role has said that there is a newer version.
    pub(crate) fn check_version(&self, found: ImageVersion, path: &Path) -> Result<(), StoreError> {
        if self.0.version <= found {
            return Ok(());
        }
        Err(StoreError::Behind(Refused::at(path)(Refusal::Stale {
            name: self.0.name.clone(),
            found,
            newest: self.0.version,
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

impl Store {
    /// Returns what an image's channel shows that the role has said, be it still in force or not.
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
        let stated = channel
            .and_then(|channel| channel.freshness)
            .and_then(|envelope| policy.stated(image, &envelope))
            .filter(|freshness| freshness.name == *image);
        Ok(stated.map(FreshnessFloor))
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

    /// Returns `true` if an image's statement should be renewed: it is not there, does not count, is about an older
    /// version or policy, or more than half of its life has passed.
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
        let bytes = files::read_stored(&self.channel(image), LIMITS.channel_bytes)?;
        let expected = Expected {
            name: image,
            arch: None,
            now: now.into(),
        };
        let Ok(current) = policy.verify_channel(&bytes, &expected) else {
            return Ok(true);
        };
        let stated = current.freshness().map(|freshness| freshness.as_ref());
        Ok(stated.is_none_or(|freshness| {
            let behind = freshness.version != current.manifest().as_ref().version
                || freshness.trust != policy.version();
            let left = freshness.expires.duration_since(now);
            behind || left * 2 < freshness.expires.duration_since(freshness.created)
        }))
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
    /// The channel is verified first as a machine verifies it. What was said before is not asked: see
    /// [`Store::floor`].
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
        let path = store.channel(image);
        let _lock = files::lock(&store.versions(image));
        let bytes = files::read_stored(&path, LIMITS.channel_bytes)?;
        let mut channel = Channel::parse(&bytes).map_err(|source| StoreError::NotChannel {
            path: path.clone(),
            source,
        })?;
        let expected = Expected {
            name: image,
            arch: None,
            now: now.into(),
        };
        let manifest = policy
            .verify_manifest(&channel.manifest.encode(), &expected)
            .map_err(Refused::at(&path))?;
        let (envelope, freshness) = self.statement(policy, manifest.as_ref(), now)?;
        channel.freshness = Some(envelope);
        let bytes = channel.encode();
        // What is about to be served is judged as a machine will judge it.
        policy
            .verify_channel(&bytes, &expected)
            .map_err(Refused::at(&path))?;
        files::write(&path, &bytes, 0o644, Existing::Replace)?;
        Ok((path, freshness))
    }

    /// Signs a statement that this manifest is of the newest version.
    pub(crate) fn statement(
        &mut self,
        policy: &TrustPolicy,
        manifest: &Manifest,
        now: Timestamp,
    ) -> Result<(Envelope, Freshness), StoreError> {
        let longest = SignedDuration::from_hours(policy.fields().freshness.max_hours.into());
        let life = self.life.unwrap_or(USUAL_LIFE.min(longest));
        let freshness = Freshness {
            name: manifest.name.clone(),
            version: manifest.version,
            trust: policy.version(),
            created: now,
            expires: expiry(now, life)?,
        };
        let mut envelope = Envelope::unsigned(Freshness::PAYLOAD_TYPE, freshness.encode());
        for signer in &mut self.signers {
            let signature = signer.sign(&envelope.signed_bytes())?;
            envelope.add_signature(signer.public().id(), signature);
        }
        Ok((envelope, freshness))
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
        Key, fresh, image, made, policy, publish_by_hand, sealed_freshness, sealed_manifest, store,
        versioned, write,
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
