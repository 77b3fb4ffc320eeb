//! Points and spans of time as they are typed: `30d`, `12h`, `90m`, `2026-12-21T12:00:00Z`.

use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use super::Failure;
use sealboot_core::format::Invalid;
use sealboot_core::trust::policy::{RETRY_INITIAL_SECONDS, RETRY_MAX_SECONDS, STALL_SECONDS};

/// When something ends: after a while, or at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Expiry {
    /// This long after it was made.
    After(SignedDuration),
    /// At this moment.
    At(Timestamp),
}

/// A hundred years, the longest that a trust policy can allow, in minutes. Beyond it is a mistyped unit.
const LONGEST_MINUTES: i64 = 36_500 * 24 * 60;

impl Expiry {
    /// The moment of expiry of something made at `created`.
    ///
    /// # Errors
    ///
    /// Where that moment is not after `created`, or past the end of the calendar.
    pub(in crate::cli) fn of(self, created: Timestamp) -> Result<Timestamp, Invalid> {
        let expires = match self {
            Self::After(duration) => created
                .checked_add(duration)
                .map_err(|_| Invalid::new("expires", duration, "before the year 10000"))?,
            Self::At(moment) => moment,
        };
        if expires > created {
            Ok(expires)
        } else {
            Err(Invalid::new(
                "expires",
                expires,
                "after the moment at which the image is created",
            ))
        }
    }
}

impl FromStr for Expiry {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        spell(text)
            .map(Self::After)
            .or_else(|| text.parse().ok().map(Self::At))
            .ok_or_else(|| {
                Invalid::new(
                    "expires",
                    text,
                    "a span such as 30d, 12h or 90m of at most 36500d, or a time such as 2026-12-21T12:00:00Z",
                )
            })
    }
}

/// What time it is, in whole seconds: a refusal prints it beside times of a manifest.
pub(in crate::cli) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Returns the time at which something is created, or advice is given: SOURCE_DATE_EPOCH, or else now.
pub(in crate::cli) fn today() -> Result<Timestamp, Failure> {
    Ok(source_date_epoch()?.unwrap_or_else(now))
}

/// Reads the time that reproducible builds pretend it is.
///
/// <https://reproducible-builds.org/specs/source-date-epoch/>
pub(in crate::cli) fn source_date_epoch() -> Result<Option<Timestamp>, Failure> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return Ok(None);
    };
    value
        .to_str()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map(Some)
        .ok_or_else(|| {
            Failure::new(format!(
                "SOURCE_DATE_EPOCH is \"{}\", which is no number of seconds since 1970",
                value.display()
            ))
            .hint("unset it, or set it to what `date +%s` prints")
        })
}

/// A whole number of days, `90d`.
///
/// # Errors
///
/// For everything that is not 1 to 36500 and a `d`.
pub(in crate::cli) fn days(text: &str) -> Result<u32, Invalid> {
    text.strip_suffix('d')
        .and_then(digits)
        .and_then(|days| u32::try_from(days).ok())
        .filter(|days| (1..=36_500).contains(days))
        .ok_or_else(|| Invalid::new("days", text, "a number of days from 1d to 36500d"))
}

/// A whole number of hours or days, `72h` or `3d`, in hours.
///
/// # Errors
///
/// For everything that is not 1 hour to a year of 365 days.
pub(in crate::cli) fn hours(text: &str) -> Result<u32, Invalid> {
    let of = |suffix: char, unit: i64| digits(text.strip_suffix(suffix)?)?.checked_mul(unit);
    of('h', 1)
        .or_else(|| of('d', 24))
        .and_then(|hours| u32::try_from(hours).ok())
        .filter(|hours| (1..=8760).contains(hours))
        .ok_or_else(|| Invalid::new("hours", text, "a span from 1h to 8760h, such as 72h or 3d"))
}

/// How long a loader waits after its first failure, in seconds.
///
/// # Errors
///
/// For everything that is not 1 second to 1 hour, as far as a trust policy goes.
pub(in crate::cli) fn retry_initial(text: &str) -> Result<u32, Invalid> {
    seconds(text, RETRY_INITIAL_SECONDS)
        .ok_or_else(|| Invalid::new("wait", text, "a span from 1s to 1h, such as 2s or 5m"))
}

/// How long a loader waits at most, in seconds.
///
/// # Errors
///
/// For everything that is not 1 second to a day, as far as a trust policy goes.
pub(in crate::cli) fn retry_max(text: &str) -> Result<u32, Invalid> {
    seconds(text, RETRY_MAX_SECONDS)
        .ok_or_else(|| Invalid::new("wait", text, "a span from 1s to 1d, such as 60s, 5m or 1h"))
}

/// For how long nothing may happen, in seconds.
///
/// # Errors
///
/// For everything that is not 6 minutes to a day, as far as a trust policy goes.
pub(in crate::cli) fn stall(text: &str) -> Result<u32, Invalid> {
    seconds(text, STALL_SECONDS).ok_or_else(|| {
        Invalid::new(
            "stall",
            text,
            "a span from 6m to 1d, such as 10m or 1h: a mirror may ask for five minutes of rest",
        )
    })
}

