//! One worker: a thread, a single-threaded runtime, and everything that lives and dies on it.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::access_log;
use crate::clients::Clients;
use crate::cluster::{self, Clusters};
use crate::config;
use crate::dns;
use crate::downstream::{Context, Listener, Snapshot};
use crate::event_loop::{Memory, Pulse};
use crate::listener::{Acceptor, Terms, accept};
use crate::stats::WorkerStats;

/// How often a drain looks whether all streams have ended.
const DRAIN_STEP: Duration = Duration::from_millis(20);
/// What streams that began during a drain get of its time, after the last of them was accepted.
const LATECOMERS: Duration = Duration::from_secs(2);
/// What streams get to write their last words after the drain's time is up.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// For handshakes with a muted socket to end, and those who made them to be accepted.
const LAST_HANDSHAKES: Duration = Duration::from_secs(3);

/// What a worker is made of.
pub(super) struct Parts {
    pub index: usize,
    pub cpu: Option<usize>,
    pub snapshot: Arc<Snapshot>,
    pub dns: Arc<dns::Directory>,
    pub clusters: Arc<cluster::Directory>,
    pub clients: Arc<Clients>,
    pub stats: Arc<WorkerStats>,
    pub pulse: Arc<Pulse>,
    pub access_log: access_log::Handle,
    pub places: Arc<[Place]>,
    pub sockets: Vec<Socket>,
    /// Connections of a listener that this process has descriptors for.
    pub connection_limit: usize,
    pub release_memory: fn(),
    /// Told when the worker accepts.
    pub ready: oneshot::Sender<io::Result<()>>,
}

/// Tells the addresses of listeners apart, also those of one process that follow one another at the same address.
pub(super) type PlaceId = u64;

/// An address and the listener that has it.
pub(super) struct Place {
    pub id: PlaceId,
    pub listener: String,
    /// The listener's connections over all workers.
    pub active: Arc<AtomicUsize>,
}

/// A listening socket on its way to the worker that will accept from it.
pub(super) struct Socket {
    /// `None` for one that an earlier process left, and that is accepted from only until who has come is served.
    pub place: Option<PlaceId>,
    pub socket: TcpListener,
    /// Accepted from until [`Command::CloseSurplus`].
    pub is_surplus: bool,
}

/// What the main thread asks of a worker.
pub(super) enum Command {
    /// Makes ready to accept from `sockets`, which can fail, and so comes before anything is in force.
    Adopt { sockets: Vec<Socket>, done: oneshot::Sender<io::Result<()>> },
    /// They are not to be accepted from, but for who has come already.
    Abandon { done: oneshot::Sender<()> },
    /// Puts a new snapshot in force: adopted sockets are accepted from, and those whose place has gone are closed when who
    /// has come is accepted. It cannot fail.
    Reload { snapshot: Arc<Snapshot>, places: Arc<[Place]>, done: oneshot::Sender<()> },
    /// An earlier process had more sockets than are needed; their queues had time to empty.
    CloseSurplus { done: oneshot::Sender<()> },
    /// Accept nothing more, but go on with what there is.
    CloseListeners,
    /// End when all streams have ended or the time is up. `busy` counts the workers that still have streams from before:
    /// one that has none goes on accepting for its part of the clients until no other has.
    Drain { limit: Duration, accepts: Accepts, busy: Arc<AtomicUsize> },
}

/// What becomes of new connections while earlier ones end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepts {
    /// They are refused.
    Nothing,
    /// Its sockets outlive this process, and nobody may accept from them before it has ended: whoever comes meanwhile is
    /// served, for one request, and only the last seconds are left to the next process.
    UntilTheEnd,
}

/// The main thread's end of a worker.
pub(super) struct Worker {
    /// Holds what the main thread asks for: a command or two, now and then.
    pub commands: mpsc::UnboundedSender<Command>,
    pub thread: JoinHandle<()>,
}

/// Tasks that run before the loop looks again for what is ready: half of tokio's number, since a task here may be a new
/// connection with all that it takes to make one to its origin.
const EVENT_INTERVAL: u32 = 31;

