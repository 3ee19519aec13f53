//! Every option of `[http1]`, on and off. Those that other themes show: `accept_http_10` and
//! `default_host_for_http_10` (http_10), `ignore_http_11_upgrade` and `max_interim_responses`
//! (interim_and_upgrade), `via` and `via_in_requests` (hop_by_hop), the limits (limits).

use crate::catalogue::{
    Case, GET, GET_FORWARDED, OK, OK_FORWARDED, case, chunked_post_forwarded, get, get_forwarded, passes, post, refuses, response,
    response_forwarded, run,
};
use crate::kit::Proxy;

fn with(lines: &str) -> Proxy {
    Proxy::builder().http1(lines).start()
}

#[test]
fn allow_absolute_url() {
    run(&with("allow_absolute_url = true"), [passes("allow_absolute_url = true", GET, GET_FORWARDED)]);
    run(
        &with("allow_absolute_url = false"),
        [
            refuses("allow_absolute_url = false: absolute-form is refused", GET, 400, "absolute_url_not_allowed"),
            case("allow_absolute_url = false: CONNECT is served")
                .client("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n")
                .client_gets("HTTP/1.1 200 Connection established\r\n\r\n")
                .client("x")
                .origin_gets("x")
                .client_half_closes()
                .origin_gets_end()
                .origin_closes()
                .client_gets_end(),
            case("allow_absolute_url = false: origin-form is still no request to a proxy")
                .client("GET / HTTP/1.1\r\nHost: {origin}\r\n\r\n")
                .local_reply(400, "not_a_proxy_request"),
        ],
    );
}

#[test]
fn reject_host_mismatch() {
    let mismatch = "GET http://{origin}/ HTTP/1.1\r\nHost: other.test\r\n\r\n";
    run(&with("reject_host_mismatch = false"), [passes("reject_host_mismatch = false: the target wins", mismatch, GET_FORWARDED)]);
    run(
        &with("reject_host_mismatch = true"),
        [
            refuses("reject_host_mismatch = true", mismatch, 400, "host_mismatch"),
            refuses(
                "reject_host_mismatch = true: another port",
                "GET http://{origin}/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
                400,
                "host_mismatch",
            ),
            refuses(
                "reject_host_mismatch = true: for CONNECT",
                "CONNECT {origin} HTTP/1.1\r\nHost: other.test:443\r\n\r\n",
                400,
                "host_mismatch",
            ),
            passes("reject_host_mismatch = true: what agrees", GET, GET_FORWARDED),
            passes(
                "reject_host_mismatch = true: what agrees in another spelling",
                "GET http://127.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: 127.1:{port}\r\nVia: 1.1 outrider\r\n\r\n",
            ),
        ],
    );
}

/// What a client gets for [`OK`] with these fields in front.
fn answered_with(case: Case, fields: &str, forwarded: &str) -> Case {
    let body = "Content-Length: 2\r\n\r\nok";
    case.origin(format!("HTTP/1.1 200 OK\r\n{fields}{body}")).client_gets(forwarded)
}

