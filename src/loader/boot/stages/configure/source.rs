//! Where a machine's host config is found.
//!
//! [`find`] takes the first source that exists and gives its bytes as they are: whoever calls it decides what
//! must be true of them before they are parsed. Nothing falls through: a source that exists and cannot be read is an
//! error.
//!
//! | source | who sets it |
//! |---|---|
//! | the file that `sealboot.config=` names | the boot menu |
//! | `/etc/sealboot/host.json` | whoever builds the initramfs |
//! | the EFI variable `SealbootHostConfig` | `sealboot host-config write-efi`, once, on the machine |
//! | an OEM string of SMBIOS | the hypervisor, or the vendor's tools |
//! | fw_cfg | QEMU |

use std::fmt;
use std::io;
use std::path::Path;

use super::read_bounded;
use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::layout::{self, HOST_CONFIG_FILE};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::smbios::{self, SmbiosError};
use sealboot_sys::firmware::efi::{EfiError, Variable, Variables};

/// The setting that names another file than the baked-in one.
const SETTING: &str = "sealboot.config";

/// The SMBIOS table as the firmware made it; the kernel has checked its entry point
/// (Documentation/ABI/testing/sysfs-firmware-dmi-tables).
const SMBIOS_TABLE: &str = "/sys/firmware/dmi/tables/DMI";

/// The name that QEMU is given, and where the module qemu_fw_cfg shows what it has
/// (Documentation/ABI/testing/sysfs-firmware-qemu_fw_cfg).
const FW_CFG: &str = "opt/sealboot/host-config";
const FW_CFG_FILE: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/sealboot/host-config/raw";

/// Where a host config stands, in the order in which they are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The file of the initramfs that `sealboot.config=` names.
    Config(String),
    /// The baked-in file.
    Initramfs,
    /// The EFI variable [`Variable::HOST_CONFIG`].
    Efi,
    /// An OEM string of SMBIOS.
    Smbios,
    /// QEMU's fw_cfg.
    FwCfg,
}

impl Source {
    /// Those that are looked at where the command line names none, in their order.
    pub const WITHOUT_A_WORD: [Self; 4] = [Self::Initramfs, Self::Efi, Self::Smbios, Self::FwCfg];

    /// What to do about a host config that stands there and is not good.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Config(_) | Self::Initramfs => {
                "check the file with `sealboot host-config check` and build the initramfs again"
            }
            Self::Efi => {
                "write a good one on the machine (sealboot host-config write-efi FILE), or remove it (sealboot host-config remove-efi)"
            }
            Self::Smbios => {
                "check what the string holds with `sealboot host-config check`, and set it again in the hypervisor's or the firmware's settings"
            }
            Self::FwCfg => {
                "check the file that QEMU is given (-fw_cfg name=opt/sealboot/host-config,file=…) with `sealboot host-config check`"
            }
        }
    }

    /// One word of it, for machines.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Initramfs => "initramfs",
            Self::Efi => "efi",
            Self::Smbios => "smbios",
            Self::FwCfg => "fw_cfg",
        }
    }
}

impl fmt::Display for Source {
    /// As the operator would name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(path) => write!(f, "{SETTING}={path}"),
            Self::Initramfs => f.write_str(HOST_CONFIG_FILE),
            Self::Efi => write!(f, "the EFI variable {}", Variable::HOST_CONFIG),
            Self::Smbios => write!(f, "the SMBIOS OEM string {}", smbios::PREFIX),
            Self::FwCfg => write!(f, "fw_cfg {FW_CFG}"),
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
    #[error("the host config in {from} cannot be read")]
    Read {
        /// Where it stands.
        from: Source,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The EFI variable cannot be read.
    #[error("the host config in {} cannot be read", Source::Efi)]
    Efi(#[source] EfiError),
    /// There is an OEM string that is meant to be one, and is not.
    #[error("the host config in {} cannot be read", Source::Smbios)]
    Smbios(#[source] SmbiosError),
}

impl Diagnose for FindError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Path { .. } => FailureCode::ConfigureCmdline,
            Self::Read { .. } | Self::Efi(_) | Self::Smbios(_) => FailureCode::ConfigureHost,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Path { .. } => self.code().remedy(),
            Self::Read { from, .. } => from.remedy(),
            Self::Efi(error) => error.hint(),
            Self::Smbios(error) => error.hint(),
        }
        .to_owned()
    }
}

