//! A reload is a transaction: the new configuration is in force on every worker, or the old one
//! stays and the reason is told.

use tokio::sync::oneshot;

use super::worker::Command;
use super::{Server, notify, snapshot};
use crate::config::{self, Config};

impl Server {
    pub(super) async fn reload(&mut self) {
        notify::reloading();
        match self.try_reload().await {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(error) => tracing::error!("the configuration stays as it was: {error}"),
        }
        notify::ready(&self.status());
    }

    async fn try_reload(&mut self) -> Result<(), String> {
        let config = config::load(self.config_path.as_deref()).map_err(|report| report.render(false))?.config;
        // Everything that can fail comes before anything that is in force.
        let mut change = self.listeners.prepare(&config.listeners).map_err(|error| error.to_string())?;
        if config.access_log.sink != self.config.access_log.sink {
            self.access_log.retarget(&config.access_log.sink).map_err(|error| error.to_string())?;
        }
        self.tell_what_waits_for_a_restart(&config);
        self.dns.reconfigure(&config.dns);
        self.clusters.reconfigure(&config);
        let closed = std::mem::take(&mut change.closed);
        let mut sockets: Vec<_> = (0..self.workers.len()).map(|worker| change.sockets.take(worker)).collect();
        self.listeners.commit(change);
        let snapshot = snapshot(&config, &self.listeners);
        let mut acknowledged = Vec::new();
        for (worker, sockets) in self.workers.iter().zip(sockets.drain(..)) {
            let (done, answer) = oneshot::channel();
            let command = Command::Reload { snapshot: snapshot.clone(), closed: closed.clone(), sockets, done };
            // A worker that has ended serves nobody.
            if worker.commands.send(command).is_ok() {
                acknowledged.push(answer);
            }
        }
        for answer in acknowledged {
            let _ = answer.await;
        }
        self.config = config;
        Ok(())
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
