//! The main thread: starts everything, listens to signals and the administrator, and ends it all.

mod clusters_page;
mod control;
mod cpus;
mod descriptors;
mod keeper;
mod listeners;
mod notify;
mod passed;
mod reload;
mod vitals;
mod worker;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::admin::{self, Admin};
use crate::clients::Clients;
use crate::cluster::{self, AddressRules};
use crate::config::{self, Config};
use crate::downstream::Snapshot;
use crate::event_loop::{Pulse, Watchdog};
use crate::filter::policy::Policy;
use crate::listener::BindError;
use crate::stats::{Registry, ServerState};
use crate::{access_log, dns, logging, upstream};
use control::Control;
use keeper::Keeper;
use listeners::Listeners;
use notify::Notifier;
use worker::{Accepts, Command, Worker};

pub use passed::Passed;

/// What the command line says.
pub struct Options {
    pub config: Option<PathBuf>,
    pub log_level: logging::Levels,
    /// Where the admin API listens besides what the configuration says, for `outrider reload` and the like.
    pub admin_socket: Option<PathBuf>,
    /// Has the allocator give back what it keeps for the thread that calls.
    pub release_memory: fn(),
}

/// Exit code of a run whose configuration is wrong, or cannot be had on this machine; systemd is told not to try again.
const EXIT_CONFIGURATION: u8 = 2;
/// How long a start waits for an address that no interface has yet. After a boot a network may be late; somebody who started
/// it by hand has made a mistake, more likely.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(30);
const ADDRESS_PATIENCE_BY_HAND: Duration = Duration::from_secs(3);
/// How often it looks.
const ADDRESS_STEP: Duration = Duration::from_millis(250);
/// What the access-log writer gets to write the rest.
const LAST_LINES: Duration = Duration::from_secs(5);
/// How often the service manager gets a new status, if there is one.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// For connections on their way to a surplus socket of an earlier process to arrive.
const SURPLUS_GRACE: Duration = Duration::from_secs(3);

/// Runs the proxy until it is told to stop. `passed` are the sockets that were there before it.
pub fn run(options: &Options, passed: Passed) -> ExitCode {
    let notifier = Arc::new(Notifier::from_environment());
    let loaded = match config::load(options.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(report) => {
            complain(&report.render(io::stderr().is_terminal()));
            notifier.status(&format!("Not started: {}", report.headline()));
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let descriptors = descriptors::raise_limit();
    let logging = logging::init(options.log_level.clone());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("outrider: cannot start: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        let keeper = Keeper::new(notifier.clone(), passed);
        match Server::start(loaded.config, options, logging.clone(), descriptors, keeper, notifier.clone()).await {
            Ok((server, services)) => server.run(services).await,
            Err(failure) => {
                tracing::error!("{}", failure.text);
                notifier.status(&format!("Not started: {}", failure.text));
                ExitCode::from(failure.code)
            }
        }
    });
    logging.flush(Duration::from_secs(1));
    code
}

/// Why the server does not start.
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// Trying again would not help until somebody changes something.
    fn lasting(error: impl ToString) -> Failure {
        Failure { text: error.to_string(), code: EXIT_CONFIGURATION }
    }

    fn passing(error: impl ToString) -> Failure {
        Failure { text: error.to_string(), code: 1 }
    }
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
    /// Where the admin API listens on TCP, for as long as this process runs.
    admin_address: Option<SocketAddr>,
    workers: Vec<Worker>,
    notifier: Arc<Notifier>,
    /// Counts the configurations that were in force.
    generation: u64,
    /// What the administrator should know.
    problem: Option<String>,
}

/// What runs on the main thread beside the server itself.
struct Services {
    dns: dns::Driver,
    watchdog: Watchdog,
    admin: Vec<Admin>,
    pulses: Vec<Arc<Pulse>>,
    /// Each worker says when it accepts.
    ready: Vec<oneshot::Receiver<io::Result<()>>>,
}

