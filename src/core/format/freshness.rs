//! The freshness statement: which releases of an image are current, said for a short while.
//!
//! An image may live for months; which of its versions should run is something that only its publisher
//! knows, and that a mirror which wants to hold machines back, or has stopped being updated, would not
//! say. So a key of its own, which may live on a server because it can release nothing, signs every
//! few hours what is current; a policy that requires it refuses a mirror that shows an old statement.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Invalid;
use super::digest::Sha256Digest;
use super::limits::LIMITS;
use super::manifest::{Arch, ImageName, ImageVersion, Manifest};
use super::payload::{self, Payload, PayloadError};
use super::time;
use super::version::PolicyVersion;

/// What is current, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// The image that this is about.
    pub name: ImageName,
    /// The newest version of the trust policy: a machine that has walked to an older one was kept from
    /// the rest of the chain.
    pub trust: PolicyVersion,
    /// When this was said.
    #[serde(with = "time")]
    pub created: Timestamp,
    /// Until when it counts.
    #[serde(with = "time")]
    pub expires: Timestamp,
    /// The releases that are current, versions falling. What is not in the list is not current.
    pub releases: Vec<CurrentRelease>,
    /// Versions that were current once and are taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<ImageVersion>,
}

/// A release that is current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentRelease {
    /// Its version.
    pub version: ImageVersion,
    /// The processor architecture that it is for.
    pub arch: Arch,
    /// The payload type of its manifest: a newer loader may find another manifest of the same version.
    #[serde(rename = "type")]
    pub payload_type: ReleaseType,
    /// SHA-256 of its manifest's payload.
    pub sha256: Sha256Digest,
    /// The moment from which it is no longer current, if it ends before the statement does.
    #[serde(
        with = "time::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub until: Option<Timestamp>,
}

/// The payload type of a manifest, known or not: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReleaseType(String);

impl ReleaseType {
    /// The type of the manifests that this version reads.
    #[must_use]
    pub fn known() -> Self {
        Self(Manifest::PAYLOAD_TYPE.to_owned())
    }

    /// Returns `true` for the type of the manifests that this version reads.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.0 == Manifest::PAYLOAD_TYPE
    }
}

impl FromStr for ReleaseType {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                "releases.type",
                text,
                "a payload type of 1 to 128 visible ASCII characters",
            ))
        }
    }
}

impl fmt::Display for ReleaseType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ReleaseType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ReleaseType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Payload for Freshness {
    const TYPE: &'static str = Self::PAYLOAD_TYPE;
    const NAME: &'static str = "freshness statement";
    const LIMIT: u64 = LIMITS.payload_bytes;

    fn check(&self) -> Result<(), Invalid> {
        if self.expires <= self.created {
            return Err(Invalid::new("expires", self.expires, "after `created`"));
        }
        let releases = &self.releases;
        if releases.is_empty() || releases.len() > LIMITS.current_releases {
            return Err(Invalid::new(
                "releases",
                releases.len(),
                "a list of 1 to 32 releases",
            ));
        }
        for (at, release) in releases.iter().enumerate() {
            let before = &releases[..at];
            if (before.last()).is_some_and(|before| before.version < release.version) {
                return Err(Invalid::new(
                    "releases.version",
                    release.version,
                    "versions falling",
                ));
            }
            if before.iter().any(|one| one.key() == release.key()) {
                return Err(Invalid::new(
                    "releases",
                    release.version,
                    "no version of one architecture and type twice",
                ));
            }
        }
        if self.withdrawn.len() > LIMITS.withdrawn_versions {
            return Err(Invalid::new(
                "withdrawn",
                self.withdrawn.len(),
                "a list of at most 64 versions",
            ));
        }
        for (at, version) in self.withdrawn.iter().enumerate() {
            if self.withdrawn[..at].contains(version) {
                return Err(Invalid::new("withdrawn", version, "no version twice"));
            }
            if releases.iter().any(|release| release.version == *version) {
                return Err(Invalid::new(
                    "withdrawn",
                    version,
                    "no version that is in `releases`",
                ));
            }
        }
        Ok(())
    }
}

impl CurrentRelease {
    fn key(&self) -> (ImageVersion, &Arch, &ReleaseType) {
        (self.version, &self.arch, &self.payload_type)
    }
}

impl Freshness {
    /// The DSSE payload type of this format.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.sealboot.freshness.v1+json";

    /// Reads a statement and checks that its fields agree.
    ///
    /// # Errors
    ///
    /// [`PayloadError`], for the first rule that it breaks.
    pub fn parse(json: &[u8]) -> Result<Self, PayloadError> {
        payload::parse(json)
    }

