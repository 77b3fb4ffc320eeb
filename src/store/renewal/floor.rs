//! What the freshness role said last of an image, and what may not be published behind it.

use std::path::Path;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, ImageName, ImageVersion, Manifest};
use sealboot_core::trust::{Channel, Refusal, TrustPolicy};

use super::state::Stated;
use crate::error::Refused;
use crate::files;
use crate::{Store, StoreError};

/// The last statement about an image. What is current does not become older by itself, so nothing is published behind
/// it unless an operator says so.
#[derive(Debug, Clone)]
pub(crate) struct FreshnessFloor(Freshness);

impl FreshnessFloor {
    /// Fails where the role has named a newer policy.
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

    /// Fails where the role has listed a newer version.
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

    /// Fails where the role has listed a newer version than the one that is to take its place.
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

    /// Returns `true` if the role has listed the manifest with this digest.
    pub(crate) fn lists(&self, payload: &Sha256Digest) -> bool {
        let mut listed = self.0.releases_for(None);
        listed.any(|release| release.sha256 == *payload)
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
}

impl From<Freshness> for FreshnessFloor {
    fn from(said: Freshness) -> Self {
        Self(said)
    }
}

impl Store {
    /// Returns the last statement of an image's channel, be it still valid or not: for a publisher without a renewer's
    /// state, who has nothing else.
    ///
    /// # Errors
    ///
    /// As for [`files::read_stored`].
    pub(crate) fn floor(
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
        Ok(last.map(|last| last.freshness.into()))
    }
}

/// Returns the statement of the role that was created last, of those in a channel.
pub(crate) fn last_statement(
    policy: &TrustPolicy,
    image: &ImageName,
    channel: &Channel,
) -> Option<Stated> {
    let stated = channel.freshness.iter().filter_map(|envelope| {
        let freshness = policy.stated(image, envelope)?;
        let envelope = envelope.clone();
        (freshness.name == *image).then_some(Stated {
            envelope,
            freshness,
        })
    });
    stated.max_by_key(|stated| stated.freshness.created)
}
