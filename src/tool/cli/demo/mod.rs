//! `sealboot demo`: the whole path, from a key to a running OS, on a temporary store.
//!
//! Every step is shown as the command that an operator would type, and is then run as exactly that:
//! the demo calls this very binary. What it shows is what it does.

mod steps;
mod timings;

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::ChildStdout;

use super::support::{Failure, signals};
use crate::assemble::modules::ModulesDir;
use crate::vm::debian::{self, Kernel, Packages, PackagesError};
use crate::vm::{self, EMULATED, HOST_ADDRESS, Process, os};
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::network::Network;
use sealboot_store::files::{self, Existing};
use steps::{Ground, Steps, say};
use timings::Timings;

/// How long the machine may take, in seconds. Under TCG on a busy host it needs half a minute.
const BOOT_LIMIT: &str = "300";

/// How long the server may take to listen; it needs milliseconds.
const SERVE_LIMIT: Duration = Duration::from_secs(30);

/// Bytes of a kernel or a BusyBox that are read; the ones used here have 10 MB and 2 MB.
const PROGRAM_LIMIT: u64 = 512 << 20;

/// See all of it work: from making keys to a booted OS, in QEMU.
///
/// Makes two signers and a policy that asks for both, packs and signs a small OS (Debian 13's kernel
/// and a BusyBox userland, fetched as packages and not installed), serves it over TLS on the loopback,
/// builds a loader's initramfs, and boots that in QEMU. Each step is shown as the command that you would
/// type. Ends with a table of what each stage of the boot took.
///
/// Everything is made in a temporary directory and removed in the end, unless --keep says otherwise.
/// The Debian packages stay in $XDG_CACHE_HOME/sealboot, so that only the first run fetches them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Make everything in this new or empty directory, and keep it
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Memory of the machine in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..=1 << 20))]
    memory: u32,
    /// The static loader [default: the one that `make build` made, or the one beside this program]
    #[arg(long, value_name = "BIN")]
    loader: Option<PathBuf>,
    /// Boot this kernel instead of Debian's
    #[arg(long, value_name = "FILE", requires_all = ["modules", "busybox"])]
    kernel: Option<PathBuf>,
    /// Its modules: a directory with a modules.dep
    #[arg(long = "modules-dir", value_name = "DIR", requires_all = ["kernel", "busybox"])]
    modules: Option<PathBuf>,
    /// A statically linked BusyBox to make the OS of
    #[arg(long, value_name = "FILE", requires_all = ["kernel", "modules"])]
    busybox: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start the runtime").because(&error))?;
    runtime.block_on(async {
        let interrupted = signals::interrupted()?;
        // Dropping the demo ends every process that it started, then removes its directory.
        tokio::select! {
            result = demo(args) => result,
            () = interrupted => {
                Err(Failure::new("the demo was stopped").hint("nothing of it runs any more"))
            }
        }
    })
}

async fn demo(args: Args) -> Result<(), Failure> {
    if !vm::is_installed() {
        return Err(super::vm::failed(&vm::Error::Missing));
    }
    let loader = find_loader(args.loader)?;
    let place = Place::new(args.keep.as_deref())?;
    let steps = Steps::new(place.path())?;
    let packages = match (args.kernel, args.modules, args.busybox) {
        (Some(kernel), Some(modules), Some(busybox)) => Packages {
            kernel: absolute(&kernel)?,
            modules: absolute(&modules)?,
            busybox: absolute(&busybox)?,
        },
        _ => fetch(&steps).await?,
    };

    steps.title("A directory for all that follows");
    steps.enter();
    make_os(&steps, place.path(), &packages)?;
    let line = kernel_line(&packages);
    sign_and_publish(&steps, &line).await?;
    let server = Server::start(&steps).await?;
    build_initramfs(&steps, place.path(), &loader, &packages, server.port).await?;
    let booted = boot(&steps, args.memory, &line).await?;
    drop(server);
    booted.report(&steps)?;
    if let Place::Kept(directory) = &place {
        say(format_args!(
            "\nkept in {}; host.json has the port on which to start the server again",
            directory.display()
        ));
    }
    Ok(())
}

/// Where the demo makes everything.
enum Place {
    /// Removed when it is dropped.
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Place {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(directory) = keep else {
            return tempfile::Builder::new()
                .prefix("sealboot-demo-")
                .tempdir()
                .map(Self::Temporary)
                .map_err(|error| {
                    Failure::new("cannot make a temporary directory").because(&error)
                });
        };
        let failed = |error: &std::io::Error| {
            Failure::new(format!("cannot make {}", directory.display())).because(error)
        };
        fs::create_dir_all(directory).map_err(|error| failed(&error))?;
        let mut entries = fs::read_dir(directory).map_err(|error| failed(&error))?;
        if entries.next().is_some() {
            return Err(
                Failure::new(format!("{} is not empty", directory.display()))
                    .hint("--keep wants a directory of its own: name a new one"),
            );
        }
        absolute(directory).map(Self::Kept)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(directory) => directory,
        }
    }
}

