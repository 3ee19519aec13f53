//! What a case of the catalogue is: a clause, and steps between a client, the proxy and an origin.
//!
//! Each case has a client connection and an origin of its own, so that no case meets another's
//! pooled connection. `{origin}` in any text stands for the origin's authority, `{port}` for its
//! port, `{date}` for any date.
//!
//! A case ends with a check that nobody got a byte that no step expected: the client's connection
//! must close cleanly after its half-close, and the origin must have nothing unread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::kit::{Head, LogEntry, Origin, Peer, Proxy, dump};

/// An answer with all that a proxy could have a reason to add.
pub const OK: &str = "HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 2\r\n\r\nok";
/// How it reaches the client.
pub const OK_FORWARDED: &str = "HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 2\r\nVia: 1.1 outrider\r\n\r\nok";
/// The same to a client whose connection ends with it.
pub const OK_FORWARDED_LAST: &str =
    "HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 2\r\nConnection: close\r\nVia: 1.1 outrider\r\n\r\nok";
/// The simplest request, and how it reaches the origin.
pub const GET: &str = "GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\r\n";
pub const GET_FORWARDED: &str = "GET / HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\n\r\n";

/// One line of the catalogue.
pub struct Case {
    /// The clause, and what it is about.
    name: String,
    steps: Vec<Step>,
}

type Step = Box<dyn Fn(&mut Scene<'_>)>;

/// The actors of one case.
pub struct Scene<'p> {
    proxy: &'p Proxy,
    origin: Origin,
    client: Option<Peer>,
    upstream: Option<Peer>,
    /// Earlier connections to the origin, which have to stay silent.
    left: Vec<Peer>,
    /// The client saw the end of its connection.
    client_ended: bool,
}

/// A case by its clause and what it shows: `case("RFC 9112 section 3.2: two Host fields")`.
pub fn case(name: impl Into<String>) -> Case {
    Case { name: name.into(), steps: Vec::new() }
}

/// Runs every case, and fails with the list of those that failed.
pub fn run(proxy: &Proxy, cases: impl IntoIterator<Item = Case>) {
    let mut count = 0;
    let mut failures = Vec::new();
    for case in cases {
        count += 1;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case.run(proxy))) {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            failures.push(format!("\n* {}\n  {}", case.name, text.unwrap_or("a panic without a text")));
        }
    }
    println!("{count} cases");
    assert!(failures.is_empty(), "{} of {count} cases failed:\n{}", failures.len(), failures.join("\n"));
}

/// A request that the proxy refuses, so that nothing of it reaches an origin.
pub fn refuses(name: impl Into<String>, request: impl AsRef<[u8]>, status: u16, reason: &'static str) -> Case {
    case(name).client(request).refused(status, reason).origin_gets_nothing()
}

/// A request that reaches the origin like this, and is answered.
pub fn passes(name: impl Into<String>, request: impl AsRef<[u8]>, forwarded: impl AsRef<[u8]>) -> Case {
    case(name).client(request).origin_gets(forwarded).answered()
}

/// A request to the origin with these further fields.
pub fn get(fields: &str) -> String {
    format!("GET http://{{origin}}/ HTTP/1.1\r\nHost: {{origin}}\r\n{fields}\r\n")
}

/// How it arrives, where they are passed on.
pub fn get_forwarded(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {{origin}}\r\n{fields}Via: 1.1 outrider\r\n\r\n")
}

/// A POST with these further fields and this body.
pub fn post(fields: &str, body: &str) -> String {
    format!("POST http://{{origin}}/ HTTP/1.1\r\nHost: {{origin}}\r\n{fields}\r\n{body}")
}

/// How its head arrives where they are passed on.
pub fn post_forwarded(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {{origin}}\r\n{fields}Via: 1.1 outrider\r\n\r\n")
}

/// The head of a chunked POST as it arrives, with the further fields in front of the proxy's own.
pub fn chunked_post_forwarded(fields: &str) -> String {
    post_forwarded(&format!("{fields}Transfer-Encoding: chunked\r\n"))
}

/// A response with a Date, these further fields and this body.
pub fn response(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n{fields}\r\n{body}")
}

/// How it reaches the client, where they are passed on.
pub fn response_forwarded(fields: &str, body: &str) -> String {
    response(&format!("{fields}Via: 1.1 outrider\r\n"), body)
}

// What the client does and gets.
impl Case {
    /// The client sends. It does not fail if the proxy closed before: what it answered counts.
    pub fn client(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        self.step(move |scene| {
            let bytes = scene.fill(&bytes);
            scene.client().send_if_open(bytes);
        })
    }

