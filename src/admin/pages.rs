//! How answers of the admin API look, and the pages that need nothing from the server.

use std::fmt::Write;
use std::time::UNIX_EPOCH;

use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};

use super::routes::{ROUTES, Route};
use super::{Control, Page};
use crate::json;
use crate::stats::{Memory, ServerState};

pub(super) type Response = hyper::Response<Full<Bytes>>;

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    response(status, TEXT, body.into())
}

pub(super) fn error(status: StatusCode, reason: &str) -> Response {
    text(status, format!("{reason}\n"))
}

pub(super) fn json(body: String) -> Response {
    response(StatusCode::OK, JSON, body)
}

pub(super) fn page(page: Page) -> Response {
    match page {
        Page::Text(body) => text(StatusCode::OK, body),
        Page::Json(body) => json(body),
    }
}

pub(super) fn response(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// The front page: every route as a link, or as a button where it changes something.
pub(super) fn front() -> Response {
    let mut body = String::from(
        "<!DOCTYPE html><html lang=\"en\"><title>Outrider</title><style>body{font:16px sans-serif;margin:2em}td{padding:.2em 1em \
         .2em 0}form{margin:0}</style><h1>Outrider</h1><table>",
    );
    for Route { path, access, help, .. } in ROUTES {
        let entry = match access.reads() {
            true => format!("<a href=\"{path}\">{path}</a>"),
            false => format!("<form method=\"post\" action=\"{path}\"><button>{path}</button></form>"),
        };
        write!(body, "<tr><td>{entry}<td>{help}").expect("a String takes everything");
    }
    body.push_str("</table></html>\n");
    response(StatusCode::OK, HTML, body)
}

pub(super) fn help() -> String {
    let lines = ROUTES.iter().map(|route| format!("{:10} {:20} {}\n", route.access.methods(), route.path, route.help));
    lines.collect()
}

/// For load balancers: 200 only while new connections are welcome.
pub(super) fn ready(control: &Control) -> Response {
    let state = control.registry.state();
    let status = if state == ServerState::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    error(status, state.as_str())
}

pub(super) fn server_info(control: &Control) -> Response {
    let registry = &control.registry;
    let started = registry.started_at().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json(format!(
        "{{\"version\":\"{}\",\"state\":\"{}\",\"pid\":{},\"concurrency\":{},\"started\":{started},\"uptime_seconds\":{}}}\n",
        env!("CARGO_PKG_VERSION"),
        registry.state().as_str(),
        std::process::id(),
        registry.workers().len(),
        registry.uptime().as_secs(),
    ))
}

pub(super) fn memory() -> Response {
    let Memory { resident, resident_peak, anonymous, address_space } = Memory::now();
    json(format!(
        "{{\"resident\":{resident},\"resident_peak\":{resident_peak},\"anonymous\":{anonymous},\"address_space\":{address_space}}}\n"
    ))
}

/// Every module and its level.
pub(super) fn levels(control: &Control, as_json: bool) -> Response {
    let levels = control.logging.list();
    if !as_json {
        return text(StatusCode::OK, levels.iter().map(|(name, level)| format!("{name}: {level}\n")).collect::<String>());
    }
    let pairs: Vec<String> = levels.iter().map(|(name, level)| format!("{}:\"{level}\"", json::string(name))).collect();
    json(format!("{{{}}}\n", pairs.join(",")))
}
