//! Statements that satisfied a trust policy, and the functions that make them.

use jiff::{SignedDuration, Timestamp};

use super::channel::Channel;
use super::envelope::Envelope;
use super::policy::{FreshnessRule, SignerName, TrustPolicy};
use super::refusal::{Refusal, Statement};
use crate::format::digest::Sha256Digest;
use crate::format::freshness::Freshness;
use crate::format::manifest::{Arch, ImageName, Manifest};

/// A statement that satisfied a trust policy.
///
/// The fields are private and the methods of [`TrustPolicy`] are the only constructors: to hold one is
/// to have passed every check.
#[derive(Debug, Clone)]
pub struct Verified<T> {
    statement: T,
    signers: Vec<SignerName>,
    payload_sha256: Sha256Digest,
}

impl<T> Verified<T> {
    pub(super) fn new(statement: T, signers: Vec<SignerName>, payload: &[u8]) -> Self {
        Self {
            statement,
            signers,
            payload_sha256: Sha256Digest::of(payload),
        }
    }

    /// Who signed, by the policy's names, in the policy's order.
    #[must_use]
    pub fn signers(&self) -> &[SignerName] {
        &self.signers
    }

    /// SHA-256 of the signed payload's bytes: what identifies this statement, for measuring.
    #[must_use]
    pub const fn payload_sha256(&self) -> &Sha256Digest {
        &self.payload_sha256
    }

    /// The statement alone.
    pub(super) fn into_statement(self) -> T {
        self.statement
    }
}

impl<T> AsRef<T> for Verified<T> {
    fn as_ref(&self) -> &T {
        &self.statement
    }
}

/// What a manifest is checked for besides its signatures.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The image that was asked for; `None` takes every name that the policy accepts.
    pub name: Option<&'a ImageName>,
    /// The architecture that must be able to run it; `None` takes every one.
    pub arch: Option<Arch>,
    /// What time it is.
    pub now: Timestamp,
}

/// A manifest that is accepted, and is as new as the policy asks for.
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

    /// The statement that says how new it is, if the policy has a role for one and the mirror had one.
    #[must_use]
    pub const fn freshness(&self) -> Option<&Verified<Freshness>> {
        self.freshness.as_ref()
    }
}

impl TrustPolicy {
    /// Checks the bytes of a channel file and, if everything holds, gives the manifest in it.
    ///
    /// # Errors
    ///
    /// As for [`TrustPolicy::verify_manifest`], and then the first check of freshness that fails. Where
    /// the policy has no role for freshness, a statement about it says nothing and is not looked at.
    pub fn verify_channel(
        &self,
        channel: &[u8],
        expected: &Expected<'_>,
    ) -> Result<Current, Refusal> {
        let channel = Channel::parse(channel).map_err(|source| Refusal::Envelope {
            statement: Statement::Manifest,
            source,
        })?;
        let manifest = self.judge_manifest(&channel.manifest, expected)?;
        let name = &manifest.as_ref().name;
        let freshness = match (self.freshness(), &channel.freshness) {
            (None, _) => None,
            (Some(rule), None) if rule.required => return Err(Refusal::NotFresh),
            (Some(_), None) => None,
            (Some(rule), Some(envelope)) => {
                Some(self.judge_freshness(rule, envelope, name, expected.now)?)
            }
        };
        if let Some(newest) = freshness.as_ref().map(|freshness| freshness.as_ref()) {
            let found = manifest.as_ref().version;
            if found < newest.version {
                return Err(Refusal::Stale {
                    name: name.clone(),
                    found,
                    newest: newest.version,
                });
            }
            if self.version() < newest.trust {
                return Err(Refusal::StalePolicy {
                    found: self.version(),
                    newest: newest.trust,
                });
            }
        }
        Ok(Current {
            manifest,
            freshness,
        })
    }

