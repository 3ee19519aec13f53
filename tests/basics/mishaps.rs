//! What goes wrong ends within its limit, with the right flag in the log, and leaves no descriptor behind.

use std::thread;
use std::time::{Duration, Instant};

use crate::kit::{Answer, DnsServer, Origin, Proxy, Script, ScriptedOrigin};
use crate::{fetch, get, response};

/// How many descriptors the proxy has once it has served everything that there is; its pipes for big bodies among them.
fn warm(proxy: &Proxy) -> usize {
    let big = crate::bytes(2 << 20);
    let origin = ScriptedOrigin::start([Script::new().request().reply(response(&big))]);
    fetch(&mut proxy.client(), &origin.authority(), "/");
    let mut client = proxy.client();
    client.send(format!("POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: {1}\r\n\r\n", origin.authority(), big.len())).send(&big);
    client.expect_response();
    drop(client);
    let far_end = Origin::listen();
    let mut tunnel = proxy.tunnel(&far_end.authority());
    let mut upstream = far_end.accept();
    tunnel.send(&big[..200_000]);
    upstream.expect(&big[..200_000]).send(&big[..200_000]);
    tunnel.expect(&big[..200_000]).half_close();
    upstream.expect_eof();
    drop((tunnel, upstream));
    proxy.wait_for_stat("http.downstream_cx_active", |active| active == 0);
    proxy.wait_for_stat("cluster.upstream_cx_active", |active| active == 0);
    proxy.open_descriptors()
}

#[test]
fn an_origin_killed_in_mid_body() {
    let proxy = Proxy::start();
    let descriptors = warm(&proxy);
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\na part";
    let origin = ScriptedOrigin::start([Script::new().request().reply(part).stall()]);
    let authority = origin.authority();
    let mut client = proxy.client();
    client.send(get(&authority, "/"));
    assert_eq!(client.expect_head().field("content-length"), Some("1000000"));
    client.expect("a part");
    origin.kill();
    client.expect_end();
    let entry = proxy.log_entry("of the killed origin", |entry| entry.text("target").contains(&authority));
    assert!(matches!(entry.text("response_flags"), "UC" | "UR") && !entry.text("reason").is_empty(), "{entry:?}");
    assert_eq!((entry.status(), entry.number("bytes_sent")), (Some(200), Some(6.0)), "{entry:?}");
    drop(client);
    proxy.wait_for_descriptors(descriptors);
}

#[test]
fn a_resolver_that_never_answers() {
    let dns = DnsServer::start();
    dns.set("silent.test", Answer::Silence).resolve("warm.test", &["127.0.0.1"]);
    let proxy = Proxy::builder().dns(&dns).with("dns", "dns_query_timeout = \"500ms\"").start();
    let origin = ScriptedOrigin::start([Script::new().request().reply(response(b"warm"))]);
    fetch(&mut proxy.client(), &format!("warm.test:{}", origin.port()), "/");
    drop(origin);
    let descriptors = warm(&proxy);
    let started = Instant::now();
    let mut clients: Vec<_> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(get("silent.test", "/"));
    }
    for client in &mut clients {
        assert_eq!(client.expect_response().head.status(), 504);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let entry = proxy.log_entry("of the silent resolver", |entry| entry.text("target").contains("silent.test"));
    assert_eq!((entry.text("response_flags"), entry.text("reason")), ("DF", "dns_timeout"), "{entry:?}");
    drop(clients);
    proxy.wait_for_descriptors(descriptors);
}

#[test]
fn a_client_that_stops_reading() {
    let proxy = Proxy::builder().cluster("stream_idle_timeout = \"500ms\"").start();
    let descriptors = warm(&proxy);
    let memory = proxy.resident_memory();
    let origin = Origin::listen();
    let mut client = proxy.client();
    client.shrink_receive_buffer();
    client.send(get(&origin.authority(), "/"));
    let mut upstream = origin.accept();
    upstream.expect_request();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
    let mut sent = 0;
    let block = vec![b'x'; 1 << 20];
    // As much as fits into the buffers of the kernel, and no more.
    let mut waited = 0;
    while waited < 10 {
        let taken = upstream.send_what_fits(&block);
        sent += taken;
        waited = if taken == 0 { waited + 1 } else { 0 };
        thread::sleep(Duration::from_millis(5));
    }
    assert!(sent < 50_000_000, "the proxy took {sent} bytes for a client that takes none");
    let grown = proxy.resident_memory().saturating_sub(memory);
    assert!(grown < 8 << 20, "the proxy grew by {grown} bytes");
    upstream.expect_end();
    let authority = origin.authority();
    let entry = proxy.log_entry("of the client", |entry| entry.text("target").contains(&authority));
    assert_eq!(entry.text("response_flags"), "SI", "{entry:?}");
    drop((client, upstream));
    proxy.wait_for_descriptors(descriptors);
}

/// What a connection holds at most, as ARCHITECTURE.md has it: a body's buffer is small where its sink is behind.
#[test]
fn many_clients_that_never_read() {
    const CLIENTS: usize = 100;
    let proxy = Proxy::start();
    let origin = Origin::listen();
    warm(&proxy);
    let memory = proxy.resident_memory();
    let block = vec![b'x'; 1 << 16];
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = proxy.client();
        client.shrink_receive_buffer();
        client.send(get(&origin.authority(), "/"));
        let mut upstream = origin.accept();
        upstream.expect_request();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n");
        clients.push((client, upstream));
    }
    let mut idle = 0;
    while idle < 3 {
        let taken: usize = clients.iter_mut().map(|(_, upstream)| upstream.send_what_fits(&block)).sum();
        idle = if taken == 0 { idle + 1 } else { 0 };
        thread::sleep(Duration::from_millis(5));
    }
    let each = proxy.resident_memory().saturating_sub(memory) / CLIENTS as u64;
    assert!(each < 100 << 10, "{each} bytes for each client that never reads");
}

