//! The rules of a trust policy, each with its defaults.

use serde::{Deserialize, Serialize};

use super::signer::Signer;
use crate::format::manifest::{ImageName, ImageVersion};

/// An image that the loader may boot, and the oldest version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedImage {
    /// The image's name.
    pub name: ImageName,
    /// The oldest version that is accepted.
    #[serde(default = "first_version")]
    pub min_version: ImageVersion,
    /// Versions that are refused whatever they are signed by: bad releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied_versions: Vec<ImageVersion>,
}

impl AcceptedImage {
    /// This image from this version on, none denied.
    #[must_use]
    pub const fn new(name: ImageName, min_version: ImageVersion) -> Self {
        Self {
            name,
            min_version,
            denied_versions: Vec::new(),
        }
    }
}

/// Whether images must expire, and how soon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpiryRule {
    /// Whether a manifest without an expiry is refused.
    #[serde(default)]
    pub required: bool,
    /// The longest time from `created` to `expires` that a manifest may grant itself, in days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_days: Option<u32>,
}

/// Who says which version is the newest, and for how long that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshnessRule {
    /// The keys of this role; none of them may also sign images.
    pub keys: Vec<Signer>,
    /// How many of them must sign a freshness statement.
    pub threshold: usize,
    /// Whether an image without a freshness statement is refused.
    #[serde(default)]
    pub required: bool,
    /// The longest that a statement may count for, in hours.
    pub max_hours: u32,
}

/// Who says how machines reach their images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfigRule {
    /// The keys of this role; none of them may have another one.
    pub keys: Vec<Signer>,
    /// How many of them must sign a host config.
    pub threshold: usize,
    /// Whether a host config that is not signed is refused, and all that the command line says in its place.
    #[serde(default, skip_serializing_if = "is_default")]
    pub required: bool,
}

/// What the loader does after a failure: waits, doubling with jitter, and in the end gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailurePolicy {
    /// The wait after the first failure, in seconds.
    #[serde(default = "default_first_wait_seconds")]
    pub first_wait_seconds: u32,
    /// The longest wait, in seconds.
    #[serde(default = "default_longest_wait_seconds")]
    pub longest_wait_seconds: u32,
    /// After how many failures the loader gives up, which mostly is a reboot; 0 means never.
    #[serde(default = "default_reboot_after")]
    pub reboot_after: u32,
    /// What giving up is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub give_up: GiveUp,
    /// For how long nothing may happen, in seconds, before the watchdog resets the machine.
    #[serde(
        default = "default_stall_seconds",
        skip_serializing_if = "is_default_stall_seconds"
    )]
    pub stall_seconds: u32,
    /// Whether whoever stands at a console may have a shell, where the initramfs has one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shell: bool,
}

/// What the loader does once it has tried often enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GiveUp {
    /// It resets the machine: firmware, cards and buses start anew.
    #[default]
    Reboot,
    /// It enters the kernel that is baked into the initramfs for this; where there is none, it reboots.
    Fallback,
    /// It powers the machine off.
    PowerOff,
}

/// Whether a boot goes on where the kernel has found a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disks {
    /// It does: the loader names the disk and opens none.
    #[default]
    Allow,
    /// It ends.
    Refuse,
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
const fn is_default_stall_seconds(seconds: &u32) -> bool {
    *seconds == default_stall_seconds()
}

// Two seconds let a restarting server come back; a minute keeps a fleet from hammering a broken one.
const fn default_first_wait_seconds() -> u32 {
    2
}
const fn default_longest_wait_seconds() -> u32 {
    60
}
// With the waits above, about a quarter of an hour: firmware and switches have then settled, and only
// a reset of the hardware is left to try.
const fn default_reboot_after() -> u32 {
    20
}
// Above every wait that a stage ends by itself: a download without a new chunk gives up after 600 s, a mirror may
// ask for 300 s of rest, and a stage without a network ends after 120.
const fn default_stall_seconds() -> u32 {
    900
}
// Real-time clocks drift by seconds a day; five minutes is what Kerberos made customary.
pub(super) const fn default_clock_tolerance_seconds() -> u32 {
    300
}
const fn first_version() -> ImageVersion {
    ImageVersion::FIRST
}

impl FailurePolicy {
    /// What counts where a policy says nothing, and before one is read.
    pub const DEFAULT: Self = Self {
        first_wait_seconds: default_first_wait_seconds(),
        longest_wait_seconds: default_longest_wait_seconds(),
        reboot_after: default_reboot_after(),
        give_up: GiveUp::Reboot,
        stall_seconds: default_stall_seconds(),
        shell: false,
    };
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
