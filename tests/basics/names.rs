//! Names: how often they are asked for, and what is made of the answers.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::kit::{Answer, DnsServer, Proxy, ProxyBuilder, Script, ScriptedOrigin};
use crate::tls_front::TlsFront;
use crate::{fetch, get, response};

fn setting() -> (DnsServer, ScriptedOrigin, ProxyBuilder) {
    let dns = DnsServer::start();
    let builder = Proxy::builder().dns(&dns);
    (dns, ScriptedOrigin::start([Script::always(response(b"hello"))]), builder)
}

#[test]
fn an_answer_is_kept() {
    let (dns, origin, builder) = setting();
    dns.resolve("origin.test", &["127.0.0.1"]);
    // No pool, so that every request has to know the address.
    let proxy = builder.cluster("max_idle_connections = 0").with("server", "workers = 2").start();
    for _ in 0..20 {
        fetch(&mut proxy.client(), &format!("origin.test:{}", origin.port()), "/");
    }
    assert_eq!((dns.a_queries("origin.test"), dns.aaaa_queries("origin.test")), (1, 1), "both workers have it from one look-up");
    let asked = proxy.access_log().take(20).filter(|entry| entry.number("dns_ms").is_some_and(|time| time > 0.0)).count();
    assert!(asked >= 1, "the one that waited says so");
}

#[test]
fn an_answer_is_not_kept_for_longer_than_it_says() {
    let (dns, origin, builder) = setting();
    dns.resolve_with_ttl("origin.test", &["127.0.0.1"], 1);
    let proxy = builder.cluster("max_idle_connections = 0").with("dns", "dns_min_refresh_rate = \"0s\"").start();
    let authority = format!("origin.test:{}", origin.port());
    fetch(&mut proxy.client(), &authority, "/");
    // The name moves to where nobody listens.
    dns.resolve_with_ttl("origin.test", &["127.7.7.7"], 1);
    thread::sleep(Duration::from_millis(1500));
    let mut client = proxy.client();
    // An expired answer may serve once more while it is renewed.
    client.send(get(&authority, "/")).expect_response();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(client.send(get(&authority, "/")).expect_response().head.status(), 502);
}

#[test]
fn one_look_up_for_many_who_wait() {
    let (dns, origin, builder) = setting();
    dns.resolve("origin.test", &["127.0.0.1"]);
    let proxy = Arc::new(builder.with("server", "workers = 2").start());
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let (proxy, authority) = (Arc::clone(&proxy), format!("origin.test:{}", origin.port()));
            thread::spawn(move || fetch(&mut proxy.client(), &authority, "/"))
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().expect("served"), b"hello");
    }
    assert_eq!(dns.a_queries("origin.test"), 1);
}

#[test]
fn a_failure_is_remembered_for_a_while() {
    let (dns, _origin, builder) = setting();
    let proxy = builder.with("dns", "dns_failure_refresh_rate = \"1s\"").start();
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.send(get("missing.test", "/")).expect_response().head.status(), 502);
    }
    assert_eq!(dns.a_queries("missing.test"), 1);
    thread::sleep(Duration::from_millis(1200));
    client.send(get("missing.test", "/")).expect_response();
    assert!(dns.a_queries("missing.test") >= 2, "and asked for again later");
}

