//! The listening sockets of all workers, as the main thread keeps account of them.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::keeper::Keeper;
use super::worker::{Place, Socket};
use crate::config;
use crate::listener::{self, BindError};

/// What is listened on.
pub(super) struct Listeners {
    workers: usize,
    keeper: Keeper,
    bound: Vec<Bound>,
    /// Sockets of an earlier process that are too many, until their queues have been emptied.
    surplus: Vec<(SocketAddr, usize)>,
    /// One socket of each address whose new connections are steered away from its surplus.
    steered: Vec<TcpListener>,
}

/// One address of one listener.
#[derive(Clone)]
struct Bound {
    listener: String,
    /// As configured; port 0 stays 0, so that a reload knows it again.
    configured: SocketAddr,
    actual: SocketAddr,
    /// The listener's connections over all workers.
    active: Arc<AtomicUsize>,
    /// Those of its sockets that the service manager was asked to keep.
    slots: Vec<usize>,
}

/// A set of listeners that could be bound, not in force yet.
pub(super) struct Change {
    bound: Vec<Bound>,
    /// New sockets, for each worker.
    sockets: Vec<Vec<Socket>>,
    to_keep: Vec<(SocketAddr, usize, TcpListener)>,
    surplus: Vec<(SocketAddr, usize)>,
    steered: Vec<TcpListener>,
}

impl Listeners {
    pub fn new(keeper: Keeper, workers: usize) -> Listeners {
        Listeners { workers, keeper, bound: Vec::new(), surplus: Vec::new(), steered: Vec::new() }
    }

