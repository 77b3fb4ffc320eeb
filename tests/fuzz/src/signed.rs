//! Keys, a trust policy and signatures, so that a fuzzer's bytes come past the signatures.
//!
//! A second telling of what the policy demands stands beside them, in other words than the library's,
//! for the two to be compared.

use std::sync::LazyLock;

use ed25519_dalek::{Signer as _, SigningKey};
use jiff::{SignedDuration, Timestamp};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::key::{KeyId, PublicKey};
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::{Envelope, TrustPolicy};

/// A key with its public half, which costs as much to work out as a signature.
pub struct Key {
    secret: SigningKey,
    /// The public half.
    pub public: PublicKey,
    id: KeyId,
}

impl Key {
    fn new(seed: u8) -> Self {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let public = PublicKey::from_bytes(secret.verifying_key().as_bytes());
        let public = public.expect("made from a seed");
        Self {
            secret,
            public,
            id: public.id(),
        }
    }
}

/// The signers of images and policies, all of whom must sign, and of freshness.
pub static ALICE: LazyLock<Key> = LazyLock::new(|| Key::new(1));
/// The second.
pub static BOB: LazyLock<Key> = LazyLock::new(|| Key::new(2));
/// The one of freshness.
pub static CLOCKWORK: LazyLock<Key> = LazyLock::new(|| Key::new(3));
/// In no policy at first.
pub static CAROL: LazyLock<Key> = LazyLock::new(|| Key::new(4));

/// The one of host configs, in [`POLICY_OF_HOSTS`].
pub static INSTALLER: LazyLock<Key> = LazyLock::new(|| Key::new(5));

/// Version 1: alice and bob sign, clockwork renews; see [`accepts`].
pub static POLICY: LazyLock<TrustPolicy> = LazyLock::new(|| {
    let json = format!(
        r#"{{
            "version": 1, "created": "2026-01-01T00:00:00Z",
            "keys": [
                {{"name": "alice", "key": "{}"}}, {{"name": "bob", "key": "{}"}}, {{"name": "clockwork", "key": "{}"}}
            ],
            "roles": {{
                "root": [{{"keys": ["alice", "bob"], "threshold": 2}}],
                "release": [{{"keys": ["alice", "bob"], "threshold": 2}}],
                "freshness": [{{"keys": ["clockwork"], "threshold": 1}}]
            }},
            "images": [{{"name": "relay", "min_version": 41, "denied_versions": [43]}}],
            "expiry": {{"required": true, "max_days": 90}},
            "freshness": {{"required": true, "max_hours": 72}}
        }}"#,
        ALICE.public, BOB.public, CLOCKWORK.public,
    );
    TrustPolicy::parse(json.as_bytes()).expect("valid")
});

/// Alice alone signs: for those who need a manifest that is verified, and many of them.
pub static POLICY_OF_ONE: LazyLock<TrustPolicy> = LazyLock::new(|| {
    let json = format!(
        r#"{{
            "version": 1, "created": "2026-01-01T00:00:00Z", "images": [{{"name": "relay"}}],
            "keys": [{{"name": "alice", "key": "{}"}}],
            "roles": {{
                "root": [{{"keys": ["alice"], "threshold": 1}}], "release": [{{"keys": ["alice"], "threshold": 1}}]
            }}
        }}"#,
        ALICE.public,
    );
    TrustPolicy::parse(json.as_bytes()).expect("valid")
});

/// Takes host configs that the installer has signed, and no others.
pub static POLICY_OF_HOSTS: LazyLock<TrustPolicy> = LazyLock::new(|| {
    let json = format!(
        r#"{{
            "version": 1, "created": "2026-01-01T00:00:00Z", "images": [{{"name": "relay"}}],
            "keys": [{{"name": "alice", "key": "{}"}}, {{"name": "installer", "key": "{}"}}],
            "roles": {{
                "root": [{{"keys": ["alice"], "threshold": 1}}], "release": [{{"keys": ["alice"], "threshold": 1}}],
                "host_config": [{{"keys": ["installer"], "threshold": 1}}]
            }},
            "host_config": {{"required": true}}
        }}"#,
        ALICE.public, INSTALLER.public,
    );
    TrustPolicy::parse(json.as_bytes()).expect("valid")
});

/// What the clock says.
pub static NOW: LazyLock<Timestamp> =
    LazyLock::new(|| "2026-01-15T00:00:00Z".parse().expect("a time"));

/// How far a clock may be off.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// A statement, signed by each of `keys`.
pub fn seal(payload_type: &str, payload: &[u8], keys: &[&Key]) -> Envelope {
    let mut envelope = Envelope::unsigned(payload_type, payload.to_vec());
    let signed_bytes = envelope.signed_bytes();
    for key in keys {
        envelope.add_signature(key.id, key.secret.sign(&signed_bytes).to_bytes());
    }
    envelope
}

/// Whether [`POLICY`] takes this manifest, its signatures apart.
pub fn accepts(manifest: &Manifest) -> bool {
    let version = manifest.version.as_u64();
    let lives = manifest.expires.is_some_and(|expires| {
        NOW.duration_since(expires) < TOLERANCE
            && expires.duration_since(manifest.created) <= SignedDuration::from_hours(90 * 24)
    });
    manifest.name.as_str() == "relay"
        && version >= 41
        && version != 43
        && manifest.created.duration_since(*NOW) <= TOLERANCE
        && lives
}

/// Whether [`POLICY`] takes this statement about `relay`, its signatures apart.
pub fn is_current(freshness: &Freshness) -> bool {
    freshness.name.as_str() == "relay"
        && freshness.versions_of_one_arch() <= 1
        && freshness.created.duration_since(*NOW) <= TOLERANCE
        && NOW.duration_since(freshness.expires) < TOLERANCE
        && freshness.expires.duration_since(freshness.created) <= SignedDuration::from_hours(72)
}
