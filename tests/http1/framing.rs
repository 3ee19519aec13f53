//! Where messages end (RFC 9112 sections 6 and 8).

use crate::catalogue::{Case, GET, GET_FORWARDED, case, post, post_forwarded, refuses, response, response_forwarded, run};
use crate::kit::Proxy;

#[test]
fn content_length_of_a_request() {
    let proxy = Proxy::start();
    let invalid = [
        "+5",
        "-1",
        "-0",
        "5 5",
        "5\t5",
        "0x5",
        "5,",
        ",5",
        ",",
        "5;",
        "5.0",
        "5e0",
        "\"5\"",
        "five",
        "",
        " ",
        "5, five",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999",
        "\u{665}",
    ];
    run(
        &proxy,
        invalid.map(|length| {
            let name = format!("RFC 9110 section 8.6: Content-Length {length:?}");
            refuses(name, post(&format!("Content-Length: {length}\r\n"), "hello"), 400, "invalid_content_length")
        }),
    );
    let conflicting = [
        ("a list of two", "Content-Length: 5, 6\r\n"),
        ("a list of two, the second as the body is long", "Content-Length: 0, 5\r\n"),
        ("two fields", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("two fields with others between, in another case", "Content-Length: 5\r\nX: y\r\ncontent-LENGTH: 4\r\n"),
        ("two fields, one of them zero", "Content-Length: 0\r\nContent-Length: 5\r\n"),
        ("a list and a field", "Content-Length: 5, 5\r\nContent-Length: 6\r\n"),
    ];
    run(
        &proxy,
        conflicting.map(|(what, fields)| {
            refuses(format!("RFC 9112 section 6.3: {what} that do not agree"), post(fields, "hello"), 400, "conflicting_content_length")
        }),
    );

    let body = |name: &str, fields: &str, forwarded: &str| {
        case(name).client(post(fields, "hello")).origin_gets(post_forwarded(forwarded) + "hello").answered().goes_on()
    };
    run(
        &proxy,
        [
            body("RFC 9112 section 6.2: a body by Content-Length", "Content-Length: 5\r\n", "Content-Length: 5\r\n"),
            body("RFC 9112 section 6.2: its line leaves as it came", "content-LENGTH:5  \r\n", "content-LENGTH:5  \r\n"),
            body(
                "RFC 9112 section 6.3: equal fields become one",
                "Content-Length: 5\r\nA: b\r\nContent-Length: 5\r\n",
                "Content-Length: 5\r\nA: b\r\n",
            ),
            body("RFC 9112 section 6.3: a list of equal values becomes one", "Content-Length: 5, 5,5\r\n", "Content-Length: 5\r\n"),
            body("RFC 9110 section 8.6: leading zeros go", "Content-Length: 0005\r\n", "Content-Length: 5\r\n"),
            case("RFC 9110 section 8.6: Content-Length: 0 stays")
                .client(post("Content-Length: 0\r\n", ""))
                .origin_gets(post_forwarded("Content-Length: 0\r\n"))
                .answered()
                .goes_on(),
            case("RFC 9112 section 6.3: a POST without framing has no body")
                .client(post("", ""))
                .origin_gets(post_forwarded(""))
                .answered()
                .goes_on(),
            case("RFC 9110 section 9.3.1: a GET may have a body")
                .client("GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 5\r\n\r\nhello")
                .origin_gets("GET / HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 5\r\nVia: 1.1 outrider\r\n\r\nhello")
                .answered()
                .goes_on(),
            case("RFC 9110 section 9.3.2: so may a HEAD")
                .client("HEAD http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 5\r\n\r\nhello")
                .origin_gets("HEAD / HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 5\r\nVia: 1.1 outrider\r\n\r\nhello")
                .origin(response("Content-Length: 99\r\n", ""))
                .client_gets(response_forwarded("Content-Length: 99\r\n", ""))
                .goes_on(),
            case("RFC 9112 section 6.2: the request behind a body is the next one")
                .client(post("Content-Length: 5\r\n", "hello") + GET)
                .origin_gets(post_forwarded("Content-Length: 5\r\n") + "hello")
                .answered()
                .origin_gets(GET_FORWARDED)
                .answered(),
            case("RFC 9112 section 6.2: a body that comes byte by byte")
                .client_bytewise(post("Content-Length: 5\r\n", "hello"))
                .origin_gets(post_forwarded("Content-Length: 5\r\n") + "hello")
                .answered()
                .goes_on(),
            case("a body is passed on as it comes")
                .client(post("Content-Length: 10\r\n", "hello"))
                .origin_gets(post_forwarded("Content-Length: 10\r\n") + "hello")
                .client("world")
                .origin_gets("world")
                .answered()
                .goes_on(),
        ],
    );
}

#[test]
fn transfer_encoding_of_a_request() {
    let proxy = Proxy::start();
    let unsupported = [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "identity",
        "chunked, identity",
        "identity, chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "chu nked",
        "\u{17f}chunked",
        "cow",
    ];
    // RFC 9112 section 6.1.
    run(&proxy, unsupported.map(|coding| refused_coding(coding, &format!("Transfer-Encoding: {coding}\r\n"))));
    let malformed = ["", ",", ",chunked", ", chunked", "chunked\t,", "chunked, ,", "gzip,,chunked"].map(|coding| {
        let request = post(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n");
        refuses(
            format!("RFC 9110 section 5.6.1: an empty element in Transfer-Encoding {coding:?}"),
            request,
            400,
            "invalid_transfer_encoding",
        )
    });
    run(&proxy, malformed);
    run(
        &proxy,
        [
            refused_coding("two fields, both chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            refused_coding("two fields, the second another", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
            refused_coding("two fields, the first another", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
            refuses(
                "RFC 9110 section 5.6.1: two fields Transfer-Encoding, the first empty",
                post("Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
                400,
                "invalid_transfer_encoding",
            ),
            refused_coding("two fields in different cases", "Transfer-Encoding: chunked\r\ntransfer-encoding: cow\r\n"),
        ],
    );
    let both = "RFC 9112 section 6.1: Content-Length and Transfer-Encoding";
    let with = |fields: &str| post(fields, "5\r\nhello\r\n0\r\n\r\n");
    let reason = "content_length_with_transfer_encoding";
    run(
        &proxy,
        [
            refuses(both, with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, reason),
            refuses(format!("{both}, the other way round"), with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400, reason),
            refuses(format!("{both}, the length zero"), with("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), 400, reason),
            refuses(format!("{both}, in other cases"), with("content-length: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n"), 400, reason),
        ],
    );
    let accepted = ["chunked", "Chunked", "CHUNKED", " \tchunked \t"].map(|coding| {
        case(format!("RFC 9112 section 7: {coding:?} is chunked"))
            .client(with(&format!("Transfer-Encoding:{coding}\r\n")))
            .origin_gets_chunked(crate::catalogue::chunked_post_forwarded(""), "hello")
            .answered()
            .goes_on()
    });
    run(&proxy, accepted);
}

fn refused_coding(what: &str, fields: &str) -> Case {
    case(format!("RFC 9112 section 6.1: Transfer-Encoding {what:?}"))
        .client(post(fields, "0\r\n\r\n"))
        .step(|scene| {
            let reply = scene.client().expect_response();
            assert_eq!(reply.head.status(), 501, "{:?}", reply.head);
            assert!(reply.head.lists("connection", "close"), "{:?}", reply.head);
        })
        .client_gets_end()
        .origin_gets_nothing()
}

/// RFC 9112 section 6.3, items 1 and 2, and RFC 9110 section 8.6.
#[test]
fn responses_without_a_body() {
    let proxy = Proxy::start();
    let date = "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n";
    let without = |name: &str, status: &str, fields: &str, forwarded: &str| {
        case(name)
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .origin(format!("HTTP/1.1 {status}\r\n{date}{fields}\r\n"))
            .client_gets(format!("HTTP/1.1 {status}\r\n{date}{forwarded}Via: 1.1 outrider\r\n\r\n"))
            .goes_on()
    };
    let head = |name: &str, fields: &str, forwarded: &str| {
        case(name)
            .client("HEAD http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\r\n")
            .origin_gets("HEAD / HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\n\r\n")
            .origin(response(fields, ""))
            .client_gets(response_forwarded(forwarded, ""))
            .goes_on()
    };
    run(
        &proxy,
        [
            without("RFC 9112 section 6.3: a 204", "204 No Content", "", ""),
            without("RFC 9110 section 8.6: a 204 has no Content-Length", "204 No Content", "Content-Length: 0\r\n", ""),
            without("RFC 9110 section 8.6: a 204 with a length has no body all the same", "204 No Content", "Content-Length: 5\r\n", ""),
            without(
                "RFC 9112 section 6.1: a 204 with Transfer-Encoding has no body",
                "204 No Content",
                "Transfer-Encoding: chunked\r\n",
                "",
            ),
            without("RFC 9112 section 6.3: a 304", "304 Not Modified", "", ""),
            without(
                "RFC 9110 section 8.6: a 304 keeps the Content-Length of what it stands for",
                "304 Not Modified",
                "Content-Length: 1234\r\n",
                "Content-Length: 1234\r\n",
            ),
            without("RFC 9110 section 15.3.6: a 205 of no length", "205 Reset Content", "Content-Length: 0\r\n", "Content-Length: 0\r\n"),
            head("RFC 9112 section 6.3: an answer to HEAD", "", ""),
            head(
                "RFC 9110 section 9.3.2: an answer to HEAD keeps its Content-Length",
                "Content-Length: 1234\r\n",
                "Content-Length: 1234\r\n",
            ),
            head("RFC 9112 section 6.1: an answer to HEAD with Transfer-Encoding", "Transfer-Encoding: chunked\r\n", ""),
        ],
    );
}

#[test]
fn bodies_of_responses() {
    let proxy = Proxy::start();
    let by_length = |name: &str, fields: &str, forwarded: &str| {
        case(name)
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .origin(response(fields, "hello"))
            .client_gets(response_forwarded(forwarded, "hello"))
            .goes_on()
    };
    run(
        &proxy,
        [
            by_length("RFC 9112 section 6.2: by Content-Length", "Content-Length: 5\r\n", "Content-Length: 5\r\n"),
            by_length(
                "RFC 9112 section 6.3: equal fields become one",
                "Content-Length: 5\r\nContent-Length: 5\r\n",
                "Content-Length: 5\r\n",
            ),
            by_length("RFC 9112 section 6.3: a list of equal values becomes one", "Content-Length: 5, 5\r\n", "Content-Length: 5\r\n"),
            case("RFC 9112 section 6.2: a length of zero")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Content-Length: 0\r\n", ""))
                .client_gets(response_forwarded("Content-Length: 0\r\n", ""))
                .goes_on(),
            case("a response is passed on as it comes")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Content-Length: 10\r\n", "hello"))
                .client_gets(response_forwarded("Content-Length: 10\r\n", "hello"))
                .origin("world")
                .client_gets("world")
                .goes_on(),
            case("RFC 9112 section 6.3: until close, which a 1.1 client gets in chunks on a connection that goes on")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("", "hello"))
                .origin_closes()
                .client_gets_chunked(response_forwarded("Transfer-Encoding: chunked\r\n", ""), "hello")
                .goes_on(),
            case("RFC 9112 section 6.3: until close, with nothing in it")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("", ""))
                .origin_closes()
                .client_gets_chunked(response_forwarded("Transfer-Encoding: chunked\r\n", ""), "")
                .goes_on(),
            case("RFC 9112 section 6.3: until close, from an origin that says so")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Connection: close\r\n", "hello"))
                .origin_closes()
                .client_gets_chunked(response_forwarded("Transfer-Encoding: chunked\r\n", ""), "hello")
                .goes_on(),
            case("RFC 9112 section 6.3: until close, to a client that wants the connection closed")
                .client("GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n")
                .origin_gets(GET_FORWARDED)
                .origin(response("", "hello"))
                .origin_closes()
                .step(|scene| {
                    let response = scene.client().expect_response();
                    assert_eq!(response.body, b"hello");
                    assert!(response.head.lists("connection", "close"), "{:?}", response.head);
                })
                .client_gets_end(),
            case("RFC 9112 section 6.3: chunked not last: until close, with the coding left on")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("Transfer-Encoding: gzip\r\n", "\x1f.."))
                .origin_closes()
                .step(|scene| {
                    let head = scene.client().expect_head();
                    assert!(head.lists("transfer-encoding", "gzip"), "{head:?}");
                    if head.lists("transfer-encoding", "chunked") {
                        assert_eq!(scene.client().expect_chunked_body().0, b"\x1f..");
                    } else {
                        assert!(head.lists("connection", "close"), "{head:?}");
                        assert_eq!(scene.client().read_until_close(), b"\x1f..");
                    }
                }),
        ],
    );
}

/// A response whose end is in doubt is no response (RFC 9112 section 6.3).
#[test]
fn doubtful_framing_of_a_response() {
    let proxy = Proxy::start();
    let doubtful = |what: &str, fields: &str, reason: &'static str| {
        case(format!("RFC 9112 section 6.3: in a response: {what}"))
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .origin(response(fields, "hello"))
            .local_reply(502, reason)
            .logged("response_flags", "UPE")
            .origin_gets_end()
            .goes_on_anew()
    };
    let lengths = ["+5", "-5", "5 5", "0x5", "five", "", "5,", "18446744073709551621"];
    run(
        &proxy,
        lengths.map(|length| {
            doubtful(&format!("Content-Length {length:?}"), &format!("Content-Length: {length}\r\n"), "invalid_content_length")
        }),
    );
    run(
        &proxy,
        [
            doubtful("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "conflicting_content_length"),
            doubtful("a list of two lengths", "Content-Length: 5, 6\r\n", "conflicting_content_length"),
            doubtful(
                "Content-Length and Transfer-Encoding",
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "content_length_with_transfer_encoding",
            ),
            doubtful("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", "unsupported_transfer_coding"),
            doubtful(
                "chunked twice, in two fields",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "unsupported_transfer_coding",
            ),
            doubtful("something after chunked", "Transfer-Encoding: chunked, gzip\r\n", "unsupported_transfer_coding"),
        ],
    );
    run(
        &proxy,
        [case("RFC 9112 section 6.1: Transfer-Encoding in a response of HTTP/1.0")
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .origin("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            .local_reply(502, "transfer_encoding_in_http_10")
            .origin_gets_end()
            .goes_on_anew()],
    );
}

/// A body cut short is never made to look whole (RFC 9112 section 8).
#[test]
fn cut_responses() {
    let proxy = Proxy::start();
    let by_length = || {
        case("RFC 9112 section 8: the origin closes before the promised length")
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .origin(response("Content-Length: 10\r\n", "hello"))
            .client_gets(response_forwarded("Content-Length: 10\r\n", "hello"))
    };
    let chunks = || {
        case("RFC 9112 section 8: the origin closes before the last chunk")
            .client(GET)
            .origin_gets(GET_FORWARDED)
            .origin(response("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"))
    };
    let chunked_head = || response_forwarded("Transfer-Encoding: chunked\r\n", "");
    run(
        &proxy,
        [
            by_length().origin_closes().client_gets_cut().logged("response_flags", "UC"),
            by_length().origin_resets().client_gets_cut().logged("response_flags", "UR"),
            chunks().origin_closes().client_gets_cut_chunks(chunked_head(), "hello").logged("response_flags", "UC"),
            chunks().origin_resets().client_gets_cut_chunks(chunked_head(), "hello").logged("response_flags", "UR"),
            chunks().origin("5\r\nwor").origin_closes().client_gets_cut_chunks(chunked_head(), "hellowor").logged("response_flags", "UC"),
            chunks().origin("0\r\n").origin_closes().client_gets_cut_chunks(chunked_head(), "hello").logged("response_flags", "UC"),
            chunks().origin("0\r\nX: y\r\n").origin_closes().client_gets_cut_chunks(chunked_head(), "hello").logged("response_flags", "UC"),
            case("RFC 9112 section 8: a reset ends a body that goes until close; it does not look whole")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .origin(response("", "hello"))
                .client_gets(chunked_head())
                .client_gets("5\r\nhello\r\n")
                .origin_resets()
                .client_gets_cut()
                .logged("response_flags", "UR"),
            case("RFC 9112 section 8: the same to a 1.0 client, for whom only a reset tells")
                .client("GET http://{origin}/ HTTP/1.0\r\nHost: {origin}\r\n\r\n")
                .origin_gets("GET / HTTP/1.1\r\nHost: {origin}\r\nVia: 1.0 outrider\r\n\r\n")
                .origin(response("", "hello"))
                .client_gets(response_forwarded("Connection: close\r\n", "hello"))
                .origin_resets()
                .client_gets_reset(),
        ],
    );
}

/// The origin must not take a part of a body for all of it.
#[test]
fn cut_requests() {
    let proxy = Proxy::start();
    let begun = |fields: &str, body: &str| {
        case("RFC 9112 section 8: the client goes away in the middle of its body").client(post(fields, body)).step(|scene| {
            scene.upstream().expect_head();
        })
    };
    run(
        &proxy,
        [
            begun("Content-Length: 10\r\n", "hello").client_half_closes().origin_gets_no_whole_request().logged("response_flags", "DC"),
            begun("Content-Length: 10\r\n", "hello").client_resets().origin_gets_no_whole_request().logged("response_flags", "DC"),
            begun("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n")
                .client_half_closes()
                .origin_gets_no_whole_request()
                .logged("response_flags", "DC"),
            begun("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n")
                .client_half_closes()
                .origin_gets_no_whole_request()
                .logged("response_flags", "DC"),
            begun("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n")
                .client_resets()
                .origin_gets_no_whole_request()
                .logged("response_flags", "DC"),
        ]
        .map(|case| case.client_closes()),
    );
}
