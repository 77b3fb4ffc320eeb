//! Publishing an image: from an envelope that its signers have signed to what machines fetch.
//!
//! Order is what keeps a machine that fetches meanwhile from seeing a half: first the blobs, then
//! `images/NAME/VERSION/ARCH.json`, last `images/NAME.json`, each in one step.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::{CurrentRelease, ReleaseType};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, ImageName, ImageVersion, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Envelope, OfferedRelease, TrustPolicy, Verified};

use crate::error::{Damaged, Refused};
use crate::files::{self, Existing};
use crate::image::{StoredImage, joined, unverified_manifest};
use crate::renewal::{Change, Turn};
use crate::tally::names;
use crate::{Notice, Store, StoreError};

/// An envelope that enough of a policy's signers have signed, and the policy that counted them.
#[derive(Debug)]
pub struct Release<'a> {
    path: PathBuf,
    envelope: Envelope,
    manifest: Verified<Manifest>,
    policy: &'a TrustPolicy,
    now: Timestamp,
}

impl<'a> Release<'a> {
    /// Reads the envelope of one version, or a channel, and verifies it as a machine does at `now`.
    ///
    /// # Errors
    ///
    /// As for [`StoredImage::read`], and [`StoreError::Refused`].
    pub fn read(path: &Path, policy: &'a TrustPolicy, now: Timestamp) -> Result<Self, StoreError> {
        let envelope = StoredImage::read(path)?.into_envelope();
        // The name that the envelope claims selects the role that must have signed it.
        let name = unverified_manifest(path, &envelope)?.name;
        let manifest = policy
            .verify_manifest(&envelope.encode(), &expected(&name, now))
            .map_err(Refused::at(path))?;
        Ok(Self {
            path: path.to_owned(),
            envelope,
            manifest,
            policy,
            now,
        })
    }

    /// Returns what was signed.
    #[must_use]
    pub const fn manifest(&self) -> &Verified<Manifest> {
        &self.manifest
    }
}

fn expected(name: &ImageName, now: Timestamp) -> Expected<'_> {
    Expected {
        name,
        arch: None,
        now: now.into(),
    }
}

/// What to do with a version that is older than the newest that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Older {
    /// Refuse it.
    Refuse,
    /// Publish it, for taking back a bad release; a policy's `min_version` still holds.
    Allow,
}

impl Older {
    /// Allows it where `allowed` is `true`, as a flag of a command line says.
    #[must_use]
    pub const fn allowed(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Refuse }
    }
}

/// The image, its version and its signers, as an operator reads them.
impl fmt::Display for Release<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = self.manifest.as_ref();
        write!(
            f,
            "image {}, version {} ({}), signed by {}",
            manifest.name,
            manifest.version,
            manifest.label,
            names(self.manifest.signers())
        )
    }
}

