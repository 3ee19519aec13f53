//! One worker: a thread, a single-threaded runtime, and everything that lives and dies on it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

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

/// An address and the listener that has it.
pub(super) struct Place {
    pub listener: String,
    pub address: SocketAddr,
    /// The listener's connections over all workers.
    pub active: Arc<AtomicUsize>,
}

/// A listening socket on its way to the worker that will accept from it.
pub(super) struct Socket {
    pub address: SocketAddr,
    pub socket: TcpListener,
    /// Accepted from until [`Command::CloseSurplus`].
    pub is_surplus: bool,
}

/// What the main thread asks of a worker.
pub(super) enum Command {
    /// Puts a new snapshot in force: addresses that have no place any more are closed, and `sockets` are taken up.
    Reload { snapshot: Arc<Snapshot>, places: Arc<[Place]>, sockets: Vec<Socket>, done: oneshot::Sender<()> },
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
    builder.enable_all();
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
    let mut listeners =
        Listeners { context: context.clone(), connection_limit: parts.connection_limit, open: Vec::new(), surplus: Vec::new() };
    // Whoever started this waits for it.
    let _ = parts.ready.send(listeners.apply(&parts.snapshot, &parts.places, parts.sockets).await);
    while let Some(command) = commands.recv().await {
        match command {
            Command::Reload { snapshot, places, sockets, done } => {
                context.set_snapshot(snapshot.clone());
                if let Err(error) = listeners.apply(&snapshot, &places, sockets).await {
                    tracing::error!(worker = parts.index, %error, "cannot wait for connections");
                }
                // The main thread may have stopped waiting; the snapshot is in force all the same.
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
    open: Vec<Open>,
    surplus: Vec<Open>,
}

/// A socket that is accepted from until it is closed.
struct Open {
    address: SocketAddr,
    acceptor: Rc<Acceptor>,
    task: tokio::task::JoinHandle<()>,
}

impl Open {
    /// Accepts once more, lest closing it reset who waits there. When this is done, it is closed: the task has it, too, for
    /// as long as it has not ended, and whoever came after the last look would be reset.
    async fn close(self) {
        self.task.abort();
        // That it was ended is no news.
        let _ = self.task.await;
        self.acceptor.accept_waiting();
    }
}

impl Listeners {
    async fn apply(&mut self, snapshot: &Snapshot, places: &[Place], sockets: Vec<Socket>) -> io::Result<()> {
        let terms = self.terms(snapshot, places);
        let find = |address| terms.iter().find(|(known, _)| *known == address).map(|(_, terms)| terms);
        let has_no_place = |open: &mut Open| find(open.address).inspect(|terms| open.acceptor.set_terms(Rc::clone(terms))).is_none();
        close_all(self.open.extract_if(.., has_no_place)).await;
        for Socket { address, socket, is_surplus } in sockets {
            // An address that has no place is an earlier configuration's, and its last connections are anybody's.
            let Some(terms) = find(address).or(terms.first().map(|(_, terms)| terms)) else { continue };
            let acceptor = Acceptor::new(tokio::net::TcpListener::from_std(socket)?, self.context.clone(), terms.clone());
            let task = spawn_local(accept(acceptor.clone()));
            let list = if is_surplus { &mut self.surplus } else { &mut self.open };
            list.push(Open { address, acceptor, task });
        }
        Ok(())
    }

    /// What connections of each address are accepted for. A listener that was there before stays the same one for its
    /// connections, with new options.
    fn terms(&self, snapshot: &Snapshot, places: &[Place]) -> Vec<(SocketAddr, Rc<Terms>)> {
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
                place.address,
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