#[test]
fn a_name_that_appears() {
    let (dns, origin, builder) = setting();
    let proxy = builder.with("dns", "dns_failure_refresh_rate = \"100ms\"").start();
    let authority = format!("later.test:{}", origin.port());
    let mut client = proxy.client();
    assert_eq!(client.send(get(&authority, "/")).expect_response().head.status(), 502);
    dns.resolve("later.test", &["127.0.0.1"]);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(fetch(&mut client, &authority, "/"), b"hello");
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp() {
    let (dns, origin, builder) = setting();
    dns.set("long.test", Answer::Truncated { addresses: vec!["127.0.0.1".parse().expect("an address")], ttl: 60 });
    let proxy = builder.start();
    assert_eq!(fetch(&mut proxy.client(), &format!("long.test:{}", origin.port()), "/"), b"hello");
    assert!(dns.tcp_queries() >= 1);
}

/// RFC 5452: an answer to another question is none.
#[test]
fn an_answer_to_another_question() {
    let (dns, origin, builder) = setting();
    dns.set("origin.test", Answer::WrongQuestion { addresses: vec!["127.0.0.1".parse().expect("an address")] });
    let proxy = builder.with("dns", "dns_query_timeout = \"300ms\"").start();
    let mut client = proxy.client();
    let status = client.send(get(&format!("origin.test:{}", origin.port()), "/")).expect_response().head.status();
    assert!(matches!(status, 502 | 504), "{status}");
    assert_eq!(origin.connections(), 0);
}

/// RFC 8305: an address that does not answer does not keep the client from another that does.
#[test]
fn the_other_family_helps() {
    let (dns, origin, builder) = setting();
    // Nobody listens on ::1 there.
    dns.resolve("both.test", &["::1", "127.0.0.1"]).resolve("many.test", &["127.7.7.7", "127.7.7.8", "127.0.0.1"]);
    let proxy = builder.start();
    for name in ["both.test", "many.test"] {
        assert_eq!(fetch(&mut proxy.client(), &format!("{name}:{}", origin.port()), "/"), b"hello", "{name}");
    }
}

#[test]
fn families() {
    for (family, a, aaaa) in [("auto", 1, 1), ("v4_only", 1, 0)] {
        let (dns, origin, builder) = setting();
        dns.resolve("origin.test", &["127.0.0.1"]);
        let proxy = builder.with("dns", &format!("dns_lookup_family = \"{family}\"")).start();
        fetch(&mut proxy.client(), &format!("origin.test:{}", origin.port()), "/");
        assert_eq!((dns.a_queries("origin.test"), dns.aaaa_queries("origin.test")), (a, aaaa), "{family}");
    }
}

/// Many destinations, each used once, are forgotten after their time.
#[test]
fn destinations_are_forgotten() {
    let (dns, origin, builder) = setting();
    let proxy = builder.cluster("pool_idle_timeout = \"300ms\"").with("dns", "host_ttl = \"4s\"").start();
    dns.resolve("warm.test", &["127.0.0.1"]);
    fetch(&mut proxy.client(), &format!("warm.test:{}", origin.port()), "/");
    proxy.wait_for_stat("cluster.upstream_cx_active", |active| active == 0);
    let descriptors = proxy.open_descriptors();
    let mut client = proxy.client();
    for number in 0..300 {
        let name = format!("host-{number}.test");
        dns.resolve(&name, &["127.0.0.1"]);
        fetch(&mut client, &format!("{name}:{}", origin.port()), "/");
    }
    assert!(proxy.stats("cluster_manager.active_clusters") >= 100);
    drop(client);
    proxy.wait_for_stat("cluster_manager.active_clusters", |active| active == 0);
    assert_eq!(proxy.stats("cluster.upstream_cx_active"), 0);
    proxy.wait_for_descriptors(descriptors);
    origin.wait_for_open_connections(0);
}

/// The table of names has a bound: more names at once than that are refused, those in it still served.
#[test]
fn names_are_bounded() {
    let (dns, origin, builder) = setting();
    for number in 0..8 {
        dns.resolve(&format!("host-{number}.test"), &["127.0.0.1"]);
    }
    let proxy = builder.with("dns", "max_hosts = 4").start();
    let mut client = proxy.client();
    let statuses: Vec<u16> = (0..8)
        .map(|number| client.send(get(&format!("host-{number}.test:{}", origin.port()), "/")).expect_response().head.status())
        .collect();
    assert_eq!(statuses[..4], [200; 4], "{statuses:?}");
    assert!(statuses[4..].iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
}

/// DNS over TLS (RFC 7858): asked of a server whose certificate is trusted and has the right name, and of no other.
#[test]
fn names_over_tls() {
    let (dns, origin, builder) = setting();
    dns.resolve("origin.test", &["127.0.0.1"]);
    let front = TlsFront::start("resolver.test", dns.address());
    let directory = tempfile::tempdir().expect("a place for temporary files");
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, &front.certificate).expect("writable");
    let proxy = builder
        .with("dns", &format!("servers = [\"tls://{}#resolver.test\"]", front.address))
        .environment("SSL_CERT_FILE", roots.display().to_string())
        .start();
    fetch(&mut proxy.client(), &format!("origin.test:{}", origin.port()), "/");
    assert_eq!(dns.tcp_queries(), 2, "A and AAAA, and none of them in the clear");
    let wrong = Proxy::builder()
        .with("dns", &format!("servers = [\"tls://{}#other.test\"]", front.address))
        .environment("SSL_CERT_FILE", roots.display().to_string())
        .start();
    let authority = format!("origin.test:{}", origin.port());
    assert_eq!(wrong.client().send(get(&authority, "/")).expect_response().head.status(), 502);
    assert_eq!(dns.tcp_queries(), 2, "nothing was asked of a server with another name");
}
