//! Keys and signatures that only a cheat makes: of small order, not canonical, or true only for some.

use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{Signature, SigningKey, Verifier as _, VerifyingKey};
use sealboot_core::failure::FailureCode::{ConfigurePolicy, ManifestThreshold, TrustInvalid};
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::{Envelope, KeyId, TrustPolicy};
use sha2::{Digest as _, Sha512};

use support::world::trust::versioned;

use super::{Case, edited, good, key, keys, manifest, policy, sealed, shown, signer};
use support::world;

vectors! {
    /// A signature whose s is larger by the order of the group: the same equation holds, and a reader
    /// that does not look takes it for a second signature.
    s_past_the_order_of_the_group => Err(ManifestThreshold), {
        let signature = past_the_order(key("alice").sign(&message()));
        shown(&with_signature(&signature, "carol", &["bob"]))
    };

    /// A good signature and the same with s larger by the order of the group: both are of one key.
    signature_and_its_malleated_twin => Err(ManifestThreshold), {
        let twin = past_the_order(key("alice").sign(&message()));
        shown(&with_signature(&twin, "bob", &["alice"]))
    };

    /// R is the neutral element: the equation holds, and a verifier that is not strict accepts it. Such
    /// an R fits every message, so that what was signed is no longer bound as it should be.
    small_order_r => Err(ManifestThreshold), {
        let signature = alice().answering(&[1], Scalar::ZERO);
        assert!(alice().public.verify(&message(), &signature).is_ok());
        shown(&with_signature(&signature.to_bytes(), "alice", &["bob"]))
    };

    /// R is the neutral element in its second spelling, with y = p + 1.
    non_canonical_r => Err(ManifestThreshold), {
        let mut spelling = [0xff; 32];
        (spelling[0], spelling[31]) = (0xee, 0x7f);
        let signature = alice().answering(&spelling, Scalar::ZERO);
        shown(&with_signature(&signature.to_bytes(), "alice", &["bob"]))
    };

    /// R has a part of small order, which vanishes where the equation is multiplied by eight: verifiers
    /// that do so accept this signature, the others do not. No two machines may come to two verdicts.
    signature_that_only_verifies_cofactored => Err(ManifestThreshold), {
        let secret = Scalar::from(1234_u64);
        let r = ED25519_BASEPOINT_TABLE * &secret + EIGHT_TORSION[1];
        let signature = alice().answering(r.compress().as_bytes(), secret);
        let difference = alice().difference(&signature, &r);
        assert!(difference != EdwardsPoint::default() && difference.is_small_order());
        shown(&with_signature(&signature.to_bytes(), "alice", &["bob"]))
    };

    /// R is no point of the curve.
    r_off_the_curve => Err(ManifestThreshold), {
        let signature = alice().answering(&[2], Scalar::ZERO);
        shown(&with_signature(&signature.to_bytes(), "alice", &["bob"]))
    };

    /// Signatures of nothing but zeros, under good key ids.
    signatures_of_zeros => Err(ManifestThreshold), {
        let mut envelope = unsigned();
        for name in ["alice", "bob"] {
            envelope.add_signature(key(name).public().id(), [0; 64]);
        }
        shown(&envelope.encode())
    };

    /// The baked-in policy names the neutral element as carol's key, and the signature of nobody, R the
    /// neutral element and s zero, verifies for it whatever the message is.
    small_order_key => Err(ConfigurePolicy), {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let signature = Signature::from_components(neutral, [0; 32]);
        let anybody = VerifyingKey::from_bytes(&neutral).unwrap();
        assert!(anybody.verify(&message(), &signature).is_ok());
        let envelope = with_signature(&signature.to_bytes(), "carol", &["alice"]);
        Case::of_bytes(with_key_for_carol(&policy(), &neutral)).manifest(&envelope)
    };

    /// The next policy, well signed, names a point of order eight as carol's key.
    small_order_key_in_the_next_policy => Err(TrustInvalid), {
        let order_eight = EIGHT_TORSION[1].compress().to_bytes();
        let next = versioned(&policy(), 2);
        let next = with_key_for_carol(&next, &order_eight);
        let envelope = world::seal(TrustPolicy::PAYLOAD_TYPE, next, &keys(&["alice", "bob"]));
        Case::of(&policy()).policy(2, envelope).manifest(&good())
    };

    /// The baked-in policy names a key in its second spelling, with y = p + 3: in its first it would
    /// pass for another signer.
    non_canonical_key => Err(ConfigurePolicy), {
        let mut spelling = [0xff; 32];
        (spelling[0], spelling[31]) = (0xed + 3, 0x7f);
        Case::of_bytes(with_key_for_carol(&policy(), &spelling)).manifest(&good())
    };

    /// Carol's key in the baked-in policy is bob's plus the point of order two. His one secret signs for
    /// both, and both signatures verify: one person would be two signers.
    one_secret_under_two_keys => Err(ConfigurePolicy), {
        let bob = Prover::of("bob");
        let mixed = bob.public.to_edwards() + EIGHT_TORSION[4];
        let second = Prover { public: VerifyingKey::from(mixed), ..bob };
        // Half of all signatures verify: those for which the hash is even.
        let signature = (1_u64..).map(|nonce| {
            let nonce = Scalar::from(nonce);
            second.answering((ED25519_BASEPOINT_TABLE * &nonce).compress().as_bytes(), nonce)
        }).find(|signature| second.public.verify_strict(&message(), signature).is_ok());
        let envelope = with_signature(&signature.unwrap().to_bytes(), "carol", &["bob"]);
        Case::of_bytes(with_key_for_carol(&policy(), second.public.as_bytes())).manifest(&envelope)
    };

    /// Carol's key in the baked-in policy is no point of the curve.
    key_off_the_curve => Err(ConfigurePolicy), {
        let mut off_curve = [0; 32];
        off_curve[0] = 2;
        Case::of_bytes(with_key_for_carol(&policy(), &off_curve)).manifest(&good())
    };
}

