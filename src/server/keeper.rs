//! Listening sockets that outlive the process: those that a socket unit made, and those that the service manager keeps
//! for us (sd_pid_notify_with_fds(3), `FileDescriptorStoreMax=`) between one process of this service and the next.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use super::notify::Notifier;

/// Hands out the sockets that were there before this process, and has new ones kept.
pub(super) struct Keeper {
    notifier: Arc<Notifier>,
    unit: Vec<UnitSocket>,
    kept: Vec<KeptSocket>,
}

/// A socket of a socket unit. It stays the manager's: workers get copies, and the original stays here for a
/// configuration that wants it later.
struct UnitSocket {
    name: String,
    address: SocketAddr,
    socket: TcpListener,
}

/// A socket that an earlier process had kept.
pub(super) struct KeptSocket {
    pub address: SocketAddr,
    /// Its place among the sockets of its address, counted in the order in which they were made.
    pub slot: usize,
    pub socket: TcpListener,
}

/// Where passed descriptors begin (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

impl Keeper {
    /// Takes what the service manager passed to this process.
    pub fn from_environment(notifier: Arc<Notifier>) -> Keeper {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let names = passed_names(&variable("LISTEN_PID"), &variable("LISTEN_FDS"), &variable("LISTEN_FDNAMES"));
        let mut keeper = Keeper { notifier, unit: Vec::new(), kept: Vec::new() };
        for (number, name) in (FIRST..).zip(names) {
            // An environment that lies must not make us own a descriptor that is closed.
            // SAFETY: looking at a descriptor's flags is sound whatever the number stands for.
            let open = rustix::io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(number) }, rustix::io::FdFlags::CLOEXEC);
            if open.is_err() {
                tracing::warn!(name, "the service manager announced a descriptor that is not there");
                continue;
            }
            // SAFETY: it is open, it was passed to this process to own, and nobody else has looked for it here.
            keeper.take(name, unsafe { OwnedFd::from_raw_fd(number) });
        }
        keeper.kept.sort_by_key(|kept| (kept.address, kept.slot));
        keeper
    }

    fn take(&mut self, name: String, descriptor: OwnedFd) {
        let Some((socket, address)) = listening(descriptor) else {
            tracing::warn!(name, "this descriptor from the service manager is no listening TCP socket, and is closed");
            return;
        };
        match parse_name(&name) {
            Some((named, slot)) if named == address => self.kept.push(KeptSocket { address, slot, socket }),
            Some(_) => self.notifier.forget(&name),
            None => self.unit.push(UnitSocket { name, address, socket }),
        }
    }

    /// The addresses of the socket unit's sockets that are called after a listener, in place of its own.
    pub fn unit_addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.unit.iter().filter(|unit| unit.name == listener).map(|unit| unit.address).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }

    /// Copies of the socket unit's sockets at an address.
    pub fn unit_sockets_at(&self, address: SocketAddr) -> Vec<TcpListener> {
        self.unit.iter().filter(|unit| unit.address == address).filter_map(|unit| unit.socket.try_clone().ok()).collect()
    }

    /// The kept sockets of an address, in the order of their slots.
    pub fn kept_at(&mut self, address: SocketAddr) -> Vec<KeptSocket> {
        let (here, elsewhere) = std::mem::take(&mut self.kept).into_iter().partition(|kept| kept.address == address);
        self.kept = elsewhere;
        here
    }

    /// Kept sockets that nobody asked for.
    pub fn rest(&mut self) -> Vec<KeptSocket> {
        std::mem::take(&mut self.kept)
    }

    /// Name and address of every socket of a socket unit.
    pub fn unit_sockets(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.unit.iter().map(|unit| (unit.name.as_str(), unit.address))
    }

    /// Whether there is somebody who keeps sockets; whether they do is theirs to say.
    pub fn is_asked_to_keep(&self) -> bool {
        self.notifier.is_connected()
    }

    pub fn keep(&self, address: SocketAddr, slot: usize, socket: &TcpListener) {
        self.notifier.store(&name_of(address, slot), socket.as_fd());
    }

    pub fn forget(&self, address: SocketAddr, slot: usize) {
        self.notifier.forget(&name_of(address, slot));
    }
}

/// The names of the descriptors that were passed to this process, in order.
fn passed_names(pid: &str, count: &str, names: &str) -> Vec<String> {
    if pid.parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    // No manager passes more than its own limit of descriptors.
    let count = count.parse::<usize>().unwrap_or(0).min(65_536);
    names.split(':').map(str::to_owned).chain(std::iter::repeat_with(|| "unknown".to_owned())).take(count).collect()
}

fn listening(descriptor: OwnedFd) -> Option<(TcpListener, SocketAddr)> {
    let listens = rustix::net::sockopt::socket_acceptconn(&descriptor).unwrap_or(false);
    if !listens {
        return None;
    }
    let socket = TcpListener::from(descriptor);
    let address = socket.local_addr().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address))
}

/// A name may hold no colon, for which IPv6 has so many.
fn name_of(address: SocketAddr, slot: usize) -> String {
    format!("{PREFIX}{}-{slot}", address.to_string().replace(':', "_"))
}

fn parse_name(name: &str) -> Option<(SocketAddr, usize)> {
    let (address, slot) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
    Some((address.replace('_', ":").parse().ok()?, slot.parse().ok()?))
}

const PREFIX: &str = "listen-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_address_and_slot() {
        for address in ["127.0.0.1:3128", "[::1]:3128", "[fe80::1%2]:80"] {
            let address = address.parse().expect("an address");
            let name = name_of(address, 7);
            assert!(!name.contains(':'), "{name}");
            assert_eq!(parse_name(&name), Some((address, 7)));
        }
        assert_eq!(parse_name("outrider.socket"), None);
        assert_eq!(parse_name("listen-nowhere-1"), None);
    }

    #[test]
    fn descriptors_of_another_process_are_not_ours() {
        assert!(passed_names("1", "2", "a:b").is_empty());
        assert!(passed_names("", "2", "a:b").is_empty());
        let me = std::process::id().to_string();
        assert_eq!(passed_names(&me, "3", "a:b"), ["a", "b", "unknown"]);
        assert_eq!(passed_names(&me, "1", ""), [""]);
        assert!(passed_names(&me, "-1", "").is_empty());
    }

    #[test]
    fn only_a_listening_socket_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        assert_eq!(listening(listener.into()).map(|(_, address)| address), Some(address));
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        assert!(listening(datagram.into()).is_none());
    }
}
