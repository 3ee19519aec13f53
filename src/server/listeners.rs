//! The listening sockets of all workers, as the main thread keeps account of them.
//!
//! A change of listeners refuses nobody whom both the old and the new ones would serve: new sockets are bound beside the old
//! ones, listen, and are with their workers before an old one goes; old ones are muted, so that new connections come to the
//! new sockets, and their workers accept whom they have already, until the last handshake must be over.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use super::keeper::Keeper;
use super::worker::{Place, PlaceId, Socket};
use crate::config;
use crate::listener::{self, BindError, Binding};

/// What is listened on.
pub(super) struct Listeners {
    workers: usize,
    keeper: Keeper,
    bound: Vec<Bound>,
    next_id: PlaceId,
    /// Sockets of an earlier process that are too many, until their queues have been emptied.
    surplus: Vec<(Binding, usize)>,
    /// One socket of each address whose new connections are steered away from its surplus.
    steered: Vec<TcpListener>,
    /// Inodes of muted sockets, which workers still have for a while.
    muted: Vec<(u64, Instant)>,
}

/// One address of one listener.
#[derive(Clone)]
struct Bound {
    id: PlaceId,
    listener: String,
    /// As configured; port 0 stays 0, so that a reload knows it again.
    configured: Binding,
    actual: Binding,
    /// The listener's connections over all workers.
    active: Arc<AtomicUsize>,
    /// Copies of its sockets, one for each worker; none where they are a socket unit's.
    sockets: Arc<[TcpListener]>,
    /// Those of its sockets that the service manager is asked to keep, from the first on.
    slots: Vec<usize>,
    /// How many of them an earlier process had kept.
    known: usize,
}

/// A set of listeners that could be bound, not in force yet.
pub(super) struct Change {
    bound: Vec<Bound>,
    /// New sockets, for each worker.
    sockets: Vec<Vec<Socket>>,
    /// Sockets of an earlier process that this change uses.
    used: Vec<(Binding, usize)>,
    surplus: Vec<(Binding, usize)>,
    steered: Vec<TcpListener>,
    /// Places from here on are new.
    first_id: PlaceId,
}

/// Muted sockets are closed long before.
const MEMORY: Duration = Duration::from_secs(60);

