//! One kind of statement where another is expected, validly signed by those who may sign there.

use sealboot_core::failure::FailureCode::{
    FreshnessInvalid, FreshnessThreshold, ManifestEnvelope, ManifestInvalid, ManifestPayloadType,
    ManifestThreshold, TrustEnvelope, TrustInvalid, TrustPayloadType, TrustThreshold,
};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::{Envelope, TrustPolicy};

use support::world::trust::versioned;

use super::{Case, fresh, freshness, good, key, keys, manifest, policy, sealed_freshness};
use support::world;

const MANIFEST: &str = Manifest::PAYLOAD_TYPE;
const POLICY: &str = TrustPolicy::PAYLOAD_TYPE;
const FRESHNESS: &str = Freshness::PAYLOAD_TYPE;

vectors! {
    /// A trust policy, signed by two of its signers, stands where the manifest should.
    policy_for_a_manifest => Err(ManifestPayloadType), for_manifest(POLICY, next_policy());

    /// A freshness statement stands where the manifest should, signed by two who may sign manifests.
    freshness_for_a_manifest => Err(ManifestPayloadType), for_manifest(FRESHNESS, statement());

    /// A manifest stands where the next trust policy should, signed by two who may sign both.
    manifest_for_a_policy => Err(TrustPayloadType), for_policy(MANIFEST, manifest(42).encode());

    /// A freshness statement stands where the next trust policy should.
    freshness_for_a_policy => Err(TrustPayloadType), for_policy(FRESHNESS, statement());

    /// A manifest stands where the freshness statement should, signed by the key that renews.
    manifest_for_a_freshness => Err(FreshnessInvalid),
        for_freshness(MANIFEST, manifest(42).encode());

    /// A trust policy stands where the freshness statement should, signed by the key that renews.
    policy_for_a_freshness => Err(FreshnessInvalid), for_freshness(POLICY, next_policy());

    /// The payload of a trust policy, signed as a manifest.
    payload_of_a_policy_as_a_manifest => Err(ManifestInvalid),
        for_manifest(MANIFEST, next_policy());

    /// The payload of a freshness statement, signed as a manifest: they share most of their fields.
    payload_of_a_freshness_as_a_manifest => Err(ManifestInvalid),
        for_manifest(MANIFEST, statement());

    /// The payload of a manifest, signed as a trust policy.
    payload_of_a_manifest_as_a_policy => Err(TrustInvalid),
        for_policy(POLICY, manifest(42).encode());

    /// The payload of a freshness statement, signed as a trust policy.
    payload_of_a_freshness_as_a_policy => Err(TrustInvalid), for_policy(POLICY, statement());

    /// The payload of a manifest, signed as a freshness statement.
    payload_of_a_manifest_as_a_freshness => Err(FreshnessInvalid),
        for_freshness(FRESHNESS, manifest(42).encode());

    /// The payload of a trust policy, signed as a freshness statement.
    payload_of_a_policy_as_a_freshness => Err(FreshnessInvalid),
        for_freshness(FRESHNESS, next_policy());

    /// The signatures were made for the payload as a trust policy; only the type beside it is changed.
    type_of_a_manifest_put_over_a_policy => Err(ManifestThreshold),
        Case::of(&policy()).manifest(&retyped(POLICY, MANIFEST, next_policy(), &["alice", "bob"]));

    /// The signatures were made for the payload as a manifest; only the type beside it is changed.
    type_of_a_policy_put_over_a_manifest => Err(TrustThreshold),
        Case::of(&policy())
            .policy(2, retyped(MANIFEST, POLICY, manifest(42).encode(), &["alice", "bob"]))
            .manifest(&good());

    /// The signature was made for the payload as a manifest; only the type beside it is changed.
    type_of_a_freshness_put_over_a_manifest => Err(FreshnessThreshold), {
        let freshness = retyped(MANIFEST, FRESHNESS, manifest(42).encode(), &["clockwork"]);
        Case::of(&fresh(policy())).fresh(&good(), &freshness)
    };

    /// The border between type and payload is moved: the signed bytes name the length of each, so that
    /// they have one reading.
    border_between_type_and_payload_moved => Err(ManifestThreshold), {
        let payload = manifest(42).encode();
        let together = format!("{MANIFEST} {} ", payload.len());
        let signed = Envelope::unsigned(together, payload);
        let mut envelope = Envelope::unsigned(MANIFEST, manifest(42).encode());
        for name in ["alice", "bob"] {
            envelope.add_signature(key(name).public().id(), key(name).sign(&signed.signed_bytes()));
        }
        Case::of(&policy()).manifest(&envelope.encode())
    };

    /// The next version of the format, of which this reader cannot know what it means.
    manifest_of_the_next_format => Err(ManifestPayloadType),
        for_manifest("application/vnd.sealboot.manifest.v2+json", manifest(42).encode());

    /// The right type in capitals: media types may be written so, this name may not.
    payload_type_in_capitals => Err(ManifestPayloadType),
        for_manifest(&MANIFEST.to_uppercase(), manifest(42).encode());

    /// The right type with a parameter.
    payload_type_with_a_parameter => Err(ManifestPayloadType),
        for_manifest(&format!("{MANIFEST}; charset=utf-8"), manifest(42).encode());

    /// The right type with a NUL after it, where a reader in C would stop.
    payload_type_with_a_nul => Err(ManifestPayloadType),
        for_manifest(&format!("{MANIFEST}\0"), manifest(42).encode());

    /// No type at all.
    payload_type_of_nothing => Err(ManifestPayloadType), for_manifest("", manifest(42).encode());

    /// A type that is an escape sequence, to clear the console that prints it.
    payload_type_that_draws => Err(ManifestPayloadType),
        for_manifest("\x1b[2J\u{202e}", manifest(42).encode());

    /// The envelope of one version, well signed, stands alone where the channel should.
    lone_envelope_for_a_channel => Err(ManifestEnvelope),
        Case::of(&policy()).shows(super::CHANNEL, good()).archive();

    /// A channel stands where the envelope in a channel should.
    channel_in_a_channel => Err(ManifestEnvelope),
        Case::of(&policy()).manifest(&world::channel(&good(), None));

    /// A channel stands where the next trust policy should.
    channel_for_a_policy => Err(TrustEnvelope),
        Case::of(&policy()).policy(2, world::channel(&good(), None)).manifest(&good());

    /// The next trust policy stands there as it would be baked in, without an envelope.
    bare_policy_for_its_envelope => Err(TrustEnvelope),
        Case::of(&policy()).policy(2, next_policy()).manifest(&good());

    /// A bare manifest stands where its envelope should.
    bare_manifest_for_its_envelope => Err(ManifestEnvelope),
        Case::of(&policy()).manifest(&manifest(42).encode());

    /// A bare freshness statement stands where its envelope should.
    bare_freshness_for_its_envelope => Err(ManifestEnvelope),
        Case::of(&fresh(policy())).fresh(&good(), &statement());

    /// Manifest and freshness statement have changed places.
    manifest_and_freshness_exchanged => Err(ManifestPayloadType),
        Case::of(&fresh(policy())).fresh(&sealed_freshness(&freshness(42), &["clockwork"]), &good());
}

