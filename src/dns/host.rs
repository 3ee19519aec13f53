//! One name's entry, shared by all threads.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::entry::{Answer, Replies, Standing, State};
use super::{DnsStats, Error};
use crate::clients::{Account, Permit, Share};
use crate::codec::authority::Name;
use crate::config;

/// What all hosts, the directory and the driver have in common.
pub(super) struct Common {
    pub(super) settings: ArcSwap<config::Dns>,
    pub(super) stats: DnsStats,
    /// Instants are kept as distances from here where they must fit an atomic.
    epoch: Instant,
    /// Bounded by `max_hosts`: no host is in it twice.
    requests: mpsc::UnboundedSender<Arc<Host>>,
    stopped: AtomicBool,
}

/// The entry of a name. Whoever holds one keeps it from being dropped.
pub struct Host {
    name: Name,
    /// Itself, to be handed to the driver.
    this: Weak<Host>,
    common: Arc<Common>,
    generation: AtomicU64,
    state: ArcSwap<State>,
    in_flight: AtomicBool,
    settled: Notify,
    /// Milliseconds since the epoch, exact on the slow ways and to the second on the fast one.
    last_used: AtomicU64,
    used_since_look_up: AtomicBool,
    /// Milliseconds since the epoch; from then on a use asks for a refresh.
    refresh_at: AtomicU64,
    preresolved: AtomicBool,
    waiters: AtomicU32,
    /// The place of the last one who waited and gave up, held until the look-up ends: it goes on.
    abandoned: Mutex<Option<Permit>>,
}

impl Host {
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Changes whenever the set of addresses changed: one relaxed load, so that a warm stream may look for nothing.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The answer in force, fresh, or stale while the resolver fails: without waiting or locking.
    pub fn answer(&self) -> Option<Arc<Answer>> {
        match self.state.load().standing(Instant::now()) {
            Standing::InForce { answer, refresh_due } => {
                if refresh_due {
                    let _ = self.ask();
                }
                Some(answer.clone())
            }
            Standing::Failed(_) | Standing::Unknown => None,
        }
    }

    /// Marks the host as in use, so that it is kept, and refreshed ahead of expiry.
    pub fn touch(&self) {
        let now = self.common.since_epoch(Instant::now());
        // Loads before stores: between workers the cache line is shared, and a store would take it from all the others.
        if now / 1000 != self.last_used.load(Ordering::Relaxed) / 1000 {
            self.last_used.store(now, Ordering::Relaxed);
        }
        if !self.used_since_look_up.load(Ordering::Relaxed) {
            self.used_since_look_up.store(true, Ordering::Relaxed);
        }
        if now >= self.refresh_at.load(Ordering::Relaxed) {
            let _ = self.ask();
        }
    }

