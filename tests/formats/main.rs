//! The formats: what is written is read, and what was touched is not believed.
//!
//! Round trips run over made-up values of every format; mutations over every byte and every length
//! of one signed envelope, one archive and one file of each other kind.

mod any;

use any::{any_host_config, any_json, any_manifest, any_policy, private_key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use sealboot::keys::pem::{PrivateKey, public_key_from_pem, public_key_to_pem};
use sealboot_core::archive::verify_archive;
use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::{Encoding, ImageFile, Manifest};
use sealboot_core::format::payload;
use sealboot_core::trust::policy::AcceptedImage;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Envelope, PublicKey, Refusal, TrustPolicy, Verified};
use serde_json::Value;
use support::world::{self, alice, bob, manifest, policy, seal_manifest};

proptest! {
    // Enough to have met every branch of the generators; the values are small.
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_manifest_is_read_as_it_was_written(manifest in any_manifest()) {
        let written = manifest.encode();
        let read = Manifest::parse(&written).expect("valid");
        prop_assert_eq!(&read, &manifest);
        prop_assert_eq!(read.encode(), written);
    }

    #[test]
    fn an_envelope_is_read_as_it_was_written(
        payload_type in ".{0,40}",
        payload in vec(any::<u8>(), 0..200),
        signatures in vec((".{0,60}", vec(any::<u8>(), 0..80)), 0..=32),
        url_safe in any::<bool>(),
        padded in any::<bool>(),
    ) {
        // As another tool may write it: either alphabet, padded or not, key ids of any text.
        let encode = |bytes: &[u8]| {
            let text = STANDARD.encode(bytes);
            let text = if url_safe { text.replace('+', "-").replace('/', "_") } else { text };
            if padded { text } else { text.trim_end_matches('=').to_owned() }
        };
        let foreign = serde_json::json!({
            "signatures": signatures.iter()
                .map(|(key_id, bytes)| serde_json::json!({"sig": encode(bytes), "keyid": key_id}))
                .collect::<Vec<_>>(),
            "payloadType": payload_type,
            "payload": encode(&payload),
        });
        let envelope = Envelope::parse(foreign.to_string().as_bytes()).expect("valid");
        prop_assert_eq!(envelope.payload_type(), payload_type.as_str());
        prop_assert_eq!(envelope.unverified_payload(), payload.as_slice());
        let read: Vec<_> = envelope.signatures().iter()
            .map(|signature| (signature.key_id.clone(), signature.bytes.clone()))
            .collect();
        prop_assert_eq!(read, signatures);
        prop_assert_eq!(Envelope::parse(&envelope.encode()).expect("valid"), envelope);
    }

    #[test]
    fn a_policy_is_read_as_it_was_written(policy in any_policy()) {
        prop_assert_eq!(TrustPolicy::parse(&policy.encode()).expect("valid"), policy);
    }

    #[test]
    fn a_host_config_is_read_as_it_was_written(config in any_host_config()) {
        prop_assert_eq!(HostConfig::parse(&config.encode()).expect("valid"), config);
    }

    #[test]
    fn keys_are_read_as_they_were_written(seed in any::<[u8; 32]>()) {
        let key = private_key(seed);
        let public = key.public();
        prop_assert_eq!(PrivateKey::from_pem(&key.to_pem()).expect("valid").public(), public);
        prop_assert_eq!(public_key_from_pem(&public_key_to_pem(&public)).expect("valid"), public);
        prop_assert_eq!(public.to_string().parse::<PublicKey>(), Ok(public));
    }

    #[test]
    fn no_reader_panics_whatever_it_reads(bytes in vec(any::<u8>(), 0..400)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn no_reader_panics_at_json_of_another_shape(json in any_json()) {
        read_as_everything(json.to_string().as_bytes());
    }
}

fn read_as_everything(bytes: &[u8]) {
    let _ = Envelope::parse(bytes);
    let _ = Manifest::parse(bytes);
    let _ = TrustPolicy::parse(bytes);
    let _ = HostConfig::parse(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = PrivateKey::from_pem(text);
        let _ = public_key_from_pem(text);
    }
    assert!(judge(&policy(), bytes).is_err());
}

fn judge(policy: &TrustPolicy, envelope: &[u8]) -> Result<Verified<Manifest>, Refusal> {
    let expected = Expected {
        name: &"relay".parse().expect("a name"),
        arch: None,
        now: "2026-01-15T00:00:00Z"
            .parse::<jiff::Timestamp>()
            .expect("a time")
            .into(),
    };
    policy.verify_manifest(envelope, &expected)
}

/// Both signers, both required: every signature is needed.
fn two_of_two() -> TrustPolicy {
    let image = AcceptedImage::new(
        "relay".parse().expect("a name"),
        1.try_into().expect("in range"),
    );
    world::trust::policy_of(2, &[("alice", &alice()), ("bob", &bob())], vec![image])
}

/// The envelope's JSON without its key ids and without the padding of base64, which readers of both
/// alphabets do not ask for: all that a verifier may go by.
fn without_hints(envelope: &[u8]) -> Value {
    fn unpad(text: &mut Value) {
        *text = text.as_str().expect("a text").trim_end_matches('=').into();
    }
    let mut value: Value = serde_json::from_slice(envelope).expect("it parsed before");
    unpad(&mut value["payload"]);
    for signature in value["signatures"].as_array_mut().expect("a list") {
        let fields = signature.as_object_mut().expect("an object");
        // A key id under another name is a field that no reader knows.
        fields.retain(|name, _| name == "sig");
        unpad(&mut fields["sig"]);
    }
    value
}

/// Where the key ids are in the file, and the names of their fields.
fn hints(envelope: &[u8]) -> Vec<std::ops::Range<usize>> {
    let text = std::str::from_utf8(envelope).expect("JSON is text");
    let ids = [alice(), bob()].map(|key| key.public().id().to_string());
    let ranges = ids.iter().flat_map(|id| {
        let start = text.find(id.as_str()).expect("the id is there");
        let name = text[..start].rfind("keyid").expect("its name is there");
        [name..name + "keyid".len(), start..start + id.len()]
    });
    ranges.collect()
}

#[test]
fn an_envelope_with_any_byte_flipped_does_not_verify() {
    let policy = two_of_two();
    let envelope = seal_manifest(&manifest(42), &[alice(), bob()]);
    judge(&policy, &envelope).expect("untouched, it verifies");
    let hints = hints(&envelope);
    let mut harmless = 0;
    for at in 0..envelope.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut touched = envelope.clone();
            touched[at] ^= mask;
            if judge(&policy, &touched).is_ok() {
                assert!(
                    hints.iter().any(|hint| hint.contains(&at)),
                    "byte {at} ^ {mask:#04x} is no key id"
                );
                assert_eq!(without_hints(&touched), without_hints(&envelope));
                harmless += 1;
            }
        }
    }
    // A letter or digit, its lowest bit flipped, is another one; the other two masks leave ASCII.
    assert_eq!(
        harmless,
        hints.iter().map(ExactSizeIterator::len).sum::<usize>()
    );
}

