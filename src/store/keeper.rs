//! Renews, for as long as a server runs, what is due.

use std::collections::HashMap;

use jiff::Timestamp;

use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::ImageName;
use sealboot_core::trust::{Chain, TrustPolicy};

use crate::freshness::{FreshnessFloor, Renewal};
use crate::{Notice, Store, StoreError};

/// Renews the freshness statements of a store, whatever becomes of the files in it meanwhile.
#[derive(Debug)]
pub struct Keeper {
    renewal: Renewal,
    store: Store,
    /// The walk so far: a policy that has been seen is not forgotten because its file is gone.
    chain: Chain,
    /// What the role said last of each image, whatever has become of the file that held it.
    last: HashMap<ImageName, FreshnessFloor>,
    /// What was reported last of the policy (under no name) and of each image: a fault is reported once, not
    /// every minute.
    said: HashMap<Option<ImageName>, String>,
}

impl Keeper {
    /// Checks everything that can be checked before the first renewal; machines have `baked_in`.
    ///
    /// # Errors
    ///
    /// As for [`Store::walk`] and [`Renewal::check`].
    pub fn new(renewal: Renewal, baked_in: TrustPolicy, store: Store) -> Result<Self, StoreError> {
        let chain = store.walk(Chain::from(baked_in), None)?;
        renewal.check(chain.newest())?;
        Ok(Self {
            renewal,
            store,
            chain,
            last: HashMap::new(),
            said: HashMap::new(),
        })
    }

    /// Renews what is due at `now`, and reports what changed since the last time.
    pub fn tend(&mut self, now: Timestamp, say: &mut dyn FnMut(Notice)) {
        match self.store.walk(self.chain.clone(), None) {
            Ok(chain) => self.chain = chain,
            Err(error) => return self.say(None, Notice::PolicyUnknown { error }, say),
        }
        let policy = self.chain.newest().clone();
        for image in policy.images().iter().map(|image| &image.name) {
            if !self.store.channel(image).exists() {
                continue;
            }
            let notice = match self.renew(&policy, image, now) {
                Ok(None) => continue,
                Ok(Some(freshness)) => Notice::Renewed { freshness },
                Err(error) => Notice::NotRenewed {
                    image: image.clone(),
                    error,
                },
            };
            self.say(Some(image), notice, say);
        }
    }

    /// Renews one image, if it is due and is not behind what was said of it before.
    fn renew(
        &mut self,
        policy: &TrustPolicy,
        image: &ImageName,
        now: Timestamp,
    ) -> Result<Option<Freshness>, StoreError> {
        let stated = self.store.floor(policy, image)?;
        // An operator who has a key of the role and goes back on purpose says so, later than what was said before.
        let last = match (self.last.remove(image), stated) {
            (Some(last), Some(stated)) => Some(last.later(stated)),
            (last, stated) => last.or(stated),
        };
        if let Some(last) = last {
            self.last.insert(image.clone(), last.clone());
            last.check(policy, &self.store, image)?;
        }
        if !self.store.is_due(policy, image, now)? {
            return Ok(None);
        }
        self.renewal.check(policy)?;
        let (_, freshness) = self.renewal.renew(policy, &self.store, image, now)?;
        self.last.insert(image.clone(), freshness.clone().into());
        Ok(Some(freshness))
    }

    fn say(&mut self, of: Option<&ImageName>, notice: Notice, say: &mut dyn FnMut(Notice)) {
        let text = notice.to_string();
        let said = self.said.insert(of.cloned(), text.clone());
        if said != Some(text) {
            say(notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::SignedDuration;

    use super::*;
    use crate::testing::{Key, fresh, made, policy, publish_by_hand, store, version};

    fn by_clockwork() -> Renewal {
        Renewal::new(vec![Box::new(Key::of("clockwork"))], None)
    }

    fn round(keeper: &mut Keeper, hours: i64) -> Vec<String> {
        let mut said = Vec::new();
        let now = made() + SignedDuration::from_hours(hours);
        keeper.tend(now, &mut |notice| said.push(notice.to_string()));
        said
    }

    #[test]
    fn a_keeper_of_keys_that_do_not_count_is_not_made() {
        let (_dir, store) = store();
        let error = Keeper::new(by_clockwork(), policy(&["alice"]), store.clone()).unwrap_err();
        assert!(matches!(error, StoreError::NoFreshnessRole { .. }));
        fs::write(store.policy(version(3)), "").unwrap();
        let error = Keeper::new(by_clockwork(), fresh(policy(&["alice"])), store).unwrap_err();
        assert!(matches!(error, StoreError::PolicyGap { .. }));
    }

    #[test]
    fn a_store_that_was_put_back_is_not_renewed_and_reported_once() {
        let (_dir, store) = store();
        publish_by_hand(&store, 42, &["alice"], None);
        let mut keeper =
            Keeper::new(by_clockwork(), fresh(policy(&["alice"])), store.clone()).unwrap();
        let said = round(&mut keeper, 0);
        assert_eq!(said.len(), 1, "{said:?}");
        publish_by_hand(&store, 41, &["alice"], None);
        let said = round(&mut keeper, 1);
        assert!(
            said[0].starts_with("image relay is not renewed: "),
            "{said:?}"
        );
        assert!(round(&mut keeper, 2).is_empty());
        publish_by_hand(&store, 43, &["alice"], None);
        let said = round(&mut keeper, 3);
        assert_eq!(
            said,
            ["image relay: version 43 (x86_64) is current until 2026-01-02T15:00:00Z"]
        );
        assert!(round(&mut keeper, 3).is_empty());
    }
}
