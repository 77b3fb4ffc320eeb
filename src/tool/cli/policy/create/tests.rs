use std::path::Path;

use clap::Parser;
use sealboot_core::trust::policy::{Group, OnExpiry};

use super::super::testing::{group, plain, signer, whole};
use super::*;
use crate::keys::pem::public_key_to_pem;

const NAMES: [&str; 12] = [
    "alice", "bob", "carol", "build-1", "build-2", "build-3", "clock-1", "clock-2", "dora", "erin",
    "team", "fay",
];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    create: CreateArgs,
}

/// Runs `policy create`, where NAME.pub is the key of each holder.
fn create_from(old: Option<&TrustPolicy>, line: &str) -> Result<TrustPolicy, Failure> {
    let directory = tempfile::tempdir().expect("a directory");
    for name in NAMES {
        let pem = public_key_to_pem(signer(name).key.known().expect("known"));
        std::fs::write(directory.path().join(format!("{name}.pub")), pem).expect("written");
    }
    let place = |word: &str| match word.strip_suffix(".pub") {
        None => word.to_owned(),
        Some(stem) => {
            let (name, file) = match stem.split_once('=') {
                Some((name, file)) => (format!("{name}="), file),
                None => (String::new(), stem),
            };
            let path = directory.path().join(file);
            format!("{name}{}.pub", Path::new(&path).display())
        }
    };
    let mut words = vec!["create".to_owned(), "--out=new.json".to_owned()];
    if old.is_some() {
        words.push("--from=old.json".to_owned());
    }
    words.extend(line.split_whitespace().map(place));
    let args = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    let now = "2026-12-02T09:00:00Z".parse().expect("a time");
    policy(old, now, args.create.keys, args.create.rules)
}

fn create(line: &str) -> TrustPolicy {
    create_from(None, line).unwrap_or_else(|failure| panic!("{line}: {failure}"))
}

fn follow(old: &TrustPolicy, line: &str) -> TrustPolicy {
    create_from(Some(old), line).unwrap_or_else(|failure| panic!("{line}: {failure}"))
}

#[track_caller]
fn refused(old: Option<&TrustPolicy>, line: &str, expected: &str) {
    let failure = create_from(old, line).expect_err(line).to_string();
    assert!(failure.contains(expected), "{line}: {failure}");
}

fn names(policy: &TrustPolicy) -> Vec<&str> {
    policy.keys().iter().map(|key| key.name.as_str()).collect()
}

#[test]
fn nothing_given_changes_only_version_and_date() {
    let old = whole();
    let next = follow(&old, "");
    assert_eq!(next.version().as_u64(), 5);
    let again = next.with(|fields| {
        fields.version = old.version();
        fields.created = old.fields().created;
    });
    assert_eq!(again.expect("the fields agree"), old);
}

#[test]
fn a_threshold_is_for_all_keys_of_root_and_release() {
    let policy = create("--key alice.pub --key second=bob.pub --threshold 2 --image relay");
    let all = vec![group(2, &["alice", "second"])];
    assert_eq!(policy.fields().roles.root, all);
    assert_eq!(policy.fields().roles.release, all);
    assert_eq!(policy.fields().created.to_string(), "2026-12-02T09:00:00Z");
    assert_eq!(policy.version().as_u64(), 1);
}

#[test]
fn groups_divide_the_keys_among_the_roles() {
    let policy = create(
        "--key alice.pub --key bob.pub --key build-1.pub --key team.pub --image relay --image exit \
         --root 2:alice,bob --release 1:build-1 --release 1:alice,bob \
         --freshness-key clock-1.pub --freshness-key clock-2.pub --freshness 1:clock-1 --freshness 1:clock-2 \
         --host-config-key dora.pub --host-config-key erin.pub --host-config 2:dora,erin \
         --image-release exit=1:team --image-release exit=1:build-1 --image-freshness exit=2:clock-1,clock-2",
    );
    let roles = &policy.fields().roles;
    let two = [group(1, &["clock-1"]), group(1, &["clock-2"])];
    assert_eq!(roles.root, [group(2, &["alice", "bob"])]);
    let release = [group(1, &["build-1"]), group(1, &["alice", "bob"])];
    assert_eq!(roles.release, release);
    assert_eq!(roles.freshness.as_deref(), Some(&two[..]));
    let installers = [group(2, &["dora", "erin"])];
    assert_eq!(roles.host_config.as_deref(), Some(&installers[..]));
    let [relay, exit] = policy.images() else {
        panic!("{:?}", policy.images());
    };
    assert_eq!((&relay.release, &relay.freshness), (&None, &None));
    let own = [group(1, &["team"]), group(1, &["build-1"])];
    assert_eq!(exit.release.as_deref(), Some(&own[..]));
    let fresh = [group(2, &["clock-1", "clock-2"])];
    assert_eq!(exit.freshness.as_deref(), Some(&fresh[..]));
}

