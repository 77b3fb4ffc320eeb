use std::fs;

use support::world;

use super::*;
use crate::testing::{
    Key, fresh, image, made, policy, release_file, sealed_manifest, sealed_policy, store, version,
    versioned, write,
};
use crate::{Older, Release, Renewal, Renewer, Start};

/// A store whose machines have a policy of alice's: `relay` is published in version 42, 41 lies beside it, the chain goes
/// on to version 3, and everything is as it should be.
struct Lab {
    _dir: tempfile::TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        let (dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        for number in [2, 3] {
            let next = versioned(&policy, number);
            write(
                &store.policy(version(number)),
                &sealed_policy(&next, &["alice"]),
            );
        }
        release_file(&store, 41, &["alice"]);
        let envelope = release_file(&store, 42, &["alice"]);
        let own = tempfile::tempdir().unwrap();
        let (baked_in, state) = (own.path().join("trust.json"), own.path().join("state"));
        fs::write(&baked_in, policy.encode()).unwrap();
        let renewal = Renewal::new(vec![Box::new(Key::of("clockwork"))], None);
        let renewer = Renewer::new(renewal, &baked_in, store.clone(), &state, Start::Init);
        let mut renewer = renewer.unwrap();
        let mut turn = renewer.turn(made(), &mut |_| {}).unwrap();
        let policy = turn.policy().clone();
        let release = Release::read(&envelope, &policy, made()).unwrap();
        let turn = Some(&mut turn);
        store
            .publish(&release, Older::Refuse, turn, &mut |_| {}, &mut |_| {})
            .unwrap();
        Self { _dir: dir, store }
    }

    fn check(&self, policy: Option<&TrustPolicy>) -> Checked {
        self.store.check(policy, made(), &mut |_| {}).unwrap()
    }

    /// What is found, without a policy and then with one: each with its mark, and paths from the store on.
    fn finds(&self) -> [Vec<String>; 2] {
        let policy = fresh(policy(&["alice"]));
        [None, Some(&policy)].map(|policy| {
            let checked = self.check(policy);
            let lines = checked.findings.iter().map(|finding| {
                let mark = match &finding.what {
                    What::Fault(fault) if fault.is_refusal() => "refused ",
                    What::Fault(_) => "failed ",
                    What::Note(_) => "note ",
                };
                let root = self.store.root().display().to_string() + "/";
                let said = finding.to_string().replace(&root, "");
                mark.to_owned() + said.lines().next().unwrap_or_default()
            });
            lines.collect()
        })
    }

