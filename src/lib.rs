//! Outrider: an explicit (forward) HTTP proxy.
//!
//! The modules stand in the order of a request's way; each imports only from those after it
//! (`tests/layering.rs` holds that).

pub mod admin;

pub mod access_log;
pub mod codec;
pub mod config;
pub mod dns;
pub mod json;
pub mod logging;
pub mod stats;
