//! The shape of the repository: crates and what each may depend on, as docs/architecture.md has them; the tiers of
//! tests, and which paths call for which.
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

/// Returns the names of the profiles in nextest's configuration, and the filter of each.
fn profiles() -> BTreeMap<String, String> {
    let text = fs::read_to_string(Path::new(ROOT).join(".config/nextest.toml")).unwrap();
    let sections = text.split("\n[profile.").skip(1);
    sections
        .filter_map(|section| {
            let (name, rest) = section.split_once("]\n")?;
            let (_, filter) = rest.split_once("default-filter = ")?;
            let end = filter.find("\n\n").unwrap_or(filter.len());
            Some((name.to_owned(), filter[..end].to_owned()))
        })
        .collect()
}

const AREAS: [&str; 6] = ["trust", "net", "boot", "os", "firmware", "fleet"];

fn areas_of(paths: &[&str]) -> BTreeSet<String> {
    let output = Command::new(Path::new(ROOT).join(".ci/areas"))
        .arg("--of")
        .args(paths)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let areas = String::from_utf8(output.stdout).unwrap();
    areas.lines().map(str::to_owned).collect()
}

#[test]
fn every_path_of_the_repository_has_its_areas() {
    let output = Command::new("git")
        .args(["ls-files"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success());
    let paths = String::from_utf8(output.stdout).unwrap();
    let paths: Vec<&str> = paths.lines().collect();
    assert!(paths.len() > 1000, "{}", paths.len());
    let script = fs::read_to_string(Path::new(ROOT).join(".ci/areas")).unwrap();
    let table = script.split("\ntable='\n").nth(1).unwrap();
    let table = table.split("\n'\n").next().unwrap();
    for row in table.lines() {
        let prefix = row.split(' ').next().unwrap();
        let matches = paths.iter().any(|path| path.starts_with(prefix));
        // The crate comes with the next change.
        assert!(
            matches || prefix == "src/store/",
            "no path begins with {prefix}"
        );
    }
    let areas = areas_of(&paths);
    assert_eq!(areas, AREAS.map(str::to_owned).into());
    assert_eq!(
        areas_of(&["src/core/trust/role.rs"]),
        ["trust".to_owned()].into()
    );
    assert_eq!(areas_of(&["docs/guide.md"]), BTreeSet::new());
}

#[test]
fn every_module_of_guests_belongs_to_one_area() {
    let main = fs::read_to_string(Path::new(ROOT).join("tests/vm/main.rs")).unwrap();
    let modules = main
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let profiles = profiles();
    for module in modules {
        let file = Path::new(ROOT).join(format!("tests/vm/{module}.rs"));
        let has_tests = fs::read_to_string(file).unwrap().contains("test]\n");
        let is_named = |area: &&str| {
            let filter = &profiles[*area];
            let words = filter.split(['(', '|', ')', '/', '^', '"', ' ']);
            filter.contains("binary(vm)") && words.into_iter().any(|word| word == module)
        };
        let areas: Vec<&str> = AREAS.into_iter().filter(is_named).collect();
        assert_eq!(areas.len(), usize::from(has_tests), "{module}: {areas:?}");
    }
}

#[test]
fn smoke_tier_is_24_guests_that_exist() {
    let filter = &profiles()["smoke"];
    let named: Vec<&str> = filter
        .split("test(=")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap())
        .collect();
    assert_eq!(named.len(), 24);
    for test in named {
        let (module, function) = test.split_once("::").unwrap();
        let file = Path::new(ROOT).join(format!("tests/vm/{module}.rs"));
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains(&format!("fn {function}()")), "{test}");
    }
}