/// Starts a worker's thread.
pub(super) fn start(parts: Parts) -> io::Result<Worker> {
    let (commands, receiver) = mpsc::unbounded_channel();
    let name = format!("worker-{}", parts.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || run(parts, receiver))?;
    Ok(Worker { commands, thread })
}

fn run(parts: Parts, commands: mpsc::UnboundedReceiver<Command>) {
    if let Some(cpu) = parts.cpu {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
            tracing::warn!(worker = parts.index, cpu, %error, "cannot pin this worker to its CPU");
        }
    }
    let mut builder = Builder::new_current_thread();
    builder.enable_all().event_interval(EVENT_INTERVAL);
    parts.pulse.instrument(&mut builder);
    match builder.build_local(LocalOptions::default()) {
        Ok(runtime) => runtime.block_on(work(parts, commands)),
        // Without an epoll descriptor there is nothing that this thread could do.
        Err(error) => tracing::error!(worker = parts.index, %error, "this worker cannot start"),
    }
}

async fn work(parts: Parts, mut commands: mpsc::UnboundedReceiver<Command>) {
    let clusters = Clusters::new(&parts.snapshot.config, parts.clusters, parts.index, parts.dns, parts.stats.clone());
    let log = parts.access_log.log(parts.stats.clone());
    spawn_local(log.flusher());
    spawn_local(parts.pulse.beat());
    let context = Rc::new(Context::new(
        parts.index,
        parts.snapshot.clone(),
        parts.stats,
        clusters,
        log,
        parts.clients,
        Memory::new(parts.release_memory),
    ));
    let (sweeping, sleeping) = (context.clone(), context.event_loop.deadlines.clone());
    spawn_local(async move { sweeping.clusters.run().await });
    spawn_local(async move { sleeping.run().await });
    let releasing = context.clone();
    spawn_local(async move { releasing.memory.run(|| releasing.stats.downstream_cx_active.get()).await });
    let mut listeners = Listeners::new(context.clone(), parts.connection_limit);
    let adopted = listeners.adopt(parts.sockets);
    listeners.apply(&parts.snapshot, &parts.places).await;
    // Whoever started this waits for it.
    let _ = parts.ready.send(adopted);
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            () = listeners.until_retirement_ends() => {
                listeners.close_retired().await;
                continue;
            }
        };
        let Some(command) = command else { break };
        // The main thread may have stopped waiting for an answer; what it asked for is done all the same.
        match command {
            Command::Adopt { sockets, done } => drop(done.send(listeners.adopt(sockets))),
            Command::Abandon { done } => {
                listeners.abandon().await;
                let _ = done.send(());
            }
            Command::Reload { snapshot, places, done } => {
                context.set_snapshot(snapshot.clone());
                listeners.apply(&snapshot, &places).await;
                let _ = done.send(());
            }
            Command::CloseSurplus { done } => {
                listeners.close_surplus().await;
                let _ = done.send(());
            }
            Command::CloseListeners => listeners.close().await,
            Command::Drain { limit, accepts, busy } => {
                if accepts == Accepts::Nothing {
                    listeners.close().await;
                }
                drain(&context, &mut listeners, limit, &busy).await;
                break;
            }
        }
    }
    context.access_log.flush();
}

/// Lets streams end by themselves, then ends those that did not.
async fn drain(context: &Context, listeners: &mut Listeners, limit: Duration, busy: &AtomicUsize) {
    let before = context.drain.begin();
    context.event_loop.deadlines.wake_all();
    let ends_at = Instant::now() + limit;
    let earlier = async {
        until(|| before.has_ended()).await;
        busy.fetch_sub(1, Ordering::Relaxed);
        until(|| busy.load(Ordering::Relaxed) == 0).await;
    };
    let _ = timeout_at(ends_at - LATECOMERS.min(limit), earlier).await;
    listeners.close().await;
    let latecomers = context.drain.next_cohort();
    let ends_at = ends_at.min(Instant::now() + LATECOMERS);
    if timeout_at(ends_at, until(|| before.has_ended() && latecomers.has_ended())).await.is_ok() {
        return;
    }
    tracing::warn!(connections = context.stats.downstream_cx_active.get(), "the drain's time is up; ending what still runs");
    context.drain.expire();
    context.event_loop.deadlines.pass_all();
    tokio::time::sleep(LAST_WORDS).await;
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(DRAIN_STEP).await;
    }
}

