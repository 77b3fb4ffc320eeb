//! The watchdog: a loader that hangs does not hang for ever.
//!
//! A thread looks once a second at the signs of life ([`crate::heartbeat`]). As long as they come, it feeds the
//! machine's hardware watchdog, and says what is waited for. Where they stop for longer than the trust policy
//! grants, it says so, keeps what happened for the next boot, and resets the machine itself. Where even that hangs,
//! or the kernel does, the thread feeds no more, and the hardware resets the machine.
//!
//! A machine without a hardware watchdog has the kernel's own (softdog), which still resets it where all of this
//! process stands still.

mod watch;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use self::watch::{Act, Watch};
use crate::heartbeat::Heartbeat;
use sealboot_sys::watchdog::Watchdog as Device;

/// The first watchdog of the machine; the kernel makes this name for it, whatever its driver.
pub const DEVICE: &str = "/dev/watchdog0";

/// Long enough that a busy machine is never reset, short enough that nobody has driven there yet.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often signs of life are looked for.
const TICK: Duration = Duration::from_secs(1);

/// The watchdog of this machine. There is one, for as long as the loader runs.
#[derive(Debug)]
pub struct Watchdog(Mutex<Shared>);

#[derive(Debug)]
struct Shared {
    watch: Watch,
    device: Option<Device>,
    /// The image has been entered, or nearly.
    is_over: bool,
}

/// A hardware watchdog that is armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Armed {
    /// What its driver calls it.
    pub name: String,
    /// After how long without the loader it resets the machine.
    pub timeout: Duration,
    /// Whether it was this watchdog that reset the machine before this boot.
    pub has_reset_the_machine: bool,
}

impl Watchdog {
    /// Returns a watchdog that tolerates a silence of `stall`.
    #[must_use]
    pub const fn new(stall: Duration) -> Self {
        Self(Mutex::new(Shared {
            watch: Watch::new(stall),
            device: None,
            is_over: false,
        }))
    }

    /// Starts the thread that watches `heartbeat`. It calls `say` with what the loader waits for, and `reset` once if the
    /// loader hangs, with the length of the silence.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn start(
        &'static self,
        heartbeat: &'static Heartbeat,
        say: impl Fn(&str) + Send + 'static,
        reset: impl FnOnce(Duration) + Send + 'static,
    ) -> io::Result<()> {
        heartbeat.beat();
        let run = move || {
            let silence = loop {
                thread::sleep(TICK);
                if let Some(silence) = self.tick(heartbeat, &say) {
                    break silence;
                }
            };
            reset(silence);
        };
        let thread = thread::Builder::new().name("watchdog".to_owned());
        thread.spawn(run).map(drop)
    }

    /// Arms the machine's hardware watchdog; nothing where there is none, or it is armed already.
    ///
    /// # Errors
    ///
    /// Where there is one that cannot be armed.
    pub fn arm(&self) -> io::Result<Option<Armed>> {
        self.arm_at(Path::new(DEVICE))
    }

    fn arm_at(&self, device: &Path) -> io::Result<Option<Armed>> {
        let mut shared = self.lock();
        if shared.device.is_some() || shared.is_over {
            return Ok(None);
        }
        let device = match Device::open(device) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        // Some hardware has one timeout only; nobody knows how long it is, so it is fed at each tick.
        let timeout = device.set_timeout(TIMEOUT).unwrap_or(TICK);
        let armed = Armed {
            name: device.identity()?,
            timeout,
            has_reset_the_machine: device.has_reset_the_machine().unwrap_or(false),
        };
        shared.watch.set_timeout(timeout);
        shared.device = Some(device);
        Ok(Some(armed))
    }

    /// Lets the loader be silent for so long from now on.
    pub fn set_stall(&self, stall: Duration) {
        self.lock().watch.set_stall(stall);
    }

    /// Looks no more, and disarms the hardware: the next kernel need not know of it.
    pub fn disarm(&self) {
        let mut shared = self.lock();
        shared.is_over = true;
        if let Some(device) = shared.device.take()
            && let Err(error) = device.disarm()
        {
            tracing::warn!("the watchdog cannot be disarmed: {error}");
        }
    }

    /// Looks again: the next kernel was not entered.
    ///
    /// # Errors
    ///
    /// As [`Watchdog::arm`].
    pub fn rearm(&self) -> io::Result<()> {
        self.lock().is_over = false;
        self.arm().map(drop)
    }

    /// One look; gives for how long nothing has happened where the loader hangs.
    fn tick(&self, heartbeat: &Heartbeat, say: impl Fn(&str)) -> Option<Duration> {
        let mut shared = self.lock();
        if shared.is_over {
            return None;
        }
        let (alive_until, waiting) = (heartbeat.alive_until(), heartbeat.waiting());
        for act in shared.watch.tick(Instant::now(), alive_until, waiting) {
            match act {
                Act::Feed => {
                    if let Some(device) = &shared.device {
                        // A device that takes no food resets the machine, and nothing here can help it.
                        let _ = device.feed();
                    }
                }
                Act::Say(line) => say(&line),
                Act::Stalled { silence } => return Some(silence),
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic ends the loader.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_process_that_hangs_is_told_to_whoever_resets_the_machine() {
        static HEARTBEAT: Heartbeat = Heartbeat::new();
        static WATCHDOG: Watchdog = Watchdog::new(Duration::ZERO);
        let (stalled, told) = channel();
        WATCHDOG
            .start(
                &HEARTBEAT,
                |_| {},
                move |silence| stalled.send(silence).unwrap(),
            )
            .unwrap();
        // No sign of life comes from here on, and none is granted.
        let silence = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(silence > Duration::ZERO);
    }

    #[test]
    fn a_machine_without_a_watchdog_has_none_to_arm() {
        let watchdog = Watchdog::new(TIMEOUT);
        assert_eq!(watchdog.arm_at(Path::new("/nonexistent")).unwrap(), None);
        // What is no watchdog is armed by nobody.
        assert!(watchdog.arm_at(Path::new("/dev/null")).is_err());
    }
}
