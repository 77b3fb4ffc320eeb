//! A real kernel, its modules and a static BusyBox, out of Debian packages that are fetched but never
//! installed: what the demo and the VM tests boot.
//!
//! The packages come through `apt-get`, which checks Debian's signatures, and land unpacked in a cache
//! directory that appears whole or not at all. Once it is there, nothing is called any more.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;

use super::process::Process;

const BUSYBOX_PACKAGE: &str = "busybox-static";

/// A build of Debian's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// For virtual machines: few drivers, and so the smaller package.
    Cloud,
    /// For every machine, with the drivers of real cards.
    Generic,
}

impl Build {
    /// The package that always depends on the newest kernel of the release in this build.
    const fn metapackage(self) -> &'static str {
        match self {
            Self::Cloud => "linux-image-cloud-amd64",
            Self::Generic => "linux-image-amd64",
        }
    }

    /// The directory in the cache, so named that another content can have another name.
    const fn directory(self) -> &'static str {
        match self {
            Self::Cloud => "debian-cloud-amd64",
            Self::Generic => "debian-amd64",
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

/// Why there are no packages.
#[derive(Debug, Error)]
pub enum PackagesError {
    /// This is no Debian, or a very bare one.
    #[error("{0} is not installed")]
    Missing(String),
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
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Missing(command) if command == "depmod" => {
                "install it; the Debian package is kmod".to_owned()
            }
            Self::Missing(_) => format!(
                "{} and {BUSYBOX_PACKAGE} come from Debian's repositories; elsewhere give a kernel, its modules and a static busybox yourself",
                Build::Cloud.metapackage()
            ),
            Self::Failed { .. } => {
                "check that this machine reaches its Debian mirror; `apt-get update` says more"
                    .to_owned()
            }
            Self::Unexpected(_) => {
                "report this with the output of `apt-cache policy linux-image-cloud-amd64`"
                    .to_owned()
            }
            Self::Cache { .. } | Self::NoCache => {
                "set XDG_CACHE_HOME to a directory that you can write and that has 200 MB free"
                    .to_owned()
            }
        }
    }
}

/// `$XDG_CACHE_HOME/sealboot`, or `~/.cache/sealboot`.
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
    /// The packages that are in the cache already.
    #[must_use]
    pub fn cached(cache: &Path, build: Build) -> Option<Self> {
        Self::unpacked_at(&cache.join(build.directory())).ok()
    }

    /// The packages, fetched if they are not in the cache; each command is given to `show` before it runs.
    ///
    /// # Errors
    ///
    /// [`PackagesError`].
    pub async fn fetch(
        cache: &Path,
        build: Build,
        show: &mut dyn FnMut(&Command),
    ) -> Result<Self, PackagesError> {
        if let Some(cached) = Self::cached(cache, build) {
            return Ok(cached);
        }
        let unwritable = |path: &Path, source| PackagesError::Cache {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(cache).map_err(|error| unwritable(cache, error))?;
        // In the cache's file system, so that the end is one rename.
        let scratch = tempfile::Builder::new()
            .prefix("fetching-")
            .tempdir_in(cache)
            .map_err(|error| unwritable(cache, error))?;
        let downloads = scratch.path().join("packages");
        fs::create_dir(&downloads).map_err(|error| unwritable(&downloads, error))?;

        let lists = Lists::System;
        if download(lists, build, &downloads, show).await.is_err() {
            // No lists, as on a fresh machine, or lists so old that the mirror has dropped what they
            // name. Lists of our own need no root and change nothing on this machine.
            let lists = scratch.path().join("lists");
            fs::create_dir(&lists).map_err(|error| unwritable(&lists, error))?;
            let lists = Lists::Own(&lists);
            run(lists.command("apt-get").args(["-qq", "update"]), show).await?;
            download(lists, build, &downloads, show).await?;
        }

        let root = scratch.path().join("root");
        for package in files_in(&downloads).map_err(|error| unwritable(&downloads, error))? {
            run(Command::new("dpkg").arg("-x").arg(package).arg(&root), show).await?;
        }
        let unpacked = Self::unpacked_at_root(&root)?;
        let version = unpacked
            .modules
            .file_name()
            .ok_or(PackagesError::Unexpected("kernel modules"))?;
        run(
            Command::new("depmod").arg("-b").arg(&root).arg(version),
            show,
        )
        .await?;

        let place = cache.join(build.directory());
        match fs::rename(&root, &place) {
            Ok(()) => {}
            // Somebody else was faster, with the same packages.
            Err(_) if Self::cached(cache, build).is_some() => {}
            Err(error) => return Err(unwritable(&place, error)),
        }
        Self::unpacked_at(&place)
    }

    /// What stands under `root`, if depmod has run there too.
    fn unpacked_at(root: &Path) -> Result<Self, PackagesError> {
        let packages = Self::unpacked_at_root(root)?;
        if packages.modules.join("modules.dep").is_file() {
            Ok(packages)
        } else {
            Err(PackagesError::Unexpected("modules.dep"))
        }
    }

    fn unpacked_at_root(root: &Path) -> Result<Self, PackagesError> {
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
            modules: only("lib/modules", "", "kernel modules")
                .or_else(|_| only("usr/lib/modules", "", "kernel modules"))?,
            busybox: only("bin", "busybox", "busybox")
                .or_else(|_| only("usr/bin", "busybox", "busybox"))?,
        })
    }
}

