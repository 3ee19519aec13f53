//! Bounds: what is just within them passes, what is over them is refused, and soon.

use std::thread;
use std::time::Duration;

use crate::catalogue::{
    Case, GET, GET_FORWARDED, OK, case, chunked_post_forwarded, get, get_forwarded, passes, post, refuses, response, response_forwarded,
    run,
};
use crate::kit::{Origin, Proxy};

/// A GET whose head, target and all, has `size` bytes.
fn get_of(origin: &Origin, size: usize) -> String {
    let head = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nX: \r\n\r\n", origin.authority());
    head.replace("X: ", &format!("X: {}", "v".repeat(size - head.len())))
}

#[test]
fn fields() {
    let fields = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    for (proxy, most) in [
        (Proxy::start(), 100),
        (Proxy::builder().http1("max_headers_count = 10").start(), 10),
        (Proxy::builder().http1("max_headers_count = 300").start(), 300),
    ] {
        run(
            &proxy,
            [
                passes(
                    format!("max_headers_count: {most} fields, Host among them"),
                    get(&fields(most - 1)),
                    get_forwarded(&fields(most - 1)),
                ),
                refuses(format!("max_headers_count: one more than {most}"), get(&fields(most)), 431, "too_many_fields"),
                refuses("max_headers_count: thousands", get(&fields(2500)), 431, "too_many_fields"),
                case(format!("max_headers_count: {most} fields in a response"))
                    .client(GET)
                    .origin_gets(GET_FORWARDED)
                    .origin(response(&format!("{}Content-Length: 0\r\n", fields(most - 2)), ""))
                    .client_gets(response_forwarded(&format!("{}Content-Length: 0\r\n", fields(most - 2)), ""))
                    .goes_on(),
                case(format!("max_headers_count: one more than {most} in a response"))
                    .client(GET)
                    .origin_gets(GET_FORWARDED)
                    .origin(response(&format!("{}Content-Length: 0\r\n", fields(most - 1)), ""))
                    .fault(502, "response_head_too_large", "UPE", "http_response_header_section_size")
                    .origin_gets_end(),
            ],
        );
    }
}

#[test]
fn request_heads() {
    for (proxy, most) in [
        (Proxy::start(), 60 * 1024),
        (Proxy::builder().http1("max_request_headers = \"4KiB\"").start(), 4096),
        (Proxy::builder().http1("max_request_headers_kb = 8").start(), 8192),
    ] {
        let origin = Origin::listen();
        let mut client = proxy.client();
        client.send(get_of(&origin, most));
        let mut upstream = origin.accept();
        upstream.expect_request();
        upstream.send(OK);
        assert_eq!(client.expect_response().head.status(), 200, "{most} bytes pass");
        for size in [most + 1, most + 1000, most * 2, most * 20] {
            let mut client = proxy.client();
            client.send_if_open(get_of(&origin, size));
            let reply = client.expect_response();
            assert_eq!(reply.head.status(), 431, "{size} bytes do not: {:?}", reply.head);
            client.expect_eof();
        }
        run(
            &proxy,
            [
                case("RFC 6585 section 5: a head without an end is refused when it is too large, not when it ends")
                    .client("GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nX: ".to_owned() + &"v".repeat(most))
                    .refused(431, "head_too_large")
                    .origin_gets_nothing(),
                case("RFC 6585 section 5: nor does a client get away with fields without end")
                    .client("GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n".to_owned() + &"X: y\r\n".repeat(most / 6))
                    .refused(431, "head_too_large")
                    .origin_gets_nothing(),
            ],
        );
        assert!(origin.accept_if_called().is_none());
        assert!(proxy.stats("http.downstream_rq_too_large") >= 6, "they are counted");
    }
}

#[test]
fn targets() {
    let url = |size: usize| {
        let start = "http://127.0.0.1:65535/";
        format!("{start}{}", "p".repeat(size - start.len()))
    };
    let get = |size: usize| format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", url(size));
    for (proxy, most) in [(Proxy::start(), 16 * 1024), (Proxy::builder().http1("max_target = \"1KiB\"").start(), 1024)] {
        let mut client = proxy.client();
        client.send(get(most));
        assert_eq!(client.expect_response().head.status(), 502, "{most} bytes pass, to a port where nobody is");
        run(
            &proxy,
            [most + 1, most + 100, most * 3]
                .map(|size| refuses(format!("RFC 9110 section 15.5.15: a target of {size} bytes"), get(size), 414, "target_too_long")),
        );
        run(
            &proxy,
            [case("RFC 9110 section 15.5.15: a target without an end")
                .client(format!("GET {}", url(100_000)))
                .refused(414, "target_too_long")
                .origin_gets_nothing()],
        );
    }
}

