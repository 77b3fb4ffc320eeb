//! What a kernel has built in that reads disks: such a driver finds its disks, and reads their partition tables, before the
//! loader runs, and no initramfs has a say in it. The kernel command line has: `initcall_blacklist=` skips a driver's init
//! function (`Documentation/admin-guide/kernel-parameters.txt`; the kernel needs `CONFIG_KALLSYMS`, which distributions set).

use std::path::Path;

use super::{REFUSED_PLACES, Refused};
use sealboot_core::format::kmod::ModulePath;

/// The drivers of disks that are known, with their init functions, and what stands beside them and is none.
const KNOWN: &str = include_str!("../../../../initramfs/disk-drivers");

/// File systems that are read from a block device, by their modules. A kernel mounts one of these by `root=` alone.
const FILE_SYSTEMS: [&str; 20] = [
    "bcachefs", "btrfs", "cramfs", "erofs", "exfat", "ext2", "ext4", "f2fs", "hfsplus", "isofs",
    "jfs", "minix", "msdos", "nilfs2", "ntfs3", "romfs", "squashfs", "udf", "vfat", "xfs",
];

/// The drivers of disks that a kernel has built in, and its file systems of disks; each sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuiltIn {
    /// The drivers.
    pub drivers: Vec<String>,
    /// Those of them whose init functions are not known.
    pub unknown: Vec<String>,
    /// The file systems.
    pub file_systems: Vec<String>,
    functions: Vec<&'static str>,
}

impl BuiltIn {
    /// Reads `modules.builtin`; lines that are no module's path are passed over.
    #[must_use]
    pub(super) fn read(modules_builtin: &str) -> Self {
        let mut found = Self::default();
        let mut paths: Vec<ModulePath> = modules_builtin
            .lines()
            .filter_map(|line| ModulePath::parse(line.trim()))
            .collect();
        paths.sort_by(|one, other| one.name().cmp(other.name()));
        for path in &paths {
            let name = path.name().as_str();
            if path.as_str().starts_with("kernel/fs/") {
                if FILE_SYSTEMS.contains(&name) {
                    found.file_systems.push(name.to_owned());
                }
            } else if is_place_of_drivers(path) {
                match known(name) {
                    Some("") => {}
                    Some(function) => {
                        found.drivers.push(name.to_owned());
                        found.functions.push(function);
                    }
                    None => {
                        found.drivers.push(name.to_owned());
                        found.unknown.push(name.to_owned());
                    }
                }
            }
        }
        found
    }

    /// Returns what disables the drivers, as a word of the kernel command line; `None` where there is nothing to disable.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        (!self.functions.is_empty())
            .then(|| format!("initcall_blacklist={}", self.functions.join(",")))
    }
}

/// Returns `true` for a place of drivers of disks; schedulers of block devices stand in `kernel/block`.
fn is_place_of_drivers(path: &ModulePath) -> bool {
    Path::new(path.as_str()).starts_with("kernel/drivers")
        && REFUSED_PLACES
            .into_iter()
            .any(|(place, reason)| reason == Refused::Disk && path.as_str().starts_with(place))
}

/// Returns a module's init function, or nothing for one that is no driver; `None` for a module that is not known.
fn known(name: &str) -> Option<&'static str> {
    let mut lines = KNOWN.lines().filter(|line| !line.starts_with('#'));
    lines.find_map(|line| match line.split_once(' ') {
        Some((module, function)) => (module == name).then_some(function),
        None => (line == name).then_some(""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_in_driver_is_named_with_its_init_function() {
        let found = BuiltIn::read(
            "kernel/drivers/usb/storage/usb-storage.ko\nkernel/drivers/nvme/host/nvme-core.ko\n\
             kernel/drivers/nvme/host/nvme.ko\nkernel/drivers/mtd/maps/pci.ko\nkernel/fs/ext4/ext4.ko\n\
             kernel/fs/fuse/fuse.ko\nkernel/block/bsg.ko\nkernel/drivers/pci/pci.ko\nno path\n",
        );
        assert_eq!(found.drivers, ["nvme", "pci", "usb_storage"]);
        assert_eq!(found.file_systems, ["ext4"]);
        assert_eq!(found.unknown, [""; 0]);
        assert_eq!(
            found.line().as_deref(),
            Some("initcall_blacklist=nvme_init,mtd_pci_driver_init,usb_storage_driver_init")
        );
    }

    #[test]
    fn a_driver_without_a_known_function_has_no_line() {
        let found = BuiltIn::read("kernel/drivers/ata/ahci_new.ko\n");
        assert_eq!(found.drivers, found.unknown);
        assert_eq!(found.unknown, ["ahci_new"]);
        assert_eq!(found.line(), None);
    }

    #[test]
    fn the_list_of_drivers_is_sorted_and_each_stands_once() {
        let lines: Vec<&str> = KNOWN
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        assert!(lines.len() > 300, "{}", lines.len());
        let names: Vec<&str> = lines
            .iter()
            .map(|line| line.split_once(' ').map_or(*line, |(name, _)| name))
            .collect();
        assert!(names.is_sorted_by(|one, other| one < other));
        for line in lines {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_ ".contains(&byte);
            assert!(
                line.bytes().all(plain) && line.matches(' ').count() < 2,
                "{line}"
            );
        }
        // What every machine's disks hang on.
        for (name, function) in [
            ("ahci", "ahci_pci_driver_init"),
            ("ata_piix", "piix_init"),
            ("hv_storvsc", "storvsc_drv_init"),
            ("mmc_block", "mmc_blk_init"),
            ("nvme", "nvme_init"),
            ("sd_mod", "init_sd"),
            ("sr_mod", "init_sr"),
            ("uas", "uas_init"),
            ("usb_storage", "usb_storage_driver_init"),
            ("virtio_blk", "virtio_blk_init"),
            ("virtio_scsi", "virtio_scsi_init"),
            ("vmw_pvscsi", "pvscsi_init"),
            ("xen_blkfront", "xlblk_init"),
            ("libata", ""),
            ("nvme_core", ""),
            ("scsi_mod", ""),
        ] {
            assert_eq!(known(name), Some(function), "{name}");
        }
    }
}
