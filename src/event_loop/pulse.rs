//! How a worker's event loop is doing: how long its turns take, how late it runs what is due, whether it hangs.
//!
//! An idle worker pays nothing: its heartbeat rests until the loop wakes for another reason, and while all rest, so does the
//! watchdog. A loop that is parked is healthy, however long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::Notify;

use super::clock::set_turn_start;
use crate::probes;
use crate::stats::WorkerStats;

/// The signs of life of one event loop; made by [`Watchdog::pulse`](super::Watchdog::pulse).
#[derive(Debug)]
pub struct Pulse {
    pub(super) stats: Arc<WorkerStats>,
    pub(super) epoch: Instant,
    /// When the loop last showed life, in microseconds since `epoch`; 0 while it is parked.
    pub(super) alive_at: AtomicU64,
    pub(super) woken_at: AtomicU64,
    pub(super) turns: AtomicU64,
    /// The heartbeat waits for the loop to wake.
    pub(super) resting: AtomicBool,
    pub(super) heartbeat: Notify,
    pub(super) watchdog: Arc<Notify>,
}

/// Between two heartbeats of a loop that has work.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);
/// A loop that wakes no more often than this in an interval has no work; a timer alone may wake it more than once, for
/// tokio's timer wheel moves long timers inwards.
const IDLE_TURNS: u64 = 4;
/// The heartbeat was what woke the loop if that was no longer ago.
const FRESH: Duration = Duration::from_millis(1);

impl Pulse {
    /// Has the runtime that `builder` builds keep this pulse.
    pub fn instrument(self: &Arc<Self>, builder: &mut Builder) {
        let (parking, unparking) = (Arc::clone(self), Arc::clone(self));
        builder.on_thread_park(move || parking.rest()).on_thread_unpark(move || unparking.wake());
    }

    /// Beats for ever while the loop has work. The worker runs this as a task of its own: a loop that is never done with its
    /// work never parks, and only a task that is due sees how far behind it is.
    pub async fn beat(self: Arc<Self>) {
        loop {
            self.resting.store(true, Ordering::Release);
            self.heartbeat.notified().await;
            while self.beat_once().await {}
        }
    }

    /// Whether there was work.
    async fn beat_once(&self) -> bool {
        let turns = self.turns.load(Ordering::Relaxed);
        let due = tokio::time::Instant::now() + HEARTBEAT_INTERVAL;
        tokio::time::sleep_until(due).await;
        self.stats.poll_delay_us.record_duration(due.elapsed());
        // A loop that never parks would otherwise reckon its deadlines from the time when it last did.
        set_turn_start(Instant::now());
        let now = self.now();
        self.alive_at.store(now, Ordering::Relaxed);
        let woken_for_this = now - self.woken_at.load(Ordering::Relaxed) <= FRESH.as_micros() as u64;
        !woken_for_this || self.turns.load(Ordering::Relaxed) - turns > IDLE_TURNS
    }

    /// How long the loop has shown no sign of life; nothing while it is parked, which is healthy however long.
    pub fn silence(&self) -> Duration {
        match self.alive_at.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            alive_at => Duration::from_micros(self.now().saturating_sub(alive_at)),
        }
    }

    fn rest(&self) {
        let woken_at = self.woken_at.load(Ordering::Relaxed);
        // The very first turn began before anybody looked.
        if woken_at != 0 {
            let turn = self.now() - woken_at;
            self.stats.loop_duration_us.record(turn);
            probes::loop_turn(turn);
        }
        self.alive_at.store(0, Ordering::Relaxed);
    }

    fn wake(&self) {
        let instant = Instant::now();
        set_turn_start(instant);
        let now = instant.duration_since(self.epoch).as_micros() as u64 + 1;
        self.woken_at.store(now, Ordering::Relaxed);
        self.alive_at.store(now, Ordering::Relaxed);
        // Only the loop's own thread comes here, so load and store need not be one atomic step.
        self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if self.resting.load(Ordering::Relaxed) {
            self.resting.store(false, Ordering::Release);
            self.heartbeat.notify_one();
            self.watchdog.notify_one();
        }
    }

    /// Never 0, which means parked.
    pub(super) fn now(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64 + 1
    }
}
