//! What a download says of itself while it goes on.
//!
//! A serial line at 9,600 baud carries a line of a hundred characters in a tenth of a second, and a log
//! keeps every one. So there is a line after two seconds, and then ever more seldom, up to one in ten.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// The first pause between two lines; it grows by a half each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause: who looks at a console should not have to wait long to see that it lives.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The state of a download, as far as it was said.
#[derive(Debug)]
pub(super) struct Progress {
    size: u64,
    next: Instant,
    pause: Duration,
    /// When the last line was said, and how many bytes had been received by then.
    last: (Instant, u64),
}

impl Progress {
    /// Of an archive of `size` bytes.
    pub(super) fn new(size: u64, now: Instant) -> Self {
        Self {
            size,
            next: now + FIRST_PAUSE,
            pause: FIRST_PAUSE,
            last: (now, 0),
        }
    }

    /// When there is something to say next.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// The line that is due, if one is: what is checked, the speed of late, from where, and what remains.
    pub(super) fn line(
        &mut self,
        checked: u64,
        received: u64,
        mirrors: &[String],
        now: Instant,
    ) -> Option<String> {
        if now < self.next {
            return None;
        }
        let seconds = now.saturating_duration_since(self.last.0).as_secs_f64();
        let speed = (received - self.last.1) as f64 / seconds.max(f64::MIN_POSITIVE);
        self.last = (now, received);
        self.pause = self.pause.mul_f64(1.5).min(LONGEST_PAUSE);
        self.next = now + self.pause;
        let percent = checked * 100 / self.size.max(1);
        let mut line = format!(
            "{} of {} MB ({percent} %), {:.1} MB/s",
            checked / 1_000_000,
            self.size / 1_000_000,
            speed / 1e6
        );
        // Writing to a string cannot fail.
        let _ = match mirrors {
            [] => write!(line, ", no mirror is sending"),
            mirrors => write!(line, " from {}", mirrors.join(" and ")),
        };
        let left = (self.size - checked) as f64 / speed;
        if left.is_finite() && left < 86_400.0 {
            let _ = write!(line, ", {left:.0} s left");
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_how_fast_from_where_and_how_long() {
        let start = Instant::now();
        let mut progress = Progress::new(178_257_920, start);
        let mirrors = [
            "https://boot.example/".to_owned(),
            "https://boot2.example/".to_owned(),
        ];
        let after = start + Duration::from_secs(2);
        assert_eq!(progress.line(0, 0, &mirrors, start), None);
        assert_eq!(
            progress
                .line(62_000_000, 64_000_000, &mirrors, after)
                .unwrap(),
            "62 of 178 MB (34 %), 32.0 MB/s from https://boot.example/ and https://boot2.example/, 4 s left"
        );
        assert_eq!(
            progress
                .line(62_000_000, 64_000_000, &[], after + Duration::from_secs(3))
                .unwrap(),
            "62 of 178 MB (34 %), 0.0 MB/s, no mirror is sending"
        );
    }

    #[test]
    fn there_is_never_more_than_one_line_a_second_nor_less_than_one_in_ten() {
        let start = Instant::now();
        let mut progress = Progress::new(1 << 40, start);
        let mut said = vec![start];
        for tick in 0..6_000 {
            let now = start + Duration::from_millis(100) * tick;
            if progress
                .line(1 << 20, u64::from(tick) << 20, &[], now)
                .is_some()
            {
                said.push(now);
            }
        }
        let pauses = said.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(pauses.clone().all(|pause| pause >= Duration::from_secs(1)));
        assert!(
            pauses
                .clone()
                .all(|pause| pause <= Duration::from_millis(10_100))
        );
        assert!((60..70).contains(&pauses.count()), "{}", said.len());
    }
}
