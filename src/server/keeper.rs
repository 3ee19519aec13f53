//! Listening sockets that outlive the process: those that a socket unit made, and those that the service manager keeps
//! for us (sd_pid_notify_with_fds(3), `FileDescriptorStoreMax=`) between one process of this service and the next.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::notify::Notifier;
use super::passed::Passed;
use crate::listener::{self, Binding};

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
    pub binding: Binding,
    /// Its place among the sockets of its address, counted in the order in which they were made.
    pub slot: usize,
    pub socket: TcpListener,
}

impl Keeper {
    /// Sorts what the service manager passed to this process.
    pub fn new(notifier: Arc<Notifier>, passed: Passed) -> Keeper {
        if !passed.others.is_empty() {
            let names = passed.others.join(":");
            tracing::warn!(names, "the service manager announced descriptors that are no listening TCP sockets; they are left alone");
        }
        let mut keeper = Keeper { notifier, unit: Vec::new(), kept: Vec::new() };
        for (name, socket) in passed.sockets {
            keeper.take(name, socket);
        }
        keeper.kept.sort_by_key(|kept| (kept.binding, kept.slot));
        keeper
    }

    fn take(&mut self, name: String, socket: TcpListener) {
        let Ok(binding) = Binding::of(&socket) else { return };
        match parse_name(&name) {
            Some((named, slot)) if named == binding => self.kept.push(KeptSocket { binding, slot, socket }),
            Some(_) => self.notifier.forget(&name),
            None => self.unit.push(UnitSocket { name, address: binding.address, socket }),
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

    /// Copies of the kept sockets of an address, in the order of their slots.
    pub fn kept_at(&self, binding: Binding) -> std::io::Result<Vec<KeptSocket>> {
        // One that was taken out of service gets no connections, and cannot be put back.
        let here = self.kept.iter().filter(|kept| kept.binding == binding && !listener::is_muted(&kept.socket));
        here.map(|kept| Ok(KeptSocket { binding, slot: kept.slot, socket: kept.socket.try_clone()? })).collect()
    }

    /// The kept sockets that are not among `used`.
    pub fn rest(&self, used: &[(Binding, usize)]) -> impl Iterator<Item = &KeptSocket> {
        self.kept.iter().filter(|kept| !used.contains(&(kept.binding, kept.slot)))
    }

    /// The same, and from now on there are none.
    pub fn take_rest(&mut self, used: &[(Binding, usize)]) -> Vec<KeptSocket> {
        let mut rest = std::mem::take(&mut self.kept);
        rest.retain(|kept| !used.contains(&(kept.binding, kept.slot)));
        rest
    }

    /// Name and address of every socket of a socket unit.
    pub fn unit_sockets(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.unit.iter().map(|unit| (unit.name.as_str(), unit.address))
    }

    /// Every socket that was passed and is still held here.
    pub fn sockets(&self) -> impl Iterator<Item = &TcpListener> {
        self.unit.iter().map(|unit| &unit.socket).chain(self.kept.iter().map(|kept| &kept.socket))
    }

    /// Whether there is somebody who keeps sockets; whether they do is theirs to say.
    pub fn is_asked_to_keep(&self) -> bool {
        self.notifier.is_connected()
    }

    pub fn keep(&self, binding: Binding, slot: usize, socket: &TcpListener) {
        self.notifier.store(&name_of(binding, slot), socket.as_fd());
    }

    pub fn forget(&self, binding: Binding, slot: usize) {
        self.notifier.forget(&name_of(binding, slot));
    }
}

const PREFIX: &str = "listen-";
/// Follows [`PREFIX`] in the name of a socket that takes both families.
const DUAL: &str = "dual-";

/// A name may hold no colon, for which IPv6 has so many.
fn name_of(binding: Binding, slot: usize) -> String {
    let dual = if binding.is_dual { DUAL } else { "" };
    format!("{PREFIX}{dual}{}-{slot}", binding.address.to_string().replace(':', "_"))
}

fn parse_name(name: &str) -> Option<(Binding, usize)> {
    let (address, slot) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
    let (address, is_dual) = address.strip_prefix(DUAL).map_or((address, false), |address| (address, true));
    Some((Binding { address: address.replace('_', ":").parse().ok()?, is_dual }, slot.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_address_family_and_slot() {
        for (address, ipv6_only) in
            [("127.0.0.1:3128", false), ("[::1]:3128", false), ("[fe80::1%2]:80", false), ("[::]:80", false), ("[::]:80", true)]
        {
            let binding = Binding::new(address.parse().expect("an address"), ipv6_only);
            let name = name_of(binding, 7);
            assert!(!name.contains(':'), "{name}");
            assert_eq!(parse_name(&name), Some((binding, 7)));
        }
        assert_eq!(parse_name("outrider.socket"), None);
        assert_eq!(parse_name("listen-nowhere-1"), None);
    }
}
