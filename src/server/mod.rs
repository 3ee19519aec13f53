//! The main thread: starts everything, listens to signals and the administrator, and ends it all.

mod clusters_page;
mod control;
mod cpus;
mod listeners;
mod notify;
mod reload;
mod worker;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::{self, Admin};
use crate::cluster::{self, AddressRules};
use crate::config::{self, Config};
use crate::downstream::Snapshot;
use crate::event_loop::Watchdog;
use crate::filter::policy::Policy;
use crate::stats::{Registry, ServerState};
use crate::{access_log, dns, logging};
use control::Control;
use listeners::Listeners;
use worker::{Command, Worker};

/// What the command line says.
pub struct Options {
    pub config: Option<PathBuf>,
    pub log_level: logging::Levels,
}

/// Exit code of a run whose configuration is wrong; systemd is told not to try again.
const EXIT_CONFIGURATION: u8 = 2;
/// What the access-log writer gets to write the rest.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Runs the proxy until it is told to stop.
pub fn run(options: &Options) -> ExitCode {
    let loaded = match config::load(options.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(report) => {
            complain(&report.render(io::stderr().is_terminal()));
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let logging = logging::init(options.log_level.clone());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("outrider: cannot start: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match Server::start(loaded.config, options.config.clone(), logging.clone()) {
            Ok((server, services)) => server.run(services).await,
            Err(error) => {
                tracing::error!("{error}");
                ExitCode::FAILURE
            }
        }
    });
    logging.flush(Duration::from_secs(1));
    code
}

/// A closed standard error is no reason to panic, and there is nobody left to tell.
fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The running proxy, as the main thread sees it.
struct Server {
    config_path: Option<PathBuf>,
    config: Config,
    registry: Arc<Registry>,
    logging: logging::Handle,
    dns: Arc<dns::Directory>,
    clusters: Arc<cluster::Directory>,
    access_log: access_log::Writer,
    listeners: Listeners,
    workers: Vec<Worker>,
}

/// What runs on the main thread beside the server itself.
struct Services {
    dns: dns::Driver,
    watchdog: Watchdog,
    admin: Admin,
}

impl Server {
    /// Binds, opens and starts everything, or says what is in the way.
    fn start(config: Config, config_path: Option<PathBuf>, logging: logging::Handle) -> Result<(Server, Services), String> {
        let count = config.server.workers.unwrap_or_else(cpus::usable).get();
        let registry = Registry::new();
        let (dns, driver) = dns::Directory::new(&config.dns);
        let clusters = cluster::Directory::new(count, &config);
        let access_log = access_log::Writer::start(&config.access_log.sink, count).map_err(|error| error.to_string())?;
        let admin = Admin::bind(&config.admin).map_err(|error| error.to_string())?;
        let (listeners, mut sockets) = Listeners::bind(&config.listeners, count).map_err(|error| error.to_string())?;
        provide_stats(&registry, &dns, &clusters, &access_log, &logging);
        let snapshot = snapshot(&config, &listeners);
        let mut watchdog = Watchdog::new();
        let cpus = cpus::allowed_cpus();
        let mut workers = Vec::new();
        for index in 0..count {
            let stats = registry.add_worker();
            let parts = worker::Parts {
                index,
                cpu: config.server.pin_workers.then(|| cpus[index % cpus.len()]),
                snapshot: snapshot.clone(),
                dns: dns.clone(),
                clusters: clusters.clone(),
                pulse: watchdog.pulse(stats.clone()),
                stats,
                access_log: access_log.handle(),
                sockets: sockets.take(index),
            };
            workers.push(worker::start(parts).map_err(|error| format!("cannot start a worker: {error}"))?);
        }
        let server = Server { config_path, config, registry, logging, dns, clusters, access_log, listeners, workers };
        Ok((server, Services { dns: driver, watchdog, admin }))
    }

