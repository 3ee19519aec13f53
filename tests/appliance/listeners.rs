//! Changes of listeners, by reload and by restart: whom both the old and the new ones serve is served throughout.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::Signal;

use crate::daemon::{Daemon, ask, config, connect, expect_service, free_address, try_ask, wait_until};
use crate::manager::Manager;

/// One `[[listener]]` table with one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Listening {
    ip: IpAddr,
    port: u16,
    ipv6_only: bool,
}

impl Listening {
    fn serves(&self, client: SocketAddr) -> bool {
        let is_family = match (self.ip, client.ip()) {
            (IpAddr::V6(ip), IpAddr::V4(_)) => ip.is_unspecified() && !self.ipv6_only,
            (ip, client) => ip.is_ipv4() == client.is_ipv4() && (ip == client || ip.is_unspecified()),
        };
        is_family && self.port == client.port()
    }
}

type Set = Vec<Listening>;

const WORKERS: usize = 2;

/// Ports that the kernel gives to nobody who does not ask for them, and that nobody has.
fn quiet_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let start = std::process::id() as usize * 37;
    let is_free = |port: &u16| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).is_ok();
    let ports = std::iter::repeat_with(|| 15_000 + ((start + NEXT.fetch_add(1, Ordering::Relaxed)) % 15_000) as u16);
    ports.filter(is_free).take(count).collect()
}

/// Sets that differ in everything: addresses, families, ports, names, and order.
fn sets(ports: Vec<u16>) -> impl Strategy<Value = Vec<Set>> {
    let ips: [IpAddr; 5] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv4Addr::new(127, 0, 0, 2).into(),
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    let places: Vec<_> = ips.into_iter().flat_map(|ip| ports.clone().into_iter().map(move |port| (ip, port))).collect();
    let set = (prop::sample::subsequence(places, 1..=6).prop_shuffle(), any::<bool>())
        .prop_map(|(places, ipv6_only)| places.into_iter().map(|(ip, port)| Listening { ip, port, ipv6_only }).collect());
    prop::collection::vec(set, 4..=6)
}

fn clients(ports: &[u16]) -> Vec<SocketAddr> {
    let ips: [IpAddr; 3] = [Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 2).into(), Ipv6Addr::LOCALHOST.into()];
    ips.into_iter().flat_map(|ip| ports.iter().map(move |&port| SocketAddr::new(ip, port))).collect()
}

fn write(directory: &Path, set: &Set) -> PathBuf {
    let mut text = format!("server.workers = {WORKERS}\nserver.drain_timeout = \"5s\"\ndns.servers = [\"127.0.0.1:1\"]\n");
    for (index, Listening { ip, port, ipv6_only }) in set.iter().enumerate() {
        let address = SocketAddr::new(*ip, *port);
        let _ = write!(text, "[[listener]]\nname = \"{index}\"\naddresses = [\"{address}\"]\nipv6_only = {ipv6_only}\n");
    }
    let path = directory.join("outrider.toml");
    std::fs::write(&path, text).expect("written");
    path
}

/// Asks at every address again and again while `act` runs, and once more afterwards.
fn always_served(addresses: &[SocketAddr], act: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ask_on = |address: SocketAddr| {
            let mut is_last = false;
            while !is_last {
                is_last = is_over.load(Ordering::Relaxed);
                let answer = connect(address).and_then(|mut client| try_ask(&mut client, "/healthz"));
                let answer = answer.unwrap_or_else(|error| panic!("{address}: {error}"));
                assert!(answer.starts_with("HTTP/1.1 200 "), "{address}: {answer:?}");
            }
        };
        for &address in addresses {
            scope.spawn(move || ask_on(address));
        }
        // Also where `act` fails.
        let _ends = Ends(&is_over);
        act();
    });
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What holds once `set` is in force.
fn expect_in_force(set: &Set, ports: &[u16], manager: &Manager) {
    for client in clients(ports) {
        if set.iter().any(|listening| listening.serves(client)) {
            expect_service(client);
        } else {
            assert!(connect(client).is_err(), "{client} is none of {set:?}");
        }
    }
    assert_eq!(manager.kept(), WORKERS * set.len());
}

