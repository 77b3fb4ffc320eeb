//! What network cards want to be given before they work: files that their drivers name, and that stand in
//! `/lib/firmware`, as they are or compressed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{ModulesError, unpacked};
use crate::assemble::{FileError, read_bounded};
use sealboot_core::format::kmod::{Packing, is_plain};

/// Bytes of one file, decompressed. The largest for a network card have 3 MiB.
const FIRMWARE_BYTES: u64 = 64 << 20;

/// The forms in which a distribution may have a file.
const FORMS: [(&str, Packing); 3] = [
    ("", Packing::Plain),
    (".xz", Packing::Xz),
    (".zst", Packing::Zstd),
];

/// Where firmware is looked for.
#[derive(Debug)]
pub struct FirmwareDir(PathBuf);

/// The firmware of the modules that are baked in.
#[derive(Debug, Default)]
pub struct Firmware {
    /// What was found, by its name below `/lib/firmware`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Which modules ask for what.
    wishes: BTreeMap<String, BTreeSet<String>>,
}

impl FirmwareDir {
    /// The directory that is given, which must exist, or the one that belongs to a modules directory,
    /// which need not.
    ///
    /// # Errors
    ///
    /// Where the given one is no directory.
    pub fn open(given: Option<&Path>, modules: &Path) -> Result<Self, ModulesError> {
        if let Some(given) = given {
            std::fs::read_dir(given)
                .map_err(FileError::new("read", given))
                .map_err(ModulesError::Firmware)?;
            return Ok(Self(given.to_owned()));
        }
        // LIB/modules/VERSION and LIB/firmware.
        let lib = modules.ancestors().nth(2).unwrap_or(Path::new("/"));
        Ok(Self(lib.join("firmware")))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads a file, if it is there.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ModulesError> {
        for (suffix, packing) in FORMS {
            let path = self.0.join(format!("{name}{suffix}"));
            if !path.is_file() {
                continue;
            }
            let stored = read_bounded(&path, FIRMWARE_BYTES).map_err(ModulesError::Firmware)?;
            let bytes = unpacked(stored, packing, FIRMWARE_BYTES)
                .map_err(FileError::new("decompress", &path))
                .map_err(ModulesError::Firmware)?;
            return Ok(Some(bytes));
        }
        Ok(None)
    }
}

impl Firmware {
    /// Reads what a module asks for, as far as it is there.
    ///
    /// # Errors
    ///
    /// For a file that is there and cannot be read.
    pub fn add(
        &mut self,
        module: &str,
        names: Vec<String>,
        directory: &FirmwareDir,
    ) -> Result<(), ModulesError> {
        for name in names {
            // What leaves the directory is not looked for, and so is missing.
            if is_plain(&name)
                && !self.files.contains_key(&name)
                && let Some(bytes) = directory.read(&name)?
            {
                self.files.insert(name.clone(), bytes);
            }
            self.wishes
                .entry(module.to_owned())
                .or_default()
                .insert(name);
        }
        Ok(())
    }

    /// `modules.firmware`: which module may ask for which of the files, a line a module.
    #[must_use]
    pub fn index(&self) -> String {
        let mut text = String::new();
        for (module, names) in &self.wishes {
            let found: Vec<&str> = names
                .iter()
                .map(String::as_str)
                .filter(|name| self.files.contains_key(*name))
                .collect();
            if !found.is_empty() {
                text.push_str(&format!("{module}: {}\n", found.join(" ")));
            }
        }
        text
    }

    /// The modules that ask for files which were not found, with those.
    pub fn missing(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.wishes.iter().filter_map(|(module, names)| {
            let missing: Vec<&str> = names
                .iter()
                .map(String::as_str)
                .filter(|name| !self.files.contains_key(*name))
                .collect();
            (!missing.is_empty()).then_some((module.as_str(), missing))
        })
    }
}
