//! Places within a cluster's circuit breakers, given back when they are dropped.

use std::rc::Rc;
use std::time::Duration;

use super::{Breaker, Cluster, Judge, Unavailable};
use crate::event_loop::Deadline;
use crate::upstream::{Counts, UpstreamConnection, count};

/// A place among a cluster's requests.
pub struct RequestPermit(Rc<Counts>);

/// A place among a cluster's retries.
pub struct RetryPermit(Rc<Counts>);

/// A place among a cluster's streams that wait for a connection.
pub(super) struct PendingPermit(Rc<Counts>);

/// A place among a cluster's connections, held while one is made.
pub(super) struct ConnectingPermit(Rc<Counts>);

/// What a stream can use.
#[derive(Debug, Clone, Copy)]
pub enum Want {
    /// A connection that was kept, looked at more closely where the request may not be sent again; or a new one.
    Any { may_repeat: bool },
    /// A new one: what a tunnel carries must be the first that the origin hears.
    New,
}

/// What came free.
pub(super) enum Room {
    Kept(UpstreamConnection),
    New(ConnectingPermit),
}

/// How often the first one that waits looks for room that another worker has made, which does not know of it.
const LOOK_AROUND: Duration = Duration::from_millis(50);

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

    /// Takes a place among the streams that wait for a connection, be it made or in use.
    pub(super) fn admit_pending(&self) -> Result<PendingPermit, Unavailable> {
        if !self.admits(Breaker::PendingRequests) {
            count!(self.counts, upstream_rq_pending_overflow);
            return Err(Unavailable::Overflow(Breaker::PendingRequests));
        }
        self.counts.cluster.upstream_rq_pending_total.increment();
        self.counts.cluster.upstream_rq_pending_active.increment();
        Ok(PendingPermit(self.counts.clone()))
    }

    /// Takes a place among the connections for one that is about to be made; none where others wait for one.
    pub(super) fn admit_connection(&self) -> Option<ConnectingPermit> {
        if self.counts.queue.is_empty() { self.place_for_connection() } else { None }
    }

    fn place_for_connection(&self) -> Option<ConnectingPermit> {
        if !self.admits(Breaker::Connections) && !self.reclaim_connection() {
            return None;
        }
        self.counts.cluster.upstream_cx_connecting.increment();
        Some(ConnectingPermit(self.counts.clone()))
    }

    /// Waits in turn until a connection is given back or may be made.
    pub(super) async fn wait_for_room(&self, judge: Option<&Judge<'_>>, want: Want, deadline: &Deadline) -> Result<Room, Unavailable> {
        let turn = self.counts.queue.join();
        deadline.set(self.options.borrow().connect_timeout);
        let room = async {
            loop {
                turn.look(LOOK_AROUND).await;
                if let Want::Any { may_repeat } = want
                    && let Some(connection) = self.check_out_now(may_repeat, judge)
                {
                    return Room::Kept(connection);
                }
                if let Some(place) = self.place_for_connection() {
                    return Room::New(place);
                }
            }
        };
        deadline.limit(room).await.ok_or_else(|| {
            count!(self.counts, upstream_cx_overflow);
            Unavailable::Overflow(Breaker::Connections)
        })
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

impl Drop for ConnectingPermit {
    fn drop(&mut self) {
        self.0.cluster.upstream_cx_connecting.decrement();
        // It may have come to nothing.
        self.0.queue.call_first();
    }
}
