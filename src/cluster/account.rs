//! What statistics have told of each cluster.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::stats::ClusterTotals;

/// Clusters that statistics name.
pub(super) const NAMED: usize = 32;
/// How far down one that is named may come before it is not any more: a series that comes and goes is
/// of no use.
const STILL_NAMED: usize = 2 * NAMED;

/// What statistics have told of one cluster so far. Every count is told once, under the cluster's
/// name or among the others, so that no series ever falls and their rates add up.
#[derive(Default)]
pub(super) struct Account(Mutex<Told>);

#[derive(Default)]
struct Told {
    /// Up to here.
    totals: ClusterTotals,
    named: bool,
    under_its_name: ClusterTotals,
}

impl Account {
    /// What has not been told of a cluster that has ended.
    pub fn rest(&self, totals: &ClusterTotals) -> ClusterTotals {
        totals.minus(&self.told().totals).without_gauges()
    }

    /// Whether a cluster that was named still is.
    pub fn stays_named(&self, rank: usize) -> bool {
        let mut told = self.told();
        told.named &= rank < STILL_NAMED;
        told.named
    }

    /// What is new since the last time; and if the cluster is named, all that was told under its name.
    pub fn tell(&self, totals: &ClusterTotals, places: &mut usize) -> (ClusterTotals, Option<ClusterTotals>) {
        let mut told = self.told();
        if !told.named && *places > 0 {
            told.named = true;
            *places -= 1;
        }
        let news = totals.minus(&told.totals).without_gauges();
        told.totals = *totals;
        if told.named {
            told.under_its_name = told.under_its_name.plus(&news);
        }
        (news, told.named.then_some(told.under_its_name))
    }

    /// Never held while the directory's lock is taken: a cluster that leaves takes them the other way round.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
