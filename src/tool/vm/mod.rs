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
mod last_words;
pub mod os;
mod process;
mod running;
mod saved;
mod stage_line;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use thiserror::Error;

pub use acceleration::Acceleration;
pub use last_words::{LastWords, ResetBy};
pub use process::Process;
pub use running::{Ending, Running};
pub use stage_line::StageLine;

/// QEMU for x86-64 guests, as found in PATH.
const QEMU: &str = "qemu-system-x86_64";

/// A kernel command line for a machine that is watched over its serial port, and that ends where its
/// kernel panics instead of standing still.
pub const DEFAULT_APPEND: &str = "console=ttyS0 panic=-1";

/// The line of `sealboot vm boot`, whose disks are all virtio's: a kernel that has their driver built in leaves them alone,
/// and to any other kernel the last word means nothing.
pub const BOOT_APPEND: &str = "console=ttyS0 panic=-1 initcall_blacklist=virtio_blk_init";

/// What a kernel command line needs besides where QEMU emulates the processors, as it does without KVM.
///
/// Without the first, a timer that a busy host delays looks broken to the kernel, which panics. Without the second, the
/// kernel patches the code of its scheduler clock while other processors run it, and QEMU now and then lets one of them
/// run into the breakpoint after the kernel has forgotten it: `Oops: int3 ... sched_clock_cpu`, in two of 34 boots.
pub const EMULATED: &str = "no_timer_check tsc=unstable";

/// Where a guest with the default network reaches the loopback of this host (QEMU's user-mode network).
pub const HOST_ADDRESS: &str = "10.0.2.2";

/// OVMF, the UEFI firmware for QEMU, where Debian's package puts it: its program, and its variables as they are at first.
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// What a machine runs before its kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF. It takes ten seconds longer where instructions are translated.
    Uefi {
        /// Where its variables are kept: [`Firmware::uefi`] makes such a file.
        vars: PathBuf,
    },
}

impl Firmware {
    /// UEFI with variables of its own in `vars`, which is made as they are at first, unless it is there.
    ///
    /// # Errors
    ///
    /// [`Error::NoFirmware`] where OVMF is not installed, [`Error::Variables`] where the file cannot be made.
    pub fn uefi(vars: impl Into<PathBuf>) -> Result<Self, Error> {
        let vars = vars.into();
        if !vars.exists() {
            fs::copy(OVMF_VARS, &vars).map_err(|source| match Path::new(OVMF_VARS).exists() {
                false => Error::NoFirmware,
                true => Error::Variables {
                    path: vars.clone(),
                    source,
                },
            })?;
        }
        Ok(Self::Uefi { vars })
    }

    /// QEMU's options for it.
    fn options(&self) -> Vec<OsString> {
        let Self::Uefi { vars } = self else {
            return Vec::new();
        };
        let flash = "if=pflash,format=raw,unit=";
        vec![
            "-drive".into(),
            format!("{flash}0,readonly=on,file={OVMF_CODE}").into(),
            "-drive".into(),
            with_path(format!("{flash}1,file="), vars),
        ]
    }
}

/// What follows when the guest resets itself, which is also what a panicking kernel does under `panic=-1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// The machine ends.
    Ends,
    /// It boots again, and its console goes on.
    Reboots,
}

/// The model of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// QEMU's own.
    Virtio,
    /// VMware's.
    Vmxnet3,
    /// Intel's 82574L.
    E1000e,
}

impl Model {
    /// QEMU's name for it.
    const fn driver(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci",
            Self::Vmxnet3 => "vmxnet3",
            Self::E1000e => "e1000e",
        }
    }
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its model.
    pub model: Model,
    /// What it hangs on.
    pub wire: Wire,
}

/// What a network card hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// QEMU's user-mode network.
    User,
    /// One end of a cable between two machines, which is a socket at this path: the end of the machine that starts
    /// first, and makes it.
    First(PathBuf),
    /// The other end. Where this machine starts, the first one must have its end already.
    Second(PathBuf),
}

/// Whether a cable is in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    /// It is; the card has a carrier.
    Whole,
    /// It is not.
    Cut,
}

impl Nic {
    /// A card on QEMU's user-mode network.
    #[must_use]
    pub const fn user(model: Model) -> Self {
        Self {
            model,
            wire: Wire::User,
        }
    }

    /// The values of `-netdev` and `-device` for the card with this number.
    fn options(&self, index: usize) -> (OsString, String) {
        // No option ROM: nothing boots from this card, and the ROM is in another package.
        let mut device = format!("{},netdev=net{index},romfile=", self.model.driver());
        let (start, end, path) = match &self.wire {
            Wire::User => return (format!("user,id=net{index},ipv6=off").into(), device),
            Wire::First(path) => ("on", 0, path),
            Wire::Second(path) => ("off", 1, path),
        };
        // QEMU gives the cards of every machine the same addresses.
        let _ = write!(device, ",mac=52:54:00:77:{end:02x}:{index:02x}");
        if self.model == Model::Virtio {
            // Without these LACP leaves a port alone.
            device.push_str(",speed=10000,duplex=full");
        }
        let netdev = format!("stream,id=net{index},server={start},addr.type=unix,addr.path=");
        (with_path(netdev, path), device)
    }
}

