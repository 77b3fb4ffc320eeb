//! Who renews: once, or for as long as a server runs.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::ImageName;
use sealboot_core::trust::{Chain, TrustPolicy};

use super::Renewal;
use super::state::{Start, StateFile};
use crate::policy::load_with_sha256;
use crate::{Notice, Store, StoreError};

/// Signs the freshness statements of a store, and remembers them outside it.
#[derive(Debug)]
pub struct Renewer {
    pub(super) renewal: Renewal,
    pub(super) store: Store,
    /// The policy that machines have, and the SHA-256 of its file.
    pub(super) baked_in: (TrustPolicy, Sha256Digest),
    pub(super) state: StateFile,
    pub(super) start: Start,
    /// What was reported last, by its subject: a fault is reported once, not every quarter of a minute.
    reported: HashMap<Subject, String>,
}

/// What a notice is about. Of one subject, only what has changed is news.
type Subject = (Option<ImageName>, &'static str);

impl Renewer {
    /// Checks what can be checked before the first turn; machines have the policy in the file `baked_in`, and the state
    /// is at `state`.
    ///
    /// # Errors
    ///
    /// [`StoreError::State`] for a state in the store, and as for [`load`](crate::policy::load), [`Store::walk`] and
    /// [`Renewal::check`].
    pub fn new(
        renewal: Renewal,
        baked_in: &Path,
        store: Store,
        state: &Path,
        start: Start,
    ) -> Result<Self, StoreError> {
        let baked_in = load_with_sha256(baked_in)?;
        let chain = store.walk(Chain::from(baked_in.0.clone()), None)?;
        renewal.check(chain.newest())?;
        Ok(Self {
            state: StateFile::outside(&store, state)?,
            renewal,
            store,
            baked_in,
            start,
            reported: HashMap::new(),
        })
    }

    /// Renews what is due at `now` for the first time.
    ///
    /// # Errors
    ///
    /// [`StoreError::State`]: without its state, nothing can be renewed later either. What else fails is reported.
    pub fn begin(&mut self, now: Timestamp, say: &mut dyn FnMut(Notice)) -> Result<(), StoreError> {
        match self.renew_each(now, say) {
            Err(error @ StoreError::State(_)) => Err(error),
            Err(error) => {
                self.report(Notice::NothingRenewed { error }, say);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Renews what is due at `now`, and reports what changed since the last time.
    pub fn renew_due(&mut self, now: Timestamp, say: &mut dyn FnMut(Notice)) {
        if let Err(error) = self.renew_each(now, say) {
            self.report(Notice::NothingRenewed { error }, say);
        }
    }

    fn renew_each(
        &mut self,
        now: Timestamp,
        say: &mut dyn FnMut(Notice),
    ) -> Result<(), StoreError> {
        let mut notices = Vec::new();
        let mut turn = self.turn(now, &mut |notice| match notice {
            // While it waits.
            Notice::WaitsForState { .. } => say(notice),
            notice => notices.push(notice),
        })?;
        // A store without images has nothing to renew yet.
        for image in turn.images().unwrap_or_default() {
            match turn.renew_due(&image, &mut |notice| notices.push(notice)) {
                Ok(None) => {}
                Ok(Some(freshness)) => notices.push(Notice::Renewed { freshness }),
                Err(error) => notices.push(Notice::NotRenewed { image, error }),
            }
        }
        drop(turn);
        for notice in notices {
            self.report(notice, say);
        }
        Ok(())
    }

    /// Reports what is news.
    fn report(&mut self, notice: Notice, say: &mut dyn FnMut(Notice)) {
        let text = notice.to_string();
        let before = self.reported.insert(subject(&notice), text.clone());
        if before != Some(text) {
            say(notice);
        }
    }
}

/// Returns what a notice is about.
fn subject(notice: &Notice) -> Subject {
    match notice {
        Notice::Renewed { freshness } => (Some(freshness.name.clone()), "renewal"),
        Notice::NotRenewed { image, .. } => (Some(image.clone()), "renewal"),
        Notice::NotListed { image, .. } => (Some(image.clone()), "listing"),
        Notice::NothingCurrent { image, .. } => (Some(image.clone()), "loss"),
        Notice::TakenFromStore { image, .. } => (Some(image.clone()), "beginning"),
        Notice::JudgedBy { .. } => (None, "policy"),
        Notice::ChainEndsSoon(_) => (None, "chain"),
        Notice::StateBegins { .. } => (None, "beginning"),
        _ => (None, "turn"),
    }
}
