//! The trust policy: what a loader accepts. Baked into the initramfs, never fetched.
//!
//! ```json
//! {
//!   "keys": [
//!     {"name": "alice", "key": "ed25519:<64 hex digits>"},
//!     {"name": "bob", "key": "ed25519:<64 hex digits>"}
//!   ],
//!   "threshold": 2,
//!   "images": [{"name": "relay", "min_version": 41}],
//!   "expiry": {"required": true, "max_days": 90},
//!   "allow_http": false,
//!   "clock_tolerance_seconds": 300,
//!   "on_failure": {"first_wait_seconds": 2, "longest_wait_seconds": 60, "reboot_after": 20}
//! }
//! ```
//!
//! A policy that contradicts itself does not load: a key or a name given twice, a threshold of 0 or
//! above the number of keys, a field that this version does not know.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::failure::{Diagnose, FailureCode};
use crate::format::Invalid;
use crate::format::key::PublicKey;
use crate::format::limits::LIMITS;
use crate::format::manifest::{ImageName, ImageVersion};

/// What a loader accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustPolicy {
    keys: Vec<Signer>,
    threshold: usize,
    images: Vec<AcceptedImage>,
    #[serde(default)]
    expiry: ExpiryRule,
    #[serde(default)]
    allow_http: bool,
    #[serde(default = "default_clock_tolerance_seconds")]
    clock_tolerance_seconds: u32,
    #[serde(default)]
    on_failure: FailurePolicy,
}

/// A key that may sign, under the name that people know its holder by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// The holder.
    pub name: SignerName,
    /// The key.
    pub key: PublicKey,
}

/// An image that the loader may boot, and the oldest version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedImage {
    /// The image's name.
    pub name: ImageName,
    /// The oldest version that is accepted.
    #[serde(default = "first_version")]
    pub min_version: ImageVersion,
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
const fn default_clock_tolerance_seconds() -> u32 {
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

/// The trust policy does not load.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`LIMITS`] allows.
    #[error("the trust policy is larger than {} bytes", LIMITS.policy_bytes)]
    TooLarge,
    /// Not JSON, or JSON of another shape; serde's message names line and column.
    #[error("the trust policy is not the JSON it should be")]
    Json(#[source] serde_json::Error),
    /// Its fields contradict each other.
    #[error("the trust policy contradicts itself: {0}")]
    Contradiction(Invalid),
}

impl Diagnose for PolicyError {
    fn code(&self) -> FailureCode {
        FailureCode::ConfigurePolicy
    }
}

impl TrustPolicy {
    /// A policy over `keys` and `images` that asks for `threshold` signatures, with the defaults elsewhere.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Contradiction`], as for [`TrustPolicy::parse`].
    pub fn new(
        keys: Vec<Signer>,
        threshold: usize,
        images: Vec<AcceptedImage>,
    ) -> Result<Self, PolicyError> {
        let policy = Self {
            keys,
            threshold,
            images,
            expiry: ExpiryRule::default(),
            allow_http: false,
            clock_tolerance_seconds: default_clock_tolerance_seconds(),
            on_failure: FailurePolicy::default(),
        };
        policy.check()?;
        Ok(policy)
    }

    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// Refuses unknown and repeated fields and every contradiction.
    pub fn parse(json: &[u8]) -> Result<Self, PolicyError> {
        if !u64::try_from(json.len()).is_ok_and(|len| len <= LIMITS.policy_bytes) {
            return Err(PolicyError::TooLarge);
        }
        let policy: Self = serde_json::from_slice(json).map_err(PolicyError::Json)?;
        policy.check()?;
        Ok(policy)
    }

    /// Writes the policy as indented JSON, every field spelled out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self)
            .unwrap_or_else(|error| unreachable!("a policy holds no map and no float: {error}"));
        json.push(b'\n');
        json
    }

    /// Replaces the rule on expiry.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Contradiction`] for a longest life of 0 days.
    pub fn with_expiry(self, expiry: ExpiryRule) -> Result<Self, PolicyError> {
        let policy = Self { expiry, ..self };
        policy.check()?;
        Ok(policy)
    }

    /// Replaces what happens after a failure.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Contradiction`] for waits that are 0 or shrink.
    pub fn with_on_failure(self, on_failure: FailurePolicy) -> Result<Self, PolicyError> {
        let policy = Self { on_failure, ..self };
        policy.check()?;
        Ok(policy)
    }

    /// Lets mirrors be plain http. Signatures protect the image all the same; that it is fetched, and
    /// which, then anyone on the path can see.
    #[must_use]
    pub fn with_plain_http(self) -> Self {
        Self {
            allow_http: true,
            ..self
        }
    }

    fn check(&self) -> Result<(), PolicyError> {
        self.contradiction()
            .map_or(Ok(()), |invalid| Err(PolicyError::Contradiction(invalid)))
    }

    fn contradiction(&self) -> Option<Invalid> {
        if self.keys.is_empty() || self.keys.len() > LIMITS.policy_keys {
            return Some(Invalid::new(
                "keys",
                self.keys.len(),
                "a list of 1 to 32 keys",
            ));
        }
        if let Some(signer) = repeated(&self.keys, |signer| signer.key) {
            return Some(Invalid::new("keys.key", signer.key, "given only once"));
        }
        if let Some(signer) = repeated(&self.keys, |signer| &signer.name) {
            return Some(Invalid::new("keys.name", &signer.name, "given only once"));
        }
        if !(1..=self.keys.len()).contains(&self.threshold) {
            return Some(Invalid::new(
                "threshold",
                self.threshold,
                "between 1 and the number of keys",
            ));
        }
        if self.images.is_empty() || self.images.len() > LIMITS.policy_images {
            return Some(Invalid::new(
                "images",
                self.images.len(),
                "a list of 1 to 64 images",
            ));
        }
        if let Some(image) = repeated(&self.images, |image| &image.name) {
            return Some(Invalid::new("images.name", &image.name, "given only once"));
        }
        if self
            .expiry
            .max_days
            .is_some_and(|days| !(1..=36500).contains(&days))
        {
            return Some(Invalid::new(
                "expiry.max_days",
                self.expiry.max_days.unwrap_or(0),
                "between 1 and 36500",
            ));
        }
        if self.clock_tolerance_seconds > 86400 {
            return Some(Invalid::new(
                "clock_tolerance_seconds",
                self.clock_tolerance_seconds,
                "at most 86400",
            ));
        }
        let FailurePolicy {
            first_wait_seconds: first,
            longest_wait_seconds: longest,
            ..
        } = self.on_failure;
        if !(1..=3600).contains(&first) {
            return Some(Invalid::new(
                "on_failure.first_wait_seconds",
                first,
                "between 1 and 3600",
            ));
        }
        if !(first..=86400).contains(&longest) {
            return Some(Invalid::new(
                "on_failure.longest_wait_seconds",
                longest,
                "between the first wait and 86400",
            ));
        }
        None
    }

    /// The keys that may sign, in the order of the file.
    #[must_use]
    pub fn keys(&self) -> &[Signer] {
        &self.keys
    }

    /// How many distinct keys must have signed.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// The images that may be booted.
    #[must_use]
    pub fn images(&self) -> &[AcceptedImage] {
        &self.images
    }

    /// Whether images must expire, and how soon.
    #[must_use]
    pub const fn expiry(&self) -> ExpiryRule {
        self.expiry
    }

    /// Whether mirrors may be plain http.
    #[must_use]
    pub const fn allows_http(&self) -> bool {
        self.allow_http
    }

    /// How far the clocks of a packer and a machine may stand apart.
    #[must_use]
    pub fn clock_tolerance(&self) -> Duration {
        Duration::from_secs(u64::from(self.clock_tolerance_seconds))
    }

    /// What the loader does after a failure.
    #[must_use]
    pub const fn on_failure(&self) -> FailurePolicy {
        self.on_failure
    }
}

