//! The chain of trust policies: each signed by the one before and by itself, in order, to an end.

use sealboot_core::failure::FailureCode::{
    FetchTooLarge, ManifestName, ManifestRollback, ManifestThreshold, TrustEnvelope, TrustExpired,
    TrustInvalid, TrustLength, TrustPayloadType, TrustStale, TrustThreshold, TrustVersion,
};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::trust::policy::{AcceptedImage, OnExpiry};
use sealboot_core::trust::{Envelope, TrustPolicy};

use support::world::trust::versioned;

use super::{
    Case, edited, fresh, fresh_by, freshness, key, keys, manifest, policy_of, sealed,
    sealed_freshness, sealed_policy, signer,
};
use support::world;

vectors! {
    /// From alice and bob to bob and carol: both policies are satisfied, and so is the new one by the
    /// image.
    rotation_that_is_followed => Ok(()), rotated(&["bob", "carol"]).archive();

    /// After the rotation from alice and bob to bob and carol, alice and bob sign an image: who was removed
    /// counts for nothing at once.
    image_by_a_removed_signer => Err(ManifestThreshold), rotated(&["alice", "bob"]);

    /// Bob and carol sign an image before the mirror shows the rotation that makes carol a signer.
    image_by_a_signer_to_come => Err(ManifestThreshold),
        Case::of(&first()).manifest(&sealed(&manifest(42), &["bob", "carol"]));

    /// A policy signed by its own keys alone: anybody can make one.
    policy_signed_by_the_new_keys_alone => Err(TrustThreshold),
        followed_by(sealed_policy(&second(), &["bob", "carol"]));

    /// A policy signed by the old keys alone: nobody has shown that they hold the new ones.
    policy_signed_by_the_old_keys_alone => Err(TrustThreshold),
        followed_by(sealed_policy(&second(), &["alice", "bob"]));

    /// A policy signed by one of two old keys and by all of its own.
    policy_one_old_signature_short => Err(TrustThreshold), {
        let next = at(policy_of(&["carol", "dora"], 2), 2);
        followed_by(sealed_policy(&next, &["alice", "carol", "dora"]))
    };

    /// A policy that bob has signed twice, once under alice's key id.
    policy_signed_twice_by_one_old_key => Err(TrustThreshold), {
        let mut envelope = Envelope::parse(&sealed_policy(&second(), &["bob", "carol"])).unwrap();
        let signature = key("bob").sign(&envelope.signed_bytes());
        envelope.add_signature(key("alice").public().id(), signature);
        followed_by(envelope.encode())
    };

    /// A policy that nobody has signed.
    policy_without_a_signature => Err(TrustThreshold), followed_by(sealed_policy(&second(), &[]));

    /// Version 3 stands where version 2 should, signed by everybody: what a skipped version removed
    /// would stay.
    policy_that_skips_a_version => Err(TrustVersion),
        followed_by(sealed_policy(&at(second(), 3), &["alice", "bob", "carol"]));

    /// Version 1 stands where version 2 should, signed by everybody.
    policy_served_as_its_own_successor => Err(TrustVersion),
        followed_by(sealed_policy(&first(), &["alice", "bob"]));

    /// After the rotation, version 1 stands where version 3 should, signed by old and new: a chain that
    /// goes back would give the removed key its place again.
    policy_that_goes_back => Err(TrustVersion),
        rotated(&["bob", "carol"]).policy(3, sealed_policy(&first(), &["alice", "bob", "carol"]));

    /// Version 2 stands where version 3 should: a loop, in which a machine would never arrive.
    policy_chain_in_a_loop => Err(TrustVersion),
        rotated(&["bob", "carol"]).policy(3, sealed_policy(&second(), &["alice", "bob", "carol"]));

    /// The largest version stands where version 2 should: nothing could follow it.
    policy_fast_forward => Err(TrustVersion),
        followed_by(sealed_policy(&at(second(), LIMITS.number_max), &["alice", "bob", "carol"]));

    /// The third policy is signed by the keys of the first, of which the second removed one.
    policy_signed_by_the_one_before_the_last => Err(TrustThreshold), {
        let third = at(policy_of(&["alice", "bob"], 2), 3);
        rotated(&["bob", "carol"]).policy(3, sealed_policy(&third, &["alice", "bob"]))
    };

    /// Two rotations, of which the second undoes the first, as those who are trusted may decide.
    two_rotations => Ok(()), {
        let third = at(policy_of(&["alice", "bob"], 2), 3);
        rotated(&["alice", "bob"])
            .policy(3, sealed_policy(&third, &["alice", "bob", "carol"]))
            .archive()
    };

    /// The baked-in policy is the second; what a mirror shows as the first and second, which alice
    /// made, is not asked for.
    policies_below_the_baked_in_one => Ok(()), {
        let alices = at(policy_of(&["alice"], 1), 2);
        Case::of(&second())
            .policy(1, sealed_policy(&at(policy_of(&["alice"], 1), 1), &["alice"]))
            .policy(2, sealed_policy(&alices, &["alice"]))
            .manifest(&sealed(&manifest(42), &["bob", "carol"]))
            .archive()
    };

    /// The baked-in policy has the largest version: nothing follows it, and the machine boots.
    policy_of_the_last_version => Ok(()),
        Case::of(&at(second(), LIMITS.number_max))
            .manifest(&sealed(&manifest(42), &["bob", "carol"]))
            .archive();

    /// The next policy asks for one signature where this one asks for two, and one has signed it: what a
    /// policy grants, it does not grant to itself.
    policy_that_lowers_the_threshold_for_itself => Err(TrustThreshold), {
        let next = at(policy_of(&["alice", "bob"], 1), 2);
        Case::of(&first())
            .policy(2, sealed_policy(&next, &["alice"]))
            .manifest(&sealed(&manifest(42), &["alice"]))
    };

    /// The next policy raises the image's min_version, and the mirror shows the image that the baked-in
    /// one would take.
    min_version_raised_by_a_rotation => Err(ManifestRollback), {
        let relay = AcceptedImage::new("relay".parse().unwrap(), 43.try_into().unwrap());
        let next = first().with(|fields| fields.images = vec![relay]).unwrap();
        Case::of(&first())
            .policy(2, sealed_policy(&at(next, 2), &["alice", "bob"]))
            .manifest(&sealed(&manifest(42), &["alice", "bob"]))
    };

    /// The next policy accepts another image alone, and the mirror shows the one that the baked-in one
    /// would take.
    image_dropped_by_a_rotation => Err(ManifestName), {
        let exit = AcceptedImage::new("exit".parse().unwrap(), 1.try_into().unwrap());
        let next = first().with(|fields| fields.images = vec![exit]).unwrap();
        Case::of(&first())
            .policy(2, sealed_policy(&at(next, 2), &["alice", "bob"]))
            .manifest(&sealed(&manifest(42), &["alice", "bob"]))
    };

    /// The next policy makes alice, who signed images, the one who renews; she and bob sign an image.
    image_by_a_signer_who_now_renews => Err(ManifestThreshold), {
        let next = fresh_by(second(), 1, &["alice"]);
        let newest = Freshness { trust: 2.try_into().unwrap(), ..freshness(42) };
        Case::of(&first())
            .policy(2, sealed_policy(&next, &["alice", "bob", "carol"]))
            .fresh(
                &sealed(&manifest(42), &["alice", "bob"]),
                &sealed_freshness(&newest, &["alice"]),
            )
    };

    /// A trust policy of the next format, of which this reader cannot know what it means.
    policy_of_the_next_format => Err(TrustPayloadType), {
        let payload_type = "application/vnd.sealboot.trust.v2+json";
        followed_by(world::seal(payload_type, second().encode(), &keys(&["alice", "bob", "carol"])))
    };

    /// One signature more than is checked stands on the next policy.
    next_policy_with_thirty_three_signatures => Err(TrustEnvelope), {
        let mut envelope = Envelope::unsigned(TrustPolicy::PAYLOAD_TYPE, second().encode());
        for number in 0..30 {
            envelope.add_signature(key("mallory").public().id(), [number; 64]);
        }
        for name in ["alice", "bob", "carol"] {
            let signature = key(name).sign(&envelope.signed_bytes());
            envelope.add_signature(key(name).public().id(), signature);
        }
        followed_by(envelope.encode())
    };

    /// As many policies follow as a machine walks.
    chain_of_the_longest_length => Ok(()), chain(LIMITS.policy_chain).archive();

    /// One policy more follows than a machine walks: a chain must not keep a boot busy for ever.
    chain_longer_than_the_limit => Err(TrustLength), chain(LIMITS.policy_chain + 1);

    /// The mirror holds back the rotation that removed alice, and shows what she and bob signed; the
    /// freshness statement, of a key that both policies name, says that a newer policy exists.
    rotation_held_back => Err(TrustStale), {
        let mut newest = freshness(42);
        newest.trust = 2.try_into().unwrap();
        Case::of(&fresh(first())).fresh(
            &sealed(&manifest(42), &["alice", "bob"]),
            &sealed_freshness(&newest, &["clockwork"]),
        )
    };

    /// The freshness statement names the second trust policy, and the mirror shows it: nothing is stale.
    rotation_shown_and_fresh => Ok(()), {
        let mut newest = freshness(42);
        newest.trust = 2.try_into().unwrap();
        Case::of(&fresh(first()))
            .policy(2, sealed_policy(&fresh(second()), &["alice", "bob", "carol"]))
            .fresh(
                &sealed(&manifest(42), &["bob", "carol"]),
                &sealed_freshness(&newest, &["clockwork"]),
            )
            .archive()
    };

    /// The next policy names bob's key twice, and everybody has signed it.
    next_policy_with_one_key_for_two_signers => Err(TrustInvalid), {
        let [bob, carol] = ["bob", "carol"].map(|name| signer(name).key.to_string());
        followed_by(signed_by_all(edited(&second().encode(), &carol, &bob)))
    };

    /// The next policy asks for no signature.
    next_policy_with_threshold_zero => Err(TrustInvalid),
        followed_by(signed_by_all(edited(&second().encode(), "\"threshold\": 2", "\"threshold\": 0")));

    /// The next policy asks for more signatures than it has keys: no image would ever satisfy it.
    next_policy_with_threshold_above_its_keys => Err(TrustInvalid),
        followed_by(signed_by_all(edited(&second().encode(), "\"threshold\": 2", "\"threshold\": 3")));

    /// The next policy lets bob's key, which signs images, say what is fresh as well.
    next_policy_with_one_key_in_two_roles => Err(TrustInvalid), {
        let role = "\"freshness\": [\n      {\n        \"keys\": [\n          \"";
        let (from, to) = (format!("{role}clockwork"), format!("{role}bob"));
        followed_by(signed_by_all(edited(&fresh(second()).encode(), &from, &to)))
    };

    /// The next policy asks for two signatures on a freshness statement, of which there is one key.
    next_policy_with_a_freshness_role_nobody_can_fulfil => Err(TrustInvalid), {
        let whole = fresh(second()).encode();
        followed_by(signed_by_all(edited(&whole, "\"threshold\": 1", "\"threshold\": 2")))
    };

    /// The newest policy has expired, and says that nothing boots then: the mirror is behind, or nobody renewed it.
    policy_that_has_expired_and_refuses => Err(TrustExpired), expired(OnExpiry::Refuse);

    /// The newest policy has expired, and only warns: what a machine needs to reach its next policy does not stop it.
    policy_that_has_expired_and_warns => Ok(()), expired(OnExpiry::Warn).archive();

    /// The baked-in policy has expired and refuses, and the one that follows it has not: the newest one counts.
    policy_that_has_expired_and_was_followed => Ok(()), {
        let first = expiring(first(), OnExpiry::Refuse);
        Case::of(&first)
            .policy(2, sealed_policy(&second(), &["alice", "bob", "carol"]))
            .manifest(&sealed(&manifest(42), &["bob", "carol"]))
            .archive()
    };

    /// What stands where the next policy should is the mirror's own page for what it does not have.
    html_for_the_next_policy => Err(TrustEnvelope), followed_by(b"<html>404</html>".to_vec());

    /// The next policy's file is cut in the middle.
    next_policy_cut_short => Err(TrustEnvelope), {
        let whole = sealed_policy(&second(), &["alice", "bob", "carol"]);
        followed_by(whole[..whole.len() / 2].to_vec())
    };

    /// The next policy's file has as many bytes as are read.
    next_policy_of_the_largest_size => Ok(()),
        rotated(&["bob", "carol"]).archive().padded("store/trust/2.json", limit());

    /// The next policy's file has one byte more than is read.
    next_policy_one_byte_too_large => Err(FetchTooLarge),
        rotated(&["bob", "carol"]).padded("store/trust/2.json", limit() + 1);
}

