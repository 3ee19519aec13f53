//! One worker: a thread, a single-threaded runtime, and everything that lives and dies on it.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, spawn_local};

use crate::access_log;
use crate::cluster::{self, Clusters};
use crate::dns;
use crate::downstream::{Context, Listener, Snapshot};
use crate::drain::Phase;
use crate::event_loop::Pulse;
use crate::listener::{Acceptor, accept};
use crate::stats::WorkerStats;

/// How often a drain looks whether all streams have ended.
const DRAIN_STEP: Duration = Duration::from_millis(20);
/// What streams get to write their last words after the drain's time is up.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a worker is made of.
pub(super) struct Parts {
    pub index: usize,
    pub cpu: Option<usize>,
    pub snapshot: Arc<Snapshot>,
    pub dns: Arc<dns::Directory>,
    pub clusters: Arc<cluster::Directory>,
    pub stats: Arc<WorkerStats>,
    pub pulse: Arc<Pulse>,
    pub access_log: access_log::Handle,
    pub sockets: Vec<Socket>,
}

/// A listening socket on its way to the worker that will accept from it.
pub(super) struct Socket {
    /// Name of the listener that it belongs to.
    pub listener: String,
    pub socket: TcpListener,
    /// The listener's connections over all workers.
    pub active: Arc<AtomicUsize>,
}

/// What the main thread asks of a worker.
pub(super) enum Command {
    /// Puts a new snapshot in force. Listeners named in `closed`, or not in the snapshot, end; `sockets` are
    /// taken up.
    Reload { snapshot: Arc<Snapshot>, closed: Vec<String>, sockets: Vec<Socket>, done: oneshot::Sender<()> },
    /// Accept nothing more, but go on with what there is.
    CloseListeners,
    /// Accept nothing more; end when all streams have ended or the time is up.
    Drain { limit: Duration },
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
    let context = Rc::new(Context::new(parts.index, parts.snapshot.clone(), parts.stats, clusters, log));
    let (sweeping, sleeping) = (context.clone(), context.event_loop.deadlines.clone());
    spawn_local(async move { sweeping.clusters.run().await });
    spawn_local(async move { sleeping.run().await });
    let mut listeners = Listeners { context: context.clone(), running: HashMap::new() };
    listeners.add(parts.sockets, &parts.snapshot);
    while let Some(command) = commands.recv().await {
        match command {
            Command::Reload { snapshot, closed, sockets, done } => {
                context.set_snapshot(snapshot.clone());
                listeners.keep(&closed, &snapshot);
                listeners.add(sockets, &snapshot);
                // The main thread may have stopped waiting; the snapshot is in force all the same.
                let _ = done.send(());
            }
            Command::CloseListeners => listeners.running.clear(),
            Command::Drain { limit } => {
                listeners.running.clear();
                drain(&context, limit).await;
                break;
            }
        }
    }
    context.access_log.flush();
}

/// Lets streams end by themselves, then ends those that did not.
async fn drain(context: &Context, limit: Duration) {
    context.drain.set(Phase::Draining);
    context.event_loop.deadlines.wake_all();
    let active = || context.stats.downstream_cx_active.get();
    let quiet = async {
        while active() > 0 {
            tokio::time::sleep(DRAIN_STEP).await;
        }
    };
    if tokio::time::timeout(limit, quiet).await.is_ok() {
        return;
    }
    tracing::warn!(connections = active(), "the drain's time is up; ending what still runs");
    context.drain.set(Phase::Expired);
    context.event_loop.deadlines.pass_all();
    tokio::time::sleep(LAST_WORDS).await;
}

/// The listeners of one worker, each with its accepting tasks.
struct Listeners {
    context: Rc<Context>,
    running: HashMap<String, Running>,
}

struct Running {
    listener: Rc<Listener>,
    max_connections: Rc<Cell<usize>>,
    tasks: Vec<Task>,
}

/// A task that ends with whoever holds it.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listeners {
    fn add(&mut self, sockets: Vec<Socket>, snapshot: &Snapshot) {
        for Socket { listener: name, socket, active } in sockets {
            let Some(config) = snapshot.config.listeners.iter().find(|listener| listener.name == name) else {
                continue;
            };
            let socket = match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::error!(listener = name, %error, "cannot wait for connections");
                    continue;
                }
            };
            let running = self.running.entry(name).or_insert_with(|| Running {
                listener: Rc::new(Listener::new(config.name.clone(), config.http1.clone())),
                max_connections: Rc::new(Cell::new(config.max_connections)),
                tasks: Vec::new(),
            });
            let acceptor =
                Acceptor { socket, listener: running.listener.clone(), active, max_connections: running.max_connections.clone() };
            running.tasks.push(Task(spawn_local(accept(acceptor, self.context.clone())).abort_handle()));
        }
    }

    /// Puts new options in force, and ends the listeners that are gone or change their addresses.
    fn keep(&mut self, closed: &[String], snapshot: &Snapshot) {
        self.running.retain(|name, running| {
            let config = snapshot.config.listeners.iter().find(|listener| listener.name == *name);
            let Some(config) = config.filter(|_| !closed.contains(name)) else {
                return false;
            };
            running.listener.set_http1(config.http1.clone());
            running.max_connections.set(config.max_connections);
            true
        });
    }
}
