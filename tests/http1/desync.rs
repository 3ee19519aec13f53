//! Whatever clients pipeline, however it is cut into segments, and however origins fail: every request that an origin
//! sees is one that a client sent, and every answer that a client gets belongs to the request that it stands for.
//!
//! Bodies are made of bytes that are requests themselves at any offset (a run of `A` is a method however much of it is
//! missing), so that a proxy that loses its place in the client's bytes sends one of them on.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};

use crate::kit::{DEADLINE, Proxy};

/// What a request asks the origin to do with it, in its field X-Do.
const DEEDS: [&str; 12] = [
    "answer",
    "answer-early",
    "answer-and-close",
    "answer-after-interim",
    "close",
    "close-after-body",
    "reset",
    "reset-after-body",
    "malformed",
    "malformed-after-body",
    "cut-answer",
    "answer-and-more",
];

#[derive(Debug, Clone)]
struct Sent {
    deed: &'static str,
    method: &'static str,
    framing: Framing,
    target: Destination,
}

#[derive(Debug, Clone, PartialEq)]
enum Framing {
    None,
    Length(usize),
    /// Sizes of the chunks.
    Chunked(Vec<usize>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Destination {
    Origin,
    /// Nobody listens there.
    Dead,
    /// An address that may not be dialled.
    Denied,
    /// The proxy's own page.
    Own,
}

fn sent() -> impl Strategy<Value = Sent> {
    let framing = prop_oneof![
        2 => Just(Framing::None),
        4 => (1usize..2000).prop_map(Framing::Length),
        1 => (17_000usize..80_000).prop_map(Framing::Length),
        3 => prop::collection::vec(1usize..700, 1..5).prop_map(Framing::Chunked),
    ];
    let destination = prop_oneof![
        12 => Just(Destination::Origin),
        1 => Just(Destination::Dead),
        1 => Just(Destination::Denied),
        1 => Just(Destination::Own),
    ];
    (select(&DEEDS[..]), select(&["GET", "POST", "PUT"][..]), framing, destination).prop_map(|(deed, method, framing, target)| Sent {
        deed,
        method,
        framing: if target == Destination::Own { Framing::None } else { framing },
        target,
    })
}

/// As many bytes, which read as a request wherever one begins to read.
fn body(length: usize, origin: &str) -> Vec<u8> {
    let request = format!("{} http://{origin}/smuggled HTTP/1.1\r\nHost: {origin}\r\nX-Do: answer\r\n\r\n", "A".repeat(200));
    request.into_bytes().into_iter().cycle().take(length).collect()
}

impl Sent {
    fn bytes(&self, path: &str, origin: &str) -> Vec<u8> {
        let target = match self.target {
            Destination::Origin => format!("http://{origin}{path}"),
            Destination::Dead => format!("http://127.0.0.1:1{path}"),
            Destination::Denied => format!("http://192.168.7.7{path}"),
            Destination::Own => "/healthz".to_owned(),
        };
        let method = if self.target == Destination::Own { "GET" } else { self.method };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {origin}\r\nX-Do: {}\r\n", self.deed);
        match &self.framing {
            Framing::None => (head + "\r\n").into_bytes(),
            Framing::Length(length) => [format!("{head}Content-Length: {length}\r\n\r\n").as_bytes(), &body(*length, origin)].concat(),
            Framing::Chunked(sizes) => {
                let mut bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
                for size in sizes {
                    bytes.extend([format!("{size:x}\r\n").as_bytes(), &body(*size, origin), b"\r\n"].concat());
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
                bytes
            }
        }
    }
}

/// An origin that does with each request what its X-Do says, and writes down the path of each.
struct Origin {
    authority: String,
    seen: Arc<Mutex<HashMap<String, usize>>>,
}

impl Origin {
    fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let authority = listener.local_addr().expect("bound").to_string();
        let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let written = Arc::clone(&seen);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let written = Arc::clone(&written);
                std::thread::spawn(move || serve(stream, &written));
            }
        });
        Origin { authority, seen }
    }
}

/// Serves a connection until it, or a request on it, ends it; `None` is any end.
fn serve(mut stream: TcpStream, seen: &Mutex<HashMap<String, usize>>) -> Option<()> {
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let mut unread = Vec::new();
    loop {
        let length = read_until(&mut stream, &mut unread, |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4))?;
        let head = String::from_utf8_lossy(&unread[..length]).into_owned();
        unread.drain(..length);
        let path = head.split(' ').nth(1).unwrap_or("").to_owned();
        *seen.lock().expect("whole").entry(path.clone()).or_default() += 1;
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let deed = field("X-Do:").unwrap_or("answer").to_owned();
        let framing = (field("Content-Length:").and_then(|length| length.parse::<usize>().ok()), field("Transfer-Encoding:"));
        let answer = format!("HTTP/1.1 200 OK\r\nX-Path: {path}\r\nContent-Length: 4\r\n\r\ndone");
        match deed.as_str() {
            "close" => return None,
            "reset" => return reset(&stream),
            "malformed" => return stream.write_all(b"HTTP/1.1 abc\r\n\r\n").ok(),
            "answer-early" => stream.write_all(answer.as_bytes()).ok()?,
            "answer-after-interim" => stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").ok()?,
            _ => {}
        }
        match framing {
            (Some(length), _) => {
                read_until(&mut stream, &mut unread, |bytes| (bytes.len() >= length).then_some(length))?;
                unread.drain(..length);
            }
            (None, Some(_)) => {
                let length = read_until(&mut stream, &mut unread, chunked_length)?;
                unread.drain(..length);
            }
            (None, None) => {}
        }
        match deed.as_str() {
            "answer-early" => {}
            "close-after-body" => return None,
            "reset-after-body" => return reset(&stream),
            "malformed-after-body" => return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").ok(),
            "cut-answer" => return stream.write_all(answer.strip_suffix("ne").expect("ends so").as_bytes()).ok(),
            "answer-and-more" => stream.write_all((answer.clone() + &answer.replace(&path, "/evil")).as_bytes()).ok()?,
            "answer-and-close" => return stream.write_all(answer.replace("X-Path", "Connection: close\r\nX-Path").as_bytes()).ok(),
            _ => stream.write_all(answer.as_bytes()).ok()?,
        }
    }
}

