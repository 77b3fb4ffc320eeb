//! Machines in QEMU: what `sealboot vm boot`, `sealboot demo` and the VM tests start.
//!
//! A [`Machine`] is a description. [`Machine::start`] turns it into a [`Running`] QEMU, whose serial
//! console is read as bytes, and whose end is told by QEMU itself over QMP: a guest that powered
//! itself off ends differently from one that reset itself, which is what a panicking kernel does under
//! `panic=-1`. QEMU's exit status would be 0 for both.
//!
//! Nothing outlives its owner: see [`Process`].

mod acceleration;
pub mod debian;
pub mod os;
mod process;
mod running;
mod stage_line;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use thiserror::Error;

pub use acceleration::Acceleration;
pub use process::Process;
pub use running::{Ending, Running};
pub use stage_line::StageLine;

/// QEMU for x86-64 guests, as found in PATH.
const QEMU: &str = "qemu-system-x86_64";

/// A kernel command line for a machine that is watched over its serial port, and that ends where its
/// kernel panics instead of standing still.
pub const DEFAULT_APPEND: &str = "console=ttyS0 panic=-1";

/// Where a guest with the default network reaches the loopback of this host (QEMU's user-mode network).
pub const HOST_ADDRESS: &str = "10.0.2.2";

/// The model of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nic {
    /// QEMU's own.
    Virtio,
    /// VMware's.
    Vmxnet3,
    /// Intel's 82574L.
    E1000e,
}

impl Nic {
    /// QEMU's name for it.
    const fn model(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci",
            Self::Vmxnet3 => "vmxnet3",
            Self::E1000e => "e1000e",
        }
    }
}

/// The empty slot of a machine without a network card; QEMU keeps `slot` and `port` for itself.
const SLOT: &str = "nic-slot";

/// A machine with a serial console and a network card behind QEMU's user-mode network, whose DHCP server
/// offers 10.0.2.15/24. A reset ends it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The kernel, which QEMU loads itself.
    pub kernel: PathBuf,
    /// The initramfs, likewise.
    pub initramfs: PathBuf,
    /// The kernel command line.
    pub append: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u32,
    /// The network card; without one there is an empty PCIe slot, for [`Running::plug`].
    pub nic: Option<Nic>,
    /// Raw disk images, attached as virtio block devices.
    pub disks: Vec<PathBuf>,
    /// What the real-time clock says at the start; this host's time if none.
    pub clock: Option<Timestamp>,
    /// How instructions are run.
    pub acceleration: Acceleration,
}

impl Machine {
    /// A machine with 1 GiB of memory, two processors, a virtio network card and no disk.
    #[must_use]
    pub fn new(kernel: impl Into<PathBuf>, initramfs: impl Into<PathBuf>) -> Self {
        Self {
            kernel: kernel.into(),
            initramfs: initramfs.into(),
            append: DEFAULT_APPEND.to_owned(),
            memory_mib: 1024,
            cpus: 2,
            nic: Some(Nic::Virtio),
            disks: Vec::new(),
            clock: None,
            acceleration: Acceleration::detect(),
        }
    }

