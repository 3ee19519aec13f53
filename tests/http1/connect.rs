//! CONNECT and its tunnels (RFC 9110 section 9.3.6).

use crate::catalogue::{Case, GET, case, refuses, run};
use crate::kit::{Origin, Proxy};

const CONNECT: &str = "CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n";
const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// A tunnel that stands; both sides can send.
fn tunnel(name: impl Into<String>) -> Case {
    case(name).client(CONNECT).client_gets(ESTABLISHED)
}

/// Ends a tunnel in order: the client first.
fn ended(case: Case) -> Case {
    case.client_half_closes().origin_gets_end().origin_closes().client_gets_end()
}

#[test]
fn targets() {
    let proxy = Proxy::start();
    let connect = |target: &str| format!("CONNECT {target} HTTP/1.1\r\nHost: {{origin}}\r\n\r\n");
    let refused = [
        ("no port", "127.0.0.1", "missing_port"),
        ("an empty port", "127.0.0.1:", "missing_port"),
        ("port 0", "127.0.0.1:0", "invalid_port"),
        ("a port over 65535", "127.0.0.1:65536", "invalid_port"),
        ("a port with a sign", "127.0.0.1:+443", "invalid_port"),
        ("a port that is a word", "127.0.0.1:https", "invalid_port"),
        ("six digits of port", "127.0.0.1:000443", "invalid_port"),
        ("two ports", "127.0.0.1:443:443", "invalid_port"),
        ("no host", ":443", "invalid_host"),
        ("userinfo", "user@127.0.0.1:443", "userinfo_in_authority"),
        ("an absolute target", "http://127.0.0.1:443/", "invalid_port"),
        ("an https target", "https://127.0.0.1", "invalid_port"),
        ("a path", "127.0.0.1:443/", "invalid_port"),
        ("origin-form", "/", "invalid_host"),
        ("asterisk-form", "*", "invalid_host"),
        ("a query", "127.0.0.1:443?x", "invalid_port"),
        ("a fragment", "127.0.0.1:443#x", "invalid_port"),
        ("an unclosed IPv6 literal", "[::1:443", "invalid_host"),
        ("an IPv6 literal without a port", "[::1]", "missing_port"),
        ("an IPv6 address without brackets", "::1:443", "invalid_host"),
        ("a backslash", "127.0.0.1\\:443", "invalid_host"),
        ("a comma", "127.0.0.1,127.0.0.2:443", "invalid_host"),
    ];
    run(
        &proxy,
        refused.map(|(what, target, reason)| {
            let case = case(format!("RFC 9110 section 9.3.6: CONNECT with {what}")).client(connect(target)).step(|scene| {
                let reply = scene.client().expect_response();
                assert_eq!(reply.head.status(), 400, "{:?}", reply.head);
                assert!(reply.head.lists("connection", "close") && reply.head.field("proxy-status").is_some(), "{:?}", reply.head);
            });
            // Which reason is told where several are true does not matter.
            let _ = reason;
            case.client_gets_end().origin_gets_nothing()
        }),
    );
    run(
        &proxy,
        [
            refuses("RFC 9112 section 3.2: CONNECT without Host", "CONNECT {origin} HTTP/1.1\r\n\r\n", 400, "missing_host"),
            refuses(
                "RFC 9112 section 3.2: CONNECT with two Hosts",
                "CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\nHost: a\r\n\r\n",
                400,
                "duplicate_host",
            ),
            ended(
                case("RFC 9112 section 3.2: the target of CONNECT wins over Host")
                    .client("CONNECT {origin} HTTP/1.1\r\nHost: elsewhere.test:443\r\n\r\n")
                    .client_gets(ESTABLISHED)
                    .client("x")
                    .origin_gets("x"),
            ),
            ended(
                case("a Host without the port, as some clients write it")
                    .client("CONNECT {origin} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    .client_gets(ESTABLISHED)
                    .client("x")
                    .origin_gets("x"),
            ),
            case("a method in lower case is no CONNECT")
                .client("connect {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n")
                .refused(400, "invalid_target")
                .origin_gets_nothing(),
        ],
    );
}

#[test]
fn an_ipv6_target() {
    let proxy = Proxy::start();
    let origin = Origin::listen_v6();
    let mut client = proxy.tunnel(&format!("[::1]:{}", origin.port()));
    client.send("hello");
    origin.accept().expect("hello");
}

#[test]
fn bytes_both_ways() {
    let proxy = Proxy::start();
    run(&proxy, [
        ended(tunnel("RFC 9110 section 9.3.6: 200 with no field at all, then bytes both ways").client("ping").origin_gets("ping").origin("pong").client_gets("pong")),
        ended(tunnel("the origin may speak first").origin("220 ready\r\n").client_gets("220 ready\r\n").client("EHLO\r\n").origin_gets("EHLO\r\n")),
        ended(
            case("RFC 9110 section 9.3.6: bytes that came with the CONNECT go to the origin first")
                .client(format!("{CONNECT}early"))
                .client_gets(ESTABLISHED)
                .client(" late")
                .origin_gets("early late"),
        ),
        ended(tunnel("every byte passes").client((0..=255).collect::<Vec<u8>>()).origin_gets((0..=255).collect::<Vec<u8>>())),
        ended(tunnel("what looks like a request is none").client(GET).origin_gets(GET)),
        ended(
            case("RFC 9112 section 9.3.2: a CONNECT behind another request on its connection")
                .client("GET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
                .local_reply(400, "not_a_proxy_request")
                .client(CONNECT)
                .client_gets(ESTABLISHED)
                .client("x")
                .origin_gets("x"),
        ),
        ended(
            case("a CONNECT from HTTP/1.0")
                .client("CONNECT {origin} HTTP/1.0\r\n\r\n")
                .client_gets(ESTABLISHED)
                .client("ping")
                .origin_gets("ping")
                .origin("pong")
                .client_gets("pong"),
        ),
        ended(
            case("a CONNECT with the fields that clients send")
                .client("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\nUser-Agent: x\r\nProxy-Connection: Keep-Alive\r\nConnection: close\r\n\r\n")
                .client_gets(ESTABLISHED)
                .client("ping")
                .origin_gets("ping"),
        ),
        ended(
            case("a CONNECT that comes byte by byte")
                .client_bytewise(format!("{CONNECT}early"))
                .client_gets(ESTABLISHED)
                .origin_gets("early"),
        ),
    ]);
}

/// How tunnels end, and that nothing gets lost then.
#[test]
fn ends() {
    let proxy = Proxy::start();
    run(
        &proxy,
        [
            tunnel("RFC 9110 section 9.3.6: an end from the client leaves the other way open")
                .client("request")
                .client_half_closes()
                .origin_gets("request")
                .origin_gets_end()
                .origin("a long answer")
                .client_gets("a long answer")
                .origin_closes()
                .client_gets_end(),
            tunnel("RFC 9110 section 9.3.6: an end from the origin leaves the other way open")
                .origin("greeting")
                .origin_half_closes()
                .client_gets("greeting")
                .step(|scene| scene.client().expect_eof())
                .client("still here")
                .origin_gets("still here")
                .client_half_closes()
                .origin_gets_end(),
            tunnel("RFC 9110 section 9.3.6: what was received is delivered before the close")
                .origin("x".repeat(300_000))
                .origin_closes()
                .client_gets("x".repeat(300_000))
                .client_gets_end(),
            tunnel("RFC 9110 section 9.3.6: the same the other way")
                .client("x".repeat(300_000))
                .client_half_closes()
                .origin_gets("x".repeat(300_000))
                .origin_gets_end()
                .origin_closes()
                .client_gets_end(),
            tunnel("a reset from the client reaches the origin as one").client("x").origin_gets("x").client_resets().origin_gets_reset(),
            tunnel("a reset from the origin reaches the client as one").client("x").origin_gets("x").origin_resets().client_gets_reset(),
            tunnel("a client that ends before it sent anything").client_half_closes().origin_gets_end().origin_closes().client_gets_end(),
            case("early bytes and an end at once")
                .client(format!("{CONNECT}early"))
                .client_half_closes()
                .client_gets(ESTABLISHED)
                .origin_gets("early")
                .origin_gets_end()
                .origin("answer")
                .origin_closes()
                .client_gets_last("answer"),
        ],
    );
}

/// Tunnel bytes are never taken for a body and then for a request.
#[test]
fn a_body_in_a_connect() {
    let proxy = Proxy::start();
    let connect = |fields: &str, rest: &str| format!("CONNECT {{origin}} HTTP/1.1\r\nHost: {{origin}}\r\n{fields}\r\n{rest}");
    run(
        &proxy,
        [
            refuses(
                "RFC 9110 section 9.3.6: CONNECT with Content-Length",
                connect("Content-Length: 5\r\n", "hello"),
                400,
                "body_in_connect",
            ),
            refuses(
                "RFC 9110 section 9.3.6: CONNECT with Transfer-Encoding",
                connect("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
                400,
                "body_in_connect",
            ),
            refuses(
                "RFC 9110 section 9.3.6: a request hidden in the body of a CONNECT",
                connect("Content-Length: 5\r\n", &format!("hello{GET}")),
                400,
                "body_in_connect",
            ),
            refuses(
                "RFC 9110 section 9.3.6: CONNECT with both",
                connect("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
                400,
                "content_length_with_transfer_encoding",
            ),
            ended(
                case("RFC 9110 section 9.3.6: CONNECT with Content-Length: 0, as some clients send")
                    .client(connect("Content-Length: 0\r\n", "early"))
                    .client_gets(ESTABLISHED)
                    .origin_gets("early"),
            ),
            ended(
                case("RFC 9110 section 10.1.1: CONNECT with an Expect")
                    .client(connect("Expect: 100-continue\r\n", "early"))
                    .client_gets(ESTABLISHED)
                    .origin_gets("early"),
            ),
        ],
    );
}

#[test]
fn an_unreachable_target() {
    let proxy = Proxy::start();
    run(&proxy, [
        case("RFC 9110 section 9.3.6: the answer comes after the connection stands: a refused one is a 502, with its reason in the phrase")
            .step(|scene| {
                let port = Origin::listen().port();
                scene.client().send(format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"));
                let reply = scene.client().expect_response();
                assert_eq!(reply.head.status(), 502, "{:?}", reply.head);
                assert!(reply.head.start_line().contains("connection_refused"), "clients show the phrase only: {:?}", reply.head);
                assert!(reply.head.lists("connection", "close"), "what comes next is meant for the tunnel: {:?}", reply.head);
            })
            .client_closes(),
        case("RFC 9110 section 9.3.6: nor are bytes that come after the answer")
            .step(|scene| {
                let port = Origin::listen().port();
                scene.client().send(format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"));
                assert_eq!(scene.client().expect_response().head.status(), 502);
                let request = scene.fill(GET.as_bytes());
                scene.client().send_if_open(request).half_close();
                let (rest, _) = scene.client().read_to_end();
                assert!(rest.is_empty(), "tunnel bytes were answered: {}", crate::kit::dump(&rest));
            })
            .client_closes()
            .origin_gets_nothing(),
        case("RFC 9110 section 9.3.6: early bytes behind a failed CONNECT are not taken for a request")
            .step(|scene| {
                let port = Origin::listen().port();
                let request = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n{GET}");
                let request = scene.fill(request.as_bytes());
                scene.client().send(request);
                let reply = scene.client().expect_response();
                assert_eq!(reply.head.status(), 502, "{:?}", reply.head);
                scene.client().half_close();
                let (rest, _) = scene.client().read_to_end();
                assert!(rest.is_empty(), "tunnel bytes were answered: {}", crate::kit::dump(&rest));
            })
            .client_closes()
            .origin_gets_nothing(),
    ]);
}

/// The method is known even where the rest of the head is refused.
#[test]
fn a_malformed_one_where_invalid_messages_are_survived() {
    let proxy = Proxy::builder().http1("override_stream_error_on_invalid_http_message = true").start();
    run(
        &proxy,
        ["CONNECT a..b:443 HTTP/1.1\r\nHost: a\r\n", "CONNECT {origin} HTTP/1.1\r\n", "CONNECT user:pw@{origin} HTTP/1.1\r\nHost: a\r\n"]
            .map(|head| {
                case(format!("RFC 9110 section 9.3.6: {}", head.lines().next().unwrap_or("")))
                    .step(move |scene| {
                        let bytes = scene.fill(format!("{head}\r\n{GET}").as_bytes());
                        scene.client().send(bytes);
                        assert_eq!(scene.client().expect_response().head.status(), 400);
                        scene.client().half_close();
                        let (rest, _) = scene.client().read_to_end();
                        assert!(rest.is_empty(), "tunnel bytes were answered: {}", crate::kit::dump(&rest));
                    })
                    .client_closes()
                    .origin_gets_nothing()
            }),
    );
}

/// Which ports may be tunnelled is policy; that of mail is not open by default.
#[test]
fn ports() {
    let proxy = Proxy::builder().with("tunnel", "ports = [443, \"8000-8010\"]").start();
    for (port, allowed) in
        [(25, false), (80, false), (442, false), (443, true), (444, false), (7999, false), (8000, true), (8010, true), (8011, false)]
    {
        // On an address of loopback that is nobody's, so that an allowed port is refused by the kernel.
        let mut client = proxy.client();
        client.send(format!("CONNECT 127.7.7.7:{port} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let reply = client.expect_response();
        assert_eq!(reply.head.status(), if allowed { 502 } else { 403 }, "port {port}: {:?}", reply.head);
    }
    let defaults = Proxy::builder().without("tunnel").start();
    let mut client = defaults.client();
    client.send("CONNECT 127.7.7.7:25 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.expect_response().head.status(), 403, "port 25 is closed by default");
}

/// A tunnel in the log.
#[test]
fn the_log() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let mut client = proxy.tunnel(&origin.authority());
    let mut upstream = origin.accept();
    client.send("hello");
    upstream.expect("hello").send("hi");
    client.expect("hi").half_close();
    upstream.expect_eof();
    upstream.close();
    client.expect_eof();
    let entry = proxy.access_log().next().expect("waits");
    assert_eq!((entry.text("method"), entry.text("target")), ("CONNECT", origin.authority().as_str()));
    assert_eq!((entry.number("bytes_received"), entry.number("bytes_sent")), (Some(5.0), Some(2.0)), "{entry:?}");
    assert_eq!((entry.status(), entry.text("endpoint"), entry.text("response_flags")), (Some(200), origin.authority().as_str(), ""));
}
