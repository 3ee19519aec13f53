//! Interim responses, Expect, and Upgrade (RFC 9110 sections 7.8, 10.1.1 and 15.2).

use crate::catalogue::{
    Case, GET, GET_FORWARDED, OK, OK_FORWARDED, case, get, get_forwarded, post, post_forwarded, response, response_forwarded, run,
};
use crate::kit::Proxy;

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLINK: </b.js>\r\n\r\n";

/// How an interim response reaches the client: with our Via, and without a Date, which it does not need.
fn interim_forwarded(interim: &str) -> String {
    interim.replace("\r\n\r\n", "\r\nVia: 1.1 outrider\r\n\r\n")
}

#[test]
fn interim_responses() {
    let proxy = Proxy::start();
    let after = |name: &str, interim: &[&str]| {
        let mut case = case(name).client(GET).origin_gets(GET_FORWARDED);
        for interim in interim {
            case = case.origin(interim).client_gets(interim_forwarded(interim));
        }
        case.answered().goes_on()
    };
    run(
        &proxy,
        [
            after("RFC 9110 section 15.2: a 103 is passed on at once, byte for byte", &[HINTS]),
            after("RFC 9110 section 15.2: a 100 that nobody asked for", &["HTTP/1.1 100 Continue\r\n\r\n"]),
            after("RFC 9110 section 15.2: a 102", &["HTTP/1.1 102 Processing\r\n\r\n"]),
            after("RFC 9110 section 15.2: a 1xx that nobody knows", &["HTTP/1.1 199 Whatever\r\nA: b\r\n\r\n"]),
            after("RFC 9110 section 15.2: several, in order", &["HTTP/1.1 102 Processing\r\n\r\n", HINTS, HINTS]),
            case("RFC 9110 section 15.2: interim and final response in one segment")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(format!("{HINTS}{HINTS}{OK}"))
                .client_gets(interim_forwarded(HINTS) + &interim_forwarded(HINTS) + OK_FORWARDED)
                .goes_on(),
            case("RFC 9112 section 6.3: a 1xx has no body, whatever its fields say")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n{OK}"))
                .client_gets("HTTP/1.1 103 Early Hints\r\nVia: 1.1 outrider\r\n\r\n")
                .client_gets(OK_FORWARDED)
                .goes_on(),
            case("RFC 9110 section 7.6.1: hop-by-hop fields of a 1xx end here")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin("HTTP/1.1 103 Early Hints\r\nConnection: X\r\nX: y\r\nLink: z\r\n\r\n")
                .client_gets("HTTP/1.1 103 Early Hints\r\nLink: z\r\nVia: 1.1 outrider\r\n\r\n")
                .answered(),
            case("an origin that closes after a 1xx has not answered")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(HINTS)
                .client_gets(interim_forwarded(HINTS))
                .origin_closes()
                .step(|scene| {
                    // A 502 may follow an interim response; so may a cut.
                    scene.client().half_close();
                    let (rest, _) = scene.client().read_to_end();
                    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 502 "), "{}", crate::kit::dump(&rest));
                })
                .client_closes()
                .logged("response_flags", "UC"),
        ],
    );
}

