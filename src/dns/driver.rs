//! The main thread's part: it makes the look-ups, refreshes what is in use, and drops what is not.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::Error;
use super::directory::Directory;
use super::entry::{Replies, State};
use super::host::Host;
use super::resolver::{Paths, Resolver};
use crate::codec::authority;
use crate::config;

/// Makes the look-ups that hosts ask for. When it is dropped, all who wait are told so.
pub struct Driver {
    directory: Arc<Directory>,
    requests: mpsc::UnboundedReceiver<Arc<Host>>,
    resolver: Arc<Resolver>,
    look_ups: JoinSet<Arc<Host>>,
    /// `None` while there are no hosts: an idle process has no timer.
    next_sweep: Option<Instant>,
}

/// What a sweep does about a host.
#[derive(Debug, PartialEq)]
enum Step {
    Refresh,
    /// Nobody has asked for it in `host_ttl`; drop it unless it is held.
    Idle,
    LookAgainAt(Instant),
}

/// Sweeps see all hosts, so they are kept apart; nothing that they do is in a hurry.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// Hosts that a sweep looks at while it holds the table.
const SWEEP_PART: usize = 256;

impl Driver {
    /// Makes a directory and what works for it; run the driver on the main thread's runtime. Nothing is read or opened before
    /// it runs.
    pub fn new(config: &config::Dns) -> (Arc<Directory>, Driver) {
        Driver::with_paths(config, Paths { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() })
    }

    pub(super) fn with_paths(config: &config::Dns, paths: Paths) -> (Arc<Directory>, Driver) {
        let (sender, requests) = mpsc::unbounded_channel();
        let directory = Arc::new(Directory::new(config, sender));
        let resolver = Arc::new(Resolver::new(directory.common.clone(), paths));
        let driver = Driver { directory: directory.clone(), requests, resolver, look_ups: JoinSet::new(), next_sweep: None };
        (directory, driver)
    }

    /// Runs for as long as it is polled.
    pub async fn run(mut self) {
        let directory = self.directory.clone();
        self.preresolve();
        loop {
            let next_sweep = self.next_sweep;
            tokio::select! {
                Some(host) = self.requests.recv() => self.start(host),
                Some(ended) = self.look_ups.join_next() => {
                    if let Ok(host) = ended {
                        self.plan(&host);
                    }
                }
                () = directory.changed.notified() => {
                    self.preresolve();
                    self.sweep();
                }
                () = sleep_until(next_sweep) => self.sweep(),
            }
        }
    }

    /// Has the names of `preresolve_hostnames` looked up, and lets go of those that were in it before a reload.
    fn preresolve(&self) {
        let settings = self.directory.common.settings.load_full();
        let mut wanted = HashSet::new();
        for text in &settings.preresolve_hostnames {
            let Ok(authority::Host::Name(name)) = authority::Host::parse(text.as_bytes()) else {
                warn!("preresolve_hostnames: {text:?} is not a name to look up");
                continue;
            };
            match self.directory.host(&name) {
                Ok(host) => {
                    host.set_preresolved(true);
                    if host.state().serial == 0 {
                        let _ = host.ask();
                    }
                    wanted.insert(name);
                }
                Err(error) => warn!("preresolve_hostnames: {name}: {error}"),
            }
        }
        for host in self.directory.table().hosts() {
            if host.is_preresolved() && !wanted.contains(host.name()) {
                host.set_preresolved(false);
            }
        }
    }

    fn start(&mut self, host: Arc<Host>) {
        if let Some(replies) = self.resolver.local(host.name()) {
            host.settle(replies);
            return self.plan(&host);
        }
        let resolver = self.resolver.clone();
        let flight = Flight(Some(host.clone()));
        self.look_ups.spawn(async move {
            resolver.look_up(&host).await;
            flight.landed();
            host
        });
    }

    /// Brings the next sweep forward to when `host` wants it.
    fn plan(&mut self, host: &Host) {
        let now = Instant::now();
        let at = match self.step(host, now) {
            Step::LookAgainAt(at) => at.max(now + SWEEP_INTERVAL),
            Step::Refresh | Step::Idle => now + SWEEP_INTERVAL,
        };
        self.next_sweep = Some(self.next_sweep.map_or(at, |next| next.min(at)));
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        let common = &self.directory.common;
        let host_ttl = common.settings.load().host_ttl.max(SWEEP_INTERVAL);
        // Hosts that nobody has asked for yet are in no plan.
        let mut next = now + host_ttl;
        let (mut dropped, mut end) = (0, usize::MAX);
        // From the end, by parts: workers wait for the table, and what takes a dropped one's place has been looked at.
        let left = loop {
            let mut table = self.directory.table();
            end = end.min(table.hosts().len());
            let start = end.saturating_sub(SWEEP_PART);
            dropped += table.drop_free(start..end, |host| self.step(host, now) == Step::Idle);
            for host in &table.hosts()[start..end.min(table.hosts().len())] {
                match self.step(host, now) {
                    Step::Refresh if host.ask().is_err() => next = now,
                    Step::Refresh => {}
                    Step::Idle => {}
                    Step::LookAgainAt(at) => next = next.min(at),
                }
            }
            if start == 0 {
                break table.hosts().len();
            }
            end = start;
        };
        (0..dropped).for_each(|_| common.stats.host_removed.increment());
        common.stats.num_hosts.set(left as u64);
        self.next_sweep = (left > 0).then(|| next.max(now + SWEEP_INTERVAL));
    }

    fn step(&self, host: &Host, now: Instant) -> Step {
        let common = &self.directory.common;
        let idle_at = (!host.is_preresolved()).then(|| common.instant(host.last_used()) + common.settings.load().host_ttl);
        step(&host.state(), host.is_used(), idle_at, now)
    }
}

/// `idle_at` is `None` for a host that stays whether used or not.
fn step(state: &State, is_used: bool, idle_at: Option<Instant>, now: Instant) -> Step {
    if idle_at.is_some_and(|idle_at| idle_at <= now) {
        return Step::Idle;
    }
    let refresh_at = match (state.refresh_at(), &state.failure) {
        // A name that fails and has nothing to serve is asked for again by those who want it; and if it is to be there before
        // anybody wants it, by us.
        (None, Some(failure)) if idle_at.is_none() => Some(failure.until),
        // Too many look-ups ran when it was added.
        (None, None) if idle_at.is_none() && state.serial == 0 => Some(now),
        (refresh_at, _) => refresh_at,
    };
    match refresh_at {
        Some(at) if at <= now && is_used => Step::Refresh,
        // Unused so far, it may be used by then.
        Some(at) if at > now => Step::LookAgainAt(idle_at.map_or(at, |idle_at| idle_at.min(at))),
        _ => Step::LookAgainAt(idle_at.unwrap_or(now + SLOW_LOOK)),
    }
}

/// For a host with nothing planned, which a look-up in flight or a use will plan.
const SLOW_LOOK: Duration = Duration::from_secs(60);

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.directory.common.stop();
        for host in self.directory.table().hosts() {
            host.wake_all();
        }
    }
}

/// A look-up on its way. Whatever becomes of its task, nobody waits for it in vain.
struct Flight(Option<Arc<Host>>);

impl Flight {
    /// The host is settled, and may be in flight again already.
    fn landed(mut self) {
        self.0 = None;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(host) = self.0.take() {
            host.settle(Replies::failed(Error::ServerFailure));
        }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
