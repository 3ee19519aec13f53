//! Clusters: one upstream destination each, made by the first stream that needs it and dropped when
//! nobody does. A cluster resolves its name, picks an address that the address rules allow, and
//! lends connections.
//!
//! A cluster has two halves. [`Cluster`] is a worker's own: its pool, its counts. [`Shared`] is what
//! all workers know of the destination together: circuit breakers and addresses that failed; workers
//! find it through the [`Directory`]. A stream to a cluster that its worker knows writes to nothing
//! that another worker reads but its own counters.
//!
//! A stream asks in this order: [`Clusters::get`], [`Cluster::admit_request`], [`Cluster::check_out`],
//! and only where that gave nothing [`Cluster::connect`], which waits where there are as many connections as
//! there may be; afterwards [`Cluster::check_in`], or it drops
//! the connection. That is the seam for other protocols: a pool of HTTP/2 or HTTP/3 would lend streams
//! of a connection where this one lends the connection, behind the same two calls; permits, breakers,
//! dialling and counting do not know what is lent.
//!
//! What makes two connections to the same authority differ must be part of the key, so that no stream
//! is lent one that it would not have made. Today that is the egress, which the host decides: no
//! connection made before a reload that changes it is lent after. A TLS identity or a parent proxy that depends on the client
//! belongs into the key of [`Clusters`] and [`Directory`], beside the authority.

mod clusters;

mod report;

mod shelf;

mod dial;

mod permits;

mod address_rules;

mod local_route;

mod directory;

mod options;

mod shared;

mod account;

mod breakers;

mod slots;

mod outliers;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub use address_rules::{AddressRules, Class, carried_addresses};
pub use breakers::{Breaker, BreakerView};
pub use clusters::Clusters;
pub use dial::Connected;
pub use directory::Directory;
pub use local_route::is_local;
pub use outliers::OutlierView;
pub use permits::{RequestPermit, RetryPermit, Want};
pub use report::ClusterView;
pub use shared::Shared;

use crate::clients::Share;
use crate::codec::authority::{Authority, Name};
use crate::config::ClusterOptions;
use crate::dns;
use crate::stats::WorkerStats;
use crate::upstream::{self, Counts, Pool, UpstreamConnection};

/// One destination, as one worker knows it.
pub struct Cluster {
    authority: Authority,
    shared: Arc<Shared>,
    household: Rc<Household>,
    /// Absent where the authority is an address.
    host: Option<Arc<dns::Host>>,
    /// Generation of the answer that the pool was last checked against.
    generation: Cell<u64>,
    options: RefCell<Rc<ClusterOptions>>,
    pool: RefCell<Pool>,
    counts: Rc<Counts>,
    /// The worker's count of uses at the last one: who was used longer ago than whom, without a clock.
    last_use: Cell<u64>,
    /// When a sweep first saw this `last_use`.
    seen: Cell<(u64, Instant)>,
    /// How often a reload changed where connections may go, or how they get there.
    terms: Cell<u32>,
    preconnecting: Cell<bool>,
    /// The worker's shelf keeps it here.
    standing: Cell<Standing>,
}

/// Where a cluster stands on its worker's shelf.
#[derive(Clone, Copy, Default)]
struct Standing {
    hash: u64,
    place: u32,
    place_of_client: u32,
}

/// What the clusters of one worker have in common.
struct Household {
    directory: Arc<Directory>,
    max_idle_connections: Cell<usize>,
    too_many_idle: Notify,
}

/// What decides whether an address may be dialled for one stream, and whether it may be lent a connection to it.
#[derive(Clone, Copy)]
pub struct Gate<'g> {
    pub rules: &'g AddressRules,
    pub judge: Option<&'g Judge<'g>>,
}

/// The policy, where it depends on what the host's name has become: the full name, if a search domain completed it, and
/// the address.
pub type Judge<'g> = dyn Fn(Option<&Name>, IpAddr) -> bool + 'g;

/// Why no connection could be had.
#[derive(Debug)]
pub enum Unavailable {
    Dns(dns::Error),
    /// Every address of the host is of a class that may not be dialled; the first is told.
    AddressDenied {
        address: IpAddr,
        class: Class,
    },
    /// The policy denies every address of the host; the first is told, with the full name that it was found by.
    PolicyDenied {
        address: IpAddr,
        full_name: Option<Arc<Name>>,
    },
    ConnectFailed {
        endpoint: SocketAddr,
        error: std::io::Error,
    },
    ConnectTimeout,
    /// A circuit breaker is open.
    Overflow(Breaker),
    /// The client has as many as it may have.
    ClientOverflow(Share),
}

