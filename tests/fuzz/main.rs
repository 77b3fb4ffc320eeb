//! The fuzz targets without a fuzzer: every seed of `tests/fuzz/seeds`, and mutations of it that are the
//! same at every run. `make fuzz` goes on from here with a nightly compiler and libFuzzer.
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that unwraps fails where it should; the fuzz package reaches the targets from outside"
)]

#[path = "src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use targets::{TARGETS, Target, Verdict};

/// Mutations of a target's seeds. Thirteen targets take a few seconds with them, unoptimised, on two processors.
const MUTATIONS: u32 = 1500;

fn directory() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/fuzz")
}

fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found
        .unwrap_or_else(|| panic!("there is no target {name}"))
        .1
}

/// The names in a directory, without their extensions.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| {
            let name = PathBuf::from(entry.unwrap().file_name());
            name.file_stem().unwrap().to_str().unwrap().to_owned()
        })
        .collect()
}

/// The seeds of a target by name, in the order of their names.
fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let directory = directory().join("seeds").join(name);
    let read = |seed: String| {
        let bytes = fs::read(directory.join(&seed)).unwrap();
        (seed, bytes)
    };
    names(&directory).into_iter().map(read).collect()
}

/// One change of a byte string.
#[derive(Debug, Clone)]
enum Edit {
    Flip { at: Index, mask: u8 },
    Put { at: Index, bytes: Vec<u8> },
    Insert { at: Index, bytes: Vec<u8> },
    Remove { at: Index, len: usize },
    Double { at: Index, len: usize },
    Cut { at: Index },
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let range = |at: &Index, len: usize| {
            let start = at.index(bytes.len() + 1);
            start..(start + len).min(bytes.len())
        };
        match self {
            Self::Flip { at, mask } => {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= mask;
                }
            }
            Self::Put { at, bytes: put } => {
                let range = range(at, put.len());
                bytes.splice(range, put.iter().copied());
            }
            Self::Insert {
                at,
                bytes: inserted,
            } => {
                let range = range(at, 0);
                bytes.splice(range, inserted.iter().copied());
            }
            Self::Remove { at, len } => {
                let range = range(at, *len);
                bytes.drain(range);
            }
            Self::Double { at, len } => {
                let range = range(at, *len);
                bytes.extend_from_within(range);
            }
            Self::Cut { at } => bytes.truncate(at.index(bytes.len() + 1)),
        }
    }
}

/// Seeds, changed in up to four places; what is put into one is often of another.
fn mutated(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let piece = (select(seeds.clone()), any::<Index>(), 1..40_usize).prop_map(|(seed, at, len)| {
        let start = at.index(seed.len() + 1);
        seed[start..(start + len).min(seed.len())].to_vec()
    });
    let odd = [
        &b""[..],
        b"\0",
        b"\xff",
        b"\"",
        b"{",
        b"]",
        b"0",
        b"-1",
        b"9007199254740992",
        b"\\u0000",
        b"../",
        b"\n",
    ];
    let bytes = prop_oneof![
        piece,
        select(odd.map(<[u8]>::to_vec).to_vec()),
        vec(any::<u8>(), 1..5)
    ];
    let edit = prop_oneof![
        (any::<Index>(), 1..=255_u8).prop_map(|(at, mask)| Edit::Flip { at, mask }),
        (any::<Index>(), bytes.clone()).prop_map(|(at, bytes)| Edit::Put { at, bytes }),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Edit::Insert { at, bytes }),
        (any::<Index>(), 1..30_usize).prop_map(|(at, len)| Edit::Remove { at, len }),
        (any::<Index>(), 1..200_usize).prop_map(|(at, len)| Edit::Double { at, len }),
        any::<Index>().prop_map(|at| Edit::Cut { at }),
    ];
    (select(seeds), vec(edit, 1..=4)).prop_map(|(mut bytes, edits)| {
        for edit in edits {
            edit.apply(&mut bytes);
        }
        bytes
    })
}

fn seeds_are_taken_or_refused_as_their_names_say(name: &str) {
    let mut expected = BTreeSet::new();
    for (seed, bytes) in seeds(name) {
        let verdict = match seed.split('-').next() {
            Some("good") => Verdict::Taken,
            Some("refused") => Verdict::Refused,
            _ => panic!("{name}/{seed} does not begin with good- or refused-"),
        };
        assert_eq!(target(name)(&bytes), verdict, "{name}/{seed}");
        expected.insert(verdict == Verdict::Taken);
    }
    assert_eq!(expected.len(), 2, "{name} has seeds of both kinds");
}

fn mutations_of_the_seeds_find_nothing(name: &str) {
    let config = ProptestConfig {
        cases: MUTATIONS,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let seeds = seeds(name).into_iter().map(|(_, bytes)| bytes).collect();
    let result = TestRunner::new_with_rng(config, rng).run(&mutated(seeds), |bytes| {
        // The verdict is the target's to know; here it is enough that it has one.
        let _ = target(name)(&bytes);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{name}: {failure}\nhint: keep the input as a seed in tests/fuzz/seeds/{name}");
    }
}

macro_rules! each_target {
    ($($name:ident)*) => {
        const RUN: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
            #[test]
            fn its_seeds_are_taken_or_refused_as_their_names_say() {
                super::seeds_are_taken_or_refused_as_their_names_say(stringify!($name));
            }

            #[test]
            fn mutations_of_its_seeds_find_nothing() {
                super::mutations_of_the_seeds_find_nothing(stringify!($name));
            }
        })*
    };
}
each_target!(archive cmdline cpio dhcp envelope freshness host_config ipv6 manifest policy profile range smbios);

#[test]
fn every_target_is_run_here_and_by_the_fuzzer_and_has_seeds() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let run = RUN.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(known, run);
    assert_eq!(known, names(&directory().join("fuzz_targets")));
    assert_eq!(known, names(&directory().join("seeds")));
    assert!(names(&directory().join("dictionaries")).is_subset(&known));
    let package = fs::read_to_string(directory().join("Cargo.toml")).unwrap();
    let binaries = package.split("[[bin]]").skip(1).map(|binary| {
        let name = binary.split('"').nth(1).unwrap();
        assert!(
            binary.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
        name.to_owned()
    });
    assert_eq!(known, binaries.collect());
}

/// The packages of a lock file, each with its version.
fn locked(path: &Path) -> BTreeSet<(String, String)> {
    let text = fs::read_to_string(path).unwrap();
    let packages = text.split("[[package]]").skip(1).map(|package| {
        let field = |at| package.split('"').nth(at).unwrap().to_owned();
        (field(1), field(3))
    });
    packages.collect()
}

#[test]
fn what_is_fuzzed_is_built_of_the_versions_that_ship() {
    let ships =
        locked(&Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("Cargo.lock"));
    let fuzzed = locked(&directory().join("Cargo.lock"));
    let own = ["arbitrary", "libfuzzer-sys", "sealboot-fuzz"];
    let other: Vec<_> = fuzzed
        .difference(&ships)
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .collect();
    assert!(
        other.is_empty(),
        "{other:?}\nhint: cp Cargo.lock tests/fuzz/ && cargo metadata --manifest-path tests/fuzz/Cargo.toml >/dev/null"
    );
}
