//! Which kernel modules are loaded, and in which order.
//!
//! From a modules directory (`/lib/modules/VERSION`) and a list of names comes the list of files that
//! the loader loads one by one with `finit_module`: what a module needs comes before it, nothing comes
//! twice, and the same directory gives the same order. What is built into the kernel is left out.
//!
//! Two guards keep the loader from touching a disk. A module is refused by where it stands in the
//! kernel's tree, and, since a module from elsewhere can stand anywhere, by what it imports: whoever
//! offers a block device calls one of a few functions of the kernel.

mod error;
mod index;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub use error::{ModulesError, Refused};
use index::{Index, ModulePath, Name, Packing};

use super::elf::{Elf, ElfError};
use super::{FileError, read_bounded};
use crate::format::manifest::Arch;

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

/// Bytes of `modules.dep` and its like: ten times what a distribution's kernel with every driver has.
const INDEX_BYTES: u64 = 16 << 20;

/// Bytes of one module, decompressed. The largest drivers, of graphics cards, have about 30 MiB.
const MODULE_BYTES: u64 = 128 << 20;

/// The named sets of `initramfs/modules/`.
const SETS: [(&str, &str); 1] = [("virtio", include_str!("../../../initramfs/modules/virtio"))];

/// The set that is baked in where nothing else is asked for.
pub const DEFAULT_SET: &str = "virtio";

/// A module that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name; `-` and `_` are the same.
    pub name: String,
    /// What to do about a kernel that does not have it.
    pub absence: Absence,
}

/// What to do about a module that a kernel does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Fail.
    Fails,
    /// Go without.
    Passes,
}

/// A modules directory that has been read.
#[derive(Debug)]
pub struct ModulesDir {
    root: PathBuf,
    version: String,
    index: Index,
}

/// What is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadOrder {
    /// The modules, each after all that it needs.
    pub modules: Vec<Module>,
    /// What was wanted or needed, and is built into the kernel.
    pub builtin: Vec<String>,
    /// What was wanted only where it exists, and does not.
    pub absent: Vec<String>,
    /// What would have been loaded beside a module that does not insist on it, and is refused.
    pub left_out: Vec<(String, Refused)>,
}

/// A module that is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    path: ModulePath,
    file: PathBuf,
}

/// Reads what `--module` takes: the name of a set, or of a module.
#[must_use]
pub fn wanted(name_or_set: &str) -> Vec<Wanted> {
    match SETS.iter().find(|(name, _)| *name == name_or_set) {
        Some((_, list)) => list
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| match line.strip_prefix('?') {
                Some(name) => Wanted {
                    name: name.to_owned(),
                    absence: Absence::Passes,
                },
                None => Wanted {
                    name: line.to_owned(),
                    absence: Absence::Fails,
                },
            })
            .collect(),
        None => vec![Wanted {
            name: name_or_set.to_owned(),
            absence: Absence::Fails,
        }],
    }
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
        let mut index = Index::default();
        let dep = root.join("modules.dep");
        if !dep.exists() {
            return Err(ModulesError::NoIndex { dir: root, version });
        }
        let read = |path: &Path| {
            let text = read_bounded(path, INDEX_BYTES).map_err(ModulesError::File)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let located = |path: &Path| {
            let path = path.to_owned();
            move |line| ModulesError::Index { path, line }
        };
        index.read_dep(&read(&dep)?).map_err(located(&dep))?;
        let builtin = root.join("modules.builtin");
        index
            .read_builtin(&read(&builtin)?)
            .map_err(located(&builtin))?;
        let soft = root.join("modules.softdep");
        if soft.exists() {
            index.read_softdep(&read(&soft)?);
        }
        Ok(Self {
            root,
            version,
            index,
        })
    }

    /// The version of the kernel that the modules are for.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Puts modules, and all that they need, into the order in which they are loaded.
    ///
    /// # Errors
    ///
    /// For a module that the kernel does not have, and for one that the loader must not load.
    pub fn resolve(&self, wanted: &[Wanted]) -> Result<LoadOrder, ModulesError> {
        let mut walk = Walk {
            dir: self,
            order: LoadOrder::default(),
            path: Vec::new(),
        };
        for wanted in wanted {
            let name = Name::new(&wanted.name);
            if self.index.modules.contains_key(&name) {
                walk.visit(&name)?;
            } else if self.index.builtin.contains(&name) {
                walk.note_builtin(&name);
            } else if wanted.absence == Absence::Passes {
                walk.order.absent.push(wanted.name.clone());
            } else {
                let near = self.index.near(&name);
                return Err(ModulesError::Unknown {
                    name: wanted.name.clone(),
                    version: self.version.clone(),
                    near: near.into_iter().map(Name::to_string).collect(),
                });
            }
        }
        Ok(walk.order)
    }
}

