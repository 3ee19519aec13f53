//! Listening sockets: one per address and worker (SO_REUSEPORT), so that workers share nothing, not
//! even a queue.

mod accept;
mod binding;
mod holders;
mod mute;
mod steer;

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

pub use accept::{Acceptor, Terms, accept};
pub use binding::Binding;
pub use holders::inode;
pub use mute::{is_muted, mute};
pub use steer::{steer_to_first, stop_steering};

/// Connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    pub address: SocketAddr,
    pub error: io::Error,
    /// Where another program listens that is in the way, if that is known.
    pub holder: Option<SocketAddr>,
}

impl BindError {
    pub fn new(address: SocketAddr, error: io::Error) -> BindError {
        BindError { address, error, holder: None }
    }
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BindError { address, error, holder } = self;
        write!(f, "cannot listen on {address}: {error}")?;
        match (error.kind(), holder) {
            (io::ErrorKind::AddrInUse, Some(holder)) if holder != address => {
                write!(f, "; another program has {holder}: stop it, or change [[listener]] addresses")
            }
            (io::ErrorKind::AddrInUse, _) => f.write_str("; another program has this address: stop it, or change [[listener]] addresses"),
            (io::ErrorKind::PermissionDenied, _) => {
                f.write_str("; ports below 1024 need CAP_NET_BIND_SERVICE: take a higher port, or use the socket unit")
            }
            (io::ErrorKind::AddrNotAvailable, _) => {
                f.write_str("; no interface of this machine has this address: change [[listener]] addresses")
            }
            _ if rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::AFNOSUPPORT) => {
                f.write_str("; this machine has no IPv6: change [[listener]] addresses, such as 0.0.0.0 in place of [::]")
            }
            _ => Ok(()),
        }
    }
}

/// Binds `count` sockets, none of which listens yet: until [`listen`], closing them costs nobody a connection. Port 0
/// becomes one port for all of them.
///
/// `own` are the inodes of this process's listening sockets. They may overlap the new address (`127.0.0.1` and `0.0.0.0` with
/// the same port): each connection goes to the most specific socket that listens.
///
/// # Errors
/// When the address is taken by another process, is not of this machine, or may not be used.
pub fn bind(binding: Binding, count: usize, own: &HashSet<u64>) -> Result<Vec<TcpListener>, BindError> {
    let fault = |error: io::Error| {
        let is_taken = error.kind() == io::ErrorKind::AddrInUse;
        let holder = if is_taken { holders::holder(binding, own, None) } else { None };
        BindError { address: binding.address, error, holder }
    };
    check_free(binding, own).map_err(fault)?;
    let mut sockets: Vec<TcpListener> = Vec::with_capacity(count);
    let mut chosen = binding;
    while sockets.len() < count {
        let socket = new_socket(chosen).and_then(|socket| {
            socket.set_reuse_port(true)?;
            socket.bind(&chosen.address.into())?;
            // Accepted sockets inherit it, which saves a system call for each.
            socket.set_tcp_nodelay(true)?;
            Ok(TcpListener::from(socket))
        });
        let socket = socket.map_err(fault)?;
        chosen.address = socket.local_addr().map_err(fault)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Makes a bound socket take connections.
///
/// # Errors
/// When another program began to listen on the address since it was bound.
pub fn listen(socket: &TcpListener) -> io::Result<()> {
    SockRef::from(socket).listen(BACKLOG)
}

/// Whether no other process listens there. SO_REUSEPORT would let this process join another one of the same user, such as
/// an Outrider that runs already, so it is left out here; the kernel then counts this process's own sockets as taken, too, and
/// the list of listening sockets tells whose they are.
fn check_free(binding: Binding, own: &HashSet<u64>) -> io::Result<()> {
    if binding.address.port() == 0 {
        return Ok(());
    }
    match new_socket(binding)?.bind(&binding.address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !own.is_empty() => {
            // Sockets of other users are told by the kernel when ours are bound.
            let user = rustix::process::geteuid().as_raw();
            if holders::holder(binding, own, Some(user)).is_some() { Err(error) } else { Ok(()) }
        }
        result => result,
    }
}

fn new_socket(binding: Binding) -> io::Result<Socket> {
    let address = binding.address;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Whatever net.ipv6.bindv6only says.
        socket.set_only_v6(!binding.is_dual)?;
    }
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_taken_address_is_told_with_who_has_it() {
        let foreign = TcpListener::bind("0.0.0.0:0").expect("bound");
        let holder = foreign.local_addr().expect("an address");
        let wanted = SocketAddr::from(([127, 0, 0, 1], holder.port()));
        let error = bind(Binding::new(wanted, false), 1, &HashSet::new()).expect_err("taken");
        assert_eq!(error.holder, Some(holder));
        assert!(error.to_string().contains(&format!("another program has {holder}: stop it")), "{error}");
    }

    #[test]
    fn an_own_socket_is_not_in_the_way_and_a_twins_is() {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = bind(Binding::new(free, false), 1, &HashSet::new()).expect("bound").remove(0);
        listen(&first).expect("listens");
        let port = first.local_addr().expect("an address").port();
        let own = HashSet::from([inode(&first).expect("a socket")]);
        for wanted in ["127.0.0.1", "0.0.0.0", "[::]"] {
            let binding = Binding::new(format!("{wanted}:{port}").parse().expect("an address"), false);
            bind(binding, 2, &own).expect("its own socket is there");
            // The same user's, and with SO_REUSEPORT: the kernel would let it join.
            let error = bind(binding, 2, &HashSet::from([1])).expect_err("another process's socket is there");
            assert_eq!(error.holder, first.local_addr().ok());
        }
        bind(Binding::new(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), true), 2, &HashSet::from([1])).expect("IPv6 is free");
    }
}
