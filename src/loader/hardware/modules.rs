//! The modules that are baked in: what they serve, and which of them are loaded.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use super::options::Options;
use super::{HardwareError, plan, read_if_there, tell};
use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::kmod::{Index, Name};
use sealboot_sys::firmware::efi;

/// Where the kernel looks for firmware.
const FIRMWARE_DIR: &str = "/lib/firmware";

/// The modules of this kernel.
#[derive(Debug, Default)]
pub(super) struct Modules {
    directory: PathBuf,
    firmware: PathBuf,
    index: Index,
    options: Options,
    /// In the order of loading.
    loaded: Vec<Name>,
    failed: BTreeSet<Name>,
    /// Whether the files of what is not loaded are deleted.
    given_back: bool,
}

/// Why a module is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum NotLoaded {
    /// The initramfs does not have it.
    #[error("it is not baked in")]
    NotBaked,
    /// Somebody does not want it.
    #[error("it is blacklisted on the kernel command line")]
    Blacklisted,
    /// What it needs is not loaded.
    #[error("it needs {0}, which is not loaded")]
    Needs(Name),
    /// Its file is deleted.
    #[error("its file was given back, for memory, before a load that failed")]
    GivenBack,
    /// The kernel did not take it.
    #[error("the kernel does not take it")]
    Kernel(#[source] io::Error),
}

impl Diagnose for NotLoaded {
    fn code(&self) -> FailureCode {
        FailureCode::PrepareModule
    }

    fn hint(&self) -> String {
        match self {
            Self::NotBaked => "bake it into the initramfs (--module NAME)".to_owned(),
            Self::Blacklisted => {
                "take it out of modprobe.blacklist= or module_blacklist= on the kernel command line"
                    .to_owned()
            }
            Self::GivenBack => "reboot: the initramfs has it".to_owned(),
            Self::Needs(_) | Self::Kernel(_) => self.code().remedy().to_owned(),
        }
    }
}

