use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::codec::head::HeadScanner;

/// The defaults, with a pseudonym that is known.
fn options() -> Http1 {
    Http1 { via: "outrider".to_owned(), ..Http1::default() }
}

const DATE: [u8; 29] = *b"Sun, 06 Nov 1994 08:49:37 GMT";

/// A line of a response, and what is to become of it.
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
}

#[derive(Debug, Clone)]
struct Case {
    arrives: Vec<u8>,
    leaves: Vec<u8>,
    framing: Framing,
    reframed: Reframed,
}

fn line() -> impl Strategy<Value = Line> {
    const KEPT: &[&str] =
        &["Server: x", "set-cookie:a=1", "Set-Cookie: b=2", "Via: 1.0 fred", "X-Empty:", "ETag:\t\"\t\"", "Proxy-Authenticate: Basic"];
    const DROPPED: &[&str] =
        &["Connection: keep-alive, X-Hop", "X-HOP: 1", "Keep-Alive: timeout=5", "proxy-connection: x", "Upgrade: h2", "TE: gzip"];
    let value = prop::collection::vec(prop_oneof![9 => 0x20u8..0x7f, 1 => 0x80u8..=0xff, 1 => Just(b'\t')], 0..24);
    let any = ("[xX]-[A-Za-gi-z0-9!#$%&'*+.^_`|~-]{1,12}:", value).prop_map(|(name, value)| Line::kept([name.as_bytes(), &value].concat()));
    prop_oneof![5 => any, 3 => select(KEPT).prop_map(Line::kept), 2 => select(DROPPED).prop_map(Line::dropped)]
}

fn case() -> impl Strategy<Value = Case> {
    // What frames it, how that is read, and how it leaves to an HTTP/1.1 client.
    let framing = prop_oneof![
        (1u64..1 << 40).prop_map(|length| (Some(Line::kept(format!("content-length:  {length}"))), Framing::Length(length))),
        Just((Some(Line::kept("Content-Length: 0")), Framing::None)),
        Just((Some(Line::dropped("Transfer-Encoding:chunked")), Framing::Chunked)),
        Just((None, Framing::UntilClose)),
    ];
    let phrase = prop::collection::vec(prop_oneof![9 => 0x20u8..0x7f, 1 => 0x80u8..=0xff, 1 => Just(b'\t')], 0..12);
    let status = prop_oneof![Just(200u16), Just(206), Just(404), Just(599), Just(999)];
    (status, phrase, prop::collection::vec(line(), 0..8), framing, any::<Index>(), any::<bool>()).prop_map(
        |(status, phrase, mut lines, (framing_line, framing), at, has_date)| {
            // Names X-Hop, wherever it stands.
            lines.push(Line::dropped("connection:x-hop"));
            lines.extend(has_date.then(|| Line::kept("date: yesterday")));
            if let Some(line) = framing_line {
                lines.insert(at.index(lines.len() + 1), line);
            }
            let status_line = |version: &str| [format!("HTTP/1.{version} {status} ").as_bytes(), &phrase, b"\r\n"].concat();
            let (mut arrives, mut leaves) = (status_line("1"), status_line("1"));
            for line in &lines {
                arrives.extend([&line.arrives[..], b"\r\n"].concat());
                leaves.extend(line.leaves.iter().flat_map(|text| [text, &b"\r\n"[..]].concat()));
            }
            arrives.extend(b"\r\n");
            let outgoing = if framing == Framing::UntilClose { Framing::Chunked } else { framing };
            if outgoing == Framing::Chunked {
                leaves.extend(b"Transfer-Encoding: chunked\r\n");
            }
            if !has_date {
                leaves.extend([b"Date: ", &DATE[..], b"\r\n"].concat());
            }
            leaves.extend(b"Via: 1.1 outrider\r\n\r\n");
            Case { arrives, leaves, framing, reframed: Reframed { framing: outgoing, connection: ConnectionField::Absent } }
        },
    )
}

