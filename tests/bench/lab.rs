//! What the benchmarks measure with: keys, a policy, a certificate and images, all made by the release
//! binary, in a directory that goes when the benchmark ends; and servers of those images.
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use sealboot::vm::Process;
use sealboot::vm::debian::{self, Kernel, Packages};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;

use crate::contest::{self, Usage};

/// The image's name.
pub(crate) const IMAGE: &str = "bench";

/// The target directory is two levels up from where cargo lets a benchmark keep files.
const TARGET_TMP: &str = env!("CARGO_TARGET_TMPDIR");

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
    pub(crate) store: PathBuf,
    /// The archive's path in the store, `blobs/sha256-….tar…`.
    pub(crate) blob: String,
    /// The archive's length as it is stored.
    pub(crate) stored: u64,
}

/// Keys, policy and certificate, and the programs.
#[derive(Debug)]
pub(crate) struct Lab {
    directory: TempDir,
    memory: TempDir,
    pub(crate) packages: Packages,
    sealboot: PathBuf,
}

impl Lab {
    /// Makes everything but the images.
    pub(crate) async fn build() -> Self {
        let kind = statfs(SHARED_MEMORY).unwrap().filesystem_type();
        assert_eq!(kind, TMPFS_MAGIC, "{SHARED_MEMORY} is not a tmpfs");
        let cache = debian::cache_directory().unwrap();
        let lab = Self {
            directory: tempfile::tempdir_in(TARGET_TMP).unwrap(),
            memory: tempfile::tempdir_in(SHARED_MEMORY).unwrap(),
            packages: Packages::fetch(&cache, Kernel::Debian12Cloud, &mut |_| {})
                .await
                .unwrap(),
            sealboot: built("release/sealboot"),
        };
        lab.run(&["key", "generate", "--out", "alice"]);
        lab.run(&["key", "generate", "--out", "bob"]);
        #[rustfmt::skip]
        lab.run(&[
            "policy", "create", "--threshold", "2", "--key", "alice.pub", "--key", "bob.pub",
            "--name", IMAGE, "--out", "trust.json",
        ]);
        lab.run(&["tls", "generate", "--out", "tls", "--host", "127.0.0.1"]);
        lab
    }

    /// The directory of keys, policy, certificate and stores.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The authority of the servers' certificate.
    pub(crate) fn roots(&self) -> PathBuf {
        self.path().join("tls/ca.pem")
    }

    /// Runs `sealboot` in the lab's directory.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new(&self.sealboot);
        let output = command
            .args(words)
            .current_dir(self.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}:\n{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Packs, signs and publishes an image of about `size` bytes before it is compressed.
    pub(crate) fn image(&self, encoding: Encoding, size: u64) -> Image {
        eprintln!("packing {} MB, {}", size / 1_000_000, encoding.word);
        let store = format!("store-{}-{size}", encoding.word);
        let kernel = self.packages.kernel.to_str().unwrap();
        let initrd = size - fs::metadata(kernel).unwrap().len();
        self.write_initrd(encoding.content, initrd).unwrap();
        #[rustfmt::skip]
        let envelope = self.run(&[
            "image", "pack", "--name", IMAGE, "--version", "1", "--kernel", kernel,
            "--initrd", "initrd", "--keep-initrd", "--cmdline", "", "--expires", "2d",
            "--compress", encoding.word, "--store", &store,
        ]);
        let envelope = envelope.trim_end();
        for signer in ["alice.key", "bob.key"] {
            self.run(&["image", "sign", "--key", signer, envelope]);
        }
        #[rustfmt::skip]
        self.run(&["image", "publish", "--policy", "trust.json", "--store", &store, envelope]);
        let store = self.path().join(store);
        let blob = fs::read_dir(store.join("blobs"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        Image {
            blob: format!("blobs/{}", blob.file_name().to_str().unwrap()),
            stored: blob.metadata().unwrap().len(),
            store,
        }
    }

    fn write_initrd(&self, content: Content, size: u64) -> std::io::Result<()> {
        const PART: usize = 1 << 18;
        let mut file = BufWriter::new(File::create(self.path().join("initrd"))?);
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
        let modules = match content {
            Content::Noise => Vec::new(),
            Content::Modules => modules(&self.packages.modules),
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

    /// Serves an image's store.
    pub(crate) async fn serve(&self, image: &Image) -> Server {
        let mut command = Command::new(&self.sealboot);
        command
            .arg("serve")
            .arg("--store")
            .arg(&image.store)
            .args(["--listen", "127.0.0.1:0"])
            .args([
                "--tls-cert",
                "tls/server.pem",
                "--tls-key",
                "tls/server.key",
            ])
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::start(command).unwrap();
        let mut stdout = BufReader::new(process.take_stdout().unwrap());
        let mut url = String::new();
        stdout.read_line(&mut url).await.unwrap();
        Server {
            url: url.trim_end().to_owned(),
            _process: process,
            _stdout: stdout,
        }
    }

    /// Runs the loader's path as a process, from these mirrors into memory, which is given back. Gives
    /// also how many bytes it received.
    pub(crate) fn fetch(&self, mirrors: &[String]) -> (Usage, u64) {
        let program = built("x86_64-unknown-linux-gnu/release/examples/fetch-path");
        let mut command = Command::new(program);
        command
            .arg(self.path().join("trust.json"))
            .arg(self.roots())
            .arg(IMAGE)
            .arg(self.memory.path())
            .args(mirrors);
        let (usage, printed) = contest::run(&command, self.path());
        for entry in fs::read_dir(self.memory.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        // `received BYTES …`
        let received = printed.split_whitespace().nth(1);
        (usage, received.unwrap().parse().unwrap())
    }
}

/// A server until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// With a slash at its end.
    pub(crate) url: String,
    _process: Process,
    _stdout: BufReader<ChildStdout>,
}

/// What `make bench` built before it began, no older than its sources.
pub(crate) fn built(place: &str) -> PathBuf {
    let binary = Path::new(TARGET_TMP).parent().unwrap().join(place);
    let modified = |file: &Path| -> std::io::Result<SystemTime> { fs::metadata(file)?.modified() };
    let since = modified(&binary)
        .unwrap_or_else(|error| panic!("{}: {error}; run `make bench-build`", binary.display()));
    // cargo's own list of what the binary was made of, beside it: `BINARY: SOURCE SOURCE …`.
    let sources = fs::read_to_string(binary.with_extension("d")).unwrap();
    for source in sources.split_whitespace().skip(1) {
        assert!(
            modified(Path::new(source)).is_ok_and(|changed| changed <= since),
            "{} is older than {source}; run `make bench-build`",
            binary.display()
        );
    }
    binary
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

/// xorshift64* (Vigna, 2016): fast, the same at every run, and nothing that gzip finds a pattern in.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// Fills `bytes`, whose length is a multiple of eight.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_exact_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let next = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
            word.copy_from_slice(&next.to_le_bytes());
        }
    }
}
