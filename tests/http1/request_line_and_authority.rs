//! Request lines, the forms of a target, and Host (RFC 9112 sections 2.2 and 3, RFC 9110 sections 4.2 and 7.2).

use crate::catalogue::{GET, GET_FORWARDED, OK, case, passes, refuses, run};
use crate::kit::{DnsServer, Origin, Proxy};

/// A GET for `target`, whose Host agrees where it can.
fn get_target(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {{origin}}\r\n\r\n")
}

/// A GET with this text in the place of `Host: ...CRLF`.
fn get_hosts(hosts: &str) -> String {
    format!("GET http://{{origin}}/ HTTP/1.1\r\n{hosts}\r\n")
}

#[test]
fn empty_lines() {
    let proxy = Proxy::start();
    run(
        &proxy,
        [
            passes("RFC 9112 section 2.2: an empty line before the request line is skipped", format!("\r\n{GET}"), GET_FORWARDED),
            passes("RFC 9112 section 2.2: two empty lines before the request line are skipped", format!("\r\n\r\n{GET}"), GET_FORWARDED),
            case("RFC 9112 section 2.2: an empty line after a request, from clients that end a body so")
                .client(format!("{GET}\r\n"))
                .origin_gets(GET_FORWARDED)
                .answered()
                .goes_on(),
            refuses("RFC 9112 section 2.2: empty lines without end", "\r\n".repeat(100) + GET, 400, "too_many_empty_lines"),
            refuses("RFC 9112 section 2.2: a bare LF before the request line", format!("\n{GET}"), 400, "bare_line_feed"),
            refuses("RFC 9112 section 2.2: a bare CR before the request line", format!("\r{GET}"), 400, "control_byte"),
            case("RFC 9112 section 2.2: white space between the request line and the first field")
                .client("GET http://{origin}/ HTTP/1.1\r\n Host: {origin}\r\n\r\n")
                .refused(400, "obsolete_fold")
                .origin_gets_nothing(),
            case("RFC 9112 section 2.2: a tab between the request line and the first field")
                .client("GET http://{origin}/ HTTP/1.1\r\n\tX: y\r\nHost: {origin}\r\n\r\n")
                .refused(400, "obsolete_fold")
                .origin_gets_nothing(),
        ],
    );
}

