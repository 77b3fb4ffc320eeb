//! Who may sign: a key, under the name that people know its holder by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::format::Invalid;
use crate::format::key::PublicKey;

/// A key that may sign, under the name that people know its holder by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// The holder.
    pub name: SignerName,
    /// The key.
    pub key: PublicKey,
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
}
