//! One destination, as all workers know it together.

use std::sync::{Arc, OnceLock};

use super::breakers::{Borrowed, Breaker, BreakerView};
use super::outliers::Outliers;
use super::report::Account;
use crate::clients::{self, Permit};
use crate::codec::authority::Authority;
use crate::config::ClusterOptions;
use crate::stats::{ClusterStats, ClusterTotals};

/// What the workers have in common of a cluster. A worker that has joined writes to its own slot
/// and nothing else as long as all goes well.
pub struct Shared {
    authority: Authority,
    /// `host:port`, for logs and statistics.
    label: Box<str>,
    pub(super) slots: Slots,
    borrowed: Borrowed,
    pub(super) outliers: Outliers,
    pub(super) account: Account,
    /// The client that it was made for has one destination less to make, for as long as any worker has this one.
    payer: Option<Permit>,
}

/// One set of counters for each worker, made when the worker first has to do with the cluster.
pub(super) struct Slots(Box<[OnceLock<Arc<ClusterStats>>]>);

impl Shared {
    pub(super) fn new(authority: Authority, workers: usize, payer: Option<Permit>) -> Self {
        Shared {
            label: authority.to_string().into(),
            authority,
            slots: Slots::new(workers),
            borrowed: Borrowed::default(),
            outliers: Outliers::default(),
            account: Account::default(),
            payer,
        }
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Who it was made for.
    pub(super) fn payer(&self) -> Option<&Arc<clients::Account>> {
        self.payer.as_ref().map(Permit::account)
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether one more fits; `own` is the slot of the worker that asks.
    pub(super) fn admits(&self, breaker: Breaker, own: &ClusterStats, options: &ClusterOptions) -> bool {
        breaker.admits(own, &self.slots, &self.borrowed, breaker.limit(options, &self.slots))
    }

    /// Connections that some worker keeps and nobody uses.
    pub(super) fn idle_connections(&self) -> u64 {
        self.slots.sum(|slot| slot.upstream_cx_idle.get())
    }

    pub(super) fn breakers(&self, options: &ClusterOptions) -> [BreakerView; 4] {
        Breaker::ALL.map(|breaker| breaker.view(options, &self.slots))
    }

    pub(super) fn totals(&self) -> ClusterTotals {
        let mut totals = ClusterTotals::default();
        self.slots.each(|slot| slot.add_to(&mut totals));
        totals
    }
}

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
