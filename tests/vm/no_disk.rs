//! Disks in the machine are neither read nor written, nor even seen; and what the kernel command line does to that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealboot::vm::debian::Kernel;
use sealboot::vm::{Disk, EMULATED};
use sealboot_core::format::digest::Sha256Digest;
use tempfile::TempDir;

use crate::hardware::modules;
use crate::lab::{IMAGE, Lab, MIN_VERSION, packages};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// Drivers of block devices, or of buses that disks sit on, by the names of their modules.
const BLOCK_DRIVERS: [&str; 15] = [
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "nvme_core",
    "ahci",
    "libahci",
    "libata",
    "ata_piix",
    "sd_mod",
    "scsi_mod",
    "usb_storage",
    "uas",
    "mmc_block",
    "xen_blkfront",
    "loop",
];

/// The controllers of the disks of [`Disks`], as the small OS names them.
const CONTROLLERS: [&str; 4] = [
    "disk hardware 1af4:1001 driver",
    "disk hardware 1b36:0010 driver",
    "disk hardware 8086:2922 driver",
    "disk hardware 1b36:000d driver",
];

/// A disk of each kind, with a partition table and a file system.
pub(crate) struct Disks {
    images: Vec<PathBuf>,
    before: Vec<Sha256Digest>,
}

impl Disks {
    pub(crate) fn within(directory: &Path) -> Self {
        let kinds = ["virtio", "nvme", "sata", "usb"];
        let images = kinds.map(|kind| {
            let image = directory.join(format!("{kind}.disk"));
            make_disk(&image, 1 << 20, None);
            image
        });
        let before = images.each_ref().map(|image| digest(image)).into();
        Self {
            images: images.into(),
            before,
        }
    }

    pub(crate) fn attached(&self) -> Vec<Disk> {
        let kinds = [Disk::Virtio, Disk::Nvme, Disk::Sata, Disk::Usb];
        let images = self.images.iter().cloned();
        kinds
            .into_iter()
            .zip(images)
            .map(|(kind, image)| kind(image))
            .collect()
    }

    /// Fails unless neither kernel of this console had a disk, and none was written to.
    pub(crate) fn assert_untouched(&self, console: &str) {
        for controller in CONTROLLERS {
            assert!(console.contains(controller), "{controller}\n{console}");
        }
        for said in [
            " stage=prepare status=ok ",
            " disks=0",
            "block devices none",
            "disks mounted 0",
        ] {
            assert!(console.contains(said), "{said}\n{console}");
        }
        // A kernel names a disk, and its partitions, as soon as it has read them.
        for trace in [
            "[vda]",
            " vda",
            "nvme0n1",
            "nvme nvme0",
            "[sda]",
            " sda",
            "scsi host",
            "usb-storage",
        ] {
            assert!(!console.contains(trace), "{trace:?} in\n{console}");
        }
        let after: Vec<Sha256Digest> = self.images.iter().map(|image| digest(image)).collect();
        assert_eq!(after, self.before);
    }
}