impl Cluster {
    fn new(
        shared: Arc<Shared>,
        worker: usize,
        household: Rc<Household>,
        host: Option<Arc<dns::Host>>,
        options: Rc<ClusterOptions>,
        stats: &Arc<WorkerStats>,
    ) -> Self {
        stats.clusters_active.increment();
        Cluster {
            authority: *shared.authority(),
            counts: Counts::new(stats.clone(), shared.slots.of(worker)),
            shared,
            household,
            generation: Cell::new(host.as_ref().map_or(0, |host| host.generation())),
            host,
            options: RefCell::new(options),
            pool: RefCell::default(),
            last_use: Cell::new(0),
            seen: Cell::new((0, Instant::now())),
            terms: Cell::new(0),
            preconnecting: Cell::new(false),
            standing: Cell::default(),
        }
    }

    pub fn label(&self) -> &str {
        self.shared.label()
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    pub fn options(&self) -> Rc<ClusterOptions> {
        self.options.borrow().clone()
    }

    /// Where this worker counts what happens to the cluster.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// An idle connection to an address that the name still has, without waiting. For a request that
    /// may not be sent again it is looked at more closely, which costs a system call. None where others
    /// wait for one already.
    pub fn check_out(&self, may_repeat: bool, judge: Option<&Judge<'_>>) -> Option<UpstreamConnection> {
        if self.counts.queue.is_empty() { self.check_out_now(may_repeat, judge) } else { None }
    }

    fn check_out_now(&self, may_repeat: bool, judge: Option<&Judge<'_>>) -> Option<UpstreamConnection> {
        if let Some(host) = &self.host {
            host.touch();
            let generation = host.generation();
            if self.generation.replace(generation) != generation {
                match host.answer() {
                    Some(answer) => self.pool.borrow_mut().keep_addresses(&answer.addresses, &self.counts),
                    // Something has changed, and only a look-up can tell what.
                    None => self.clear(),
                }
            }
        }
        let max_age = self.options.borrow().max_connection_duration;
        let Some(judge) = judge else { return self.pool.borrow_mut().check_out(max_age, may_repeat, &self.counts, |_| true) };
        // Other clients' rules may have let it be made. What the name is at now tells by which full name.
        let full_name = match &self.host {
            Some(host) => host.answer()?.full_name.clone(),
            None => None,
        };
        let may_lend = |address| judge(full_name.as_deref(), address);
        self.pool.borrow_mut().check_out(max_age, may_repeat, &self.counts, may_lend)
    }

    /// The full name that the addresses now known were found by, where a search domain completed the name.
    pub fn full_name(&self) -> Option<Arc<Name>> {
        self.host.as_ref()?.answer()?.full_name.clone()
    }

    /// Takes back a connection whose last exchange ended exactly where its framing said.
    pub fn check_in(&self, connection: UpstreamConnection, now: Instant) {
        if connection.terms != Some(self.terms.get()) {
            return;
        }
        let limits = self.limits();
        self.pool.borrow_mut().check_in(connection, now, &limits, &self.counts);
        self.counts.queue.call_first();
        if self.counts.worker.upstream_cx_idle.get() > self.household.max_idle_connections.get() as u64 {
            self.household.too_many_idle.notify_one();
        }
    }

    /// Puts new options in force. Connections that would not be made like this any more go.
    fn reconfigure(&self, options: Rc<ClusterOptions>) {
        let old = self.options.replace(options.clone());
        if old.egress != options.egress {
            self.change_terms();
        }
    }

    /// Connections made so far are not for streams to come: idle ones go now, those in use when they are given back.
    fn change_terms(&self) {
        self.terms.set(self.terms.get().wrapping_add(1));
        self.clear();
    }

    fn limits(&self) -> upstream::Limits {
        let options = self.options.borrow();
        upstream::Limits {
            max_idle_connections: options.max_idle_connections,
            idle_timeout: options.pool_idle_timeout,
            max_connection_duration: options.max_connection_duration,
            max_requests_per_connection: options.max_requests_per_connection,
        }
    }

    fn sweep(&self, now: Instant, budget: &mut usize) {
        if !self.pool.borrow().is_empty() {
            let limits = self.limits();
            self.pool.borrow_mut().sweep(now, &limits, &self.counts, budget);
        }
    }

    /// Closes up to `count` idle connections; how many there were.
    fn shed(&self, count: usize) -> usize {
        self.pool.borrow_mut().shed(count, &self.counts)
    }

    fn clear(&self) {
        self.pool.borrow_mut().clear(&self.counts);
    }

    /// Whether nobody used it for `ttl` and nothing of it is open.
    fn is_idle(&self, now: Instant, ttl: Duration) -> bool {
        let last_use = self.last_use.get();
        if self.seen.get().0 != last_use || self.counts.cluster.upstream_cx_active.get() > 0 {
            self.seen.set((last_use, now));
            return false;
        }
        now.duration_since(self.seen.get().1) >= ttl
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.clear();
        // Before the place in the directory: who takes that needs one among the names, too.
        self.host = None;
        self.household.directory.leave(&self.shared);
        self.counts.worker.clusters_active.decrement();
    }
}
