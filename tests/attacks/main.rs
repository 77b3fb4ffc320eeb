//! Every attack of `tests/vectors`, a folder each in that of its family, judged as a machine would judge it.
//!
//! A folder holds what a machine has baked in, what a mirror shows it, and what it must say to that;
//! `tests/vectors/README.md` describes it. The [`families`] make the folders. Each vector
//! is a test of its own, in which
//!
//! - the folder on disk is, byte for byte, what its family makes (`UPDATE_VECTORS=1` rewrites it);
//! - three judges come to the verdict that the folder expects: the library, called in the order of a boot;
//!   the loader's own stages, over HTTP; and `sealboot image verify`, the real binary.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod families;
mod judges;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sealboot_core::failure::FailureCode;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Arch, ImageName};
use serde::{Deserialize, Serialize};
use support::world;
use tempfile::TempDir;

use families::Vector;

/// What a folder's `expect.json` says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    /// What the attacker does, and why it must fail; or why nothing is wrong.
    about: String,
    /// The code of the refusal, or `accepted`.
    code: String,
    /// The same of the loader's stages, where they come to another verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loader: Option<String>,
    /// The image that the machine boots.
    image: ImageName,
    /// The machine's architecture.
    arch: Arch,
    /// The machine's time.
    now: Timestamp,
    /// The machine's kernel command line; nobody judges one without what it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    cmdline: String,
    /// The serial number that the machine's firmware says, where a host config asks for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    serial: String,
    /// Whether the tool refuses what a person wrote and a loader accepts: a plain host config with an unknown field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    refused_by_the_tool: bool,
    /// Files that are longer than they are kept: spaces follow, up to so many bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    padded: BTreeMap<String, usize>,
    /// Files that are too large to be kept: the SHA-256 of what the family makes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    generated: BTreeMap<String, Sha256Digest>,
    /// Tars, each of which holds what is in the directory of its name without `.tar`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tarred: Vec<String>,
}

const EXPECTATION: &str = "expect.json";

/// The vector holds: its folder is what its family makes, and everybody judges it as it says.
fn assert_holds(vector: &Vector) {
    let directory = vectors().join(vector.folder());
    let (files, generated) = files_of(vector);
    if updating() {
        rewrite(&directory, &files);
    }
    assert_same(&directory, &files);

    let expectation: Expectation =
        serde_json::from_slice(&fs::read(directory.join(EXPECTATION)).unwrap()).unwrap();
    let whole = TempDir::new().unwrap();
    for (path, bytes) in &generated {
        world::put(&whole.path().join(path), bytes);
    }
    for (path, bytes) in files.iter().filter(|(path, _)| *path != EXPECTATION) {
        if expectation.tarred.contains(path) {
            let directory = whole.path().join(path.strip_suffix(".tar").unwrap());
            tar::Archive::new(bytes.as_slice())
                .unpack(directory)
                .unwrap();
            continue;
        }
        let mut bytes = bytes.clone();
        if let Some(len) = expectation.padded.get(path) {
            assert!(bytes.len() <= *len, "{path} is longer than that");
            bytes.resize(*len, b' ');
        }
        world::put(&whole.path().join(path), &bytes);
    }
    let expected = verdict(&expectation.code);
    assert_eq!(expected, vector.verdict, "{}", vector.about());
    let of_the_loader = expectation.loader.as_deref().map_or(expected, verdict);
    judges::assert_library(whole.path(), &expectation, expected);
    judges::assert_loader(whole.path(), &expectation, of_the_loader);
    judges::assert_tool(whole.path(), &expectation, expected);
}

/// A verdict by how it is written.
fn verdict(code: &str) -> Result<(), FailureCode> {
    if code == "accepted" {
        return Ok(());
    }
    let known = FailureCode::ALL.iter().find(|known| known.as_str() == code);
    Err(*known.unwrap_or_else(|| panic!("there is no code {code}")))
}

/// How a verdict is written.
fn written(verdict: Result<(), FailureCode>) -> String {
    match verdict {
        Ok(()) => "accepted".to_owned(),
        Err(code) => code.to_string(),
    }
}

fn updating() -> bool {
    std::env::var_os("UPDATE_VECTORS").is_some()
}