impl Listeners {
    pub fn new(keeper: Keeper, workers: usize) -> Listeners {
        let (bound, surplus, steered, muted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Listeners { workers, keeper, bound, next_id: 0, surplus, steered, muted }
    }

    /// Binds what is new, and nothing else: an address that was there before is not touched, whichever listener has it.
    pub fn prepare(&mut self, listeners: &[config::Listener]) -> Result<Change, BindError> {
        let mut change = Change {
            bound: Vec::new(),
            sockets: (0..self.workers).map(|_| Vec::new()).collect(),
            used: Vec::new(),
            surplus: Vec::new(),
            steered: Vec::new(),
            first_id: self.next_id,
        };
        for listener in listeners {
            let known = self.bound.iter().find(|old| old.listener == listener.name);
            let active = known.map(|old| old.active.clone()).unwrap_or_default();
            let of_unit = self.keeper.unit_addresses(&listener.name);
            for &address in if of_unit.is_empty() { &listener.addresses } else { &of_unit } {
                let configured = Binding::new(address, listener.ipv6_only);
                let bound = match self.known(configured, listener, &change) {
                    Some(old) => Ok(Bound { listener: listener.name.clone(), active: active.clone(), ..old.clone() }),
                    None => self.open(configured, listener, &active, &mut change),
                };
                match bound {
                    Ok(bound) => change.bound.push(bound),
                    // The embedded default listens on both loopback addresses; a machine without IPv6 has only one.
                    Err(error) if address.ip() == Ipv6Addr::LOCALHOST && listener.addresses.len() > 1 && has_no_ipv6(&error) => {
                        tracing::warn!(listener = listener.name, "{error}; this machine seems to have no IPv6");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.hand_over_the_rest(&mut change);
        Ok(change)
    }

    /// The place that has this address already, and that the change did not find before.
    fn known(&self, configured: Binding, listener: &config::Listener, change: &Change) -> Option<&Bound> {
        self.bound.iter().find(|old| {
            old.configured == configured
                && (configured.address.port() != 0 || old.listener == listener.name)
                && !change.bound.iter().any(|new| new.id == old.id)
        })
    }

    /// Finds or makes the sockets of an address.
    fn open(
        &mut self,
        configured: Binding,
        listener: &config::Listener,
        active: &Arc<AtomicUsize>,
        change: &mut Change,
    ) -> Result<Bound, BindError> {
        let fault = |error| BindError::new(configured.address, error);
        let id = self.next_id;
        self.next_id += 1;
        let (listener, active) = (listener.name.clone(), active.clone());
        let shared = self.keeper.unit_sockets_at(configured.address);
        if !shared.is_empty() {
            share(shared, id, &mut change.sockets).map_err(fault)?;
            let (sockets, slots) = (Arc::default(), Vec::new());
            return Ok(Bound { id, listener, configured, actual: configured, active, sockets, slots, known: 0 });
        }
        let kept = self.keeper.kept_at(configured).map_err(fault)?;
        let mut slots: Vec<usize> = kept.iter().map(|kept| kept.slot).collect();
        let known = slots.len();
        let mut sockets: Vec<TcpListener> = kept.into_iter().map(|kept| kept.socket).collect();
        if known < self.workers {
            sockets.extend(listener::bind(configured, self.workers - known, &self.own_inodes(change))?);
            let next = slots.iter().max().map_or(0, |last| last + 1);
            slots.extend(next..next + self.workers - known);
        }
        let actual = Binding::of(&sockets[0]).map_err(fault)?;
        if known > self.workers {
            self.steer_away(&sockets[0], &slots, change).map_err(fault)?;
        }
        change.used.extend(slots[..known].iter().map(|&slot| (configured, slot)));
        change.surplus.extend(slots.drain(self.workers..).map(|slot| (configured, slot)));
        if configured.address.port() == 0 {
            // A port that the kernel chose means nothing to the next process.
            slots.clear();
        }
        let copies: io::Result<_> = sockets.iter().take(self.workers).map(TcpListener::try_clone).collect();
        for (index, socket) in sockets.into_iter().enumerate() {
            let socket = Socket { place: Some(id), socket, is_surplus: index >= self.workers };
            change.sockets[index % self.workers].push(socket);
        }
        let known = known.min(self.workers);
        Ok(Bound { id, listener, configured, actual, active, sockets: copies.map_err(fault)?, slots, known })
    }

    fn steer_away(&self, first: &TcpListener, slots: &[usize], change: &mut Change) -> io::Result<()> {
        // The kernel counts sockets in the order in which they were made, which is that of the slots only if none is missing.
        let is_complete = slots.iter().copied().eq(0..slots.len());
        if is_complete && listener::steer_to_first(first, self.workers).is_ok() {
            change.steered.push(first.try_clone()?);
        }
        Ok(())
    }

    /// Sockets of an earlier process that nobody wants any more: who waits there is still served.
    fn hand_over_the_rest(&self, change: &mut Change) {
        for (index, kept) in self.keeper.rest(&change.used).enumerate() {
            match kept.socket.try_clone() {
                Ok(socket) => change.sockets[index % self.workers].push(Socket { place: None, socket, is_surplus: false }),
                Err(error) => tracing::warn!(%error, address = %kept.binding.address, "who waits at this address cannot be served"),
            }
        }
    }

    /// What the kernel lists as this process's own listening sockets.
    fn own_inodes(&self, change: &Change) -> HashSet<u64> {
        let bound = self.bound.iter().chain(&change.bound).flat_map(|bound| bound.sockets.iter());
        let handed = change.sockets.iter().flatten().map(|socket| &socket.socket);
        let sockets = bound.chain(handed).chain(self.keeper.sockets());
        sockets.filter_map(|socket| listener::inode(socket).ok()).chain(self.muted.iter().map(|&(inode, _)| inode)).collect()
    }

    /// Puts a change in force whose sockets the workers have.
    pub fn commit(&mut self, mut change: Change) {
        self.muted.retain(|(_, since)| since.elapsed() < MEMORY);
        let old = std::mem::replace(&mut self.bound, std::mem::take(&mut change.bound));
        let gone: Vec<&Bound> = old.iter().filter(|old| !self.bound.iter().any(|new| new.id == old.id)).collect();
        // The manager must not keep what is of no use, and does as it is told in order: a name may come again below.
        for old in &gone {
            old.slots.iter().for_each(|&slot| self.keeper.forget(old.actual, slot));
        }
        let rest = self.keeper.take_rest(&change.used);
        rest.iter().for_each(|kept| self.keeper.forget(kept.binding, kept.slot));
        for new in self.bound.iter().filter(|bound| bound.id >= change.first_id) {
            for (&slot, socket) in new.slots.iter().zip(new.sockets.iter()).skip(new.known) {
                self.keeper.keep(new.actual, slot, socket);
            }
        }
        mute_all(gone.iter().flat_map(|old| old.sockets.iter()).chain(rest.iter().map(|kept| &kept.socket)), &mut self.muted);
        self.surplus.append(&mut change.surplus);
        self.steered.append(&mut change.steered);
        let is_used = |address| self.bound.iter().any(|bound| bound.actual.address == address);
        for (name, address) in self.keeper.unit_sockets().filter(|&(_, address)| !is_used(address)) {
            tracing::warn!(name, %address, "no listener has this socket of the socket unit: name one so, or give one its address");
        }
    }

    /// Takes back a change whose sockets listen already. The workers are to be told.
    pub fn abandon(&mut self, change: &Change) {
        mute_all(change.new_sockets(), &mut self.muted);
    }

    /// Which listener has which address, as the workers see it.
    pub fn places(&self) -> Arc<[Place]> {
        let place = |bound: &Bound| Place { id: bound.id, listener: bound.listener.clone(), active: bound.active.clone() };
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
        self.surplus.drain(..).for_each(|(binding, slot)| self.keeper.forget(binding, slot));
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
        self.let_go();
    }

    /// Closes what is here of the sockets, so that one ends when its worker closes it.
    pub fn let_go(&mut self) {
        self.steered.clear();
        self.bound.iter_mut().for_each(|bound| bound.sockets = Arc::default());
    }

    /// Where clients can connect, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|bound| bound.actual.address).collect()
    }

    /// All that connections are accepted from, those sockets too that nobody is meant to use any more.
    pub fn accepting(&self) -> impl Iterator<Item = SocketAddr> {
        self.bound.iter().map(|bound| bound.actual.address).chain(self.surplus.iter().map(|(binding, _)| binding.address))
    }

    /// Name and address of each listener, an entry for each address.
    pub fn list(&self) -> Vec<(&str, SocketAddr)> {
        let mut list: Vec<_> = self.bound.iter().map(|bound| (bound.listener.as_str(), bound.actual.address)).collect();
        list.sort();
        list
    }
}

impl Change {
    /// Makes the new sockets take connections, which wait until workers accept them.
    ///
    /// # Errors
    /// When another program was faster.
    pub fn listen(&self) -> Result<(), BindError> {
        for bound in self.bound.iter().filter(|bound| bound.id >= self.first_id) {
            for socket in bound.sockets.iter().skip(bound.known) {
                listener::listen(socket).map_err(|error| BindError::new(bound.actual.address, error))?;
            }
        }
        Ok(())
    }

    /// The new sockets, for each worker.
    pub fn take_sockets(&mut self) -> Vec<Vec<Socket>> {
        std::mem::take(&mut self.sockets)
    }

    fn new_sockets(&self) -> impl Iterator<Item = &TcpListener> {
        self.bound.iter().filter(|bound| bound.id >= self.first_id).flat_map(|bound| bound.sockets.iter())
    }
}

/// Takes sockets out of service; their workers find it out by themselves.
fn mute_all<'a>(sockets: impl Iterator<Item = &'a TcpListener>, muted: &mut Vec<(u64, Instant)>) {
    let now = Instant::now();
    // Nothing comes between: while one socket of a group is muted and another one is not, a client may have to ask twice.
    for socket in sockets {
        match listener::mute(socket) {
            Ok(()) => muted.extend(listener::inode(socket).ok().map(|inode| (inode, now))),
            Err(error) => tracing::debug!(%error, "this kernel cannot mute a socket, which is closed at once"),
        }
    }
}

/// Workers that have no socket of their own accept from one that others have, too: the kernel wakes all of them for each
/// connection, and the first takes it.
fn share(sockets: Vec<TcpListener>, place: PlaceId, workers: &mut [Vec<Socket>]) -> io::Result<()> {
    let count = workers.len();
    let socket = |socket| Socket { place: Some(place), socket, is_surplus: false };
    for index in sockets.len()..count {
        workers[index].push(socket(sockets[index % sockets.len()].try_clone()?));
    }
    for (index, shared) in sockets.into_iter().enumerate() {
        workers[index % count].push(socket(shared));
    }
    Ok(())
}

fn has_no_ipv6(error: &BindError) -> bool {
    use rustix::io::Errno;
    let unsupported = Errno::from_io_error(&error.error) == Some(Errno::AFNOSUPPORT);
    unsupported || error.error.kind() == io::ErrorKind::AddrNotAvailable
}
