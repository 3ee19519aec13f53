//! Static probes (USDT) of the provider `outrider`, for bpftrace and other tracers. docs/tracing.md describes them, and
//! `tests/appliance/probes.rs` holds it against the program.
//!
//! While nobody looks each is one `nop`, so they stand in every build. They take integers: -1 says that there is none, and
//! text is where it lies and how long it is.

use std::time::Duration;

use probe::probe;

fn micros(duration: Option<Duration>) -> i64 {
    duration.map_or(-1, |duration| duration.as_micros() as i64)
}

/// A client was accepted.
#[inline(always)]
pub fn connection_begin(worker: usize, descriptor: i32, client_port: u16) {
    probe!(outrider, connection_begin, worker, descriptor, client_port);
}

/// A client's connection ends, after so many requests.
#[inline(always)]
pub fn connection_end(worker: usize, descriptor: i32, requests: u64) {
    probe!(outrider, connection_end, worker, descriptor, requests);
}

/// The first bytes of a request are there.
#[inline(always)]
pub fn stream_begin(worker: usize, request_id: u64, descriptor: i32) {
    probe!(outrider, stream_begin, worker, request_id, descriptor);
}

/// The policy lets a request out, to this destination.
#[inline(always)]
pub fn stream_routed(request_id: u64, destination: &str) {
    probe!(outrider, stream_routed, request_id, destination.as_ptr(), destination.len());
}

/// A request has its upstream connection. Where that was made for it, `dns` and `connect` say what it took.
#[inline(always)]
pub fn upstream_ready(request_id: u64, descriptor: i32, reused: bool, dns: Option<Duration>, connect: Option<Duration>) {
    probe!(outrider, upstream_ready, request_id, descriptor, reused, micros(dns), micros(connect));
}

/// A tunnel begins: from here on bytes are relayed.
#[inline(always)]
pub fn tunnel_begin(request_id: u64) {
    probe!(outrider, tunnel_begin, request_id);
}

/// A stream ends; what the access log tells of it.
#[inline(always)]
pub fn stream_end(request_id: u64, status: Option<u16>, received: u64, sent: u64, first_byte: Option<Duration>, duration: Duration) {
    let status = status.map_or(-1, i64::from);
    probe!(outrider, stream_end, request_id, status, received, sent, micros(first_byte), micros(Some(duration)));
}

/// A name is looked up.
#[inline(always)]
pub fn dns_begin(name: &str) {
    probe!(outrider, dns_begin, name.as_ptr(), name.len());
}

/// A look-up has ended.
#[inline(always)]
pub fn dns_end(name: &str, found: bool, duration: Duration) {
    probe!(outrider, dns_end, name.as_ptr(), name.len(), found, micros(Some(duration)));
}

/// An event loop has done what there was to do, and waits.
#[inline(always)]
pub fn loop_turn(microseconds: u64) {
    probe!(outrider, loop_turn, microseconds);
}
