//! What time it is, as far as this machine can know.
//!
//! A real-time clock can be wrong by years: its battery is empty, or an attacker wants an expired image
//! or certificate to look fresh. The rules, which [`Clock`] holds as a pure value:
//!
//! - A clock that reads, at power-on, between the loader's build and five years after it is *set*; every other
//!   one is *unset*. This is decided once for each run of the loader, at power-on.
//! - The floor is the build time, or the power-on time of a set clock, plus the time that has passed since. The clock
//!   never reads less: it is raised to the floor before anything is judged.
//! - Time servers may put the clock anywhere from the floor to twenty years after the build ([`super::sntp`]).
//!   Their answers are not signed, so they never make an unset clock a set one.
//! - Signed dates never move the clock. Under an unset one they bound the [`JudgingTime`] from below.

use std::fs;
use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use sealboot_core::format::layout;
use sealboot_core::trust::{ClockState, JudgingTime};

/// 2026-11-21T00:00:00Z: before this, no loader was ever built.
const FIRST_RELEASE: i64 = 1_795_219_200;

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

/// How long after its build a loader believes the clock of its machine: longer than operators leave a
/// loader without building it again.
const BELIEVED: SignedDuration = SignedDuration::from_secs(5 * YEAR.as_secs());

/// How long after the build a time server may put the clock: longer than any loader runs.
const LATEST: SignedDuration = SignedDuration::from_secs(20 * YEAR.as_secs());

/// Both clocks of the kernel at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The clock that can be set.
    pub wall: Timestamp,
    /// The time since the kernel started, which nothing sets.
    pub uptime: SignedDuration,
}

impl Reading {
    /// Reads the clocks.
    #[must_use]
    pub fn now() -> Self {
        let uptime = clock_gettime(ClockId::CLOCK_BOOTTIME)
            .unwrap_or_else(|errno| panic!("the kernel lacks CLOCK_BOOTTIME: {errno}"));
        Self {
            wall: Timestamp::now(),
            uptime: SignedDuration::try_from(std::time::Duration::from(uptime))
                .unwrap_or(SignedDuration::MAX),
        }
    }
}

/// What the machine's clock read at power-on, and the earliest time that it can be since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    build: Timestamp,
    power_on: Reading,
    state: ClockState,
    /// The earliest time that it can have been at power-on, by the signed dates of this run.
    proved: Option<Timestamp>,
}

impl Clock {
    /// Decides whether a clock that reads this at power-on is set, for a loader that was built at `build`.
    #[must_use]
    pub fn at_power_on(power_on: Reading, build: Timestamp) -> Self {
        let age = power_on.wall.duration_since(build);
        let state = if age.is_negative() || age > BELIEVED {
            ClockState::Unset
        } else {
            ClockState::Set
        };
        Self {
            build,
            power_on,
            state,
            proved: None,
        }
    }

    /// Returns whether the clock counts.
    #[must_use]
    pub const fn state(&self) -> ClockState {
        self.state
    }

    /// Returns the time that the clock never reads less than, once the kernel has run for `uptime`.
    #[must_use]
    pub fn floor(&self, uptime: SignedDuration) -> Timestamp {
        match self.state {
            ClockState::Set => self.since_power_on(self.power_on.wall, uptime),
            ClockState::Unset => self.since_power_on(self.build, uptime),
        }
    }

    /// Returns the latest time that a time server may put the clock to.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        plus(self.build, LATEST)
    }

    /// Returns the time to judge dates by, in whole seconds.
    #[must_use]
    pub fn judging_time(&self, now: Reading) -> JudgingTime {
        let proved = self
            .proved
            .map(|proved| self.since_power_on(proved, now.uptime));
        let at = now
            .wall
            .max(self.floor(now.uptime))
            .max(proved.unwrap_or(Timestamp::MIN));
        JudgingTime::new(whole_seconds(at), self.state)
    }

    /// Keeps what signatures have proved while dates were judged by `judged`, for all later judging times.
    pub fn keep(&mut self, judged: &JudgingTime, uptime: SignedDuration) {
        let at_power_on = judged
            .proved()
            .map(|created| plus(created, -self.elapsed(uptime)));
        self.proved = self.proved.max(at_power_on);
    }

    /// Returns what the console says of it.
    #[must_use]
    pub fn describe(&self, now: Reading) -> String {
        let (build, said) = (self.build, whole_seconds(self.power_on.wall));
        let why = match self.state {
            ClockState::Set => String::new(),
            ClockState::Unset if said < build => {
                format!(", before this loader was built at {build},")
            }
            ClockState::Unset => format!(
                ", more than five years after this loader was built at {build} (if it is wrong, set the machine's \
                 real-time clock),"
            ),
        };
        format!(
            "the clock said {said} at power-on{why} and counts as {}; the floor is {}; dates are judged at {}",
            self.state,
            whole_seconds(self.floor(now.uptime)),
            self.judging_time(now).at(),
        )
    }

    /// Returns the time that it is after `uptime`, if it was `then` at power-on.
    fn since_power_on(&self, then: Timestamp, uptime: SignedDuration) -> Timestamp {
        plus(then, self.elapsed(uptime))
    }

    fn elapsed(&self, uptime: SignedDuration) -> SignedDuration {
        uptime
            .saturating_sub(self.power_on.uptime)
            .max(SignedDuration::ZERO)
    }
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

/// Moves the system clock forward to `clock`'s floor if it reads less.
///
/// # Errors
///
/// The errno of clock_settime(2).
pub fn raise(clock: &Clock) -> io::Result<()> {
    let now = Reading::now();
    let floor = clock.floor(now.uptime);
    if now.wall < floor { set(floor) } else { Ok(()) }
}

