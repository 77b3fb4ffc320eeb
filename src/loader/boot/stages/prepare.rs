//! Stage `prepare`: a kernel with an initramfs becomes a place where programs can run.
//!
//! On entry this process is PID 1 in a rootfs that holds what `sealboot initramfs build` baked, and
//! nothing is mounted. On exit /proc, /sys, /dev and /run are mounted, standard input and output are the
//! console, children are reaped by the kernel, a kernel panic ends in a reboot, the watchdog is armed, the clock is
//! known to be set or unset and reads no less than its floor, and the modules are loaded that the machine's devices ask
//! for; those that appear later are served as they come ([`crate::hardware`]). Disks that the kernel has found by itself
//! are named; whether the boot goes on beside them is for the trust policy.
//! Everything here may be run again after a failure.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::boot::console::{Consoles, Done};
use crate::boot::loader::Loader;
use crate::boot::recovery::watchdog::{self, Watchdog};
use crate::hardware::{Disk, Hardware, HardwareError, NotLoaded};
use crate::net::clock::{self, Clock, Reading};
use sealboot_core::failure::{Diagnose, FailureCode, Report};
use sealboot_core::format::cmdline::Parameters;
use sealboot_sys::signal;

/// The machine could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A file system could not be mounted.
    #[error("{target} cannot be mounted")]
    Mount {
        /// Where.
        target: &'static str,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The console could not be opened.
    #[error("the console /dev/console cannot be opened")]
    Console(#[source] io::Error),
    /// Children could not be left to the kernel.
    #[error("SIGCHLD cannot be ignored")]
    Children(#[source] Errno),
    /// The clock could not be raised to its floor.
    #[error("cannot set the clock forward to the earliest time that it can be")]
    Clock(#[source] io::Error),
    /// The machine's devices cannot be served.
    #[error(transparent)]
    Hardware(#[from] HardwareError),
}

impl Diagnose for PrepareError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Mount { .. } | Self::Console(_) | Self::Children(_) => FailureCode::PrepareMount,
            Self::Clock(_) => FailureCode::PrepareClock,
            Self::Hardware(error) => error.code(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Hardware(error) => error.hint(),
            other => other.code().remedy().to_owned(),
        }
    }
}

/// Proof that the machine is ready, for the stages that rely on it.
#[derive(Debug)]
pub struct Prepared<'a> {
    clock: &'a mut Clock,
}

impl Prepared<'_> {
    /// Returns what the clock read at power-on, and what this run has learned of the time since.
    pub const fn clock(&mut self) -> &mut Clock {
        self.clock
    }
}

/// What is mounted, in order: type, target, flags and options.
const MOUNTS: [(&str, &str, MsFlags, &str); 4] = [
    (
        "proc",
        "/proc",
        MsFlags::MS_NOSUID
            .union(MsFlags::MS_NODEV)
            .union(MsFlags::MS_NOEXEC),
        "",
    ),
    (
        "sysfs",
        "/sys",
        MsFlags::MS_NOSUID
            .union(MsFlags::MS_NODEV)
            .union(MsFlags::MS_NOEXEC),
        "",
    ),
    (
        "devtmpfs",
        "/dev",
        MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        "mode=0755",
    ),
    (
        "tmpfs",
        "/run",
        MsFlags::MS_NOSUID
            .union(MsFlags::MS_NODEV)
            .union(MsFlags::MS_NOEXEC),
        "mode=0700",
    ),
];

/// Mounts, opens the console and leaves children to the kernel: what must be before the first line is
/// printed.
///
/// # Errors
///
/// Nothing can be printed then; the kernel's own console is all there is.
pub fn take_over(consoles: &Consoles) -> Result<(), PrepareError> {
    for (kind, target, flags, options) in MOUNTS {
        mount_once(kind, target, flags, options)
            .map_err(|source| PrepareError::Mount { target, source })?;
    }
    open_console().map_err(PrepareError::Console)?;
    consoles.open().map_err(PrepareError::Console)?;
    reboot_after_kernel_panic();
    no_huge_pages();
    signal::ignore_children().map_err(PrepareError::Children)
}

