//! The trust policy: what a loader accepts.
//!
//! ```json
//! {
//!   "version": 1,
//!   "keys": [
//!     {"name": "alice", "key": "ed25519:<64 hex digits>"},
//!     {"name": "bob", "key": "ed25519:<64 hex digits>"}
//!   ],
//!   "threshold": 2,
//!   "images": [{"name": "relay", "min_version": 41, "denied_versions": [43]}],
//!   "denied_digests": ["<SHA-256 of a manifest or of an archive>"],
//!   "expiry": {"required": true, "max_days": 90},
//!   "freshness": {
//!     "keys": [{"name": "clockwork", "key": "ed25519:<64 hex digits>"}],
//!     "threshold": 1, "required": true, "max_hours": 72
//!   },
//!   "host_config": {
//!     "keys": [{"name": "carol", "key": "ed25519:<64 hex digits>"}],
//!     "threshold": 1, "required": true
//!   },
//!   "allow_http": false,
//!   "mirror_keys": ["<SHA-256 of a mirror's SubjectPublicKeyInfo>"],
//!   "clock_tolerance_seconds": 300,
//!   "on_failure": {"first_wait_seconds": 2, "longest_wait_seconds": 60, "reboot_after": 20},
//!   "disks": "refuse"
//! }
//! ```
//!
//! One version is baked into the initramfs. The next ones come from mirrors, each signed by the
//! threshold of the one before and by its own; see [`chain`](super::chain). A policy that contradicts
//! itself does not load: a key or a name given twice, in one role or in two, a threshold of 0 or above
//! the number of keys, a field that this version does not know.

mod rules;
mod signer;

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::rules::{default_clock_tolerance_seconds, is_default};
use crate::failure::{Diagnose, FailureCode};
use crate::format::Invalid;
use crate::format::digest::Sha256Digest;
use crate::format::json;
use crate::format::limits::LIMITS;
use crate::format::version::PolicyVersion;

pub use self::rules::{
    AcceptedImage, Disks, ExpiryRule, FailurePolicy, FreshnessRule, GiveUp, HostConfigRule,
};
pub use self::signer::{Signer, SignerName};

/// Seconds that a loader may wait after its first failure.
pub const FIRST_WAIT_SECONDS: RangeInclusive<u32> = 1..=3600;
/// Seconds that it may wait at most.
pub const LONGEST_WAIT_SECONDS: RangeInclusive<u32> = 1..=86_400;
/// Seconds after which it hangs. A mirror that asks for the longest rest that is granted, 300 s, must not look like that.
pub const STALL_SECONDS: RangeInclusive<u32> = 360..=86_400;

