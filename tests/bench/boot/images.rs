//! Images of the benchmark, the loader's initramfs, and servers that machines in QEMU reach.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use sealboot::vm::HOST_ADDRESS;

use support::places::built;
use support::release::{Desk, LOADER};
use support::served::Served;

/// What builds the programs that are measured.
const MAKE: &str = "build";

/// An operator's desk, with the loader's initramfs on it.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) desk: Desk,
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
    _served: Served,
}

impl Bench {
    pub(crate) async fn build() -> Self {
        let loader = built(LOADER, MAKE);
        let names = ["incompressible", "debian"];
        let desk = Desk::build(&["key"], &names, HOST_ADDRESS, MAKE).await;
        let modules = desk.packages.modules.to_str().unwrap();
        #[rustfmt::skip]
        desk.run(&[
            "initramfs", "build", "--loader", loader.to_str().unwrap(), "--policy", "trust.json",
            "--tls-roots", "tls/ca.pem", "--modules-dir", modules, "--out", "loader.img",
        ]);
        Self { desk }
    }

    /// The loader's initramfs.
    pub(crate) fn initramfs(&self) -> PathBuf {
        self.desk.path("loader.img")
    }

    /// Packs and publishes this initrd with Debian's kernel.
    pub(crate) fn image(&self, name: &'static str, initrd: PathBuf) -> Image {
        let store = store_of(name);
        #[rustfmt::skip]
        let archive = self.desk.publish(name, &store, &[
            "--initrd", initrd.to_str().unwrap(), "--cmdline", super::guest::APPEND, "--expires", "1d",
        ]);
        fs::remove_file(initrd).unwrap();
        // What the packer made of them, whichever encoding the archive has.
        let unpacked = self.desk.path(&format!("{name}.unpacked"));
        fs::create_dir(&unpacked).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(self.desk.path(&store).join(&archive));
        tar.arg("-C").arg(&unpacked);
        assert!(tar.status().unwrap().success(), "tar");
        Image {
            name,
            kernel: unpacked.join("boot/vmlinuz"),
            initrd: unpacked.join("boot/initrd"),
            archive,
        }
    }

    /// Serves the image's store.
    pub(crate) async fn serve(&self, image: &Image) -> Server {
        let served = self.desk.serve(&store_of(image.name)).await;
        Server {
            url: format!("https://{HOST_ADDRESS}:{}/", served.port()),
            _served: served,
        }
    }
}

pub(crate) fn store_of(name: &str) -> String {
    format!("{name}.store")
}
