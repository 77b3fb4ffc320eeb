//! Which kernel modules are baked in, and what the loader is told about them.
//!
//! From a modules directory (`/lib/modules/VERSION`) and a selection of names come the modules, with all
//! that they need: nothing comes twice, and the same directory gives the same order. What is built into the
//! kernel is left out. Beside them stands what is left of depmod's index, from which the loader chooses
//! what its machine's devices ask for, and the list of what it loads on every machine.
//!
//! Two guards keep the loader from touching a disk. A module is refused by where it stands in the
//! kernel's tree, and, since a module from elsewhere can stand anywhere, by what it imports: whoever
//! offers a block device calls one of a few functions of the kernel. Only [`Selection::add_disk`] gets past
//! them, with one module by its name. What is built into the kernel is beyond them: [`BuiltIn`] names it.

mod builtin;
mod error;
pub mod firmware;
mod near;

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub use builtin::BuiltIn;
pub use error::{ModulesError, Refused};

use super::elf::{Elf, ElfError};
use super::{FileError, read_bounded};
use sealboot_core::format::kmod::{INDEX_BYTES, Index, ModulePath, Name, Packing};
use sealboot_core::format::manifest::Arch;

/// Where the kernel's tree holds drivers of disks and of file systems.
const REFUSED_PLACES: [(&str, Refused); 21] = [
    ("kernel/fs/", Refused::FileSystem),
    ("kernel/block/", Refused::Disk),
    ("kernel/drivers/ata/", Refused::Disk),
    ("kernel/drivers/block/", Refused::Disk),
    ("kernel/drivers/cdrom/", Refused::Disk),
    ("kernel/drivers/dax/", Refused::Disk),
    ("kernel/drivers/firewire/firewire-sbp2", Refused::Disk),
    ("kernel/drivers/ide/", Refused::Disk),
    ("kernel/drivers/md/", Refused::Disk),
    ("kernel/drivers/memstick/", Refused::Disk),
    ("kernel/drivers/message/", Refused::Disk),
    ("kernel/drivers/mmc/", Refused::Disk),
    ("kernel/drivers/mtd/", Refused::Disk),
    ("kernel/drivers/nvdimm/", Refused::Disk),
    ("kernel/drivers/nvme/", Refused::Disk),
    ("kernel/drivers/s390/block/", Refused::Disk),
    ("kernel/drivers/s390/scsi/", Refused::Disk),
    ("kernel/drivers/scsi/", Refused::Disk),
    ("kernel/drivers/target/", Refused::Disk),
    ("kernel/drivers/ufs/", Refused::Disk),
    ("kernel/drivers/usb/storage/", Refused::Disk),
];

/// The one file system that is none of disks: it shows the firmware's variables, in one of which a host config
/// can stand, and opens no block device. What it imports is looked at all the same.
const EFI_VARIABLES: &str = "kernel/fs/efivarfs/efivarfs.ko";

/// What a module imports when it offers a disk, or a bus that disks hang on, or opens one. Of the 1121
/// modules of Debian's 6.1 cloud kernel, the 41 that import one of these all stand in the places above.
const REFUSED_IMPORTS: [&[u8]; 13] = [
    b"__blk_alloc_disk",
    b"__blk_mq_alloc_disk",
    b"__register_blkdev",
    b"add_disk",
    b"ata_host_alloc",
    b"bdev_file_open_by_path",
    b"blkdev_get_by_path",
    b"device_add_disk",
    b"mmc_alloc_host",
    b"mtd_device_parse_register",
    b"nvme_init_ctrl",
    b"scsi_host_alloc",
    b"scsi_register_driver",
];

/// Bytes of one module, decompressed. The largest drivers, of graphics cards, have about 30 MiB.
const MODULE_BYTES: u64 = 128 << 20;

/// What xz may hold of what it has unpacked, in KiB: twice what its highest preset takes.
const XZ_KIB: u32 = 128 << 10;

/// The named sets of `initramfs/modules/`.
const SETS: [(&str, &str); 3] = [
    (
        "virtio",
        include_str!("../../../../initramfs/modules/virtio"),
    ),
    (
        "common-nics",
        include_str!("../../../../initramfs/modules/common-nics"),
    ),
    (
        "all-nics",
        include_str!("../../../../initramfs/modules/all-nics"),
    ),
];

/// What every set has beside its own.
const EVERY: &str = include_str!("../../../../initramfs/modules/every");

/// The set that is baked in where nothing else is asked for.
pub const DEFAULT_SET: &str = "virtio";

