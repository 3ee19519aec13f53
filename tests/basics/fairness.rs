//! No client, and no origin, keeps a worker for itself. Nothing here looks at a clock: while others do all that they can, it is
//! counted how much of it a worker does between a request of somebody else and its answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::kit::{Proxy, Script, ScriptedOrigin};

/// Requests of the client that wants no more than its turn.
const REQUESTS: u64 = 40;
/// Connections that want everything.
const GREEDY: u64 = 4;

/// Threads that do what they do until the value goes.
struct Flood {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    connections: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Each of several connections sends `opening` once, then `again` for as long as it is taken. What comes back is read,
    /// and `count` says how much of it is one unit of work.
    fn start(proxy: &Proxy, opening: &[u8], again: &[u8], unit: Unit) -> Flood {
        let mut flood = Flood { stop: Arc::default(), done: Arc::default(), connections: Vec::new(), threads: Vec::new() };
        for _ in 0..GREEDY {
            let stream = TcpStream::connect(proxy.address()).expect("the proxy accepts");
            let (mut writer, mut reader) = (stream.try_clone().expect("a descriptor"), stream);
            flood.connections.push(writer.try_clone().expect("a descriptor"));
            let (opening, again) = (opening.to_vec(), again.to_vec());
            let (stop, done) = (flood.stop.clone(), flood.done.clone());
            flood.threads.push(std::thread::spawn(move || {
                let _ = writer.write_all(&opening);
                while !stop.load(Ordering::Relaxed) && writer.write_all(&again).is_ok() {
                    if unit == Unit::Sent {
                        done.fetch_add(again.len() as u64, Ordering::Relaxed);
                    }
                }
            }));
            let done = flood.done.clone();
            flood.threads.push(std::thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = reader.read(&mut buffer) {
                    if unit == Unit::Received {
                        done.fetch_add(count as u64, Ordering::Relaxed);
                    }
                }
            }));
        }
        flood
    }

    /// Bytes of the flood that moved while somebody else made [`REQUESTS`] requests, for each of these.
    fn while_another_asks(self, proxy: &Proxy) -> u64 {
        // Under way, and not only begun.
        while self.done.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let mut other = proxy.client();
        let before = self.done.load(Ordering::Relaxed);
        for _ in 0..REQUESTS {
            other.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(other.expect_response().head.status(), 200);
        }
        let done = self.done.load(Ordering::Relaxed) - before;
        done / REQUESTS
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Ends reads and writes that wait.
        self.connections.iter().for_each(|connection| drop(connection.shutdown(Shutdown::Both)));
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Which bytes of a flood are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Sent,
    Received,
}

/// Of each connection: what its sockets hold at one time, and a few turns.
const MOST: u64 = GREEDY * 512 * 1024;

#[test]
fn requests_that_are_answered_here() {
    let proxy = Proxy::start();
    let pipeline = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000);
    let flood = Flood::start(&proxy, b"", pipeline.as_bytes(), Unit::Received);
    let moved = flood.while_another_asks(&proxy);
    // An answer has 140 bytes: some 16 of them in a turn of each, and a turn or two for each of the other's requests.
    assert!(moved < GREEDY * 32 * 1024, "{moved} bytes of answers to others for each request");
}

#[test]
fn requests_that_are_denied() {
    let proxy = Proxy::builder().with("policy", "default = \"deny\"").with("access_log", "path = \"off\"").start();
    let pipeline = "GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n".repeat(2000);
    let flood = Flood::start(&proxy, b"", pipeline.as_bytes(), Unit::Received);
    let moved = flood.while_another_asks(&proxy);
    assert!(moved < GREEDY * 96 * 1024, "{moved} bytes of answers to others for each request");
}

#[test]
fn an_upload_in_chunks_of_one_byte() {
    let proxy = Proxy::start();
    let origin = ScriptedOrigin::start([Script::new().stall()]);
    let head = format!("POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nTransfer-Encoding: chunked\r\n\r\n", origin.authority());
    let flood = Flood::start(&proxy, head.as_bytes(), &b"1\r\nx\r\n".repeat(10_000), Unit::Sent);
    let moved = flood.while_another_asks(&proxy);
    assert!(moved < MOST, "{moved} bytes of others for each request");
}

#[test]
fn an_answer_in_chunks_of_one_byte() {
    let proxy = Proxy::start();
    let chunks =
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &b"1\r\nx\r\n".repeat(200_000), b"0\r\n\r\n"].concat();
    let origin = ScriptedOrigin::start([Script::always(chunks)]);
    let get = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority());
    let flood = Flood::start(&proxy, b"", get.as_bytes(), Unit::Received);
    let moved = flood.while_another_asks(&proxy);
    assert!(moved < MOST, "{moved} bytes of others for each request");
}

#[test]
fn tunnels() {
    let proxy = Proxy::start();
    let origin = ScriptedOrigin::start([Script::new().stall()]);
    let head = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority());
    for piece in [1, 64 * 1024] {
        let flood = Flood::start(&proxy, head.as_bytes(), &vec![b'x'; piece], Unit::Sent);
        let moved = flood.while_another_asks(&proxy);
        assert!(moved < 2 * MOST, "{moved} bytes of others in pieces of {piece} for each request");
    }
}