#[test]
fn header_key_format() {
    let fields = "X-mIXED-case_Name: Some Value\r\nx-lower: a\r\nX-UPPER:  b \r\nuser-agent: c\r\n";
    let request = "GET http://{origin}/ HTTP/1.1\r\nhOST: {origin}\r\n".to_owned() + fields + "\r\n";
    let response_fields = "x-one: A\r\nX-TWO: B\r\nsEt-cookie: c=D\r\n";
    run(
        &with("header_key_format = \"preserve_case\""),
        [
            answered_with(
                case("header_key_format = preserve_case: names leave as they came, ours are in Proper-Case")
                    .client(&request)
                    .origin_gets("GET / HTTP/1.1\r\nhOST: {origin}\r\n".to_owned() + fields + "Via: 1.1 outrider\r\n\r\n"),
                response_fields,
                "HTTP/1.1 200 OK\r\nx-one: A\r\nX-TWO: B\r\nsEt-cookie: c=D\r\nContent-Length: 2\r\nDate: {date}\r\nVia: 1.1 outrider\r\n\r\nok",
            ),
            replaced_host("preserve_case", "hOST", "Via", "Transfer-Encoding"),
        ],
    );
    run(&with("header_key_format = \"proper_case_words\""), [
        answered_with(
            case("header_key_format = proper_case_words: as Envoy writes it")
                .client(&request)
                .origin_gets(
                    "GET / HTTP/1.1\r\nHost: {origin}\r\nX-Mixed-Case_Name: Some Value\r\nX-Lower: a\r\nX-Upper:  b \r\nUser-Agent: c\r\nVia: 1.1 outrider\r\n\r\n",
                ),
            response_fields,
            "HTTP/1.1 200 OK\r\nX-One: A\r\nX-Two: B\r\nSet-Cookie: c=D\r\nContent-Length: 2\r\nDate: {date}\r\nVia: 1.1 outrider\r\n\r\nok",
        ),
        replaced_host("proper_case_words", "Host", "Via", "Transfer-Encoding"),
    ]);
    run(&with("header_key_format = \"lower_case\""), [
        answered_with(
            case("header_key_format = lower_case: all names, ours among them")
                .client(&request)
                .origin_gets(
                    "GET / HTTP/1.1\r\nhost: {origin}\r\nx-mixed-case_name: Some Value\r\nx-lower: a\r\nx-upper:  b \r\nuser-agent: c\r\nvia: 1.1 outrider\r\n\r\n",
                ),
            response_fields,
            "HTTP/1.1 200 OK\r\nx-one: A\r\nx-two: B\r\nset-cookie: c=D\r\ncontent-length: 2\r\ndate: {date}\r\nvia: 1.1 outrider\r\n\r\nok",
        ),
        replaced_host("lower_case", "host", "via", "transfer-encoding"),
        case("header_key_format = lower_case: the fields of our own answers, too")
            .client("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .step(|scene| {
                let head = scene.client().expect_response().head;
                assert!(head.names().iter().all(|name| name.bytes().all(|byte| !byte.is_ascii_uppercase())), "{head:?}");
            }),
        case("header_key_format = lower_case: and Connection")
            .client("GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n")
            .origin_gets("GET / HTTP/1.1\r\nhost: {origin}\r\nvia: 1.1 outrider\r\n\r\n")
            .origin(OK)
            .client_gets("HTTP/1.1 200 OK\r\ndate: Tue, 15 Nov 1994 08:12:31 GMT\r\ncontent-length: 2\r\nconnection: close\r\nvia: 1.1 outrider\r\n\r\nok")
            .client_gets_end(),
        case("header_key_format = lower_case: and trailers")
            .client("POST http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: Abc\r\n\r\n")
            .origin_gets_chunked_with_trailers(
                "POST / HTTP/1.1\r\nhost: {origin}\r\ntransfer-encoding: chunked\r\nvia: 1.1 outrider\r\n\r\n",
                "hello",
                "x-sum: Abc\r\n",
            )
            .origin(OK)
            .client_gets("HTTP/1.1 200 OK\r\ndate: Tue, 15 Nov 1994 08:12:31 GMT\r\ncontent-length: 2\r\nvia: 1.1 outrider\r\n\r\nok"),
    ]);
}

