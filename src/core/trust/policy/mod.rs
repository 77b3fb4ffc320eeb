//! The trust policy: what a loader accepts.
//!
//! ```json
//! {
//!   "version": 2,
//!   "created": "2026-12-01T09:00:00Z",
//!   "keys": [
//!     {"name": "alice", "key": "ed25519:<64 hex digits>"},
//!     {"name": "bob", "key": "ed25519:<64 hex digits>"},
//!     {"name": "build-1", "key": "ed25519:<64 hex digits>"},
//!     {"name": "clockwork", "key": "ed25519:<64 hex digits>"}
//!   ],
//!   "roles": {
//!     "root": [{"keys": ["alice", "bob"], "threshold": 2}],
//!     "release": [{"keys": ["build-1"], "threshold": 1}, {"keys": ["alice", "bob"], "threshold": 1}],
//!     "freshness": [{"keys": ["clockwork"], "threshold": 1}]
//!   },
//!   "images": [{"name": "relay", "min_version": 41, "denied_versions": [43]}],
//!   "denied_digests": ["<SHA-256 of a manifest, an archive or a file>"],
//!   "expiry": {"required": true, "max_days": 90},
//!   "freshness": {"required": true, "max_hours": 72, "max_releases": 1},
//!   "on_failure": {"retry_initial_seconds": 2, "retry_max_seconds": 60, "max_attempts": 20}
//! }
//! ```
//!
//! One version is baked into the initramfs. The next ones come from mirrors, each signed by every group of the role
//! `root` of the one before and of its own; see [`chain`](super::chain). `docs/formats.md` has every field.
//!
//! A [`TrustPolicy`] holds only [`Fields`] that agree with each other.

mod keys;
mod rules;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use self::rules::default_clock_tolerance_seconds;
use crate::format::Invalid;
use crate::format::digest::Sha256Digest;
use crate::format::limits::LIMITS;
use crate::format::manifest::ImageName;
use crate::format::payload::{self, Payload, PayloadError};
use crate::format::time;
use crate::format::version::{LoaderVersion, PolicyVersion};

pub use self::keys::{Group, Signer, SignerName, TableKey};
pub use self::rules::{
    AcceptedImage, Disks, ExpiryRule, FailurePolicy, FinalAction, FreshnessRule, HostConfigRule,
    OnExpiry, Roles,
};

/// Seconds that a loader may wait after its first failure.
pub const RETRY_INITIAL_SECONDS: RangeInclusive<u32> = 1..=3600;
/// Seconds that it may wait at most.
pub const RETRY_MAX_SECONDS: RangeInclusive<u32> = 1..=86_400;
/// Seconds after which it hangs. A mirror that asks for the longest rest that is granted, 300 s, must not look like that.
pub const STALL_SECONDS: RangeInclusive<u32> = 360..=86_400;
/// Hours that a freshness statement may count for.
pub const FRESHNESS_HOURS: RangeInclusive<u32> = 1..=8760;

/// What a loader accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrustPolicy(Fields);

/// The fields of a trust policy, which may contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// Which policy of its chain this is.
    pub version: PolicyVersion,
    /// When it was created.
    #[serde(with = "time")]
    pub created: Timestamp,
    /// When it expires, if ever.
    #[serde(
        with = "time::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub expires: Option<Timestamp>,
    /// What its expiry means.
    #[serde(default)]
    pub on_expiry: OnExpiry,
    /// The oldest loader that should run under this policy. Advice: an older one prints a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_loader: Option<LoaderVersion>,
    /// Every key, with the name of its holder.
    pub keys: Vec<Signer>,
    /// Which of the keys sign what.
    pub roles: Roles,
    /// The images that may be booted.
    pub images: Vec<AcceptedImage>,
    /// SHA-256 digests of manifests, archives and files that are refused whatever they are signed by.
    #[serde(default)]
    pub denied_digests: Vec<Sha256Digest>,
    /// Whether images must expire, and how soon.
    #[serde(default)]
    pub expiry: ExpiryRule,
    /// Whether machines need a freshness statement, and what one may say.
    #[serde(default)]
    pub freshness: FreshnessRule,
    /// Which host configs a machine may use.
    #[serde(default)]
    pub host_config: HostConfigRule,
    /// Whether mirrors may be plain http. Signatures protect the image all the same; who fetches it, and which, anyone
    /// on the path can see.
    #[serde(default)]
    pub allow_http: bool,
    /// How far the clocks of a packer and a machine may differ.
    #[serde(default = "default_clock_tolerance_seconds")]
    pub clock_tolerance_seconds: u32,
    /// What the loader does after a failure.
    #[serde(default)]
    pub on_failure: FailurePolicy,
    /// Whether a boot goes on where the kernel has found a disk.
    #[serde(default)]
    pub disks: Disks,
}

