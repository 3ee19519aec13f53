use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::kit::{Answer, DnsServer, Proxy, Script, ScriptedOrigin};
use crate::{OK, fetch, get, reason_of};

/// A name that changes its answer between two looks (DNS rebinding) reaches nothing by it, not even
/// by a connection that was kept.
#[test]
fn a_rebinding_answer() {
    let dns = DnsServer::start();
    dns.resolve_with_ttl("rebind.test", &["127.0.0.1"], 0);
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let inside = ScriptedOrigin::start_on("127.0.0.66".parse().expect("an address"), [Script::always(OK)]);
    let proxy =
        Proxy::builder().dns(&dns).with("dns", "dns_min_refresh_rate = \"0s\"").with("addresses", "allow = [\"127.0.0.1/32\"]").start();
    let (name, of_inside) = (format!("rebind.test:{}", origin.port()), format!("rebind.test:{}", inside.port()));
    assert_eq!(fetch(&proxy, &name).head.status(), 200);
    dns.resolve_with_ttl("rebind.test", &["127.0.0.66"], 0);
    assert_eq!(fetch(&proxy, &of_inside).head.status(), 403);
    assert_eq!(reason_of(&proxy, 403), "address_denied");
    assert_eq!(fetch(&proxy, &name).head.status(), 403);
    assert_eq!(inside.connections(), 0);
}

#[test]
fn a_thousand_first_requests_make_one_look_up() {
    const CLIENTS: usize = 1000;
    let dns = DnsServer::start();
    dns.set("crowd.test", Answer::Silence);
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let proxy = Proxy::builder().with("server", "workers = 2").dns(&dns).with("dns", "dns_query_timeout = \"30s\"").start();
    let request = get(&format!("crowd.test:{}", origin.port()));
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| TcpStream::connect(proxy.address()).expect("listening")).collect();
    for client in &mut clients {
        client.write_all(request.as_bytes()).expect("open");
    }
    proxy.wait_for_stat("dns_cache.dns_rq_pending", |pending| pending == CLIENTS as u64);
    // The proxy asks again when it hears nothing.
    dns.resolve("crowd.test", &["127.0.0.1"]);
    let started = Instant::now();
    for client in &mut clients {
        let mut answer = [0; 15];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
    println!("{CLIENTS} streams {:?} after the name was known", started.elapsed());
    assert_eq!(proxy.stats("dns_cache.dns_query_attempt"), 1);
}

/// Ten thousand destinations, of which few may be known at once.
#[test]
fn names_that_never_come_back_leave_nothing_behind() {
    const NAMES: usize = 10_000;
    let dns = DnsServer::start();
    let origin =
        ScriptedOrigin::start([Script::new().request().reply("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")]);
    let proxy = Proxy::builder().with("server", "workers = 2").dns(&dns).with("dns", "max_hosts = 256\nhost_ttl = \"2s\"").start();
    let mut memory = Vec::new();
    for round in 0..2 {
        let started = Instant::now();
        let clients: Vec<_> = (0..4)
            .map(|thread| {
                let (address, port) = (proxy.address(), origin.port());
                let names = (0..NAMES / 4).map(move |number| format!("r{round}t{thread}n{number}.test"));
                for name in names.clone() {
                    dns.resolve(&name, &["127.0.0.1"]);
                }
                std::thread::spawn(move || {
                    let mut client = TcpStream::connect(address).expect("listening");
                    for name in names {
                        client.write_all(get(&format!("{name}:{port}")).as_bytes()).expect("open");
                        let mut answer = [0; 15];
                        client.read_exact(&mut answer).expect("an answer");
                        assert_eq!(&answer, b"HTTP/1.1 200 OK", "{name}");
                        let mut rest = Vec::new();
                        while !rest.ends_with(b"ok") {
                            let mut byte = [0; 1];
                            client.read_exact(&mut byte).expect("the rest");
                            rest.extend_from_slice(&byte);
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("no panic"));
        assert!(started.elapsed() < Duration::from_secs(60));
        assert!(proxy.stats("cluster_manager.clusters") <= 256);
        memory.push(proxy.resident_memory());
        println!("{NAMES} names in {:?}, {} KiB resident", started.elapsed(), memory[round] / 1024);
    }
    assert_eq!((proxy.stats("cluster_manager.overflow"), proxy.stats("http.downstream_rq_5xx")), (0, 0));
    assert!(memory[1] < memory[0] + (4 << 20), "{memory:?}");
    // And nothing is known any more once nobody asks.
    proxy.wait_for_stat("cluster_manager.clusters", |clusters| clusters == 0);
    assert_eq!(proxy.stats("cluster_manager.active_clusters"), 0);
}