/// Also a field that means something to us ends here when Connection names it (RFC 9110 section 7.6.1).
#[test]
fn connection_may_name_what_we_know() {
    let head = b"HTTP/1.1 204 \r\nTrailer: x\r\nHTTP2-Settings: x\r\nDate: x\r\nConnection: trailer, http2-settings, date\r\n\r\n";
    let mut index = FieldIndex::default();
    let response = Response::parse(head, RequestKind::Other, &options(), &mut index).expect("is valid");
    let mut out = Vec::new();
    let reframed = Reframed { framing: response.framing, connection: ConnectionField::Absent };
    response.write_forwarded(reframed, &options(), || DATE, &mut out);
    assert_eq!(out.escape_ascii().to_string(), b"HTTP/1.1 204 \r\nDate: x\r\nVia: 1.1 outrider\r\n\r\n".escape_ascii().to_string());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 400 }))]

    /// What leaves is what came, but for the declared edits, wherever the input was split.
    #[test]
    fn leaves_as_it_came_but_for_the_declared_edits(case in case(), rest in prop::collection::vec(any::<u8>(), 0..20)) {
        let options = options();
        let stream = [&case.arrives[..], &rest].concat();
        for split in 0..case.arrives.len() {
            let mut scanner = HeadScanner::default();
            prop_assert_eq!(scanner.find_end(&stream[..split], options.max_response_headers), Ok(None));
            prop_assert_eq!(scanner.find_end(&stream, options.max_response_headers), Ok(Some(case.arrives.len())));
        }
        let mut index = FieldIndex::default();
        let response = Response::parse(&case.arrives, RequestKind::Other, &options, &mut index);
        let response = response.map_err(|refusal| TestCaseError::fail(refusal.reason()))?;
        prop_assert_eq!(response.framing, case.framing);
        let mut out = Vec::new();
        response.write_forwarded(case.reframed, &options, || DATE, &mut out);
        prop_assert_eq!(out.escape_ascii().to_string(), case.leaves.escape_ascii().to_string());

        // A client reads it with the framing that it was given.
        let mut index = FieldIndex::default();
        let again = Response::parse(&out, RequestKind::Other, &options, &mut index).map(|again| again.framing);
        prop_assert_eq!(again, Ok(case.reframed.framing));
    }

    /// To HEAD the same fields come, and no body.
    #[test]
    fn a_head_request_gets_the_fields_without_a_body(case in case()) {
        let mut index = FieldIndex::default();
        let response = Response::parse(&case.arrives, RequestKind::Head, &options(), &mut index).expect("is valid");
        prop_assert_eq!(response.framing, Framing::None);
        prop_assert!(response.keeps_alive());
    }

    /// One byte of a valid head changed to any other: no panic, and what is still accepted can be written.
    #[test]
    fn a_changed_byte_does_no_harm(case in case(), at in any::<Index>(), byte in any::<u8>()) {
        let mut head = case.arrives;
        let at = at.index(head.len());
        head[at] = byte;
        let options = options();
        let Ok(Some(end)) = HeadScanner::default().find_end(&head, options.max_response_headers) else { return Ok(()) };
        let mut index = FieldIndex::default();
        let Ok(response) = Response::parse(&head[..end], RequestKind::Other, &options, &mut index) else { return Ok(()) };
        let framing = if response.framing == Framing::UntilClose && !response.has_other_coding() { Framing::Chunked } else { response.framing };
        let connection = if response.status == 101 { ConnectionField::Upgrade } else { ConnectionField::Absent };
        let mut out = Vec::new();
        response.write_forwarded(Reframed { framing, connection }, &options, || DATE, &mut out);
        let mut index = FieldIndex::default();
        let again = Response::parse(&out, RequestKind::Other, &options, &mut index);
        prop_assert_eq!(again.map(|again| again.framing), Ok(framing), "{}", out.escape_ascii());
    }
}
