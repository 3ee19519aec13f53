//! The connections of the admin API.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::pages::{self, Response};
use super::{Admin, Control, guard, routes};

const MAX_CONNECTIONS: usize = 64;
/// Of a request's head, and of the wait for the next one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A reader that takes nothing keeps its place only for so long.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(600);
const MAX_HEAD: usize = 16 * 1024;
/// No request needs a body; small ones are ignored, as a form may send one.
const MAX_BODY: u64 = 64 * 1024;
/// After a failed accept, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who may be at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Whoever the file's mode let in.
    Unix,
    /// Any local program, a browser among them.
    Loopback,
}

impl Admin {
    /// Answers until dropped. Runs on a tokio runtime; fails at once if the sockets cannot join it.
    pub async fn serve(self, control: Control) -> io::Result<Infallible> {
        let (unix, _socket_file) = self.unix.unzip();
        let unix = unix.map(UnixListener::from_std).transpose()?;
        let tcp = self.tcp.map(TcpListener::from_std).transpose()?;
        let mut connections = JoinSet::new();
        loop {
            let room = connections.len() < MAX_CONNECTIONS;
            let accepted = tokio::select! {
                Some(accepted) = accept_unix(unix.as_ref()), if room => accepted.map(|stream| {
                    connections.spawn(run_connection(stream, Peer::Unix, control.clone()));
                }),
                Some(accepted) = accept_tcp(tcp.as_ref()), if room => accepted.map(|stream| {
                    connections.spawn(run_connection(stream, Peer::Loopback, control.clone()));
                }),
                Some(_) = connections.join_next() => Ok(()),
                else => std::future::pending().await,
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "admin: a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_unix(listener: Option<&UnixListener>) -> Option<io::Result<tokio::net::UnixStream>> {
    Some(listener?.accept().await.map(|(stream, _)| stream))
}

async fn accept_tcp(listener: Option<&TcpListener>) -> Option<io::Result<tokio::net::TcpStream>> {
    Some(listener?.accept().await.map(|(stream, _)| stream))
}

async fn run_connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, control: Control) {
    let service = service_fn(|request| {
        let control = control.clone();
        async move { Ok::<_, Infallible>(answer(request, peer, &control).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(MAX_CONNECTION_AGE, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin: a connection broke"),
    }
}

async fn answer(request: Request<Incoming>, peer: Peer, control: &Control) -> Response {
    let (head, body) = request.into_parts();
    if let (Peer::Loopback, Some(refusal)) = (peer, guard::refusal(&head)) {
        return pages::error(StatusCode::FORBIDDEN, refusal);
    }
    if body.size_hint().lower() > MAX_BODY {
        return pages::error(StatusCode::PAYLOAD_TOO_LARGE, "no request needs a body");
    }
    routes::answer(&head.method, &head.uri, control).await
}
