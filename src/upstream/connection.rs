//! One connection to an upstream, whether in use or idle in a pool.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use tokio::net::TcpStream;

use super::Counts;
use super::counts::count;
use crate::event_loop::coarse_now;

/// A connection that stands. Settles its cluster's counts when dropped.
pub struct UpstreamConnection {
    pub stream: TcpStream,
    pub endpoint: SocketAddr,
    pub opened: Instant,
    /// Exchanges begun on it.
    pub requests: u64,
    /// How many changes of what its cluster's connections are like it has seen. `None` for one that is for a single stream.
    pub terms: Option<u32>,
    counts: Rc<Counts>,
}

impl UpstreamConnection {
    pub fn new(stream: TcpStream, endpoint: SocketAddr, terms: u32, counts: Rc<Counts>) -> Self {
        count!(counts, upstream_cx_total);
        counts.worker.upstream_cx_active.increment();
        counts.cluster.upstream_cx_active.increment();
        UpstreamConnection { stream, endpoint, opened: coarse_now(), requests: 0, terms: Some(terms), counts }
    }

    /// Whether nothing came since the last exchange: no byte, no end, no reset. Costs no system
    /// call as long as the event loop has seen nothing either.
    pub fn is_quiet(&self) -> bool {
        matches!(self.stream.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same, asked of the system: the event loop may not have heard of an end that has come.
    pub fn is_open(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = socket2::SockRef::from(&self.stream).peek(&mut byte);
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.counts.worker.upstream_cx_active.decrement();
        self.counts.cluster.upstream_cx_active.decrement();
        self.counts.queue.call_first();
    }
}