/// Loads the module in this file: finit_module(2). One that the kernel has already is loaded.
pub(super) fn insert(file: &Path, options: &CStr) -> io::Result<()> {
    match finit_module(File::open(file)?, options, ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

impl Modules {
    /// Reads what `initramfs build` wrote into the modules directory.
    pub(super) fn read(directory: &Path, parameters: &Parameters) -> Result<Self, HardwareError> {
        let mut index = Index::default();
        let text = |name: &str| read_if_there(&directory.join(name));
        let located = |name: &str| {
            let path = directory.join(name);
            move |line| HardwareError::Index { path, line }
        };
        index
            .read_dep(&text("modules.dep")?)
            .map_err(located("modules.dep"))?;
        index
            .read_firmware(&text("modules.firmware")?)
            .map_err(located("modules.firmware"))?;
        index.read_alias(&text("modules.alias")?);
        index.read_softdep(&text("modules.softdep")?);
        Ok(Self {
            directory: directory.to_owned(),
            firmware: FIRMWARE_DIR.into(),
            index,
            options: Options::new(parameters),
            ..Self::default()
        })
    }

    /// What this loader has loaded, in that order.
    pub(super) fn loaded(&self) -> &[Name] {
        &self.loaded
    }

    /// Whether a module for such a device is baked in.
    pub(super) fn serves(&self, modalias: &str) -> bool {
        self.index.serving(modalias).next().is_some()
    }

    /// The modules that these devices ask for.
    pub(super) fn serving<'a>(
        &self,
        modaliases: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<Name> {
        modaliases
            .into_iter()
            .flat_map(|modalias| self.index.serving(modalias).cloned())
            .collect()
    }

    /// The module whose devices stand on the kernel command line, because no bus tells of them: those of
    /// microVMs, `virtio_mmio.device=`.
    pub(super) fn named_by_parameters(&self) -> Option<Name> {
        let name = Name::new("virtio_mmio");
        self.options.gives(&name, "device").then_some(name)
    }

    /// The module of EFI variables, where the firmware that `root` (`/` in a boot) tells of is EFI: no device
    /// asks for it.
    pub(super) fn named_by_firmware(root: &Path) -> Option<Name> {
        efi::is_there(root).then(|| Name::new("efivarfs"))
    }

    /// Lets what has failed be tried again.
    pub(super) fn forget_failures(&mut self) {
        self.failed.clear();
    }

    /// Loads a module by its name, tried again where it has failed, with what it needs. What else fails on
    /// the way is told.
    pub(super) fn load(
        &mut self,
        name: &Name,
        insert: impl Fn(&Path, &CStr) -> io::Result<()> + Sync,
    ) -> Result<(), NotLoaded> {
        if !self.index.modules.contains_key(name) {
            return Err(NotLoaded::NotBaked);
        }
        self.forget_failures();
        let mut failures = self.bring(&BTreeSet::from([name.clone()]), insert);
        let own = failures.iter().position(|(failed, _)| failed == name);
        let own = own.map(|at| failures.remove(at));
        tell(&failures);
        own.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Loads modules and what they need, a level at a time; gives those that are not loaded, each once until
    /// failures are forgotten. A file is deleted once it is loaded: it takes memory, and is of no use any more.
    pub(super) fn bring(
        &mut self,
        wanted: &BTreeSet<Name>,
        insert: impl Fn(&Path, &CStr) -> io::Result<()> + Sync,
    ) -> Vec<(Name, NotLoaded)> {
        let stands = |name: &Name| self.loaded.contains(name) || self.failed.contains(name);
        let levels = plan::levels(&self.index, wanted, stands);
        let mut failures = Vec::new();
        for level in levels {
            let mut ready = Vec::new();
            for name in level {
                match self.hindrance(&name) {
                    Some(error) => failures.push((name, error)),
                    None => ready.push(name),
                }
            }
            let (modules, insert) = (&*self, &insert);
            let results: Vec<io::Result<()>> = thread::scope(|scope| {
                let load = |name| {
                    scope.spawn(move || insert(&modules.file(name), &modules.options.of(name)))
                };
                let loading: Vec<_> = ready.iter().map(load).collect();
                loading
                    .into_iter()
                    .map(|one| {
                        one.join()
                            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                    })
                    .collect()
            });
            for (name, result) in ready.into_iter().zip(results) {
                match result {
                    Ok(()) => {
                        // A file that stays costs its memory and nothing else.
                        let _ = fs::remove_file(self.file(&name));
                        self.loaded.push(name);
                    }
                    Err(error) => failures.push((name, NotLoaded::Kernel(error))),
                }
            }
        }
        self.failed
            .extend(failures.iter().map(|(name, _)| name.clone()));
        failures
    }

    /// Why the kernel need not even be asked.
    fn hindrance(&self, name: &Name) -> Option<NotLoaded> {
        let (_, needs) = &self.index.modules.get(name)?;
        let missing = needs.iter().find(|path| !self.loaded.contains(path.name()));
        if self.options.is_blacklisted(name) {
            Some(NotLoaded::Blacklisted)
        } else if let Some(path) = missing {
            Some(NotLoaded::Needs(path.name().clone()))
        } else if self.given_back && !self.file(name).exists() {
            Some(NotLoaded::GivenBack)
        } else {
            None
        }
    }

    /// The module's file.
    fn file(&self, name: &Name) -> PathBuf {
        let path = self.index.modules.get(name).map(|(path, _)| path.as_str());
        self.directory.join(path.unwrap_or_default())
    }

    /// Deletes the files of what is not loaded, and the firmware that nothing loaded asks for.
    pub(super) fn give_back(&mut self) {
        self.given_back = true;
        let is_loaded = |name: &&Name| self.loaded.contains(name);
        let of = |name: &Name| self.index.firmware.get(name).into_iter().flatten();
        let kept: BTreeSet<&String> = self.loaded.iter().flat_map(of).collect();
        let files = self
            .index
            .modules
            .keys()
            .filter(|name| !is_loaded(name))
            .map(|name| self.file(name));
        let firmware = self
            .index
            .firmware
            .values()
            .flatten()
            .filter(|path| !kept.contains(path));
        for file in files.chain(firmware.map(|path| self.firmware.join(path))) {
            // As above; and two modules may ask for the same.
            let _ = fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Baked modules without content, and what was done with them.
    struct Baked {
        directory: tempfile::TempDir,
        modules: Modules,
        tried: Mutex<Vec<String>>,
    }

    const DEP: &str = "bus.ko:\nnic.ko: lib.ko\nlib.ko:\nother.ko:\nbond.ko: lib.ko\n";
    const ALIAS: &str = "alias pci:bus* bus\nalias pci:nic* nic\nalias pci:nic* other\n";
    const FIRMWARE: &str = "nic: nic.bin shared.bin\nother: other.bin shared.bin\n";

    impl Baked {
        fn new(cmdline: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let put =
                |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
            put("modules.dep", DEP);
            put("modules.alias", ALIAS);
            put("modules.firmware", FIRMWARE);
            for name in ["bus.ko", "nic.ko", "lib.ko", "other.ko", "bond.ko"] {
                put(name, "");
            }
            for name in ["nic.bin", "shared.bin", "other.bin"] {
                put(name, "");
            }
            let mut modules = Modules::read(directory.path(), &Parameters::parse(cmdline)).unwrap();
            modules.firmware = directory.path().to_owned();
            Self {
                directory,
                modules,
                tried: Mutex::default(),
            }
        }

        /// Brings what serves this device, where these modules fail.
        fn bring(&mut self, modalias: &str, failing: &[&str]) -> Vec<String> {
            let wanted = self.modules.serving([modalias]);
            let failures = self.modules.bring(&wanted, |file, options| {
                let name = file.file_stem().unwrap().to_str().unwrap();
                let tried = format!("{name} {}", options.to_str().unwrap());
                self.tried.lock().unwrap().push(tried.trim_end().to_owned());
                match failing.contains(&name) {
                    true => Err(Errno::EINVAL.into()),
                    false => Ok(()),
                }
            });
            failures
                .iter()
                .map(|(name, error)| format!("{name}: {error}"))
                .collect()
        }

        fn tried(&self) -> Vec<String> {
            let mut tried = std::mem::take(&mut *self.tried.lock().unwrap());
            tried.sort();
            tried
        }

        fn files(&self) -> Vec<String> {
            let mut files: Vec<String> = fs::read_dir(&self.directory)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| !name.starts_with("modules."))
                .collect();
            files.sort();
            files
        }

        fn loaded(&self) -> Vec<&str> {
            self.modules.loaded().iter().map(Name::as_str).collect()
        }
    }

    #[test]
    fn a_device_gets_its_modules_with_their_options_once() {
        let mut baked = Baked::new("nic.rings=4 bus.x=1");
        assert_eq!(baked.bring("pci:nic7", &[]), [""; 0]);
        assert_eq!(baked.tried(), ["lib", "nic rings=4", "other"]);
        assert_eq!(baked.loaded(), ["lib", "other", "nic"]);
        assert_eq!(baked.bring("pci:nic8", &[]), [""; 0]);
        assert_eq!(baked.bring("usb:nothing", &[]), [""; 0]);
        assert_eq!(baked.tried(), [""; 0]);
        assert!(baked.modules.serves("pci:bus") && !baked.modules.serves("usb:nothing"));
    }

    #[test]
    fn what_fails_is_told_once_and_takes_nothing_with_it_but_what_needs_it() {
        let mut baked = Baked::new("");
        assert_eq!(
            baked.bring("pci:nic", &["lib"]),
            [
                "lib: the kernel does not take it",
                "nic: it needs lib, which is not loaded"
            ]
        );
        assert_eq!(baked.loaded(), ["other"]);
        assert_eq!(baked.bring("pci:nic", &["lib"]), [""; 0]);
        baked.modules.forget_failures();
        assert_eq!(baked.bring("pci:nic", &[]), [""; 0]);
        assert_eq!(baked.loaded(), ["other", "lib", "nic"]);
    }

    #[test]
    fn what_is_blacklisted_is_not_tried() {
        let mut baked = Baked::new("modprobe.blacklist=nic");
        assert_eq!(
            baked.bring("pci:nic", &[]),
            ["nic: it is blacklisted on the kernel command line"]
        );
        assert_eq!(baked.tried(), ["lib", "other"]);
    }

    #[test]
    fn a_module_is_loaded_by_its_name_with_what_it_needs() {
        let mut baked = Baked::new("module_blacklist=bus");
        let modules = &mut baked.modules;
        let fails = |_: &Path, _: &CStr| Err(Errno::ENOEXEC.into());
        let works = |_: &Path, _: &CStr| Ok(());
        let load = |modules: &mut Modules, name: &str| modules.load(&Name::new(name), fails);
        assert!(matches!(load(modules, "absent"), Err(NotLoaded::NotBaked)));
        assert!(matches!(load(modules, "bus"), Err(NotLoaded::Blacklisted)));
        assert!(matches!(load(modules, "other"), Err(NotLoaded::Kernel(_))));
        assert!(
            matches!(load(modules, "bond"), Err(NotLoaded::Needs(name)) if name == Name::new("lib"))
        );
        modules.load(&Name::new("bond"), works).unwrap();
        modules.load(&Name::new("bond"), fails).unwrap();
        assert_eq!(baked.loaded(), ["lib", "bond"]);
    }

    #[test]
    fn what_is_not_loaded_is_given_back_and_what_is_loaded_keeps_its_firmware() {
        let mut baked = Baked::new("");
        baked.bring("pci:nic", &["other"]);
        assert_eq!(
            baked.files(),
            [
                "bond.ko",
                "bus.ko",
                "nic.bin",
                "other.bin",
                "other.ko",
                "shared.bin"
            ]
        );
        baked.modules.give_back();
        assert_eq!(baked.files(), ["nic.bin", "shared.bin"]);

        assert_eq!(
            baked.bring("pci:bus", &[]),
            ["bus: its file was given back, for memory, before a load that failed"]
        );
        assert_eq!(baked.bring("pci:nic", &[]), [""; 0]);
    }

    #[test]
    fn microvms_name_their_devices_on_the_command_line() {
        let named = |cmdline: &str| Baked::new(cmdline).modules.named_by_parameters();
        assert_eq!(
            named("virtio_mmio.device=4K@0xd0000000:5"),
            Some(Name::new("virtio-mmio"))
        );
        assert_eq!(named("virtio_mmio.other=1"), None);
    }

    #[test]
    fn an_index_that_makes_no_sense_is_named() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("modules.dep", "a.ko:\n../b.ko:\n"),
            ("modules.firmware", "a:\nb: /c\n"),
        ] {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            let error = Modules::read(directory.path(), &Parameters::default()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("line 2 of {} cannot be read", path.display())
            );
            fs::remove_file(path).unwrap();
        }
        assert!(Modules::read(directory.path(), &Parameters::default()).is_ok());
    }
}