impl Server {
    /// Binds, opens and starts everything, or says what is in the way.
    async fn start(
        config: Config,
        options: &Options,
        logging: logging::Handle,
        descriptors: u64,
        keeper: Keeper,
        notifier: Arc<Notifier>,
    ) -> Result<(Server, Services), Failure> {
        check_egress(&config.cluster).map_err(Failure::lasting)?;
        let count = config.server.workers.unwrap_or_else(cpus::usable).get();
        let connection_limit = descriptors::connections_within(descriptors, count);
        let registry = Registry::new();
        let (dns, driver) = dns::Driver::new(&config.dns);
        let clusters = cluster::Directory::new(count, &config);
        let clients = Clients::new();
        let access_log = access_log::Writer::start(&config.access_log.sink, count).map_err(Failure::lasting)?;
        let admin = bind_admin(&config.admin, options.admin_socket.as_ref()).map_err(Failure::lasting)?;
        let admin_address = admin.iter().find_map(Admin::address);
        tell_if_addresses_are_unknown();
        let mut listeners = Listeners::new(keeper, count);
        let mut change = prepare_in_time(&mut listeners, &config.listeners, &notifier).await.map_err(Failure::lasting)?;
        change.listen().map_err(Failure::lasting)?;
        let sockets = change.take_sockets();
        listeners.commit(change);
        let places = listeners.places();
        provide_stats(&registry, &dns, &clusters, &access_log, &logging);
        let counted = clients.clone();
        let help = "Clients that have a connection, or a destination that was made for them";
        registry.add_provider(move |exposition| exposition.gauge("listener.clients", help, counted.len() as u64));
        let snapshot = snapshot(&config, &listeners, admin_address);
        let mut watchdog = Watchdog::new();
        let cpus = cpus::allowed_cpus();
        let (mut workers, mut pulses, mut all_ready) = (Vec::new(), Vec::new(), Vec::new());
        for (index, sockets) in sockets.into_iter().enumerate() {
            let stats = registry.add_worker();
            let pulse = watchdog.pulse(stats.clone());
            let (ready, is_ready) = oneshot::channel();
            pulses.push(pulse.clone());
            all_ready.push(is_ready);
            let parts = worker::Parts {
                index,
                cpu: config.server.pin_workers.then(|| cpus[index % cpus.len()]),
                snapshot: snapshot.clone(),
                dns: dns.clone(),
                clusters: clusters.clone(),
                clients: clients.clone(),
                pulse,
                stats,
                access_log: access_log.handle(),
                places: places.clone(),
                sockets,
                connection_limit,
                release_memory: options.release_memory,
                ready,
            };
            workers.push(worker::start(parts).map_err(|error| Failure::passing(format!("cannot start a worker: {error}")))?);
        }
        let config_path = options.config.clone();
        let (generation, problem) = (1, None);
        let server = Server {
            config_path,
            config,
            registry,
            logging,
            dns,
            clusters,
            access_log,
            listeners,
            admin_address,
            workers,
            notifier,
            generation,
            problem,
        };
        Ok((server, Services { dns: driver, watchdog, admin, pulses, ready: all_ready }))
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
        if let Err(error) = all_accept(services.ready).await {
            tracing::error!("a worker cannot start: {error}");
            return ExitCode::FAILURE;
        }
        let api = admin::Control { registry: self.registry.clone(), logging: self.logging.clone(), requests };
        tokio::spawn(services.dns.run());
        tokio::spawn(services.watchdog.run());
        let mut admin = tokio::spawn(serve_admin(services.admin, api));
        tokio::spawn(vitals::tell(self.notifier.clone(), services.pulses));
        self.registry.set_state(ServerState::Live);
        self.announce();
        self.notifier.ready(&self.status());
        let mut news = tokio::time::interval(STATUS_INTERVAL);
        news.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_watched = self.notifier.is_connected();
        let surplus_due = tokio::time::sleep(SURPLUS_GRACE);
        tokio::pin!(surplus_due);
        loop {
            let control = tokio::select! {
                _ = terminate.recv() => Control::Stop,
                _ = interrupt.recv() => Control::Stop,
                _ = hangup.recv() => Control::Reload(None),
                _ = reopen.recv() => Control::ReopenLogs,
                Some(request) = asked.recv() => self.answer(request),
                _ = news.tick(), if is_watched => Control::TellStatus,
                () = &mut surplus_due, if self.listeners.has_surplus() => Control::CloseSurplus,
                ended = &mut admin => {
                    tracing::error!(?ended, "the admin API has ended");
                    admin = tokio::spawn(std::future::pending());
                    Control::Nothing
                }
            };
            match control {
                Control::Nothing => {}
                Control::Reload(asker) => {
                    let result = self.reload().await;
                    // Whoever asked may have gone.
                    let _ = asker.map(|asker| asker.send(result.map(|text| admin::Page::Text(text + "\n"))));
                }
                Control::ReopenLogs => self.reopen_logs(),
                Control::CloseListeners => self.close_listeners().await,
                Control::CloseSurplus => self.close_surplus().await,
                Control::TellStatus => self.notifier.status(&self.status()),
                Control::Stop => break,
            }
        }
        self.notifier.stopping(self.config.server.drain_timeout + LAST_LINES + SURPLUS_GRACE);
        tokio::select! {
            code = self.stop() => code,
            // Whoever asks twice means it.
            _ = terminate.recv() => std::process::exit(1),
            _ = interrupt.recv() => std::process::exit(1),
        }
    }