#[test]
fn response_heads() {
    for (proxy, most) in [
        (Proxy::start(), 60 * 1024),
        (Proxy::builder().http1("max_response_headers = \"4KiB\"").start(), 4096),
        (Proxy::builder().http1("max_response_headers_kb = 8").start(), 8192),
    ] {
        let field =
            |size: usize| format!("X: {}\r\nContent-Length: 0\r\n", "v".repeat(size - response("X: \r\nContent-Length: 0\r\n", "").len()));
        let asked = |name: String| case(name).client(GET).origin_gets(GET_FORWARDED);
        let too_large =
            |case: Case| case.fault(502, "response_head_too_large", "UPE", "http_response_header_section_size").origin_gets_end();
        run(
            &proxy,
            [
                asked(format!("max_response_headers: {most} bytes pass"))
                    .origin(response(&field(most), ""))
                    .client_gets(response_forwarded(&field(most), ""))
                    .goes_on(),
                too_large(asked(format!("max_response_headers: one more than {most} does not")).origin(response(&field(most + 1), ""))),
                too_large(
                    asked("max_response_headers: a head without an end".into())
                        .origin(format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(most / 6))),
                ),
                too_large(
                    asked("max_response_headers: a status line without an end".into()).origin(format!("HTTP/1.1 200 {}", "x".repeat(most))),
                ),
            ],
        );
    }
}

#[test]
fn chunk_extensions() {
    let proxy = Proxy::start();
    let chunked = |body: String| post("Transfer-Encoding: chunked\r\n", &body);
    let refused = |name: &str, body: String| {
        case(format!("RFC 9112 section 7.1.1: {name}"))
            .client(chunked(body))
            .step(|scene| {
                let reply = scene.client().expect_response();
                assert_eq!(reply.head.status(), 400, "{:?}", reply.head);
            })
            .client_gets_end()
            .origin_gets_no_whole_request()
            .logged("reason", "chunk_extension_too_long")
    };
    run(
        &proxy,
        [
            case("RFC 9112 section 7.1.1: a long extension")
                .client(chunked(format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1000))))
                .origin_gets_chunked(chunked_post_forwarded(""), "hello")
                .answered()
                .goes_on(),
            refused("an extension without end", format!("5;{}", "x".repeat(100_000))),
            refused("a far too long extension", format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000))),
            refused("a far too long extension of the last chunk", format!("5\r\nhello\r\n0;{}\r\n\r\n", "x".repeat(20_000))),
            refused("an extension of every chunk, for ever", format!("1;{}\r\nx\r\n", "y".repeat(1000)).repeat(1000)),
            refused("white space before an extension, for ever", format!("5{};\r\nhello\r\n0\r\n\r\n", " ".repeat(100_000))),
            refused("extensions for ever", format!("5{}\r\nhello\r\n0\r\n\r\n", ";a".repeat(100_000))),
        ],
    );
}

#[test]
fn trailers() {
    for enabled in ["enable_trailers = true", "enable_trailers = false"] {
        let proxy = Proxy::builder().http1(&format!("{enabled}\nmax_request_headers = \"4KiB\"\nmax_response_headers = \"4KiB\"")).start();
        let refused = |name: &str, trailers: String| {
            case(format!("RFC 9112 section 7.1.2: {enabled}: {name}"))
                .client(post("Transfer-Encoding: chunked\r\n", &format!("5\r\nhello\r\n0\r\n{trailers}")))
                .step(|scene| {
                    let reply = scene.client().expect_response();
                    assert!(matches!(reply.head.status(), 400 | 431), "{:?}", reply.head);
                })
                .client_gets_end()
                .origin_gets_no_whole_request()
                .logged("reason", "trailers_too_large")
        };
        run(
            &proxy,
            [
                refused("a trailer of a length without end", format!("X: {}", "y".repeat(100_000))),
                refused("trailers without end", "X: y\r\n".repeat(10_000)),
                refused("more trailers than are allowed", format!("{}\r\n", "X: y\r\n".repeat(1000))),
            ],
        );
    }
}

