//! What time others say it is (SNTP, RFC 5905, section 14): asked briefly, judged, and told to the clock.
//!
//! These answers are not signed, so they decide little. They put the clock anywhere from its floor to twenty years after
//! the loader's build, and never before the floor: an attacker on the way could else make an expired image or
//! certificate look fresh. So of a clock that was set at power-on they can take back nothing but what
//! earlier answers have added. Of several servers the middle one is believed. Without an answer, dates are judged
//! by the clock as it is.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rsntp::{AsyncSntpClient, Config};
use tokio::task::JoinSet;

use super::clock::{Clock, Reading};
use super::resolver::Resolver;
use sealboot_core::format::host_config::TimeServer;
use sealboot_core::trust::ClockState;

/// How long all servers together may take. An answer takes a round trip; a boot that has none goes on.
const LIMIT: Duration = Duration::from_secs(3);
/// A clock that is no farther off is left alone: dates are judged to the second, and policies allow minutes.
const CLOSE: SignedDuration = SignedDuration::from_secs(2);
/// Two servers that are farther apart than this are not both right.
const APART: SignedDuration = SignedDuration::from_secs(60);

/// What is to be done with the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody answered in time.
    Silence {
        /// How many were asked.
        asked: usize,
    },
    /// The clock is right.
    Right(Answers),
    /// It is to be moved by so much.
    Step(SignedDuration, Answers),
    /// The answers are not believed.
    Unbelievable {
        /// Where the clock would have stood.
        then: Timestamp,
        /// Why not.
        why: &'static str,
        /// The answers.
        answers: Answers,
    },
}

/// The answers that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// How many servers answered.
    pub count: usize,
    /// How far the earliest and the latest of them are apart.
    pub spread: SignedDuration,
}

/// Judges by how much servers say that `clock`, which says `now`, is behind.
#[must_use]
pub fn judge(
    mut behind: Vec<SignedDuration>,
    asked: usize,
    clock: &Clock,
    now: Reading,
) -> Verdict {
    behind.sort();
    let (Some(first), Some(last)) = (behind.first(), behind.last()) else {
        return Verdict::Silence { asked };
    };
    let answers = Answers {
        count: behind.len(),
        spread: last.saturating_sub(*first),
    };
    let step = behind[behind.len() / 2];
    let then = now.wall.saturating_add(step).unwrap_or(now.wall);
    let floor = clock.floor(now.uptime);
    let to_floor = floor.duration_since(now.wall);
    let unbelievable = |why| Verdict::Unbelievable { then, why, answers };
    if behind.len() == 2 && answers.spread > APART {
        // There is no middle one.
        unbelievable("two servers disagree, and there is no third")
    } else if step.abs() <= CLOSE {
        Verdict::Right(answers)
    } else if then > clock.latest() {
        unbelievable("that is more than 20 years after this loader was built")
    } else if then >= floor {
        Verdict::Step(step, answers)
    } else if clock.state() == ClockState::Unset {
        unbelievable("that is before this loader was built")
    } else if to_floor < -CLOSE {
        // An earlier answer has put a clock ahead that was fast at power-on.
        Verdict::Step(to_floor, answers)
    } else {
        unbelievable("that is before what the clock said at power-on")
    }
}

/// Asks `servers`, three seconds at most, and judges what they say.
pub async fn ask(servers: &[TimeServer], resolver: &Resolver, clock: &Clock) -> Verdict {
    let mut asking = JoinSet::new();
    for server in servers {
        asking.spawn(offset(server.clone(), resolver.clone()));
    }
    let mut behind = Vec::new();
    let all = async {
        while let Some(ended) = asking.join_next().await {
            match ended {
                Ok(offset) => behind.extend(offset),
                Err(ended) => std::panic::resume_unwind(ended.into_panic()),
            }
        }
    };
    // Whoever is late is not waited for; what the others said counts.
    let _ = tokio::time::timeout(LIMIT, all).await;
    judge(behind, servers.len(), clock, Reading::now())
}