impl Fields {
    /// Returns the first version of a policy over these keys, roles and images, with the defaults elsewhere.
    #[must_use]
    pub fn new(
        created: Timestamp,
        keys: Vec<Signer>,
        roles: Roles,
        images: Vec<AcceptedImage>,
    ) -> Self {
        Self {
            version: PolicyVersion::FIRST,
            created,
            expires: None,
            on_expiry: OnExpiry::default(),
            min_loader: None,
            keys,
            roles,
            images,
            denied_digests: Vec::new(),
            expiry: ExpiryRule::default(),
            freshness: FreshnessRule::DEFAULT,
            host_config: HostConfigRule::default(),
            allow_http: false,
            clock_tolerance_seconds: default_clock_tolerance_seconds(),
            on_failure: FailurePolicy::DEFAULT,
            disks: Disks::default(),
        }
    }
}

impl TryFrom<Fields> for TrustPolicy {
    type Error = Invalid;

    fn try_from(fields: Fields) -> Result<Self, Invalid> {
        fields.agree()?;
        Ok(Self(fields))
    }
}

impl<'de> Deserialize<'de> for TrustPolicy {
    /// Reads the fields; [`Payload::check`] checks that they agree.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::deserialize(deserializer).map(Self)
    }
}

impl Payload for TrustPolicy {
    const TYPE: &'static str = Self::PAYLOAD_TYPE;
    const NAME: &'static str = "trust policy";
    const LIMIT: u64 = LIMITS.policy_bytes;

    fn check(&self) -> Result<(), Invalid> {
        self.0.agree()
    }
}

impl TrustPolicy {
    /// The DSSE payload type of this format. It never changes: policies grow by fields and words.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.sealboot.trust.v1+json";

    /// Reads a policy, baked in or out of a signed statement.
    ///
    /// # Errors
    ///
    /// [`PayloadError`], for the first rule that it breaks.
    pub fn parse(json: &[u8]) -> Result<Self, PayloadError> {
        payload::parse(json)
    }

    /// Encodes the policy as indented JSON, every field spelled out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        payload::encode_pretty(self)
    }

    /// Returns the policy with changed fields.
    ///
    /// # Errors
    ///
    /// Names the first field that contradicts another.
    pub fn with(&self, change: impl FnOnce(&mut Fields)) -> Result<Self, Invalid> {
        let mut fields = self.0.clone();
        change(&mut fields);
        fields.try_into()
    }

    /// Returns the fields.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.0
    }

    /// Returns which policy of its chain this is.
    #[must_use]
    pub const fn version(&self) -> PolicyVersion {
        self.0.version
    }

    /// Returns the table of keys.
    #[must_use]
    pub fn keys(&self) -> &[Signer] {
        &self.0.keys
    }

    /// Returns the images that may be booted.
    #[must_use]
    pub fn images(&self) -> &[AcceptedImage] {
        &self.0.images
    }

    /// Returns the rules of an image; `None` for one that the policy does not accept.
    #[must_use]
    pub fn image(&self, name: &ImageName) -> Option<&AcceptedImage> {
        self.0.images.iter().find(|image| image.name == *name)
    }

    /// Returns `true` if mirrors may be plain http.
    #[must_use]
    pub const fn allows_http(&self) -> bool {
        self.0.allow_http
    }

    /// Returns whether a boot goes on where the kernel has found a disk.
    #[must_use]
    pub const fn disks(&self) -> Disks {
        self.0.disks
    }

    /// Returns how far the clocks of a packer and a machine may differ.
    #[must_use]
    pub const fn clock_tolerance(&self) -> Duration {
        Duration::from_secs(self.0.clock_tolerance_seconds as u64)
    }

    /// Returns what the loader does after a failure.
    #[must_use]
    pub const fn on_failure(&self) -> FailurePolicy {
        self.0.on_failure
    }

    /// Returns the time of its expiry, if `now` is past it by more than the tolerance.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> Option<Timestamp> {
        let expires = self.0.expires?;
        let ends = expires.saturating_add(self.clock_tolerance());
        (now >= ends.unwrap_or(Timestamp::MAX)).then_some(expires)
    }
}