fn next_policy() -> Vec<u8> {
    versioned(&policy(), 2).encode()
}

fn statement() -> Vec<u8> {
    freshness(42).encode()
}

fn for_manifest(payload_type: &str, payload: Vec<u8>) -> Case {
    Case::of(&policy()).manifest(&world::seal(
        payload_type,
        payload,
        &keys(&["alice", "bob"]),
    ))
}

fn for_policy(payload_type: &str, payload: Vec<u8>) -> Case {
    let envelope = world::seal(payload_type, payload, &keys(&["alice", "bob"]));
    Case::of(&policy()).policy(2, envelope).manifest(&good())
}

fn for_freshness(payload_type: &str, payload: Vec<u8>) -> Case {
    let envelope = world::seal(payload_type, payload, &keys(&["clockwork"]));
    Case::of(&fresh(policy())).fresh(&good(), &envelope)
}

/// Signed as one type, shown as another.
fn retyped(from: &str, to: &str, payload: Vec<u8>, signers: &[&str]) -> Vec<u8> {
    let signed = Envelope::unsigned(from, payload.clone());
    let mut envelope = Envelope::unsigned(to, payload);
    for name in signers {
        let signature = key(name).sign(&signed.signed_bytes());
        envelope.add_signature(key(name).public().id(), signature);
    }
    envelope.encode()
}