/// The modules that are to be baked in.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    wanted: Vec<Wanted>,
    /// Soft dependencies that depmod does not know of, as modprobe.d(5) writes them.
    softdeps: String,
    /// What may be a driver of disks.
    disks: BTreeSet<Name>,
}

/// Modules that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// One, which the kernel must have.
    Module(String),
    /// One, where the kernel has it.
    IfThere(String),
    /// All that stand in this directory of the kernel's tree.
    Directory(String),
}

impl Selection {
    /// Adds what `--module` names: a set, or a module; `-` and `_` are the same.
    pub fn add(&mut self, name_or_set: &str) {
        let Some((_, set)) = SETS.iter().find(|(name, _)| *name == name_or_set) else {
            self.wanted.push(Wanted::Module(name_or_set.to_owned()));
            return;
        };
        let lines = set.lines().chain(EVERY.lines()).map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with("softdep ") {
                self.softdeps.push_str(line);
                self.softdeps.push('\n');
            } else if line.ends_with('/') {
                self.wanted.push(Wanted::Directory(line.to_owned()));
            } else if let Some(name) = line.strip_prefix('?') {
                self.wanted.push(Wanted::IfThere(name.to_owned()));
            } else {
                self.wanted.push(Wanted::Module(line.to_owned()));
            }
        }
    }

    /// Adds one module that may be a driver of disks or a file system; what it needs may not.
    pub fn add_disk(&mut self, name: &str) {
        self.wanted.push(Wanted::Module(name.to_owned()));
        self.disks.insert(Name::new(name));
    }
}

/// A modules directory that has been read.
#[derive(Debug)]
pub struct ModulesDir {
    root: PathBuf,
    version: String,
    index: Index,
    builtin: BuiltIn,
}

/// What is to be baked in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadOrder {
    /// The modules, each after all that it needs.
    pub modules: Vec<Module>,
    /// Those that the loader loads on every machine, because nothing asks for them.
    pub always: Vec<Name>,
    /// What was wanted or needed, and is built into the kernel.
    pub builtin: Vec<String>,
    /// What was wanted only where it exists, and does not.
    pub absent: Vec<String>,
    /// What would have been baked in beside something else, and is refused.
    pub left_out: Vec<(String, Refused)>,
}

/// A module that is to be baked in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    path: ModulePath,
    file: PathBuf,
    /// Whether it may be a driver of disks.
    pub disk: Disk,
}

/// Whether a module may be a driver of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// It may not.
    Refused,
    /// Somebody wants it by its name.
    Allowed,
}

/// A module's file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The file, decompressed.
    pub bytes: Vec<u8>,
    /// The architecture that it is for.
    pub arch: Arch,
    /// What it may ask the kernel for, below `/lib/firmware`.
    pub firmware: Vec<String>,
}

impl ModulesDir {
    /// Reads what depmod wrote about the directory.
    ///
    /// # Errors
    ///
    /// When depmod has not run, or what it wrote cannot be read.
    pub fn open(dir: &Path) -> Result<Self, ModulesError> {
        // The name may be hidden behind `.`, a trailing slash or a link.
        let root = dir
            .canonicalize()
            .map_err(FileError::new("read", dir))
            .map_err(ModulesError::File)?;
        let version = root
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|name| is_version(name))
            .ok_or_else(|| ModulesError::NoVersion(root.clone()))?
            .to_owned();
        let (dep, alias) = (root.join("modules.dep"), root.join("modules.alias"));
        // Without aliases no device would ask for anything, and every machine would load all that is named.
        for (file, path) in [("modules.dep", &dep), ("modules.alias", &alias)] {
            if !path.exists() {
                return Err(ModulesError::NoIndex {
                    dir: root,
                    file,
                    version,
                });
            }
        }
        let read = |path: &Path| {
            let text = read_bounded(path, INDEX_BYTES).map_err(ModulesError::File)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let located = |path: &Path| {
            let path = path.to_owned();
            move |line| ModulesError::Index { path, line }
        };
        let mut index = Index::default();
        index.read_dep(&read(&dep)?).map_err(located(&dep))?;
        index.read_alias(&read(&alias)?);
        let builtin = root.join("modules.builtin");
        let builtin_text = read(&builtin)?;
        index
            .read_builtin(&builtin_text)
            .map_err(located(&builtin))?;
        let soft = root.join("modules.softdep");
        if soft.exists() {
            index.read_softdep(&read(&soft)?);
        }
        Ok(Self {
            root,
            version,
            index,
            builtin: BuiltIn::read(&builtin_text),
        })
    }

