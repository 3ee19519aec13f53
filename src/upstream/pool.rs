//! Idle connections of one cluster on one worker.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::UpstreamConnection;
use crate::stats::WorkerStats;

/// Idle connections; the one used last is lent first, so that the rest grow old and go.
#[derive(Default)]
pub struct Pool {
    idle: Vec<Idle>,
}

struct Idle {
    connection: UpstreamConnection,
    since: Instant,
}

/// How long connections live.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_idle_connections: usize,
    pub idle_timeout: Duration,
    pub max_connection_duration: Option<Duration>,
    pub max_requests_per_connection: Option<u64>,
}

impl Pool {
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    pub fn len(&self) -> usize {
        self.idle.len()
    }

    /// A connection that is fit for use; stale ones met on the way are dropped.
    pub fn check_out(&mut self, stats: &WorkerStats) -> Option<UpstreamConnection> {
        while let Some(idle) = self.idle.pop() {
            if idle.connection.is_quiet() {
                return Some(idle.connection);
            }
            stats.upstream_cx_stale.increment();
        }
        None
    }

    /// Takes back a connection whose last exchange ended exactly where its framing said.
    pub fn check_in(&mut self, connection: UpstreamConnection, now: Instant, limits: &Limits, stats: &WorkerStats) {
        if limits.max_requests_per_connection.is_some_and(|max| connection.requests >= max) {
            stats.upstream_cx_max_requests.increment();
            return;
        }
        if self.idle.len() >= limits.max_idle_connections || is_too_old(&connection, now, limits) {
            return;
        }
        self.idle.push(Idle { connection, since: now });
    }

    /// Drops what has been idle or open for too long, and what is no longer quiet.
    pub fn sweep(&mut self, now: Instant, limits: &Limits, stats: &WorkerStats) {
        self.idle.retain(|idle| {
            if now.duration_since(idle.since) >= limits.idle_timeout || is_too_old(&idle.connection, now, limits) {
                stats.upstream_cx_idle_timeout.increment();
                return false;
            }
            let quiet = idle.connection.is_quiet();
            if !quiet {
                stats.upstream_cx_stale.increment();
            }
            quiet
        });
        if self.idle.is_empty() {
            self.idle = Vec::new();
        }
    }

    /// Drops connections to addresses that the name no longer has.
    pub fn keep_addresses(&mut self, addresses: &[IpAddr]) {
        self.idle.retain(|idle| addresses.contains(&idle.connection.endpoint.ip()));
    }

    pub fn clear(&mut self) {
        self.idle.clear();
    }
}

fn is_too_old(connection: &UpstreamConnection, now: Instant, limits: &Limits) -> bool {
    limits.max_connection_duration.is_some_and(|max| now.duration_since(connection.opened) >= max)
}
