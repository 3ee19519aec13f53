//! Known attacks: none may reach an origin as two requests, nor give one client another's bytes.
//!
//! Each case sends its bytes on a connection of its own to an origin that answers whatever it
//! takes for a request. The origin's reading is deliberately naive about nothing but what the
//! proxy wrote: if the proxy's output could be read as two requests, it is.

use crate::catalogue::{GET, GET_FORWARDED, OK, case, response, response_forwarded, run};
use crate::kit::{Proxy, Script, ScriptedOrigin, dump};

/// What must come of an attack.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// The proxy answers with this status, and the origin gets no whole request.
    Refused(u16),
    /// As above, with any status that refuses.
    RefusedSomehow,
    /// Nothing whole reaches the origin, and the client may get nothing.
    NothingWhole,
    /// So many requests reach the origin, as many answers the client, and the smuggled one is at most data.
    Harmless(usize),
    /// One request reaches the origin; what follows it is answered by the proxy with a 400.
    OneThenRefused,
}

use Outcome::{Harmless, NothingWhole, OneThenRefused, Refused, RefusedSomehow};

/// The request that an attacker would like to see at the origin.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: {origin}\r\n\r\n";

fn attack(proxy: &Proxy, name: &str, bytes: &[u8], outcome: Outcome) -> Result<(), String> {
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let bytes = crate::catalogue::replace(bytes, b"{origin}", origin.authority().as_bytes());
    let mut client = proxy.client();
    client.send_if_open(&bytes);
    client.half_close();
    let (answers, _) = client.read_to_end();
    let text = String::from_utf8_lossy(&answers).into_owned();
    let requests = origin.requests();
    let state = || format!("* {name}\n  sent:{}\n  the client got:{}\n  the origin got: {requests:#?}", dump(&bytes), dump(&answers));
    if requests.iter().any(|request| request.head.start_line().contains("smuggled")) {
        return Err(format!("{}\n  SMUGGLED", state()));
    }
    let answered = memchr::memmem::find_iter(&answers, b"HTTP/1.1 ").count();
    let refused = |status: &str| requests.is_empty() && answered == 1 && text.starts_with(&format!("HTTP/1.1 {status}"));
    let good = match outcome {
        Refused(status) => refused(&format!("{status} ")),
        RefusedSomehow => refused("4") || refused("50"),
        NothingWhole => requests.is_empty() && !text.contains(" 200 "),
        OneThenRefused => requests.len() == 1 && text.starts_with("HTTP/1.1 200 ") && text.contains("HTTP/1.1 400 ") && answered == 2,
        Harmless(count) => requests.len() == count && memchr::memmem::find_iter(&answers, b"HTTP/1.1 200 OK\r\n").count() == count,
    };
    if good { Ok(()) } else { Err(format!("{}\n  expected {outcome:?}", state())) }
}

fn attacks<'a>(cases: impl IntoIterator<Item = (&'a str, Vec<u8>, Outcome)>) {
    let proxy = Proxy::start();
    let mut count = 0;
    let mut failures = Vec::new();
    for (name, bytes, outcome) in cases {
        count += 1;
        failures.extend(attack(&proxy, name, &bytes, outcome).err());
    }
    println!("{count} cases");
    assert!(failures.is_empty(), "{} of {count} cases failed:\n{}\n", failures.len(), failures.join("\n\n"));
}

/// A POST with these fields, then these bytes.
fn post(fields: &str, rest: &str) -> Vec<u8> {
    format!("POST http://{{origin}}/ HTTP/1.1\r\nHost: {{origin}}\r\n{fields}\r\n{rest}").into()
}

fn with_method(method: &str, fields: &str, rest: &str) -> Vec<u8> {
    format!("{method} http://{{origin}}/ HTTP/1.1\r\nHost: {{origin}}\r\n{fields}\r\n{rest}").into()
}

/// The smuggled request as one chunk; its length is known since a placeholder stands for the authority.
fn in_chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
}

/// A smuggled request of a fixed length.
const FIXED: &str = "GET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n";