    /// Checks the bytes of a manifest's envelope and, if everything holds, gives the manifest in it.
    ///
    /// In order: the envelope's shape and the type it names, the signatures against the threshold,
    /// then, for the first time reading the payload, its shape, name, architecture, dates and version.
    /// Whether a newer one exists is not asked; [`TrustPolicy::verify_channel`] asks that too.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn verify_manifest(
        &self,
        envelope: &[u8],
        expected: &Expected<'_>,
    ) -> Result<Verified<Manifest>, Refusal> {
        let envelope = parse(Statement::Manifest, envelope)?;
        self.judge_manifest(&envelope, expected)
    }

    /// Checks the bytes of a freshness statement's envelope and, if everything holds, gives the statement.
    ///
    /// # Errors
    ///
    /// The first check that fails; [`Refusal::NotFresh`] where the policy has no role for freshness.
    pub fn verify_freshness(
        &self,
        envelope: &[u8],
        name: &ImageName,
        now: Timestamp,
    ) -> Result<Verified<Freshness>, Refusal> {
        let envelope = parse(Statement::Freshness, envelope)?;
        let rule = self.freshness().ok_or(Refusal::NotFresh)?;
        self.judge_freshness(rule, &envelope, name, now)
    }

    fn judge_manifest(
        &self,
        envelope: &Envelope,
        expected: &Expected<'_>,
    ) -> Result<Verified<Manifest>, Refusal> {
        let (payload, signers) = self.signing().open(Statement::Manifest, envelope)?;
        let manifest = Manifest::parse(payload).map_err(Refusal::Manifest)?;
        self.check_identity(&manifest, expected)?;
        self.check_dates(&manifest, expected.now)?;
        let verified = Verified::new(manifest, signers, payload);
        self.check_denied(&verified)?;
        Ok(verified)
    }

    fn check_identity(&self, manifest: &Manifest, expected: &Expected<'_>) -> Result<(), Refusal> {
        if let Some(expected) = expected.name.filter(|name| **name != manifest.name) {
            return Err(Refusal::OtherImage {
                found: manifest.name.clone(),
                expected: expected.clone(),
            });
        }
        let accepted = self
            .images()
            .iter()
            .find(|image| image.name == manifest.name)
            .ok_or_else(|| Refusal::NameNotAccepted {
                name: manifest.name.clone(),
            })?;
        if let Some(expected) = expected.arch.filter(|arch| *arch != manifest.arch) {
            return Err(Refusal::Arch {
                found: manifest.arch,
                expected,
            });
        }
        if manifest.version < accepted.min_version {
            return Err(Refusal::Rollback {
                name: manifest.name.clone(),
                found: manifest.version,
                min_version: accepted.min_version,
            });
        }
        if accepted.denied_versions.contains(&manifest.version) {
            return Err(Refusal::DeniedVersion {
                name: manifest.name.clone(),
                version: manifest.version,
            });
        }
        Ok(())
    }

    fn check_denied(&self, manifest: &Verified<Manifest>) -> Result<(), Refusal> {
        for (what, digest) in [
            ("manifest", manifest.payload_sha256()),
            ("archive", &manifest.as_ref().archive.sha256),
        ] {
            if self.denied_digests().contains(digest) {
                return Err(Refusal::DeniedDigest {
                    what,
                    digest: *digest,
                });
            }
        }
        Ok(())
    }

    fn check_dates(&self, manifest: &Manifest, now: Timestamp) -> Result<(), Refusal> {
        let tolerance = self.tolerance();
        if manifest.created.duration_since(now) > tolerance {
            return Err(Refusal::Future {
                statement: Statement::Manifest,
                created: manifest.created,
                now,
            });
        }
        let Some(expires) = manifest.expires else {
            return if self.expiry().required {
                Err(Refusal::NoExpiry)
            } else {
                Ok(())
            };
        };
        if now.duration_since(expires) >= tolerance {
            return Err(Refusal::Expired { expires, now });
        }
        let granted = expires.duration_since(manifest.created);
        match self.expiry().max_days {
            Some(max_days) if granted > SignedDuration::from_hours(24 * i64::from(max_days)) => {
                Err(Refusal::LifeTooLong {
                    granted_days: rounded_up(granted, 24 * 3600),
                    max_days,
                })
            }
            _ => Ok(()),
        }
    }

    fn judge_freshness(
        &self,
        rule: &FreshnessRule,
        envelope: &Envelope,
        name: &ImageName,
        now: Timestamp,
    ) -> Result<Verified<Freshness>, Refusal> {
        let role = self.renewing().ok_or(Refusal::NotFresh)?;
        let (payload, signers) = role.open(Statement::Freshness, envelope)?;
        let freshness = Freshness::parse(payload).map_err(Refusal::Freshness)?;
        if freshness.name != *name {
            return Err(Refusal::FreshnessOfOther {
                found: freshness.name,
                expected: name.clone(),
            });
        }
        let tolerance = self.tolerance();
        if freshness.created.duration_since(now) > tolerance {
            return Err(Refusal::Future {
                statement: Statement::Freshness,
                created: freshness.created,
                now,
            });
        }
        if now.duration_since(freshness.expires) >= tolerance {
            return Err(Refusal::FreshnessExpired {
                expires: freshness.expires,
                now,
            });
        }
        let granted = freshness.expires.duration_since(freshness.created);
        if granted > SignedDuration::from_hours(i64::from(rule.max_hours)) {
            return Err(Refusal::FreshnessTooLong {
                granted_hours: rounded_up(granted, 3600),
                max_hours: rule.max_hours,
            });
        }
        Ok(Verified::new(freshness, signers, payload))
    }

    fn tolerance(&self) -> SignedDuration {
        SignedDuration::try_from(self.clock_tolerance()).unwrap_or(SignedDuration::ZERO)
    }
}

