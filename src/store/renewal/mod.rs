//! Freshness statements: what is current, said again before the last statement ends.
//!
//! A [`Renewer`] has the keys, a store, and a state outside it that remembers what it signed. It works in turns, each
//! under one lock from the first read to the last write, in which nothing is published that the state does not have
//! on disk. `sealboot freshness`, `image publish` with a freshness key and `serve --renew` all go this way.
//!
//! | module | holds |
//! |---|---|
//! | `state` | what is remembered, its file and its lock |
//! | `stored` | releases as they lie in the store, and the channel that offers them |
//! | `known` | what is known of an image before the next statement |
//! | `listing` | which releases the next statement lists |
//! | `turn` | one turn: read, decide, sign, remember, publish |
//! | `renewer` | turns for as long as a server runs |
//! | `floor` | what a publisher without a state may not go behind |

mod floor;
mod known;
mod listing;
mod renewer;
mod state;
mod stored;
mod turn;

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

use sealboot_core::format::Invalid;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::ImageName;
use sealboot_core::trust::{Envelope, Role, TrustPolicy};

pub(crate) use floor::last_statement;
pub(crate) use listing::Change;
pub use renewer::Renewer;
pub use state::Start;
pub use turn::Turn;

use crate::StoreError;
use crate::signer::Signer;

/// The keys that sign statements, and for how long these count. Forgets its secrets when dropped.
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

    /// Returns `true` if one of the keys is of the role that signs the statements of an image.
    fn signs_for(&self, policy: &TrustPolicy, image: &ImageName) -> bool {
        policy.freshness_role(image).is_some_and(|role| {
            role.signers().any(|trusted| {
                let mut keys = self.signers.iter().map(|signer| signer.public());
                keys.any(|key| trusted.key.known() == Some(&key))
            })
        })
    }

    /// Returns when a statement ends that is created at `created`.
    fn expiry(&self, policy: &TrustPolicy, created: Timestamp) -> Result<Timestamp, StoreError> {
        let longest = SignedDuration::from_hours(policy.fields().freshness.max_hours.into());
        expiry(created, self.life.unwrap_or(USUAL_LIFE.min(longest)))
    }

    /// Signs a statement with every key.
    fn sign(&mut self, freshness: &Freshness) -> Result<Envelope, StoreError> {
        let mut envelope = Envelope::unsigned(Freshness::PAYLOAD_TYPE, freshness.encode());
        for signer in &mut self.signers {
            let signature = signer.sign(&envelope.signed_bytes())?;
            envelope.add_signature(signer.public().id(), signature);
        }
        Ok(envelope)
    }
}

fn expiry(created: Timestamp, life: SignedDuration) -> Result<Timestamp, StoreError> {
    let takes = match created.checked_add(life) {
        Ok(expires) if expires > created => return Ok(expires),
        Ok(_) => "after the moment at which the statement is created",
        Err(_) => "before the year 10000",
    };
    Err(StoreError::LifeUnusable(Invalid::new(
        "expires", life, takes,
    )))
}
