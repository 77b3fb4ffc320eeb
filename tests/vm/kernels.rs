//! Kernels that have the driver of a disk built in, so that every machine with such a disk sees it: Debian's for virtual
//! machines have NVMe's. All other tests boot Debian's kernel for every machine.

use std::fs;

use jiff::Timestamp;
use sealboot::vm::Disk;
use sealboot::vm::debian::Kernel;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::trust::Envelope;

use crate::boots::assert_every_stage_passed;
use crate::lab::{IMAGE, Lab, VERSION, packages};
use crate::machine::{Machine, Options};
use crate::no_disk::make_disk;
use crate::server::Server;
use crate::store::Store;

/// Boots loader and OS by this kernel, beside an NVMe disk.
async fn assert_boots_and_leaves_its_disk_alone(kernel: Kernel, version: &str) {
    let packages = packages(kernel);
    let lab = Lab::get();
    let store = Store::empty();
    let os = store.desk().join("os");
    fs::create_dir(&os).unwrap();
    fs::copy(&packages.kernel, os.join("vmlinuz")).unwrap();
    fs::copy(lab.path("os/initrd"), os.join("initrd")).unwrap();
    let path = lab.pack_at(Timestamp::now(), store.desk(), store.desk(), IMAGE, VERSION);
    for signer in ["alice", "bob"] {
        lab.sign(lab.directory(), &path, signer, store.desk());
    }
    store.show(&Envelope::parse(&fs::read(path).unwrap()).unwrap(), None);

    let disk = store.desk().join("disk");
    let before = make_disk(&disk);
    let server = Server::start(&store).await;
    let options = Options {
        disks: vec![Disk::Nvme(disk.clone())],
        initramfs: Some(lab.initramfs_of(&packages.modules, store.desk(), &[])),
        kernel: Some(packages.kernel),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine.runs_the_os().await;

    assert_every_stage_passed(&console);
    for said in [
        format!("kernel        Linux {version}."),
        "block devices nvme0n1".to_owned(),
        "disks mounted 0".to_owned(),
    ] {
        assert!(console.contains(&said), "{said}\n{console}");
    }
    // Both kernels have seen it.
    assert_eq!(
        console.matches("nvme nvme0: pci function").count(),
        2,
        "{console}"
    );
    assert_eq!(Sha256Digest::of(&fs::read(&disk).unwrap()), before);
}

#[tokio::test]
async fn cloud_kernel_6_1_boots_and_leaves_its_nvme_disk_alone() {
    assert_boots_and_leaves_its_disk_alone(Kernel::Debian12Cloud, "6.1").await;
}

#[tokio::test]
async fn cloud_kernel_6_12_boots_and_leaves_its_nvme_disk_alone() {
    assert_boots_and_leaves_its_disk_alone(Kernel::Debian13Cloud, "6.12").await;
}