/// A disk, by its raw image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// A virtio block device.
    Virtio(PathBuf),
    /// An NVMe device.
    Nvme(PathBuf),
    /// A disk on the AHCI controller of the chipset.
    Sata(PathBuf),
    /// A stick on a USB controller of its own.
    Usb(PathBuf),
}

impl Disk {
    /// Returns the values of `-drive` and of each `-device` for the disk with this number.
    fn options(&self, index: usize) -> (OsString, Vec<String>) {
        let (image, device, controller) = match self {
            Self::Virtio(image) => (image, "virtio-blk-pci".to_owned(), None),
            Self::Nvme(image) => (image, format!("nvme,serial=disk{index}"), None),
            // The chipset has six ports.
            Self::Sata(image) => (image, format!("ide-hd,bus=ide.{index}"), None),
            Self::Usb(image) => {
                let controller = format!("qemu-xhci,id=usb{index}");
                let device = format!("usb-storage,bus=usb{index}.0");
                (image, device, Some(controller))
            }
        };
        let drive = format!("id=disk{index},if=none,format=raw,file=");
        let device = format!("{device},drive=disk{index}");
        (
            with_path(drive, image),
            controller.into_iter().chain([device]).collect(),
        )
    }

    /// Returns where its image is.
    const fn image_mut(&mut self) -> &mut PathBuf {
        match self {
            Self::Virtio(image) | Self::Nvme(image) | Self::Sata(image) | Self::Usb(image) => image,
        }
    }
}

/// The empty slot of a machine without a network card; QEMU keeps `slot` and `port` for itself.
const SLOT: &str = "nic-slot";

/// A machine with a serial console and network cards. On QEMU's user-mode network, a DHCP server offers
/// 10.0.2.15/24.
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
    /// The network cards; without any there is an empty PCIe slot, for [`Running::plug`].
    pub nics: Vec<Nic>,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// What the real-time clock says at the start; this host's time if none.
    pub clock: Option<Timestamp>,
    /// How instructions are run.
    pub acceleration: Acceleration,
    /// What runs before the kernel.
    pub firmware: Firmware,
    /// What the firmware tells of the machine, each a value of QEMU's `-smbios`: `type=1,serial=…`.
    pub smbios: Vec<String>,
    /// What QEMU hands to the guest, by names such as `opt/ORGANISATION/…`.
    pub fw_cfg: Vec<(String, PathBuf)>,
    /// What follows when the guest resets itself.
    pub on_reset: Reset,
    /// Whether it has a screen, of which [`Running::screen`] gives the text.
    pub screen: bool,
    /// Whether it has a watchdog, Intel's 6300ESB, which resets it where it is armed and not fed.
    pub watchdog: bool,
}

