//! hyper as a second reader of requests, without a socket.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::runtime::{Builder, Runtime};

/// A request as hyper read it.
#[derive(Debug, PartialEq, Eq)]
pub struct Served {
    pub method: String,
    pub target: String,
    pub body: Result<Vec<u8>, String>,
}

/// Serves a stream of requests that arrives in reads of up to `read_size` bytes, and then ends.
pub fn serve(stream: &[u8], read_size: usize) -> Vec<Served> {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime without drivers");
    }
    let served = RefCell::new(Vec::new());
    let service = service_fn(async |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes().to_vec()).map_err(|error| error.to_string());
        served.borrow_mut().push(Served { method: head.method.to_string(), target: head.uri.to_string(), body });
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let pipe = Pipe { left: stream.to_vec(), at: 0, read_size };
    // Its errors show in what was not served.
    let _ =
        RUNTIME.with(|runtime| runtime.block_on(http1::Builder::new().half_close(true).max_headers(200).serve_connection(pipe, service)));
    served.into_inner()
}

/// Reads from memory; writes to nowhere.
struct Pipe {
    left: Vec<u8>,
    at: usize,
    read_size: usize,
}

impl Read for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let length = (self.left.len() - self.at).min(self.read_size).min(buffer.remaining());
        buffer.put_slice(&self.left[self.at..self.at + length]);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

impl Write for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
