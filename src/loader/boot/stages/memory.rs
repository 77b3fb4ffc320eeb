//! Whether the machine's memory holds an image, before it is too late to say so.
//!
//! A machine that runs out of memory while PID 1 is its only program does not fail: the kernel panics.
//! So what an image needs is reckoned before it is fetched, and again before it is loaded. Memory holds
//!
//! 1. the tmpfs, with kernel and initrd,
//! 2. within kexec_file_load the kernel's own copy of both files,
//! 3. then the pages that they go to: the initrd's, and for the kernel as much as it needs to unpack
//!    itself (`init_size`, Documentation/x86/boot.rst).
//!
//! All three at once, if nothing is done about it. Where that does not fit, the tmpfs is given back
//! between 2 and 3 ([`kexec_file_load_in_turn`](sealboot_sys::kexec::kexec_file_load_in_turn)).

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use crate::fetch::archive::bytes_in_hand;
use sealboot_core::format::archive::Role;
use sealboot_core::format::manifest::{Archive, Manifest};
use sealboot_sys::kexec;

/// What fetching takes beyond the tmpfs, the chunks in hand and a decompressor's window: TLS, threads, the
/// sockets' buffers, and a block or two.
const FETCHING: u64 = 13 << 20;

/// What kexec_file_load takes beyond pages and page lists: the purgatory, page tables that map all
/// memory, and what `MemAvailable` counts although it stays where it is. Measured on 450 to 620 MiB, with
/// one processor and two: with 3.7 MB it loads, with 1 MB the kernel panics.
const LOADING: u64 = 8 << 20;

/// The other segments of kexec: purgatory, boot parameters and command line.
const SMALL_SEGMENTS: u64 = 256 << 10;

/// How much larger an x86 kernel is that has unpacked itself: Debian's is 3.8 times its file, others up
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

/// How the kernel gets what is in the tmpfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loading {
    /// The tmpfs stays until all is loaded. Relies on nothing but kexec_file_load.
    AtOnce,
    /// The tmpfs is given back when the kernel has read it.
    InTurn,
}

impl Loading {
    /// The one that takes the least memory, of those that the running kernel can.
    #[must_use]
    pub fn thriftiest() -> Self {
        if kexec::reads_in_turn() {
            Self::InTurn
        } else {
            Self::AtOnce
        }
    }

    /// How many times the initrd is in memory at the worst moment.
    #[must_use]
    pub const fn copies(self) -> u8 {
        match self {
            Self::AtOnce => 3,
            Self::InTurn => 2,
        }
    }
}

/// What an image asks of a machine's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    kernel: u64,
    initrd: u64,
    init_size: u64,
    /// While it is fetched, beside what is in the tmpfs.
    fetching: u64,
}