    /// The version of the kernel that the modules are for.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns what the kernel has built in that reads disks.
    #[must_use]
    pub const fn builtin(&self) -> &BuiltIn {
        &self.builtin
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Puts modules, and all that they need, into an order in which they can be loaded.
    ///
    /// # Errors
    ///
    /// For a module that the kernel does not have, and for one that the loader must not load.
    pub fn resolve(&self, selection: &Selection) -> Result<LoadOrder, ModulesError> {
        let index = self.index_with(selection);
        let mut walk = Walk {
            root: &self.root,
            index: &index,
            disks: &selection.disks,
            order: LoadOrder::default(),
            path: Vec::new(),
        };
        for wanted in &selection.wanted {
            let (given, must_exist) = match wanted {
                Wanted::Module(name) => (name, true),
                Wanted::IfThere(name) => (name, false),
                Wanted::Directory(place) => {
                    for (name, (path, _)) in &index.modules {
                        if path.as_str().starts_with(place) {
                            walk.visit_soft(name)?;
                        }
                    }
                    continue;
                }
            };
            let name = Name::new(given);
            if index.modules.contains_key(&name) {
                walk.visit(&name)?;
                if !index.is_asked_for(&name) && !walk.order.always.contains(&name) {
                    walk.order.always.push(name);
                }
            } else if index.builtin.contains(&name) {
                walk.note_builtin(&name);
            } else if must_exist {
                let near = near::near(&index, &name);
                return Err(ModulesError::Unknown {
                    name: given.clone(),
                    version: self.version.clone(),
                    near: near.into_iter().map(Name::to_string).collect(),
                });
            } else {
                walk.order.absent.push(given.clone());
            }
        }
        Ok(walk.order)
    }

    /// What is left of depmod's index for these modules: each file's name and text, sorted.
    #[must_use]
    pub fn index_of(
        &self,
        selection: &Selection,
        order: &LoadOrder,
    ) -> [(&'static str, String); 3] {
        let index = self.index_with(selection);
        let is_baked = |name: &&Name| {
            order
                .modules
                .iter()
                .any(|module| module.path.name() == *name)
        };
        let mut dep = Vec::new();
        let mut soft = String::new();
        for (name, (path, needs)) in index.modules.iter().filter(|(name, _)| is_baked(name)) {
            let needs = needs.iter().map(|path| format!(" {}", path.unpacked()));
            dep.push(format!(
                "{}:{}\n",
                path.unpacked(),
                needs.collect::<String>()
            ));
            let Some(softdep) = index.soft.get(name) else {
                continue;
            };
            let mut line = format!("softdep {name}");
            for (when, names) in [(" pre:", &softdep.before), (" post:", &softdep.after)] {
                let mut baked = names.iter().filter(is_baked).peekable();
                if baked.peek().is_some() {
                    line.push_str(when);
                    baked.for_each(|name| line.push_str(&format!(" {name}")));
                }
            }
            if line.contains(':') {
                soft.push_str(&line);
                soft.push('\n');
            }
        }
        let mut alias: Vec<String> = index
            .aliases
            .iter()
            .filter(|(_, name)| is_baked(&name))
            .map(|(pattern, name)| format!("alias {} {name}\n", pattern.as_str()))
            .collect();
        for lines in [&mut dep, &mut alias] {
            lines.sort();
            lines.dedup();
        }
        [
            ("modules.alias", alias.concat()),
            ("modules.dep", dep.concat()),
            ("modules.softdep", soft),
        ]
    }

    fn index_with(&self, selection: &Selection) -> Index {
        let mut index = self.index.clone();
        index.read_softdep(&selection.softdeps);
        index.resolve_soft();
        index
    }
}

/// A walk along dependencies, depth first.
struct Walk<'a> {
    root: &'a Path,
    index: &'a Index,
    disks: &'a BTreeSet<Name>,
    order: LoadOrder,
    /// The modules whose dependencies are being walked, outermost first.
    path: Vec<Name>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &Name) -> Result<(), ModulesError> {
        if self
            .order
            .modules
            .iter()
            .any(|done| done.path.name() == name)
        {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|above| above == name) {
            let circle = self.path[start..].iter().chain([name]);
            return Err(ModulesError::Cycle(circle.map(Name::to_string).collect()));
        }
        let Some((path, needs)) = self.index.modules.get(name) else {
            return Ok(());
        };
        let disk = match self.disks.contains(name) {
            true => Disk::Allowed,
            false => Disk::Refused,
        };
        if disk == Disk::Refused
            && let Some(reason) = refused_place(path)
        {
            return Err(ModulesError::Refused {
                name: name.to_string(),
                reason,
                needed_by: self.path.iter().rev().map(Name::to_string).collect(),
            });
        }
        let soft = self.index.soft.get(name);
        self.path.push(name.clone());
        for before in soft.map_or(&[][..], |soft| &soft.before) {
            self.visit_soft(before)?;
        }
        // depmod lists what is needed last first.
        for needed in needs.iter().rev() {
            if !self.index.modules.contains_key(needed.name()) {
                return Err(ModulesError::Dangling {
                    name: name.to_string(),
                    needs: needed.as_str().to_owned(),
                });
            }
            self.visit(needed.name())?;
        }
        self.path.pop();
        self.order.modules.push(Module {
            path: path.clone(),
            file: self.root.join(path.as_str()),
            disk,
        });
        for after in soft.map_or(&[][..], |soft| &soft.after) {
            self.visit_soft(after)?;
        }
        Ok(())
    }

