//! Counters that only grow: of an image, and of a trust policy.
//!
//! Whole numbers from 1 to 2^53 - 1, beyond which JSON readers disagree (RFC 8259, section 6).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Invalid;
use super::limits::LIMITS;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// The smallest version.
            pub const FIRST: Self = Self(1);

            /// The version as a number.
            #[must_use]
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// The version after this one, `None` after the last.
            #[must_use]
            pub fn next(self) -> Option<Self> {
                Self::try_from(self.0 + 1).ok()
            }
        }

        impl TryFrom<u64> for $name {
            type Error = Invalid;

            fn try_from(version: u64) -> Result<Self, Invalid> {
                if (1..=LIMITS.number_max).contains(&version) {
                    Ok(Self(version))
                } else {
                    Err(Invalid::new("version", version, "between 1 and 9007199254740991"))
                }
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(version: &str) -> Result<Self, Invalid> {
                let invalid = || {
                    Invalid::new("version", version, "a whole number between 1 and 9007199254740991")
                };
                let number: u64 = version.parse().map_err(|_| invalid())?;
                number.try_into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                u64::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
            }
        }
    };
}

counter! {
    /// A version of an image: the rollback counter of its name.
    ImageVersion
}

counter! {
    /// A version of a trust policy: each is signed by the one before.
    PolicyVersion
}

/// A version of sealboot itself: `MAJOR.MINOR.PATCH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoaderVersion(u32, u32, u32);

impl FromStr for LoaderVersion {
    type Err = Invalid;

    fn from_str(version: &str) -> Result<Self, Invalid> {
        let mut numbers = version.split('.').map(|part| {
            let is_plain = part == "0" || !part.starts_with(['0', '+']);
            part.parse::<u32>().ok().filter(|_| is_plain)
        });
        let mut next = || numbers.next().flatten();
        match (next(), next(), next(), numbers.next()) {
            (Some(major), Some(minor), Some(patch), None) => Ok(Self(major, minor, patch)),
            _ => Err(Invalid::new("min_loader", version, "a version as 1.2.3")),
        }
    }
}

impl fmt::Display for LoaderVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl Serialize for LoaderVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LoaderVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_loader_are_ordered_by_number() {
        let version = |text: &str| text.parse::<LoaderVersion>().expect(text);
        assert!(version("0.9.10") < version("0.10.0"));
        assert!(version("0.10.0") < version("1.0.0"));
        assert_eq!(version("1.2.30").to_string(), "1.2.30");
        for bad in [
            "", "1", "1.2", "1.2.3.4", "1.2.x", "01.2.3", "1.2.+3", "1.2.-3", "v1.2.3",
        ] {
            assert!(bad.parse::<LoaderVersion>().is_err(), "{bad}");
        }
    }

    const LAST: u64 = 9_007_199_254_740_991;

    #[test]
    fn a_version_is_a_whole_number_that_every_reader_of_json_agrees_on() {
        for good in [1, 2, LAST] {
            let version = ImageVersion::try_from(good).expect("in range");
            assert_eq!(version.as_u64(), good);
            assert_eq!(version.to_string(), good.to_string());
            assert_eq!(good.to_string().parse(), Ok(version));
            let json = serde_json::to_string(&version).expect("a number");
            assert_eq!(json, good.to_string());
            assert_eq!(
                serde_json::from_str::<ImageVersion>(&json).expect("valid"),
                version
            );
        }
        for bad in [
            "0",
            "9007199254740992",
            "18446744073709551616",
            "-1",
            "1.0",
            "1e3",
            "\"1\"",
            "",
            "x",
        ] {
            assert!(bad.parse::<ImageVersion>().is_err(), "{bad}");
            assert!(serde_json::from_str::<ImageVersion>(bad).is_err(), "{bad}");
            assert!(serde_json::from_str::<PolicyVersion>(bad).is_err(), "{bad}");
        }
        assert!(PolicyVersion::try_from(0).is_err());
        assert!(PolicyVersion::try_from(u64::MAX).is_err());
    }

    #[test]
    fn versions_follow_each_other_up_to_the_last() {
        assert_eq!(PolicyVersion::FIRST.as_u64(), 1);
        let second = PolicyVersion::FIRST.next().expect("in range");
        assert_eq!(second.as_u64(), 2);
        assert!(PolicyVersion::FIRST < second);
        assert_eq!(
            PolicyVersion::try_from(LAST).expect("in range").next(),
            None
        );
        assert_eq!(ImageVersion::try_from(LAST).expect("in range").next(), None);
    }
}