    /// The client sends every byte by itself.
    pub fn client_bytewise(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        self.step(move |scene| {
            let bytes = scene.fill(&bytes);
            scene.client().send_bytewise(bytes);
        })
    }

    /// The client gets exactly these bytes.
    pub fn client_gets(self, expected: impl AsRef<[u8]>) -> Self {
        let expected = expected.as_ref().to_vec();
        self.step(move |scene| {
            let expected = scene.fill(&expected);
            scene.client().expect(expected);
        })
    }

    /// The client gets exactly this head, and then a chunked body that says this.
    pub fn client_gets_chunked(self, head: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        self.client_gets_chunked_with_trailers(head, body, "")
    }

    pub fn client_gets_chunked_with_trailers(self, head: impl AsRef<[u8]>, body: impl AsRef<[u8]>, trailers: impl AsRef<[u8]>) -> Self {
        let expected = (body.as_ref().to_vec(), trailers.as_ref().to_vec());
        self.client_gets(head).step(move |scene| assert_chunked("client", scene.client().expect_chunked_body(), &expected))
    }

    /// The client gets exactly these bytes, and then the connection is closed.
    pub fn client_gets_last(self, expected: impl AsRef<[u8]>) -> Self {
        self.client_gets(expected).client_gets_end()
    }

    /// The client's connection ends where the message does not: not a byte more comes, neither of it nor of a reply.
    pub fn client_gets_cut(self) -> Self {
        self.step(move |scene| {
            let (got, _) = scene.client().read_to_end();
            assert!(got.is_empty(), "client: expected nothing more, and got:{}", dump(&got));
            scene.client_ended = true;
        })
    }

    /// The client gets this head, then chunks that say this much of the body, and then an end without the last chunk.
    pub fn client_gets_cut_chunks(self, head: impl AsRef<[u8]>, body: &'static str) -> Self {
        self.client_gets(head).step(move |scene| {
            let (got, _) = scene.client().read_to_end();
            let decoded = decode_cut_chunks(&got);
            let cut = decoded.is_some_and(|decoded| decoded == body.as_bytes());
            assert!(cut, "client: expected chunks of {body:?} without an end, and got:{}", dump(&got));
            scene.client_ended = true;
        })
    }

    /// The client sees an orderly close.
    pub fn client_gets_end(self) -> Self {
        self.step(|scene| {
            scene.client().expect_eof();
            scene.client_ended = true;
        })
    }

    pub fn client_gets_reset(self) -> Self {
        self.step(|scene| {
            scene.client().expect_reset();
            scene.client_ended = true;
        })
    }

    pub fn client_half_closes(self) -> Self {
        self.step(|scene| scene.client().half_close())
    }

    pub fn client_resets(self) -> Self {
        self.step(|scene| {
            scene.client.take().expect("the client is here").reset();
            scene.client_ended = true;
        })
    }

    pub fn client_closes(self) -> Self {
        self.step(|scene| {
            scene.client = None;
            scene.client_ended = true;
        })
    }

    /// The proxy itself answers, the client may go on.
    pub fn local_reply(self, status: u16, reason: &'static str) -> Self {
        self.step(move |scene| {
            let (head, _) = scene.expect_local_reply(status, reason);
            assert!(!head.lists("connection", "close"), "the client was told that the connection closes: {head:?}");
        })
    }

    /// The proxy itself answers for this fault, with Envoy's flag and the error of RFC 9209; whether it closes is not looked at.
    pub fn fault(self, status: u16, reason: &'static str, flag: &'static str, error: &'static str) -> Self {
        self.step(move |scene| {
            let (head, entry) = scene.expect_local_reply(status, reason);
            assert_eq!(entry.text("response_flags"), flag, "{entry:?}");
            let proxy_status = head.field("proxy-status").unwrap_or("");
            assert_eq!(proxy_status.split(';').nth(1).map(str::trim), Some(format!("error={error}").as_str()), "{head:?}");
            if head.lists("connection", "close") {
                scene.client().expect_eof();
                scene.client_ended = true;
            }
        })
    }

    /// The proxy itself answers and closes.
    pub fn refused(self, status: u16, reason: &'static str) -> Self {
        self.step(move |scene| {
            let (head, _) = scene.expect_local_reply(status, reason);
            assert!(head.lists("connection", "close"), "the client was not told that the connection closes: {head:?}");
            scene.client().expect_eof();
            scene.client_ended = true;
        })
    }
}

// What the origin gets and does.
impl Case {
    /// The origin gets exactly these bytes, on its connection if it has one.
    pub fn origin_gets(self, expected: impl AsRef<[u8]>) -> Self {
        let expected = expected.as_ref().to_vec();
        self.step(move |scene| {
            let expected = scene.fill(&expected);
            scene.upstream().expect(expected);
        })
    }

