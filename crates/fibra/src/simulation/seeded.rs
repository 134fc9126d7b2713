//! Choices from a seed.
//!
//! Bugs differ in what brings them out. Some need any old mixture; others need one coroutine to be overtaken again and again, which an even choice among many hardly ever
//! does. So the seed also chooses a habit: most of the time such a schedule takes the eldest, or the youngest, of those that can run.

use crate::scheduler::run_queue::Schedule;
use std::sync::atomic::{AtomicU64, Ordering};

/// A schedule that a seed determines.
pub(super) struct Seeded {
    habit: Habit,
    /// The generator's state. Only the worker's thread asks.
    state: AtomicU64,
}

/// What is chosen as a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    Any,
    /// As a runtime does, so that a deviation is a delay.
    Eldest,
    Youngest,
}

/// One choice in so many departs from the habit.
const WHIM: u64 = 6;

impl Seeded {
    pub(super) fn new(seed: u64) -> Seeded {
        let habit = match seed % 4 {
            0 | 1 => Habit::Any,
            2 => Habit::Eldest,
            _ => Habit::Youngest,
        };
        Seeded { habit, state: AtomicU64::new(seed) }
    }

    /// A number below `bound` (splitmix64; Steele, Lea and Flood 2014).
    fn below(&self, bound: u64) -> u64 {
        let state = self.state.load(Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.state.store(state, Ordering::Relaxed);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % bound
    }
}

impl Schedule for Seeded {
    fn choose(&self, runnable: usize) -> usize {
        if runnable == 1 {
            return 0;
        }
        let any = self.habit == Habit::Any || self.below(WHIM) == 0;
        match self.habit {
            _ if any => self.below(runnable as u64) as usize,
            Habit::Youngest => runnable - 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_choices_and_another_makes_others() {
        let choices = |seed| {
            let schedule = Seeded::new(seed);
            (1..200).map(|n| schedule.choose(1 + n % 7)).collect::<Vec<_>>()
        };
        for seed in 0..20 {
            assert_eq!(choices(seed), choices(seed));
            assert_ne!(choices(seed), choices(seed + 4), "the same habit, another seed");
        }
    }

    #[test]
    fn whatever_the_habit_everyone_is_chosen() {
        for seed in 0..20 {
            let schedule = Seeded::new(seed);
            let mut chosen = [0; 5];
            (0..1000).for_each(|_| chosen[schedule.choose(5)] += 1);
            assert!(chosen.iter().all(|&times| times > 0), "seed {seed}: {chosen:?}");
        }
    }
}
