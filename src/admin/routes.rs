//! Every path of the admin API: the one list from which help, front page and dispatch are made.

use std::time::Duration;

use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::pages::{self, Response};
use super::{Command, Control, Format, Page, Request, stats_page};
use crate::stats::Exposition;

pub(super) const ROUTES: &[Route] = &[
    Route::new("/", Access::Read, Action::Front, "This page"),
    Route::new("/help", Access::Read, Action::Help, "The same as text"),
    Route::new("/ready", Access::Read, Action::Ready, "200 while live, 503 before and while draining"),
    Route::new("/server_info", Access::Read, Action::ServerInfo, "Version, state, uptime"),
    Route::new("/stats", Access::Read, Action::Stats, "Statistics; ?filter=TEXT, ?usedonly, ?format=text|json|prometheus"),
    Route::new("/stats/prometheus", Access::Read, Action::Prometheus, "Statistics for Prometheus; ?filter=TEXT, ?usedonly"),
    Route::new("/listeners", Access::Read, Action::Show(Command::ShowListeners), "Listeners; ?format=text|json"),
    Route::new("/clusters", Access::Read, Action::Show(Command::ShowClusters), "Clusters and their endpoints; ?format=text|json"),
    Route::new("/config_dump", Access::Read, Action::Show(Command::ShowConfig), "The configuration in force, as TOML; ?format=text|json"),
    Route::new("/memory", Access::Read, Action::Memory, "Memory of the process, in bytes"),
    Route::new("/logging", Access::Both, Action::Logging, "Log levels by module; POST ?level=LEVEL for all, ?MODULE=LEVEL for one"),
    Route::new(
        "/reload",
        Access::Change,
        Action::Tell(Command::Reload),
        "Put the configuration file in force, or say what is wrong with it",
    ),
    Route::new("/drain_listeners", Access::Change, Action::Tell(Command::DrainListeners), "Accept no new connections"),
    Route::new("/reopen_logs", Access::Change, Action::Tell(Command::ReopenLogs), "Open the access log anew, after a rotation"),
    Route::new("/healthcheck/fail", Access::Change, Action::Healthcheck { failed: true }, "Make /ready answer 503"),
    Route::new("/healthcheck/ok", Access::Change, Action::Healthcheck { failed: false }, "Undo /healthcheck/fail"),
    Route::new("/quitquitquit", Access::Change, Action::Tell(Command::Quit), "Drain, then exit"),
];

/// The server answers between two turns of its own loop; longer means that something is wrong.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// A big file takes its time.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) access: Access,
    action: Action,
    pub(super) help: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Access {
    Read,
    Change,
    Both,
}

#[derive(Clone, Copy)]
enum Action {
    Front,
    Help,
    Ready,
    ServerInfo,
    Stats,
    Prometheus,
    Memory,
    Logging,
    Healthcheck { failed: bool },
    Show(fn(Format) -> Command),
    Tell(Command),
}

pub(super) async fn answer(method: &Method, uri: &Uri, control: &Control) -> Response {
    let Some(route) = ROUTES.iter().find(|route| route.path == uri.path()) else {
        return pages::text(StatusCode::NOT_FOUND, format!("there is no such page; there are\n\n{}", pages::help()));
    };
    let changes = match *method {
        Method::GET | Method::HEAD if route.access.reads() => false,
        Method::POST if route.access.changes() => true,
        _ => return wrong_method(route),
    };
    let query = parse_query(uri.query().unwrap_or_default());
    match run(route.action, changes, &query, control).await {
        Ok(response) => response,
        Err((status, reason)) => pages::error(status, &reason),
    }
}

