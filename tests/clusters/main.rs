//! Clusters as clients and administrators meet them: limits, names, addresses and pools, through the real proxy.

#![allow(unreachable_pub, reason = "a test binary has no other crate to hand anything out to")]
#![allow(clippy::disallowed_methods, reason = "a test blocks on purpose; there is no worker to stop")]

#[path = "../kit/mod.rs"]
mod kit;

mod breakers;
mod clients;
mod endpoints;
mod names;
mod overrides;
mod pools;
mod real_resolvers;
mod retries;
mod series;

use kit::{Message, Peer, Proxy};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(authority: &str) -> String {
    format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n")
}

/// One request on a connection of its own, and what came of it.
#[track_caller]
fn fetch(proxy: &Proxy, authority: &str) -> Message {
    proxy.client().send(get(authority)).expect_response()
}

/// A request that is left to wait for its answer.
#[track_caller]
fn send(proxy: &Proxy, authority: &str) -> Peer {
    let mut client = proxy.client();
    client.send(get(authority));
    client
}

/// What `/clusters` says of a field of a cluster.
#[track_caller]
fn shown(proxy: &Proxy, cluster: &str, field: &str) -> String {
    let page = proxy.admin_get("/clusters");
    let start = format!("{cluster}::{field}::");
    let line = page.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start} in\n{page}")).to_owned()
}

/// The reason in the log line of the last stream to a cluster with that status.
#[track_caller]
fn reason_of(proxy: &Proxy, status: u64) -> String {
    proxy.log_entry("of the fault", |entry| entry.status() == Some(status)).text("reason").to_owned()
}