fn names() -> BTreeSet<String> {
    families::all().map(Vector::name).collect()
}

fn vectors() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/vectors")
}

type Files = BTreeMap<String, Vec<u8>>;

/// Everything that the folder of a vector holds, by path, and what is not kept in it.
fn files_of(vector: &Vector) -> (Files, Files) {
    let case = (vector.make)();
    let mut files = case.files;
    let is_kept = |path: &String, _: &mut Vec<u8>| !case.is_generated.contains(path);
    let generated: Files = files
        .extract_if(.., |path, bytes| !is_kept(path, bytes))
        .collect();
    assert_eq!(
        generated.len(),
        case.is_generated.len(),
        "{}",
        vector.name()
    );
    let digests = generated.iter();
    let digests = digests.map(|(path, bytes)| (path.clone(), Sha256Digest::of(bytes)));
    let mut tarred = Vec::new();
    for directory in case.tarred {
        let path = format!("{directory}.tar");
        let tar = take_as_tar(&mut files, &format!("{directory}/"));
        files.insert(path.clone(), tar);
        tarred.push(path);
    }
    let expectation = Expectation {
        about: vector.about(),
        code: written(vector.verdict),
        loader: case.loader.map(written),
        image: case.image.parse().unwrap(),
        arch: case.arch,
        now: case.now.parse().unwrap(),
        cmdline: case.cmdline.to_owned(),
        serial: case.serial.to_owned(),
        refused_by_the_tool: case.is_refused_by_the_tool,
        padded: case.padded,
        generated: digests.collect(),
        tarred,
    };
    let mut json = serde_json::to_vec_pretty(&expectation).unwrap();
    json.push(b'\n');
    files.insert(EXPECTATION.to_owned(), json);
    (files, generated)
}

/// Takes the files below `directory` out of `files`, into a tar that depends on nothing else.
fn take_as_tar(files: &mut BTreeMap<String, Vec<u8>>, directory: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files.extract_if(.., |path, _| path.starts_with(directory)) {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let path = path.strip_prefix(directory).unwrap();
        tar.append_data(&mut header, path, bytes.as_slice())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

fn rewrite(directory: &Path, files: &BTreeMap<String, Vec<u8>>) {
    if directory.exists() {
        fs::remove_dir_all(directory).unwrap();
    }
    for (path, bytes) in files {
        world::put(&directory.join(path), bytes);
    }
}

fn assert_same(directory: &Path, made: &BTreeMap<String, Vec<u8>>) {
    let mut found = BTreeMap::new();
    read_all(directory, directory, &mut found);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&found),
        names(made),
        "{} holds other files than are made; UPDATE_VECTORS=1 rewrites it",
        directory.display()
    );
    for (path, bytes) in made {
        assert!(
            found[path] == *bytes,
            "{} is not what is made; UPDATE_VECTORS=1 rewrites it",
            directory.join(path).display()
        );
    }
}

fn read_all(root: &Path, directory: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(root, &path, into);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            into.insert(name.to_owned(), fs::read(&path).unwrap());
        }
    }
}

#[test]
fn every_folder_is_made_by_a_family() {
    assert_eq!(
        names().len(),
        families::all().count(),
        "two vectors have one name"
    );
    let made: BTreeSet<String> = families::all().map(Vector::folder).collect();
    let families = directories(&vectors()).into_iter();
    let found: BTreeSet<String> = families
        .flat_map(|family| {
            let names = directories(&vectors().join(&family)).into_iter();
            names.map(move |name| format!("{family}/{name}"))
        })
        .collect();
    if updating() {
        for stale in found.difference(&made) {
            fs::remove_dir_all(vectors().join(stale)).unwrap();
        }
    } else {
        assert_eq!(found, made, "UPDATE_VECTORS=1 rewrites them");
    }
}

