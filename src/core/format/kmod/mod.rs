//! What depmod(8) writes about a modules directory, read: `modules.dep`, `modules.alias` and their like.
//!
//! The builder of an initramfs reads what a distribution's depmod wrote; the loader reads what the builder
//! left of it, in the same formats, and `modules.firmware`, which is the builder's own.

mod pattern;

use std::collections::{BTreeMap, BTreeSet};

pub use pattern::Pattern;

/// Bytes of `modules.dep` and its like: ten times what a distribution's kernel with every driver has.
pub const INDEX_BYTES: u64 = 16 << 20;

/// Beginnings of names by which the kernel or this loader asks for what creates links.
const LINK_KIND: &str = "rtnl_link_";

/// What the loader loads by its name, on machines that have a use for it: EFI variables where the firmware is EFI, and
/// the kernel's own watchdog where the machine has none.
const BY_THE_LOADER: [&str; 2] = ["efivarfs", "softdog"];

/// The suffixes that a module's file may have, and how it is then compressed.
const SUFFIXES: [(&str, Packing); 4] = [
    (".ko", Packing::Plain),
    (".ko.gz", Packing::Gzip),
    (".ko.xz", Packing::Xz),
    (".ko.zst", Packing::Zstd),
];

/// How a module's file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// With gzip.
    Gzip,
    /// With xz.
    Xz,
    /// With zstd.
    Zstd,
}

/// A module's name with `_` for every `-`: the kernel takes both for the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

/// A path below the modules directory, of plain characters: it is written into a list that the loader
/// splits at white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModulePath {
    path: String,
    name: Name,
    packing: Packing,
}

/// The modules of a kernel.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// Where each module stands, and what must be loaded before it.
    pub modules: BTreeMap<Name, (ModulePath, Vec<ModulePath>)>,
    /// What the kernel holds already.
    pub builtin: BTreeSet<Name>,
    /// What should be loaded before and after, where it exists.
    pub soft: BTreeMap<Name, Soft>,
    /// Which devices a module serves, and by what other names it is asked for.
    pub aliases: Vec<(Pattern, Name)>,
    /// The files that a module asks the kernel for, below `/lib/firmware`.
    pub firmware: BTreeMap<Name, Vec<String>>,
}

/// The soft dependencies of a module, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Soft {
    /// `pre:`.
    pub before: Vec<Name>,
    /// `post:`.
    pub after: Vec<Name>,
}

impl Name {
    /// Every text is a name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.replace('-', "_"))
    }

    /// The name as the kernel spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl ModulePath {
    /// Reads a path; none where it leaves the directory, or is no module's.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (suffix, packing) = SUFFIXES
            .into_iter()
            .find(|(suffix, _)| path.ends_with(suffix))?;
        let stem = path.strip_suffix(suffix)?;
        let name = stem.rsplit('/').next().filter(|name| !name.is_empty())?;
        is_plain(path).then(|| Self {
            path: path.to_owned(),
            name: Name::new(name),
            packing,
        })
    }

    /// The path as it stands on this machine.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The path that it has once decompressed.
    #[must_use]
    pub fn unpacked(&self) -> &str {
        let end = self.path.rfind(".ko").map_or(self.path.len(), |at| at + 3);
        &self.path[..end]
    }

    /// The module's name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// How the file is compressed.
    #[must_use]
    pub const fn packing(&self) -> Packing {
        self.packing
    }
}

impl Index {
    /// Reads `modules.dep`: a line a module, `PATH: PATH …`. Fails with the number of the line that it
    /// cannot read.
    ///
    /// # Errors
    ///
    /// The number, from 1.
    pub fn read_dep(&mut self, text: &str) -> Result<(), usize> {
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
    ///
    /// # Errors
    ///
    /// The number of the line that it cannot read, from 1.
    pub fn read_builtin(&mut self, text: &str) -> Result<(), usize> {
        for (number, line) in lines(text) {
            let module = ModulePath::parse(line).ok_or(number)?;
            self.builtin.insert(module.name);
        }
        Ok(())
    }

    /// Reads `modules.softdep`: `softdep NAME pre: NAME … post: NAME …`, as modprobe.d(5) has it.
    ///
    /// Names before `pre:` or `post:` say nothing, and modprobe passes over them.
    pub fn read_softdep(&mut self, text: &str) {
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

    /// Reads `modules.alias`: `alias PATTERN NAME`; passes over what else modprobe.d(5) knows.
    pub fn read_alias(&mut self, text: &str) {
        for (_, line) in lines(text) {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(pattern), Some(name)) =
                (words.next(), words.next(), words.next())
            {
                self.aliases.push((Pattern::new(pattern), Name::new(name)));
            }
        }
    }

    /// Reads `modules.firmware`: a line a module, `NAME: PATH …`. Fails with the number of the line that
    /// it cannot read.
    ///
    /// # Errors
    ///
    /// The number, from 1.
    pub fn read_firmware(&mut self, text: &str) -> Result<(), usize> {
        for (number, line) in lines(text) {
            let (name, paths) = line.split_once(':').ok_or(number)?;
            let paths: Vec<String> = paths.split_whitespace().map(str::to_owned).collect();
            if !paths.iter().all(|path| is_plain(path)) {
                return Err(number);
            }
            self.firmware.insert(Name::new(name.trim()), paths);
        }
        Ok(())
    }

    /// Puts modules in the place of the other names by which soft dependencies ask for them, as modprobe does:
    /// `crypto-crc32c`, for example.
    pub fn resolve_soft(&mut self) {
        let mut soft = std::mem::take(&mut self.soft);
        let is_module =
            |name: &Name| self.modules.contains_key(name) || self.builtin.contains(name);
        let resolve = |names: &mut Vec<Name>| {
            *names = std::mem::take(names)
                .into_iter()
                .flat_map(|name| match is_module(&name) {
                    true => vec![name],
                    false => self.serving(name.as_str()).cloned().collect(),
                })
                .collect();
        };
        for wishes in soft.values_mut() {
            resolve(&mut wishes.before);
            resolve(&mut wishes.after);
        }
        self.soft = soft;
    }

    /// The modules that serve a device with this `modalias`, or go by this other name.
    pub fn serving<'a>(&'a self, alias: &str) -> impl Iterator<Item = &'a Name> {
        let alias = alias.replace('-', "_");
        self.aliases
            .iter()
            .filter(move |(pattern, _)| pattern.matches(&alias))
            .map(|(_, name)| name)
    }

    /// Whether something asks for the module once it is needed: a device that it serves, who creates a link
    /// of its kind, or the loader itself. What nothing asks for, such as a protocol, has to be loaded without
    /// being asked for.
    #[must_use]
    pub fn is_asked_for(&self, name: &Name) -> bool {
        let of_the_loader = BY_THE_LOADER
            .into_iter()
            .any(|other| *name == Name::new(other));
        of_the_loader
            || self.aliases.iter().any(|(pattern, module)| {
                let pattern = pattern.as_str();
                let of_device = pattern.contains(':') && !pattern.starts_with("devname:");
                module == name && (of_device || pattern.starts_with(LINK_KIND))
            })
    }
}

