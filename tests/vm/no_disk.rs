//! A disk in the machine is neither read nor written, nor even seen.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use sealboot::vm::Disk;
use sealboot_core::format::digest::Sha256Digest;

use crate::hardware::modules;
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// Drivers of block devices, or of buses that disks sit on, by the names of their modules.
const BLOCK_DRIVERS: [&str; 12] = [
    "virtio_blk",
    "virtio_scsi",
    "nvme",
    "nvme_core",
    "ahci",
    "libata",
    "ata_piix",
    "sd_mod",
    "scsi_mod",
    "usb_storage",
    "xen_blkfront",
    "loop",
];

#[tokio::test]
async fn a_disk_in_the_machine_stays_as_it_is_and_gets_no_driver() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let before = make_disk(&disk);

    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        disks: vec![Disk::Virtio(disk.clone())],
        ..Options::default()
    };
    let console = Machine::boot_with(server.port, options)
        .await
        .runs_the_os()
        .await;

    assert_eq!(Sha256Digest::of(&fs::read(&disk).unwrap()), before);
    // The disk was there to be found: virtio's block device, by its bus, which the kernel has built in, and no more.
    assert!(
        console.contains("disk hardware 1af4:1001 driver virtio-pci"),
        "{console}"
    );
    let modules = modules(&console);
    assert!(modules.contains(&"virtio_net"), "{modules:?}");
    for driver in BLOCK_DRIVERS {
        assert!(!modules.contains(&driver), "{driver} in {modules:?}");
    }
    assert!(console.contains("block devices none"), "{console}");
    for trace in ["virtio_blk", "[vda]", " vda"] {
        assert!(!console.contains(trace), "{trace:?} in\n{console}");
    }
}

/// Makes a disk of a pattern that differs in every sector, with a partition table's signature.
pub(crate) fn make_disk(path: &Path) -> Sha256Digest {
    let mut bytes = Vec::new();
    for sector in 0..32_768_u32 {
        bytes.extend(
            Sha256Digest::of(&sector.to_le_bytes())
                .as_bytes()
                .repeat(16),
        );
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::File::create(path).unwrap().write_all(&bytes).unwrap();
    Sha256Digest::of(&bytes)
}
