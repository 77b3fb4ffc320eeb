//! `sealboot vm`: machines in QEMU, to try a boot before touching hardware.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;

use super::support::{Failure, signals};
use crate::vm::{BOOT_APPEND, Disk, Ending, Error, LastWords, Machine, ResetBy, Running};

/// Boot a kernel and an initramfs in QEMU.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Boot(Box<Boot>),
}

/// Boot a machine in QEMU with its serial console on stdout.
///
/// The machine has one virtio network card, whose DHCP server offers 10.0.2.15; the loopback of this
/// host is 10.0.2.2 to it. It runs under KVM where that truly works, else under TCG. Its console reads
/// stdin if that is a terminal; Ctrl-C ends the machine.
///
/// Exit status: 0 if the guest powered itself off, 1 if it reset itself (a loader that gives up does, and a
/// panicking kernel under panic=-1), was stopped or ran out of time.
#[derive(Debug, clap::Args)]
pub(super) struct Boot {
    /// The kernel to boot
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// The initramfs to boot with it
    #[arg(long, value_name = "FILE")]
    initramfs: PathBuf,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    memory: u32,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: u32,
    /// The whole kernel command line
    #[arg(long, value_name = "LINE", default_value = BOOT_APPEND)]
    append: String,
    /// A raw disk image to attach; may be given several times
    #[arg(long = "disk", value_name = "FILE")]
    disks: Vec<PathBuf>,
    /// What the machine's clock says at the start [default: this host's time]
    #[arg(long, value_name = "RFC3339")]
    clock: Option<Timestamp>,
    /// End the machine after this many seconds
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    let Command::Boot(args) = command;
    let limit = args.timeout.map_or(Duration::MAX, Duration::from_secs);
    let machine = Machine {
        append: args.append,
        memory_mib: args.memory,
        cpus: args.cpus,
        disks: args.disks.into_iter().map(Disk::Virtio).collect(),
        clock: args.clock,
        ..Machine::new(args.kernel, args.initramfs)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start the runtime").because(&error))?;
    let mut words = LastWords::default();
    let ending = runtime.block_on(async {
        let interrupted = signals::interrupted()?;
        tokio::select! {
            ending = boot(&machine, &mut words) => ending,
            () = interrupted => Ok(Ending::Stopped),
            () = tokio::time::sleep(limit) => Err(Failure::new(format!(
                "the machine still ran after {} s",
                limit.as_secs()
            ))
            .hint("the console above says how far it came; --timeout gives it more time")),
        }
    })?;
    match ending {
        Ending::PoweredOff => Ok(()),
        Ending::Reset => Err(reset(words.reset_by())),
        Ending::Panicked => Err(reset(Some(ResetBy::Panic))),
        Ending::Stopped => Err(Failure::new("the machine was stopped")),
        Ending::Failed(status, words) => {
            Err(Failure::new(format!("QEMU failed ({status}): {words}"))
                .hint("the words are QEMU's own; check the files, and the memory of this host"))
        }
    }
}

fn reset(by: Option<ResetBy>) -> Failure {
    match by {
        Some(ResetBy::Loader) => Failure::new("the loader has rebooted the machine").hint(
            "the console above says why it gave up; the trust policy says after how many failures it does (--max-attempts)",
        ),
        Some(ResetBy::Panic) => {
            Failure::new("the machine's kernel panicked").hint("the console above says why")
        }
        None => Failure::new("the machine reset itself").hint("the console above may say why"),
    }
}

/// Starts the machine and copies its console until it ends.
async fn boot(machine: &Machine, words: &mut LastWords) -> Result<Ending, Failure> {
    let input = if std::io::stdin().is_terminal() {
        Stdio::inherit()
    } else {
        Stdio::null()
    };
    anstream::eprintln!("acceleration: {}", machine.acceleration);
    let mut running = machine.start(input).await.map_err(|error| failed(&error))?;
    copy_console(&mut running, words).await?;
    running.ending().await.map_err(|error| failed(&error))
}

async fn copy_console(running: &mut Running, words: &mut LastWords) -> Result<(), Failure> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = running
            .read(&mut buffer)
            .await
            .map_err(|error| failed(&error))?;
        if read == 0 {
            return Ok(());
        }
        words.read(&buffer[..read]);
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(&buffer[..read])
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::new("cannot write the console to stdout").because(&error))?;
    }
}

/// How a command that runs machines fails.
pub(super) fn failed(error: &Error) -> Failure {
    let failure = Failure::new(error.to_string());
    let failure = match std::error::Error::source(error) {
        Some(source) => failure.because(source),
        None => failure,
    };
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
