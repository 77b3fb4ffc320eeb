//! What every machine test shares: keys, policy, certificates, a small OS as a published image, and
//! the loader's initramfs, all made by the release binary.
//!
//! nextest runs each test in a process of its own, so the lab is a directory under the target
//! directory: built by the first that comes, under a file lock, and named after everything that it was
//! made of. A test holds a lock on its lab: at midnight, the next day's must not remove it.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use jiff::Timestamp;
use sealboot::assemble::modules::{ModulesDir, Selection};
use sealboot::keys::pem::PrivateKey;
use sealboot::vm::debian::{self, Kernel, Packages};
use sealboot::vm::{EMULATED, HOST_ADDRESS, os};
use sealboot_core::format::digest::Sha256Digest;
use support::places::built;

use crate::router;

/// The image that the machines ask for.
pub(crate) const IMAGE: &str = "lab";
/// The version that is published.
pub(crate) const VERSION: u32 = 10;
/// The oldest version that the policy accepts.
pub(crate) const MIN_VERSION: u32 = 5;

/// The file of the lab, and of each desk that packs an OS, with the words of the kernel command line that keep its
/// kernel from disks.
const LINE: &str = "disks.line";

/// How long images are good for, where a test does not say otherwise.
const EXPIRES: [&str; 2] = ["--expires", "60d"];

/// Where cargo lets tests keep files.
pub(crate) const TARGET_TMP: &str = env!("CARGO_TARGET_TMPDIR");

/// The shared directory and what lies in it.
#[derive(Debug)]
pub(crate) struct Lab {
    directory: PathBuf,
    pub(crate) sealboot: PathBuf,
    pub(crate) loader: PathBuf,
    pub(crate) kernel: PathBuf,
    /// The directory of the kernel's modules.
    pub(crate) modules: PathBuf,
    pub(crate) busybox: PathBuf,
}

