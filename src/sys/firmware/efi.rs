//! EFI variables, over efivarfs (Linux's Documentation/filesystems/efivarfs.rst).
//!
//! A variable is a file `NAME-VENDOR` of four bytes of attributes, little-endian, and the value. All of
//! Sealboot's have one vendor, so that none can be taken for the firmware's own.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use crate::immutable;
use sealboot_core::format::limits::LIMITS;

/// Whose variables these are: a random UUID, used by nobody else.
pub const VENDOR: &str = "df55c348-5613-44bd-be79-b44fa251bce8";

/// Where the kernel tells of EFI, on a machine that has it.
const EFI: &str = "sys/firmware/efi";

/// Kept without power, and seen before and after the firmware hands the machine over: `NON_VOLATILE`,
/// `BOOTSERVICE_ACCESS` and `RUNTIME_ACCESS` (UEFI 2.10, section 8.2).
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];

/// A variable of Sealboot's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable(&'static str);

impl Variable {
    /// Holds the host config.
    pub const HOST_CONFIG: Self = Self("SealbootHostConfig");
    /// Holds what the loaders before this one have kept of their failures.
    pub const FAILURES: Self = Self("SealbootFailures");
}

impl fmt::Display for Variable {
    /// As efivarfs and efivar(1) write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{VENDOR}", self.0)
    }
}

/// The variables of this machine.
#[derive(Debug)]
pub struct Variables {
    directory: PathBuf,
}

/// Attributes and value.
type Stored = ([u8; 4], Vec<u8>);

/// Whether a value had to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was.
    Now,
    /// It stood there already, and nothing was done: flash wears out by being written.
    Before,
}

/// EFI variables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EfiError {
    /// efivarfs is not mounted, and cannot be.
    #[error("the EFI variables cannot be mounted on {}", directory.display())]
    Mount {
        /// Where.
        directory: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The firmware does not give the value.
    #[error("the EFI variable {variable} cannot be read")]
    Read {
        /// Which.
        variable: Variable,
        /// What the kernel said.
        source: io::Error,
    },
    /// Longer than [`LIMITS`] allows.
    #[error("the EFI variable {0} is larger than {limit} bytes", limit = LIMITS.efi_variable_bytes)]
    TooLarge(Variable),
    /// The kernel lets root alone write, and nobody where it is locked down.
    #[error("the EFI variable {0} cannot be written: the kernel does not allow it")]
    NotAllowed(Variable),
    /// efivarfs is mounted read-only.
    #[error("the EFI variable {variable} cannot be written: {} is mounted read-only", directory.display())]
    ReadOnly {
        /// Which.
        variable: Variable,
        /// Where the variables are.
        directory: PathBuf,
    },
    /// The firmware's memory is full.
    #[error("the EFI variable {0} cannot be written: the firmware has no room for it")]
    NoSpace(Variable),
    /// The firmware does not take the value, for another reason.
    #[error("the EFI variable {variable} cannot be written")]
    Write {
        /// Which.
        variable: Variable,
        /// What the kernel said.
        source: io::Error,
    },
}

impl EfiError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Mount { .. } => {
                "mount them as root: mount -t efivarfs efivarfs /sys/firmware/efi/efivars"
            }
            Self::Read { .. } | Self::TooLarge(_) => {
                "remove the variable (sealboot host-config remove-efi) and write it again"
            }
            Self::NotAllowed(_) => "run this as root, in no container",
            Self::ReadOnly { .. } => {
                "mount them to be written, as root: mount -o remount,rw /sys/firmware/efi/efivars"
            }
            Self::NoSpace(_) => {
                "make the value smaller, remove variables that nobody needs (those named dump-* are kernel crashes), and reboot: most firmware frees their room only then"
            }
            Self::Write { .. } => "look at what the kernel says (dmesg), and update the firmware",
        }
    }
}

/// Whether this machine's firmware is EFI, as `root` (`/` on a machine) has it.
#[must_use]
pub fn is_there(root: &Path) -> bool {
    root.join(EFI).is_dir()
}

impl Variables {
    /// The variables below `root`, which is `/` on a machine; mounts efivarfs where nobody has. None where
    /// the machine has no EFI, or none that answers to a running kernel, or the kernel no efivarfs.
    ///
    /// # Errors
    ///
    /// [`EfiError::Mount`].
    pub fn open(root: &Path) -> Result<Option<Self>, EfiError> {
        let directory = root.join(EFI).join("efivars");
        let Ok(mut entries) = fs::read_dir(&directory) else {
            return Ok(None);
        };
        if entries.next().is_none() {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            let kind = Some("efivarfs");
            match mount(kind, &directory, kind, flags, None::<&str>) {
                // Mounted, and empty.
                Ok(()) | Err(Errno::EBUSY) => {}
                Err(Errno::ENODEV | Errno::EOPNOTSUPP) => return Ok(None),
                Err(source) => return Err(EfiError::Mount { directory, source }),
            }
        }
        Ok(Some(Self { directory }))
    }

