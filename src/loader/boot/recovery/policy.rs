//! What happens after a failure: the machine waits and tries again, and in the end gives up.
//!
//! Waits double from the policy's first to its longest, each cut by up to half at random, so that a
//! thousand machines that lost power together do not come back together. Rebooting resets what no
//! loader can: firmware, network cards, a wedged bus.

use std::time::Duration;

use crate::jitter;
use sealboot_core::trust::policy::FailurePolicy;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after this long.
    Wait(Duration),
    /// Do what the policy has for the end, after this long.
    GiveUp(Duration),
}

impl Next {
    /// The same, after no less than `least`: as long as a mirror has asked for.
    #[must_use]
    pub fn at_least(self, least: Duration) -> Self {
        match self {
            Self::Wait(wait) => Self::Wait(wait.max(least)),
            Self::GiveUp(wait) => Self::GiveUp(wait.max(least)),
        }
    }
}

/// Counts the failures of this run of the loader.
#[derive(Debug, Clone, Copy, Default)]
pub struct Failures(u32);

impl Failures {
    /// How many there were.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0
    }

    /// Which failure this is, and of how many where the policy has a limit.
    #[must_use]
    pub fn told(self, policy: &FailurePolicy) -> String {
        match policy.max_attempts {
            0 => format!("failure {}", self.0),
            // A newer policy may grant fewer than there were already.
            limit => format!("failure {} of {}", self.0, limit.max(self.0)),
        }
    }

    /// Counts one more and says what to do.
    ///
    /// `jitter` is a random number of at least 0 and below 1. Also before a reboot there is a wait: a
    /// machine that reboots at once in a loop can be neither read nor stopped.
    pub fn add(&mut self, policy: &FailurePolicy, jitter: f64) -> Next {
        self.0 = self.0.saturating_add(1);
        let doublings = (self.0 - 1).min(31);
        let wait = u64::from(policy.retry_initial_seconds) << doublings;
        let wait = Duration::from_secs(wait.min(u64::from(policy.retry_max_seconds)));
        let wait = jitter::shortened(wait, jitter);
        if policy.max_attempts != 0 && self.0 >= policy.max_attempts {
            Next::GiveUp(wait)
        } else {
            Next::Wait(wait)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: FailurePolicy = FailurePolicy {
        retry_initial_seconds: 2,
        retry_max_seconds: 60,
        max_attempts: 8,
        ..FailurePolicy::DEFAULT
    };

    fn run(policy: &FailurePolicy, jitter: f64, times: u32) -> Vec<Next> {
        let mut failures = Failures::default();
        (0..times).map(|_| failures.add(policy, jitter)).collect()
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_in_a_reboot() {
        let seconds = |next: &Next| match next {
            Next::Wait(wait) => wait.as_secs(),
            Next::GiveUp(wait) => 1000 + wait.as_secs(),
        };
        let run: Vec<u64> = run(&POLICY, 0.0, 9).iter().map(seconds).collect();
        assert_eq!(run, [2, 4, 8, 16, 32, 60, 60, 1060, 1060]);
    }

    #[test]
    fn jitter_takes_at_most_half() {
        assert_eq!(
            run(&POLICY, 0.5, 1),
            [Next::Wait(Duration::from_millis(1500))]
        );
        let Next::Wait(wait) = run(&POLICY, 0.999_999, 1)[0] else {
            panic!("no wait")
        };
        assert!(
            wait >= Duration::from_secs(1) && wait < Duration::from_millis(1001),
            "{wait:?}"
        );
    }

    #[test]
    fn a_mirror_that_asks_for_time_gets_it() {
        let minute = Duration::from_secs(60);
        let next = run(&POLICY, 0.0, 1)[0];
        assert_eq!(next.at_least(minute), Next::Wait(minute));
        assert_eq!(next.at_least(Duration::ZERO), next);
    }

    #[test]
    fn a_failure_is_counted_against_the_limit_where_there_is_one() {
        let mut failures = Failures::default();
        failures.add(&POLICY, 0.0);
        failures.add(&POLICY, 0.0);
        for (max_attempts, told) in [
            (8, "failure 2 of 8"),
            (2, "failure 2 of 2"),
            (1, "failure 2 of 2"),
            (0, "failure 2"),
        ] {
            let policy = FailurePolicy {
                max_attempts,
                ..POLICY
            };
            assert_eq!(failures.told(&policy), told);
        }
    }

    #[test]
    fn without_a_limit_it_never_reboots() {
        let policy = FailurePolicy {
            max_attempts: 0,
            ..POLICY
        };
        assert!(
            run(&policy, 0.0, 500)
                .iter()
                .all(|next| matches!(next, Next::Wait(_)))
        );
    }
}