/// Not even of a request that is refused.
#[test]
fn passwords_stay_out_of_the_log() {
    let proxy = Proxy::start();
    let targets = [
        "GET http://user:s3cret@example.org/",
        "CONNECT user:s3cret@example.org:443",
        "GET //user:s3cret@example.org/",
        "GET http:user:s3cret@example.org/",
    ];
    for request in targets {
        let mut client = proxy.client();
        client.send(format!("{request} HTTP/1.1\r\nHost: example.org\r\n\r\n"));
        let reply = client.expect_response();
        assert_eq!(reply.head.status(), 400);
        assert!(!format!("{:?}{}", reply.head, String::from_utf8_lossy(&reply.body)).contains("s3cret"), "{:?}", reply.head);
    }
    let entries: Vec<_> = proxy.access_log().take(targets.len()).collect();
    for entry in entries {
        assert!(entry.text("target").contains("***@example.org") && !format!("{entry:?}").contains("s3cret"), "{entry:?}");
    }
}

#[test]
fn disagreement_on_the_length() {
    attacks([
        ("CL.TE", post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{SMUGGLED}")), Refused(400)),
        ("TE.CL", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &in_chunk(FIXED)), Refused(400)),
        ("CL.TE in lower case", post("content-length: 6\r\ntransfer-encoding: chunked\r\n", &format!("0\r\n\r\n{SMUGGLED}")), Refused(400)),
        ("CL.CL", post("Content-Length: 0\r\nContent-Length: 44\r\n", SMUGGLED), Refused(400)),
        ("CL.CL in one list", post("Content-Length: 0, 44\r\n", SMUGGLED), Refused(400)),
        ("CL.CL, the second in other letters", post("Content-Length: 0\r\ncontent-length: 44\r\n", SMUGGLED), Refused(400)),
        ("CL.0: a body that is a request stays a body", post(&format!("Content-Length: {}\r\n", FIXED.len()), FIXED), Harmless(1)),
        ("CL.0: the same with a GET", with_method("GET", &format!("Content-Length: {}\r\n", FIXED.len()), FIXED), Harmless(1)),
        ("CL.0: the same with OPTIONS", with_method("OPTIONS", &format!("Content-Length: {}\r\n", FIXED.len()), FIXED), Harmless(1)),
        ("CL.0: the same with DELETE", with_method("DELETE", &format!("Content-Length: {}\r\n", FIXED.len()), FIXED), Harmless(1)),
        (
            "CL.0: the same with a method nobody knows",
            with_method("FOO", &format!("Content-Length: {}\r\n", FIXED.len()), FIXED),
            Harmless(1),
        ),
        ("0.CL: a length hidden by a space before the colon", post("Content-Length : 44\r\n", SMUGGLED), Refused(400)),
        ("0.CL: a length hidden by a fold", post("Content-Length:\r\n 44\r\n", SMUGGLED), Refused(400)),
        ("0.CL: a length hidden behind a fold", post("X: y\r\n Content-Length: 44\r\n", SMUGGLED), Refused(400)),
        ("0.CL: a length hidden by a vertical tab", post("Content-Length:\u{b}44\r\n", SMUGGLED), Refused(400)),
        ("0.CL: a length hidden by a form feed", post("Content-Length:\u{c}44\r\n", SMUGGLED), Refused(400)),
        ("0.CL: a length hidden by NUL", post("Content-Length: 44\0\r\n", SMUGGLED), Refused(400)),
        ("0.CL: a length behind a bare CR", post("X: y\rContent-Length: 44\r\n", SMUGGLED), Refused(400)),
        ("0.CL: a length behind a bare LF", post("X: y\nContent-Length: 44\r\n", SMUGGLED), Refused(400)),
        ("0.CL: a length with a space at the start of its line", post("A: b\r\n\tContent-Length: 44\r\n", SMUGGLED), Refused(400)),
        ("0.TE: a coding hidden by a space before the colon", post("Transfer-Encoding : chunked\r\n", &in_chunk(FIXED)), Refused(400)),
        ("TE.0: chunks of a GET", with_method("GET", "Transfer-Encoding: chunked\r\n", &in_chunk(FIXED)), Harmless(1)),
        ("TE.0: chunks of OPTIONS", with_method("OPTIONS", "Transfer-Encoding: chunked\r\n", &in_chunk(FIXED)), Harmless(1)),
        ("HEAD with a body", with_method("HEAD", &format!("Content-Length: {}\r\n", FIXED.len()), FIXED), Harmless(1)),
    ]);
}