impl Store {
    /// Makes a release the newest of its name; machines that boot from then on fetch it. Returns the path of the
    /// channel, which is what they fetch.
    ///
    /// Everything is checked that a loader checks, the archive included, which is copied from the store that the
    /// release's envelope is in if this one does not have it. `progress` is called with the bytes of it checked so
    /// far. In the turn of a renewer, its keys state that the release is current; without one, machines go on with what the
    /// last statement lists.
    ///
    /// # Errors
    ///
    /// [`StoreError::Older`], [`StoreError::StillCurrent`], [`StoreError::OtherVersion`], [`StoreError::Behind`] and as for
    /// [`check_archive`](Self::check_archive); nothing has changed for machines then.
    pub fn publish(
        &self,
        release: &Release<'_>,
        older: Older,
        renewer: Option<&mut Turn<'_>>,
        say: &mut dyn FnMut(Notice),
        progress: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, StoreError> {
        let policy = release.policy;
        let manifest = release.manifest.as_ref();
        let name = &manifest.name;
        let versions = self.versions(name);
        files::create_directory(&versions)?;
        let _lock = files::lock(&versions);
        let newest = self.channel(name);
        let versioned = self.version(name, manifest.version, &manifest.arch);
        let mut channel = read_channel(&newest)?;
        let offered = offered(&newest, &channel, name)?;
        let of_arch = offered.iter().filter(|there| there.arch == manifest.arch);
        if let Some(highest) = of_arch.map(|there| there.version).max() {
            check_order(manifest, highest, older, say)?;
        }
        for there in offered.into_iter().chain(published(&versioned, name)?) {
            check_same(&release.manifest, there)?;
        }
        let floor = match &renewer {
            Some(turn) => turn.floor(name, &channel),
            None => self.floor(policy, name)?,
        };
        if let Some(floor) = &floor {
            floor.check_policy(policy, &newest)?;
            floor.check_withdrawn(manifest.version, &newest)?;
            match (older, &renewer) {
                (Older::Refuse, _) => {
                    floor.check_version(manifest.version, &manifest.arch, &newest)?;
                }
                // Without a statement that lists the older one, machines would boot neither.
                (Older::Allow, None) => floor.check_replaced(manifest)?,
                (Older::Allow, Some(_)) => {}
            }
        }
        self.provide_blobs(&release.path, &release.manifest, say, progress)?;
        let mut envelope = release.envelope.clone();
        // An older copy takes no signature away.
        if let Ok(stored) = StoredImage::read(&versioned) {
            envelope = joined(envelope, &stored.into_envelope());
        }
        files::create_directory(files::directory(&versioned))?;
        files::write(&versioned, &envelope.encode(), 0o644, Existing::Replace)?;
        let is_listed =
            |payload: &Sha256Digest| floor.as_ref().is_some_and(|floor| floor.lists(payload));
        offer(&mut channel, envelope, manifest, policy, &is_listed);
        if let Some(turn) = renewer {
            let current = Change::Publish(CurrentRelease {
                version: manifest.version,
                arch: manifest.arch.clone(),
                payload_type: ReleaseType::known(),
                sha256: *release.manifest.payload_sha256(),
                until: None,
            });
            let (path, _) = turn.restate(name, channel, &current, say)?;
            return Ok(path);
        }
        remark(&channel, policy, release, say);
        files::write(&newest, &channel.encode(), 0o644, Existing::Replace)?;
        Ok(newest)
    }
}

/// Reads the channel so far; an empty one where there is none.
pub(crate) fn read_channel(path: &Path) -> Result<Channel, StoreError> {
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(Channel::new([], []));
    }
    let bytes = files::read_stored(path, LIMITS.channel_bytes)?;
    Channel::parse(&bytes).map_err(|source| {
        damaged(path)(StoreError::NotChannel {
            path: path.to_owned(),
            source,
        })
    })
}

/// Puts a release at the head of a channel. Versions above it are offered no more; of those below, as many as the policy
/// lets be current, and those that the last statement lists: machines boot these until the next one.
fn offer(
    channel: &mut Channel,
    envelope: Envelope,
    manifest: &Manifest,
    policy: &TrustPolicy,
    is_listed: &dyn Fn(&Sha256Digest) -> bool,
) {
    let most = match policy.freshness_role(&manifest.name) {
        Some(_) => usize::try_from(policy.fields().freshness.max_releases).unwrap_or(usize::MAX),
        None => 0,
    };
    let is_same = |other: &OfferedRelease| {
        other.manifest.payload_type() == envelope.payload_type()
            && other.manifest.unverified_payload() == envelope.unverified_payload()
    };
    let mut offered = channel.releases.iter();
    let entry = match offered.position(is_same) {
        // Its entry may hold what this version does not know.
        Some(at) => {
            let mut entry = channel.releases.remove(at);
            entry.manifest = joined(envelope, &entry.manifest);
            entry
        }
        None => envelope.into(),
    };
    let mut below = 0;
    channel.releases.retain(|other| {
        // What this version cannot read is for newer machines, and stays.
        if other.manifest.payload_type() != Manifest::PAYLOAD_TYPE {
            return true;
        }
        let payload = other.manifest.unverified_payload();
        let Ok(other) = Manifest::parse(payload) else {
            return true;
        };
        if other.arch != manifest.arch {
            return true;
        }
        below += usize::from(other.version < manifest.version);
        let is_wanted = below <= most || is_listed(&Sha256Digest::of(payload));
        other.version < manifest.version && is_wanted
    });
    channel.releases.insert(0, entry);
}

/// Says what an operator should know of a channel that is about to be published: where machines refuse it, or go on with
/// another release.
fn remark(
    channel: &Channel,
    policy: &TrustPolicy,
    release: &Release<'_>,
    say: &mut dyn FnMut(Notice),
) {
    let manifest = release.manifest.as_ref();
    let expected = Expected {
        arch: Some(manifest.arch.clone()),
        ..expected(&manifest.name, release.now)
    };
    match policy.verify_channel(&channel.encode(), &expected) {
        Ok(current) if current.manifest().as_ref().version == manifest.version => {}
        Ok(current) => say(Notice::NotYetCurrent {
            version: manifest.version,
            current: current.manifest().as_ref().version,
        }),
        Err(_) => say(Notice::FreshnessMissing),
    }
}

