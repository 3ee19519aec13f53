//! Accepting, on one worker.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::BACKLOG;
use crate::clients::ClientKey;
use crate::config::TcpOptions;
use crate::downstream::{Context, Listener, Place, serve};
use crate::event_loop::spend;
use crate::upstream;

/// Pause after an error that the next accept would meet again, such as a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// A shortage that lasts is told of no more often than this.
const SILENCE: Duration = Duration::from_secs(30);

/// One listening socket of one worker.
pub struct Acceptor {
    socket: TcpListener,
    context: Rc<Context>,
    terms: RefCell<Rc<Terms>>,
}

/// What a connection is accepted for; a reload may change it.
pub struct Terms {
    pub listener: Rc<Listener>,
    /// Connections of this listener over all workers, and how many there may be.
    pub active: Arc<AtomicUsize>,
    pub max_connections: usize,
    /// Connections of one client to whichever listener.
    pub max_connections_per_client: usize,
    pub tcp: TcpOptions,
}

impl Acceptor {
    pub fn new(socket: TcpListener, context: Rc<Context>, terms: Rc<Terms>) -> Rc<Self> {
        let acceptor = Acceptor { socket, context, terms: RefCell::new(terms) };
        acceptor.set_tcp_options(&TcpOptions::default());
        Rc::new(acceptor)
    }

    pub fn set_terms(&self, terms: Rc<Terms>) {
        let old = self.terms.replace(terms);
        self.set_tcp_options(&old.tcp);
    }

    /// On the listening socket: accepted ones inherit them, which saves a system call for each.
    fn set_tcp_options(&self, old: &TcpOptions) {
        let terms = self.terms();
        if let Err(error) = upstream::change_tcp_options(SockRef::from(&self.socket), old, &terms.tcp) {
            tracing::error!(listener = terms.listener.name, %error, "cannot set tcp_keepalive or tcp_user_timeout");
        }
    }

    pub fn terms(&self) -> Rc<Terms> {
        self.terms.borrow().clone()
    }

    /// Whether no new connection can come to its socket, but for those that have begun.
    pub fn is_muted(&self) -> bool {
        super::is_muted(&self.socket)
    }

    /// Takes the connections that wait already: closing a listening socket would reset them.
    pub fn accept_waiting(&self) {
        for _ in 0..BACKLOG {
            let accepted = match acceptfrom_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((descriptor, address)) => (std::net::TcpStream::from(descriptor), address),
                Err(error) if is_of_one_connection(&error.into()) => continue,
                Err(_) => return,
            };
            if let (Ok(stream), Some(Ok(client))) = (TcpStream::from_std(accepted.0), accepted.1.map(SocketAddr::try_from)) {
                self.admit(stream, client);
            }
        }
    }

    fn admit(&self, stream: TcpStream, client: SocketAddr) {
        let terms = self.terms();
        let Some(place) = Place::take(&terms.active, terms.max_connections) else {
            self.context.stats.downstream_cx_overflow.increment();
            return;
        };
        let client = canonical(client);
        let key = ClientKey::from(client.ip());
        let Ok(account) = self.context.clients.connect(key, terms.max_connections_per_client) else {
            self.context.stats.downstream_cx_client_overflow.increment();
            if self.context.clients.is_worth_telling() {
                let (listener, max) = (&terms.listener.name, terms.max_connections_per_client);
                tracing::warn!(listener, client = %key, max, "closing connections of a client that has max_connections_per_client");
            }
            return;
        };
        tokio::task::spawn_local(serve(self.context.clone(), terms.listener.clone(), stream, client, account, place));
    }
}

/// What a connection takes of this task's turn ([`spend`]): eight begin before others go on.
const ACCEPTED: u32 = 16;

/// Accepts until the task is ended.
pub async fn accept(acceptor: Rc<Acceptor>) {
    let mut told: Option<Instant> = None;
    loop {
        match acceptor.socket.accept().await {
            Ok((stream, client)) => {
                acceptor.admit(stream, client);
                spend(ACCEPTED).await;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() > SILENCE) {
                    let listener = &acceptor.terms().listener.name;
                    tracing::warn!(listener, %error, "cannot accept connections for now; they wait, and are tried again");
                    told = Some(Instant::now());
                }
                // Idle connections to upstreams hold descriptors that clients need more.
                acceptor.context.clusters.close_idle();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A client that gave up before it was accepted is no reason to pause.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}

/// IPv4 clients of a dual-stack socket are IPv4 clients.
fn canonical(client: SocketAddr) -> SocketAddr {
    SocketAddr::new(client.ip().to_canonical(), client.port())
}
