//! Handing on trust: from a signed policy to the one that machines walk to next.
//!
//! What machines run until then must run after, or they stop at their next start. So each image of the
//! store is judged by the new policy first.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use sealboot_core::failure::Diagnose as _;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::ImageName;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::chain::EndsSoon;
use sealboot_core::trust::policy::{Signer, SignerName};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Chain, Channel, Envelope, Refusal, TrustPolicy};

use crate::error::{NotNext, Refused};
use crate::files::{self, Existing};
use crate::kind::Kind;
use crate::policy::{StoredPolicy, check_in_force, load};
use crate::tally::Missing;
use crate::{Store, StoreError};

/// What publishing a policy comes to.
#[derive(Debug)]
pub enum Step {
    /// The store has it already.
    Published {
        /// Its path in the store.
        path: PathBuf,
        /// Its version.
        version: PolicyVersion,
    },
    /// It is the next one, and may stop machines.
    Next(Box<NextPolicy>),
}

/// What became of a policy that was to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is in the store now, at this path.
    Now(PathBuf),
    /// Another publisher has put it there since it was prepared.
    Before(PathBuf),
}

/// A policy that follows the newest of a store, and what it does to the store's images. Only
/// [`Store::prepare_policy`] makes one, after every check.
#[derive(Debug)]
pub struct NextPolicy {
    store: Store,
    baked_in: TrustPolicy,
    ends_soon: Option<EndsSoon>,
    before: TrustPolicy,
    policy: TrustPolicy,
    envelope: Envelope,
    stops: Vec<Stop>,
}

/// An image that machines accept now, and will not when the new policy judges; `Display` is a warning.
#[derive(Debug)]
pub struct Stop {
    /// The image.
    pub image: ImageName,
    /// What it lacks.
    pub lacking: Lacking,
    /// What machines will say.
    pub refusal: Refusal,
    /// The version of the new policy.
    pub version: PolicyVersion,
}

/// What an image lacks by the new policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// Its envelope is refused: people must sign, or publish another version.
    Envelope,
    /// The envelope is good, and a statement that says so is all that is missing: a machine can make it,
    /// once the policy is in the store.
    Freshness,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            image,
            refusal,
            version,
            ..
        } = self;
        write!(
            f,
            "image {image} will be refused by version {version} of the trust policy"
        )?;
        match self.lacking {
            Lacking::Envelope => write!(
                f,
                ": {refusal}\n  code: {}\n  {}",
                refusal.code(),
                refusal.hint()
            ),
            Lacking::Freshness => {
                write!(f, " until `sealboot freshness renew` is run: {refusal}")
            }
        }
    }
}

impl NextPolicy {
    /// Returns the policy that machines begin with.
    #[must_use]
    pub const fn baked_in(&self) -> &TrustPolicy {
        &self.baked_in
    }

    /// Returns the keys of the baked-in policy's root that are not in the new policy's. As long as machines begin with
    /// that policy, they count in its root: with enough others of it, they can sign another chain.
    #[must_use]
    pub fn removed_root_keys(&self) -> Vec<SignerName> {
        let kept = |removed: &Signer| {
            let mut signers = self.policy.root_role().signers();
            signers.any(|signer| signer.key == removed.key)
        };
        let signers = self.baked_in.root_role().signers();
        let removed = signers.filter(|signer| !kept(signer));
        removed.map(|signer| signer.name.clone()).collect()
    }

    /// Returns what to warn of where few policies can follow the new one.
    #[must_use]
    pub const fn ends_soon(&self) -> Option<EndsSoon> {
        self.ends_soon
    }

    /// Returns the policy that machines end with now.
    #[must_use]
    pub const fn before(&self) -> &TrustPolicy {
        &self.before
    }

    /// Returns the policy that is to follow it.
    #[must_use]
    pub const fn policy(&self) -> &TrustPolicy {
        &self.policy
    }

    /// Returns the envelope that holds it.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Returns the images that the new policy refuses and the old one does not, in the order of their names.
    #[must_use]
    pub fn stops(&self) -> &[Stop] {
        &self.stops
    }

    /// Returns the images whose machines will not boot, but for those that are agreed to stop.
    #[must_use]
    pub fn stopping(&self, agreed: &[ImageName]) -> Vec<ImageName> {
        let stopping = self
            .stops
            .iter()
            .filter(|stop| stop.lacking == Lacking::Envelope && !agreed.contains(&stop.image));
        stopping.map(|stop| stop.image.clone()).collect()
    }

