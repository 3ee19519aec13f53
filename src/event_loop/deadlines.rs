//! Deadlines that cost a store to move.
//!
//! A connection sets a new deadline at every turn of a stream, and almost none is ever reached. So
//! a deadline is a number in a table, and one task sleeps until the earliest: it is woken early
//! only when a deadline is set before that, which under load hardly happens, since later streams
//! have later deadlines.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::turn_start;

/// The table walk is not started more often than this, however deadlines fall.
const MIN_PAUSE: Duration = Duration::from_millis(5);
const NEVER: u64 = u64::MAX;
/// The sweep came by after the deadline.
const PASSED: u64 = 0;

/// A worker's deadlines.
#[derive(Clone)]
pub struct Deadlines(Rc<Table>);

struct Table {
    start: Instant,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    /// When the sweep is due, in milliseconds since `start`.
    next: Cell<u64>,
    /// The event loop's turn that saw a deadline set last, and its milliseconds since `start`.
    turn: Cell<(std::time::Instant, u64)>,
    sooner: Notify,
}

#[derive(Default)]
struct Slot {
    /// Milliseconds since `start`.
    at: u64,
    waker: Option<Waker>,
}

/// One waiting place, reused for every wait of its owner.
pub struct Deadline {
    table: Rc<Table>,
    slot: u32,
}

impl Default for Deadlines {
    fn default() -> Self {
        let start = Instant::now();
        Deadlines(Rc::new(Table {
            start,
            slots: RefCell::default(),
            free: RefCell::default(),
            next: Cell::new(NEVER),
            turn: Cell::new((start.into_std(), 0)),
            sooner: Notify::new(),
        }))
    }
}

impl Deadlines {
    pub fn register(&self) -> Deadline {
        let table = &self.0;
        let slot = table.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut slots = table.slots.borrow_mut();
            slots.push(Slot::default());
            slots.len() as u32 - 1
        });
        table.slots.borrow_mut()[slot as usize] = Slot { at: NEVER, waker: None };
        Deadline { table: table.clone(), slot }
    }

    /// A deadline of its own that passes `after` now.
    pub fn passes_after(&self, after: Duration) -> Deadline {
        let deadline = self.register();
        deadline.set(after);
        deadline
    }

    /// Wakes whoever waits here, whatever its deadline: something else of interest has changed.
    pub fn wake_all(&self) {
        for slot in self.0.slots.borrow().iter() {
            if let Some(waker) = &slot.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Makes every wait end now, as if its time had come.
    pub fn pass_all(&self) {
        for slot in self.0.slots.borrow_mut().iter_mut() {
            if slot.at != NEVER {
                slot.at = PASSED;
            }
        }
        self.wake_all();
    }

    /// Wakes those whose time has come; runs as long as the worker.
    pub async fn run(&self) {
        let table = &self.0;
        loop {
            let next = table.next.get();
            if next == NEVER {
                table.sooner.notified().await;
                continue;
            }
            let due = table.start + Duration::from_millis(next);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {
                    table.sweep();
                    tokio::time::sleep(MIN_PAUSE).await;
                }
                () = table.sooner.notified() => {}
            }
        }
    }
}

impl Table {
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// When the event loop woke last, or now where it has not.
    fn coarse_now(&self) -> u64 {
        let Some(turn) = turn_start() else { return self.now() };
        let (known, millis) = self.turn.get();
        if known == turn {
            return millis;
        }
        let millis = Instant::from_std(turn).saturating_duration_since(self.start).as_millis() as u64;
        self.turn.set((turn, millis));
        millis
    }

    fn sweep(&self) {
        let now = self.now();
        let mut next = NEVER;
        for slot in self.slots.borrow_mut().iter_mut() {
            if slot.at <= now {
                // Left for the owner to see without reading a clock.
                slot.at = PASSED;
                if let Some(waker) = slot.waker.take() {
                    waker.wake();
                }
            } else {
                next = next.min(slot.at);
            }
        }
        self.next.set(next);
    }
}

impl Deadline {
    /// Sets the deadline, in place of an earlier one.
    pub fn set(&self, after: Duration) {
        let at = self.table.coarse_now().saturating_add(after.as_millis() as u64).clamp(PASSED + 1, NEVER - 1);
        self.table.slots.borrow_mut()[self.slot as usize].at = at;
        if at < self.table.next.get() {
            self.table.next.set(at);
            self.table.sooner.notify_one();
        }
    }

    pub fn clear(&self) {
        self.table.slots.borrow_mut()[self.slot as usize].at = NEVER;
    }

    /// Ready once the deadline has passed; otherwise the task is woken then.
    pub fn poll_passed(&self, context: &mut Context<'_>) -> Poll<()> {
        let slot = &mut self.table.slots.borrow_mut()[self.slot as usize];
        if slot.at == PASSED {
            return Poll::Ready(());
        }
        if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            slot.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Whatever comes first: the end of `future`, or `None` when the deadline has passed.
    pub fn limit<F: Future>(&self, future: F) -> Limit<'_, F> {
        Limit { future, deadline: self }
    }
}

pin_project! {
    /// Made by [`Deadline::limit`]. No `async fn`, which would hold `future` twice: where it came, and where it is pinned.
    pub struct Limit<'d, F> {
        #[pin]
        future: F,
        deadline: &'d Deadline,
    }
}

impl<F: Future> Future for Limit<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => this.deadline.poll_passed(context).map(|()| None),
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.table.slots.borrow_mut()[self.slot as usize] = Slot { at: NEVER, waker: None };
        self.table.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn with_deadlines<T>(test: impl AsyncFnOnce(&Deadlines) -> T) -> T {
        let deadlines = Deadlines::default();
        tokio::select! {
            output = test(&deadlines) => output,
            () = deadlines.run() => unreachable!("runs for ever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_and_moves() {
        with_deadlines(async |deadlines| {
            let start = Instant::now();
            let (long, short) = (deadlines.register(), deadlines.register());
            long.set(Duration::from_secs(60));
            short.set(Duration::from_secs(1));
            assert_eq!(short.limit(std::future::pending::<()>()).await, None);
            assert!((1000..1050).contains(&start.elapsed().as_millis()));
            short.set(Duration::from_millis(200));
            assert_eq!(short.limit(std::future::pending::<()>()).await, None);
            assert!((1200..1250).contains(&start.elapsed().as_millis()));
            assert_eq!(long.limit(std::future::pending::<()>()).await, None);
            assert!((60_000..60_050).contains(&start.elapsed().as_millis()));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_cleared_deadline_never_passes() {
        with_deadlines(async |deadlines| {
            let deadline = deadlines.register();
            deadline.set(Duration::from_millis(10));
            deadline.clear();
            assert_eq!(deadline.limit(tokio::time::sleep(Duration::from_secs(1))).await, Some(()));
        })
        .await;
    }
}
