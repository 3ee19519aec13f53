//! An address that nobody answers from.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Takes a connection attempt and says nothing: a listener with a full queue, from which nobody accepts.
pub struct BlackHole {
    socket: Socket,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    pub fn start() -> Self {
        Self::on((Ipv4Addr::LOCALHOST, 0).into())
    }

    pub fn on(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.bind(&address.into()).expect("a free port");
        socket.listen(0).expect("a bound socket");
        let mut hole = Self { socket, _queued: Vec::new() };
        let address = hole.address();
        // Until the next one waits.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        hole._queued = (0..8).map_while(connect).collect();
        hole
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().ok().and_then(|address| address.as_socket()).expect("bound")
    }
}
