//! The clusters that one worker knows.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::directory::NoRoom;
use super::options::Options;
use super::shelf::Shelf;
use super::{Cluster, Directory, Household, Shared, Unavailable};
use crate::clients::{Account, Share};
use crate::codec::authority::{Authority, Host};
use crate::config::{self, ClusterOptions, Config};
use crate::dns;
use crate::event_loop::coarse_now;
use crate::stats::WorkerStats;

/// How often idle connections and clusters are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Clusters that a sweep looks at before others have their turn.
const SWEEP_PART: usize = 256;
/// Connections that a worker closes in one turn; the rest waits for the next occasion.
const CLOSED_AT_ONCE: usize = 256;
/// Other workers are called no more often than this, however much this one is short of.
const CALL_INTERVAL: Duration = Duration::from_millis(1);
/// Clusters dropped for one call.
const DROPPED_AT_ONCE: usize = 256;
/// Of those made for a client that has too many.
const DROPPED_FOR_CLIENT: usize = 8;

/// Made on demand, found by authority, forgotten when idle.
pub struct Clusters {
    worker: usize,
    household: Rc<Household>,
    table: RefCell<Shelf>,
    dns: Arc<dns::Directory>,
    stats: Arc<WorkerStats>,
    options: RefCell<Options<Rc<ClusterOptions>>>,
    addresses: RefCell<config::Addresses>,
    max_hosts: Cell<usize>,
    max_hosts_per_client: Cell<usize>,
    host_ttl: Cell<Duration>,
    /// Counts the uses of all clusters.
    uses: Cell<u64>,
    next_call: Cell<Option<Instant>>,
    next_call_for_client: Cell<Option<Instant>>,
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
            dns,
            stats,
            options: RefCell::new(Options::new(&config.cluster)),
            addresses: RefCell::new(config.addresses.clone()),
            max_hosts: Cell::new(config.dns.max_hosts),
            max_hosts_per_client: Cell::new(config.dns.max_hosts_per_client),
            host_ttl: Cell::new(config.dns.host_ttl),
            uses: Cell::new(0),
            next_call: Cell::default(),
            next_call_for_client: Cell::default(),
            shortages: Cell::new(0),
            not_empty: Notify::new(),
        }
    }

    /// The cluster of an authority, made when it is asked for first, and then for `client`.
    ///
    /// # Errors
    /// When there are too many names, over all or because of this client, and all in use.
    pub fn get(&self, authority: &Authority, client: &Arc<Account>) -> Result<Rc<Cluster>, Unavailable> {
        let known = self.table.borrow().find(authority).cloned();
        let cluster = match known {
            Some(cluster) => cluster,
            None => self.make(authority, client)?,
        };
        let uses = self.uses.get() + 1;
        self.uses.set(uses);
        cluster.last_use.set(uses);
        Ok(cluster)
    }

    fn make(&self, authority: &Authority, client: &Arc<Account>) -> Result<Rc<Cluster>, Unavailable> {
        self.make_room(client);
        let joined = self.join(authority, client).or_else(|lack| {
            match lack {
                NoRoom::Full => self.drop_unused(),
                NoRoom::ClientFull => self.drop_unused_of(client),
            }
            self.join(authority, client)
        });
        let (shared, host) = joined.map_err(|lack| self.refusal(lack))?;
        let options = self.options.borrow().of(&authority.host);
        let cluster = Rc::new(Cluster::new(shared, self.worker, self.household.clone(), host, options, &self.stats));
        let mut table = self.table.borrow_mut();
        table.insert(cluster.clone());
        if table.len() == 1 {
            self.not_empty.notify_one();
        }
        Ok(cluster)
    }

    /// A place in the directory of clusters, and one in that of names, which has the same bound.
    fn join(&self, authority: &Authority, client: &Arc<Account>) -> Result<(Arc<Shared>, Option<Arc<dns::Host>>), NoRoom> {
        let directory = &self.household.directory;
        let shared = directory.join(authority, client, self.max_hosts_per_client.get())?;
        match &authority.host {
            Host::Address(_) => Ok((shared, None)),
            Host::Name(name) => match self.dns.host(name) {
                Ok(host) => Ok((shared, Some(host))),
                Err(_) => {
                    directory.leave(&shared);
                    Err(NoRoom::Full)
                }
            },
        }
    }

    fn refusal(&self, lack: NoRoom) -> Unavailable {
        match lack {
            NoRoom::Full => {
                self.household.directory.count_overflow();
                Unavailable::Dns(dns::Error::Overflow)
            }
            NoRoom::ClientFull => {
                self.stats.clusters_client_overflow.increment();
                Unavailable::ClientOverflow(Share::Destinations)
            }
        }
    }

    /// Lets go of a cluster for the one that is to be made, where there are nearly as many as there may be: a stream of names
    /// that never come back costs each of them a few looks. A worker with less than its share has the others do so.
    fn make_room(&self, client: &Arc<Account>) {
        let directory = &self.household.directory;
        if directory.is_crowded() {
            if self.surplus() > 0 {
                self.drop_unused();
            } else {
                self.call_others();
            }
        }
        // Some are left for the time until the other workers have heard of it.
        let max = self.max_hosts_per_client.get();
        if client.has(Share::Destinations) >= max - (max / 8).max(1) {
            self.drop_unused_of(client);
        }
    }

    fn drop_unused(&self) {
        if !self.table.borrow_mut().drop_unused() {
            self.call_others();
        }
    }

    fn drop_unused_of(&self, client: &Arc<Account>) {
        if !self.table.borrow_mut().drop_unused_of(client) && is_due(&self.next_call_for_client) {
            self.household.directory.make_room_for(client);
        }
    }

    fn call_others(&self) {
        if is_due(&self.next_call) {
            self.household.directory.call_all();
        }
    }

    /// How many clusters this worker has past its share, if it makes one more. The shares together
    /// leave an eighth of `max_hosts` free, for what changes hands.
    fn surplus(&self) -> usize {
        let shares = self.max_hosts.get() - self.max_hosts.get() / 8;
        let share = (shares / self.household.directory.workers()).max(1);
        (self.table.borrow().len() + 1).saturating_sub(share)
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
        self.max_hosts_per_client.set(config.dns.max_hosts_per_client);
        self.host_ttl.set(config.dns.host_ttl);
        self.household.max_idle_connections.set(config.cluster.max_idle_connections_per_worker);
        self.household.too_many_idle.notify_one();
    }

    /// Drops idle connections, at once here and soon on the other workers: descriptors are short.
    pub fn close_idle(&self) {
        self.clear_idle();
        self.household.directory.tell_shortage();
    }

    /// As many as one turn allows; who is still short of descriptors says so again.
    fn clear_idle(&self) {
        let mut budget = if self.stats.upstream_cx_idle.get() > 0 { CLOSED_AT_ONCE } else { 0 };
        for cluster in self.table.borrow().iter() {
            if budget == 0 {
                break;
            }
            budget -= cluster.shed(budget);
        }
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
                    self.sweep(Instant::now()).await;
                    next_sweep = tokio::time::Instant::now() + SWEEP_INTERVAL;
                }
                () = directory.called(self.worker) => self.heed_calls(),
                () = self.household.too_many_idle.notified() => self.shed_idle(),
            }
        }
    }

    /// Another worker is short of something.
    fn heed_calls(&self) {
        let directory = &self.household.directory;
        let asked = directory.asked(self.worker);
        let shortages = directory.shortages();
        if self.shortages.replace(shortages) != shortages || asked.all {
            self.clear_idle();
        }
        let mut table = self.table.borrow_mut();
        for shared in &asked.reclaims {
            if let Some(cluster) = table.find(shared.authority()) {
                cluster.shed(CLOSED_AT_ONCE);
            }
        }
        for client in &asked.clients {
            let _ = (0..DROPPED_FOR_CLIENT).take_while(|_| table.drop_unused_of(client)).count();
        }
        drop(table);
        if directory.is_crowded() {
            let count = self.surplus().min(DROPPED_AT_ONCE);
            let _ = (0..count).take_while(|_| self.table.borrow_mut().drop_unused()).count();
        }
    }

    /// Looks at every cluster, a part in each turn.
    async fn sweep(&self, now: Instant) {
        let mut end = self.table.borrow().len();
        while end > 0 {
            end = self.sweep_part(now, end);
            if end > 0 {
                tokio::task::yield_now().await;
            }
        }
        self.table.borrow_mut().shrink();
    }

    /// Looks at the clusters before `end`; where it has come to.
    fn sweep_part(&self, now: Instant, end: usize) -> usize {
        let (ttl, mut budget) = (self.host_ttl.get(), CLOSED_AT_ONCE);
        let mut table = self.table.borrow_mut();
        let end = end.min(table.len());
        let start = end.saturating_sub(SWEEP_PART);
        table.retain(start..end, |cluster| {
            cluster.sweep(now, &mut budget);
            !cluster.is_idle(now, ttl)
        });
        start
    }
}

/// Whether the time has come, which then is another.
fn is_due(next: &Cell<Option<Instant>>) -> bool {
    let now = coarse_now();
    let is_due = next.get().is_none_or(|next| now >= next);
    if is_due {
        next.set(Some(now + CALL_INTERVAL));
    }
    is_due
}

#[cfg(test)]
#[path = "clusters_tests.rs"]
mod tests;