/// The names of the directories in this one.
fn directories(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[test]
fn the_readme_lists_every_vector() {
    const HEADING: &str = "## The list\n";
    let path = vectors().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, list) = readme.split_once(HEADING).unwrap();
    let mut expected = String::new();
    for (title, vectors) in families::families() {
        let family = vectors[0].family();
        expected +=
            &format!("\n### {title}: `{family}/`\n\n| folder | verdict | about |\n|---|---|---|\n");
        for vector in vectors {
            let mut verdict = written(vector.verdict);
            if let Some(loader) = (vector.make)().loader {
                verdict += &format!("; loader: {}", written(loader));
            }
            let (name, about) = (vector.name(), vector.about());
            expected += &format!("| `{name}` | {verdict} | {about} |\n");
        }
    }
    if updating() {
        fs::write(&path, format!("{before}{HEADING}{expected}")).unwrap();
    } else {
        assert_eq!(list, expected, "UPDATE_VECTORS=1 rewrites it");
    }
}

/// Some are accepted, so that whoever refuses everything fails, and every refusal of trust is provoked.
#[test]
fn every_refusal_of_a_statement_or_an_archive_is_provoked() {
    let verdicts: BTreeSet<Result<(), FailureCode>> =
        families::all().map(|vector| vector.verdict).collect();
    assert!(verdicts.contains(&Ok(())));
    let of_trust = ["MANIFEST-", "FRESHNESS-", "TRUST-", "IMAGE-"];
    let missing: Vec<_> = FailureCode::ALL
        .iter()
        .filter(|code| of_trust.iter().any(|of| code.as_str().starts_with(of)))
        // The machine's memory is no file's doing.
        .filter(|code| **code != FailureCode::ImageMemory)
        .filter(|code| !verdicts.contains(&Err(**code)))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What the project set out to refuse, and the folders that try it.
#[test]
fn every_attack_that_was_promised_is_here() {
    let promised: &[(&str, &[&str])] = &[
        (
            "duplicate signer under two key ids",
            &["duplicate-signer-under-two-key-ids"],
        ),
        ("same signature twice", &["same-signature-twice"]),
        (
            "garbage signature listed first under a good key's id",
            &["garbage-signature-first-under-a-good-key-id"],
        ),
        (
            "key shipped inside the envelope",
            &["key-shipped-in-the-envelope", "key-shipped-as-the-key-id"],
        ),
        (
            "low-order and non-canonical keys and signatures",
            &[
                "small-order-key",
                "small-order-key-in-the-next-policy",
                "non-canonical-key",
                "small-order-r",
                "non-canonical-r",
                "s-past-the-order-of-the-group",
                "signature-that-only-verifies-cofactored",
            ],
        ),
        (
            "payload-type confusion between every two kinds of statement",
            &[
                "policy-for-a-manifest",
                "freshness-for-a-manifest",
                "manifest-for-a-policy",
                "freshness-for-a-policy",
                "manifest-for-a-freshness",
                "policy-for-a-freshness",
                "payload-of-a-policy-as-a-manifest",
                "payload-of-a-freshness-as-a-manifest",
                "payload-of-a-manifest-as-a-policy",
                "payload-of-a-freshness-as-a-policy",
                "payload-of-a-manifest-as-a-freshness",
                "payload-of-a-policy-as-a-freshness",
            ],
        ),
        (
            "a policy signed by the new keys alone, by the old alone, skipping a version, going back, a loop",
            &[
                "policy-signed-by-the-new-keys-alone",
                "policy-signed-by-the-old-keys-alone",
                "policy-that-skips-a-version",
                "policy-that-goes-back",
                "policy-chain-in-a-loop",
            ],
        ),
        ("expired freshness", &["freshness-expired"]),
        (
            "freshness for another name",
            &["freshness-for-another-name"],
        ),
        (
            "version fast-forward and the way back",
            &[
                "image-fast-forward",
                "image-fast-forward-denied",
                "way-back-from-an-image-fast-forward",
                "freshness-fast-forward",
                "way-back-from-a-freshness-fast-forward",
                "fast-forward-after-the-way-back",
            ],
        ),
        (
            "unknown field",
            &[
                "unknown-field-in-a-manifest",
                "unknown-field-in-the-next-policy",
                "unknown-field-in-a-freshness",
                "unknown-field-in-an-envelope",
                "unknown-field-in-a-channel",
            ],
        ),
        (
            "critical word of a later version, in each kind of statement",
            &[
                "unknown-critical-word-in-a-manifest",
                "unknown-critical-word-in-the-next-policy",
                "unknown-critical-word-in-the-baked-in-policy",
                "unknown-critical-word-in-a-freshness",
                "unknown-critical-word-in-a-signed-host-config",
                "unknown-critical-word-in-a-plain-host-config",
            ],
        ),
        (
            "key of an unknown type in each role",
            &[
                "key-of-an-unknown-type-in-every-role",
                "root-of-unknown-key-types",
                "next-root-of-unknown-key-types",
                "release-role-of-unknown-key-types",
                "own-release-role-of-unknown-key-types",
                "freshness-role-of-unknown-key-types",
                "own-freshness-role-of-unknown-key-types",
                "host-config-role-of-unknown-key-types",
            ],
        ),
        (
            "payload type of a later version beside today's, and stripped",
            &[
                "manifest-of-a-future-type-beside-todays",
                "manifest-of-a-future-type-stripped-by-a-mirror",
                "manifest-of-todays-type-stripped-by-a-mirror",
                "current-release-of-both-types",
                "freshness-of-a-future-type-beside-todays",
                "freshness-of-todays-type-stripped-by-a-mirror",
            ],
        ),
        (
            "proof beside a signature",
            &["proof-beside-a-signature", "proof-stripped-by-a-mirror"],
        ),
        (
            "duplicate JSON key",
            &[
                "duplicate-key-in-a-manifest",
                "duplicate-key-in-the-next-policy",
                "duplicate-key-in-a-freshness",
                "duplicate-key-in-an-envelope",
                "duplicate-key-in-a-channel",
            ],
        ),
        (
            "numbers at and past their bounds",
            &[
                "version-one",
                "version-zero",
                "version-of-the-largest-number",
                "version-past-the-largest-number",
                "version-past-64-bits",
                "version-below-zero",
                "version-with-a-fraction",
                "version-with-an-exponent",
            ],
        ),
        (
            "100-deep JSON",
            &[
                "hundred-deep-in-an-envelope",
                "hundred-deep-in-a-manifest",
                "hundred-deep-in-the-next-policy",
            ],
        ),
        (
            "an envelope one byte over the limit",
            &[
                "channel-one-byte-too-large",
                "channel-of-the-largest-size",
                "next-policy-one-byte-too-large",
            ],
        ),
        ("archive with traversal", &["member-path-that-climbs"]),
        (
            "archive with an absolute path",
            &["member-with-an-absolute-path"],
        ),
        ("archive with a symlink", &["symbolic-link"]),
        ("archive with a hard link", &["hard-link"]),
        (
            "archive with a device",
            &["character-device", "block-device"],
        ),
        ("archive with setuid", &["setuid-file"]),
        (
            "archive in wrong order",
            &["members-in-wrong-order", "manifest-in-wrong-order"],
        ),
        (
            "archive with a missing kernel",
            &["kernel-missing", "manifest-without-a-kernel"],
        ),
        (
            "archive with an extra file",
            &["extra-file", "extra-file-first"],
        ),
        (
            "archive with sparse and pax tricks",
            &[
                "sparse-file-of-old-gnu-tar",
                "pax-sparse-file",
                "pax-path-that-climbs",
                "pax-size-that-differs",
            ],
        ),
        (
            "archive with size lies",
            &[
                "header-size-larger-than-signed",
                "header-size-smaller-than-signed",
                "header-size-in-base-256",
            ],
        ),
        ("gzip bomb", &["gzip-bomb"]),
        ("zstd bomb", &["zstd-bomb", "zstd-bomb-that-says-so"]),
        (
            "zstd window that takes the machine's memory",
            &["zstd-window-past-the-largest", "zstd-window-of-terabytes"],
        ),
        (
            "archive with trailing data",
            &[
                "zeros-after-the-end",
                "archive-after-the-end",
                "byte-after-gzip",
                "byte-after-zstd",
                "skippable-frame-after-zstd",
            ],
        ),
        (
            "archive with two members of one name",
            &["two-members-of-one-name"],
        ),
    ];
    let made = names();
    for (attack, folders) in promised {
        assert!(!folders.is_empty());
        for folder in *folders {
            assert!(made.contains(*folder), "{attack}: there is no {folder}");
        }
    }
}
