//! Idle connections of one cluster on one worker.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::counts::count;
use super::{Counts, UpstreamConnection};

/// Idle connections; the one used last is lent first, so that the rest grow old and go.
#[derive(Default)]
pub struct Pool {
    /// In the order of their last use.
    idle: Vec<Idle>,
}

struct Idle {
    connection: UpstreamConnection,
    since: Instant,
}

/// Connections that a stream finds closed before it makes one of its own.
const STALE_AT_ONCE: usize = 32;

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

    /// A connection that is fit for use, to an address that `may_lend` takes; stale ones met on the way are dropped. Where many
    /// are, an origin has closed them all at once, and after a few a new connection is the better choice.
    pub fn check_out(
        &mut self,
        max_age: Option<Duration>,
        may_repeat: bool,
        counts: &Counts,
        may_lend: impl Fn(IpAddr) -> bool,
    ) -> Option<UpstreamConnection> {
        for _ in 0..STALE_AT_ONCE {
            let last = self.idle.iter().rposition(|idle| may_lend(idle.connection.endpoint.ip()))?;
            let idle = self.idle.remove(last);
            counts.idle_decrement();
            let connection = idle.connection;
            if max_age.is_some_and(|max| connection.opened.elapsed() >= max) {
                count!(counts, upstream_cx_idle_timeout);
            } else if connection.is_quiet() && (may_repeat || connection.is_open()) {
                return Some(connection);
            } else {
                count!(counts, upstream_cx_stale);
            }
        }
        None
    }

    /// Takes back a connection whose last exchange ended exactly where its framing said.
    pub fn check_in(&mut self, connection: UpstreamConnection, now: Instant, limits: &Limits, counts: &Counts) {
        if limits.max_requests_per_connection.is_some_and(|max| connection.requests >= max) {
            count!(counts, upstream_cx_max_requests);
            return;
        }
        if self.idle.len() >= limits.max_idle_connections || is_too_old(&connection, now, limits) {
            return;
        }
        self.idle.push(Idle { connection, since: now });
        counts.idle_increment();
    }

    /// Drops what has been idle or open for too long, and what is no longer quiet, up to `budget`, which it lessens: each
    /// is a socket to close.
    pub fn sweep(&mut self, now: Instant, limits: &Limits, counts: &Counts, budget: &mut usize) {
        self.retain(counts, |idle| {
            if *budget == 0 {
                return true;
            }
            if now.duration_since(idle.since) >= limits.idle_timeout || is_too_old(&idle.connection, now, limits) {
                count!(counts, upstream_cx_idle_timeout);
                *budget -= 1;
                return false;
            }
            let quiet = idle.connection.is_quiet();
            if !quiet {
                count!(counts, upstream_cx_stale);
                *budget -= 1;
            }
            quiet
        });
        if self.idle.is_empty() {
            self.idle = Vec::new();
        }
    }

    /// Drops connections to addresses that the name no longer has.
    pub fn keep_addresses(&mut self, addresses: &[IpAddr], counts: &Counts) {
        self.retain(counts, |idle| addresses.contains(&idle.connection.endpoint.ip()));
    }

    /// Drops up to `count` connections, those first that were used longest ago; how many there were.
    pub fn shed(&mut self, count: usize, counts: &Counts) -> usize {
        let shed = self.idle.drain(..count.min(self.idle.len())).count();
        (0..shed).for_each(|_| counts.idle_decrement());
        shed
    }

    pub fn clear(&mut self, counts: &Counts) {
        self.shed(usize::MAX, counts);
    }

    fn retain(&mut self, counts: &Counts, mut keep: impl FnMut(&Idle) -> bool) {
        self.idle.retain(|idle| {
            let kept = keep(idle);
            if !kept {
                counts.idle_decrement();
            }
            kept
        });
    }
}

fn is_too_old(connection: &UpstreamConnection, now: Instant, limits: &Limits) -> bool {
    limits.max_connection_duration.is_some_and(|max| now.duration_since(connection.opened) >= max)
}
