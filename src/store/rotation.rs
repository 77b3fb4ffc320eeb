//! Handing on trust: from a signed policy to the one that machines walk to next.
//!
//! What machines run until then must run after, or they stop at their next start. So each image of the
//! store is judged by the new policy first ([`crate::orphan`]).

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::chain::EndsSoon;
use sealboot_core::trust::{Chain, Envelope, Refusal, TrustPolicy};

use crate::error::{NotNext, Refused};
use crate::files::{self, Existing};
use crate::fork::Fork;
use crate::kind::Kind;
use crate::orphan::{Break, Change, Effects, Orphan, Waiting};
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
    effects: Effects,
}

impl NextPolicy {
    /// Returns the policy that machines begin with.
    #[must_use]
    pub const fn baked_in(&self) -> &TrustPolicy {
        &self.baked_in
    }

    /// Returns which keys could sign another chain for machines that begin with the baked-in policy.
    #[must_use]
    pub fn fork(&self) -> Fork {
        Fork::of(&self.baked_in, &self.policy)
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

    /// Returns what machines use that the new policy refuses and the old one does not: releases and statements in the
    /// order of the images, then host configs.
    #[must_use]
    pub fn orphans(&self) -> &[Orphan] {
        &self.effects.orphans
    }

    /// Returns the images that wait for their first statement, in the order of their names.
    #[must_use]
    pub fn waiting(&self) -> &[Waiting] {
        &self.effects.waiting
    }

    /// Returns what the new policy orphans, but for what is agreed to.
    #[must_use]
    pub fn breaking(&self, agreed: &[Break]) -> Vec<&Orphan> {
        let orphans = self.orphans().iter();
        orphans
            .filter(|orphan| !agreed.contains(&orphan.as_break()))
            .collect()
    }

    /// Puts the policy into the store, where it judges everything at once.
    ///
    /// # Errors
    ///
    /// [`StoreError::WouldBreak`] where something that it orphans is not `agreed` to, [`StoreError::OtherPolicy`] where another publisher was faster with another policy, and where the file cannot be written.
    pub fn publish(self, agreed: &[Break]) -> Result<Published, StoreError> {
        let version = self.policy.version();
        let breaking = self.breaking(agreed);
        if !breaking.is_empty() {
            let mut breaks: Vec<Break> = breaking.iter().map(|orphan| orphan.as_break()).collect();
            breaks.dedup();
            return Err(StoreError::WouldBreak {
                version,
                used: breaking
                    .into_iter()
                    .map(|orphan| orphan.used.clone())
                    .collect(),
                breaks,
            });
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
    /// Checks that the policy in `envelope` follows those of the store, and what it would do at `now` to what machines use:
    /// the store's releases and statements, and the host configs in these files. Machines have the policy in the file
    /// `baked_in`.
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
        host_configs: &[PathBuf],
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
        let (old, new) = (&before, &policy);
        let effects = Change { old, new, now }.effects(self, host_configs)?;
        Ok(Step::Next(Box::new(NextPolicy {
            store: self.clone(),
            baked_in: first,
            ends_soon: longer.ends_soon(),
            effects,
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

#[cfg(test)]
mod tests {
    use std::fs;

    use sealboot_core::failure::{Diagnose as _, FailureCode};
    use sealboot_core::format::host_config::HostConfig;
    use sealboot_core::trust::Channel;
    use sealboot_core::trust::policy::{Fields, OnExpiry};

    use super::*;
    use crate::orphan::Used;
    use crate::testing::{
        fresh, image, made, policy, publish_by_hand, sealed, sealed_freshness, sealed_manifest,
        sealed_policy, sealed_statement, signer, store, version, versioned, write,
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
            self.store.prepare_policy(&baked_in, envelope, &[], made())
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

    fn agreed(texts: &[&str]) -> Vec<Break> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn breaks(next: &NextPolicy) -> Vec<String> {
        let orphans = next.orphans().iter();
        orphans
            .map(|orphan| orphan.as_break().to_string())
            .collect()
    }

    #[test]
    fn machines_stop_only_where_that_is_agreed_to() {
        let lab = Lab::new();
        let bobs = versioned(&policy(&["bob"]), 2);
        let prepare = || next(lab.prepare(&bobs, &["alice", "bob"]));
        assert_eq!(breaks(&prepare()), ["relay=42"]);
        for wrong in [&[][..], &["relay=41"], &["other=42"], &["relay=2"]] {
            let error = prepare().publish(&agreed(wrong)).unwrap_err();
            let StoreError::WouldBreak { used, breaks, .. } = &error else {
                panic!("{error:?}");
            };
            assert!(matches!(&used[..], [Used::Release { .. }]), "{used:?}");
            assert_eq!(*breaks, agreed(&["relay=42"]));
            assert!(error.is_refusal() && error.code().is_none());
        }
        assert!(!lab.store.policy(version(2)).exists());
        prepare().publish(&agreed(&["relay=42"])).unwrap();
    }

    #[test]
    fn an_image_that_a_machine_can_renew_stops_nothing() {
        let lab = Lab::new();
        let required = fresh(versioned(&policy(&["alice"]), 2));
        let prepared = next(lab.prepare(&required, &["alice"]));
        assert!(matches!(prepared.waiting(), [Waiting { .. }]));
        assert!(prepared.orphans().is_empty());
        prepared.publish(&[]).unwrap();
    }

    #[test]
    fn a_statement_that_counts_is_not_orphaned_unnoticed() {
        let lab = Lab::new();
        let first = fresh(policy(&["alice"]));
        fs::write(lab.store.root().join("trust.json"), first.encode()).unwrap();
        let statement = sealed_freshness((42, 1), &["clockwork"]);
        publish_by_hand(&lab.store, 42, &["alice"], Some(statement));
        let second = versioned(&first, 2);
        assert_eq!(breaks(&next(lab.prepare(&second, &["alice"]))), [""; 0]);
        // The statement counts for 24 hours.
        let shorter = second.with(|fields| fields.freshness.max_hours = 12);
        let prepare = || next(lab.prepare(shorter.as_ref().unwrap(), &["alice"]));
        let prepared = prepare();
        let [Orphan { used, refusal, .. }] = prepared.orphans() else {
            panic!("{:?}", prepared.orphans());
        };
        assert!(matches!(used, Used::Statement { .. }), "{used:?}");
        assert_eq!(refusal.code(), FailureCode::FreshnessValidity);
        let error = prepared.publish(&[]).unwrap_err();
        assert!(matches!(error, StoreError::WouldBreak { .. }), "{error:?}");
        prepare().publish(&agreed(&["relay=42"])).unwrap();
    }

    #[test]
    fn a_denied_release_is_no_orphan_where_another_is_current() {
        let lab = Lab::new();
        let first = fresh(policy(&["alice"]));
        let two = first.with(|fields| fields.freshness.max_releases = 2);
        let first = two.unwrap();
        fs::write(lab.store.root().join("trust.json"), first.encode()).unwrap();
        let releases = [43, 42].map(|version| sealed_manifest(version, &["alice"]));
        let statement = sealed_statement(&[43, 42], &["clockwork"]);
        let channel = Channel::new(releases, [statement]);
        fs::write(lab.store.channel(&image()), channel.encode()).unwrap();
        let denying = |versions: &[u64]| {
            let denied = versioned(&first, 2).with(|fields| {
                let denied = versions
                    .iter()
                    .map(|version| (*version).try_into().unwrap());
                fields.images[0].denied_versions = denied.collect();
            });
            breaks(&next(lab.prepare(&denied.unwrap(), &["alice"])))
        };
        assert_eq!(denying(&[43]), [""; 0]);
        assert_eq!(denying(&[42]), [""; 0]);
        assert_eq!(denying(&[43, 42]), ["relay=43", "relay=42"]);
    }

    #[test]
    fn each_current_release_is_judged_and_no_other() {
        let lab = Lab::new();
        let first = fresh(policy(&["alice", "bob"]));
        let first = first.with(|fields| {
            fields.roles.release[0].threshold = 1;
            fields.freshness.max_releases = 2;
        });
        let first = first.unwrap();
        fs::write(lab.store.root().join("trust.json"), first.encode()).unwrap();
        let signed = [(43, "bob"), (42, "alice"), (41, "bob")];
        let releases = signed.map(|(version, by)| sealed_manifest(version, &[by]));
        let statement = sealed_statement(&[43, 42], &["clockwork"]);
        let channel = Channel::new(releases, [statement]);
        fs::write(lab.store.channel(&image()), channel.encode()).unwrap();
        // Bob releases no more: 43 is orphaned, although machines could go on with 42; 41 is not current.
        let second = versioned(&first, 2).with(|fields| {
            fields.roles.release = vec![sealboot_core::trust::policy::Group {
                keys: vec!["alice".parse().unwrap()],
                threshold: 1,
            }];
        });
        let prepared = next(lab.prepare(&second.unwrap(), &["alice", "bob"]));
        assert_eq!(breaks(&prepared), ["relay=43"]);
    }

    #[test]
    fn a_host_config_that_the_policy_will_refuse_is_an_orphan() {
        let lab = Lab::new();
        let first = policy(&["alice"]).with(|fields| {
            fields.allow_http = true;
            fields.keys.push(signer("emma"));
            fields.roles.host_config = Some(vec![sealboot_core::trust::policy::Group {
                keys: vec!["emma".parse().unwrap()],
                threshold: 1,
            }]);
        });
        let first = first.unwrap();
        fs::write(lab.store.root().join("trust.json"), first.encode()).unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = lab.store.root().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let json = |mirror: &str, created: &str| {
            format!(
                r#"{{{created}"image": "relay", "mirrors": ["{mirror}"], "network": {{"mode": "dhcp"}}}}"#
            )
        };
        let dated = json(
            "https://boot.example/",
            r#""created": "2026-01-01T12:00:00Z", "#,
        );
        let signed = sealed(HostConfig::PAYLOAD_TYPE, dated.into_bytes(), &["emma"]);
        let files = [
            put("plain.json", json("https://boot.example/", "").as_bytes()),
            put("http.json", json("http://boot.example/", "").as_bytes()),
            put("signed.json", &signed.encode()),
        ];
        let envelope = lab.store.root().join("next.json");
        let broken = |change: fn(&mut Fields)| {
            let second = versioned(&first, 2).with(change).unwrap();
            write(&envelope, &sealed_policy(&second, &["alice"]));
            let baked_in = lab.store.root().join("trust.json");
            let prepared = lab
                .store
                .prepare_policy(&baked_in, &envelope, &files, made());
            let prepared = next(prepared);
            let codes: Vec<_> = (prepared.orphans().iter())
                .map(|orphan| (orphan.as_break().to_string(), orphan.refusal.code()))
                .collect();
            let root = lab.store.root().display().to_string() + "/";
            let short = codes.into_iter();
            short
                .map(|(name, code)| (name.replace(&root, ""), code))
                .collect::<Vec<_>>()
        };
        assert_eq!(broken(|_| ()), []);
        assert_eq!(
            broken(|fields| fields.allow_http = false),
            [("http.json=2".to_owned(), FailureCode::FetchPlainHttp)]
        );
        let unsigned = FailureCode::ConfigureHostUnsigned;
        assert_eq!(
            broken(|fields| fields.host_config.required = true),
            [
                ("plain.json=2".to_owned(), unsigned),
                ("http.json=2".to_owned(), unsigned)
            ]
        );
        assert_eq!(
            broken(|fields| {
                fields.host_config.not_before = "2026-01-01T12:00:01Z".parse().ok();
            }),
            [(
                "signed.json=2".to_owned(),
                FailureCode::ConfigureHostRevoked
            )]
        );
    }

    #[test]
    fn a_break_names_an_image_or_a_file_and_a_version() {
        for (text, shown) in [
            ("relay=42", "relay=42"),
            ("a=b.json=2", "'a=b.json'=2"),
            ("a b=2", "'a b'=2"),
        ] {
            let agreed: Break = text.parse().unwrap();
            assert_eq!(
                (agreed.value(), agreed.to_string()),
                (text.to_owned(), shown.to_owned())
            );
        }
        for bad in [
            "", "relay", "relay=", "=42", "relay=0", "relay=x", "relay=+1",
        ] {
            assert!(bad.parse::<Break>().is_err(), "{bad:?}");
        }
    }
}