    /// Where a variable is.
    #[must_use]
    pub fn path(&self, variable: Variable) -> PathBuf {
        self.directory.join(variable.to_string())
    }

    /// The value; none where there is no such variable.
    ///
    /// # Errors
    ///
    /// [`EfiError::Read`] and [`EfiError::TooLarge`].
    pub fn read(&self, variable: Variable) -> Result<Option<Vec<u8>>, EfiError> {
        Ok(self.stored(variable)?.map(|(_, value)| value))
    }

    /// Gives a variable this value.
    ///
    /// # Errors
    ///
    /// [`EfiError`]; the variable then is as it was.
    pub fn write(&self, variable: Variable, value: &[u8]) -> Result<Written, EfiError> {
        if value.len() as u64 > LIMITS.efi_variable_bytes {
            return Err(EfiError::TooLarge(variable));
        }
        match self.stored(variable)? {
            Some((ATTRIBUTES, stored)) if stored == value => return Ok(Written::Before),
            Some((ATTRIBUTES, _)) | None => {}
            // Firmware changes no attributes.
            Some(_) => self.remove(variable)?,
        }
        let path = self.path(variable);
        let failed = |error| self.not_written(variable, error);
        let is_new = !self.lift_protection(variable)?;
        let bytes = [&ATTRIBUTES[..], value].concat();
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            // All of it at once: each write is a whole value.
            .and_then(|mut file| file.write(&bytes));
        let error = match written {
            Ok(written) if written == bytes.len() => return Ok(Written::Now),
            Ok(_) => io::ErrorKind::WriteZero.into(),
            Err(error) => error,
        };
        if is_new {
            // It is the kernel's alone, and empty: the firmware has never heard of it.
            let _ = self.remove(variable);
        }
        Err(failed(error))
    }

    /// Removes a variable, if it is there.
    ///
    /// # Errors
    ///
    /// [`EfiError`].
    pub fn remove(&self, variable: Variable) -> Result<(), EfiError> {
        if !self.lift_protection(variable)? {
            return Ok(());
        }
        fs::remove_file(self.path(variable)).map_err(|error| self.not_written(variable, error))
    }

