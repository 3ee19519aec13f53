//! Sockets that outlive the process, and what a service manager is told.

use rustix::process::Signal;

use crate::daemon::{Daemon, ask, config, connect, expect_service, free_address, try_ask, wait_until};
use crate::manager::Manager;

#[test]
fn clients_wait_out_a_restart() {
    let (mut manager, directory, address) = (Manager::new(), tempfile::tempdir().expect("a directory"), free_address());
    let file = config(directory.path(), &[address], 2);
    let daemon = Daemon::start(&file, &manager, &[]);
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains(&format!("Listening on {address} with 2 workers")), "{ready}");
    assert_eq!(manager.kept(), 2);
    expect_service(address);

    daemon.signal(Signal::TERM);
    let stopping = manager.wait_for("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
    assert!(daemon.end().0.success());
    let mut clients: Vec<_> = (0..20).map(|_| connect(address).expect("nobody is refused")).collect();

    let daemon = Daemon::start(&file, &manager, &[]);
    manager.wait_for("READY=1");
    for client in &mut clients {
        assert!(ask(client, "/healthz").starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(manager.kept(), 2, "kept sockets are not kept twice");
    // A crash is no different.
    daemon.signal(Signal::KILL);
    assert!(!daemon.end().0.success());
    let mut client = connect(address).expect("nobody is refused");
    let _daemon = Daemon::start(&file, &manager, &[]);
    assert!(ask(&mut client, "/healthz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn more_and_fewer_workers_lose_nobody() {
    let (mut manager, directory, address) = (Manager::new(), tempfile::tempdir().expect("a directory"), free_address());
    for (workers, before, after) in [(1, 1, 1), (4, 4, 4), (2, 4, 2)] {
        let file = config(directory.path(), &[address], workers);
        // What waits at sockets that the next process has no worker for is served, too.
        let mut waiting: Vec<_> = if manager.kept() == 0 { vec![] } else { (0..40).map(|_| connect(address).expect("kept")).collect() };
        let daemon = Daemon::start(&file, &manager, &[]);
        manager.wait_for("READY=1");
        assert_eq!(manager.kept(), before);
        waiting.iter_mut().for_each(|client| assert!(ask(client, "/healthz").starts_with("HTTP/1.1 200 ")));
        while manager.kept() > after {
            expect_service(address);
        }
        (0..20).for_each(|_| expect_service(address));
        daemon.signal(Signal::TERM);
        assert!(daemon.end().0.success());
    }
}

#[test]
fn sockets_of_addresses_that_went_are_let_go() {
    let (mut manager, directory) = (Manager::new(), tempfile::tempdir().expect("a directory"));
    let (stays, goes) = (free_address(), free_address());
    let first = Daemon::start(&config(directory.path(), &[stays, goes], 1), &manager, &[]);
    manager.wait_for("READY=1");
    assert_eq!(manager.kept(), 2);
    first.signal(Signal::TERM);
    assert!(first.end().0.success());
    let mut late = connect(goes).expect("kept");
    let _second = Daemon::start(&config(directory.path(), &[stays], 1), &manager, &[]);
    manager.wait_for("READY=1");
    assert!(ask(&mut late, "/healthz").starts_with("HTTP/1.1 200 "));
    wait_until("the old address refuses", || connect(goes).is_err());
    expect_service(stays);
}

#[test]
fn sockets_of_a_socket_unit_are_taken_by_name_and_by_address() {
    let mut manager = Manager::new();
    let directory = tempfile::tempdir().expect("a directory");
    let unit = || std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let (named, addressed) = (unit(), unit());
    let addresses = [&named, &addressed].map(|socket| socket.local_addr().expect("an address"));
    manager.state().kept = vec![("by-name".to_owned(), named.into()), ("outrider.socket".to_owned(), addressed.into())];
    let file = directory.path().join("outrider.toml");
    let text = format!(
        "server.workers = 3\n[[listener]]\nname = \"by-name\"\naddresses = [\"127.0.0.1:1\"]\n[[listener]]\nname = \"other\"\naddresses = [\"{}\"]\n",
        addresses[1]
    );
    std::fs::write(&file, text).expect("written");
    let _daemon = Daemon::start(&file, &manager, &[]);
    manager.wait_for("READY=1");
    for address in addresses {
        (0..20).for_each(|_| expect_service(address));
    }
    assert_eq!(manager.kept(), 2, "they are the unit's, and not kept once more");
}

#[test]
fn a_request_on_its_way_is_answered_when_a_stop_comes() {
    let (mut manager, directory, address) = (Manager::new(), tempfile::tempdir().expect("a directory"), free_address());
    let daemon = Daemon::start(&config(directory.path(), &[address], 1), &manager, &[]);
    manager.wait_for("READY=1");
    let mut early = connect(address).expect("connected");
    daemon.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    let answer = ask(&mut early, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(daemon.end().0.success());
}

#[test]
fn signs_of_life_are_given_while_loops_turn() {
    let (mut manager, directory, address) = (Manager::new(), tempfile::tempdir().expect("a directory"), free_address());
    let daemon = Daemon::start(&config(directory.path(), &[address], 2), &manager, &[("WATCHDOG_USEC", "400000")]);
    manager.wait_for("READY=1");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    daemon.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
}

#[test]
fn few_descriptors_are_told() {
    let (mut manager, directory, address) = (Manager::new(), tempfile::tempdir().expect("a directory"), free_address());
    let wrapper = directory.path().join("limits");
    std::fs::write(&wrapper, "ulimit -n 256\n").expect("written");
    let path = wrapper.to_str().expect("UTF-8");
    let daemon = Daemon::start(&config(directory.path(), &[address], 1), &manager, &[("BASH_ENV", path)]);
    manager.wait_for("READY=1");
    // More than there is room for: some are closed, and the rest is served.
    let crowd: Vec<_> = (0..300).map(|_| connect(address).expect("connected")).collect();
    drop(crowd);
    wait_until("it serves again", || {
        try_ask(&mut connect(address).expect("connected"), "/healthz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    });
    daemon.signal(Signal::TERM);
    let (status, text) = daemon.end();
    assert!(status.success());
    assert!(text.contains("few file descriptors") && text.contains("LimitNOFILE"), "{text}");
}

#[test]
fn a_pac_file_is_served_with_the_address_that_was_asked() {
    let (mut manager, directory, address) = (Manager::new(), tempfile::tempdir().expect("a directory"), free_address());
    let _daemon = Daemon::start(&config(directory.path(), &[address], 1), &manager, &[]);
    manager.wait_for("READY=1");
    for path in ["/proxy.pac", "/wpad.dat"] {
        let answer = ask(&mut connect(address).expect("connected"), path);
        assert!(answer.contains("application/x-ns-proxy-autoconfig"), "{answer}");
        assert!(answer.contains("function FindProxyForURL(url, host) {"), "{answer}");
        assert!(answer.contains(&format!("return \"PROXY {address}\";")), "{answer}");
    }
}
