//! Field lines: what is refused, and that everything else passes byte for byte (RFC 9112 section 5, RFC 9110 section 5).

use crate::catalogue::{GET, GET_FORWARDED, OK, case, get, get_forwarded, passes, refuses, response, run};
use crate::kit::Proxy;

/// The request with raw bytes among its fields.
fn get_raw(fields: &[u8]) -> Vec<u8> {
    [b"GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n", fields, b"\r\n"].concat()
}

#[test]
fn malformed_fields_in_a_request() {
    let proxy = Proxy::start();
    let refused: [(&str, &[u8], &str); 31] = [
        ("RFC 9112 section 5.1: a space before the colon", b"X : y\r\n", "invalid_field_name"),
        ("RFC 9112 section 5.1: a tab before the colon", b"X\t: y\r\n", "invalid_field_name"),
        ("RFC 9112 section 5.1: a space before the colon of Content-Length", b"Content-Length : 5\r\n", "invalid_field_name"),
        ("RFC 9112 section 5.1: a space before the colon of Transfer-Encoding", b"Transfer-Encoding : chunked\r\n", "invalid_field_name"),
        ("RFC 9112 section 5.1: an empty name", b": y\r\n", "invalid_field_name"),
        ("RFC 9112 section 5.1: no colon", b"X\r\n", "invalid_field_name"),
        ("RFC 9112 section 5.1: a second request line", b"GET / HTTP/1.1\r\n", "invalid_field_name"),
        ("RFC 9110 section 5.1: a space in a name", b"X Y: z\r\n", "invalid_field_name"),
        ("RFC 9110 section 5.1: a parenthesis in a name", b"X(: y\r\n", "invalid_field_name"),
        ("RFC 9110 section 5.1: a slash in a name", b"X/Y: y\r\n", "invalid_field_name"),
        ("RFC 9110 section 5.1: a quote in a name", b"\"X\": y\r\n", "invalid_field_name"),
        ("RFC 9110 section 5.1: an at sign in a name", b"X@Y: y\r\n", "invalid_field_name"),
        ("RFC 9110 section 5.1: a brace in a name", b"X{: y\r\n", "invalid_field_name"),
        ("RFC 9110 section 5.1: a control byte in a name", b"X\x01: y\r\n", "invalid_field_name"),
        ("RFC 9110 section 5.1: NUL in a name", b"X\0: y\r\n", "invalid_field_name"),
        ("RFC 9110 section 5.1: obs-text in a name", b"X\xe9: y\r\n", "invalid_field_name"),
        ("RFC 9112 section 5.2: obs-fold with a space", b"X: y\r\n z\r\n", "obsolete_fold"),
        ("RFC 9112 section 5.2: obs-fold with a tab", b"X: y\r\n\tz\r\n", "obsolete_fold"),
        ("RFC 9112 section 5.2: obs-fold of an empty line", b"X: y\r\n \r\n", "obsolete_fold"),
        ("RFC 9112 section 5.2: obs-fold that hides a field", b"X: y\r\n Content-Length: 5\r\n", "obsolete_fold"),
        ("RFC 9112 section 5.2: obs-fold of an empty value", b"Transfer-Encoding:\r\n chunked\r\n", "obsolete_fold"),
        ("RFC 9110 section 5.5: NUL in a value", b"X: a\0b\r\n", "invalid_field_value"),
        ("RFC 9110 section 5.5: 0x01 in a value", b"X: a\x01b\r\n", "invalid_field_value"),
        ("RFC 9110 section 5.5: a vertical tab in a value", b"X: a\x0bb\r\n", "invalid_field_value"),
        ("RFC 9110 section 5.5: ESC in a value", b"X: a\x1bb\r\n", "invalid_field_value"),
        ("RFC 9110 section 5.5: DEL in a value", b"X: a\x7fb\r\n", "invalid_field_value"),
        ("RFC 9112 section 2.2: a bare CR in a value", b"X: a\rb\r\n", "invalid_field_value"),
        ("RFC 9112 section 2.2: a bare CR that hides a field", b"X: a\rContent-Length: 5\r\n", "invalid_field_value"),
        ("RFC 9112 section 2.2: a CR before the line end", b"X: a\r\r\n", "invalid_field_value"),
        ("RFC 9112 section 2.2: a bare LF ends a field", b"X: a\nY: b\r\n", "bare_line_feed"),
        ("RFC 9112 section 2.2: a bare CR in a name", b"X\rY: b\r\n", "invalid_field_name"),
    ];
    // Which of the reasons for a bare CR it is matters to nobody; that it is one does.
    let cases = refused.map(|(name, fields, reason)| match reason {
        "invalid_field_value" if fields.contains(&b'\r') && name.contains("CR") => refuses_with_any_reason(name, fields),
        "invalid_field_name" if name.contains("CR") => refuses_with_any_reason(name, fields),
        _ => refuses(name, get_raw(fields), 400, reason),
    });
    run(&proxy, cases);
    run(
        &proxy,
        [
            refuses(
                "RFC 9112 section 2.2: a bare LF ends the request line",
                "GET http://{origin}/ HTTP/1.1\nHost: {origin}\r\n\r\n",
                400,
                "bare_line_feed",
            ),
            refuses(
                "RFC 9112 section 2.2: a bare LF ends the head",
                "GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\n",
                400,
                "bare_line_feed",
            ),
            refuses(
                "RFC 9112 section 2.2: bare LFs throughout",
                "GET http://{origin}/ HTTP/1.1\nHost: {origin}\n\n",
                400,
                "bare_line_feed",
            ),
            refuses("RFC 9112 section 2.2: LF CR", "GET http://{origin}/ HTTP/1.1\n\rHost: {origin}\n\r\n\r", 400, "bare_line_feed"),
        ],
    );
}