async fn run(action: Action, changes: bool, query: &[Parameter], control: &Control) -> Result<Response, Failure> {
    Ok(match action {
        Action::Front => pages::front(),
        Action::Help => pages::text(StatusCode::OK, pages::help()),
        Action::Ready => pages::ready(control),
        Action::ServerInfo => pages::server_info(control),
        Action::Memory => pages::memory(),
        Action::Prometheus => prometheus(query, control),
        Action::Stats if value(query, "format") == Some("prometheus") => prometheus(query, control),
        Action::Stats => {
            let format = format(query)?;
            let body = stats_page::render(selected_stats(query, control), format);
            pages::page(if format == Format::Json { Page::Json(body) } else { Page::Text(body) })
        }
        Action::Logging => {
            if changes {
                change_levels(query, control)?;
            }
            // A change has no other parameter than its levels, so that a module may have any name.
            pages::levels(control, !changes && format(query)? == Format::Json)
        }
        Action::Healthcheck { failed } => {
            control.registry.fail_healthcheck(failed);
            pages::text(StatusCode::OK, "OK\n")
        }
        Action::Show(command) => pages::page(ask(command(format(query)?), control).await?),
        Action::Tell(command) => {
            tracing::info!(?command, "admin: told to");
            pages::page(ask(command, control).await?)
        }
    })
}

type Failure = (StatusCode, String);

async fn ask(command: Command, control: &Control) -> Result<Page, Failure> {
    let (reply, answer) = oneshot::channel();
    if control.requests.try_send(Request { command, reply }).is_err() {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "the server is busy or gone".to_owned()));
    }
    match timeout(if command == Command::Reload { RELOAD_TIMEOUT } else { REPLY_TIMEOUT }, answer).await {
        Ok(Ok(Ok(page))) => Ok(page),
        Ok(Ok(Err(reason))) => Err((StatusCode::INTERNAL_SERVER_ERROR, reason)),
        Ok(Err(_)) => Err((StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down".to_owned())),
        Err(_) => Err((StatusCode::GATEWAY_TIMEOUT, "the server did not answer in time".to_owned())),
    }
}

fn prometheus(query: &[Parameter], control: &Control) -> Response {
    pages::response(StatusCode::OK, Exposition::PROMETHEUS_CONTENT_TYPE, selected_stats(query, control).prometheus())
}

fn selected_stats(query: &[Parameter], control: &Control) -> Exposition {
    let mut exposition = control.registry.collect();
    stats_page::select(&mut exposition, value(query, "filter"), value(query, "usedonly").is_some());
    exposition
}

/// All or none: levels that are wrong change nothing.
fn change_levels(query: &[Parameter], control: &Control) -> Result<(), Failure> {
    let bad_request = |reason: String| (StatusCode::BAD_REQUEST, reason);
    let [(name, level)] = query else {
        return Err(bad_request("exactly one ?level=LEVEL or ?MODULE=LEVEL is required".to_owned()));
    };
    let changed = if name == "level" { control.logging.set(level) } else { control.logging.set_target(name, level) };
    changed.map_err(|error| bad_request(error.to_string()))?;
    tracing::info!(name, level, "admin: log level changed");
    Ok(())
}

fn wrong_method(route: &Route) -> Response {
    let methods = route.access.methods();
    let mut response = pages::error(StatusCode::METHOD_NOT_ALLOWED, &format!("{} takes {methods}", route.path));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

impl Route {
    const fn new(path: &'static str, access: Access, action: Action, help: &'static str) -> Self {
        Self { path, access, action, help }
    }
}

impl Access {
    pub(super) fn reads(self) -> bool {
        !matches!(self, Access::Change)
    }

    fn changes(self) -> bool {
        !matches!(self, Access::Read)
    }

    /// As the Allow field has it.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Access::Read => "GET, HEAD",
            Access::Change => "POST",
            Access::Both => "GET, HEAD, POST",
        }
    }
}

type Parameter = (String, String);

fn value<'a>(query: &'a [Parameter], name: &str) -> Option<&'a str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn format(query: &[Parameter]) -> Result<Format, Failure> {
    match value(query, "format") {
        None | Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => Err((StatusCode::BAD_REQUEST, format!("there is no format {other:?} here; see /help"))),
    }
}

fn parse_query(query: &str) -> Vec<Parameter> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| (decode(name), decode(value))).collect()
}

/// Undoes percent-encoding; a percent sign that begins none stands for itself.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|digits| byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(code.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
