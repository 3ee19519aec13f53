//! The chunked coding: decoded strictly and written anew (RFC 9112 section 7.1).

use crate::catalogue::{Case, GET, GET_FORWARDED, case, chunked_post_forwarded, post, response, response_forwarded, run};
use crate::kit::Proxy;

/// Bodies that say "hello world", with the clause.
const HELLO_WORLD: [(&str, &str); 13] = [
    ("one chunk", "b\r\nhello world\r\n0\r\n\r\n"),
    ("several chunks", "5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n"),
    ("an upper-case size", "B\r\nhello world\r\n0\r\n\r\n"),
    ("leading zeros of a size", "00b\r\nhello world\r\n000\r\n\r\n"),
    ("as many digits as fit into 64 bits", "000000000000000b\r\nhello world\r\n0\r\n\r\n"),
    ("section 7.1.1: an extension", "b;a\r\nhello world\r\n0\r\n\r\n"),
    ("section 7.1.1: an extension with a value", "b;a=b\r\nhello world\r\n0;c=d\r\n\r\n"),
    ("section 7.1.1: several extensions", "b;a=b;c;d=e\r\nhello world\r\n0\r\n\r\n"),
    ("section 7.1.1: a quoted value", "b;a=\"x y; z, \\\" \"\r\nhello world\r\n0\r\n\r\n"),
    ("section 7.1.1: white space before an extension", "b ;a=b\r\nhello world\r\n0\r\n\r\n"),
    ("section 7.1.1: white space in an extension", "b; a = b\r\nhello world\r\n0\r\n\r\n"),
    ("section 7.1.1: an extension with digits, which are none of the size", "b;5\r\nhello world\r\n0\r\n\r\n"),
    ("a size in the data", "b\r\nhello world\r\n0;x=\"\"\r\n\r\n"),
];

