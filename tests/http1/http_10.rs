//! Clients and origins that speak HTTP/1.0 (RFC 9112 sections 6.1, 9.3 and appendix C.2).

use crate::catalogue::{
    Case, GET, GET_FORWARDED, OK, OK_FORWARDED, OK_FORWARDED_LAST, case, passes, refuses, response, response_forwarded, run,
};
use crate::kit::Proxy;

/// A 1.0 request with these fields, which may have a Host among them.
fn get_10(fields: &str) -> String {
    format!("GET http://{{origin}}/ HTTP/1.0\r\n{fields}\r\n")
}

/// How it arrives.
fn get_10_forwarded(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {{origin}}\r\n{fields}Via: 1.0 outrider\r\n\r\n")
}

const OK_KEPT: &str =
    "HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 2\r\nConnection: keep-alive\r\nVia: 1.1 outrider\r\n\r\nok";

/// A response to a kept-alive 1.0 client, after which its connection closes.
fn closes_after(name: &str, response: String, forwarded: String) -> Case {
    case(name)
        .client(get_10("Host: {origin}\r\nConnection: keep-alive\r\n"))
        .origin_gets(get_10_forwarded(""))
        .origin(response)
        .client_gets(forwarded)
        .client_gets_end()
}

#[test]
fn clients() {
    let proxy = Proxy::start();
    run(
        &proxy,
        [
            case("RFC 9110 section 2.5: a 1.0 request goes on as 1.1, its answer comes as 1.1, and the connection closes")
                .client(get_10("Host: {origin}\r\n"))
                .origin_gets(get_10_forwarded(""))
                .answered_last(),
            case("RFC 9112 section 3.2: a 1.0 request may lack Host, and gets it from its target")
                .client(get_10("A: 1\r\n"))
                .origin_gets(get_10_forwarded("A: 1\r\n"))
                .answered_last(),
            refuses(
                "RFC 9112 section 3.2: two Hosts are too many in 1.0, too",
                get_10("Host: {origin}\r\nHost: b\r\n"),
                400,
                "duplicate_host",
            ),
            case("RFC 9112 section 9.3: what follows a 1.0 request is not looked at")
                .client(get_10("Host: {origin}\r\n") + GET)
                .origin_gets(get_10_forwarded(""))
                .answered_last(),
            case("a body by Content-Length")
                .client("POST http://{origin}/ HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
                .origin_gets("POST / HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 5\r\nVia: 1.0 outrider\r\n\r\nhello")
                .answered_last(),
            case("RFC 9112 section 6.3: a POST without a length has no body")
                .client("POST http://{origin}/ HTTP/1.0\r\n\r\n")
                .origin_gets("POST / HTTP/1.1\r\nHost: {origin}\r\nVia: 1.0 outrider\r\n\r\n")
                .answered_last(),
            case("HEAD")
                .client("HEAD http://{origin}/ HTTP/1.0\r\n\r\n")
                .origin_gets("HEAD / HTTP/1.1\r\nHost: {origin}\r\nVia: 1.0 outrider\r\n\r\n")
                .origin(response("Content-Length: 99\r\n", ""))
                .client_gets_last(response_forwarded("Content-Length: 99\r\nConnection: close\r\n", "")),
            case("RFC 9112 section 6.1: Transfer-Encoding in a 1.0 request")
                .client("POST http://{origin}/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
                .refused(400, "transfer_encoding_in_http_10")
                .origin_gets_nothing(),
            case("RFC 9112 section 6.1: with a Content-Length as well")
                .client("POST http://{origin}/ HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
                .refused(400, "transfer_encoding_in_http_10")
                .origin_gets_nothing(),
            case("RFC 9110 section 7.8: an Upgrade in 1.0 is ignored")
                .client(get_10("Upgrade: websocket\r\nConnection: upgrade\r\n"))
                .origin_gets(get_10_forwarded(""))
                .answered_last(),
            case("RFC 9112 section 3.2.1: origin-form in 1.0")
                .client("GET / HTTP/1.0\r\n\r\n")
                .refused(400, "not_a_proxy_request")
                .origin_gets_nothing(),
        ],
    );
}

/// RFC 9112 section 9.3: a proxy must not keep the connection of a 1.0 client, whatever it asks for.
#[test]
fn keep_alive_is_not_honoured() {
    let proxy = Proxy::builder().http1("override_stream_error_on_invalid_http_message = true").start();
    let asks = "Host: {origin}\r\nConnection: keep-alive\r\n";
    let old_ways = "Host: {origin}\r\nProxy-Connection: Keep-Alive\r\n";
    run(
        &proxy,
        [
            case("RFC 9112 section 9.3: Connection: keep-alive")
                .client(get_10(asks) + &get_10(asks))
                .origin_gets(get_10_forwarded(""))
                .answered_last(),
            case("RFC 9112 section 9.3: Proxy-Connection: keep-alive")
                .client(get_10(old_ways))
                .origin_gets(get_10_forwarded(""))
                .answered_last(),
            case("RFC 9112 section 9.3: nor after a local page")
                .client("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                .step(|scene| {
                    let answer = scene.client().expect_response();
                    assert!(answer.head.status() == 200 && answer.head.lists("Connection", "close"), "{:?}", answer.head);
                })
                .client_gets_end(),
            case("RFC 9112 section 9.3: nor after a refusal")
                .client("GET http://u@{origin}/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                .refused(400, "userinfo_in_authority")
                .origin_gets_nothing(),
            case("RFC 9112 section 9.3: nor after a fault")
                .client("GET http://127.0.0.1:1/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                .step(|scene| {
                    let answer = scene.client().expect_response();
                    assert!(answer.head.status() == 502 && answer.head.lists("Connection", "close"), "{:?}", answer.head);
                })
                .client_gets_end(),
        ],
    );
}

/// `keep_alive_http_10` brings it back.
#[test]
fn keep_alive() {
    let proxy = Proxy::builder().http1("keep_alive_http_10 = true").start();
    let kept = |name: &str, field: &str| {
        case(name)
            .client(get_10(&format!("Host: {{origin}}\r\n{field}")))
            .origin_gets(get_10_forwarded(""))
            .origin(OK)
            .client_gets(OK_KEPT)
            .client(get_10(&format!("Host: {{origin}}\r\n{field}")))
            .origin_gets(get_10_forwarded(""))
            .origin(OK)
            .client_gets(OK_KEPT)
    };
    run(
        &proxy,
        [
            kept("RFC 9112 appendix C.2.2: Connection: keep-alive is honoured with a Content-Length answer", "Connection: keep-alive\r\n"),
            kept("RFC 9112 appendix C.2.2: in any case", "connection: Keep-Alive\r\n"),
            kept("RFC 9112 appendix C.2.2: Proxy-Connection: keep-alive of old clients", "Proxy-Connection: Keep-Alive\r\n"),
            kept("RFC 9112 appendix C.2.2: with parameters in Keep-Alive", "Connection: keep-alive\r\nKeep-Alive: 300\r\n"),
            case("RFC 9112 section 9.3: close is stronger than keep-alive")
                .client(get_10("Host: {origin}\r\nConnection: keep-alive, close\r\n"))
                .origin_gets(get_10_forwarded(""))
                .answered_last(),
            case("RFC 9112 section 9.3: a 1.1 request on the connection of a kept-alive 1.0 client")
                .client(get_10("Host: {origin}\r\nConnection: keep-alive\r\n"))
                .origin_gets(get_10_forwarded(""))
                .origin(OK)
                .client_gets(OK_KEPT)
                .goes_on(),
            case("RFC 9112 section 9.3: an answer of HEAD, 204 or 304 has an end of its own")
                .client("HEAD http://{origin}/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                .origin_gets("HEAD / HTTP/1.1\r\nHost: {origin}\r\nVia: 1.0 outrider\r\n\r\n")
                .origin(response("Content-Length: 2\r\n", ""))
                .client_gets(response_forwarded("Content-Length: 2\r\nConnection: keep-alive\r\n", ""))
                .client(get_10("Connection: keep-alive\r\n"))
                .origin_gets(get_10_forwarded(""))
                .origin("HTTP/1.1 304 Not Modified\r\nDate: x\r\n\r\n")
                .client_gets("HTTP/1.1 304 Not Modified\r\nDate: x\r\nConnection: keep-alive\r\nVia: 1.1 outrider\r\n\r\n"),
            closes_after(
                "RFC 9112 section 7.1: a chunked response is decoded, and ended by close",
                response("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"),
                response_forwarded("Connection: close\r\n", "hello world"),
            ),
            closes_after(
                "RFC 9112 section 7.1: trailers of a chunked response are no part of the body",
                response("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
                response_forwarded("Connection: close\r\n", "hello"),
            ),
            case("RFC 9112 section 6.3: until close stays until close")
                .client(get_10("Host: {origin}\r\nConnection: keep-alive\r\n"))
                .origin_gets(get_10_forwarded(""))
                .origin(response("", "hello"))
                .origin_closes()
                .client_gets_last(response_forwarded("Connection: close\r\n", "hello")),
            case("RFC 9112 section 8: a chunked response that is cut does not end in an orderly close")
                .client(get_10("Host: {origin}\r\n"))
                .origin_gets(get_10_forwarded(""))
                .origin(response("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"))
                .client_gets(response_forwarded("Connection: close\r\n", "hello"))
                .origin_closes()
                .client_gets_reset(),
        ],
    );
}

/// RFC 9110 section 15.2: a 1.0 client knows nothing of 1xx.
#[test]
fn interim_responses_are_not_for_1_0() {
    let proxy = Proxy::start();
    run(
        &proxy,
        [
            case("RFC 9110 section 15.2: a 103 is not sent to a 1.0 client")
                .client(get_10("Host: {origin}\r\n"))
                .origin_gets(get_10_forwarded(""))
                .origin("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
                .answered_last(),
            case("RFC 9110 section 10.1.1: nor is a 100, even if its client asked for one")
                .client("POST http://{origin}/ HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
                .step(|scene| {
                    let head = scene.upstream().expect_head();
                    assert!(head.start_line() == "POST / HTTP/1.1" && head.lists("via", "1.0 outrider"), "{head:?}");
                })
                .origin("HTTP/1.1 100 Continue\r\n\r\n")
                .origin_gets("hello")
                .answered_last(),
        ],
    );
}

#[test]
fn origins() {
    let proxy = Proxy::start();
    let ok = "HTTP/1.0 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 2\r\n";
    let forwarded = OK_FORWARDED.replace("Via: 1.1", "Via: 1.0");
    run(
        &proxy,
        [
            case("RFC 9112 section 9.3: a 1.0 origin's connection is not used again; a 1.1 client's goes on")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(format!("{ok}\r\nok"))
                .client_gets(&forwarded)
                .origin_gets_end()
                .goes_on_anew(),
            case("RFC 9112 appendix C.2.2: unless it says keep-alive")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(format!("{ok}Connection: keep-alive\r\n\r\nok"))
                .client_gets(&forwarded)
                .goes_on(),
            case("RFC 9112 section 6.3: until close, from a 1.0 origin to a 1.1 client")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin("HTTP/1.0 200 OK\r\nDate: x\r\n\r\nhello")
                .origin_closes()
                .client_gets_chunked("HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\nVia: 1.0 outrider\r\n\r\n", "hello")
                .goes_on(),
            case("from a 1.0 origin to a 1.0 client")
                .client(get_10("Host: {origin}\r\n"))
                .origin_gets(get_10_forwarded(""))
                .origin("HTTP/1.0 200 OK\r\nDate: x\r\n\r\nhello")
                .origin_closes()
                .client_gets_last("HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\nVia: 1.0 outrider\r\n\r\nhello"),
        ],
    );
}

#[test]
fn not_accepted() {
    let proxy = Proxy::builder().http1("accept_http_10 = false").start();
    run(
        &proxy,
        [
            refuses("accept_http_10 = false: 1.0 is refused, as Envoy does", get_10("Host: {origin}\r\n"), 426, "http_10_not_accepted"),
            refuses("accept_http_10 = false: CONNECT of 1.0, too", "CONNECT {origin} HTTP/1.0\r\n\r\n", 426, "http_10_not_accepted"),
            passes("accept_http_10 = false: 1.1 is served", GET, GET_FORWARDED),
        ],
    );
}

/// `default_host_for_http_10` makes an origin-form request of 1.0 without Host go there.
#[test]
fn default_host() {
    let origin = crate::kit::Origin::listen();
    let proxy = Proxy::builder().http1(&format!("default_host_for_http_10 = \"{}\"", origin.authority())).start();
    let mut client = proxy.client();
    client.send("GET /x?y HTTP/1.0\r\nA: 1\r\n\r\n");
    let mut upstream = origin.accept();
    upstream.expect(format!("GET /x?y HTTP/1.1\r\nHost: {}\r\nA: 1\r\nVia: 1.0 outrider\r\n\r\n", origin.authority()));
    upstream.send(OK);
    client.expect(OK_FORWARDED_LAST).expect_eof();

    // With a Host it is a request to us; 1.1 must have one.
    for (request, status) in [
        ("GET /x HTTP/1.0\r\nHost: proxy.test\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: proxy.test\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\n\r\n", 400),
    ] {
        let mut client = proxy.client();
        client.send(request);
        assert_eq!(client.expect_response().head.status(), status, "{request:?}");
    }
    assert!(origin.accept_if_called().is_none());
    run(
        &proxy,
        [case("default_host_for_http_10 leaves an absolute target alone")
            .client(get_10(""))
            .origin_gets(get_10_forwarded(""))
            .answered_last()],
    );
}
