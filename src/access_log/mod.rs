//! One line per stream and per tunnel: what was asked, what came of it, how long each part took.
//!
//! A worker encodes each [`Record`] into a buffer of its own ([`Log`]) and hands full or aged buffers to one thread that
//! writes them ([`Writer`]). Buffers go to and fro between the two, so in the long run nothing is allocated, and since a
//! worker owns only a few, a disk that hangs costs lines (counted) but never a worker's time.

use std::net::SocketAddr;
use std::time::Duration;

mod encode;
mod fields;
mod journal;
mod log;
mod output;
mod queue;
mod writer;

pub use fields::{FIELDS, LogField};
pub use log::{Handle, Log};
pub use output::OpenError;
pub use writer::Writer;

/// What happened to one stream, borrowed from it when it ends.
///
/// Absent values are `None` or empty and are left out of the line.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Unique to this run of the process; also sent in local replies as `x-request-id`.
    pub request_id: u64,
    pub listener: &'a str,
    pub worker: usize,
    pub client: SocketAddr,
    pub method: &'a [u8],
    /// The request target as the client wrote it.
    pub target: &'a [u8],
    /// Minor version of HTTP/1 that the client spoke.
    pub minor_version: u8,
    /// Status sent to the client; `None` where nothing could be sent.
    pub status: Option<u16>,
    /// Envoy's letters, see `downstream::FLAGS`; empty is none.
    pub response_flag: &'a str,
    /// Stable reason string; empty where the origin answered and all went well.
    pub reason: &'a str,
    /// Detail for people, such as the operating system's error.
    pub detail: &'a str,
    /// Name of the policy rule that decided.
    pub rule: &'a [u8],
    /// Canonical `host:port`; empty when no cluster was chosen.
    pub cluster: &'a [u8],
    /// The address dialled.
    pub endpoint: Option<SocketAddr>,
    /// Whether the upstream connection came from the pool.
    pub reused: bool,
    /// Bytes of bodies or tunnel from the client, and to it.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub dns: Option<Duration>,
    pub connect: Option<Duration>,
    /// From the start of the stream to the first byte of the response.
    pub first_byte: Option<Duration>,
    pub duration: Duration,
}
