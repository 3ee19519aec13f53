//! One stream's bytes never get into another (RFC 9112 sections 9.2 to 9.5, RFC 9110 section 9.2.2).

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::catalogue::{Case, GET, GET_FORWARDED, OK, OK_FORWARDED, case, post, post_forwarded, response, response_forwarded, run};
use crate::kit::{Origin, Proxy, Script, ScriptedOrigin};

/// An exchange after which the connection to the origin is pooled.
fn pooled(name: impl Into<String>) -> Case {
    case(name).client(GET).origin_gets(GET_FORWARDED).answered()
}

fn request(method: &str, fields: &str, body: &str) -> String {
    format!("{method} http://{{origin}}/again HTTP/1.1\r\nHost: {{origin}}\r\n{fields}\r\n{body}")
}

fn forwarded(method: &str, fields: &str, body: &str) -> String {
    format!("{method} /again HTTP/1.1\r\nHost: {{origin}}\r\n{fields}Via: 1.1 outrider\r\n\r\n{body}")
}

#[test]
fn connections_are_reused() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority());
    let mut upstream = None;
    for client in 0..3 {
        let mut client_connection = proxy.client();
        for _ in 0..2 {
            client_connection.send(&request);
            let upstream = upstream.get_or_insert_with(|| origin.accept());
            upstream.expect_request();
            upstream.send(OK);
            client_connection.expect(OK_FORWARDED);
        }
        assert_eq!(origin.connections(), 1, "client {client} has it from the one before");
    }
    let reused: Vec<bool> = proxy.access_log().take(6).map(|entry| entry.reused()).collect();
    assert_eq!(reused, [false, true, true, true, true, true]);
}

/// The last one that came back is the first to go out, so that the others may age.
#[test]
fn the_freshest_connection_goes_out_first() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority());
    let (mut one, mut two) = (proxy.client(), proxy.client());
    one.send(&request);
    let mut first = origin.accept();
    first.expect_request();
    two.send(&request);
    let mut second = origin.accept();
    second.expect_request();
    first.send(OK);
    one.expect(OK_FORWARDED);
    second.send(OK);
    two.expect(OK_FORWARDED);
    one.send(&request);
    second.expect_request();
    second.send(OK);
    one.expect(OK_FORWARDED);
}