/// Finds the host config of the machine whose files are under `root` (`/` in a boot).
///
/// # Errors
///
/// A source that is named or exists, and cannot be read.
pub fn find(root: &Path, cmdline: &Parameters) -> Result<Option<Found>, FindError> {
    if let Some(value) = cmdline.last(SETTING) {
        return named(root, value).map(Some);
    }
    for source in Source::WITHOUT_A_WORD {
        let bytes = match source {
            // It has a word.
            Source::Config(_) => None,
            Source::Initramfs => file(root, HOST_CONFIG_FILE, &source)?,
            Source::Efi => efi_variable(root).map_err(FindError::Efi)?,
            Source::Smbios => oem_string(root)?,
            Source::FwCfg => file(root, FW_CFG_FILE, &source)?,
        };
        if let Some(bytes) = bytes {
            return Ok(Some(Found { source, bytes }));
        }
    }
    Ok(None)
}

/// The file that the command line names, which must be there.
fn named(root: &Path, value: &str) -> Result<Found, FindError> {
    if !value.starts_with('/') {
        return Err(FindError::Path {
            value: value.to_owned(),
        });
    }
    let source = Source::Config(value.to_owned());
    match read_bounded(&layout::under(root, value), LIMITS.host_config_bytes) {
        Ok(bytes) => Ok(Found { source, bytes }),
        Err(error) => Err(FindError::Read {
            from: source,
            source: error,
        }),
    }
}

fn file(root: &Path, path: &str, from: &Source) -> Result<Option<Vec<u8>>, FindError> {
    read_if_there(root, path, LIMITS.host_config_bytes, from)
}

fn efi_variable(root: &Path) -> Result<Option<Vec<u8>>, EfiError> {
    let variables = Variables::open(root)?;
    variables.map_or(Ok(None), |variables| variables.read(Variable::HOST_CONFIG))
}

fn oem_string(root: &Path) -> Result<Option<Vec<u8>>, FindError> {
    let table = read_if_there(root, SMBIOS_TABLE, LIMITS.smbios_bytes, &Source::Smbios)?;
    let table = table.unwrap_or_default();
    smbios::host_config(&table).map_err(FindError::Smbios)
}

