//! Request heads: whatever is accepted leaves with the declared edits only, and reads again with the same framing.

use outrider::codec::authority::Authority;
use outrider::codec::framing::Framing;
use outrider::codec::head::{HeadScanner, skip_empty_lines};
use outrider::codec::index::FieldIndex;
use outrider::codec::request::Request;
use outrider::codec::target::{AbsoluteTarget, Target};
use outrider::config::{HeaderKeyFormat, Http1};

use crate::lines::{Line, assert_same, elements, read};
use crate::options::choose;

pub fn request_head(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else { return };
    let options = choose(choice).options;
    let Some(head) = delimit(stream, &options) else { return };
    let mut index = FieldIndex::default();
    let Ok(request) = Request::parse(head, &options, &mut index) else {
        // Must not panic on what was refused, either.
        let _ = Request::framing(head, &options, &mut FieldIndex::default());
        return;
    };
    ends_there_however_it_is_split(head, &options);
    check_forwarded(&request, head, &options);
}

/// The head at the start of a stream, as the proxy cuts it out.
pub fn delimit<'d>(stream: &'d [u8], options: &Http1) -> Option<&'d [u8]> {
    let stream = &stream[skip_empty_lines(stream).ok()??..];
    let end = HeadScanner::default().find_end(stream, options.max_request_headers).ok()??;
    Some(&stream[..end])
}

pub fn ends_there_however_it_is_split(head: &[u8], options: &Http1) {
    let mut scanner = HeadScanner::default();
    for end in 1..head.len() {
        assert_eq!(scanner.find_end(&head[..end], options.max_request_headers), Ok(None), "{end} bytes of {}", head.escape_ascii());
    }
    assert_eq!(scanner.find_end(head, options.max_request_headers), Ok(Some(head.len())));
}

/// Where the request would be sent; `None` for what the proxy answers itself.
pub fn destination<'b>(request: &Request<'b>) -> Option<AbsoluteTarget<'b>> {
    match request.target {
        Target::Absolute(target) => Some(target),
        // As with `default_host_for_http_10`.
        Target::Origin => {
            let authority_text = request.host()?;
            let authority = Authority::parse(authority_text, Some(80)).ok()?;
            Some(AbsoluteTarget { authority, authority_text, path_and_query: request.target_text })
        }
        Target::Authority(_) | Target::Asterisk => None,
    }
}

/// Writing adds up to five fields, so that a head at the limit comes out above it.
pub fn roomier(options: &Http1) -> Http1 {
    Http1 { max_headers_count: options.max_headers_count + 5, max_target: options.max_target + 1024, ..options.clone() }
}

fn check_forwarded(request: &Request<'_>, head: &[u8], options: &Http1) {
    let Some(to) = destination(request) else { return };
    let mut out = Vec::new();
    request.write_forwarded(&to, options, &mut out);
    let (first, written) = read(&out);
    assert_eq!(first, expected_request_line(request, &to, options), "{}", head.escape_ascii());
    assert_same(&written, &expected_fields(request, &read(head).1, &to, options), options.header_key_format);

    let options = roomier(options);
    let mut index = FieldIndex::default();
    let again = Request::parse(&out, &options, &mut index).unwrap_or_else(|refusal| panic!("{refusal:?}: {}", out.escape_ascii()));
    assert_eq!(again.framing, request.framing);
    assert_eq!(again.method, request.method);
    assert_eq!(again.minor_version, 1);
    assert_eq!(again.host(), Some(to.authority_text));
    assert_eq!((again.upgrade, again.expects_continue), (request.upgrade, request.expects_continue));
    assert!(!again.must_close && again.keeps_alive(&options));
    assert_eq!(again.loops, request.loops || options.via_in_requests);

    // A second hop of the same kind changes Via and Max-Forwards, but nothing else.
    if let Some(next) = destination(&again) {
        let mut twice = Vec::new();
        again.write_forwarded(&next, &Http1 { via_in_requests: false, ..options.clone() }, &mut twice);
        let unchanged = |lines: Vec<Line>| {
            let mut lines: Vec<_> = lines.into_iter().filter(|line| !line.is("max-forwards")).collect();
            // What the proxy writes itself comes last, and Via after it only when Via is its own.
            lines.sort_by_key(|line| line.is_one_of(&["via", "te", "connection", "transfer-encoding"]));
            lines.retain(|line| !line.is("via"));
            lines
        };
        assert_eq!(unchanged(read(&twice).1), unchanged(written));
    }
}

