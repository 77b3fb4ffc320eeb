//! Policies, where more than one process takes part.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use sealboot_core::format::freshness::Freshness;
use sealboot_core::trust::{Envelope, TrustPolicy};
use tempfile::TempDir;

use super::{SEALBOOT, sealboot, succeeded, text, world};

fn world_of_policies() -> TempDir {
    let world = world();
    world::policies::build(&world.path().join("policies"));
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
        let done = publishers.map(|mut publisher| publisher.wait().expect("it ends").code());
        let winner = match done {
            [Some(0), Some(3)] => candidates[0],
            [Some(3), Some(0)] => candidates[1],
            _ => panic!("{done:?}"),
        };
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
fn of_publishers_of_one_policy_all_succeed() {
    for _ in 0..8 {
        let world = world_of_policies();
        let publishers = [(); 6].map(|()| {
            sealboot(&world)
                .args(["policy", "publish", "--policy", "policies/1.json"])
                .args(["--store", "store", "--let-stop", "relay"])
                .arg("policies/good.json")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program can be run")
        });
        let mut published = 0;
        for publisher in publishers {
            let output = succeeded(publisher.wait_with_output());
            assert_eq!(text(&output.stdout), "store/trust/2.json\n");
            let said = text(&output.stderr);
            published += usize::from(said.contains("published version 2 of the trust policy"));
        }
        assert_eq!(published, 1, "the others have nothing to do");
    }
}

#[test]
fn publishing_a_policy_names_the_keys_that_could_fork_the_chain() {
    let world = world_of_policies();
    let publish = ["policy", "publish", "--policy", "policies/1.json"];
    let store = ["--store", "store", "--let-stop", "relay"];
    let output = (sealboot(&world).args(publish).args(store))
        .arg("policies/good.json")
        .output()
        .expect("the program can be run");
    let said = text(&output.stderr);
    let warning = "warning: version 2 no longer has alice in its root, but machines begin with version 1: 2 of alice, bob can still give them another version 2, and with it any image; build their initramfs again with version 2\n";
    assert!(said.contains(warning), "{said}");
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
    let keys = || [world::bob(), world::carol()];
    let sealed = |version: u64| {
        let policy = world::trust::two_of(
            version,
            [("bob", &world::bob()), ("carol", &world::carol())],
        );
        world::seal(TrustPolicy::PAYLOAD_TYPE, policy.encode(), &keys())
    };
    world::put(
        &world.path().join("store/trust/2.json"),
        &fs::read(world.path().join("policies/good.json")).expect("there"),
    );
    for version in 3..=64 {
        let path = format!("store/trust/{version}.json");
        world::put(&world.path().join(path), &sealed(version));
    }
    let publish = |version: u64| {
        world::put(&world.path().join("next.json"), &sealed(version));
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
    let with = |policy: TrustPolicy| world::trust::renewed_by(policy, &world::mallory(), true);
    let put = |name: &str, bytes: &[u8]| world::put(&world.path().join(name), bytes);
    let [alice, bob, carol] = [world::alice, world::bob, world::carol];
    let first = with(world::trust::two_of(
        1,
        [("alice", &alice()), ("bob", &bob())],
    ));
    let second = with(world::trust::two_of(
        2,
        [("bob", &bob()), ("carol", &carol())],
    ));
    let signed = world::seal(
        TrustPolicy::PAYLOAD_TYPE,
        second.encode(),
        &[alice(), bob(), carol()],
    );
    let created = "2026-01-01T12:00:00Z".parse().expect("a time");
    let statement = world::trust::freshness(41, 1, created);
    let statement = world::seal(
        Freshness::PAYLOAD_TYPE,
        statement.encode(),
        &[world::mallory()],
    );
    let image = world::seal_manifest(&world::manifest(41), &[alice(), bob()]);
    put("first.json", &first.encode());
    put("second.signed.json", &signed);
    put(
        "store/images/relay.json",
        &world::channel(&image, Some(&statement)),
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
    let image = world::seal_manifest(&world::manifest(41), &[alice(), bob(), carol()]);
    put(
        "store/images/relay.json",
        &world::channel(&image, Some(&statement)),
    );
    let (status, stderr) = publish();
    assert_eq!(status, Some(0), "{stderr}");
    assert!(!stderr.contains("will be refused"), "{stderr}");
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
        "twice",
        "three-of-two",
        "missing-field",
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

#[test]
fn publisher_does_not_go_behind_the_last_statement() {
    let world = world();
    let newest = world.path().join("store/images/relay.json");
    let word = world::trust::freshness(41, 2, jiff::Timestamp::now());
    let word = world::trust::seal_freshness(&word, &world::clockwork());
    let envelope = world::seal_manifest(&world::manifest(41), &[world::alice(), world::bob()]);
    world::put(&newest, &world::channel(&envelope, Some(&word)));
    let mut publish = sealboot(&world);
    publish.args(["image", "publish", "--policy", "fresh.json"]);
    publish.args(["--store", "store", "staging/images/relay/43/x86_64.json"]);
    let output = publish.output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("code: TRUST-STALE"), "{said}");
}

#[test]
fn a_store_with_a_gap_in_its_policies_is_found_out() {
    let world = world_of_policies();
    let good = fs::read(world.path().join("policies/good.json")).expect("there");
    world::put(&world.path().join("store/trust/3.json"), &good);
    let mut verify = sealboot(&world);
    verify.args([
        "image",
        "verify",
        "--policy",
        "policies/1.json",
        "--manifest-only",
    ]);
    let output = verify.arg("store/images/relay.json").output().expect("run");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("has version 3 of the trust policy, but not version 2"),
        "{said}"
    );
}

#[test]
fn a_policy_that_nobody_vouches_for_is_nothing_to_work_on_from() {
    let world = world_of_policies();
    for words in [
        &[
            "policy",
            "create",
            "--from",
            "policies/good.json",
            "--out",
            "next.json",
        ][..],
        &[
            "policy",
            "sign",
            "--key",
            "test-only-keys/bob.key",
            "--policy",
            "policies/good.json",
            "policies/third.json",
        ],
    ] {
        let output = sealboot(&world).args(words).output().expect("run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("nothing says that the right people signed it"),
            "{said}"
        );
    }
    assert!(!world.path().join("next.json").exists());
}

#[test]
fn a_fifo_where_a_store_has_files_ends_every_command() {
    let world = world();
    let fifo = |path: &str| {
        let path = world.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("ours");
        let _ = fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("ours");
    };
    let fails = |words: &[&str]| {
        let output = sealboot(&world).args(words).output().expect("run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("is no regular file"), "{words:?}: {said}");
    };
    let verify = [
        "image",
        "verify",
        "--policy",
        "trust.json",
        "store/images/relay.json",
    ];
    fifo(&format!(
        "store/{}",
        world::manifest(41).archive.blob_path()
    ));
    fails(&verify);
    fifo("store/trust/2.json");
    fails(&verify);
    fs::remove_dir_all(world.path().join("store/trust")).expect("ours");
    fifo("store/images/relay.json");
    fails(&verify);
    fails(&["image", "inspect", "store/images/relay.json"]);
    fails(&[
        "freshness",
        "renew",
        "--state",
        "renewer.json",
        "--init",
        "--key",
        "test-only-keys/clockwork.key",
        "--policy",
        "fresh.json",
        "--store",
        "store",
    ]);
    fails(&[
        "image",
        "publish",
        "--policy",
        "trust.json",
        "--store",
        "store",
        "staging/images/relay/43/x86_64.json",
    ]);
}

#[test]
fn a_channel_is_read_however_its_json_is_spelled() {
    let world = world();
    let newest = world.path().join("store/images/relay.json");
    let text = fs::read_to_string(&newest).expect("there");
    world::put(
        &newest,
        text.replacen("releases", "rele\\u0061ses", 1).as_bytes(),
    );
    for words in [
        &[
            "image",
            "verify",
            "--policy",
            "trust.json",
            "store/images/relay.json",
        ][..],
        &["image", "inspect", "store/images/relay.json"],
        &[
            "image",
            "publish",
            "--policy",
            "trust.json",
            "--store",
            "store",
            "staging/images/relay/43/x86_64.json",
        ],
    ] {
        let output = sealboot(&world).args(words).output().expect("run");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