#[test]
fn shape_of_the_request_line() {
    let proxy = Proxy::start();
    let with_line = |line: &str| format!("{line}\r\nHost: {{origin}}\r\n\r\n");
    let invalid = [
        ("two spaces before the target", "GET  http://{origin}/ HTTP/1.1"),
        ("two spaces before the version", "GET http://{origin}/  HTTP/1.1"),
        ("a space at the end", "GET http://{origin}/ HTTP/1.1 "),
        ("a space at the start", " GET http://{origin}/ HTTP/1.1"),
        ("a tab as a separator", "GET\thttp://{origin}/\tHTTP/1.1"),
        ("a tab before the version", "GET http://{origin}/\tHTTP/1.1"),
        ("a space in the target", "GET http://{origin}/a b HTTP/1.1"),
        ("no version (HTTP/0.9)", "GET http://{origin}/"),
        ("no target", "GET HTTP/1.1"),
        ("a method alone", "GET"),
        ("an empty target", "GET  HTTP/1.1"),
        ("a word after the version", "GET http://{origin}/ HTTP/1.1 x"),
        ("a version in lower case", "GET http://{origin}/ http/1.1"),
        ("another protocol", "GET http://{origin}/ HTTQ/1.1"),
        ("a version without a minor number", "GET http://{origin}/ HTTP/1"),
        ("a version without a dot", "GET http://{origin}/ HTTP/11"),
        ("a version with more digits", "GET http://{origin}/ HTTP/1.10"),
        ("a version with a leading zero", "GET http://{origin}/ HTTP/01.1"),
        ("a version with a sign", "GET http://{origin}/ HTTP/+1.1"),
        ("a version with a space", "GET http://{origin}/ HTTP/1. 1"),
        ("a parenthesis in the method", "GE(T http://{origin}/ HTTP/1.1"),
        ("a colon in the method", "GET: http://{origin}/ HTTP/1.1"),
        ("a slash in the method", "GET/ http://{origin}/ HTTP/1.1"),
        ("a quoted method", "\"GET\" http://{origin}/ HTTP/1.1"),
    ];
    let invalid = invalid.map(|(what, line)| refuses(format!("RFC 9112 section 3: {what}"), with_line(line), 400, "invalid_request_line"));
    run(&proxy, invalid);

    let unsupported = ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9"].map(|version| {
        let name = format!("RFC 9110 section 2.5: {version} in text");
        refuses(name, with_line(&format!("GET http://{{origin}}/ {version}")), 505, "unsupported_version")
    });
    run(&proxy, unsupported);

    let methods = ["PROPFIND", "M-SEARCH", "get", "Get", "X", "PATCH", "QUERY", "!#$%&'*+-.^_`|~09azAZ"].map(|method| {
        let name = format!("RFC 9110 section 9.1: {method} is a method like any other");
        passes(
            name,
            with_line(&format!("{method} http://{{origin}}/ HTTP/1.1")),
            format!("{method} / HTTP/1.1\r\nHost: {{origin}}\r\nVia: 1.1 outrider\r\n\r\n"),
        )
    });
    run(&proxy, methods);

    run(
        &proxy,
        [
            refuses(
                "RFC 9112 section 2.2: a control byte in the method",
                with_line("GE\x01T http://{origin}/ HTTP/1.1"),
                400,
                "invalid_request_line",
            ),
            refuses("RFC 9112 section 2.2: NUL in the method", with_line("GE\0T http://{origin}/ HTTP/1.1"), 400, "invalid_request_line"),
            refuses(
                "RFC 9112 section 2.2: a TLS ClientHello is answered at once",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                400,
                "tls_handshake",
            ),
            refuses("RFC 9113 section 3.4: the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http2_preface"),
            refuses("SOCKS 4: CONNECT", b"\x04\x01\x01\xbb\xc0\x00\x02\x01\x00", 400, "socks4_request"),
            refuses("RFC 1928 section 3: a client of SOCKS 5", b"\x05\x01\x00", 400, "socks5_request"),
            refuses("RFC 4253 section 4.2: an SSH client, which now waits", "SSH-2.0-OpenSSH_9.2p1\r\n", 400, "ssh_banner"),
            refuses("bytes of no protocol that we know", b"\x00\x01\x02", 400, "not_http"),
        ],
    );
}

/// What stands in a target beside the allowed bytes is refused, and the reasons may be several.
#[test]
fn control_bytes_in_a_target() {
    let proxy = Proxy::start();
    let bytes: [(&str, &[u8]); 6] =
        [("NUL", b"\0"), ("0x01", b"\x01"), ("a bare CR", b"\r"), ("DEL", b"\x7f"), ("ESC", b"\x1b"), ("a vertical tab", b"\x0b")];
    let cases = bytes.map(|(what, byte)| {
        let request = [b"GET http://{origin}/a", byte, b"b HTTP/1.1\r\nHost: {origin}\r\n\r\n"].concat();
        case(format!("RFC 9112 section 2.2: {what} in a target"))
            .client(request)
            .step(|scene| {
                let reply = scene.client().expect_response();
                assert_eq!(reply.head.status(), 400, "{:?}", reply.head);
                assert!(reply.head.lists("connection", "close"), "{:?}", reply.head);
            })
            .client_gets_end()
            .origin_gets_nothing()
    });
    run(&proxy, cases);
    run(
        &proxy,
        [refuses(
            "RFC 9112 section 2.2: a bare LF in a target",
            "GET http://{origin}/a\nb HTTP/1.1\r\nHost: {origin}\r\n\r\n",
            400,
            "bare_line_feed",
        )],
    );
}

