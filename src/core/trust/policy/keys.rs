//! The table of keys of a trust policy, and the groups of them that make a role.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::format::Invalid;
use crate::format::key::PublicKey;
use crate::format::limits::LIMITS;

/// A key of the table, with the name of its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// The holder. Groups refer to the key by this name.
    pub name: SignerName,
    /// The key.
    pub key: TableKey,
}

impl Signer {
    /// Returns a signer with an ed25519 key.
    #[must_use]
    pub const fn new(name: SignerName, key: PublicKey) -> Self {
        Self {
            name,
            key: TableKey::Ed25519(key),
        }
    }
}

/// A key as the table has it: `type:value`. A key of a type that this version does not know counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableKey {
    /// `ed25519:` and 64 lower-case hex digits.
    Ed25519(PublicKey),
    /// A key of another type, whole.
    Unknown(String),
}

impl TableKey {
    /// Returns the key, if this version can verify by it.
    #[must_use]
    pub const fn known(&self) -> Option<&PublicKey> {
        match self {
            Self::Ed25519(key) => Some(key),
            Self::Unknown(_) => None,
        }
    }
}

impl From<PublicKey> for TableKey {
    fn from(key: PublicKey) -> Self {
        Self::Ed25519(key)
    }
}

impl FromStr for TableKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "keys.key",
                text,
                "a key as ed25519:<64 lower-case hex digits>",
            )
        };
        let (kind, value) = text.split_once(':').ok_or_else(invalid)?;
        if kind == "ed25519" {
            return text.parse().map(Self::Ed25519);
        }
        let is_kind = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_plain = (1..=32).contains(&kind.len())
            && kind.bytes().all(is_kind)
            && !value.is_empty()
            && value.bytes().all(|byte| byte.is_ascii_graphic())
            && text.len() <= LIMITS.policy_key_bytes;
        if is_plain {
            Ok(Self::Unknown(text.to_owned()))
        } else {
            Err(invalid())
        }
    }
}

impl fmt::Display for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519(key) => key.fmt(f),
            Self::Unknown(key) => f.write_str(key),
        }
    }
}

impl Serialize for TableKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TableKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Keys of the table, and how many of them must have signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The names of the keys.
    pub keys: Vec<SignerName>,
    /// How many distinct ones of them must have signed.
    pub threshold: usize,
}

/// The name of a signer: 1 to 64 of `a-z A-Z 0-9 . _ @ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

    #[test]
    fn a_name_is_kept_as_it_is() {
        let longest = "x".repeat(64);
        for good in ["a", "Z9", "alice@example.org", "a-b_c.", &longest] {
            let name: SignerName = good.parse().unwrap();
            assert_eq!((name.as_str(), name.to_string().as_str()), (good, good));
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(json, format!("\"{good}\""));
            assert_eq!(serde_json::from_str::<SignerName>(&json).unwrap(), name);
        }
    }

    #[test]
    fn a_name_that_could_look_like_something_else_is_refused() {
        for bad in [
            "",
            " ",
            "a b",
            "a,b",
            "a/b",
            "a\nb",
            "\x1b[m",
            "é",
            "a\"",
            &"x".repeat(65),
        ] {
            let error = bad.parse::<SignerName>().unwrap_err();
            assert_eq!(error.field, "keys.name");
            let json = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<SignerName>(&json).is_err());
        }
    }

    #[test]
    fn a_key_of_an_unknown_type_is_kept_and_verifies_nothing() {
        let longest = format!("x:{}", "a".repeat(8190));
        for good in ["ml-dsa-65:abc", "x:~", &longest] {
            let key: TableKey = good.parse().unwrap();
            assert_eq!(key, TableKey::Unknown(good.to_owned()));
            assert_eq!((key.known(), key.to_string().as_str()), (None, good));
        }
        for bad in [
            "",
            "x",
            ":a",
            "x:",
            "X:a",
            "a b:c",
            "x:a b",
            "x:\u{e9}",
            "ed25519:",
            "ed25519:00",
            &format!("{longest}a"),
            &format!("{}:a", "x".repeat(33)),
        ] {
            assert!(bad.parse::<TableKey>().is_err(), "{bad}");
        }
    }
}
