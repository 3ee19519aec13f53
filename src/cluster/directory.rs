//! All clusters of the process: where workers that have the same destination find each other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::options::Options;
use super::shared::Shared;
use crate::clients::{Account, Share};
use crate::codec::authority::Authority;
use crate::config::{ClusterOptions, Config};
use crate::stats::ClusterTotals;

/// Locked when a worker makes or drops a cluster, and for pages; never on the way of a stream to a
/// cluster that its worker knows.
///
/// A cluster is here for as long as a worker has it. When there are nearly as many as there may be,
/// a worker that has less than its even share and needs more calls the others, which drop some of
/// those that they used longest ago: what one keeps for later does not keep another from going on.
pub struct Directory {
    workers: usize,
    table: Mutex<Table>,
    crowded: AtomicBool,
    overflow: AtomicU64,
    /// How often descriptors were short.
    shortages: AtomicU64,
    /// What the worker of that number is asked for.
    calls: Box<[Calls]>,
}

/// What other workers ask of one.
#[derive(Default)]
struct Calls {
    wake: Notify,
    asked: Mutex<Asked>,
}

/// What a worker was asked for since it looked last.
#[derive(Default)]
pub(super) struct Asked {
    /// Clusters whose idle connections keep others from having any.
    pub reclaims: Vec<Arc<Shared>>,
    /// Clients who need room among their destinations.
    pub clients: Vec<Arc<Account>>,
    /// More clusters were meant than are in the list.
    pub all: bool,
}

/// Entries of each list of [`Asked`], in which each new one is looked for.
const ASKED_AT_ONCE: usize = 32;

struct Table {
    clusters: HashMap<Authority, Entry, foldhash::fast::RandomState>,
    max_hosts: usize,
    options: Options<Arc<ClusterOptions>>,
    /// What the clusters that are gone have counted and statistics have not told yet.
    retired: ClusterTotals,
    /// What statistics have told of clusters without naming them.
    others: ClusterTotals,
}

struct Entry {
    shared: Arc<Shared>,
    /// How many hold it.
    members: usize,
}

/// Why there is no place for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// There are `max_hosts`.
    Full,
    /// The client has `max_hosts_per_client`.
    ClientFull,
}

impl Directory {
    pub fn new(workers: usize, config: &Config) -> Arc<Self> {
        let table = Table {
            clusters: HashMap::default(),
            max_hosts: config.dns.max_hosts,
            options: Options::new(&config.cluster),
            retired: ClusterTotals::default(),
            others: ClusterTotals::default(),
        };
        Arc::new(Directory {
            workers,
            table: Mutex::new(table),
            crowded: AtomicBool::new(false),
            overflow: AtomicU64::new(0),
            shortages: AtomicU64::new(0),
            calls: (0..workers).map(|_| Calls::default()).collect(),
        })
    }

    /// The cluster of an authority, made by the first worker that asks, for its client, who may have `max` of them.
    pub(super) fn join(&self, authority: &Authority, client: &Arc<Account>, max: usize) -> Result<Arc<Shared>, NoRoom> {
        let mut table = self.table();
        if let Some(entry) = table.clusters.get_mut(authority) {
            entry.members += 1;
            return Ok(entry.shared.clone());
        }
        if table.clusters.len() >= table.max_hosts {
            return Err(NoRoom::Full);
        }
        let payer = client.take(Share::Destinations, max).ok_or(NoRoom::ClientFull)?;
        let shared = Arc::new(Shared::new(*authority, self.workers, Some(payer)));
        table.clusters.insert(*authority, Entry { shared: shared.clone(), members: 1 });
        self.weigh(&table);
        Ok(shared)
    }

    /// A worker drops its hold; the last one takes the cluster with it.
    pub(super) fn leave(&self, shared: &Shared) {
        let mut table = self.table();
        if let Some(entry) = table.clusters.get_mut(shared.authority())
            && entry.members > 1
        {
            entry.members -= 1;
            return;
        }
        table.retired = table.retired.plus(&shared.account.rest(&shared.totals()));
        table.clusters.remove(shared.authority());
        if table.clusters.capacity() > 64 && table.clusters.len() < table.clusters.capacity() / 4 {
            let room = table.clusters.len() * 2;
            table.clusters.shrink_to(room);
        }
        self.weigh(&table);
    }

    pub fn reconfigure(&self, config: &Config) {
        let mut table = self.table();
        table.max_hosts = config.dns.max_hosts;
        table.options = Options::new(&config.cluster);
        self.weigh(&table);
    }

    /// Whether room must be made for new ones.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// What this worker was asked for since the last time.
    pub(super) fn asked(&self, worker: usize) -> Asked {
        std::mem::take(&mut self.calls[worker].asked())
    }

    /// Waits until this worker is asked for something.
    pub(super) async fn called(&self, worker: usize) {
        self.calls[worker].wake.notified().await;
    }

    /// Has every worker close its idle connections: descriptors are short.
    pub(super) fn tell_shortage(&self) {
        self.shortages.fetch_add(1, Ordering::Relaxed);
        self.call_all();
    }

    pub(super) fn shortages(&self) -> u64 {
        self.shortages.load(Ordering::Relaxed)
    }

    /// Has every worker close its idle connections of one cluster, which keep others from having any.
    pub(super) fn reclaim(&self, shared: &Arc<Shared>) {
        for calls in &self.calls {
            let mut asked = calls.asked();
            if asked.reclaims.len() >= ASKED_AT_ONCE {
                asked.all = true;
            } else if !asked.reclaims.iter().any(|known| Arc::ptr_eq(known, shared)) {
                asked.reclaims.push(shared.clone());
            }
        }
        self.call_all();
    }

    /// Has every worker drop some clusters that were made for a client and are not in use.
    pub(super) fn make_room_for(&self, client: &Arc<Account>) {
        for calls in &self.calls {
            let mut asked = calls.asked();
            // One that is left out asks again when it needs the next one.
            if asked.clients.len() < ASKED_AT_ONCE && !asked.clients.iter().any(|known| Arc::ptr_eq(known, client)) {
                asked.clients.push(client.clone());
            }
        }
        self.call_all();
    }

    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    pub(super) fn count_overflow(&self) {
        self.overflow.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a stream was refused because `max_hosts` clusters were in use.
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }

    pub(super) fn all(&self) -> Vec<Arc<Shared>> {
        self.table().clusters.values().map(|entry| entry.shared.clone()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.table().clusters.len()
    }

    pub(super) fn options_of(&self, authority: &Authority) -> Arc<ClusterOptions> {
        self.table().options.of(&authority.host)
    }

    pub(super) fn take_retired(&self) -> ClusterTotals {
        std::mem::take(&mut self.table().retired)
    }

    /// Adds to what was told of clusters without a name; all of it.
    pub(super) fn add_others(&self, news: &ClusterTotals) -> ClusterTotals {
        let mut table = self.table();
        table.others = table.others.plus(news);
        table.others
    }

    fn weigh(&self, table: &Table) {
        // An eighth is left for the time until the others have heard of it.
        let crowded = table.clusters.len() >= table.max_hosts - table.max_hosts / 8;
        self.crowded.store(crowded, Ordering::Relaxed);
    }

    /// Has every worker look whether it is in the way of another.
    pub(super) fn call_all(&self) {
        self.calls.iter().for_each(|calls| calls.wake.notify_one());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing under the lock leaves the table half changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
