//! What a mirror serves as `images/NAME.json`: a channel file with its envelopes, or an envelope alone.
//!
//! Bytes that begin with `{` are taken as they are: nobody signed them. Any others say who signs what,
//! and where the mirror touches it afterwards.
//!
//! | property | because |
//! |---|---|
//! | what nobody signed is never accepted | a mirror is trusted for nothing |
//! | what is accepted is the very payload that the threshold signed, whatever was touched after | so says the signature |
//! | untouched, manifest and freshness are accepted exactly where the policy, told a second time, accepts them | nothing else decides |
//! | a key counts once, under however many key ids, and one outside the policy never | so says the threshold |
//! | what is read is written and read again as itself, and is within the bounds | `image merge` and mirrors copy it |

use std::sync::LazyLock;

use sealboot_core::failure::Diagnose as _;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{ImageName, Manifest};
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Envelope, TrustPolicy, Verifications};

use super::Verdict;
use super::input::{Input, touch};
use super::signed::{ALICE, BOB, CAROL, CLOCKWORK, Key, NOW, POLICY, accepts, is_current, seal};
use super::spoken;

/// Bits of the first byte. Without any, all is well: the input's payload is signed by those who should.
mod bits {
    pub(super) const NOT_ALICE: u8 = 0x01;
    pub(super) const NOT_BOB: u8 = 0x02;
    /// Somebody of no policy signs too.
    pub(super) const CAROL: u8 = 0x04;
    /// Alice's signature is there a second time, under another key id; and before all, one that is none.
    pub(super) const COPIES: u8 = 0x08;
    /// The manifest is sealed as another kind of statement.
    pub(super) const OTHER_KIND: u8 = 0x10;
    /// The freshness statement is signed by those who sign images.
    pub(super) const OTHER_ROLE: u8 = 0x20;
}

/// `{…`, or a byte of bits, where to touch, a manifest, a NUL and a freshness statement.
pub fn run(bytes: &[u8]) -> Verdict {
    match bytes {
        [b'{', ..] => unsigned(bytes),
        _ => signed(Input::new(bytes)),
    }
}

static RELAY: LazyLock<ImageName> = LazyLock::new(|| "relay".parse().expect("a name"));

fn expected() -> Expected<'static> {
    Expected {
        name: &RELAY,
        arch: None,
        now: (*NOW).into(),
    }
}

fn unsigned(bytes: &[u8]) -> Verdict {
    let expected = expected();
    let as_manifest = POLICY
        .verify_manifest(bytes, &expected)
        .expect_err("nobody signed");
    let as_channel = POLICY
        .verify_channel(bytes, &expected)
        .expect_err("nobody signed");
    let as_policy = POLICY.verify_successor(bytes).expect_err("nobody signed");
    for refusal in [as_manifest, as_channel, as_policy] {
        spoken::is_safe_to_print(&refusal);
    }
    match (Envelope::parse(bytes), Channel::parse(bytes)) {
        (Ok(envelope), channel) => {
            assert!(channel.is_err(), "two readings");
            is_sound(&envelope);
            Verdict::Taken
        }
        (Err(_), Ok(channel)) => {
            assert!(channel.releases.len() <= LIMITS.current_releases);
            assert!(channel.freshness.len() <= LIMITS.channel_statements);
            for release in &channel.releases {
                is_sound(&release.manifest);
            }
            for freshness in &channel.freshness {
                is_sound(freshness);
            }
            assert_eq!(Channel::parse(&channel.encode()).expect("our own"), channel);
            Verdict::Taken
        }
        (Err(_), Err(_)) => Verdict::Refused,
    }
}

fn is_sound(envelope: &Envelope) {
    assert!(envelope.signatures().len() <= LIMITS.signatures);
    assert!(
        envelope
            .signatures()
            .iter()
            .all(|signature| signature.key_id.len() <= LIMITS.key_id_bytes)
    );
    let written = envelope.encode();
    if u64::try_from(written.len()).is_ok_and(|len| len <= LIMITS.envelope_bytes) {
        assert_eq!(Envelope::parse(&written).expect("our own"), *envelope);
    }
    let head = format!(
        "DSSEv1 {} {} ",
        envelope.payload_type().len(),
        envelope.payload_type()
    );
    assert!(envelope.signed_bytes().starts_with(head.as_bytes()));
    let mut left = Verifications::default();
    assert!(
        POLICY
            .root_role()
            .count(envelope, &mut left)
            .signers
            .is_empty()
    );
}