impl Fields {
    /// Checks the agreement of the fields; what one field alone must be, its type has checked.
    fn agree(&self) -> Result<(), Invalid> {
        if self.expires.is_some_and(|expires| expires <= self.created) {
            let expires = self.expires.unwrap_or_default();
            return Err(Invalid::new("expires", expires, "after `created`"));
        }
        self.keys_agree()?;
        self.roles_agree()?;
        bounded(
            "images",
            self.images.len(),
            1..=LIMITS.policy_images,
            "a list of 1 to 256 images",
        )?;
        if let Some(name) = repeated(self.images.iter().map(|image| &image.name)) {
            return Err(Invalid::new("images.name", name, "given only once"));
        }
        for image in &self.images {
            bounded(
                "images.denied_versions",
                image.denied_versions.len(),
                0..=LIMITS.policy_denied_versions,
                "a list of at most 256 versions",
            )?;
            if let Some(version) = repeated(image.denied_versions.iter()) {
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
            0..=LIMITS.policy_denied_digests,
            "a list of at most 1024 digests",
        )?;
        let has_freshness =
            |image: &AcceptedImage| image.freshness.is_some() || self.roles.freshness.is_some();
        if let (true, Some(image)) = (
            self.freshness.required,
            self.images.iter().find(|image| !has_freshness(image)),
        ) {
            let takes = "an image with a role for freshness, which freshness.required asks for";
            return Err(Invalid::new("images.name", &image.name, takes));
        }
        if self.host_config.required && self.roles.host_config.is_none() {
            let takes = "possible without a role host_config, which signs them";
            return Err(Invalid::new("host_config.required", true, takes));
        }
        if let Some(digest) = repeated(self.denied_digests.iter()) {
            return Err(Invalid::new("denied_digests", digest, "given only once"));
        }
        self.numbers_agree()
    }

    fn numbers_agree(&self) -> Result<(), Invalid> {
        if let Some(days) = self.expiry.max_days {
            bounded("expiry.max_days", days, 1..=36_500, "between 1 and 36500")?;
        }
        bounded(
            "freshness.max_hours",
            self.freshness.max_hours,
            FRESHNESS_HOURS,
            "between 1 and 8760",
        )?;
        bounded(
            "freshness.max_releases",
            self.freshness.max_releases,
            1..=8,
            "between 1 and 8",
        )?;
        bounded(
            "clock_tolerance_seconds",
            self.clock_tolerance_seconds,
            0..=86_400,
            "at most 86400",
        )?;
        let FailurePolicy {
            retry_initial_seconds: initial,
            retry_max_seconds: max,
            stall_seconds: stall,
            handover_watchdog_seconds: handover,
            ..
        } = self.on_failure;
        bounded(
            "on_failure.retry_initial_seconds",
            initial,
            RETRY_INITIAL_SECONDS,
            "between 1 and 3600",
        )?;
        bounded(
            "on_failure.retry_max_seconds",
            max,
            initial..=*RETRY_MAX_SECONDS.end(),
            "between retry_initial_seconds and 86400",
        )?;
        bounded(
            "on_failure.stall_seconds",
            stall,
            STALL_SECONDS,
            "between 360 and 86400",
        )?;
        bounded(
            "on_failure.handover_watchdog_seconds",
            handover,
            0..=86_400,
            "at most 86400",
        )
    }

    fn keys_agree(&self) -> Result<(), Invalid> {
        bounded(
            "keys",
            self.keys.len(),
            1..=LIMITS.policy_keys,
            "a list of 1 to 64 keys",
        )?;
        if let Some(name) = repeated(self.keys.iter().map(|signer| &signer.name)) {
            return Err(Invalid::new("keys.name", name, "given only once"));
        }
        let keys: Vec<String> = (self.keys.iter())
            .map(|signer| signer.key.to_string())
            .collect();
        match repeated(keys.iter()) {
            Some(key) => Err(Invalid::new("keys.key", key, "given only once")),
            None => Ok(()),
        }
    }

    fn roles_agree(&self) -> Result<(), Invalid> {
        let Roles {
            root,
            release,
            freshness,
            host_config,
        } = &self.roles;
        let of_images =
            |role: fn(&AcceptedImage) -> Option<&Vec<Group>>| self.images.iter().filter_map(role);
        let releases = of_images(|image| image.release.as_ref());
        let freshnesses = of_images(|image| image.freshness.as_ref());
        self.role_agrees("roles.root", root)?;
        self.role_agrees("roles.release", release)?;
        let mut release_names = names(release);
        for role in releases {
            self.role_agrees("images.release", role)?;
            release_names.extend(names(role));
        }
        let mut freshness_names = BTreeSet::new();
        if let Some(role) = freshness {
            self.role_agrees("roles.freshness", role)?;
            freshness_names.extend(names(role));
        }
        for role in freshnesses {
            self.role_agrees("images.freshness", role)?;
            freshness_names.extend(names(role));
        }
        let mut host_config_names = BTreeSet::new();
        if let Some(role) = host_config {
            self.role_agrees("roles.host_config", role)?;
            host_config_names.extend(names(role));
        }
        // The key of a machine that renews every few hours must not count where people release, and who installs
        // machines decides neither what they run nor how fresh it is.
        let people = &names(root) | &release_names;
        for (field, own, others) in [
            (
                "roles.freshness",
                &freshness_names,
                &people | &host_config_names,
            ),
            ("roles.host_config", &host_config_names, people),
        ] {
            if let Some(name) = own.intersection(&others).next() {
                return Err(Invalid::new(field, name, "a key of this role alone"));
            }
        }
        Ok(())
    }

    /// Checks one role: few groups, of distinct keys of the table, and enough for the threshold.
    fn role_agrees(&self, field: &'static str, groups: &[Group]) -> Result<(), Invalid> {
        bounded(
            field,
            groups.len(),
            1..=LIMITS.policy_groups,
            "a list of 1 to 4 groups",
        )?;
        for group in groups {
            bounded(
                field,
                group.threshold,
                1..=group.keys.len(),
                "a threshold between 1 and the number of keys in its group",
            )?;
        }
        let names = groups.iter().flat_map(|group| &group.keys);
        if let Some(name) = repeated(names.clone()) {
            return Err(Invalid::new(
                field,
                name,
                "a key of one group of the role, given once",
            ));
        }
        let known: BTreeSet<&SignerName> = self.keys.iter().map(|signer| &signer.name).collect();
        match names.into_iter().find(|name| !known.contains(name)) {
            Some(name) => Err(Invalid::new(field, name, "a name in `keys`")),
            None => Ok(()),
        }
    }
}

fn names(groups: &[Group]) -> BTreeSet<&SignerName> {
    groups.iter().flat_map(|group| &group.keys).collect()
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

/// Returns the first item that an earlier one equals.
fn repeated<T: Ord + Copy>(items: impl IntoIterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    items.into_iter().find(|item| !seen.insert(*item))
}

#[cfg(test)]
mod tests;
