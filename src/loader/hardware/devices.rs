//! The devices that the kernel has found: a directory each below /sys/devices.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// How deep devices are looked for. Behind three bridges and two hubs, a USB card's interface is 12 deep.
const DEPTH: usize = 40;

/// Bytes of a `modalias`. The kernel writes no more than a page.
const MODALIAS_BYTES: u64 = 4096;

/// A device that says what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    path: PathBuf,
    pub(super) modalias: String,
}

/// A network card on a PCI bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its place, such as `0000:00:02.0`.
    place: String,
    vendor: String,
    device: String,
    modalias: String,
}

/// Every device below `root` that has a `modalias`, in no order. What disappears meanwhile is passed over.
pub(super) fn walk(root: &Path) -> Vec<Device> {
    let mut devices = Vec::new();
    let mut rest = vec![(root.to_owned(), 0)];
    while let Some((directory, depth)) = rest.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            // Links lead to other devices of the same tree.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH => rest.push((entry.path(), depth + 1)),
                Ok(kind) if kind.is_file() && entry.file_name() == "modalias" => {
                    devices.extend(Device::read(&directory));
                }
                _ => {}
            }
        }
    }
    devices
}

impl Device {
    /// Reads a device; none where it says nothing or is gone.
    fn read(directory: &Path) -> Option<Self> {
        let mut modalias = String::new();
        File::open(directory.join("modalias"))
            .and_then(|file| file.take(MODALIAS_BYTES).read_to_string(&mut modalias))
            .ok()?;
        let modalias = modalias.trim_end();
        (!modalias.is_empty()).then(|| Self {
            path: directory.to_owned(),
            modalias: modalias.to_owned(),
        })
    }

    /// Whether a driver serves it, be it a module's or the kernel's own.
    pub(super) fn has_driver(&self) -> bool {
        self.path.join("driver").exists()
    }
}

impl Card {
    /// The device as a network card; none where it is another kind of device.
    pub(super) fn of(device: &Device) -> Option<Self> {
        // pci:v00008086d000010D3sv00001AF4sd00001100bc02sc00i00: the class 02 is that of network controllers.
        let rest = device.modalias.strip_prefix("pci:v")?;
        let (vendor, rest) = rest.split_once('d')?;
        let (id, rest) = rest.split_once("sv")?;
        let (_, class) = rest.split_once("bc")?;
        let short = |id: &str| id.trim_start_matches("0000").to_ascii_lowercase();
        class.starts_with("02").then(|| Self {
            place: device
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            vendor: short(vendor),
            device: short(id),
            modalias: device.modalias.clone(),
        })
    }

    /// What it says it is: `modprobe --resolve-alias` knows a module for it.
    #[must_use]
    pub fn modalias(&self) -> &str {
        &self.modalias
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PCI {}:{} ({})", self.vendor, self.device, self.place)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn device(modalias: &str) -> Device {
        Device {
            path: "/sys/devices/pci0000:00/0000:00:02.0".into(),
            modalias: modalias.to_owned(),
        }
    }

    #[test]
    fn devices_are_found_behind_each_other_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, modalias: &str| {
            let directory = root.path().join(path);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("modalias"), modalias).unwrap();
        };
        put("pci0000:00/0000:00:02.0", "pci:bridge\n");
        put("pci0000:00/0000:00:02.0/0000:01:00.0", "pci:card\n");
        put("pci0000:00/0000:00:03.0", "\n");
        fs::create_dir_all(root.path().join("virtual/modalias")).unwrap();
        symlink(root.path(), root.path().join("pci0000:00/subsystem")).unwrap();

        let mut found: Vec<String> = walk(root.path())
            .into_iter()
            .map(|device| device.modalias)
            .collect();
        found.sort();
        assert_eq!(found, ["pci:bridge", "pci:card"]);
        assert_eq!(walk(&root.path().join("gone")), []);
    }

    #[test]
    fn what_is_nested_without_end_is_left() {
        let root = tempfile::tempdir().unwrap();
        for (depth, expected) in [(DEPTH, 1), (DEPTH + 1, 0)] {
            let mut directory = root.path().join(depth.to_string());
            let outermost = directory.clone();
            (0..depth).for_each(|_| directory.push("d"));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("modalias"), "pci:deep").unwrap();
            assert_eq!(walk(&outermost).len(), expected, "{depth}");
        }
    }

    #[test]
    fn a_device_with_a_driver_is_told_from_one_without() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("modalias"), "pci:x").unwrap();
        let device = Device::read(root.path()).unwrap();
        assert!(!device.has_driver());
        fs::create_dir(root.path().join("driver")).unwrap();
        assert!(device.has_driver());
    }

    #[test]
    fn a_network_card_is_told_from_other_devices() {
        let card = |modalias: &str| Card::of(&device(modalias)).map(|card| card.to_string());
        assert_eq!(
            card("pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00").as_deref(),
            Some("PCI 8086:10d3 (0000:00:02.0)")
        );
        for other in [
            "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00",
            "pci:v00008086d000010D3sv00008086sd00000000bc0Csc02i00",
            "pci:v00008086",
            "virtio:d00000001v00001AF4",
            "",
        ] {
            assert_eq!(card(other), None, "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_modalias_is_survived(rest: String) {
            let _ = Card::of(&device(&rest));
            let _ = Card::of(&device(&format!("pci:v{rest}")));
        }
    }
}