/// A chunked POST whose Host is replaced: three fields that the proxy writes.
fn replaced_host(format: &str, host: &str, via: &str, coding: &str) -> Case {
    case(format!("header_key_format = {format}: fields that the proxy writes"))
        .client("POST http://{origin}/ HTTP/1.1\r\nhOST: other.test\r\ntRANSFER-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        .origin_gets_chunked(format!("POST / HTTP/1.1\r\n{host}: {{origin}}\r\n{coding}: chunked\r\n{via}: 1.1 outrider\r\n\r\n"), "hello")
        .origin("HTTP/1.1 204 No Content\r\n\r\n")
        .step(|scene| assert_eq!(scene.client().expect_response().head.status(), 204))
}

#[test]
fn forward_reason_phrase() {
    let answer = |status: &str| format!("HTTP/1.1 {status}\r\nDate: x\r\nContent-Length: 0\r\n");
    let phrase = |option: &str, from: &str, to: &str| {
        case(format!("forward_reason_phrase = {option}: {from} becomes {to}"))
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .origin(answer(from) + "\r\n")
            .client_gets(answer(to) + "Via: 1.1 outrider\r\n\r\n")
    };
    run(
        &with("forward_reason_phrase = true"),
        [phrase("true", "200 Sure", "200 Sure"), phrase("true", "404 ", "404 "), phrase("true", "299 Odd", "299 Odd")],
    );
    run(
        &with("forward_reason_phrase = false"),
        [
            phrase("false", "200 Sure", "200 OK"),
            phrase("false", "404 Gone fishing", "404 Not Found"),
            phrase("false", "503 ", "503 Service Unavailable"),
            phrase("false", "299 Odd", "299 "),
        ],
    );
}

#[test]
fn enable_trailers() {
    let body = "5\r\nhello\r\n0\r\nX-Sum: abc\r\nx-other:  d \r\nX-Sum: e\r\n\r\n";
    let trailers = "X-Sum: abc\r\nx-other:  d \r\nX-Sum: e\r\n";
    let request = post("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", body);
    let answer = response("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", body);
    run(
        &with("enable_trailers = true"),
        [
            case("enable_trailers = true: trailers of a request pass as they are, and so does their announcement")
                .client(&request)
                .origin_gets_chunked_with_trailers(chunked_post_forwarded("Trailer: X-Sum\r\n"), "hello", trailers)
                .answered()
                .goes_on(),
            case("enable_trailers = true: trailers of a response")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(&answer)
                .client_gets_chunked_with_trailers(
                    response_forwarded("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", ""),
                    "hello",
                    trailers,
                )
                .goes_on(),
            case("enable_trailers = true: byte by byte")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin_bytewise(&answer)
                .client_gets_chunked_with_trailers(
                    response_forwarded("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", ""),
                    "hello",
                    trailers,
                )
                .goes_on(),
        ],
    );
    run(
        &with("enable_trailers = false"),
        [
            case("enable_trailers = false: trailers of a request end here, and so does their announcement")
                .client(&request)
                .origin_gets_chunked(chunked_post_forwarded(""), "hello")
                .answered()
                .goes_on(),
            case("enable_trailers = false: trailers of a response")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(&answer)
                .client_gets_chunked(response_forwarded("Transfer-Encoding: chunked\r\n", ""), "hello")
                .goes_on(),
        ],
    );
}

#[test]
fn allow_chunked_length() {
    let fields = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 9999\r\nTransfer-Encoding: chunked\r\n",
    ];
    let both = |fields: &str| post(fields, "5\r\nhello\r\n0\r\n\r\n");
    run(
        &with("allow_chunked_length = false"),
        fields.map(|fields| {
            refuses(
                format!("RFC 9112 section 6.1: allow_chunked_length = false: {fields:?}"),
                both(fields),
                400,
                "content_length_with_transfer_encoding",
            )
        }),
    );
    let proxy = with("allow_chunked_length = true");
    run(
        &proxy,
        fields.map(|fields| {
            case(format!(
                "RFC 9112 section 6.1: allow_chunked_length = true: chunked is taken, the length goes, the connection closes: {fields:?}"
            ))
            .client(both(fields) + GET)
            .origin_gets_chunked(chunked_post_forwarded(""), "hello")
            .answered_last()
        }),
    );
    run(
        &proxy,
        fields.map(|fields| {
            case(format!("RFC 9112 section 6.3: allow_chunked_length = true: in a response: {fields:?}"))
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response(fields, "5\r\nhello\r\n0\r\n\r\n"))
                .client_gets_chunked(response_forwarded("Transfer-Encoding: chunked\r\n", ""), "hello")
                .origin_gets_end()
                .goes_on_anew()
        }),
    );
    run(
        &proxy,
        [
            refuses(
                "RFC 9112 section 6.1: allow_chunked_length = true lets no bad length through",
                both("Content-Length: x\r\nTransfer-Encoding: chunked\r\n"),
                400,
                "invalid_content_length",
            ),
            refuses(
                "RFC 9112 section 6.1: allow_chunked_length = true is not for HTTP/1.0",
                "POST http://{origin}/ HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400,
                "transfer_encoding_in_http_10",
            ),
        ],
    );
}

/// With the option, a refused request whose end is known leaves the connection open; one whose end is in doubt never does.
#[test]
fn override_stream_error_on_invalid_http_message() {
    let without_host = "GET http://{origin}/ HTTP/1.1\r\n\r\n";
    let userinfo = "GET http://user@{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\r\n";
    run(
        &with("override_stream_error_on_invalid_http_message = false"),
        [
            refuses("override_stream_error_on_invalid_http_message = false: no Host", without_host, 400, "missing_host"),
            refuses("override_stream_error_on_invalid_http_message = false: userinfo", userinfo, 400, "userinfo_in_authority"),
        ],
    );
    let open = |name: &str, request: &str, status, reason| {
        case(format!("override_stream_error_on_invalid_http_message = true: {name}"))
            .client(request)
            .local_reply(status, reason)
            .origin_gets_nothing()
            .goes_on()
    };
    let closed = |name: &str, request: String, status, reason| {
        refuses(format!("override_stream_error_on_invalid_http_message = true: {name} closes all the same"), request, status, reason)
    };
    run(
        &with("override_stream_error_on_invalid_http_message = true"),
        [
            open("no Host", without_host, 400, "missing_host"),
            open("userinfo", userinfo, 400, "userinfo_in_authority"),
            open("a scheme", "GET ftp://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\r\n", 400, "unsupported_scheme"),
            closed(
                "doubtful framing",
                post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
                400,
                "content_length_with_transfer_encoding",
            ),
            closed("a bad length", post("Content-Length: x\r\n", ""), 400, "invalid_content_length"),
            closed("a bad line", get("X : y\r\n"), 400, "invalid_field_name"),
            closed("a bare LF", "GET http://{origin}/ HTTP/1.1\nHost: {origin}\r\n\r\n".into(), 400, "bare_line_feed"),
            closed("a bad request line", "GET http://{origin}/\r\n\r\n".into(), 400, "invalid_request_line"),
        ],
    );
}