fn refuses_with_any_reason(name: &str, fields: &[u8]) -> crate::catalogue::Case {
    case(name)
        .client(get_raw(fields))
        .step(|scene| {
            let reply = scene.client().expect_response();
            assert_eq!(reply.head.status(), 400, "{:?}", reply.head);
            assert!(reply.head.lists("connection", "close"), "{:?}", reply.head);
        })
        .client_gets_end()
        .origin_gets_nothing()
}

/// Lines that reach the origin exactly as they came.
const UNTOUCHED: [(&str, &[u8]); 17] = [
    ("RFC 9110 section 5.1: the case of a name", b"X-lower-UPPER-MiXeD: v\r\nx-Lower: V\r\n"),
    ("RFC 9110 section 5.3: duplicates, apart and in order", b"A: 1\r\nB: 2\r\nA: 3\r\nb: 4\r\nA: 1\r\n"),
    ("RFC 9110 section 5.3: the order of different names", b"Z: 1\r\nA: 2\r\nM: 3\r\n"),
    ("RFC 9110 section 5.5: tabs and spaces inside a value", b"X: a \t b\t\tc  d\r\n"),
    ("RFC 9110 section 5.5: obs-text", b"X: caf\xc3\xa9 \xe9 \x80\xff\r\n"),
    ("RFC 9112 section 5.1: no space behind the colon", b"X:y\r\n"),
    ("RFC 9112 section 5.1: much space around a value", b"X:  \t y \t \r\n"),
    ("an empty value", b"X:\r\nY: \r\nZ:\t\r\n"),
    ("RFC 9110 section 5.6.2: every byte of a token in a name", b"!#$%&'*+-.^_`|~09azAZ: v\r\n"),
    ("colons, quotes and commas in a value", b"X: a:b \"c, d\" ,,e;f=\"\\\"\"\r\n"),
    ("names that only look like others", b"Hosts: a\r\nX-Host: b\r\nContent-Length-: 5\r\nXTransfer-Encoding: chunked\r\n"),
    ("underscores in names, among them those that look like framing", b"X_y: 1\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n"),
    (
        "RFC 9110 section 10.1: fields that other proxies change",
        b"User-Agent: x\r\nAccept-Encoding: gzip\r\nAccept: */*\r\nCookie: a=b; c=d\r\n",
    ),
    ("RFC 9110 section 11.6.2: Authorization is for the origin", b"Authorization: Basic dXNlcjpwYXNz\r\n"),
    (
        "RFC 7239 and its like, which nobody asked us to change",
        b"Forwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nX-Real-IP: 9.9.9.9\r\n",
    ),
    ("RFC 9110 section 7.6.2: Max-Forwards of a GET", b"Max-Forwards: 0\r\n"),
    (
        "RFC 9111 section 5: what concerns caches",
        b"Cache-Control: no-cache\r\nPragma: no-cache\r\nIf-None-Match: \"x\", W/\"y\"\r\nRange: bytes=0-1\r\n",
    ),
];

