//! The two OSes that are booted, each a plain cpio that compares its files with their checksums.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sealboot::vm::debian;
use sha2::{Digest as _, Sha256};

use super::guest::MARKER;
use super::images::Bench;

/// Bytes of the file that fills the incompressible OS.
const BALLAST: usize = 150 << 20;

/// What a small server has, each with all that it depends on.
const PACKAGES: [&str; 9] = [
    "bash",
    "coreutils",
    "iproute2",
    "mount",
    "openssh-server",
    "perl-base",
    "python3-minimal",
    "systemd",
    "util-linux",
];

/// `/init` of both: `shell` and `tools` differ.
fn init(shell: &str, tools: &str) -> String {
    format!(
        "#!{shell}\ncd /\nexport PATH={tools}\nmd5sum -c sums >/dev/null && echo \"{MARKER}\"\n/bin/busybox poweroff -f\n"
    )
}

/// BusyBox and a file of 150 MiB that nothing makes smaller.
pub(crate) fn incompressible(bench: &Bench) -> PathBuf {
    let root = bench.desk.path("incompressible");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy(&bench.desk.packages.busybox, root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/md5sum")).unwrap();
    // The same bytes in every run.
    let blocks = (0_u64..).flat_map(|at| Sha256::digest(at.to_le_bytes()));
    let ballast: Vec<u8> = blocks.take(BALLAST).collect();
    fs::write(root.join("ballast"), ballast).unwrap();
    finish(&root, &init("/bin/busybox sh", "/bin"))
}

/// Debian's kernel modules and the packages of a small server, as `dpkg` unpacks them.
pub(crate) async fn debian(bench: &Bench) -> PathBuf {
    let root = bench.desk.path("debian");
    for package in packages() {
        succeed(Command::new("dpkg").arg("-x").arg(package).arg(&root));
    }
    fs::create_dir_all(root.join("lib/modules")).unwrap();
    let modules = &bench.desk.packages.modules;
    succeed(
        Command::new("cp")
            .arg("-a")
            .arg(modules)
            .arg(root.join("lib/modules")),
    );
    fs::copy(&bench.desk.packages.busybox, root.join("bin/busybox")).unwrap();
    finish(&root, &init("/bin/bash", "/usr/bin:/bin"))
}

/// The packages' files, fetched once.
fn packages() -> Vec<PathBuf> {
    let cache = debian::cache_directory().unwrap().join("bench-debian");
    if !cache.is_dir() {
        let scratch = tempfile::tempdir_in(cache.parent().unwrap()).unwrap();
        let mut depends = Command::new("apt-cache");
        depends.args(["depends", "--recurse"]);
        for kind in [
            "recommends",
            "suggests",
            "conflicts",
            "breaks",
            "replaces",
            "enhances",
        ] {
            depends.arg(format!("--no-{kind}"));
        }
        let listed = depends.args(PACKAGES).output().unwrap().stdout;
        let listed = String::from_utf8(listed).unwrap();
        let names = listed
            .lines()
            .filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric()));
        succeed(
            Command::new("apt-get")
                .args(["-qq", "-o", "APT::Sandbox::User=root", "download"])
                .args(names)
                .current_dir(scratch.path()),
        );
        fs::rename(scratch.keep(), &cache).unwrap();
    }
    let files = fs::read_dir(cache).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Adds checksums and `/init`, and makes the initrd of it, beside it.
fn finish(root: &Path, init: &str) -> PathBuf {
    let files = "find . -type f ! -name sums -print0 | sort -z | xargs -0 md5sum > sums";
    succeed(Command::new("sh").args(["-c", files]).current_dir(root));
    let path = root.join("init");
    fs::write(&path, init).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let initrd = root.with_extension("cpio");
    let members = "find . -print0 | sort -z | cpio --quiet -0 -o -H newc -R 0:0";
    succeed(
        Command::new("sh")
            .args(["-c", members])
            .current_dir(root)
            .stdout(File::create(&initrd).unwrap()),
    );
    fs::remove_dir_all(root).unwrap();
    initrd
}

fn succeed(command: &mut Command) {
    let status: io::Result<_> = command.stdin(Stdio::null()).status();
    assert!(status.unwrap().success(), "{command:?}");
}