/// Makes a disk of 16 MiB with a file system at `offset`, of these files if any; before it is a partition table.
fn make_disk(path: &Path, offset: u64, files: Option<&Path>) {
    const SECTOR: u64 = 512;
    let bytes: u64 = 16 << 20;
    let disk = fs::File::create(path).unwrap();
    disk.set_len(bytes).unwrap();
    let mut format = Command::new("/usr/sbin/mkfs.ext4");
    format.args(["-q", "-E", &format!("offset={offset}")]);
    if let Some(files) = files {
        format.arg("-d").arg(files);
    }
    let kib = (bytes - offset) / 1024;
    let made = format.arg(path).arg(format!("{kib}k")).status().unwrap();
    assert!(made.success(), "mkfs.ext4");
    if offset > 0 {
        let number = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap().to_le_bytes();
        // One partition of Linux, by its LBA alone.
        let mut sector = fs::read(path).unwrap();
        sector[446..454].copy_from_slice(&[0, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
        sector[454..458].copy_from_slice(&number(offset));
        sector[458..462].copy_from_slice(&number(bytes - offset));
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        fs::write(path, sector).unwrap();
    }
}

fn digest(path: &Path) -> Sha256Digest {
    Sha256Digest::of(&fs::read(path).unwrap())
}

#[tokio::test]
async fn disks_of_four_kinds_stay_as_they_are_and_get_no_driver() {
    let directory = TempDir::new().unwrap();
    let disks = Disks::within(directory.path());
    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        disks: disks.attached(),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine.runs_the_os().await;

    disks.assert_untouched(&console);
    let modules = modules(&console);
    assert!(modules.contains(&"virtio_net"), "{modules:?}");
    for driver in BLOCK_DRIVERS {
        assert!(!modules.contains(&driver), "{driver} in {modules:?}");
    }
}

#[tokio::test]
async fn a_policy_that_refuses_disks_ends_a_boot_beside_one() {
    let lab = Lab::get();
    let packages = packages(Kernel::Debian13Cloud);
    let store = Store::published();
    let at = |name: &str| lab.path(name).to_str().unwrap().to_owned();
    let (alice, bob) = (at("keys/alice.pub"), at("keys/bob.pub"));
    let accepted = format!("{IMAGE}={MIN_VERSION}");
    let desk = store.desk();
    let policy = desk.join("refuse.json");
    #[rustfmt::skip]
    lab.run(desk, [
        "policy", "create", "--threshold", "2", "--key", &alice, "--key", &bob,
        "--image", &accepted, "--retry-initial", "1s", "--retry-max", "2s",
        "--disks", "refuse", "--out", policy.to_str().unwrap(),
    ]);
    let disk = desk.join("disk");
    make_disk(&disk, 1 << 20, None);
    let before = digest(&disk);
    let (initramfs, _) = lab.initramfs_of(&policy, &packages.modules, desk, &[]);
    let options = Options {
        disks: vec![Disk::Nvme(disk.clone())],
        initramfs: Some(initramfs),
        kernel: Some(packages.kernel),
        ..Options::default()
    };
    let server = Server::start(&store).await;
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine.refuses("configure", "CONFIGURE-DISKS").await;
    for said in [
        " disks=1",
        "nvme0n1 (16.8 MB, driver nvme)",
        "initcall_blacklist=",
    ] {
        assert!(console.contains(said), "{said}\n{console}");
    }
    assert_eq!(digest(&disk), before);
}

/// The line of an attacker who controls it: neither the loader nor a shell, but what is on the disk.
const ATTACK: &str = "console=ttyS0 panic=-1 rdinit=/bin/sh root=/dev/nvme0n1 rw";

#[tokio::test]
async fn an_os_on_a_disk_runs_where_the_kernel_has_its_drivers() {
    let lab = Lab::get();
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("root");
    for place in ["bin", "sbin", "dev"] {
        fs::create_dir_all(root.join(place)).unwrap();
    }
    fs::copy(&lab.busybox, root.join("bin/busybox")).unwrap();
    let init = root.join("sbin/init");
    fs::write(
        &init,
        "#!/bin/busybox sh\necho an unsigned OS runs\nexec /bin/busybox poweroff -f\n",
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&init, mode).unwrap();
    let disk = directory.path().join("disk");
    make_disk(&disk, 0, Some(&root));

    // Debian's kernel for clouds has NVMe and ext4 built in: nothing in an initramfs can be in the way.
    let cloud = packages(Kernel::Debian13Cloud);
    let options = |kernel: PathBuf| Options {
        disks: vec![Disk::Nvme(disk.clone())],
        kernel: Some(kernel),
        line: Some(format!("{ATTACK} {EMULATED}")),
        ..Options::default()
    };
    let machine = Machine::boot_by_itself(options(cloud.kernel)).await;
    let console = machine.powers_off_after("an unsigned OS runs").await;
    assert!(!console.contains("sealboot:"), "{console}");

    // The one for every machine has neither, and this initramfs has no shell and no driver of a disk.
    let every = packages(Kernel::Debian13);
    let mut machine = Machine::boot_by_itself(options(every.kernel)).await;
    machine
        .until_said("VFS: Unable to mount root fs on", 0)
        .await;
    let console = machine.console();
    for never in ["an unsigned OS runs", "sealboot:", "/ #", "nvme nvme0"] {
        assert!(!console.contains(never), "{never}\n{console}");
    }
}
