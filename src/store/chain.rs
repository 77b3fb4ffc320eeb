//! The trust policies in a store: from the one that an operator gives to the one that machines end with.

use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::{Chain, TrustPolicy};

use crate::error::Refused;
use crate::{Notice, Store, StoreError, files};

impl Store {
    /// Goes on with a walk along the store's policies, as a loader does, up to the last version below `end`, or to the
    /// last that the store has.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] at a policy that does not follow, [`StoreError::PolicyGap`] where one is missing, and
    /// as for [`files::read_stored`].
    pub fn walk(&self, mut chain: Chain, end: Option<PolicyVersion>) -> Result<Chain, StoreError> {
        while let Some(version) = chain
            .next()
            .filter(|next| end.is_none_or(|end| *next < end))
        {
            let path = self.policy(version);
            if matches!(path.try_exists(), Ok(false)) {
                self.check_no_gap(version)?;
                break;
            }
            let envelope = files::read_stored(&path, LIMITS.policy_envelope_bytes)?;
            chain.step(&envelope).map_err(Refused::at(&path))?;
        }
        Ok(chain)
    }

    /// Fails where the store lacks a policy but has a later one: machines would stop at the gap, and so would
    /// everything that speaks for the store.
    fn check_no_gap(&self, missing: PolicyVersion) -> Result<(), StoreError> {
        let entries = std::fs::read_dir(self.policies()).into_iter().flatten();
        let versions = entries.flatten().filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_suffix(".json")?.parse().ok()
        });
        match versions.filter(|version| *version > missing).max() {
            None => Ok(()),
            Some(later) => Err(StoreError::PolicyGap {
                root: self.root().to_owned(),
                later,
                missing,
            }),
        }
    }

    /// Returns the policy by which machines judge what the store has, where they have `baked_in`; says so where that
    /// is another one.
    ///
    /// # Errors
    ///
    /// As for [`walk`](Self::walk).
    pub fn newest_policy(
        &self,
        baked_in: TrustPolicy,
        say: &mut dyn FnMut(Notice),
    ) -> Result<TrustPolicy, StoreError> {
        let from = baked_in.version();
        let chain = self.walk(Chain::from(baked_in), None)?;
        self.report_walk(from, &chain, say);
        Ok(chain.newest().clone())
    }

    /// Reports a walk from version `from`.
    pub(crate) fn report_walk(
        &self,
        from: PolicyVersion,
        chain: &Chain,
        say: &mut dyn FnMut(Notice),
    ) {
        if let Some(ends_soon) = chain.ends_soon() {
            say(Notice::ChainEndsSoon(ends_soon));
        }
        let newest = chain.newest();
        if newest.version() != from {
            say(Notice::JudgedBy {
                version: newest.version(),
                path: self.policy(newest.version()),
                from,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{policy, sealed_policy, store, version, versioned};

    #[test]
    fn a_policy_that_does_not_follow_is_refused_with_its_path() {
        let (_dir, store) = store();
        let second = versioned(&policy(&["bob"]), 2);
        let path = store.policy(version(2));
        fs::write(&path, sealed_policy(&second, &["bob"]).encode()).unwrap();
        let baked_in = policy(&["alice"]);
        let error = store.walk(Chain::from(baked_in), None).unwrap_err();
        assert!(error.is_refusal() && error.code().is_some(), "{error:?}");
        let fact = error.to_string();
        assert!(fact.starts_with(&path.display().to_string()), "{fact}");
    }

    #[test]
    fn a_gap_in_the_chain_stops_the_walk() {
        let (_dir, store) = store();
        fs::write(store.policy(version(3)), "").unwrap();
        let error = store
            .walk(Chain::from(policy(&["alice"])), None)
            .unwrap_err();
        assert!(
            matches!(&error, StoreError::PolicyGap { later, missing, .. }
                if *later == version(3) && *missing == version(2)),
            "{error:?}"
        );
    }

    #[test]
    fn the_newest_policy_judges_and_is_named() {
        let (_dir, store) = store();
        let second = versioned(&policy(&["alice"]), 2);
        let envelope = sealed_policy(&second, &["alice"]);
        fs::write(store.policy(version(2)), envelope.encode()).unwrap();
        let mut said = Vec::new();
        let baked_in = policy(&["alice"]);
        let mut say = |notice: Notice| said.push((notice.is_warning(), notice.to_string()));
        assert_eq!(store.newest_policy(baked_in, &mut say).unwrap(), second);
        let path = store.policy(version(2));
        let sentence = format!(
            "judged by version 2 of the trust policy, {}, which follows from version 1",
            path.display()
        );
        assert_eq!(said, [(false, sentence)]);
        let mut silent = |notice| panic!("{notice:?}");
        store.newest_policy(second, &mut silent).unwrap();
    }

    #[test]
    fn a_chain_that_ends_soon_is_warned_of() {
        for (steps, left) in [
            (47, None),
            (48, Some("16 more")),
            (63, Some("1 more")),
            (64, Some("no more")),
        ] {
            let (_dir, store) = store();
            for number in 2..2 + steps {
                let envelope = sealed_policy(&versioned(&policy(&["alice"]), number), &["alice"]);
                fs::write(store.policy(version(number)), envelope.encode()).unwrap();
            }
            let mut warned = Vec::new();
            let mut say = |notice: Notice| {
                if notice.is_warning() {
                    warned.push(notice.to_string());
                }
            };
            store.newest_policy(policy(&["alice"]), &mut say).unwrap();
            assert_eq!(
                warned.len(),
                usize::from(left.is_some()),
                "{steps}: {warned:?}"
            );
            for (left, warned) in left.iter().zip(&warned) {
                assert!(warned.contains(left), "{warned}");
            }
        }
    }
}