impl Lab {
    /// The lab, built if nobody has yet.
    pub(crate) fn get() -> &'static Self {
        static LAB: OnceLock<(Lab, File)> = OnceLock::new();
        let (lab, _in_use) = LAB.get_or_init(|| {
            let sealboot = release_binary("SEALBOOT_BIN", "release/sealboot");
            let loader = release_binary(
                "SEALBOOT_LOADER",
                "x86_64-unknown-linux-gnu/release/sealboot-init",
            );
            let lock = File::create(Path::new(TARGET_TMP).join("vm-lab.lock")).unwrap();
            lock.lock().unwrap();
            let packages = packages(kernel());
            let name = format!("vm-lab-{}", key(&[&sealboot, &loader, &packages.kernel]));
            let lab = Self {
                directory: Path::new(TARGET_TMP).join(&name),
                sealboot,
                loader,
                kernel: packages.kernel.clone(),
                modules: packages.modules.clone(),
                busybox: packages.busybox.clone(),
            };
            if !lab.directory.is_dir() {
                remove_old_labs();
                lab.build(&packages);
            }
            let in_use = File::open(&lab.directory).unwrap();
            in_use.lock_shared().unwrap();
            (lab, in_use)
        });
        lab
    }

    /// A file or directory of the lab.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The loader's initramfs, which asks for alice and bob.
    pub(crate) fn initramfs(&self) -> PathBuf {
        self.path("loader.initramfs")
    }

    /// Another one, which asks for two of alice, bob and carol, and for freshness by clockwork.
    pub(crate) fn fresh_initramfs(&self) -> PathBuf {
        self.path("fresh.initramfs")
    }

    /// The first one again, with the drivers of more network cards.
    pub(crate) fn nics_initramfs(&self, set: &str) -> PathBuf {
        self.path(&format!("{set}.initramfs"))
    }

    /// Reads a module that needs no other; in the kernel's directory it is compressed.
    pub(crate) fn module(&self, name: &str) -> Vec<u8> {
        let mut selection = Selection::default();
        selection.add(name);
        let order = ModulesDir::open(&self.modules).unwrap();
        let order = order.resolve(&selection).unwrap();
        let [module] = &order.modules[..] else {
            panic!("{name}: {order:?}")
        };
        module.read().unwrap().bytes
    }

    /// Builds the first one again, in `directory`, with these words of `initramfs build` too.
    pub(crate) fn initramfs_with(&self, directory: &Path, more: &[&str]) -> PathBuf {
        let policy = Path::new("trust.json");
        self.initramfs_of(policy, &self.modules, directory, more).0
    }

    /// Builds it with this policy for the kernel of these modules, and returns the words of the kernel command line that
    /// the tool asks for: none where that kernel has no driver of a disk built in.
    pub(crate) fn initramfs_of(
        &self,
        policy: &Path,
        modules: &Path,
        directory: &Path,
        more: &[&str],
    ) -> (PathBuf, String) {
        let out = directory.join("own.initramfs");
        let (loader, policy) = (self.loader.to_str().unwrap(), policy.to_str().unwrap());
        let modules = modules.to_str().unwrap();
        #[rustfmt::skip]
        let mut words = vec![
            "initramfs", "build", "--loader", loader, "--policy", policy,
            "--host-config", "host.json", "--tls-roots", "tls/ca.pem",
            "--modules-dir", modules, "--out", out.to_str().unwrap(),
        ];
        words.extend(more);
        let (_, said) = self.run_and_hear(&self.directory, &[], &words);
        (out, line_of(&said))
    }

    /// Returns the same words for the lab's kernel.
    pub(crate) fn line(&self) -> String {
        fs::read_to_string(self.path(LINE)).unwrap()
    }

    /// The first one again without a host config, in `directory`.
    pub(crate) fn bare_initramfs(&self, directory: &Path) -> PathBuf {
        let out = directory.join("bare.initramfs");
        let (loader, modules) = (
            self.loader.to_str().unwrap(),
            self.modules.to_str().unwrap(),
        );
        #[rustfmt::skip]
        self.run(&self.directory, [
            "initramfs", "build", "--loader", loader, "--policy", "trust.json",
            "--tls-roots", "tls/ca.pem", "--modules-dir", modules, "--out", out.to_str().unwrap(),
        ]);
        out
    }

    /// Returns a signer's private key.
    pub(crate) fn key(&self, name: &str) -> PrivateKey {
        let pem = fs::read_to_string(self.path(&format!("keys/{name}.key"))).unwrap();
        PrivateKey::from_pem(&pem).unwrap()
    }

    /// Runs `sealboot` in `directory` and gives its stdout; the test fails where the command does.
    pub(crate) fn run<const N: usize>(&self, directory: &Path, words: [&str; N]) -> String {
        self.run_all(directory, &[], &words)
    }

    /// The same with more in its environment.
    pub(crate) fn run_with<const N: usize>(
        &self,
        directory: &Path,
        environment: &[(&str, &str)],
        words: [&str; N],
    ) -> String {
        self.run_all(directory, environment, &words)
    }

    /// The same with words that are counted late.
    pub(crate) fn run_all(
        &self,
        directory: &Path,
        environment: &[(&str, &str)],
        words: &[&str],
    ) -> String {
        self.run_and_hear(directory, environment, words).0
    }

    /// The same with its stderr.
    fn run_and_hear(
        &self,
        directory: &Path,
        environment: &[(&str, &str)],
        words: &[&str],
    ) -> (String, String) {
        let output = Command::new(&self.sealboot)
            .args(words)
            .envs(environment.iter().copied())
            .current_dir(directory)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "sealboot {} ({}):\n{said}",
            words.join(" "),
            output.status
        );
        (String::from_utf8(output.stdout).unwrap(), said)
    }

    /// Makes everything in a scratch directory, which becomes the lab when all of it is there.
    fn build(&self, packages: &Packages) {
        let scratch = tempfile::Builder::new()
            .prefix("vm-lab-building-")
            .tempdir_in(TARGET_TMP)
            .unwrap();
        let at = scratch.path();
        fs::create_dir(at.join("keys")).unwrap();
        for signer in ["alice", "bob", "dora", "mallory", "clockwork"] {
            let out = format!("keys/{signer}");
            self.run(at, ["key", "generate", "--out", &out]);
        }
        // Carol's is of the kind that an ssh-agent holds.
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "carol"])
            .args(["-f", "keys/carol.key"])
            .current_dir(at)
            .status();
        assert!(made.unwrap().success(), "ssh-keygen");
        fs::rename(at.join("keys/carol.key.pub"), at.join("keys/carol.pub")).unwrap();
        let accepted = format!("{IMAGE}={MIN_VERSION}");
        #[rustfmt::skip]
        self.run(at, [
            "policy", "create", "--threshold", "2",
            "--key", "keys/alice.pub", "--key", "keys/bob.pub", "--image", &accepted,
            "--retry-initial", "1s", "--retry-max", "2s", "--out", "trust.json",
        ]);
        #[rustfmt::skip]
        self.run(at, [
            "policy", "create", "--threshold", "2",
            "--key", "keys/alice.pub", "--key", "keys/bob.pub", "--key", "keys/carol.pub",
            "--freshness-key", "keys/clockwork.pub", "--require-freshness", "--max-freshness", "72h",
            "--max-releases", "2",
            "--image", &accepted, "--retry-initial", "1s", "--retry-max", "2s", "--out", "fresh.json",
        ]);
        for tls in ["tls", "other-tls"] {
            let mut words = vec!["tls", "generate", "--out", tls, "--host", HOST_ADDRESS];
            words.extend(router::HOSTS.iter().flat_map(|host| ["--host", host]));
            self.run_all(at, &[], &words);
        }

        let (loader, modules) = (
            self.loader.to_str().unwrap(),
            packages.modules.to_str().unwrap(),
        );
        #[rustfmt::skip]
        let (_, said) = self.run_and_hear(at, &[], &[
            "initramfs", "build", "--loader", loader, "--policy", "trust.json",
            "--tls-roots", "tls/ca.pem", "--modules-dir", modules, "--compress", "none", "--out", "plain.initramfs",
        ]);
        fs::write(at.join(LINE), line_of(&said)).unwrap();

        fs::create_dir(at.join("os")).unwrap();
        fs::copy(&packages.kernel, at.join("os/vmlinuz")).unwrap();
        let busybox = fs::read(&packages.busybox).unwrap();
        fs::write(
            at.join("os/initrd"),
            os::initrd(&busybox, "small OS of the lab").unwrap(),
        )
        .unwrap();
        let envelope = self.pack(at, at, IMAGE, VERSION);
        self.sign(at, &envelope, "alice", at);
        self.sign(at, &envelope, "bob", at);
        let envelope = envelope.to_str().unwrap();
        #[rustfmt::skip]
        self.run(at, ["image", "publish", "--policy", "trust.json", "--store", "store", envelope]);

        // The mirror here is never asked: each test names its own on the kernel command line.
        fs::write(
            at.join("host.json"),
            format!(
                r#"{{"image":"{IMAGE}","mirrors":["https://{HOST_ADDRESS}:1/"],"network":{{"mode":"dhcp"}}}}"#
            ),
        )
        .unwrap();
        // As an operator's would be, whose machines have no battery: where the clock says 1970, today's
        // certificates are valid, and last month's statements are not. Without it, both would depend on
        // how old the loader is. That the loader's own build time counts is tested in `time`.
        let built = Timestamp::now().as_second().to_string();
        for (policy, set, initramfs) in [
            ("trust.json", "virtio", "loader.initramfs"),
            ("fresh.json", "virtio", "fresh.initramfs"),
            ("trust.json", "common-nics", "common-nics.initramfs"),
            ("trust.json", "all-nics", "all-nics.initramfs"),
        ] {
            #[rustfmt::skip]
            self.run_with(at, &[("SOURCE_DATE_EPOCH", &built)], [
                "initramfs", "build", "--loader", loader, "--policy", policy,
                "--host-config", "host.json", "--tls-roots", "tls/ca.pem",
                "--modules-dir", modules, "--module", set, "--out", initramfs,
            ]);
        }
        fs::rename(scratch.keep(), &self.directory).unwrap();
    }

    /// Packs the lab's OS, made under `lab` with its line, into `directory/store`. Gives the unsigned envelope.
    pub(crate) fn pack(&self, lab: &Path, directory: &Path, name: &str, version: u32) -> PathBuf {
        let now = Timestamp::now();
        self.pack_at(now, lab, directory, name, version)
    }

    /// Packs the lab's OS as these arguments of `image pack` say; without an expiry where they name none.
    pub(crate) fn pack_as(&self, how: &[&str], created: Timestamp, directory: &Path) -> PathBuf {
        self.pack_with(how, created, &self.directory, directory, IMAGE, VERSION)
    }

    /// The same, as it would have been made then.
    pub(crate) fn pack_at(
        &self,
        created: Timestamp,
        lab: &Path,
        directory: &Path,
        name: &str,
        version: u32,
    ) -> PathBuf {
        self.pack_with(&EXPIRES, created, lab, directory, name, version)
    }

    fn pack_with(
        &self,
        more: &[&str],
        created: Timestamp,
        lab: &Path,
        directory: &Path,
        name: &str,
        version: u32,
    ) -> PathBuf {
        let (kernel, initrd) = (lab.join("os/vmlinuz"), lab.join("os/initrd"));
        let epoch = created.as_second().to_string();
        // A desk without one packs the lab's kernel.
        let line = fs::read_to_string(lab.join(LINE)).unwrap_or_else(|_| self.line());
        let cmdline = format!("console=ttyS0 panic=-1 {EMULATED} {line}");
        let cmdline = cmdline.trim_end();
        let version = version.to_string();
        #[rustfmt::skip]
        let words = [
            "image", "pack", "--name", name, "--version", &version,
            "--kernel", kernel.to_str().unwrap(), "--initrd", initrd.to_str().unwrap(),
            "--cmdline", cmdline, "--store", "store",
        ];
        let words = [&words[..], more].concat();
        let envelope = self.run_all(directory, &[("SOURCE_DATE_EPOCH", &epoch)], &words);
        directory.join(envelope.trim_end())
    }

    /// Signs an envelope with a key made under `lab`.
    pub(crate) fn sign(&self, lab: &Path, envelope: &Path, signer: &str, directory: &Path) {
        let key = lab.join(format!("keys/{signer}.key"));
        let (key, envelope) = (key.to_str().unwrap(), envelope.to_str().unwrap());
        self.run(directory, ["image", "sign", "--key", key, envelope]);
    }

    /// The lab's own directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Returns the words of the kernel command line that `initramfs build` asks for.
