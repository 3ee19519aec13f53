//! The process log: what happens to the proxy, as opposed to what happens in it (that is the access log).
//!
//! Run by hand it goes to standard error; under systemd, straight to the journal with its fields. Levels change at run
//! time, for all or by module.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt, reload};

use crate::stats::Exposition;

mod journal;
mod levels;

pub use levels::{LevelError, Levels};

/// Starts the process log for the rest of the process' life.
///
/// # Panics
///
/// If a log was already started.
pub fn init(levels: Levels) -> Handle {
    // Only the filter may be reloaded: tracing-subscriber panics when a layer that has its own filter is exchanged.
    let (filter, reload) = reload::Layer::new(levels.targets());
    let registry = tracing_subscriber::registry().with(filter);
    let mut journal_error = None;
    let journal = if systemd_journal_logger::connected_to_journal() {
        journal::start().map_err(|error| journal_error = Some(error)).ok()
    } else {
        None
    };
    let started = match &journal {
        Some(queue) => registry.with(queue.layer()).try_init(),
        None => start_on_stderr(registry),
    };
    started.expect("the log is started once, by the one main function");
    if let Some(error) = journal_error {
        tracing::warn!(%error, "the journal cannot be reached, logging to standard error");
    }
    Handle { levels: Arc::new(Mutex::new(levels)), reload, journal }
}

fn start_on_stderr(
    registry: impl SubscriberExt + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync + 'static,
) -> Result<(), TryInitError> {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    registry.with(fmt::layer().compact().with_ansi(colour).with_writer(io::stderr)).try_init()
}

/// Changes levels while the process runs; a clone is the same log.
#[derive(Debug, Clone)]
pub struct Handle {
    levels: Arc<Mutex<Levels>>,
    reload: reload::Handle<Targets, Registry>,
    journal: Option<journal::Queue>,
}

impl Handle {
    /// Replaces all levels by those of `spec`, such as `info` or `warn,dns=debug`.
    pub fn set(&self, spec: &str) -> Result<(), LevelError> {
        let levels = spec.parse()?;
        self.change(|current| {
            *current = levels;
            Ok(())
        })
    }

    /// Sets the level of one module, such as `dns` or `access_log::writer`, and leaves the others.
    pub fn set_target(&self, name: &str, level: &str) -> Result<(), LevelError> {
        self.change(|levels| levels.set(name, level))
    }

    /// Every module and its level.
    pub fn list(&self) -> Vec<(String, LevelFilter)> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).list()
    }

    /// Adds the log's own figures; meant for `Registry::add_provider`.
    pub fn describe(&self, exposition: &mut Exposition) {
        let dropped = self.journal.as_ref().map_or(0, journal::Queue::dropped);
        exposition.counter("server.log_dropped", "Messages that the journal was too slow to take", dropped);
    }

    /// Waits until what was said so far is written, at most for `limit`; false if it is not. For the end of the process.
    pub fn flush(&self, limit: Duration) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.flush(limit))
    }

    /// One that no subscriber listens to.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let levels = Levels::default();
        let (filter, reload) = reload::Layer::new(levels.targets());
        // The handle knows its filter only while that lives.
        std::mem::forget(filter);
        Handle { levels: Arc::new(Mutex::new(levels)), reload, journal: None }
    }

    fn change(&self, change: impl FnOnce(&mut Levels) -> Result<(), LevelError>) -> Result<(), LevelError> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut levels)?;
        self.reload.reload(levels.targets()).expect("the subscriber lives as long as the process");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_change_at_run_time() {
        let levels: Levels = "info".parse().expect("a level");
        let (filter, reload) = reload::Layer::new(levels.targets());
        let handle = Handle { levels: Arc::new(Mutex::new(levels)), reload, journal: None };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(filter), || {
            let dns_debug = || tracing::enabled!(target: "outrider::dns::cache", tracing::Level::DEBUG);
            assert!(!dns_debug());
            handle.set_target("dns", "debug").expect("a module");
            assert!(dns_debug());
            assert!(!tracing::enabled!(target: "outrider::config", tracing::Level::DEBUG));
            handle.set("warn").expect("a level");
            assert!(!dns_debug());
            assert!(handle.set("loud").is_err());
            assert!(handle.list().iter().any(|(name, level)| name == "dns" && *level == LevelFilter::WARN));
        });
    }
}