/// The first item whose key an earlier one has.
fn repeated<'a, T, K: PartialEq>(items: &'a [T], key: impl Fn(&'a T) -> K) -> Option<&'a T> {
    items
        .iter()
        .enumerate()
        .find(|(at, item)| items[..*at].iter().any(|earlier| key(earlier) == key(item)))
        .map(|(_, item)| item)
}

/// The name of a signer: 1 to 64 of `a-z A-Z 0-9 . _ @ -`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerName(String);

impl SignerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SignerName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(Invalid::new(
                "keys.name",
                name,
                "1 to 64 of a-z, A-Z, 0-9, '.', '_', '@' and '-'",
            ))
        }
    }
}

impl fmt::Display for SignerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SignerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SignerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const BOB: &str = "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

    fn whole() -> String {
        format!(
            r#"{{
                "keys": [{{"name": "alice", "key": "{ALICE}"}}, {{"name": "bob", "key": "{BOB}"}}],
                "threshold": 2,
                "images": [{{"name": "relay", "min_version": 41}}, {{"name": "exit"}}],
                "expiry": {{"required": true, "max_days": 90}},
                "allow_http": false,
                "clock_tolerance_seconds": 300,
                "on_failure": {{"first_wait_seconds": 2, "longest_wait_seconds": 60, "reboot_after": 20}}
            }}"#
        )
    }

    #[test]
    fn a_policy_is_read_and_written() {
        let policy = TrustPolicy::parse(whole().as_bytes()).expect("valid");
        assert_eq!(policy.threshold(), 2);
        assert_eq!(policy.images()[1].min_version, ImageVersion::FIRST);
        assert_eq!(TrustPolicy::parse(&policy.encode()).expect("valid"), policy);
    }

    #[test]
    fn a_policy_that_contradicts_itself_does_not_load() {
        let whole = whole();
        for (from, to) in [
            ("\"threshold\": 2", "\"threshold\": 0"),
            ("\"threshold\": 2", "\"threshold\": 3"),
            ("\"threshold\": 2", "\"threshold\": -1"),
            ("\"threshold\": 2", "\"threshold\": 2, \"threshold\": 1"),
            ("\"threshold\": 2", "\"threshhold\": 2"),
            ("\"threshold\": 2,", ""),
            (BOB, ALICE),
            ("\"bob\"", "\"alice\""),
            ("\"bob\"", "\"\""),
            ("\"exit\"", "\"relay\""),
            ("\"min_version\": 41", "\"min_version\": 0"),
            ("\"min_version\": 41", "\"min_version\": 9007199254740992"),
            ("\"min_version\": 41", "\"min_versions\": 41"),
            ("\"max_days\": 90", "\"max_days\": 0"),
            ("\"required\": true", "\"required\": 1"),
            (
                "\"clock_tolerance_seconds\": 300",
                "\"clock_tolerance_seconds\": 86401",
            ),
            ("\"first_wait_seconds\": 2", "\"first_wait_seconds\": 0"),
            (
                "\"longest_wait_seconds\": 60",
                "\"longest_wait_seconds\": 1",
            ),
            ("\"allow_http\"", "\"allow_https\""),
        ] {
            assert!(whole.contains(from), "{from}");
            let json = whole.replace(from, to);
            assert!(TrustPolicy::parse(json.as_bytes()).is_err(), "{json}");
        }
        assert!(TrustPolicy::parse(format!("{whole}{}", " ".repeat(64 << 10)).as_bytes()).is_err());
    }
}