impl Demand {
    /// By the manifest, before anything is fetched.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let kernel: u64 = manifest
            .files
            .iter()
            .filter(|file| file.path.role() == Role::Kernel)
            .map(|file| file.size)
            .sum();
        Self {
            kernel,
            initrd: manifest.boot_size().saturating_sub(kernel),
            init_size: kernel.saturating_mul(KERNEL_GROWTH),
            fetching: fetching(manifest),
        }
    }

    /// By the files in the tmpfs; moves the position of the kernel's.
    ///
    /// # Errors
    ///
    /// Where they cannot be read.
    pub fn of_files(kernel: &File, initrd: &File) -> io::Result<Self> {
        let kernel_len = kernel.metadata()?.len();
        Ok(Self {
            kernel: kernel_len,
            initrd: initrd.metadata()?.len(),
            init_size: init_size(kernel)?.unwrap_or(kernel_len),
            fetching: 0,
        })
    }

    /// Both files, in the tmpfs or as the kernel has read them.
    const fn files(self) -> u64 {
        self.kernel.saturating_add(self.initrd)
    }

    /// Where they go.
    const fn placed(self) -> u64 {
        let kernel = if self.init_size > self.kernel {
            self.init_size
        } else {
            self.kernel
        };
        kernel.saturating_add(self.initrd)
    }

    /// From the first byte that is fetched to the end of kexec_file_load.
    #[must_use]
    pub fn to_fetch(self, loading: Loading) -> u64 {
        self.files()
            .saturating_add(self.to_load(loading).max(self.fetching))
    }

    /// To load what is in the tmpfs already.
    #[must_use]
    pub fn to_load(self, loading: Loading) -> u64 {
        let pages = match loading {
            Loading::AtOnce => self.files().saturating_add(self.placed()),
            // First beside the tmpfs what is read, then in its place what is placed.
            Loading::InTurn => self.files().max(self.placed()),
        };
        // Eight bytes a page: as vmalloc's list and in its page table, then as kimage's list.
        let lists = self.files() / 256 + self.placed() / 512;
        pages.saturating_add(lists).saturating_add(LOADING)
    }

    /// Is there enough to fetch and to load the image?
    ///
    /// # Errors
    ///
    /// [`Shortage`], with the figures.
    pub fn check_before_fetching(self, memory: Memory, least: Loading) -> Result<(), Shortage> {
        self.check(memory, self.to_fetch(least), least)
    }

    /// How the image can be loaded from the tmpfs: at once wherever that fits.
    ///
    /// # Errors
    ///
    /// [`Shortage`], with the figures.
    pub fn check_before_loading(self, memory: Memory, least: Loading) -> Result<Loading, Shortage> {
        let loading = if memory.available >= self.to_load(Loading::AtOnce) {
            Loading::AtOnce
        } else {
            least
        };
        self.check(memory, self.to_load(loading), loading)?;
        Ok(loading)
    }

    fn check(self, memory: Memory, needed: u64, loading: Loading) -> Result<(), Shortage> {
        if memory.available < needed {
            return Err(Shortage::Free {
                needed,
                demand: self,
                loading,
                memory,
            });
        }
        if self.lacks_in_total(memory) > 0 {
            return Err(Shortage::Half {
                demand: self,
                memory,
            });
        }
        Ok(())
    }

    /// Where the memory goes.
    fn goes(self, loading: Loading) -> String {
        let (files, placed) = (mib(self.files()), mib(self.placed()));
        match loading {
            Loading::AtOnce => format!(
                "{files} in tmpfs, {files} as kexec reads it and {placed} where kexec places it, all at once"
            ),
            Loading::InTurn => format!(
                "{files} as kexec reads it, beside {files} in tmpfs first and {placed} where kexec places it then"
            ),
        }
    }

    /// By how much the machine is too small for the kernel to place so much in it.
    fn lacks_in_total(self, memory: Memory) -> u64 {
        let placed = self.placed().saturating_add(SMALL_SEGMENTS);
        placed.saturating_mul(2).saturating_sub(memory.total)
    }
}

/// What the machine has is less than what the image needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// At the worst moment it would run out.
    #[error(
        "this takes {} of free memory, this machine has {} of {}",
        mib(*needed),
        mib(memory.available),
        mib(memory.total)
    )]
    Free {
        /// What it takes from now on, in bytes.
        needed: u64,
        /// Of what.
        demand: Demand,
        /// How it would be loaded.
        loading: Loading,
        /// What there is.
        memory: Memory,
    },
    /// The kernel refuses to place more (`sanity_check_segment_list` in kernel/kexec_core.c), with an
    /// errno that says no more than that something is invalid.
    #[error(
        "kexec places at most half of the memory: kernel and initrd take {}, this machine has {}",
        mib(demand.placed()),
        mib(memory.total)
    )]
    Half {
        /// What would be placed.
        demand: Demand,
        /// What there is.
        memory: Memory,
    },
}

impl Shortage {
    /// What to do about it, and where the memory goes.
    #[must_use]
    pub fn hint(&self) -> String {
        match *self {
            Self::Free {
                needed,
                demand,
                loading,
                memory,
            } => {
                let lacks = needed.saturating_sub(memory.available);
                format!(
                    "give the machine {} more, or make the image smaller; kernel and initrd take {}",
                    mib(lacks.max(demand.lacks_in_total(memory))),
                    demand.goes(loading)
                )
            }
            Self::Half { demand, memory } => format!(
                "give the machine {} more, or make the image smaller",
                mib(demand.lacks_in_total(memory))
            ),
        }
    }
}

/// What fetching takes beside the tmpfs.
fn fetching(manifest: &Manifest) -> u64 {
    let Archive {
        chunk_size,
        encoding,
        ..
    } = manifest.archive;
    bytes_in_hand(chunk_size, encoding).saturating_add(FETCHING)
}

