//! The clusters that one worker knows.

use std::cell::{Cell, RefCell};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use tokio::sync::Notify;

use super::Cluster;
use crate::codec::authority::{Authority, Host};
use crate::config::{self, ClusterOptions, Config};
use crate::dns;
use crate::matcher::HostSet;
use crate::stats::WorkerStats;

/// How often idle connections and clusters are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Made on demand, found by authority, forgotten when idle.
pub struct Clusters {
    table: RefCell<HashTable<Rc<Cluster>>>,
    /// Keyed afresh per worker, so that nobody can choose names that collide.
    hasher: foldhash::fast::RandomState,
    dns: Arc<dns::Directory>,
    stats: Arc<WorkerStats>,
    options: RefCell<Options>,
    max_hosts: Cell<usize>,
    host_ttl: Cell<Duration>,
    not_empty: Notify,
}

/// The defaults and the overrides, each shared by the clusters that they fit.
struct Options {
    defaults: Rc<ClusterOptions>,
    overrides: Vec<(HostSet, Rc<ClusterOptions>)>,
}

impl Clusters {
    pub fn new(config: &Config, dns: Arc<dns::Directory>, stats: Arc<WorkerStats>) -> Self {
        Clusters {
            table: RefCell::default(),
            hasher: foldhash::fast::RandomState::default(),
            dns,
            stats,
            options: RefCell::new(Options::new(&config.cluster)),
            max_hosts: Cell::new(config.dns.max_hosts),
            host_ttl: Cell::new(config.dns.host_ttl),
            not_empty: Notify::new(),
        }
    }

    /// The cluster of an authority, made when it is asked for first.
    ///
    /// # Errors
    /// When there are too many names, and all in use.
    pub fn get(&self, authority: &Authority) -> Result<Rc<Cluster>, dns::Error> {
        let hash = self.hasher.hash_one(authority);
        if let Some(cluster) = self.table.borrow().find(hash, |cluster| cluster.authority == *authority) {
            return Ok(cluster.clone());
        }
        self.make(authority, hash)
    }

    fn make(&self, authority: &Authority, hash: u64) -> Result<Rc<Cluster>, dns::Error> {
        if self.table.borrow().len() >= self.max_hosts.get() {
            self.evict_one();
        }
        let host = match &authority.host {
            Host::Address(_) => None,
            Host::Name(name) => Some(self.dns.host(name)?),
        };
        let options = self.options.borrow().of(&authority.host);
        let cluster = Rc::new(Cluster::new(*authority, host, options, &self.stats));
        let mut table = self.table.borrow_mut();
        table.insert_unique(hash, cluster.clone(), |cluster| self.hasher.hash_one(cluster.authority));
        if table.len() == 1 {
            self.not_empty.notify_one();
        }
        Ok(cluster)
    }

    /// Makes room: the cluster that was used longest ago goes, but never one in use. When all are
    /// in use the table grows past its bound; breakers bound what is in use.
    fn evict_one(&self) {
        let mut table = self.table.borrow_mut();
        let oldest = table
            .iter()
            .filter(|cluster| Rc::strong_count(cluster) == 1)
            .min_by_key(|cluster| cluster.last_used.get())
            .map(|cluster| cluster.authority);
        if let Some(authority) = oldest
            && let Ok(entry) = table.find_entry(self.hasher.hash_one(authority), |cluster| cluster.authority == authority)
        {
            entry.remove();
        }
    }

    /// Puts a new configuration in force for clusters old and new.
    pub fn reconfigure(&self, config: &Config) {
        let options = Options::new(&config.cluster);
        for cluster in self.table.borrow().iter() {
            cluster.options.replace(options.of(&cluster.authority.host));
        }
        self.options.replace(options);
        self.max_hosts.set(config.dns.max_hosts);
        self.host_ttl.set(config.dns.host_ttl);
    }

    /// Drops every idle connection, at once.
    pub fn close_idle(&self) {
        for cluster in self.table.borrow().iter() {
            cluster.pool.borrow_mut().clear();
        }
    }

    /// Sweeps now and then for as long as the worker runs; sleeps while there are no clusters.
    pub async fn run(&self) {
        loop {
            if self.table.borrow().is_empty() {
                self.not_empty.notified().await;
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.sweep(Instant::now());
        }
    }

    fn sweep(&self, now: Instant) {
        let ttl = self.host_ttl.get();
        let mut table = self.table.borrow_mut();
        table.retain(|cluster| {
            cluster.sweep(now);
            Rc::strong_count(cluster) > 1 || !cluster.is_idle(now, ttl)
        });
        if table.is_empty() {
            *table = HashTable::new();
        }
    }
}

impl Options {
    fn new(config: &config::Cluster) -> Self {
        Options {
            defaults: Rc::new(config.defaults.clone()),
            overrides: config.overrides.iter().map(|over| (HostSet::new(&over.hosts), Rc::new(over.options.clone()))).collect(),
        }
    }

    fn of(&self, host: &Host) -> Rc<ClusterOptions> {
        let matching = self.overrides.iter().find(|(hosts, _)| hosts.contains(host));
        matching.map_or(&self.defaults, |(_, options)| options).clone()
    }
}
