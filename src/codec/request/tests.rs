use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::codec::head::HeadScanner;
use crate::config::HeaderKeyFormat;

/// The defaults, with a pseudonym that is known.
fn options() -> Http1 {
    Http1 { via: "outrider".to_owned(), ..Http1::default() }
}

/// A line of a request, and what is to become of it.
#[derive(Debug, Clone)]
struct Line {
    arrives: Vec<u8>,
    leaves: Option<Vec<u8>>,
}

impl Line {
    fn kept(text: impl AsRef<[u8]>) -> Self {
        Line { arrives: text.as_ref().to_vec(), leaves: Some(text.as_ref().to_vec()) }
    }

    fn dropped(text: impl AsRef<[u8]>) -> Self {
        Line { arrives: text.as_ref().to_vec(), leaves: None }
    }

    fn edited(text: impl AsRef<[u8]>, leaves: impl AsRef<[u8]>) -> Self {
        Line { arrives: text.as_ref().to_vec(), leaves: Some(leaves.as_ref().to_vec()) }
    }
}

/// A request, what it is to leave as, and how its body is framed.
#[derive(Debug, Clone)]
struct Case {
    arrives: Vec<u8>,
    leaves: Vec<u8>,
    framing: Framing,
}

/// Any spacing, any byte that may stand in a value, values that are empty.
fn end_to_end_line() -> impl Strategy<Value = Line> {
    let byte = || prop_oneof![9 => 0x21u8..0x7f, 1 => 0x80u8..=0xff];
    let words = prop::collection::vec(prop::collection::vec(byte(), 1..8), 0..4);
    ("[xX]-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", "[ \t]{0,3}", words, "[ \t]{1,2}", "[ \t]{0,2}").prop_map(
        |(name, before, words, between, after)| {
            let value = words.join(between.as_bytes());
            Line::kept([name.as_bytes(), b":", before.as_bytes(), &value, after.as_bytes()].concat())
        },
    )
}

fn line() -> impl Strategy<Value = Line> {
    const KEPT: &[&str] = &[
        "Accept: */*",
        "cookie:a=1",
        "Cookie: b=2",
        "VIA: 1.0 fred",
        "Date: x",
        "expect: 100-Continue",
        "Trailer: X-Sum",
        "Max-Forwards: 7",
    ];
    const DROPPED: &[&str] = &[
        "Connection: close",
        "connection:X-Named-1 , keep-alive",
        "CONNECTION: x-named-2,Host,Content-Length,Via",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "Proxy-Authorization: Basic eDp5",
        "TE: gzip",
        "Upgrade: websocket",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
    ];
    prop_oneof![6 => end_to_end_line(), 2 => select(KEPT).prop_map(Line::kept), 2 => select(DROPPED).prop_map(Line::dropped)]
}

