//! Namespaces: addresses and files of a machine, to be changed without changing the machine.

use std::process::Command;

/// Runs a test on a thread whose sockets, and whose children, have a network of their own, with loopback up, and mounts
/// of their own. Where that is not allowed, which takes CAP_SYS_ADMIN, the test says so and is not run.
pub fn in_own_network(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: changes nothing of the process but which network and which files this thread sees.
        if unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) } != 0 {
            eprintln!("not run: no namespaces: {}", std::io::Error::last_os_error());
            return;
        }
        ip("link set lo up");
        mount(&["--make-rprivate", "/"]);
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs ip(8) in the namespace of this thread.
#[track_caller]
pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}

/// Runs mount(8) in the namespace of this thread.
#[track_caller]
pub fn mount(arguments: &[&str]) {
    let status = Command::new("mount").args(arguments).status().expect("util-linux is installed");
    assert!(status.success(), "mount {arguments:?}");
}