    /// Says where it listens and how to use it, as the first thing that a person sees.
    fn announce(&self) {
        let addresses = self.listeners.addresses();
        let urls: Vec<String> = addresses.iter().map(|address| format!("http://{address}")).collect();
        let mut text = format!("outrider {} listening on {}\n", env!("CARGO_PKG_VERSION"), urls.join(", "));
        if let Some(first) = addresses.first() {
            let url = format!("http://{}:{}", config::client_host(*first), first.port());
            let _ = writeln!(text, "export http_proxy={url} https_proxy={url}");
        }
        if let Some(admin) = self.admin_address {
            let _ = writeln!(text, "admin on http://{admin}");
        }
        complain(&text);
    }

    /// One line for `systemctl status`.
    fn status(&self) -> String {
        let addresses: Vec<String> = self.listeners.addresses().iter().map(ToString::to_string).collect();
        let connections: u64 = self.registry.workers().iter().map(|worker| worker.downstream_cx_active.get()).sum();
        let problem = self.problem.as_ref().map(|problem| format!("; {problem}")).unwrap_or_default();
        format!(
            "Listening on {} with {}; {}; configuration {}{problem}",
            addresses.join(", "),
            counted(self.workers.len(), "worker"),
            counted(connections, "connection"),
            self.generation,
        )
    }

    fn reopen_logs(&self) {
        match self.access_log.reopen() {
            Ok(()) => tracing::info!("access log reopened"),
            Err(error) => tracing::error!(%error, "the access log cannot be reopened; the old file stays in use"),
        }
    }

    async fn close_listeners(&mut self) {
        self.registry.set_state(ServerState::Draining);
        self.listeners.forget_all();
        self.notifier.settle().await;
        for worker in &self.workers {
            // A worker that has ended has nothing open.
            let _ = worker.commands.send(Command::CloseListeners);
        }
        tracing::info!("listeners closed; open connections go on");
    }

    /// The queues of sockets that an earlier process had and this one does not need have had their time.
    async fn close_surplus(&mut self) {
        self.listeners.forget_surplus();
        // A copy that the manager still had would take connections, and nobody would accept them.
        self.notifier.settle().await;
        self.ask_workers(self.workers.iter(), |_, done| Command::CloseSurplus { done }).await;
        self.listeners.stop_steering();
        tracing::info!("closed the listening sockets that an earlier process left over");
    }