    fn archive(&self) -> PathBuf {
        self.store.archive(&world::manifest(42).archive)
    }

    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.store.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn blob(suffix: &str) -> String {
    format!("{}.{suffix}", world::manifest(42).archive.chunks_sha256)
}

#[test]
fn a_store_that_is_as_it_should_be_has_no_findings() {
    let lab = Lab::new();
    assert_eq!(lab.finds(), [[""; 0], [""; 0]]);
    let checked = lab.check(None);
    assert_eq!((checked.channels, checked.releases), (1, 2));
    assert_eq!((checked.policies, checked.blobs), (2, 2));
}

#[test]
fn an_empty_store_has_no_findings() {
    let (_dir, store) = store();
    let checked = store.check(None, made(), &mut |_| {}).unwrap();
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
}

#[test]
fn progress_ends_with_every_byte_of_the_blobs() {
    let lab = Lab::new();
    let mut said = Vec::new();
    let progress = &mut |done| said.push(done);
    lab.store.check(None, made(), progress).unwrap();
    assert!(said.is_sorted());
    let archive = fs::metadata(lab.archive()).unwrap().len();
    assert_eq!(said.last(), Some(&archive));
}

#[test]
fn a_damaged_archive_is_found_with_its_chunk() {
    let lab = Lab::new();
    let mut bytes = fs::read(lab.archive()).unwrap();
    bytes[70_000] ^= 1;
    fs::write(lab.archive(), &bytes).unwrap();
    let expected = [format!(
        "refused blobs/{}: chunk 1 (bytes 65536 to 131072) is not what was signed",
        blob("tar")
    )];
    assert_eq!(lab.finds(), [&expected, &expected]);
    fs::remove_file(lab.archive()).unwrap();
    let [found, _] = lab.finds();
    assert_eq!(
        found[0],
        format!("failed cannot read blobs/{}", blob("tar"))
    );
    assert_eq!(
        found[1],
        format!(
            "refused blobs/SHA256SUMS: line 2 names {}, which is not there",
            blob("tar")
        )
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn a_damaged_chunk_list_is_found() {
    let lab = Lab::new();
    let path = lab.store.chunk_list(&world::manifest(42).archive);
    let mut list = fs::read(&path).unwrap();
    list[0] ^= 1;
    fs::write(&path, list).unwrap();
    let expected = [format!(
        "refused blobs/{}: the chunk list is not what was signed",
        blob("tar")
    )];
    assert_eq!(lab.finds(), [&expected, &expected]);
}

#[test]
fn a_file_whose_own_hash_is_wrong_is_found_without_a_policy() {
    let lab = Lab::new();
    let mut manifest = world::manifest(43);
    manifest.files[0].sha256 = Sha256Digest::of(b"another kernel");
    let envelope = crate::testing::sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice"]);
    lab.put("images/relay/43/x86_64.json", envelope.encode());
    let [found, _] = lab.finds();
    let start = format!("refused blobs/{}: boot/vmlinuz", blob("tar"));
    assert!(
        found.len() == 1 && found[0].starts_with(&start),
        "{found:?}"
    );
}

#[test]
fn a_release_that_differs_from_its_channel_is_found() {
    let lab = Lab::new();
    let mut manifest = world::manifest(42);
    manifest.cmdline = "console=ttyS1".parse().unwrap();
    let envelope = crate::testing::sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice"]);
    lab.put("images/relay/42/x86_64.json", envelope.encode());
    let expected =
        ["refused another version 42 of image \"relay\" stands at images/relay/42/x86_64.json"];
    assert_eq!(lab.finds(), [expected, expected]);
    fs::remove_file(lab.store.root().join("images/relay/42/x86_64.json")).unwrap();
    let [found, _] = lab.finds();
    let start = "note images/relay.json: images/relay/42/x86_64.json is not there";
    assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
}

#[test]
fn a_release_under_another_path_is_found() {
    let lab = Lab::new();
    lab.put(
        "images/relay/44/x86_64.json",
        sealed_manifest(43, &["alice"]).encode(),
    );
    lab.put(
        "images/other.json",
        fs::read(lab.store.channel(&image())).unwrap(),
    );
    let [found, _] = lab.finds();
    assert_eq!(
        found,
        [
            "refused images/relay/44/x86_64.json: it holds the release that belongs at images/relay/43/x86_64.json",
            "failed images/other.json holds image \"relay\" instead of \"other\"",
        ]
        .iter()
        .rev()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
    );
}

#[test]
fn what_is_no_channel_envelope_or_policy_is_found() {
    let lab = Lab::new();
    for path in [
        "images/relay.json",
        "images/relay/41/x86_64.json",
        "trust/3.json",
    ] {
        lab.put(path, "{}");
    }
    let expected = [
        "failed trust/3.json is no envelope",
        "failed images/relay.json is no channel",
        "failed images/relay/41/x86_64.json is no envelope",
    ];
    assert_eq!(lab.finds(), [expected, expected]);
}

#[test]
fn each_step_of_the_chain_of_policies_is_checked() {
    let lab = Lab::new();
    let of =
        |number, by: &[&str]| sealed_policy(&versioned(&fresh(policy(&["alice"])), number), by);
    write(&lab.store.policy(version(3)), &of(3, &["eve"]));
    write(&lab.store.policy(version(4)), &of(4, &["alice"]));
    write(&lab.store.policy(version(6)), &of(6, &["alice"]));
    write(&lab.store.policy(version(7)), &of(8, &["alice"]));
    let [without, with] = lab.finds();
    let root = lab.store.root().display().to_string();
    let gap =
        format!("failed the store {root} has version 6 of the trust policy, but not version 5");
    let expected = [
        "refused trust/3.json: 0 of 1 required signatures are there",
        &gap,
        "refused trust/7.json: the trust policy has version 8 where version 7 was due",
    ];
    assert_eq!(without, expected);
    assert_eq!(with[..3], expected);
    // The statement names the version that is broken now.
    let stale = "refused images/relay.json: the mirror shows trust policies up to version 2, but version 3 is published";
    assert_eq!(with[3..], [stale]);
    // Of the first, no policy is known that comes before: its own root must have signed it.
    write(&lab.store.policy(version(2)), &of(2, &["eve"]));
    let [without, with] = lab.finds();
    assert_eq!(
        without[0],
        "refused trust/2.json: it lacks signatures of its own root: 1 of alice"
    );
    assert_eq!(
        with[0],
        "refused trust/2.json: 0 of 1 required signatures are there"
    );
}

#[test]
fn another_policy_in_the_place_of_the_given_one_is_found() {
    let lab = Lab::new();
    let other = fresh(policy(&["alice"]));
    let other = other.with(|fields| fields.allow_http = true).unwrap();
    write(
        &lab.store.policy(version(1)),
        &sealed_policy(&other, &["alice"]),
    );
    let [without, with] = lab.finds();
    assert_eq!(without, [""; 0]);
    let start = "refused another version 1 of the trust policy stands at trust/1.json";
    assert!(with.len() == 1 && with[0] == start, "{with:?}");
}

#[test]
fn with_a_policy_it_is_found_what_machines_refuse() {
    let lab = Lab::new();
    // A release that waits for signatures is nothing wrong.
    lab.put(
        "images/relay/43/x86_64.json",
        sealed_manifest(43, &[]).encode(),
    );
    let [without, with] = lab.finds();
    assert_eq!(without, [""; 0]);
    assert_eq!(
        with,
        [
            "note images/relay/43/x86_64.json: machines refuse it: 0 of 1 required signatures are there"
        ]
    );
    fs::remove_dir_all(lab.store.root().join("images/relay/43")).unwrap();
    let policy = fresh(policy(&["alice"]));
    let later = made() + jiff::SignedDuration::from_hours(25);
    let checked = lab.store.check(Some(&policy), later, &mut |_| {}).unwrap();
    let [
        Finding {
            what: What::Fault(Fault::Store(error)),
            path,
        },
    ] = &checked.findings[..]
    else {
        panic!("{:?}", checked.findings);
    };
    assert_eq!(*path, lab.store.channel(&image()));
    let code = sealboot_core::failure::FailureCode::FreshnessExpired;
    assert_eq!(error.code(), Some(code));
}

#[test]
fn wrong_lines_of_the_sums_are_found() {
    let lab = Lab::new();
    let path = lab.store.path(&StorePath::Sums);
    let good = fs::read_to_string(&path).unwrap();
    let wrong = Sha256Digest::of(b"another");
    let gone = Sha256Digest::of(b"gone");
    let lines = format!(
        "{wrong}  {}\n{gone}  sha256-{gone}\nnoise\n{wrong}  ../x\n",
        blob("tar")
    );
    fs::write(&path, lines).unwrap();
    let expected = [
        format!(
            "refused blobs/SHA256SUMS: line 1 is wrong for {}",
            blob("tar")
        ),
        format!("refused blobs/SHA256SUMS: line 2 names sha256-{gone}, which is not there"),
        "refused blobs/SHA256SUMS: line 3 is not \"HEX  NAME\" of a blob, nor is another line"
            .to_owned(),
        format!(
            "note blobs/{}: SHA256SUMS has no line for it",
            blob("chunks")
        ),
    ];
    assert_eq!(lab.finds(), [&expected, &expected]);
    fs::write(&path, good).unwrap();
    assert_eq!(lab.finds(), [[""; 0], [""; 0]]);
    fs::remove_file(&path).unwrap();
    let [found, _] = lab.finds();
    let start = "note blobs/SHA256SUMS: it is not there";
    assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
}

#[test]
fn attachments_are_checked_named_or_not() {
    let lab = Lab::new();
    let notes = Sha256Digest::of(b"notes");
    let mut manifest = world::manifest(43);
    manifest.attachments = vec![sealboot_core::format::manifest::Attachment {
        name: "notes.txt".parse().unwrap(),
        media_type: "text/plain".parse().unwrap(),
        size: 5,
        sha256: notes,
    }];
    let envelope = crate::testing::sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice"]);
    lab.put("images/relay/43/x86_64.json", envelope.encode());
    lab.put(&format!("blobs/sha256-{notes}"), "other");
    let unused = Sha256Digest::of(b"unused");
    lab.put(&format!("blobs/sha256-{unused}"), "damaged");
    let [found, _] = lab.finds();
    assert_eq!(
        found[..3],
        [
            format!(
                "refused the attachment \"notes.txt\" at blobs/sha256-{notes} is not what was signed"
            ),
            format!("note blobs/sha256-{unused}: no release of the store names it"),
            format!("refused blobs/sha256-{unused} is not what its name says"),
        ]
    );
}

#[test]
fn what_belongs_to_nothing_is_noted() {
    let lab = Lab::new();
    for path in [
        "blobs/.sealboot-aB3xY9",
        "blobs/.sealboot-too-long",
        "images/relay/notes.txt",
        "images/Relay.json",
        "lost+found/x",
        "README",
    ] {
        lab.put(path, "x");
    }
    let stray = |path: &str| format!("note {path}: it is not a file of a store");
    let expected = [
        stray("README"),
        stray("lost+found"),
        stray("images/Relay.json"),
        stray("images/relay/notes.txt"),
        "note blobs/.sealboot-aB3xY9: an interrupted run of sealboot left it".to_owned(),
        stray("blobs/.sealboot-too-long"),
    ];
    let [mut without, mut with] = lab.finds();
    let mut expected = expected.to_vec();
    for list in [&mut without, &mut with, &mut expected] {
        list.sort();
    }
    assert_eq!(without, expected);
    assert_eq!(with, expected);
}

#[test]
fn a_link_that_leads_out_is_found() {
    let lab = Lab::new();
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("archive");
    fs::rename(lab.archive(), &path).unwrap();
    std::os::unix::fs::symlink(&path, lab.archive()).unwrap();
    let [found, _] = lab.finds();
    let start = format!(
        "failed blobs/{} is a link that leads out of the store",
        blob("tar")
    );
    assert!(
        found.len() == 1 && found[0].starts_with(&start),
        "{found:?}"
    );
}