#[test]
fn absolute_form() {
    let proxy = Proxy::start();
    let path = |name: &str, target: &str, path: &str| {
        passes(
            format!("{name}: {target}"),
            get_target(target),
            format!("GET {path} HTTP/1.1\r\nHost: {{origin}}\r\nVia: 1.1 outrider\r\n\r\n"),
        )
    };
    let bytes = "RFC 9110 section 7.7: path and query byte for byte";
    run(
        &proxy,
        [
            path("RFC 9110 section 4.2.3: the scheme in any case", "HTTP://{origin}/", "/"),
            path("RFC 9110 section 4.2.3: the scheme in any case", "hTTp://{origin}/x", "/x"),
            path("RFC 9112 section 3.2.1: an empty path becomes /", "http://{origin}", "/"),
            path("RFC 9112 section 3.2.1: an empty path before a query becomes /", "http://{origin}?a=b", "/?a=b"),
            path(bytes, "http://{origin}/?", "/?"),
            path(bytes, "http://{origin}//", "//"),
            path(bytes, "http://{origin}/a/../b/./c//d/", "/a/../b/./c//d/"),
            path(bytes, "http://{origin}/%7e%7E%2f%2F%00%zz%", "/%7e%7E%2f%2F%00%zz%"),
            path(bytes, "http://{origin}/a;b=c,d:e@f!g$h&i'(j)*+k=~_-.", "/a;b=c,d:e@f!g$h&i'(j)*+k=~_-."),
            path(bytes, "http://{origin}/?a=b&&c=%20+d?e/f", "/?a=b&&c=%20+d?e/f"),
            path(bytes, "http://{origin}/?http://elsewhere/", "/?http://elsewhere/"),
            path(bytes, "http://{origin}/http://elsewhere/", "/http://elsewhere/"),
            path("what browsers send though RFC 3986 has it not", "http://{origin}/<>\"{}|^`[]\\", "/<>\"{}|^`[]\\"),
        ],
    );

    run(
        &proxy,
        [
            passes(
                "RFC 9112 section 3.2.4: OPTIONS without a path becomes *",
                "OPTIONS http://{origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n",
                "OPTIONS * HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\n\r\n",
            ),
            passes(
                "RFC 9112 section 3.2.4: OPTIONS with the path / keeps it",
                "OPTIONS http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\r\n",
                "OPTIONS / HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\n\r\n",
            ),
            passes(
                "RFC 9112 section 3.2.4: OPTIONS with a query has a path",
                "OPTIONS http://{origin}?x HTTP/1.1\r\nHost: {origin}\r\n\r\n",
                "OPTIONS /?x HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\n\r\n",
            ),
        ],
    );

    let refused = [
        ("RFC 9110 section 4.2.2: https in absolute-form, where it is not configured", "https://{origin}/", "unsupported_scheme"),
        ("RFC 9110 section 4.2: another scheme", "ftp://{origin}/", "unsupported_scheme"),
        ("RFC 9110 section 4.2: another scheme", "ws://{origin}/", "unsupported_scheme"),
        ("RFC 9110 section 4.2: another scheme", "gopher://{origin}/", "unsupported_scheme"),
        ("RFC 9112 section 3.2.2: a scheme that is none", "1http://{origin}/", "invalid_target"),
        ("RFC 9112 section 3.2.2: no scheme", "://{origin}/", "invalid_target"),
        ("RFC 9112 section 3.2.2: one slash", "http:/{origin}/", "invalid_target"),
        ("RFC 9112 section 3.2.2: no slash", "http:{origin}/", "invalid_target"),
        ("RFC 9112 section 3.2.2: backslashes", "http:\\\\{origin}/", "invalid_target"),
        ("RFC 9112 section 3.2: an authority alone is for CONNECT", "{origin}", "invalid_target"),
        ("RFC 9112 section 3.2: a relative path", "index.html", "invalid_target"),
        ("RFC 9112 section 3.2.4: * is for OPTIONS", "*", "invalid_target"),
        ("RFC 9110 section 4.2.4: userinfo", "http://user@{origin}/", "userinfo_in_authority"),
        ("RFC 9110 section 4.2.4: userinfo with a password", "http://user:pass@{origin}/", "userinfo_in_authority"),
        ("RFC 9110 section 4.2.4: an empty userinfo", "http://@{origin}/", "userinfo_in_authority"),
        ("RFC 9110 section 7.1: a fragment", "http://{origin}/#top", "fragment_in_target"),
        ("RFC 9110 section 7.1: a fragment after a query", "http://{origin}/?q#top", "fragment_in_target"),
        ("RFC 9110 section 7.1: a fragment behind the authority", "http://{origin}#top", "fragment_in_target"),
        ("RFC 9110 section 4.2.1: an empty host", "http:///path", "invalid_host"),
        ("RFC 9110 section 4.2.1: an empty host with a port", "http://:{port}/", "invalid_host"),
        ("RFC 9110 section 4.2.1: nothing behind the slashes", "http://", "invalid_host"),
    ];
    run(&proxy, refused.map(|(name, target, reason)| refuses(format!("{name}: {target}"), get_target(target), 400, reason)));
}

