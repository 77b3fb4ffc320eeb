//! Drivers are loaded for what the machine has, also where it has it later.

use std::time::Duration;

use sealboot::vm::{Model, Nic, StageLine};

use crate::boots::assert_every_stage_passed;
use crate::lab::Lab;
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// The modules that the loader says it has loaded.
pub(crate) fn modules(console: &str) -> Vec<&str> {
    let line = console
        .lines()
        .find(|line| StageLine::find(line).is_some_and(|line| line.stage() == "prepare"))
        .unwrap();
    line.split_whitespace()
        .find_map(|field| field.strip_prefix("modules="))
        .unwrap_or_else(|| panic!("no modules in {line:?}"))
        .split(',')
        .collect()
}

#[tokio::test]
async fn a_machine_loads_what_its_card_asks_for_and_nothing_else() {
    let store = Store::published();
    let server = Server::start(&store).await;
    // The chipset's watchdog, which sits behind two of its other devices, and QEMU's own.
    let chipset = [
        "iTCO_vendor_support",
        "iTCO_wdt",
        "i2c_i801",
        "i2c_smbus",
        "intel_pmc_bxt",
        "lpc_ich",
        "qemu_fw_cfg",
        "watchdog",
    ];
    for (set, model, drivers) in [
        ("common-nics", Model::Vmxnet3, &["vmxnet3"][..]),
        (
            "all-nics",
            Model::Virtio,
            // The processor asks for checksums, once some driver has them baked in.
            &["crc32c_intel", "failover", "net_failover", "virtio_net"],
        ),
    ] {
        let options = Options {
            initramfs: Some(Lab::get().nics_initramfs(set)),
            nics: vec![Nic::user(model)],
            ..Options::default()
        };
        let machine = Machine::boot_with(server.port, options).await;
        let console = machine.runs_the_os().await;
        assert_every_stage_passed(&console);
        let mut loaded = modules(&console);
        loaded.sort_unstable();
        let mut expected = [&chipset[..], drivers].concat();
        expected.sort_unstable();
        assert_eq!(loaded, expected, "{console}");
        assert!(!console.contains("no baked driver"), "{console}");
    }
}

#[tokio::test]
async fn a_card_that_is_plugged_in_ten_seconds_after_the_start_boots_the_machine() {
    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        initramfs: Some(Lab::get().nics_initramfs("common-nics")),
        nics: Vec::new(),
        ..Options::default()
    };
    let mut machine = Machine::boot_with(server.port, options).await;
    machine
        .until("end of the stage prepare", |machine| {
            machine
                .stages()
                .iter()
                .any(|line| line.stage() == "prepare")
        })
        .await;
    machine
        .plug_after(Duration::from_secs(10), Model::Vmxnet3)
        .await;
    let console = machine.runs_the_os().await;
    assert!(
        console.contains("kernel modules for a device that has appeared, pci:v000015ADd000007B0"),
        "{console}"
    );
    assert!(console.contains(": vmxnet3"), "{console}");
    let at_first = modules(&console);
    assert!(
        at_first.contains(&"qemu_fw_cfg") && !at_first.contains(&"vmxnet3"),
        "{console}"
    );
}

#[tokio::test]
async fn a_card_without_a_baked_driver_is_named() {
    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        nics: vec![Nic::user(Model::Vmxnet3), Nic::user(Model::E1000e)],
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine.refuses("connect", "CONNECT-NO-LINK").await;
    for id in ["15ad:07b0", "8086:10d3"] {
        let named = format!("no baked driver for the network card PCI {id} (0000:00:0");
        assert!(console.contains(&named), "{console}");
    }
}

#[tokio::test]
async fn options_of_the_command_line_reach_their_module() {
    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        append: "virtio-net.no-such-option=1".to_owned(),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine.runs_the_os().await;
    assert_every_stage_passed(&console);
    // The kernel's own words.
    assert!(
        console.contains("virtio_net: unknown parameter 'no_such_option' ignored"),
        "{console}"
    );
}

#[tokio::test]
async fn a_module_that_fails_is_told_and_is_not_fatal_and_one_that_is_blacklisted_is_left() {
    let store = Store::published();
    let server = Server::start(&store).await;
    for (append, said) in [
        (
            "virtio_net.napi_weight=many",
            "warning: the kernel module virtio_net is not loaded: the kernel does not take it: Invalid argument (os error 22) code=PREPARE-MODULE",
        ),
        (
            "modprobe.blacklist=virtio-net",
            "the kernel module virtio_net is not loaded: it is blacklisted on the kernel command line",
        ),
    ] {
        let options = Options {
            append: append.to_owned(),
            ..Options::default()
        };
        let machine = Machine::boot_with(server.port, options).await;
        let console = machine.refuses("connect", "CONNECT-NO-LINK").await;
        assert!(console.contains(said), "{console}");
        let modules = modules(&console);
        assert!(
            modules.contains(&"qemu_fw_cfg") && !modules.contains(&"virtio_net"),
            "{console}"
        );
    }
}

#[tokio::test]
async fn what_nothing_asks_for_is_loaded_and_is_fatal_where_it_fails() {
    // No device asks for checksums, and who asks for them asks modprobe.
    let store = Store::published();
    let server = Server::start(&store).await;
    let words = ["--module", "virtio", "--module", "libcrc32c"];
    let initramfs = Lab::get().initramfs_with(store.desk(), &words);
    let options = |append: &str| Options {
        append: append.to_owned(),
        initramfs: Some(initramfs.clone()),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options("")).await;
    let console = machine.runs_the_os().await;
    assert_every_stage_passed(&console);
    assert!(modules(&console).contains(&"libcrc32c"), "{console}");

    let blacklisted = options("module_blacklist=libcrc32c");
    let machine = Machine::boot_with(server.port, blacklisted).await;
    let console = machine.refuses("prepare", "PREPARE-MODULE").await;
    let said = "the kernel module libcrc32c, which every machine loads, is not loaded";
    assert!(console.contains(said), "{console}");
}
