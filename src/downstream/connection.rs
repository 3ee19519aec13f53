//! One downstream connection, from accept to close.

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::io::{end_write_half, fill, poll_fill};
use super::stream::exchange;
use super::{Context, Listener};
use crate::clients::Client;
use crate::config::Http1;
use crate::drain::Cohort;
use crate::event_loop::{Buffer, Deadline, coarse_now, spend};
use crate::probes;

/// A client that goes on sending after our last byte is listened to for this long and this much,
/// so that it sees the answer and not a reset (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// What a read of that takes of the task's turn ([`spend`]).
const LINGER_LAP: u32 = 32;
/// What a request takes of it that came before the one before it was answered.
const PIPELINED_REQUEST: u32 = 32;

/// When a drain begins, a request may be on its way; a connection that stays silent for so long has none.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// A client's connection and where it lives.
pub(super) struct Connection {
    pub context: Rc<Context>,
    pub listener: Rc<Listener>,
    pub stream: TcpStream,
    pub client: SocketAddr,
    pub deadline: Deadline,
    pub opened: Instant,
    pub requests: u64,
    /// Whether one of them counts as active; settled when it ends, or with the connection.
    has_active_request: Cell<bool>,
    pub account: Client,
    _place: Place,
    _cohort: Cohort,
}

/// What becomes of a connection after an exchange.
pub(super) enum Next {
    /// Another request may come; these bytes of it came already.
    Request(Option<Buffer>),
    Tunnel(Box<super::connect::Tunnel>),
    /// All was said; the client may still be sending.
    Close,
    /// A message was cut short, and must not look whole.
    Cut {
        reset: bool,
    },
}

/// Why waiting for a request ended.
enum Waited {
    Bytes,
    Ended,
    TimedOut,
    Draining,
}

/// One of a listener's `max_connections`, over all workers.
pub struct Place(Arc<AtomicUsize>);

impl Place {
    pub fn take(active: &Arc<AtomicUsize>, max: usize) -> Option<Place> {
        if active.fetch_add(1, Ordering::Relaxed) >= max {
            active.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(active.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a client until its connection ends. The future is what an idle connection costs, so what
/// is rare or large in it is boxed.
pub fn serve(
    context: Rc<Context>,
    listener: Rc<Listener>,
    stream: TcpStream,
    client: SocketAddr,
    account: Client,
    place: Place,
) -> impl Future<Output = ()> {
    context.stats.downstream_cx_total.increment();
    context.stats.downstream_cx_active.increment();
    let deadline = context.event_loop.deadlines.register();
    let cohort = context.drain.cohort();
    probes::connection_begin(context.worker, stream.as_raw_fd(), client.port());
    let mut connection = Connection {
        context,
        listener,
        stream,
        client,
        deadline,
        opened: coarse_now(),
        requests: 0,
        has_active_request: Cell::new(false),
        account,
        _place: place,
        _cohort: cohort,
    };
    // Moved in and used in place: an `async fn` that took it by value would hold it twice.
    async move { connection.run().await }
}

impl Connection {
    async fn run(&mut self) {
        let mut early = None;
        loop {
            if early.is_some() {
                spend(PIPELINED_REQUEST).await;
            } else {
                match self.expect_request(&mut early).await {
                    Waited::Bytes => {}
                    Waited::Ended => return,
                    Waited::TimedOut if self.requests == 0 => return self.context.stats.downstream_cx_first_byte_timeout.increment(),
                    Waited::TimedOut => return self.context.stats.downstream_cx_idle_timeout.increment(),
                    Waited::Draining => return self.context.stats.downstream_cx_drain_close.increment(),
                }
            }
            // Boxed, so that a connection between requests is small; and gone before what comes next.
            let next = Box::pin(exchange(self, early.take())).await;
            if !matches!(next, Next::Tunnel(_)) {
                // An Upgrade that was not granted.
                self.account.end_tunnel();
            }
            match next {
                Next::Request(bytes) => early = bytes,
                Next::Tunnel(tunnel) => return Box::pin(tunnel.run(self)).await,
                Next::Close => return Box::pin(self.linger()).await,
                Next::Cut { reset } => {
                    if reset {
                        self.reset();
                    }
                    return;
                }
            }
        }
    }

    /// Waits for the first bytes of a request, holding nothing, and reads them. (A new socket passes for
    /// readable until it was tried once, so readiness alone would not do.)
    async fn expect_request(&mut self, bytes: &mut Option<Buffer>) -> Waited {
        self.deadline.set(self.patience());
        let mut draining = false;
        std::future::poll_fn(|context| {
            if let Poll::Ready(read) = poll_fill(&self.stream, bytes, &self.context.event_loop.buffers, context) {
                return Poll::Ready(if matches!(read, Ok(1..)) { Waited::Bytes } else { Waited::Ended });
            }
            if self.context.drain.has_begun() && !draining {
                draining = true;
                self.deadline.set(LAST_REQUEST);
            }
            self.deadline.poll_passed(context).map(|()| if draining { Waited::Draining } else { Waited::TimedOut })
        })
        .await
    }

    /// How long to wait for the next request.
    fn patience(&self) -> Duration {
        let options = self.listener.http1.borrow();
        let wait = match self.requests {
            0 => options.idle_timeout.min(self.listener.first_byte_timeout.get()),
            _ => options.idle_timeout,
        };
        self.expires(&options).map_or(wait, |at| wait.min(at.saturating_duration_since(Instant::now())))
    }

    /// Ends our side and reads on for a while.
    async fn linger(&mut self) {
        end_write_half(&self.stream);
        self.deadline.set(LINGER);
        let mut left = LINGER_BYTES;
        let mut buffer = None;
        while let Some(Ok(count @ 1..)) = self.deadline.limit(fill(&self.stream, &mut buffer, &self.context.event_loop.buffers)).await {
            buffer = None;
            left = left.saturating_sub(count);
            if left == 0 {
                return;
            }
            spend(LINGER_LAP).await;
        }
    }

    /// The head of another request is here.
    pub fn begin_request(&mut self) {
        self.requests += 1;
        self.context.stats.downstream_rq_total.increment();
        if !self.has_active_request.replace(true) {
            self.context.stats.downstream_rq_active.increment();
        }
    }

    /// Its stream has ended, or the tunnel that it became.
    pub fn end_request(&self) {
        if self.has_active_request.replace(false) {
            self.context.stats.downstream_rq_active.decrement();
        }
    }

    /// Makes the close a reset, which no client can take for an end.
    pub fn reset(&self) {
        // Nothing to do about a failure: the connection is going away.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Whether the next request may still come on this connection, by the options of the exchange before it.
    pub fn may_go_on(&self, options: &Http1) -> bool {
        !self.context.drain.has_begun()
            && options.max_requests_per_connection.is_none_or(|max| self.requests < max)
            && self.expires(options).is_none_or(|at| Instant::now() < at)
    }

    /// When `max_connection_duration` has passed.
    pub fn expires(&self, options: &Http1) -> Option<Instant> {
        options.max_connection_duration.map(|max| self.opened + max)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end_request();
        let active = &self.context.stats.downstream_cx_active;
        self.context.memory.connection_ends(active.get());
        active.decrement();
        probes::connection_end(self.context.worker, self.stream.as_raw_fd(), self.requests);
    }
}