/// Raises the clock to its floor, loads the modules that the devices ask for, and arms the watchdog.
///
/// `clock` is decided by the first attempt, from what was read at `power_on`, and never again. `hardware` outlives the
/// attempt too: it serves what appears later, from the first attempt on.
///
/// # Errors
///
/// The first thing that failed.
pub fn run<'a>(
    clock: &'a mut Option<Clock>,
    power_on: Reading,
    hardware: &mut Option<Arc<Hardware>>,
    loader: &Loader,
    cmdline: &Parameters,
) -> Result<Done<Prepared<'a>>, PrepareError> {
    let clock = match clock {
        Some(clock) => clock,
        None => {
            let build = clock::build_time(Path::new("/")).map_err(PrepareError::Clock)?;
            clock.insert(Clock::at_power_on(power_on, build))
        }
    };
    clock::raise(clock).map_err(PrepareError::Clock)?;
    let now = Reading::now();
    let hardware = match hardware {
        Some(hardware) => hardware,
        None => hardware.insert(Hardware::start(cmdline)?),
    };
    let found = hardware.walk()?;
    for card in &found.without_driver {
        tracing::warn!(
            "no baked driver for the network card {card}: bake its module (--module; `modprobe -R {}` names it)",
            card.modalias()
        );
    }
    let disks = name_disks();
    // Some consoles come with their driver.
    loader.consoles.open().map_err(PrepareError::Console)?;
    let watched = arm(&loader.watchdog, hardware);
    let modules = found.modules(" ");
    let modules = match found.devices {
        _ if modules.is_empty() => "no kernel modules".to_owned(),
        1 => format!("kernel modules for one device: {modules}"),
        devices => format!("kernel modules for {devices} devices: {modules}"),
    };
    let mut says = format!("{}; {modules}", clock.describe(now));
    if let Some(watched) = watched {
        says.push_str(&watched);
    }
    let (state, judged) = (clock.state(), clock.judging_time(now));
    Ok(Done::new(Prepared { clock }, says)
        .with("now", judged.at())
        .with("clock", state)
        .with("modules", found.modules(","))
        .with("disks", disks))
}

/// Warns of the disks that the kernel has found; returns their number, or `unknown`.
fn name_disks() -> String {
    match Disk::all(Path::new("/")) {
        Ok(disks) => {
            for disk in &disks {
                tracing::warn!(
                    "the kernel has found a disk, {disk}; the loader leaves it alone. Boot a kernel that has no drivers of disks built in, or disable them by the initcall_blacklist= that `sealboot initramfs build` prints"
                );
            }
            disks.len().to_string()
        }
        Err(error) => {
            tracing::warn!("cannot list the disks that the kernel has found: {error}");
            "unknown".to_owned()
        }
    }
}

/// Arms the hardware's watchdog, or the kernel's where the hardware has none; gives what to say of it.
///
/// A machine without either boots all the same: what hangs then stays so, as without a loader.
fn arm(watchdog: &Watchdog, hardware: &Hardware) -> Option<String> {
    if !Path::new(watchdog::DEVICE).exists()
        && let Err(error) = hardware.load("softdog")
        && !matches!(error, NotLoaded::NotBaked)
    {
        tracing::warn!(
            "the kernel's own watchdog is not loaded: {:#}",
            Report(&error)
        );
    }
    match watchdog.arm() {
        Ok(Some(armed)) => {
            if armed.has_reset_the_machine {
                tracing::warn!("the watchdog, {}, has reset this machine", armed.name);
            }
            let seconds = armed.timeout.as_secs();
            Some(format!("; the watchdog is {}, {seconds} s", armed.name))
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!("the watchdog cannot be armed: {error}");
            None
        }
    }
}

/// Mounts, unless an earlier attempt, or the kernel itself, has done so.
fn mount_once(kind: &str, target: &str, flags: MsFlags, options: &str) -> nix::Result<()> {
    let _ = fs::create_dir(target);
    match mount(Some(kind), target, Some(kind), flags, Some(options)) {
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Distribution kernels stop for good after a panic unless `panic=` says otherwise: on a machine that
/// nobody watches, a power cycle by hand. Half a minute is enough to read it, or to see it in a log.
fn reboot_after_kernel_panic() {
    const FILE: &str = "/proc/sys/kernel/panic";
    if fs::read_to_string(FILE).is_ok_and(|seconds| seconds.trim() == "0") {
        let _ = fs::write(FILE, "30");
    }
}

/// Huge pages are of no use to a process of ten megabytes, and dear: from 512 MiB on, the kernel keeps
/// a twentieth of the memory free for their sake and half as much again before it counts a page as
/// available (`set_recommended_min_free_kbytes` in mm/khugepaged.c), and what this process frees stays
/// within its huge pages. A kernel without them has no such file.
fn no_huge_pages() {
    let _ = fs::write("/sys/kernel/mm/transparent_hugepage/enabled", "never");
}

/// Makes the console standard input, output and error, whatever the kernel had opened before devtmpfs.
fn open_console() -> io::Result<()> {
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console")?;
    dup2_stdin(&console)?;
    dup2_stdout(&console)?;
    dup2_stderr(&console)?;
    Ok(())
}