#[test]
fn send_fully_qualified_url() {
    let proxy = with("send_fully_qualified_url = true");
    let full = |target: &str, sent: &str| {
        passes(
            format!("send_fully_qualified_url = true: {target}"),
            format!("GET {target} HTTP/1.1\r\nHost: {{origin}}\r\n\r\n"),
            format!("GET {sent} HTTP/1.1\r\nHost: {{origin}}\r\nVia: 1.1 outrider\r\n\r\n"),
        )
    };
    run(
        &proxy,
        [
            full("http://{origin}/a?b", "http://{origin}/a?b"),
            full("http://{origin}", "http://{origin}/"),
            full("http://{origin}?x", "http://{origin}/?x"),
            full("HTTP://{origin}/", "http://{origin}/"),
            passes(
                "RFC 9112 section 3.2.4: send_fully_qualified_url = true: OPTIONS without a path stays so, for the last proxy",
                "OPTIONS http://{origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n",
                "OPTIONS http://{origin} HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\n\r\n",
            ),
        ],
    );
    run(&with("send_fully_qualified_url = false"), [passes("send_fully_qualified_url = false", GET, GET_FORWARDED)]);
}

#[test]
fn headers_with_underscores_action() {
    let fields = "A_b: 1\r\nC-d: 2\r\n_: 3\r\nContent_Length: 5\r\n";
    run(
        &with("headers_with_underscores_action = \"allow\""),
        [passes("headers_with_underscores_action = allow", get(fields), get_forwarded(fields))],
    );
    run(
        &with("headers_with_underscores_action = \"drop_header\""),
        [
            passes("headers_with_underscores_action = drop_header", get(fields), get_forwarded("C-d: 2\r\n")),
            passes("headers_with_underscores_action = drop_header looks at names only", get("C-d: a_b\r\n"), get_forwarded("C-d: a_b\r\n")),
        ],
    );
    run(
        &with("headers_with_underscores_action = \"reject_request\""),
        [
            refuses("headers_with_underscores_action = reject_request", get(fields), 400, "underscore_in_field_name"),
            passes(
                "headers_with_underscores_action = reject_request looks at names only",
                get("C-d: a_b\r\n"),
                get_forwarded("C-d: a_b\r\n"),
            ),
            case("headers_with_underscores_action is about requests")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("A_b: 1\r\nContent-Length: 0\r\n", ""))
                .client_gets(response_forwarded("A_b: 1\r\nContent-Length: 0\r\n", "")),
        ],
    );
}

/// A listener has its own `http1`, which is laid over the one for all.
#[test]
fn options_of_a_listener() {
    let proxy = Proxy::builder()
        .http1("via = \"all\"\nheaders_with_underscores_action = \"reject_request\"")
        .config("[[listener]]\nname = \"second\"\naddresses = [\"127.0.0.1:0\"]\nhttp1 = { via = \"second\", accept_http_10 = false }\n")
        .start();
    let answers: std::collections::BTreeSet<(String, u16)> = proxy.addresses().iter().map(|address| seen_at(*address)).collect();
    let expected = [("all".to_owned(), 200), ("second".to_owned(), 426)];
    assert_eq!(answers, expected.into(), "each has its own pseudonym, and one refuses HTTP/1.0");
}

/// The pseudonym that a listener writes, and its answer to HTTP/1.0.
fn seen_at(address: std::net::SocketAddr) -> (String, u16) {
    let origin = crate::kit::Origin::listen();
    let mut client = crate::kit::Peer::connect("client", address);
    client.send(format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority()));
    let mut upstream = origin.accept();
    let request = upstream.expect_request().head;
    let pseudonym = request.field("via").and_then(|via| via.strip_prefix("1.1 ")).unwrap_or("").to_owned();
    upstream.send(OK);
    client.expect(OK_FORWARDED.replace("outrider", &pseudonym));
    client.send("GET / HTTP/1.1\r\nHost: a\r\nA_b: c\r\n\r\n");
    assert_eq!(client.expect_response().head.status(), 400, "both reject underscores");
    let mut client = crate::kit::Peer::connect("client", address);
    client.send("GET /healthz HTTP/1.0\r\n\r\n");
    (pseudonym, client.expect_response().head.status())
}
