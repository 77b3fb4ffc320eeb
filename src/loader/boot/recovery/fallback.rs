//! The fallback: another kernel, baked into the initramfs, for a machine that cannot have its image.
//!
//! It is what the operator has decided that such a machine should be: a rescue system, a firmware's own installer, a
//! loader of another kind. It is trusted as the loader is, by standing in the same initramfs, and entered by the same
//! kexec. Its command line is told `sealboot.failed=CODE`, as far as there is room, so that it knows why it runs.
//!
//! Nobody watches a machine that has entered it, so a kernel that is damaged inside would hang for ever. What is entered
//! is therefore held to the digests of its build first, and they are of the very files that kexec reads.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

use crate::boot::stages::configure::read_bounded;
use sealboot_core::failure::FailureCode;
use sealboot_core::format::Invalid;
use sealboot_core::format::cmdline::Cmdline;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::layout::{
    self, FALLBACK_CMDLINE_FILE, FALLBACK_INITRD_FILE, FALLBACK_KERNEL_FILE, FALLBACK_SUMS_FILE,
    FallbackSums,
};
use sealboot_core::format::limits::LIMITS;
use sealboot_sys::kexec::kexec_file_load;

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
    /// The digests are not those of three files.
    #[error("{} does not hold one SHA-256 each of vmlinuz, initrd and cmdline", .0.display())]
    Sums(PathBuf),
    /// A file of it is not as it was built.
    #[error(
        "{} is damaged\n  expected sha256 {expected}\n  found    sha256 {found}",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its digest when the initramfs was built.
        expected: Sha256Digest,
        /// Its digest now.
        found: Sha256Digest,
    },
    /// Its command line is none.
    #[error("{FALLBACK_CMDLINE_FILE} is no command line: {0}")]
    Cmdline(Invalid),
    /// The kernel does not take it.
    #[error("the fallback's kernel cannot be loaded")]
    Load(#[source] io::Error),
}

impl FallbackError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::Sums(_) | Self::Cmdline(_) => {
                "build the initramfs again with `sealboot initramfs build`, and give the machine that one"
            }
            Self::Damaged { .. } => {
                "give the machine the initramfs again; where this comes back, test its memory"
            }
            Self::Load(_) => {
                "give `sealboot initramfs build` a kernel that kexec enters on these machines"
            }
        }
    }
}

/// Loads the fallback under `root` (`/` in a boot), ready to be entered by a reboot with `RB_KEXEC`.
///
/// # Errors
///
/// [`FallbackError`].
pub fn load(root: &Path, failed: FailureCode) -> Result<(), FallbackError> {
    let Checked {
        kernel,
        initrd,
        cmdline,
    } = check(root, failed)?;
    kexec_file_load(&kernel, &initrd, &cmdline).map_err(FallbackError::Load)
}

/// A fallback that is as it was built.
#[derive(Debug)]
struct Checked {
    kernel: File,
    initrd: File,
    cmdline: Cmdline,
}

fn check(root: &Path, failed: FailureCode) -> Result<Checked, FallbackError> {
    let path = layout::under(root, FALLBACK_SUMS_FILE);
    let sums = read_bounded(&path, FallbackSums::BYTES).map_err(unreadable(&path))?;
    let sums = FallbackSums::parse(&sums).ok_or(FallbackError::Sums(path))?;
    Ok(Checked {
        kernel: open(&layout::under(root, FALLBACK_KERNEL_FILE), sums.kernel)?,
        initrd: open(&layout::under(root, FALLBACK_INITRD_FILE), sums.initrd)?,
        cmdline: cmdline(
            &layout::under(root, FALLBACK_CMDLINE_FILE),
            sums.cmdline,
            failed,
        )?,
    })
}

fn cmdline(
    path: &Path,
    expected: Sha256Digest,
    failed: FailureCode,
) -> Result<Cmdline, FallbackError> {
    // One more for the line feed.
    let limit = u64::try_from(LIMITS.cmdline_bytes).map_or(u64::MAX, |limit| limit + 1);
    let line = read_bounded(path, limit).map_err(unreadable(path))?;
    compare(path, expected, Sha256Digest::of(&line))?;
    let line = String::from_utf8_lossy(&line);
    let line = line.trim();
    // A line that has no room for the code is entered without it.
    told(line, failed)
        .parse()
        .or_else(|_| line.parse())
        .map_err(FallbackError::Cmdline)
}

/// The line with why the fallback runs: the kernel gives what stands after ` -- ` to init.
fn told(line: &str, failed: FailureCode) -> String {
    let mut is_quoted = false;
    let mut at = 0;
    for word in line.split_inclusive(' ') {
        if !is_quoted && word.trim_end() == "--" {
            break;
        }
        is_quoted ^= word.matches('"').count() % 2 == 1;
        at += word.len();
    }
    let (before, after) = line.split_at(at);
    let told = format!("{} sealboot.failed={failed} {after}", before.trim_end());
    told.trim().to_owned()
}

/// Opens a file that has this digest, at its beginning.
fn open(path: &Path, expected: Sha256Digest) -> Result<File, FallbackError> {
    let mut file = File::open(path).map_err(unreadable(path))?;
    let found = Sha256Digest::of_rest(&file).map_err(unreadable(path))?;
    compare(path, expected, found)?;
    file.rewind().map_err(unreadable(path))?;
    Ok(file)
}

