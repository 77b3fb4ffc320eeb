//! Waits that differ from machine to machine, so that a fleet that lost power together does not come
//! back together.

use std::time::Duration;

/// `wait`, shortened by up to half: by none of it at a `jitter` of 0, by half at 1.
#[must_use]
pub fn shortened(wait: Duration, jitter: f64) -> Duration {
    wait.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

/// `wait`, lengthened by up to an eighth: for waits that somebody has asked for, and many at once.
#[must_use]
pub fn lengthened(wait: Duration, jitter: f64) -> Duration {
    wait.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 8.0)
}

/// A random number of at least 0 and below 1.
#[must_use]
pub fn random() -> f64 {
    f64::from(u32::from_le_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}

/// A random number to begin a series with.
#[must_use]
pub fn seed() -> u64 {
    u64::from_le_bytes(bytes())
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without random numbers TLS would not work either; until then, all machines wait the same.
    let _ = crate::net::provider::tls_provider()
        .secure_random
        .fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_keeps_at_least_its_half() {
        let wait = Duration::from_secs(2);
        assert_eq!(shortened(wait, 0.0), wait);
        assert_eq!(shortened(wait, 0.5), Duration::from_millis(1500));
        assert_eq!(shortened(wait, 1.0), Duration::from_secs(1));
    }

    #[test]
    fn a_wait_that_was_asked_for_is_never_shorter() {
        let wait = Duration::from_secs(8);
        assert_eq!(lengthened(wait, 0.0), wait);
        assert_eq!(lengthened(wait, 0.5), Duration::from_millis(8500));
        assert_eq!(lengthened(wait, 1.0), Duration::from_secs(9));
    }

    #[test]
    fn random_numbers_differ_and_stay_in_range() {
        let numbers: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(numbers.iter().any(|number| *number != numbers[0]));
    }
}