pub(super) fn parse(statement: Statement, envelope: &[u8]) -> Result<Envelope, Refusal> {
    Envelope::parse(envelope).map_err(|source| Refusal::Envelope { statement, source })
}

/// A span in units of so many seconds, a begun one counting whole.
fn rounded_up(span: SignedDuration, unit: i64) -> i64 {
    let seconds = span.as_secs() + i64::from(span.subsec_nanos() > 0);
    seconds.saturating_add(unit - 1) / unit
}

#[cfg(test)]
mod tests {
    use super::super::policy::{AcceptedImage, ExpiryRule};
    use super::super::testing::{
        channel, freshness, made, manifest, policy, renewed, sealed, sealed_freshness,
        sealed_manifest, seconds, time,
    };
    use super::*;
    use crate::failure::{Diagnose as _, FailureCode as Code};

    fn expected<'a>(name: Option<&'a ImageName>, now: Timestamp) -> Expected<'a> {
        Expected {
            name,
            arch: Some(Arch::X86_64),
            now,
        }
    }

    fn relay() -> ImageName {
        "relay".parse().unwrap()
    }

    /// The code under which a manifest of alice's is refused, if it is.
    fn judged_at(now: Timestamp, policy: &TrustPolicy, manifest: &Manifest) -> Result<(), Code> {
        let envelope = sealed_manifest(manifest, &["alice"]).encode();
        let verified = policy.verify_manifest(&envelope, &expected(Some(&relay()), now));
        verified.map(|_| ()).map_err(|refusal| refusal.code())
    }

    fn judged(policy: &TrustPolicy, manifest: &Manifest) -> Result<(), Code> {
        judged_at(made(), policy, manifest)
    }

    fn of_alice() -> TrustPolicy {
        policy(&["alice"])
    }

    fn living(life: SignedDuration) -> Manifest {
        let mut manifest = manifest(42);
        manifest.expires = Some(made() + life);
        manifest
    }

    #[test]
    fn what_is_verified_is_what_was_signed_and_by_whom() {
        let both = policy(&["alice", "bob"]);
        let envelope = sealed_manifest(&manifest(42), &["bob", "alice"]);
        let verified = both
            .verify_manifest(&envelope.encode(), &expected(None, made()))
            .unwrap();
        assert_eq!(*verified.as_ref(), manifest(42));
        assert_eq!(
            *verified.payload_sha256(),
            Sha256Digest::of(&manifest(42).encode())
        );
        let names: Vec<_> = verified
            .signers()
            .iter()
            .map(|name| name.as_str())
            .collect();
        assert_eq!(names, ["alice", "bob"]);
    }

    #[test]
    fn an_image_is_the_one_that_was_asked_for_and_that_the_policy_accepts() {
        let policy = of_alice();
        let envelope = |manifest: &Manifest| sealed_manifest(manifest, &["alice"]).encode();
        let (relay, exit): (ImageName, ImageName) = (relay(), "exit".parse().unwrap());
        let mut other = manifest(42);
        other.name = exit.clone();
        let judge = |manifest: &Manifest, name, arch| {
            let expected = Expected {
                name,
                arch,
                now: made(),
            };
            policy.verify_manifest(&envelope(manifest), &expected)
        };
        let native = Some(Arch::X86_64);
        judge(&manifest(42), Some(&relay), native).unwrap();
        judge(&manifest(42), None, None).unwrap();
        let refusal = judge(&manifest(42), Some(&exit), native).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::OtherImage { found, expected } if *found == relay && *expected == exit),
            "{refusal:?}"
        );
        for name in [None, Some(&exit)] {
            let refusal = judge(&other, name, native).unwrap_err();
            assert!(
                matches!(&refusal, Refusal::NameNotAccepted { name } if *name == exit),
                "{refusal:?}"
            );
        }
        let refusal = judge(&manifest(42), None, Some(Arch::Aarch64)).unwrap_err();
        assert!(
            matches!(
                refusal,
                Refusal::Arch {
                    found: Arch::X86_64,
                    expected: Arch::Aarch64
                }
            ),
            "{refusal:?}"
        );
    }

    #[test]
    fn versions_below_the_floor_and_denied_ones_are_refused() {
        let mut image = AcceptedImage::new(relay(), 41.try_into().unwrap());
        image.denied_versions = vec![43.try_into().unwrap()];
        let policy = of_alice().with_images(vec![image]).unwrap();
        for (version, expected) in [
            (40, Err(Code::ManifestRollback)),
            (41, Ok(())),
            (42, Ok(())),
            (43, Err(Code::ManifestDenied)),
            (44, Ok(())),
        ] {
            assert_eq!(judged(&policy, &manifest(version)), expected, "{version}");
        }
    }

    #[test]
    fn a_denied_manifest_or_archive_is_refused() {
        let manifest_digest = Sha256Digest::of(&manifest(42).encode());
        let archive_digest = manifest(42).archive.sha256;
        for (digest, named) in [
            (manifest_digest, Some("manifest")),
            (archive_digest, Some("archive")),
            (Sha256Digest::of(b"something else"), None),
        ] {
            let policy = of_alice().with_denied_digests(vec![digest]).unwrap();
            let envelope = sealed_manifest(&manifest(42), &["alice"]).encode();
            match (
                policy.verify_manifest(&envelope, &expected(None, made())),
                named,
            ) {
                (Ok(_), None) => {}
                (
                    Err(Refusal::DeniedDigest {
                        what,
                        digest: found,
                    }),
                    Some(named),
                ) => {
                    assert_eq!((what, found), (named, digest));
                }
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn clocks_may_differ_by_the_tolerance_and_no_more() {
        let policy = of_alice();
        for (behind, expected) in [
            (seconds(300), Ok(())),
            (
                seconds(300) + SignedDuration::from_nanos(1),
                Err(Code::ManifestFuture),
            ),
            (seconds(301), Err(Code::ManifestFuture)),
        ] {
            assert_eq!(judged_at(made() - behind, &policy, &manifest(42)), expected);
        }
        let expires = made() + seconds(3600);
        for (after, expected) in [
            (seconds(-1), Ok(())),
            (seconds(300) - SignedDuration::from_nanos(1), Ok(())),
            (seconds(300), Err(Code::ManifestExpired)),
            (seconds(301), Err(Code::ManifestExpired)),
        ] {
            let judged = judged_at(expires + after, &policy, &living(seconds(3600)));
            assert_eq!(judged, expected, "{after}");
        }
    }

    #[test]
    fn a_life_is_as_long_as_the_policy_allows() {
        let strict = |required, max_days| {
            let rule = ExpiryRule { required, max_days };
            of_alice().with_expiry(rule).unwrap()
        };
        let days = |count: i64| SignedDuration::from_hours(24 * count);
        let a_little = SignedDuration::from_nanos(1);
        for (policy, manifest, expected) in [
            (strict(false, Some(90)), manifest(42), Ok(())),
            (strict(true, None), manifest(42), Err(Code::ManifestExpiry)),
            (strict(true, None), living(days(36_500)), Ok(())),
            (strict(true, Some(90)), living(days(90)), Ok(())),
            (
                strict(true, Some(90)),
                living(days(90) + a_little),
                Err(Code::ManifestExpiry),
            ),
            (
                strict(false, Some(90)),
                living(days(91)),
                Err(Code::ManifestExpiry),
            ),
        ] {
            assert_eq!(
                judged(&policy, &manifest),
                expected,
                "{:?}",
                manifest.expires
            );
        }
        for (life, granted) in [
            (days(90) + a_little, 91),
            (days(91), 91),
            (days(91) + a_little, 92),
        ] {
            let envelope = sealed_manifest(&living(life), &["alice"]).encode();
            let refusal = strict(true, Some(90))
                .verify_manifest(&envelope, &expected(None, made()))
                .unwrap_err();
            assert!(
                matches!(refusal, Refusal::LifeTooLong { granted_days, max_days: 90 } if granted_days == granted),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn bytes_that_hold_no_manifest_are_refused_by_what_they_hold() {
        let policy = of_alice();
        let judge = |envelope: &[u8]| {
            let judged = policy.verify_manifest(envelope, &expected(None, made()));
            judged.unwrap_err().code()
        };
        let payload = |payload: &[u8]| {
            let statement = Statement::Manifest.payload_type();
            sealed(statement, payload.to_vec(), &["alice"]).encode()
        };
        assert_eq!(judge(b"{}"), Code::ManifestEnvelope);
        assert_eq!(judge(&payload(b"{}")), Code::ManifestInvalid);
        let unsigned = sealed_manifest(&manifest(42), &["mallory"]).encode();
        assert_eq!(judge(&unsigned), Code::ManifestThreshold);
        let other = sealed_freshness(&freshness(42, 1), &["alice"]).encode();
        assert_eq!(judge(&other), Code::ManifestPayloadType);
    }

    /// What a machine makes of a channel with these two statements.
    fn current(
        policy: &TrustPolicy,
        version: u64,
        freshness: Option<Envelope>,
        now: Timestamp,
    ) -> Result<Current, Refusal> {
        let channel = channel(sealed_manifest(&manifest(version), &["alice"]), freshness);
        policy.verify_channel(&channel, &expected(Some(&relay()), now))
    }

    fn code(judged: Result<Current, Refusal>) -> Result<(), Code> {
        judged.map(|_| ()).map_err(|refusal| refusal.code())
    }

    #[test]
    fn a_channel_gives_both_statements() {
        let policy = renewed(of_alice(), true);
        let fresh = sealed_freshness(&freshness(42, 1), &["clockwork"]);
        let current = current(&policy, 42, Some(fresh), made()).unwrap();
        assert_eq!(*current.manifest().as_ref(), manifest(42));
        let said = current.freshness().unwrap();
        assert_eq!(*said.as_ref(), freshness(42, 1));
        assert_eq!(said.signers()[0].as_str(), "clockwork");
    }

    #[test]
    fn silence_about_freshness_is_taken_where_the_policy_takes_it() {
        for (policy, expected) in [
            (of_alice(), Ok(())),
            (renewed(of_alice(), false), Ok(())),
            (renewed(of_alice(), true), Err(Code::FreshnessMissing)),
        ] {
            let judged = current(&policy, 42, None, made());
            assert!(
                !judged
                    .as_ref()
                    .is_ok_and(|current| current.freshness().is_some())
            );
            assert_eq!(code(judged), expected);
        }
    }

    #[test]
    fn a_statement_that_no_role_makes_says_nothing() {
        let newer = sealed_freshness(&freshness(99, 9), &["clockwork"]);
        let current = current(&of_alice(), 42, Some(newer), made()).unwrap();
        assert!(current.freshness().is_none());
    }

    #[test]
    fn a_statement_that_is_there_is_judged_though_none_is_required() {
        let policy = renewed(of_alice(), false);
        let by_mallory = sealed_freshness(&freshness(42, 1), &["mallory"]);
        assert_eq!(
            code(current(&policy, 42, Some(by_mallory), made())),
            Err(Code::FreshnessThreshold)
        );
    }

    #[test]
    fn what_is_older_than_the_newest_is_stale() {
        let policy = renewed(of_alice(), true).with_version(3.try_into().unwrap());
        for (version, newest, trust, expected) in [
            (42, 42, 3, Ok(())),
            (43, 42, 3, Ok(())),
            (42, 42, 2, Ok(())),
            (41, 42, 3, Err(Code::ManifestStale)),
            (42, 42, 4, Err(Code::TrustStale)),
        ] {
            let fresh = sealed_freshness(&freshness(newest, trust), &["clockwork"]);
            let judged = code(current(&policy, version, Some(fresh), made()));
            assert_eq!(judged, expected, "{version}, {newest}, {trust}");
        }
    }

    #[test]
    fn a_bad_manifest_is_refused_whatever_is_said_of_its_freshness() {
        let policy = renewed(of_alice(), true);
        let fresh = sealed_freshness(&freshness(40, 1), &["clockwork"]);
        assert_eq!(
            code(current(&policy, 40, Some(fresh), made())),
            Err(Code::ManifestRollback)
        );
        let refusal = policy
            .verify_channel(b"{}", &expected(None, made()))
            .unwrap_err();
        assert_eq!(refusal.code(), Code::ManifestEnvelope);
    }

    fn fresh_at(now: Timestamp, statement: &Freshness, by: &[&str]) -> Result<(), Code> {
        let envelope = sealed_freshness(statement, by).encode();
        let judged = renewed(of_alice(), true).verify_freshness(&envelope, &relay(), now);
        judged.map(|_| ()).map_err(|refusal| refusal.code())
    }

    #[test]
    fn a_freshness_statement_counts_between_its_dates() {
        let statement = freshness(42, 1);
        for (now, expected) in [
            (made() - seconds(301), Err(Code::FreshnessFuture)),
            (made() - seconds(300), Ok(())),
            (statement.expires, Ok(())),
            (statement.expires + seconds(299), Ok(())),
            (
                statement.expires + seconds(300),
                Err(Code::FreshnessExpired),
            ),
            (
                statement.expires + seconds(301),
                Err(Code::FreshnessExpired),
            ),
        ] {
            assert_eq!(fresh_at(now, &statement, &["clockwork"]), expected, "{now}");
        }
    }

    #[test]
    fn a_freshness_statement_lives_as_long_as_the_policy_allows() {
        for (life, expected) in [
            (seconds(72 * 3600), Ok(())),
            (seconds(72 * 3600 + 1), Err(Code::FreshnessLife)),
        ] {
            let mut statement = freshness(42, 1);
            statement.expires = made() + life;
            assert_eq!(
                fresh_at(made(), &statement, &["clockwork"]),
                expected,
                "{life}"
            );
        }
        let mut statement = freshness(42, 1);
        statement.expires = made() + seconds(73 * 3600 + 1);
        let refusal = renewed(of_alice(), true)
            .verify_freshness(
                &sealed_freshness(&statement, &["clockwork"]).encode(),
                &relay(),
                made(),
            )
            .unwrap_err();
        assert!(
            matches!(
                refusal,
                Refusal::FreshnessTooLong {
                    granted_hours: 74,
                    max_hours: 72
                }
            ),
            "{refusal:?}"
        );
    }

    #[test]
    fn a_freshness_statement_is_of_its_role_and_of_its_image() {
        let mut other = freshness(42, 1);
        other.name = "exit".parse().unwrap();
        assert_eq!(
            fresh_at(made(), &other, &["clockwork"]),
            Err(Code::FreshnessName)
        );
        // Who signs images does not say what is newest.
        assert_eq!(
            fresh_at(made(), &freshness(42, 1), &["alice"]),
            Err(Code::FreshnessThreshold)
        );
        let envelope = sealed_freshness(&freshness(42, 1), &["clockwork"]).encode();
        let without = of_alice().verify_freshness(&envelope, &relay(), made());
        assert_eq!(without.unwrap_err().code(), Code::FreshnessMissing);
        let with = |envelope: &[u8]| {
            let judged = renewed(of_alice(), true).verify_freshness(envelope, &relay(), made());
            judged.unwrap_err().code()
        };
        let payload = sealed(Freshness::PAYLOAD_TYPE, b"{}".to_vec(), &["clockwork"]);
        assert_eq!(with(&payload.encode()), Code::FreshnessInvalid);
        let as_manifest = sealed_manifest(&manifest(42), &["clockwork"]);
        assert_eq!(with(&as_manifest.encode()), Code::FreshnessInvalid);
        assert_eq!(with(b""), Code::FreshnessInvalid);
    }

    #[test]
    fn a_clock_that_stands_at_1970_refuses_everything() {
        let now = time("1970-01-01T00:00:00Z");
        assert_eq!(
            judged_at(now, &of_alice(), &manifest(42)),
            Err(Code::ManifestFuture)
        );
        assert_eq!(
            fresh_at(now, &freshness(42, 1), &["clockwork"]),
            Err(Code::FreshnessFuture)
        );
    }
}