#[test]
fn an_origin_that_stops_reading() {
    let proxy = Proxy::builder().cluster("stream_idle_timeout = \"500ms\"").start();
    let descriptors = warm(&proxy);
    let memory = proxy.resident_memory();
    let origin = Origin::listen();
    let mut client = proxy.client();
    client.send(format!("POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: 100000000\r\n\r\n", origin.authority()));
    let mut upstream = origin.accept();
    upstream.expect_head();
    let block = vec![b'x'; 1 << 20];
    let (mut sent, mut waited) = (0, 0);
    while waited < 10 {
        let taken = client.send_what_fits(&block);
        sent += taken;
        waited = if taken == 0 { waited + 1 } else { 0 };
        thread::sleep(Duration::from_millis(5));
    }
    assert!(sent < 50_000_000, "the proxy took {sent} bytes for an origin that takes none");
    assert!(proxy.resident_memory().saturating_sub(memory) < 8 << 20);
    let authority = origin.authority();
    let entry = proxy.log_entry("of the origin", |entry| entry.text("target").contains(&authority));
    assert_eq!(entry.text("response_flags"), "SI", "{entry:?}");
    drop((client, upstream));
    proxy.wait_for_descriptors(descriptors);
}

#[test]
fn an_idle_tunnel() {
    let proxy = Proxy::builder().with("tunnel", "idle_timeout = \"500ms\"").start();
    let descriptors = warm(&proxy);
    let origin = Origin::listen();
    let mut client = proxy.tunnel(&origin.authority());
    let mut upstream = origin.accept();
    // Bytes either way keep it.
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(200));
        client.send("x");
        upstream.expect("x");
    }
    client.expect_end();
    upstream.expect_end();
    let entry = proxy.log_entry("of the tunnel", |entry| entry.text("target") == origin.authority());
    assert_eq!((entry.text("response_flags"), entry.text("reason")), ("SI", "tunnel_idle"), "{entry:?}");
    drop((client, upstream));
    proxy.wait_for_descriptors(descriptors);
}

#[test]
fn a_tunnel_that_lasts_too_long() {
    let proxy = Proxy::builder().with("tunnel", "max_duration = \"500ms\"").start();
    let descriptors = warm(&proxy);
    let origin = Origin::listen();
    let mut client = proxy.tunnel(&origin.authority());
    let mut upstream = origin.accept();
    client.expect_end();
    upstream.expect_end();
    let entry = proxy.log_entry("of the tunnel", |entry| entry.text("target") == origin.authority());
    assert_eq!(entry.text("response_flags"), "DT", "{entry:?}");
    drop((client, upstream));
    proxy.wait_for_descriptors(descriptors);
}

/// A tunnel whose far end does not read stands still, and costs no time.
#[test]
fn a_tunnel_that_is_stuck_does_not_spin() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let mut client = proxy.tunnel(&origin.authority());
    let upstream = origin.accept();
    upstream.shrink_receive_buffer();
    // Many small segments, so that a pipe runs out of slots before it runs out of bytes.
    let mut waited = 0;
    while waited < 20 {
        let taken = client.send_what_fits(&[b'x'; 37]);
        waited = if taken == 0 { waited + 1 } else { 0 };
        if taken == 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }
    let before = proxy.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let spent = proxy.cpu_time() - before;
    assert!(spent < Duration::from_millis(150), "{spent:?} of CPU time in a second of nothing");
}

/// The same with one end closed: the half that is left must not be polled for ever.
#[test]
fn a_half_closed_tunnel_does_not_spin() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let mut client = proxy.tunnel(&origin.authority());
    let mut upstream = origin.accept();
    client.half_close();
    upstream.expect_eof();
    let before = proxy.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let spent = proxy.cpu_time() - before;
    assert!(spent < Duration::from_millis(150), "{spent:?} of CPU time in a second of nothing");
    upstream.send("still");
    client.expect("still");
}

/// A client that pipelines or half-closes while it waits must not make the worker spin either.
#[test]
fn a_waiting_client_does_not_spin() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let (mut pipelining, mut half_closed) = (proxy.client(), proxy.client());
    pipelining.send(get(&origin.authority(), "/1")).send(get(&origin.authority(), "/2"));
    half_closed.send(get(&origin.authority(), "/3")).half_close();
    let mut upstreams = [origin.accept(), origin.accept()];
    for upstream in &mut upstreams {
        upstream.expect_request();
    }
    let before = proxy.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let spent = proxy.cpu_time() - before;
    assert!(spent < Duration::from_millis(150), "{spent:?} of CPU time in a second of nothing");
}

/// Whatever clients send, the process is there afterwards, and holds nothing of it.
#[test]
fn garbage() {
    let proxy = Proxy::start();
    let descriptors = warm(&proxy);
    for seed in 0..200usize {
        let mut client = proxy.client();
        let noise = &crate::bytes(4096)[seed * 7..seed * 7 + 1 + seed * 11 % 600];
        client.send_if_open(noise);
        client.half_close();
        client.read_to_end();
    }
    proxy.wait_for_descriptors(descriptors);
    assert_eq!(proxy.stats("http.downstream_rq_active"), 0);
}
