//! An origin that the test drives step by step.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{DEADLINE, Peer};

/// A listening socket whose connections the test takes one by one.
pub struct Origin {
    listener: TcpListener,
    accepted: Cell<usize>,
}

impl Origin {
    pub fn listen() -> Self {
        Self::listen_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    pub fn listen_v6() -> Self {
        Self::listen_on(IpAddr::V6(Ipv6Addr::LOCALHOST))
    }

    pub fn listen_on(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        Self { listener, accepted: Cell::new(0) }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }

    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// `host:port`, as in a URL.
    pub fn authority(&self) -> String {
        self.address().to_string()
    }

    /// The next connection from the proxy.
    #[track_caller]
    pub fn accept(&self) -> Peer {
        match self.accept_within(DEADLINE) {
            Some(stream) => Peer::new("origin", stream),
            None => panic!("the proxy did not connect to the origin"),
        }
    }

    /// A connection that is already there, if any.
    pub fn accept_if_called(&self) -> Option<Peer> {
        self.accept_within(Duration::ZERO).map(|stream| Peer::new("origin", stream))
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.accepted.get()
    }

    fn accept_within(&self, limit: Duration) -> Option<TcpStream> {
        let until = Instant::now() + limit;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.accepted.set(self.accepted.get() + 1);
                    return Some(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("cannot accept: {error}"),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            // A failure or a signal shows in the next round.
            let _ = poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&timeout));
        }
    }
}
