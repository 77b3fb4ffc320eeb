//! What time it is, as far as this machine can know.
//!
//! A real-time clock can be wrong by years: its battery is empty, or somebody wants an expired image
//! or certificate to look fresh. One thing is sure: it is later than when this loader was built. A
//! clock that stands before that is moved forward to it. What others say is judged in [`super::sntp`].

use std::fs;
use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp, Unit};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use sealboot_core::format::layout;

/// 2026-11-21T00:00:00Z: before this, no loader was ever built.
const FIRST_RELEASE: i64 = 1_795_219_200;

/// What the clock said, and what was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It stood after the build time and was left alone.
    Kept,
    /// It stood at `was`, before the build time, and now stands at the build time.
    Raised {
        /// What it had said.
        was: Timestamp,
    },
}

/// When this binary was built: `SEALBOOT_BUILD_TIME` of its build, which `make build` sets to the time of
/// the last commit that changed the source.
#[must_use]
pub fn binary_build_time() -> Timestamp {
    let epoch = option_env!("SEALBOOT_BUILD_TIME")
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(FIRST_RELEASE);
    Timestamp::from_second(epoch.max(FIRST_RELEASE)).unwrap_or_default()
}

/// The later of this binary's build time and that of the initramfs at `root`, where it says one.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] where the initramfs's build time is no number of seconds.
pub fn build_time(root: &Path) -> io::Result<Timestamp> {
    let path = layout::under(root, layout::BUILD_TIME_FILE);
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(binary_build_time()),
        Err(error) => return Err(error),
    };
    let baked = text
        .trim()
        .parse()
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    let baked = baked.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "not a number of Unix seconds")
    })?;
    Ok(baked.max(binary_build_time()))
}

/// Longer than anybody leaves a loader without building it again: five years.
const FAR_AHEAD: SignedDuration = SignedDuration::from_hours(5 * 365 * 24);

/// Moves the system clock forward to `floor` if it stands before it.
///
/// # Errors
///
/// The errno of clock_settime(2).
pub fn raise_to(floor: Timestamp) -> io::Result<Clock> {
    let was = Timestamp::now();
    if was >= floor {
        return Ok(Clock::Kept);
    }
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(floor.as_second(), 0))?;
    Ok(Clock::Raised {
        was: was.round(Unit::Second).unwrap_or(was),
    })
}

/// Moves the system clock by `step`.
///
/// # Errors
///
/// The errno of clock_settime(2).
pub fn step_by(step: SignedDuration) -> io::Result<()> {
    let to = Timestamp::now().saturating_add(step);
    let to = to.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let to = TimeSpec::new(to.as_second(), to.subsec_nanosecond().into());
    clock_settime(ClockId::CLOCK_REALTIME, to)?;
    Ok(())
}

/// Whether `now` is so long after `floor` that the clock is more likely wrong than the loader old. Nothing
/// is guessed from it: dates are judged by the clock, and the console says how far off it may be.
#[must_use]
pub fn is_far_ahead(now: Timestamp, floor: Timestamp) -> bool {
    now.duration_since(floor) > FAR_AHEAD
}

/// The time to judge dates by, in whole seconds.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: Option<&str>) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/sealboot")).unwrap();
        if let Some(text) = text {
            fs::write(root.path().join("etc/sealboot/build-time"), text).unwrap();
        }
        root
    }

    #[test]
    fn the_later_build_time_counts() {
        let binary = binary_build_time();
        assert_eq!(build_time(root(None).path()).unwrap(), binary);
        assert_eq!(build_time(root(Some("1\n")).path()).unwrap(), binary);
        let later = binary.as_second() + 1000;
        assert_eq!(
            build_time(root(Some(&later.to_string())).path())
                .unwrap()
                .as_second(),
            later
        );
    }

    #[test]
    fn a_build_time_that_is_no_number_is_an_error() {
        for text in ["", "soon", "1e9", "99999999999999999999"] {
            assert!(build_time(root(Some(text)).path()).is_err(), "{text:?}");
        }
    }
}
