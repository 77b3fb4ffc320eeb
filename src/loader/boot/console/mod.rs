//! Every console of the kernel, at once.
//!
//! `/dev/console` is the last `console=` alone. A machine that is watched over its serial port and has a screen for
//! whoever comes by must say the same on both, so the loader writes to each console that the kernel writes to
//! (`/proc/consoles`).
//!
//! A console can stand still: a serial line whose other end asks it to wait, a terminal on which somebody pressed
//! Ctrl-S. That may stop no boot. So each console has a thread and a short queue; what does not fit is dropped, and
//! the console says how many lines it has missed once it goes on.

mod banner;
mod events;
mod stage;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::termios::tcdrain;

pub(super) use self::banner::show as show_banner;
pub(super) use self::events::print_events;
pub use self::stage::{Console, Done, Stage, StageFailure};

/// Which consoles the kernel writes to.
const LIST: &str = "/proc/consoles";

/// Where the kernel lists none: the last `console=`, or what the kernel takes for it.
const LAST: &str = "console";

/// Lines that wait for one console. At 9600 baud they are some ten seconds' worth.
const QUEUE: usize = 128;

/// One of the kernel's consoles.
#[derive(Debug)]
struct Device {
    name: String,
    queue: SyncSender<Vec<u8>>,
    state: Arc<State>,
}

/// What its thread and those who write share.
#[derive(Debug, Default)]
struct State {
    /// Lines that are not written yet.
    pending: Mutex<usize>,
    written: Condvar,
    /// Lines that were dropped since the last one that was not.
    dropped: AtomicUsize,
}

/// All consoles of the kernel. Each write is whole lines.
#[derive(Debug)]
pub struct Consoles(Mutex<Vec<Device>>);

impl Write for &Consoles {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for device in &*lock(&self.0) {
            device.send(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Consoles {
    /// Returns a set without a console.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a process has one, in a static")]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Opens the consoles that the kernel writes to and that are not open yet: some appear with a module.
    ///
    /// # Errors
    ///
    /// If not a single one can be opened.
    pub fn open(&self) -> io::Result<()> {
        let listed = fs::read_to_string(LIST).unwrap_or_default();
        let mut devices = lock(&self.0);
        for name in names(&listed) {
            if !devices.iter().any(|device| device.name == name)
                && let Ok(device) = Device::start(name)
            {
                devices.push(device);
            }
        }
        if devices.is_empty() {
            devices.push(Device::start(LAST)?);
        }
        Ok(())
    }

    /// Returns the device files of the open consoles.
    #[must_use]
    pub fn devices(&self) -> Vec<PathBuf> {
        lock(&self.0)
            .iter()
            .map(|device| device_of(&device.name))
            .collect()
    }

    /// Waits until every line is on every console, or until `limit` has passed.
    pub fn drain(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let states: Vec<Arc<State>> = lock(&self.0)
            .iter()
            .map(|device| Arc::clone(&device.state))
            .collect();
        for state in states {
            let left = deadline.saturating_duration_since(Instant::now());
            let pending = lock(&state.pending);
            // Lines that are not written by then are lost, and so not worth more time.
            drop(
                state
                    .written
                    .wait_timeout_while(pending, left, |pending| *pending > 0),
            );
        }
    }
}

/// Opens a terminal for reading and writing, without making it this process's own, and without waiting for a modem.
///
/// # Errors
///
/// The kernel's.
pub fn open_terminal(device: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits())
        .open(device)?;
    // Opening was not to wait, but writing is.
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_RDWR))?;
    Ok(file)
}

fn device_of(name: &str) -> PathBuf {
    Path::new("/dev").join(name)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic ends the loader.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    fn start(name: &str) -> io::Result<Self> {
        Self::start_at(name, device_of(name))
    }

    fn start_at(name: &str, path: PathBuf) -> io::Result<Self> {
        let device = open_terminal(&path)?;
        let (queue, lines) = sync_channel(QUEUE);
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::Builder::new().name(name.to_owned()).spawn({
            let path = device_of(name);
            move || write_out(&lines, device, &path, &shared)
        })?;
        Ok(Self {
            name: name.to_owned(),
            queue,
            state,
        })
    }

    fn send(&self, bytes: &[u8]) {
        *lock(&self.state.pending) += 1;
        match self.queue.try_send(bytes.to_owned()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.state.dropped.fetch_add(1, Ordering::Relaxed);
                self.state.one_less();
            }
        }
    }
}