#[test]
fn authority() {
    let proxy = Proxy::start();
    let refused = [
        ("port 0", "http://127.0.0.1:0/", "invalid_port"),
        ("a port over 65535", "http://127.0.0.1:65536/", "invalid_port"),
        ("a port that overflows 16 bits to a good one", "http://127.0.0.1:65616/", "invalid_port"),
        ("a port that overflows 64 bits", "http://127.0.0.1:18446744073709551696/", "invalid_port"),
        ("a port with a sign", "http://127.0.0.1:+80/", "invalid_port"),
        ("a negative port", "http://127.0.0.1:-80/", "invalid_port"),
        ("a port in hexadecimal", "http://127.0.0.1:0x50/", "invalid_port"),
        ("two ports", "http://127.0.0.1:80:81/", "invalid_port"),
        ("an unclosed IPv6 literal", "http://[::1/", "invalid_host"),
        ("an IPv6 address without brackets", "http://::1/", "invalid_host"),
        ("an IPv4 address in brackets", "http://[127.0.0.1]/", "invalid_host"),
        ("a name in brackets", "http://[localhost]/", "invalid_host"),
        ("an IPv6 zone", "http://[fe80::1%25lo]/", "invalid_host"),
        ("text behind an IPv6 literal", "http://[::1]x/", "invalid_host"),
        ("a backslash in the authority", "http://127.0.0.1\\@evil.test/", "userinfo_in_authority"),
        ("a backslash behind the host", "http://127.0.0.1\\evil.test/", "invalid_host"),
        ("a comma in the host", "http://a,b/", "invalid_host"),
        ("a percent-encoded slash in the host", "http://127.0.0.1%2fevil/", "invalid_host"),
        ("a percent-encoded NUL in the host", "http://127.0.0.1%00.evil/", "invalid_host"),
        ("a percent-encoded @ in the host", "http://a%40127.0.0.1/", "invalid_host"),
        ("a percent-encoded colon in the host", "http://127.0.0.1%3a80/", "invalid_host"),
        ("broken percent-encoding", "http://127.0.0.1%/", "invalid_host"),
        ("an empty label", "http://a..b/", "invalid_host"),
        ("a dot for a host", "http://./", "invalid_host"),
        ("a label of 64 bytes", &format!("http://{}/", "a".repeat(64)), "invalid_host"),
        (
            "a name of 255 bytes",
            &format!("http://{}/", ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(63)].join(".")),
            "invalid_host",
        ),
        ("five parts of an IPv4 address", "http://1.2.3.4.5/", "invalid_host"),
        ("an IPv4 part over 255", "http://256.0.0.1/", "invalid_host"),
        ("a number over 32 bits", "http://4294967296/", "invalid_host"),
    ];
    let name = |what: &str| format!("RFC 3986 section 3.2: {what}");
    run(&proxy, refused.map(|(what, target, reason)| refuses(name(what), get_target(target), 400, reason)));

    // What goes out in Host is what the client wrote, in whatever spelling.
    let spelled =
        ["127.1:{port}", "2130706433:{port}", "0x7f000001:{port}", "0177.0.0.1:{port}", "127.0.0.1.:{port}", "%31%32%37.0.0.1:{port}"];
    run(
        &proxy,
        spelled.map(|authority| {
            passes(
                format!("RFC 9110 section 7.2: an address in another spelling goes out as it was written: {authority}"),
                format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
                format!("GET / HTTP/1.1\r\nHost: {authority}\r\nVia: 1.1 outrider\r\n\r\n"),
            )
        }),
    );
}

