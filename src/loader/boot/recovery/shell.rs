//! A shell for whoever stands at a console, where both the trust policy and the initramfs have one.
//!
//! It is offered in the pauses after a failure, on every console, and runs on the one where Enter was pressed. While it
//! runs nothing else happens; when it ends, or nobody has used it for a while, what it left running in its session is
//! ended too, and another boot attempt follows.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::Pid;

use crate::boot::console::{Consoles, open_terminal};
use crate::heartbeat::Heartbeat;
use sealboot_core::format::layout::SHELL_FILE;
use sealboot_sys::terminal::lead_session;

/// How often a shell is looked at for its end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often what a shell left running is looked for: a process that is killed takes a moment to end, and may have
/// started another one before. One that hangs in the kernel for longer cannot be ended at all.
const SWEEPS: u32 = 10;

/// For how long nobody may use a shell before it is ended: one that was opened by chance, or forgotten, would keep the
/// machine from its image for ever.
pub const IDLE: Duration = Duration::from_secs(10 * 60);

/// How often a console may say that its input has ended before it is asked no more.
const ENDS: u32 = 16;

/// A console that is listened to.
#[derive(Debug)]
pub struct Terminal {
    /// Its name, such as `ttyS0`.
    pub name: String,
    /// It, for reading and writing.
    pub device: File,
    ends: u32,
}

impl Terminal {
    /// What was typed before is not meant for what is asked now, and is dropped.
    fn open(path: &Path) -> io::Result<Self> {
        let device = open_terminal(path)?;
        tcflush(&device, FlushArg::TCIFLUSH)?;
        let name = path.file_name().unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            device,
            ends: 0,
        })
    }
}

/// Whether the initramfs has a shell.
#[must_use]
pub fn is_baked_in() -> bool {
    Path::new(SHELL_FILE).is_file()
}

/// Waits until `deadline` or until somebody presses Enter at a console; gives that console.
#[must_use]
pub fn asked_for(deadline: Instant, consoles: &Consoles) -> Option<Terminal> {
    let mut terminals: Vec<Terminal> = (consoles.devices().iter())
        .filter_map(|path| Terminal::open(path).ok())
        .collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        if terminals.is_empty() {
            sleep(left);
            return None;
        }
        let mut polled: Vec<PollFd<'_>> = (terminals.iter())
            .map(|terminal| PollFd::new(terminal.device.as_fd(), PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => {
                sleep(left);
                return None;
            }
        }
        let ready = polled
            .iter()
            .position(|polled| polled.revents().is_some_and(|events| !events.is_empty()));
        if let Some(at) = ready {
            let mut terminal = terminals.swap_remove(at);
            match terminal.device.read(&mut [0; 256]) {
                Ok(0) if terminal.ends < ENDS => {
                    // Ctrl-D, or a console that was hung up, and then it says so each time.
                    terminal.ends += 1;
                    terminals.push(terminal);
                }
                Ok(0) | Err(_) => {}
                Ok(_) => return Some(terminal),
            }
        }
    }
}

/// Runs the shell on this console, to its end. Gives how many processes it left running, which were ended.
///
/// # Errors
///
/// Where it cannot be started.
pub fn run(console: &File, heartbeat: &Heartbeat) -> io::Result<usize> {
    let stream = || console.try_clone().map(Stdio::from);
    let mut command = Command::new(SHELL_FILE);
    command
        .stdin(stream()?)
        .stdout(stream()?)
        .stderr(stream()?)
        .current_dir("/")
        .env_clear()
        .env("HOME", "/")
        .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
        .env("TERM", "linux");
    lead_session(&mut command);
    let mut shell = command.spawn()?;
    let opened = SystemTime::now();
    // Children are the kernel's to reap, so of the end there is no status; an error is the end as well.
    while let Ok(None) = shell.try_wait() {
        heartbeat.beat();
        if idle_since(console, opened).is_some_and(|idle| idle >= IDLE) {
            // The end of a session hangs up what else runs on its terminal.
            let _ = shell.kill();
        }
        sleep(LOOK_EVERY);
    }
    // It leads a session that has its own number.
    let session = i32::try_from(shell.id()).map_err(io::Error::other)?;
    Ok(end_session(session))
}