#[test]
fn an_envelope_with_any_byte_missing_or_doubled_does_not_verify() {
    let policy = two_of_two();
    let envelope = seal_manifest(&manifest(42), &[alice(), bob()]);
    for at in 0..envelope.len() {
        let mut shorter = envelope.clone();
        let byte = shorter.remove(at);
        let mut longer = envelope.clone();
        longer.insert(at, byte);
        for touched in [shorter, longer] {
            if judge(&policy, &touched).is_ok() {
                // White space of JSON, padding of base64 or a key id: it says the same.
                assert_eq!(
                    without_hints(&touched),
                    without_hints(&envelope),
                    "byte {at}"
                );
            }
        }
    }
}

#[test]
fn an_envelope_cut_at_any_length_does_not_verify() {
    let policy = two_of_two();
    let envelope = seal_manifest(&manifest(42), &[alice(), bob()]);
    assert_eq!(envelope.last(), Some(&b'\n'));
    for len in 0..envelope.len() - 1 {
        let refusal = judge(&policy, &envelope[..len]).expect_err("cut");
        assert_eq!(refusal.code(), FailureCode::ManifestEnvelope, "{len}");
    }
    // Without its last newline it is the same document.
    judge(&policy, &envelope[..envelope.len() - 1]).expect("the same document");
}