/// Somebody who knows a secret and does what they like with it.
struct Prover {
    secret: Scalar,
    public: VerifyingKey,
}

fn alice() -> Prover {
    Prover::of("alice")
}

impl Prover {
    fn of(name: &str) -> Self {
        let key = SigningKey::from_pkcs8_pem(&key(name).to_pem()).unwrap();
        Self {
            secret: key.to_scalar(),
            public: key.verifying_key(),
        }
    }

    /// The signature with these bytes for R, zeros following, and s = r + H(R, A, M) a.
    fn answering(&self, r_bytes: &[u8], r: Scalar) -> Signature {
        let mut padded = [0; 32];
        padded[..r_bytes.len()].copy_from_slice(r_bytes);
        let s = r + self.challenge(&padded) * self.secret;
        Signature::from_components(padded, s.to_bytes())
    }

    fn challenge(&self, r_bytes: &[u8; 32]) -> Scalar {
        let hash = Sha512::new()
            .chain_update(r_bytes)
            .chain_update(self.public.as_bytes())
            .chain_update(message());
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }

    /// What is left of s B - H(R, A, M) A - R.
    fn difference(&self, signature: &Signature, r: &EdwardsPoint) -> EdwardsPoint {
        let s = Scalar::from_bytes_mod_order(*signature.s_bytes());
        let challenge = self.challenge(signature.r_bytes());
        ED25519_BASEPOINT_TABLE * &s - self.public.to_edwards() * challenge - r
    }
}

fn unsigned() -> Envelope {
    Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest(42).encode())
}

/// What all signatures here are over.
fn message() -> Vec<u8> {
    unsigned().signed_bytes()
}

/// An envelope with this signature under `name`'s key id, and the good ones of `others`.
fn with_signature(signature: &[u8; 64], name: &str, others: &[&str]) -> Vec<u8> {
    let mut envelope = Envelope::parse(&sealed(&manifest(42), others)).unwrap();
    let key_id: KeyId = key(name).public().id();
    envelope.add_signature(key_id, *signature);
    envelope.encode()
}

/// Adds the order of the group to s.
fn past_the_order(mut signature: [u8; 64]) -> [u8; 64] {
    // 2^252 + 27742317777372353535851937790883648493 (RFC 8032, section 5.1), little-endian.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, addend) in signature[32..].iter_mut().zip(ORDER) {
        let [low, high] = (u16::from(*byte) + u16::from(addend) + carry).to_le_bytes();
        (*byte, carry) = (low, u16::from(high));
    }
    assert_eq!(carry, 0);
    signature
}

/// A policy's bytes with another key for carol, whatever that is.
fn with_key_for_carol(policy: &TrustPolicy, bytes: &[u8; 32]) -> Vec<u8> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let carols = signer("carol").key.to_string();
    edited(&policy.encode(), &carols, &format!("ed25519:{hex}"))
}
