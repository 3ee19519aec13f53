//! The clusters that one worker knows.

use std::cell::{Cell, RefCell};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use tokio::sync::Notify;

use super::options::Options;
use super::{Cluster, Directory, Full, Household, Shared};
use crate::codec::authority::{Authority, Host};
use crate::config::{self, ClusterOptions, Config};
use crate::dns;
use crate::stats::WorkerStats;

/// How often idle connections and clusters are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Made on demand, found by authority, forgotten when idle.
pub struct Clusters {
    worker: usize,
    household: Rc<Household>,
    table: RefCell<HashTable<Rc<Cluster>>>,
    /// Keyed afresh per worker, so that nobody can choose names that collide.
    hasher: foldhash::fast::RandomState,
    dns: Arc<dns::Directory>,
    stats: Arc<WorkerStats>,
    options: RefCell<Options<Rc<ClusterOptions>>>,
    addresses: RefCell<config::Addresses>,
    max_hosts: Cell<usize>,
    host_ttl: Cell<Duration>,
    /// Counts the uses of all clusters.
    uses: Cell<u64>,
    /// Clusters that may be made before the next search for unused ones.
    room: Cell<usize>,
    /// Shortages of descriptors that were heard of.
    shortages: Cell<u64>,
    not_empty: Notify,
}

impl Clusters {
    pub fn new(config: &Config, directory: Arc<Directory>, worker: usize, dns: Arc<dns::Directory>, stats: Arc<WorkerStats>) -> Self {
        Clusters {
            worker,
            household: Rc::new(Household {
                max_idle_connections: Cell::new(config.cluster.max_idle_connections_per_worker),
                too_many_idle: Notify::new(),
                directory,
            }),
            table: RefCell::default(),
            hasher: foldhash::fast::RandomState::default(),
            dns,
            stats,
            options: RefCell::new(Options::new(&config.cluster)),
            addresses: RefCell::new(config.addresses.clone()),
            max_hosts: Cell::new(config.dns.max_hosts),
            host_ttl: Cell::new(config.dns.host_ttl),
            uses: Cell::new(0),
            room: Cell::new(0),
            shortages: Cell::new(0),
            not_empty: Notify::new(),
        }
    }

    /// The cluster of an authority, made when it is asked for first.
    ///
    /// # Errors
    /// When there are too many names, and all in use.
    pub fn get(&self, authority: &Authority) -> Result<Rc<Cluster>, dns::Error> {
        let hash = self.hasher.hash_one(authority);
        let known = self.table.borrow().find(hash, |cluster| cluster.authority == *authority).cloned();
        let cluster = match known {
            Some(cluster) => cluster,
            None => self.make(authority, hash)?,
        };
        let uses = self.uses.get() + 1;
        self.uses.set(uses);
        cluster.last_use.set(uses);
        Ok(cluster)
    }

    fn make(&self, authority: &Authority, hash: u64) -> Result<Rc<Cluster>, dns::Error> {
        if self.table.borrow().len() >= self.max_hosts.get() || self.household.directory.is_crowded() {
            self.make_room();
        }
        let directory = &self.household.directory;
        let joined = self.join(authority).or_else(|Full| {
            self.drop_unused(self.eighth());
            directory.call_all();
            self.join(authority)
        });
        let (shared, host) = joined.map_err(|Full| directory.count_overflow())?;
        let options = self.options.borrow().of(&authority.host);
        let cluster = Rc::new(Cluster::new(shared, self.worker, self.household.clone(), host, options, &self.stats));
        let mut table = self.table.borrow_mut();
        table.insert_unique(hash, cluster.clone(), |cluster| self.hasher.hash_one(cluster.authority));
        if table.len() == 1 {
            self.not_empty.notify_one();
        }
        Ok(cluster)
    }

    /// A place in the directory of clusters, and one in that of names, which has the same bound.
    fn join(&self, authority: &Authority) -> Result<(Arc<Shared>, Option<Arc<dns::Host>>), Full> {
        let directory = &self.household.directory;
        let shared = directory.join(authority)?;
        match &authority.host {
            Host::Address(_) => Ok((shared, None)),
            Host::Name(name) => match self.dns.host(name) {
                Ok(host) => Ok((shared, Some(host))),
                Err(_) => {
                    directory.leave(&shared);
                    Err(Full)
                }
            },
        }
    }

    /// Drops the eighth that was used longest ago, and then lets as many be made without looking
    /// again: a stream of names that never come back costs each of them next to nothing. A worker
    /// with less than its share has the others do so.
    fn make_room(&self) {
        if let Some(room) = self.room.get().checked_sub(1) {
            self.room.set(room);
            return;
        }
        if self.surplus() > 0 {
            self.drop_unused(self.eighth());
        } else {
            self.household.directory.call_all();
        }
        self.room.set(self.eighth() - 1);
    }

