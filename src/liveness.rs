//! Signs of life: what tells a loader that works from one that hangs, and what it waits for.
//!
//! Whatever takes part in a boot gives a [`sign`] when something has happened that it waited for, or when a
//! deadline has passed and it moves on. A loop that only turns gives none: that a thread runs says nothing. A wait
//! that is meant to be long is announced ([`quiet_until`]). Where nothing comes for longer than the trust policy
//! grants, the watchdog ([`crate::boot::watchdog`]) takes the loader for hung.
//!
//! [`waiting_for`] keeps the words for it. Somebody who opens a console in the middle of a boot reads there what
//! the machine is waiting for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The signs of this process.
static LIFE: Life = Life::new();

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// As it follows "waiting for".
    pub what: String,
    /// Since when.
    pub since: Instant,
}

/// Signs of life, of which a process needs one set; a test has its own.
#[derive(Debug)]
pub struct Life {
    /// Milliseconds from [`start`] until which nothing need happen: the last sign of life, or the end of a quiet wait.
    alive_until: AtomicU64,
    waiting: Mutex<Option<Waiting>>,
}

impl Life {
    /// No sign yet, and nothing that is waited for.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "there is one, and it is a static"
    )]
    pub const fn new() -> Self {
        Self {
            alive_until: AtomicU64::new(0),
            waiting: Mutex::new(None),
        }
    }

    /// Says that something has happened, and that nothing need happen until then.
    pub fn quiet_until(&self, until: Instant) {
        let since = until.saturating_duration_since(start());
        let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        // The longest wait counts: of several that wait, one alone need know.
        self.alive_until.fetch_max(ms, Ordering::Relaxed);
    }

    /// Until when signs of life have been given: now or in the past where nothing is announced.
    #[must_use]
    pub fn alive_until(&self) -> Instant {
        start() + Duration::from_millis(self.alive_until.load(Ordering::Relaxed))
    }

    /// Says what is waited for from now on. The same words again do not begin the wait anew.
    pub fn wait_for(&self, what: Option<String>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.as_ref().map(|waiting| &waiting.what) != what.as_ref() {
            *waiting = what.map(|what| Waiting {
                what,
                since: Instant::now(),
            });
        }
    }

    /// What is waited for.
    #[must_use]
    pub fn waiting(&self) -> Option<Waiting> {
        let waiting = self.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The signs of this process.
#[must_use]
pub const fn of_this_process() -> &'static Life {
    &LIFE
}

/// Says that something has happened.
pub fn sign() {
    LIFE.quiet_until(Instant::now());
}

/// Says that something has happened, and that nothing need happen until then.
pub fn quiet_until(until: Instant) {
    LIFE.quiet_until(until);
}

/// Says what is waited for from now on, as it follows "waiting for".
pub fn waiting_for(what: impl Into<String>) {
    LIFE.wait_for(Some(what.into()));
}

/// Says that nothing is waited for.
pub fn waiting_no_more() {
    LIFE.wait_for(None);
}

/// When this process was first asked.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_counts_until_it_is_given_and_a_quiet_wait_until_its_end() {
        let life = Life::new();
        let before = Instant::now();
        life.quiet_until(before);
        assert!(life.alive_until() + Duration::from_millis(1) >= before);
        let later = before + Duration::from_secs(60);
        life.quiet_until(later);
        life.quiet_until(before);
        let until = life.alive_until();
        assert!(until <= later && until + Duration::from_millis(2) >= later);
    }

    #[test]
    fn the_same_words_go_on_with_the_same_wait() {
        let life = Life::new();
        assert_eq!(life.waiting(), None);
        life.wait_for(Some("a carrier".to_owned()));
        let first = life.waiting().unwrap();
        life.wait_for(Some("a carrier".to_owned()));
        assert_eq!(life.waiting().unwrap(), first);
        life.wait_for(Some("an address".to_owned()));
        assert_eq!(life.waiting().unwrap().what, "an address");
        life.wait_for(None);
        assert_eq!(life.waiting(), None);
    }
}
