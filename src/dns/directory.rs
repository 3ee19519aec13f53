//! The directory itself: names to entries, with a bound.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::driver::Driver;
use super::host::{Common, Host};
use super::{DnsStats, Error};
use crate::codec::authority::Name;
use crate::config;

/// Names to addresses, for all threads.
///
/// Locked when a cluster is made or ends, never on the way of a stream to a cluster that stands.
pub struct Directory {
    pub(super) common: Arc<Common>,
    table: Mutex<Table>,
    /// Wakes the driver where it cannot know by itself: the first host of an empty table, a reload.
    pub(super) changed: Notify,
}

/// A host as the admin API shows it.
#[derive(Debug, Clone)]
pub struct HostView {
    pub name: Name,
    pub addresses: Vec<IpAddr>,
    pub generation: u64,
    /// Since the addresses were looked up.
    pub age: Option<Duration>,
    /// Until they expire; zero for an answer that is served stale.
    pub time_to_live: Option<Duration>,
    pub last_error: Option<Error>,
    pub idle: Duration,
    pub waiters: u32,
    pub preresolved: bool,
}

/// Where the system keeps what it knows of names; tests have their own.
pub(super) struct Paths {
    pub(super) resolv_conf: PathBuf,
    pub(super) hosts: PathBuf,
}

impl Directory {
    /// The driver does the work; run it on the main thread's runtime. Nothing is read or opened before it runs.
    pub fn new(config: &config::Dns) -> (Arc<Directory>, Driver) {
        Directory::with_paths(config, Paths { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() })
    }

    pub(super) fn with_paths(config: &config::Dns, paths: Paths) -> (Arc<Directory>, Driver) {
        let (requests, received) = mpsc::unbounded_channel();
        let directory = Arc::new(Directory {
            common: Arc::new(Common::new(config.clone(), requests)),
            table: Mutex::default(),
            changed: Notify::new(),
        });
        let driver = Driver::new(directory.clone(), received, paths);
        (directory, driver)
    }

    /// The shared entry of a name, made when missing. At `max_hosts`, the least recently used one that nobody holds makes room.
    pub fn host(&self, name: &Name) -> Result<Arc<Host>, Error> {
        let mut table = self.table();
        if let Some(host) = table.find(name) {
            let host = host.clone();
            drop(table);
            host.mark_used();
            return Ok(host);
        }
        let max_hosts = self.common.settings.load().max_hosts;
        while table.hosts.len() >= max_hosts {
            if !table.evict(self.common.since_epoch(Instant::now())) {
                self.common.stats.host_overflow.increment();
                return Err(Error::Overflow);
            }
            self.common.stats.host_removed.increment();
        }
        let host = Host::new(*name, self.common.clone());
        table.insert(host.clone());
        self.common.stats.host_added.increment();
        self.common.stats.num_hosts.set(table.hosts.len() as u64);
        if table.hosts.len() == 1 {
            self.changed.notify_one();
        }
        Ok(host)
    }

    /// Takes a new configuration: answers known stay as they are, look-ups from now on follow it.
    pub fn reconfigure(&self, config: &config::Dns) {
        self.common.settings.store(Arc::new(config.clone()));
        self.changed.notify_one();
    }

    pub fn stats(&self) -> &DnsStats {
        &self.common.stats
    }

    /// All hosts, in the order of their names.
    pub fn hosts(&self) -> Vec<HostView> {
        let now = Instant::now();
        let hosts: Vec<Arc<Host>> = self.table().hosts.iter().cloned().collect();
        let mut views: Vec<HostView> = hosts.iter().map(|host| self.view(host, now)).collect();
        views.sort_by(|left, right| left.name.as_str().cmp(right.name.as_str()));
        views
    }