impl Machine {
    /// A machine with a BIOS, 1 GiB of memory, two processors, a virtio network card and no disk, which ends
    /// when it resets itself.
    #[must_use]
    pub fn new(kernel: impl Into<PathBuf>, initramfs: impl Into<PathBuf>) -> Self {
        Self {
            kernel: kernel.into(),
            initramfs: initramfs.into(),
            append: DEFAULT_APPEND.to_owned(),
            memory_mib: 1024,
            cpus: 2,
            nics: vec![Nic::user(Model::Virtio)],
            disks: Vec::new(),
            clock: None,
            acceleration: Acceleration::detect(),
            firmware: Firmware::Bios,
            smbios: Vec::new(),
            fw_cfg: Vec::new(),
            on_reset: Reset::Ends,
            screen: false,
            watchdog: false,
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
            .args(self.firmware.options())
            // A panic that the guest tells of ends QEMU.
            .args(["-action", "panic=exit-failure"])
            // `signal=on`: at a terminal Ctrl-C ends QEMU instead of being typed into the guest.
            .args(["-chardev", "stdio,id=console,signal=on"])
            .args(["-serial", "chardev:console"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", &self.append]);
        if self.on_reset == Reset::Ends {
            // So does a triple fault then.
            command.arg("-no-reboot");
        }
        if self.screen {
            command.args(["-device", "VGA"]);
        }
        if self.watchdog {
            command.args(["-device", "i6300esb"]);
        }
        for table in &self.smbios {
            command.args(["-smbios", table]);
        }
        for (name, file) in &self.fw_cfg {
            command
                .arg("-fw_cfg")
                .arg(with_path(format!("name={name},file="), file));
        }
        for (index, nic) in self.nics.iter().enumerate() {
            let (netdev, device) = nic.options(index);
            command
                .arg("-netdev")
                .arg(netdev)
                .args(["-device", &device]);
        }
        if self.nics.is_empty() {
            command
                .args(["-netdev", "user,id=net0,ipv6=off"])
                .args(["-device", &format!("pcie-root-port,id={SLOT}")]);
        }
        if let Some(clock) = self.clock {
            command.args([
                "-rtc",
                &format!("base={}", clock.strftime("%Y-%m-%dT%H:%M:%S")),
            ]);
        }
        for (index, disk) in self.disks.iter().enumerate() {
            let (drive, devices) = disk.options(index);
            command.arg("-drive").arg(drive);
            for device in &devices {
                command.args(["-device", device]);
            }
        }
        let qmp = qmp(&mut command);
        command
            .args(["-chardev", &format!("socket,id=qmp,fd={qmp}")])
            .args(["-mon", "chardev=qmp,mode=control"]);
        command
    }
}

/// A QEMU option that ends with a file's name. A comma in it would end a value, unless doubled.
fn with_path(option: String, file: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    let mut value = option.into_bytes();
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
    /// A machine is to have UEFI, and there is none.
    #[error("{OVMF_VARS} is not installed")]
    NoFirmware,
    /// There is no file for what the firmware keeps.
    #[error("cannot write {}", path.display())]
    Variables {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The machine's state cannot be saved, or one of this kind cannot be restored from it.
    #[error("the saved state {} cannot be used: {words}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What QEMU says about it.
        words: String,
    },
    /// A file of the machine cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
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
            Self::NoFirmware => {
                Some("install it; the Debian package is ovmf (apt-get install ovmf)")
            }
            Self::Variables { .. }
            | Self::Spawn(_)
            | Self::State { .. }
            | Self::File { .. }
            | Self::Refused { .. }
            | Self::Connection(_) => None,
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

        machine.disks.push(Disk::Virtio("/a".into()));
        machine.disks.push(Disk::Nvme("/b,c".into()));
        machine.disks.push(Disk::Sata("/d".into()));
        machine.disks.push(Disk::Usb("/e".into()));
        machine.clock = Some("2030-01-02T03:04:05Z".parse().unwrap());
        machine.nics.clear();
        assert!(bare.contains(&"-no-reboot".to_owned()));
        for option in ["-smbios", "-fw_cfg", "pflash", "i6300esb", "VGA"] {
            let given = |argument: &String| argument.contains(option);
            assert!(!bare.iter().any(given), "{option}");
        }
        machine.firmware = Firmware::Uefi {
            vars: "/v,w".into(),
        };
        machine.smbios.push("type=1,serial=a".to_owned());
        machine.fw_cfg.push(("opt/x".to_owned(), "/f".into()));
        machine.on_reset = Reset::Reboots;
        machine.screen = true;
        machine.watchdog = true;
        let full = arguments(&machine);
        assert!(full.contains(&"pcie-root-port,id=nic-slot".to_owned()));
        assert!(!full.iter().any(|argument| argument.contains("virtio-net")));
        assert!(full.contains(&"id=disk0,if=none,format=raw,file=/a".to_owned()));
        assert!(full.contains(&"virtio-blk-pci,drive=disk0".to_owned()));
        assert!(full.contains(&"id=disk1,if=none,format=raw,file=/b,,c".to_owned()));
        assert!(full.contains(&"nvme,serial=disk1,drive=disk1".to_owned()));
        assert!(full.contains(&"ide-hd,bus=ide.2,drive=disk2".to_owned()));
        assert!(full.contains(&"qemu-xhci,id=usb3".to_owned()));
        assert!(full.contains(&"usb-storage,bus=usb3.0,drive=disk3".to_owned()));
        assert!(full.contains(&"base=2030-01-02T03:04:05".to_owned()));
        assert!(full.contains(&"socket,id=qmp,fd=7".to_owned()));
        assert!(full.contains(&"if=pflash,format=raw,unit=1,file=/v,,w".to_owned()));
        assert!(full.contains(&"type=1,serial=a".to_owned()));
        assert!(full.contains(&"name=opt/x,file=/f".to_owned()));
        assert!(full.contains(&"VGA".to_owned()));
        assert!(full.contains(&"i6300esb".to_owned()));
        assert!(!full.contains(&"-no-reboot".to_owned()));
    }

    #[test]
    fn a_comma_in_a_disks_name_adds_no_option() {
        assert_eq!(
            with_path("file=".to_owned(), Path::new("/a,readonly=on")),
            "file=/a,,readonly=on"
        );
    }

    #[test]
    fn a_cable_has_two_ends_with_addresses_of_their_own() {
        let mut machine = Machine::new("/k", "/i");
        let model = Model::Virtio;
        machine.nics = vec![
            Nic::user(Model::E1000e),
            Nic {
                model,
                wire: Wire::First("/a,b".into()),
            },
            Nic {
                model,
                wire: Wire::Second("/c".into()),
            },
        ];
        let arguments = arguments(&machine);
        for expected in [
            "user,id=net0,ipv6=off",
            "e1000e,netdev=net0,romfile=",
            "stream,id=net1,server=on,addr.type=unix,addr.path=/a,,b",
            "virtio-net-pci,netdev=net1,romfile=,mac=52:54:00:77:00:01,speed=10000,duplex=full",
            "stream,id=net2,server=off,addr.type=unix,addr.path=/c",
            "virtio-net-pci,netdev=net2,romfile=,mac=52:54:00:77:01:02,speed=10000,duplex=full",
        ] {
            assert!(arguments.contains(&expected.to_owned()), "{expected}");
        }
    }
}