/// The listening sockets of one worker.
struct Listeners {
    context: Rc<Context>,
    connection_limit: usize,
    /// Not accepted from yet.
    adopted: Vec<Adopted>,
    open: Vec<Open>,
    surplus: Vec<Open>,
    /// Muted, and accepted from until a time.
    retired: VecDeque<(Instant, Open)>,
    /// What connections are accepted for where the socket's own place has gone.
    any_terms: Option<Rc<Terms>>,
}

/// A socket that this worker's loop can wait for.
struct Adopted {
    place: Option<PlaceId>,
    socket: tokio::net::TcpListener,
    is_surplus: bool,
}

/// A socket that is accepted from until it is closed.
struct Open {
    place: Option<PlaceId>,
    acceptor: Rc<Acceptor>,
    task: tokio::task::JoinHandle<()>,
}

impl Open {
    fn new(place: Option<PlaceId>, socket: tokio::net::TcpListener, context: &Rc<Context>, terms: Rc<Terms>) -> Open {
        let acceptor = Acceptor::new(socket, context.clone(), terms);
        let task = spawn_local(accept(acceptor.clone()));
        Open { place, acceptor, task }
    }

    /// Closing the socket would reset connections still in its queue, so they are accepted first. The accepting task is ended
    /// before that: it shares the socket, and would keep it open for connections that nobody accepts any more.
    async fn close(self) {
        self.task.abort();
        // That it was ended is no news.
        let _ = self.task.await;
        self.acceptor.accept_waiting();
    }
}

impl Listeners {
    fn new(context: Rc<Context>, connection_limit: usize) -> Listeners {
        let (adopted, open, surplus, retired) = (Vec::new(), Vec::new(), Vec::new(), VecDeque::new());
        Listeners { context, connection_limit, adopted, open, surplus, retired, any_terms: None }
    }

    fn adopt(&mut self, sockets: Vec<Socket>) -> io::Result<()> {
        for Socket { place, socket, is_surplus } in sockets {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            self.adopted.push(Adopted { place, socket, is_surplus });
        }
        Ok(())
    }

    async fn abandon(&mut self) {
        for Adopted { socket, .. } in std::mem::take(&mut self.adopted) {
            self.retire_adopted(socket).await;
        }
    }

    async fn apply(&mut self, snapshot: &Snapshot, places: &[Place]) {
        let terms = self.terms(snapshot, places);
        self.any_terms = terms.first().map(|(_, terms)| terms.clone());
        let find = |place: Option<PlaceId>| terms.iter().find(|&&(known, _)| Some(known) == place).map(|(_, terms)| terms.clone());
        // New ones first: where they take the place of others, connections wait for them already.
        for Adopted { place, socket, is_surplus } in std::mem::take(&mut self.adopted) {
            match find(place) {
                Some(terms) => {
                    let list = if is_surplus { &mut self.surplus } else { &mut self.open };
                    list.push(Open::new(place, socket, &self.context, terms));
                }
                None => self.retire_adopted(socket).await,
            }
        }
        let has_no_place = |open: &mut Open| find(open.place).inspect(|terms| open.acceptor.set_terms(terms.clone())).is_none();
        for gone in self.open.extract_if(.., has_no_place).collect::<Vec<_>>() {
            self.retire(gone).await;
        }
    }

    async fn retire_adopted(&mut self, socket: tokio::net::TcpListener) {
        if let Some(terms) = self.any_terms.clone() {
            self.retire(Open::new(None, socket, &self.context, terms)).await;
        }
    }

    /// Goes on accepting who has come already.
    async fn retire(&mut self, open: Open) {
        if open.acceptor.is_muted() {
            self.retired.push_back((Instant::now() + LAST_HANDSHAKES, open));
        } else {
            open.close().await;
        }
    }