    /// Puts the policy into the store, where it judges everything at once.
    ///
    /// # Errors
    ///
    /// [`StoreError::WouldStop`] where an image that stops is not among those `agreed` to, [`StoreError::OtherPolicy`]
    /// where another publisher was faster with another policy, and where the file cannot be written.
    pub fn publish(self, agreed: &[ImageName]) -> Result<Published, StoreError> {
        let version = self.policy.version();
        let images = self.stopping(agreed);
        if !images.is_empty() {
            return Err(StoreError::WouldStop { version, images });
        }
        let path = self.store.policy(version);
        files::create_directory(files::directory(&path))?;
        // Never in another's place, so that what machines have seen stays what it was, and of two who publish
        // in the same moment one learns of it.
        match files::write(&path, &self.envelope.encode(), 0o644, Existing::Keep) {
            Err(StoreError::Exists { .. }) => {
                self.store.check_same(version, &self.envelope)?;
                Ok(Published::Before(path))
            }
            written => written.map(|()| Published::Now(path)),
        }
    }
}

impl Store {
    /// Checks that the policy in `envelope` follows those of the store, and what it would do to the store's images at
    /// `now`. Machines have the policy in the file `baked_in`.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotNext`], [`StoreError::PolicySkips`], [`StoreError::PolicyNotNewer`] or
    /// [`StoreError::OtherPolicy`] where it does not follow; [`StoreError::PolicyExpired`] where machines would refuse every
    /// image under it; [`StoreError::UnsignedPolicy`] where `envelope` is a plain policy; and as for [`load`] and [`walk`](Self::walk).
    pub fn prepare_policy(
        &self,
        baked_in: &Path,
        envelope: &Path,
        now: Timestamp,
    ) -> Result<Step, StoreError> {
        let first = load(baked_in)?;
        let from = first.version();
        let chain = self.walk(Chain::from(first.clone()), None)?;
        let path = envelope;
        let envelope = signed_envelope(path)?;
        if let Some(version) = claimed(&envelope).map(|policy| policy.version()) {
            if version > from && version <= chain.newest().version() {
                self.check_same(version, &envelope)?;
                let path = self.policy(version);
                return Ok(Step::Published { path, version });
            }
            if version <= from {
                return Err(StoreError::PolicyNotNewer {
                    path: path.to_owned(),
                    version,
                    baked_in: baked_in.to_owned(),
                    from,
                });
            }
            if let Some(expected) = chain.next().filter(|next| version > *next) {
                let found = version;
                let refusal = Refusal::PolicyVersion { found, expected };
                return Err(StoreError::PolicySkips(Refused::at(path)(refusal)));
            }
        }
        let mut longer = chain.clone();
        longer.step(&envelope.encode()).map_err(|refusal| NotNext {
            missing: claimed(&envelope).map_or(Vec::new(), |policy| {
                let both = [chain.newest(), &policy].into_iter();
                both.filter_map(|of| Missing::of(of.version(), of.root_role(), &envelope))
                    .collect()
            }),
            refused: Refused::at(path)(refusal),
        })?;
        let (before, policy) = (chain.newest().clone(), longer.newest().clone());
        check_in_force(&policy, now)?;
        Ok(Step::Next(Box::new(NextPolicy {
            store: self.clone(),
            baked_in: first,
            ends_soon: longer.ends_soon(),
            stops: self.stops(&before, &policy, now)?,
            before,
            policy,
            envelope,
        })))
    }

    /// Checks that the policy of this version in the store is the one in `envelope`; its signatures may be others.
    fn check_same(&self, version: PolicyVersion, envelope: &Envelope) -> Result<(), StoreError> {
        let path = self.policy(version);
        let there = Kind::Policy.read(&path)?;
        if there.signed_bytes() == envelope.signed_bytes() {
            return Ok(());
        }
        Err(StoreError::OtherPolicy {
            path,
            version,
            given: Box::new(Sha256Digest::of(envelope.unverified_payload())),
            published: Box::new(Sha256Digest::of(there.unverified_payload())),
        })
    }

    /// Returns the images that `new` refuses and `old` does not.
    fn stops(
        &self,
        old: &TrustPolicy,
        new: &TrustPolicy,
        now: Timestamp,
    ) -> Result<Vec<Stop>, StoreError> {
        let images = self.images();
        let entries = match fs::read_dir(&images) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(StoreError::unreadable(&images))?,
        };
        let mut stops = Vec::new();
        for entry in entries {
            let path = entry.map_err(StoreError::unreadable(&images))?.path();
            let is_channel =
                path.is_file() && path.extension().is_some_and(|suffix| suffix == "json");
            let name = path.file_stem().and_then(|stem| stem.to_str());
            if let Some(image) = name
                .filter(|_| is_channel)
                .and_then(|name| name.parse().ok())
            {
                stops.extend(stop(&path, image, old, new, now)?);
            }
        }
        stops.sort_by(|one, other| one.image.as_str().cmp(other.image.as_str()));
        Ok(stops)
    }
}