/// A walk along dependencies, depth first.
struct Walk<'a> {
    dir: &'a ModulesDir,
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
        let Some((path, needs)) = self.dir.index.modules.get(name) else {
            return Ok(());
        };
        if let Some(reason) = refused_place(path) {
            return Err(ModulesError::Refused {
                name: name.to_string(),
                reason,
                needed_by: self.path.iter().rev().map(Name::to_string).collect(),
            });
        }
        let soft = self.dir.index.soft.get(name);
        self.path.push(name.clone());
        for before in soft.map_or(&[][..], |soft| &soft.before) {
            self.visit_soft(before)?;
        }
        // depmod lists what is needed last first.
        for needed in needs.iter().rev() {
            if !self.dir.index.modules.contains_key(needed.name()) {
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
            file: self.dir.root.join(path.as_str()),
        });
        for after in soft.map_or(&[][..], |soft| &soft.after) {
            self.visit_soft(after)?;
        }
        Ok(())
    }

    /// A soft dependency is a wish: what is absent, refused or circular is passed over.
    fn visit_soft(&mut self, name: &Name) -> Result<(), ModulesError> {
        if self.dir.index.builtin.contains(name) || self.path.contains(name) {
            return Ok(());
        }
        let before = (self.order.clone(), self.path.clone());
        match self.visit(name) {
            Err(ModulesError::Refused { name, reason, .. }) => {
                (self.order, self.path) = before;
                self.order.left_out.push((name, reason));
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

    /// Its object file, decompressed, and the architecture that it is for.
    ///
    /// # Errors
    ///
    /// For a file that is no kernel module, and for one that imports what drivers of disks import.
    pub fn read(&self) -> Result<(Vec<u8>, Arch), ModulesError> {
        let stored = read_bounded(&self.file, MODULE_BYTES).map_err(ModulesError::File)?;
        let object = match self.path.packing() {
            Packing::Plain => Ok(stored),
            Packing::Gzip => unpack(flate2::bufread::MultiGzDecoder::new(stored.as_slice())),
            Packing::Zstd => zstd::Decoder::with_buffer(stored.as_slice()).and_then(unpack),
            Packing::Xz => return Err(ModulesError::Xz(self.file.clone())),
        };
        let object = object
            .map_err(FileError::new("decompress", &self.file))
            .map_err(ModulesError::File)?;
        let not_module = |source| ModulesError::NotModule {
            path: self.file.clone(),
            source,
        };
        let elf = Elf::parse(&object).map_err(not_module)?;
        if !elf.is_relocatable() {
            return Err(not_module(ElfError::NotElf));
        }
        let imports = elf.undefined_symbols().map_err(not_module)?;
        if let Some(import) = REFUSED_IMPORTS
            .into_iter()
            .find(|refused| imports.contains(refused))
        {
            return Err(ModulesError::Refused {
                name: self.name().to_owned(),
                reason: Refused::Import(str::from_utf8(import).unwrap_or_default()),
                needed_by: Vec::new(),
            });
        }
        let arch = elf.arch;
        Ok((object, arch))
    }
}

fn refused_place(path: &ModulePath) -> Option<Refused> {
    REFUSED_PLACES
        .into_iter()
        .find(|(place, _)| path.as_str().starts_with(place))
        .map(|(_, reason)| reason)
}

fn unpack(reader: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MODULE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MODULE_BYTES {
        return Err(io::Error::other(format!(
            "it unpacks to more than {MODULE_BYTES} bytes"
        )));
    }
    Ok(bytes)
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