    /// Binds what is new, and nothing else: an address that was there before is not touched, whichever listener has it.
    pub fn prepare(&mut self, listeners: &[config::Listener]) -> Result<Change, BindError> {
        let mut change = Change {
            bound: Vec::new(),
            sockets: (0..self.workers).map(|_| Vec::new()).collect(),
            to_keep: Vec::new(),
            surplus: Vec::new(),
            steered: Vec::new(),
        };
        for listener in listeners {
            let known = self.bound.iter().find(|old| old.listener == listener.name);
            let active = known.map(|old| old.active.clone()).unwrap_or_default();
            let of_unit = self.keeper.unit_addresses(&listener.name);
            for &configured in if of_unit.is_empty() { &listener.addresses } else { &of_unit } {
                let is_this = |old: &&Bound| old.configured == configured && (configured.port() != 0 || old.listener == listener.name);
                if let Some(old) = self.bound.iter().find(is_this) {
                    change.bound.push(Bound { listener: listener.name.clone(), active: active.clone(), ..old.clone() });
                    continue;
                }
                let (actual, slots) = match self.open(configured, &mut change) {
                    Ok(opened) => opened,
                    // The embedded default listens on both loopback addresses; a machine without IPv6 has only one.
                    Err(error) if configured.ip() == Ipv6Addr::LOCALHOST && listener.addresses.len() > 1 && has_no_ipv6(&error) => {
                        tracing::warn!(listener = listener.name, "{error}; this machine seems to have no IPv6");
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                change.bound.push(Bound { listener: listener.name.clone(), configured, actual, active: active.clone(), slots });
            }
        }
        Ok(change)
    }

    /// Puts a change in force, and returns the new sockets for each worker.
    pub fn commit(&mut self, mut change: Change) -> Vec<Vec<Socket>> {
        for (address, slot, socket) in &change.to_keep {
            self.keeper.keep(*address, *slot, socket);
        }
        for old in &self.bound {
            if !change.bound.iter().any(|new| new.actual == old.actual) {
                old.slots.iter().for_each(|&slot| self.keeper.forget(old.actual, slot));
            }
        }
        // Addresses of an earlier process that nobody wants any more: who waits there is still served.
        for (index, kept) in self.keeper.rest().into_iter().enumerate() {
            change.surplus.push((kept.address, kept.slot));
            change.sockets[index % self.workers].push(Socket { address: kept.address, socket: kept.socket, is_surplus: true });
        }
        self.surplus.append(&mut change.surplus);
        self.steered.append(&mut change.steered);
        self.bound = change.bound;
        let is_used = |address| self.bound.iter().any(|bound| bound.actual == address);
        for (name, address) in self.keeper.unit_sockets().filter(|&(_, address)| !is_used(address)) {
            tracing::warn!(name, %address, "no listener has this socket of the socket unit: name one so, or give one its address");
        }
        change.sockets
    }

    /// Which listener has which address, as the workers see it.
    pub fn places(&self) -> Arc<[Place]> {
        let place = |bound: &Bound| Place { listener: bound.listener.clone(), address: bound.actual, active: bound.active.clone() };
        self.bound.iter().map(place).collect()
    }

    /// Whether clients can connect when this process has closed its sockets.
    pub fn outlive_us(&self) -> bool {
        self.keeper.is_asked_to_keep() && !self.bound.is_empty()
    }

    pub fn has_surplus(&self) -> bool {
        !self.surplus.is_empty()
    }

    /// Surplus sockets are about to be closed by the workers, and must not live on elsewhere.
    pub fn forget_surplus(&mut self) {
        self.surplus.drain(..).for_each(|(address, slot)| self.keeper.forget(address, slot));
    }

    /// Nothing is left to steer away from.
    pub fn stop_steering(&mut self) {
        for socket in self.steered.drain(..) {
            if let Err(error) = listener::stop_steering(&socket) {
                tracing::debug!(%error, "connections go on being steered, which does no harm");
            }
        }
    }

    /// All listeners are about to be closed for good.
    pub fn forget_all(&mut self) {
        self.forget_surplus();
        for bound in &mut self.bound {
            bound.slots.drain(..).for_each(|slot| self.keeper.forget(bound.actual, slot));
        }
    }

    /// Where clients can connect, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|bound| bound.actual).collect()
    }

    /// All that connections are accepted from, those sockets too that nobody is meant to use any more.
    pub fn accepting(&self) -> impl Iterator<Item = SocketAddr> {
        self.bound.iter().map(|bound| bound.actual).chain(self.surplus.iter().map(|(address, _)| *address))
    }

    /// Name and address of each listener, an entry for each address.
    pub fn list(&self) -> Vec<(&str, SocketAddr)> {
        let mut list: Vec<_> = self.bound.iter().map(|bound| (bound.listener.as_str(), bound.actual)).collect();
        list.sort();
        list
    }

    /// Finds or makes the sockets of an address; its real address, and the slots in which they are kept.
    fn open(&mut self, configured: SocketAddr, change: &mut Change) -> Result<(SocketAddr, Vec<usize>), BindError> {
        let fault = |error| BindError { address: configured, error };
        let shared = self.keeper.unit_sockets_at(configured);
        if !shared.is_empty() {
            share(shared, configured, &mut change.sockets).map_err(fault)?;
            return Ok((configured, Vec::new()));
        }
        let kept = self.keeper.kept_at(configured);
        let known = kept.len();
        let slots: Vec<usize> = kept.iter().map(|kept| kept.slot).collect();
        let sockets = listener::bind(configured, kept.into_iter().map(|kept| kept.socket).collect(), self.workers)?;
        let actual = sockets[0].local_addr().map_err(fault)?;
        if known > self.workers {
            self.steer_away(&sockets[0], &slots, change).map_err(fault)?;
        }
        // A port that the kernel chose means nothing to the next process.
        let is_kept = configured.port() != 0;
        let next_slot = slots.iter().max().map_or(0, |last| last + 1);
        let mut lasting = slots.iter().copied().take(self.workers).collect::<Vec<_>>();
        for (index, socket) in sockets.into_iter().enumerate() {
            let is_surplus = index >= self.workers;
            if is_surplus {
                change.surplus.push((actual, slots[index]));
            } else if index >= known && is_kept {
                let slot = next_slot + index - known;
                change.to_keep.push((actual, slot, socket.try_clone().map_err(fault)?));
                lasting.push(slot);
            }
            change.sockets[index % self.workers].push(Socket { address: actual, socket, is_surplus });
        }
        Ok((actual, lasting))
    }

    fn steer_away(&self, first: &TcpListener, slots: &[usize], change: &mut Change) -> std::io::Result<()> {
        // The kernel counts sockets in the order in which they were made, which is that of the slots only if none is missing.
        let is_complete = slots.iter().copied().eq(0..slots.len());
        if is_complete && listener::steer_to_first(first, self.workers).is_ok() {
            change.steered.push(first.try_clone()?);
        }
        Ok(())
    }
}

/// Workers that have no socket of their own accept from one that others have, too: the kernel wakes all of them for each
/// connection, and the first takes it.
fn share(sockets: Vec<TcpListener>, address: SocketAddr, workers: &mut [Vec<Socket>]) -> std::io::Result<()> {
    let count = workers.len();
    for index in sockets.len()..count {
        let socket = sockets[index % sockets.len()].try_clone()?;
        workers[index].push(Socket { address, socket, is_surplus: false });
    }
    for (index, socket) in sockets.into_iter().enumerate() {
        workers[index % count].push(Socket { address, socket, is_surplus: false });
    }
    Ok(())
}

fn has_no_ipv6(error: &BindError) -> bool {
    use rustix::io::Errno;
    let unsupported = Errno::from_io_error(&error.error) == Some(Errno::AFNOSUPPORT);
    unsupported || error.error.kind() == std::io::ErrorKind::AddrNotAvailable
}