    fn stored(&self, variable: Variable) -> Result<Option<Stored>, EfiError> {
        let unreadable = |source| EfiError::Read { variable, source };
        let file = match File::open(self.path(variable)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(unreadable)?,
        };
        let (mut bytes, most) = (Vec::new(), 4 + LIMITS.efi_variable_bytes);
        file.take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > most {
            return Err(EfiError::TooLarge(variable));
        }
        match bytes.split_first_chunk() {
            Some((attributes, value)) => Ok(Some((*attributes, value.to_vec()))),
            // One that was never given a value.
            None if bytes.is_empty() => Ok(None),
            None => Err(unreadable(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Lets a variable be changed, which the kernel protects against `rm -r`. Whether there is one.
    fn lift_protection(&self, variable: Variable) -> Result<bool, EfiError> {
        let failed = |error| self.not_written(variable, error);
        match File::open(self.path(variable)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
            Ok(file) => immutable::lift(&file)
                .map(|()| true)
                .map_err(|errno| failed(errno.into())),
        }
    }

    fn not_written(&self, variable: Variable, source: io::Error) -> EfiError {
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES | Errno::EPERM) => EfiError::NotAllowed(variable),
            Some(Errno::EROFS) => EfiError::ReadOnly {
                variable,
                directory: self.directory.clone(),
            },
            Some(Errno::ENOSPC) => EfiError::NoSpace(variable),
            _ => EfiError::Write { variable, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Variable = Variable::HOST_CONFIG;
    const FILE: &str = "SealbootHostConfig-df55c348-5613-44bd-be79-b44fa251bce8";

    /// A machine with one variable of the firmware's own, by which it can be told that they are mounted.
    fn machine() -> (tempfile::TempDir, Variables) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("sys/firmware/efi/efivars");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("BootOrder-x"), [7, 0, 0, 0, 1, 0]).unwrap();
        let variables = Variables::open(root.path()).unwrap().unwrap();
        (root, variables)
    }

    fn stored(variables: &Variables) -> Vec<u8> {
        fs::read(variables.path(CONFIG)).unwrap()
    }

    #[test]
    fn a_machine_without_efi_has_no_variables() {
        let root = tempfile::tempdir().unwrap();
        assert!(!is_there(root.path()));
        assert!(Variables::open(root.path()).unwrap().is_none());
        fs::create_dir_all(root.path().join(EFI)).unwrap();
        assert!(is_there(root.path()));
        assert!(Variables::open(root.path()).unwrap().is_none());
    }

    #[test]
    fn a_variable_is_four_bytes_of_attributes_and_its_value() {
        let (root, variables) = machine();
        assert_eq!(variables.read(CONFIG).unwrap(), None);
        assert_eq!(variables.write(CONFIG, b"{}").unwrap(), Written::Now);
        let path = root.path().join("sys/firmware/efi/efivars").join(FILE);
        assert_eq!(fs::read(path).unwrap(), b"\x07\0\0\0{}");
        assert_eq!(variables.read(CONFIG).unwrap().unwrap(), b"{}");
    }

    #[test]
    fn a_value_that_stands_there_already_is_not_written_again() {
        let (_root, variables) = machine();
        assert_eq!(variables.write(CONFIG, b"one").unwrap(), Written::Now);
        let before = fs::metadata(variables.path(CONFIG)).unwrap().modified();
        assert_eq!(variables.write(CONFIG, b"one").unwrap(), Written::Before);
        let after = fs::metadata(variables.path(CONFIG)).unwrap().modified();
        assert_eq!(before.unwrap(), after.unwrap());
        assert_eq!(variables.write(CONFIG, b"two").unwrap(), Written::Now);
        assert_eq!(stored(&variables), b"\x07\0\0\0two");
    }

    #[test]
    fn a_variable_of_other_attributes_is_replaced() {
        let (_root, variables) = machine();
        fs::write(variables.path(CONFIG), b"\x06\0\0\0same, but longer").unwrap();
        assert_eq!(variables.write(CONFIG, b"same").unwrap(), Written::Now);
        assert_eq!(stored(&variables), b"\x07\0\0\0same");
    }

    #[test]
    fn a_variable_that_is_removed_is_gone_and_may_be_gone_before() {
        let (_root, variables) = machine();
        variables.write(CONFIG, b"{}").unwrap();
        variables.remove(CONFIG).unwrap();
        assert_eq!(variables.read(CONFIG).unwrap(), None);
        variables.remove(CONFIG).unwrap();
    }

    #[test]
    fn a_variable_that_was_never_given_a_value_is_none_and_a_cut_one_an_error() {
        let (_root, variables) = machine();
        fs::write(variables.path(CONFIG), b"").unwrap();
        assert_eq!(variables.read(CONFIG).unwrap(), None);
        fs::write(variables.path(CONFIG), b"\x07\0\0").unwrap();
        assert!(matches!(variables.read(CONFIG), Err(EfiError::Read { .. })));
        fs::write(variables.path(CONFIG), ATTRIBUTES).unwrap();
        assert_eq!(variables.read(CONFIG).unwrap().unwrap(), b"");
    }

    #[test]
    fn a_value_is_bounded_both_ways() {
        let (_root, variables) = machine();
        let most = usize::try_from(LIMITS.efi_variable_bytes).unwrap();
        variables.write(CONFIG, &vec![b' '; most]).unwrap();
        assert_eq!(variables.read(CONFIG).unwrap().unwrap().len(), most);
        let larger = vec![b' '; most + 1];
        assert!(matches!(
            variables.write(CONFIG, &larger),
            Err(EfiError::TooLarge(CONFIG))
        ));
        fs::write(variables.path(CONFIG), [&ATTRIBUTES[..], &larger].concat()).unwrap();
        assert!(matches!(
            variables.read(CONFIG),
            Err(EfiError::TooLarge(CONFIG))
        ));
    }

    #[test]
    fn what_the_kernel_says_becomes_what_to_do() {
        let (_root, variables) = machine();
        for (errno, fact) in [
            (Errno::EPERM, "the kernel does not allow it"),
            (Errno::EACCES, "the kernel does not allow it"),
            (Errno::EROFS, "is mounted read-only"),
            (Errno::ENOSPC, "the firmware has no room for it"),
        ] {
            let error = variables.not_written(CONFIG, errno.into());
            assert!(error.to_string().contains(FILE), "{error}");
            assert!(error.to_string().ends_with(fact), "{error}");
        }
        let error = variables.not_written(CONFIG, Errno::EINVAL.into());
        assert!(matches!(error, EfiError::Write { .. }), "{error}");
    }

    #[test]
    fn where_a_value_is_not_taken_nothing_is_left_behind() {
        let (_root, variables) = machine();
        // In place of a full flash: a file that cannot be made.
        let directory = variables.path(CONFIG);
        fs::create_dir(&directory).unwrap();
        assert!(variables.write(CONFIG, b"{}").is_err());
        assert!(directory.is_dir());
    }
}
