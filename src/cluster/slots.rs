//! A cluster's counters, one set for each worker.

use std::sync::{Arc, OnceLock};

use crate::stats::ClusterStats;

/// One set of counters for each worker, made when the worker first has to do with the cluster.
pub(super) struct Slots(Box<[OnceLock<Arc<ClusterStats>>]>);

impl Slots {
    pub fn new(workers: usize) -> Self {
        Slots((0..workers).map(|_| OnceLock::new()).collect())
    }

    pub fn workers(&self) -> usize {
        self.0.len()
    }

    /// A worker's own; nobody else may write to it.
    pub fn of(&self, worker: usize) -> Arc<ClusterStats> {
        self.0[worker].get_or_init(Arc::default).clone()
    }

    pub fn each(&self, each: impl FnMut(&ClusterStats)) {
        self.0.iter().filter_map(OnceLock::get).map(Arc::as_ref).for_each(each);
    }

    pub fn any(&self, mut is: impl FnMut(&ClusterStats) -> bool) -> bool {
        self.0.iter().filter_map(OnceLock::get).any(|slot| is(slot))
    }

    pub fn sum(&self, value: impl Fn(&ClusterStats) -> u64) -> u64 {
        let mut sum = 0u64;
        // Wrapping: a gauge read between two stores may be one below nothing.
        self.each(|slot| sum = sum.wrapping_add(value(slot)));
        sum
    }
}