    /// The origin gets exactly these bytes, and on a new connection. The one before must not get another byte.
    pub fn origin_gets_anew(self, expected: impl AsRef<[u8]>) -> Self {
        let expected = expected.as_ref().to_vec();
        self.step(move |scene| {
            let expected = scene.fill(&expected);
            scene.left.extend(scene.upstream.take());
            scene.upstream().expect(expected);
        })
    }

    /// The origin gets exactly this head, and then a chunked body that says this.
    pub fn origin_gets_chunked(self, head: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        self.origin_gets_chunked_with_trailers(head, body, "")
    }

    pub fn origin_gets_chunked_with_trailers(self, head: impl AsRef<[u8]>, body: impl AsRef<[u8]>, trailers: impl AsRef<[u8]>) -> Self {
        let expected = (body.as_ref().to_vec(), trailers.as_ref().to_vec());
        self.origin_gets(head).step(move |scene| assert_chunked("origin", scene.upstream().expect_chunked_body(), &expected))
    }

    pub fn origin(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        self.step(move |scene| {
            let bytes = scene.fill(&bytes);
            scene.upstream().send_if_open(bytes);
        })
    }

    pub fn origin_bytewise(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        self.step(move |scene| {
            let bytes = scene.fill(&bytes);
            scene.upstream().send_bytewise(bytes);
        })
    }

    pub fn origin_closes(self) -> Self {
        self.step(|scene| drop(scene.upstream.take().expect("the origin has a connection")))
    }

    pub fn origin_half_closes(self) -> Self {
        self.step(|scene| scene.upstream().half_close())
    }

    pub fn origin_resets(self) -> Self {
        self.step(|scene| scene.upstream.take().expect("the origin has a connection").reset())
    }

    /// The proxy closes the connection to the origin.
    pub fn origin_gets_end(self) -> Self {
        self.step(|scene| {
            scene.upstream().expect_end();
        })
    }

    pub fn origin_gets_reset(self) -> Self {
        self.step(|scene| scene.upstream().expect_reset())
    }

    /// Nothing reached the origin in this case.
    pub fn origin_gets_nothing(self) -> Self {
        self.step(|scene| {
            assert!(scene.upstream.is_none() && scene.left.is_empty(), "the case itself let something reach the origin");
            if let Some(mut upstream) = scene.origin.accept_if_called() {
                let (bytes, _) = upstream.peek();
                panic!("origin: the proxy connected, and sent:{}", dump(&bytes));
            }
        })
    }

    /// The head of a request may have reached the origin, but no whole request: the connection ended before.
    pub fn origin_gets_no_whole_request(self) -> Self {
        self.step(|scene| {
            let upstream = scene.upstream.take().or_else(|| scene.origin.accept_if_called());
            let Some(mut upstream) = upstream else { return };
            let (rest, _) = upstream.read_to_end();
            let got = upstream.received();
            assert!(!is_whole_request(got), "origin: a whole request arrived:{}\n  of it last:{}", dump(got), dump(&rest));
        })
    }

    /// Answers with [`OK`], which reaches the client on a connection that goes on.
    pub fn answered(self) -> Self {
        self.origin(OK).client_gets(OK_FORWARDED)
    }

    /// Answers with [`OK`], which reaches the client on a connection that then closes.
    pub fn answered_last(self) -> Self {
        self.origin(OK).client_gets_last(OK_FORWARDED_LAST)
    }

    /// Another request on the same client connection goes through: nothing is out of step.
    pub fn goes_on(self) -> Self {
        self.client("GET http://{origin}/next HTTP/1.1\r\nHost: {origin}\r\n\r\n")
            .origin_gets("GET /next HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\n\r\n")
            .answered()
    }

    /// The same, on a connection to the origin that is not the one from before.
    pub fn goes_on_anew(self) -> Self {
        self.client("GET http://{origin}/next HTTP/1.1\r\nHost: {origin}\r\n\r\n")
            .origin_gets_anew("GET /next HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\n\r\n")
            .answered()
    }
}

// What the log says, and everything else.
impl Case {
    /// A line of the access log about this origin has that value.
    pub fn logged(self, key: &'static str, value: &'static str) -> Self {
        self.step(move |scene| {
            let origin = scene.origin.authority();
            let about = |entry: &LogEntry| entry.text("target").contains(&origin) && entry.text(key) == value;
            scene.proxy.log_entry(&format!("about {origin} with {key} {value:?}"), about);
        })
    }

