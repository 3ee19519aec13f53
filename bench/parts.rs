//! The parts of a request's way, each done as often as asked, for `bench/run` to count instructions.
//!
//! `parts NAME TIMES` does one part; the cost of one is the difference between two runs, divided, so
//! that starting and setting up do not count. `parts allocations` tells what each allocates.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use outrider::codec::authority::Host;
use outrider::codec::chunked::{Decoder, Step, chunk_head};
use outrider::codec::head::{HeadScanner, skip_empty_lines};
use outrider::codec::index::FieldIndex;
use outrider::codec::request::Request;
use outrider::codec::response::{ConnectionField, Reframed, RequestKind, Response};
use outrider::codec::target::Target;
use outrider::config::{Config, Http1, parse};
use outrider::filter::policy::{Ask, Policy};
use outrider::stats::{ClusterStats, WorkerStats};
use outrider::upstream::{Counts, Limits, Pool, UpstreamConnection};

const REQUEST: &[u8] = b"GET http://www.example.org:8080/path/to/something?query=1 HTTP/1.1\r\n\
    Host: www.example.org:8080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    Proxy-Connection: keep-alive\r\n\
    Connection: keep-alive\r\n\
    Upgrade-Insecure-Requests: 1\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 1024\r\n\
    Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Connection: keep-alive\r\n\
    ETag: \"0123456789abcdef\"\r\n\
    Cache-Control: max-age=3600\r\n\
    Accept-Ranges: bytes\r\n\r\n";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let Some(done) = (match words[..] {
        ["allocations"] => Some(print_allocations()),
        [name, times] => times.parse().ok().and_then(|times| PARTS.iter().find(|part| part.0 == name).map(|part| part.1(times))),
        _ => None,
    }) else {
        let names: Vec<_> = PARTS.iter().map(|part| part.0).collect();
        eprintln!("usage: parts NAME TIMES, or: parts allocations\nnames: {}", names.join(" "));
        return ExitCode::from(2);
    };
    done
}

