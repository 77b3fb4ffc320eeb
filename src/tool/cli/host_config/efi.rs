//! `sealboot host-config write-efi` and `remove-efi`: the host config that a machine's own firmware keeps.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{load, output};
use crate::cli::support::Failure;
use sealboot_sys::firmware::efi::{self, EfiError, Variable, Variables, Written};

const VARIABLE: Variable = Variable::HOST_CONFIG;

/// Keep a host config in an EFI variable of this machine.
///
/// A loader takes the host config from there where none is baked into its initramfs and the command line
/// names none, so one initramfs serves machines with different host configs. The file is first read as a
/// loader reads it, and what a loader would refuse is not written. Prints the variable's path; a file that
/// stands there already is not written again.
#[derive(Debug, Args)]
pub(in crate::cli) struct WriteArgs {
    /// The host config
    file: PathBuf,

    /// Also check the host config against the trust policy of the loader that will read it
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    #[command(flatten)]
    machine: MachineArgs,
}

/// Remove the host config from this machine's EFI variables.
///
/// Nothing is done where there is none.
#[derive(Debug, Args)]
pub(in crate::cli) struct RemoveArgs {
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Debug, Args)]
struct MachineArgs {
    /// The root of the machine's file system
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

pub(super) fn write(args: &WriteArgs) -> Result<(), Failure> {
    let bytes = load(&args.file, args.policy.as_deref())?.bytes;
    let variables = open(&args.machine.root)?;
    let written = variables
        .write(VARIABLE, &bytes)
        .map_err(|error| failed(&error))?;
    output::talk(match written {
        Written::Now => format!("this machine keeps {} from now on", args.file.display()),
        Written::Before => format!(
            "this machine keeps {} already; nothing was written",
            args.file.display()
        ),
    });
    output::data(&format!("{}\n", variables.path(VARIABLE).display()))
}

pub(super) fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    let variables = open(&args.machine.root)?;
    let is_there = variables.path(VARIABLE).exists();
    variables.remove(VARIABLE).map_err(|error| failed(&error))?;
    output::talk(match is_there {
        true => format!("the EFI variable {VARIABLE} is removed"),
        false => format!("there is no EFI variable {VARIABLE}"),
    });
    Ok(())
}

fn open(root: &Path) -> Result<Variables, Failure> {
    let variables = Variables::open(root).map_err(|error| failed(&error))?;
    variables.ok_or_else(|| {
        if efi::is_there(root) {
            Failure::new("this machine has EFI, but its kernel shows no EFI variables")
                .hint("load efivarfs as root (modprobe efivarfs), and boot without efi=noruntime")
        } else {
            Failure::new("this machine was not booted by EFI").hint(
                "have it boot by UEFI, or give the loader its host config in the initramfs, in an SMBIOS string or on the kernel command line; docs/host-config.md has them all",
            )
        }
    })
}

fn failed(error: &EfiError) -> Failure {
    Failure::from_error(error, Some(error.hint().to_owned()))
}