fn expected_request_line(request: &Request<'_>, to: &AbsoluteTarget<'_>, options: &Http1) -> Vec<u8> {
    let path = match to.path_and_query {
        b"" if request.method == b"OPTIONS" => if options.send_fully_qualified_url { &b""[..] } else { b"*" }.to_vec(),
        b"" => b"/".to_vec(),
        query @ [b'?', ..] => [b"/", query].concat(),
        path => path.to_vec(),
    };
    let prefix = if options.send_fully_qualified_url { [b"http://", to.authority_text].concat() } else { Vec::new() };
    [request.method, b" ", &prefix, &path, b" HTTP/1.1"].concat()
}

/// The edits that are declared (RFC 9110 section 7.6.1, RFC 9112 sections 3.2.2 and 6), by a plain reading of the lines.
fn expected_fields(request: &Request<'_>, lines: &[Line], to: &AbsoluteTarget<'_>, options: &Http1) -> Vec<Line> {
    const ALWAYS_DROPPED: [&str; 7] =
        ["connection", "proxy-connection", "keep-alive", "te", "transfer-encoding", "proxy-authorization", "http2-settings"];
    // "Close" is an option, and a reserved name that no field has.
    const NEVER_NAMED: [&str; 8] = ["close", "host", "content-length", "via", "date", "max-forwards", "expect", "upgrade"];
    let named = elements(lines, "connection");
    let counts = request.method == b"OPTIONS" || request.method == b"TRACE";
    let trailers = options.enable_trailers && elements(lines, "te").iter().any(|element| element == b"trailers");
    let own = |name: &str, value: &[u8]| Line::new(name.as_bytes(), value);

    let mut expected = Vec::new();
    if !lines.iter().any(|line| line.is("host")) {
        expected.push(own("Host", to.authority_text));
    }
    let mut lengths = 0;
    for line in lines {
        let is_named = named.iter().any(|name| line.name.eq_ignore_ascii_case(name)) && !line.is_one_of(&NEVER_NAMED);
        let underscore = outrider::config::UnderscoresAction::DropHeader == options.headers_with_underscores_action;
        if line.is_one_of(&ALWAYS_DROPPED) || is_named || underscore && line.name.contains(&b'_') {
            continue;
        }
        if line.is("trailer") && !options.enable_trailers || line.is("upgrade") && !request.upgrade {
            continue;
        }
        if line.is("host") && line.value() != to.authority_text {
            expected.push(Line::new(&line.name, to.authority_text));
        } else if line.is("content-length") {
            let length = match request.framing {
                Framing::Chunked => continue,
                Framing::Length(length) => length,
                Framing::None => 0,
                Framing::UntilClose => panic!("a request that runs until close"),
            };
            lengths += 1;
            if lengths == 1 {
                let text = length.to_string();
                expected.push(if line.value() == text.as_bytes() { line.clone() } else { Line::new(&line.name, text.as_bytes()) });
            }
        } else if line.is("max-forwards") && counts {
            let left = request.max_forwards.expect("was read").saturating_sub(1);
            expected.push(Line::new(&line.name, left.to_string().as_bytes()));
        } else {
            expected.push(line.clone());
        }
    }
    if trailers {
        expected.push(own("TE", b"trailers"));
    }
    match (request.upgrade, trailers) {
        (true, true) => expected.push(own("Connection", b"Upgrade, TE")),
        (true, false) => expected.push(own("Connection", b"Upgrade")),
        (false, true) => expected.push(own("Connection", b"TE")),
        (false, false) => {}
    }
    if request.framing == Framing::Chunked {
        expected.push(own("Transfer-Encoding", b"chunked"));
    }
    if options.via_in_requests {
        expected.push(own("Via", format!("1.{} {}", request.minor_version, options.via).as_bytes()));
    }
    debug_assert!(options.header_key_format == HeaderKeyFormat::PreserveCase || !expected.is_empty());
    expected
}