fn read_if_there(
    root: &Path,
    path: &str,
    limit: u64,
    from: &Source,
) -> Result<Option<Vec<u8>>, FindError> {
    match read_bounded(&layout::under(root, path), limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FindError::Read {
            from: from.clone(),
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

    fn put(root: &Path, path: &str, bytes: &[u8]) {
        let path = layout::under(root, path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn variable(root: &Path, value: &[u8]) {
        let path = format!("/sys/firmware/efi/efivars/{}", Variable::HOST_CONFIG);
        put(root, &path, &[&[7, 0, 0, 0], value].concat());
    }

    fn oem_strings(root: &Path, strings: &[&str]) {
        let mut table = vec![11, 5, 0, 0, u8::try_from(strings.len()).unwrap()];
        table.extend(
            strings
                .iter()
                .flat_map(|string| [string.as_bytes(), b"\0"].concat()),
        );
        table.extend([0, 127, 4, 0, 0, 0, 0]);
        put(root, SMBIOS_TABLE, &table);
    }

    fn fw_cfg(root: &Path, bytes: &[u8]) {
        put(root, FW_CFG_FILE, bytes);
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
                format!("the host config in {name} cannot be read")
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

    #[test]
    fn the_sources_are_looked_at_in_their_order() {
        let all = |root: &Path| {
            put(root, "/named", b"named");
            bake(root);
            variable(root, b"of efi");
            oem_strings(root, &["other", "sealboot.host-config:of smbios"]);
            fw_cfg(root, b"of fw_cfg");
        };
        let remove = |root: &Path, path: &str| fs::remove_file(layout::under(root, path)).unwrap();
        let efi = format!("/sys/firmware/efi/efivars/{}", Variable::HOST_CONFIG);
        let gone = [HOST_CONFIG_FILE, &efi, SMBIOS_TABLE, FW_CFG_FILE];
        for (without, word, bytes) in [
            (0, "initramfs", "baked"),
            (1, "efi", "of efi"),
            (2, "smbios", "of smbios"),
            (3, "fw_cfg", "of fw_cfg"),
        ] {
            let change = |root: &Path| {
                all(root);
                put(root, "/sys/firmware/efi/efivars/BootOrder-x", &[7, 0, 0, 0]);
                gone[..without].iter().for_each(|path| remove(root, path));
            };
            let first = found("", change).unwrap().unwrap();
            assert_eq!((first.source.word(), first.bytes), (word, bytes.into()));
            let named = found("sealboot.config=/named", change).unwrap().unwrap();
            assert_eq!(named.bytes, b"named", "{word}");
        }
    }

    #[test]
    fn a_source_that_exists_and_is_empty_is_taken() {
        for (word, change) in [
            ("efi", (|root| variable(root, b"")) as fn(&Path)),
            ("smbios", |root| {
                oem_strings(root, &["sealboot.host-config:"])
            }),
            ("fw_cfg", |root| fw_cfg(root, b"")),
        ] {
            let found = found("", change).unwrap().unwrap();
            assert_eq!((found.source.word(), found.bytes), (word, Vec::new()));
        }
    }

    #[test]
    fn a_source_that_exists_and_cannot_be_read_does_not_fall_through() {
        for (fact, change) in [
            (
                "the host config in the EFI variable SealbootHostConfig-df55c348-5613-44bd-be79-b44fa251bce8 cannot be read",
                (|root| {
                    variable(root, b"");
                    let path = format!("/sys/firmware/efi/efivars/{}", Variable::HOST_CONFIG);
                    put(root, &path, b"\x07");
                }) as fn(&Path),
            ),
            (
                "the host config in the SMBIOS OEM string sealboot.host-config cannot be read",
                |root| {
                    oem_strings(
                        root,
                        &["sealboot.host-config:{}", "sealboot.host-config:{}"],
                    )
                },
            ),
            (
                "the host config in the SMBIOS OEM string sealboot.host-config cannot be read",
                |root| fs::create_dir_all(layout::under(root, SMBIOS_TABLE)).unwrap(),
            ),
            (
                "the host config in fw_cfg opt/sealboot/host-config cannot be read",
                |root| fs::create_dir_all(layout::under(root, FW_CFG_FILE)).unwrap(),
            ),
        ] {
            let and_fw_cfg = |root: &Path| {
                change(root);
                if !layout::under(root, FW_CFG_FILE).exists() {
                    fw_cfg(root, b"{}");
                }
            };
            let error = found("", and_fw_cfg).unwrap_err();
            assert_eq!(error.to_string(), fact);
            assert_eq!(error.code(), FailureCode::ConfigureHost, "{fact}");
            assert!(!error.hint().is_empty(), "{fact}");
        }
    }

    #[test]
    fn firmware_that_has_nothing_of_ours_is_passed_by() {
        let others = |root: &Path| {
            put(root, "/sys/firmware/efi/efivars/BootOrder-x", &[7, 0, 0, 0]);
            oem_strings(root, &["Dell System"]);
            put(
                root,
                "/sys/firmware/qemu_fw_cfg/by_name/opt/other/raw",
                b"{}",
            );
        };
        assert_eq!(found("", others).unwrap(), None);
    }
}
