//! Where the main thread finds every worker's counters, and merges them when somebody asks.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::{Exposition, HistogramSnapshot, Kind, Memory, WorkerStats};

/// The statistics of the whole process. Workers never touch it once they hold their [`WorkerStats`].
pub struct Registry {
    workers: Mutex<Vec<Arc<WorkerStats>>>,
    providers: Mutex<Vec<Provider>>,
    started: Instant,
    started_at: SystemTime,
    state: AtomicU8,
    healthcheck_failed: AtomicBool,
}

type Provider = Box<dyn Fn(&mut Exposition) + Send + Sync>;

/// Envoy's server states, with Envoy's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ServerState {
    Live = 0,
    Draining = 1,
    PreInitializing = 2,
    Initializing = 3,
}

impl Registry {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            workers: Mutex::default(),
            providers: Mutex::default(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            state: AtomicU8::new(ServerState::Initializing as u8),
            healthcheck_failed: AtomicBool::new(false),
        })
    }

    /// Counters for one more worker, whose number is how many there were before.
    pub fn add_worker(&self) -> Arc<WorkerStats> {
        let stats = Arc::new(WorkerStats::default());
        lock(&self.workers).push(Arc::clone(&stats));
        stats
    }

    /// `provider` is asked at every collection, on the main thread; it must be quick and must not call the registry.
    pub fn add_provider(&self, provider: impl Fn(&mut Exposition) + Send + Sync + 'static) {
        lock(&self.providers).push(Box::new(provider));
    }

    pub fn workers(&self) -> Vec<Arc<WorkerStats>> {
        lock(&self.workers).clone()
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    pub fn set_state(&self, state: ServerState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// As Envoy has it, a live server whose health check was made to fail counts as draining.
    pub fn state(&self) -> ServerState {
        match self.state.load(Ordering::Relaxed) {
            0 if self.healthcheck_failed.load(Ordering::Relaxed) => ServerState::Draining,
            0 => ServerState::Live,
            1 => ServerState::Draining,
            2 => ServerState::PreInitializing,
            _ => ServerState::Initializing,
        }
    }

    pub fn fail_healthcheck(&self, failed: bool) {
        self.healthcheck_failed.store(failed, Ordering::Relaxed);
    }

    /// Everything that is counted, merged over the workers.
    pub fn collect(&self) -> Exposition {
        let mut exposition = Exposition::default();
        let workers = self.workers();
        self.describe_server(&mut exposition, &workers);
        merge_scalars(&mut exposition, &workers);
        merge_histograms(&mut exposition, &workers);
        for provider in lock(&self.providers).iter() {
            provider(&mut exposition);
        }
        exposition
    }

    fn describe_server(&self, exposition: &mut Exposition, workers: &[Arc<WorkerStats>]) {
        let (memory, state) = (Memory::now(), self.state());
        let open: u64 = workers.iter().map(|worker| worker.downstream_cx_active.get()).sum();
        exposition.gauge("server.uptime", "Seconds since the process started", self.uptime().as_secs());
        exposition.gauge("server.concurrency", "Number of workers", workers.len() as u64);
        exposition.gauge("server.live", "1 while the server is live, 0 before and while it drains", u64::from(state == ServerState::Live));
        exposition.gauge("server.state", "0 live, 1 draining, 2 pre-initializing, 3 initializing", state as u64);
        exposition.gauge("server.total_connections", "Client connections open now", open);
        exposition.gauge("server.memory_resident", "Bytes of this process in RAM", memory.resident);
        exposition.gauge("server.memory_anonymous", "Bytes in RAM that belong to no file: heap and stacks", memory.anonymous);
        exposition.gauge("server.memory_address_space", "Bytes of address space", memory.address_space);
        exposition.gauge_with("server.version", "Always 1; the version is in the label", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        for (index, worker) in workers.iter().enumerate() {
            // A family of its own: beside the merged series of the same name, a sum over labels would count twice.
            let number = index.to_string();
            let labels = [("worker", number.as_str())];
            let (total, active) = (worker.downstream_cx_total.get(), worker.downstream_cx_active.get());
            exposition.counter_with("listener.worker_downstream_cx_total", "Connections accepted, by worker", &labels, total);
            exposition.gauge_with("listener.worker_downstream_cx_active", "Connections open now, by worker", &labels, active);
        }
    }
}

fn merge_scalars(exposition: &mut Exposition, workers: &[Arc<WorkerStats>]) {
    let mut totals: Vec<(Kind, &'static str, &'static str, u64)> = Vec::new();
    WorkerStats::default().visit(|kind, name, help, _| totals.push((kind, name, help, 0)));
    for worker in workers {
        let mut index = 0;
        worker.visit(|_, _, _, value| {
            // Wrapping: a gauge read between two stores may be one below nothing.
            totals[index].3 = totals[index].3.wrapping_add(value);
            index += 1;
        });
    }
    for (kind, name, help, total) in totals {
        match kind {
            Kind::Counter => exposition.counter(name, help, total),
            Kind::Gauge => exposition.gauge(name, help, total),
            Kind::Histogram => unreachable!("histograms are not in the list of scalars"),
        }
    }
}

fn merge_histograms(exposition: &mut Exposition, workers: &[Arc<WorkerStats>]) {
    let mut totals = Vec::new();
    WorkerStats::default().visit_histograms(|unit, name, help, _| totals.push((unit, name, help, HistogramSnapshot::default())));
    for worker in workers {
        let mut index = 0;
        worker.visit_histograms(|_, _, _, histogram| {
            totals[index].3.merge(histogram);
            index += 1;
        });
    }
    for (unit, name, help, snapshot) in totals {
        exposition.histogram(name, help, unit, snapshot);
    }
}

/// A panic elsewhere leaves a list whole, for a push is all that is done under the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Registry")
            .field("workers", &lock(&self.workers).len())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl ServerState {
    /// Envoy's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            ServerState::Live => "LIVE",
            ServerState::Draining => "DRAINING",
            ServerState::PreInitializing => "PRE_INITIALIZING",
            ServerState::Initializing => "INITIALIZING",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;

    fn value(exposition: &Exposition, name: &str) -> Vec<u64> {
        let family = exposition.families().iter().find(|family| family.name == name).expect("a family of this name");
        let numbers = family.samples.iter().map(|sample| match sample.value {
            Value::Number(number) => number,
            Value::Histogram(..) => panic!("not a number"),
        });
        numbers.collect()
    }

    #[test]
    fn merges_workers_and_shows_their_connections_apart() {
        let registry = Registry::new();
        let (first, second) = (registry.add_worker(), registry.add_worker());
        first.downstream_cx_total.add(3);
        first.downstream_cx_active.increment();
        second.downstream_cx_total.add(4);
        let exposition = registry.collect();
        assert_eq!(value(&exposition, "http.downstream_cx_total"), [7]);
        assert_eq!(value(&exposition, "listener.worker_downstream_cx_total"), [3, 4]);
        assert_eq!(value(&exposition, "server.total_connections"), [1]);
        assert_eq!(value(&exposition, "server.concurrency"), [2]);
    }

    #[test]
    fn a_failed_healthcheck_shows_as_draining_only_when_live() {
        let registry = Registry::new();
        registry.fail_healthcheck(true);
        assert_eq!(registry.state(), ServerState::Initializing);
        registry.set_state(ServerState::Live);
        assert_eq!(registry.state(), ServerState::Draining);
        registry.fail_healthcheck(false);
        assert_eq!(registry.state(), ServerState::Live);
    }
}
