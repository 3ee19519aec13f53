//! What goes from the workers to the writer, and back.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::SyncSender;

use super::output::Output;

#[derive(Debug)]
pub(super) struct Shared {
    /// False where the log is off, so that workers need not encode.
    pub(super) enabled: AtomicBool,
    pub(super) lines_lost: AtomicU64,
    pub(super) bytes: AtomicU64,
}

#[derive(Debug)]
pub(super) enum Message {
    Batch(Batch),
    Replace(Option<Output>),
    Finish(SyncSender<()>),
}

/// Whole lines of one worker.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    pub(super) lines: u64,
    pub(super) home: SyncSender<Vec<u8>>,
}

/// Buffers that one worker owns; the writer's queue has room for all of them.
pub(super) const BUFFERS_PER_WORKER: usize = 4;
/// A buffer that some huge lines made larger is cut back to this.
const KEPT_CAPACITY: usize = 80 * 1024;

impl Batch {
    pub(super) fn give_back(mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT_CAPACITY);
        // Fails when the worker has ended and needs no buffer.
        let _ = self.home.try_send(self.text);
    }
}
