//! A reload is a transaction: the new configuration is in force on every worker, or the old one
//! stays and the reason is told.

use tokio::sync::oneshot;

use super::listeners::Change;
use super::worker::Command;
use super::{Server, check_egress, counted, snapshot};
use crate::config::{self, Config};

impl Server {
    /// Returns what to tell the administrator: that it is in force, or why not.
    pub(super) async fn reload(&mut self) -> Result<String, String> {
        self.notifier.reloading();
        let result = self.try_reload().await;
        match &result {
            Ok(()) => {
                self.generation += 1;
                self.problem = None;
                tracing::info!(generation = self.generation, "configuration reloaded");
            }
            Err(error) => {
                tracing::error!("the configuration stays as it was: {}", error.text);
                self.problem = Some(format!("configuration not reloaded: {}", error.headline));
            }
        }
        self.notifier.ready(&self.status());
        let workers = counted(self.workers.len(), "worker");
        result.map(|()| format!("configuration {} is in force, on {workers}", self.generation)).map_err(|error| error.text)
    }

    async fn try_reload(&mut self) -> Result<(), NotReloaded> {
        let path = self.config_path.clone();
        // A big file takes its time, in which look-ups and signs of life go on.
        let loaded = tokio::task::spawn_blocking(move || config::load_again(path.as_deref()));
        let config = loaded.await.map_err(|error| error.to_string())??.config;
        // Everything that can fail comes before anything that is in force; what would be seen by clients comes last.
        check_egress(&config.cluster)?;
        let change = self.listeners.prepare(&config.listeners).map_err(|error| error.to_string())?;
        let has_new_sink = config.access_log.sink != self.config.access_log.sink;
        if has_new_sink {
            self.access_log.retarget(&config.access_log.sink).map_err(|error| error.to_string())?;
        }
        if let Err(error) = self.hand_over(change).await {
            if has_new_sink && let Err(error) = self.access_log.retarget(&self.config.access_log.sink) {
                tracing::error!(%error, "the access log goes where the file that was not put in force says");
            }
            return Err(error.into());
        }
        self.tell_what_waits_for_a_restart(&config);
        self.dns.reconfigure(&config.dns);
        self.clusters.reconfigure(&config);
        // What workers are about to close must not stay open elsewhere.
        self.notifier.settle().await;
        let (snapshot, places) = (snapshot(&config, &self.listeners, self.admin_address), self.listeners.places());
        let command = |_, done| Command::Reload { snapshot: snapshot.clone(), places: places.clone(), done };
        self.ask_workers(self.workers.iter(), command).await;
        self.config = config;
        Ok(())
    }

    /// Gives workers the new sockets, all of them or none.
    async fn hand_over(&mut self, mut change: Change) -> Result<(), String> {
        change.listen().map_err(|error| error.to_string())?;
        let sockets = change.take_sockets();
        let adopted = self.ask_workers(sockets, |sockets, done| Command::Adopt { sockets, done }).await;
        if let Some(error) = adopted.into_iter().find_map(Result::err) {
            self.listeners.abandon(&change);
            self.ask_workers(self.workers.iter(), |_, done| Command::Abandon { done }).await;
            return Err(format!("a worker cannot wait for connections: {error}"));
        }
        self.listeners.commit(change);
        Ok(())
    }

    /// Sends each worker a command with its part of `parts`, and waits for their answers.
    pub(super) async fn ask_workers<T, A>(
        &self,
        parts: impl IntoIterator<Item = T>,
        command: impl Fn(T, oneshot::Sender<A>) -> Command,
    ) -> Vec<A> {
        let mut asked = Vec::new();
        for (worker, part) in self.workers.iter().zip(parts) {
            let (done, answer) = oneshot::channel();
            // A worker that has ended serves nobody.
            if worker.commands.send(command(part, done)).is_ok() {
                asked.push(answer);
            }
        }
        let mut answers = Vec::new();
        for answer in asked {
            answers.extend(answer.await.ok());
        }
        answers
    }

    fn tell_what_waits_for_a_restart(&self, config: &Config) {
        let server = (self.config.server.workers, self.config.server.pin_workers);
        for (changed, key) in [
            (server.0 != config.server.workers, "server.workers"),
            (server.1 != config.server.pin_workers, "server.pin_workers"),
            (self.config.admin != config.admin, "admin"),
        ] {
            if changed {
                tracing::warn!("the new value of {key} takes effect at the next restart");
            }
        }
    }
}

/// Why the old configuration stays.
struct NotReloaded {
    /// In one line, for the status.
    headline: String,
    text: String,
}

impl From<String> for NotReloaded {
    fn from(text: String) -> Self {
        Self { headline: text.lines().next().unwrap_or_default().to_owned(), text }
    }
}

impl From<config::Report> for NotReloaded {
    fn from(report: config::Report) -> Self {
        Self { headline: report.headline(), text: report.render(false) }
    }
}
