//! The way to the journal: a bounded queue and a thread of its own, for the journal's socket blocks, and a slow journald
//! must not stall a worker.

use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use log::Log;
use systemd_journal_logger::JournalLog;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Messages that may wait for the journal.
const CAPACITY: usize = 1024;

/// Fails where the journal's socket is not there.
pub(super) fn start() -> io::Result<Queue> {
    let journal = JournalLog::new()?;
    let (sender, messages) = sync_channel(CAPACITY);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&dropped);
    thread::Builder::new().name("journal".to_owned()).spawn(move || send_all(&messages, &journal, &counter))?;
    Ok(Queue { sender, dropped })
}

/// The near end of the queue.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Entry(Entry),
    Flush(SyncSender<()>),
}

/// An event, detached from the thread that it came from.
#[derive(Debug)]
struct Entry {
    metadata: &'static Metadata<'static>,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Queue {
    pub(super) fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        JournalLayer(self.clone())
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn flush(&self, limit: Duration) -> bool {
        let (done, flushed) = sync_channel(1);
        self.sender.try_send(Message::Flush(done)).is_ok() && flushed.recv_timeout(limit).is_ok()
    }
}

struct JournalLayer(Queue);

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.0.sender.try_send(Message::Entry(Entry::from(event))).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn send_all(messages: &Receiver<Message>, journal: &dyn Log, dropped: &AtomicU64) {
    let mut reported = 0;
    while let Ok(message) = messages.recv() {
        match message {
            Message::Entry(entry) => entry.send(journal),
            Message::Flush(done) => {
                // Nobody waits any more where this fails.
                let _ = done.send(());
            }
        }
        let lost = dropped.load(Ordering::Relaxed);
        if lost > reported {
            let text = format_args!("{} messages were dropped, the journal was too slow", lost - reported);
            journal.log(&log::Record::builder().level(log::Level::Warn).target(module_path!()).args(text).build());
            reported = lost;
        }
    }
}

impl Entry {
    fn send(&self, journal: &dyn Log) {
        let level = match *self.metadata.level() {
            Level::ERROR => log::Level::Error,
            Level::WARN => log::Level::Warn,
            Level::INFO => log::Level::Info,
            Level::DEBUG => log::Level::Debug,
            Level::TRACE => log::Level::Trace,
        };
        let fields: Vec<(String, &str)> =
            self.fields.iter().map(|(name, value)| (format!("OUTRIDER_{}", name.to_ascii_uppercase()), value.as_str())).collect();
        journal.log(
            &log::Record::builder()
                .level(level)
                .target(self.metadata.target())
                .module_path_static(self.metadata.module_path())
                .file_static(self.metadata.file())
                .line(self.metadata.line())
                .args(format_args!("{}", self.text()))
                .key_values(&fields.as_slice())
                .build(),
        );
    }

    /// The message with its fields behind it, for `journalctl` shows only the message.
    fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            write!(text, " {name}={value}").expect("a String takes everything");
        }
        text
    }
}

impl From<&Event<'_>> for Entry {
    fn from(event: &Event<'_>) -> Self {
        let mut entry = Entry { metadata: event.metadata(), message: String::new(), fields: Vec::new() };
        event.record(&mut entry);
        entry
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.fields.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use log::kv::{Error, Key, Value, VisitSource};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Keeps what the journal would have been sent.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    struct Pairs(String);

    impl<'kvs> VisitSource<'kvs> for Pairs {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            write!(self.0, " [{key}={value}]")?;
            Ok(())
        }
    }

    impl Log for Recorder {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let mut pairs = Pairs(String::new());
            record.key_values().visit(&mut pairs).expect("pairs");
            let module = record.module_path().unwrap_or_default();
            self.0.lock().expect("not poisoned").push(format!("{} {module} {}{}", record.level(), record.args(), pairs.0));
        }

        fn flush(&self) {}
    }

    #[test]
    fn events_reach_the_journal_with_their_fields_and_a_full_queue_drops() {
        let (sender, messages) = sync_channel(2);
        let queue = Queue { sender, dropped: Arc::default() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(queue.layer()), || {
            tracing::warn!(path = "/x", count = 3, error = %"broken", "cannot write");
            tracing::info!("second");
            tracing::info!("one too many");
        });
        assert_eq!(queue.dropped(), 1);
        let Queue { sender, dropped } = queue;
        drop(sender);
        let recorder = Recorder::default();
        send_all(&messages, &recorder, &dropped);
        let module = module_path!();
        assert_eq!(
            *recorder.0.lock().expect("not poisoned"),
            [
                format!(
                    "WARN {module} cannot write path=/x count=3 error=broken [OUTRIDER_PATH=/x] [OUTRIDER_COUNT=3] [OUTRIDER_ERROR=broken]"
                ),
                "WARN  1 messages were dropped, the journal was too slow".to_owned(),
                format!("INFO {module} second"),
            ]
        );
    }
}