#[test]
fn an_ipv6_literal() {
    let proxy = Proxy::start();
    let origin = Origin::listen_v6();
    let mut client = proxy.client();
    client.send(format!("GET http://[::1]:{port}/ HTTP/1.1\r\nHost: [::1]:{port}\r\n\r\n", port = origin.port()));
    let mut upstream = origin.accept();
    upstream.expect(format!("GET / HTTP/1.1\r\nHost: [::1]:{}\r\nVia: 1.1 outrider\r\n\r\n", origin.port()));
    upstream.send(OK);
    assert_eq!(client.expect_response().head.status(), 200);
    // The same address, spelled otherwise, is the same cluster.
    client.send(format!("GET http://[0:0::0001]:{port}/ HTTP/1.1\r\nHost: [0:0::0001]:{port}\r\n\r\n", port = origin.port()));
    upstream.expect(format!("GET / HTTP/1.1\r\nHost: [0:0::0001]:{}\r\nVia: 1.1 outrider\r\n\r\n", origin.port()));
    upstream.send(OK);
    assert_eq!(client.expect_response().head.status(), 200);
}

/// One canonical key for policy, DNS and pools, however a host is spelled (RFC 3986 section 6.2.2).
#[test]
fn spellings_of_a_name() {
    let dns = DnsServer::start();
    dns.resolve("origin.test", &["127.0.0.1"]);
    let proxy = Proxy::builder().dns(&dns).start();
    let of = |authority: &str| format!("GET http://{authority}:{{port}}/ HTTP/1.1\r\nHost: {authority}:{{port}}\r\n\r\n");
    let forwarded = |authority: &str| format!("GET / HTTP/1.1\r\nHost: {authority}:{{port}}\r\nVia: 1.1 outrider\r\n\r\n");
    let mut cases = Vec::new();
    for spelling in ["origin.test", "ORIGIN.Test", "origin.test.", "%6frigin.test", "Origin%2Etest."] {
        cases.push(
            case(format!("RFC 3986 section 6.2.2: {spelling} is origin.test, whose pooled connection it takes"))
                .client(of("origin.test"))
                .origin_gets(forwarded("origin.test"))
                .answered()
                .client(of(spelling))
                .origin_gets(forwarded(spelling))
                .answered()
                .client(of("origin.test"))
                .origin_gets(forwarded("origin.test"))
                .answered(),
        );
    }
    run(&proxy, cases);
    assert_eq!(dns.a_queries("origin.test"), 1, "the name was asked for once, in one form");
}

