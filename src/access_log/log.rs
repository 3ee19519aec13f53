//! A worker's end of the access log.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::Record;
use super::encode::Encoder;
use super::queue::{BUFFERS_PER_WORKER, Batch, Message, Shared};
use crate::stats::{Exposition, WorkerStats};

/// Takes a worker's records; a clone is the same log. Dropping the last one hands over what is left.
#[derive(Debug, Clone)]
pub struct Log(Rc<Inner>);

/// From this a worker makes its [`Log`] on its own thread.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) queue: SyncSender<Message>,
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
struct Inner {
    stats: Arc<WorkerStats>,
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
    /// Where the writer sends emptied buffers, and where they arrive.
    home: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    pending: RefCell<Pending>,
    first_line: Notify,
}

#[derive(Debug)]
struct Pending {
    encoder: Encoder,
    text: Vec<u8>,
    lines: u64,
    last_warning: Option<Instant>,
}

/// A buffer this full is handed over at once.
const HAND_OVER_SIZE: usize = 64 * 1024;
/// While the writer holds all other buffers, the one at hand may grow to this; then lines are dropped.
const MAX_SIZE: usize = 256 * 1024;
/// How long a line may wait for company.
const MAX_AGE: Duration = Duration::from_millis(100);
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

impl Handle {
    pub fn log(&self, stats: Arc<WorkerStats>) -> Log {
        Log::new(stats, Arc::clone(&self.shared), self.queue.clone())
    }

    /// Adds the writer's own figures; meant for `Registry::add_provider`.
    pub fn describe(&self, exposition: &mut Exposition) {
        let (lost, bytes) = (&self.shared.lines_lost, &self.shared.bytes);
        exposition.counter("access_log.write_failed", "Access-log lines lost to write errors", lost.load(Ordering::Relaxed));
        exposition.counter("access_log.written_bytes", "Bytes of access log written", bytes.load(Ordering::Relaxed));
    }
}

impl Log {
    fn new(stats: Arc<WorkerStats>, shared: Arc<Shared>, queue: SyncSender<Message>) -> Self {
        let (home, spare) = sync_channel(BUFFERS_PER_WORKER);
        for _ in 1..BUFFERS_PER_WORKER {
            home.try_send(Vec::new()).expect("the channel was made for this many");
        }
        let pending = Pending { encoder: Encoder::new(), text: Vec::new(), lines: 0, last_warning: None };
        Self(Rc::new(Inner { stats, shared, queue, home, spare, pending: RefCell::new(pending), first_line: Notify::new() }))
    }

    /// Never waits: a line for which there is no room is dropped and counted.
    pub fn write(&self, record: &Record<'_>) {
        let inner = &*self.0;
        if !inner.shared.enabled.load(Ordering::Relaxed) {
            return;
        }
        let mut pending = inner.pending.borrow_mut();
        if pending.text.len() >= MAX_SIZE && !inner.hand_over(&mut pending) {
            inner.drop_line(&mut pending);
            return;
        }
        let Pending { encoder, text, lines, .. } = &mut *pending;
        encoder.encode(text, record, SystemTime::now());
        *lines += 1;
        inner.stats.access_log_written.increment();
        if *lines == 1 {
            inner.first_line.notify_one();
        }
        if text.len() >= HAND_OVER_SIZE {
            inner.hand_over(&mut pending);
        }
    }

    /// Hands over what is pending; false if the writer is behind, and some still is.
    pub fn flush(&self) -> bool {
        self.0.hand_over(&mut self.0.pending.borrow_mut())
    }

    /// Lines that the writer has not been given yet.
    pub fn pending(&self) -> u64 {
        self.0.pending.borrow().lines
    }

    /// Flushes for ever, a moment after the first line of each batch. The worker runs this as a task of its own; while no
    /// line is written it never wakes.
    pub fn flusher(&self) -> impl Future<Output = ()> + 'static {
        let log = self.clone();
        async move {
            loop {
                log.0.first_line.notified().await;
                loop {
                    tokio::time::sleep(MAX_AGE).await;
                    if log.flush() {
                        break;
                    }
                }
            }
        }
    }
}

impl Inner {
    /// Exchanges the buffer for an empty one; false if the writer still has them all.
    fn hand_over(&self, pending: &mut Pending) -> bool {
        if pending.lines == 0 {
            return true;
        }
        let Ok(empty) = self.spare.try_recv() else { return false };
        let text = std::mem::replace(&mut pending.text, empty);
        self.send(text, std::mem::take(&mut pending.lines));
        true
    }

    fn send(&self, text: Vec<u8>, lines: u64) {
        match self.queue.try_send(Message::Batch(Batch { text, lines, home: self.home.clone() })) {
            Ok(()) => {}
            // The queue has room for every buffer that there is, so this is a writer that has finished.
            Err(TrySendError::Full(Message::Batch(batch)) | TrySendError::Disconnected(Message::Batch(batch))) => {
                self.stats.access_log_dropped.add(batch.lines);
                batch.give_back();
            }
            Err(_) => unreachable!("what comes back is what was sent"),
        }
    }

    fn drop_line(&self, pending: &mut Pending) {
        self.stats.access_log_dropped.increment();
        if pending.last_warning.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
            pending.last_warning = Some(Instant::now());
            tracing::warn!(dropped = self.stats.access_log_dropped.get(), "access log: the writer is behind, lines are dropped");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Pending { text, lines, .. } = &mut *self.pending.borrow_mut();
        if *lines > 0 {
            let (text, lines) = (std::mem::take(text), std::mem::take(lines));
            self.send(text, lines);
        }
    }
}
