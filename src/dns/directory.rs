//! The directory itself: names to entries, with a bound.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::host::{Common, Host};
use super::{DnsStats, Error};
use crate::codec::authority::Name;
use crate::config;
use crate::eviction::Sampler;

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

impl Directory {
    /// Look-ups are asked for through `requests`.
    pub(super) fn new(config: &config::Dns, requests: mpsc::UnboundedSender<Arc<Host>>) -> Directory {
        Directory { common: Arc::new(Common::new(config.clone(), requests)), table: Mutex::default(), changed: Notify::new() }
    }

    /// The shared entry of a name, made when missing. At `max_hosts`, one that nobody holds and nobody
    /// used for long makes room.
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
            if !table.evict() {
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
        let hosts: Vec<Arc<Host>> = self.table().hosts.clone();
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
    /// In no order.
    hosts: Vec<Arc<Host>>,
    /// Where each name's host is in `hosts`.
    places: HashTable<u32>,
    hasher: RandomState,
    sampler: Sampler,
}

/// The table's own references to each host.
const HELD_BY_TABLE: usize = 1;

impl Table {
    pub(super) fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    fn find(&self, name: &Name) -> Option<&Arc<Host>> {
        let place = self.places.find(self.hasher.hash_one(name), |&place| self.hosts[place as usize].name() == name)?;
        Some(&self.hosts[*place as usize])
    }

    fn insert(&mut self, host: Arc<Host>) {
        let Table { hosts, places, hasher, .. } = self;
        let hash = hasher.hash_one(host.name());
        hosts.push(host);
        places.insert_unique(hash, hosts.len() as u32 - 1, |&place| hasher.hash_one(hosts[place as usize].name()));
    }

    /// Drops a host that nobody holds and that was used longer ago than most, if one is found soon.
    fn evict(&mut self) -> bool {
        let victim = self.sampler.choose(&self.hosts, |host| Table::is_free(host).then(|| host.last_used()));
        victim.map(|place| self.remove(place)).is_some()
    }

    fn remove(&mut self, place: usize) {
        let last = self.hosts.len() - 1;
        for (from, to) in [(place, None), (last, Some(place as u32))] {
            let hash = self.hasher.hash_one(self.hosts[from].name());
            let Ok(mut entry) = self.places.find_entry(hash, |&known| known as usize == from) else { continue };
            match to {
                Some(to) => *entry.get_mut() = to,
                None => drop(entry.remove()),
            }
        }
        self.hosts.swap_remove(place);
    }

    /// Drops the hosts among those `within` that `is_over` says it of and that nobody holds; how many.
    pub(super) fn drop_free(&mut self, within: Range<usize>, mut is_over: impl FnMut(&Host) -> bool) -> usize {
        let before = self.hosts.len();
        // From the end, so that what takes a dropped one's place has been looked at.
        for place in within.rev() {
            if Table::is_free(&self.hosts[place]) && is_over(&self.hosts[place]) {
                self.remove(place);
            }
        }
        if self.hosts.capacity() > 2 * self.hosts.len() {
            let Table { hosts, places, hasher, .. } = self;
            hosts.shrink_to(hosts.len() + hosts.len() / 2);
            places.shrink_to(hosts.len() * 2, |&place| hasher.hash_one(hosts[place as usize].name()));
        }
        before - self.hosts.len()
    }

    /// Places that it has memory for.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        self.hosts.capacity().max(self.places.capacity())
    }

    /// Under the table's lock the count can only fall, since whoever could raise it holds one already.
    fn is_free(host: &Arc<Host>) -> bool {
        Arc::strong_count(host) <= HELD_BY_TABLE && !host.is_preresolved()
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("hosts", &self.stats().num_hosts.get()).finish_non_exhaustive()
    }
}
