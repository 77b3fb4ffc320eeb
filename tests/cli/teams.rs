//! Two teams in one policy: each releases an image of its own.

use std::path::Path;
use std::process::Output;

use sealboot::keys::pem::PrivateKey;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::AcceptedImage;
use tempfile::TempDir;

use super::{sealboot, text, world};
use world::trust::{group, policy_of, renewed_by, seal_policy, signer, versioned};
use world::{alice, bob, carol, clockwork};

/// Alice has root, Bob releases `relay`, Carol releases `dns`, and clockwork renews both.
fn policy() -> TrustPolicy {
    let image =
        |name: &str| AcceptedImage::new(name.parse().expect("a name"), 1.try_into().expect("1"));
    let policy = policy_of(
        1,
        &[("alice", &alice())],
        vec![image("relay"), image("dns")],
    );
    let changed = renewed_by(policy, &clockwork(), true).with(|fields| {
        fields
            .keys
            .extend([signer("bob", &bob()), signer("carol", &carol())]);
        fields.roles.release = group(1, &["bob"]);
        fields.images[1].release = Some(group(1, &["carol"]));
    });
    changed.expect("a policy")
}

/// A store whose machines have that policy, and an envelope of each image by each team.
fn teams() -> TempDir {
    let world = world();
    let put = |name: &str, bytes: &[u8]| world::put(&world.path().join(name), bytes);
    put("teams.json", &policy().encode());
    for (name, version) in [("relay", 42), ("dns", 7)] {
        let manifest = Manifest {
            name: name.parse().expect("a name"),
            ..world::manifest(version)
        };
        for (by, key) in [("bob", bob()), ("carol", carol())] {
            put(
                &format!("{name}.{by}.json"),
                &world::seal_manifest(&manifest, &[key]),
            );
        }
    }
    world
}

#[track_caller]
fn run(world: &TempDir, words: &[&str]) -> Output {
    let output = sealboot(world).args(words).output();
    output.expect("the program can be run")
}

#[track_caller]
fn says(output: &Output, status: i32, part: &str) {
    let said = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(part), "{said}");
}

fn publish(world: &TempDir, envelope: &str) -> Output {
    let key = "test-only-keys/clockwork.key";
    let publish = [
        "image",
        "publish",
        "--policy",
        "teams.json",
        "--store",
        "store",
    ];
    let state = ["--freshness-key", key, "--state", "renewer.json"];
    let begins = !world.path().join("renewer.json").exists();
    let init: &[&str] = if begins { &["--init"] } else { &[] };
    run(world, &[&publish[..], &state, init, &[envelope]].concat())
}

fn verify(world: &TempDir, channel: &str) -> Output {
    run(
        world,
        &["image", "verify", "--policy", "teams.json", channel],
    )
}

fn seal(world: &TempDir, policy: &TrustPolicy, by: &PrivateKey) {
    world::put(
        Path::new(&world.path().join("next.json")),
        &seal_policy(policy, &[by]),
    );
}

fn publish_policy(world: &TempDir, more: &[&str]) -> Output {
    let words = [
        "policy",
        "publish",
        "--policy",
        "teams.json",
        "--store",
        "store",
    ];
    run(world, &[&words[..], more, &["next.json"]].concat())
}

#[test]
fn each_team_releases_its_own_image_alone() {
    let world = teams();
    for (other, code) in [
        ("relay.carol.json", "MANIFEST-THRESHOLD"),
        ("dns.bob.json", "MANIFEST-THRESHOLD"),
    ] {
        says(&publish(&world, other), 3, code);
    }
    for (own, channel) in [("relay.bob.json", "relay"), ("dns.carol.json", "dns")] {
        says(&publish(&world, own), 0, "published image");
        let channel = format!("store/images/{channel}.json");
        says(&verify(&world, &channel), 0, "verified: image");
    }
}

#[test]
fn a_release_key_signs_no_policy_for_either_team() {
    let world = teams();
    for key in [bob(), carol(), clockwork()] {
        seal(&world, &versioned(&policy(), 2), &key);
        says(&publish_policy(&world, &[]), 3, "code: TRUST-THRESHOLD");
    }
    seal(&world, &versioned(&policy(), 2), &alice());
    says(&publish_policy(&world, &[]), 0, "published version 2");
}

#[test]
fn a_teams_unreachable_role_stops_no_other_team() {
    let world = teams();
    says(&publish(&world, "relay.bob.json"), 0, "published image");
    says(&publish(&world, "dns.carol.json"), 0, "published image");
    // Carol's team goes on to a key that this version does not know.
    let next = versioned(&policy(), 2).with(|fields| {
        let carol = fields
            .keys
            .iter_mut()
            .find(|key| key.name.as_str() == "carol");
        carol.expect("there").key = "ml-dsa-65:AAAA".parse().expect("a key");
    });
    seal(&world, &next.expect("a policy"), &alice());
    let orphan = "release 7 of image dns (x86_64) will be refused by version 2";
    let refused = publish_policy(&world, &[]);
    says(&refused, 3, orphan);
    says(&refused, 3, "with --breaks dns=7\n");
    assert!(
        !text(&refused.stderr).contains("relay"),
        "{}",
        text(&refused.stderr)
    );
    says(
        &publish_policy(&world, &["--breaks", "dns=7"]),
        0,
        "published version 2",
    );

    says(
        &verify(&world, "store/images/dns.json"),
        3,
        "code: MANIFEST-UPGRADE",
    );
    says(
        &verify(&world, "store/images/relay.json"),
        0,
        "verified: image relay",
    );
    let renew = [
        "freshness",
        "renew",
        "--key",
        "test-only-keys/clockwork.key",
        "--policy",
        "teams.json",
    ];
    let renewed = run(
        &world,
        &[&renew[..], &["--store", "store", "--state", "renewer.json"]].concat(),
    );
    says(
        &renewed,
        3,
        "image relay: version 42 (x86_64) is current until ",
    );
    says(
        &verify(&world, "store/images/relay.json"),
        0,
        "verified: image relay",
    );
    says(
        &publish(&world, "relay.bob.json"),
        0,
        "published image relay",
    );
}