/// How far clocks may differ, or how long a watchdog stays armed, in seconds; 0 is allowed.
///
/// # Errors
///
/// For everything that is not 0 seconds to a day.
pub(in crate::cli) fn up_to_a_day(text: &str) -> Result<u32, Invalid> {
    seconds(text, 0..=86_400)
        .ok_or_else(|| Invalid::new("span", text, "a span from 0s to 1d, such as 90s or 5m"))
}

/// A whole number of seconds, minutes, hours or days, `2s`, `5m`, `1h` or `1d`, in seconds.
fn seconds(text: &str, range: RangeInclusive<u32>) -> Option<u32> {
    let of = |suffix: char, unit: i64| Some(digits(text.strip_suffix(suffix)?)?.checked_mul(unit));
    of('s', 1)
        .or_else(|| of('m', 60))
        .or_else(|| of('h', 3600))
        .or_else(|| of('d', 86_400))
        .flatten()
        .and_then(|seconds| u32::try_from(seconds).ok())
        .filter(|seconds| range.contains(seconds))
}

/// A span, `24h`.
///
/// # Errors
///
/// For everything that is not 1 minute to 36500 days.
pub(in crate::cli) fn span(text: &str) -> Result<SignedDuration, Invalid> {
    spell(text).ok_or_else(|| {
        Invalid::new(
            "span",
            text,
            "a span from 1m to 36500d, such as 90m, 24h or 2d",
        )
    })
}

fn spell(text: &str) -> Option<SignedDuration> {
    let of = |suffix: char, unit: i64| digits(text.strip_suffix(suffix)?)?.checked_mul(unit);
    let minutes = of('d', 24 * 60)
        .or_else(|| of('h', 60))
        .or_else(|| of('m', 1))?;
    (1..=LONGEST_MINUTES)
        .contains(&minutes)
        .then(|| SignedDuration::from_mins(minutes))
}

/// Digits alone: `parse` would also take a sign.
fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_moments_are_read() {
        for (text, expected) in [
            ("30d", Expiry::After(SignedDuration::from_hours(30 * 24))),
            ("12h", Expiry::After(SignedDuration::from_hours(12))),
            ("90m", Expiry::After(SignedDuration::from_mins(90))),
            (
                "36500d",
                Expiry::After(SignedDuration::from_hours(36_500 * 24)),
            ),
            (
                "2026-12-21T12:00:00Z",
                Expiry::At("2026-12-21T12:00:00Z".parse().expect("a time")),
            ),
            (
                "2026-12-21T14:00:00+02:00",
                Expiry::At("2026-12-21T12:00:00Z".parse().expect("a time")),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(days("90d"), Ok(90));
        assert_eq!(retry_initial("2s"), Ok(2));
        assert_eq!(retry_initial("60m"), Ok(3600));
        assert_eq!(retry_max("5m"), Ok(300));
        assert_eq!(retry_max("24h"), Ok(86_400));
        assert_eq!(retry_max("1d"), Ok(86_400));
        assert_eq!(up_to_a_day("0s"), Ok(0));
        assert_eq!(up_to_a_day("1d"), Ok(86_400));
        assert_eq!(stall("6m"), Ok(360));
        assert_eq!(stall("1d"), Ok(86_400));
        assert_eq!(hours("72h"), Ok(72));
        assert_eq!(hours("365d"), Ok(8760));
    }

    #[test]
    fn what_is_no_span_and_no_moment_is_refused() {
        for bad in [
            "",
            "d",
            "30",
            "30 d",
            "+30d",
            "-30d",
            "0d",
            "0h",
            "36501d",
            "9223372036854775807d",
            "99999999999999999999d",
            "1.5d",
            "30D",
            "30s",
            "30d12h",
            "tomorrow",
            "2026-12-21",
            "2026-12-21T12:00:00",
            "2026-13-21T12:00:00Z",
        ] {
            assert!(bad.parse::<Expiry>().is_err(), "{bad:?}");
        }
        for bad in ["", "d", "0d", "90", "90h", "-1d", "+1d", "36501d"] {
            assert!(days(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "s", "0s", "2", "+2s", "25h", "2d", "86401s"] {
            assert!(retry_max(bad).is_err(), "{bad:?}");
        }
        for bad in ["0s", "3601s", "2h"] {
            assert!(retry_initial(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "0", "-1s", "25h"] {
            assert!(up_to_a_day(bad).is_err(), "{bad:?}");
        }
        for bad in ["5m", "359s", "25h"] {
            assert!(stall(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "h", "0h", "72", "90m", "+1h", "8761h", "366d"] {
            assert!(hours(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_expiry_counts_from_the_creation_and_lies_after_it() {
        let created: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
        let after = |text: &str| text.parse::<Expiry>().expect(text).of(created);
        assert_eq!(
            after("30d"),
            Ok("2026-12-21T12:00:00Z".parse().expect("a time"))
        );
        assert_eq!(
            after("2026-11-21T12:00:01Z"),
            Ok("2026-11-21T12:00:01Z".parse().expect("a time"))
        );
        assert!(after("2026-11-21T12:00:00Z").is_err());
        assert!(after("2020-01-01T00:00:00Z").is_err());
        assert!(Expiry::After(SignedDuration::MAX).of(created).is_err());
    }
}