    /// Encodes the statement as the bytes to sign: compact JSON in the order of the fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        payload::encode(self)
    }

    /// Returns the releases for a machine of this architecture, or for every one, whose type this version knows.
    pub fn releases_for(&self, arch: Option<&Arch>) -> impl Iterator<Item = &CurrentRelease> {
        self.releases.iter().filter(move |release| {
            release.payload_type.is_known() && arch.is_none_or(|arch| release.arch == *arch)
        })
    }

    /// Returns the newest version for a machine of this architecture, or for any.
    #[must_use]
    pub fn newest_for(&self, arch: Option<&Arch>) -> Option<ImageVersion> {
        self.releases_for(arch).map(|release| release.version).max()
    }

    /// Returns the largest number of distinct versions that it lists for one architecture.
    #[must_use]
    pub fn versions_of_one_arch(&self) -> usize {
        let versions = |arch: &Arch| {
            let of_arch = self.releases.iter().filter(|release| release.arch == *arch);
            let versions: BTreeSet<_> = of_arch.map(|release| release.version).collect();
            versions.len()
        };
        let arches = self.releases.iter().map(|release| versions(&release.arch));
        arches.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESHNESS: &str = concat!(
        r#"{"name":"relay","trust":3,"created":"2026-11-21T12:00:00Z","expires":"2026-11-22T12:00:00Z","#,
        r#""releases":[{"version":43,"arch":"x86_64","type":"application/vnd.sealboot.manifest.v1+json","#,
        r#""sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
        r#"{"version":42,"arch":"aarch64","type":"application/vnd.sealboot.manifest.v1+json","#,
        r#""sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","#,
        r#""until":"2026-11-22T00:00:00Z"}],"withdrawn":[41]}"#,
    );

    fn statement() -> Freshness {
        Freshness::parse(FRESHNESS.as_bytes()).expect("valid")
    }

    fn version(number: u64) -> ImageVersion {
        number.try_into().expect("in range")
    }

    fn release(number: u64, arch: &Arch) -> CurrentRelease {
        CurrentRelease {
            version: version(number),
            arch: arch.clone(),
            until: None,
            ..statement().releases[0].clone()
        }
    }

    /// The field that a changed statement breaks a rule of.
    fn broken(change: impl FnOnce(&mut Freshness)) -> Result<(), &'static str> {
        let mut statement = statement();
        change(&mut statement);
        statement.check().map_err(|invalid| invalid.field)
    }

    #[test]
    fn a_statement_is_read_and_written() {
        let freshness = statement();
        assert_eq!(freshness.trust.as_u64(), 3);
        assert_eq!(freshness.encode(), FRESHNESS.as_bytes());
    }

    #[test]
    fn a_statement_that_was_never_fresh_contradicts_itself() {
        for expires in ["2026-11-21T12:00:00Z", "2026-11-21T11:59:59Z"] {
            let json = FRESHNESS.replace("2026-11-22T12:00:00Z", expires);
            let error = Freshness::parse(json.as_bytes()).expect_err(&json);
            assert!(
                matches!(&error, PayloadError::Contradiction(invalid) if invalid.field == "expires"),
                "{error:?}"
            );
        }
        let one_second = FRESHNESS.replace("2026-11-22T12:00:00Z", "2026-11-21T12:00:01Z");
        Freshness::parse(one_second.as_bytes()).expect("fresh for a second");
    }

    #[test]
    fn fields_of_another_shape_are_refused() {
        for (from, to) in [
            (r#""trust":3,"#, ""),
            (r#""trust":3"#, r#""trust":0"#),
            (r#""trust":3"#, r#""trust":"3""#),
            (r#""trust":3"#, r#""trust":3,"trust":3"#),
            ("relay", "../relay"),
            ("2026-11-22T12", "2026-13-22T12"),
            (r#""type":"a"#, r#""type":" a"#),
            (r#""until":"2026-11-22T00:00:00Z""#, r#""until":null"#),
        ] {
            let json = FRESHNESS.replacen(from, to, 1);
            assert_ne!(json, FRESHNESS);
            Freshness::parse(json.as_bytes()).expect_err(&json);
        }
    }

    #[test]
    fn a_list_has_1_to_32_releases_with_falling_versions() {
        let many = |count: u64| {
            broken(|statement| {
                statement.withdrawn.clear();
                let numbers = (1..=count).rev();
                statement.releases = numbers.map(|one| release(one, &Arch::X86_64)).collect();
            })
        };
        assert_eq!(many(0), Err("releases"));
        assert_eq!(many(1), Ok(()));
        assert_eq!(many(32), Ok(()));
        assert_eq!(many(33), Err("releases"));
        assert_eq!(
            broken(|statement| statement.releases.swap(0, 1)),
            Err("releases.version")
        );
        let twice = broken(|statement| {
            statement.releases = vec![release(43, &Arch::X86_64), release(43, &Arch::X86_64)];
        });
        assert_eq!(twice, Err("releases"));
        let of_two_types = broken(|statement| {
            let mut newer = release(43, &Arch::X86_64);
            newer.payload_type = "application/vnd.sealboot.manifest.v2+json".parse().unwrap();
            statement.releases = vec![newer, release(43, &Arch::X86_64)];
        });
        assert_eq!(of_two_types, Ok(()));
    }

    #[test]
    fn a_withdrawn_version_is_not_current() {
        let withdrawn = |versions: Vec<u64>| {
            broken(|statement| {
                statement.withdrawn = versions.into_iter().map(version).collect();
            })
        };
        assert_eq!(withdrawn(vec![]), Ok(()));
        assert_eq!(withdrawn((100..164).collect()), Ok(()));
        assert_eq!(withdrawn((100..165).collect()), Err("withdrawn"));
        assert_eq!(withdrawn(vec![41, 41]), Err("withdrawn"));
        assert_eq!(withdrawn(vec![43]), Err("withdrawn"));
    }

    #[test]
    fn a_machine_looks_at_its_architecture_and_the_types_it_knows() {
        let mut statement = statement();
        let mut unknown = release(44, &Arch::X86_64);
        unknown.payload_type = "application/vnd.sealboot.manifest.v2+json".parse().unwrap();
        statement.releases.insert(0, unknown);
        let newest = |arch: Option<&Arch>| statement.newest_for(arch).map(ImageVersion::as_u64);
        assert_eq!(newest(Some(&Arch::X86_64)), Some(43));
        assert_eq!(newest(Some(&Arch::Aarch64)), Some(42));
        assert_eq!(newest(Some(&"riscv64".parse().unwrap())), None);
        assert_eq!(newest(None), Some(43));
        assert_eq!(statement.versions_of_one_arch(), 2);
    }
}
