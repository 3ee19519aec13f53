//! Listening sockets: one per address and worker (SO_REUSEPORT), so that workers share nothing, not
//! even a queue.

mod accept;
mod steer;

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

pub use accept::{Acceptor, Terms, accept};
pub use steer::{steer_to_first, stop_steering};

/// Connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    pub address: SocketAddr,
    pub error: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BindError { address, error } = self;
        write!(f, "cannot listen on {address}: {error}")?;
        f.write_str(match error.kind() {
            io::ErrorKind::AddrInUse => "; another program has this address: stop it, or change [[listener]] addresses",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE: take a higher port, or use the socket unit",
            io::ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
            _ => "",
        })
    }
}

/// Binds `address` once for each of `workers`, but for those that `kept` sockets of an earlier process serve, which come
/// first. Port 0 becomes one port for all of them.
///
/// # Errors
/// When the address is taken by another process, is not of this machine, or may not be used.
pub fn bind(address: SocketAddr, kept: Vec<TcpListener>, workers: usize) -> Result<Vec<TcpListener>, BindError> {
    let fault = |error| BindError { address, error };
    let mut sockets = kept;
    if sockets.is_empty() {
        // Without SO_REUSEPORT first, so that an Outrider that runs already is noticed and not joined.
        check_free(address).map_err(fault)?;
        sockets.push(bind_one(address).map_err(fault)?);
    }
    let address = sockets[0].local_addr().map_err(fault)?;
    while sockets.len() < workers {
        sockets.push(bind_one(address).map_err(fault)?);
    }
    Ok(sockets)
}

fn check_free(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    new_socket(address)?.bind(&address.into())
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    // Accepted sockets inherit it, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 has addresses of its own in the configuration.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    Ok(socket)
}
