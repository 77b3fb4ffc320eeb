//! What an operator has, made by the release binary, in a directory that goes when the test ends: keys, a
//! policy that all of them must sign by, a certificate, Debian's kernel, and images in stores.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sealboot::vm::debian::{self, Kernel, Packages};
use tempfile::TempDir;

use super::places::{built, scratch};
use super::served::Served;

/// The place of the operator's tool in the target directory.
pub const TOOL: &str = "release/sealboot";
/// The place of the loader.
pub const LOADER: &str = "x86_64-unknown-linux-gnu/release/sealboot-init";

/// The operator's directory.
#[derive(Debug)]
pub struct Desk {
    directory: TempDir,
    sealboot: PathBuf,
    signers: &'static [&'static str],
    /// Debian's kernel, its modules, and BusyBox.
    pub packages: Packages,
}

impl Desk {
    /// Makes everything but images: `SIGNER.key` of each signer, `trust.json` for images of these names, and
    /// `tls/` with a certificate for `host`.
    ///
    /// `make MAKE` is what a developer is told to run where the binaries are missing or old.
    pub async fn build(
        signers: &'static [&'static str],
        names: &[&str],
        host: &str,
        make: &str,
    ) -> Self {
        let cache = debian::cache_directory().unwrap();
        let desk = Self {
            directory: tempfile::tempdir_in(scratch()).unwrap(),
            sealboot: built(TOOL, make),
            signers,
            packages: Packages::fetch(&cache, Kernel::Debian12Cloud, &mut |_| {})
                .await
                .unwrap(),
        };
        let threshold = signers.len().to_string();
        let mut policy = vec!["policy", "create", "--threshold", &threshold];
        let public: Vec<String> = signers.iter().map(|name| format!("{name}.pub")).collect();
        for (signer, public) in signers.iter().zip(&public) {
            desk.run(&["key", "generate", "--out", signer]);
            policy.extend(["--key", public]);
        }
        policy.extend(names.iter().flat_map(|name| ["--image", name]));
        policy.extend(["--out", "trust.json"]);
        desk.run(&policy);
        desk.run(&["tls", "generate", "--out", "tls", "--host", host]);
        desk
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file of it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The authority of the servers' certificate.
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.path("tls/ca.pem")
    }

    /// Runs `sealboot` here and returns what it prints.
    pub fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new(&self.sealboot);
        let output = command
            .args(words)
            .current_dir(self.directory())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}:\n{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Packs version 1 of an image with Debian's kernel as these options of `image pack` say, signs it, and
    /// publishes it in a store of its own. Returns the archive's path in the store.
    pub fn publish(&self, name: &str, store: &str, options: &[&str]) -> String {
        let kernel = self.packages.kernel.to_str().unwrap();
        #[rustfmt::skip]
        let pack = ["image", "pack", "--name", name, "--version", "1", "--kernel", kernel, "--store", store];
        let envelope = self.run(&[&pack[..], options].concat());
        let envelope = envelope.trim_end();
        for signer in self.signers {
            let key = format!("{signer}.key");
            self.run(&["image", "sign", "--yes", "--key", &key, envelope]);
        }
        #[rustfmt::skip]
        self.run(&["image", "publish", "--policy", "trust.json", "--store", store, envelope]);
        let blobs = fs::read_dir(self.path(store).join("blobs")).unwrap();
        let mut names = blobs.map(|blob| blob.unwrap().file_name().into_string().unwrap());
        let archive = names.find(|name| name.contains(".tar")).unwrap();
        format!("blobs/{archive}")
    }

    /// Serves a store on a free port of loopback.
    pub async fn serve(&self, store: &str) -> Served {
        let log = self.path("server.log");
        let mut command = Command::new(&self.sealboot);
        command
            .args(["serve", "--store", store, "--listen", "127.0.0.1:0"])
            .args(["--tls-cert", "tls/server.pem"])
            .args(["--tls-key", "tls/server.key"])
            .current_dir(self.directory())
            .stderr(File::options().create(true).append(true).open(log).unwrap());
        Served::start(command).await
    }
}