/// An envelope that the store already has, as it describes itself.
///
/// It is not verified: it may be expired, or of signers who have left, and its number counts all the
/// same. An attacker who can write to the store can make it say anything, and gains that nothing is published
/// without [`Older::Allow`].
struct Published {
    path: PathBuf,
    version: ImageVersion,
    arch: Arch,
    payload_sha256: Sha256Digest,
}

/// Returns what a channel offers; leaves out what only newer versions of this program can read.
fn offered(path: &Path, channel: &Channel, name: &ImageName) -> Result<Vec<Published>, StoreError> {
    let releases = channel.releases.iter().map(|release| &release.manifest);
    let known = releases.filter(|envelope| envelope.payload_type() == Manifest::PAYLOAD_TYPE);
    known
        .map(|envelope| described(path, envelope, name))
        .collect()
}

fn published(path: &Path, name: &ImageName) -> Result<Option<Published>, StoreError> {
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let envelope = StoredImage::read(path)
        .map_err(damaged(path))?
        .into_envelope();
    described(path, &envelope, name).map(Some)
}

fn described(path: &Path, envelope: &Envelope, name: &ImageName) -> Result<Published, StoreError> {
    let manifest = unverified_manifest(path, envelope).map_err(damaged(path))?;
    if manifest.name != *name {
        return Err(StoreError::OtherName {
            path: path.to_owned(),
            found: manifest.name,
            expected: name.clone(),
        });
    }
    Ok(Published {
        path: path.to_owned(),
        version: manifest.version,
        arch: manifest.arch,
        payload_sha256: Sha256Digest::of(envelope.unverified_payload()),
    })
}

fn damaged(path: &Path) -> impl Fn(StoreError) -> StoreError + use<'_> {
    move |error| match error {
        // What cannot be read may be as good as ever.
        StoreError::Unreadable { .. } => error,
        error => Damaged {
            path: path.to_owned(),
            error: Box::new(error),
        }
        .into(),
    }
}

fn check_order(
    manifest: &Manifest,
    newest: ImageVersion,
    older: Older,
    say: &mut dyn FnMut(Notice),
) -> Result<(), StoreError> {
    if newest <= manifest.version {
        return Ok(());
    }
    let (image, version) = (manifest.name.clone(), manifest.version);
    match older {
        Older::Refuse => Err(StoreError::Older {
            image,
            version,
            newest,
        }),
        Older::Allow => {
            say(Notice::GoesBack {
                image,
                version,
                newest,
            });
            Ok(())
        }
    }
}

