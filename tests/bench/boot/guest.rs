//! A machine that is watched until it has said what it was started for, or shows that it will not.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sealboot::vm::{Machine, Running};
use tokio::time::{Instant, timeout_at};

use super::images::{Bench, Image, Server};

/// The kernels' command line, with a loader and without. An emulated timer is late on a busy host, and
/// then found wanting by the kernel, which panics.
pub(crate) const APPEND: &str = "console=ttyS0 panic=-1 no_timer_check";

/// What an OS says when every file of it is as it was packed.
pub(crate) const MARKER: &str = "every file of this OS is whole";

/// No machine is given more time; the slowest take a quarter of it.
const LIMIT: Duration = Duration::from_secs(240);

/// After one of these no marker comes any more.
const HOPELESS: [&str; 5] = [
    "Kernel panic",
    "nitramfs unpacking failed",
    "System halted",
    "status=failed",
    "FAILED",
];

/// A guest's console, each line with the time at which it was whole.
#[derive(Debug)]
pub(crate) struct Transcript {
    lines: Vec<(Instant, String)>,
}

impl Transcript {
    /// When a line with these words came.
    pub(crate) fn when(&self, words: &str) -> Option<Instant> {
        let mut lines = self.lines.iter();
        lines
            .find(|(_, line)| line.contains(words))
            .map(|(when, _)| *when)
    }

    /// The lines without their times.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|(_, line)| line.as_str())
    }

    /// Everything, to be shown where it is not as it should be.
    pub(crate) fn text(&self) -> String {
        self.lines().collect::<Vec<_>>().join("\n")
    }
}

/// The image's kernel and initrd, without a loader.
pub(crate) fn direct(image: &Image, memory_mib: u32) -> Machine {
    machine(&image.kernel, image.initrd.clone(), memory_mib, "")
}

/// The loader, which is to boot the image.
pub(crate) fn through_the_loader(
    bench: &Bench,
    image: &Image,
    server: &Server,
    memory_mib: u32,
) -> Machine {
    let append = format!(
        "sealboot.image={} sealboot.mirror={} ip=dhcp",
        image.name, server.url
    );
    machine(
        &bench.desk.packages.kernel,
        bench.initramfs(),
        memory_mib,
        &append,
    )
}

/// A machine with two processors.
pub(crate) fn machine(kernel: &Path, initramfs: PathBuf, memory_mib: u32, append: &str) -> Machine {
    let mut machine = Machine::new(kernel, initramfs);
    machine.append = format!("{APPEND} {append}");
    machine.memory_mib = memory_mib;
    machine.cpus = 2;
    machine
}

/// Runs the machine until it has said `last`, or ended, or cannot say it any more.
pub(crate) async fn watch(machine: &Machine, last: &str) -> Transcript {
    let mut running = machine.start(Stdio::null()).await.unwrap();
    let mut transcript = Transcript { lines: Vec::new() };
    let deadline = Instant::now() + LIMIT;
    // What cannot be read by then is as good as silence.
    let _ = timeout_at(deadline, follow(&mut running, &mut transcript, last)).await;
    transcript
}

async fn follow(running: &mut Running, transcript: &mut Transcript, last: &str) {
    let mut buffer = vec![0; 16 << 10];
    let mut open = Vec::new();
    while let Ok(read @ 1..) = running.read(&mut buffer).await {
        let now = Instant::now();
        open.extend_from_slice(&buffer[..read]);
        while let Some(end) = open.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = open.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let over = line.contains(last) || HOPELESS.iter().any(|words| line.contains(words));
            transcript.lines.push((now, line));
            if over {
                return;
            }
        }
    }
}