#[test]
fn numbers_that_overflow() {
    let lengths = [
        "18446744073709551616",
        "18446744073709551660",
        "36893488147419103232",
        "9223372036854775852",
        "-44",
        "+44",
        "0x2c",
        "44e0",
        "4 4",
        "44,",
        "44;",
        "\u{664}\u{664}",
    ];
    let cases: Vec<(String, Vec<u8>)> = lengths
        .iter()
        .map(|length| (format!("Content-Length: {length}"), post(&format!("Content-Length: {length}\r\n"), SMUGGLED)))
        .collect();
    attacks(cases.iter().map(|(name, bytes)| {
        // 2^63 + 44 fits into 64 bits: a request that long is only not all here.
        (name.as_str(), bytes.clone(), if name.ends_with("5852") { NothingWhole } else { Refused(400) })
    }));
}

#[test]
fn spellings_of_transfer_encoding() {
    let length = format!("Content-Length: {}\r\n", FIXED.len());
    let spellings: [(&str, &str); 34] = [
        ("xchunked", "Transfer-Encoding: xchunked\r\n"),
        ("chunkedx", "Transfer-Encoding: chunkedx\r\n"),
        ("quoted", "Transfer-Encoding: \"chunked\"\r\n"),
        ("single quotes", "Transfer-Encoding: 'chunked'\r\n"),
        ("a parameter", "Transfer-Encoding: chunked;foo=bar\r\n"),
        ("identity after it", "Transfer-Encoding: chunked, identity\r\n"),
        ("identity before it", "Transfer-Encoding: identity, chunked\r\n"),
        ("cow after it", "Transfer-Encoding: chunked, cow\r\n"),
        ("cow in a second field", "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n"),
        ("cow in a first field", "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n"),
        ("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("twice in a list", "Transfer-Encoding: chunked, chunked\r\n"),
        ("an empty element before", "Transfer-Encoding: , chunked\r\n"),
        ("an empty element after", "Transfer-Encoding: chunked,\r\n"),
        ("an empty field before", "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n"),
        ("a space before the colon", "Transfer-Encoding : chunked\r\n"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n"),
        ("a vertical tab before the value", "Transfer-Encoding:\u{b}chunked\r\n"),
        ("a vertical tab after the value", "Transfer-Encoding: chunked\u{b}\r\n"),
        ("a form feed", "Transfer-Encoding: \u{c}chunked\r\n"),
        ("NUL after the value", "Transfer-Encoding: chunked\0\r\n"),
        ("a bare CR after the value", "Transfer-Encoding: chunked\r\r\n"),
        ("a bare CR before the field", "X: y\rTransfer-Encoding: chunked\r\n"),
        ("a bare LF before the field", "X: y\nTransfer-Encoding: chunked\r\n"),
        ("a bare LF after the name", "Transfer-Encoding\n: chunked\r\n"),
        ("a fold before the value", "Transfer-Encoding:\r\n chunked\r\n"),
        ("a fold after the value", "Transfer-Encoding: chunked\r\n \r\n"),
        ("a space before the name", " Transfer-Encoding: chunked\r\n"),
        ("no colon", "Transfer-Encoding chunked\r\n"),
        ("obs-text after it", "Transfer-Encoding: chunked\u{a0}\r\n"),
        ("obs-text before it", "Transfer-Encoding: \u{a0}chunked\r\n"),
        ("a long s", "Transfer-Encoding: chun\u{212a}ed\r\n"),
        ("brotli", "Transfer-Encoding: br\r\n"),
        ("a NUL in the name", "Transfer-Encoding\0: chunked\r\n"),
    ];
    let mut cases = Vec::new();
    for (what, field) in spellings {
        cases.push((format!("TE.TE: {what}"), post(field, &in_chunk(FIXED))));
        cases.push((format!("TE.TE with a length: {what}"), post(&format!("{length}{field}"), &in_chunk(FIXED))));
    }
    attacks(cases.iter().map(|(name, bytes)| (name.as_str(), bytes.clone(), RefusedSomehow)));

    // Names that are not Transfer-Encoding are not: the length holds, and the origin gets the same.
    let others = [
        "Transfer_Encoding: chunked\r\n",
        "X-Transfer-Encoding: chunked\r\n",
        "TransferEncoding: chunked\r\n",
        "Transfer-Encoding-: chunked\r\n",
        "Content_Length: 0\r\n",
    ];
    let cases: Vec<(String, Vec<u8>)> =
        others.iter().map(|field| (format!("not Transfer-Encoding: {field:?}"), post(&format!("{length}{field}"), FIXED))).collect();
    attacks(cases.iter().map(|(name, bytes)| (name.as_str(), bytes.clone(), Harmless(1))));
}

/// Line ends and sizes in chunked bodies that two parsers may read in two ways.
#[test]
fn chunk_tricks() {
    let bodies: [(&str, String); 30] = [
        ("TERM.EXT: LF ends a size for some", format!("2;\nxx\r\n2d\r\n0\r\n\r\n{SMUGGLED}")),
        ("EXT.TERM: LF ends an extension for some", format!("2;x\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("EXT.TERM in the last chunk", format!("2\r\nxx\r\n0;x\n\r\n{SMUGGLED}")),
        ("TERM.SPILL: CR ends an extension for some", format!("2;x\rxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("SPILL.TERM: LF ends the data for some", format!("2\r\nxx\n0\r\n\r\n{SMUGGLED}")),
        ("a bare LF after a size", format!("2\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a bare CR after a size", format!("2\rxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("CR CR LF after a size", format!("2\r\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a bare LF as the last line", format!("2\r\nxx\r\n0\r\n\n{SMUGGLED}")),
        ("a bare LF after the last size", format!("2\r\nxx\r\n0\n\r\n{SMUGGLED}")),
        ("two bytes after the data, whatever they are", format!("2\r\nxxzz0\r\n\r\n{SMUGGLED}")),
        ("one byte too many in the data", format!("2\r\nxxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a size of 2^64 + 2", format!("10000000000000002\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a size of 2^32 + 2, in chunks of 32 bits", format!("100000000000000002\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a negative size", format!("-2\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a size of -1", format!("ffffffffffffffffff\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a signed size", format!("+2\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("0x", format!("0x2\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("an underscore", format!("0_2\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a space before", format!(" 2\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a space behind", format!("2 \r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("no size, which is 0 for some", format!("\r\n\r\n{SMUGGLED}")),
        ("only an extension, which is 0 for some", format!(";x\r\n\r\n{SMUGGLED}")),
        ("a size that starts well", format!("2z\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a NUL behind a size", format!("2\0\r\nxx\r\n0\r\n\r\n{SMUGGLED}")),
        ("a trailer that is a length", format!("2\r\nxx\r\n0\r\nContent-Length: 44\r\n\r\n{SMUGGLED}")),
        ("a trailer that is a coding", format!("2\r\nxx\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n{SMUGGLED}")),
        ("a trailer that is a Host", format!("2\r\nxx\r\n0\r\nHost: evil.test\r\n\r\n{SMUGGLED}")),
        ("a trailer that is a request", format!("2\r\nxx\r\n0\r\n{SMUGGLED}")),
        ("a trailer with a bare LF", format!("2\r\nxx\r\n0\r\nX: y\n\r\n{SMUGGLED}")),
    ];
    let cases: Vec<(&str, Vec<u8>)> = bodies.iter().map(|(name, body)| (*name, post("Transfer-Encoding: chunked\r\n", body))).collect();
    attacks(cases.into_iter().map(|(name, bytes)| (name, bytes, Refused(400))));
    attacks([
        (
            "a request behind the last chunk is a request of its own, for an origin of its own choice",
            post("Transfer-Encoding: chunked\r\n", "2\r\nxx\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {origin}\r\n\r\n"),
            OneThenRefused,
        ),
        ("a fake last chunk in the data", post("Transfer-Encoding: chunked\r\n", &in_chunk(&format!("0\r\n\r\n{FIXED}"))), Harmless(1)),
        ("a request in an extension", post("Transfer-Encoding: chunked\r\n", "2;GET /smuggled HTTP/1.1\r\nxx\r\n0\r\n\r\n"), Refused(400)),
        (
            "a request in a quoted extension",
            post("Transfer-Encoding: chunked\r\n", "2;a=\"GET /smuggled HTTP/1.1\"\r\nxx\r\n0\r\n\r\n"),
            Harmless(1),
        ),
    ]);
}

#[test]
fn heads() {
    let get = |fields: &str| with_method("GET", fields, "");
    attacks([
        ("a bare LF in a head", get("X: y\nGET /smuggled HTTP/1.1\r\n"), Refused(400)),
        ("two bare LFs in a head", get("X: y\n\nGET /smuggled HTTP/1.1\r\n"), Refused(400)),
        ("a bare CR in a head", get("X: y\r\rGET /smuggled HTTP/1.1\r\n"), Refused(400)),
        ("CR without LF for all line ends", "GET http://{origin}/ HTTP/1.1\rHost: {origin}\r\rGET /smuggled HTTP/1.1\r\r".into(), NothingWhole),
        ("LF for all line ends", "GET http://{origin}/ HTTP/1.1\nHost: {origin}\n\nGET /smuggled HTTP/1.1\n\n".into(), Refused(400)),
        ("NUL before the end of a head", get("X: y\0\r\n"), Refused(400)),
        ("a space before a colon", get("X : y\r\n"), Refused(400)),
        ("obs-fold", get("X: y\r\n z\r\n"), Refused(400)),
        ("a second request line among the fields", get("GET /smuggled HTTP/1.1\r\n"), Refused(400)),
        ("a colon behind a request line among the fields", get("GET /smuggled HTTP/1.1: x\r\n"), Refused(400)),
        ("HTTP/0.9", b"GET http://{origin}/smuggled\r\n\r\n".to_vec(), Refused(400)),
        ("HTTP/0.9 with a length", b"GET http://{origin}/smuggled\r\nContent-Length: 5\r\n\r\nhello".to_vec(), Refused(400)),
        ("a request in the target", "GET http://{origin}/\u{20}HTTP/1.1\r\n/smuggled HTTP/1.1\r\nHost: {origin}\r\n\r\n".into(), Refused(400)),
        ("CRLF in the target, percent-encoded, stays so", "GET http://{origin}/%0d%0aGET%20/smuggle HTTP/1.1\r\nHost: {origin}\r\n\r\n".into(), Harmless(1)),
        ("HTTP/1.0 with chunked", "POST http://{origin}/ HTTP/1.0\r\nHost: {origin}\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned().into_bytes(), Refused(400)),
        ("HTTP/1.0 with chunked and keep-alive", format!("POST http://{{origin}}/ HTTP/1.0\r\nHost: {{origin}}\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n{}", in_chunk(FIXED)).into_bytes(), Refused(400)),
        ("Connection names Host", get("Connection: Host\r\n"), Harmless(1)),
        ("Connection names Content-Length", post(&format!("Connection: Content-Length\r\nContent-Length: {}\r\n", FIXED.len()), FIXED), Harmless(1)),
        ("Connection names Transfer-Encoding", post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", &in_chunk(FIXED)), Harmless(1)),
        ("Keep-Alive names Content-Length", post(&format!("Keep-Alive: Content-Length\r\nContent-Length: {}\r\n", FIXED.len()), FIXED), Harmless(1)),
        ("a body behind Upgrade", post(&format!("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {}\r\n", FIXED.len()), FIXED), Harmless(1)),
        ("Content-Length of zero with a body", post("Content-Length: 0\r\n", "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"), OneThenRefused),
        ("a stray line before a second request", with_method("GET", "", "x\r\nGET /smuggled HTTP/1.1\r\n\r\n"), OneThenRefused),
    ]);
}

#[test]
fn authorities() {
    let to = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    attacks([
        ("userinfo", to("http://evil.test@{origin}/", "{origin}"), Refused(400)),
        ("userinfo the other way", to("http://{origin}@evil.test/", "{origin}"), Refused(400)),
        ("two at signs", to("http://a@b@{origin}/", "{origin}"), Refused(400)),
        ("a backslash before an at sign", to("http://{origin}\\@evil.test/", "{origin}"), Refused(400)),
        ("a backslash for a slash", to("http:\\\\{origin}/", "{origin}"), Refused(400)),
        ("a backslash behind the authority", to("http://{origin}\\.evil.test/", "{origin}"), Refused(400)),
        ("an encoded at sign", to("http://evil.test%40{origin}/", "{origin}"), Refused(400)),
        ("an encoded slash", to("http://{origin}%2f.evil.test/", "{origin}"), Refused(400)),
        ("a fragment in the authority", to("http://{origin}#@evil.test/", "{origin}"), Refused(400)),
        ("an empty Host", to("http://{origin}/", ""), Refused(400)),
        ("two Hosts", b"GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nHost: evil.test\r\n\r\n".to_vec(), Refused(400)),
        ("two Hosts, the second empty", b"GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nHost:\r\n\r\n".to_vec(), Refused(400)),
        ("two Hosts, one folded", b"GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n Host: evil.test\r\n\r\n".to_vec(), Refused(400)),
        (
            "a Host with a space before its colon",
            b"GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nHost : evil.test\r\n\r\n".to_vec(),
            Refused(400),
        ),
        ("a Host with an at sign", to("http://{origin}/", "{origin}@evil.test"), Refused(400)),
        ("a Host with a list", to("http://{origin}/", "{origin}, evil.test"), Refused(400)),
        ("a Host that is another: the target wins", to("http://{origin}/", "evil.test"), Harmless(1)),
        (
            "X-Forwarded-Host changes nothing",
            b"GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nX-Forwarded-Host: evil.test\r\nX-Host: evil.test\r\n\r\n".to_vec(),
            Harmless(1),
        ),
    ]);
    let proxy = Proxy::start();
    run(
        &proxy,
        [case("absolute-form against Host: the origin learns the target's authority only")
            .client("GET http://{origin}/ HTTP/1.1\r\nHost: evil.test\r\n\r\n")
            .origin_gets(GET_FORWARDED)
            .answered()],
    );
}

/// Expect opens windows in which two parsers may see two ends (RFC 9110 section 10.1.1).
#[test]
fn expectations() {
    let expecting =
        |expectation: &str, length: usize, rest: &str| post(&format!("Expect: {expectation}\r\nContent-Length: {length}\r\n"), rest);
    attacks([
        ("0.CL with Expect", expecting("100-continue", FIXED.len(), FIXED), Harmless(1)),
        (
            "CL.0 with Expect",
            with_method("GET", &format!("Expect: 100-continue\r\nContent-Length: {}\r\n", FIXED.len()), FIXED),
            Harmless(1),
        ),
        ("an expectation in other letters", expecting("100-CONTINUE", FIXED.len(), FIXED), Harmless(1)),
        ("an expectation behind another word", expecting("y 100-continue", FIXED.len(), FIXED), Harmless(1)),
        ("an expectation with a parameter", expecting("100-continue;q=1", FIXED.len(), FIXED), Harmless(1)),
        (
            "two expectations",
            post(&format!("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: {}\r\n", FIXED.len()), FIXED),
            Harmless(1),
        ),
        ("an expectation with chunks", post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", &in_chunk(FIXED)), Harmless(1)),
        (
            "HEAD with an expectation",
            with_method("HEAD", &format!("Expect: 100-continue\r\nContent-Length: {}\r\n", FIXED.len()), FIXED),
            Harmless(1),
        ),
    ]);
    let proxy = Proxy::start();
    let expecting = || {
        case("")
            .client("POST http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nExpect: 100-continue\r\nContent-Length: 43\r\n\r\n")
            .origin_gets("POST / HTTP/1.1\r\nHost: {origin}\r\nExpect: 100-continue\r\nContent-Length: 43\r\nVia: 1.1 outrider\r\n\r\n")
    };
    run(
        &proxy,
        [
            expecting()
                .named("a final answer instead of a 100: what the client sends now is the body that nobody wanted, not a request")
                .origin(OK)
                .client_gets(response_forwarded("Content-Length: 2\r\nConnection: close\r\n", "ok"))
                .client(FIXED.replace("evil.test", "evil.tes"))
                .client_gets_end()
                .origin_gets_end(),
            expecting()
                .named("a 100 and a final answer in one segment")
                .origin(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"))
                .client_gets("HTTP/1.1 100 Continue\r\nVia: 1.1 outrider\r\n\r\n")
                .client_gets(response_forwarded("Content-Length: 2\r\nConnection: close\r\n", "ok"))
                .client(FIXED)
                .client_gets_end()
                .origin_gets_end(),
            case("RFC 9110 section 15.2.1: a 100 is never the answer to HEAD")
                .client("HEAD http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nExpect: 100-continue\r\n\r\n")
                .origin_gets("HEAD / HTTP/1.1\r\nHost: {origin}\r\nExpect: 100-continue\r\nVia: 1.1 outrider\r\n\r\n")
                .origin("HTTP/1.1 100 Continue\r\n\r\n")
                .client_gets("HTTP/1.1 100 Continue\r\nVia: 1.1 outrider\r\n\r\n")
                .origin(response("Content-Length: 44\r\n", ""))
                .client_gets(response_forwarded("Content-Length: 44\r\n", ""))
                .goes_on(),
        ],
    );
}

/// What a hostile origin may try on the client or on the next stream.
#[test]
fn hostile_responses() {
    let proxy = Proxy::start();
    let asked = |name: &str| case(name).client(GET).origin_gets(GET_FORWARDED);
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    run(
        &proxy,
        [
            asked("a response behind a response").origin(format!("{OK}{EVIL}")).client_gets(crate::catalogue::OK_FORWARDED).goes_on_anew(),
            asked("a response behind a pipelined answer does not answer the next request")
                .client(GET)
                .origin(format!("{OK}{EVIL}"))
                .client_gets(crate::catalogue::OK_FORWARDED)
                .origin_gets_anew(GET_FORWARDED)
                .answered(),
            asked("two lengths")
                .origin(response("Content-Length: 2\r\nContent-Length: 42\r\n", "ok"))
                .local_reply(502, "conflicting_content_length")
                .origin_gets_end(),
            asked("length and coding")
                .origin(response("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"))
                .local_reply(502, "content_length_with_transfer_encoding")
                .origin_gets_end(),
            asked("a status line without a phrase")
                .origin(OK.replace("200 OK", "200"))
                .client_gets(crate::catalogue::OK_FORWARDED.replace("200 OK", "200 "))
                .goes_on(),
            asked("a status line without a status")
                .origin("HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
                .local_reply(502, "invalid_status_line")
                .origin_gets_end(),
            asked("HTTP/0.9").origin("<html>evil</html>\r\n\r\n").local_reply(502, "invalid_status_line").origin_gets_end(),
            asked("a bare LF that would split the response")
                .origin("HTTP/1.1 200 OK\r\nX: y\n\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .local_reply(502, "bare_line_feed")
                .origin_gets_end(),
            asked("Connection: Content-Length in a response")
                .origin(response("Connection: Content-Length\r\nContent-Length: 2\r\n", "ok"))
                .client_gets(crate::catalogue::OK_FORWARDED)
                .goes_on(),
            asked("trailers that carry framing")
                .origin(response("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\nContent-Length: 4\r\n\r\n"))
                .client_gets_chunked(crate::catalogue::response_forwarded("Transfer-Encoding: chunked\r\n", ""), "ok")
                .goes_on(),
            asked("a 101 smuggles a response into a tunnel that nobody asked for")
                .origin(format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{EVIL}"))
                .local_reply(502, "unexpected_upgrade")
                .goes_on_anew(),
            asked("a body behind a 204 does not answer the next request")
                .origin(format!("HTTP/1.1 204 No Content\r\nDate: x\r\nContent-Length: 42\r\n\r\n{EVIL}"))
                .client_gets("HTTP/1.1 204 No Content\r\nDate: x\r\nVia: 1.1 outrider\r\n\r\n")
                .goes_on_anew(),
            asked("a body behind a 1xx does not answer")
                .origin("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello")
                .client_gets("HTTP/1.1 103 Early Hints\r\nVia: 1.1 outrider\r\n\r\n")
                .step(|scene| {
                    scene.client().half_close();
                    let (got, _) = scene.client().read_to_end();
                    assert!(got.is_empty() || got.starts_with(b"HTTP/1.1 502 "), "{}", dump(&got));
                })
                .client_closes()
                .origin_gets_end(),
        ],
    );
}
