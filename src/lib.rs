//! Outrider: an explicit (forward) HTTP proxy.
//!
//! The modules stand in the order of a request's way; each imports only from those after it
//! (`tests/layering` checks that). Blank lines keep that order, which rustfmt would undo.

pub mod cli;

pub mod server;

pub mod admin;

pub mod listener;

pub mod downstream;

pub mod filter;

pub mod cluster;

pub mod upstream;

pub mod dns;

pub mod clients;

pub mod eviction;

pub mod access_log;

pub mod matcher;

pub mod codec;

pub mod config;

pub mod event_loop;

pub mod drain;

pub mod logging;

pub mod stats;

pub mod sandbox;

pub mod json;

pub mod probes;

pub mod sockopt;

pub mod simd;