fn compare(path: &Path, expected: Sha256Digest, found: Sha256Digest) -> Result<(), FallbackError> {
    if found == expected {
        return Ok(());
    }
    Err(FallbackError::Damaged {
        path: path.to_owned(),
        expected,
        found,
    })
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> FallbackError {
    let path = path.to_owned();
    move |source| FallbackError::Read { path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;

    use tempfile::TempDir;

    use super::*;

    const CODE: FailureCode = FailureCode::ConnectDhcp;

    /// A root with a fallback of this command line.
    fn baked_in(line: &str) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        let (kernel, initrd) = (b"a kernel", b"an initrd");
        let sums = FallbackSums {
            kernel: Sha256Digest::of(kernel),
            initrd: Sha256Digest::of(initrd),
            cmdline: Sha256Digest::of(line.as_bytes()),
        };
        fs::create_dir_all(
            layout::under(root.path(), FALLBACK_KERNEL_FILE)
                .parent()
                .unwrap(),
        )
        .unwrap();
        for (path, bytes) in [
            (FALLBACK_KERNEL_FILE, &kernel[..]),
            (FALLBACK_INITRD_FILE, initrd),
            (FALLBACK_CMDLINE_FILE, line.as_bytes()),
            (FALLBACK_SUMS_FILE, sums.encode().as_bytes()),
        ] {
            fs::write(layout::under(root.path(), path), bytes).unwrap();
        }
        root
    }

    #[test]
    fn the_fallback_is_told_why_it_runs() {
        let full = "x".repeat(LIMITS.cmdline_bytes);
        for (line, expected) in [
            (
                "console=ttyS0\n",
                "console=ttyS0 sealboot.failed=CONNECT-DHCP",
            ),
            ("", "sealboot.failed=CONNECT-DHCP"),
            (&format!("{full}\n"), &full),
            // What stands after it is init's.
            (
                "quiet -- single -- x\n",
                "quiet sealboot.failed=CONNECT-DHCP -- single -- x",
            ),
            ("-- single", "sealboot.failed=CONNECT-DHCP -- single"),
            ("quiet --", "quiet sealboot.failed=CONNECT-DHCP --"),
            (
                "a=\"x -- y\" b--c --d",
                "a=\"x -- y\" b--c --d sealboot.failed=CONNECT-DHCP",
            ),
        ] {
            let root = baked_in(line);
            let checked = check(root.path(), CODE).unwrap();
            assert_eq!(checked.cmdline.as_str(), expected);
        }
        let root = baked_in("a\nb");
        let error = check(root.path(), CODE).unwrap_err();
        assert!(matches!(error, FallbackError::Cmdline(_)), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        for name in [
            FALLBACK_KERNEL_FILE,
            FALLBACK_INITRD_FILE,
            FALLBACK_CMDLINE_FILE,
            FALLBACK_SUMS_FILE,
        ] {
            let root = baked_in("quiet\n");
            let path = layout::under(root.path(), name);
            fs::remove_file(&path).unwrap();
            let error = load(root.path(), CODE).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{} cannot be read", path.display())
            );
        }
    }

    #[test]
    fn a_fallback_of_which_one_byte_is_damaged_is_not_entered() {
        for name in [
            FALLBACK_KERNEL_FILE,
            FALLBACK_INITRD_FILE,
            FALLBACK_CMDLINE_FILE,
        ] {
            let root = baked_in("quiet\n");
            let path = layout::under(root.path(), name);
            let mut bytes = fs::read(&path).unwrap();
            let expected = Sha256Digest::of(&bytes);
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&path, &bytes).unwrap();
            let error = load(root.path(), CODE).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "{} is damaged\n  expected sha256 {expected}\n  found    sha256 {}",
                    path.display(),
                    Sha256Digest::of(&bytes)
                )
            );
        }
    }

    #[test]
    fn a_command_line_that_grew_past_what_is_read_is_damaged() {
        let root = baked_in("quiet\n");
        let long = "x".repeat(3 * LIMITS.cmdline_bytes);
        fs::write(layout::under(root.path(), FALLBACK_CMDLINE_FILE), long).unwrap();
        let error = load(root.path(), CODE).unwrap_err();
        assert!(matches!(error, FallbackError::Damaged { .. }), "{error}");
    }

    #[test]
    fn what_was_checked_is_read_from_its_beginning() {
        let root = baked_in("quiet\n");
        let Checked { mut initrd, .. } = check(root.path(), CODE).unwrap();
        let mut bytes = Vec::new();
        initrd.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"an initrd");
    }

    #[test]
    fn digests_are_read_in_one_spelling_only() {
        let sums = FallbackSums {
            kernel: Sha256Digest::of(b"1"),
            initrd: Sha256Digest::of(b"2"),
            cmdline: Sha256Digest::of(b"3"),
        };
        let text = sums.encode();
        assert_eq!(text.len() as u64, FallbackSums::BYTES);
        assert_eq!(FallbackSums::parse(text.as_bytes()), Some(sums));
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let mut bad: Vec<String> = (0..3)
            .map(|missing| {
                let kept = lines.iter().enumerate().filter(|(at, _)| *at != missing);
                kept.map(|(_, line)| *line).collect()
            })
            .collect();
        bad.extend([
            String::new(),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            format!("{text}{}", lines[0]),
            text.replace("initrd", "initramfs"),
            text.replace("  ", " "),
            text.replace("  ", " *"),
            text.replace('\n', "\r\n"),
            text.to_uppercase(),
            [lines[1], lines[0], lines[2]].concat(),
        ]);
        for bad in bad {
            let root = baked_in("quiet\n");
            let path = layout::under(root.path(), FALLBACK_SUMS_FILE);
            fs::write(&path, &bad).unwrap();
            let error = load(root.path(), CODE).unwrap_err();
            assert!(matches!(error, FallbackError::Sums(_)), "{bad:?}: {error}");
        }
    }
}