#[test]
fn keys_without_groups_form_the_group_of_their_role() {
    let policy = create(
        "--key alice.pub --threshold 1 --image relay --freshness-key clock-1.pub \
         --host-config-key dora.pub --host-config-key erin.pub --host-config-threshold 2",
    );
    let roles = &policy.fields().roles;
    let fresh: &[Group] = &[group(1, &["clock-1"])];
    assert_eq!(roles.freshness.as_deref(), Some(fresh));
    let installers: &[Group] = &[group(2, &["dora", "erin"])];
    assert_eq!(roles.host_config.as_deref(), Some(installers));
    assert!(!policy.fields().freshness.required && !policy.fields().host_config.required);
}

#[test]
fn new_people_replace_those_of_root_and_release() {
    let old = plain(&["alice", "bob"]);
    let next = follow(&old, "--key bob.pub --key carol.pub");
    assert_eq!(names(&next), ["bob", "carol"]);
    let roles = &next.fields().roles;
    assert_eq!(roles.root, [group(2, &["bob", "carol"])]);
    assert_eq!(roles.root, roles.release);
    let next = follow(&next, "--threshold 1");
    assert_eq!(next.fields().roles.release, [group(1, &["bob", "carol"])]);

    let one_releases = follow(&old, "--release 1:bob,alice");
    let next = follow(&one_releases, "--key bob.pub --key carol.pub");
    assert_eq!(next.fields().roles.root, [group(2, &["bob", "carol"])]);
    assert_eq!(next.fields().roles.release, [group(1, &["bob", "carol"])]);
}

#[test]
fn people_of_different_groups_are_not_guessed() {
    refused(
        Some(&whole()),
        "--key carol.pub",
        "--key is given without --root and --release",
    );
    refused(
        Some(&whole()),
        "--threshold 1",
        "--threshold is given without",
    );
    let first =
        "--key alice.pub --key team.pub --threshold 1 --image relay --image-release relay=1:team";
    refused(None, first, "give --root N:NAMES and --release N:NAMES");
    for (given, other) in [("--root", "--release"), ("--release", "--root")] {
        let line = format!("--key alice.pub --image relay {given} 1:alice");
        refused(None, &line, &format!("{given} is given without {other}"));
    }
}

#[test]
fn a_key_for_the_group_of_an_image_joins_no_other_role() {
    let old = plain(&["alice", "bob"]);
    let next = follow(&old, "--key team.pub --image-release relay=1:team");
    assert_eq!(next.fields().roles, old.fields().roles);
    let own: &[Group] = &[group(1, &["team"])];
    assert_eq!(next.images()[0].release.as_deref(), Some(own));
}

#[test]
fn a_group_that_is_given_leaves_the_other_roles() {
    let next = follow(
        &whole(),
        "--key build-3.pub --release 1:build-1 --release 1:build-3",
    );
    let (roles, old) = (&next.fields().roles, whole());
    assert_eq!(
        roles.release,
        [group(1, &["build-1"]), group(1, &["build-3"])]
    );
    assert_eq!(roles.root, old.fields().roles.root);
    assert_eq!(next.images(), old.images());
    assert!(
        !names(&next).contains(&"build-2"),
        "no role has it any more"
    );
    assert!(names(&next).contains(&"build-3"));
}

#[test]
fn roles_of_one_group_keep_their_threshold() {
    let next = follow(
        &whole(),
        "--freshness-threshold 2 --host-config-key fay.pub",
    );
    let roles = &next.fields().roles;
    let fresh: &[Group] = &[group(2, &["clock-1", "clock-2"])];
    assert_eq!(roles.freshness.as_deref(), Some(fresh));
    let installers: &[Group] = &[group(1, &["fay"])];
    assert_eq!(roles.host_config.as_deref(), Some(installers));
    assert_eq!(next.fields().freshness, whole().fields().freshness);
    let two = follow(&whole(), "--freshness 1:clock-1 --freshness 1:clock-2");
    for line in ["--freshness-threshold 1", "--freshness-key carol.pub"] {
        refused(
            Some(&two),
            line,
            "the role of --freshness-key has several groups",
        );
    }
}

