//! Policies, where more than one process takes part.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use sealboot::format::freshness::Freshness;
use sealboot::trust::policy::{FreshnessRule, Signer};
use sealboot::trust::{Envelope, TrustPolicy};
use tempfile::TempDir;

use super::{SEALBOOT, lab, sealboot, succeeded, text, world};

fn world_of_policies() -> TempDir {
    let world = world();
    lab::policies::build(&world.path().join("policies"));
    world
}

fn signatures(path: &Path) -> usize {
    let envelope = fs::read(path).expect("there");
    let envelope = Envelope::parse(&envelope).expect("valid");
    envelope.signatures().len()
}

#[test]
fn signers_who_make_the_envelope_in_the_same_moment_all_keep_their_signatures() {
    for _ in 0..8 {
        let world = world_of_policies();
        let signers = ["alice", "bob", "carol"].map(|name| {
            sealboot(&world)
                .args(["policy", "sign", "--key"])
                .arg(format!("test-only-keys/{name}.key"))
                .arg("policies/2.json")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the program can be run")
        });
        for mut signer in signers {
            assert!(signer.wait().expect("it ends").success());
        }
        assert_eq!(signatures(&world.path().join("policies/2.signed.json")), 3);
    }
}

#[test]
fn of_two_policies_published_in_the_same_moment_one_stays() {
    for _ in 0..8 {
        let world = world_of_policies();
        let candidates = ["policies/good.json", "policies/other.json"];
        let publishers = candidates.map(|envelope| {
            sealboot(&world)
                .args(["policy", "publish", "--policy", "policies/1.json"])
                .args(["--store", "store", "--let-stop", "relay", envelope])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the program can be run")
        });
        let done = publishers.map(|mut publisher| publisher.wait().expect("it ends").success());
        let [one, other] = done;
        assert!(one != other, "{done:?}");
        let winner = candidates[usize::from(other)];
        assert_eq!(
            fs::read(world.path().join("store/trust/2.json")).expect("published"),
            fs::read(world.path().join(winner)).expect("there")
        );
        let names: Vec<_> = fs::read_dir(world.path().join("store/trust"))
            .expect("there")
            .map(|entry| entry.expect("readable").file_name())
            .collect();
        assert_eq!(names, ["2.json"], "nothing else is left there");
    }
}

#[test]
fn a_published_policy_can_be_read_by_the_server_whatever_the_umask() {
    for umask in ["000", "077", "777"] {
        let world = world_of_policies();
        let script = format!("umask {umask} && exec \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        command.current_dir(&world).args(["-c", &script, SEALBOOT]);
        command.args(["policy", "publish", "--policy", "policies/1.json"]);
        command.args(["--store", "store", "--let-stop", "relay"]);
        succeeded(command.arg("policies/good.json").output());
        for (path, mode) in [("store/trust", 0o755), ("store/trust/2.json", 0o644)] {
            let metadata = fs::metadata(world.path().join(path)).expect(path);
            let found = metadata.permissions().mode() & 0o7777;
            assert_eq!(found, mode, "{path}, umask {umask}");
        }
    }
}

#[test]
fn a_chain_that_no_machine_would_walk_is_not_made_longer() {
    let world = world_of_policies();
    let keys = || [lab::bob(), lab::carol()];
    let sealed = |version: u64| {
        let policy = lab::trust::two_of(version, [("bob", &lab::bob()), ("carol", &lab::carol())]);
        lab::seal(TrustPolicy::PAYLOAD_TYPE, policy.encode(), &keys())
    };
    lab::put(
        &world.path().join("store/trust/2.json"),
        &fs::read(world.path().join("policies/good.json")).expect("there"),
    );
    for version in 3..=64 {
        let path = format!("store/trust/{version}.json");
        lab::put(&world.path().join(path), &sealed(version));
    }
    let publish = |version: u64| {
        lab::put(&world.path().join("next.json"), &sealed(version));
        sealboot(&world)
            .args(["policy", "publish", "--policy", "policies/1.json"])
            .args(["--store", "store", "next.json"])
            .output()
            .expect("the program can be run")
    };
    succeeded(Ok(publish(65)));
    let output = publish(66);
    assert_eq!(output.status.code(), Some(3));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("TRUST-LENGTH"), "{stderr}");
    assert!(!world.path().join("store/trust/66.json").exists());
}

