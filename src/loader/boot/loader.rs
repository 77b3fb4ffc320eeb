//! The state that the whole loader shares.
//!
//! The panic hook and the watchdog's thread need the consoles, the current stage and the failure policy in force,
//! whatever the main thread is doing. That state is one static, [`LOADER`]. All other code receives it as a
//! reference, so a test has a loader of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::console::{Console, Consoles, Stage};
use super::recovery::watchdog::Watchdog;
use crate::heartbeat::Heartbeat;
use sealboot_core::trust::policy::FailurePolicy;

/// The loader of this process.
pub static LOADER: Loader = Loader::new();

/// What the stages, the panic hook and the watchdog's thread share.
#[derive(Debug)]
pub struct Loader {
    /// The consoles of the kernel.
    pub consoles: Consoles,
    /// The watchdog of this machine.
    pub watchdog: Watchdog,
    /// What tells the watchdog that this loader works, and what it waits for.
    pub heartbeat: Heartbeat,
    stage: Mutex<Option<Stage>>,
    failure_policy: Mutex<FailurePolicy>,
}

impl Loader {
    /// Returns a loader before its first stage, with the default failure policy.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a process has one, in a static")]
    pub const fn new() -> Self {
        let policy = FailurePolicy::DEFAULT;
        Self {
            consoles: Consoles::new(),
            watchdog: Watchdog::new(Duration::from_secs(policy.stall_seconds as u64)),
            heartbeat: Heartbeat::new(),
            stage: Mutex::new(None),
            failure_policy: Mutex::new(policy),
        }
    }

    /// Returns a console that prints on all consoles of the kernel.
    #[must_use]
    pub const fn console(&self) -> Console<'_, &Consoles> {
        Console::new(&self.consoles, self)
    }

    /// Returns the current stage; `None` between two of them.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        *lock(&self.stage)
    }

    /// Enters a stage, or leaves the current one.
    pub fn set_stage(&self, stage: Option<Stage>) {
        *lock(&self.stage) = stage;
        self.heartbeat.beat();
        match stage.and_then(Stage::waits_for) {
            Some(what) => self.heartbeat.wait_for(what),
            None => self.heartbeat.clear_wait(),
        }
    }

    /// Returns the failure policy in force: that of the newest verified trust policy, or the default before one is read.
    #[must_use]
    pub fn failure_policy(&self) -> FailurePolicy {
        *lock(&self.failure_policy)
    }

    /// Puts a failure policy in force, for the stages, the panic hook and the watchdog. [`super::InForce`] calls this for
    /// every trust policy that it accepts.
    pub fn set_failure_policy(&self, policy: FailurePolicy) {
        *lock(&self.failure_policy) = policy;
        let stall = Duration::from_secs(u64::from(policy.stall_seconds));
        self.watchdog.set_stall(stall);
    }
}

/// Locks a mutex, poisoned or not: a panic ends the loader, and the panic hook still reads this state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