fn reset(stream: &TcpStream) -> Option<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok()
}

fn read_until(stream: &mut TcpStream, unread: &mut Vec<u8>, whole: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    loop {
        if let Some(length) = whole(unread) {
            return Some(length);
        }
        let mut piece = [0; 16 * 1024];
        match stream.read(&mut piece) {
            Ok(count @ 1..) => unread.extend_from_slice(&piece[..count]),
            Ok(0) | Err(_) => return None,
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, part)
}

/// The length of a whole chunked body as the proxy writes it, framing and all.
fn chunked_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).ok()?, 16).ok()?;
        at += line + 2 + size + 2;
        if bytes.len() < at {
            return None;
        }
        if size == 0 {
            return Some(at);
        }
    }
}

/// The heads of the final answers in `bytes`, as far as they are whole.
fn answers(mut bytes: &[u8]) -> Vec<String> {
    let mut heads = Vec::new();
    while let Some(end) = find(bytes, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end + 4]).into_owned();
        bytes = &bytes[end + 4..];
        if head.starts_with("HTTP/1.1 1") {
            continue;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).and_then(|length| length.parse().ok());
        bytes = bytes.get(length.unwrap_or(0)..).unwrap_or_default();
        heads.push(head);
    }
    heads
}

/// Sends a pipeline in segments and reads until the proxy ends the connection.
fn exchange(proxy: &Proxy, origin: &Origin, pipeline: &[Sent], cuts: &[usize], case: usize) -> Vec<u8> {
    let requests = pipeline.iter().enumerate();
    let bytes: Vec<u8> = requests.flat_map(|(number, sent)| sent.bytes(&format!("/{case}/{number}"), &origin.authority)).collect();
    let mut client = TcpStream::connect(proxy.address()).expect("the proxy accepts");
    client.set_nodelay(true).expect("a TCP socket");
    client.set_read_timeout(Some(DEADLINE)).expect("longer than nothing");
    let mut reader = client.try_clone().expect("a descriptor");
    let reading = std::thread::spawn(move || {
        let mut received = Vec::new();
        // A reset ends it as well; what came before counts.
        let _ = reader.read_to_end(&mut received);
        received
    });
    let mut left = &bytes[..];
    for &cut in cuts.iter().cycle() {
        let (segment, rest) = left.split_at(cut.min(left.len()));
        if segment.is_empty() || client.write_all(segment).is_err() {
            break;
        }
        left = rest;
        // Lets the proxy read what came so far by itself, more often than not; the test holds either way.
        std::thread::sleep(Duration::from_micros((cut % 7 * 100) as u64));
    }
    let _ = client.shutdown(Shutdown::Write);
    reading.join().expect("a reader")
}

/// RFC 9112 sections 9.2 to 9.5.
#[test]
fn every_request_that_an_origin_sees_was_sent() {
    let proxy = Proxy::builder().with("addresses", "allow = [\"127.0.0.0/8\"]").start();
    let origin = Origin::start();
    let cases = Cell::new(0);
    let cut = prop_oneof![2 => 1usize..400, 1 => 400usize..4000, 1 => 4000usize..30_000];
    let strategy = (prop::collection::vec(sent(), 1..6), prop::collection::vec(cut, 1..8));
    let config = ProptestConfig { cases: 200, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&strategy, |(pipeline, cuts)| {
        let case = cases.replace(cases.get() + 1);
        origin.seen.lock().expect("whole").clear();
        let received = exchange(&proxy, &origin, &pipeline, &cuts, case);
        let seen = origin.seen.lock().expect("whole").clone();
        check_answers(&answers(&received), &pipeline, case)?;
        check_seen(&seen, &pipeline, case)
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn check_answers(answers: &[String], pipeline: &[Sent], case: usize) -> Result<(), TestCaseError> {
    for (number, head) in answers.iter().enumerate() {
        prop_assert!(number < pipeline.len(), "an answer to nothing: {}", head);
        if let Some(path) = head.lines().find_map(|line| line.strip_prefix("X-Path: ")) {
            prop_assert_eq!(path, format!("/{case}/{number}"), "an answer to another request: {}", head);
        }
    }
    Ok(())
}

fn check_seen(seen: &HashMap<String, usize>, pipeline: &[Sent], case: usize) -> Result<(), TestCaseError> {
    for (path, times) in seen {
        let (of_case, number) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let (of_case, number) = (of_case.parse::<usize>(), number.parse::<usize>());
        let sent = number.ok().filter(|_| of_case == Ok(case)).and_then(|number| pipeline.get(number));
        match sent {
            // A kept connection that was closed just then, and a request that may be sent again (RFC 9110 section 9.2.2).
            Some(sent) if sent.method != "POST" => prop_assert!(*times <= 2, "{} {} times", path, times),
            Some(_) => prop_assert!(*times == 1, "{} was seen {} times", path, times),
            // The origin may be slower to write down what came than the client to see its end.
            None => prop_assert!(of_case.is_ok_and(|of_case| of_case < case), "nobody sent {}", path),
        }
    }
    Ok(())
}
