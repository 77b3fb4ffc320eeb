//! SHA-256 digests, written as 64 lower-case hex digits wherever a person or a file sees them.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use super::Invalid;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// How many bytes a digest has.
    pub const LEN: usize = 32;

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest that `hasher` has reached.
    #[must_use]
    pub fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// The digest of what is left of `input`, which is read piece by piece.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn of_rest(mut input: impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        io::copy(&mut input, &mut hasher)?;
        Ok(Self::finish(hasher))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; Self::LEN]> for Sha256Digest {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for Sha256Digest {
    type Err = Invalid;

    fn from_str(hex: &str) -> Result<Self, Invalid> {
        parse_hex32(hex)
            .map(Self)
            .ok_or_else(|| Invalid::new("sha256", hex, "64 lower-case hex digits"))
    }
}

impl Serialize for Sha256Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        hex.parse().map_err(de::Error::custom)
    }
}

/// Writes `bytes` as lower-case hex.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads exactly 64 lower-case hex digits; upper case is refused so that a digest has one spelling.
pub(crate) fn parse_hex32(hex: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_written_and_read_as_hex() {
        let digest = Sha256Digest::of(b"");
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(digest));
    }

    #[test]
    fn only_one_spelling_is_read() {
        for bad in [
            &EMPTY.to_uppercase(),
            &EMPTY[1..],
            &format!("{EMPTY}0"),
            "",
            &EMPTY.replace('e', "g"),
        ] {
            assert!(bad.parse::<Sha256Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_digit_is_read_and_written() {
        let hex = "00112233445566778899aabbccddeeff0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        let digest: Sha256Digest = hex.parse().expect("valid");
        assert_eq!(digest.as_bytes()[..4], [0x00, 0x11, 0x22, 0x33]);
        assert_eq!(digest.as_bytes()[28..], [0xc3, 0xd2, 0xe1, 0xf0]);
        assert_eq!(digest.to_string(), hex);
        assert_eq!(format!("{digest:?}"), format!("sha256:{hex}"));
        let json = serde_json::to_string(&digest).expect("a string");
        assert_eq!(json, format!("\"{hex}\""));
        assert_eq!(
            serde_json::from_str::<Sha256Digest>(&json).expect("valid"),
            digest
        );
        assert!(serde_json::from_str::<Sha256Digest>(&json.to_uppercase()).is_err());
    }

    #[test]
    fn the_neighbours_of_digits_are_none() {
        for stranger in ['/', ':', '@', '`', 'g', 'A', 'F', ' ', '+', '\0'] {
            for hex in [
                format!("{stranger}{}", &EMPTY[1..]),
                format!("{}{stranger}", &EMPTY[1..]),
            ] {
                assert!(hex.parse::<Sha256Digest>().is_err(), "{hex:?}");
            }
        }
    }

    #[test]
    fn a_hash_taken_piece_by_piece_is_the_hash_of_the_whole() {
        let hasher = Sha256::new().chain_update(b"one ").chain_update(b"two");
        assert_eq!(Sha256Digest::finish(hasher), Sha256Digest::of(b"one two"));

        let mut input = io::Cursor::new(vec![7; 100_000]);
        input.set_position(1);
        let rest = Sha256Digest::of_rest(input).unwrap();
        assert_eq!(rest, Sha256Digest::of(&[7; 99_999]));
    }
}