    /// The QEMU command; serial console on stdin and stdout, and control over the descriptor `qmp`.
    fn command(&self, qmp: impl FnOnce(&mut Command) -> i32) -> Command {
        let mut command = Command::new(QEMU);
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-machine", "q35"])
            .args(self.acceleration.options())
            .args(["-smp", &self.cpus.to_string()])
            .args(["-m", &format!("{}M", self.memory_mib)])
            // A triple fault or a reboot ends QEMU, and so does a panic that the guest tells of.
            .args(["-no-reboot", "-action", "panic=exit-failure"])
            // `signal=on`: at a terminal Ctrl-C ends QEMU instead of being typed into the guest.
            .args(["-chardev", "stdio,id=console,signal=on"])
            .args(["-serial", "chardev:console"])
            .args(["-netdev", "user,id=net0,ipv6=off"])
            .arg("-device")
            .arg(match self.nic {
                // No option ROM: nothing boots from this card, and the ROM is in another package.
                Some(nic) => format!("{},netdev=net0,romfile=", nic.model()),
                None => format!("pcie-root-port,id={SLOT}"),
            })
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", &self.append]);
        if let Some(clock) = self.clock {
            command.args([
                "-rtc",
                &format!("base={}", clock.strftime("%Y-%m-%dT%H:%M:%S")),
            ]);
        }
        for (index, disk) in self.disks.iter().enumerate() {
            command
                .arg("-drive")
                .arg(drive(index, disk))
                .arg("-device")
                .arg(format!("virtio-blk-pci,drive=disk{index}"));
        }
        let qmp = qmp(&mut command);
        command
            .args(["-chardev", &format!("socket,id=qmp,fd={qmp}")])
            .args(["-mon", "chardev=qmp,mode=control"]);
        command
    }
}

/// The value of `-drive` for a raw image. A comma in a QEMU option ends a value, unless doubled.
fn drive(index: usize, file: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    let mut value = format!("id=disk{index},if=none,format=raw,file=").into_bytes();
    for &byte in file.as_os_str().as_bytes() {
        value.push(byte);
        if byte == b',' {
            value.push(byte);
        }
    }
    OsString::from_vec(value)
}

/// Why a machine did not run.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no QEMU in PATH.
    #[error("{QEMU} is not installed")]
    Missing,
    /// QEMU is there and could not be started.
    #[error("cannot start {QEMU}")]
    Spawn(#[source] io::Error),
    /// QEMU did not do what it was asked to.
    #[error("QEMU refuses {command}: {words}")]
    Refused {
        /// The QMP command.
        command: &'static str,
        /// What QEMU says about it.
        words: String,
    },
    /// The console or the control connection broke.
    #[error("the connection to QEMU broke")]
    Connection(#[source] io::Error),
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing => Some(
                "install it; the Debian package is qemu-system-x86 (apt-get install qemu-system-x86)",
            ),
            Self::Spawn(_) | Self::Refused { .. } | Self::Connection(_) => None,
        }
    }
}

/// Is QEMU in PATH?
#[must_use]
pub fn is_installed() -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(QEMU).is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(machine: &Machine) -> Vec<String> {
        machine
            .command(|_| 7)
            .get_args()
            .map(|argument| argument.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_machine_has_only_what_its_description_names() {
        let mut machine = Machine::new("/k", "/i");
        let bare = arguments(&machine);
        assert!(bare.contains(&"-nodefaults".to_owned()));
        assert!(!bare.iter().any(|argument| argument.contains("virtio-blk")));
        assert!(!bare.contains(&"-rtc".to_owned()));
        assert!(bare.contains(&"virtio-net-pci,netdev=net0,romfile=".to_owned()));
        assert!(
            !bare
                .iter()
                .any(|argument| argument.contains("pcie-root-port"))
        );

        machine.disks.push("/a".into());
        machine.clock = Some("2030-01-02T03:04:05Z".parse().unwrap());
        machine.nic = None;
        let full = arguments(&machine);
        assert!(full.contains(&"pcie-root-port,id=nic-slot".to_owned()));
        assert!(!full.iter().any(|argument| argument.contains("virtio-net")));
        assert!(full.contains(&"id=disk0,if=none,format=raw,file=/a".to_owned()));
        assert!(full.contains(&"base=2030-01-02T03:04:05".to_owned()));
        assert!(full.contains(&"socket,id=qmp,fd=7".to_owned()));
    }

    #[test]
    fn a_comma_in_a_disks_name_adds_no_option() {
        assert_eq!(
            drive(0, Path::new("/a,readonly=on")),
            "id=disk0,if=none,format=raw,file=/a,,readonly=on"
        );
    }
}
