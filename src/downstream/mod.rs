//! The client's side: connections, the streams on them, and what becomes of each.
//!
//! [`serve`] holds a connection while it is idle; `stream` tells the story of one exchange up to the
//! decision, `forward`, `connect` and `refuse` the three ways on from there.

mod answer;
mod body;
mod connect;
mod connection;
mod fault;
mod forward;
mod hush;
mod io;
mod judge;
mod local;
mod pac;
mod reasons;
mod record;
mod refuse;
mod reply;
mod retry;
mod splice;
mod stream;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use connection::{Place, serve};
pub use fault::{Fault, Shape};
pub use reasons::{FLAGS, REASONS, Reason};

use crate::access_log::Log;
use crate::clients::Clients;
use crate::cluster::{AddressRules, Clusters};
use crate::codec::index::FieldIndex;
use crate::config::{self, Config, Http1};
use crate::drain::Drain;
use crate::event_loop::{EventLoop, Memory};
use crate::filter::policy::Policy;
use crate::stats::WorkerStats;

/// The checked configuration in force and what is built from it; a stream keeps the one it began with, and a tunnel goes over
/// to the next.
pub struct Snapshot {
    pub config: Config,
    pub policy: Policy,
    pub address_rules: AddressRules,
}

/// A worker's hold on the snapshot that all workers read. Streams share it by an `Rc`, so that
/// beginning one writes no memory that another worker reads.
struct Held(Arc<Snapshot>);

impl AsRef<AddressRules> for Held {
    fn as_ref(&self) -> &AddressRules {
        &self.address_rules
    }
}

impl std::ops::Deref for Held {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// All that a worker's connections share. Nothing in it is touched by another thread but counters,
/// which are only read there.
pub struct Context {
    pub worker: usize,
    pub event_loop: EventLoop,
    pub stats: Arc<WorkerStats>,
    pub clusters: Clusters,
    pub access_log: Log,
    pub drain: Drain,
    pub clients: Arc<Clients>,
    pub memory: Memory,
    snapshot: RefCell<Rc<Held>>,
    request_ids: Cell<u64>,
    /// Reused by every head that is read.
    fields: RefCell<FieldIndex>,
}

impl Context {
    pub fn new(
        worker: usize,
        snapshot: Arc<Snapshot>,
        stats: Arc<WorkerStats>,
        clusters: Clusters,
        access_log: Log,
        clients: Arc<Clients>,
        memory: Memory,
    ) -> Self {
        Context {
            worker,
            event_loop: EventLoop::default(),
            stats,
            clusters,
            access_log,
            drain: Drain::default(),
            clients,
            memory,
            snapshot: RefCell::new(Rc::new(Held(snapshot))),
            // Somewhere else in every worker and run, so that ids of different logs do not meet.
            request_ids: Cell::new(RandomState::new().hash_one(worker)),
            fields: RefCell::default(),
        }
    }

    fn snapshot(&self) -> Rc<Held> {
        self.snapshot.borrow().clone()
    }

    /// Puts a new configuration in force for streams that begin from now on.
    pub fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.clusters.reconfigure(&snapshot.config);
        let revokes = snapshot.config.policy.revoke;
        *self.snapshot.borrow_mut() = Rc::new(Held(snapshot));
        if revokes {
            // Tunnels at rest ask the policy again when they are woken, the others at their next turn.
            self.event_loop.deadlines.wake_all();
        }
    }

    /// Whether `held` is the snapshot in force.
    fn is_in_force(&self, held: &Rc<Held>) -> bool {
        Rc::ptr_eq(held, &self.snapshot.borrow())
    }

    fn next_request_id(&self) -> u64 {
        let id = self.request_ids.get();
        self.request_ids.set(id.wrapping_add(1));
        id
    }
}

/// One listener as its connections on one worker see it.
pub struct Listener {
    pub name: String,
    first_byte_timeout: Cell<Duration>,
    http1: RefCell<Rc<Http1>>,
}

impl Listener {
    pub fn new(config: &config::Listener) -> Self {
        Listener {
            name: config.name.clone(),
            first_byte_timeout: Cell::new(config.first_byte_timeout),
            http1: RefCell::new(Rc::new(config.http1.clone())),
        }
    }

    /// Puts new options in force for exchanges that begin from now on.
    pub fn reconfigure(&self, config: &config::Listener) {
        self.first_byte_timeout.set(config.first_byte_timeout);
        *self.http1.borrow_mut() = Rc::new(config.http1.clone());
    }

    fn http1(&self) -> Rc<Http1> {
        self.http1.borrow().clone()
    }
}
