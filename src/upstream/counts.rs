//! What a connection's life is counted in.

use std::rc::Rc;
use std::sync::Arc;

use super::Queue;
use crate::stats::{ClusterStats, WorkerStats};

/// Where one worker counts what happens to one cluster: for the cluster, and among all clusters.
pub struct Counts {
    pub worker: Arc<WorkerStats>,
    pub cluster: Arc<ClusterStats>,
    /// Who is to hear when one connection less counts.
    pub queue: Queue,
}

impl Counts {
    pub fn new(worker: Arc<WorkerStats>, cluster: Arc<ClusterStats>) -> Rc<Self> {
        Rc::new(Counts { worker, cluster, queue: Queue::default() })
    }

    pub(super) fn idle_increment(&self) {
        self.worker.upstream_cx_idle.increment();
        self.cluster.upstream_cx_idle.increment();
    }

    pub(super) fn idle_decrement(&self) {
        self.worker.upstream_cx_idle.decrement();
        self.cluster.upstream_cx_idle.decrement();
    }
}

/// Counts in both places, which have the series under the same name.
macro_rules! count {
    ($counts:expr, $series:ident) => {{
        $counts.worker.$series.increment();
        $counts.cluster.$series.increment();
    }};
}

pub(crate) use count;