/// The lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .map(|(number, line)| (number, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Whether it is a path that stays below its directory, of characters that split no line.
#[must_use]
pub fn is_plain(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+,".contains(&byte);
    path.split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain))
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
    fn a_soft_dependency_may_have_another_name_of_a_module() {
        let mut index = Index::default();
        index
            .read_dep("lib.ko:\ncrc-a.ko:\ncrc-b.ko:\n")
            .expect("valid");
        index.read_builtin("built-in.ko\n").expect("valid");
        index.read_alias("alias crypto-crc crc_a\nalias crypto-crc crc_b\nalias built-in crc_a\n");
        index.read_softdep("softdep lib pre: crypto-crc built-in absent post: crc-a\n");
        index.resolve_soft();
        let lib = &index.soft[&Name::new("lib")];
        assert_eq!(lib.before, ["crc_a", "crc_b", "built_in"].map(Name::new));
        assert_eq!(lib.after, ["crc_a"].map(Name::new));
    }

    #[test]
    fn a_device_is_served_by_every_module_whose_pattern_it_matches() {
        let mut index = Index::default();
        index.read_alias(
            "# comment\nalias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\nalias pci:v*d*sv*sd*bc02sc00i* any-nic\n\
             alias usb:v1-2 b\nalias odd\nsoftdep x pre: y\n",
        );
        let serving =
            |alias: &str| -> Vec<&str> { index.serving(alias).map(Name::as_str).collect() };
        assert_eq!(
            serving("pci:v00008086d000010D3sv00000000sd00000000bc02sc00i00"),
            ["e1000e", "any_nic"]
        );
        assert_eq!(
            serving("pci:v00008086d000010D4sv00000000sd00000000bc02sc00i00"),
            ["any_nic"]
        );
        assert_eq!(serving("usb:v1_2"), ["b"]);
        assert_eq!(serving("usb:v1-2"), ["b"]);
        assert_eq!(serving("odd"), [""; 0]);
    }

    #[test]
    fn what_nothing_asks_for_is_told_from_what_a_device_or_a_link_asks_for() {
        let mut index = Index::default();
        index.read_alias(
            "alias virtio:d00000001v* virtio_net\nalias rtnl-link-bond bonding\n\
             alias net-pf-17 af_packet\nalias devname:net/tun tun\nalias char-major-10-200 tun\n",
        );
        for (name, expected) in [
            ("virtio-net", true),
            ("bonding", true),
            // Each fails on a machine without what it serves: EFI, or a place for one more watchdog.
            ("efivarfs", true),
            ("softdog", true),
            ("af_packet", false),
            ("tun", false),
            ("absent", false),
        ] {
            assert_eq!(index.is_asked_for(&Name::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn firmware_stays_below_its_directory() {
        let mut index = Index::default();
        index
            .read_firmware("bnx2-x: a/b-1.fw c.bin\ne:\n")
            .expect("plain");
        assert_eq!(index.firmware[&Name::new("bnx2_x")], ["a/b-1.fw", "c.bin"]);
        for bad in ["a: ../b", "a: /b", "a b", "a: b//c"] {
            let text = format!("good: a\n{bad}\n");
            assert_eq!(Index::default().read_firmware(&text), Err(2), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let mut index = Index::default();
            let _ = index.read_dep(&text);
            let _ = index.read_builtin(&text);
            index.read_softdep(&text);
            index.read_alias(&text);
            let _ = index.read_firmware(&text);
        }
    }
}
