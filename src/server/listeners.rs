//! The listening sockets of all workers, as the main thread keeps account of them.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::worker::Socket;
use crate::config;
use crate::listener::{self, BindError};

/// What is listened on.
pub(super) struct Listeners {
    workers: usize,
    bound: HashMap<String, Bound>,
}

/// One listener.
#[derive(Clone)]
struct Bound {
    /// As configured; port 0 stays 0, so that a reload knows it again.
    configured: Vec<SocketAddr>,
    actual: Vec<SocketAddr>,
}

/// New sockets, for each worker.
pub(super) struct Sockets(Vec<Vec<Socket>>);

impl Sockets {
    /// Those of one worker.
    pub fn take(&mut self, worker: usize) -> Vec<Socket> {
        std::mem::take(&mut self.0[worker])
    }
}

/// A set of listeners that could be bound, not in force yet.
pub(super) struct Change {
    pub sockets: Sockets,
    /// Listeners whose old sockets go.
    pub closed: Vec<String>,
    bound: HashMap<String, Bound>,
}

impl Listeners {
    pub fn bind(listeners: &[config::Listener], workers: usize) -> Result<(Listeners, Sockets), BindError> {
        let mut all = Listeners { workers, bound: HashMap::new() };
        let change = all.prepare(listeners)?;
        all.bound = change.bound;
        Ok((all, change.sockets))
    }

    /// Binds what is new, and nothing else: a listener that did not change is not touched.
    pub fn prepare(&self, listeners: &[config::Listener]) -> Result<Change, BindError> {
        let mut sockets = Sockets((0..self.workers).map(|_| Vec::new()).collect());
        let mut bound = HashMap::new();
        let mut closed = Vec::new();
        for listener in listeners {
            let old = self.bound.get(&listener.name);
            if let Some(old) = old.filter(|old| old.configured == listener.addresses) {
                bound.insert(listener.name.clone(), old.clone());
                continue;
            }
            if old.is_some() {
                closed.push(listener.name.clone());
            }
            bound.insert(listener.name.clone(), self.bind_listener(listener, &mut sockets)?);
        }
        Ok(Change { sockets, closed, bound })
    }

    pub fn commit(&mut self, bound: Change) {
        self.bound = bound.bound;
    }

    /// Where clients can connect, in the order of the addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = self.bound.values().flat_map(|bound| bound.actual.iter().copied()).collect();
        addresses.sort();
        addresses
    }

    /// Name and addresses of each listener.
    pub fn list(&self) -> Vec<(&str, &[SocketAddr])> {
        let mut list: Vec<_> = self.bound.iter().map(|(name, bound)| (name.as_str(), bound.actual.as_slice())).collect();
        list.sort();
        list
    }

    fn bind_listener(&self, listener: &config::Listener, sockets: &mut Sockets) -> Result<Bound, BindError> {
        let active = Arc::new(AtomicUsize::new(0));
        let mut actual = Vec::new();
        for &address in &listener.addresses {
            let per_worker = match listener::bind(address, self.workers) {
                Ok(per_worker) => per_worker,
                // The embedded default listens on both loopback addresses; a machine without IPv6 has only one.
                Err(error) if address.ip() == Ipv6Addr::LOCALHOST && listener.addresses.len() > 1 && has_no_ipv6(&error) => {
                    tracing::warn!(listener = listener.name, "{error}; this machine seems to have no IPv6");
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (worker, socket) in per_worker.into_iter().enumerate() {
                if worker == 0 {
                    actual.push(socket.local_addr().map_err(|error| BindError { address, error })?);
                }
                sockets.0[worker].push(Socket { listener: listener.name.clone(), socket, active: active.clone() });
            }
        }
        Ok(Bound { configured: listener.addresses.clone(), actual })
    }
}

fn has_no_ipv6(error: &BindError) -> bool {
    use rustix::io::Errno;
    let unsupported = Errno::from_io_error(&error.error) == Some(Errno::AFNOSUPPORT);
    unsupported || error.error.kind() == std::io::ErrorKind::AddrNotAvailable
}
