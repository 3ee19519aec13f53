//! One connection to an upstream, whether in use or idle in a pool.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use crate::stats::WorkerStats;

/// What one worker counts of a cluster, shared by the cluster and its connections.
pub struct Counts {
    pub stats: Arc<WorkerStats>,
    pub connections: Cell<u64>,
    pub requests: Cell<u64>,
    pub pending: Cell<u64>,
    pub retries: Cell<u64>,
}

impl Counts {
    pub fn new(stats: Arc<WorkerStats>) -> Rc<Self> {
        Rc::new(Counts { stats, connections: Cell::new(0), requests: Cell::new(0), pending: Cell::new(0), retries: Cell::new(0) })
    }
}

/// A connection that stands. Settles its cluster's counts when dropped.
pub struct UpstreamConnection {
    pub stream: TcpStream,
    pub endpoint: SocketAddr,
    pub opened: Instant,
    /// Exchanges begun on it.
    pub requests: u64,
    counts: Rc<Counts>,
}

impl UpstreamConnection {
    pub fn new(stream: TcpStream, endpoint: SocketAddr, counts: Rc<Counts>) -> Self {
        counts.connections.set(counts.connections.get() + 1);
        counts.stats.upstream_cx_total.increment();
        counts.stats.upstream_cx_active.increment();
        UpstreamConnection { stream, endpoint, opened: Instant::now(), requests: 0, counts }
    }

    /// Whether nothing came since the last exchange: no byte, no end, no reset. Costs no system
    /// call as long as the event loop has seen nothing either.
    pub fn is_quiet(&self) -> bool {
        matches!(self.stream.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.counts.connections.set(self.counts.connections.get() - 1);
        self.counts.stats.upstream_cx_active.decrement();
    }
}
