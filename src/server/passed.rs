//! The listening sockets that the service manager passed to this process (sd_listen_fds(3)).

use std::collections::HashSet;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Passed sockets, under the names that they were passed with.
#[derive(Default)]
pub struct Passed {
    pub(super) sockets: Vec<(String, TcpListener)>,
    /// Names of announced descriptors that are no listening TCP sockets; they stay whose they are.
    pub(super) others: Vec<String>,
}

/// Where passed descriptors begin (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

impl Passed {
    /// Takes what the environment announces. A number may be too high there (the variables of another process, a mistake in a
    /// script), and then means whatever this process opened first; so this takes only what was open before.
    ///
    /// # Safety
    /// Must be called once, before this process opened anything: nobody else may own the descriptors from 3 on.
    pub unsafe fn from_environment() -> Passed {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let names = passed_names(&variable("LISTEN_PID"), &variable("LISTEN_FDS"), &variable("LISTEN_FDNAMES"));
        let mut passed = Passed::default();
        let mut seen = HashSet::new();
        for (number, name) in (FIRST..).zip(names) {
            // SAFETY: looking at a descriptor is sound whatever the number stands for.
            if is_listening(unsafe { BorrowedFd::borrow_raw(number) }) {
                // SAFETY: it is open, was so before this process opened anything, and each number comes once.
                passed.sockets.push((name, TcpListener::from(unsafe { OwnedFd::from_raw_fd(number) })));
            } else if seen.insert(name.clone()) {
                passed.others.push(name);
            }
        }
        passed
    }
}

/// The names of the descriptors that were passed to this process, in order.
fn passed_names(pid: &str, count: &str, names: &str) -> Vec<String> {
    if pid.parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    // No manager passes more than its own limit of descriptors.
    let count = count.parse::<usize>().unwrap_or(0).min(65_536);
    names.split(':').map(str::to_owned).chain(std::iter::repeat_with(|| "unknown".to_owned())).take(count).collect()
}

/// Whether it is a TCP socket that listens; it is made ready for use.
fn is_listening(descriptor: BorrowedFd<'_>) -> bool {
    use rustix::net::{AddressFamily, sockopt};
    let is_open = fcntl_getfd(descriptor).is_ok();
    let listens = is_open && sockopt::socket_acceptconn(descriptor).unwrap_or(false);
    let is_tcp = listens && matches!(sockopt::socket_domain(descriptor), Ok(AddressFamily::INET | AddressFamily::INET6));
    is_tcp && fcntl_setfd(descriptor, FdFlags::CLOEXEC).is_ok() && rustix::io::ioctl_fionbio(descriptor, true).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn descriptors_of_another_process_are_not_ours() {
        assert!(passed_names("1", "2", "a:b").is_empty());
        assert!(passed_names("", "2", "a:b").is_empty());
        let me = std::process::id().to_string();
        assert_eq!(passed_names(&me, "3", "a:b"), ["a", "b", "unknown"]);
        assert_eq!(passed_names(&me, "1", ""), [""]);
        assert!(passed_names(&me, "-1", "").is_empty());
    }

    #[test]
    fn only_a_listening_socket_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        assert!(is_listening(listener.as_fd()));
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        assert!(!is_listening(datagram.as_fd()));
        let directory = tempfile::tempdir().expect("a directory");
        let local = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).expect("bound");
        assert!(!is_listening(local.as_fd()));
    }
}
