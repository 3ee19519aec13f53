//! Requests that are meant for the proxy itself.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::pac;
use super::reply::Reply;
use crate::codec::request::Request;
use crate::config::Config;

/// Answers 200 as long as the process serves; not logged, since probes come every few seconds.
const HEALTH_PATH: &[u8] = b"/healthz";

/// Where browsers look for a PAC file; the second by themselves.
const PAC_PATHS: [&[u8]; 2] = [b"/proxy.pac", b"/wpad.dat"];

/// An answer of our own to a request that is no fault.
pub(super) struct Page<'a> {
    status: u16,
    content_type: &'static str,
    body: Cow<'a, str>,
    fields: &'static [(&'static str, &'static str)],
    pub quiet: bool,
}

impl<'a> Page<'a> {
    pub fn into_reply(self, request_id: u64) -> Reply<'a> {
        Reply {
            status: self.status,
            phrase: None,
            content_type: self.content_type,
            body: self.body,
            proxy_status: None,
            fields: self.fields,
            request_id,
            closes: false,
        }
    }
}

/// The page at an origin-form target, if there is one; `address` is where the client has reached us.
pub(super) fn for_origin_form(request: &Request<'_>, config: &Config, address: Option<SocketAddr>) -> Option<Page<'static>> {
    if !matches!(request.method, b"GET" | b"HEAD") {
        return None;
    }
    let path = request.target_text.split(|&byte| byte == b'?').next().unwrap_or_default();
    if path == HEALTH_PATH {
        return Some(Page { status: 200, content_type: "text/plain; charset=utf-8", body: "ok\n".into(), fields: &[], quiet: true });
    }
    if PAC_PATHS.contains(&path) {
        let body = pac::script(config, address?).into();
        return Some(Page { status: 200, content_type: pac::CONTENT_TYPE, body, fields: &[], quiet: false });
    }
    None
}

/// `OPTIONS *` asks what this server can do (RFC 9110 section 9.3.7).
pub(super) fn for_options() -> Page<'static> {
    const ALLOW: &[(&str, &str)] = &[("Allow", "GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH")];
    Page { status: 200, content_type: "", body: "".into(), fields: ALLOW, quiet: false }
}

/// Max-Forwards: 0 makes us the final recipient (RFC 9110 section 7.6.2). TRACE gets its request
/// back without anything that could be a secret (section 9.3.8).
pub(super) fn for_max_forwards(request: &Request<'_>) -> Page<'static> {
    if request.method == b"OPTIONS" {
        return for_options();
    }
    let mut body = String::new();
    for part in [request.method, b" ", request.target_text, b" HTTP/1.", if request.minor_version == 0 { b"0" } else { b"1" }, b"\r\n"] {
        body.push_str(&String::from_utf8_lossy(part));
    }
    for field in request.fields() {
        if !may_be_secret(field.name) {
            body.push_str(&String::from_utf8_lossy(field.line));
        }
    }
    body.push_str("\r\n");
    Page { status: 200, content_type: "message/http", body: body.into(), fields: &[], quiet: false }
}

/// Whether a field's name sounds like credentials.
fn may_be_secret(name: &[u8]) -> bool {
    const SIGNS: [&str; 7] = ["auth", "cookie", "token", "key", "secret", "password", "session"];
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    SIGNS.iter().any(|sign| name.contains(sign))
}
