//! Memory: what is given back, and what a boot can do with little.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use sealboot::cpio::Tree;
use sealboot::vm::StageLine;
use sealboot::vm::debian::Kernel;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::trust::Envelope;

use crate::boots::assert_every_stage_passed;
use crate::lab::{IMAGE, Lab, VERSION, packages};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// Bytes that nothing makes smaller.
fn incompressible(length: usize) -> Vec<u8> {
    let blocks = (0_u64..).flat_map(|at| *Sha256Digest::of(&at.to_le_bytes()).as_bytes());
    blocks.take(length).collect()
}

#[tokio::test]
async fn an_image_that_memory_holds_twice_but_not_three_times_boots() {
    // With Debian 12's cloud kernel, kernel and initrd are 112 MiB and grow to 150 where they are placed. Three times
    // that is 375 MiB with the rest, twice 263, and of 400 MiB the loader has 320. A larger kernel has other bounds.
    let lab = Lab::get();
    let packages = packages(Kernel::Debian12Cloud);
    let store = Store::empty();
    let os = store.desk().join("os");
    fs::create_dir(&os).unwrap();
    fs::copy(&packages.kernel, os.join("vmlinuz")).unwrap();
    let mut initrd = fs::read(lab.path("os/initrd")).unwrap();
    initrd.resize(initrd.len().next_multiple_of(512), 0);
    let ballast = incompressible(96 << 20);
    let mut tree = Tree::new();
    tree.file("ballast", 0o644, ballast.len() as u64, &ballast[..])
        .unwrap();
    fs::write(os.join("initrd"), tree.write(initrd, 0).unwrap()).unwrap();
    let path = lab.pack_at(Timestamp::now(), store.desk(), store.desk(), IMAGE, VERSION);
    let policy = Path::new("trust.json");
    let (initramfs, _) = lab.initramfs_of(policy, &packages.modules, store.desk(), &[]);
    for signer in ["alice", "bob"] {
        lab.sign(lab.directory(), &path, signer, store.desk());
    }
    store.show(&Envelope::parse(&fs::read(path).unwrap()).unwrap(), None);

    let server = Server::start(&store).await;
    let options = Options {
        memory: Some(400),
        initramfs: Some(initramfs),
        kernel: Some(packages.kernel),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine.runs_the_os().await;
    assert_every_stage_passed(&console);
    let load = console
        .lines()
        .filter_map(StageLine::find)
        .find(|line| line.stage() == "load")
        .unwrap();
    assert!(
        load.details().any(|detail| detail == ("copies", "2")),
        "{console}"
    );
    assert!(!console.contains("unpacking failed"), "{console}");
}

#[tokio::test]
async fn what_is_given_back_before_a_load_that_fails_is_had_again() {
    // Modules' files are deleted and links taken down by then; the next attempt begins with neither.
    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        append: "sysctl.kernel.kexec_load_disabled=1".to_owned(),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    machine.refuses("load", "LOAD-UNSUPPORTED").await;
}
