//! Rotation: from the baked-in trust policy to the newest.
//!
//! A store may carry `trust/<n+1>.json`, an envelope over the policy of version n+1 that is signed by
//! the threshold of version n *and* by the threshold of version n+1. The first says that those who are
//! trusted hand on the trust; the second, that those who receive it hold their keys. A machine that
//! only ever saw one version walks from it, a step at a time, to the newest that a mirror shows.
//! Nothing else changes what it trusts, and a removed key counts for nothing from then on.
//!
//! Whether a mirror shows the whole chain is for freshness to say: the statement names the newest
//! version of the policy too.

use super::policy::TrustPolicy;
use super::refusal::{Refusal, Statement};
use super::role::Role;
use super::verified::{Verified, parse};
use crate::format::limits::LIMITS;
use crate::format::version::PolicyVersion;

/// A walk along the chain, from the baked-in policy on.
#[derive(Debug, Clone)]
pub struct Chain {
    newest: TrustPolicy,
    from: PolicyVersion,
    steps: usize,
}

impl Chain {
    /// A walk that has only begun.
    #[must_use]
    pub fn from(baked_in: TrustPolicy) -> Self {
        Self {
            from: baked_in.version(),
            newest: baked_in,
            steps: 0,
        }
    }

    /// The newest policy that was reached.
    #[must_use]
    pub const fn newest(&self) -> &TrustPolicy {
        &self.newest
    }

    /// Which version to look for next; `None` where versions end.
    #[must_use]
    pub fn next(&self) -> Option<PolicyVersion> {
        self.newest.version().next()
    }

    /// Goes one step, to the policy in this envelope.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where it does not follow; the walk then stands where it stood.
    pub fn step(&mut self, envelope: &[u8]) -> Result<(), Refusal> {
        if self.steps == LIMITS.policy_chain {
            return Err(Refusal::ChainTooLong {
                from: self.from,
                limit: LIMITS.policy_chain,
            });
        }
        self.newest = self.newest.verify_successor(envelope)?.into_statement();
        self.steps += 1;
        Ok(())
    }
}

impl TrustPolicy {
    /// Checks the envelope of the policy that follows this one.
    ///
    /// # Errors
    ///
    /// Where it is not signed by the threshold of this policy, does not load, has another version than
    /// the next, or is not signed by its own threshold.
    pub fn verify_successor(&self, envelope: &[u8]) -> Result<Verified<TrustPolicy>, Refusal> {
        let envelope = parse(Statement::Policy, envelope)?;
        let open = |role: Role<'_>| {
            role.open(Statement::Policy, &envelope)
                .map(|(payload, signers)| (payload.to_vec(), signers))
        };
        // Read only once those who are trusted so far have signed it.
        let (payload, signers) = open(self.signing())?;
        let next = TrustPolicy::parse_signed(&payload).map_err(Refusal::Policy)?;
        if Some(next.version()) != self.version().next() {
            return Err(Refusal::PolicyVersion {
                found: next.version(),
                expected: self.version().next().unwrap_or(self.version()),
            });
        }
        open(next.signing()).map_err(|missing| Refusal::PolicyUnsigned {
            version: next.version(),
            by: next.version(),
            source: Box::new(missing),
        })?;
        Ok(Verified::new(next, signers, &payload))
    }
}