impl State {
    fn one_less(&self) {
        let mut pending = lock(&self.pending);
        *pending -= 1;
        if *pending == 0 {
            self.written.notify_all();
        }
    }
}

/// A console that cannot be written to stops no boot, so errors of writing are dropped. One that was hung up, as it is
/// when a shell on it ends, is opened anew.
fn write_out(lines: &Receiver<Vec<u8>>, mut device: File, path: &Path, state: &State) {
    for line in lines {
        if let Err(error) = device.write_all(&line)
            && error.raw_os_error() == Some(Errno::EIO as i32)
            && let Ok(again) = open_terminal(path)
        {
            device = again;
            let _ = device.write_all(&line);
        }
        let dropped = state.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let _ = writeln!(
                device,
                "sealboot: this console stood still: {dropped} lines are not shown here"
            );
        }
        // Written is what has left the machine.
        let _ = tcdrain(&device);
        state.one_less();
    }
}

/// The consoles of /proc/consoles that are enabled and can be written to: `ttyS0 -W- (EC p a) 4:64`.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| {
        let (name, rest) = line.split_once(' ')?;
        let (operations, rest) = rest.trim_start().split_once(" (")?;
        let (flags, _) = rest.split_once(')')?;
        let is_used = operations.contains('W') && flags.contains('E');
        (is_used && !name.contains('/')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use nix::pty::openpty;

    use super::*;

    #[test]
    fn the_kernels_consoles_are_those_that_are_enabled_and_can_be_written_to() {
        let list = "\
ttyS0                -W- (EC p a)    4:64
tty0                 -WU (E  p  )    4:7
hvc0                 RWU (   p  )  229:0
netcon0              -W- (  Np a)
lp0                  --- (E     )    6:0
../sda               -W- (E     )    8:0
pstore
";
        assert_eq!(names(list).collect::<Vec<_>>(), ["ttyS0", "tty0"]);
        assert_eq!(names("").count(), 0);
    }

    /// Returns the other end of a terminal, and a console on it.
    fn terminal() -> (File, Device) {
        let pair = openpty(None, None).unwrap();
        let path = fs::read_link(format!("/proc/self/fd/{}", pair.slave.as_raw_fd())).unwrap();
        let console = Device::start_at("pty", path).unwrap();
        (File::from(pair.master), console)
    }

    #[test]
    fn a_console_shows_what_it_is_sent_in_its_order() {
        let (mut ours, console) = terminal();
        for line in ["one\n", "two\n"] {
            console.send(line.as_bytes());
        }
        let mut shown = [0; 10];
        ours.read_exact(&mut shown).unwrap();
        assert_eq!(&shown, b"one\r\ntwo\r\n");
        let pending = lock(&console.state.pending);
        let (pending, timeout) = console
            .state
            .written
            .wait_timeout_while(pending, Duration::from_secs(20), |pending| *pending > 0)
            .unwrap();
        assert!(!timeout.timed_out() && *pending == 0);
    }

    #[test]
    fn a_console_that_stands_still_stops_nobody_and_says_what_it_has_missed() {
        let (mut ours, console) = terminal();
        // A terminal takes a few thousand bytes that nobody reads.
        let line = format!("{}\n", "x".repeat(998));
        let sent = QUEUE + 200;
        for _ in 0..sent {
            console.send(line.as_bytes());
        }
        assert!(console.state.dropped.load(Ordering::Relaxed) > 0);
        let mut shown = String::new();
        let mut buffer = [0; 4096];
        while !shown.contains("not shown here\r\n") {
            let read = ours.read(&mut buffer).unwrap();
            shown.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        // Once it goes on, all that was not dropped follows.
        console.send(b"the end\n");
        while !shown.contains("the end\r\n") {
            let read = ours.read(&mut buffer).unwrap();
            shown.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        let missed: usize = shown
            .lines()
            .filter_map(|line| {
                line.strip_prefix("sealboot: this console stood still: ")?
                    .strip_suffix(" lines are not shown here")?
                    .parse::<usize>()
                    .ok()
            })
            .sum();
        let whole = shown.matches(&line[..998]).count();
        assert_eq!(whole + missed, sent);
    }

    #[test]
    fn a_terminal_is_opened_for_writing_that_waits() {
        let pair = openpty(None, None).unwrap();
        let path = format!("/proc/self/fd/{}", pair.slave.as_raw_fd());
        let file = open_terminal(Path::new(&path)).unwrap();
        let flags = fcntl(&file, FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
        assert!(open_terminal(Path::new("/nonexistent")).is_err());
    }
}
