//! Trust policies that follow one another, and those that only look like it.
//!
//! Version 1 is alice's and bob's, version 2 bob's and carol's, each with a threshold of two.

use std::path::Path;

use sealboot::keys::pem::PrivateKey;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::AcceptedImage;

use super::trust::{two_of, versioned};
use super::{alice, bob, carol, mallory, put, seal};

/// Writes each as a file of its own.
pub fn build(directory: &Path) {
    let first = two_of(1, [("alice", &alice()), ("bob", &bob())]);
    let second = two_of(2, [("bob", &bob()), ("carol", &carol())]);
    let third = versioned(&second, 3);
    let relay = AcceptedImage::new("relay".parse().unwrap(), 42.try_into().unwrap());
    let other = second.with(|fields| fields.images = vec![relay]).unwrap();
    let all = || [alice(), bob(), carol()];

    let write = |name: &str, bytes: &[u8]| put(&directory.join(name), bytes);
    write("1.json", &first.encode());
    write("2.json", &second.encode());
    let policy = |name: &str, policy: &TrustPolicy, keys: &[PrivateKey]| {
        write(
            name,
            &seal(TrustPolicy::PAYLOAD_TYPE, policy.encode(), keys),
        );
    };
    policy("good.json", &second, &all());
    policy("unsigned.json", &second, &[]);
    policy("old-alone.json", &second, &[alice(), bob()]);
    policy("new-alone.json", &second, &[bob(), carol()]);
    policy("bob-alone.json", &second, &[bob()]);
    policy("strangers.json", &second, &[mallory()]);
    policy("other.json", &other, &all());
    policy("third.json", &third, &[bob(), carol()]);
    policy("third-skipping.json", &third, &all());
    policy("back.json", &first, &all());

    for (name, payload_type) in [
        ("as-manifest.json", Manifest::PAYLOAD_TYPE),
        ("as-freshness.json", Freshness::PAYLOAD_TYPE),
    ] {
        write(name, &seal(payload_type, second.encode(), &all()));
    }
    let text = String::from_utf8(second.encode()).unwrap();
    for (name, payload) in [
        (
            "twice.json",
            text.replace("\"version\": 2", "\"version\": 2, \"version\": 2"),
        ),
        (
            "three-of-two.json",
            text.replace("\"threshold\": 2", "\"threshold\": 3"),
        ),
        (
            "missing-field.json",
            text.replace("\"threshold\"", "\"treshold\""),
        ),
    ] {
        assert_ne!(payload, text);
        write(
            name,
            &seal(TrustPolicy::PAYLOAD_TYPE, payload.into_bytes(), &all()),
        );
    }
}