/// Kills what is left of this session, which is none of ours; gives how many processes that were.
fn end_session(session: i32) -> usize {
    let mut ended = BTreeSet::new();
    for _ in 0..SWEEPS {
        let left = processes_of(session, Path::new("/proc"));
        if left.is_empty() {
            break;
        }
        for process in left {
            // One that has ended by itself meanwhile is as good.
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
            ended.insert(process);
        }
        sleep(LOOK_EVERY);
    }
    ended.len()
}

/// The processes of this session that run, other than this one.
fn processes_of(session: i32, proc: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(proc) else {
        return Vec::new();
    };
    let ourselves = Pid::this().as_raw();
    entries
        .flatten()
        .filter_map(|entry| {
            let process: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(entry.path().join("stat")).ok()?;
            let is_left = process > 1
                && process != ourselves
                && running_in(&String::from_utf8_lossy(&stat)) == Some(session);
            is_left.then_some(process)
        })
        .collect()
}

/// The session of a process, from its `/proc/PID/stat`; none where it has ended and only its status is left.
///
/// `PID (NAME) STATE PARENT GROUP SESSION …`, proc_pid_stat(5).
fn running_in(stat: &str) -> Option<i32> {
    // A name may hold spaces and parentheses; nothing behind it does.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let session = fields.nth(2)?.parse().ok()?;
    (!matches!(state, "Z" | "X" | "x")).then_some(session)
}

/// For how long nothing was typed or shown: the kernel keeps both times of a terminal, to 8 seconds (w(1) shows them).
fn idle_since(console: &File, opened: SystemTime) -> Option<Duration> {
    let metadata = console.metadata().ok()?;
    let used = metadata.accessed().ok()?.max(metadata.modified().ok()?);
    SystemTime::now().duration_since(used.max(opened)).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;

    use super::*;

    #[test]
    fn the_session_of_a_process_is_found_behind_whatever_its_name_is() {
        for (stat, session) in [
            ("7 (sleep) S 1 6 5 1025 -1 4194304", Some(5)),
            ("7 (a b) S 1 6 5 1025", Some(5)),
            ("7 (a) S 9 9 9 (b) R 1 6 5 1025", Some(5)),
            ("7 () S 1 6 5", Some(5)),
            ("7 (\u{fffd}) D 1 6 5", Some(5)),
            ("7 (sleep) Z 1 6 5 1025", None),
            ("7 (sleep) X 1 6 5 1025", None),
            ("7 (sleep) S 1 6", None),
            ("7 (sleep) S 1 6 x", None),
            ("7 sleep S 1 6 5", None),
            ("", None),
        ] {
            assert_eq!(running_in(stat), session, "{stat:?}");
        }
    }

    #[test]
    fn neither_pid_1_nor_this_process_nor_another_session_is_ended_with_a_shell() {
        let proc = tempfile::tempdir().unwrap();
        let ourselves = std::process::id().to_string();
        for (process, session) in [
            ("1", 400_000_005),
            (&ourselves, 400_000_005),
            ("400000007", 400_000_005),
            ("400000008", 400_000_006),
            ("self", 400_000_005),
        ] {
            let directory = proc.path().join(process);
            fs::create_dir(&directory).unwrap();
            let stat = format!("{process} (sh) S 1 1 {session} 0");
            fs::write(directory.join("stat"), stat).unwrap();
        }
        fs::create_dir(proc.path().join("400000009")).unwrap();
        assert_eq!(processes_of(400_000_005, proc.path()), [400_000_007]);
    }

    #[test]
    fn a_terminal_is_idle_since_it_was_last_read_or_written_or_since_the_shell_began() {
        let file = tempfile::tempfile().unwrap();
        let now = SystemTime::now();
        let ago = |minutes: u64| now - Duration::from_secs(60 * minutes);
        for (read, written, opened, minutes) in [
            (30, 30, 20, 20),
            (30, 12, 20, 12),
            (11, 30, 20, 11),
            (30, 30, 0, 0),
        ] {
            let times = FileTimes::new()
                .set_accessed(ago(read))
                .set_modified(ago(written));
            file.set_times(times).unwrap();
            let idle = idle_since(&file, ago(opened)).unwrap();
            assert_eq!(idle.as_secs() / 60, minutes, "{read} {written} {opened}");
        }
    }
}
