//! The rules of a trust policy, each with its defaults.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys::Group;
use crate::format::manifest::{ImageName, ImageVersion};
use crate::format::payload::words;
use crate::format::time;

/// The groups of keys that sign each kind of statement. Every group of a role must reach its threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Signs the next trust policy.
    pub root: Vec<Group>,
    /// Signs manifests, unless an image has a role of its own.
    pub release: Vec<Group>,
    /// Signs freshness statements, unless an image has a role of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Vec<Group>>,
    /// Signs host configs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_config: Option<Vec<Group>>,
}

/// An image that the loader may boot, and the oldest version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedImage {
    /// The image's name.
    pub name: ImageName,
    /// The oldest version that is accepted.
    #[serde(default = "first_version")]
    pub min_version: ImageVersion,
    /// Versions that are refused whatever they are signed by: bad releases.
    #[serde(default)]
    pub denied_versions: Vec<ImageVersion>,
    /// The groups that sign this image's manifests, in place of the role `release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Vec<Group>>,
    /// The groups that sign this image's freshness statements, in place of the role `freshness`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Vec<Group>>,
}

impl AcceptedImage {
    /// Returns this image from this version on, with no denied version and no role of its own.
    #[must_use]
    pub const fn new(name: ImageName, min_version: ImageVersion) -> Self {
        Self {
            name,
            min_version,
            denied_versions: Vec::new(),
            release: None,
            freshness: None,
        }
    }
}

/// Whether images must expire, and how soon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryRule {
    /// Whether a manifest without an expiry is refused.
    #[serde(default)]
    pub required: bool,
    /// The longest time from `created` to `expires` that a manifest may have, in days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_days: Option<u32>,
}

/// Whether machines need a freshness statement, and what one may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshnessRule {
    /// Whether an image without a freshness statement is refused.
    #[serde(default)]
    pub required: bool,
    /// The longest time from `created` to `expires` of a statement, in hours.
    #[serde(default = "default_max_hours")]
    pub max_hours: u32,
    /// The most versions of one architecture that a statement may list as current.
    #[serde(default = "default_max_releases")]
    pub max_releases: u32,
}

/// Which host configs a machine may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostConfigRule {
    /// Whether an unsigned host config is refused, and every setting of the command line in its place.
    #[serde(default)]
    pub required: bool,
    /// Signed host configs that were created before this are refused.
    #[serde(
        with = "time::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub not_before: Option<Timestamp>,
}

/// What the loader does after a failure: it waits, doubling with jitter, and in the end takes the final action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailurePolicy {
    /// The wait after the first failure, in seconds.
    pub retry_initial_seconds: u32,
    /// The longest wait, in seconds.
    pub retry_max_seconds: u32,
    /// After how many failures the loader takes the final action; 0 means never.
    pub max_attempts: u32,
    /// What the loader does then.
    pub final_action: FinalAction,
    /// For how long nothing may happen, in seconds, before the watchdog resets the machine.
    pub stall_seconds: u32,
    /// Whether a person at a console may have a shell, where the initramfs has one.
    pub shell: bool,
    /// After how many entries of a release that its OS did not confirm the next release is taken; 0 means never.
    pub unconfirmed_boots: u32,
    /// For how long the watchdog stays armed over the handover, in seconds; 0 disarms it.
    pub handover_watchdog_seconds: u32,
}

words! {
    /// What the loader does after the last attempt.
    #[derive(Default)]
    pub enum FinalAction("on_failure.final_action") {
        /// It resets the machine: firmware, cards and buses start again.
        #[default]
        Reboot = "reboot",
        /// It enters the kernel that is baked into the initramfs for this; where there is none, it reboots.
        Fallback = "fallback",
        /// It powers the machine off.
        PowerOff = "power-off",
    }
}

words! {
    /// What an expired trust policy means.
    #[derive(Default)]
    pub enum OnExpiry("on_expiry") {
        /// The loader prints a warning and goes on.
        #[default]
        Warn = "warn",
        /// The loader refuses every image.
        Refuse = "refuse",
    }
}

words! {
    /// Whether a boot goes on where the kernel has found a disk.
    #[derive(Default)]
    pub enum Disks("disks") {
        /// It goes on.
        #[default]
        Allow = "allow",
        /// It ends.
        Refuse = "refuse",
    }
}

const fn default_max_hours() -> u32 {
    FreshnessRule::DEFAULT.max_hours
}

const fn default_max_releases() -> u32 {
    FreshnessRule::DEFAULT.max_releases
}

const fn first_version() -> ImageVersion {
    ImageVersion::FIRST
}

// Real-time clocks drift by seconds a day; five minutes is what Kerberos made customary.
pub(super) const fn default_clock_tolerance_seconds() -> u32 {
    300
}

impl FreshnessRule {
    /// The defaults. Three days let a renewing machine be repaired after a weekend.
    pub const DEFAULT: Self = Self {
        required: false,
        max_hours: 72,
        max_releases: 1,
    };
}

impl Default for FreshnessRule {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FailurePolicy {
    /// The defaults, which are also in force before a policy is read.
    pub const DEFAULT: Self = Self {
        // Two seconds let a restarting server come back; a minute keeps a fleet from hammering a broken one.
        retry_initial_seconds: 2,
        retry_max_seconds: 60,
        // With these waits, about a quarter of an hour: firmware and switches have then settled, and only a reset of
        // the hardware is left to try.
        max_attempts: 20,
        final_action: FinalAction::Reboot,
        // Above every wait that a stage ends by itself: a download without a new chunk gives up after 600 s, a mirror
        // may ask for 300 s of rest, and a stage without a network ends after 120.
        stall_seconds: 900,
        shell: false,
        unconfirmed_boots: 3,
        handover_watchdog_seconds: 0,
    };
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
