//! Places within a cluster's circuit breakers, given back when they are dropped.

use std::rc::Rc;

use super::{Breaker, Cluster, Unavailable};
use crate::upstream::{Counts, count};

/// A place among a cluster's requests.
pub struct RequestPermit(Rc<Counts>);

/// A place among a cluster's retries.
pub struct RetryPermit(Rc<Counts>);

/// A place among a cluster's streams that wait for a connection.
pub(super) struct PendingPermit(Rc<Counts>);

impl Cluster {
    /// Takes a place among the requests of this cluster, for as long as the permit lives.
    pub fn admit_request(&self) -> Result<RequestPermit, Unavailable> {
        if !self.admits(Breaker::Requests) {
            count!(self.counts, upstream_rq_pending_overflow);
            return Err(Unavailable::Overflow(Breaker::Requests));
        }
        self.counts.cluster.upstream_rq_active.increment();
        Ok(RequestPermit(self.counts.clone()))
    }

    /// Takes a place among the retries, for as long as the permit lives.
    pub fn admit_retry(&self) -> Result<RetryPermit, Unavailable> {
        if !self.admits(Breaker::Retries) {
            count!(self.counts, upstream_rq_retry_overflow);
            return Err(Unavailable::Overflow(Breaker::Retries));
        }
        self.counts.cluster.upstream_rq_retry_active.increment();
        Ok(RetryPermit(self.counts.clone()))
    }

    pub(super) fn admit_connection(&self) -> Result<PendingPermit, Unavailable> {
        if !self.admits(Breaker::PendingRequests) {
            count!(self.counts, upstream_rq_pending_overflow);
            return Err(Unavailable::Overflow(Breaker::PendingRequests));
        }
        if !self.admits(Breaker::Connections) && !self.reclaim_connection() {
            count!(self.counts, upstream_cx_overflow);
            return Err(Unavailable::Overflow(Breaker::Connections));
        }
        self.counts.cluster.upstream_rq_pending_total.increment();
        self.counts.cluster.upstream_rq_pending_active.increment();
        Ok(PendingPermit(self.counts.clone()))
    }

    /// Whether a connection that another worker keeps for later can make room for this one. It goes
    /// as soon as that worker hears of it; until then there is one too many.
    fn reclaim_connection(&self) -> bool {
        let idle = self.shared.idle_connections();
        let makes_room = idle > 0 && {
            let breakers = self.shared.breakers(&self.options.borrow());
            let in_use = |view: &super::BreakerView| view.count.saturating_sub(idle) < view.limit;
            breakers.iter().find(|view| view.breaker == Breaker::Connections).is_some_and(in_use)
        };
        if makes_room {
            self.household.directory.reclaim(&self.shared);
        }
        makes_room
    }

    fn admits(&self, breaker: Breaker) -> bool {
        self.shared.admits(breaker, &self.counts.cluster, &self.options.borrow())
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.cluster.upstream_rq_active.decrement();
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.cluster.upstream_rq_retry_active.decrement();
    }
}

impl Drop for PendingPermit {
    fn drop(&mut self) {
        self.0.cluster.upstream_rq_pending_active.decrement();
    }
}