/// Moves the system clock by `step`.
///
/// # Errors
///
/// The errno of clock_settime(2).
pub fn step_by(step: SignedDuration) -> io::Result<()> {
    let to = Timestamp::now().saturating_add(step);
    set(to.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?)
}

fn set(to: Timestamp) -> io::Result<()> {
    let to = TimeSpec::new(to.as_second(), to.subsec_nanosecond().into());
    clock_settime(ClockId::CLOCK_REALTIME, to)?;
    Ok(())
}

/// Returns what the system clock says, in whole seconds.
#[must_use]
pub fn now() -> Timestamp {
    whole_seconds(Timestamp::now())
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn plus(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.saturating_add(span).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: &str = "2026-11-01T00:00:00Z";

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A clock that reads `wall` at power-on, two seconds after the kernel started.
    fn clock(wall: &str) -> (Clock, Reading) {
        let reading = Reading {
            wall: time(wall),
            uptime: SignedDuration::from_secs(2),
        };
        (Clock::at_power_on(reading, time(BUILD)), reading)
    }

    fn later(reading: Reading, seconds: i64) -> Reading {
        let span = SignedDuration::from_secs(seconds);
        Reading {
            wall: reading.wall + span,
            uptime: reading.uptime + span,
        }
    }

    #[test]
    fn a_clock_is_set_from_the_build_to_five_years_after_it() {
        for (wall, state, floor) in [
            ("1970-01-01T00:00:05Z", ClockState::Unset, BUILD),
            ("2026-10-31T23:59:59Z", ClockState::Unset, BUILD),
            (BUILD, ClockState::Set, BUILD),
            (
                "2031-10-31T00:00:00Z",
                ClockState::Set,
                "2031-10-31T00:00:00Z",
            ),
            ("2031-10-31T00:00:01Z", ClockState::Unset, BUILD),
            ("2050-01-01T00:00:00Z", ClockState::Unset, BUILD),
        ] {
            let (clock, reading) = clock(wall);
            assert_eq!(clock.state(), state, "{wall}");
            assert_eq!(clock.floor(reading.uptime), time(floor), "{wall}");
            let span = SignedDuration::from_mins(5);
            assert_eq!(
                clock.floor(reading.uptime + span),
                time(floor) + span,
                "{wall}"
            );
        }
    }

    #[test]
    fn dates_are_judged_by_the_clock_but_never_before_the_floor() {
        for (wall, judged) in [
            ("2026-11-20T00:00:00.9Z", "2026-11-20T00:00:00Z"),
            ("1970-01-01T00:00:00Z", BUILD),
            ("2050-01-01T00:00:00Z", "2050-01-01T00:00:00Z"),
        ] {
            let (clock, reading) = clock(wall);
            assert_eq!(clock.judging_time(reading).at(), time(judged));
            let back = Reading {
                wall: Timestamp::UNIX_EPOCH,
                ..reading
            };
            let floor = clock.floor(reading.uptime);
            assert_eq!(
                clock.judging_time(back).at(),
                whole_seconds(floor),
                "{wall}"
            );
        }
    }

    #[test]
    fn a_proof_outlives_the_attempt_and_grows_with_the_time() {
        let (mut unset, reading) = clock("1970-01-01T00:00:00Z");
        let created = time("2027-05-01T00:00:00Z");
        let proof = later(reading, 30);
        let mut judged = unset.judging_time(proof);
        judged.prove(created);
        unset.keep(&judged, proof.uptime);
        assert_eq!(unset.judging_time(proof).at(), created);
        let next = later(proof, 100);
        assert_eq!(
            unset.judging_time(next).at(),
            created + SignedDuration::from_secs(100)
        );
        // An older one takes nothing back.
        let mut judged = unset.judging_time(next);
        judged.prove(time("2027-01-01T00:00:00Z"));
        unset.keep(&judged, next.uptime);
        assert_eq!(
            unset.judging_time(next).at(),
            created + SignedDuration::from_secs(100)
        );
        // Signed dates never move the clock's floor.
        assert_eq!(unset.floor(reading.uptime), time(BUILD));
    }

    #[test]
    fn an_answer_of_a_time_server_is_no_proof() {
        let (mut unset, reading) = clock("1970-01-01T00:00:00Z");
        let moved = Reading {
            wall: time("2033-01-01T00:00:00Z"),
            ..reading
        };
        let mut judged = unset.judging_time(moved);
        judged.prove(time("2027-01-01T00:00:00Z"));
        unset.keep(&judged, moved.uptime);
        assert_eq!(
            unset.judging_time(reading).at(),
            time("2027-01-01T00:00:00Z")
        );
    }

    #[test]
    fn the_console_says_what_the_clock_said_and_what_counts() {
        for (wall, said) in [
            (
                "2026-11-20T00:00:00Z",
                "the clock said 2026-11-20T00:00:00Z at power-on and counts as set; the floor is \
                 2026-11-20T00:00:00Z; dates are judged at 2026-11-20T00:00:00Z",
            ),
            (
                "1970-01-01T00:00:00Z",
                "the clock said 1970-01-01T00:00:00Z at power-on, before this loader was built at \
                 2026-11-01T00:00:00Z, and counts as unset; the floor is 2026-11-01T00:00:00Z; dates are \
                 judged at 2026-11-01T00:00:00Z",
            ),
            (
                "2050-01-01T00:00:00Z",
                "the clock said 2050-01-01T00:00:00Z at power-on, more than five years after this loader \
                 was built at 2026-11-01T00:00:00Z (if it is wrong, set the machine's real-time clock), and counts as unset; the floor is \
                 2026-11-01T00:00:00Z; dates are judged at 2050-01-01T00:00:00Z",
            ),
        ] {
            let (clock, reading) = clock(wall);
            assert_eq!(clock.describe(reading), said);
        }
    }

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
