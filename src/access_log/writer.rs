//! The thread that writes the access log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::log::Handle;
use super::output::{OpenError, Output};
use super::queue::{BUFFERS_PER_WORKER, Message, Shared};
use crate::config::AccessLogSink;

/// The main thread's end: opens and changes the sink, and ends the thread.
#[derive(Debug)]
pub struct Writer {
    handle: Handle,
    sink: Mutex<AccessLogSink>,
    thread: JoinHandle<()>,
}

/// Room in the queue for messages of the main thread.
const CONTROL_MESSAGES: usize = 16;

impl Writer {
    /// Opens the sink before anything else, so that a wrong path is an error at start.
    pub fn start(sink: &AccessLogSink, workers: usize) -> Result<Self, OpenError> {
        let output = Output::open(sink)?;
        let shared =
            Arc::new(Shared { enabled: AtomicBool::new(output.is_some()), lines_lost: AtomicU64::new(0), bytes: AtomicU64::new(0) });
        // Room for every buffer that there can be: a worker that has one to hand over never finds the queue full.
        let (queue, messages) = sync_channel(workers * BUFFERS_PER_WORKER + CONTROL_MESSAGES);
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("access-log".to_owned())
                .spawn(move || write_until_finished(&messages, output, &shared))
                .expect("a process that is only starting may have one more thread")
        };
        Ok(Self { handle: Handle { queue, shared }, sink: Mutex::new(sink.clone()), thread })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Changes the sink. On an error, the old one stays.
    pub fn retarget(&self, sink: &AccessLogSink) -> Result<(), OpenError> {
        let output = Output::open(sink)?;
        let enabled = output.is_some();
        if self.handle.queue.try_send(Message::Replace(output)).is_err() {
            return Err(OpenError::writer_hangs());
        }
        self.handle.shared.enabled.store(enabled, Ordering::Relaxed);
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = sink.clone();
        Ok(())
    }

    /// Opens the same path anew, after a log rotation. On an error, the old file stays.
    pub fn reopen(&self) -> Result<(), OpenError> {
        let sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.retarget(&sink)
    }

    /// Writes what was handed over, and ends. Call it after the workers ended; false if that took longer than `limit`.
    pub fn finish(self, limit: Duration) -> bool {
        let (done, finished) = sync_channel(1);
        if self.handle.queue.try_send(Message::Finish(done)).is_err() || finished.recv_timeout(limit).is_err() {
            return false;
        }
        self.thread.join().is_ok()
    }
}

fn write_until_finished(messages: &Receiver<Message>, mut output: Option<Output>, shared: &Shared) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Batch(batch) => {
                if let Some(output) = &mut output {
                    let lost = output.write(&batch.text, batch.lines);
                    shared.lines_lost.fetch_add(lost, Ordering::Relaxed);
                    if lost == 0 {
                        shared.bytes.fetch_add(batch.text.len() as u64, Ordering::Relaxed);
                    }
                }
                batch.give_back();
            }
            Message::Replace(replacement) => output = replacement,
            Message::Finish(done) => {
                // Nobody waits any more where this fails.
                let _ = done.send(());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::Instant;

    use super::super::Log;
    use super::super::encode::tests::sample;
    use super::*;
    use crate::stats::WorkerStats;

    struct Setting {
        directory: tempfile::TempDir,
        writer: Writer,
        stats: Arc<WorkerStats>,
    }

    impl Setting {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let writer = Writer::start(&AccessLogSink::File(directory.path().join("log")), 1).expect("opens");
            Self { directory, writer, stats: Arc::default() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn log(&self) -> Log {
            self.writer.handle().log(Arc::clone(&self.stats))
        }

        fn lines(&self, name: &str) -> usize {
            fs::read_to_string(self.path(name)).expect("readable").lines().count()
        }

        fn wait_for_lines(&self, name: &str, lines: usize) {
            let started = Instant::now();
            while self.lines(name) != lines {
                assert!(started.elapsed() < Duration::from_secs(5), "{} lines, not {lines}", self.lines(name));
                thread::yield_now();
            }
        }
    }

    #[test]
    fn nothing_is_lost_when_all_ends() {
        let Setting { directory, writer, stats } = Setting::new();
        let log = writer.handle().log(Arc::clone(&stats));
        for _ in 0..5_000 {
            log.write(&sample());
        }
        drop(log);
        assert!(writer.finish(Duration::from_secs(5)));
        let text = fs::read_to_string(directory.path().join("log")).expect("readable");
        assert_eq!(text.lines().count() as u64 + stats.access_log_dropped.get(), 5_000);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        assert_eq!(fs::metadata(directory.path().join("log")).expect("is there").permissions().mode() & 0o777, 0o640);
    }

    #[tokio::test]
    async fn the_flusher_brings_a_lonely_line_to_the_file() {
        let setting = Setting::new();
        let log = setting.log();
        let local = tokio::task::LocalSet::new();
        local.spawn_local(log.flusher());
        log.write(&sample());
        assert_eq!(log.pending(), 1);
        local.run_until(tokio::time::sleep(Duration::from_millis(300))).await;
        assert_eq!(log.pending(), 0);
        setting.wait_for_lines("log", 1);
    }

    #[test]
    fn rotation_and_a_new_path_lose_nothing() {
        let setting = Setting::new();
        let log = setting.log();
        log.write(&sample());
        log.flush();
        setting.wait_for_lines("log", 1);
        fs::rename(setting.path("log"), setting.path("log.1")).expect("renamed");
        setting.writer.reopen().expect("opens again");
        log.write(&sample());
        log.flush();
        setting.wait_for_lines("log", 1);
        setting.writer.retarget(&AccessLogSink::File(setting.path("other"))).expect("opens");
        log.write(&sample());
        log.flush();
        setting.wait_for_lines("other", 1);
        setting.writer.retarget(&AccessLogSink::File(setting.path("no/such/directory"))).expect_err("cannot be opened");
        log.write(&sample());
        log.flush();
        setting.wait_for_lines("other", 2);
        setting.writer.retarget(&AccessLogSink::Off).expect("needs nothing");
        log.write(&sample());
        assert_eq!((log.pending(), setting.lines("log.1"), setting.lines("log")), (0, 1, 1));
    }

    #[test]
    fn a_writer_that_hangs_costs_lines_and_no_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a named pipe");
        // Both ends, so that the writer finds a reader, which never reads.
        let reader = fs::OpenOptions::new().read(true).write(true).open(&path).expect("opens");
        let writer = Writer::start(&AccessLogSink::File(path), 1).expect("opens");
        let stats: Arc<WorkerStats> = Arc::default();
        let log = writer.handle().log(Arc::clone(&stats));
        for _ in 0..20_000 {
            log.write(&sample());
        }
        assert!(!log.flush());
        assert!(stats.access_log_dropped.get() > 0);
        assert_eq!(stats.access_log_dropped.get() + stats.access_log_written.get(), 20_000);
        drop(log);
        assert!(!writer.finish(Duration::from_millis(50)), "the pipe is still full");
        drop(reader);
    }
}