#[test]
fn an_archive_with_any_byte_touched_or_missing_is_refused() {
    for &encoding in Encoding::ALL {
        let files = vec![
            ("boot/vmlinuz", b"kernel".to_vec()),
            ("boot/initrd", b"initrd".to_vec()),
        ];
        let archive = world::encoded(&world::tar(&files), encoding);
        let mut manifest = manifest(42);
        manifest.archive = world::stored(&archive, encoding);
        manifest.files = files
            .iter()
            .map(|(path, bytes)| ImageFile {
                path: path.parse().expect("a member"),
                size: bytes.len() as u64,
                sha256: Sha256Digest::of(bytes),
                unpacked_size: None,
            })
            .collect();
        let envelope = seal_manifest(&manifest, &[alice(), bob()]);
        let verified = judge(&two_of_two(), &envelope).expect("signed");
        let list = world::chunk_list(&archive);
        let check = |bytes: &[u8]| verify_archive(&verified, list.clone(), bytes, &mut |_| {});
        check(&archive).expect("untouched, it is what was signed");
        for at in 0..archive.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut touched = archive.clone();
                touched[at] ^= mask;
                let error = check(&touched).expect_err("touched");
                assert_eq!(error.code(), FailureCode::ImageChunk, "byte {at}");
            }
            let error = check(&archive[..at]).expect_err("cut");
            assert_eq!(error.code(), FailureCode::FetchTruncated, "length {at}");
        }
        let longer = [archive.as_slice(), b"\0"].concat();
        let error = check(&longer).expect_err("longer");
        assert_eq!(error.code(), FailureCode::FetchTooLarge);
    }
}

/// Touches every byte and cuts at every length; what is still read must differ from the original,
/// and be written and read again as itself.
fn mutate<T: PartialEq + std::fmt::Debug>(
    original: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
    write: impl Fn(&T) -> Vec<u8>,
) {
    let value = read(original).expect("the original is valid");
    for at in 0..original.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut touched = original.to_vec();
            touched[at] ^= mask;
            if let Some(other) = read(&touched) {
                assert_ne!(other, value, "byte {at} ^ {mask:#04x}");
                assert_eq!(read(&write(&other)), Some(other), "byte {at} ^ {mask:#04x}");
            }
        }
        let blank = original[at..].iter().all(u8::is_ascii_whitespace);
        assert!(blank || read(&original[..at]).is_none(), "length {at}");
    }
}

#[test]
fn a_touched_manifest_is_refused_or_another() {
    let mut manifest = manifest(42);
    manifest.expires = Some("2026-02-01T12:00:00Z".parse().expect("a time"));
    mutate(
        &manifest.encode(),
        |bytes| Manifest::parse(bytes).ok(),
        Manifest::encode,
    );
}

#[test]
fn a_touched_policy_is_refused_or_another() {
    mutate(
        &world::strict_policy().encode(),
        // Under another name, a field that has a default says nothing.
        |bytes| {
            let read = payload::parse_with_unknown::<TrustPolicy>(bytes).ok()?;
            read.unknown.is_empty().then_some(read.value)
        },
        TrustPolicy::encode,
    );
}

#[test]
fn a_touched_host_config_is_refused_or_another() {
    let json = br#"{"image": "relay", "mirrors": ["https://boot.example/a/"], "network": {"mode": "static",
        "interface": "eth0", "addresses": ["192.0.2.10/24"], "gateways": ["192.0.2.1"], "nameservers": ["2001:db8::53"]}}"#;
    let config = HostConfig::parse(json).expect("valid");
    mutate(
        &config.encode(),
        |bytes| HostConfig::parse(bytes).ok(),
        HostConfig::encode,
    );
}

#[test]
fn a_touched_public_key_is_refused_or_another() {
    mutate(
        public_key_to_pem(&alice().public()).as_bytes(),
        |bytes| public_key_from_pem(std::str::from_utf8(bytes).ok()?).ok(),
        |key| public_key_to_pem(key).into_bytes(),
    );
}

#[test]
fn a_touched_private_key_is_refused_or_another() {
    mutate(
        alice().to_pem().as_bytes(),
        |bytes| {
            let key = PrivateKey::from_pem(std::str::from_utf8(bytes).ok()?).ok()?;
            Some(key.to_pem().as_str().to_owned())
        },
        |pem| pem.clone().into_bytes(),
    );
}