    /// A soft dependency is a wish: what is absent, refused or circular is passed over.
    fn visit_soft(&mut self, name: &Name) -> Result<(), ModulesError> {
        if self.index.builtin.contains(name) || self.path.contains(name) {
            return Ok(());
        }
        let before = (self.order.clone(), self.path.clone());
        match self.visit(name) {
            Err(ModulesError::Refused { name, reason, .. }) => {
                (self.order, self.path) = before;
                let left_out = (name, reason);
                if !self.order.left_out.contains(&left_out) {
                    self.order.left_out.push(left_out);
                }
                Ok(())
            }
            Err(ModulesError::Cycle(_)) => {
                (self.order, self.path) = before;
                Ok(())
            }
            other => other,
        }
    }

    fn note_builtin(&mut self, name: &Name) {
        let name = name.to_string();
        if !self.order.builtin.contains(&name) {
            self.order.builtin.push(name);
        }
    }
}

impl Module {
    /// The module's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.name().as_str()
    }

    /// Where it stands below `/lib/modules/VERSION` once decompressed.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.unpacked()
    }

    /// Reads its object file.
    ///
    /// # Errors
    ///
    /// For a file that is no kernel module, and for one that imports what drivers of disks import and may
    /// not.
    pub fn read(&self) -> Result<Object, ModulesError> {
        let stored = read_bounded(&self.file, MODULE_BYTES).map_err(ModulesError::File)?;
        let bytes = unpacked(stored, self.path.packing(), MODULE_BYTES)
            .map_err(FileError::new("decompress", &self.file))
            .map_err(ModulesError::File)?;
        let not_module = |source| ModulesError::NotModule {
            path: self.file.clone(),
            source,
        };
        let elf = Elf::parse(&bytes).map_err(not_module)?;
        if !elf.is_relocatable() {
            return Err(not_module(ElfError::NotElf));
        }
        let imports = elf.undefined_symbols().map_err(not_module)?;
        if self.disk == Disk::Refused
            && let Some(import) = REFUSED_IMPORTS
                .into_iter()
                .find(|refused| imports.contains(refused))
        {
            return Err(ModulesError::Refused {
                name: self.name().to_owned(),
                reason: Refused::Import(str::from_utf8(import).unwrap_or_default()),
                needed_by: Vec::new(),
            });
        }
        let modinfo = elf.section(b".modinfo").map_err(not_module)?;
        let firmware = modinfo
            .unwrap_or_default()
            .split(|byte| *byte == 0)
            .filter_map(|field| field.strip_prefix(b"firmware="))
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        let arch = elf.arch;
        Ok(Object {
            bytes,
            arch,
            firmware,
        })
    }
}

fn refused_place(path: &ModulePath) -> Option<Refused> {
    if path.unpacked() == EFI_VARIABLES {
        return None;
    }
    REFUSED_PLACES
        .into_iter()
        .find(|(place, _)| path.as_str().starts_with(place))
        .map(|(_, reason)| reason)
}

/// Undoes a file's compression, to at most `limit` bytes.
fn unpacked(stored: Vec<u8>, packing: Packing, limit: u64) -> io::Result<Vec<u8>> {
    let read = |reader: &mut dyn io::Read| {
        let mut bytes = Vec::new();
        reader.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!(
                "it unpacks to more than {limit} bytes"
            )));
        }
        Ok(bytes)
    };
    let packed = stored.as_slice();
    match packing {
        Packing::Plain => Ok(stored),
        Packing::Gzip => read(&mut flate2::bufread::MultiGzDecoder::new(packed)),
        Packing::Xz => read(&mut lzma_rust2::XzReader::new_mem_limit(
            packed, true, XZ_KIB,
        )),
        Packing::Zstd => read(&mut zstd::Decoder::with_buffer(packed)?),
    }
}

/// A kernel's version becomes a directory's name and part of a list that is split at white space.
fn is_version(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-+~".contains(&byte))
}

#[cfg(test)]
mod tests;