#[test]
fn host() {
    let proxy = Proxy::start();
    let refused = [
        ("no Host", "X: y\r\n", "missing_host"),
        ("two Host fields", "Host: {origin}\r\nHost: other.test\r\n", "duplicate_host"),
        ("two equal Host fields", "Host: {origin}\r\nHost: {origin}\r\n", "duplicate_host"),
        ("two Host fields with others between, in another case", "Host: {origin}\r\nX: y\r\nHOST: {origin}\r\n", "duplicate_host"),
        ("an empty Host beside an absolute target", "Host:\r\n", "invalid_host"),
        ("an empty Host and another", "Host:\r\nHost: {origin}\r\n", "duplicate_host"),
        ("a space in Host", "Host: a b\r\n", "invalid_host"),
        ("a tab in Host", "Host: a\tb\r\n", "invalid_host"),
        ("a comma in Host", "Host: a.test, b.test\r\n", "invalid_host"),
        ("a path in Host", "Host: a.test/b\r\n", "invalid_host"),
        ("a scheme in Host", "Host: http://a.test\r\n", "invalid_host"),
        ("userinfo in Host", "Host: user@a.test\r\n", "invalid_host"),
        ("a query in Host", "Host: a.test?b\r\n", "invalid_host"),
        ("a bad port in Host", "Host: a.test:99999\r\n", "invalid_host"),
        ("port 0 in Host", "Host: a.test:0\r\n", "invalid_host"),
        ("a word for a port in Host", "Host: a.test:http\r\n", "invalid_host"),
        ("obs-text in Host", "Host: a\u{e9}.test\r\n", "invalid_host"),
        ("half an IPv6 literal in Host", "Host: [::1\r\n", "invalid_host"),
    ];
    let name = |what: &str| format!("RFC 9112 section 3.2: {what}");
    run(&proxy, refused.map(|(what, hosts, reason)| refuses(name(what), get_hosts(hosts), 400, reason)));

    let replaced = "RFC 9112 section 3.2.2: the authority of the target takes the place of Host";
    run(
        &proxy,
        [
            passes(replaced, get_hosts("Host: other.test\r\n"), GET_FORWARDED),
            passes(
                format!("{replaced}, where it stood"),
                get_hosts("A: 1\r\nhOST: other.test:99\r\nB: 2\r\n"),
                "GET / HTTP/1.1\r\nA: 1\r\nhOST: {origin}\r\nB: 2\r\nVia: 1.1 outrider\r\n\r\n",
            ),
            passes(
                "RFC 9112 section 3.2.2: a Host that agrees leaves as it came",
                get_hosts("A: 1\r\nHost:\t  {origin} \t\r\nB: 2\r\n"),
                "GET / HTTP/1.1\r\nA: 1\r\nHost:\t  {origin} \t\r\nB: 2\r\nVia: 1.1 outrider\r\n\r\n",
            ),
            case("RFC 9112 section 3.2.2: a request for one host on a connection used for another goes to the one in its target")
                .client(GET)
                .origin_gets(GET_FORWARDED)
                .answered()
                .client("GET http://{origin}/b HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n")
                .origin_gets("GET /b HTTP/1.1\r\nHost: {origin}\r\nVia: 1.1 outrider\r\n\r\n")
                .answered(),
        ],
    );
}

/// Requests that are for the proxy itself.
#[test]
fn origin_form() {
    let proxy = Proxy::start();
    run(
        &proxy,
        [
            case("RFC 9112 section 3.2.1: origin-form is told how to use a proxy")
                .client("GET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
                .local_reply(400, "not_a_proxy_request"),
            case("RFC 9112 section 3.2.1: the same connection can be used for a good request")
                .client("GET /index.html HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
                .local_reply(400, "not_a_proxy_request")
                .goes_on(),
            case("RFC 9112 section 3.2: an origin-form request with an empty Host")
                .client("GET / HTTP/1.1\r\nHost:\r\n\r\n")
                .local_reply(400, "not_a_proxy_request"),
            refuses("RFC 9112 section 3.2: an origin-form request without Host", "GET / HTTP/1.1\r\n\r\n", 400, "missing_host"),
            refuses("RFC 9112 section 3.2.1: a fragment in origin-form", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "fragment_in_target"),
            case("an origin-form request with a body leaves nothing that could be taken for a request")
                .client("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n")
                .step(|scene| {
                    let reply = scene.client().expect_response();
                    assert_eq!(reply.head.status(), 400);
                })
                .origin_gets_nothing(),
        ],
    );
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n");
    let body = client.expect_response().body;
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.contains("http_proxy"), "a person learns what to do: {body}");
}

#[test]
fn the_health_path() {
    let proxy = Proxy::start();
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("GET /healthz HTTP/1.1\r\nHost: proxy.test\r\n\r\n");
        assert_eq!(client.expect_response().head.status(), 200);
    }
    client.send("HEAD /healthz HTTP/1.1\r\nHost: proxy.test\r\n\r\n");
    assert_eq!(client.expect_response_to("HEAD").head.status(), 200);
    client.send("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(client.expect_response().head.status(), 200);
    client.expect_eof();
    // The next stream is the first in the log.
    proxy.client().send("GET /other HTTP/1.1\r\nHost: proxy.test\r\n\r\n").expect_response();
    let entry = proxy.access_log().next().expect("waits");
    assert_eq!(entry.text("target"), "/other", "a probe is not logged as an error: {entry:?}");
}