/// The static loader: as given, or where `make build` or a package puts it.
///
/// `target/release/sealboot-init` beside this program may be a dynamic build of the same name, so the
/// directory of the static target comes first.
fn find_loader(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return absolute(&given);
    }
    let program = env::current_exe()
        .map_err(|error| Failure::new("cannot tell where this program is").because(&error))?;
    let here = program.parent().unwrap_or(Path::new("/"));
    [
        here.join("../x86_64-unknown-linux-gnu/release/sealboot-init"),
        here.join("sealboot-init"),
    ]
    .into_iter()
    .find_map(|candidate| candidate.canonicalize().ok())
    .ok_or_else(|| {
        Failure::new("there is no static loader beside this program")
            .hint("run `make build`, or name one with --loader BIN")
    })
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize()
        .map_err(|error| Failure::new(format!("cannot find {}", path.display())).because(&error))
}

async fn fetch(steps: &Steps) -> Result<Packages, Failure> {
    let failed = |error: PackagesError| {
        let failure = Failure::new(error.to_string()).hint(format!(
            "{}; or use --kernel, --modules-dir and --busybox",
            error.hint()
        ));
        match std::error::Error::source(&error) {
            Some(source) => failure.because(source),
            None => failure,
        }
    };
    steps.title("A kernel and a userland: Debian packages, unpacked and not installed");
    let cache = debian::cache_directory().map_err(failed)?;
    let mut show = |command: &Command| steps.show(command, Ground::Fore);
    let packages = Packages::fetch(&cache, Kernel::Debian13, &mut show)
        .await
        .map_err(failed)?;
    say(format_args!(
        "{}\n{}\n{}",
        packages.kernel.display(),
        packages.modules.display(),
        packages.busybox.display()
    ));
    Ok(packages)
}

/// Puts the OS's kernel and initrd into `os/`.
fn make_os(steps: &Steps, place: &Path, packages: &Packages) -> Result<(), Failure> {
    steps.title("The OS: that kernel, and an initrd with BusyBox whose /init says who it is");
    let directory = place.join("os");
    fs::create_dir(&directory).map_err(|error| {
        Failure::new(format!("cannot make {}", directory.display())).because(&error)
    })?;
    let kernel = files::read(&packages.kernel, PROGRAM_LIMIT)?;
    files::write(&directory.join("vmlinuz"), &kernel, 0o644, Existing::Keep)?;
    let busybox = files::read(&packages.busybox, PROGRAM_LIMIT)?;
    let initrd = os::initrd(&busybox, "small OS of Debian's kernel and BusyBox")
        .map_err(|error| Failure::new("cannot make an initrd").because(&error))?;
    files::write(&directory.join("initrd"), &initrd, 0o644, Existing::Keep)?;
    say(format_args!(
        "os/vmlinuz ({} bytes)\nos/initrd ({} bytes)",
        kernel.len(),
        initrd.len()
    ));
    Ok(())
}

/// From keys to a published image.
/// Returns what both kernels are told: a kernel that has drivers of disks built in is to leave disks alone.
fn kernel_line(packages: &Packages) -> String {
    // What is wrong with the modules, `initramfs build` says.
    let modules = ModulesDir::open(&packages.modules).ok();
    let words = modules.and_then(|modules| modules.builtin().line());
    let line = format!("console=ttyS0 quiet panic=-1 {EMULATED}");
    match words {
        Some(words) => format!("{line} {words}"),
        None => line,
    }
}

async fn sign_and_publish(steps: &Steps, line: &str) -> Result<(), Failure> {
    steps.title("Two signers, each with a key of their own");
    steps.run(steps.command("mkdir", ["keys"])).await?;
    for signer in ["keys/alice", "keys/bob"] {
        let command = steps.sealboot(["key", "generate", "--out", signer]);
        steps.run(command).await?;
    }

    steps.title("The trust policy: both must sign");
    let mut command = steps.sealboot(["policy", "create", "--threshold", "2"]);
    command.args(["--key", "keys/alice.pub", "--key", "keys/bob.pub"]);
    command.args([
        "--image",
        "demo",
        "--require-expiry",
        "--max-validity",
        "30d",
    ]);
    command.args(["--out", "trust.json"]);
    steps.run(command).await?;

    steps.title("The image: packed, signed twice, verified as the loader will, and published");
    let mut command = steps.sealboot(["image", "pack", "--name", "demo", "--version", "1"]);
    command.args(["--kernel", "os/vmlinuz", "--initrd", "os/initrd"]);
    command.args(["--cmdline", line]);
    command.args(["--expires", "1d", "--store", "store"]);
    let envelope = steps.run(command).await?;
    let envelope = envelope.trim_end();
    for key in ["keys/alice.key", "keys/bob.key"] {
        let command = steps.sealboot(["image", "sign", "--key", key, envelope]);
        steps.run(command).await?;
    }
    let command = steps.sealboot(["image", "verify", "--policy", "trust.json", envelope]);
    steps.run(command).await?;
    let mut command = steps.sealboot(["image", "publish", "--policy", "trust.json"]);
    command.args(["--store", "store", envelope]);
    steps.run(command).await?;
    Ok(())
}