/// Goes from one set to the next by `step`, which gets the file and the addresses that both serve.
fn through(sets: &[Set], ports: &[u16], mut step: impl FnMut(&mut Manager, Daemon, &Path, &[SocketAddr]) -> Daemon) {
    let (mut manager, directory) = (Manager::new(), tempfile::tempdir().expect("a directory"));
    let mut daemon = Daemon::start(&write(directory.path(), &sets[0]), &manager, &[]);
    manager.wait_for("READY=1");
    expect_in_force(&sets[0], ports, &manager);
    for pair in sets.windows(2) {
        let file = write(directory.path(), &pair[1]);
        let is_common = |client: &SocketAddr| pair.iter().all(|set| set.iter().any(|listening| listening.serves(*client)));
        let common: Vec<_> = clients(ports).into_iter().filter(is_common).collect();
        daemon = step(&mut manager, daemon, &file, &common);
        expect_in_force(&pair[1], ports, &manager);
    }
}

fn property(cases: u32, test: impl Fn(&[Set], &[u16])) {
    // A failure needs no regression file: what it was is printed.
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let result = TestRunner::new(config).run(&sets(vec![0, 1]), |mut sets| {
        // Ports of its own: sockets of the case before may live on for a moment in a process that another test starts.
        let ports = quiet_ports(2);
        sets.iter_mut().flatten().for_each(|listening| listening.port = ports[usize::from(listening.port)]);
        test(&sets, &ports);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_reload_refuses_nobody() {
    property(12, |sets, ports| {
        through(sets, ports, |manager, daemon, _, common| {
            always_served(common, || {
                daemon.signal(Signal::HUP);
                manager.wait_for("RELOADING=1");
                let status = manager.wait_for("READY=1");
                assert!(!status.contains("not reloaded"), "{status}");
            });
            daemon
        });
    });
}

#[test]
fn a_restart_refuses_nobody() {
    property(6, |sets, ports| {
        through(sets, ports, |manager, daemon, file, common| {
            let mut next = None;
            always_served(common, || {
                daemon.signal(Signal::TERM);
                assert!(daemon.end().0.success());
                next = Some(Daemon::start(file, manager, &[]));
                manager.wait_for("READY=1");
            });
            next.expect("started")
        });
    });
}

#[test]
fn a_start_after_a_crash_serves_who_waits() {
    property(6, |sets, ports| {
        through(sets, ports, |manager, daemon, file, common| {
            daemon.signal(Signal::KILL);
            daemon.end();
            let mut waiting: Vec<_> = common.iter().map(|&address| connect(address).expect("kept")).collect();
            let next = Daemon::start(file, manager, &[]);
            manager.wait_for("READY=1");
            for client in &mut waiting {
                assert!(ask(client, "/healthz").starts_with("HTTP/1.1 200 "));
            }
            next
        });
    });
}

#[test]
fn narrower_and_wider_addresses_share_a_port() {
    let ports = quiet_ports(1);
    let listening = |ip: &str| Listening { ip: ip.parse().expect("an address"), port: ports[0], ipv6_only: false };
    let all: BTreeSet<_> = ["0.0.0.0", "[::]", "127.0.0.1", "[::1]"].map(|ip| listening(ip.trim_matches(['[', ']']))).into();
    let (manager, directory) = (&mut Manager::new(), tempfile::tempdir().expect("a directory"));
    let file = write(directory.path(), &all.iter().copied().collect());
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_outrider")).arg("check").arg(&file).output().expect("run");
    assert!(check.status.success());
    let _daemon = Daemon::start(&file, manager, &[]);
    manager.wait_for("READY=1");
    expect_in_force(&all.into_iter().collect(), &ports, manager);
}

#[test]
fn another_outrider_is_not_joined() {
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let port = quiet_ports(1)[0];
    let at = |ip: &str| format!("{ip}:{port}").parse::<SocketAddr>().expect("an address");
    let mut managers = [Manager::new(), Manager::new()];
    let _first = Daemon::start(&config(directories[0].path(), &[at("127.0.0.1")], 1), &managers[0], &[]);
    managers[0].wait_for("READY=1");
    // It has a socket with that port itself, which alone would not be in the way.
    let second = Daemon::start(&config(directories[1].path(), &[at("127.0.0.2")], 1), &managers[1], &[]);
    managers[1].wait_for("READY=1");
    config(directories[1].path(), &[at("0.0.0.0")], 1);
    second.signal(Signal::HUP);
    managers[1].wait_for("RELOADING=1");
    let status = managers[1].wait_for("READY=1");
    let expected = format!("cannot listen on 0.0.0.0:{port}: Address already in use (os error 98); another program has 127.0.0.1:{port}");
    assert!(status.contains(&expected), "{status}");
    expect_service(at("127.0.0.2"));
}

#[test]
fn a_taken_address_is_told_and_not_tried_again() {
    let (mut manager, directory) = (Manager::new(), tempfile::tempdir().expect("a directory"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address");
    let daemon = Daemon::start(&config(directory.path(), &[address], 1), &manager, &[]);
    let (status, text) = daemon.end();
    assert_eq!(status.code(), Some(2), "systemd is told not to start it again");
    let cure = format!("cannot listen on {address}: Address already in use (os error 98); another program has this address: stop it");
    assert!(text.contains(&cure), "{text}");
    let told = manager.wait_for("STATUS=");
    assert!(told.contains(&format!("STATUS=Not started: {cure}")), "{told}");
}

#[test]
fn a_wrong_file_is_told_to_the_manager() {
    let (mut manager, directory) = (Manager::new(), tempfile::tempdir().expect("a directory"));
    let file = config(directory.path(), &[free_address()], 1);
    std::fs::write(&file, "nonsense = 1\n").expect("written");
    assert_eq!(Daemon::start(&file, &manager, &[]).end().0.code(), Some(2));
    let told = manager.wait_for("STATUS=");
    assert!(told.contains("STATUS=Not started: ") && told.contains("outrider.toml:1: unknown key `nonsense`"), "{told}");
}

#[test]
fn an_address_that_never_comes_is_told() {
    let (mut manager, directory) = (Manager::new(), tempfile::tempdir().expect("a directory"));
    // For documentation (RFC 5737), so nobody has it. By hand, it is waited for only shortly.
    let file = config(directory.path(), &["192.0.2.1:3128".parse().expect("an address")], 1);
    let daemon = Daemon::start(&file, &manager, &[]);
    let told = manager.wait_for("STATUS=");
    assert!(told.contains("Waiting for an address: cannot listen on 192.0.2.1:3128"), "{told}");
    drop(daemon);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_outrider")).arg("--config").arg(&file).output().expect("run");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("no interface of this machine has this address"), "{text}");
}

#[test]
fn descriptors_that_nobody_passed_are_left_alone() {
    let (mut manager, directory) = (Manager::new(), tempfile::tempdir().expect("a directory"));
    let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = socket.local_addr().expect("an address");
    manager.state().kept = vec![("test".to_owned(), socket.into())];
    let file = config(directory.path(), &[address], 1);
    let log = directory.path().join("access.log");
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, format!("{text}[access_log]\npath = \"{}\"\n", log.display())).expect("written");
    let daemon = Daemon::start(&file, &manager, &[("LISTEN_FDS", "100")]);
    manager.wait_for("READY=1");
    ask(&mut connect(address).expect("connected"), "http://127.0.0.1:1/");
    wait_until("a line of the log", || std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0));
    daemon.signal(Signal::TERM);
    let (status, text) = daemon.end();
    assert!(status.success());
    assert!(text.contains("no listening TCP sockets; they are left alone"), "{text}");
}

#[test]
fn a_file_that_is_a_pipe_is_read_once() {
    let (mut manager, directory, address) = (Manager::new(), tempfile::tempdir().expect("a directory"), free_address());
    let file = config(directory.path(), &[address], 1);
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::remove_file(&file).expect("removed");
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a named pipe");
    let daemon = Daemon::start(&file, &manager, &[]);
    std::fs::write(&file, text).expect("read by the proxy");
    manager.wait_for("READY=1");
    daemon.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    let status = manager.wait_for("READY=1");
    assert!(
        status.contains("configuration not reloaded: ") && status.contains("outrider.toml: cannot read the file: it is a pipe"),
        "{status}"
    );
    expect_service(address);
    daemon.signal(Signal::TERM);
    assert!(daemon.end().0.success());
}

#[test]
fn clients_are_told_an_address_that_they_can_reach() {
    let (mut manager, directory) = (Manager::new(), tempfile::tempdir().expect("a directory"));
    let port = quiet_ports(1)[0];
    let file = config(directory.path(), &[SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))], 1);
    let daemon = Daemon::start(&file, &manager, &[]);
    manager.wait_for("READY=1");
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        expect_service(SocketAddr::new(ip, port));
    }
    daemon.signal(Signal::TERM);
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let text = daemon.end().1;
    assert!(text.contains(&format!("export http_proxy=http://{name}:{port} https_proxy=http://{name}:{port}\n")), "{text}");
}
