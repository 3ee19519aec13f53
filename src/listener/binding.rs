//! What a socket is bound to.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use socket2::SockRef;

/// What a socket is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binding {
    pub address: SocketAddr,
    /// `[::]` that takes IPv4 clients as well. Where a socket of `0.0.0.0` or of one IPv4 address has the same port, IPv4
    /// clients go to that one.
    pub is_dual: bool,
}

impl Binding {
    pub fn new(address: SocketAddr, ipv6_only: bool) -> Binding {
        Binding { address, is_dual: !ipv6_only && address.ip() == Ipv6Addr::UNSPECIFIED }
    }

    /// What a socket that is there already is bound to.
    ///
    /// # Errors
    /// When it is no TCP socket.
    pub fn of(socket: &TcpListener) -> io::Result<Binding> {
        let address = socket.local_addr()?;
        let ipv6_only = address.is_ipv4() || SockRef::from(socket).only_v6()?;
        Ok(Binding::new(address, ipv6_only))
    }
}
