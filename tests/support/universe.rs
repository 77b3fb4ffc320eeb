//! Random universes, each a function of its seed, that are played against a model.

use std::fmt::Debug;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::noise::Noise;

/// The variable of the environment that names the seed of the one universe to play.
const ONE: &str = "SEALBOOT_UNIVERSE";

/// Plays the universes of these seeds, or the one that the environment names. One that panics is shown with its seed.
pub fn play_each<U: Debug>(seeds: Range<u64>, of: impl Fn(u64) -> U, mut play: impl FnMut(&U)) {
    let one = std::env::var(ONE).ok().map(|seed| {
        let seed: u64 = seed.parse().expect("a number in SEALBOOT_UNIVERSE");
        seed..seed + 1
    });
    for seed in one.unwrap_or(seeds) {
        let universe = of(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(&universe))) {
            eprintln!("{universe:#?}\n{ONE}={seed} plays this universe alone");
            resume_unwind(panic);
        }
    }
}

/// The random numbers of a universe.
#[derive(Debug)]
pub struct Random(Noise);

impl Random {
    /// Returns the random numbers of a seed.
    pub fn of(seed: u64) -> Self {
        Self(Noise::new(seed))
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }

    /// Returns `true` once in `count` times.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Returns one of these.
    pub fn some<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())].clone()
    }

    /// Returns up to `most` of these, in any order.
    pub fn several<T: Clone>(&mut self, most: u64, of: &[T]) -> Vec<T> {
        let mut left = of.to_vec();
        let mut taken = Vec::new();
        for _ in 0..self.below(most + 1).min(of.len() as u64) {
            let at = self.index(left.len());
            taken.push(left.swap_remove(at));
        }
        taken
    }

    /// Returns the index of one of so many.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }
}
