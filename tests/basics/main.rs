//! That the proxy works as a whole: it starts, serves, logs, counts, reloads, stops, and keeps nothing.

#![allow(unreachable_pub, reason = "a test binary has no other crate to hand anything out to")]
#![allow(clippy::disallowed_methods, reason = "a test blocks on purpose; there is no worker to stop")]

#[path = "../kit/mod.rs"]
mod kit;

mod crowds;
mod denials;
mod fairness;
mod judging;
mod life;
mod mishaps;
mod names;
mod own_addresses;
mod serving;
mod tls_front;

use kit::Peer;

/// A GET for `path` at `authority`.
fn get(authority: &str, path: &str) -> String {
    format!("GET http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
}

/// A response with that body.
fn response(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// Sends a GET and reads the answer's body; its status must be 200.
#[track_caller]
fn fetch(client: &mut Peer, authority: &str, path: &str) -> Vec<u8> {
    client.send(get(authority, path));
    let answer = client.expect_response();
    assert_eq!(answer.head.status(), 200, "{:?}", answer.head);
    answer.body
}

/// Bytes that repeat late and are not the same anywhere near.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(next).collect()
}
