//! What ends at the proxy, what it adds, and what counts hops (RFC 9110 sections 7.6 and 11.7).

use crate::catalogue::{Case, GET, GET_FORWARDED, OK, OK_FORWARDED, case, get, get_forwarded, passes, refuses, response, run};
use crate::kit::{Origin, Proxy};

/// A GET whose further fields arrive as `forwarded`.
fn stripped(name: impl Into<String>, fields: &str, forwarded: &str) -> Case {
    passes(name, get(fields), get_forwarded(forwarded)).goes_on()
}

/// A response whose further fields reach the client as `forwarded`.
fn stripped_response(name: impl Into<String>, fields: &str, forwarded: &str) -> Case {
    case(name)
        .client(GET)
        .origin_gets(GET_FORWARDED)
        .origin(response(&format!("Content-Length: 2\r\n{fields}"), "ok"))
        .client_gets(response(&format!("Content-Length: 2\r\n{forwarded}Via: 1.1 outrider\r\n"), "ok"))
}

#[test]
fn fields_that_end_here() {
    let proxy = Proxy::start();
    let clause = "RFC 9110 section 7.6.1";
    let fields = [
        "Connection: keep-alive",
        "connection: Keep-Alive",
        "Connection:",
        "Connection: ,, ,",
        "Proxy-Connection: keep-alive",
        "proxy-connection: Keep-Alive",
        "Keep-Alive: timeout=5, max=100",
        "TE: gzip",
        "TE:",
        "Upgrade: websocket",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "Proxy-Authorization: Basic dXNlcjpwYXNz",
        "proxy-authorization: Bearer x",
    ];
    run(
        &proxy,
        fields.map(|field| {
            stripped(format!("{clause}: {field} goes, its neighbours stay"), &format!("A: 1\r\n{field}\r\nB: 2\r\n"), "A: 1\r\nB: 2\r\n")
        }),
    );
    let fields = ["Connection: keep-alive", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=5", "Upgrade: h2c", "TE: trailers"];
    run(
        &proxy,
        fields.map(|field| {
            let name = format!("{clause}: in a response: {field} goes, its neighbours stay");
            stripped_response(name, &format!("A: 1\r\n{field}\r\nB: 2\r\n"), "A: 1\r\nB: 2\r\n").goes_on()
        }),
    );
    run(
        &proxy,
        [
            stripped(
                format!("{clause}: what Connection names goes, in any case and order"),
                "X-One: 1\r\nConnection: x-ONE, X-Two ,\tx-three\r\nX-Two: 2\r\nX-Three: 3\r\nX-Four: 4\r\n",
                "X-Four: 4\r\n",
            ),
            stripped(
                format!("{clause}: what several Connection fields name goes"),
                "Connection: X-One\r\nX-One: 1\r\nX-Two: 2\r\nConnection: keep-alive, X-Two\r\nX-Three: 3\r\n",
                "X-Three: 3\r\n",
            ),
            stripped(format!("{clause}: every field of a named name goes"), "X: 1\r\nConnection: X\r\nx: 2\r\nXX: 3\r\n", "XX: 3\r\n"),
            stripped(format!("{clause}: a name that is not there harms nothing"), "Connection: X-None\r\nY: 1\r\n", "Y: 1\r\n"),
            stripped("what Proxy-Connection names is nobody's business", "Proxy-Connection: X-One\r\nX-One: 1\r\n", "X-One: 1\r\n"),
            stripped_response(
                format!("{clause}: in a response, what Connection names goes"),
                "X-One: 1\r\nConnection: x-one, X-Two\r\nX-Two: 2\r\nX-Three: 3\r\n",
                "X-Three: 3\r\n",
            )
            .goes_on(),
            stripped(
                format!("{clause}: end-to-end fields of a client stay, though some proxies eat them"),
                "Pragma: no-cache\r\nWarning: 199 x\r\nFrom: a\r\nReferer: b\r\nOrigin: null\r\nDNT: 1\r\n",
                "Pragma: no-cache\r\nWarning: 199 x\r\nFrom: a\r\nReferer: b\r\nOrigin: null\r\nDNT: 1\r\n",
            ),
            stripped_response(
                "RFC 9110 section 11.7.1: a challenge that is the origin's, not ours, passes",
                "Proxy-Authenticate: Basic realm=\"x\"\r\n",
                "Proxy-Authenticate: Basic realm=\"x\"\r\n",
            ),
        ],
    );
}

/// A sender cannot name away what a message needs to be safe (RFC 9110 section 7.6.1, last paragraph).
#[test]
fn connection_options_that_would_do_harm() {
    let proxy = Proxy::start();
    let post = |option: &str, fields: &str, body: &str| {
        format!("POST http://{{origin}}/ HTTP/1.1\r\nHost: {{origin}}\r\nConnection: {option}\r\n{fields}\r\n{body}")
    };
    run(
        &proxy,
        [
            passes("Connection: Host does not strip Host", get("Connection: Host\r\n"), GET_FORWARDED).goes_on(),
            passes("Connection: host among others", get("Connection: close-not, hOsT\r\n"), GET_FORWARDED).goes_on(),
            case("Connection: Content-Length does not strip the length")
                .client(post("Content-Length", "Content-Length: 5\r\n", "hello"))
                .origin_gets("POST / HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 5\r\nVia: 1.1 outrider\r\n\r\nhello")
                .answered()
                .goes_on(),
            case("Connection: Transfer-Encoding does not strip the coding")
                .client(post("transfer-encoding", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"))
                .origin_gets_chunked(
                    "POST / HTTP/1.1\r\nHost: {origin}\r\nTransfer-Encoding: chunked\r\nVia: 1.1 outrider\r\n\r\n",
                    "hello",
                )
                .answered()
                .goes_on(),
            case("in a response, Connection: Content-Length does not strip the length")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Connection: Content-Length\r\nContent-Length: 2\r\n", "ok"))
                .client_gets(OK_FORWARDED)
                .goes_on(),
            case("Connection: Via does not hide the way of a request")
                .client(get("Via: 1.1 inner\r\nConnection: Via\r\n"))
                .origin_gets(get_forwarded("Via: 1.1 inner\r\n"))
                .answered(),
        ],
    );
}

/// RFC 9112 section 9.3: who closes, and what everybody is told of it.
#[test]
fn persistence() {
    let proxy = Proxy::start();
    let closing = |name: &str, field: &str| case(name).client(get(field)).origin_gets(GET_FORWARDED).answered_last();
    run(
        &proxy,
        [
            passes("RFC 9112 section 9.3: a 1.1 connection persists", GET, GET_FORWARDED).goes_on().goes_on(),
            closing(
                "RFC 9112 section 9.6: Connection: close of a client is obeyed, and is not the origin's matter",
                "Connection: close\r\n",
            ),
            closing("RFC 9112 section 9.6: close in any case, among others", "Connection: x, CLOSE\r\n"),
            closing("RFC 9112 section 9.6: close in the second field", "Connection: keep-alive\r\nConnection: close\r\n"),
            closing("Proxy-Connection: close of an old client is obeyed", "Proxy-Connection: close\r\n"),
            case("RFC 9112 section 9.6: what a client sends behind its last request is not looked at")
                .client(get("Connection: close\r\n") + GET)
                .origin_gets(GET_FORWARDED)
                .answered_last(),
            case("RFC 9112 section 9.6: Connection: close of an origin ends that connection only")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Connection: close\r\nContent-Length: 2\r\n", "ok"))
                .client_gets(OK_FORWARDED)
                .origin_gets_end()
                .goes_on_anew(),
            case("RFC 9112 section 9.3.2: pipelined requests are answered in order")
                .client(GET.replace("}/ ", "}/1 ") + &GET.replace("}/ ", "}/2 ") + &GET.replace("}/ ", "}/3 "))
                .origin_gets(GET_FORWARDED.replace("GET / ", "GET /1 "))
                .answered()
                .origin_gets(GET_FORWARDED.replace("GET / ", "GET /2 "))
                .answered()
                .origin_gets(GET_FORWARDED.replace("GET / ", "GET /3 "))
                .answered(),
            case("RFC 9112 section 9.3.2: a refused request ends a pipeline")
                .client(GET.to_owned() + "GET http://{origin}/bad HTTP/1.1\r\n\r\n" + GET)
                .origin_gets(GET_FORWARDED)
                .answered()
                .refused(400, "missing_host"),
            case("RFC 9112 section 9.6: close lingers: a client that still sends sees the answer")
                .client([b"BAD\r\n\r\n".as_slice(), &[b'x'; 200_000]].concat())
                .refused(400, "invalid_request_line"),
            case("RFC 9112 section 9.6: the same for an upload that is not wanted")
                .client(
                    [
                        b"POST http://{origin}/#x HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 1000000\r\n\r\n".as_slice(),
                        &[b'x'; 1_000_000],
                    ]
                    .concat(),
                )
                .refused(400, "fragment_in_target")
                .origin_gets_nothing(),
            case("RFC 9112 section 9.3: a client that half-closes after its request gets the answer")
                .client(GET)
                .client_half_closes()
                .origin_gets(GET_FORWARDED)
                .answered()
                .client_gets_end(),
        ],
    );
}

/// RFC 9110 section 7.6.3.
#[test]
fn via() {
    let proxy = Proxy::start();
    run(
        &proxy,
        [
            passes(
                "RFC 9110 section 7.6.3: earlier hops stay as they are, ours follows",
                get("Via: 1.0 fred, HTTP/1.1 p.example.net (x, y)\r\n"),
                get_forwarded("Via: 1.0 fred, HTTP/1.1 p.example.net (x, y)\r\n"),
            ),
            passes(
                "RFC 9110 section 7.6.3: several earlier fields",
                get("Via: 1.0 a\r\nX: y\r\nvia: 1.1 b\r\n"),
                get_forwarded("Via: 1.0 a\r\nX: y\r\nvia: 1.1 b\r\n"),
            ),
            stripped_response("RFC 9110 section 7.6.3: in a response", "Via: 1.1 cdn\r\n", "Via: 1.1 cdn\r\n"),
            stripped_response(
                "RFC 9110 section 7.6.3: our own name in a response is no loop",
                "Via: 1.1 outrider\r\n",
                "Via: 1.1 outrider\r\n",
            ),
            case("RFC 9110 section 7.6.3: a response of HTTP/1.0 came in as 1.0")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(OK.replace("HTTP/1.1", "HTTP/1.0"))
                .client_gets(OK_FORWARDED.replace("Via: 1.1", "Via: 1.0")),
            passes(
                "a name that only holds ours is another's",
                get("Via: 1.1 outrider2, 1.1 my-outrider, 1.1 outrider:8080x\r\n"),
                get_forwarded("Via: 1.1 outrider2, 1.1 my-outrider, 1.1 outrider:8080x\r\n"),
            ),
            passes(
                "our name in a comment is none",
                get("Via: 1.1 other (1.1 outrider)\r\n"),
                get_forwarded("Via: 1.1 other (1.1 outrider)\r\n"),
            ),
        ],
    );
    let loops = [
        "1.1 outrider",
        "1.0 a, 1.1 outrider",
        "1.1 outrider (x)",
        "HTTP/1.1 outrider",
        "1.1 OUTRIDER",
        "1.1  \toutrider",
        "1.1 outrider, 1.1 b",
    ];
    run(
        &proxy,
        loops.map(|via| refuses(format!("RFC 9110 section 7.6.3: Via: {via} is a loop"), get(&format!("Via: {via}\r\n")), 508, "via_loop")),
    );
    run(
        &proxy,
        [
            refuses(
                "RFC 9110 section 7.6.3: our name in a second Via is a loop",
                get("Via: 1.1 a\r\nVia: 1.1 outrider\r\n"),
                508,
                "via_loop",
            ),
            refuses(
                "RFC 9110 section 7.6.3: a CONNECT can go round in circles, too",
                "CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\n\r\n",
                508,
                "via_loop",
            ),
        ],
    );
}

#[test]
fn via_settings() {
    let proxy = Proxy::builder().http1("via = \"edge-1\"").start();
    run(
        &proxy,
        [
            case("RFC 9110 section 7.6.3: the pseudonym can be set")
                .client(GET)
                .origin_gets(GET_FORWARDED.replace("outrider", "edge-1"))
                .origin(OK)
                .client_gets(OK_FORWARDED.replace("outrider", "edge-1")),
            case("another proxy's default name is no loop, ours is")
                .client(get("Via: 1.1 outrider\r\n"))
                .origin_gets("GET / HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\nVia: 1.1 edge-1\r\n\r\n")
                .origin(OK)
                .client_gets(OK_FORWARDED.replace("outrider", "edge-1"))
                .client(get("Via: 1.1 edge-1\r\n"))
                .step(|scene| assert_eq!(scene.client().expect_response().head.status(), 508))
                .client_gets_end(),
        ],
    );
    let proxy = Proxy::builder().http1("via_in_requests = false").start();
    run(
        &proxy,
        [passes(
            "RFC 9110 section 7.6.3: Via can be left out of requests; responses have it",
            GET,
            "GET / HTTP/1.1\r\nHost: {origin}\r\n\r\n",
        )],
    );
}

/// Each draws a name of its own, so that one behind another is no loop, and a loop is one.
#[test]
fn a_proxy_behind_a_proxy() {
    let (first, second) = (Proxy::builder().without("http1").start(), Proxy::builder().without("http1").start());
    let origin = Origin::listen();
    let get = |via: &str| format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{via}\r\n", origin.authority());
    let via = |proxy: &Proxy, before: &str| {
        let mut client = proxy.client();
        client.send(get(before));
        let mut upstream = origin.accept();
        let request = upstream.expect_request();
        upstream.send(OK);
        assert_eq!(client.expect_response().head.status(), 200);
        request.head.fields("via").into_iter().map(|via| format!("Via: {via}\r\n")).collect::<String>()
    };
    let once = via(&first, "");
    let twice = via(&second, &once);
    assert!(once.starts_with("Via: 1.1 outrider-") && twice.starts_with(&once) && twice.matches("outrider-").count() == 2, "{twice}");
    let mut client = first.client();
    client.send(get(&twice));
    assert_eq!(client.expect_response().head.status(), 508);
}

/// RFC 9110 section 7.6.2.
#[test]
fn max_forwards() {
    let proxy = Proxy::start();
    let request = |method: &str, fields: &str| format!("{method} http://{{origin}}/ HTTP/1.1\r\nHost: {{origin}}\r\n{fields}\r\n");
    let forwarded = |method: &str, fields: &str| format!("{method} / HTTP/1.1\r\nHost: {{origin}}\r\n{fields}Via: 1.1 outrider\r\n\r\n");
    let mut cases = Vec::new();
    for method in ["TRACE", "OPTIONS"] {
        for (before, after) in [("5", "4"), ("1", "0"), ("10", "9"), ("007", "6"), ("4294967296", "4294967295")] {
            cases.push(passes(
                format!("RFC 9110 section 7.6.2: {method} with Max-Forwards: {before} goes on with {after}"),
                request(method, &format!("A: 1\r\nMax-Forwards: {before}\r\nB: 2\r\n")),
                forwarded(method, &format!("A: 1\r\nMax-Forwards: {after}\r\nB: 2\r\n")),
            ));
        }
        cases.push(passes(format!("RFC 9110 section 7.6.2: {method} without Max-Forwards"), request(method, ""), forwarded(method, "")));
        for bad in ["-1", "x", "1x", "", "1, 2"] {
            cases.push(refuses(
                format!("RFC 9110 section 7.6.2: {method} with Max-Forwards: {bad:?}"),
                request(method, &format!("Max-Forwards: {bad}\r\n")),
                400,
                "invalid_max_forwards",
            ));
        }
    }
    for method in ["GET", "POST", "PROPFIND"] {
        for value in ["0", "5", "x"] {
            cases.push(passes(
                format!("RFC 9110 section 7.6.2: Max-Forwards: {value} of {method} is not ours to read"),
                request(method, &format!("Max-Forwards: {value}\r\n")),
                forwarded(method, &format!("Max-Forwards: {value}\r\n")),
            ));
        }
    }
    run(&proxy, cases);
    run(&proxy, [
        case("RFC 9110 section 7.6.2: OPTIONS with Max-Forwards: 0 is answered here")
            .client(request("OPTIONS", "Max-Forwards: 0\r\n"))
            .step(|scene| {
                let answer = scene.client().expect_response();
                assert!(matches!(answer.head.status(), 200 | 204), "{:?}", answer.head);
                assert!(answer.head.field("allow").is_some(), "{:?}", answer.head);
            })
            .origin_gets_nothing()
            .goes_on(),
        case("RFC 9110 section 9.3.8: TRACE with Max-Forwards: 0 gets its request back, without secrets")
            .client(request(
                "TRACE",
                "Max-Forwards: 0\r\nX-Trace: me\r\nAuthorization: Basic secret1\r\nCookie: a=secret2\r\nProxy-Authorization: Basic secret3\r\nCookie2: secret4\r\nX-Api-Key: v\r\n",
            ))
            .step(|scene| {
                let answer = scene.client().expect_response();
                assert_eq!(answer.head.status(), 200, "{:?}", answer.head);
                assert_eq!(answer.head.field("content-type"), Some("message/http"), "{:?}", answer.head);
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(body.starts_with("TRACE http://") && body.contains("X-Trace: me\r\n"), "{body}");
                assert!(!body.contains("secret"), "credentials came back: {body}");
            })
            .origin_gets_nothing()
            .goes_on(),
        case("RFC 9112 section 3.2.4: OPTIONS * is about the proxy itself")
            .client("OPTIONS * HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
            .step(|scene| assert!(matches!(scene.client().expect_response().head.status(), 200 | 204)))
            .origin_gets_nothing()
            .goes_on(),
    ]);
}

/// TRACE has no content (RFC 9110 section 9.3.8).
#[test]
fn trace_with_content() {
    let trace = |fields: &str, body: &str| format!("TRACE http://{{origin}}/ HTTP/1.1\r\nHost: {{origin}}\r\n{fields}\r\n{body}");
    let refused =
        |name: &str, request: String| refuses(format!("RFC 9110 section 9.3.8: TRACE with {name}"), request, 400, "body_in_trace");
    run(
        &Proxy::start(),
        [
            refused("a Content-Length", trace("Content-Length: 5\r\n", "hello")),
            refused("chunks", trace("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")),
            refused("content for the proxy itself", trace("Max-Forwards: 0\r\nContent-Length: 5\r\n", "hello")),
            case("RFC 9110 section 9.3.8: TRACE with a Content-Length of 0 has none")
                .client(trace("Content-Length: 0\r\n", ""))
                .origin_gets("TRACE / HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 0\r\nVia: 1.1 outrider\r\n\r\n")
                .answered()
                .goes_on(),
        ],
    );
}

/// A TE that asks for trailers travels while trailers do (RFC 9110 section 10.1.4).
#[test]
fn te() {
    let proxy = Proxy::builder().http1("enable_trailers = true").start();
    let with_te = "GET / HTTP/1.1\r\nHost: {origin}\r\nA: 1\r\nTE: trailers\r\nConnection: TE\r\nVia: 1.1 outrider\r\n\r\n";
    run(
        &proxy,
        [
            passes(
                "RFC 9110 section 10.1.4: TE: trailers goes on, as an option of our own connection",
                get("A: 1\r\nTE: trailers\r\nConnection: TE\r\n"),
                with_te,
            ),
            passes(
                "RFC 9110 section 10.1.4: of a longer TE only trailers",
                get("A: 1\r\nTE: gzip;q=0.5, trailers\r\nConnection: TE, close-not\r\n"),
                with_te,
            ),
            stripped("RFC 9110 section 10.1.4: a TE of codings ends here", "TE: gzip, deflate;q=0.5\r\nConnection: TE\r\n", ""),
        ],
    );
    let proxy = Proxy::builder().http1("enable_trailers = false").start();
    run(
        &proxy,
        [stripped("RFC 9110 section 10.1.4: where trailers are not passed on, neither is TE", "TE: trailers\r\nConnection: TE\r\n", "")],
    );
}
