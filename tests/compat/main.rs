//! What v1 promises to older and newer versions: `tests/fixtures/v1` is a store with every extension point of v1 in use,
//! frozen by hash. The loader's code accepts it, and the tool works on it and loses nothing.
//!
//! `SEALBOOT_COMPAT_TOOL` names another version's tool to run, and `SEALBOOT_COMPAT_FIXTURES` another version's
//! fixtures to read; `make compat TAG=…` sets them ([tests/compat/run](run)).
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod fixtures;
mod tool;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Arch, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Chain, Presented, TrustPolicy};
use support::places::repository;
use support::world::archives::noon;

use self::fixtures::{Files, NOON_PLUS, build};

/// SHA-256 of `SHA256SUMS` in `tests/fixtures/v1`. It never changes: later versions have to read what was written once.
const FROZEN: &str = "9a303821fe9203ca28e5f319a588b0ac2158ec29e2b4fb84c74b04b2ea300e75";

/// Returns the fixtures' directory.
fn directory() -> PathBuf {
    match std::env::var_os("SEALBOOT_COMPAT_FIXTURES") {
        Some(other) => other.into(),
        None => repository().join("tests/fixtures/v1"),
    }
}

fn files_under(root: &Path) -> Files {
    let mut files = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            files.insert(name.to_owned(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Returns the lines of `sha256sum` of these files.
fn sums(files: &Files) -> String {
    let listed = files.iter().filter(|(name, _)| *name != "SHA256SUMS");
    let lines = listed.map(|(name, bytes)| format!("{}  {name}\n", Sha256Digest::of(bytes)));
    lines.collect()
}

#[test]
fn fixtures_of_v1_never_change() {
    let files = files_under(&directory());
    let listed = String::from_utf8(files["SHA256SUMS"].clone()).unwrap();
    assert_eq!(listed, sums(&files));
    let found = Sha256Digest::of(listed.as_bytes()).to_string();
    assert_eq!(found, FROZEN, "a file of tests/fixtures/v1 was changed");
}

/// The code that wrote the fixtures. When a later version writes otherwise, this test goes and the fixtures stay.
#[test]
fn fixtures_of_v1_are_what_this_version_writes() {
    let mut files = build();
    files.insert("SHA256SUMS".to_owned(), sums(&files).into_bytes());
    let there = files_under(&repository().join("tests/fixtures/v1"));
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&files), names(&there));
    for (name, bytes) in &files {
        assert!(there[name] == *bytes, "{name}");
    }
}

#[test]
fn loader_accepts_a_store_of_a_later_version() {
    let files = files_under(&directory());
    let baked_in = TrustPolicy::parse(&files["policy.json"]).unwrap();
    let mut chain = Chain::from(baked_in);
    chain.step(&files["store/trust/2.json"]).unwrap();
    let policy = chain.newest();
    let now = noon() + NOON_PLUS;
    let image = "relay".parse().unwrap();
    for (arch, version) in [(Arch::X86_64, 43), (Arch::Aarch64, 42)] {
        let expected = Expected {
            name: &image,
            arch: Some(arch.clone()),
            now: now.into(),
        };
        let current = policy.verify_channel(&files["store/images/relay.json"], &expected);
        let current = current.unwrap_or_else(|refusal| panic!("{arch}: {refusal:?}"));
        let manifest: &Manifest = current.manifest().as_ref();
        assert_eq!(
            (manifest.version.as_u64(), &manifest.arch),
            (version, &arch)
        );
        assert!(current.freshness().is_some());
    }
    let presented = Presented {
        stored: Some(files["host.signed.json"].clone()),
        ..Presented::default()
    };
    let judged = policy.judge_host_config(&presented, &now.into()).unwrap();
    assert_eq!(judged.signers().unwrap()[0].as_str(), "installer");
}