/// However much a client sends ahead, one request at a time is on its way.
#[test]
fn pipelines() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let mut client = proxy.client();
    let requests: String =
        (0..500).map(|number| format!("GET http://{0}/{number} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority())).collect();
    client.send(requests);
    let mut upstream = origin.accept();
    for number in 0..500 {
        assert_eq!(upstream.expect_request().head.start_line(), format!("GET /{number} HTTP/1.1"));
        let (ahead, _) = upstream.peek();
        assert!(ahead.is_empty() && origin.accept_if_called().is_none(), "request {number} is not alone");
        upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{number}", number.to_string().len()));
        assert_eq!(client.expect_response().body, number.to_string().as_bytes());
    }
}

/// A head that comes byte by byte costs in proportion to its length, not to the square of it.
#[test]
fn slow_heads() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let cost = |size: usize| {
        let before = proxy.cpu_time();
        let mut client = proxy.client();
        client.send_bytewise(get_of(&origin, size));
        origin.accept().expect_request();
        proxy.cpu_time() - before
    };
    let (small, large) = (cost(7_500), cost(60_000));
    // Eight times the bytes; quadratic would be sixty-four times the time.
    let most = small.max(Duration::from_millis(50)) * 24;
    assert!(large < most, "7,500 bytes cost {small:?}, 60,000 bytes {large:?}");
}

#[test]
fn connections() {
    let proxy = Proxy::builder().http1("idle_timeout = \"300ms\"").start();
    run(
        &proxy,
        [
            case("RFC 9112 section 9.5: idle_timeout: an idle client connection is closed, without a word")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .answered()
                .client_gets_end(),
            case("RFC 9112 section 9.5: idle_timeout: one that never asked, too").client_gets_end(),
        ],
    );
    assert_eq!(proxy.stats("http.downstream_cx_idle_timeout"), 1);
    assert_eq!(proxy.stats("http.downstream_cx_first_byte_timeout"), 1);

    let proxy = Proxy::builder().http1("max_requests_per_connection = 2").start();
    run(
        &proxy,
        [case("max_requests_per_connection: the last answer says close")
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .answered()
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .answered_last()],
    );

    let proxy = Proxy::builder().http1("max_connection_duration = \"300ms\"").start();
    run(
        &proxy,
        [case("max_connection_duration: an old connection closes with its next answer, or at once when idle")
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .step(|_| thread::sleep(Duration::from_millis(500)))
            .answered_last()],
    );

    let proxy = Proxy::builder().with("listener", "max_connections = 2").start();
    let origin = Origin::listen();
    let (_one, _two) = (proxy.tunnel(&origin.authority()), proxy.tunnel(&origin.authority()));
    proxy.client().expect_end();
    assert_eq!(proxy.stats("listener.downstream_cx_overflow"), 1, "the third connection is closed at accept");
}

/// Every field is compared with every option, so there are few of the latter.
#[test]
fn connection_options() {
    let options =
        |count: usize| format!("Connection: {}\r\n", (0..count).map(|number| format!("x-{number}")).collect::<Vec<_>>().join(", "));
    let names = options(27_000);
    run(
        &Proxy::start(),
        [
            passes("32 options", get(&options(32)), get_forwarded("")),
            refuses("33 options", get(&options(33)), 431, "too_many_connection_options"),
            refuses("33 options in several fields", get(&options(11).repeat(3)), 431, "too_many_connection_options"),
            refuses("thousands of options", get(&format!("{}\r\n", &names[..50_000])), 431, "too_many_connection_options"),
            case("33 options in a response")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response(&format!("{}Content-Length: 0\r\n", options(33)), ""))
                .fault(502, "too_many_connection_options", "UPE", "http_protocol_error")
                .origin_gets_end(),
        ],
    );
}

/// A head that never ends is no sign of life.
#[test]
fn a_response_head_that_drips() {
    let proxy = Proxy::builder().cluster("response_headers_timeout = \"200ms\"\nstream_idle_timeout = \"30s\"").start();
    let origin = Origin::listen();
    let mut client = proxy.client();
    client.send(format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority()));
    let mut upstream = origin.accept();
    upstream.expect_request();
    let dripping = thread::spawn(move || {
        upstream.send_if_open("HTTP/1.1 200 OK\r\nX: ");
        while upstream.peek().1.is_none() {
            upstream.send_if_open("x");
            thread::sleep(Duration::from_millis(5));
        }
    });
    let reply = client.expect_response();
    assert_eq!(reply.head.status(), 504, "{:?}", reply.head);
    assert!(reply.head.start_line().contains("response_head_timeout"), "{:?}", reply.head);
    assert_eq!(proxy.stats("cluster.upstream_rq_timeout"), 1);
    dripping.join().expect("sees the end");
}

/// Nobody has said what it wants a place for.
#[test]
fn a_client_that_says_nothing() {
    let proxy = Proxy::builder().with("listener", "first_byte_timeout = \"100ms\"").start();
    let mut client = proxy.client();
    client.expect_eof();
    assert_eq!(proxy.wait_for_stat("http.downstream_cx_first_byte_timeout", |count| count > 0), 1);
    // One that has made a request may wait for as long as idle_timeout says.
    let mut client = proxy.client();
    client.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").expect_response();
    proxy.client().expect_eof();
    assert_eq!(client.peek().1, None);
}
