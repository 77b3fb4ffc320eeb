//! Kernels that have the driver of a disk built in, so that they read a disk before any program runs: Debian's for virtual
//! machines have NVMe's. They boot with the line that `sealboot initramfs build` prints for them. All other tests boot
//! Debian's kernel for every machine.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use sealboot::vm::debian::Kernel;
use sealboot_core::trust::Envelope;

use crate::boots::assert_every_stage_passed;
use crate::lab::{IMAGE, Lab, VERSION, packages};
use crate::machine::{Machine, Options};
use crate::no_disk::Disks;
use crate::server::Server;
use crate::store::Store;

/// Boots loader and OS by this kernel, beside a disk of each kind.
async fn assert_boots_and_leaves_its_disks_alone(kernel: Kernel, version: &str) {
    let packages = packages(kernel);
    let lab = Lab::get();
    let store = Store::empty();
    let policy = Path::new("trust.json");
    let (initramfs, line) = lab.initramfs_of(policy, &packages.modules, store.desk(), &[]);
    assert_eq!(line, "initcall_blacklist=nvme_init");
    let os = store.desk().join("os");
    fs::create_dir(&os).unwrap();
    fs::copy(&packages.kernel, os.join("vmlinuz")).unwrap();
    fs::copy(lab.path("os/initrd"), os.join("initrd")).unwrap();
    fs::write(store.desk().join("disks.line"), &line).unwrap();
    let path = lab.pack_at(Timestamp::now(), store.desk(), store.desk(), IMAGE, VERSION);
    for signer in ["alice", "bob"] {
        lab.sign(lab.directory(), &path, signer, store.desk());
    }
    store.show(&Envelope::parse(&fs::read(path).unwrap()).unwrap(), None);

    let disks = Disks::within(store.desk());
    let server = Server::start(&store).await;
    let options = Options {
        append: line,
        disks: disks.attached(),
        initramfs: Some(initramfs),
        kernel: Some(packages.kernel),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine.runs_the_os().await;

    assert_every_stage_passed(&console);
    let said = format!("kernel        Linux {version}.");
    assert!(console.contains(&said), "{said}\n{console}");
    disks.assert_untouched(&console);
}

#[tokio::test]
async fn cloud_kernel_6_1_boots_and_leaves_its_disks_alone() {
    assert_boots_and_leaves_its_disks_alone(Kernel::Debian12Cloud, "6.1").await;
}

#[tokio::test]
async fn cloud_kernel_6_12_boots_and_leaves_its_disks_alone() {
    assert_boots_and_leaves_its_disks_alone(Kernel::Debian13Cloud, "6.12").await;
}
