//! An origin that serves by itself, connection by connection, from scripts.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::message::Message;
use super::{DEADLINE, Peer};

/// Threads that answer as scripted and record what came; they end with the value.
pub struct ScriptedOrigin {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What one connection does, in order. When the steps are through, the connection is closed.
#[derive(Clone, Default)]
pub struct Script {
    steps: Vec<Step>,
}

#[derive(Clone)]
enum Step {
    Request,
    Bytes(usize),
    Reply(Vec<u8>),
    ReplyWith(Arc<Make>),
    Reset,
    Stall,
    Echo,
    /// All the steps before, again and again.
    Repeat,
}

type Make = dyn Fn(&Message) -> Vec<u8> + Send + Sync;

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// For every connection in the order of their arrival, the requests that came whole.
    requests: Vec<Vec<Message>>,
    /// The open connections, by their number.
    open: HashMap<usize, TcpStream>,
}

impl Script {
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a request, and answers it with `response`, and so on until the proxy closes.
    pub fn always(response: impl AsRef<[u8]>) -> Self {
        Self::new().request().reply(response).repeat()
    }

    /// Sends everything back that comes, and passes on a half-close.
    pub fn echo() -> Self {
        Self::new().then_echo()
    }

    /// Sends everything back that comes from here on.
    pub fn then_echo(self) -> Self {
        self.step(Step::Echo)
    }

    /// Waits for a whole request and records it.
    pub fn request(self) -> Self {
        self.step(Step::Request)
    }

    /// Waits for that many bytes.
    pub fn bytes(self, count: usize) -> Self {
        self.step(Step::Bytes(count))
    }

    pub fn reply(self, bytes: impl AsRef<[u8]>) -> Self {
        self.step(Step::Reply(bytes.as_ref().to_vec()))
    }

    /// Replies with what is made of the request that was read last.
    pub fn reply_with(self, make: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.step(Step::ReplyWith(Arc::new(make)))
    }

    pub fn repeat(self) -> Self {
        self.step(Step::Repeat)
    }

    /// Ends with a reset instead of a close.
    pub fn reset(self) -> Self {
        self.step(Step::Reset)
    }

    /// Does nothing more, and keeps the connection until the proxy closes it.
    pub fn stall(self) -> Self {
        self.step(Step::Stall)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn run(&self, peer: Peer, connection: usize, shared: &Shared) {
        let mut peer = peer;
        let mut last = None;
        let mut position = 0;
        while let Some(step) = self.steps.get(position) {
            position += 1;
            match step {
                Step::Request => {
                    if !peer.wait_for_bytes() {
                        return;
                    }
                    let request = peer.expect_request();
                    shared.lock().requests[connection].push(request.clone());
                    shared.changed.notify_all();
                    last = Some(request);
                }
                Step::Bytes(count) => drop(peer.expect_bytes(*count)),
                Step::Reply(bytes) => drop(peer.send_if_open(bytes)),
                Step::ReplyWith(make) => {
                    let reply = make(last.as_ref().expect("a request was read before"));
                    peer.send_if_open(reply);
                }
                Step::Reset => return peer.reset(),
                Step::Stall => peer.discard_until_end(),
                Step::Echo => peer.echo_until_end(),
                Step::Repeat => position = 0,
            }
        }
    }
}

impl ScriptedOrigin {
    /// The first connection gets the first script, and so on; the last one serves all that follow.
    pub fn start(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self::start_on(IpAddr::V4(Ipv4Addr::LOCALHOST), scripts)
    }

    pub fn start_on(address: IpAddr, scripts: impl IntoIterator<Item = Script>) -> Self {
        let scripts: Vec<Script> = scripts.into_iter().collect();
        assert!(!scripts.is_empty(), "an origin needs a script");
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &scripts, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.lock().requests.len()
    }

    /// How many of them are open.
    pub fn open_connections(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// The requests that came whole, connection by connection.
    pub fn requests(&self) -> Vec<Message> {
        self.shared.lock().requests.iter().flatten().cloned().collect()
    }

    pub fn requests_of_connection(&self, connection: usize) -> Vec<Message> {
        self.shared.lock().requests.get(connection).cloned().unwrap_or_default()
    }

    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) -> Vec<Message> {
        self.wait_until("requests", |state| state.requests.iter().map(Vec::len).sum::<usize>() >= count);
        self.requests()
    }

    #[track_caller]
    pub fn wait_for_open_connections(&self, count: usize) {
        self.wait_until("open connections", |state| state.open.len() == count);
    }

    /// Kills the origin: every connection is cut, new ones are refused.
    pub fn kill(mut self) {
        self.stop();
    }

    #[track_caller]
    fn wait_until(&self, what: &str, reached: impl Fn(&State) -> bool) {
        let until = Instant::now() + DEADLINE;
        let mut state = self.shared.lock();
        while !reached(&state) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the number of {what} at the origin was never reached: {} open, {:?}",
                state.open.len(),
                state.requests
            );
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread in accept().
        let _ = TcpStream::connect(self.address);
        for stream in self.shared.lock().open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Drop for ScriptedOrigin {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, scripts: &[Script], shared: &Arc<Shared>) {
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept() else { return };
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let mut state = shared.lock();
        state.requests.push(Vec::new());
        state.open.insert(connection, stream.try_clone().expect("a descriptor"));
        drop(state);
        shared.changed.notify_all();
        let script = scripts[connection.min(scripts.len() - 1)].clone();
        let shared = Arc::clone(shared);
        let run = move || {
            // A proxy that says something wrong fails this connection, and so the test, not the process.
            let _ = catch_unwind(AssertUnwindSafe(|| script.run(Peer::new("origin", stream), connection, &shared)));
            // The connection ends here, with the last of its two descriptors.
            shared.lock().open.remove(&connection);
            shared.changed.notify_all();
        };
        std::thread::Builder::new().stack_size(512 * 1024).spawn(run).expect("a thread");
    }
}
