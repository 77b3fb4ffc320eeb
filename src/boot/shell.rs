//! A shell for whoever stands at a console, where both the trust policy and the initramfs have one.
//!
//! It is offered in the pauses after a failure, on every console, and runs on the one where Enter was pressed. While it
//! runs nothing else happens; when it ends, the boot begins anew.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::consoles;
use crate::liveness;
use crate::sys::terminal::lead_session;

/// Where the shell is baked in.
pub const SHELL_FILE: &str = "/bin/sh";

/// How often a shell is looked at for its end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whether the initramfs has a shell.
#[must_use]
pub fn is_baked_in() -> bool {
    Path::new(SHELL_FILE).is_file()
}

/// Waits until `deadline` or until somebody presses Enter at a console; gives that console.
#[must_use]
pub fn asked_for(deadline: Instant) -> Option<File> {
    let devices = consoles::devices();
    let mut terminals: Vec<File> = (devices.iter())
        .filter_map(|device| consoles::open_terminal(device).ok())
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
            .map(|terminal| PollFd::new(terminal.as_fd(), PollFlags::POLLIN))
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
            // A line, or nothing where the console was hung up: that one is asked no more.
            if terminal.read(&mut [0; 256]).is_ok_and(|read| read > 0) {
                return Some(terminal);
            }
        }
    }
}

/// Runs the shell on this console, to its end.
///
/// # Errors
///
/// Where it cannot be started.
pub fn run(console: &File) -> io::Result<()> {
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
    // Children are the kernel's to reap, so of the end there is no status; an error is the end as well.
    while let Ok(None) = shell.try_wait() {
        liveness::sign();
        sleep(LOOK_EVERY);
    }
    Ok(())
}
