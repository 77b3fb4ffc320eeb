//! Where a machine's host config is found.
//!
//! [`find`] takes the first source that exists and gives its bytes as they are: whoever calls it decides what
//! must be true of them before they are parsed. Nothing falls through: a source that exists and cannot be read is an
//! error.

use std::fmt;
use std::io;
use std::path::Path;

use super::{HOST_CONFIG_FILE, baked, read_bounded};
use crate::failure::{Diagnose, FailureCode};
use crate::format::cmdline::Parameters;
use crate::format::limits::LIMITS;

/// The setting that names another file than the baked-in one.
const SETTING: &str = "sealboot.config";

/// Where a host config stands, in the order in which they are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The file of the initramfs that `sealboot.config=` names.
    Config(String),
    /// The baked-in file.
    Initramfs,
}

impl Source {
    /// One word of it, for machines.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Initramfs => "initramfs",
        }
    }
}

impl fmt::Display for Source {
    /// As the operator would name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(path) => write!(f, "{SETTING}={path}"),
            Self::Initramfs => f.write_str(HOST_CONFIG_FILE),
        }
    }
}

/// A host config that was found, and into which nobody has looked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub source: Source,
    /// What stands there: at most one byte more than [`LIMITS`] allows, so that whoever parses it sees that it is too long.
    pub bytes: Vec<u8>,
}

/// A source that exists cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// `sealboot.config=` is no path.
    #[error("{SETTING}=\"{value}\" is not an absolute path in the initramfs")]
    Path {
        /// What it is.
        value: String,
    },
    /// A file cannot be read.
    #[error("the host config {from} cannot be read")]
    Read {
        /// Where it stands.
        from: Source,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Diagnose for FindError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Path { .. } => FailureCode::ConfigureCmdline,
            Self::Read { .. } => FailureCode::ConfigureHost,
        }
    }
}

/// Finds the host config of the machine whose files are under `root` (`/` in a boot).
///
/// # Errors
///
/// A source that is named or exists, and cannot be read.
pub fn find(root: &Path, cmdline: &Parameters) -> Result<Option<Found>, FindError> {
    if let Some(value) = cmdline.last(SETTING) {
        if !value.starts_with('/') {
            return Err(FindError::Path {
                value: value.to_owned(),
            });
        }
        let source = Source::Config(value.to_owned());
        return match read_bounded(&baked(root, value), LIMITS.host_config_bytes) {
            Ok(bytes) => Ok(Some(Found { source, bytes })),
            Err(error) => Err(FindError::Read {
                from: source,
                source: error,
            }),
        };
    }
    file(root)
}

fn file(root: &Path) -> Result<Option<Found>, FindError> {
    let source = Source::Initramfs;
    match read_bounded(&baked(root, HOST_CONFIG_FILE), LIMITS.host_config_bytes) {
        Ok(bytes) => Ok(Some(Found { source, bytes })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FindError::Read {
            from: source,
            source: error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn found(line: &str, change: impl FnOnce(&Path)) -> Result<Option<Found>, FindError> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/sealboot")).unwrap();
        change(root.path());
        find(root.path(), &Parameters::parse(line))
    }

    fn bake(root: &Path) {
        fs::write(root.join("etc/sealboot/host.json"), "baked").unwrap();
    }

    #[test]
    fn where_nothing_stands_nothing_is_found() {
        assert_eq!(found("", |_| {}).unwrap(), None);
    }

    #[test]
    fn a_file_that_exists_and_cannot_be_read_is_an_error_that_names_it() {
        let a_directory =
            |root: &Path| fs::create_dir(root.join("etc/sealboot/host.json")).unwrap();
        for (line, name) in [
            ("", "/etc/sealboot/host.json"),
            ("sealboot.config=/absent", "sealboot.config=/absent"),
            (
                "sealboot.config=/etc/sealboot/",
                "sealboot.config=/etc/sealboot/",
            ),
        ] {
            let error = found(line, a_directory).unwrap_err();
            assert_eq!(error.code(), FailureCode::ConfigureHost, "{line}");
            assert_eq!(
                error.to_string(),
                format!("the host config {name} cannot be read")
            );
        }
    }

    #[test]
    fn a_setting_that_is_no_path_is_an_error_whatever_is_baked_in() {
        for line in ["sealboot.config=other.json", "sealboot.config="] {
            let error = found(line, bake).unwrap_err();
            assert_eq!(error.code(), FailureCode::ConfigureCmdline, "{line}");
        }
    }

    #[test]
    fn the_file_that_the_command_line_names_comes_first() {
        let both = |root: &Path| {
            bake(root);
            fs::write(root.join("other"), "other").unwrap();
        };
        for (line, word, bytes) in [
            ("", "initramfs", "baked"),
            ("sealboot.config=/other", "config", "other"),
        ] {
            let found = found(line, both).unwrap().unwrap();
            assert_eq!((found.source.word(), found.bytes), (word, bytes.into()));
        }
    }

    #[test]
    fn no_more_is_read_than_shows_that_it_is_too_much() {
        let large = |root: &Path| {
            fs::write(root.join("etc/sealboot/host.json"), vec![b' '; 100_000]).unwrap();
        };
        assert_eq!(found("", large).unwrap().unwrap().bytes.len(), 65_537);
    }
}
