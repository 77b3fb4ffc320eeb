//! A machine under test: its console is kept whole, and every wait has an end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::Duration;

use sealboot::vm::{
    self, Cable, Disk, Ending, Firmware, HOST_ADDRESS, Model, Nic, Reset, Running, StageLine, os,
};
use tokio::time::{Instant, timeout_at};

use crate::lab::{Lab, TARGET_TMP};
use crate::router::Router;

/// How long a machine may take, whatever it does. Under TCG on a busy host a boot takes half a minute.
const LIMIT: Duration = Duration::from_secs(240);

/// Tests whose machines run at once on this host, over all test processes: nextest's group `vm` keeps to it
/// by itself, `cargo test` does not.
const SLOTS: u32 = 2;

/// The stages in their order.
const STAGES: [&str; 8] = [
    "prepare",
    "configure",
    "connect",
    "manifest",
    "image",
    "load",
    "measure",
    "handover",
];

/// What a test asks of its machine beyond the lab's ways.
#[derive(Debug)]
pub(crate) struct Options {
    /// More kernel parameters.
    pub(crate) append: String,
    /// Another initramfs than the lab's.
    pub(crate) initramfs: Option<PathBuf>,
    /// The network cards that it starts with.
    pub(crate) nics: Vec<Nic>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) clock: Option<jiff::Timestamp>,
    /// In MiB; without it, what most machines have.
    pub(crate) memory: Option<u32>,
    pub(crate) firmware: Firmware,
    /// As [`vm::Machine`] has them, and what follows.
    pub(crate) smbios: Vec<String>,
    pub(crate) fw_cfg: Vec<(String, PathBuf)>,
    pub(crate) on_reset: Reset,
    pub(crate) screen: bool,
    pub(crate) watchdog: bool,
    /// Another kernel than the lab's.
    pub(crate) kernel: Option<PathBuf>,
    /// The whole kernel command line, in place of the usual one.
    pub(crate) line: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            append: String::new(),
            initramfs: None,
            nics: vec![Nic::user(Model::Virtio)],
            disks: Vec::new(),
            clock: None,
            memory: None,
            firmware: Firmware::Bios,
            smbios: Vec::new(),
            fw_cfg: Vec::new(),
            on_reset: Reset::Ends,
            screen: false,
            watchdog: false,
            kernel: None,
            line: None,
        }
    }
}

/// A machine that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    running: Running,
    console: Vec<u8>,
    deadline: Instant,
    started: Instant,
    _slot: Option<File>,
}

impl Machine {
    /// Boots the lab's initramfs with the mirror at `port` of this host's loopback.
    pub(crate) async fn boot(port: u16) -> Self {
        Self::boot_with(port, Options::default()).await
    }

    /// Boots with these options.
    pub(crate) async fn boot_with(port: u16, options: Options) -> Self {
        let slot = take_slot();
        let mirror = format!("https://{HOST_ADDRESS}:{port}/");
        Self::start(Some(&mirror), options, Some(slot)).await
    }

    /// Boots with these options alone: the kernel command line names no mirror.
    pub(crate) async fn boot_by_itself(options: Options) -> Self {
        let slot = take_slot();
        Self::start(None, options, Some(slot)).await
    }

    /// Boots with the mirror at this URL, on the cables of a router, which has the slot of both.
    pub(crate) async fn boot_behind(router: &Router, mirror: &str, options: Options) -> Self {
        let options = Options {
            nics: router.far_ends(),
            ..options
        };
        Self::start(Some(mirror), options, None).await
    }

    async fn start(mirror: Option<&str>, options: Options, slot: Option<File>) -> Self {
        let lab = Lab::get();
        let initramfs = options.initramfs.unwrap_or_else(|| lab.initramfs());
        // What keeps the lab's kernel from disks is of no use to another.
        let (kernel, line) = match &options.kernel {
            Some(kernel) => (kernel, String::new()),
            None => (&lab.kernel, lab.line()),
        };
        let mut machine = vm::Machine::new(kernel, initramfs);
        let mirror = mirror.map(|mirror| format!("sealboot.mirror={mirror}"));
        machine.append = options.line.unwrap_or_else(|| {
            format!(
                "{} {} {line} {} {}",
                vm::DEFAULT_APPEND,
                vm::EMULATED,
                mirror.unwrap_or_default(),
                options.append
            )
        });
        machine.nics = options.nics;
        machine.disks = options.disks;
        machine.clock = options.clock;
        machine.firmware = options.firmware;
        machine.smbios = options.smbios;
        machine.fw_cfg = options.fw_cfg;
        machine.on_reset = options.on_reset;
        machine.screen = options.screen;
        machine.watchdog = options.watchdog;
        if let Some(memory) = options.memory {
            machine.memory_mib = memory;
        }
        let started = Instant::now();
        Self {
            running: machine.start(Stdio::piped()).await.unwrap(),
            console: Vec::new(),
            deadline: started + LIMIT,
            started,
            _slot: slot,
        }
    }

    /// Since when the machine runs.
    pub(crate) const fn started(&self) -> Instant {
        self.started
    }

