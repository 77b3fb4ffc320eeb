//! Keys, server and initramfs: what an operator would make by hand, made by the release binary.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sealboot::vm::debian::{self, Kernel, Packages};
use sealboot::vm::{HOST_ADDRESS, Process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio::time::timeout;

/// Where everything lies, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lab {
    directory: TempDir,
    sealboot: PathBuf,
    pub(crate) packages: Packages,
}

/// An image that is published, and the very files that are in it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) name: &'static str,
    /// The kernel, as a boot loader would be given it.
    pub(crate) kernel: PathBuf,
    /// The initrd, likewise: as the packer has compressed it.
    pub(crate) initrd: PathBuf,
    /// The archive's path in the store.
    pub(crate) archive: String,
}

/// `sealboot serve` until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// What a machine in QEMU reaches it by.
    pub(crate) url: String,
    _process: Process,
    _stdout: BufReader<ChildStdout>,
}

impl Lab {
    pub(crate) async fn build() -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let sealboot = target.join("release/sealboot");
        let loader = target.join("x86_64-unknown-linux-gnu/release/sealboot-init");
        for binary in [&sealboot, &loader] {
            assert!(binary.is_file(), "no {}: `make build`", binary.display());
        }
        let cache = debian::cache_directory().unwrap();
        let packages = Packages::fetch(&cache, Kernel::Debian12Cloud, &mut |_| {})
            .await
            .unwrap();
        let lab = Self {
            directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            sealboot,
            packages,
        };
        lab.run(&["key", "generate", "--out", "key"]);
        #[rustfmt::skip]
        lab.run(&[
            "policy", "create", "--threshold", "1", "--key", "key.pub",
            "--name", "incompressible", "--name", "debian", "--out", "trust.json",
        ]);
        lab.run(&["tls", "generate", "--out", "tls", "--host", HOST_ADDRESS]);
        let modules = lab.packages.modules.to_str().unwrap();
        #[rustfmt::skip]
        lab.run(&[
            "initramfs", "build", "--loader", loader.to_str().unwrap(), "--policy", "trust.json",
            "--tls-roots", "tls/ca.pem", "--modules", modules, "--out", "loader.img",
        ]);
        lab
    }

    /// A file of the lab.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The loader's initramfs.
    pub(crate) fn initramfs(&self) -> PathBuf {
        self.path("loader.img")
    }

    /// Packs and publishes this initrd with Debian's kernel.
    pub(crate) fn image(&self, name: &'static str, initrd: PathBuf) -> Image {
        let store = format!("{name}.store");
        let kernel = self.packages.kernel.to_str().unwrap();
        #[rustfmt::skip]
        let envelope = self.run(&[
            "image", "pack", "--name", name, "--version", "1", "--kernel", kernel,
            "--initrd", initrd.to_str().unwrap(), "--cmdline", super::guest::APPEND,
            "--expires", "1d", "--store", &store,
        ]);
        let envelope = envelope.trim_end();
        self.run(&["image", "sign", "--yes", "--key", "key.key", envelope]);
        #[rustfmt::skip]
        self.run(&["image", "publish", "--policy", "trust.json", "--store", &store, envelope]);
        fs::remove_file(initrd).unwrap();
        let mut blobs = fs::read_dir(self.path(&store).join("blobs")).unwrap();
        let blob = blobs.next().unwrap().unwrap();
        // What the packer made of them, whichever encoding the archive has.
        let unpacked = self.path(&format!("{name}.unpacked"));
        fs::create_dir(&unpacked).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(blob.path()).arg("-C").arg(&unpacked);
        assert!(tar.status().unwrap().success(), "tar");
        Image {
            name,
            kernel: unpacked.join("boot/vmlinuz"),
            initrd: unpacked.join("boot/initrd"),
            archive: format!("blobs/{}", blob.file_name().to_str().unwrap()),
        }
    }

    /// Serves the image's store.
    pub(crate) async fn serve(&self, image: &Image) -> Server {
        let mut command = Command::new(&self.sealboot);
        command
            .current_dir(self.directory.path())
            .args(["serve", "--store", &format!("{}.store", image.name)])
            .args(["--listen", "127.0.0.1:0", "--tls-cert", "tls/server.pem"])
            .args(["--tls-key", "tls/server.key"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.path("server.log")).unwrap());
        let mut process = Process::start(command).unwrap();
        let mut stdout = BufReader::new(process.take_stdout().unwrap());
        let mut url = String::new();
        timeout(Duration::from_secs(30), stdout.read_line(&mut url))
            .await
            .expect("the server listens")
            .unwrap();
        let (_, port) = url.trim().trim_end_matches('/').rsplit_once(':').unwrap();
        Server {
            url: format!("https://{HOST_ADDRESS}:{port}/"),
            _process: process,
            _stdout: stdout,
        }
    }

    fn run(&self, words: &[&str]) -> String {
        let output = Command::new(&self.sealboot)
            .args(words)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "sealboot {}:\n{}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}
