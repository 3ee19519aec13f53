//! What goes wrong behind the proxy, and how the client learns of it: status, reason, flag, and the error of RFC 9209.

use crate::catalogue::{Case, GET, GET_FORWARDED, case, get, post, post_forwarded, response, response_forwarded, run};
use crate::kit::{Answer, BlackHole, DnsServer, Origin, Proxy};

#[test]
fn names_that_do_not_resolve() {
    let dns = DnsServer::start();
    dns.set("missing.test", Answer::NxDomain)
        .set("broken.test", Answer::ServFail)
        .set("silent.test", Answer::Silence)
        .resolve("empty.test", &[]);
    let proxy = Proxy::builder().dns(&dns).with("dns", "dns_query_timeout = \"300ms\"").start();
    let faults = [
        ("a name that does not exist", "missing.test", 502, "dns_name_not_found", "dns_error"),
        ("a server that fails", "broken.test", 502, "dns_server_failure", "dns_error"),
        ("a name without addresses", "empty.test", 502, "dns_no_addresses", "dns_error"),
        ("a resolver that never answers", "silent.test", 504, "dns_timeout", "dns_timeout"),
    ];
    run(
        &proxy,
        faults.map(|(what, host, status, reason, error)| {
            case(format!("RFC 9110 section 15.6: {what}"))
                .client(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"))
                .fault(status, reason, "DF", error)
                .origin_gets_nothing()
                .goes_on()
        }),
    );
    run(
        &proxy,
        faults.map(|(what, host, status, reason, error)| {
            case(format!("RFC 9110 section 9.3.6: {what}, for CONNECT"))
                .client(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n"))
                .fault(status, reason, "DF", error)
                .origin_gets_nothing()
        }),
    );
}

#[test]
fn connections_that_do_not_stand() {
    let closed = Origin::listen().port();
    let silent = BlackHole::start();
    let proxy = Proxy::builder().cluster("connect_timeout = \"300ms\"").start();
    let cases = |port: u16, what: &str, status, reason, error| {
        [
            case(format!("RFC 9110 section 15.6: {what}"))
                .client(format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"))
                .fault(status, reason, "UF", error)
                .goes_on(),
            case(format!("RFC 9110 section 9.3.6: {what}, for CONNECT"))
                .client(format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"))
                .fault(status, reason, "UF", error),
        ]
    };
    run(&proxy, cases(closed, "a refused connection", 502, "connection_refused", "connection_refused"));
    run(&proxy, cases(silent.address().port(), "a connection that does not stand in time", 504, "connect_timeout", "connection_timeout"));
    run(
        &proxy,
        [case("RFC 9110 section 15.6: a refused connection, with a body that was on its way")
            .client(format!("POST http://127.0.0.1:{closed}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n"))
            .fault(502, "connection_refused", "UF", "connection_refused")],
    );
}

#[test]
fn connections_that_end() {
    let proxy = Proxy::start();
    let asked = |name: &str| case(name).client(GET).origin_gets(GET_FORWARDED);
    let half = "HTTP/1.1 200 OK\r\nContent-Le";
    run(
        &proxy,
        [
            asked("RFC 9112 section 9.5: a fresh connection closed before an answer")
                .origin_closes()
                .fault(502, "upstream_closed", "UC", "connection_terminated")
                .goes_on(),
            asked("RFC 9112 section 9.5: a fresh connection reset before an answer")
                .origin_resets()
                .fault(502, "upstream_reset", "UR", "connection_terminated")
                .goes_on(),
            case("RFC 9112 section 9.5: a connection closed in the middle of an upload")
                .client(post("Content-Length: 100\r\n", "hello"))
                .origin_gets(post_forwarded("Content-Length: 100\r\n") + "hello")
                .origin_closes()
                .fault(502, "upstream_closed", "UC", "connection_terminated"),
            case("RFC 9112 section 9.5: a connection reset in the middle of an upload")
                .client(post("Content-Length: 100\r\n", "hello"))
                .origin_gets(post_forwarded("Content-Length: 100\r\n") + "hello")
                .origin_resets()
                .fault(502, "upstream_reset", "UR", "connection_terminated"),
            asked("RFC 9112 section 8: half a head, then a close").origin(half).origin_closes().step(expect_502).goes_on(),
            asked("RFC 9112 section 8: half a head, then a reset").origin(half).origin_resets().step(expect_502).goes_on(),
            asked("RFC 9112 section 8: half a status line, then a close").origin("HTTP/1.").origin_closes().step(expect_502).goes_on(),
            asked("RFC 9112 section 4: something that is not HTTP, and a wait")
                .origin("SSH-2.0-OpenSSH_9.9\r\n")
                .step(expect_502)
                .origin_gets_end(),
            asked("RFC 9112 section 4: bytes that are no text, and a wait")
                .origin(b"\x15\x03\x01\x00\x02\x02\x46")
                .step(expect_502)
                .origin_gets_end(),
            asked("RFC 9112 section 2.2: empty lines before a response")
                .origin("\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .step(expect_502)
                .origin_gets_end(),
            asked("an HTTP/2 preface for an answer").origin(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00").step(expect_502).origin_gets_end(),
        ],
    );
}

fn expect_502(scene: &mut crate::catalogue::Scene<'_>) {
    let reply = scene.client().expect_response();
    assert_eq!(reply.head.status(), 502, "{:?}", reply.head);
    assert!(reply.head.field("proxy-status").is_some(), "{:?}", reply.head);
}

#[test]
fn answers_that_do_not_come() {
    let proxy = Proxy::builder().cluster("request_timeout = \"300ms\"").start();
    run(
        &proxy,
        [
            case("RFC 9110 section 15.6.5: no answer in time")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .fault(504, "response_timeout", "UT", "http_response_timeout")
                .origin_gets_end()
                .goes_on_anew(),
            case("RFC 9110 section 15.6.5: no answer in time to an upload")
                .client(post("Content-Length: 5\r\n", "hello"))
                .origin_gets(post_forwarded("Content-Length: 5\r\n") + "hello")
                .fault(504, "response_timeout", "UT", "http_response_timeout")
                .origin_gets_end(),
            case("RFC 9110 section 15.6.5: an interim response is no answer")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin("HTTP/1.1 103 Early Hints\r\n\r\n")
                .client_gets("HTTP/1.1 103 Early Hints\r\nVia: 1.1 outrider\r\n\r\n")
                .step(|scene| {
                    let reply = scene.client().expect_response();
                    assert_eq!(reply.head.status(), 504, "{:?}", reply.head);
                })
                .origin_gets_end(),
        ],
    );
    run(
        &proxy,
        [case("a body may take longer than request_timeout")
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .origin(response("Content-Length: 10\r\n", "hello"))
            .client_gets(response_forwarded("Content-Length: 10\r\n", "hello"))
            .step(|_| std::thread::sleep(std::time::Duration::from_millis(600)))
            .origin("world")
            .client_gets("world")],
    );
}

#[test]
fn streams_that_stand_still() {
    let proxy = Proxy::builder().cluster("stream_idle_timeout = \"300ms\"").start();
    run(
        &proxy,
        [
            case("RFC 9110 section 15.5.9: a request body that stops")
                .client(post("Content-Length: 100\r\n", "hello"))
                .origin_gets(post_forwarded("Content-Length: 100\r\n") + "hello")
                .fault(408, "request_body_timeout", "SI", "http_request_error")
                .origin_gets_end(),
            case("RFC 9110 section 15.5.9: a chunked request body that stops")
                .client(post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"))
                .origin_gets(post_forwarded("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n")
                .fault(408, "request_body_timeout", "SI", "http_request_error")
                .origin_gets_no_whole_request(),
            case("RFC 9110 section 15.6.5: an origin that never answers")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .step(|scene| {
                    let reply = scene.client().expect_response();
                    assert_eq!(reply.head.status(), 504, "{:?}", reply.head);
                })
                .origin_gets_end(),
            case("RFC 9112 section 8: a response body that stops is cut, with its flag in the log")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Content-Length: 100\r\n", "hello"))
                .client_gets(response_forwarded("Content-Length: 100\r\n", "hello"))
                .client_gets_cut()
                .origin_gets_end()
                .logged("response_flags", "SI"),
            case("RFC 9112 section 8: a chunked response that stops gets no last chunk")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"))
                .client_gets_cut_chunks(response_forwarded("Transfer-Encoding: chunked\r\n", ""), "hello")
                .origin_gets_end()
                .logged("response_flags", "SI"),
        ],
    );
}

/// As long as the client has got nothing, it can be told.
#[test]
fn a_body_that_is_malformed_from_its_beginning() {
    let chunked = |body: &str| response("Transfer-Encoding: chunked\r\n", body);
    run(
        &Proxy::start(),
        [("x\r\n", "invalid_chunk_size"), ("1\r\nab\r\n", "invalid_chunk_end"), ("1;\x01\r\n", "invalid_chunk_extension")].map(
            |(body, reason)| {
                case(format!("RFC 9112 section 7.1: {reason} with the head"))
                    .client(GET)
                    .origin_gets(GET_FORWARDED)
                    .origin(chunked(body))
                    .fault(502, reason, "UPE", "http_protocol_error")
                    .origin_gets_end()
            },
        ),
    );
}

#[test]
fn streams_that_last_too_long() {
    let proxy = Proxy::builder().cluster("max_stream_duration = \"500ms\"").start();
    run(
        &proxy,
        [
            case("max_stream_duration: no answer so far")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .fault(504, "max_stream_duration", "DT", "http_response_timeout")
                .origin_gets_end(),
            case("max_stream_duration: an answer that goes on and on")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Content-Length: 100\r\n", "hello"))
                .client_gets(response_forwarded("Content-Length: 100\r\n", "hello"))
                .client_gets_cut()
                .origin_gets_end()
                .logged("response_flags", "DT"),
        ],
    );
}

/// RFC 9110 section 15.5.9.
#[test]
fn heads_that_do_not_come() {
    let proxy = Proxy::builder().http1("request_headers_timeout = \"400ms\"").start();
    let late = |name: &str, bytes: &str| {
        case(name).client(bytes).fault(408, "request_head_timeout", "DT", "http_request_error").origin_gets_nothing()
    };
    run(
        &proxy,
        [
            late("RFC 9110 section 15.5.9: half a request line", "GET http://"),
            late("RFC 9110 section 15.5.9: a head without its end", &get("X: y\r\n")[..50]),
            case("RFC 9110 section 15.5.9: a head that drips: the time is for all of it")
                .step(|scene| {
                    // Two seconds long, if nobody ends it.
                    for byte in get("X: yyyyyyyyyyyyyyyyyyyy\r\n").as_bytes().chunks(1).take(40) {
                        scene.client().send_if_open(byte);
                        std::thread::sleep(std::time::Duration::from_millis(50));
                    }
                })
                .fault(408, "request_head_timeout", "DT", "http_request_error")
                .origin_gets_nothing(),
            case("RFC 9110 section 15.5.9: a second request that stops in its head")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .answered()
                .client("GET http")
                .fault(408, "request_head_timeout", "DT", "http_request_error"),
            case("RFC 9112 section 9.5: between requests there is another limit")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .answered()
                .step(|_| std::thread::sleep(std::time::Duration::from_millis(800)))
                .goes_on(),
        ],
    );
}

#[test]
fn denials() {
    let proxy = Proxy::builder()
        .config(
            "[[policy.rule]]\nname = \"no \\\"trackers\\\"\"\nhosts = [\"tracker.test\", \"*.tracker.test\"]\naction = \"deny\"\n\
             [[policy.rule]]\nname = \"no deletes\"\nmethods = [\"DELETE\"]\naction = \"deny\"\n\
             [[policy.rule]]\nname = \"no smtp\"\nports = [25]\naction = \"deny\"\n",
        )
        .start();
    let denied = |name: &str, request: String, rule: &'static str| -> Case {
        case(name)
            .client(request)
            .step(move |scene| {
                let (head, entry) = scene.expect_local_reply(403, "policy_denied");
                assert_eq!((entry.text("rule"), entry.text("response_flags")), (rule, "UAEX"), "{entry:?}");
                let shown = rule.replace('"', "\\\"");
                assert!(
                    head.field("proxy-status")
                        .is_some_and(|status| status.contains("error=http_request_denied") && status.contains(&shown)),
                    "{head:?}"
                );
                assert!(head.start_line().contains(rule), "clients of CONNECT see the phrase only: {head:?}");
            })
            .origin_gets_nothing()
    };
    let get = |url: &str| format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n");
    run(
        &proxy,
        [
            denied("RFC 9110 section 15.5.4: a host", get("http://tracker.test/"), "no \"trackers\"").goes_on(),
            denied("RFC 9110 section 15.5.4: a host in another spelling", get("http://%54racker.TEST./"), "no \"trackers\""),
            denied("RFC 9110 section 15.5.4: a host below", get("http://a.b.tracker.test/"), "no \"trackers\""),
            denied(
                "RFC 9110 section 15.5.4: a host of CONNECT",
                "CONNECT x.tracker.test:443 HTTP/1.1\r\nHost: a\r\n\r\n".into(),
                "no \"trackers\"",
            ),
            denied("RFC 9110 section 15.5.4: a method", "DELETE http://{origin}/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), "no deletes")
                .goes_on(),
            denied("RFC 9110 section 15.5.4: a port", get("http://127.0.0.1:25/"), "no smtp"),
        ],
    );
    run(
        &proxy,
        [case("RFC 9110 section 15.5.4: the body of a denied request is no request")
            .client("DELETE http://{origin}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n")
            .step(|scene| assert_eq!(scene.client().expect_response().head.status(), 403))
            .origin_gets_nothing()],
    );
}

/// Addresses are tested after resolution, whatever the spelling or the DNS answer.
#[test]
fn addresses_that_may_not_be_dialled() {
    let dns = DnsServer::start();
    dns.resolve("inside.test", &["127.0.0.1"])
        .resolve("rebind.test", &["10.0.0.1"])
        .resolve("six.test", &["::1"])
        .resolve("mapped.test", &["::ffff:127.0.0.1"]);
    dns.resolve("nat64.test", &["64:ff9b::7f00:1"]).resolve("metadata.test", &["169.254.169.254"]);
    let proxy = Proxy::builder().dns(&dns).without("addresses").start();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[2002:7f00:1::]",
        "inside.test",
        "rebind.test",
        "six.test",
        "mapped.test",
        "nat64.test",
        "metadata.test",
    ];
    run(
        &proxy,
        hosts.iter().map(|host| {
            case(format!("by default {host} is not dialled"))
                .client(format!("GET http://{host}:{{port}}/ HTTP/1.1\r\nHost: a\r\n\r\n"))
                .fault(403, "address_denied", "UAEX", "destination_ip_prohibited")
                .origin_gets_nothing()
        }),
    );
    run(
        &proxy,
        ["127.0.0.1", "inside.test", "[::1]"].map(|host| {
            case(format!("by default no tunnel to {host}"))
                .client(format!("CONNECT {host}:{{port}} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .fault(403, "address_denied", "UAEX", "destination_ip_prohibited")
                .origin_gets_nothing()
        }),
    );
    // A name with a good and a bad address reaches the good one only.
    let dns = DnsServer::start();
    dns.resolve("mixed.test", &["127.0.0.2", "127.0.0.1"]);
    let proxy = Proxy::builder().dns(&dns).with("addresses", "allow = [\"127.0.0.1/32\"]").start();
    let origin = Origin::listen();
    let mut client = proxy.client();
    client.send(format!("GET http://mixed.test:{}/ HTTP/1.1\r\nHost: a\r\n\r\n", origin.port()));
    origin.accept().expect_request();
}

/// The proxy's own listeners are no destination, even where loopback is.
#[test]
fn the_proxy_does_not_dial_itself() {
    let proxy = Proxy::builder().with("addresses", "allow = [\"127.0.0.0/8\"]").start();
    let port = proxy.address().port();
    run(
        &proxy,
        [case("the proxy's own address is not dialled")
            .client(format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .step(|scene| assert_eq!(scene.client().expect_response_to("CONNECT").head.status(), 403))],
    );
}

/// RFC 9110 section 15.6.4: overload, with a time to come again.
#[test]
fn overload() {
    for (limit, reason) in [("max_connections = 1", "connections_overflow"), ("max_requests = 1", "requests_overflow")] {
        let proxy = Proxy::builder().cluster(limit).start();
        run(
            &proxy,
            [case(format!("RFC 9110 section 15.6.4: {limit}"))
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .step(move |scene| {
                    let request = scene.fill(GET.as_bytes());
                    let mut other = scene.proxy().client();
                    let reply = other.send(&request).expect_response();
                    assert_eq!(reply.head.status(), 503, "{:?}", reply.head);
                    let seconds = reply.head.field("retry-after").unwrap_or_else(|| panic!("no Retry-After in {:?}", reply.head));
                    assert!(seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{seconds}");
                    let id = reply.head.field("x-request-id").unwrap_or("").to_owned();
                    let entry = scene.proxy().log_entry("of the overflow", |entry| entry.text("request_id") == id);
                    assert_eq!((entry.text("reason"), entry.text("response_flags")), (reason, "UO"), "{entry:?}");
                })
                .answered()
                .goes_on()],
        );
    }
}
