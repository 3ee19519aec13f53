//! Memory that a crowd has left, given back to the system.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;

/// Watches how many connections a worker has, and has the allocator give back what it keeps once many have gone.
///
/// The allocator would do so by itself only as memory is taken and freed later on: a worker that is quiet after a crowd held
/// twenty times what it used. The allocator keeps memory by thread, so each worker does this for itself.
pub struct Memory {
    /// What the allocator is to be asked; takes well under a millisecond for what 10,000 clients have left.
    release: fn(),
    /// The most connections since the last time.
    peak: Cell<u64>,
    is_due: Cell<bool>,
    due: Notify,
}

/// So many connections less than there were are worth the call, where they are an eighth of them at least: under a load
/// that comes and goes evenly, nothing is given back that is needed again.
const FEWER: u64 = 32;
/// For the rest of the crowd to go, too.
const PAUSE: Duration = Duration::from_secs(1);

impl Memory {
    pub fn new(release: fn()) -> Self {
        Memory { release, peak: Cell::new(0), is_due: Cell::new(false), due: Notify::new() }
    }

    /// A connection is about to end, of so many.
    pub fn connection_ends(&self, active: u64) {
        let peak = self.peak.get().max(active);
        self.peak.set(peak);
        if is_much_less(active - 1, peak) && !self.is_due.replace(true) {
            self.due.notify_one();
        }
    }

    /// Runs as long as the worker; `active` tells how many connections there are.
    pub async fn run(&self, active: impl Fn() -> u64) {
        loop {
            self.due.notified().await;
            tokio::time::sleep(PAUSE).await;
            self.is_due.set(false);
            self.peak.set(active());
            (self.release)();
        }
    }
}

fn is_much_less(active: u64, peak: u64) -> bool {
    peak.saturating_sub(active) >= FEWER.max(peak / 8)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    static RELEASED: AtomicU32 = AtomicU32::new(0);

    #[tokio::test(start_paused = true)]
    async fn memory_is_given_back_when_many_have_gone() {
        let memory = Memory::new(|| {
            RELEASED.fetch_add(1, Ordering::Relaxed);
        });
        let active = Cell::new(1000);
        let end = |count: u64| {
            for _ in 0..count {
                memory.connection_ends(active.get());
                active.set(active.get() - 1);
            }
        };
        let released = async |expected| {
            let _ = tokio::time::timeout(2 * PAUSE, memory.run(|| active.get())).await;
            assert_eq!(RELEASED.load(Ordering::Relaxed), expected);
        };
        end(124);
        released(0).await;
        end(1);
        released(1).await;
        // As many come as go.
        for _ in 0..1000 {
            active.set(active.get() + 1);
            end(1);
        }
        released(1).await;
        end(875);
        released(2).await;
    }
}