    /// Follows the console until `wait` is over, then plugs a network card in.
    pub(crate) async fn plug_after(&mut self, wait: Duration, model: Model) {
        let then = self.started + wait;
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read) = timeout_at(then, self.running.read(&mut buffer)).await {
            match read {
                Ok(read @ 1..) => self.console.extend_from_slice(&buffer[..read]),
                end => self.fail(&format!("the machine ended before a card came: {end:?}")),
            }
        }
        if let Err(error) = self.running.plug(model).await {
            self.fail(&format!("{model:?} cannot be plugged in: {error}"));
        }
    }

    /// Types at the console.
    pub(crate) async fn type_in(&mut self, keys: &str) {
        if let Err(error) = self.running.type_in(keys).await {
            self.fail(&format!("{keys:?} cannot be typed: {error}"));
        }
    }

    /// Waits for the first pause and opens a shell in it.
    pub(crate) async fn opens_a_shell(&mut self) {
        self.until_said("press Enter for a shell", 0).await;
        self.type_in("\n").await;
        self.until_said("a shell is open", 0).await;
    }

    /// What its screen shows.
    pub(crate) async fn screen(&mut self) -> String {
        match self.running.screen().await {
            Ok(screen) => screen,
            Err(error) => self.fail(&format!("the screen cannot be read: {error}")),
        }
    }

    /// Cuts or mends the cable of this card, at this end.
    pub(crate) async fn set_cable(&mut self, nic: usize, cable: Cable) {
        if let Err(error) = self.running.set_cable(nic, cable).await {
            self.fail(&format!("the cable of card {nic}: {error}"));
        }
    }

    /// Everything that the console has shown.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&self.console).into_owned()
    }

    /// What the loader has said about its stages.
    pub(crate) fn stages(&self) -> Vec<StageLine> {
        // The last line may still be coming.
        let console = self.console();
        let whole = console.rfind('\n').map_or("", |end| &console[..end]);
        whole.lines().filter_map(StageLine::find).collect()
    }

    /// Follows the console until `done` says so. The machine may not end before.
    pub(crate) async fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let mut buffer = vec![0; 16 << 10];
        while !done(self) {
            match timeout_at(self.deadline, self.running.read(&mut buffer)).await {
                Err(_) => self.fail(&format!("no {what} in time")),
                Ok(Ok(0)) => self.fail(&format!("the machine ended before {what}")),
                Ok(Ok(read)) => self.console.extend_from_slice(&buffer[..read]),
                Ok(Err(error)) => self.fail(&format!("{error}")),
            }
        }
    }

    /// Follows the console until this stands on it, once more than `before` times.
    pub(crate) async fn until_said(&mut self, words: &str, before: usize) {
        self.until(&format!("{words:?}"), |machine| {
            machine.console().matches(words).count() > before
        })
        .await;
    }

    /// Follows the console until the machine has powered itself off.
    pub(crate) async fn powers_off(mut self) -> String {
        let mut buffer = vec![0; 16 << 10];
        loop {
            match timeout_at(self.deadline, self.running.read(&mut buffer)).await {
                Ok(Ok(read @ 1..)) => self.console.extend_from_slice(&buffer[..read]),
                Ok(Ok(0)) => break,
                other => self.fail(&format!("the machine does not end: {other:?}")),
            }
        }
        let console = self.console();
        match timeout_at(self.deadline, self.running.ending()).await {
            Ok(Ok(Ending::PoweredOff)) => console,
            other => panic!("the machine did not power off: {other:?}\n{console}"),
        }
    }

    /// Follows the console to the OS's last words and the power-off.
    pub(crate) async fn runs_the_os(self) -> String {
        self.powers_off_after(os::LAST_WORDS).await
    }

    /// Follows the console to a line with these words and the power-off.
    pub(crate) async fn powers_off_after(mut self, last_words: &str) -> String {
        self.until(&format!("the last words, \"{last_words}\""), |machine| {
            machine
                .console()
                .lines()
                .any(|line| line.trim_end() == last_words)
        })
        .await;
        self.powers_off().await
    }

    /// Follows the console until the loader has refused twice, which it does after it has waited once.
    /// Both times it must be with `code` in `stage`, and no later stage may ever begin.
    pub(crate) async fn refuses(mut self, stage: &str, code: &str) -> String {
        self.until(&format!("two refusals with {code}"), |machine| {
            machine.failures().len() >= 2
        })
        .await;
        for failure in self.failures() {
            if (failure.stage(), failure.code()) != (stage, Some(code)) {
                self.fail(&format!("expected {code} in {stage}, found {failure:?}"));
            }
        }
        let place = STAGES.iter().position(|name| *name == stage).unwrap();
        let later = &STAGES[place + 1..];
        if let Some(line) = self
            .stages()
            .into_iter()
            .find(|line| later.contains(&line.stage()))
        {
            self.fail(&format!("a stage after the refusal: {line:?}"));
        }
        if self.console().contains(os::LAST_WORDS) {
            self.fail("the OS ran after a refusal");
        }
        self.console()
    }

    /// The stages that failed.
    pub(crate) fn failures(&self) -> Vec<StageLine> {
        let mut stages = self.stages();
        stages.retain(|line| line.status() == "failed");
        stages
    }

    /// Fails the test, with the whole console.
    pub(crate) fn fail(&self, why: &str) -> ! {
        panic!(
            "{why} ({:.1} s after power-on); the whole console:\n{}",
            self.started.elapsed().as_secs_f64(),
            self.console()
        )
    }
}

/// Waits for one of the host's slots, each a locked file.
pub(crate) fn take_slot() -> File {
    for slot in 0..SLOTS {
        let file = open_slot(slot);
        if file.try_lock().is_ok() {
            return file;
        }
    }
    let file = open_slot(process::id() % SLOTS);
    file.lock().unwrap();
    file
}

fn open_slot(slot: u32) -> File {
    File::create(Path::new(TARGET_TMP).join(format!("vm-slot-{slot}.lock"))).unwrap()
}
