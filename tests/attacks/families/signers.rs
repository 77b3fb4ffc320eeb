//! Who signed: distinct keys of the policy, each once, whatever an envelope says of itself.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sealboot_core::failure::FailureCode::{ConfigurePolicy, ManifestEnvelope, ManifestThreshold};
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::Envelope;
use sealboot_core::trust::envelope::EnvelopeSignature;

use super::{Case, edited, good, key, manifest, policy, sealed, shown, signer};

vectors! {
    /// Two of three have signed, and the archive is what they signed: nothing is wrong.
    two_of_three => Ok(()), shown(&good()).archive();

    /// Everybody has signed, and so has a stranger: more than is asked for does no harm.
    more_signatures_than_asked_for => Ok(()),
        shown(&sealed(&manifest(42), &["mallory", "carol", "bob", "alice"])).archive();

    /// A broken signature under a good key's id stands first: it must not keep the key's real one,
    /// further down, from counting.
    garbage_signature_first_under_a_good_key_id => Ok(()),
        shown(&with_garbage_first(&[0xa5; 64])).archive();

    /// Bytes that are too few for a signature stand first, under a good key's id: the key's real one,
    /// further down, counts.
    short_signature_first_under_a_good_key_id => Ok(()),
        shown(&with_garbage_first(b"short")).archive();

    /// The key ids of two good signatures are exchanged: a key id is a hint, and decides nothing.
    key_ids_exchanged => Ok(()), {
        let (alice, bob) = (key_id("alice"), key_id("bob"));
        let bobs_is_alices = edited(&edited(&good(), &alice, "?"), &bob, &alice);
        shown(&edited(&bobs_is_alices, "?", &bob)).archive()
    };

    /// The signatures name no key at all, as DSSE allows.
    no_key_ids => Ok(()), {
        let without = |envelope: &[u8], name: &str| {
            edited(envelope, &format!("\"keyid\": \"{}\",", key_id(name)), "")
        };
        shown(&without(&without(&good(), "alice"), "bob")).archive()
    };

    /// As many signatures as are checked, and the two good ones last.
    thirty_two_signatures => Ok(()), shown(&behind_strangers(30)).archive();

    /// One signature more than is checked: an envelope must not make a machine check a million.
    thirty_three_signatures => Err(ManifestEnvelope), shown(&behind_strangers(31));

    /// Thirty-two signatures that nobody made, under key ids as long as they may be, of nothing but escape
    /// characters: what is said of them must still fit a slow console.
    key_ids_that_flood => Err(ManifestThreshold), {
        let mut envelope = unsigned(42);
        for number in 0..32 {
            let key_id = "\x1b".repeat(256);
            envelope.join(EnvelopeSignature::new(key_id, [number; 64]));
        }
        shown(&envelope.encode())
    };

    /// Nobody has signed.
    no_signature => Err(ManifestThreshold), shown(&sealed(&manifest(42), &[]));

    /// One of two has signed.
    one_signature_short => Err(ManifestThreshold), shown(&sealed(&manifest(42), &["bob"]));

    /// A signer and a stranger: only keys of the policy count.
    stranger_for_the_second_signer => Err(ManifestThreshold),
        shown(&sealed(&manifest(42), &["alice", "mallory"]));

    /// A stranger signs under the ids of two good keys.
    stranger_under_good_key_ids => Err(ManifestThreshold), {
        let mut envelope = unsigned(42);
        for name in ["alice", "bob"] {
            let signature = key("mallory").sign(&envelope.signed_bytes());
            envelope.add_signature(key(name).public().id(), signature);
        }
        shown(&envelope.encode())
    };

    /// One key signs under two key ids: signatures count by distinct public key.
    duplicate_signer_under_two_key_ids => Err(ManifestThreshold), {
        let mut envelope = unsigned(42);
        let signature = key("bob").sign(&envelope.signed_bytes());
        envelope.add_signature(key("bob").public().id(), signature);
        envelope.add_signature(key("carol").public().id(), signature);
        shown(&envelope.encode())
    };

    /// One signature stands twice.
    same_signature_twice => Err(ManifestThreshold), {
        let one = sealed(&manifest(42), &["alice"]);
        let signature = signature_object(&one);
        shown(&edited(&one, &signature, &format!("{signature}, {signature}")))
    };

    /// One signature stands twice, in the two alphabets of base64, so that its texts differ.
    same_signature_in_two_alphabets => Err(ManifestThreshold), {
        let one = sealed(&manifest(42), &["alice"]);
        let signature = signature_object(&one);
        let text = signature_text(&one);
        let other = URL_SAFE_NO_PAD.encode(STANDARD.decode(&text).unwrap());
        assert_ne!(text, other);
        let twin = signature.replace(&text, &other);
        shown(&edited(&one, &signature, &format!("{signature}, {twin}")))
    };

    /// The signer's public key travels beside the signature, in a field of its own: a key does not vouch for
    /// itself, and the field is ignored.
    key_shipped_in_the_envelope => Err(ManifestThreshold), {
        let envelope = sealed(&manifest(42), &["mallory", "alice"]);
        let field = format!("\"publicKey\": \"{}\", \"sig\"", key("mallory").public());
        shown(&edited(&envelope, "\"sig\"", &field))
    };

    /// The signer's public key travels as the key id: a key counts because the policy names it, not
    /// because it is at hand.
    key_shipped_as_the_key_id => Err(ManifestThreshold), {
        let envelope = sealed(&manifest(42), &["mallory", "alice"]);
        shown(&edited(&envelope, &key_id("mallory"), &key("mallory").public().to_string()))
    };

    /// A certificate travels beside the signature, as an extension of DSSE has it.
    certificate_in_the_envelope => Ok(()), {
        let field = "\"cert\": \"-----BEGIN CERTIFICATE-----\", \"sig\"";
        shown(&edited(&good(), "\"sig\"", field)).archive()
    };

    /// A third signature that is not base64: it counts for nothing and voids nothing.
    signature_that_is_not_base64 => Ok(()), {
        let junk = "\"signatures\": [{\"keyid\": \"\", \"sig\": \"*\"},";
        shown(&edited(&good(), "\"signatures\": [", junk)).archive()
    };

    /// A key id of a kilobyte, which would flood the console that it is printed on.
    key_id_of_a_kilobyte => Err(ManifestEnvelope),
        shown(&edited(&good(), &key_id("alice"), &"a".repeat(1024)));

    /// The signatures of version 41 stand under version 42.
    signatures_of_another_version => Err(ManifestThreshold), {
        let mut envelope = unsigned(42);
        for name in ["alice", "bob"] {
            let signature = key(name).sign(&unsigned(41).signed_bytes());
            envelope.add_signature(key(name).public().id(), signature);
        }
        shown(&envelope.encode())
    };

    /// The signatures cover the payload alone, without its type: such a signature, made for another
    /// purpose, must not be worth anything here.
    signatures_over_the_bare_payload => Err(ManifestThreshold), {
        let mut envelope = unsigned(42);
        for name in ["alice", "bob"] {
            let signature = key(name).sign(&manifest(42).encode());
            envelope.add_signature(key(name).public().id(), signature);
        }
        shown(&envelope.encode())
    };

    /// A byte follows each signature: what has another length is none.
    signatures_with_a_byte_more => Err(ManifestThreshold), {
        let mut envelope = good();
        for name in ["alice", "bob"] {
            let text = signature_text(&sealed(&manifest(42), &[name]));
            let longer = [STANDARD.decode(&text).unwrap(), vec![0]].concat();
            envelope = edited(&envelope, &text, &STANDARD.encode(longer));
        }
        shown(&envelope)
    };

    /// The baked-in policy has two signers of one name: who has signed could not be said.
    one_name_for_two_keys => Err(ConfigurePolicy),
        Case::of_bytes(edited(&policy().encode(), "\"carol\"", "\"alice\"")).manifest(&good());

    /// The baked-in policy names one key as two signers, so that its holder alone would be enough.
    one_key_for_two_signers => Err(ConfigurePolicy), {
        let [bob, carol] = ["bob", "carol"].map(|name| signer(name).key.to_string());
        Case::of_bytes(edited(&policy().encode(), &carol, &bob)).manifest(&good())
    };
}