#[test]
fn fields_of_a_request_pass_as_they_are() {
    let proxy = Proxy::start();
    run(
        &proxy,
        UNTOUCHED.map(|(name, fields)| {
            let forwarded = [b"GET / HTTP/1.1\r\nHost: {origin}\r\n", fields, b"Via: 1.1 outrider\r\n\r\n"].concat();
            passes(name, get_raw(fields), forwarded)
        }),
    );
    run(
        &proxy,
        [
            passes(
                "RFC 9112 section 5: fields in front of Host stay there",
                "GET http://{origin}/ HTTP/1.1\r\nA: 1\r\nHost: {origin}\r\nB: 2\r\n\r\n",
                "GET / HTTP/1.1\r\nA: 1\r\nHost: {origin}\r\nB: 2\r\nVia: 1.1 outrider\r\n\r\n",
            ),
            passes("nothing is added but Via", GET, GET_FORWARDED),
            case("the same head, byte by byte, is the same head")
                .client_bytewise(get("A: 1\r\nB:2 \r\nA:\t3\r\n"))
                .origin_gets(get_forwarded("A: 1\r\nB:2 \r\nA:\t3\r\n"))
                .answered(),
            passes(
                "RFC 9110 section 5.4: a value of 8000 bytes",
                get(&format!("X: {}\r\n", "v".repeat(8000))),
                get_forwarded(&format!("X: {}\r\n", "v".repeat(8000))),
            ),
        ],
    );
}

#[test]
fn fields_of_a_response_pass_as_they_are() {
    let proxy = Proxy::start();
    let untouched = UNTOUCHED.into_iter().filter(|(name, _)| !name.contains("look like"));
    run(
        &proxy,
        untouched.map(|(name, fields)| {
            let head = b"HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n";
            let response = [head, fields, b"Content-Length: 2\r\n\r\nok"].concat();
            let forwarded = [head, fields, b"Content-Length: 2\r\nVia: 1.1 outrider\r\n\r\nok"].concat();
            case(format!("in a response: {name}")).client(GET).origin_gets(GET_FORWARDED).origin(response).client_gets(forwarded)
        }),
    );
    let from_servers = "Server: x\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\nSet-Cookie: a=b\r\nWWW-Authenticate: Basic realm=\"x\"\r\nETag: \"y\"\r\nContent-Type: text/html;  charset=utf-8\r\n";
    run(
        &proxy,
        [
            case("RFC 9110 section 5.3: Set-Cookie and other fields of servers stay in order, apart, and in their case")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response(&format!("{from_servers}Content-Length: 0\r\n"), ""))
                .client_gets(response(&format!("{from_servers}Content-Length: 0\r\nVia: 1.1 outrider\r\n"), "")),
            case("a response that comes byte by byte")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin_bytewise(OK)
                .client_gets(crate::catalogue::OK_FORWARDED),
        ],
    );
}

#[test]
fn status_lines() {
    let proxy = Proxy::start();
    let passed: [(&str, &[u8]); 9] = [
        ("RFC 9112 section 4: another phrase", b"200 Fine by me"),
        ("RFC 9112 section 4: an empty phrase", b"200 "),
        ("RFC 9112 section 4: obs-text in the phrase", b"200 D\xe9j\xc3\xa0 vu"),
        ("RFC 9112 section 4: tabs and spaces in the phrase", b"200 a  b\tc "),
        ("RFC 9110 section 15: a status that nobody knows", b"299 Strange"),
        ("RFC 9110 section 15: a status of 5xx that nobody knows", b"599 Strange"),
        ("RFC 9110 section 15: a status over 599", b"999 Stranger"),
        ("RFC 9110 section 15.5: a 404 is the origin's own", b"404 Not Found"),
        ("RFC 9110 section 15.6.3: a 502 of the origin is its own", b"502 Bad Gateway"),
    ];
    run(
        &proxy,
        passed.map(|(name, status)| {
            let line = [b"HTTP/1.1 ", status].concat();
            let rest = "\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 0\r\n";
            case(name)
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin([&line, rest.as_bytes(), b"\r\n"].concat())
                .client_gets([&line, rest.as_bytes(), b"Via: 1.1 outrider\r\n\r\n"].concat())
                .goes_on()
        }),
    );
    run(
        &proxy,
        [case("RFC 9112 section 4: a status line without the space before the phrase it lacks")
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .origin("HTTP/1.1 200\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 0\r\n\r\n")
            .client_gets("HTTP/1.1 200 \r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 0\r\nVia: 1.1 outrider\r\n\r\n")
            .goes_on()],
    );
}

