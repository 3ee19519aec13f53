//! How many descriptors this process may have, and how many connections they are enough for.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No more is asked for: nothing here is sized by the limit, but other programs' tables are what huge limits were lowered for.
const WANTED: u64 = 1_048_576;
/// Standard streams, files, DNS, the admin API.
const RESERVED: u64 = 48;
/// A worker's epoll, its wake-up, its listening sockets and a pipe or two.
const PER_WORKER: u64 = 12;
/// The client's connection, and the one to its upstream.
const PER_CONNECTION: u64 = 2;
/// Below this, somebody will miss connections.
const SMALL: u64 = 4096;

/// For so many, the kernel's table is made at the start: half a MiB of its memory.
const EXPECTED: u64 = 65_536;

/// Raises the soft limit as far as it goes, and returns it. To be called before there are threads.
pub(super) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let soft = limit.current.unwrap_or(u64::MAX);
    let wanted = hard.min(WANTED);
    // What cannot be raised stays, and is reckoned with.
    let raised = soft < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).is_ok();
    let available = if raised { wanted } else { soft };
    make_table(available.min(EXPECTED));
    available
}

/// Has the kernel make its table for so many descriptors. The table doubles when it is full, and where there are threads, who
/// opens the descriptor too many waits for all processors (`synchronize_rcu`): a worker stood still for 10 to 25 ms each time.
fn make_table(descriptors: u64) {
    let last = i32::try_from(descriptors.saturating_sub(1)).unwrap_or(i32::MAX);
    // Whatever is open will do. Without this, connections wait while the table grows, as said.
    let _ = fcntl_dupfd_cloexec(std::io::stderr(), last);
}

/// How many connections fit into the limit.
pub(super) fn connections_within(limit: u64, workers: usize) -> usize {
    let connections = connections(limit, workers);
    if limit < SMALL {
        tracing::warn!(
            limit,
            connections,
            "few file descriptors are allowed, so few connections at once: raise LimitNOFILE= of the service, or `ulimit -n`"
        );
    }
    connections
}

fn connections(descriptors: u64, workers: usize) -> usize {
    let free = descriptors.saturating_sub(RESERVED + PER_WORKER * workers as u64);
    // Even with next to nothing, somebody is served.
    usize::try_from(free / PER_CONNECTION).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_not_for_connections() {
        assert_eq!(connections(256, 2), 92);
        assert_eq!(connections(0, 64), 1);
        assert!(connections(u64::MAX, 1) > 1_000_000_000);
    }
}
