//! A kernel of Debian with its modules, and a static BusyBox, out of packages that are fetched but never installed:
//! what the demo and the VM tests boot.
//!
//! Packages come through apt, which checks Debian's signatures. The cache holds each by its SHA-256, and unpacked
//! entries beside them. An entry is compared with its manifest before each use: where all is well,
//! no command is run and no network is needed; where it is damaged, it is unpacked or fetched again.

mod apt;
mod entry;

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;

use self::apt::{Apt, Package, Release};
use self::entry::Entry;
use super::process::Process;
use sealboot_core::format::digest::Sha256Digest;

const BUSYBOX_PACKAGE: &str = "busybox-static";

/// A kernel of Debian; of its release the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Debian 13's for every machine, with the drivers of real cards. What boots where nothing else is asked for.
    Debian13,
    /// Debian 13's for virtual machines: fewer drivers, of which NVMe's is built in.
    Debian13Cloud,
    /// Debian 12's for virtual machines, of the series 6.1; likewise.
    Debian12Cloud,
}

impl Kernel {
    const fn release(self) -> Release {
        match self {
            Self::Debian13 | Self::Debian13Cloud => Release::Trixie,
            Self::Debian12Cloud => Release::Bookworm,
        }
    }

    /// The package that always depends on the newest kernel of this kind.
    const fn metapackage(self) -> &'static str {
        match self {
            Self::Debian13 => "linux-image-amd64",
            Self::Debian13Cloud | Self::Debian12Cloud => "linux-image-cloud-amd64",
        }
    }

    /// The name of its entry in the cache.
    const fn name(self) -> &'static str {
        match self {
            Self::Debian13 => "debian13-amd64",
            Self::Debian13Cloud => "debian13-cloud-amd64",
            Self::Debian12Cloud => "debian12-cloud-amd64",
        }
    }
}

/// What was unpacked.
#[derive(Debug, Clone)]
pub struct Packages {
    /// The kernel, a bzImage.
    pub kernel: PathBuf,
    /// Its modules, with `modules.dep` and the other lists of depmod(8).
    pub modules: PathBuf,
    /// BusyBox, statically linked.
    pub busybox: PathBuf,
}

/// What sees each command before it runs.
type Show<'a> = &'a mut dyn FnMut(&Command);

/// Why there are no packages.
#[derive(Debug, Error)]
pub enum PackagesError {
    /// This is not Debian, or a very bare one.
    #[error("{0} is not installed")]
    Missing(String),
    /// apt knows no mirror of Debian.
    #[error("the sources of apt name no mirror of Debian")]
    NoMirror,
    /// A command failed.
    #[error("{command} failed: {words}")]
    Failed {
        /// The command, without its arguments.
        command: String,
        /// What it wrote to stderr.
        words: String,
    },
    /// The packages were fetched, and hold something else than they should.
    #[error("the Debian packages hold no {0}")]
    Unexpected(&'static str),
    /// The cache cannot be written.
    #[error("cannot write {}", path.display())]
    Cache {
        /// Which file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Neither XDG_CACHE_HOME nor HOME is set.
    #[error("there is no cache directory: neither XDG_CACHE_HOME nor HOME is set")]
    NoCache,
}

impl PackagesError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Missing(command) if command == "depmod" => {
                "install it; the Debian package is kmod".to_owned()
            }
            Self::Missing(_) | Self::NoMirror => format!(
                "{} and {BUSYBOX_PACKAGE} come from Debian's repositories; elsewhere give a kernel, its modules and a static busybox yourself",
                Kernel::Debian13.metapackage()
            ),
            Self::Failed { .. } => {
                "check that this machine reaches its Debian mirror, and has the keys of Debian 13 (package debian-archive-keyring)"
                    .to_owned()
            }
            Self::Unexpected(_) => {
                "report this with the output of `apt-cache policy linux-image-amd64`".to_owned()
            }
            Self::Cache { .. } | Self::NoCache => {
                "set XDG_CACHE_HOME to a directory that you can write and that has 500 MB free"
                    .to_owned()
            }
        }
    }
}

/// Returns `$XDG_CACHE_HOME/sealboot`, or `~/.cache/sealboot`.
///
/// # Errors
///
/// [`PackagesError::NoCache`].
pub fn cache_directory() -> Result<PathBuf, PackagesError> {
    let set = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    set("XDG_CACHE_HOME")
        .or_else(|| Some(set("HOME")?.join(".cache")))
        .map(|cache| cache.join("sealboot"))
        .ok_or(PackagesError::NoCache)
}

