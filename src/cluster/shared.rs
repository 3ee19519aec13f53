//! One destination, as all workers know it together.

use std::sync::Arc;

use super::account::Account;
use super::breakers::{Borrowed, Breaker, BreakerView};
use super::outliers::Outliers;
use super::slots::Slots;
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
