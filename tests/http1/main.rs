//! The catalogue of what Outrider does with HTTP/1: raw bytes through the real proxy to a scripted origin.
//!
//! One file per theme; each case names its clause. Most of a theme is a table that one proxy
//! serves; cases that need other options have a proxy of their own.

#![allow(unreachable_pub, reason = "a test binary has no other crate to hand anything out to")]
#![allow(clippy::disallowed_methods, reason = "a test blocks on purpose; there is no worker to stop")]

#[path = "../kit/mod.rs"]
mod kit;

mod catalogue;

mod attacks;
mod chunked;
mod connect;
mod desync;
mod fields;
mod framing;
mod hop_by_hop;
mod http_10;
mod interim_and_upgrade;
mod limits;
mod options;
mod request_line_and_authority;
mod reuse_safety;
mod upstream_faults;