#[test]
fn an_images_own_groups_are_replaced_as_a_whole() {
    let next = follow(
        &whole(),
        "--image-release exit=1:alice --image-release exit=1:bob",
    );
    let own: &[Group] = &[group(1, &["alice"]), group(1, &["bob"])];
    assert_eq!(next.images()[1].release.as_deref(), Some(own));
    assert_eq!(next.images()[1].freshness, whole().images()[1].freshness);
    assert!(!names(&next).contains(&"team"));
}

#[test]
fn a_key_may_go_to_another_role() {
    let roles =
        "--key dora.pub --key clock-1.pub --freshness-key bob.pub --host-config-key alice.pub";
    let old = follow(
        &plain(&["alice", "bob"]),
        "--freshness-key clock-1.pub --host-config-key dora.pub",
    );
    let next = follow(&old, roles);
    let roles = &next.fields().roles;
    assert_eq!(roles.root, [group(2, &["dora", "clock-1"])]);
    assert_eq!(roles.freshness, Some(vec![group(1, &["bob"])]));
    assert_eq!(roles.host_config, Some(vec![group(1, &["alice"])]));
}

#[test]
fn a_new_key_may_have_the_name_of_an_old_one() {
    let old = plain(&["alice", "bob"]);
    let next = follow(&old, "--key alice=carol.pub --key bob.pub");
    assert_eq!(next.keys()[0].key, signer("carol").key);
    assert_eq!(next.fields().roles, old.fields().roles);
}

#[test]
fn a_key_without_a_role_is_refused() {
    let first = "--key alice.pub --key bob.pub --image relay --root 1:alice --release 1:alice";
    refused(None, first, "no role has the key bob");
    refused(
        Some(&whole()),
        "--key carol.pub --root 1:alice",
        "no role has the key carol",
    );
    let clocks = "--freshness-key clock-1.pub --freshness 1:clock-2";
    let old = follow(
        &whole(),
        "--freshness 1:clock-2 --image-freshness exit=1:clock-2",
    );
    refused(Some(&old), clocks, "no role has the key clock-1");
}

#[test]
fn an_unknown_name_brings_the_one_that_was_meant() {
    refused(Some(&whole()), "--root 1:alcie", "did you mean alice?");
    refused(
        Some(&whole()),
        "--root 1:zoe",
        "give the key: --key zoe=FILE.pub",
    );
    refused(
        Some(&whole()),
        "--image-release rely=1:bob",
        "did you mean relay?",
    );
    refused(
        Some(&whole()),
        "--image-release other=1:bob",
        "--image other",
    );
}

#[test]
fn contradictions_have_a_hint() {
    let both = "--key alice.pub --key again=alice.pub --threshold 1 --image relay";
    refused(None, both, "give each key once");
    let same = "--key alice.pub --key alice=bob.pub --threshold 1 --image relay";
    refused(None, same, "two keys have the name alice");
    let role = "--key alice.pub --freshness-key alice.pub --threshold 1 --image relay";
    refused(None, role, "has no other role");
    for threshold in ["0", "3"] {
        let line = format!("--key alice.pub --key bob.pub --threshold {threshold} --image relay");
        refused(None, &line, "at most all of them");
    }
    for (line, hint) in [
        (
            "--root 1:alice --root 1:alice",
            "1 to 4 groups with --root and --release",
        ),
        ("--root 1:clock-1", "so they have no other role"),
        ("--release 1:dora", "so they release nothing"),
        ("--freshness-threshold 3", "at most all of them"),
        ("--host-config-threshold 3", "at most all of them"),
        (
            "--image-release exit=1:bob --image-release exit=1:bob",
            "see --image-release",
        ),
        (
            "--image-freshness exit=1:clock-1 --image-freshness exit=1:clock-1",
            "see --image-freshness",
        ),
        ("--image relay --image relay", "give each --image once"),
        ("--max-releases 9", "give another --max-releases"),
        ("--retry-initial 2m", "make --retry-max at least as long"),
        (
            "--expires 2026-12-01T00:00:00Z",
            "give a later time with --expires",
        ),
    ] {
        refused(Some(&whole()), line, hint);
    }
}

