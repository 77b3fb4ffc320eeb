//! The trust policy in force, chosen in one place.
//!
//! A run of the loader begins with the baked-in policy and adds each successor that it verifies. The newest one is in
//! force for everything from then on: it verifies host configs and images, its failure policy governs every
//! failure, in this attempt and in all later ones, and it decides whether a boot goes on beside a disk.

use std::io;
use std::path::{Path, PathBuf};

use super::loader::Loader;
use crate::hardware::Disk;
use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::version::{LoaderVersion, PolicyVersion};
use sealboot_core::trust::chain::EndsSoon;
use sealboot_core::trust::policy::Disks;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Chain, Current, KeptProofs, Refusal, TrustPolicy};

/// The trust policies that this run of the loader has verified, the newest of which is in force, and the proofs of
/// what is current that it has seen.
#[derive(Debug)]
pub struct InForce {
    chain: Chain,
    kept: KeptProofs,
    loader: &'static Loader,
    /// Where the machine's /sys is: `/` in a boot.
    root: PathBuf,
}

/// The policy in force refuses to boot beside a disk.
#[derive(Debug, thiserror::Error)]
pub enum DisksError {
    /// There is one.
    #[error(
        "version {version} of the trust policy refuses disks, and the kernel has found {}",
        listed(disks)
    )]
    Found {
        /// The policy.
        version: PolicyVersion,
        /// The disks, one at least.
        disks: Vec<Disk>,
    },
    /// There may be one.
    #[error(
        "version {version} of the trust policy refuses disks, and the kernel's cannot be listed"
    )]
    Unknown {
        /// The policy.
        version: PolicyVersion,
        /// Why.
        source: io::Error,
    },
}

impl Diagnose for DisksError {
    fn code(&self) -> FailureCode {
        FailureCode::ConfigureDisks
    }
}

fn listed(disks: &[Disk]) -> String {
    let disks: Vec<String> = disks.iter().map(Disk::to_string).collect();
    disks.join(", ")
}

impl InForce {
    /// Puts the baked-in policy in force.
    pub fn new(baked_in: TrustPolicy, loader: &'static Loader) -> Self {
        loader.set_failure_policy(baked_in.on_failure());
        Self {
            chain: Chain::from(baked_in),
            kept: KeptProofs::default(),
            loader,
            root: "/".into(),
        }
    }

    /// Has the machine's /sys below `root`.
    #[must_use]
    pub fn at(self, root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            ..self
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

    /// Returns what to warn of where the walk has used up most of its steps.
    #[must_use]
    pub fn ends_soon(&self) -> Option<EndsSoon> {
        self.chain.ends_soon()
    }

    /// Verifies the envelope of the next policy and puts that policy in force.
    ///
    /// # Errors
    ///
    /// As [`Chain::step`]; the policy in force then stays in force.
    pub fn step(&mut self, envelope: &[u8]) -> Result<(), Refusal> {
        let before = self.chain.newest().clone();
        self.chain.step(envelope)?;
        self.kept.follow(&before, self.chain.newest());
        self.loader
            .set_failure_policy(self.chain.newest().on_failure());
        Ok(())
    }

    /// Warns where the policy in force advises a newer loader than this one.
    pub fn warn_of_age(&self) {
        let policy = self.newest();
        let own: Option<LoaderVersion> = env!("CARGO_PKG_VERSION").parse().ok();
        if let (Some(advised), Some(own)) = (policy.fields().min_loader, own)
            && own < advised
        {
            tracing::warn!(
                "version {} of the trust policy advises a loader of version {advised} or newer; this is {own}: build the initramfs again",
                policy.version()
            );
        }
    }

    /// Judges a channel by the policy in force and by what this run has seen of all mirrors. Moves `expected.now`.
    ///
    /// # Errors
    ///
    /// As [`TrustPolicy::judge_channel`].
    pub fn judge_channel(
        &mut self,
        channel: &[u8],
        expected: &mut Expected<'_>,
    ) -> Result<Current, Refusal> {
        (self.chain.newest()).judge_channel(channel, expected, &mut self.kept)
    }

    /// Returns what this run has proved about which releases are current.
    #[must_use]
    pub const fn kept(&self) -> &KeptProofs {
        &self.kept
    }

    /// Judges the disks that the kernel has found by now.
    ///
    /// # Errors
    ///
    /// [`DisksError`] where there is one and the policy in force refuses disks.
    pub fn judge_disks(&self) -> Result<(), DisksError> {
        let policy = self.newest();
        let version = policy.version();
        match policy.disks() {
            Disks::Allow => Ok(()),
            Disks::Refuse => match Disk::all(&self.root) {
                Ok(disks) if disks.is_empty() => Ok(()),
                Ok(disks) => Err(DisksError::Found { version, disks }),
                Err(source) => Err(DisksError::Unknown { version, source }),
            },
        }
    }
}