    /// Never, where nothing is retired.
    async fn until_retirement_ends(&self) {
        match self.retired.front() {
            Some(&(end, _)) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    async fn close_retired(&mut self) {
        while let Some((_, open)) = self.retired.pop_front_if(|(end, _)| *end <= Instant::now()) {
            open.close().await;
        }
    }

    /// What connections of each place are accepted for. A listener that was there before stays the same one for its
    /// connections, with new options.
    fn terms(&self, snapshot: &Snapshot, places: &[Place]) -> Vec<(PlaceId, Rc<Terms>)> {
        let mut known: Vec<Rc<Listener>> = self.open.iter().map(|open| open.acceptor.terms().listener.clone()).collect();
        let mut terms = Vec::new();
        for place in places {
            let Some(config) = snapshot.config.listeners.iter().find(|listener| listener.name == place.listener) else { continue };
            let listener = known.iter().find(|listener| listener.name == config.name).cloned();
            let listener = listener.unwrap_or_else(|| Rc::new(Listener::new(config)));
            listener.reconfigure(config);
            known.push(listener.clone());
            let max_connections = config.max_connections.min(self.connection_limit);
            let auto = config::Listener::auto_per_client(max_connections);
            terms.push((
                place.id,
                Rc::new(Terms {
                    listener,
                    active: place.active.clone(),
                    max_connections,
                    max_connections_per_client: config.max_connections_per_client.unwrap_or(auto),
                    tcp: config.tcp,
                }),
            ));
        }
        terms
    }

    async fn close(&mut self) {
        close_all(self.open.drain(..)).await;
        self.close_surplus().await;
        close_all(self.retired.drain(..).map(|(_, open)| open)).await;
    }

    async fn close_surplus(&mut self) {
        close_all(self.surplus.drain(..)).await;
    }
}

async fn close_all(sockets: impl Iterator<Item = Open>) {
    for open in sockets {
        open.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::cluster::AddressRules;
    use crate::config::Config;
    use crate::event_loop::Watchdog;
    use crate::filter::policy::Policy;
    use crate::stats::Registry;

    fn started(sockets: Vec<Socket>) -> (Worker, oneshot::Receiver<io::Result<()>>) {
        let config = Config::default();
        let snapshot = Arc::new(Snapshot {
            policy: Policy::new(&config.policy, &config.tunnel, config.dns.use_search_domains),
            address_rules: AddressRules::new(&config.addresses, Vec::new()),
            config: config.clone(),
        });
        let stats = Registry::new().add_worker();
        let access_log = access_log::Writer::start(&config::AccessLogSink::Off, 1).expect("nothing to open");
        let (ready, is_ready) = oneshot::channel();
        let parts = Parts {
            index: 0,
            cpu: None,
            snapshot,
            dns: dns::Driver::new(&config.dns).0,
            clusters: cluster::Directory::new(1, &config),
            pulse: Watchdog::new().pulse(stats.clone()),
            stats,
            access_log: access_log.handle(),
            places: Arc::default(),
            sockets,
            connection_limit: 10,
            clients: Clients::new(),
            release_memory: || (),
            ready,
        };
        (start(parts).expect("a thread"), is_ready)
    }

    /// No epoll takes a file.
    fn unusable() -> Socket {
        let socket = TcpListener::from(OwnedFd::from(tempfile::tempfile().expect("a file")));
        socket.set_nonblocking(true).expect("set");
        Socket { place: Some(1), socket, is_surplus: false }
    }

    #[test]
    fn a_socket_that_cannot_be_waited_for_is_told() {
        let (_worker, is_ready) = started(vec![unusable()]);
        is_ready.blocking_recv().expect("an answer").expect_err("it cannot start so");
        let (worker, is_ready) = started(Vec::new());
        is_ready.blocking_recv().expect("an answer").expect("it starts");
        let (done, answer) = oneshot::channel();
        worker.commands.send(Command::Adopt { sockets: vec![unusable()], done }).expect("it runs");
        answer.blocking_recv().expect("an answer").expect_err("the reload is to fail");
    }
}