async fn offset(server: TimeServer, resolver: Resolver) -> Option<SignedDuration> {
    let address = match &server {
        TimeServer::Address(address) => *address,
        TimeServer::Name(name, port) => match resolver.lookup(name.as_str()).await {
            Ok(found) => SocketAddr::new(*found.first()?, *port),
            Err(error) => {
                tracing::debug!(%error, "a time server has no address");
                return None;
            }
        },
    };
    let any: SocketAddr = if address.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0; 16], 0).into()
    };
    let config = Config::default().bind_address(any).timeout(LIMIT);
    match AsyncSntpClient::with_config(config)
        .synchronize(address)
        .await
    {
        Ok(answer) => SignedDuration::try_from_secs_f64(answer.clock_offset().as_secs_f64()).ok(),
        Err(error) => {
            tracing::debug!(%server, %error, "a time server");
            None
        }
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => f.write_str("1 time server"),
            count => write!(
                f,
                "{count} time servers, {:.3} s apart",
                self.spread.as_secs_f64()
            ),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence { asked } => {
                write!(
                    f,
                    "no time server answered, of {asked}; the clock stays as it is"
                )
            }
            Self::Right(answers) => write!(f, "the clock is right, by {answers}"),
            Self::Step(step, answers) => {
                let way = if step.is_negative() {
                    "back"
                } else {
                    "forward"
                };
                write!(
                    f,
                    "the clock was set {way} by {:#}, by {answers}",
                    step.abs()
                )
            }
            Self::Unbelievable { then, why, answers } => {
                let then = then.round(jiff::Unit::Second).unwrap_or(*then);
                write!(
                    f,
                    "{answers} say that it is {then}, which is not believed: {why}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: &str = "2026-11-01T00:00:00Z";
    const SET: &str = "2026-11-20T00:00:00Z";
    const AHEAD: &str = "2050-01-01T00:00:00Z";
    const DAY: i64 = 86_400;
    const YEAR: i64 = 365 * DAY;

    fn seconds(count: i64) -> SignedDuration {
        SignedDuration::from_secs(count)
    }

    /// A machine whose clock read this at power-on, one second after its kernel started.
    fn machine(wall: &str) -> (Clock, Reading) {
        let power_on = Reading {
            wall: wall.parse().unwrap(),
            uptime: seconds(1),
        };
        let clock = Clock::at_power_on(power_on, BUILD.parse().unwrap());
        (clock, power_on)
    }

    /// Judges the answers of four servers at power-on.
    fn judged(wall: &str, behind: &[i64]) -> Verdict {
        let (clock, now) = machine(wall);
        let behind = behind.iter().copied().map(seconds).collect();
        judge(behind, 4, &clock, now)
    }

    /// Applies one answer.
    fn after(behind: SignedDuration, clock: &Clock, now: Reading) -> Reading {
        match judge(vec![behind], 1, clock, now) {
            Verdict::Step(step, _) => Reading {
                wall: now.wall + step,
                ..now
            },
            _ => now,
        }
    }

    #[test]
    fn a_clock_is_moved_forward_by_the_middle_of_the_answers() {
        for (behind, step, count, spread) in [
            (&[100][..], 100, 1, 0),
            (&[100, 110], 110, 2, 10),
            (&[DAY, 100, 104], 104, 3, DAY - 100),
            (&[100, -DAY, 104], 100, 3, DAY + 104),
            (&[3], 3, 1, 0),
        ] {
            let answers = Answers {
                count,
                spread: seconds(spread),
            };
            let verdict = judged(SET, behind);
            assert_eq!(verdict, Verdict::Step(seconds(step), answers), "{behind:?}");
        }
    }

    #[test]
    fn a_clock_that_is_right_is_left_alone() {
        for behind in [&[0][..], &[2], &[-2], &[-1, 1], &[0, DAY, -DAY]] {
            let verdict = judged(SET, behind);
            assert!(
                matches!(verdict, Verdict::Right(_)),
                "{behind:?}: {verdict}"
            );
        }
        assert_eq!(judged(BUILD, &[]), Verdict::Silence { asked: 4 });
    }

    #[test]
    fn no_answer_takes_a_clock_before_its_floor_or_beyond_20_years() {
        let (early, late) = ("before this loader was built", "more than 20 years after");
        let set = "before what the clock said at power-on";
        for (wall, behind, why) in [
            (SET, &[-3][..], set),
            (SET, &[-DAY, -DAY, 5], set),
            (SET, &[-30 * DAY], set),
            (SET, &[20 * YEAR], late),
            (AHEAD, &[-40 * YEAR], early),
            (AHEAD, &[5], late),
            (SET, &[0, 100], "disagree"),
        ] {
            let verdict = judged(wall, behind).to_string();
            assert!(verdict.contains(why), "{wall} {behind:?}: {verdict}");
        }
    }

    #[test]
    fn an_unset_clock_is_taken_back_to_after_the_build() {
        let back = -23 * YEAR;
        let verdict = judged(AHEAD, &[back]);
        assert!(
            matches!(verdict, Verdict::Step(step, _) if step.as_secs() == back),
            "{verdict}"
        );
        assert!(
            verdict.to_string().starts_with("the clock was set back by"),
            "{verdict}"
        );
    }

    #[test]
    fn two_lies_of_a_time_server_never_take_a_set_clock_back() {
        let (clock, power_on) = machine(SET);
        let build: Timestamp = BUILD.parse().unwrap();
        let now = after(seconds(6 * YEAR), &clock, power_on);
        assert_eq!(now.wall, power_on.wall + seconds(6 * YEAR));
        for lie in [build + seconds(3600), build, power_on.wall - seconds(3)] {
            let then = after(lie.duration_since(now.wall), &clock, now);
            assert_eq!(then.wall, power_on.wall, "the answer was {lie}");
        }
    }

    #[test]
    fn a_forward_lie_is_taken_back_by_the_next_answer() {
        let (clock, power_on) = machine(SET);
        let now = after(seconds(6 * YEAR), &clock, power_on);
        let later = Reading {
            wall: now.wall + seconds(60),
            uptime: now.uptime + seconds(60),
        };
        // To the second, where the clock was slow at power-on.
        let right = after(seconds(10 - 6 * YEAR), &clock, later);
        assert_eq!(right.wall, power_on.wall + seconds(70));
        // To the floor, where it was fast.
        let floor = after(seconds(-10 - 6 * YEAR), &clock, later);
        assert_eq!(floor.wall, power_on.wall + seconds(60));
    }

    #[test]
    fn an_absurd_answer_does_not_leave_the_calendar() {
        for behind in [i64::MAX, i64::MIN] {
            for wall in [SET, AHEAD] {
                let verdict = judged(wall, &[behind, behind]);
                assert!(matches!(verdict, Verdict::Unbelievable { .. }), "{verdict}");
            }
        }
    }
}