/// A version is one statement for ever: machines, reports and people name images by it.
fn check_same(verified: &Verified<Manifest>, there: Published) -> Result<(), StoreError> {
    let manifest = verified.as_ref();
    let is_other = (there.version, &there.arch) != (manifest.version, &manifest.arch);
    if is_other || there.payload_sha256 == *verified.payload_sha256() {
        return Ok(());
    }
    Err(StoreError::OtherVersion {
        image: manifest.name.clone(),
        version: manifest.version,
        path: there.path,
        expected: Box::new(*verified.payload_sha256()),
        found: Box::new(there.payload_sha256),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{
        fresh, image, made, policy, release_file, sealed, sealed_manifest, store, write,
    };

    fn publish(store: &Store, envelope: &Path, older: Older) -> Result<Vec<String>, StoreError> {
        let policy = policy(&["alice"]);
        let release = Release::read(envelope, &policy, made())?;
        let mut said = Vec::new();
        let mut say = |notice: Notice| said.push(notice.to_string());
        store.publish(&release, older, None, &mut say, &mut |_| {})?;
        Ok(said)
    }

    #[test]
    fn an_envelope_that_its_signers_did_not_sign_is_refused() {
        let (_dir, store) = store();
        let envelope = release_file(&store, 42, &["eve"]);
        let error = publish(&store, &envelope, Older::Refuse).unwrap_err();
        assert!(matches!(&error, StoreError::Refused(_)) && error.is_refusal());
        assert!(!store.channel(&image()).exists());
    }

    #[test]
    fn an_archive_that_is_missing_or_damaged_is_not_published() {
        let (_dir, store) = store();
        let envelope = release_file(&store, 42, &["alice"]);
        let policy = policy(&["alice"]);
        let release = Release::read(&envelope, &policy, made()).unwrap();
        let path = store.archive(&release.manifest().as_ref().archive);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[1..]).unwrap();
        let error = publish(&store, &envelope, Older::Refuse).unwrap_err();
        assert!(matches!(error, StoreError::ArchiveRefused(_)), "{error:?}");
        fs::remove_file(&path).unwrap();
        let error = publish(&store, &envelope, Older::Refuse).unwrap_err();
        assert!(matches!(error, StoreError::NoArchive(_)), "{error:?}");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let error = publish(&store, &envelope, Older::Refuse).unwrap_err();
        assert!(matches!(error, StoreError::LeadsOut { .. }), "{error:?}");
        assert!(!store.channel(&image()).exists());
    }

    #[test]
    fn an_older_version_is_published_only_on_purpose() {
        let (_dir, store) = store();
        let newer = release_file(&store, 43, &["alice"]);
        assert!(publish(&store, &newer, Older::Refuse).unwrap().is_empty());
        let older = release_file(&store, 42, &["alice"]);
        let error = publish(&store, &older, Older::Refuse).unwrap_err();
        assert!(matches!(error, StoreError::Older { .. }), "{error:?}");
        assert!(error.is_refusal() && error.code().is_none());
        let said = publish(&store, &older, Older::Allow).unwrap();
        assert_eq!(
            said,
            ["version 43 of image relay was published before: machines go back to version 42"]
        );
    }

    #[test]
    fn a_version_is_one_statement_for_ever() {
        let (_dir, store) = store();
        let envelope = release_file(&store, 42, &["alice"]);
        publish(&store, &envelope, Older::Refuse).unwrap();
        let mut manifest = support::world::manifest(42);
        manifest.label = "another".parse().unwrap();
        let other = sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice"]);
        let other = write(&store.root().join("other.json"), &other);
        let error = publish(&store, &other, Older::Refuse).unwrap_err();
        assert!(
            matches!(error, StoreError::OtherVersion { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn a_damaged_channel_is_reported_as_the_stores_own() {
        let (_dir, store) = store();
        let envelope = release_file(&store, 42, &["alice"]);
        fs::write(store.channel(&image()), "{").unwrap();
        let error = publish(&store, &envelope, Older::Refuse).unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
        assert!(!error.is_refusal());
    }

    #[test]
    fn a_channel_that_cannot_be_read_is_not_called_damaged() {
        let (_dir, store) = store();
        let envelope = release_file(&store, 42, &["alice"]);
        let channel = store.channel(&image());
        std::os::unix::fs::symlink(&channel, &channel).unwrap();
        let error = publish(&store, &envelope, Older::Refuse).unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error:?}");
    }

    #[test]
    fn an_archive_is_copied_from_the_store_of_its_envelope() {
        let (_there, other) = store();
        let (_dir, store) = store();
        let envelope = release_file(&other, 42, &["alice"]);
        let said = publish(&store, &envelope, Older::Refuse).unwrap();
        assert!(said[0].starts_with("copied the archive to "), "{said:?}");
    }

    #[test]
    fn a_publisher_without_the_key_is_warned() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        let envelope = release_file(&store, 42, &["alice"]);
        let release = Release::read(&envelope, &policy, made()).unwrap();
        let mut said = Vec::new();
        let mut say = |notice: Notice| said.push((notice.is_warning(), notice.to_string()));
        let mut steps = Vec::new();
        let mut progress = |bytes| steps.push(bytes);
        let channel = store
            .publish(&release, Older::Refuse, None, &mut say, &mut progress)
            .unwrap();
        assert_eq!(channel, store.channel(&image()));
        assert!(matches!(&said[..], [(true, said)] if said.contains("freshness renew")));
        assert_eq!(
            steps.last(),
            Some(&release.manifest().as_ref().archive.size)
        );
    }

    #[test]
    fn an_older_copy_takes_no_signature_away() {
        let (_dir, store) = store();
        let stored = release_file(&store, 42, &["alice", "bob"]);
        let copy = sealed_manifest(42, &["alice"]);
        let copy = write(&store.root().join("copy.json"), &copy);
        publish(&store, &copy, Older::Refuse).unwrap();
        for path in [stored.clone(), store.channel(&image())] {
            let envelope = StoredImage::read(&path).unwrap().into_envelope();
            assert_eq!(envelope.signatures().len(), 2);
        }
        // A copy that would make it too large to be read adds nothing, and takes nothing away.
        let names: Vec<String> = (0..31).map(|at| format!("signer-{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let full = sealed_manifest(42, &[&["alice"], &names[..]].concat());
        write(&stored, &full);
        let other = sealed_manifest(42, &["alice", "bob"]);
        write(&copy, &other);
        publish(&store, &copy, Older::Refuse).unwrap();
        let envelope = StoredImage::read(&stored).unwrap().into_envelope();
        assert_eq!(envelope.signatures().len(), 2);
    }
}