#[test]
fn an_image_whose_freshness_has_run_out_is_judged_all_the_same() {
    let world = world_of_policies();
    let freshness = FreshnessRule {
        keys: vec![Signer {
            name: "clockwork".parse().expect("a name"),
            key: lab::mallory().public(),
        }],
        threshold: 1,
        required: true,
        max_hours: 72,
    };
    let with = |policy: TrustPolicy| {
        policy
            .with_freshness(Some(freshness.clone()))
            .expect("agrees with itself")
    };
    let put = |name: &str, bytes: &[u8]| lab::put(&world.path().join(name), bytes);
    let [alice, bob, carol] = [lab::alice, lab::bob, lab::carol];
    let first = with(lab::trust::two_of(
        1,
        [("alice", &alice()), ("bob", &bob())],
    ));
    let second = with(lab::trust::two_of(
        2,
        [("bob", &bob()), ("carol", &carol())],
    ));
    let signed = lab::seal(
        TrustPolicy::PAYLOAD_TYPE,
        second.encode(),
        &[alice(), bob(), carol()],
    );
    let statement = Freshness {
        name: "relay".parse().expect("a name"),
        version: 41.try_into().expect("in range"),
        trust: first.version(),
        created: "2026-01-01T12:00:00Z".parse().expect("a time"),
        expires: "2026-01-02T12:00:00Z".parse().expect("a time"),
    };
    let statement = lab::seal(
        Freshness::PAYLOAD_TYPE,
        statement.encode(),
        &[lab::mallory()],
    );
    let image = lab::seal_manifest(&lab::manifest(41), &[alice(), bob()]);
    put("first.json", &first.encode());
    put("second.signed.json", &signed);
    put(
        "store/images/relay.json",
        &lab::channel(&image, Some(&statement)),
    );
    let publish = || {
        let output = sealboot(&world)
            .args(["policy", "publish", "--policy", "first.json"])
            .args(["--store", "store", "second.signed.json"])
            .output()
            .expect("the program can be run");
        (output.status.code(), text(&output.stderr))
    };
    let (status, stderr) = publish();
    assert_eq!(status, Some(3), "{stderr}");
    assert!(stderr.contains("code: MANIFEST-THRESHOLD"), "{stderr}");
    assert!(!world.path().join("store/trust").exists());

    // Signed well enough for both, the statement that has run out already stops nothing more.
    let image = lab::seal_manifest(&lab::manifest(41), &[alice(), bob(), carol()]);
    put(
        "store/images/relay.json",
        &lab::channel(&image, Some(&statement)),
    );
    let (status, stderr) = publish();
    assert_eq!(status, Some(0), "{stderr}");
    assert!(!stderr.contains("warning"), "{stderr}");
}

#[test]
fn a_store_that_is_refused_a_policy_is_as_it_was() {
    let world = world_of_policies();
    let listing = || {
        let output = Command::new("find")
            .arg(world.path().join("store"))
            .output();
        text(&succeeded(output).stdout)
    };
    let before = listing();
    let refused = [
        "old-alone",
        "new-alone",
        "bob-alone",
        "strangers",
        "unsigned",
        "third-skipping",
        "back",
        "as-manifest",
        "as-freshness",
        "spelling",
        "three-of-two",
        "unknown-field",
        "good",
    ];
    for name in refused {
        let output = sealboot(&world)
            .args(["policy", "publish", "--policy", "policies/1.json"])
            .args(["--store", "store", &format!("policies/{name}.json")])
            .output()
            .expect("the program can be run");
        assert_eq!(output.status.code(), Some(3), "{name}");
        assert_eq!(listing(), before, "{name}");
    }
}
