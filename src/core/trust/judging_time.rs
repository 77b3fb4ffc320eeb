//! The time by which dates are judged, and what a clock that counts for nothing changes about it.
//!
//! A machine without a battery starts at the time at which its loader was built. Its certificates and its images
//! may be newer. So under an unset clock nothing is refused for being from the future, and what root and
//! release keys have signed moves the judging time forward: it cannot be earlier than the `created` of a
//! statement that exists. What has ended stays refused under every clock.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// Whether the clock of a machine counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockState {
    /// It counts: what is from the future by it is refused.
    Set,
    /// It counts for nothing but a lower bound.
    Unset,
}

/// The time by which dates are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgingTime {
    at: Timestamp,
    clock: ClockState,
    proved: Option<Timestamp>,
}

impl JudgingTime {
    /// Returns the time `at` of a clock in this state.
    #[must_use]
    pub const fn new(at: Timestamp, clock: ClockState) -> Self {
        Self {
            at,
            clock,
            proved: None,
        }
    }

    /// Returns the time itself.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns the state of the clock.
    #[must_use]
    pub const fn clock(&self) -> ClockState {
        self.clock
    }

    /// Returns the latest `created` that signatures have proved; `None` without one, and under a set clock.
    #[must_use]
    pub const fn proved(&self) -> Option<Timestamp> {
        self.proved
    }

    /// Moves the time of an unset clock forward to the `created` of a statement that root or release keys
    /// have signed. The time of a set clock does not move.
    ///
    /// The `created` of a freshness statement or a host config never comes here. Otherwise one stolen key
    /// of a machine that renews could end every certificate and every image.
    pub fn prove(&mut self, created: Timestamp) {
        if self.clock == ClockState::Unset {
            self.at = self.at.max(created);
            self.proved = self.proved.max(Some(created));
        }
    }

    /// Returns `true` if `created` lies so far in the future that the statement is refused.
    #[must_use]
    pub fn is_before(&self, created: Timestamp, tolerance: SignedDuration) -> bool {
        self.clock == ClockState::Set && created.duration_since(self.at) > tolerance
    }

    /// Returns `true` if what ends at `expires` has ended.
    #[must_use]
    pub fn is_after(&self, expires: Timestamp, tolerance: SignedDuration) -> bool {
        self.at.duration_since(expires) >= tolerance
    }
}

/// The time of a clock that is set.
impl From<Timestamp> for JudgingTime {
    fn from(at: Timestamp) -> Self {
        Self::new(at, ClockState::Set)
    }
}

impl fmt::Display for JudgingTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (the clock is {})", self.at, self.clock)
    }
}

impl fmt::Display for ClockState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set => "set",
            Self::Unset => "unset",
        })
    }
}

#[cfg(test)]
mod tests;