/// More interim responses than `max_interim_responses` are a flood.
#[test]
fn too_many_interim_responses() {
    let proxy = Proxy::builder().http1("max_interim_responses = 3").start();
    let hints = |count: usize| HINTS.repeat(count);
    let forwarded = |count: usize| interim_forwarded(HINTS).repeat(count);
    run(
        &proxy,
        [
            case("RFC 9110 section 15.2: as many as are allowed")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(hints(3) + OK)
                .client_gets(forwarded(3) + OK_FORWARDED)
                .goes_on(),
            case("RFC 9110 section 15.2: one more than that")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(hints(4) + OK)
                .client_half_closes()
                .step(move |scene| {
                    let (got, _) = scene.client().read_to_end();
                    let text = String::from_utf8_lossy(&got);
                    assert!(text.matches(" 103 ").count() <= 3 && !text.contains(" 200 OK"), "{text}");
                })
                .client_closes()
                .origin_gets_end()
                .logged("response_flags", "UPE"),
            case("RFC 9110 section 15.2: a flood without end")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin("HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000))
                .client_half_closes()
                .step(|scene| {
                    let (got, _) = scene.client().read_to_end();
                    assert!(got.len() < 4096, "{} bytes of it came through", got.len());
                })
                .client_closes()
                .origin_gets_end(),
        ],
    );
}

/// RFC 9110 section 10.1.1.
#[test]
fn expect_continue() {
    let proxy = Proxy::start();
    let expecting = || {
        case("")
            .client(post("Expect: 100-continue\r\nContent-Length: 5\r\n", ""))
            .origin_gets(post_forwarded("Expect: 100-continue\r\nContent-Length: 5\r\n"))
    };
    let continued =
        |case: Case| case.origin("HTTP/1.1 100 Continue\r\n\r\n").client_gets("HTTP/1.1 100 Continue\r\nVia: 1.1 outrider\r\n\r\n");
    run(&proxy, [
        continued(expecting().named("RFC 9110 section 10.1.1: Expect travels on, the origin's 100 travels back, then the body"))
            .client("hello")
            .origin_gets("hello")
            .answered()
            .goes_on(),
        expecting()
            .named("RFC 9110 section 10.1.1: a client that does not wait")
            .client("hello")
            .origin_gets("hello")
            .answered()
            .goes_on(),
        expecting()
            .named("RFC 9110 section 10.1.1: a final answer instead of the 100 ends the upload: nothing the client sends then is a request")
            .origin("HTTP/1.1 417 Expectation Failed\r\nDate: x\r\nContent-Length: 0\r\n\r\n")
            .client_gets("HTTP/1.1 417 Expectation Failed\r\nDate: x\r\nContent-Length: 0\r\nConnection: close\r\nVia: 1.1 outrider\r\n\r\n")
            .client(GET)
            .client_gets_end()
            .origin_gets_end(),
        continued(
            case("RFC 9110 section 10.1.1: with a chunked body")
                .client(post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", ""))
                .origin_gets(post_forwarded("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n")),
        )
        .client("5\r\nhello\r\n0\r\n\r\n")
        .origin_gets("5\r\nhello\r\n0\r\n\r\n")
        .answered()
        .goes_on(),
        continued(
            case("RFC 9110 section 10.1.1: in any case")
                .client(post("eXpect: 100-Continue\r\nContent-Length: 5\r\n", ""))
                .origin_gets(post_forwarded("eXpect: 100-Continue\r\nContent-Length: 5\r\n")),
        )
        .client("hello")
        .origin_gets("hello")
        .answered(),
        continued(
            case("RFC 9110 section 10.1.1: an Expect without a body")
                .client(get("Expect: 100-continue\r\n"))
                .origin_gets(get_forwarded("Expect: 100-continue\r\n")),
        )
        .answered()
        .goes_on(),
        case("RFC 9110 section 10.1.1: another expectation is the origin's matter")
            .client(get("Expect: the-unexpected\r\n"))
            .origin_gets(get_forwarded("Expect: the-unexpected\r\n"))
            .answered()
            .goes_on(),
        continued(expecting().named("RFC 9110 section 10.1.1: a 100 and then a final answer before the body: the upload ends"))
            .origin("HTTP/1.1 403 Forbidden\r\nDate: x\r\nContent-Length: 2\r\n\r\nno")
            .client_gets("HTTP/1.1 403 Forbidden\r\nDate: x\r\nContent-Length: 2\r\nConnection: close\r\nVia: 1.1 outrider\r\n\r\nno")
            .client_gets_end()
            .origin_gets_end(),
    ]);
}

const WEBSOCKET: &str =
    "GET http://{origin}/chat HTTP/1.1\r\nHost: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n";
const WEBSOCKET_FORWARDED: &str = "GET /chat HTTP/1.1\r\nHost: {origin}\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nConnection: Upgrade\r\nVia: 1.1 outrider\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: y\r\n\r\n";
const SWITCHING_FORWARDED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\nConnection: Upgrade\r\nVia: 1.1 outrider\r\n\r\n";

#[test]
fn upgrades() {
    let proxy = Proxy::start();
    let asked = |name: &str| case(name).client(WEBSOCKET).origin_gets(WEBSOCKET_FORWARDED);
    let ended = |case: Case| case.client_half_closes().origin_gets_end().origin_closes().client_gets_end();
    run(
        &proxy,
        [
            ended(
                asked("RFC 9110 section 7.8: a 101 turns the stream into a tunnel")
                    .origin(SWITCHING)
                    .client_gets(SWITCHING_FORWARDED)
                    .client("frame 1")
                    .origin_gets("frame 1")
                    .origin("frame 2")
                    .client_gets("frame 2"),
            ),
            ended(
                asked("RFC 9110 section 7.8: bytes behind the 101 are kept in order")
                    .origin(format!("{SWITCHING}first"))
                    .client_gets(format!("{SWITCHING_FORWARDED}first"))
                    .origin(" second")
                    .client_gets(" second"),
            ),
            ended(
                case("RFC 9110 section 7.8: bytes that the client sent ahead are kept in order")
                    .client(format!("{WEBSOCKET}first"))
                    .origin_gets(WEBSOCKET_FORWARDED)
                    .origin(SWITCHING)
                    .client_gets(SWITCHING_FORWARDED)
                    .client(" second")
                    .origin_gets("first second"),
            ),
            ended(
                asked("RFC 9110 section 15.2: interim responses may come before the 101")
                    .origin(HINTS)
                    .client_gets(interim_forwarded(HINTS))
                    .origin(SWITCHING)
                    .client_gets(SWITCHING_FORWARDED)
                    .client("x")
                    .origin_gets("x"),
            ),
            asked("RFC 9110 section 7.8: an origin may answer as usual").answered().goes_on(),
            asked("RFC 9110 section 15.5.22: a 426 says which protocol it wants")
                .origin("HTTP/1.1 426 Upgrade Required\r\nDate: x\r\nUpgrade: TLS/1.3\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n")
                .client_gets(
                    "HTTP/1.1 426 Upgrade Required\r\nDate: x\r\nUpgrade: TLS/1.3\r\nContent-Length: 0\r\nVia: 1.1 outrider\r\n\r\n",
                ),
            case("RFC 9110 section 7.8: Upgrade without Connection: Upgrade ends here")
                .client(get("Upgrade: websocket\r\n"))
                .origin_gets(GET_FORWARDED)
                .answered()
                .goes_on(),
            case("RFC 9110 section 7.8: Connection: Upgrade without Upgrade")
                .client(get("Connection: Upgrade\r\n"))
                .origin_gets(GET_FORWARDED)
                .answered()
                .goes_on(),
            case("RFC 7540 section 3.2: an upgrade to h2c, which would be a tunnel past all checks, is not asked for")
                .client(get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"))
                .origin_gets(GET_FORWARDED)
                .answered()
                .goes_on(),
            case("RFC 7540 section 3.2: h2c among others, in any case")
                .client(get("Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n"))
                .step(|scene| {
                    let head = scene.upstream().expect_head();
                    assert!(!head.lists("upgrade", "h2c"), "{head:?}");
                })
                .answered(),
            case("RFC 7540 section 3.2: h2c in the first of two Upgrade fields")
                .client(get("Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n"))
                .step(|scene| {
                    let head = scene.upstream().expect_head();
                    assert!(!head.lists("upgrade", "h2c"), "{head:?}");
                })
                .answered(),
            case("RFC 9110 section 7.8: a 101 that nobody asked for")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(SWITCHING)
                .local_reply(502, "unexpected_upgrade")
                .logged("response_flags", "UPE")
                .origin_gets_end()
                .goes_on_anew(),
            case("RFC 9110 section 7.8: a 101 without Upgrade to a request that did not offer it, with bytes behind")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{OK}"))
                .local_reply(502, "unexpected_upgrade")
                .origin_gets_end()
                .goes_on_anew(),
        ],
    );
}

#[test]
fn upgrades_ignored() {
    let proxy = Proxy::builder().http1("ignore_http_11_upgrade = true").start();
    run(
        &proxy,
        [case("ignore_http_11_upgrade = true: Upgrade ends here")
            .client(WEBSOCKET)
            .origin_gets("GET /chat HTTP/1.1\r\nHost: {origin}\r\nSec-WebSocket-Key: x\r\nVia: 1.1 outrider\r\n\r\n")
            .answered()
            .goes_on()],
    );
}

/// A final response to an upload that goes on (RFC 9112 section 9.5, RFC 9110 section 10.1.1).
#[test]
fn early_responses() {
    let proxy = Proxy::start();
    run(
        &proxy,
        [
            case("RFC 9112 section 9.5: an answer before the end of the body ends both connections")
                .client(post("Content-Length: 1000000\r\n", "a part of it"))
                .origin_gets(post_forwarded("Content-Length: 1000000\r\n") + "a part of it")
                .origin("HTTP/1.1 413 Content Too Large\r\nDate: x\r\nContent-Length: 2\r\n\r\nno")
                .client_gets(
                    "HTTP/1.1 413 Content Too Large\r\nDate: x\r\nContent-Length: 2\r\nConnection: close\r\nVia: 1.1 outrider\r\n\r\nno",
                )
                .client_gets_end()
                .origin_gets_end(),
            case("RFC 9112 section 9.5: the rest of the body, sent after the answer, is no request")
                .client(post("Content-Length: 1000\r\n", "a part of it"))
                .origin_gets(post_forwarded("Content-Length: 1000\r\n") + "a part of it")
                .origin(response("Content-Length: 2\r\n", "no"))
                .client_gets(response_forwarded("Content-Length: 2\r\nConnection: close\r\n", "no"))
                .client(GET.repeat(10))
                .client_gets_end()
                .origin_gets_end(),
            case("RFC 9112 section 9.5: an answer before the end that streams while the upload goes on")
                .client(post("Content-Length: 10\r\n", "hello"))
                .origin_gets(post_forwarded("Content-Length: 10\r\n") + "hello")
                .origin(response("Content-Length: 10\r\n", "HELLO"))
                .step(|scene| {
                    let head = scene.client().expect_head();
                    assert_eq!(head.status(), 200);
                    scene.client().expect("HELLO");
                })
                .client("world")
                .origin_gets("world")
                .origin("WORLD")
                .client_gets("WORLD"),
            case("RFC 9112 section 9.5: an origin that answers and closes while the client still sends")
                .client(post("Content-Length: 2000000\r\n", &"x".repeat(1000)))
                .origin_gets(post_forwarded("Content-Length: 2000000\r\n") + &"x".repeat(1000))
                .origin("HTTP/1.1 413 Content Too Large\r\nDate: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
                .client_gets(
                    "HTTP/1.1 413 Content Too Large\r\nDate: x\r\nContent-Length: 2\r\nConnection: close\r\nVia: 1.1 outrider\r\n\r\nno",
                )
                .origin_closes()
                .client("x".repeat(100_000))
                .client_gets_end(),
        ],
    );
}
