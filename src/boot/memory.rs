//! Whether the machine's memory holds an image, before it is too late to say so.
//!
//! A machine that runs out of memory while PID 1 is its only program does not fail: the kernel panics.
//! So what an image needs is reckoned before it is fetched, and again before it is loaded. At the worst
//! moment, within kexec_file_load, memory holds
//!
//! - the tmpfs, with kernel and initrd,
//! - the kernel's own copy of both files,
//! - the pages that they go to: the initrd's, and for the kernel as much as it needs to unpack itself
//!   (`init_size`, Documentation/x86/boot.rst).

use std::io::{self, Read as _, Seek as _, SeekFrom};

use crate::format::archive::Role;
use crate::format::manifest::Manifest;

/// What the loader itself and the kernel's bookkeeping may still take: the window of chunks, TLS, page
/// tables.
const SLACK: u64 = 24 << 20;

/// How much larger an x86 kernel is that has unpacked itself: Debian's is 3.4 times its file, others up
/// to 5. The exact figure stands in the kernel, and is read from it once it is here.
const KERNEL_GROWTH: u64 = 4;

/// Bytes that can be had without swapping, and bytes in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// `MemAvailable`.
    pub available: u64,
    /// `MemTotal`.
    pub total: u64,
}

impl Memory {
    /// Asks the kernel.
    ///
    /// # Errors
    ///
    /// Where /proc/meminfo cannot be read or says neither.
    pub fn now() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/meminfo")?;
        Self::parse(&text).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "no MemAvailable in /proc/meminfo",
            )
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            kib.checked_mul(1024)
        };
        Some(Self {
            available: field("MemAvailable:")?,
            total: field("MemTotal:")?,
        })
    }
}

/// What an image needs from the first byte that is fetched to the end of kexec_file_load.
#[must_use]
pub fn needed_to_fetch(manifest: &Manifest) -> u64 {
    let kernel: u64 = manifest
        .files
        .iter()
        .filter(|file| file.path.role() == Role::Kernel)
        .map(|file| file.size)
        .sum();
    let initrd = manifest.boot_size().saturating_sub(kernel);
    let in_tmpfs = kernel + initrd;
    in_tmpfs.saturating_add(needed_to_load(
        kernel,
        initrd,
        kernel.saturating_mul(KERNEL_GROWTH),
    ))
}

/// What kexec_file_load needs beyond the tmpfs that holds both files.
#[must_use]
pub fn needed_to_load(kernel: u64, initrd: u64, init_size: u64) -> u64 {
    let read = kernel.saturating_add(initrd);
    let placed = initrd.saturating_add(init_size.max(kernel));
    read.saturating_add(placed).saturating_add(SLACK)
}

/// How much memory a kernel needs to unpack itself: x86's `init_size`, `None` for another kind of file.
///
/// # Errors
///
/// Where the file cannot be read.
pub fn init_size(mut kernel: &std::fs::File) -> io::Result<Option<u64>> {
    // The setup header: its magic at 0x202, the boot protocol's version at 0x206, init_size at 0x260,
    // since protocol 2.10.
    let mut header = [0; 0x264];
    let read = kernel.read_exact(&mut header);
    kernel.seek(SeekFrom::Start(0))?;
    match read {
        Ok(()) => Ok(parse_init_size(&header)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_init_size(header: &[u8; 0x264]) -> Option<u64> {
    let protocol = u16::from_le_bytes([header[0x206], header[0x207]]);
    (&header[0x202..0x206] == b"HdrS" && protocol >= 0x020a).then(|| {
        let field: [u8; 4] = std::array::from_fn(|at| header[0x260 + at]);
        u64::from(u32::from_le_bytes(field))
    })
}

/// Bytes as people compare them with what a machine has.
#[must_use]
pub fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read() {
        let text = "MemTotal:        1004160 kB\nMemFree:          900000 kB\nMemAvailable:     910000 kB\nBuffers: 1 kB\n";
        let memory = Memory::parse(text).unwrap();
        assert_eq!(
            (memory.total, memory.available),
            (1_004_160 * 1024, 910_000 * 1024)
        );
        for bad in [
            "",
            "MemTotal: 1 kB\n",
            "MemTotal: 1\nMemAvailable: 1 kB",
            "MemTotal: -1 kB\nMemAvailable: 1 kB",
        ] {
            assert_eq!(Memory::parse(bad), None, "{bad:?}");
        }
        assert!(Memory::now().unwrap().total > 0);
    }

    #[test]
    fn a_kernel_says_how_much_it_needs() {
        let mut header = [0; 0x264];
        header[0x202..0x206].copy_from_slice(b"HdrS");
        header[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        header[0x260..0x264].copy_from_slice(&48_000_000_u32.to_le_bytes());
        assert_eq!(parse_init_size(&header), Some(48_000_000));
        header[0x206..0x208].copy_from_slice(&0x0209_u16.to_le_bytes());
        assert_eq!(parse_init_size(&header), None);
        header[0x202] = 0;
        assert_eq!(parse_init_size(&header), None);
    }

    #[test]
    fn an_initrd_counts_three_times() {
        let (kernel, initrd) = (14 << 20, 150 << 20);
        let load = needed_to_load(kernel, initrd, 48 << 20);
        assert_eq!(load, ((14 + 150 + 150 + 48) << 20) + SLACK);
    }
}