fn signed(mut input: Input<'_>) -> Verdict {
    let bits = input.byte();
    let mut touches = input;
    input.take(1 + 3 * 4);
    let payload = input.text();
    let freshness = input.rest();

    let envelope = sealed(bits, payload);
    let by_both = bits & (bits::NOT_ALICE | bits::NOT_BOB | bits::OTHER_KIND) == 0;
    let manifest = Manifest::parse(payload)
        .ok()
        .filter(|_| by_both)
        .filter(accepts);
    let file = envelope.encode();
    let mut touched = file.clone();
    touch(&mut touches, &mut touched, 4);
    if touched == file {
        return in_channel(bits, &envelope, freshness, manifest.as_ref());
    }
    let expected = expected();
    match POLICY.verify_manifest(&touched, &expected) {
        Ok(verified) => {
            assert_eq!(Some(verified.as_ref()), manifest.as_ref());
            assert_eq!(*verified.payload_sha256(), Sha256Digest::of(payload));
            assert_eq!(verified.signers().len(), 2);
            Verdict::Taken
        }
        Err(refusal) => {
            spoken::is_safe_to_print(&refusal);
            Verdict::Refused
        }
    }
}

/// The manifest's envelope with what goes wrong.
fn sealed(bits: u8, payload: &[u8]) -> Envelope {
    let kind = if bits & bits::OTHER_KIND == 0 {
        Manifest::PAYLOAD_TYPE
    } else {
        TrustPolicy::PAYLOAD_TYPE
    };
    let keys: Vec<&Key> = [
        (&*ALICE, bits & bits::NOT_ALICE == 0),
        (&*BOB, bits & bits::NOT_BOB == 0),
        (&*CAROL, bits & bits::CAROL != 0),
    ]
    .into_iter()
    .filter_map(|(key, signs)| signs.then_some(key))
    .collect();
    let envelope = seal(kind, payload, &keys);
    if bits & bits::COPIES == 0 {
        return envelope;
    }
    let mut crowded = envelope.with_only(EnvelopeSignature::new("", [0; 64]));
    for signature in envelope.signatures() {
        crowded.join(signature.clone());
        crowded.join(EnvelopeSignature::new("another", signature.bytes.clone()));
    }
    crowded
}

/// Puts the envelope into a channel file with a freshness statement; `manifest` is what it holds, if it is good.
fn in_channel(
    bits: u8,
    envelope: &Envelope,
    payload: &[u8],
    manifest: Option<&Manifest>,
) -> Verdict {
    let keys: &[&Key] = if bits & bits::OTHER_ROLE == 0 {
        &[&CLOCKWORK]
    } else {
        &[&ALICE, &BOB]
    };
    let freshness = (!payload.is_empty()).then(|| seal(Freshness::PAYLOAD_TYPE, payload, keys));
    let channel = Channel::new([envelope.clone()], freshness);
    let file = channel.encode();
    assert_eq!(Channel::parse(&file).expect("our own"), channel);
    let current = Freshness::parse(payload).ok().filter(|freshness| {
        bits & bits::OTHER_ROLE == 0 && is_current(freshness) && freshness.trust <= POLICY.version()
    });
    let good = match (manifest, &current) {
        (Some(manifest), Some(freshness)) => {
            (freshness.releases_for(Some(&manifest.arch))).any(|release| {
                release.sha256 == Sha256Digest::of(envelope.unverified_payload())
                    && release
                        .until
                        .is_none_or(|until| expected().now.at() < until)
            })
        }
        _ => false,
    };
    match POLICY.verify_channel(&file, &expected()) {
        Ok(accepted) => {
            assert!(good, "accepted with {bits:#04x}");
            assert_eq!(Some(accepted.manifest().as_ref()), manifest);
            assert_eq!(
                accepted.freshness().map(|freshness| freshness.as_ref()),
                current.as_ref()
            );
            Verdict::Taken
        }
        Err(refusal) => {
            assert!(!good, "{refusal:?}");
            let of_the_manifest = refusal.code().as_str().starts_with("MANIFEST-");
            if Freshness::parse(payload).is_err() {
                assert_eq!(of_the_manifest, manifest.is_none(), "{refusal:?}");
            }
            spoken::is_safe_to_print(&refusal);
            Verdict::Refused
        }
    }
}