    /// Lets streams end within the drain's time.
    async fn stop(mut self) -> ExitCode {
        let limit = self.config.server.drain_timeout;
        self.registry.set_state(ServerState::Draining);
        let accepts = if self.listeners.outlive_us() { Accepts::UntilTheEnd } else { Accepts::Nothing };
        self.listeners.let_go();
        tracing::info!(?limit, "stopping: letting streams end");
        let mut threads = Vec::new();
        let busy = Arc::new(AtomicUsize::new(self.workers.len()));
        for Worker { commands, thread } in self.workers {
            let _ = commands.send(Command::Drain { limit, accepts, busy: busy.clone() });
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

/// A number of things, in words: one of them is no plural.
fn counted(count: impl Copy + PartialEq + From<bool> + std::fmt::Display, noun: &str) -> String {
    format!("{count} {noun}{}", if count == true.into() { "" } else { "s" })
}

/// Binds, and waits a while where an address is not this machine's yet.
async fn prepare_in_time(
    listeners: &mut Listeners,
    config: &[config::Listener],
    notifier: &Notifier,
) -> Result<listeners::Change, BindError> {
    let patience = if notifier.is_connected() { ADDRESS_PATIENCE } else { ADDRESS_PATIENCE_BY_HAND };
    let end = tokio::time::Instant::now() + patience;
    let mut is_told = false;
    loop {
        match listeners.prepare(config) {
            Err(error) if error.error.kind() == io::ErrorKind::AddrNotAvailable && tokio::time::Instant::now() < end => {
                if !is_told {
                    tracing::warn!("{error}; waiting {} s for it", patience.as_secs());
                    notifier.status(&format!("Waiting for an address: {error}"));
                    is_told = true;
                }
                tokio::time::sleep(ADDRESS_STEP).await;
            }
            result => return result,
        }
    }
}

async fn all_accept(workers: Vec<oneshot::Receiver<io::Result<()>>>) -> io::Result<()> {
    for worker in workers {
        worker.await.unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))?;
    }
    Ok(())
}

/// The configured API, and the one that the command line asked for.
fn bind_admin(config: &config::Admin, socket: Option<&PathBuf>) -> Result<Vec<Admin>, admin::BindError> {
    let mut all = vec![Admin::bind(config)?];
    if let Some(socket) = socket.filter(|&socket| config.socket.as_ref() != Some(socket)) {
        all.push(Admin::bind(&config::Admin { socket: Some(socket.clone()), address: None })?);
    }
    Ok(all)
}

/// Ends when one of them does, which none should.
async fn serve_admin(
    all: Vec<Admin>,
    control: admin::Control,
) -> Option<Result<io::Result<std::convert::Infallible>, tokio::task::JoinError>> {
    let mut serving: tokio::task::JoinSet<_> = all.into_iter().map(|admin| admin.serve(control.clone())).collect();
    serving.join_next().await
}

/// Whether this process may do what `mark` and `interface` ask for: better told now than to every stream.
fn check_egress(cluster: &config::Cluster) -> Result<(), String> {
    let mut all = cluster.overrides.iter().map(|over| &over.options).chain([&cluster.defaults]);
    all.try_for_each(|options| upstream::check_egress(&options.egress)).map_err(|error| format!("[cluster]: {error}"))
}

/// Streams ask the kernel whether an address with a port of ours is this machine's: better told now than never.
fn tell_if_addresses_are_unknown() {
    if let Err(error) = cluster::is_local(Ipv4Addr::LOCALHOST.into()) {
        tracing::warn!(
            "cannot ask the kernel which addresses are this machine's: {error}; connections of the proxy to itself are only noticed \
             once they stand. A sandbox must allow AF_NETLINK (RestrictAddressFamilies=, `network netlink raw`)"
        );
    }
}

/// Builds what a configuration means for streams.
fn snapshot(config: &Config, listeners: &Listeners, admin: Option<SocketAddr>) -> Arc<Snapshot> {
    let own = listeners.accepting().chain(admin).collect();
    Arc::new(Snapshot {
        policy: Policy::new(&config.policy, &config.tunnel, config.dns.use_search_domains),
        address_rules: AddressRules::new(&config.addresses, own),
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