    async fn run(mut self, services: Services) -> ExitCode {
        let signals = signal(SignalKind::terminate()).and_then(|terminate| {
            Ok((terminate, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?))
        });
        let (mut terminate, mut interrupt, mut hangup, mut reopen) = match signals {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "cannot listen to signals");
                return ExitCode::FAILURE;
            }
        };
        let (requests, mut asked) = mpsc::channel(16);
        let admin_address = services.admin.address();
        let api = admin::Control { registry: self.registry.clone(), logging: self.logging.clone(), requests };
        tokio::spawn(services.dns.run());
        tokio::spawn(services.watchdog.run());
        let mut admin = tokio::spawn(services.admin.serve(api));
        self.registry.set_state(ServerState::Live);
        self.announce(admin_address);
        notify::ready(&self.status());
        loop {
            let control = tokio::select! {
                _ = terminate.recv() => Control::Stop,
                _ = interrupt.recv() => Control::Stop,
                _ = hangup.recv() => Control::Reload,
                _ = reopen.recv() => Control::ReopenLogs,
                Some(request) = asked.recv() => self.answer(request),
                ended = &mut admin => {
                    tracing::error!(?ended, "the admin API has ended");
                    admin = tokio::spawn(std::future::pending());
                    Control::Nothing
                }
            };
            match control {
                Control::Nothing => {}
                Control::Reload => self.reload().await,
                Control::ReopenLogs => self.reopen_logs(),
                Control::CloseListeners => self.close_listeners(),
                Control::Stop => break,
            }
        }
        notify::stopping();
        tokio::select! {
            code = self.stop() => code,
            // Whoever asks twice means it.
            _ = terminate.recv() => std::process::exit(1),
            _ = interrupt.recv() => std::process::exit(1),
        }
    }

    /// Says where it listens and how to use it, as the first thing that a person sees.
    fn announce(&self, admin: Option<std::net::SocketAddr>) {
        let addresses = self.listeners.addresses();
        let urls: Vec<String> = addresses.iter().map(|address| format!("http://{address}")).collect();
        let mut text = format!("outrider {} listening on {}\n", env!("CARGO_PKG_VERSION"), urls.join(", "));
        if let Some(first) = urls.first() {
            let _ = writeln!(text, "export http_proxy={first} https_proxy={first}");
        }
        if let Some(admin) = admin {
            let _ = writeln!(text, "admin on http://{admin}");
        }
        complain(&text);
    }

    fn status(&self) -> String {
        let addresses: Vec<String> = self.listeners.addresses().iter().map(ToString::to_string).collect();
        format!("Listening on {} with {} workers", addresses.join(", "), self.workers.len())
    }

    fn reopen_logs(&self) {
        match self.access_log.reopen() {
            Ok(()) => tracing::info!("access log opened anew"),
            Err(error) => tracing::error!(%error, "the access log cannot be opened anew; the old file stays"),
        }
    }

    fn close_listeners(&mut self) {
        self.registry.set_state(ServerState::Draining);
        for worker in &self.workers {
            // A worker that has ended has nothing open.
            let _ = worker.commands.send(Command::CloseListeners);
        }
        tracing::info!("listeners closed; open connections go on");
    }

    /// Lets streams end within the drain's time.
    async fn stop(self) -> ExitCode {
        let limit = self.config.server.drain_timeout;
        self.registry.set_state(ServerState::Draining);
        tracing::info!(limit = ?limit, "stopping: accepting nothing more, letting streams end");
        let mut threads = Vec::new();
        for Worker { commands, thread } in self.workers {
            let _ = commands.send(Command::Drain { limit });
            threads.push(thread);
        }
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok())).await;
        let written = self.access_log.finish(LAST_LINES);
        if !written {
            tracing::warn!("some access-log lines could not be written");
        }
        tracing::info!("stopped");
        if matches!(joined, Ok(true)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Builds what a configuration means for streams.
fn snapshot(config: &Config, listeners: &Listeners) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        policy: Policy::new(&config.policy, &config.tunnel),
        address_rules: AddressRules::new(&config.addresses, listeners.addresses()),
        config: config.clone(),
    })
}

fn provide_stats(
    registry: &Registry,
    dns: &Arc<dns::Directory>,
    clusters: &Arc<cluster::Directory>,
    access_log: &access_log::Writer,
    logging: &logging::Handle,
) {
    let dns = dns.clone();
    registry.add_provider(move |exposition| {
        dns.stats().visit(|kind, name, help, value| match kind {
            crate::stats::Kind::Gauge => exposition.gauge(name, help, value),
            _ => exposition.counter(name, help, value),
        });
    });
    let clusters = clusters.clone();
    registry.add_provider(move |exposition| clusters.describe(exposition));
    let access_log = access_log.handle();
    registry.add_provider(move |exposition| access_log.describe(exposition));
    let logging = logging.clone();
    registry.add_provider(move |exposition| logging.describe(exposition));
}