#[test]
fn a_raised_floor_keeps_what_is_denied() {
    let next = follow(
        &whole(),
        "--image relay=50 --image new --deny-version relay=55",
    );
    let [relay, new] = next.images() else {
        panic!("{:?}", next.images());
    };
    assert_eq!(relay.min_version.as_u64(), 50);
    let denied: Vec<u64> = relay.denied_versions.iter().map(|v| v.as_u64()).collect();
    assert_eq!(denied, [43, 44, 55]);
    assert_eq!((new.name.as_str(), new.min_version.as_u64()), ("new", 1));
}

#[test]
fn an_image_without_a_version_keeps_its_floor_and_roles() {
    let next = follow(&whole(), "--image exit");
    assert_eq!(next.images(), &whole().images()[1..]);
}

#[test]
fn what_is_denied_again_is_denied_once() {
    let digest = whole().fields().denied_digests[0];
    let line = format!("--deny-version relay=43 --deny-digest {digest} --deny-digest {digest}");
    let next = follow(&whole(), &line);
    assert_eq!(next.images(), whole().images());
    assert_eq!(next.fields().denied_digests, [digest]);
    refused(
        Some(&whole()),
        "--deny-version other=1",
        "accepts no image \"other\"",
    );
}

#[test]
fn each_rule_replaces_its_own_field() {
    let old = whole();
    for (line, change) in [
        (
            "--max-validity 30d",
            (|f| f.expiry.max_days = Some(30)) as fn(&mut Fields),
        ),
        ("--max-freshness 6h", |f| f.freshness.max_hours = 6),
        ("--max-releases 3", |f| f.freshness.max_releases = 3),
        ("--host-config-not-before 2026-12-01T00:00:00Z", |f| {
            f.host_config.not_before = "2026-12-01T00:00:00Z".parse().ok();
        }),
        ("--https-only", |f| f.allow_http = false),
        ("--clock-tolerance 1m", |f| f.clock_tolerance_seconds = 60),
        ("--expires 2d", |f| {
            f.expires = "2026-12-04T09:00:00Z".parse().ok()
        }),
        ("--expires 2030-01-01T00:00:00Z", |f| {
            f.expires = "2030-01-01T00:00:00Z".parse().ok();
        }),
        ("--on-expiry warn", |f| f.on_expiry = OnExpiry::Warn),
        ("--min-loader 2.0.0", |f| {
            f.min_loader = "2.0.0".parse().ok()
        }),
        ("--disks allow", |f| {
            f.disks = "allow".parse().expect("a word")
        }),
        ("--retry-initial 4s", |f| {
            f.on_failure.retry_initial_seconds = 4
        }),
        ("--retry-max 99s", |f| f.on_failure.retry_max_seconds = 99),
        ("--max-attempts 0", |f| f.on_failure.max_attempts = 0),
        ("--final-action power-off", |f| {
            f.on_failure.final_action = "power-off".parse().expect("a word");
        }),
        ("--stall 10m", |f| f.on_failure.stall_seconds = 600),
        ("--no-shell", |f| f.on_failure.shell = false),
        ("--unconfirmed-boots 0", |f| {
            f.on_failure.unconfirmed_boots = 0
        }),
        ("--handover-watchdog 0s", |f| {
            f.on_failure.handover_watchdog_seconds = 0
        }),
    ] {
        let expected = follow(&old, "").with(change).expect(line);
        assert_ne!(expected, follow(&old, ""), "{line}");
        assert_eq!(follow(&old, line), expected, "{line}");
    }
    let old = plain(&["alice"]);
    let keys = "--freshness-key clock-1.pub --host-config-key dora.pub";
    for (line, change) in [
        (
            "--require-expiry",
            (|f| f.expiry.required = true) as fn(&mut Fields),
        ),
        ("--require-freshness", |f| f.freshness.required = true),
        ("--require-signed-host-config", |f| {
            f.host_config.required = true
        }),
        ("--allow-http", |f| f.allow_http = true),
        ("--allow-shell", |f| f.on_failure.shell = true),
    ] {
        let expected = follow(&old, keys).with(change).expect(line);
        assert_eq!(follow(&old, &format!("{keys} {line}")), expected, "{line}");
    }
}

#[test]
fn a_statement_that_is_required_needs_a_role() {
    let old = plain(&["alice"]);
    refused(
        Some(&old),
        "--require-freshness",
        "--freshness-key FILE.pub",
    );
    refused(
        Some(&old),
        "--require-signed-host-config",
        "--host-config-key FILE.pub",
    );
    refused(
        Some(&old),
        "--freshness-threshold 1",
        "--freshness-key FILE.pub",
    );
    refused(
        Some(&old),
        "--host-config-threshold 1",
        "--host-config-key FILE.pub",
    );
}

