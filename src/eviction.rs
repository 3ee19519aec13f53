//! Choosing what makes room in a table where most may be in use, without looking at all of it.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// So many are looked at for each one that is chosen; in a table no larger, the choice is exact.
const LOOKS: usize = 64;
/// Of so many that could go, the one used longest ago is near enough to the oldest of all.
const CANDIDATES: usize = 16;

/// Looks at a few entries of a table, drawn at random.
///
/// Drawn, since whoever fills a table chooses the order of its entries: a hand that goes round would meet all those in use in
/// a row, and everybody would be refused for as long as it passed them.
pub struct Sampler(Cell<u64>);

impl Default for Sampler {
    fn default() -> Self {
        // Any number but zero will do.
        Sampler(Cell::new(RandomState::new().hash_one(0) | 1))
    }
}

impl Sampler {
    /// Where an entry is that can go, used longer ago than most: `last_use` is `None` for an entry in use. Nothing when none
    /// of those looked at can go, which is likely only where hardly any can.
    pub fn choose<T>(&self, entries: &[T], last_use: impl Fn(&T) -> Option<u64>) -> Option<usize> {
        let use_of = |index: usize| last_use(&entries[index]).map(|last_use| (last_use, index));
        let oldest = if entries.len() <= LOOKS {
            (0..entries.len()).filter_map(use_of).min()
        } else {
            (0..LOOKS).map(|_| self.draw(entries.len())).filter_map(use_of).take(CANDIDATES).min()
        };
        oldest.map(|(_, index)| index)
    }

    fn draw(&self, below: usize) -> usize {
        // xorshift64 (Marsaglia 2003); the product's upper half is as good as a remainder, and cheaper.
        let mut state = self.0.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.set(state);
        ((u128::from(state) * below as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_small_table_the_oldest_goes() {
        let entries = [Some(5), None, Some(3), Some(4)];
        assert_eq!(Sampler::default().choose(&entries, |entry| *entry), Some(2));
        assert_eq!(Sampler::default().choose(&[None::<u64>; 9], |entry| *entry), None);
        assert_eq!(Sampler::default().choose(&[], |entry: &Option<u64>| *entry), None);
    }

    #[test]
    fn in_a_large_one_few_are_looked_at_and_an_old_one_goes() {
        // The first three quarters are in use, as if somebody had filled the table at one go.
        let entries: Vec<Option<u64>> = (0..20_000).map(|number| (number >= 15_000).then_some(number)).collect();
        let (sampler, looks) = (Sampler::default(), Cell::new(0));
        for _ in 0..100 {
            looks.set(0);
            let chosen = sampler.choose(&entries, |entry| {
                looks.set(looks.get() + 1);
                *entry
            });
            // One in 10^8 that no look of 64 meets the quarter that can go.
            assert!(chosen.is_some_and(|index| index >= 15_000));
            assert!(looks.get() <= LOOKS);
        }
    }
}
