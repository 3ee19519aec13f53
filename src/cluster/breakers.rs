//! Circuit breakers: how much a cluster may have going at once, over all workers.
//!
//! A worker that has less than its even share of a limit admits by looking at its own count alone:
//! no line of memory that another worker writes is touched. Only past its share does it add up
//! everybody's counts. From then on it leaves a mark for the others, which add up too until all
//! are within their shares again, so that shares and borrowings together do not exceed the limit.
//! Workers that decide at the same moment may exceed it by one each, as Envoy's do.

use std::sync::atomic::{AtomicU8, Ordering};

use super::slots::Slots;
use crate::config::ClusterOptions;
use crate::stats::ClusterStats;

/// Envoy's circuit breakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    Connections,
    PendingRequests,
    Requests,
    Retries,
}

/// A breaker as pages show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerView {
    pub breaker: Breaker,
    pub limit: u64,
    pub count: u64,
    pub remaining: u64,
    pub open: bool,
}

/// Which breakers some worker is past its share of.
#[derive(Default)]
pub(super) struct Borrowed(AtomicU8);

impl Breaker {
    pub const ALL: [Breaker; 4] = [Breaker::Connections, Breaker::PendingRequests, Breaker::Requests, Breaker::Retries];

    /// As Envoy's gauges have it: `cx_open`, `remaining_cx`.
    pub fn name(self) -> &'static str {
        match self {
            Breaker::Connections => "cx",
            Breaker::PendingRequests => "pending",
            Breaker::Requests => "rq",
            Breaker::Retries => "retries",
        }
    }

    /// The key that sets its limit.
    pub fn key(self) -> &'static str {
        match self {
            Breaker::Connections => "max_connections",
            Breaker::PendingRequests => "max_pending_requests",
            Breaker::Requests => "max_requests",
            Breaker::Retries => "max_retries",
        }
    }

    pub(super) fn limit(self, options: &ClusterOptions, slots: &Slots) -> u64 {
        match (self, options.retry_budget) {
            (Breaker::Connections, _) => options.max_connections,
            (Breaker::PendingRequests, _) => options.max_pending_requests,
            (Breaker::Requests, _) => options.max_requests,
            (Breaker::Retries, None) => options.max_retries,
            (Breaker::Retries, Some(budget)) => {
                let going = slots.sum(|slot| slot.upstream_rq_active.get());
                budget.min_retry_concurrency.max(going * budget.budget_percent / 100)
            }
        }
    }

    fn count(self, slot: &ClusterStats) -> u64 {
        match self {
            Breaker::Connections => slot.upstream_cx_active.get() + slot.upstream_cx_connecting.get(),
            Breaker::PendingRequests => slot.upstream_rq_pending_active.get(),
            Breaker::Requests => slot.upstream_rq_active.get(),
            Breaker::Retries => slot.upstream_rq_retry_active.get(),
        }
    }

    /// Whether one more fits; `own` is the slot of the worker that asks.
    pub(super) fn admits(self, own: &ClusterStats, slots: &Slots, borrowed: &Borrowed, limit: u64) -> bool {
        let share = limit / slots.workers() as u64;
        let count = self.count(own);
        if count < share && !borrowed.is_set(self) {
            return true;
        }
        // Told before the others are looked at, so that of two that reach for the rest one sees the other.
        if count >= share {
            borrowed.set(self);
        }
        let is_past = |slot: &ClusterStats| self.count(slot) >= share;
        if borrowed.is_set(self) && !slots.any(is_past) {
            borrowed.clear(self);
            // One that got past its share meanwhile may have told so before that.
            if slots.any(is_past) {
                borrowed.set(self);
            }
        }
        slots.sum(|slot| self.count(slot)) < limit
    }

    pub(super) fn view(self, options: &ClusterOptions, slots: &Slots) -> BreakerView {
        let limit = self.limit(options, slots);
        let count = slots.sum(|slot| self.count(slot));
        BreakerView { breaker: self, limit, count, remaining: limit.saturating_sub(count), open: count >= limit }
    }
}

impl Borrowed {
    fn is_set(&self, breaker: Breaker) -> bool {
        self.0.load(Ordering::Relaxed) & (1 << breaker as u8) != 0
    }

    fn set(&self, breaker: Breaker) {
        // Read first: a write would take the line from all the others.
        if !self.is_set(breaker) {
            self.0.fetch_or(1 << breaker as u8, Ordering::SeqCst);
        }
    }

    fn clear(&self, breaker: Breaker) {
        self.0.fetch_and(!(1 << breaker as u8), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(slots: &Slots, borrowed: &Borrowed, worker: usize, limit: u64) -> bool {
        let slot = slots.of(worker);
        let admitted = Breaker::Requests.admits(&slot, slots, borrowed, limit);
        if admitted {
            slot.upstream_rq_active.increment();
        }
        admitted
    }

    #[test]
    fn the_limit_holds_however_streams_fall_on_workers() {
        for limit in [1, 2, 3, 10, 64, 100] {
            for pattern in 0..4 {
                let (slots, borrowed) = (Slots::new(4), Borrowed::default());
                let worker = |turn: usize| match pattern {
                    0 => 0,
                    1 => turn % 4,
                    // One takes all there is before the others come.
                    2 => usize::from(turn >= limit as usize) * (1 + turn % 3),
                    _ => turn * turn % 3,
                };
                let admitted = (0..400).filter(|&turn| admit(&slots, &borrowed, worker(turn), limit)).count();
                assert_eq!(admitted as u64, limit, "pattern {pattern}");
            }
        }
    }

    #[test]
    fn nothing_at_all_is_a_limit_too() {
        let (slots, borrowed) = (Slots::new(2), Borrowed::default());
        assert!(!admit(&slots, &borrowed, 0, 0));
    }

    #[test]
    fn what_was_borrowed_and_given_back_is_forgotten() {
        let (slots, borrowed) = (Slots::new(2), Borrowed::default());
        while admit(&slots, &borrowed, 0, 10) {}
        assert_ne!(borrowed.0.load(Ordering::Relaxed), 0);
        assert!(!admit(&slots, &borrowed, 1, 10));
        (0..10).for_each(|_| slots.of(0).upstream_rq_active.decrement());
        assert!(admit(&slots, &borrowed, 1, 10));
        assert_eq!(borrowed.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn workers_at_once_do_not_exceed_it_by_more_than_one_each() {
        let (slots, borrowed) = (Slots::new(4), Borrowed::default());
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (slots, borrowed) = (&slots, &borrowed);
                scope.spawn(move || (0..1000).filter(|_| admit(slots, borrowed, worker, 500)).count());
            }
        });
        let total = slots.sum(|slot| slot.upstream_rq_active.get());
        assert!((500..=504).contains(&total), "{total}");
    }

    #[test]
    fn a_retry_budget_follows_the_requests() {
        let slots = Slots::new(2);
        let budget = crate::config::RetryBudget { budget_percent: 20, min_retry_concurrency: 3 };
        let options = ClusterOptions { retry_budget: Some(budget), ..ClusterOptions::default() };
        assert_eq!(Breaker::Retries.limit(&options, &slots), 3);
        (0..60).for_each(|_| slots.of(0).upstream_rq_active.increment());
        (0..40).for_each(|_| slots.of(1).upstream_rq_active.increment());
        assert_eq!(Breaker::Retries.limit(&options, &slots), 20);
        let view = Breaker::Requests.view(&options, &slots);
        assert_eq!((view.limit, view.remaining, view.open), (1024, 924, false));
    }
}
