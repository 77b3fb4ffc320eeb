//! Against modules directories made for the purpose.

use std::fs;

use super::*;
use crate::assemble::elf::tests::object;

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
        let wanted: Vec<Wanted> = names.iter().flat_map(|name| wanted(name)).collect();
        ModulesDir::open(&self.dir())?.resolve(&wanted)
    }
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
    assert_eq!(order.absent, ["virtio_mmio"]);
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
            "is --modules the directory of the right kernel?",
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
    let fake = Fake::new(DEP, "", "");
    fs::remove_file(fake.dir().join("modules.dep")).unwrap();
    let error = ModulesDir::open(&fake.dir()).unwrap_err();
    let base = fake.temporary.path().canonicalize().unwrap();
    assert_eq!(
        error.hint(),
        format!(
            "run `depmod -b {} {VERSION}` (Debian package kmod)",
            base.display()
        )
    );
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
fn compressed_modules_are_decompressed_or_said_to_be_xz() {
    use std::io::Write as _;

    let module = object(183, &["printk"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&module).unwrap();
    let zstd = zstd::encode_all(module.as_slice(), 3).unwrap();
    let fake = Fake::new("g.ko.gz:\nz.ko.zst: g.ko.gz\nx.ko.xz:\n", "", "");
    fake.put("g.ko.gz", &gzip.finish().unwrap());
    fake.put("z.ko.zst", &zstd);
    let order = fake.resolve(&["z", "x"]).unwrap();
    assert_eq!(names(&order), ["g", "z", "x"]);
    for (index, path) in ["g.ko", "z.ko"].into_iter().enumerate() {
        assert_eq!(order.modules[index].path(), path);
        let read = order.modules[index].read().unwrap();
        assert_eq!(read, (module.clone(), Arch::Aarch64));
    }
    assert!(matches!(order.modules[2].read(), Err(ModulesError::Xz(_))));

    fake.put("z.ko.zst", &zstd[..zstd.len() - 1]);
    assert!(matches!(
        order.modules[1].read(),
        Err(ModulesError::File(_))
    ));
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