/// Reads the envelope; a policy that has no signatures yet has an error of its own.
fn signed_envelope(path: &Path) -> Result<Envelope, StoreError> {
    match StoredPolicy::read(path) {
        Ok(StoredPolicy::Plain(_)) => Err(StoreError::UnsignedPolicy {
            path: path.to_owned(),
        }),
        _ => Kind::Policy.read(path),
    }
}

/// Returns what the envelope says it holds, for messages that come before it is judged.
fn claimed(envelope: &Envelope) -> Option<TrustPolicy> {
    if envelope.payload_type() != TrustPolicy::PAYLOAD_TYPE {
        return None;
    }
    TrustPolicy::parse(envelope.unverified_payload()).ok()
}

/// Judges one image. What the old policy refuses too does not stop now. A statement of freshness that has run out is none
/// of that: it is renewed in a moment, and then the image must be good.
fn stop(
    path: &Path,
    image: ImageName,
    old: &TrustPolicy,
    new: &TrustPolicy,
    now: Timestamp,
) -> Result<Option<Stop>, StoreError> {
    let bytes = files::read_stored(path, LIMITS.channel_bytes)?;
    let Ok(channel) = Channel::parse(&bytes) else {
        return Ok(None);
    };
    let expected = Expected {
        name: &image,
        arch: None,
        now: now.into(),
    };
    // One release that is signed is enough for machines to go on.
    let signed = |policy: &TrustPolicy| {
        let mut judged = (channel.releases.iter())
            .map(|release| policy.verify_manifest(&release.manifest.encode(), &expected))
            .map(|judged| judged.map(drop));
        let first = judged.next().unwrap_or(Err(Refusal::NoRelease));
        first.or_else(|refusal| judged.find(Result::is_ok).unwrap_or(Err(refusal)))
    };
    let boots = |policy: &TrustPolicy| policy.verify_channel(&bytes, &expected).map(drop);
    let found = match (signed(new), boots(new)) {
        (Err(refusal), _) if signed(old).is_ok() => Some((Lacking::Envelope, refusal)),
        (Ok(()), Err(refusal)) if boots(old).is_ok() => Some((Lacking::Freshness, refusal)),
        _ => None,
    };
    Ok(found.map(|(lacking, refusal)| Stop {
        image,
        lacking,
        refusal,
        version: new.version(),
    }))
}

#[cfg(test)]
mod tests {
    use sealboot_core::failure::FailureCode;
    use sealboot_core::trust::policy::OnExpiry;

    use super::*;
    use crate::testing::{
        fresh, image, made, policy, publish_by_hand, sealed_policy, store, version, versioned,
        write,
    };

    /// A store whose machines have a policy that alice signs, and publish `relay` 42 by alice.
    struct Lab {
        _dir: tempfile::TempDir,
        store: Store,
    }

    impl Lab {
        fn new() -> Self {
            let (dir, store) = store();
            fs::write(store.root().join("trust.json"), policy(&["alice"]).encode()).unwrap();
            publish_by_hand(&store, 42, &["alice"], None);
            Self { _dir: dir, store }
        }

        fn prepare(&self, next: &TrustPolicy, by: &[&str]) -> Result<Step, StoreError> {
            let envelope = self.store.root().join("next.json");
            write(&envelope, &sealed_policy(next, by));
            self.prepare_file(&envelope)
        }

        fn prepare_file(&self, envelope: &Path) -> Result<Step, StoreError> {
            let baked_in = self.store.root().join("trust.json");
            self.store.prepare_policy(&baked_in, envelope, made())
        }
    }

    fn next(step: Result<Step, StoreError>) -> NextPolicy {
        match step.unwrap() {
            Step::Next(next) => *next,
            published => panic!("{published:?}"),
        }
    }

