//! Two readers of one stream: what our codec accepts, hyper must read with the same body and the same end.

use hyper::Uri;
use outrider::codec::field::Kind;
use outrider::codec::framing::Framing;
use outrider::codec::index::FieldIndex;
use outrider::codec::request::Request;
use outrider::config::{HeaderKeyFormat, Http1};

use crate::chunked::{Outcome, decode, encode};
use crate::hyper_server::{Served, serve};
use crate::options::choose;
use crate::request::{delimit, destination};

/// Comes after every message; a reader that ends the message elsewhere does not find it.
const SENTINEL: &[u8] = b"GET /sentinel HTTP/1.1\r\nHost: sentinel\r\n\r\n";

pub fn differential(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else { return };
    let chosen = choose(choice);
    let Some(head) = delimit(stream, &chosen.options) else { return };
    let mut index = FieldIndex::default();
    let Ok(request) = Request::parse(head, &chosen.options, &mut index) else { return };
    if request.method == b"CONNECT" {
        return;
    }
    let start = head.as_ptr() as usize - stream.as_ptr() as usize + head.len();
    let Some(message) = Body::read(&stream[start..], request.framing, &chosen.options) else { return };
    let read_size = if chosen.spare { 5 } else { usize::MAX };

    let arrived = [head, message.wire, SENTINEL].concat();
    let goes_on = request.keeps_alive(&chosen.options) && request.minor_version == 1;
    if Uri::try_from(request.target_text).is_ok() && !has_length_list(&request) {
        check(&arrived, &request, request.target_text, &message.data, goes_on, read_size);
    }

    let Some(to) = destination(&request) else { return };
    let mut forwarded = Vec::new();
    request.write_forwarded(&to, &chosen.options, &mut forwarded);
    let target = forwarded.split(|&byte| byte == b' ').nth(1).expect("a request line").to_vec();
    match request.framing {
        Framing::Chunked => forwarded.extend_from_slice(&encode(&message.data, 16, &message.trailers)),
        _ => forwarded.extend_from_slice(&message.data),
    }
    forwarded.extend_from_slice(SENTINEL);
    if Uri::try_from(&target[..]).is_ok() {
        check(&forwarded, &request, &target, &message.data, true, read_size);
    }
}

/// A list in Content-Length may be folded or refused (RFC 9112 section 6.3): we fold, hyper refuses.
fn has_length_list(request: &Request<'_>) -> bool {
    request.fields().any(|field| field.kind == Kind::ContentLength && field.value.contains(&b','))
}

fn check(stream: &[u8], request: &Request<'_>, target: &[u8], body: &[u8], goes_on: bool, read_size: usize) {
    let served = serve(stream, read_size);
    let context = || format!("{} was read as {served:#?}", stream.escape_ascii());
    let [first, rest @ ..] = &served[..] else { panic!("hyper refused: {}", stream.escape_ascii()) };
    assert_eq!(first.method.as_bytes(), request.method, "{}", context());
    assert_eq!(first.target, Uri::try_from(target).expect("was tried").to_string(), "{}", context());
    assert_eq!(first.body.as_deref(), Ok(body), "{}", context());
    let sentinel = Served { method: "GET".to_owned(), target: "/sentinel".to_owned(), body: Ok(Vec::new()) };
    match rest {
        [] => assert!(!goes_on, "{}", context()),
        [second] => assert_eq!(*second, sentinel, "{}", context()),
        _ => panic!("more messages than were sent: {}", context()),
    }
}

/// A whole body, as our codec reads it.
struct Body<'d> {
    data: Vec<u8>,
    trailers: Vec<u8>,
    wire: &'d [u8],
}

impl<'d> Body<'d> {
    fn read(stream: &'d [u8], framing: Framing, options: &Http1) -> Option<Self> {
        match framing {
            Framing::None => Some(Body { data: Vec::new(), trailers: Vec::new(), wire: &[] }),
            Framing::Length(length) => {
                let wire = stream.get(..usize::try_from(length).ok()?)?;
                Some(Body { data: wire.to_vec(), trailers: Vec::new(), wire })
            }
            Framing::Chunked => {
                let kept = options.enable_trailers.then_some(HeaderKeyFormat::PreserveCase);
                match decode(stream, stream.len(), options.max_request_headers, kept) {
                    Outcome::Whole { body, trailers, used } => Some(Body { data: body, trailers, wire: &stream[..used] }),
                    Outcome::Partial { .. } | Outcome::Refused { .. } => None,
                }
            }
            Framing::UntilClose => panic!("a request that runs until close"),
        }
    }
}