    /// The answer in force, or else the outcome of a look-up, which is the one in flight if there is one.
    ///
    /// May be dropped at any time; the look-up goes on for the others, and for the next. A wait counts against `client`.
    pub async fn resolve(&self, client: Option<&Arc<Account>>) -> Result<Arc<Answer>, Error> {
        self.mark_used();
        let serial = {
            let state = self.state.load();
            match state.standing(Instant::now()) {
                Standing::InForce { answer, refresh_due } => {
                    if refresh_due {
                        let _ = self.ask();
                    }
                    return Ok(answer.clone());
                }
                Standing::Failed(error) => return Err(error),
                Standing::Unknown => state.serial,
            }
        };
        let _waiting = Waiting::enter(self, client)?;
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // In line first, then look: a look-up that ends between the two would otherwise wake nobody.
            settled.as_mut().enable();
            let state = self.state.load_full();
            if state.serial != serial {
                return state.outcome(Instant::now());
            }
            self.ask()?;
            settled.await;
        }
    }

    pub(super) fn new(name: Name, common: Arc<Common>) -> Arc<Host> {
        let now = common.since_epoch(Instant::now());
        Arc::new_cyclic(|this| Host {
            name,
            this: this.clone(),
            common,
            generation: AtomicU64::new(0),
            state: ArcSwap::default(),
            in_flight: AtomicBool::new(false),
            settled: Notify::new(),
            last_used: AtomicU64::new(now),
            used_since_look_up: AtomicBool::new(false),
            refresh_at: AtomicU64::new(u64::MAX),
            preresolved: AtomicBool::new(false),
            waiters: AtomicU32::new(0),
            abandoned: Mutex::default(),
        })
    }

    /// Has the driver look the name up, unless it is about to anyway.
    pub(super) fn ask(&self) -> Result<(), Error> {
        if self.common.stopped.load(Ordering::Acquire) {
            return Err(Error::Stopped);
        }
        if self.in_flight.load(Ordering::SeqCst) || self.in_flight.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        // As many again may go on that nobody waits for any more.
        let most = self.common.settings.load().max_pending_requests.saturating_mul(2);
        if !self.common.stats.look_ups.increment_within(most) {
            self.in_flight.store(false, Ordering::SeqCst);
            // Whoever took it for in flight meanwhile waits for its end.
            self.settled.notify_waiters();
            return Err(self.common.overflow());
        }
        let Some(this) = self.this.upgrade() else { return Err(Error::Stopped) };
        self.common.requests.send(this).map_err(|_| Error::Stopped)
    }

    /// Publishes what a look-up has found so far; it goes on.
    pub(super) fn publish(&self, replies: Replies) {
        self.store(replies);
        self.settled.notify_waiters();
    }

    /// Publishes the end of a look-up; the next one may be asked for.
    pub(super) fn settle(&self, replies: Replies) {
        // Uses during the look-up are the ones that it was for.
        self.used_since_look_up.store(false, Ordering::Relaxed);
        self.store(replies);
        // Cleared before anybody is woken: one who read the new state, found it expired already (TTL 0) and a look-up still in
        // flight, waits for this very wake to ask again.
        if self.in_flight.swap(false, Ordering::SeqCst) {
            self.common.stats.look_ups.decrement();
        }
        drop(self.abandoned().take());
        self.settled.notify_waiters();
    }

    fn abandoned(&self) -> std::sync::MutexGuard<'_, Option<Permit>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, replies: Replies) {
        let now = Instant::now();
        let (state, changed) = self.state.load().after(replies, now, &self.common.settings.load());
        let refresh_at = state.refresh_at().map_or(u64::MAX, |at| self.common.since_epoch(at));
        self.refresh_at.store(refresh_at, Ordering::Relaxed);
        if state.answer.is_some() && state.failure.is_some() {
            self.common.stats.stale_served.increment();
        }
        self.state.store(Arc::new(state));
        if changed {
            self.generation.fetch_add(1, Ordering::Relaxed);
            self.common.stats.host_address_changed.increment();
        }
    }

    pub(super) fn wake_all(&self) {
        self.settled.notify_waiters();
    }

    pub(super) fn mark_used(&self) {
        self.last_used.store(self.common.since_epoch(Instant::now()), Ordering::Relaxed);
        if !self.used_since_look_up.load(Ordering::Relaxed) {
            self.used_since_look_up.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    pub(super) fn is_used(&self) -> bool {
        self.is_preresolved() || self.used_since_look_up.load(Ordering::Relaxed)
    }

    pub(super) fn is_preresolved(&self) -> bool {
        self.preresolved.load(Ordering::Relaxed)
    }

    pub(super) fn set_preresolved(&self, preresolved: bool) {
        self.preresolved.store(preresolved, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub(super) fn waiters(&self) -> u32 {
        self.waiters.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("name", &self.name).field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl Common {
    pub(super) fn new(settings: config::Dns, requests: mpsc::UnboundedSender<Arc<Host>>) -> Common {
        Common {
            settings: ArcSwap::from_pointee(settings),
            stats: DnsStats::default(),
            epoch: Instant::now(),
            requests,
            stopped: AtomicBool::new(false),
        }
    }

    /// Milliseconds.
    pub(super) fn since_epoch(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.epoch).as_millis() as u64
    }

    pub(super) fn instant(&self, since_epoch: u64) -> Instant {
        self.epoch + std::time::Duration::from_millis(since_epoch)
    }

    fn overflow(&self) -> Error {
        self.stats.pending_overflow.increment();
        Error::PendingOverflow
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}

/// A place among those who wait, given back when the wait ends or is given up.
struct Waiting<'a> {
    host: &'a Host,
    permit: Option<Permit>,
}

impl<'a> Waiting<'a> {
    fn enter(host: &'a Host, client: Option<&Arc<Account>>) -> Result<Self, Error> {
        let common = &host.common;
        let settings = common.settings.load();
        let permit = client.map(|client| client.take(Share::LookUps, settings.max_pending_requests_per_client)).map(|permit| {
            permit.ok_or_else(|| {
                common.stats.client_overflow.increment();
                Error::ClientOverflow
            })
        });
        let permit = permit.transpose()?;
        if !common.stats.pending.increment_within(settings.max_pending_requests) {
            return Err(common.overflow());
        }
        host.waiters.fetch_add(1, Ordering::Relaxed);
        Ok(Waiting { host, permit })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let was_last = self.host.waiters.fetch_sub(1, Ordering::Relaxed) == 1;
        self.host.common.stats.pending.decrement();
        if was_last {
            let mut abandoned = self.host.abandoned();
            // Looked at under the lock, which the end of the look-up takes afterwards.
            if self.host.in_flight.load(Ordering::SeqCst) {
                *abandoned = self.permit.take();
            }
        }
    }
}