#[test]
fn the_profile_of_people_sets_seven_days() {
    let keys = "--key alice.pub --threshold 1 --image relay --profile people";
    let policy = create(keys);
    assert!(policy.fields().expiry.required && !policy.fields().freshness.required);
    assert_eq!(policy.fields().expiry.max_days, Some(7));
    let policy = create(&format!(
        "{keys} --freshness-key clock-1.pub --max-validity 14d"
    ));
    assert!(policy.fields().freshness.required);
    assert_eq!(policy.fields().expiry.max_days, Some(14));
    assert_eq!(policy.fields().freshness.max_hours, 72);
}

#[test]
fn the_unattended_profile_needs_two_groups_that_release() {
    let keys = "--key alice.pub --key build-1.pub --key build-2.pub --image relay --root 1:alice \
                --freshness-key clock-1.pub --profile unattended";
    let policy = create(&format!("{keys} --release 1:build-1 --release 1:build-2"));
    let fields = policy.fields();
    assert!(fields.expiry.required && fields.freshness.required);
    assert_eq!(
        (fields.expiry.max_days, fields.freshness.max_hours),
        (Some(2), 48)
    );
    refused(
        None,
        &format!("{keys} --release 2:build-1,build-2"),
        "--release 1:build-1 --release 1:build-2",
    );
    let one_of_its_own = "--release 1:build-1 --release 1:build-2 --image-release relay=1:build-1";
    refused(
        None,
        &format!("{keys} {one_of_its_own}"),
        "two groups that release",
    );
    let same = "--release 1:build-1 --release 1:build-1,build-2";
    refused(
        None,
        &format!("{keys} {same}"),
        "a key is in one group of a role",
    );
    let without = keys.replace("--freshness-key clock-1.pub", "");
    let without = format!("{without} --release 1:build-1 --release 1:build-2");
    refused(None, &without, "--freshness-key FILE.pub");
    let longer = "--max-validity 3d --max-freshness 24h --release 1:build-1 --release 1:build-2";
    let fields = create(&format!("{keys} {longer}")).fields().clone();
    assert_eq!(
        (fields.expiry.max_days, fields.freshness.max_hours),
        (Some(3), 24)
    );
}

#[test]
fn a_policy_that_could_not_be_read_is_not_created() {
    let images: Vec<String> = (0..64)
        .map(|image| {
            let denied = (1..=200).map(|v| format!("--deny-version image-{image}={v}"));
            format!(
                "--image image-{image} {}",
                denied.collect::<Vec<_>>().join(" ")
            )
        })
        .collect();
    refused(Some(&plain(&["alice"])), &images.join(" "), "deny less");
}

#[test]
fn a_policy_is_not_older_than_the_one_before() {
    let later = plain(&["alice"]).with(|fields| {
        fields.created = "2026-12-02T09:00:01Z".parse().expect("a time");
    });
    refused(
        Some(&later.expect("the fields agree")),
        "",
        "SOURCE_DATE_EPOCH",
    );
    let same = plain(&["alice"]).with(|fields| {
        fields.created = "2026-12-02T09:00:00Z".parse().expect("a time");
    });
    follow(&same.expect("the fields agree"), "");
}

#[test]
fn after_the_last_version_there_is_none() {
    let last = whole().with(|fields| {
        fields.version = 9_007_199_254_740_991.try_into().expect("in range");
    });
    refused(
        Some(&last.expect("the fields agree")),
        "",
        "the last possible version",
    );
}

#[test]
fn options_that_contradict_are_wrong_usage() {
    for line in [
        "--key a.pub --image relay",
        "--threshold 1 --image relay",
        "--key a.pub --threshold 1",
        "--key a.pub --threshold 1 --root 1:a --image relay",
        "--key a.pub --threshold 1 --image relay --https-only",
        "--from old.json --allow-http --https-only",
        "--from old.json --allow-shell --no-shell",
        "--from old.json --freshness 1:a --freshness-threshold 1",
        "--from old.json --host-config 1:a --host-config-threshold 1",
        "--from old.json --root alice",
        "--from old.json --root 1:",
        "--from old.json --root one:alice",
        "--from old.json --image-release 1:alice",
        "--from old.json --disks maybe",
        "--from old.json --profile robots",
        "--from old.json --expires yesterday",
        "--from old.json --min-loader 1",
    ] {
        let words = ["create", "--out=new.json"].into_iter();
        let words = words.chain(line.split_whitespace());
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
}