/// The kernel's and BusyBox's packages into `directory`.
async fn download(
    lists: Lists<'_>,
    build: Build,
    directory: &Path,
    show: &mut dyn FnMut(&Command),
) -> Result<(), PackagesError> {
    let depends = run(
        lists
            .command("apt-cache")
            .args(["depends", "--important", build.metapackage()]),
        show,
    )
    .await?;
    let kernel = depended_on(&depends).ok_or(PackagesError::Unexpected("kernel"))?;
    run(
        lists
            .command("apt-get")
            .args(["-qq", "download", kernel, BUSYBOX_PACKAGE])
            .current_dir(directory),
        show,
    )
    .await?;
    Ok(())
}

/// The kernel package in the output of `apt-cache depends`.
fn depended_on(output: &str) -> Option<&str> {
    output
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
}

/// Which package lists apt works by.
#[derive(Clone, Copy)]
enum Lists<'a> {
    System,
    Own(&'a Path),
}

impl Lists<'_> {
    fn command(self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-o", "Acquire::Retries=3"]);
        if geteuid().is_root() {
            // apt would drop to a user that may not write to the cache, and warn of it.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        if let Self::Own(lists) = self {
            let set = |name: &str| {
                let mut option = OsString::from(name);
                option.push("=");
                option.push(lists);
                option
            };
            command.arg("-o").arg(set("Dir::State::lists"));
            command.arg("-o").arg(set("Dir::Cache::archives"));
            command.args([
                "-o",
                "Dir::Cache::pkgcache=",
                "-o",
                "Dir::Cache::srcpkgcache=",
            ]);
        }
        command
    }
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

    /// A root as it stands after unpacking.
    fn unpacked(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
    }

    const WHOLE: [&str; 4] = [
        "boot/vmlinuz-6.1.0-1-cloud-amd64",
        "boot/config-6.1.0-1-cloud-amd64",
        "lib/modules/6.1.0-1-cloud-amd64/modules.dep",
        "bin/busybox",
    ];

    #[test]
    fn the_kernel_is_the_dependency_and_not_another_line() {
        let output = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: linux-image-other\n";
        assert_eq!(
            depended_on(output),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(
            depended_on("linux-image-cloud-amd64\n  Depends: kmod\n"),
            None
        );
        assert_eq!(depended_on(""), None);
    }

    #[tokio::test]
    async fn a_cache_that_holds_everything_is_used_without_a_command() {
        let cache = tempfile::tempdir().unwrap();
        unpacked(&cache.path().join(Build::Cloud.directory()), &WHOLE);
        let mut shown = 0;
        let packages = Packages::fetch(cache.path(), Build::Cloud, &mut |_| shown += 1)
            .await
            .unwrap();
        assert_eq!(shown, 0);
        assert!(packages.kernel.ends_with(WHOLE[0]));
        assert!(
            packages
                .modules
                .ends_with("lib/modules/6.1.0-1-cloud-amd64")
        );
        assert!(packages.busybox.ends_with("bin/busybox"));
    }

    #[test]
    fn a_cache_that_lacks_a_part_does_not_count() {
        for lacking in [0, 2, 3] {
            let cache = tempfile::tempdir().unwrap();
            let mut files = WHOLE.to_vec();
            files.remove(lacking);
            unpacked(&cache.path().join(Build::Cloud.directory()), &files);
            assert!(
                Packages::cached(cache.path(), Build::Cloud).is_none(),
                "without {}",
                WHOLE[lacking]
            );
        }
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
