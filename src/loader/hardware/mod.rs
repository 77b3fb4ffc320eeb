//! What the machine has, and the kernel modules that it asks for.
//!
//! A device says in its `modalias` what it is, and `modules.alias` which module serves such devices. [`Hardware::walk`]
//! loads what is baked in for the devices that are there; a thread hears from the kernel (uevents) of those
//! that appear later, a card that was plugged in or one whose bus was slow, and loads what they ask for, in
//! whichever stage the boot is. Nothing sleeps and nothing polls: whoever waits for a link hears of it from the
//! kernel too. [`Hardware::load`] is for what no device asks for, such as bonding.
//!
//! | module | holds |
//! |---|---|
//! | `devices` | the walk along /sys/devices |
//! | `disks` | the disks that the kernel has found by itself |
//! | `uevent` | the socket by which the kernel tells of devices, and its datagrams |
//! | `options` | what the kernel command line says about modules |
//! | `plan` | which modules come first, and which can be loaded at the same time; pure |
//! | `modules` | what is baked in, what is loaded, and what has failed |
//!
//! Whether a module that fails is fatal: only one of [`ALWAYS_FILE`] is, for every machine needs those. A
//! machine that has two cards boots by the one whose driver loads; one that has none says so in `connect`,
//! and the warning is on its console by then.

mod devices;
mod disks;
mod modules;
mod options;
mod plan;
mod uevent;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, thread};

use nix::errno::Errno;
use nix::sys::utsname::uname;

use self::devices::Device;
use self::modules::{Modules, insert};
use self::uevent::Uevents;
use sealboot_core::failure::{Diagnose, FailureCode, Report};
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::kmod::{INDEX_BYTES, Name};
use sealboot_core::format::layout::{ALWAYS_FILE, MODULES_DIR};

pub use self::devices::Card;
pub use self::disks::Disk;
pub use self::modules::NotLoaded;

/// The machine's devices and modules. There is one, for as long as the loader runs.
#[derive(Debug)]
pub struct Hardware {
    modules: Mutex<Modules>,
    /// What every machine loads.
    always: Vec<Name>,
}

/// What a walk has found.
#[derive(Debug)]
pub struct Walk {
    /// Every module that this loader has loaded so far, in that order.
    pub modules: Vec<Name>,
    /// How many devices are served by a module that is baked in.
    pub devices: usize,
    /// The network cards that have no driver, and for which none is baked in.
    pub without_driver: Vec<Card>,
}