/// The provisioning server, until it is dropped.
struct Server {
    port: u16,
    _process: Process,
    /// Kept open: the server must not find its stdout closed.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    async fn start(steps: &Steps) -> Result<Self, Failure> {
        steps.title("The server: HTTPS on the loopback, which the machine sees as 10.0.2.2");
        let command = steps.sealboot(["tls", "generate", "--out", "tls", "--host", HOST_ADDRESS]);
        steps.run(command).await?;
        let mut command = steps.sealboot(["serve", "--store", "store", "--listen", "127.0.0.1:0"]);
        command.args([
            "--tls-cert",
            "tls/server.pem",
            "--tls-key",
            "tls/server.key",
        ]);
        command.stdout(Stdio::piped());
        let mut process = steps.start(command, Ground::Back)?;
        let silent = || Failure::new("`sealboot serve` did not say where it listens");
        let mut stdout = BufReader::new(process.take_stdout().ok_or_else(silent)?);
        let mut url = String::new();
        tokio::time::timeout(SERVE_LIMIT, stdout.read_line(&mut url))
            .await
            .map_err(|_| silent())?
            .map_err(|error| silent().because(&error))?;
        say(format_args!("{}", url.trim_end()));
        let port = url::Url::parse(url.trim_end())
            .ok()
            .and_then(|url| url.port())
            .ok_or_else(silent)?;
        Ok(Self {
            port,
            _process: process,
            _stdout: stdout,
        })
    }
}

async fn build_initramfs(
    steps: &Steps,
    place: &Path,
    loader: &Path,
    packages: &Packages,
    port: u16,
) -> Result<(), Failure> {
    steps.title("The loader's initramfs: loader, policy, host config, TLS roots and modules");
    let unusable = |what: &dyn std::fmt::Display| Failure::new(format!("cannot use {what}"));
    let mirror = format!("https://{HOST_ADDRESS}:{port}/");
    let config = HostConfig {
        created: None,
        expires: None,
        machines: Vec::new(),
        image: "demo".parse().map_err(|error| unusable(&error))?,
        mirrors: vec![mirror.parse().map_err(|error| unusable(&error))?],
        mirror_keys: Vec::new(),
        network: Network::by_dhcp(),
        ntp: Vec::new(),
    };
    let json = config.encode();
    files::write(&place.join("host.json"), &json, 0o644, Existing::Keep)?;
    steps.show_line(format_args!(
        "cat > host.json <<'END'\n{}END",
        String::from_utf8_lossy(&json)
    ));
    let mut command = steps.sealboot(["host-config", "check", "host.json"]);
    command.args(["--policy", "trust.json"]);
    steps.run(command).await?;
    let mut command = steps.sealboot(["initramfs", "build"]);
    command.arg("--loader").arg(loader);
    command.args(["--policy", "trust.json", "--host-config", "host.json"]);
    command.args(["--tls-roots", "tls/ca.pem"]);
    command.arg("--modules-dir").arg(&packages.modules);
    command.args(["--out", "loader.initramfs"]);
    steps.run(command).await?;
    Ok(())
}

/// How the boot went.
struct Booted {
    timings: Timings,
    status: ExitStatus,
}

/// Boots the machine with its console on stdout.
async fn boot(steps: &Steps, memory: u32, line: &str) -> Result<Booted, Failure> {
    steps.title("The machine: power on");
    let mut command = steps.sealboot(["vm", "boot", "--kernel", "os/vmlinuz"]);
    command.args(["--initramfs", "loader.initramfs"]);
    command.args(["--append", line]);
    command.args(["--memory", &memory.to_string(), "--timeout", BOOT_LIMIT]);
    command.stdout(Stdio::piped());
    let power_on = Instant::now();
    let mut process = steps.start(command, Ground::Fore)?;
    let mut timings = Timings::new(power_on);
    let broken = |error: std::io::Error| {
        Failure::new("the console of the machine broke off").because(&error)
    };
    if let Some(mut console) = process.take_stdout() {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = console.read(&mut buffer).await.map_err(broken)?;
            if read == 0 {
                break;
            }
            timings.feed(&buffer[..read], Instant::now());
            let mut stdout = std::io::stdout().lock();
            // As for `say`: the demo goes on where nobody reads any more.
            let _ = stdout
                .write_all(&buffer[..read])
                .and_then(|()| stdout.flush());
        }
    }
    let status = process.wait().await.map_err(broken)?;
    Ok(Booted { timings, status })
}

impl Booted {
    /// Shows what each stage took, and says whether all went well.
    fn report(&self, steps: &Steps) -> Result<(), Failure> {
        steps.title("What each stage took");
        say(format_args!("{}", self.timings.table()));
        if !self.timings.os_ran() {
            return Err(Failure::new("the OS in the image did not run").hint(
                "the console above says how far the machine came; --keep DIR keeps everything to look at",
            ));
        }
        if !self.status.success() {
            return Err(
                Failure::new(format!("the machine did not end well ({})", self.status))
                    .hint("the console above says how far it came"),
            );
        }
        Ok(())
    }
}
