//! Waiting for what takes milliseconds on an idle machine: by its coming, never by a time.

use std::thread;
use std::time::{Duration, Instant};

/// How long it may take. Tests end by what they wait for; this ends them when it never comes.
pub const PATIENCE: Duration = Duration::from_secs(60);

const BETWEEN: Duration = Duration::from_millis(5);

/// Waits for `condition`, and fails with `what` when it does not come.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(BETWEEN);
    }
}

/// The same, while other tasks of the runtime go on.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(BETWEEN).await;
    }
}
