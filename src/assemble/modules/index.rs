//! What depmod(8) wrote about a modules directory, read: pure, from text.

use std::collections::{BTreeMap, BTreeSet};

/// The suffixes that a module's file may have, and how it is then compressed.
const SUFFIXES: [(&str, Packing); 4] = [
    (".ko", Packing::Plain),
    (".ko.gz", Packing::Gzip),
    (".ko.xz", Packing::Xz),
    (".ko.zst", Packing::Zstd),
];

/// How a module's file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Xz,
    Zstd,
}

/// A module's name with `_` for every `-`: the kernel takes both for the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(String);

/// A path below the modules directory, of plain characters: it is written into a list that the loader
/// splits at white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModulePath {
    path: String,
    name: Name,
    packing: Packing,
}

/// The modules of a kernel.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Where each module stands, and what must be loaded before it.
    pub(super) modules: BTreeMap<Name, (ModulePath, Vec<ModulePath>)>,
    /// What the kernel holds already.
    pub(super) builtin: BTreeSet<Name>,
    /// What should be loaded before and after, where it exists.
    pub(super) soft: BTreeMap<Name, Soft>,
}

/// The soft dependencies of a module, in order.
#[derive(Debug, Default)]
pub(super) struct Soft {
    pub(super) before: Vec<Name>,
    pub(super) after: Vec<Name>,
}

impl Name {
    pub(super) fn new(name: &str) -> Self {
        Self(name.replace('-', "_"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl ModulePath {
    pub(super) fn parse(path: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+,".contains(&byte);
        let is_plain = path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain));
        let (suffix, packing) = SUFFIXES
            .into_iter()
            .find(|(suffix, _)| path.ends_with(suffix))?;
        let stem = path.strip_suffix(suffix)?;
        let name = stem.rsplit('/').next().filter(|name| !name.is_empty())?;
        is_plain.then(|| Self {
            path: path.to_owned(),
            name: Name::new(name),
            packing,
        })
    }

    /// The path as it stands on this machine.
    pub(super) fn as_str(&self) -> &str {
        &self.path
    }

    /// The path that it has once decompressed.
    pub(super) fn unpacked(&self) -> &str {
        let end = self.path.rfind(".ko").map_or(self.path.len(), |at| at + 3);
        &self.path[..end]
    }

    pub(super) const fn name(&self) -> &Name {
        &self.name
    }

    pub(super) const fn packing(&self) -> Packing {
        self.packing
    }
}

impl Index {
    /// Reads `modules.dep`: a line a module, `PATH: PATH …`. Fails with the number of the line that it
    /// cannot read.
    pub(super) fn read_dep(&mut self, text: &str) -> Result<(), usize> {
        for (number, line) in lines(text) {
            let (module, needed) = line.split_once(':').ok_or(number)?;
            let module = ModulePath::parse(module.trim()).ok_or(number)?;
            let needed = needed
                .split_whitespace()
                .map(|path| ModulePath::parse(path).ok_or(number))
                .collect::<Result<_, _>>()?;
            self.modules.insert(module.name.clone(), (module, needed));
        }
        Ok(())
    }

    /// Reads `modules.builtin`: a path a line.
    pub(super) fn read_builtin(&mut self, text: &str) -> Result<(), usize> {
        for (number, line) in lines(text) {
            let module = ModulePath::parse(line).ok_or(number)?;
            self.builtin.insert(module.name);
        }
        Ok(())
    }

    /// Reads `modules.softdep`: `softdep NAME pre: NAME … post: NAME …`, as modprobe.d(5) has it.
    ///
    /// Names before `pre:` or `post:` say nothing, and modprobe passes over them.
    pub(super) fn read_softdep(&mut self, text: &str) {
        for (_, line) in lines(text) {
            let mut words = line.split_whitespace();
            let (Some("softdep"), Some(name)) = (words.next(), words.next()) else {
                continue;
            };
            let soft = self.soft.entry(Name::new(name)).or_default();
            let mut list = None;
            for word in words {
                match (word, &mut list) {
                    ("pre:", _) => list = Some(&mut soft.before),
                    ("post:", _) => list = Some(&mut soft.after),
                    (name, Some(list)) => list.push(Name::new(name)),
                    (_, None) => {}
                }
            }
        }
    }

    /// Up to three names that `unknown` may have been meant for, nearest first.
    pub(super) fn near(&self, unknown: &Name) -> Vec<&Name> {
        let mut near: Vec<(usize, &Name)> = self
            .modules
            .keys()
            .chain(&self.builtin)
            .filter_map(|name| {
                let within = unknown.0.len() >= 3 && name.0.contains(&unknown.0);
                let distance = match distance(&name.0, &unknown.0) {
                    _ if within => 2,
                    distance => distance,
                };
                (distance <= 2).then_some((distance, name))
            })
            .collect();
        near.sort();
        near.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

/// The lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .map(|(number, line)| (number, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// How many insertions, deletions and replacements of bytes make `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_the_directory_or_splits_in_two_is_refused() {
        for bad in [
            "",
            "/lib/modules/x.ko",
            "../x.ko",
            "kernel/../x.ko",
            "kernel//x.ko",
            "kernel/x y.ko",
            "kernel/x\t.ko",
            "kernel/.ko",
            "kernel/x",
            "kernel/x.ko.bz2",
            "kernel/x.ko/",
        ] {
            assert_eq!(ModulePath::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_name_has_one_spelling() {
        let path = ModulePath::parse("kernel/hw/virtio-rng.ko.zst").expect("plain");
        assert_eq!(path.name(), &Name::new("virtio_rng"));
        assert_eq!(path.unpacked(), "kernel/hw/virtio-rng.ko");
        assert_eq!(path.packing(), Packing::Zstd);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for bad in ["a.ko", "a.ko: b", "../a.ko:", "a.ko: /b.ko", ": a.ko"] {
            let text = format!("kernel/good.ko:\n\n{bad}\n");
            assert_eq!(Index::default().read_dep(&text), Err(3), "{bad}");
        }
        assert_eq!(Index::default().read_builtin("kernel/a.ko\nb\n"), Err(2));
    }

    #[test]
    fn soft_dependencies_are_read_as_modprobe_does() {
        let mut index = Index::default();
        index.read_softdep(
            "# comment\nsoftdep a pre: b-x c post: d\nsoftdep a pre: e\nsoftdep f g\nalias x y\n",
        );
        let a = &index.soft[&Name::new("a")];
        assert_eq!(a.before, ["b_x", "c", "e"].map(Name::new));
        assert_eq!(a.after, ["d"].map(Name::new));
        assert!(index.soft[&Name::new("f")].before.is_empty());
    }

    #[test]
    fn a_misspelt_name_brings_near_ones() {
        let mut index = Index::default();
        index
            .read_dep("virtio_net.ko:\nvirtio_pci.ko:\nnet_failover.ko:\ne1000.ko:\ne1000e.ko:\n")
            .expect("valid");
        let near = |name: &str| -> Vec<String> {
            let near = index.near(&Name::new(name));
            near.into_iter().map(Name::to_string).collect()
        };
        assert_eq!(near("virtio_nte"), ["virtio_net"]);
        assert_eq!(near("e1000"), ["e1000", "e1000e"]);
        assert_eq!(near("failover"), ["net_failover"]);
        assert_eq!(near("mlx5_core"), [""; 0]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let mut index = Index::default();
            let _ = index.read_dep(&text);
            let _ = index.read_builtin(&text);
            index.read_softdep(&text);
        }
    }
}