/// Bodies that are no chunked bodies.
const MALFORMED: [(&str, &[u8]); 50] = [
    ("no size", b"\r\nhello\r\n0\r\n\r\n"),
    ("only an extension", b";a=b\r\nhello\r\n0\r\n\r\n"),
    ("a size in no base", b"x\r\nhello\r\n0\r\n\r\n"),
    ("a size with a letter too many", b"5g\r\nhello\r\n0\r\n\r\n"),
    ("0x before a size", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("a sign", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("a negative size", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("a negative zero", b"-0\r\n\r\n"),
    ("a space before a size", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("a tab before a size", b"\t5\r\nhello\r\n0\r\n\r\n"),
    ("a space after a size", b"5 \r\nhello\r\n0\r\n\r\n"),
    ("a tab after a size", b"5\t\r\nhello\r\n0\r\n\r\n"),
    ("a space in a size", b"0 5\r\nhello\r\n0\r\n\r\n"),
    ("an underscore in a size", b"0_5\r\nhello\r\n0\r\n\r\n"),
    ("a comma after a size", b"5,\r\nhello\r\n0\r\n\r\n"),
    ("a quoted size", b"\"5\"\r\nhello\r\n0\r\n\r\n"),
    ("NUL after a size", b"5\0\r\nhello\r\n0\r\n\r\n"),
    ("a size that overflows 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a size that is -1 in 64 bits, and a digit", b"ffffffffffffffff5\r\nhello\r\n0\r\n\r\n"),
    ("zeros without end", b"000000000000000000000000000000000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a size in other digits", "\u{665}\r\nhello\r\n0\r\n\r\n".as_bytes()),
    ("a bare LF after a size", b"5\nhello\r\n0\r\n\r\n"),
    ("a bare CR after a size", b"5\rhello\r\n0\r\n\r\n"),
    ("two CRs after a size", b"5\r\r\nhello\r\n0\r\n\r\n"),
    ("LF CR after a size", b"5\n\rhello\r\n0\r\n\r\n"),
    ("an extension without a name", b"5;\r\nhello\r\n0\r\n\r\n"),
    ("a second extension without a name", b"5;a;\r\nhello\r\n0\r\n\r\n"),
    ("an extension that is a value", b"5; =x\r\nhello\r\n0\r\n\r\n"),
    ("an extension without the value that it announces", b"5;a=\r\nhello\r\n0\r\n\r\n"),
    ("an extension whose quotes do not end", b"5;a=\"b\r\nhello\r\n0\r\n\r\n"),
    ("a bare LF in an extension (TERM.EXT)", b"5;\nhello\r\n0\r\n\r\n"),
    ("a bare LF after an extension (EXT.TERM)", b"5;a=b\nhello\r\n0\r\n\r\n"),
    ("a bare CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("a bare CR that ends an extension", b"5;a\rhello\r\n0\r\n\r\n"),
    ("a LF in a quoted extension", b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"),
    ("NUL in an extension", b"5;a\0\r\nhello\r\n0\r\n\r\n"),
    ("a control byte in an extension", b"5;a\x01\r\nhello\r\n0\r\n\r\n"),
    ("an extension without its semicolon", b"5 a=b\r\nhello\r\n0\r\n\r\n"),
    ("a bare LF after the last chunk's size", b"5\r\nhello\r\n0\n\r\n"),
    ("a bare LF for the end", b"5\r\nhello\r\n0\r\n\n"),
    ("no CRLF after the data", b"5\r\nhello0\r\n\r\n"),
    ("two other bytes after the data", b"5\r\nhelloXX0\r\n\r\n"),
    ("a bare LF after the data", b"5\r\nhello\n0\r\n\r\n"),
    ("a bare CR after the data", b"5\r\nhello\r0\r\n\r\n"),
    ("CR and something else after the data", b"5\r\nhello\rX0\r\n\r\n"),
    ("more data than the size says", b"5\r\nhello world\r\n0\r\n\r\n"),
    ("less data than the size says", b"6\r\nhello\r\n0\r\n\r\n"),
    ("an empty line between chunks", b"5\r\nhello\r\n\r\n0\r\n\r\n"),
    ("a request in the place of a size", b"5\r\nhello\r\nGET http://evil.test/ HTTP/1.1\r\n\r\n"),
    ("a float for a size", b"5.0\r\nhello\r\n0\r\n\r\n"),
];

/// Trailer sections that are refused, without the empty line.
const BAD_TRAILERS: [(&str, &[u8]); 12] = [
    ("a space before the colon", b"X : y\r\n"),
    ("an empty name", b": y\r\n"),
    ("no colon", b"X\r\n"),
    ("a name that is no token", b"X Y: z\r\n"),
    ("a request line", b"GET http://evil.test/ HTTP/1.1\r\n"),
    ("obs-fold", b"X: y\r\n z\r\n"),
    ("obs-fold at the start", b" X: y\r\n"),
    ("NUL", b"X: a\0b\r\n"),
    ("a control byte", b"X: a\x01b\r\n"),
    ("a bare LF", b"X: y\nY: z\r\n"),
    ("a bare CR", b"X: y\rY: z\r\n"),
    ("a bare LF for the end", b"X: y\r\n\n"),
];

/// Fields that have no business behind a body (RFC 9110 section 6.5.1).
const FORBIDDEN_TRAILERS: [&str; 14] = [
    "Content-Length: 5",
    "content-length: 5",
    "Transfer-Encoding: chunked",
    "Host: evil.test",
    "Connection: close",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: close",
    "TE: trailers",
    "Trailer: X",
    "Upgrade: websocket",
    "Authorization: Basic x",
    "Proxy-Authorization: Basic x",
    "Content-Type: text/html",
    "Set-Cookie: a=b",
];

fn chunked_post(body: impl AsRef<[u8]>) -> Vec<u8> {
    [post("Transfer-Encoding: chunked\r\n", "").as_bytes(), body.as_ref()].concat()
}

fn chunked_response(body: impl AsRef<[u8]>) -> Vec<u8> {
    [response("Transfer-Encoding: chunked\r\n", "").as_bytes(), body.as_ref()].concat()
}

fn chunked_response_forwarded() -> String {
    response_forwarded("Transfer-Encoding: chunked\r\n", "")
}

#[test]
fn chunked_requests() {
    let proxy = Proxy::start();
    run(
        &proxy,
        HELLO_WORLD.map(|(what, body)| {
            case(format!("RFC 9112 section 7.1: in a request: {what}"))
                .client(chunked_post(body))
                .origin_gets_chunked(chunked_post_forwarded(""), "hello world")
                .answered()
                .goes_on()
        }),
    );
    run(
        &proxy,
        HELLO_WORLD.map(|(what, body)| {
            case(format!("RFC 9112 section 7.1: in a request, byte by byte: {what}"))
                .client_bytewise(chunked_post(body))
                .origin_gets_chunked(chunked_post_forwarded(""), "hello world")
                .answered()
                .goes_on()
        }),
    );
    run(
        &proxy,
        [
            case("RFC 9112 section 7.1: an empty body")
                .client(chunked_post("0\r\n\r\n"))
                .origin_gets_chunked(chunked_post_forwarded(""), "")
                .answered()
                .goes_on(),
            case("RFC 9112 section 7.1: chunks are passed on as they come")
                .client(chunked_post("5\r\nhello\r\n"))
                .origin_gets(chunked_post_forwarded("") + "5\r\nhello\r\n")
                .client("6\r\n world\r\n")
                .origin_gets("6\r\n world\r\n")
                .client("0\r\n\r\n")
                .origin_gets("0\r\n\r\n")
                .answered(),
            case("RFC 9112 section 7.1: what comes of a chunk is passed on before its end")
                .client(chunked_post("b\r\nhello"))
                .origin_gets(chunked_post_forwarded("") + "5\r\nhello\r\n")
                .client(" world\r\n0\r\n\r\n")
                .origin_gets("6\r\n world\r\n0\r\n\r\n")
                .answered(),
            case("RFC 9112 section 9.3.2: the request behind a chunked body is the next one")
                .client([chunked_post("5\r\nhello\r\n0\r\n\r\n"), GET.into()].concat())
                .origin_gets_chunked(chunked_post_forwarded(""), "hello")
                .answered()
                .origin_gets(GET_FORWARDED)
                .answered(),
            case("RFC 9112 section 7.1: data may look like chunks")
                .client(chunked_post("f\r\n0\r\n\r\nGET / HTTP\r\n0\r\n\r\n"))
                .origin_gets_chunked(chunked_post_forwarded(""), "0\r\n\r\nGET / HTTP")
                .answered()
                .goes_on(),
            case("a chunk of 100,000 bytes")
                .client(chunked_post(format!("186a0\r\n{}\r\n0\r\n\r\n", "x".repeat(100_000))))
                .origin_gets_chunked(chunked_post_forwarded(""), "x".repeat(100_000))
                .answered()
                .goes_on(),
            case("10,000 chunks of a byte")
                .client(chunked_post("1\r\nx\r\n".repeat(10_000) + "0\r\n\r\n"))
                .origin_gets_chunked(chunked_post_forwarded(""), "x".repeat(10_000))
                .answered()
                .goes_on(),
        ],
    );
}

#[test]
fn chunked_responses() {
    let proxy = Proxy::start();
    let get = || case("").client(GET).origin_gets(GET_FORWARDED);
    run(
        &proxy,
        HELLO_WORLD.map(|(what, body)| {
            get()
                .named(format!("RFC 9112 section 7.1: in a response: {what}"))
                .origin(chunked_response(body))
                .client_gets_chunked(chunked_response_forwarded(), "hello world")
                .goes_on()
        }),
    );
    run(
        &proxy,
        HELLO_WORLD.map(|(what, body)| {
            get()
                .named(format!("RFC 9112 section 7.1: in a response, byte by byte: {what}"))
                .origin_bytewise(chunked_response(body))
                .client_gets_chunked(chunked_response_forwarded(), "hello world")
                .goes_on()
        }),
    );
    run(
        &proxy,
        [
            get()
                .named("RFC 9112 section 7.1: an empty body")
                .origin(chunked_response("0\r\n\r\n"))
                .client_gets_chunked(chunked_response_forwarded(), "")
                .goes_on(),
            get()
                .named("RFC 9112 section 7.1: chunks are passed on as they come")
                .origin(chunked_response("5\r\nhello\r\n"))
                .client_gets(chunked_response_forwarded() + "5\r\nhello\r\n")
                .origin("6\r\n world\r\n")
                .client_gets("6\r\n world\r\n")
                .origin("0\r\n\r\n")
                .client_gets("0\r\n\r\n")
                .goes_on(),
            get()
                .named("a chunk of 100,000 bytes")
                .origin(chunked_response(format!("186a0\r\n{}\r\n0\r\n\r\n", "x".repeat(100_000))))
                .client_gets_chunked(chunked_response_forwarded(), "x".repeat(100_000))
                .goes_on(),
            get()
                .named("10,000 chunks of a byte")
                .origin(chunked_response("1\r\nx\r\n".repeat(10_000) + "0\r\n\r\n"))
                .client_gets_chunked(chunked_response_forwarded(), "x".repeat(10_000))
                .goes_on(),
        ],
    );
}

/// A request with a bad body is refused, and the origin gets no whole one.
fn refused_in_the_body(name: String, body: &[u8]) -> Case {
    case(name)
        .client(chunked_post(body))
        .step(|scene| {
            let reply = scene.client().expect_response();
            assert!(matches!(reply.head.status(), 400 | 431), "{:?}", reply.head);
            assert!(reply.head.lists("connection", "close"), "{:?}", reply.head);
            assert!(reply.head.field("proxy-status").is_some(), "{:?}", reply.head);
        })
        .client_gets_end()
        .origin_gets_no_whole_request()
        .logged("response_flags", "DPE")
}

/// A response with a bad body is cut for the client.
fn cut_in_the_body(name: String, body: &[u8]) -> Case {
    case(name)
        .client(GET)
        .origin_gets(GET_FORWARDED)
        .origin(chunked_response(body))
        // So that the connection ends even after a 502.
        .client_half_closes()
        .step(|scene| {
            let (got, _) = scene.client().read_to_end();
            let text = String::from_utf8_lossy(&got);
            let refused = text.starts_with("HTTP/1.1 502 ");
            assert!(refused || !text.ends_with("0\r\n\r\n"), "the body was made to look whole: {text}");
            assert!(!text.contains("evil"), "what is no body got through: {text}");
        })
        .client_closes()
        .origin_gets_end()
        .logged("response_flags", "UPE")
}

#[test]
fn malformed_chunks_in_a_request() {
    let proxy = Proxy::start();
    run(&proxy, MALFORMED.map(|(what, body)| refused_in_the_body(format!("RFC 9112 section 7.1: in a request: {what}"), body)));
    run(
        &proxy,
        MALFORMED.map(|(what, body)| {
            // The head is long gone when the mistake comes.
            case(format!("RFC 9112 section 7.1: later in a request: {what}"))
                .client(chunked_post("5\r\nfirst\r\n"))
                .origin_gets(chunked_post_forwarded("") + "5\r\nfirst\r\n")
                .client(body)
                .step(|scene| {
                    let reply = scene.client().expect_response();
                    assert_eq!(reply.head.status(), 400, "{:?}", reply.head);
                })
                .client_gets_end()
                .origin_gets_no_whole_request()
        }),
    );
}

#[test]
fn malformed_chunks_in_a_response() {
    let proxy = Proxy::start();
    run(&proxy, MALFORMED.map(|(what, body)| cut_in_the_body(format!("RFC 9112 section 7.1: in a response: {what}"), body)));
}

#[test]
fn trailers() {
    let proxy = Proxy::builder().http1("enable_trailers = true").start();
    run(
        &proxy,
        BAD_TRAILERS.map(|(what, trailers)| {
            let body = [b"5\r\nhello\r\n0\r\n", trailers, b"\r\n"].concat();
            refused_in_the_body(format!("RFC 9112 section 7.1.2: in a trailer of a request: {what}"), &body)
        }),
    );
    run(
        &proxy,
        BAD_TRAILERS.map(|(what, trailers)| {
            let body = [b"5\r\nhello\r\n0\r\n", trailers, b"\r\n"].concat();
            cut_in_the_body(format!("RFC 9112 section 7.1.2: in a trailer of a response: {what}"), &body)
        }),
    );
    run(
        &proxy,
        FORBIDDEN_TRAILERS.map(|trailer| {
            let body = format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n");
            refused_in_the_body(format!("RFC 9110 section 6.5.1: in a trailer of a request: {trailer}"), body.as_bytes())
        }),
    );
    run(
        &proxy,
        FORBIDDEN_TRAILERS.map(|trailer| {
            case(format!("RFC 9110 section 6.5.1: in a trailer of a response, where it is dropped: {trailer}"))
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(chunked_response(format!("5\r\nhello\r\n0\r\nX: y\r\n{trailer}\r\n\r\n")))
                .client_gets_chunked_with_trailers(chunked_response_forwarded(), "hello", "X: y\r\n")
                .goes_on()
        }),
    );
}

/// What Connection names ends here, in the trailers as in the head (RFC 9110 section 7.6.1).
#[test]
fn hop_by_hop_trailers() {
    let proxy = Proxy::builder().http1("enable_trailers = true").start();
    let fields = "Connection: X-Hop, x-other\r\nTransfer-Encoding: chunked\r\n";
    let body = "5\r\nhello\r\n0\r\nx-hop: 1\r\nX-Sum: 2\r\nX-Other: 3\r\n\r\n";
    run(
        &proxy,
        [
            case("RFC 9110 section 7.6.1: trailers of a request that Connection names")
                .client(post(fields, body))
                .origin_gets_chunked_with_trailers(chunked_post_forwarded(""), "hello", "X-Sum: 2\r\n")
                .answered()
                .goes_on(),
            case("RFC 9110 section 7.6.1: trailers of a response that Connection names")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response(fields, body))
                .client_gets_chunked_with_trailers(chunked_response_forwarded(), "hello", "X-Sum: 2\r\n")
                .goes_on(),
        ],
    );
}

/// The rules of trailers hold where they are dropped, too.
#[test]
fn dropped_trailers() {
    let proxy = Proxy::builder().http1("enable_trailers = false").start();
    run(
        &proxy,
        BAD_TRAILERS.map(|(what, trailers)| {
            let body = [b"5\r\nhello\r\n0\r\n", trailers, b"\r\n"].concat();
            refused_in_the_body(format!("RFC 9112 section 7.1.2: in a dropped trailer: {what}"), &body)
        }),
    );
    run(
        &proxy,
        FORBIDDEN_TRAILERS.map(|trailer| {
            let body = format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n");
            refused_in_the_body(format!("RFC 9110 section 6.5.1: in a dropped trailer: {trailer}"), body.as_bytes())
        }),
    );
}
