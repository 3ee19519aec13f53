//! Response heads: whatever is accepted leaves with the declared edits only, and a client reads it with the framing it was given.

use outrider::codec::framing::Framing;
use outrider::codec::head::HeadScanner;
use outrider::codec::index::FieldIndex;
use outrider::codec::response::{ConnectionField, Reframed, RequestKind, Response, standard_phrase};
use outrider::config::Http1;

use crate::lines::{Line, assert_same, elements, read};
use crate::options::choose;
use crate::request::{ends_there_however_it_is_split, roomier};

const DATE: [u8; 29] = *b"Sun, 06 Nov 1994 08:49:37 GMT";

pub fn response_head(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else { return };
    let chosen = choose(choice);
    let options = chosen.options;
    let to = if chosen.spare { RequestKind::Head } else { RequestKind::Other };
    let Ok(Some(end)) = HeadScanner::default().find_end(stream, options.max_response_headers) else { return };
    let head = &stream[..end];
    let mut index = FieldIndex::default();
    let Ok(response) = Response::parse(head, to, &options, &mut index) else { return };
    ends_there_however_it_is_split(head, &options);
    for minor_version in [0, 1] {
        if let Some(reframed) = reframe(&response, minor_version) {
            check_forwarded(&response, head, to, reframed, &options);
        }
    }
}

/// As the proxy does it for a client of this version that wants to go on.
fn reframe(response: &Response<'_>, minor_version: u8) -> Option<Reframed> {
    let framing = match response.framing {
        Framing::UntilClose if response.has_other_coding() && minor_version == 0 => return None,
        Framing::UntilClose if response.has_other_coding() => Framing::UntilClose,
        Framing::Chunked if minor_version == 0 => Framing::UntilClose,
        Framing::UntilClose if minor_version == 1 => Framing::Chunked,
        framing => framing,
    };
    let connection = match (response.status, framing) {
        (101, _) => ConnectionField::Upgrade,
        (100..200, _) => ConnectionField::Absent,
        (_, Framing::UntilClose) => ConnectionField::Close,
        _ if minor_version == 0 => ConnectionField::KeepAlive,
        _ => ConnectionField::Absent,
    };
    Some(Reframed { framing, connection })
}

fn check_forwarded(response: &Response<'_>, head: &[u8], to: RequestKind, reframed: Reframed, options: &Http1) {
    let mut out = Vec::new();
    response.write_forwarded(reframed, options, || DATE, &mut out);
    let (first, written) = read(&out);
    let phrase = if options.forward_reason_phrase { response.reason_phrase } else { standard_phrase(response.status).as_bytes() };
    assert_eq!(first, [format!("HTTP/1.1 {} ", response.status).as_bytes(), phrase].concat());
    assert_same(&written, &expected_fields(response, &read(head).1, reframed, options), options.header_key_format);

    let mut index = FieldIndex::default();
    let options = roomier(options);
    let again = Response::parse(&out, to, &options, &mut index).unwrap_or_else(|refusal| panic!("{refusal:?}: {}", out.escape_ascii()));
    assert_eq!(again.framing, reframed.framing, "{} became {}", head.escape_ascii(), out.escape_ascii());
    assert_eq!((again.status, again.minor_version), (response.status, 1));
    assert_eq!(again.keeps_alive(), reframed.connection != ConnectionField::Close);
}

fn expected_fields(response: &Response<'_>, lines: &[Line], reframed: Reframed, options: &Http1) -> Vec<Line> {
    const ALWAYS_DROPPED: [&str; 4] = ["connection", "proxy-connection", "keep-alive", "te"];
    // "Close" is an option, and a reserved name that no field has.
    const NEVER_NAMED: [&str; 9] =
        ["close", "host", "content-length", "transfer-encoding", "via", "date", "max-forwards", "expect", "upgrade"];
    let named = elements(lines, "connection");
    let both = lines.iter().any(|line| line.is("content-length")) && lines.iter().any(|line| line.is("transfer-encoding"));
    let own = |name: &str, value: &[u8]| Line::new(name.as_bytes(), value);
    let mut expected = Vec::new();
    let mut lengths = 0;
    for line in lines {
        let is_named = named.iter().any(|name| line.name.eq_ignore_ascii_case(name)) && !line.is_one_of(&NEVER_NAMED);
        if line.is_one_of(&ALWAYS_DROPPED) || is_named || line.is("trailer") && !options.enable_trailers {
            continue;
        }
        if line.is("transfer-encoding") {
            if response.framing == Framing::UntilClose && reframed.framing == Framing::UntilClose {
                expected.push(line.clone());
            }
        } else if line.is("upgrade") {
            if matches!(response.status, 101 | 426) {
                expected.push(line.clone());
            }
        } else if line.is("content-length") {
            lengths += 1;
            if lengths == 1 && !both && response.status >= 200 && response.status != 204 {
                let element = line.value().split(|&byte| byte == b',').next().expect("split yields one").trim_ascii();
                let number: u64 = std::str::from_utf8(element).expect("digits").parse().expect("a number");
                let text = number.to_string();
                expected.push(if line.value() == text.as_bytes() { line.clone() } else { Line::new(&line.name, text.as_bytes()) });
            }
        } else {
            expected.push(line.clone());
        }
    }
    if reframed.framing == Framing::Chunked {
        expected.push(own("Transfer-Encoding", b"chunked"));
    }
    match reframed.connection {
        ConnectionField::Absent => {}
        ConnectionField::Close => expected.push(own("Connection", b"close")),
        ConnectionField::KeepAlive => expected.push(own("Connection", b"keep-alive")),
        ConnectionField::Upgrade => expected.push(own("Connection", b"Upgrade")),
    }
    if response.status >= 200 && !lines.iter().any(|line| line.is("date")) {
        expected.push(own("Date", &DATE));
    }
    expected.push(own("Via", format!("1.{} {}", response.minor_version, options.via).as_bytes()));
    expected
}
