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
//!   "allow_http": false,
//!   "clock_tolerance_seconds": 300,
//!   "on_failure": {"first_wait_seconds": 2, "longest_wait_seconds": 60, "reboot_after": 20}
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

use self::rules::default_clock_tolerance_seconds;
use crate::failure::{Diagnose, FailureCode};
use crate::format::Invalid;
use crate::format::digest::Sha256Digest;
use crate::format::json;
use crate::format::limits::LIMITS;
use crate::format::version::PolicyVersion;

pub use self::rules::{AcceptedImage, ExpiryRule, FailurePolicy, FreshnessRule};
pub use self::signer::{Signer, SignerName};

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
    #[serde(default)]
    allow_http: bool,
    #[serde(default = "default_clock_tolerance_seconds")]
    clock_tolerance_seconds: u32,
    #[serde(default)]
    on_failure: FailurePolicy,
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
    /// [`PolicyError::Contradiction`] for a role that cannot be fulfilled, or has a key of freshness.
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
        if let Some(days) = self.expiry.max_days {
            bounded("expiry.max_days", days, 1..=36_500, "between 1 and 36500")?;
        }
        if let Some(freshness) = &self.freshness {
            self.freshness_agrees(freshness)?;
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
            ..
        } = self.on_failure;
        bounded(
            "on_failure.first_wait_seconds",
            first,
            1..=3600,
            "between 1 and 3600",
        )?;
        bounded(
            "on_failure.longest_wait_seconds",
            longest,
            first..=86_400,
            "between the first wait and 86400",
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
mod tests {
    use super::*;
    use crate::format::key::PublicKey;
    use crate::format::version::ImageVersion;

    const ALICE: &str = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const BOB: &str = "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

    fn whole() -> String {
        format!(
            r#"{{
                "version": 1,
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

    fn signers(count: u8) -> Vec<Signer> {
        let key = |seed: u8| {
            let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
            PublicKey::from_bytes(secret.verifying_key().as_bytes()).expect("a key")
        };
        let signer = |seed: u8| Signer {
            name: format!("signer-{seed}").parse().expect("a name"),
            key: key(seed),
        };
        (0..count).map(signer).collect()
    }

    fn images(count: usize) -> Vec<AcceptedImage> {
        let name = |number: usize| format!("image-{number}").parse().expect("a name");
        let image = |number| AcceptedImage::new(name(number), ImageVersion::FIRST);
        (0..count).map(image).collect()
    }

    fn digests(count: u64) -> Vec<Sha256Digest> {
        let digest = |number: u64| Sha256Digest::of(&number.to_le_bytes());
        (0..count).map(digest).collect()
    }

    fn plain() -> TrustPolicy {
        TrustPolicy::new(signers(2), 2, images(1)).expect("valid")
    }

    /// The field that a policy is refused for, if it is.
    fn field(policy: Result<TrustPolicy, PolicyError>) -> Result<(), &'static str> {
        match policy {
            Ok(policy) => {
                let again = TrustPolicy::parse(&policy.encode()).expect("what was made is read");
                assert_eq!(again, policy);
                Ok(())
            }
            Err(PolicyError::Contradiction(invalid)) => Err(invalid.field),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn keys_and_threshold_are_bounded_by_each_other() {
        for (count, threshold, expected) in [
            (0, 0, Err("keys")),
            (0, 1, Err("keys")),
            (1, 0, Err("threshold")),
            (1, 1, Ok(())),
            (1, 2, Err("threshold")),
            (3, 1, Ok(())),
            (3, 3, Ok(())),
            (3, 4, Err("threshold")),
            (32, 32, Ok(())),
            (33, 1, Err("keys")),
        ] {
            let made = TrustPolicy::new(signers(count), threshold, images(1));
            assert_eq!(field(made), expected, "{threshold} of {count}");
            let made = plain().with_signers(signers(count), threshold);
            assert_eq!(field(made), expected, "{threshold} of {count}");
        }
    }

    #[test]
    fn a_key_or_a_name_is_given_once() {
        let mut twice = signers(3);
        twice[2].key = twice[0].key;
        assert_eq!(field(plain().with_signers(twice, 1)), Err("keys.key"));
        let mut twice = signers(3);
        twice[2].name = twice[1].name.clone();
        assert_eq!(field(plain().with_signers(twice, 1)), Err("keys.name"));
    }

    #[test]
    fn images_are_few_and_named_once() {
        for (count, expected) in [
            (0, Err("images")),
            (1, Ok(())),
            (64, Ok(())),
            (65, Err("images")),
        ] {
            assert_eq!(
                field(plain().with_images(images(count))),
                expected,
                "{count}"
            );
        }
        let mut twice = images(3);
        twice[2].name = twice[0].name.clone();
        assert_eq!(field(plain().with_images(twice)), Err("images.name"));
    }

    #[test]
    fn what_is_denied_is_listed_once_and_up_to_256_times() {
        let denying = |versions: &[u64]| {
            let mut images = images(2);
            let version = |number: &u64| (*number).try_into().expect("in range");
            images[1].denied_versions = versions.iter().map(version).collect();
            field(plain().with_images(images))
        };
        let all: Vec<u64> = (1..=257).collect();
        assert_eq!(denying(&all[..256]), Ok(()));
        assert_eq!(denying(&all), Err("images.denied_versions"));
        assert_eq!(denying(&[7, 8, 7]), Err("images.denied_versions"));
        let denying = |digests| field(plain().with_denied_digests(digests));
        assert_eq!(denying(digests(256)), Ok(()));
        assert_eq!(denying(digests(257)), Err("denied_digests"));
        assert_eq!(
            denying([digests(2), digests(1)].concat()),
            Err("denied_digests")
        );
        let denied = plain().with_denied_digests(digests(2)).expect("valid");
        assert_eq!(denied.denied_digests(), digests(2));
    }

    #[test]
    fn an_expiry_is_at_most_a_century_away() {
        for (days, expected) in [
            (0, Err("expiry.max_days")),
            (1, Ok(())),
            (36_500, Ok(())),
            (36_501, Err("expiry.max_days")),
        ] {
            let rule = ExpiryRule {
                required: true,
                max_days: Some(days),
            };
            assert_eq!(field(plain().with_expiry(rule)), expected, "{days}");
        }
        let rule = ExpiryRule {
            required: true,
            max_days: None,
        };
        assert_eq!(plain().with_expiry(rule).expect("valid").expiry(), rule);
    }

    #[test]
    fn waits_grow_and_stay_within_a_day() {
        for (first, longest, expected) in [
            (0, 60, Err("on_failure.first_wait_seconds")),
            (1, 1, Ok(())),
            (2, 1, Err("on_failure.longest_wait_seconds")),
            (3600, 86_400, Ok(())),
            (3601, 86_400, Err("on_failure.first_wait_seconds")),
            (1, 86_401, Err("on_failure.longest_wait_seconds")),
        ] {
            let waits = FailurePolicy {
                first_wait_seconds: first,
                longest_wait_seconds: longest,
                reboot_after: 0,
            };
            let made = plain().with_on_failure(waits);
            if let Ok(policy) = &made {
                assert_eq!(policy.on_failure(), waits);
            }
            assert_eq!(field(made), expected, "{first} to {longest}");
        }
    }

    #[test]
    fn freshness_has_keys_of_its_own_and_counts_for_at_most_a_year() {
        let all = signers(5);
        let rule = |keys: &[Signer], threshold, max_hours| FreshnessRule {
            keys: keys.to_vec(),
            threshold,
            required: true,
            max_hours,
        };
        let mut twice = all[2..].to_vec();
        twice[2].key = twice[0].key;
        let mut renamed = all[1].clone();
        renamed.name = "another-name".parse().expect("a name");
        for (rule, expected) in [
            (rule(&all[2..], 1, 1), Ok(())),
            (rule(&all[2..], 3, 8760), Ok(())),
            (rule(&all[2..], 4, 1), Err("freshness.threshold")),
            (rule(&all[2..], 0, 1), Err("freshness.threshold")),
            (rule(&[], 1, 1), Err("freshness.keys")),
            (rule(&twice, 1, 1), Err("freshness.keys.key")),
            (rule(&[renamed], 1, 1), Err("freshness.keys.key")),
            (rule(&all[2..], 1, 0), Err("freshness.max_hours")),
            (rule(&all[2..], 1, 8761), Err("freshness.max_hours")),
        ] {
            let made = plain().with_freshness(Some(rule.clone()));
            if let Ok(policy) = &made {
                assert_eq!(policy.freshness(), Some(&rule));
            }
            assert_eq!(field(made), expected, "{rule:?}");
        }
        // Nor may a key that renews be taken among those that sign.
        let policy = plain()
            .with_freshness(Some(rule(&all[2..], 1, 1)))
            .expect("valid");
        assert_eq!(
            field(policy.with_signers(all[..3].to_vec(), 1)),
            Err("freshness.keys.key")
        );
    }

    #[test]
    fn a_tolerance_is_at_most_a_day() {
        let read = |seconds: &str| {
            let json = whole().replace(
                "\"clock_tolerance_seconds\": 300",
                &format!("\"clock_tolerance_seconds\": {seconds}"),
            );
            TrustPolicy::parse(json.as_bytes()).map(|policy| policy.clock_tolerance())
        };
        for seconds in [0, 300, 86_400] {
            let tolerance = read(&seconds.to_string()).expect("valid");
            assert_eq!(tolerance, Duration::from_secs(seconds));
        }
        assert!(matches!(
            read("86401"),
            Err(PolicyError::Contradiction(invalid)) if invalid.field == "clock_tolerance_seconds"
        ));
    }

    #[test]
    fn a_policy_is_read_up_to_64_kib() {
        let mut json = plain().encode();
        json.resize(65_536, b' ');
        TrustPolicy::parse(&json).expect("valid");
        json.push(b' ');
        let error = TrustPolicy::parse(&json).expect_err("too large");
        assert!(matches!(error, PolicyError::TooLarge), "{error:?}");
        assert_eq!(error.code(), FailureCode::ConfigurePolicy);
    }

    #[test]
    fn a_signed_policy_has_one_spelling() {
        let json = plain().encode();
        assert_eq!(TrustPolicy::parse_signed(&json).expect("valid"), plain());
        assert_eq!(json.last(), Some(&b'\n'));
        let without_newline = &json[..json.len() - 1];
        for other in [without_newline, whole().as_bytes()] {
            TrustPolicy::parse(other).expect("a file may be spelled as people like");
            let error = TrustPolicy::parse_signed(other).expect_err("another spelling");
            assert!(matches!(error, PolicyError::Spelling), "{error:?}");
        }
    }

    #[test]
    fn what_a_policy_does_not_say_has_its_default() {
        let json = format!(
            r#"{{"version": 7, "keys": [{{"name": "alice", "key": "{ALICE}"}}], "threshold": 1, "images": [{{"name": "relay"}}]}}"#
        );
        let policy = TrustPolicy::parse(json.as_bytes()).expect("valid");
        assert_eq!(policy.version().as_u64(), 7);
        assert_eq!(policy.keys()[0].key.to_string(), ALICE);
        assert_eq!(policy.images()[0].min_version, ImageVersion::FIRST);
        assert!(policy.images()[0].denied_versions.is_empty());
        assert!(policy.denied_digests().is_empty());
        assert_eq!(
            policy.expiry(),
            ExpiryRule {
                required: false,
                max_days: None
            }
        );
        assert_eq!(policy.freshness(), None);
        assert!(!policy.allows_http());
        assert_eq!(policy.clock_tolerance(), Duration::from_secs(300));
        let waits = FailurePolicy {
            first_wait_seconds: 2,
            longest_wait_seconds: 60,
            reboot_after: 20,
        };
        assert_eq!(policy.on_failure(), waits);
        let json = json.replace(
            "\"threshold\"",
            "\"on_failure\": {}, \"expiry\": {}, \"threshold\"",
        );
        assert_eq!(TrustPolicy::parse(json.as_bytes()).expect("valid"), policy);
        let made = TrustPolicy::new(policy.keys().to_vec(), 1, policy.images().to_vec());
        assert_eq!(made.expect("valid").with_version(policy.version()), policy);
        assert!(policy.with_plain_http().allows_http());
    }
}