    #[test]
    fn a_policy_that_does_not_follow_is_refused() {
        let lab = Lab::new();
        let of = |number| versioned(&policy(&["alice"]), number);
        let plain = lab.store.root().join("plain.json");
        fs::write(&plain, of(2).encode()).unwrap();
        let error = lab.prepare_file(&plain).unwrap_err();
        assert!(matches!(error, StoreError::UnsignedPolicy { .. }));
        assert!(error.hint().unwrap().ends_with("plain.signed.json"));
        let error = lab.prepare(&of(1), &["alice"]).unwrap_err();
        assert!(matches!(error, StoreError::PolicyNotNewer { .. }));
        let error = lab.prepare(&of(3), &["alice"]).unwrap_err();
        assert!(matches!(&error, StoreError::PolicySkips(_)) && error.code().is_some());
        let error = lab.prepare(&of(2), &["eve"]).unwrap_err();
        assert!(error.is_refusal() && error.code().is_some());
        let StoreError::NotNext(NotNext { missing, .. }) = &error else {
            panic!("{error:?}");
        };
        let versions: Vec<u64> = missing.iter().map(|role| role.version.as_u64()).collect();
        assert_eq!(versions, [1, 2]);
        assert_eq!(
            error.hint().unwrap(),
            "`sealboot policy sign` must still be run by 1 of alice, as version 1 requires, and by 1 of alice, as version 2 requires"
        );
    }

    #[test]
    fn of_two_publishers_the_slower_one_learns_what_is_there() {
        let lab = Lab::new();
        let second = versioned(&policy(&["alice"]), 2);
        let other = second.with(|fields| fields.allow_http = true).unwrap();
        let prepare = |policy: &TrustPolicy| next(lab.prepare(policy, &["alice"]));
        let (first, same, late) = (prepare(&second), prepare(&second), prepare(&other));
        first.publish(&[]).unwrap();
        same.publish(&[]).unwrap();
        let error = late.publish(&[]).unwrap_err();
        assert!(matches!(error, StoreError::OtherPolicy { .. }), "{error:?}");
        let published = fs::read(lab.store.policy(version(2))).unwrap();
        assert_eq!(published, sealed_policy(&second, &["alice"]).encode());
    }

    #[test]
    fn a_policy_that_has_expired_already_is_not_published() {
        let lab = Lab::new();
        let ending = |on_expiry| {
            let second = versioned(&policy(&["alice"]), 2);
            let changed = second.with(|fields| {
                fields.created = made() - jiff::SignedDuration::from_hours(2);
                fields.expires = Some(made() - jiff::SignedDuration::from_hours(1));
                fields.on_expiry = on_expiry;
            });
            lab.prepare(&changed.unwrap(), &["alice"])
        };
        let error = ending(OnExpiry::Refuse).unwrap_err();
        assert!(error.is_refusal(), "{error:?}");
        assert_eq!(error.code(), Some(FailureCode::TrustExpired));
        next(ending(OnExpiry::Warn));
    }

    #[test]
    fn a_published_version_is_never_replaced() {
        let lab = Lab::new();
        let second = versioned(&policy(&["alice"]), 2);
        let slower = next(lab.prepare(&second, &["alice"]));
        let path = lab.store.policy(version(2));
        let published = next(lab.prepare(&second, &["alice"])).publish(&[]).unwrap();
        assert_eq!(published, Published::Now(path.clone()));
        assert_eq!(
            slower.publish(&[]).unwrap(),
            Published::Before(path.clone())
        );
        let again = lab.prepare(&second, &["alice"]).unwrap();
        assert!(matches!(again, Step::Published { path: of, .. } if of == path));
        let error = lab.prepare(&fresh(second), &["alice"]).unwrap_err();
        assert!(matches!(error, StoreError::OtherPolicy { .. }), "{error:?}");
    }

    #[test]
    fn machines_stop_only_where_that_is_agreed_to() {
        let lab = Lab::new();
        let bobs = versioned(&policy(&["bob"]), 2);
        let prepare = || next(lab.prepare(&bobs, &["alice", "bob"]));
        assert_eq!(prepare().stopping(&[]), [image()]);
        let stops = prepare();
        let [Stop { lacking, .. }] = stops.stops() else {
            panic!("{stops:?}");
        };
        assert_eq!(*lacking, Lacking::Envelope);
        for agreed in [vec![], vec!["other".parse().unwrap()]] {
            let error = prepare().publish(&agreed).unwrap_err();
            assert!(
                matches!(&error, StoreError::WouldStop { images, .. } if *images == [image()]),
                "{error:?}"
            );
            assert!(error.is_refusal() && error.code().is_none());
        }
        assert!(!lab.store.policy(version(2)).exists());
        prepare().publish(&[image()]).unwrap();
    }

    #[test]
    fn an_image_that_a_machine_can_renew_stops_nothing() {
        let lab = Lab::new();
        let required = fresh(versioned(&policy(&["alice"]), 2));
        let prepared = next(lab.prepare(&required, &["alice"]));
        assert!(matches!(
            prepared.stops(),
            [Stop {
                lacking: Lacking::Freshness,
                ..
            }]
        ));
        prepared.publish(&[]).unwrap();
    }
}
