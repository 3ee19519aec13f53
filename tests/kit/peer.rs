//! One end of a connection, with every byte that went over it.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::message::{BodyEnd, Head, Message, dump};
use super::pattern::Pattern;

/// A client, or the origin's end of a connection from the proxy.
pub struct Peer {
    /// For messages: "client", "origin".
    role: &'static str,
    stream: TcpStream,
    sent: Vec<u8>,
    received: Vec<u8>,
    /// How much of `received` the test has looked at.
    used: usize,
    end: Option<End>,
}

/// How the other side stopped sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Eof,
    Reset,
}

impl Peer {
    pub(super) fn new(role: &'static str, stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_nonblocking(false).expect("a socket");
        stream.set_write_timeout(Some(DEADLINE)).expect("longer than nothing");
        Self { role, stream, sent: Vec::new(), received: Vec::new(), used: 0, end: None }
    }

    #[track_caller]
    pub fn connect(role: &'static str, address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap_or_else(|error| panic!("{role} cannot connect: {error}"));
        Self::new(role, stream)
    }

    /// Connects from an address of this machine, such as another one of 127.0.0.0/8: another client to the proxy.
    #[track_caller]
    pub fn connect_from(role: &'static str, source: IpAddr, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).expect("a socket");
        let connected = socket.bind(&SocketAddr::new(source, 0).into()).and_then(|()| socket.connect_timeout(&address.into(), DEADLINE));
        connected.unwrap_or_else(|error| panic!("{role} cannot connect from {source}: {error}"));
        Self::new(role, socket.into())
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.sent.extend_from_slice(bytes);
        if let Err(error) = self.stream.write_all(bytes) {
            self.fail(&format!("cannot send: {error}"));
        }
        self
    }

    /// Sends, and does not mind if the other side went away: what it said before it went is what counts.
    pub fn send_if_open(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.sent.extend_from_slice(bytes.as_ref());
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// One byte to a segment, as far as the kernel allows.
    pub fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        for byte in bytes.as_ref().chunks(1) {
            self.send_if_open(byte);
        }
        self
    }