fn line_of(said: &str) -> String {
    let words = said.split_whitespace();
    let mut asked = words.filter(|word| word.starts_with("initcall_blacklist="));
    asked.next().unwrap_or_default().to_owned()
}

/// A binary that `make build` made, no older than its sources.
fn release_binary(variable: &str, place: &str) -> PathBuf {
    if let Some(given) = env::var_os(variable) {
        return PathBuf::from(given).canonicalize().expect(variable);
    }
    built(place, "build")
}

/// Returns a kernel of Debian; fetched once for every test run on this machine, as for the demo.
pub(crate) fn packages(kernel: Kernel) -> Packages {
    let fetch = move || {
        let cache = debian::cache_directory().unwrap();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(Packages::fetch(&cache, kernel, &mut |_| {}))
            .unwrap()
    };
    // A thread of its own: within a test's runtime, no other one can be waited for.
    std::thread::spawn(fetch).join().unwrap()
}

/// Returns the kernel that `make kernel` asks for, or the default.
fn kernel() -> Kernel {
    match env::var("SEALBOOT_TEST_KERNEL").as_deref() {
        Err(env::VarError::NotPresent) | Ok("debian13") => Kernel::Debian13,
        Ok("debian13-cloud") => Kernel::Debian13Cloud,
        Ok("debian12-cloud") => Kernel::Debian12Cloud,
        other => panic!(
            "SEALBOOT_TEST_KERNEL is {other:?}: give debian13, debian13-cloud or debian12-cloud"
        ),
    }
}

/// Names what the lab is made of. The day is part of it: the images in it expire, and the clock of a
/// machine without a battery starts when it was built.
fn key(files: &[&Path]) -> String {
    let day = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 86_400;
    let mut all = format!("{day} {}", include_str!("lab.rs")).into_bytes();
    for file in files {
        all.extend_from_slice(Sha256Digest::of(&fs::read(file).unwrap()).as_bytes());
    }
    Sha256Digest::of(&all).to_string()[..16].to_owned()
}

/// Removes labs that were made of something else, where no test uses them.
fn remove_old_labs() {
    for entry in fs::read_dir(TARGET_TMP).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        if path.is_dir() && name.starts_with("vm-lab-") {
            let unused = File::open(&path).unwrap();
            if unused.try_lock().is_ok() {
                fs::remove_dir_all(&path).unwrap();
            }
        }
    }
}
