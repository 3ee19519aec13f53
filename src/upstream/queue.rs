//! Streams that wait until their cluster may have one connection more.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

/// In the order in which they came; the first alone looks for a connection, and when it leaves, the next.
#[derive(Default)]
pub struct Queue(RefCell<Turns>);

#[derive(Default)]
struct Turns {
    /// A place whose turn has left before it came up is empty until then.
    calls: VecDeque<Option<Rc<Notify>>>,
    /// The number of the first place.
    first: u64,
}

/// A place in the queue, left when it is dropped.
pub struct Turn<'q> {
    queue: &'q Queue,
    call: Rc<Notify>,
    number: u64,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.0.borrow().calls.is_empty()
    }

    pub fn join(&self) -> Turn<'_> {
        let call = Rc::new(Notify::new());
        let mut turns = self.0.borrow_mut();
        turns.calls.push_back(Some(call.clone()));
        let number = turns.first + turns.calls.len() as u64 - 1;
        Turn { queue: self, call, number }
    }

    /// Has the first one look: a connection was given back, or is gone.
    pub(crate) fn call_first(&self) {
        if let Some(Some(first)) = self.0.borrow().calls.front() {
            first.notify_one();
        }
    }
}

impl Turn<'_> {
    /// Waits until it is worth a look: this is the first one, and was called or `period` has passed.
    pub async fn look(&self, period: Duration) {
        if self.is_first() {
            let _ = tokio::time::timeout(period, self.call.notified()).await;
        } else {
            // Called when it is the first one, and not before.
            self.call.notified().await;
        }
    }

    fn is_first(&self) -> bool {
        self.queue.0.borrow().first == self.number
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let was_first = self.is_first();
        let mut turns = self.queue.0.borrow_mut();
        let index = (self.number - turns.first) as usize;
        turns.calls[index] = None;
        // The first place is never empty, and so each is passed once.
        while let Some(None) = turns.calls.front() {
            turns.calls.pop_front();
            turns.first += 1;
        }
        if turns.calls.is_empty() {
            turns.calls = VecDeque::new();
        }
        drop(turns);
        if was_first {
            self.queue.call_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_to_look(turn: &Turn<'_>) -> bool {
        let look = pin!(turn.look(Duration::from_secs(3600)));
        look.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn the_first_looks_and_then_the_next() {
        let queue = Queue::default();
        let (first, second, third) = (queue.join(), queue.join(), queue.join());
        assert!(!is_to_look(&first));
        queue.call_first();
        assert!(!is_to_look(&second));
        assert!(is_to_look(&first));
        // One in the middle changes nothing for those before it.
        drop(second);
        assert!(!is_to_look(&first));
        drop(first);
        assert!(is_to_look(&third));
        drop(third);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn those_who_leave_before_their_turn_are_passed() {
        let queue = Queue::default();
        let mut turns: Vec<_> = (0..100).map(|_| queue.join()).collect();
        let (last, first) = (turns.pop().unwrap(), turns.remove(0));
        // From behind, as they would if they gave up all at once.
        while let Some(turn) = turns.pop() {
            drop(turn);
        }
        assert!(!is_to_look(&last));
        drop(first);
        assert!(is_to_look(&last));
        let newest = queue.join();
        drop(last);
        assert!(is_to_look(&newest));
        drop(newest);
        assert!(queue.is_empty());
    }
}
