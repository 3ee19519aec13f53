use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::kit::{Origin, Proxy, Script, ScriptedOrigin, Signal};
use crate::{OK, fetch, get, send};

/// The worst moment for an origin to close a kept connection is when a request is on its way to it.
#[test]
fn a_kept_connection_that_closes_under_a_request() {
    const REQUESTS: usize = 10_000;
    const CLIENTS: usize = 8;
    // Reads the second request, and leaves without a word.
    let closes = Script::new().request().reply(OK).request();
    let resets = Script::new().request().reply(OK).request().reset();
    let origin = ScriptedOrigin::start((0..100).flat_map(|_| [closes.clone(), resets.clone()]));
    let proxy = Proxy::builder().with("server", "workers = 2").start();
    let request = get(&origin.authority());
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, request) = (proxy.address(), request.clone());
            std::thread::spawn(move || {
                let mut client = TcpStream::connect(address).expect("listening");
                client.set_read_timeout(Some(Duration::from_secs(10))).expect("longer than nothing");
                for _ in 0..REQUESTS / CLIENTS {
                    client.write_all(request.as_bytes()).expect("open");
                    let mut answer = Vec::new();
                    while !answer.ends_with(b"\r\n\r\nok") {
                        let mut part = [0; 256];
                        let length = client.read(&mut part).expect("an answer");
                        assert_ne!(length, 0, "{}", String::from_utf8_lossy(&answer));
                        answer.extend_from_slice(&part[..length]);
                    }
                    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("no panic"));
    let retries = proxy.stats("cluster.upstream_rq_retry");
    println!("{REQUESTS} requests in {:?}, {retries} sent again, none failed", started.elapsed());
    assert!(retries > REQUESTS as u64 / 3);
    assert_eq!(proxy.stats("cluster.upstream_rq_retry_success"), retries);
    assert_eq!(proxy.stats("http.downstream_rq_2xx"), REQUESTS as u64);
}

/// A POST may not be sent again, so its connection is looked at more closely before.
#[test]
fn a_kept_connection_that_closed_before_a_post() {
    let origin = ScriptedOrigin::start([Script::new().request().reply(OK)]);
    let proxy = Proxy::start();
    let authority = origin.authority();
    for _ in 0..200 {
        assert_eq!(fetch(&proxy, &authority).head.status(), 200);
        origin.wait_for_open_connections(0);
        let post = format!("POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(proxy.client().send(post).expect_response().head.status(), 200);
        origin.wait_for_open_connections(0);
    }
}

/// Idle connections are bounded for a worker as a whole, and the clusters used last keep theirs.
#[test]
fn a_worker_keeps_so_many() {
    let proxy = Proxy::builder().cluster("max_idle_connections_per_worker = 16").start();
    let origins: Vec<_> = (0..40).map(|_| ScriptedOrigin::start([Script::always(OK)])).collect();
    for origin in &origins {
        assert_eq!(fetch(&proxy, &origin.authority()).head.status(), 200);
    }
    proxy.wait_for_stat("cluster.upstream_cx_idle", |idle| idle <= 16);
    assert!(proxy.stats("cluster.upstream_cx_idle") >= 14);
    assert_eq!(fetch(&proxy, &origins[39].authority()).head.status(), 200);
    assert_eq!(origins[39].connections(), 1);
    assert_eq!(origins[0].open_connections(), 0);
}

#[test]
fn a_connection_ahead_of_need() {
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let proxy = Proxy::builder().cluster("preconnect_ratio = 2.0").start();
    assert_eq!(fetch(&proxy, &origin.authority()).head.status(), 200);
    origin.wait_for_open_connections(2);
    proxy.wait_for_stat("cluster.upstream_cx_idle", |idle| idle == 2);
    assert_eq!(fetch(&proxy, &origin.authority()).head.status(), 200);
    assert_eq!(origin.connections(), 2);
}

/// A connection in use while a reload changes where connections come from, or may go, serves its stream and no other.
#[test]
fn a_reload_under_a_stream() {
    let with = |keys: &str| Proxy::builder().cluster(keys);
    let proxy = with("source_addresses = [\"127.0.0.55\"]").start();
    let origin = Origin::listen();
    let authority = origin.authority();
    let mut client = send(&proxy, &authority);
    let mut upstream = origin.accept();
    upstream.expect_request();
    assert_eq!(upstream.peer_address().ip().to_string(), "127.0.0.55");
    proxy.rewrite_config(&with("source_addresses = [\"127.0.0.56\"]"));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("configuration reloaded generation=2");
    upstream.send(OK);
    assert_eq!(client.expect_response().head.status(), 200);
    upstream.expect_end();
    client.send(get(&authority));
    let mut upstream = origin.accept();
    upstream.expect_request();
    assert_eq!(upstream.peer_address().ip().to_string(), "127.0.0.56");
    proxy.rewrite_config(&with("source_addresses = [\"127.0.0.56\"]").with("addresses", "allow = []"));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("configuration reloaded generation=3");
    upstream.send(OK);
    assert_eq!(client.expect_response().head.status(), 200);
    upstream.expect_end();
    assert_eq!(client.send(get(&authority)).expect_response().head.status(), 403);
    assert_eq!(origin.connections(), 2);
}

/// What an older stream dials after a reload is allowed by rules that are not in force any more, and serves that stream alone.
#[test]
fn a_reload_before_a_stream_dials() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let request = get(&origin.authority());
    let (begin, end) = request.split_at(request.len() - 2);
    let mut client = proxy.client();
    // Once the first one is answered, the second stream has begun, for its first bytes are there.
    client.send(format!("{request}{begin}"));
    let mut upstream = origin.accept();
    upstream.expect_request();
    upstream.send(OK);
    assert_eq!(client.expect_response().head.status(), 200);
    proxy.rewrite_config(&Proxy::builder().with("addresses", "allow = []"));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("configuration reloaded generation=2");
    upstream.expect_end();
    client.send(end);
    let mut upstream = origin.accept();
    upstream.expect_request();
    upstream.send(OK);
    assert_eq!(client.expect_response().head.status(), 200);
    upstream.expect_end();
    assert_eq!(client.send(request).expect_response().head.status(), 403);
}

/// One that changes neither leaves connections to be kept.
#[test]
fn a_reload_that_changes_nothing_of_connections() {
    let proxy = Proxy::start();
    let origin = Origin::listen();
    let mut client = send(&proxy, &origin.authority());
    let mut upstream = origin.accept();
    upstream.expect_request();
    proxy.rewrite_config(&Proxy::builder().cluster("max_requests = 7"));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("configuration reloaded generation=2");
    for _ in 0..2 {
        upstream.send(OK);
        assert_eq!(client.expect_response().head.status(), 200);
        client.send(get(&origin.authority()));
        upstream.expect_request();
    }
}