#[test]
fn malformed_heads_of_a_response() {
    let proxy = Proxy::start();
    let ok = "HTTP/1.1 200 OK\r\n";
    let rest = "Content-Length: 0\r\n\r\n";
    let bad: [(&str, Vec<u8>, &str); 20] = [
        ("RFC 9112 section 5.1: a space before the colon", format!("{ok}X : y\r\n{rest}").into(), "invalid_field_name"),
        ("RFC 9112 section 5.1: an empty name", format!("{ok}: y\r\n{rest}").into(), "invalid_field_name"),
        ("RFC 9112 section 5.1: no colon", format!("{ok}garbage\r\n{rest}").into(), "invalid_field_name"),
        ("RFC 9112 section 5.2: obs-fold", format!("{ok}X: y\r\n z\r\n{rest}").into(), "obsolete_fold"),
        ("RFC 9110 section 5.5: NUL in a value", format!("{ok}X: a\0b\r\n{rest}").into(), "invalid_field_value"),
        ("RFC 9110 section 5.5: a control byte in a value", format!("{ok}X: a\x02b\r\n{rest}").into(), "invalid_field_value"),
        ("RFC 9112 section 2.2: a bare CR in a value", format!("{ok}X: a\rb\r\n{rest}").into(), ""),
        ("RFC 9112 section 2.2: a bare LF ends a field", format!("{ok}X: a\n{rest}").into(), "bare_line_feed"),
        ("RFC 9112 section 2.2: a bare LF ends the status line", format!("HTTP/1.1 200 OK\n{rest}").into(), "bare_line_feed"),
        ("RFC 9112 section 2.2: a bare LF ends the head", format!("{ok}Content-Length: 0\r\n\n").into(), "bare_line_feed"),
        ("RFC 9112 section 4: garbage for a status line", format!("garbage\r\n{rest}").into(), "invalid_status_line"),
        ("RFC 9112 section 4: two digits of status", format!("HTTP/1.1 20 OK\r\n{rest}").into(), "invalid_status_line"),
        ("RFC 9112 section 4: four digits of status", format!("HTTP/1.1 2000 OK\r\n{rest}").into(), "invalid_status_line"),
        ("RFC 9112 section 4: a status that is no number", format!("HTTP/1.1 2xx OK\r\n{rest}").into(), "invalid_status_line"),
        ("RFC 9112 section 4: a status under 100", format!("HTTP/1.1 099 OK\r\n{rest}").into(), "invalid_status_line"),
        ("RFC 9112 section 4: two spaces before the status", format!("HTTP/1.1  200 OK\r\n{rest}").into(), "invalid_status_line"),
        ("RFC 9112 section 4: a space before the version", format!(" HTTP/1.1 200 OK\r\n{rest}").into(), "invalid_status_line"),
        ("RFC 9112 section 4: the version in lower case", format!("http/1.1 200 OK\r\n{rest}").into(), "invalid_status_line"),
        ("RFC 9112 section 4: a control byte in the phrase", format!("HTTP/1.1 200 O\x01K\r\n{rest}").into(), ""),
        ("RFC 9110 section 2.5: a response of HTTP/2.0 in text", format!("HTTP/2.0 200 OK\r\n{rest}").into(), "unsupported_version"),
    ];
    run(
        &proxy,
        bad.map(|(name, response, reason)| {
            let case = case(format!("in a response: {name}")).client(GET).origin_gets(GET_FORWARDED).origin(response);
            let case = match reason {
                "" => case.step(|scene| {
                    let reply = scene.client().expect_response();
                    assert_eq!(reply.head.status(), 502, "{:?}", reply.head);
                }),
                reason => case.local_reply(502, reason),
            };
            case.logged("response_flags", "UPE").origin_gets_end().goes_on_anew()
        }),
    );
}

/// RFC 9110 section 6.6.1.
#[test]
fn date() {
    let proxy = Proxy::start();
    run(
        &proxy,
        [
            case("RFC 9110 section 6.6.1: a response without Date gets one")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .client_gets("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: {date}\r\nVia: 1.1 outrider\r\n\r\n"),
            case("RFC 9110 section 6.6.1: a Date stays as it is, even a strange one")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin("HTTP/1.1 200 OK\r\ndate: yesterday\r\nContent-Length: 0\r\n\r\n")
                .client_gets("HTTP/1.1 200 OK\r\ndate: yesterday\r\nContent-Length: 0\r\nVia: 1.1 outrider\r\n\r\n"),
            case("RFC 9110 section 6.6.1: nor does a 304 go without")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n")
                .client_gets("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nDate: {date}\r\nVia: 1.1 outrider\r\n\r\n"),
        ],
    );
}