fn unsigned(version: u64) -> Envelope {
    Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest(version).encode())
}

fn key_id(name: &str) -> String {
    key(name).public().id().to_string()
}

fn with_garbage_first(garbage: &[u8]) -> Vec<u8> {
    let first = format!(
        "\"signatures\": [{{\"keyid\": \"{}\", \"sig\": \"{}\"}},",
        key_id("alice"),
        STANDARD.encode(garbage)
    );
    edited(&good(), "\"signatures\": [", &first)
}

/// As many signatures that nobody made, then alice's and bob's.
fn behind_strangers(count: u8) -> Vec<u8> {
    let mut envelope = unsigned(42);
    for number in 0..count {
        envelope.add_signature(key("mallory").public().id(), [number; 64]);
    }
    for name in ["alice", "bob"] {
        let signature = key(name).sign(&envelope.signed_bytes());
        envelope.add_signature(key(name).public().id(), signature);
    }
    envelope.encode()
}

/// The one signature of an envelope, as the JSON object that it is.
fn signature_object(envelope: &[u8]) -> String {
    let text = std::str::from_utf8(envelope).unwrap();
    let (_, list) = text.split_once("\"signatures\": [").unwrap();
    let (object, _) = list.split_once(']').unwrap();
    object.trim().to_owned()
}

/// The one signature of an envelope, as its base64.
fn signature_text(envelope: &[u8]) -> String {
    let text = std::str::from_utf8(envelope).unwrap();
    let (_, sig) = text.split_once("\"sig\": \"").unwrap();
    sig.split_once('"').unwrap().0.to_owned()
}
