//! The crates and what each may depend on: docs/architecture.md, held to what cargo says.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Returns the output of a cargo command that reads the lock file alone.
fn cargo(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(words)
        .args(["--locked", "--offline"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the names of the packages that a machine runs, or a tool, if it is built of this crate.
fn tree(package: &str) -> BTreeSet<String> {
    let target = "x86_64-unknown-linux-gnu";
    #[rustfmt::skip]
    let words = [
        "tree", "--package", package, "--edges", "normal", "--target", target, "--prefix", "none",
        "--format", "{p}",
    ];
    let names = cargo(&words);
    let names = names
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty() && *name != package);
    names.map(str::to_owned).collect()
}

/// Returns the direct dependencies of each crate of the workspace, by its name.
fn direct() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap().iter();
            let normal = all.filter(|dependency| dependency["kind"].is_null());
            let names = normal.map(|dependency| {
                let renamed = dependency["rename"].as_str();
                let name = renamed.or(dependency["name"].as_str());
                name.unwrap().to_owned()
            });
            let name = package["name"].as_str().unwrap();
            (name.to_owned(), names.collect())
        })
        .collect()
}

fn architecture() -> String {
    fs::read_to_string(Path::new(ROOT).join("docs/architecture.md")).unwrap()
}

/// Returns the names in backquotes.
fn quoted(text: &str) -> BTreeSet<String> {
    let names = text.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// Returns the rows of the table that follows this heading, as cells.
fn rows<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, section) = text.split_once(&format!("\n{heading}\n")).unwrap();
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with("| "));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn each_crate_depends_on_what_the_architecture_says() {
    let text = architecture();
    let said: BTreeMap<String, BTreeSet<String>> = rows(&text, "## The crates")
        .into_iter()
        .map(|cells| (cells[1].trim_matches('`').to_owned(), quoted(cells[3])))
        .collect();
    let own = |all: BTreeSet<String>| -> BTreeSet<String> {
        let own = all.into_iter();
        own.filter(|name| name.starts_with("sealboot")).collect()
    };
    let found: BTreeMap<String, BTreeSet<String>> = (direct().into_iter())
        .filter(|(name, _)| name != "sealboot-test-support")
        .map(|(name, all)| (name, own(all)))
        .collect();
    assert_eq!(said, found);
}

#[test]
fn every_direct_dependency_of_the_loader_is_explained() {
    let text = architecture();
    let explained: BTreeSet<String> = rows(&text, "## The loader's trusted computing base")
        .into_iter()
        .flat_map(|cells| quoted(cells[0]))
        .collect();
    let mut direct = direct();
    let loader = ["sealboot-init", "sealboot-core", "sealboot-sys"];
    let found: BTreeSet<String> = loader
        .iter()
        .flat_map(|name| direct.remove(*name).unwrap())
        .filter(|name| !loader.contains(&name.as_str()))
        .collect();
    assert_eq!(explained, found);
}

/// `UPDATE_DOCS=1` writes the list.
#[test]
fn trusted_base_in_the_docs_is_what_cargo_tree_prints() {
    let (begin, end) = ("<!-- begin cargo tree -->\n", "<!-- end cargo tree -->");
    let text = architecture();
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let mut list = String::from("```text\n");
    let mut line = String::new();
    for name in tree("sealboot-init") {
        if line.len() + name.len() >= 100 {
            list.push_str(line.trim_end());
            list.push('\n');
            line.clear();
        }
        line.push_str(&name);
        line.push(' ');
    }
    list.push_str(line.trim_end());
    list.push_str("\n```\n");
    let expected = format!("{before}{begin}{list}{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(Path::new(ROOT).join("docs/architecture.md"), &expected).unwrap();
        return;
    }
    assert_eq!(
        text, expected,
        "run `UPDATE_DOCS=1 cargo test -p sealboot --test structure`"
    );
}

#[test]
fn core_has_no_unsafe_code_and_no_runtime() {
    let lib = fs::read_to_string(Path::new(ROOT).join("src/core/lib.rs")).unwrap();
    assert!(lib.contains("\n#![forbid(unsafe_code)]\n"));
    let tree = tree("sealboot-core");
    for name in ["tokio", "reqwest", "rustls", "nix", "socket2"] {
        assert!(!tree.contains(name), "core depends on {name}");
    }
}

#[test]
fn store_has_no_terminal_and_no_runtime() {
    let tree = tree("sealboot-store");
    for name in ["clap", "anstream", "indicatif", "rpassword", "tokio"] {
        assert!(!tree.contains(name), "store depends on {name}");
    }
}

#[test]
fn unsafe_code_has_one_home() {
    let tool = Path::new(ROOT).join("src");
    let mut homes = Vec::new();
    visit(&tool, &mut |path, text| {
        if text.contains("#![expect(unsafe_code")
            || text.contains("#![allow(unsafe_code")
            || text.contains("unsafe {")
        {
            homes.push(path.strip_prefix(&tool).unwrap().to_owned());
        }
    });
    assert!(!homes.is_empty());
    let strays: Vec<_> = homes
        .iter()
        .filter(|path| !path.starts_with("sys"))
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
}

fn visit(directory: &Path, each: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, each);
        } else if path.extension().is_some_and(|suffix| suffix == "rs") {
            each(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