/// What a loader accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustPolicy {
    version: PolicyVersion,
    keys: Vec<Signer>,
    threshold: usize,
    images: Vec<AcceptedImage>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    denied_digests: Vec<Sha256Digest>,
    #[serde(default)]
    expiry: ExpiryRule,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    freshness: Option<FreshnessRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host_config: Option<HostConfigRule>,
    #[serde(default)]
    allow_http: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mirror_keys: Vec<Sha256Digest>,
    #[serde(default = "default_clock_tolerance_seconds")]
    clock_tolerance_seconds: u32,
    #[serde(default)]
    on_failure: FailurePolicy,
    #[serde(default, skip_serializing_if = "is_default")]
    disks: Disks,
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
    /// A signed policy in another spelling than `sealboot policy create` gives it.
    #[error("the signed trust policy is not spelled as `sealboot policy create` spells it")]
    Spelling,
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
    /// The DSSE payload type of a policy that follows another.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.sealboot.trust.v1+json";

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
            version: PolicyVersion::FIRST,
            keys,
            threshold,
            images,
            denied_digests: Vec::new(),
            expiry: ExpiryRule::default(),
            freshness: None,
            host_config: None,
            allow_http: false,
            mirror_keys: Vec::new(),
            clock_tolerance_seconds: default_clock_tolerance_seconds(),
            on_failure: FailurePolicy::default(),
            disks: Disks::default(),
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
        let policy: Self = json::from_slice(json).map_err(PolicyError::Json)?;
        policy.check()?;
        Ok(policy)
    }

    /// Reads a policy out of a signed statement, where it has one spelling.
    ///
    /// # Errors
    ///
    /// Refuses every byte string that [`TrustPolicy::encode`] would not write.
    pub fn parse_signed(json: &[u8]) -> Result<Self, PolicyError> {
        let policy = Self::parse(json)?;
        if policy.encode() == json {
            Ok(policy)
        } else {
            Err(PolicyError::Spelling)
        }
    }

    /// Writes the policy as indented JSON, every field spelled out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self)
            .unwrap_or_else(|error| unreachable!("a policy holds no map and no float: {error}"));
        json.push(b'\n');
        json
    }

    /// Replaces who signs images and policies, and how many of them must.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Contradiction`] for a role that cannot be fulfilled, or has a key of another role.
    pub fn with_signers(self, keys: Vec<Signer>, threshold: usize) -> Result<Self, PolicyError> {
        let policy = Self {
            keys,
            threshold,
            ..self
        };
        policy.check()?;
        Ok(policy)
    }

    /// Replaces the images that may be booted.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Contradiction`] for none, too many, and a name or a denial that is given twice.
    pub fn with_images(self, images: Vec<AcceptedImage>) -> Result<Self, PolicyError> {
        let policy = Self { images, ..self };
        policy.check()?;
        Ok(policy)
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

    /// Makes it this version of a chain.
    #[must_use]
    pub fn with_version(self, version: PolicyVersion) -> Self {
        Self { version, ..self }
    }

    /// Replaces who says which version of an image is the newest.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Contradiction`] for a role that cannot be fulfilled, or has a key that signs images.
    pub fn with_freshness(self, freshness: Option<FreshnessRule>) -> Result<Self, PolicyError> {
        let policy = Self { freshness, ..self };
        policy.check()?;
        Ok(policy)
    }

    /// Replaces who signs host configs.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Contradiction`] for a role that cannot be fulfilled, or has a key of another role.
    pub fn with_host_config(
        self,
        host_config: Option<HostConfigRule>,
    ) -> Result<Self, PolicyError> {
        let policy = Self {
            host_config,
            ..self
        };
        policy.check()?;
        Ok(policy)
    }

    /// Replaces the digests that are refused.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Contradiction`] for one that is given twice, and for too many.
    pub fn with_denied_digests(
        self,
        denied_digests: Vec<Sha256Digest>,
    ) -> Result<Self, PolicyError> {
        let policy = Self {
            denied_digests,
            ..self
        };
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

    /// Refuses mirrors that are plain http, which is how a policy starts.
    #[must_use]
    pub fn with_https_only(self) -> Self {
        Self {
            allow_http: false,
            ..self
        }
    }

    /// Takes mirrors by these keys alone, whatever authorities and clocks say; with none, by the baked-in roots.
    ///
    /// # Errors
    ///
    /// More than [`LIMITS`] allows, or one twice.
    pub fn with_mirror_keys(self, mirror_keys: Vec<Sha256Digest>) -> Result<Self, PolicyError> {
        let policy = Self {
            mirror_keys,
            ..self
        };
        policy.check()?;
        Ok(policy)
    }

    /// Replaces whether a boot goes on where the kernel has found a disk.
    #[must_use]
    pub fn with_disks(self, disks: Disks) -> Self {
        Self { disks, ..self }
    }

    fn check(&self) -> Result<(), PolicyError> {
        self.agree().map_err(PolicyError::Contradiction)
    }

    /// Checks the agreement of the fields; what one field alone must be, its type has checked.
    fn agree(&self) -> Result<(), Invalid> {
        role_agrees(&self.keys, self.threshold, &SIGNING_FIELDS)?;
        bounded(
            "images",
            self.images.len(),
            1..=LIMITS.policy_images,
            "a list of 1 to 64 images",
        )?;
        if let Some(image) = repeated(&self.images, |image| &image.name) {
            return Err(Invalid::new("images.name", &image.name, "given only once"));
        }
        for image in &self.images {
            let denied = &image.denied_versions;
            bounded(
                "images.denied_versions",
                denied.len(),
                0..=LIMITS.policy_denied,
                "a list of at most 256 versions",
            )?;
            if let Some(version) = repeated(denied, |version| *version) {
                return Err(Invalid::new(
                    "images.denied_versions",
                    version,
                    "given only once",
                ));
            }
        }
        bounded(
            "denied_digests",
            self.denied_digests.len(),
            0..=LIMITS.policy_denied,
            "a list of at most 256 digests",
        )?;
        if let Some(digest) = repeated(&self.denied_digests, |digest| *digest) {
            return Err(Invalid::new("denied_digests", digest, "given only once"));
        }
        bounded(
            "mirror_keys",
            self.mirror_keys.len(),
            0..=LIMITS.policy_keys,
            "a list of at most 32 digests",
        )?;
        if let Some(key) = repeated(&self.mirror_keys, |key| *key) {
            return Err(Invalid::new("mirror_keys", key, "given only once"));
        }
        if let Some(days) = self.expiry.max_days {
            bounded("expiry.max_days", days, 1..=36_500, "between 1 and 36500")?;
        }
        if let Some(freshness) = &self.freshness {
            self.freshness_agrees(freshness)?;
        }
        if let Some(host_config) = &self.host_config {
            self.host_config_agrees(host_config)?;
        }
        bounded(
            "clock_tolerance_seconds",
            self.clock_tolerance_seconds,
            0..=86_400,
            "at most 86400",
        )?;
        let FailurePolicy {
            first_wait_seconds: first,
            longest_wait_seconds: longest,
            stall_seconds: stall,
            ..
        } = self.on_failure;
        bounded(
            "on_failure.first_wait_seconds",
            first,
            FIRST_WAIT_SECONDS,
            "between 1 and 3600",
        )?;
        bounded(
            "on_failure.longest_wait_seconds",
            longest,
            first..=*LONGEST_WAIT_SECONDS.end(),
            "between the first wait and 86400",
        )?;
        bounded(
            "on_failure.stall_seconds",
            stall,
            STALL_SECONDS,
            "between 360 and 86400",
        )
    }

    fn freshness_agrees(&self, rule: &FreshnessRule) -> Result<(), Invalid> {
        role_agrees(&rule.keys, rule.threshold, &FRESHNESS_FIELDS)?;
        // The key of a machine that renews every few hours must not count where people sign releases.
        let signs_images = |signer: &&Signer| self.keys.iter().any(|other| other.key == signer.key);
        if let Some(signer) = rule.keys.iter().find(signs_images) {
            return Err(Invalid::new(
                FRESHNESS_FIELDS.key,
                signer.key,
                "of this role alone",
            ));
        }
        bounded(
            "freshness.max_hours",
            rule.max_hours,
            1..=8760,
            "between 1 and 8760",
        )
    }

    fn host_config_agrees(&self, rule: &HostConfigRule) -> Result<(), Invalid> {
        role_agrees(&rule.keys, rule.threshold, &HOST_CONFIG_FIELDS)?;
        // Who installs machines decides nothing about what they run, or about how fresh it is.
        let renews = self.freshness.iter().flat_map(|rule| &rule.keys);
        let mut others = self.keys.iter().chain(renews);
        match others.find(|other| rule.keys.iter().any(|own| own.key == other.key)) {
            None => Ok(()),
            Some(signer) => Err(Invalid::new(
                HOST_CONFIG_FIELDS.key,
                signer.key,
                "of this role alone",
            )),
        }
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

    /// Which policy of a chain this is.
    #[must_use]
    pub const fn version(&self) -> PolicyVersion {
        self.version
    }

    /// SHA-256 digests of manifests and archives that are refused whatever they are signed by.
    #[must_use]
    pub fn denied_digests(&self) -> &[Sha256Digest] {
        &self.denied_digests
    }

    /// Who says which version of an image is the newest, if anybody does.
    #[must_use]
    pub const fn freshness(&self) -> Option<&FreshnessRule> {
        self.freshness.as_ref()
    }

    /// Who signs host configs, if anybody does.
    #[must_use]
    pub const fn host_config(&self) -> Option<&HostConfigRule> {
        self.host_config.as_ref()
    }

    /// Whether mirrors may be plain http.
    #[must_use]
    pub const fn allows_http(&self) -> bool {
        self.allow_http
    }

    /// The keys by which mirrors are known; none where their certificates are checked.
    #[must_use]
    pub fn mirror_keys(&self) -> &[Sha256Digest] {
        &self.mirror_keys
    }

    /// How far the clocks of a packer and a machine may stand apart.
    #[must_use]
    pub fn clock_tolerance(&self) -> Duration {
        Duration::from_secs(u64::from(self.clock_tolerance_seconds))
    }

    /// Returns whether a boot goes on where the kernel has found a disk.
    #[must_use]
    pub const fn disks(&self) -> Disks {
        self.disks
    }

    /// What the loader does after a failure.
    #[must_use]
    pub const fn on_failure(&self) -> FailurePolicy {
        self.on_failure
    }
}

/// What the fields of a role are called where it stands in a policy.
struct RoleFields {
    keys: &'static str,
    key: &'static str,
    name: &'static str,
    threshold: &'static str,
}

const SIGNING_FIELDS: RoleFields = RoleFields {
    keys: "keys",
    key: "keys.key",
    name: "keys.name",
    threshold: "threshold",
};

const FRESHNESS_FIELDS: RoleFields = RoleFields {
    keys: "freshness.keys",
    key: "freshness.keys.key",
    name: "freshness.keys.name",
    threshold: "freshness.threshold",
};

const HOST_CONFIG_FIELDS: RoleFields = RoleFields {
    keys: "host_config.keys",
    key: "host_config.keys.key",
    name: "host_config.keys.name",
    threshold: "host_config.threshold",
};

/// Checks the keys of a role: distinct, named distinctly, and enough for its threshold.
fn role_agrees(keys: &[Signer], threshold: usize, fields: &RoleFields) -> Result<(), Invalid> {
    bounded(
        fields.keys,
        keys.len(),
        1..=LIMITS.policy_keys,
        "a list of 1 to 32 keys",
    )?;
    if let Some(signer) = repeated(keys, |signer| signer.key) {
        return Err(Invalid::new(fields.key, signer.key, "given only once"));
    }
    if let Some(signer) = repeated(keys, |signer| &signer.name) {
        return Err(Invalid::new(fields.name, &signer.name, "given only once"));
    }
    bounded(
        fields.threshold,
        threshold,
        1..=keys.len(),
        "between 1 and the number of keys",
    )
}

fn bounded<T: PartialOrd + fmt::Display>(
    field: &'static str,
    found: T,
    range: RangeInclusive<T>,
    takes: &'static str,
) -> Result<(), Invalid> {
    if range.contains(&found) {
        Ok(())
    } else {
        Err(Invalid::new(field, found, takes))
    }
}

/// The first item whose key an earlier one has.
fn repeated<'a, T, K: PartialEq>(items: &'a [T], key: impl Fn(&'a T) -> K) -> Option<&'a T> {
    let mut items_at = items.iter().enumerate();
    let twice =
        items_at.find(|(at, item)| items[..*at].iter().any(|earlier| key(earlier) == key(item)));
    twice.map(|(_, item)| item)
}

#[cfg(test)]
mod tests;