impl Packages {
    /// Returns a kernel and its BusyBox, and fetches what the cache does not hold, or holds damaged. Each command is
    /// given to `show` before it runs.
    ///
    /// # Errors
    ///
    /// [`PackagesError`].
    pub async fn fetch(
        cache: &Path,
        kernel: Kernel,
        show: &mut dyn FnMut(&Command),
    ) -> Result<Self, PackagesError> {
        let kernels = cache.join("kernels");
        let place = kernels.join(kernel.name());
        let cached = Entry::at(&place);
        if cached.is_whole() {
            return Self::below(&cached.root());
        }
        make(&kernels)?;
        let scratch = Scratch::within(cache)?;
        let debs = Debs::within(cache)?;
        let recorded = cached.manifest().map(|manifest| manifest.packages);
        let packages = match recorded.filter(|recorded| debs.have(recorded)) {
            Some(recorded) => recorded,
            None => fetch(kernel, &debs, &scratch, show).await?,
        };

        let new = Entry::at(scratch.directory("entry")?);
        let root = new.root();
        for package in &packages {
            let package = debs.path(package);
            run(Command::new("dpkg").arg("-x").arg(package).arg(&root), show).await?;
        }
        let lib = root.join("lib");
        if !lib.exists() {
            // depmod looks nowhere else, and packages of today have it in /usr alone.
            std::os::unix::fs::symlink("usr/lib", &lib).map_err(|error| unwritable(&lib, error))?;
        }
        let unpacked = Self::below(&root)?;
        let version = unpacked.modules.file_name().unwrap_or_default();
        let mut depmod = Command::new("depmod");
        run(depmod.arg("-b").arg(&root).arg(version), show).await?;
        new.seal(packages)
            .map_err(|error| unwritable(&root, error))?;
        match new.replace(&place, &scratch.path("old")) {
            // Another process may have been faster.
            Err(error) if !cached.is_whole() => Err(unwritable(&place, error)),
            _ => Self::below(&cached.root()),
        }
    }

    /// Finds kernel, modules and BusyBox below `root`.
    fn below(root: &Path) -> Result<Self, PackagesError> {
        let only = |directory: &str, prefix: &str, what| {
            files_in(&root.join(directory))
                .unwrap_or_default()
                .into_iter()
                .find(|path| {
                    path.file_name()
                        .and_then(|name| name.to_str())
                        .is_some_and(|name| name.starts_with(prefix))
                })
                .ok_or(PackagesError::Unexpected(what))
        };
        Ok(Self {
            kernel: only("boot", "vmlinuz-", "kernel")?,
            modules: only("lib/modules", "", "kernel modules")?,
            busybox: only("bin", "busybox", "busybox")
                .or_else(|_| only("usr/bin", "busybox", "busybox"))?,
        })
    }
}

/// Fetches the newest packages of this kernel, those alone that the cache does not hold.
async fn fetch(
    kernel: Kernel,
    debs: &Debs,
    scratch: &Scratch,
    show: Show<'_>,
) -> Result<Vec<Sha256Digest>, PackagesError> {
    let apt = Apt::update(&scratch.directory("apt")?, kernel.release(), show).await?;
    let newest = apt.newest_kernel(kernel.metapackage(), show).await?;
    let packages = apt.look_up(&[&newest, BUSYBOX_PACKAGE], show).await?;
    let is_missing = |package: &&Package| !debs.have(&[package.digest]);
    let missing: Vec<&str> = packages
        .iter()
        .filter(is_missing)
        .map(|package| &*package.name)
        .collect();
    if !missing.is_empty() {
        let downloads = scratch.directory("downloads")?;
        apt.download(&missing, &downloads, show).await?;
        debs.keep_all(&downloads)?;
    }
    let digests: Vec<Sha256Digest> = packages.iter().map(|package| package.digest).collect();
    match debs.have(&digests) {
        true => Ok(digests),
        false => Err(PackagesError::Unexpected(
            "file of the SHA-256 in the index",
        )),
    }
}

/// The packages of the cache, each named after its SHA-256.
struct Debs(PathBuf);

impl Debs {
    fn within(cache: &Path) -> Result<Self, PackagesError> {
        let directory = cache.join("packages");
        make(&directory)?;
        Ok(Self(directory))
    }

    fn path(&self, digest: &Sha256Digest) -> PathBuf {
        self.0.join(format!("sha256-{digest}.deb"))
    }

