//! The heartbeat: what tells a loader that works from one that hangs, and what it waits for.
//!
//! Code that takes part in a boot calls [`Heartbeat::beat`] when something has happened that it waited for, or when
//! a deadline has passed and it moves on. A loop that only turns does not beat: that a thread runs proves nothing. A
//! long pause is announced with [`Heartbeat::expect_quiet_until`]. If no beat comes for longer than the trust policy
//! allows, the watchdog ([`crate::boot::recovery::watchdog`]) treats the loader as hung.
//!
//! [`Heartbeat::wait_for`] stores a description of the current wait. The watchdog prints it on the console, so an
//! operator who opens a console in the middle of a boot reads what the machine is waiting for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A wait, as the console describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The object of the wait, as it follows "waiting for".
    pub what: String,
    /// The start of the wait.
    pub since: Instant,
}

/// The beats of one process. A loader has one, in [`crate::boot::Loader`]; a test has its own.
#[derive(Debug)]
pub struct Heartbeat {
    /// Milliseconds from [`start`] until which silence is expected: the last beat, or the end of a quiet wait.
    alive_until: AtomicU64,
    waiting: Mutex<Option<Waiting>>,
}

impl Heartbeat {
    /// Returns a heartbeat without a beat, that waits for nothing.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "the loader has one, in a static"
    )]
    pub const fn new() -> Self {
        Self {
            alive_until: AtomicU64::new(0),
            waiting: Mutex::new(None),
        }
    }

    /// Records that something has happened.
    pub fn beat(&self) {
        self.expect_quiet_until(Instant::now());
    }

    /// Records that something has happened, and that no beat is due before `until`.
    pub fn expect_quiet_until(&self, until: Instant) {
        let since = until.saturating_duration_since(start());
        let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        // The longest announced wait counts: of several tasks, one alone has to know.
        self.alive_until.fetch_max(ms, Ordering::Relaxed);
    }

    /// Returns the time of the last beat, or the end of the announced quiet wait.
    #[must_use]
    pub fn alive_until(&self) -> Instant {
        start() + Duration::from_millis(self.alive_until.load(Ordering::Relaxed))
    }

    /// Sets the object of the current wait, as it follows "waiting for". The same text again continues the same wait.
    pub fn wait_for(&self, what: impl Into<String>) {
        let what = what.into();
        let mut waiting = self.lock();
        if waiting.as_ref().is_none_or(|waiting| waiting.what != what) {
            *waiting = Some(Waiting {
                what,
                since: Instant::now(),
            });
        }
    }

    /// Clears the current wait.
    pub fn clear_wait(&self) {
        *self.lock() = None;
    }

    /// Returns the current wait.
    #[must_use]
    pub fn waiting(&self) -> Option<Waiting> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time of the first call in this process.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_and_quiet_waits_count_until_their_end() {
        let heartbeat = Heartbeat::new();
        let before = Instant::now();
        heartbeat.expect_quiet_until(before);
        assert!(heartbeat.alive_until() + Duration::from_millis(1) >= before);
        let later = before + Duration::from_secs(60);
        heartbeat.expect_quiet_until(later);
        heartbeat.expect_quiet_until(before);
        let until = heartbeat.alive_until();
        assert!(until <= later && until + Duration::from_millis(2) >= later);
    }

    #[test]
    fn the_same_text_continues_the_same_wait() {
        let heartbeat = Heartbeat::new();
        assert_eq!(heartbeat.waiting(), None);
        heartbeat.wait_for("a carrier");
        let first = heartbeat.waiting().unwrap();
        heartbeat.wait_for("a carrier");
        assert_eq!(heartbeat.waiting().unwrap(), first);
        heartbeat.wait_for("an address");
        assert_eq!(heartbeat.waiting().unwrap().what, "an address");
        heartbeat.clear_wait();
        assert_eq!(heartbeat.waiting(), None);
    }
}
