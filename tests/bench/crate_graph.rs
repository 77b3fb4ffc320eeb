//! The loader's crates and which need which, by `cargo tree`.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::process::Command;

const LOADER: &str = "sealboot_init";

/// Returns `true` if this crate is one of the workspace.
pub(crate) fn is_own(name: &str) -> bool {
    name == "sealboot" || name.starts_with("sealboot_")
}

/// The crates below the loader, by the names that they have in code.
#[derive(Debug)]
pub(crate) struct Graph {
    root: String,
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Asks cargo for what the loader is built of; macros that only generate code are left out.
    pub(crate) fn of_loader() -> Self {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["tree", "--locked", "--package", "sealboot-init"])
            .args(["--edges", "normal,no-proc-macro"])
            .args(["--target", "x86_64-unknown-linux-gnu"])
            .args(["--prefix", "depth", "--format", "{lib} "])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .output()
            .expect("cargo tree");
        assert!(output.status.success(), "cargo tree: {}", output.status);
        let tree = String::from_utf8(output.stdout).expect("names");
        // The way from the root to the line before.
        let mut way: Vec<&str> = Vec::new();
        let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in tree.lines() {
            let digits = line.bytes().take_while(u8::is_ascii_digit).count();
            let depth: usize = line[..digits].parse().expect("a depth");
            let name = line[digits..].split(' ').next().expect("a name");
            // The workspace's own crates are one: the loader.
            let name = if is_own(name) { LOADER } else { name };
            way.truncate(depth);
            if let Some(above) = way.last() {
                let below = needs.entry((*above).to_owned()).or_default();
                if name != *above {
                    below.insert(name.to_owned());
                }
            }
            way.push(name);
            needs.entry(name.to_owned()).or_default();
        }
        Self {
            root: way[0].to_owned(),
            needs,
        }
    }

    /// Whether this is one of them.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.needs.contains_key(name)
    }

    /// All of them but the loader itself.
    pub(crate) fn below(&self) -> impl Iterator<Item = &str> {
        let names = self.needs.keys().map(String::as_str);
        names.filter(|name| *name != self.root)
    }

    /// What the loader itself names.
    pub(crate) fn direct(&self) -> impl Iterator<Item = &str> {
        self.needs[&self.root].iter().map(String::as_str)
    }

    /// The crates that are there for this one alone, itself among them: what would be out of reach if
    /// nobody could go through it.
    pub(crate) fn brought_by(&self, name: &str) -> BTreeSet<&str> {
        let all = self.reach(&self.root, None);
        let without = self.reach(&self.root, Some(name));
        all.difference(&without).copied().collect()
    }

    /// The other direct dependencies that need this one too.
    pub(crate) fn needed_by(&self, name: &str) -> Vec<&str> {
        self.direct()
            .filter(|other| *other != name && self.reach(other, None).contains(name))
            .collect()
    }

    fn reach<'g>(&'g self, from: &'g str, closed: Option<&str>) -> BTreeSet<&'g str> {
        let mut reached = BTreeSet::new();
        let mut next = vec![from];
        while let Some(name) = next.pop() {
            if closed != Some(name) && reached.insert(name) {
                next.extend(self.needs[name].iter().map(String::as_str));
            }
        }
        reached
    }
}
