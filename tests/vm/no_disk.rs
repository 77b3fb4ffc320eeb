//! Disks in the machine are neither read nor written, nor even seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealboot::vm::Disk;
use sealboot_core::format::digest::Sha256Digest;
use tempfile::TempDir;

use crate::hardware::modules;
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
            make_disk(&image);
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

/// Makes a disk of 16 MiB with a partition table and, from 1 MiB on, a file system.
fn make_disk(path: &Path) {
    const SECTOR: u64 = 512;
    let (bytes, offset): (u64, u64) = (16 << 20, 1 << 20);
    let disk = fs::File::create(path).unwrap();
    disk.set_len(bytes).unwrap();
    let made = Command::new("/usr/sbin/mkfs.ext4")
        .args(["-q", "-E", &format!("offset={offset}")])
        .arg(path)
        .arg(format!("{}k", (bytes - offset) / 1024))
        .status();
    assert!(made.unwrap().success(), "mkfs.ext4");
    let number = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap().to_le_bytes();
    // One partition of Linux, by its LBA alone.
    let mut sector = fs::read(path).unwrap();
    sector[446..454].copy_from_slice(&[0, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
    sector[454..458].copy_from_slice(&number(offset));
    sector[458..462].copy_from_slice(&number(bytes - offset));
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(path, sector).unwrap();
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
