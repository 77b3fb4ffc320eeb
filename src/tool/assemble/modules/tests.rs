//! Against modules directories made for the purpose.

use std::fs;

use super::*;
use crate::assemble::elf::tests::{module, object};

const VERSION: &str = "6.1.0-test";

/// A modules directory with these index files, and a module file for every line of `dep`.
struct Fake {
    temporary: tempfile::TempDir,
}

impl Fake {
    fn new(dep: &str, builtin: &str, softdep: &str) -> Self {
        let fake = Self {
            temporary: tempfile::tempdir().unwrap(),
        };
        for line in dep.lines() {
            fake.put(line.split(':').next().unwrap(), &object(62, &["printk"]));
        }
        fs::write(fake.dir().join("modules.dep"), dep).unwrap();
        fs::write(fake.dir().join("modules.builtin"), builtin).unwrap();
        fs::write(fake.dir().join("modules.softdep"), softdep).unwrap();
        fs::write(fake.dir().join("modules.alias"), "").unwrap();
        fake
    }

    fn dir(&self) -> PathBuf {
        self.temporary.path().join("lib/modules").join(VERSION)
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.dir().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn resolve(&self, names: &[&str]) -> Result<LoadOrder, ModulesError> {
        ModulesDir::open(&self.dir())?.resolve(&selection(names))
    }

    /// The three files of the baked index for these modules.
    fn index_of(&self, names: &[&str]) -> [(&'static str, String); 3] {
        let (directory, selection) = (ModulesDir::open(&self.dir()).unwrap(), selection(names));
        let order = directory.resolve(&selection).unwrap();
        directory.index_of(&selection, &order)
    }
}

fn selection(names: &[&str]) -> Selection {
    let mut selection = Selection::default();
    names.iter().for_each(|name| selection.add(name));
    selection
}

const DEP: &str = "\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci_legacy_dev.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_legacy_dev.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/net/core/failover.ko:
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko
kernel/fs/configfs/configfs.ko:
kernel/drivers/net/netconsole.ko: kernel/fs/configfs/configfs.ko
kernel/drivers/net/outer.ko: kernel/drivers/net/netconsole.ko kernel/fs/configfs/configfs.ko
";

fn names(order: &LoadOrder) -> Vec<&str> {
    order.modules.iter().map(Module::name).collect()
}

#[test]
fn what_a_module_needs_is_loaded_before_it_and_once() {
    let fake = Fake::new(DEP, "kernel/net/packet/af_packet.ko\n", "");
    let order = fake.resolve(&["virtio"]).unwrap();
    assert_eq!(
        names(&order),
        [
            "virtio",
            "virtio_ring",
            "virtio_pci_legacy_dev",
            "virtio_pci",
            "failover",
            "net_failover",
            "virtio_net",
            "virtio_rng",
        ]
    );
    assert_eq!(order.builtin, ["af_packet"]);
    assert_eq!(
        order.absent,
        [
            "virtio_mmio",
            "bonding",
            "8021q",
            "efivarfs",
            "qemu_fw_cfg",
            "iTCO_wdt",
            "lpc_ich",
            "i2c_i801",
            "sp5100_tco",
            "hpwdt",
            "wdat_wdt",
            "i6300esb",
            "softdog",
        ]
    );
    assert_eq!(
        order.modules[7].path(),
        "kernel/drivers/char/hw_random/virtio-rng.ko"
    );
    assert_eq!(fake.resolve(&["virtio"]).unwrap(), order);
}

#[test]
fn dashes_and_underscores_name_the_same_module() {
    let fake = Fake::new(DEP, "", "");
    for name in ["virtio-rng", "virtio_rng"] {
        let order = fake.resolve(&[name, "virtio-rng", "virtio_ring"]).unwrap();
        assert_eq!(names(&order), ["virtio", "virtio_ring", "virtio_rng"]);
    }
}

#[test]
fn drivers_of_disks_and_file_systems_are_refused_with_who_needs_them() {
    let fake = Fake::new(DEP, "", "");
    for (name, refused, why, chain) in [
        ("virtio_blk", "virtio_blk", Refused::Disk, &[][..]),
        ("configfs", "configfs", Refused::FileSystem, &[]),
        ("outer", "configfs", Refused::FileSystem, &["outer"]),
    ] {
        match fake.resolve(&[name]).unwrap_err() {
            ModulesError::Refused {
                name,
                reason,
                needed_by,
            } => {
                assert_eq!((name.as_str(), reason), (refused, why));
                assert_eq!(needed_by, chain);
            }
            other => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn every_refused_place_is_refused() {
    for (place, reason) in REFUSED_PLACES {
        let path = format!("{place}x/driver.ko");
        let fake = Fake::new(&format!("{path}:\n"), "", "");
        let error = fake.resolve(&["driver"]).unwrap_err();
        assert!(
            matches!(error, ModulesError::Refused { reason: found, .. } if found == reason),
            "{path}: {error}"
        );
    }
}

#[test]
fn of_file_systems_the_one_of_efi_variables_alone_is_taken_and_only_while_it_opens_no_disk() {
    let efivarfs = "kernel/fs/efivarfs/efivarfs.ko";
    for path in [efivarfs.to_owned(), format!("{efivarfs}.xz")] {
        let fake = Fake::new(&format!("{path}:\n"), "", "");
        assert_eq!(names(&fake.resolve(&["efivarfs"]).unwrap()), ["efivarfs"]);
    }
    for path in [
        "kernel/fs/efivarfs/other.ko",
        "kernel/fs/other/efivarfs.ko",
        "kernel/fs/efivarfs/efivarfs.ko/x.ko",
    ] {
        let fake = Fake::new(&format!("{path}:\n"), "", "");
        let name = Path::new(path).file_stem().unwrap().to_str().unwrap();
        let error = fake.resolve(&[name]).unwrap_err();
        let reason = Refused::FileSystem;
        assert!(
            matches!(error, ModulesError::Refused { reason: found, .. } if found == reason),
            "{path}: {error}"
        );
    }
    let fake = Fake::new(&format!("{efivarfs}:\n"), "", "");
    fake.put(efivarfs, &object(62, &["printk", "blkdev_get_by_path"]));
    let order = fake.resolve(&["efivarfs"]).unwrap();
    assert!(matches!(
        order.modules[0].read(),
        Err(ModulesError::Refused { .. })
    ));
}

#[test]
fn a_driver_of_disks_that_stands_elsewhere_is_refused_by_what_it_imports() {
    let path = "updates/dkms/disk.ko";
    for import in REFUSED_IMPORTS {
        let import = str::from_utf8(import).unwrap();
        let fake = Fake::new(&format!("{path}:\n"), "", "");
        fake.put(path, &object(62, &["printk", import]));
        let order = fake.resolve(&["disk"]).unwrap();
        let error = order.modules[0].read().unwrap_err();
        assert!(
            matches!(error, ModulesError::Refused { reason: Refused::Import(found), .. } if found == import),
            "{error}"
        );
    }
}

#[test]
fn soft_dependencies_are_wishes() {
    let soft = "softdep virtio_net pre: virtio_rng virtio_blk absent post: failover netconsole\n\
                softdep virtio_rng pre: virtio_net\n";
    let fake = Fake::new(DEP, "", soft);
    let order = fake.resolve(&["virtio_net"]).unwrap();
    assert_eq!(
        names(&order),
        [
            "virtio",
            "virtio_ring",
            "virtio_rng",
            "failover",
            "net_failover",
            "virtio_net"
        ]
    );
    assert_eq!(
        order.left_out,
        [
            ("virtio_blk".to_owned(), Refused::Disk),
            ("configfs".to_owned(), Refused::FileSystem)
        ]
    );
}

#[test]
fn an_unknown_module_is_named_with_its_neighbours() {
    let fake = Fake::new(DEP, "kernel/drivers/net/loopback.ko\n", "");
    for (name, hint) in [
        ("virtio_nte", "did you mean virtio_net?"),
        (
            "mlx5_core",
            "is --modules-dir the directory of the right kernel?",
        ),
    ] {
        let error = fake.resolve(&[name]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("kernel {VERSION} has no module \"{name}\"")
        );
        assert_eq!(error.hint(), hint);
    }
}

#[test]
fn a_directory_without_an_index_names_the_command_that_makes_one() {
    for file in ["modules.dep", "modules.alias"] {
        let fake = Fake::new(DEP, "", "");
        fs::remove_file(fake.dir().join(file)).unwrap();
        let error = ModulesDir::open(&fake.dir()).unwrap_err();
        let base = fake.temporary.path().canonicalize().unwrap();
        let dir = base.join("lib/modules").join(VERSION);
        assert_eq!(
            error.to_string(),
            format!("{} has no {file}", dir.display())
        );
        assert_eq!(
            error.hint(),
            format!(
                "run `depmod -b {} {VERSION}` (Debian package kmod)",
                base.display()
            )
        );
    }
}

#[test]
fn an_index_that_makes_no_sense_is_refused() {
    for (dep, expected) in [
        (
            "a.ko: b.ko\nb.ko: a.ko\n",
            "modules need each other: a → b → a",
        ),
        ("a.ko: a.ko\n", "modules need each other: a → a"),
        (
            "a.ko: b.ko\n",
            "module \"a\" needs b.ko, which modules.dep does not list",
        ),
    ] {
        let error = Fake::new(dep, "", "").resolve(&["a"]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let fake = Fake::new("a.ko:\n", "", "");
    fs::write(fake.dir().join("modules.dep"), "a.ko:\n../b.ko:\n").unwrap();
    let error = fake.resolve(&["a"]).unwrap_err();
    assert!(
        matches!(error, ModulesError::Index { line: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_directory_that_is_not_named_after_a_kernel_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["modules", "6.1 evil"] {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        let error = ModulesDir::open(&path).unwrap_err();
        assert!(matches!(error, ModulesError::NoVersion(_)), "{error}");
    }
    assert!(matches!(
        ModulesDir::open(&dir.path().join("absent")),
        Err(ModulesError::File(_))
    ));
}

#[test]
fn compressed_modules_are_decompressed() {
    use std::io::Write as _;

    let module = object(183, &["printk"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&module).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(module.as_slice(), 3).unwrap();
    let xz = xz(&module);
    let fake = Fake::new("g.ko.gz:\nz.ko.zst: g.ko.gz\nx.ko.xz:\n", "", "");
    let packed = [("g.ko.gz", gzip), ("z.ko.zst", zstd), ("x.ko.xz", xz)];
    for (path, bytes) in &packed {
        fake.put(path, bytes);
    }
    let order = fake.resolve(&["z", "x"]).unwrap();
    for (found, (path, bytes)) in order.modules.iter().zip(packed) {
        assert_eq!(
            Some(found.path()),
            path.rsplit_once('.').map(|(path, _)| path)
        );
        let read = found.read().unwrap();
        assert_eq!((read.bytes, read.arch), (module.clone(), Arch::Aarch64));
        fake.put(path, &bytes[..bytes.len() - 1]);
        assert!(
            matches!(found.read(), Err(ModulesError::File(_))),
            "{path} cut"
        );
    }
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;

    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_unpacks_to_more_than_its_limit_is_refused() {
    let zeros = vec![0; 2000];
    let zstd = zstd::encode_all(zeros.as_slice(), 3).unwrap();
    for (packing, packed) in [(Packing::Xz, xz(&zeros)), (Packing::Zstd, zstd)] {
        assert_eq!(unpacked(packed.clone(), packing, 2000).unwrap(), zeros);
        assert!(unpacked(packed, packing, 1999).is_err());
    }
}

#[test]
fn a_module_that_nothing_asks_for_is_loaded_on_every_machine() {
    let fake = Fake::new(
        &format!("{DEP}kernel/net/packet/af_packet.ko:\nkernel/drivers/net/bonding/bonding.ko:\n"),
        "",
        "",
    );
    let aliases = "alias net-pf-17 af_packet\nalias rtnl-link-bond bonding\nalias virtio:d00000001v* virtio_net\n";
    fs::write(fake.dir().join("modules.alias"), aliases).unwrap();
    let order = fake
        .resolve(&["virtio_net", "af-packet", "bonding", "af_packet"])
        .unwrap();
    assert_eq!(order.always, [Name::new("af_packet")]);
}

#[test]
fn the_index_is_what_is_left_of_depmods() {
    let fake = Fake::new(
        DEP,
        "",
        "softdep virtio-net post: failover virtio-blk pre: absent\nsoftdep netconsole pre: failover\nsoftdep virtio post: virtio_blk\n",
    );
    fs::write(
        fake.dir().join("modules.alias"),
        "alias virtio:d00000002v* virtio_blk\nalias virtio:d00000001v* virtio_net\nalias a-b failover\nalias a-b failover\n",
    )
    .unwrap();
    let dep = "\
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/net/core/failover.ko:
";
    assert_eq!(
        fake.index_of(&["virtio_net"]),
        [
            (
                "modules.alias",
                "alias a_b failover\nalias virtio:d00000001v* virtio_net\n".to_owned()
            ),
            ("modules.dep", dep.to_owned()),
            (
                "modules.softdep",
                "softdep virtio_net post: failover\n".to_owned()
            ),
        ]
    );
}

#[test]
fn the_index_names_modules_as_they_are_once_decompressed() {
    let fake = Fake::new("a.ko.xz: b.ko.zst\nb.ko.zst:\n", "", "");
    let [_, (_, dep), _] = fake.index_of(&["a"]);
    assert_eq!(dep, "a.ko: b.ko\nb.ko:\n");
}

#[test]
fn all_nics_are_the_kernels_directories_without_what_is_refused() {
    let dep = "\
kernel/drivers/net/ethernet/x/eth.ko: kernel/drivers/net/ethernet/x/lib.ko
kernel/drivers/net/ethernet/x/lib.ko:
kernel/drivers/net/ethernet/x/offload.ko: kernel/drivers/scsi/scsi_mod.ko
kernel/drivers/net/ethernet/mellanox/mlx4_core.ko:
kernel/drivers/net/ethernet/mellanox/mlx4_en.ko: kernel/drivers/net/ethernet/mellanox/mlx4_core.ko
kernel/drivers/net/wireless/wifi.ko:
kernel/drivers/scsi/scsi_mod.ko:
";
    let fake = Fake::new(dep, "", "");
    let order = fake.resolve(&["all-nics"]).unwrap();
    assert_eq!(names(&order), ["lib", "eth", "mlx4_core", "mlx4_en"]);
    assert_eq!(order.left_out, [("scsi_mod".to_owned(), Refused::Disk)]);
    assert_eq!(order.always, []);
    let [_, _, (_, soft)] = fake.index_of(&["all-nics"]);
    assert_eq!(soft, "softdep mlx4_core post: mlx4_en\n");
}

#[test]
fn every_line_of_a_set_is_understood_and_no_set_insists_on_a_card() {
    for (set, insists_on) in [
        ("virtio", &["virtio_pci", "virtio_net"][..]),
        ("common-nics", &[]),
        ("all-nics", &[]),
    ] {
        let selection = selection(&[set]);
        for wanted in ["af_packet", "bonding", "8021q", "virtio-rng"] {
            assert!(
                selection
                    .wanted
                    .contains(&Wanted::IfThere(wanted.to_owned())),
                "{wanted} in {set}"
            );
        }
        let mut insisted = Vec::new();
        for wanted in &selection.wanted {
            match wanted {
                Wanted::Module(name) => insisted.push(name.as_str()),
                Wanted::IfThere(name) => assert!(!name.contains(' '), "{name}"),
                Wanted::Directory(place) => assert!(place.starts_with("kernel/drivers/net/")),
            }
        }
        assert_eq!(insisted, insists_on, "{set}");
    }
}

#[test]
fn a_driver_of_disks_is_baked_in_only_by_its_own_name() {
    let path = "updates/dkms/disk.ko";
    let fake = Fake::new(&format!("{DEP}{path}:\n"), "", "");
    fake.put(path, &object(62, &["add_disk"]));
    let directory = ModulesDir::open(&fake.dir()).unwrap();

    let mut selection = selection(&["virtio"]);
    selection.add_disk("virtio-blk");
    selection.add_disk("disk");
    let order = directory.resolve(&selection).unwrap();
    let allowed: Vec<&str> = order
        .modules
        .iter()
        .filter(|module| module.disk == Disk::Allowed)
        .map(Module::name)
        .collect();
    assert_eq!(allowed, ["virtio_blk", "disk"]);
    for module in &order.modules {
        module.read().unwrap();
    }

    // Netconsole needs a file system that nobody has named.
    let mut selection = Selection::default();
    selection.add_disk("outer");
    selection.add_disk("netconsole");
    assert!(matches!(
        directory.resolve(&selection),
        Err(ModulesError::Refused { name, .. }) if name == "configfs"
    ));
}

#[test]
fn firmware_is_found_in_every_form_and_what_is_missing_is_known() {
    let fake = Fake::new("nic.ko:\nother.ko: nic.ko\nthird.ko:\n", "", "");
    let modinfo = "license=GPL\0firmware=nic/plain.bin\0firmware=nic/xz.bin\0firmware=nic/zst.bin\0firmware=nic/gone.bin\0firmware=../../escapes\0";
    fake.put("nic.ko", &module(62, &[], modinfo));
    fake.put("other.ko", &module(62, &[], "firmware=nic/plain.bin\0"));
    let lib = fake.temporary.path().join("lib");
    fs::create_dir_all(lib.join("firmware/nic")).unwrap();
    fs::write(lib.join("escapes"), b"not firmware").unwrap();
    let put =
        |name: &str, bytes: &[u8]| fs::write(lib.join("firmware/nic").join(name), bytes).unwrap();
    put("plain.bin", b"plain");
    put("xz.bin.xz", &xz(b"xz"));
    put("zst.bin.zst", &zstd::encode_all(&b"zst"[..], 3).unwrap());

    let order = fake.resolve(&["other", "third"]).unwrap();
    let directory = firmware::FirmwareDir::open(None, &fake.dir()).unwrap();
    let mut firmware = firmware::Firmware::default();
    for module in &order.modules {
        let object = module.read().unwrap();
        firmware
            .add(module.name(), object.firmware, &directory)
            .unwrap();
    }
    let found: Vec<(&str, &[u8])> = firmware
        .files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    assert_eq!(
        found,
        [
            ("nic/plain.bin", &b"plain"[..]),
            ("nic/xz.bin", b"xz"),
            ("nic/zst.bin", b"zst")
        ]
    );
    assert_eq!(
        firmware.index(),
        "nic: nic/plain.bin nic/xz.bin nic/zst.bin\nother: nic/plain.bin\n"
    );
    let missing: Vec<_> = firmware.missing().collect();
    assert_eq!(missing, [("nic", vec!["../../escapes", "nic/gone.bin"])]);

    put("xz.bin.xz", &xz(b"xz")[..20]);
    let mut firmware = firmware::Firmware::default();
    let cut = firmware.add("nic", vec!["nic/xz.bin".to_owned()], &directory);
    assert!(matches!(cut, Err(ModulesError::Firmware(_))));
}

#[test]
fn a_firmware_directory_that_is_given_must_be_there() {
    let fake = Fake::new(DEP, "", "");
    let absent = fake.temporary.path().join("absent");
    assert!(firmware::FirmwareDir::open(Some(&absent), &fake.dir()).is_err());
    let beside = firmware::FirmwareDir::open(None, &fake.dir()).unwrap();
    assert_eq!(beside.path(), fake.temporary.path().join("lib/firmware"));
}

#[test]
fn a_file_that_is_no_module_is_refused() {
    let fake = Fake::new("a.ko:\n", "", "");
    let order = fake.resolve(&["a"]).unwrap();
    for bytes in [
        &b""[..],
        b"\x7fELF",
        &crate::assemble::elf::tests::program(62, 1),
    ] {
        fake.put("a.ko", bytes);
        let error = order.modules[0].read().unwrap_err();
        assert!(matches!(error, ModulesError::NotModule { .. }), "{error}");
    }
}
