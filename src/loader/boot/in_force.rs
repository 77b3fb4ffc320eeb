//! The trust policy in force, chosen in one place.
//!
//! A run of the loader begins with the baked-in policy and adds each successor that it verifies. The newest one is in
//! force for everything from then on: it verifies host configs and images, and its failure policy governs every
//! failure, in this attempt and in all later ones.

use super::loader::Loader;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::{Chain, Refusal, TrustPolicy};

/// The trust policies that this run of the loader has verified. The newest is in force.
#[derive(Debug)]
pub struct InForce {
    chain: Chain,
    loader: &'static Loader,
}

impl InForce {
    /// Puts the baked-in policy in force.
    pub fn new(baked_in: TrustPolicy, loader: &'static Loader) -> Self {
        loader.set_failure_policy(baked_in.on_failure());
        Self {
            chain: Chain::from(baked_in),
            loader,
        }
    }

    /// Returns the policy in force.
    #[must_use]
    pub const fn newest(&self) -> &TrustPolicy {
        self.chain.newest()
    }

    /// Returns the version of the only policy that can follow.
    #[must_use]
    pub fn next(&self) -> Option<PolicyVersion> {
        self.chain.next()
    }

    /// Verifies the envelope of the next policy and puts that policy in force.
    ///
    /// # Errors
    ///
    /// As [`Chain::step`]; the policy in force then stays in force.
    pub fn step(&mut self, envelope: &[u8]) -> Result<(), Refusal> {
        self.chain.step(envelope)?;
        self.loader
            .set_failure_policy(self.chain.newest().on_failure());
        Ok(())
    }
}