    /// For cases that begin alike.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    pub fn step(mut self, step: impl Fn(&mut Scene<'_>) + 'static) -> Self {
        self.steps.push(Box::new(step));
        self
    }

    fn run(&self, proxy: &Proxy) {
        let origin = Origin::listen();
        let mut scene = Scene { proxy, origin, client: Some(proxy.client()), upstream: None, left: Vec::new(), client_ended: false };
        for step in &self.steps {
            step(&mut scene);
        }
        scene.finish();
    }
}

impl<'p> Scene<'p> {
    pub fn proxy(&self) -> &'p Proxy {
        self.proxy
    }

    pub fn client(&mut self) -> &mut Peer {
        self.client.as_mut().expect("the client is here")
    }

    /// The connection from the proxy, waited for where there is none.
    pub fn upstream(&mut self) -> &mut Peer {
        self.upstream.get_or_insert_with(|| self.origin.accept())
    }

    pub fn fill(&self, text: &[u8]) -> Vec<u8> {
        let text = replace(text, b"{origin}", self.origin.authority().as_bytes());
        replace(&text, b"{port}", self.origin.port().to_string().as_bytes())
    }

    /// Reads a local reply, all of whose parts are there, and its line in the log.
    pub fn expect_local_reply(&mut self, status: u16, reason: &str) -> (Head, LogEntry) {
        let reply = self.client().expect_response();
        let head = reply.head;
        assert_eq!(head.status(), status, "status of {head:?}");
        assert!(head.start_line().starts_with("HTTP/1.1 "), "version of {head:?}");
        assert_eq!(head.field("content-type"), Some("text/plain; charset=utf-8"), "{head:?}");
        assert_eq!(head.field("content-length"), Some(reply.body.len().to_string().as_str()), "{head:?}");
        assert!(head.field("date").is_some(), "no Date in {head:?}");
        assert!(!reply.body.is_empty() && std::str::from_utf8(&reply.body).is_ok(), "body of {head:?}: {}", dump(&reply.body));
        let proxy_status = head.field("proxy-status").unwrap_or_else(|| panic!("no Proxy-Status in {head:?}"));
        assert!(proxy_status.starts_with("outrider; error="), "{head:?}");
        let id = head.field("x-request-id").unwrap_or_else(|| panic!("no X-Request-Id in {head:?}"));
        assert!(id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "request id in {head:?}");
        let entry = self.proxy.log_entry(&format!("for {id}"), |entry| entry.text("request_id") == id);
        assert_eq!(entry.status(), Some(status.into()), "status in the log: {entry:?}");
        assert_eq!(entry.text("reason"), reason, "reason in the log: {entry:?}");
        assert!(!entry.text("response_flags").is_empty(), "a flag in the log: {entry:?}");
        (head, entry)
    }

    fn finish(mut self) {
        if let (Some(client), false) = (&mut self.client, self.client_ended) {
            client.half_close();
            client.expect_eof();
        }
        for upstream in self.left.iter_mut().chain(&mut self.upstream) {
            let (bytes, _) = upstream.peek();
            assert!(bytes.is_empty(), "origin: bytes that no step expected:{}", dump(&bytes));
        }
        if let Some(mut upstream) = self.origin.accept_if_called() {
            let (bytes, _) = upstream.peek();
            assert!(bytes.is_empty(), "origin: a connection that no step expected, with:{}", dump(&bytes));
        }
    }
}

pub fn replace(text: &[u8], mark: &[u8], with: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut from = 0;
    for position in memchr::memmem::find_iter(text, mark) {
        replaced.extend_from_slice(&text[from..position]);
        replaced.extend_from_slice(with);
        from = position + mark.len();
    }
    replaced.extend_from_slice(&text[from..]);
    replaced
}

fn assert_chunked(role: &str, got: (Vec<u8>, Vec<u8>), expected: &(Vec<u8>, Vec<u8>)) {
    assert!(got.0 == expected.0, "{role}: expected the body:{}\n  and got:{}", dump(&expected.0), dump(&got.0));
    assert!(got.1 == expected.1, "{role}: expected the trailers:{}\n  and got:{}", dump(&expected.1), dump(&got.1));
}

/// The data of plain chunks, where the last chunk is missing; `None` for anything else.
fn decode_cut_chunks(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    loop {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n") else { return Some(decoded) };
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        let rest = &bytes[end + 2..];
        match size {
            0 => return None,
            _ if rest.len() < size + 2 => {
                decoded.extend_from_slice(&rest[..size.min(rest.len())]);
                return Some(decoded);
            }
            _ => decoded.extend_from_slice(&rest[..size]),
        }
        bytes = rest[size..].strip_prefix(b"\r\n")?;
    }
}

/// Whether bytes at an origin hold a request with all of its body.
fn is_whole_request(bytes: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return false };
    let (head, body) = bytes.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        return decode_cut_chunks(body).is_none();
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).and_then(|length| length.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}
