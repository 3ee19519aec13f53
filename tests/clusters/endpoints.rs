use std::time::{Duration, Instant};

use crate::kit::{BlackHole, DnsServer, Origin, Proxy, Script, ScriptedOrigin};
use crate::{OK, fetch, reason_of, shown};

#[test]
fn fifty_addresses_of_which_one_answers() {
    let dns = DnsServer::start();
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let proxy = Proxy::builder().dns(&dns).cluster("connect_timeout = \"3s\"\nmax_idle_connections = 0").start();
    for (name, last_hole) in [("refused.test", 0), ("silent.test", 49)] {
        let mut addresses: Vec<String> = (1..=49).map(|last| format!("127.0.9.{last}")).collect();
        let hole = |last| BlackHole::on(format!("127.0.9.{last}:{}", origin.port()).parse().expect("an address"));
        let _holes: Vec<_> = (1..=last_hole).map(hole).collect();
        addresses.push("127.0.0.1".to_owned());
        dns.resolve(name, &addresses.iter().map(String::as_str).collect::<Vec<_>>());
        let name = format!("{name}:{}", origin.port());
        let started = Instant::now();
        assert_eq!(fetch(&proxy, &name).head.status(), 200);
        let first = started.elapsed();
        let started = Instant::now();
        for _ in 0..5 {
            assert_eq!(fetch(&proxy, &name).head.status(), 200);
        }
        let more = started.elapsed() / 5;
        println!("{name}: {first:?} for the first stream, {more:?} for each one after it");
        assert!(first < Duration::from_secs(3) && more < Duration::from_millis(500));
        assert_eq!(shown(&proxy, &name, &format!("127.0.0.1:{}::health_flags", origin.port())), "healthy");
        assert_eq!(shown(&proxy, &name, &format!("127.0.9.1:{}::health_flags", origin.port())), "/failed_outlier_check");
    }
}

/// RFC 8305: a family that leads nowhere costs one delay, once.
#[test]
fn an_ipv6_black_hole() {
    let dns = DnsServer::start();
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let _hole = BlackHole::on(format!("[::1]:{}", origin.port()).parse().expect("an address"));
    dns.resolve("both.test", &["::1", "127.0.0.1"]);
    let proxy = Proxy::builder().dns(&dns).cluster("happy_eyeballs_delay = \"300ms\"\nmax_idle_connections = 0").start();
    let name = format!("both.test:{}", origin.port());
    let started = Instant::now();
    assert_eq!(fetch(&proxy, &name).head.status(), 200);
    let first = started.elapsed();
    let started = Instant::now();
    assert_eq!(fetch(&proxy, &name).head.status(), 200);
    let second = started.elapsed();
    println!("{first:?} for the first stream, {second:?} for the second");
    assert!((300..2000).contains(&first.as_millis()) && second < Duration::from_millis(200));
    let proxy = Proxy::builder().dns(&dns).cluster("happy_eyeballs_delay = \"3s\"\nhappy_eyeballs_first_family = \"v4\"").start();
    let started = Instant::now();
    assert_eq!(fetch(&proxy, &name).head.status(), 200);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_name_is_not_locked_out_when_all_its_addresses_fail() {
    let dns = DnsServer::start();
    dns.resolve("down.test", &["127.0.0.1", "127.0.0.2"]);
    let origin = Origin::listen();
    let (address, port) = (origin.address(), origin.port());
    let name = format!("down.test:{port}");
    drop(origin);
    let proxy = Proxy::builder().dns(&dns).start();
    for _ in 0..5 {
        assert_eq!(fetch(&proxy, &name).head.status(), 502);
    }
    assert_eq!(reason_of(&proxy, 502), "connection_refused");
    let back = std::net::TcpListener::bind(address).expect("still free");
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = back.accept().expect("called");
        let _ = stream.read(&mut [0; 1024]);
        stream.write_all(OK.as_bytes()).expect("open");
    });
    // At once, not when the time is over for which it is tried last.
    assert_eq!(fetch(&proxy, &name).head.status(), 200);
    server.join().expect("no panic");
}