    /// Reads as many bytes as `expected` has, which must be it. `{date}` and `{id}` in it stand
    /// for any date and any request id.
    #[track_caller]
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) -> &mut Self {
        let pattern = Pattern::new(expected.as_ref());
        let until = Instant::now() + DEADLINE;
        loop {
            let unused = &self.received[self.used..];
            let now = &unused[..unused.len().min(pattern.length())];
            if !pattern.matches_start(now) {
                self.fail(&format!("expected other bytes:{}\n  and got:{}", dump(expected.as_ref()), dump(unused)));
            }
            if now.len() == pattern.length() {
                self.used += pattern.length();
                return self;
            }
            if !self.receive(until) {
                let unused = &self.received[self.used..];
                self.fail(&format!("expected:{}\n  and got only:{}", dump(expected.as_ref()), dump(unused)));
            }
        }
    }

    /// Reads a head, up to and with its empty line.
    #[track_caller]
    pub fn expect_head(&mut self) -> Head {
        let bytes = self.expect_up_to(b"\r\n\r\n", "a head");
        Head { bytes }
    }

    #[track_caller]
    pub fn expect_request(&mut self) -> Message {
        let head = self.expect_head();
        let end = head.request_body_end();
        self.expect_body(head, end)
    }

    /// A response to GET or the like; an interim one counts as one.
    #[track_caller]
    pub fn expect_response(&mut self) -> Message {
        self.expect_response_to("GET")
    }

    #[track_caller]
    pub fn expect_response_to(&mut self, method: &str) -> Message {
        let head = self.expect_head();
        let end = head.response_body_end(method);
        self.expect_body(head, end)
    }

    /// Reads a chunked body; its data, and the trailer lines. Takes nothing but plain chunks: no
    /// extension, no leading zero, as the proxy writes them.
    #[track_caller]
    pub fn expect_chunked_body(&mut self) -> (Vec<u8>, Vec<u8>) {
        let mut body = Vec::new();
        loop {
            let line = self.expect_up_to(b"\r\n", "a chunk size");
            let digits = std::str::from_utf8(&line[..line.len() - 2]).unwrap_or("");
            let plain = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let size = usize::from_str_radix(digits, 16).ok().filter(|_| plain);
            let Some(size) = size else { self.fail(&format!("this is no plain chunk size: {}", dump(&line))) };
            if size == 0 {
                break;
            }
            body.extend_from_slice(&self.expect_bytes(size));
            if self.expect_bytes(2) != b"\r\n" {
                self.fail("no CRLF after the data of a chunk");
            }
        }
        let mut trailers = Vec::new();
        loop {
            match &*self.expect_up_to(b"\r\n", "a trailer line") {
                b"\r\n" => return (body, trailers),
                line => trailers.extend_from_slice(line),
            }
        }
    }

    #[track_caller]
    pub fn expect_bytes(&mut self, count: usize) -> Vec<u8> {
        let until = Instant::now() + DEADLINE;
        while self.received.len() - self.used < count {
            if !self.receive(until) {
                self.fail(&format!("expected {count} bytes"));
            }
        }
        self.take(count)
    }

    /// Reads until the other side says that it has no more; a reset is a failure.
    #[track_caller]
    pub fn read_until_close(&mut self) -> Vec<u8> {
        let (bytes, end) = self.read_to_end();
        if end == End::Reset {
            self.fail("a reset, where an orderly close was expected");
        }
        bytes
    }

    /// Reads until the other side closes or resets; what was left, and which of the two.
    #[track_caller]
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        let until = Instant::now() + DEADLINE;
        while self.receive(until) {}
        let Some(end) = self.end else { self.fail("expected the connection to end") };
        let count = self.received.len() - self.used;
        (self.take(count), end)
    }

    /// No further byte, and an orderly close.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        let end = self.expect_end();
        if end == End::Reset {
            self.fail("a reset, where an orderly close was expected");
        }
    }

    /// No further byte, and a reset.
    #[track_caller]
    pub fn expect_reset(&mut self) {
        let end = self.expect_end();
        if end == End::Eof {
            self.fail("an orderly close, where a reset was expected");
        }
    }

    /// No further byte, and a close or a reset.
    #[track_caller]
    pub fn expect_end(&mut self) -> End {
        let (bytes, end) = self.read_to_end();
        if !bytes.is_empty() {
            self.fail(&format!("expected nothing more, and got:{}", dump(&bytes)));
        }
        end
    }

    /// Bytes that came and that nobody looked at, or an end, if either is here by now. Does not wait.
    pub fn peek(&mut self) -> (Vec<u8>, Option<End>) {
        self.stream.set_nonblocking(true).expect("a socket");
        while self.end.is_none() && self.read_once() {}
        self.stream.set_nonblocking(false).expect("a socket");
        (self.received[self.used..].to_vec(), self.end)
    }

    /// Says that nothing more will be sent, and still reads.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Resets the connection.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }

    /// Closes both directions. Dropping the peer does the same.
    pub fn close(self) {}

    /// Makes the kernel hold only a few bytes that the test has not read.
    pub fn shrink_receive_buffer(&self) {
        socket2::SockRef::from(&self.stream).set_recv_buffer_size(4096).expect("a socket");
    }

    /// Sends `bytes` as long as the other side takes them without waiting; how many it took.
    pub fn send_what_fits(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).expect("a socket");
        let taken = loop {
            match self.stream.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break 0,
                Err(error) => self.fail(&format!("cannot send: {error}")),
                Ok(taken) => break taken,
            }
        };
        self.stream.set_nonblocking(false).expect("a socket");
        taken
    }

    /// Waits, as long as it takes, for the first byte of something; `false` when the other side ended instead.
    pub(super) fn wait_for_bytes(&mut self) -> bool {
        self.stream.set_read_timeout(None).expect("a socket");
        self.used < self.received.len() || (self.end.is_none() && self.read_once())
    }

    /// Reads, as long as it takes, until the other side ends.
    pub(super) fn discard_until_end(&mut self) {
        self.stream.set_read_timeout(None).expect("a socket");
        while self.read_once() {
            self.received.clear();
            self.used = 0;
        }
    }

    pub(super) fn echo_until_end(&mut self) {
        let mut bytes = self.received.split_off(self.used);
        while !bytes.is_empty() || self.wait_for_bytes() {
            bytes.append(&mut self.received.split_off(self.used));
            let _ = self.stream.write_all(&bytes);
            bytes.clear();
        }
        self.half_close();
    }

    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("bound")
    }

    pub fn peer_address(&self) -> SocketAddr {
        self.stream.peer_addr().expect("connected")
    }

    /// Everything that came so far.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    #[track_caller]
    fn expect_body(&mut self, head: Head, end: BodyEnd) -> Message {
        let (body, trailers) = match end {
            BodyEnd::None => (Vec::new(), Vec::new()),
            BodyEnd::Length(length) => (self.expect_bytes(length), Vec::new()),
            BodyEnd::Chunked => self.expect_chunked_body(),
            BodyEnd::Close => (self.read_until_close(), Vec::new()),
        };
        Message { head, body, trailers }
    }

    #[track_caller]
    fn expect_up_to(&mut self, mark: &[u8], what: &str) -> Vec<u8> {
        let until = Instant::now() + DEADLINE;
        let mut scanned = self.used;
        loop {
            if let Some(offset) = memchr::memmem::find(&self.received[scanned..], mark) {
                return self.take(scanned + offset + mark.len() - self.used);
            }
            scanned = self.received.len().saturating_sub(mark.len() - 1).max(self.used);
            if !self.receive(until) {
                self.fail(&format!("expected {what}"));
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.received[self.used..][..count].to_vec();
        self.used += count;
        bytes
    }

    /// Waits for bytes; `false` when there will be none, or not in time.
    fn receive(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if self.end.is_some() || left.is_zero() {
            return false;
        }
        self.stream.set_read_timeout(Some(left)).expect("longer than nothing");
        self.read_once()
    }

    fn read_once(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.end = Some(End::Eof),
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    return true;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                    _ => self.end = Some(End::Reset),
                },
            }
            return false;
        }
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let state = match self.end {
            None => "open",
            Some(End::Eof) => "closed by the proxy",
            Some(End::Reset) => "reset by the proxy",
        };
        panic!(
            "{role}: {what}\n  the connection is {state}; {role} sent:{}\n  and received in all:{}\n",
            dump(&self.sent),
            dump(&self.received),
            role = self.role,
        )
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.role, self.stream)
    }
}