    fn view(&self, host: &Host, now: Instant) -> HostView {
        let state = host.state();
        let answer = state.answer.as_ref();
        HostView {
            name: *host.name(),
            addresses: answer.map(|answer| answer.addresses.clone()).unwrap_or_default(),
            generation: host.generation(),
            age: answer.map(|answer| now.saturating_duration_since(answer.resolved_at)),
            time_to_live: answer.map(|answer| answer.expires_at.saturating_duration_since(now)),
            last_error: state.failure.as_ref().map(|failure| failure.error),
            idle: now.saturating_duration_since(self.common.instant(host.last_used())),
            waiters: host.waiters(),
            preresolved: host.is_preresolved(),
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing under the lock can leave the table half changed.
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) hosts: HashTable<Arc<Host>>,
    /// Every host once, under a time at or before its last use; put right when it comes up, so that a use costs no lock.
    by_last_use: BinaryHeap<Aged>,
    hasher: RandomState,
}

/// The table's own references to each host.
const HELD_BY_TABLE: usize = 2;

impl Table {
    fn find(&self, name: &Name) -> Option<&Arc<Host>> {
        self.hosts.find(self.hasher.hash_one(name), |host| host.name() == name)
    }

    fn insert(&mut self, host: Arc<Host>) {
        let Table { hosts, by_last_use, hasher } = self;
        by_last_use.push(Aged { last_used: host.last_used(), host: host.clone() });
        hosts.insert_unique(hasher.hash_one(host.name()), host, |host| hasher.hash_one(host.name()));
    }

    /// Drops the least recently used host that nobody holds.
    fn evict(&mut self, now: u64) -> bool {
        let mut held = Vec::new();
        let victim = loop {
            let Some(mut aged) = self.by_last_use.pop() else { break None };
            let last_used = aged.host.last_used();
            if last_used > aged.last_used {
                aged.last_used = last_used;
                self.by_last_use.push(aged);
            } else if Table::is_free(&aged.host) {
                break Some(aged.host);
            } else {
                // Held is in use: it comes up again after all that are not.
                aged.last_used = now;
                held.push(aged);
            }
        };
        self.by_last_use.extend(held);
        let Some(victim) = victim else { return false };
        if let Ok(entry) = self.hosts.find_entry(self.hasher.hash_one(victim.name()), |host| Arc::ptr_eq(host, &victim)) {
            entry.remove();
        }
        true
    }

    /// Drops the hosts that `is_over` says it of, of those that nobody holds; how many.
    pub(super) fn drop_free(&mut self, mut is_over: impl FnMut(&Host) -> bool) -> usize {
        let before = self.hosts.len();
        let mut dropped = false;
        self.hosts.retain(|host| {
            let drop = Table::is_free(host) && is_over(host);
            dropped |= drop;
            !drop
        });
        if dropped {
            // What the hosts have let go, the heap alone holds now.
            self.by_last_use.retain(|aged| Arc::strong_count(&aged.host) > 1);
            self.hosts.shrink_to(self.hosts.len() * 2, |host| self.hasher.hash_one(host.name()));
            self.by_last_use.shrink_to(self.hosts.len() * 2);
        }
        before - self.hosts.len()
    }

    /// Places that it has memory for.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        self.hosts.capacity().max(self.by_last_use.capacity())
    }

    /// Under the table's lock the count can only fall, since whoever could raise it holds one already.
    fn is_free(host: &Arc<Host>) -> bool {
        Arc::strong_count(host) <= HELD_BY_TABLE && !host.is_preresolved()
    }
}

/// Ordered so that the heap gives the least recently used first.
struct Aged {
    last_used: u64,
    host: Arc<Host>,
}

impl Ord for Aged {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        Reverse(self.last_used).cmp(&Reverse(other.last_used))
    }
}

impl PartialOrd for Aged {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Aged {
    fn eq(&self, other: &Self) -> bool {
        self.last_used == other.last_used
    }
}

impl Eq for Aged {}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("hosts", &self.stats().num_hosts.get()).finish_non_exhaustive()
    }
}