/// Lines that frame the body, and the field that is written at the end for them.
fn framing() -> impl Strategy<Value = (Vec<Line>, &'static str, Framing)> {
    let length = (1u64..1 << 40).prop_flat_map(|length| {
        let lines = vec![
            vec![Line::kept(format!("content-LENGTH:{length} "))],
            vec![Line::kept(format!("Content-Length: {length}")), Line::dropped(format!("Content-Length: {length}"))],
            vec![Line::edited(format!("Content-length: 00{length},{length}"), format!("Content-length: {length}"))],
        ];
        (select(lines), Just(""), Just(Framing::Length(length)))
    });
    prop_oneof![
        Just((Vec::new(), "", Framing::None)),
        Just((vec![Line::kept("Content-Length: 0")], "", Framing::None)),
        Just((vec![Line::dropped("transfer-encoding: Chunked")], "Transfer-Encoding: chunked\r\n", Framing::Chunked)),
        length,
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let method = select(vec!["GET", "POST", "PROPFIND", "m-search", "!#$%&'*+-.^_`|~9"]);
    let authority =
        select(vec!["example.org", "EXAMPLE.org.:8080", "192.0.2.1:80", "[2001:DB8::1]:81", "b%C3%BCcher.example", "a_b.example:"]);
    // The last is no ASCII, but the bytes of clients that do not encode.
    let path = prop_oneof![Just(String::new()), "[/?]([!-\"$-~]{0,30}|[/é]{1,9})"];
    let host = prop_oneof![3 => Just(None), 1 => select(vec!["other.example", "", "EXAMPLE.ORG:80"]).prop_map(Some)];
    let lines = prop::collection::vec(line(), 0..8);
    (method, authority, path, host, lines, framing(), any::<[Index; 3]>(), any::<bool>()).prop_filter_map(
        "a host that can be read",
        |(method, authority, path, host, mut lines, (framing_lines, written, framing), at, scheme_in_capitals)| {
            crate::codec::authority::Authority::parse(authority.as_bytes(), Some(80)).ok()?;
            let host_line = match host {
                None => Line::kept(format!("Host:  {authority}")),
                Some("") => return None,
                Some(other) => Line::edited(format!("hOst: {other}"), format!("hOst: {authority}")),
            };
            lines.insert(at[0].index(lines.len() + 1), host_line);
            for line in framing_lines.into_iter().rev() {
                lines.insert(at[1].index(lines.len() + 1), line);
            }
            // The order of two framing lines matters for which of them is kept.
            lines.sort_by_key(|line| line.leaves.is_none() && line.arrives.starts_with(b"Content-Length"));
            strip_named(&mut lines);

            let scheme = if scheme_in_capitals { "HTTP" } else { "http" };
            let slash = if path.starts_with('/') { "" } else { "/" };
            let mut arrives = format!("{method} {scheme}://{authority}{path} HTTP/1.1\r\n").into_bytes();
            let mut leaves = format!("{method} {slash}{path} HTTP/1.1\r\n").into_bytes();
            for line in &lines {
                arrives.extend([&line.arrives[..], b"\r\n"].concat());
                leaves.extend(line.leaves.iter().flat_map(|text| [text, &b"\r\n"[..]].concat()));
            }
            arrives.extend(b"\r\n");
            leaves.extend([written.as_bytes(), b"Via: 1.1 outrider\r\n\r\n"].concat());
            Some(Case { arrives, leaves, framing })
        },
    )
}

/// Adds fields that Connection may name: they go if it does, wherever it stands.
fn strip_named(lines: &mut Vec<Line>) {
    for (name, option) in [("X-Named-1", &b"X-Named-1"[..]), ("X-NAMED-2", b"x-named-2")] {
        let is_named = lines.iter().any(|line| line.leaves.is_none() && memchr::memmem::find(&line.arrives, option).is_some());
        let text = format!("{name}: 1");
        lines.insert(lines.len() / 2, if is_named { Line::dropped(text) } else { Line::kept(text) });
    }
}

fn forward(head: &[u8], options: &Http1) -> Result<(Vec<u8>, Framing), Refusal> {
    let mut index = FieldIndex::default();
    let request = Request::parse(head, options, &mut index)?;
    let Target::Absolute(target) = request.target else { panic!("not absolute") };
    let mut out = Vec::new();
    request.write_forwarded(&target, options, &mut out);
    Ok((out, request.framing))
}

/// Also a field that means something to us ends here when Connection names it (RFC 9110 section 7.6.1).
#[test]
fn connection_may_name_trailer() {
    let head = b"GET http://a/ HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nConnection: trailer, host\r\n\r\n";
    let (out, _) = forward(head, &options()).expect("is valid");
    assert_eq!(out.escape_ascii().to_string(), b"GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 outrider\r\n\r\n".escape_ascii().to_string());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 400 }))]

    /// What leaves is what came, but for the declared edits, wherever the input was split.
    #[test]
    fn leaves_as_it_came_but_for_the_declared_edits(case in case(), rest in prop::collection::vec(any::<u8>(), 0..20)) {
        let options = options();
        let stream = [&case.arrives[..], &rest].concat();
        for split in 0..=stream.len() {
            let mut scanner = HeadScanner::default();
            let first = scanner.find_end(&stream[..split], options.max_request_headers).map_err(|refusal| TestCaseError::fail(refusal.reason()))?;
            prop_assert_eq!(first, (split >= case.arrives.len()).then_some(case.arrives.len()));
            if first.is_none() {
                prop_assert_eq!(scanner.find_end(&stream, options.max_request_headers), Ok(Some(case.arrives.len())));
            }
        }
        let (out, framing) = forward(&case.arrives, &options).map_err(|refusal| TestCaseError::fail(refusal.reason()))?;
        prop_assert_eq!(out.escape_ascii().to_string(), case.leaves.escape_ascii().to_string());
        prop_assert_eq!(framing, case.framing);
    }

    /// A format changes the names' case and nothing else.
    #[test]
    fn a_format_changes_only_case(case in case()) {
        for header_key_format in [HeaderKeyFormat::LowerCase, HeaderKeyFormat::ProperCaseWords] {
            let (out, _) = forward(&case.arrives, &Http1 { header_key_format, ..options() }).expect("is valid");
            prop_assert!(out.eq_ignore_ascii_case(&case.leaves), "{} {}", out.escape_ascii(), case.leaves.escape_ascii());
        }
    }

    /// One byte of a valid head changed to any other: no panic, and what is still accepted reads again with the same framing.
    #[test]
    fn a_changed_byte_does_no_harm(case in case(), at in any::<Index>(), byte in any::<u8>()) {
        let mut head = case.arrives;
        let at = at.index(head.len());
        head[at] = byte;
        let options = options();
        let Ok(Some(end)) = HeadScanner::default().find_end(&head, options.max_request_headers) else { return Ok(()) };
        let mut index = FieldIndex::default();
        let Ok(request) = Request::parse(&head[..end], &options, &mut index) else { return Ok(()) };
        let Target::Absolute(target) = request.target else { return Ok(()) };
        let mut out = Vec::new();
        request.write_forwarded(&target, &options, &mut out);
        let mut index = FieldIndex::default();
        let again = Request::parse(&out, &options, &mut index);
        prop_assert_eq!(again.map(|again| again.framing), Ok(request.framing), "{}", out.escape_ascii());
    }
}