/// How much memory a kernel needs to unpack itself: x86's `init_size`, `None` for another kind of file.
fn init_size(mut kernel: &File) -> io::Result<Option<u64>> {
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
    use sealboot_core::format::manifest::Encoding;

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

    const IMAGE: Demand = Demand {
        kernel: 14 << 20,
        initrd: 150 << 20,
        init_size: 48 << 20,
        fetching: 24 << 20,
    };
    const LISTS: u64 = (164 << 20) / 256 + (198 << 20) / 512;

    #[test]
    fn an_initrd_counts_three_times_or_twice() {
        let rest = LISTS + LOADING;
        assert_eq!(
            IMAGE.to_fetch(Loading::AtOnce),
            ((164 + 164 + 198) << 20) + rest
        );
        assert_eq!(IMAGE.to_load(Loading::AtOnce), ((164 + 198) << 20) + rest);
        assert_eq!(IMAGE.to_fetch(Loading::InTurn), ((164 + 198) << 20) + rest);
        assert_eq!(IMAGE.to_load(Loading::InTurn), (198 << 20) + rest);
    }

    #[test]
    fn large_chunks_in_hand_count_where_they_take_more_than_kexec() {
        // A small image in chunks of 16 MiB, four of which are held.
        let small = Demand {
            kernel: 8 << 20,
            initrd: 4 << 20,
            init_size: 30 << 20,
            fetching: bytes_in_hand(16 << 20, Encoding::None) + FETCHING,
        };
        let needed = small.to_fetch(Loading::InTurn);
        assert_eq!(needed, (8 + 4 + 4 * 16 + 13) << 20);
        let check = |free| small.check_before_fetching(machine(1000, free), Loading::InTurn);
        check(needed).unwrap();
        assert!(matches!(check(needed - 1), Err(Shortage::Free { .. })));
    }

    fn machine(total_mib: u64, available: u64) -> Memory {
        Memory {
            available,
            total: total_mib << 20,
        }
    }

    #[test]
    fn what_fits_is_loaded_at_once_and_what_does_not_in_turn_where_that_can_be() {
        let (much, little) = (
            IMAGE.to_load(Loading::AtOnce),
            IMAGE.to_load(Loading::InTurn),
        );
        let choice = |available, least| {
            IMAGE
                .check_before_loading(machine(1000, available), least)
                .ok()
        };
        for (available, least, expected) in [
            (much, Loading::InTurn, Some(Loading::AtOnce)),
            (much, Loading::AtOnce, Some(Loading::AtOnce)),
            (much - 1, Loading::InTurn, Some(Loading::InTurn)),
            (much - 1, Loading::AtOnce, None),
            (little, Loading::InTurn, Some(Loading::InTurn)),
            (little - 1, Loading::InTurn, None),
        ] {
            assert_eq!(choice(available, least), expected, "{available} {least:?}");
        }
    }

    #[test]
    fn an_image_is_fetched_only_where_it_can_be_loaded() {
        for least in [Loading::AtOnce, Loading::InTurn] {
            let needed = IMAGE.to_fetch(least);
            let check = |available| IMAGE.check_before_fetching(machine(1000, available), least);
            check(needed).unwrap();
            let shortage = check(needed - 1).unwrap_err();
            assert!(matches!(shortage, Shortage::Free { .. }), "{shortage}");
            // What is there after the download is enough to load.
            let left = machine(1000, needed - IMAGE.files());
            assert_eq!(IMAGE.check_before_loading(left, least), Ok(least));
        }
    }

    #[test]
    fn a_shortage_says_where_the_memory_goes() {
        let memory = machine(600, 300 << 20);
        let told = |least| {
            let shortage = IMAGE.check_before_fetching(memory, least).unwrap_err();
            (shortage.to_string(), shortage.hint())
        };
        let (fact, hint) = told(Loading::InTurn);
        assert_eq!(
            fact,
            "this takes 372 MiB of free memory, this machine has 300 MiB of 600 MiB"
        );
        assert_eq!(
            hint,
            "give the machine 72 MiB more, or make the image smaller; kernel and initrd take 164 MiB as kexec \
             reads it, beside 164 MiB in tmpfs first and 198 MiB where kexec places it then"
        );
        let (fact, hint) = told(Loading::AtOnce);
        assert!(fact.starts_with("this takes 536 MiB"), "{fact}");
        assert!(hint.ends_with("all at once"), "{hint}");
    }

    #[test]
    fn the_kernel_places_no_more_than_half_of_the_memory() {
        let plenty = 1 << 30;
        let half = 2 * ((198 << 20) + SMALL_SEGMENTS);
        for (total, fits) in [(half, true), (half - 2, false)] {
            let memory = Memory {
                available: plenty,
                total,
            };
            for shortage in [
                IMAGE.check_before_fetching(memory, Loading::InTurn).err(),
                IMAGE.check_before_loading(memory, Loading::InTurn).err(),
            ] {
                match shortage {
                    None => assert!(fits),
                    Some(Shortage::Half { .. }) => assert!(!fits),
                    Some(other) => panic!("{other}"),
                }
            }
        }
    }

    #[test]
    fn sizes_past_all_bounds_are_refused_and_do_not_wrap() {
        let huge = Demand {
            kernel: u64::MAX,
            initrd: u64::MAX,
            init_size: u64::MAX,
            fetching: u64::MAX,
        };
        let memory = machine(1000, u64::MAX - 1);
        for least in [Loading::AtOnce, Loading::InTurn] {
            assert!(huge.check_before_fetching(memory, least).is_err());
            assert!(huge.check_before_loading(memory, least).is_err());
        }
    }
}
