//! Public ed25519 keys and their ids.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Invalid;
use super::digest::{Sha256Digest, parse_hex32, write_hex};

/// An ed25519 public key that can be trusted to tell one signer from another.
///
/// Refused, so that a key has one spelling and a signature one maker: bytes that are no point of the
/// curve, points of small order (for which anyone can make signatures), encodings that are not
/// canonical (RFC 8032, section 5.1.3), which would let one key pass for two, and points with a part of
/// small order, which would let one secret pass for eight keys.
///
/// In a trust policy it is written `ed25519:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

/// The first 16 hex digits of SHA-256 of a key's 32 raw bytes: what people compare, and the hint in
/// an envelope. Never an authority.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl PublicKey {
    /// Takes the 32 bytes of RFC 8032.
    ///
    /// # Errors
    ///
    /// Names which of the four kinds of unusable key the bytes are.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Invalid> {
        let shown = || {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let key = VerifyingKey::from_bytes(bytes)
            .map_err(|_| Invalid::new("key", shown(), "a point of the curve ed25519"))?;
        if key.is_weak() {
            return Err(Invalid::new(
                "key",
                shown(),
                "a key that only its owner can sign for (it has small order)",
            ));
        }
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(Invalid::new(
                "key",
                shown(),
                "the canonical encoding of its point",
            ));
        }
        if !key.to_edwards().is_torsion_free() {
            return Err(Invalid::new(
                "key",
                shown(),
                "a key that a secret makes (it has a part of small order)",
            ));
        }
        Ok(Self(key))
    }

    /// The 32 bytes of RFC 8032.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest = Sha256Digest::of(self.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&digest.as_bytes()[..8]);
        KeyId(id)
    }

    /// Whether `signature` over `message` was made with this key.
    ///
    /// Strict: also refuses signatures whose R has small order or is not canonical, and s past the
    /// group's order, so that no third party can turn one valid signature into another.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ed25519:")?;
        write_hex(f, self.as_bytes())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bytes = text
            .strip_prefix("ed25519:")
            .and_then(parse_hex32)
            .ok_or_else(|| Invalid::new("key", text, "ed25519: and 64 lower-case hex digits"))?;
        Self::from_bytes(&bytes)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 1.
    const KEY: &str = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn a_key_is_written_and_read() {
        let key: PublicKey = KEY.parse().expect("valid");
        assert_eq!(key.to_string(), KEY);
        assert_eq!(key.id().to_string(), "21fe31dfa154a261");
    }

    #[test]
    fn small_order_keys_are_refused() {
        // The eight points of small order in canonical form; section 8.7 of RFC 8032 and libsodium's
        // blocklist give the same.
        for hex in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        ] {
            let error = format!("ed25519:{hex}")
                .parse::<PublicKey>()
                .expect_err(hex);
            assert!(error.takes.contains("small order"), "{error}");
        }
    }

    #[test]
    fn a_second_spelling_of_a_key_is_refused() {
        // y = 3 is on the curve, though not where secrets lead; y = p + 3 is the same point, not canonically.
        let mut canonical = [0; 32];
        canonical[0] = 3;
        let error = PublicKey::from_bytes(&canonical).expect_err("of no secret");
        assert!(!error.takes.contains("canonical"), "{error}");
        let mut second = [0xff; 32];
        second[0] = 0xed + 3;
        second[31] = 0x7f;
        let error = PublicKey::from_bytes(&second).expect_err("not canonical");
        assert!(error.takes.contains("canonical"), "{error}");
    }

    #[test]
    fn a_key_with_a_part_of_small_order_is_refused() {
        let key: PublicKey = KEY.parse().expect("valid");
        let of_order_two =
            parse_hex32("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
                .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
                .expect("on the curve");
        let mixed = (key.0.to_edwards() + of_order_two.to_edwards()).compress();
        let error =
            PublicKey::from_bytes(mixed.as_bytes()).expect_err("a second key of one secret");
        assert!(error.takes.contains("part of small order"), "{error}");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in [
            "",
            "ed25519:",
            &KEY[..70],
            &KEY.to_uppercase(),
            &KEY.replace("ed25519", "rsa"),
        ] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
        let mut off_curve = [0; 32];
        off_curve[0] = 2;
        assert!(PublicKey::from_bytes(&off_curve).is_err());
    }

    /// RFC 8032, section 7.1, test 1: of the empty message.
    const SIGNATURE: &str = concat!(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );

    fn signature(hex: &str) -> [u8; 64] {
        let halves = [&hex[..64], &hex[64..]].map(|half| parse_hex32(half).expect(half));
        halves.concat().try_into().expect("64 bytes")
    }

    #[test]
    fn what_a_key_signed_and_nothing_else_it_has_signed() {
        let key: PublicKey = KEY.parse().expect("valid");
        let good = signature(SIGNATURE);
        assert!(key.has_signed(b"", &good));
        assert!(!key.has_signed(b"\0", &good));
        for at in 0..64 {
            let mut touched = good;
            touched[at] ^= 1;
            assert!(!key.has_signed(b"", &touched), "byte {at}");
        }
    }

    #[test]
    fn signatures_that_anyone_can_turn_into_others_are_refused() {
        let key: PublicKey = KEY.parse().expect("valid");
        for hex in [
            // The one above with the group's order added to s: the same equation holds.
            concat!(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
                "4c8c7872aa064e049dbb3013fbf29380d25bf5f0595bbe24655141438e7a101b",
            ),
            // Made by the key's owner with R of order 1, of which cofactored verifiers know eight.
            concat!(
                "0100000000000000000000000000000000000000000000000000000000000000",
                "756cf9b1d6f0d7a979b9d2af3dc2bc1294ec7cb6daa20eaff534c024fc57920f",
            ),
        ] {
            assert!(!key.has_signed(b"", &signature(hex)), "{hex}");
        }
    }

    #[test]
    fn debug_and_json_show_what_people_compare() {
        let key: PublicKey = KEY.parse().expect("valid");
        assert_eq!(
            format!("{key:?} {:?}", key.id()),
            format!("{KEY} 21fe31dfa154a261")
        );
        let json = serde_json::to_string(&key).expect("a string");
        assert_eq!(json, format!("\"{KEY}\""));
        assert_eq!(
            serde_json::from_str::<PublicKey>(&json).expect("valid"),
            key
        );
        assert!(serde_json::from_str::<PublicKey>(&json.replace("ed25519:", "")).is_err());
    }
}