    /// Returns `true` if these are there, and undamaged.
    fn have(&self, digests: &[Sha256Digest]) -> bool {
        digests
            .iter()
            .all(|digest| digest_of(&self.path(digest)).is_ok_and(|found| found == *digest))
    }

    /// Moves all files of `downloads` here.
    fn keep_all(&self, downloads: &Path) -> Result<(), PackagesError> {
        let files = files_in(downloads).map_err(|error| unwritable(downloads, error))?;
        for file in files {
            digest_of(&file)
                .and_then(|digest| fs::rename(&file, self.path(&digest)))
                .map_err(|error| unwritable(&self.0, error))?;
        }
        Ok(())
    }
}

/// A directory in the cache's file system, so that what is complete can be renamed to its place.
struct Scratch(TempDir);

impl Scratch {
    fn within(cache: &Path) -> Result<Self, PackagesError> {
        let mut builder = tempfile::Builder::new();
        let directory = builder.prefix("fetching-").tempdir_in(cache);
        directory
            .map(Self)
            .map_err(|error| unwritable(cache, error))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn directory(&self, name: &str) -> Result<PathBuf, PackagesError> {
        let path = self.path(name);
        make(&path)?;
        Ok(path)
    }
}

fn make(directory: &Path) -> Result<(), PackagesError> {
    fs::create_dir_all(directory).map_err(|error| unwritable(directory, error))
}

fn unwritable(path: &Path, source: io::Error) -> PackagesError {
    PackagesError::Cache {
        path: path.to_owned(),
        source,
    }
}

fn digest_of(file: &Path) -> io::Result<Sha256Digest> {
    Sha256Digest::of_rest(File::open(file)?)
}

fn files_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Runs a command to its end and gives its stdout.
async fn run(
    command: &mut Command,
    show: &mut dyn FnMut(&Command),
) -> Result<String, PackagesError> {
    show(command);
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = Command::new(command.get_program());
    child.args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        child.current_dir(directory);
    }
    // depmod is in /usr/sbin, which is not in every user's PATH; messages are matched and shown in English.
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    child
        .env("PATH", env::join_paths(places).unwrap_or(path.clone()))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let failed = |words: String| PackagesError::Failed {
        command: name.clone(),
        words,
    };
    let mut process = Process::start(child).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PackagesError::Missing(name.clone()),
        _ => failed(error.to_string()),
    })?;
    let (Some(mut stdout), Some(mut stderr)) = (process.take_stdout(), process.take_stderr())
    else {
        return Err(failed("it has no output".to_owned()));
    };
    let (mut output, mut words) = (String::new(), String::new());
    let read = tokio::try_join!(
        stdout.read_to_string(&mut output),
        stderr.read_to_string(&mut words)
    );
    read.map_err(|error| failed(error.to_string()))?;
    let status = process
        .wait()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if status.success() {
        Ok(output)
    } else {
        Err(failed(format!("{status}\n{}", words.trim_end())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Kernel = Kernel::Debian13;

    /// A cache with a package of each that was never fetched, and what is made of them.
    struct Cache(TempDir);

    impl Cache {
        /// Fills it as a fetch would: packages, and a manifest that names them.
        async fn filled() -> Self {
            let cache = Self(tempfile::tempdir().unwrap());
            let downloads = tempfile::tempdir().unwrap();
            for (name, files) in [
                (
                    "kernel",
                    &[
                        "boot/config-6.12.1-amd64",
                        "boot/vmlinuz-6.12.1-amd64",
                        "usr/lib/modules/6.12.1-amd64/modules.order",
                        "usr/lib/modules/6.12.1-amd64/modules.builtin",
                    ][..],
                ),
                ("busybox", &["usr/bin/busybox"]),
            ] {
                build(name, files, downloads.path());
            }
            let debs = Debs::within(cache.0.path()).unwrap();
            debs.keep_all(downloads.path()).unwrap();
            let packages = files_in(&debs.0).unwrap();
            let packages = packages.iter().map(|path| digest_of(path).unwrap());
            let entry = Entry::at(cache.entry());
            fs::create_dir_all(entry.root()).unwrap();
            entry.seal(packages.collect()).unwrap();
            // Of what is in the packages, nothing is unpacked yet.
            fs::write(entry.root().join("damage"), "").unwrap();
            cache.packages().await;
            cache
        }

        fn entry(&self) -> PathBuf {
            self.0.path().join("kernels").join(KERNEL.name())
        }

        /// Gives the packages, and the commands that were needed.
        async fn packages(&self) -> (Packages, Vec<String>) {
            let mut commands = Vec::new();
            let mut show = |command: &Command| {
                commands.push(command.get_program().to_str().unwrap().to_owned());
            };
            let packages = Packages::fetch(self.0.path(), KERNEL, &mut show).await;
            (packages.unwrap(), commands)
        }
    }

    /// Builds a package of files that hold their names.
    fn build(name: &str, files: &[&str], downloads: &Path) {
        let tree = tempfile::tempdir().unwrap();
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: none\nDescription: none\n"
        );
        let texts = files.iter().map(|file| (*file, *file));
        for (path, text) in texts.chain([("DEBIAN/control", &*control)]) {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut command = Command::new("dpkg-deb");
        command.arg("--build").arg(tree.path()).arg(downloads);
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
    }

    const REPAIR: [&str; 3] = ["dpkg", "dpkg", "depmod"];

    #[tokio::test]
    async fn a_whole_entry_is_used_without_a_command() {
        let cache = Cache::filled().await;
        let (packages, commands) = cache.packages().await;
        assert_eq!(commands, [""; 0]);
        assert!(packages.kernel.ends_with("boot/vmlinuz-6.12.1-amd64"));
        assert!(packages.modules.ends_with("lib/modules/6.12.1-amd64"));
        assert!(packages.modules.join("modules.dep").is_file());
        assert!(packages.busybox.ends_with("usr/bin/busybox"));
    }

    #[tokio::test]
    async fn a_damaged_entry_is_unpacked_again_from_good_packages() {
        let cache = Cache::filled().await;
        let root = cache.entry().join("root");
        let kernel = root.join("boot/vmlinuz-6.12.1-amd64");
        let good = fs::read(&kernel).unwrap();
        let damages: [(&str, &dyn Fn()); 4] = [
            ("a flipped bit", &|| {
                let mut bytes = good.clone();
                bytes[3] ^= 1;
                fs::write(&kernel, bytes).unwrap();
            }),
            ("a missing file", &|| {
                fs::remove_file(root.join("usr/bin/busybox")).unwrap();
            }),
            ("another file", &|| {
                fs::write(root.join("lib/modules/6.12.1-amd64/more"), "").unwrap();
            }),
            ("a link that leads elsewhere", &|| {
                fs::remove_file(root.join("lib")).unwrap();
                std::os::unix::fs::symlink("/lib", root.join("lib")).unwrap();
            }),
        ];
        for (damage, cause) in damages {
            cause();
            assert!(!Entry::at(cache.entry()).is_whole(), "{damage}");
            let (packages, commands) = cache.packages().await;
            assert_eq!(commands, REPAIR, "{damage}");
            assert_eq!(fs::read(packages.kernel).unwrap(), good, "{damage}");
            assert_eq!(cache.packages().await.1, [""; 0], "{damage}");
        }
    }

    #[tokio::test]
    async fn a_package_is_there_only_with_its_own_content() {
        let cache = Cache::filled().await;
        let debs = Debs::within(cache.0.path()).unwrap();
        let recorded = Entry::at(cache.entry()).manifest().unwrap().packages;
        assert!(debs.have(&recorded));
        fs::write(debs.path(&recorded[1]), "another").unwrap();
        assert!(debs.have(&recorded[..1]));
        assert!(!debs.have(&recorded));
        fs::remove_file(debs.path(&recorded[0])).unwrap();
        assert!(!debs.have(&recorded[..1]));
    }

    #[tokio::test]
    async fn a_manifest_that_is_cut_short_counts_as_absent() {
        let cache = Cache::filled().await;
        let manifest = cache.entry().join("manifest.json");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, &text[..text.len() / 2]).unwrap();
        let entry = Entry::at(cache.entry());
        assert!(entry.manifest().is_none());
        assert!(!entry.is_whole());
    }

    #[tokio::test]
    async fn a_command_that_is_not_installed_is_named() {
        let error = run(&mut Command::new("no-such-command-here"), &mut |_| {})
            .await
            .unwrap_err();
        assert!(matches!(error, PackagesError::Missing(name) if name == "no-such-command-here"));
    }

    #[tokio::test]
    async fn a_command_that_fails_is_quoted() {
        let error = run(
            Command::new("sh").args(["-c", "echo no room >&2; exit 7"]),
            &mut |_| {},
        )
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "sh failed: exit status: 7\nno room");
    }
}