    fn eighth(&self) -> usize {
        (self.table.borrow().len() / 8).max(1)
    }

    /// How many clusters this worker has past its share, if it makes one more. The shares together
    /// leave an eighth of `max_hosts` free, for what changes hands.
    fn surplus(&self) -> usize {
        let shares = self.max_hosts.get() - self.max_hosts.get() / 8;
        let share = (shares / self.household.directory.workers()).max(1);
        (self.table.borrow().len() + 1).saturating_sub(share)
    }

    /// Drops up to `count` clusters, those first that were used longest ago, but never one in use.
    fn drop_unused(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut table = self.table.borrow_mut();
        let mut unused: Vec<Rc<Cluster>> = table.iter().filter(|cluster| Rc::strong_count(cluster) == 1).cloned().collect();
        if count < unused.len() {
            unused.select_nth_unstable_by_key(count, |cluster| cluster.last_use.get());
            unused.truncate(count);
        }
        for cluster in &unused {
            let hash = self.hasher.hash_one(cluster.authority);
            if let Ok(entry) = table.find_entry(hash, |other| Rc::ptr_eq(other, cluster)) {
                entry.remove();
            }
        }
    }

    /// Closes idle connections until there are an eighth less than there may be, those of clusters
    /// first that were used longest ago.
    fn shed_idle(&self) {
        let max = self.household.max_idle_connections.get();
        let idle = || self.stats.upstream_cx_idle.get() as usize;
        if idle() <= max {
            return;
        }
        let table = self.table.borrow();
        let mut with_idle: Vec<&Rc<Cluster>> = table.iter().filter(|cluster| !cluster.pool.borrow().is_empty()).collect();
        with_idle.sort_unstable_by_key(|cluster| cluster.last_use.get());
        for cluster in with_idle {
            let surplus = idle().saturating_sub(max - max / 8);
            if surplus == 0 {
                break;
            }
            cluster.pool.borrow_mut().shed(surplus, &cluster.counts);
        }
    }

    /// Puts a new configuration in force for clusters old and new.
    pub fn reconfigure(&self, config: &Config) {
        let options = Options::new(&config.cluster);
        for cluster in self.table.borrow().iter() {
            cluster.reconfigure(options.of(&cluster.authority.host));
        }
        self.options.replace(options);
        // What was allowed when it was dialled need not be any more.
        if self.addresses.replace(config.addresses.clone()) != config.addresses {
            self.table.borrow().iter().for_each(|cluster| cluster.change_terms());
        }
        self.max_hosts.set(config.dns.max_hosts);
        self.host_ttl.set(config.dns.host_ttl);
        self.household.max_idle_connections.set(config.cluster.max_idle_connections_per_worker);
        self.household.too_many_idle.notify_one();
    }

    /// Drops every idle connection, at once here and soon on the other workers: descriptors are short.
    pub fn close_idle(&self) {
        self.clear_idle();
        self.household.directory.tell_shortage();
    }

    fn clear_idle(&self) {
        self.table.borrow().iter().for_each(|cluster| cluster.clear());
    }

    /// Keeps house for as long as the worker runs; sleeps while there are no clusters.
    pub async fn run(&self) {
        let directory = &self.household.directory;
        let mut next_sweep = tokio::time::Instant::now();
        loop {
            if self.table.borrow().is_empty() {
                self.not_empty.notified().await;
                next_sweep = tokio::time::Instant::now() + SWEEP_INTERVAL;
            }
            tokio::select! {
                () = tokio::time::sleep_until(next_sweep) => {
                    self.sweep(Instant::now());
                    next_sweep = tokio::time::Instant::now() + SWEEP_INTERVAL;
                }
                () = directory.called(self.worker) => self.heed_calls(),
                () = self.household.too_many_idle.notified() => self.shed_idle(),
            }
        }
    }

    /// Another worker is short of something.
    fn heed_calls(&self) {
        let shortages = self.household.directory.shortages();
        if self.shortages.replace(shortages) != shortages {
            self.clear_idle();
        }
        self.table.borrow().iter().for_each(|cluster| cluster.heed_reclaims());
        if self.household.directory.is_crowded() {
            self.drop_unused(self.surplus().min(self.eighth()));
        }
    }

    fn sweep(&self, now: Instant) {
        let ttl = self.host_ttl.get();
        self.room.set(0);
        let mut table = self.table.borrow_mut();
        table.retain(|cluster| {
            cluster.sweep(now);
            Rc::strong_count(cluster) > 1 || !cluster.is_idle(now, ttl)
        });
        if table.is_empty() {
            *table = HashTable::new();
        } else if table.capacity() > 64 && table.len() < table.capacity() / 4 {
            let room = table.len() * 2;
            table.shrink_to(room, |cluster| self.hasher.hash_one(cluster.authority));
        }
    }
}

#[cfg(test)]
#[path = "clusters_tests.rs"]
mod tests;
