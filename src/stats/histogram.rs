//! A histogram that one thread records into with plain stores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many values fell into each of a fixed row of buckets, in microseconds.
///
/// Recording is a table look-up and three comparisons without a branch: about two nanoseconds.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    /// Only the thread that owns the histogram may call this; a second writer would lose counts.
    pub fn record(&self, microseconds: u64) {
        add(&self.buckets[bucket_of(microseconds)], 1);
        add(&self.sum, microseconds);
    }

    pub fn record_duration(&self, duration: Duration) {
        self.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// What several histograms held together at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0 }
    }
}

impl HistogramSnapshot {
    pub fn merge(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.load(Ordering::Relaxed);
        }
        self.sum = self.sum.wrapping_add(histogram.sum.load(Ordering::Relaxed));
    }

    /// Counted from the buckets, so that it always agrees with them.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// In microseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values were at most `bound`, which must be one of the buckets' own bounds.
    pub fn count_up_to(&self, bound: u64) -> u64 {
        debug_assert!(BOUNDS.contains(&bound), "{bound} is no bound of a bucket");
        self.buckets.iter().zip(BOUNDS).take_while(|&(_, upper)| upper <= bound).map(|(count, _)| count).sum()
    }

    /// The value below which `quantile` (0 to 1) of all values lie, interpolated inside its bucket; `None` when empty.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * count as f64;
        let mut below = 0;
        for (index, &in_bucket) in self.buckets.iter().enumerate().filter(|&(_, &in_bucket)| in_bucket > 0) {
            if (below + in_bucket) as f64 >= rank {
                let lower = if index == 0 { 0 } else { BOUNDS[index - 1] };
                // Nothing is known of a value past the last bound, except that it is past it.
                let upper = if index == BUCKETS - 1 { lower } else { BOUNDS[index] };
                let part = (rank - below as f64).max(0.0) / in_bucket as f64;
                return Some(lower as f64 + part * (upper - lower) as f64);
            }
            below += in_bucket;
        }
        None
    }
}

/// Upper bounds of the buckets, inclusive: ten steps a decade from 1 µs to 800 s, so a quantile is at most a third off.
/// Round decimal numbers, so that the bounds that the exposition shows are exact. The last bucket takes the rest.
const BOUNDS: [u64; BUCKETS] = bounds();
const BUCKETS: usize = 7 + 8 * 10 + 1;

const fn bounds() -> [u64; BUCKETS] {
    // Below 10 µs the finer steps would not be whole numbers.
    const FIRST: [u64; 7] = [1, 2, 3, 4, 5, 6, 8];
    const TENTHS: [u64; 10] = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80];
    let mut bounds = [u64::MAX; BUCKETS];
    let mut index = 0;
    while index < FIRST.len() {
        bounds[index] = FIRST[index];
        index += 1;
    }
    let mut scale = 1;
    while index < BUCKETS - 1 {
        let mut step = 0;
        while step < TENTHS.len() {
            bounds[index] = TENTHS[step] * scale;
            index += 1;
            step += 1;
        }
        scale *= 10;
    }
    bounds
}

/// For each bit length of a value: the first bucket that a value of this length may belong to.
const FIRST_BUCKET: [u8; 65] = {
    let mut table = [0; 65];
    let mut bits = 1;
    while bits <= 64 {
        let smallest = 1u64 << (bits - 1);
        let mut index = 0;
        while BOUNDS[index] < smallest {
            index += 1;
        }
        table[bits] = index as u8;
        bits += 1;
    }
    table
};

fn bucket_of(value: u64) -> usize {
    let bits = 64 - value.leading_zeros() as usize;
    let first = usize::from(FIRST_BUCKET[bits]);
    // At most three bounds lie within one power of two (a test holds that).
    let bound = |index: usize| BOUNDS[index.min(BUCKETS - 1)];
    first + usize::from(value > bound(first)) + usize::from(value > bound(first + 1)) + usize::from(value > bound(first + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_bucket_that_holds_it() {
        let edges = BOUNDS.iter().flat_map(|&bound| [bound.saturating_sub(1), bound, bound.saturating_add(1)]);
        let powers = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for value in edges.chain(powers).chain(0..20_000) {
            let expected = BOUNDS.iter().position(|&bound| value <= bound).expect("the last bound is the largest number");
            assert_eq!(bucket_of(value), expected, "value {value}");
        }
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(BOUNDS[BUCKETS - 2], 800_000_000);
    }

    #[test]
    fn snapshots_merge_and_estimate() {
        let (first, second) = (Histogram::default(), Histogram::default());
        (1..=500).for_each(|value| first.record(value));
        (501..=1000).for_each(|value| second.record(value));
        let mut merged = HistogramSnapshot::default();
        merged.merge(&first);
        merged.merge(&second);
        assert_eq!((merged.count(), merged.sum()), (1000, 500_500));
        assert_eq!(merged.count_up_to(100), 100);
        let median = merged.quantile(0.5).expect("not empty");
        assert!((490.0..=510.0).contains(&median), "{median}");
        assert_eq!(HistogramSnapshot::default().quantile(0.5), None);
    }

    #[test]
    fn a_value_past_all_bounds_is_counted() {
        let histogram = Histogram::default();
        histogram.record_duration(Duration::MAX);
        let mut snapshot = HistogramSnapshot::default();
        snapshot.merge(&histogram);
        assert_eq!(snapshot.count(), 1);
        assert_eq!(snapshot.quantile(1.0), Some(800_000_000.0));
    }
}