/// Bytes that belong to no response (RFC 9112 section 9.2).
#[test]
fn extra_bytes() {
    let proxy = Proxy::start();
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let extra = |name: &str, request: String, forwarded: String, response: String, to_client: String| {
        case(format!("RFC 9112 section 9.2: {name}"))
            .client(request)
            .origin_gets(forwarded)
            .origin(response + EVIL)
            .client_gets(to_client)
            .goes_on_anew()
    };
    let get = |name: &str, response: String, to_client: String| extra(name, GET.into(), GET_FORWARDED.into(), response, to_client);
    let no_body = "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n";
    let not_modified = "HTTP/1.1 304 Not Modified\r\nDate: x\r\nContent-Length: 42\r\n\r\n";
    let with_via = |response: &str| response.replace("\r\n\r\n", "\r\nVia: 1.1 outrider\r\n\r\n");
    run(
        &proxy,
        [
            get("a second response behind one with a length", OK.into(), OK_FORWARDED.into()),
            get(
                "a second response behind an empty one",
                response("Content-Length: 0\r\n", ""),
                response_forwarded("Content-Length: 0\r\n", ""),
            ),
            get("a second response behind a 204", no_body.into(), with_via(no_body)),
            get("a body behind a 304", not_modified.into(), with_via(not_modified)),
            extra(
                "a body behind an answer to HEAD",
                GET.replace("GET", "HEAD"),
                GET_FORWARDED.replace("GET", "HEAD"),
                response("Content-Length: 42\r\n", ""),
                response_forwarded("Content-Length: 42\r\n", ""),
            ),
            case("RFC 9112 section 9.2: a second response behind a chunked one")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n") + EVIL)
                .client_gets_chunked(response_forwarded("Transfer-Encoding: chunked\r\n", ""), "ok")
                .goes_on_anew(),
            get(
                "more body than its length",
                response("Content-Length: 2\r\n", "okmore"),
                response_forwarded("Content-Length: 2\r\n", "ok"),
            ),
            get("a stray CRLF", format!("{OK}\r\n"), OK_FORWARDED.into()),
            pooled("RFC 9112 section 9.2: a response that comes while the connection is idle").origin(EVIL).goes_on_anew(),
            pooled("RFC 9112 section 9.2: a 408 of an origin that closes an idle connection")
                .origin("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .origin_closes()
                .goes_on_anew(),
            pooled("RFC 9112 section 9.2: a single byte on an idle connection").origin("\n").goes_on_anew(),
            pooled("RFC 9112 section 9.5: an end on an idle connection").origin_closes().goes_on_anew(),
            pooled("RFC 9112 section 9.5: half an end on an idle connection").origin_half_closes().goes_on_anew(),
            pooled("RFC 9112 section 9.5: a reset on an idle connection").origin_resets().goes_on_anew(),
            pooled("RFC 9112 section 9.5: a POST after an end on an idle connection goes to a fresh one")
                .origin_closes()
                .client(post("Content-Length: 5\r\n", "hello"))
                .origin_gets_anew(post_forwarded("Content-Length: 5\r\n") + "hello")
                .answered(),
        ],
    );
}

/// A request on a reused connection that dies before any byte of an answer.
#[test]
fn retries() {
    let proxy = Proxy::start();
    let retried = |method: &str, fields: &str, body: &str| {
        pooled(format!("RFC 9110 section 9.2.2: {method} {body} is sent again on a fresh connection"))
            .client(request(method, fields, body))
            .origin_gets(forwarded(method, fields, body))
            .origin_closes()
            .origin_gets_anew(forwarded(method, fields, body))
    };
    let not_retried = |method: &str, fields: &str, body: &str| {
        pooled(format!("RFC 9110 section 9.2.2: {method} {body} is not sent again"))
            .client(request(method, fields, body))
            .origin_gets(forwarded(method, fields, body))
            .origin_closes()
            .fault(502, "upstream_closed", "UC", "connection_terminated")
    };
    run(
        &proxy,
        [
            retried("GET", "", "").answered().goes_on(),
            retried("HEAD", "", "")
                .origin(response("Content-Length: 2\r\n", ""))
                .client_gets(response_forwarded("Content-Length: 2\r\n", "")),
            retried("OPTIONS", "", "").answered(),
            retried("TRACE", "", "").answered(),
            retried("DELETE", "", "").answered(),
            retried("PUT", "Content-Length: 5\r\n", "hello").answered(),
            retried("GET", "Content-Length: 5\r\n", "hello").answered(),
            pooled("RFC 9110 section 9.2.2: after a reset, too")
                .client(request("GET", "", ""))
                .origin_gets(forwarded("GET", "", ""))
                .origin_resets()
                .origin_gets_anew(forwarded("GET", "", ""))
                .answered(),
            retried("GET", "", "").named("a retry is made once: the fresh connection's end is final").origin_closes().fault(
                502,
                "upstream_closed",
                "UC",
                "connection_terminated",
            ),
            not_retried("POST", "Content-Length: 5\r\n", "hello"),
            not_retried("POST", "Content-Length: 0\r\n", ""),
            not_retried("PATCH", "Content-Length: 5\r\n", "hello"),
            not_retried("get", "", ""),
            not_retried("PROPFIND", "", ""),
            pooled("RFC 9110 section 9.2.2: a PUT whose body is not at hand is not sent again")
                .client(request("PUT", "Content-Length: 1000000\r\n", "hello"))
                .origin_gets(forwarded("PUT", "Content-Length: 1000000\r\n", "hello"))
                .origin_closes()
                .fault(502, "upstream_closed", "UC", "connection_terminated"),
            pooled("RFC 9110 section 9.2.2: a byte of an answer is an answer")
                .client(request("GET", "", ""))
                .origin_gets(forwarded("GET", "", ""))
                .origin("HTTP/1.1 ")
                .origin_closes()
                .step(|scene| assert_eq!(scene.client().expect_response().head.status(), 502)),
            pooled("RFC 9110 section 9.2.2: so is an interim response")
                .client(request("GET", "", ""))
                .origin_gets(forwarded("GET", "", ""))
                .origin("HTTP/1.1 103 Early Hints\r\n\r\n")
                .client_gets("HTTP/1.1 103 Early Hints\r\nVia: 1.1 outrider\r\n\r\n")
                .origin_closes()
                .step(|scene| {
                    scene.client().half_close();
                    let (rest, _) = scene.client().read_to_end();
                    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 502 "), "{}", crate::kit::dump(&rest));
                })
                .client_closes(),
        ],
    );
    assert!(proxy.stats("cluster.upstream_rq_retry") >= 9);
    let proxy = Proxy::builder().cluster("max_retries = 0").start();
    run(
        &proxy,
        [pooled("max_retries = 0: nothing is sent again")
            .client(request("GET", "", ""))
            .origin_gets(forwarded("GET", "", ""))
            .origin_closes()
            .local_reply(502, "upstream_closed")],
    );
}

/// What a client leaves behind when it goes.
#[test]
fn clients_that_go() {
    let proxy = Proxy::start();
    run(
        &proxy,
        [
            case("RFC 9112 section 9.5: a client that resets while it waits ends the origin's connection")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .client_resets()
                .origin_gets_end()
                .logged("response_flags", "DC"),
            case("RFC 9112 section 9.5: a client that goes in the middle of an answer ends it")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Content-Length: 100\r\n", "hello"))
                .client_gets(response_forwarded("Content-Length: 100\r\n", "hello"))
                .client_resets()
                .step(|scene| {
                    // It is found out by the write after the next.
                    for _ in 0..10 {
                        scene.upstream().send_if_open("x");
                        thread::sleep(Duration::from_millis(20));
                    }
                    scene.upstream().expect_end();
                })
                .logged("response_flags", "DC"),
            case("RFC 9112 section 9.5: a client that goes in the middle of its upload")
                .client(post("Content-Length: 100\r\n", "hello"))
                .origin_gets(post_forwarded("Content-Length: 100\r\n") + "hello")
                .client_resets()
                .origin_gets_end()
                .logged("response_flags", "DC"),
        ],
    );
}

/// The next client gets what is its own, whatever happened to the one before.
#[test]
fn the_client_after_one_that_went() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let request = |path: &str| format!("GET http://{0}/{path} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority());
    let answer = |text: &str| format!("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let mut first = proxy.client();
    first.send(request("first"));
    let mut upstream = origin.accept();
    upstream.expect_request();
    first.reset();
    upstream.expect_end();
    // Too late, and to nobody.
    upstream.send_if_open(answer("for the first"));
    let mut second = proxy.client();
    second.send(request("second"));
    let mut upstream = origin.accept();
    assert_eq!(upstream.expect_request().head.start_line(), "GET /second HTTP/1.1");
    upstream.send(answer("for the second"));
    assert_eq!(second.expect_response().body, b"for the second");
}

#[test]
fn answers_do_not_change_places() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let request = |path: &str| format!("GET http://{0}/{path} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority());
    let (mut one, mut two) = (proxy.client(), proxy.client());
    one.send(request("one"));
    let mut for_one = origin.accept();
    for_one.expect_request();
    two.send(request("two"));
    let mut for_two = origin.accept();
    for_two.expect_request();
    for_two.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
    assert_eq!(two.expect_response().body, b"two");
    for_one.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    assert_eq!(one.expect_response().body, b"one");
}

/// Many clients at once, each of which must get its own answers in its own order.
#[test]
fn many_clients_get_their_own() {
    let echo = Script::new()
        .request()
        .reply_with(|request| {
            let path = request.head.start_line().split(' ').nth(1).unwrap_or("").to_owned();
            if path.ends_with('7') {
                return format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{path}\r\n0\r\n\r\n", path.len()).into();
            }
            let close = if path.ends_with('3') { "Connection: close\r\n" } else { "" };
            format!("HTTP/1.1 200 OK\r\n{close}Content-Length: {}\r\n\r\n{path}", path.len()).into()
        })
        .repeat();
    let origin = Arc::new(ScriptedOrigin::start([echo]));
    let proxy = Arc::new(Proxy::builder().with("server", "workers = 2").start());
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (origin, proxy) = (Arc::clone(&origin), Arc::clone(&proxy));
            thread::spawn(move || {
                let mut connection = proxy.client();
                for number in 0..50 {
                    let path = format!("/{client}-{number}");
                    connection.send(format!("GET http://{0}{path} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority()));
                    assert_eq!(String::from_utf8_lossy(&connection.expect_response().body), path);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("every answer was its own");
    }
    assert_eq!(origin.requests().len(), 400);
}

#[test]
fn limits_of_a_pool() {
    let proxy = Proxy::builder().cluster("max_requests_per_connection = 2").start();
    run(
        &proxy,
        [case("max_requests_per_connection: a connection to an origin serves so many")
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .answered()
            .goes_on()
            .goes_on_anew()],
    );

    let proxy = Proxy::builder().cluster("pool_idle_timeout = \"300ms\"").start();
    run(&proxy, [pooled("pool_idle_timeout: an idle connection is closed").origin_gets_end().goes_on_anew()]);

    let proxy = Proxy::builder().cluster("max_idle_connections = 0").start();
    run(&proxy, [pooled("max_idle_connections = 0: none is kept").origin_gets_end().goes_on_anew()]);

    let proxy = Proxy::builder().cluster("max_connection_duration = \"300ms\"").start();
    run(
        &proxy,
        [pooled("max_connection_duration: an old connection is not used again")
            .step(|_| thread::sleep(Duration::from_millis(500)))
            .goes_on_anew()],
    );
}