/// The policy with an expiry that has passed.
fn expiring(policy: TrustPolicy, on_expiry: OnExpiry) -> TrustPolicy {
    let changed = policy.with(|fields| {
        fields.created = "2025-01-01T00:00:00Z".parse().unwrap();
        fields.expires = Some("2026-01-14T00:00:00Z".parse().unwrap());
        fields.on_expiry = on_expiry;
    });
    changed.unwrap()
}

/// The rotation to a second policy that has expired.
fn expired(on_expiry: OnExpiry) -> Case {
    let second = expiring(second(), on_expiry);
    Case::of(&first())
        .policy(2, sealed_policy(&second, &["alice", "bob", "carol"]))
        .manifest(&sealed(&manifest(42), &["bob", "carol"]))
}

fn at(policy: TrustPolicy, version: u64) -> TrustPolicy {
    versioned(&policy, version)
}

fn first() -> TrustPolicy {
    policy_of(&["alice", "bob"], 2)
}

fn second() -> TrustPolicy {
    at(policy_of(&["bob", "carol"], 2), 2)
}

fn limit() -> usize {
    LIMITS.policy_envelope_bytes.try_into().unwrap()
}

fn signed_by_all(payload: Vec<u8>) -> Vec<u8> {
    world::seal(
        TrustPolicy::PAYLOAD_TYPE,
        payload,
        &keys(&["alice", "bob", "carol"]),
    )
}

/// The first policy is baked in, this is shown as the second, and bob and carol have signed the image.
fn followed_by(envelope: Vec<u8>) -> Case {
    Case::of(&first())
        .policy(2, envelope)
        .manifest(&sealed(&manifest(42), &["bob", "carol"]))
}

/// The rotation from alice and bob to bob and carol, and an image of these signers.
fn rotated(signers: &[&str]) -> Case {
    Case::of(&first())
        .policy(2, sealed_policy(&second(), &["alice", "bob", "carol"]))
        .manifest(&sealed(&manifest(42), signers))
}

/// So many policies of alice alone that follow the baked-in one.
fn chain(steps: usize) -> Case {
    let of_alice = || policy_of(&["alice"], 1);
    let mut case = Case::of(&of_alice())
        .manifest(&sealed(&manifest(42), &["alice"]))
        .tarred("store/trust");
    for version in 2..2 + u64::try_from(steps).unwrap() {
        let envelope = sealed_policy(&at(of_alice(), version), &["alice"]);
        case = case.policy(version, envelope);
    }
    case
}
