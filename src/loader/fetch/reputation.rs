//! What mirrors have done since this loader began to run.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::schedule::Patience;
use crate::jitter;
use sealboot_core::format::host_config::{MirrorTemplate, MirrorUrl};

/// What is remembered of mirrors from one attempt to the next.
///
/// A mirror that sent a chunk which was not as signed is not asked for anything again, as long as there is
/// another. Where all have lied, all are asked again: their stores may have been mended meanwhile, and a
/// machine that asks nobody never comes up. One that asked to be left alone is, while there is another.
#[derive(Debug, Clone, Default)]
pub struct Reputation {
    liars: Vec<MirrorUrl>,
    busy: Vec<(MirrorUrl, Instant)>,
    /// Those that may be asked in this attempt.
    left: Vec<MirrorUrl>,
}

impl Reputation {
    /// Remembers mirrors that have lied.
    pub fn add(&mut self, liars: impl IntoIterator<Item = MirrorUrl>) {
        for liar in liars {
            if !self.liars.contains(&liar) {
                self.liars.push(liar);
            }
        }
    }

    /// Returns `true` for a mirror that has lied.
    #[must_use]
    pub fn has_lied(&self, mirror: &MirrorUrl) -> bool {
        self.liars.contains(mirror)
    }

    /// Remembers that a mirror asked at `now` to be left alone for so long. It is believed up to five minutes; and
    /// machines that were told the same do not come back together.
    pub fn add_busy(&mut self, mirror: &MirrorUrl, time: Duration, now: Instant) {
        let time = time.min(Patience::DEFAULT.longest_retry_after);
        let until = now + jitter::lengthened(time, jitter::random());
        self.busy.retain(|(busy, _)| busy != mirror);
        self.busy.push((mirror.clone(), until));
    }

    /// Those of `mirrors`, whose URLs may not be known yet, that are worth reaching: on a host of which no liar is known;
    /// all where there is none.
    #[must_use]
    pub fn worth_reaching(&self, mirrors: &[MirrorTemplate]) -> Vec<MirrorTemplate> {
        let lies = |mirror: &MirrorTemplate| {
            let origin = mirror.origin().origin();
            self.liars.iter().any(|liar| liar.url().origin() == origin)
        };
        let mut worth = mirrors.to_vec();
        worth.retain(|mirror| !lies(mirror));
        match worth.is_empty() {
            true => mirrors.to_vec(),
            false => worth,
        }
    }

    /// Leaves those of `mirrors` that may be asked, in their order and each once.
    pub fn sift(&mut self, mirrors: &mut Vec<MirrorUrl>) {
        let mut distinct = Vec::new();
        for mirror in mirrors.drain(..) {
            if !distinct.contains(&mirror) {
                distinct.push(mirror);
            }
        }
        *mirrors = distinct;
        if mirrors.iter().all(|mirror| self.liars.contains(mirror)) {
            if !self.liars.is_empty() {
                warn!("every mirror has sent data that was not signed; all are asked again");
            }
            self.liars.clear();
        }
        mirrors.retain(|mirror| !self.liars.contains(mirror));
        self.left.clone_from(mirrors);
    }

    /// Those of `mirrors` that have not asked to be left alone at `now`, in their order; all where all have.
    #[must_use]
    pub fn not_resting(&self, mirrors: &[MirrorUrl], now: Instant) -> Vec<MirrorUrl> {
        let rest = |mirror: &&MirrorUrl| self.rest(mirror, now).is_some();
        let (resting, others): (Vec<&MirrorUrl>, Vec<&MirrorUrl>) = mirrors.iter().partition(rest);
        if others.is_empty() {
            return mirrors.to_vec();
        }
        for mirror in resting {
            let seconds = self.rest(mirror, now).unwrap_or_default().as_secs_f64();
            info!("{mirror} is left alone, as it asked, for {seconds:.0} s more");
        }
        others.into_iter().cloned().collect()
    }

    /// How long it is from `now` until one of the mirrors may be asked, where all asked to be left alone.
    #[must_use]
    pub fn all_rest(&self, now: Instant) -> Option<Duration> {
        let rests = self.left.iter().map(|mirror| self.rest(mirror, now));
        rests.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    fn rest(&self, mirror: &MirrorUrl, now: Instant) -> Option<Duration> {
        let mut busy = self.busy.iter();
        let (_, until) = busy.find(|(busy, _)| busy == mirror)?;
        (*until > now).then(|| *until - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<MirrorUrl> {
        ["https://a/", "https://b/"]
            .map(|url| url.parse().unwrap())
            .into()
    }

    #[test]
    fn a_liar_is_left_out_until_all_have_lied() {
        let all = two();
        let mut reputation = Reputation::default();
        let left = |reputation: &mut Reputation| {
            let mut mirrors = all.clone();
            reputation.sift(&mut mirrors);
            mirrors
        };
        assert_eq!(left(&mut reputation), all);
        reputation.add([all[0].clone(), all[0].clone()]);
        assert_eq!(left(&mut reputation), all[1..]);
        assert_eq!(left(&mut reputation), all[1..]);
        reputation.add([all[1].clone()]);
        assert_eq!(left(&mut reputation), all);
        assert_eq!(left(&mut reputation), all);
    }

    #[test]
    fn a_liar_is_not_worth_reaching_while_there_is_another() {
        let mirrors: Vec<MirrorTemplate> = ["https://a/$mac/", "https://b/"]
            .map(|mirror| mirror.parse().unwrap())
            .into();
        let mut reputation = Reputation::default();
        assert_eq!(reputation.worth_reaching(&mirrors), mirrors);
        reputation.add(["https://a/52-54-00-00-00-01/".parse().unwrap()]);
        assert_eq!(reputation.worth_reaching(&mirrors), mirrors[1..]);
        assert_eq!(reputation.worth_reaching(&mirrors[..1]), mirrors[..1]);
    }

    #[test]
    fn a_mirror_that_is_named_twice_is_asked_once() {
        let mut mirrors = vec![
            "https://a/".parse().unwrap(),
            "https://A:443".parse().unwrap(),
        ];
        Reputation::default().sift(&mut mirrors);
        assert_eq!(mirrors.len(), 1);
    }

    #[test]
    fn a_busy_mirror_is_left_alone_whatever_its_place_and_holds_up_nobody_who_is_not() {
        let all = two();
        let now = Instant::now();
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        for busy in 0..2 {
            let mut reputation = Reputation::default();
            reputation.sift(&mut all.clone());
            reputation.add_busy(&all[busy], minute, now);
            assert_eq!(reputation.not_resting(&all, now), [all[1 - busy].clone()]);
            assert_eq!(reputation.all_rest(now), None);
            // A day is believed for five minutes, and an eighth more.
            reputation.add_busy(&all[1 - busy], minute * 60 * 24, now);
            assert_eq!(reputation.not_resting(&all, now), all);
            let rest = reputation.all_rest(now).unwrap();
            assert!((minute..=minute * 9 / 8).contains(&rest), "{rest:?}");
            assert_eq!(
                reputation.not_resting(&all, now + rest),
                [all[busy].clone()]
            );
            assert_eq!(reputation.all_rest(now + minute * 6), None);
            reputation.add_busy(&all[busy], second, now);
            assert!(reputation.all_rest(now).unwrap() < second * 2);
        }
    }
}
