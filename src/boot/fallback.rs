//! The fallback: another kernel, baked into the initramfs, for a machine that cannot have its image.
//!
//! It is what the operator has decided that such a machine should be: a rescue system, a firmware's own installer, a
//! loader of another kind. It is trusted as the loader is, by standing in the same initramfs, and entered by the same
//! kexec. Its command line ends with `sealboot.failed=CODE`, as far as there is room, so that it knows why it runs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::configure::{baked, read_bounded};
use crate::failure::FailureCode;
use crate::format::Invalid;
use crate::format::cmdline::Cmdline;
use crate::format::limits::LIMITS;
use crate::sys::kexec::kexec_file_load;

/// Where the fallback's kernel is baked in.
pub const KERNEL_FILE: &str = "/etc/sealboot/fallback/vmlinuz";
/// Where its initrd is.
pub const INITRD_FILE: &str = "/etc/sealboot/fallback/initrd";
/// Where its command line is.
pub const CMDLINE_FILE: &str = "/etc/sealboot/fallback/cmdline";

/// The fallback cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum FallbackError {
    /// A file of it cannot be read, or is not there.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Its command line is none.
    #[error("{CMDLINE_FILE} is no command line: {0}")]
    Cmdline(Invalid),
    /// The kernel does not take it.
    #[error("the fallback's kernel cannot be loaded")]
    Load(#[source] io::Error),
}

/// Loads the fallback under `root` (`/` in a boot), ready to be entered by a reboot with `RB_KEXEC`.
///
/// # Errors
///
/// [`FallbackError`].
pub fn load(root: &Path, failed: FailureCode) -> Result<(), FallbackError> {
    let kernel = open(&baked(root, KERNEL_FILE))?;
    let initrd = open(&baked(root, INITRD_FILE))?;
    let cmdline = cmdline(root, failed)?;
    kexec_file_load(&kernel, &initrd, &cmdline).map_err(FallbackError::Load)
}

fn cmdline(root: &Path, failed: FailureCode) -> Result<Cmdline, FallbackError> {
    let path = baked(root, CMDLINE_FILE);
    let limit = u64::try_from(LIMITS.cmdline_bytes).unwrap_or(u64::MAX);
    let line = read_bounded(&path, limit).map_err(unreadable(&path))?;
    let line = String::from_utf8_lossy(&line);
    let line = line.trim();
    let told = format!("{line} sealboot.failed={failed}");
    // A line that has no room for the code is entered without it.
    told.trim_start()
        .parse()
        .or_else(|_| line.parse())
        .map_err(FallbackError::Cmdline)
}

fn open(path: &Path) -> Result<File, FallbackError> {
    File::open(path).map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> FallbackError {
    let path = path.to_owned();
    move |source| FallbackError::Read { path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_fallback_is_told_why_it_runs() {
        let root = tempfile::tempdir().unwrap();
        let path = baked(root.path(), CMDLINE_FILE);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for (line, expected) in [
            (
                "console=ttyS0\n",
                "console=ttyS0 sealboot.failed=CONNECT-DHCP",
            ),
            ("", "sealboot.failed=CONNECT-DHCP"),
        ] {
            fs::write(&path, line).unwrap();
            let line = cmdline(root.path(), FailureCode::ConnectDhcp).unwrap();
            assert_eq!(line.as_str(), expected);
        }
        let full = "x".repeat(2040);
        fs::write(&path, &full).unwrap();
        let line = cmdline(root.path(), FailureCode::ConnectDhcp).unwrap();
        assert_eq!(line.as_str(), full);
        for bad in ["a\nb".to_owned(), "x".repeat(3000)] {
            fs::write(&path, bad).unwrap();
            assert!(cmdline(root.path(), FailureCode::ConnectDhcp).is_err());
        }
    }

    #[test]
    fn a_fallback_that_is_not_there_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = load(root.path(), FailureCode::ConnectDhcp).unwrap_err();
        assert!(
            error.to_string().ends_with("vmlinuz cannot be read"),
            "{error}"
        );
    }
}
