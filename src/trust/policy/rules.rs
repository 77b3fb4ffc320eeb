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

/// What the loader does after a failure: waits, doubling with jitter, and in the end reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailurePolicy {
    /// The wait after the first failure, in seconds.
    #[serde(default = "default_first_wait_seconds")]
    pub first_wait_seconds: u32,
    /// The longest wait, in seconds.
    #[serde(default = "default_longest_wait_seconds")]
    pub longest_wait_seconds: u32,
    /// After how many failures the machine reboots; 0 means never.
    #[serde(default = "default_reboot_after")]
    pub reboot_after: u32,
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
// Real-time clocks drift by seconds a day; five minutes is what Kerberos made customary.
pub(super) const fn default_clock_tolerance_seconds() -> u32 {
    300
}
const fn first_version() -> ImageVersion {
    ImageVersion::FIRST
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self {
            first_wait_seconds: default_first_wait_seconds(),
            longest_wait_seconds: default_longest_wait_seconds(),
            reboot_after: default_reboot_after(),
        }
    }
}
