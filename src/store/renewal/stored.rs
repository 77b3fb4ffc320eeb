//! Releases as they lie in a store, and the channel that offers them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::{CurrentRelease, ReleaseType};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, Archive, ImageName, ImageVersion, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Envelope, TrustPolicy};

use crate::error::Refused;
use crate::files;
use crate::image::joined;
use crate::kind::Kind;
use crate::{Store, StoreError};

/// A release that the store has, with its blobs, and that the policy accepts.
#[derive(Debug, Clone)]
pub(super) struct StoredRelease {
    pub(super) release: CurrentRelease,
    pub(super) envelope: Envelope,
}

/// By which a release of a store is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) policy: &'a TrustPolicy,
    pub(super) store: &'a Store,
    pub(super) image: &'a ImageName,
    pub(super) now: Timestamp,
}

impl Judge<'_> {
    pub(super) fn expected(&self) -> Expected<'_> {
        Expected {
            name: self.image,
            arch: None,
            now: self.now.into(),
        }
    }

    /// Returns `true` if the policy denies a release, whatever its signatures.
    pub(super) fn is_denied(&self, release: &CurrentRelease) -> bool {
        let denied = &self.policy.fields().denied_digests;
        denied.contains(&release.sha256) || self.is_past(release.version)
    }

    /// Returns `true` if the policy denies a version, or its `min_version` has passed it.
    pub(super) fn is_past(&self, version: ImageVersion) -> bool {
        let accepted = self.policy.image(self.image);
        accepted.is_none_or(|accepted| {
            version < accepted.min_version || accepted.denied_versions.contains(&version)
        })
    }

    /// Reads a release from `images/NAME/VERSION/ARCH.json`, joins what the channel's copy of it holds besides, and
    /// verifies it; its archive and chunk list must be there, in their sizes.
    ///
    /// # Errors
    ///
    /// Where the file holds another statement than `wanted` names, the policy does not accept it, or a file is missing.
    pub(super) fn load(
        &self,
        wanted: &CurrentRelease,
        channel: &Channel,
    ) -> Result<StoredRelease, StoreError> {
        let path = (self.store).version(self.image, wanted.version, &wanted.arch);
        let bytes = files::read_stored(&path, LIMITS.envelope_bytes)?;
        let envelope = Kind::Image.parse(&path, &bytes)?;
        let found = Sha256Digest::of(envelope.unverified_payload());
        if found != wanted.sha256 {
            return Err(StoreError::OtherVersion {
                image: self.image.clone(),
                version: wanted.version,
                path,
                expected: Box::new(wanted.sha256),
                found: Box::new(found),
            });
        }
        let offered = channel.releases.iter().map(|release| &release.manifest);
        let envelope = offered.fold(envelope, joined);
        let verified = self
            .policy
            .verify_manifest(&envelope.encode(), &self.expected())
            .map_err(Refused::at(&path))?;
        self.check_blobs(&verified.as_ref().archive)?;
        Ok(StoredRelease {
            release: wanted.clone(),
            envelope,
        })
    }

    fn check_blobs(&self, archive: &Archive) -> Result<(), StoreError> {
        for (path, expected) in [
            (
                self.store.chunk_list(archive),
                archive.chunk_list_len() as u64,
            ),
            (self.store.archive(archive), archive.size),
        ] {
            let file = files::open_stored(&path)
                .map_err(|error| StoreError::NoArchive(Box::new(error)))?;
            let metadata = file.metadata().map_err(StoreError::unreadable(&path))?;
            let found = metadata.len();
            if found != expected {
                return Err(StoreError::BlobSize {
                    path,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}

/// Returns the releases that a channel offers and that this version can read, by their own word.
pub(super) fn offered(image: &ImageName, channel: &Channel) -> Vec<CurrentRelease> {
    let manifests = channel.releases.iter().filter_map(|release| {
        let payload = release.manifest.unverified_payload();
        let manifest = Manifest::parse(payload).ok()?;
        let is_one = release.manifest.payload_type() == Manifest::PAYLOAD_TYPE;
        (is_one && manifest.name == *image).then(|| CurrentRelease {
            version: manifest.version,
            arch: manifest.arch,
            payload_type: ReleaseType::known(),
            sha256: Sha256Digest::of(payload),
            until: None,
        })
    });
    manifests.collect()
}

/// Makes a channel offer what is listed, and nothing else that this version can read. The order stays; what is added
/// comes first where it is the newest of its architecture.
pub(super) fn offer(channel: &mut Channel, listed: &[StoredRelease]) {
    let mut missing: Vec<&StoredRelease> = listed.iter().collect();
    channel.releases.retain_mut(|offered| {
        let payload = offered.manifest.unverified_payload();
        let is_of_newer = offered.manifest.payload_type() != Manifest::PAYLOAD_TYPE
            || Manifest::parse(payload).is_err_and(|error| error.needs_upgrade());
        if is_of_newer {
            return true;
        }
        let sha256 = Sha256Digest::of(payload);
        let at = missing
            .iter()
            .position(|stored| stored.release.sha256 == sha256);
        if let Some(at) = at {
            offered.manifest = missing.remove(at).envelope.clone();
        }
        at.is_some()
    });
    let is_newest = |stored: &&StoredRelease| {
        let release = &stored.release;
        let mut others = listed.iter().map(|other| &other.release);
        others.all(|other| other.arch != release.arch || other.version <= release.version)
    };
    let (first, last): (Vec<_>, Vec<_>) = missing.into_iter().partition(is_newest);
    let entries = |of: Vec<&StoredRelease>| -> Vec<_> {
        let envelopes = of.into_iter().map(|stored| stored.envelope.clone().into());
        envelopes.collect()
    };
    channel.releases.splice(0..0, entries(first));
    channel.releases.extend(entries(last));
}

/// Orders by falling versions, then by architecture.
pub(super) fn falling(one: &CurrentRelease, other: &CurrentRelease) -> Ordering {
    let falling = other.version.cmp(&one.version);
    falling.then_with(|| one.arch.cmp(&other.arch))
}

/// Leaves the first `most` versions of each architecture.
pub(super) fn retain_newest<T>(
    sorted: &mut Vec<T>,
    most: usize,
    release: impl Fn(&T) -> &CurrentRelease,
) {
    let mut versions: BTreeMap<Arch, BTreeSet<ImageVersion>> = BTreeMap::new();
    sorted.retain(|entry| {
        let release = release(entry);
        let of_arch = versions.entry(release.arch.clone()).or_default();
        if of_arch.len() < most {
            of_arch.insert(release.version);
        }
        of_arch.contains(&release.version)
    });
}
