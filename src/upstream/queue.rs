//! Streams that wait until their cluster may have one connection more.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

/// In the order in which they came; the first alone looks for a connection, and when it leaves, the next.
#[derive(Default)]
pub struct Queue(RefCell<VecDeque<Rc<Notify>>>);

/// A place in the queue, left when it is dropped.
pub struct Turn<'q> {
    queue: &'q Queue,
    call: Rc<Notify>,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub fn join(&self) -> Turn<'_> {
        let call = Rc::new(Notify::new());
        self.0.borrow_mut().push_back(call.clone());
        Turn { queue: self, call }
    }

    /// Has the first one look: a connection was given back, or is gone.
    pub(crate) fn call_first(&self) {
        if let Some(first) = self.0.borrow().front() {
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
        self.queue.0.borrow().front().is_some_and(|first| Rc::ptr_eq(first, &self.call))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let was_first = self.is_first();
        let mut calls = self.queue.0.borrow_mut();
        calls.retain(|call| !Rc::ptr_eq(call, &self.call));
        if calls.is_empty() {
            *calls = VecDeque::new();
        }
        drop(calls);
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
}