/// The machine's hardware cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    /// What was baked in about modules cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was baked in about modules makes no sense.
    #[error("line {line} of {} cannot be read", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
    /// The modules are for another kernel.
    #[error("the modules are for kernel {baked}, and this is kernel {running}")]
    OtherKernel {
        /// The kernel that they are for.
        baked: String,
        /// The kernel that runs.
        running: String,
    },
    /// The kernel does not say which one it is.
    #[error("the kernel does not tell its version")]
    Release(#[source] io::Error),
    /// The kernel does not tell of devices.
    #[error("the kernel does not tell of devices that appear")]
    Uevents(#[source] io::Error),
    /// A module that every machine needs is not loaded.
    #[error("the kernel module {name}, which every machine loads, is not loaded")]
    Always {
        /// The module.
        name: Name,
        /// Why.
        source: NotLoaded,
    },
}

impl Diagnose for HardwareError {
    fn code(&self) -> FailureCode {
        FailureCode::PrepareModule
    }

    fn hint(&self) -> String {
        match self {
            Self::Always { source, .. } => source.hint(),
            Self::Read { .. }
            | Self::Index { .. }
            | Self::OtherKernel { .. }
            | Self::Release(_)
            | Self::Uevents(_) => self.code().remedy().to_owned(),
        }
    }
}

impl Hardware {
    /// Reads what is baked in, and listens for devices from now on.
    ///
    /// # Errors
    ///
    /// [`HardwareError`].
    pub fn start(parameters: &Parameters) -> Result<Arc<Self>, HardwareError> {
        // Before the first walk: what appears after it was passed by has told of itself.
        let uevents = Uevents::open().map_err(HardwareError::Uevents)?;
        let running = uname().map_err(|errno| HardwareError::Release(errno.into()))?;
        let running = running.release().to_string_lossy();
        let modules = match directory(Path::new(MODULES_DIR), &running)? {
            Some(directory) => Modules::read(&directory, parameters)?,
            None => Modules::default(),
        };
        let hardware = Arc::new(Self {
            modules: Mutex::new(modules),
            always: read_always(Path::new(ALWAYS_FILE))?,
        });
        let listening = Arc::clone(&hardware);
        thread::Builder::new()
            .name("uevents".to_owned())
            .spawn(move || listening.listen(&uevents))
            .map_err(HardwareError::Uevents)?;
        Ok(hardware)
    }

    /// Loads what every machine loads, and what the devices that are there ask for; what has failed before
    /// is tried again. A module that fails is told on the console.
    ///
    /// # Errors
    ///
    /// [`HardwareError::Always`].
    pub fn walk(&self) -> Result<Walk, HardwareError> {
        let mut modules = self.lock();
        modules.forget_failures();
        for name in &self.always {
            let name = name.clone();
            modules
                .load(&name, insert)
                .map_err(|source| HardwareError::Always { name, source })?;
        }
        Ok(serve(&mut modules))
    }

    /// Loads a module and what it needs, by its name.
    ///
    /// # Errors
    ///
    /// [`NotLoaded`]; where it is [`NotLoaded::NotBaked`], the kernel may still have it built in.
    pub fn load(&self, name: &str) -> Result<(), NotLoaded> {
        self.lock().load(&Name::new(name), insert)
    }

    /// Deletes the files of modules that are not loaded, and the firmware that only those would ask for:
    /// memory for the image. What is loaded stays so, and has its firmware still when its link comes up again.
    pub fn give_back(&self) {
        self.lock().give_back();
    }

    /// Serves the devices that appear.
    fn listen(&self, uevents: &Uevents) {
        loop {
            match uevents.next_appeared() {
                Ok(Some(modalias)) => self.serve_late(&modalias),
                Ok(None) | Err(Errno::EINTR) => {}
                // Too many at once: some were lost, and are found in their places.
                Err(Errno::ENOBUFS) => drop(serve(&mut self.lock())),
                Err(errno) => {
                    tracing::warn!("devices that appear from now on are not served: {errno}");
                    return;
                }
            }
        }
    }

    fn serve_late(&self, modalias: &str) {
        let mut modules = self.lock();
        let before = modules.loaded().len();
        let wanted = modules.serving([modalias]);
        let failures = modules.bring(&wanted, insert);
        tell(&failures);
        let loaded = &modules.loaded()[before..];
        if !loaded.is_empty() {
            tracing::info!(
                "kernel modules for a device that has appeared, {modalias}: {}",
                joined(loaded, " ")
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Modules> {
        // A panic ends the loader.
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Walk {
    /// The names of the modules, with this between them.
    #[must_use]
    pub fn modules(&self, separator: &str) -> String {
        joined(&self.modules, separator)
    }
}

/// Loads what the devices ask for, and what the devices ask for that have appeared by that, until nothing
/// new is loaded: behind the driver of a bus there are more devices.
fn serve(modules: &mut Modules) -> Walk {
    loop {
        let devices = devices::walk(Path::new("/sys/devices"));
        let mut wanted = modules.serving(devices.iter().map(|device| device.modalias.as_str()));
        wanted.extend(modules.named_by_parameters());
        wanted.extend(Modules::named_by_firmware(Path::new("/")));
        let before = modules.loaded().len();
        tell(&modules.bring(&wanted, insert));
        if modules.loaded().len() == before {
            return Walk {
                modules: modules.loaded().to_vec(),
                devices: devices
                    .iter()
                    .filter(|device| modules.serves(&device.modalias))
                    .count(),
                without_driver: without_driver(&devices, modules),
            };
        }
    }
}

/// The network cards that nothing serves, be it baked in or built into the kernel.
fn without_driver(devices: &[Device], modules: &Modules) -> Vec<Card> {
    devices
        .iter()
        .filter(|device| !modules.serves(&device.modalias) && !device.has_driver())
        .filter_map(Card::of)
        .collect()
}

fn tell(failures: &[(Name, NotLoaded)]) {
    for (name, error) in failures {
        match error {
            // Somebody has asked for it.
            NotLoaded::Blacklisted => {
                tracing::info!("the kernel module {name} is not loaded: {error}");
            }
            _ => tracing::warn!(
                code = %error.code(),
                "the kernel module {name} is not loaded: {:#}",
                Report(error)
            ),
        }
    }
}

fn joined(names: &[Name], separator: &str) -> String {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    names.join(separator)
}

/// The directory of this kernel's modules; none where no modules are baked in at all.
fn directory(all: &Path, running: &str) -> Result<Option<PathBuf>, HardwareError> {
    let directory = all.join(running);
    if directory.is_dir() {
        return Ok(Some(directory));
    }
    let unreadable = |source| HardwareError::Read {
        path: all.to_owned(),
        source,
    };
    let mut entries = match fs::read_dir(all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(unreadable)?,
    };
    let Some(other) = entries.next() else {
        return Ok(None);
    };
    let other = other.map_err(unreadable)?.file_name();
    Err(HardwareError::OtherKernel {
        baked: other.to_string_lossy().into_owned(),
        running: running.to_owned(),
    })
}

fn read_always(path: &Path) -> Result<Vec<Name>, HardwareError> {
    let text = read_if_there(path)?;
    let names = text.lines().map(str::trim);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(Name::new)
        .collect())
}

/// Reads a baked-in text; one that is not there is empty.
fn read_if_there(path: &Path) -> Result<String, HardwareError> {
    let unreadable = |source| HardwareError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        result => result.map_err(unreadable)?,
    };
    let mut text = String::new();
    let read = file.take(INDEX_BYTES + 1).read_to_string(&mut text);
    match read.map_err(unreadable)? as u64 > INDEX_BYTES {
        true => Err(unreadable(io::ErrorKind::FileTooLarge.into())),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_machine_loads_is_read_line_by_line_and_may_be_absent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("modules");
        assert!(read_always(&path).unwrap().is_empty());
        fs::write(&path, "af-packet\n\n other \n").unwrap();
        assert_eq!(
            read_always(&path).unwrap(),
            [Name::new("af_packet"), Name::new("other")]
        );
    }

    #[test]
    fn modules_of_another_kernel_are_told_from_none_at_all() {
        let root = tempfile::tempdir().unwrap();
        let all = root.path().join("modules");
        assert_eq!(directory(&all, "6.1.0").unwrap(), None);
        fs::create_dir(&all).unwrap();
        assert_eq!(directory(&all, "6.1.0").unwrap(), None);
        fs::create_dir(all.join("5.10.0")).unwrap();
        assert_eq!(
            directory(&all, "6.1.0").unwrap_err().to_string(),
            "the modules are for kernel 5.10.0, and this is kernel 6.1.0"
        );
        fs::create_dir(all.join("6.1.0")).unwrap();
        assert_eq!(directory(&all, "6.1.0").unwrap(), Some(all.join("6.1.0")));
    }

    #[test]
    fn a_baked_in_text_is_read_to_its_limit_and_no_further() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(INDEX_BYTES).unwrap();
        assert_eq!(
            read_if_there(file.path()).unwrap().len() as u64,
            INDEX_BYTES
        );
        file.as_file().set_len(INDEX_BYTES + 1).unwrap();
        assert!(matches!(
            read_if_there(file.path()),
            Err(HardwareError::Read { .. })
        ));
    }
}
