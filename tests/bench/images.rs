//! Images of any size and encoding, and the loader's path from their servers into memory.
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tempfile::TempDir;

use crate::contest::{self, Usage};
use support::noise::Noise;
use support::places;
use support::release::Desk;

/// The image's name.
pub(crate) const IMAGE: &str = "bench";

/// What builds the programs that are measured.
const MAKE: &str = "bench-build";

/// Where an image is unpacked to: memory, as the loader's is.
const SHARED_MEMORY: &str = "/dev/shm";

/// What an image's initrd is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Noise, as an initrd is that is compressed already.
    Noise,
    /// Kernel modules with noise between them, which gzip makes half as large: four parts to one.
    Modules,
}

/// How an image is stored. A new encoding is a line here, and one in `ENCODINGS` of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) name: &'static str,
    /// The word for `image pack --compress`.
    pub(crate) word: &'static str,
    pub(crate) content: Content,
    /// What decompresses it in a pipeline; none where there is nothing to do.
    pub(crate) decompress: Option<&'static str>,
}

/// The archive as it is.
pub(crate) const PLAIN: Encoding = Encoding {
    name: "plain",
    word: "none",
    content: Content::Noise,
    decompress: None,
};

/// The archive in gzip.
pub(crate) const GZIP: Encoding = Encoding {
    name: "gzip",
    word: "gzip",
    content: Content::Modules,
    decompress: Some("gzip -dc"),
};

/// The archive in zstd.
pub(crate) const ZSTD: Encoding = Encoding {
    name: "zstd",
    word: "zstd",
    content: Content::Modules,
    decompress: Some("zstd -dc"),
};

/// An image in a store of its own.
#[derive(Debug)]
pub(crate) struct Image {
    /// The store, a directory of the desk.
    pub(crate) store: String,
    /// The archive's path in the store, `blobs/….tar…`.
    pub(crate) blob: String,
    /// The archive's length as it is stored.
    pub(crate) stored: u64,
}

/// An operator's desk, and memory to unpack to.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) desk: Desk,
    memory: TempDir,
}

impl Bench {
    /// Makes everything but the images.
    pub(crate) async fn build() -> Self {
        let kind = statfs(SHARED_MEMORY).unwrap().filesystem_type();
        assert_eq!(kind, TMPFS_MAGIC, "{SHARED_MEMORY} is not a tmpfs");
        Self {
            desk: Desk::build(&["alice", "bob"], &[IMAGE], "127.0.0.1", MAKE).await,
            memory: tempfile::tempdir_in(SHARED_MEMORY).unwrap(),
        }
    }

    /// Packs, signs and publishes an image of about `size` bytes before it is compressed.
    pub(crate) fn image(&self, encoding: Encoding, size: u64) -> Image {
        eprintln!("packing {} MB, {}", size / 1_000_000, encoding.word);
        let store = format!("store-{}-{size}", encoding.word);
        let initrd = size - fs::metadata(&self.desk.packages.kernel).unwrap().len();
        self.write_initrd(encoding.content, initrd).unwrap();
        #[rustfmt::skip]
        let blob = self.desk.publish(IMAGE, &store, &[
            "--initrd", "initrd", "--keep-initrd", "--cmdline", "", "--expires", "2d",
            "--compress", encoding.word,
        ]);
        let stored = fs::metadata(self.desk.path(&store).join(&blob))
            .unwrap()
            .len();
        Image {
            store,
            blob,
            stored,
        }
    }

    fn write_initrd(&self, content: Content, size: u64) -> std::io::Result<()> {
        const PART: usize = 1 << 18;
        let mut file = BufWriter::new(File::create(self.desk.path("initrd"))?);
        let mut noise = Noise::new(1);
        let modules = match content {
            Content::Noise => Vec::new(),
            Content::Modules => modules(&self.desk.packages.modules),
        };
        let mut modules = modules.chunks_exact(PART).cycle();
        let mut left = usize::try_from(size).unwrap();
        let mut part = vec![0; PART];
        for at in 0.. {
            if left == 0 {
                break;
            }
            match modules.next() {
                Some(bytes) if at % 5 != 0 => part.copy_from_slice(bytes),
                _ => noise.fill(&mut part),
            }
            let written = left.min(PART);
            file.write_all(&part[..written])?;
            left -= written;
        }
        file.flush()
    }

    /// Runs the loader's path as a process, from these mirrors into memory, which is given back. Gives
    /// also how many bytes it received.
    pub(crate) fn fetch(&self, mirrors: &[String]) -> (Usage, u64) {
        let mut command = Command::new(built(
            "x86_64-unknown-linux-gnu/release/examples/fetch-path",
        ));
        command
            .arg(self.desk.path("trust.json"))
            .arg(self.desk.roots())
            .arg(IMAGE)
            .arg(self.memory.path())
            .args(mirrors);
        let (usage, printed) = contest::run(&command, self.desk.directory());
        for entry in fs::read_dir(self.memory.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        // `received BYTES …`
        let received = printed.split_whitespace().nth(1);
        (usage, received.unwrap().parse().unwrap())
    }
}

/// What `make bench` built before it began.
pub(crate) fn built(place: &str) -> PathBuf {
    places::built(place, MAKE)
}

/// The kernel's modules, one after the other, in the order of their paths.
fn modules(directory: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            all.append(&mut modules(&path));
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            all.append(&mut fs::read(&path).unwrap());
        }
    }
    all
}