type Part = (&'static str, fn(u32) -> ExitCode);

const PARTS: &[Part] = &[
    ("request", request),
    ("response", response),
    ("chunked", chunked),
    ("drip_4k", |times| drip(times, 4)),
    ("drip_16k", |times| drip(times, 16)),
    ("policy", policy),
    ("policy_1000_hosts", policy_of_a_thousand),
    ("pool", pool),
];

fn print_allocations() -> ExitCode {
    for (name, part) in PARTS {
        // Twice as often allocates as much, if one allocates nothing.
        let of = |times| {
            let before = ALLOCATIONS.get();
            part(times);
            ALLOCATIONS.get() - before
        };
        of(1);
        println!("{name} {}", (of(201) - of(101)) / 100);
    }
    ExitCode::SUCCESS
}

/// A request head found, read and written for the next hop.
fn request(times: u32) -> ExitCode {
    let options = Http1::default();
    let mut index = FieldIndex::default();
    let mut out = Vec::with_capacity(2048);
    for _ in 0..times {
        let bytes = black_box(REQUEST);
        let start = skip_empty_lines(bytes).expect("is valid").expect("is whole");
        let end = HeadScanner::default().find_end(&bytes[start..], options.max_request_headers).expect("is valid").expect("is whole");
        let request = Request::parse(&bytes[start..end], &options, &mut index).expect("is valid");
        let Target::Absolute(target) = request.target else { unreachable!("an absolute target") };
        out.clear();
        request.write_forwarded(&target, &options, &mut out);
        black_box(&out);
    }
    ExitCode::SUCCESS
}

/// A response head found, read and written for the client.
fn response(times: u32) -> ExitCode {
    let options = Http1::default();
    let mut index = FieldIndex::default();
    let mut out = Vec::with_capacity(2048);
    for _ in 0..times {
        let bytes = black_box(RESPONSE);
        let end = HeadScanner::default().find_end(bytes, options.max_response_headers).expect("is valid").expect("is whole");
        let response = Response::parse(&bytes[..end], RequestKind::Other, &options, &mut index).expect("is valid");
        let reframed = Reframed { framing: response.framing, connection: ConnectionField::Absent };
        out.clear();
        response.write_forwarded(reframed, &options, || unreachable!("has a date"), &mut out);
        black_box(&out);
    }
    ExitCode::SUCCESS
}

/// 64 KiB in chunks of 1 KiB, decoded and framed anew.
fn chunked(times: u32) -> ExitCode {
    let mut wire = Vec::new();
    for _ in 0..64 {
        wire.extend_from_slice(&[b"400\r\n", &[b'x'; 1024][..], b"\r\n"].concat());
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    for _ in 0..times {
        let mut decoder = Decoder::new(4096, None);
        let mut rest = black_box(&wire[..]);
        while !decoder.is_done() {
            match decoder.step(rest).expect("is valid") {
                Step::Data(length) => {
                    black_box(chunk_head(length));
                    rest = &rest[length..];
                }
                Step::Framing(length) => rest = &rest[length..],
                Step::Done => break,
            }
        }
    }
    ExitCode::SUCCESS
}

/// A head of so many KiB that comes byte by byte.
fn drip(times: u32, size: usize) -> ExitCode {
    // Lines of sixteen bytes; the empty one does not come.
    let head = [b"GET / HTTP/1.1\r\n".as_slice(), &b"x-field: 67890\r\n".repeat(size * 64 - 1)].concat();
    for _ in 0..times {
        let mut scanner = HeadScanner::default();
        for end in 1..=head.len() {
            let _ = black_box(scanner.find_end(&black_box(&head)[..end], 1 << 20));
        }
    }
    ExitCode::SUCCESS
}

/// What a fresh installation asks.
fn policy(times: u32) -> ExitCode {
    let config = Config::default();
    decide(&Policy::new(&config.policy, &config.tunnel, false), times)
}

fn policy_of_a_thousand(times: u32) -> ExitCode {
    let hosts: Vec<_> = (0..1000).map(|number| format!("\"*.blocked-{number}.example\"")).collect();
    let text = format!(
        "[policy]\ndefault = \"allow\"\n[[policy.rule]]\nname = \"blocked\"\nhosts = [{}]\naction = \"deny\"\n[[policy.rule]]\nname = \"posts\"\nmethods = [\"POST\"]\naction = \"deny\"\n",
        hosts.join(", ")
    );
    let config = parse("bench.toml", &text).expect("a valid configuration");
    decide(&Policy::new(&config.policy, &config.tunnel, false), times)
}

fn decide(policy: &Policy, times: u32) -> ExitCode {
    let host = Host::parse(b"www.example.org").expect("a host");
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for _ in 0..times {
        let ask = Ask { client, host: &host, port: 80, method: b"GET" };
        let verdict = policy.decide(black_box(&ask)).expect("no rule looks at addresses");
        assert!(verdict.allowed);
        black_box(verdict);
    }
    ExitCode::SUCCESS
}

/// A connection lent and given back, among a few others.
fn pool(times: u32) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let counts = Counts::new(Arc::new(WorkerStats::default()), Arc::new(ClusterStats::default()));
        let limits = Limits {
            max_idle_connections: 1024,
            idle_timeout: Duration::from_secs(60),
            max_connection_duration: None,
            max_requests_per_connection: None,
        };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
        let endpoint = listener.local_addr().expect("an address");
        let mut pool = Pool::default();
        let mut accepted = Vec::new();
        for _ in 0..8 {
            let stream = tokio::net::TcpStream::connect(endpoint).await.expect("a connection");
            accepted.push(listener.accept().await.expect("a connection"));
            pool.check_in(UpstreamConnection::new(stream, endpoint, 0, counts.clone()), Instant::now(), &limits, &counts);
        }
        let now = Instant::now();
        for _ in 0..times {
            let connection = black_box(&mut pool).check_out(None, true, &counts, |_| true).expect("a connection");
            black_box(&mut pool).check_in(connection, now, &limits, &counts);
        }
    });
    ExitCode::SUCCESS
}

/// The program's allocator, counting.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps alloc's contract.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps dealloc's contract, and all memory is from there.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps realloc's contract, and all memory is from there.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
