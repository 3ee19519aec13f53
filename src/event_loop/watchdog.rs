//! Sees from outside that an event loop hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::pulse::Pulse;
use crate::stats::WorkerStats;

/// Runs on the main thread and counts loops that do not answer.
#[derive(Debug)]
pub struct Watchdog {
    epoch: Instant,
    wake: Arc<Notify>,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    pulse: Arc<Pulse>,
    seen: Sighting,
}

/// Envoy's limits.
const MISS: Duration = Duration::from_millis(200);
const MEGA_MISS: Duration = Duration::from_secs(1);
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

impl Watchdog {
    #[expect(clippy::new_without_default, reason = "reads the clock")]
    pub fn new() -> Self {
        Self { epoch: Instant::now(), wake: Arc::default(), watched: Vec::new() }
    }

    /// A pulse for one more worker.
    pub fn pulse(&mut self, stats: Arc<WorkerStats>) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse {
            stats,
            epoch: self.epoch,
            alive_at: AtomicU64::new(0),
            woken_at: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            resting: AtomicBool::new(false),
            heartbeat: Notify::new(),
            watchdog: Arc::clone(&self.wake),
        });
        self.watched.push(Watched { pulse: Arc::clone(&pulse), seen: Sighting::default() });
        pulse
    }

    /// Watches for ever.
    pub async fn run(mut self) {
        loop {
            if self.watched.iter().all(|watched| watched.pulse.resting.load(Ordering::Acquire)) {
                // Whoever wakes first leaves a permit, so a wake-up right before this is not missed.
                self.wake.notified().await;
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
            for (worker, Watched { pulse, seen }) in self.watched.iter_mut().enumerate() {
                match seen.look(pulse.alive_at.load(Ordering::Relaxed), pulse.now()) {
                    Some(Miss::Miss) => pulse.stats.watchdog_miss.increment(),
                    Some(Miss::MegaMiss) => {
                        pulse.stats.watchdog_mega_miss.increment();
                        tracing::warn!(worker, "a worker does not answer");
                    }
                    None => {}
                }
            }
        }
    }
}

/// What was seen of a loop last, so that one hang counts once.
#[derive(Debug, Default)]
struct Sighting {
    alive_at: u64,
    worst: Option<Miss>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Miss {
    Miss,
    MegaMiss,
}

impl Sighting {
    /// What is new since the last look.
    fn look(&mut self, alive_at: u64, now: u64) -> Option<Miss> {
        if self.alive_at != alive_at {
            *self = Self { alive_at, worst: None };
        }
        // Parked, or alive a moment after the clock was read.
        let silent = if alive_at == 0 { 0 } else { now.saturating_sub(alive_at) };
        let miss = match Duration::from_micros(silent) {
            silent if silent >= MEGA_MISS => Some(Miss::MegaMiss),
            silent if silent >= MISS => Some(Miss::Miss),
            _ => None,
        };
        let is_new = miss > self.worst;
        self.worst = if is_new { miss } else { self.worst };
        miss.filter(|_| is_new)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::runtime::Builder;

    use super::*;
    use crate::stats::HistogramSnapshot;

    #[test]
    fn one_hang_counts_once_of_each_kind() {
        let mut sighting = Sighting::default();
        let at = |milliseconds: u64| milliseconds * 1000;
        assert_eq!(sighting.look(at(1), at(100)), None);
        assert_eq!(sighting.look(at(1), at(250)), Some(Miss::Miss));
        assert_eq!(sighting.look(at(1), at(350)), None);
        assert_eq!(sighting.look(at(1), at(1050)), Some(Miss::MegaMiss));
        assert_eq!(sighting.look(at(1), at(9050)), None);
        assert_eq!(sighting.look(0, at(10_000)), None);
        assert_eq!(sighting.look(at(10_100), at(10_301)), Some(Miss::Miss));
        assert_eq!(sighting.look(at(10_400), at(10_399)), None);
    }

    fn count(histogram: &crate::stats::Histogram) -> u64 {
        let mut snapshot = HistogramSnapshot::default();
        snapshot.merge(histogram);
        snapshot.count()
    }

    #[test]
    fn a_loop_that_hangs_is_seen_and_an_idle_one_sleeps() {
        let stats: Arc<WorkerStats> = Arc::default();
        let mut watchdog = Watchdog::new();
        let pulse = watchdog.pulse(Arc::clone(&stats));
        thread::spawn(move || {
            Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(watchdog.run());
        });
        let mut builder = Builder::new_current_thread();
        pulse.instrument(&mut builder);
        builder.enable_time().build().expect("a runtime").block_on(async {
            tokio::spawn(Arc::clone(&pulse).beat());
            tokio::time::sleep(Duration::from_millis(10)).await;
            let (looked, look) = tokio::sync::oneshot::channel();
            let observed = Arc::clone(&pulse);
            // Looks from outside, for a timer of the loop's own would wake it.
            thread::spawn(move || {
                let (_silent, nothing) = std::sync::mpsc::channel::<()>();
                let turns_after = |wait| {
                    nothing.recv_timeout(wait).expect_err("nobody sends");
                    observed.turns.load(Ordering::Relaxed)
                };
                let settled = turns_after(Duration::from_millis(500));
                let turns = turns_after(Duration::from_millis(700)) - settled;
                looked.send((turns, observed.resting.load(Ordering::Relaxed))).expect("the loop waits for it");
            });
            assert_eq!(look.await.expect("sent"), (0, true), "wake-ups of an idle loop");

            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(600) {}
            tokio::time::sleep(Duration::from_millis(10)).await;
        });
        assert!(stats.watchdog_miss.get() >= 1);
        assert!(count(&stats.loop_duration_us) > 0);
        assert!(count(&stats.poll_delay_us) > 0);
    }

    #[test]
    fn a_loop_that_never_parks_still_beats() {
        let stats: Arc<WorkerStats> = Arc::default();
        let pulse = Watchdog::new().pulse(Arc::clone(&stats));
        let mut builder = Builder::new_current_thread();
        pulse.instrument(&mut builder);
        builder.enable_time().build().expect("a runtime").block_on(async {
            tokio::spawn(Arc::clone(&pulse).beat());
            tokio::time::sleep(Duration::from_millis(10)).await;
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(500) {
                tokio::task::yield_now().await;
            }
        });
        assert!(count(&stats.poll_delay_us) >= 3, "{}", count(&stats.poll_delay_us));
        let behind = crate::event_loop::coarse_now().elapsed();
        assert!(behind < Duration::from_millis(400), "the loop's clock stands still while it has work: {behind:?}");
    }
}
