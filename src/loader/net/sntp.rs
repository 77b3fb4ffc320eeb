//! What time others say it is (SNTP, RFC 5905, section 14): asked briefly, judged, and told to the clock.
//!
//! Nobody signs these answers, so they decide little. None takes the clock behind the loader's build, and none takes it
//! back at all, except where it stands years ahead of the build and is more likely wrong than the loader old: whoever
//! stands on the way could else make an expired image or certificate look fresh. Of several servers the middle one is
//! believed. No answer is no failure: dates are then judged by the clock as it is.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rsntp::{AsyncSntpClient, Config};
use tokio::task::JoinSet;

use super::clock;
use super::resolver::Resolver;
use sealboot_core::format::host_config::TimeServer;

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

/// Judges by how much servers say that the clock, which says `now`, is behind; `floor` is when the loader was built.
#[must_use]
pub fn judge(
    mut behind: Vec<SignedDuration>,
    asked: usize,
    now: Timestamp,
    floor: Timestamp,
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
    let then = now.saturating_add(step).unwrap_or(now);
    let unbelievable = |why| Verdict::Unbelievable { then, why, answers };
    if behind.len() == 2 && answers.spread > APART {
        // There is no middle one.
        unbelievable("two servers disagree, and there is no third")
    } else if step.abs() <= CLOSE {
        Verdict::Right(answers)
    } else if then < floor {
        unbelievable("that is before this loader was built")
    } else if step.is_negative() && !clock::is_far_ahead(now, floor) {
        unbelievable("a clock is not taken back")
    } else {
        Verdict::Step(step, answers)
    }
}

/// Asks `servers`, three seconds at most, and judges what they say.
pub async fn ask(servers: &[TimeServer], resolver: &Resolver, floor: Timestamp) -> Verdict {
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
    judge(behind, servers.len(), Timestamp::now(), floor)
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

    const FLOOR: &str = "2026-11-01T00:00:00Z";

    fn judged(now: &str, behind: &[i64]) -> Verdict {
        let behind = behind
            .iter()
            .copied()
            .map(SignedDuration::from_secs)
            .collect();
        judge(behind, 4, now.parse().unwrap(), FLOOR.parse().unwrap())
    }

    const DAY: i64 = 86_400;

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
                spread: SignedDuration::from_secs(spread),
            };
            let step = SignedDuration::from_secs(step);
            let verdict = judged("2026-11-20T00:00:00Z", behind);
            assert_eq!(verdict, Verdict::Step(step, answers), "{behind:?}");
        }
    }

    #[test]
    fn a_clock_that_is_right_is_left_alone() {
        for behind in [&[0][..], &[2], &[-2], &[-1, 1], &[0, DAY, -DAY]] {
            let verdict = judged("2026-11-20T00:00:00Z", behind);
            assert!(
                matches!(verdict, Verdict::Right(_)),
                "{behind:?}: {verdict}"
            );
        }
        assert_eq!(judged(FLOOR, &[]), Verdict::Silence { asked: 4 });
    }

    #[test]
    fn nobody_takes_the_clock_back_or_behind_the_build() {
        for (now, behind, why) in [
            ("2026-11-20T00:00:00Z", &[-3][..], "not taken back"),
            ("2026-11-20T00:00:00Z", &[-DAY, -DAY, 5], "not taken back"),
            (
                "2026-11-20T00:00:00Z",
                &[-30 * DAY],
                "before this loader was built",
            ),
            // Even where the clock is beyond belief.
            (
                "2050-01-01T00:00:00Z",
                &[-40 * 365 * DAY],
                "before this loader was built",
            ),
            ("2026-11-20T00:00:00Z", &[0, 100], "disagree"),
        ] {
            let verdict = judged(now, behind).to_string();
            assert!(verdict.contains(why), "{behind:?}: {verdict}");
        }
    }

    #[test]
    fn a_clock_that_is_beyond_belief_is_taken_back_to_after_the_build() {
        let back = -23 * 365 * DAY;
        let verdict = judged("2050-01-01T00:00:00Z", &[back]);
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
        let power_on: Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
        let floor: Timestamp = FLOOR.parse().unwrap();
        let after =
            |behind: SignedDuration, now: Timestamp| match judge(vec![behind], 1, now, floor) {
                Verdict::Step(step, _) => now.saturating_add(step).unwrap(),
                _ => now,
            };
        let now = after(SignedDuration::from_secs(6 * 365 * DAY), power_on);
        for lie in [
            floor + SignedDuration::from_hours(1),
            floor,
            power_on - SignedDuration::from_secs(3),
        ] {
            let then = after(lie.duration_since(now), now);
            assert!(then >= power_on, "the clock says {then}");
        }
    }

    #[test]
    fn an_absurd_answer_does_not_leave_the_calendar() {
        for behind in [i64::MAX, i64::MIN] {
            let _ = judged("2026-11-20T00:00:00Z", &[behind, behind]).to_string();
        }
    }
}
