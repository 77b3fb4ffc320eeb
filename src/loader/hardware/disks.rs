//! The disks that the kernel has found: its block devices, but for those that it keeps in memory.
//!
//! This loader loads no driver of disks, unless one was baked in by its name. But a driver that is built into the kernel
//! finds its disks, and reads their partition tables, before any program runs. So the loader looks, and reports them.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel lists its block devices, partitions included.
const BLOCK_DEVICES: &str = "sys/class/block";

/// Beginnings of the names of block devices that the kernel keeps in memory. A loop device shows a file: the loader sets
/// none up, and the file system of one from a disk would need the disk.
const IN_MEMORY: [&str; 3] = ["loop", "ram", "zram"];

/// Bytes of a sector, whatever the disk's own are: the unit of `size` in sysfs.
const SECTOR: u64 = 512;

/// A disk that the kernel has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name of it.
    pub name: String,
    bytes: u64,
    driver: Option<String>,
}

impl Disk {
    /// Returns the disks of the machine whose /sys is below `root`, in the order of their names.
    ///
    /// # Errors
    ///
    /// Where the list is there and cannot be read. A kernel without block devices has none.
    pub fn all(root: &Path) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(root.join(BLOCK_DEVICES)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result?,
        };
        let mut disks = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.path().canonicalize() {
                Ok(device) => disks.extend(Self::at(name, &device)),
                // It was unplugged meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        disks.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(disks)
    }

    /// Returns `None` for a partition and for what is in memory.
    fn at(name: String, device: &Path) -> Option<Self> {
        if device.join("partition").exists() || is_in_memory(&name, device) {
            return None;
        }
        let size = fs::read_to_string(device.join("size")).unwrap_or_default();
        let sectors: u64 = size.trim_end().parse().unwrap_or_default();
        Some(Self {
            name,
            bytes: sectors.saturating_mul(SECTOR),
            driver: driver_of(device),
        })
    }
}

impl fmt::Display for Disk {
    #[expect(clippy::cast_precision_loss, reason = "one decimal place is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = match self.bytes {
            bytes @ ..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
            bytes => format!("{:.1} GB", bytes as f64 / 1e9),
        };
        let driver = self.driver.as_deref().unwrap_or("unknown");
        write!(f, "{} ({size}, driver {driver})", self.name)
    }
}

/// Returns `true` if both name and place are those of a device in memory.
fn is_in_memory(name: &str, device: &Path) -> bool {
    let number = IN_MEMORY
        .into_iter()
        .find_map(|kind| name.strip_prefix(kind));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        && device
            .parent()
            .is_some_and(|place| place.ends_with("devices/virtual/block"))
}

/// Returns the driver of the nearest device that has one: the disk's own directory, or one above it.
fn driver_of(device: &Path) -> Option<String> {
    let driver: PathBuf = device
        .ancestors()
        .take_while(|place| !place.ends_with("devices"))
        .find_map(|place| fs::read_link(place.join("driver")).ok())?;
    Some(driver.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine's /sys.
    struct Sys(tempfile::TempDir);

    impl Sys {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn put(&self, place: &str, files: &[(&str, &str)]) -> PathBuf {
            let device = self.0.path().join("sys/devices").join(place);
            fs::create_dir_all(&device).unwrap();
            for (name, text) in files {
                fs::write(device.join(name), text).unwrap();
            }
            let class = self.0.path().join(BLOCK_DEVICES);
            fs::create_dir_all(&class).unwrap();
            symlink(&device, class.join(device.file_name().unwrap())).unwrap();
            device
        }

        fn shown(&self) -> Vec<String> {
            let disks = Disk::all(self.0.path()).unwrap();
            disks.iter().map(Disk::to_string).collect()
        }
    }

    #[test]
    fn a_disk_is_shown_with_its_size_and_its_nearest_driver() {
        let sys = Sys::new();
        let scsi = "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0";
        let disk = sys.put(&format!("{scsi}/block/sda"), &[("size", "1953525168\n")]);
        let up = |levels| disk.ancestors().nth(levels).unwrap().join("driver");
        symlink("/sys/bus/pci/drivers/ahci", up(6)).unwrap();
        symlink("/sys/bus/scsi/drivers/sd", up(2)).unwrap();
        sys.put(
            &format!("{scsi}/block/sda/sda1"),
            &[("partition", "1\n"), ("size", "2048\n")],
        );
        let nvme = sys.put(
            "pci0000:00/0000:00:03.0/nvme/nvme0/nvme0n1",
            &[("size", "32768\n")],
        );
        let card = nvme.ancestors().nth(3).unwrap();
        symlink("/sys/bus/pci/drivers/nvme", card.join("driver")).unwrap();
        sys.put("virtual/block/md0", &[]);
        assert_eq!(
            sys.shown(),
            [
                "md0 (0.0 MB, driver unknown)",
                "nvme0n1 (16.8 MB, driver nvme)",
                "sda (1000.2 GB, driver sd)",
            ]
        );
    }

    #[test]
    fn a_block_device_in_memory_is_not_a_disk() {
        let sys = Sys::new();
        for name in ["loop0", "loop15", "ram0", "zram3"] {
            sys.put(&format!("virtual/block/{name}"), &[("size", "8\n")]);
        }
        assert_eq!(sys.shown(), [""; 0]);
        for (place, name) in [
            ("pci0000:00/0000:00:03.0/block", "loop7"),
            ("virtual/block", "ramdisk0"),
            ("virtual/block", "loop1p1"),
        ] {
            sys.put(&format!("{place}/{name}"), &[]);
        }
        let named: Vec<String> = Disk::all(sys.0.path())
            .unwrap()
            .into_iter()
            .map(|disk| disk.name)
            .collect();
        assert_eq!(named, ["loop1p1", "loop7", "ramdisk0"]);
    }

    #[test]
    fn a_kernel_without_block_devices_has_no_disk() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Disk::all(root.path()).unwrap(), []);
        fs::create_dir_all(root.path().join("sys/class")).unwrap();
        fs::write(root.path().join(BLOCK_DEVICES), "not a directory").unwrap();
        Disk::all(root.path()).unwrap_err();
    }
}
