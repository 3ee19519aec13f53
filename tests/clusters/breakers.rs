use std::time::{Duration, Instant};

use crate::kit::{DnsServer, Origin, Proxy, Script, ScriptedOrigin};
use crate::{OK, fetch, get, reason_of, send, shown};

/// Two workers, which have to count together.
fn proxy(dns: &DnsServer, cluster: &str) -> Proxy {
    Proxy::builder().with("server", "workers = 2").dns(dns).cluster(cluster).start()
}

fn names() -> DnsServer {
    let dns = DnsServer::start();
    dns.resolve("busy.test", &["127.0.0.1"]).resolve("calm.test", &["127.0.0.1"]);
    dns
}

#[test]
fn one_host_is_full_while_another_runs() {
    let dns = names();
    let busy = ScriptedOrigin::start([Script::new().request().stall()]);
    let calm = ScriptedOrigin::start([Script::always(OK)]);
    let proxy = proxy(&dns, "max_requests = 5");
    let (busy_name, calm_name) = (format!("busy.test:{}", busy.port()), format!("calm.test:{}", calm.port()));
    let waiting: Vec<_> = (0..5).map(|_| send(&proxy, &busy_name)).collect();
    busy.wait_for_requests(5);
    // Whichever worker they fall on.
    for _ in 0..10 {
        assert_eq!(fetch(&proxy, &busy_name).head.status(), 503);
        assert_eq!(fetch(&proxy, &calm_name).head.status(), 200);
    }
    assert_eq!(reason_of(&proxy, 503), "requests_overflow");
    assert_eq!(shown(&proxy, &busy_name, "default_priority::max_requests"), "5");
    assert_eq!(shown(&proxy, &busy_name, "circuit_breakers::rq_open"), "1");
    assert_eq!(shown(&proxy, &busy_name, "circuit_breakers::remaining_rq"), "0");
    assert_eq!(shown(&proxy, &busy_name, "upstream_rq_pending_overflow"), "10");
    assert_eq!(shown(&proxy, &calm_name, "circuit_breakers::rq_open"), "0");
    assert_eq!(shown(&proxy, &calm_name, "upstream_rq_2xx"), "10");
    let prometheus = proxy.admin_get("/stats/prometheus");
    for line in [
        format!("outrider_per_cluster_circuit_breakers_rq_open{{cluster_name=\"{busy_name}\"}} 1"),
        format!("outrider_per_cluster_upstream_rq_total{{cluster_name=\"{busy_name}\"}} 5"),
        format!("outrider_per_cluster_upstream_rq_total{{cluster_name=\"{calm_name}\"}} 10"),
        "outrider_per_cluster_upstream_rq_total{cluster_name=\"other\"} 0".to_owned(),
    ] {
        assert!(prometheus.lines().any(|known| known == line), "no {line} in\n{prometheus}");
    }
    let json = proxy.admin_get("/clusters?format=json");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["cluster_statuses"][0]["name"], busy_name);
    assert_eq!(json["cluster_statuses"][0]["circuit_breakers"]["max_requests"]["open"], true);
    // Given back when the streams end.
    waiting.into_iter().for_each(crate::kit::Peer::reset);
    proxy.wait_for_stat("http.downstream_rq_active", |active| active == 0);
    proxy.wait_for_stat("cluster.upstream_cx_active", |active| active <= 2);
    let _again = send(&proxy, &busy_name);
    busy.wait_for_requests(6);
}

#[test]
fn connections_have_a_limit() {
    let dns = names();
    let origin = ScriptedOrigin::start([Script::new().request().stall()]);
    let proxy = proxy(&dns, "max_connections = 3\nconnect_timeout = \"200ms\"");
    let name = format!("busy.test:{}", origin.port());
    let _waiting: Vec<_> = (0..3).map(|_| send(&proxy, &name)).collect();
    origin.wait_for_requests(3);
    assert_eq!(fetch(&proxy, &name).head.status(), 503);
    assert_eq!(reason_of(&proxy, 503), "connections_overflow");
    assert_eq!(shown(&proxy, &name, "circuit_breakers::cx_open"), "1");
    assert_eq!(shown(&proxy, &name, "upstream_cx_overflow"), "1");
}

/// One connection serves who waits for it, in the order in which they came.
#[test]
fn streams_wait_for_a_connection() {
    let origin = Origin::listen();
    let proxy = Proxy::builder().cluster("max_connections = 1").start();
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = proxy.client();
        client.send(format!("GET http://{0}/{number} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority()));
        clients.push(client);
        proxy.wait_for_stat("per_cluster.upstream_rq_pending_total", |total| total == number + 1);
    }
    let name = origin.authority();
    let mut upstream = origin.accept();
    proxy.wait_for_stat("per_cluster.upstream_rq_pending_active", |waiting| waiting == 2);
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(upstream.expect_request().head.start_line(), format!("GET /{number} HTTP/1.1"));
        upstream.send(OK);
        assert_eq!(client.expect_response().head.status(), 200);
    }
    assert_eq!(shown(&proxy, &name, "upstream_cx_total"), "1");
    assert_eq!(shown(&proxy, &name, "upstream_rq_pending_active"), "0");
    assert_eq!(shown(&proxy, &name, "upstream_cx_overflow"), "0");
    let reused = proxy.access_log().take(3).filter(crate::kit::LogEntry::reused).count();
    assert_eq!(reused, 2, "and the log says so");
}

/// A connection that goes makes room for a new one, on whichever worker.
#[test]
fn streams_wait_for_room() {
    let dns = names();
    let closes = Script::new().request().reply("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let origin = ScriptedOrigin::start([closes]);
    let proxy = proxy(&dns, "max_connections = 1");
    let name = format!("busy.test:{}", origin.port());
    for mut client in (0..20).map(|_| send(&proxy, &name)).collect::<Vec<_>>() {
        assert_eq!(client.expect_response().head.status(), 200);
    }
    assert_eq!(shown(&proxy, &name, "upstream_cx_overflow"), "0");
    assert_eq!(shown(&proxy, &name, "upstream_rq_pending_active"), "0");
    assert_eq!(shown(&proxy, &name, "upstream_cx_connecting"), "0");
}

#[test]
fn tunnels_wait_for_room() {
    let dns = names();
    let origin = ScriptedOrigin::start([Script::echo()]);
    let proxy = proxy(&dns, "max_connections = 1");
    let name = format!("busy.test:{}", origin.port());
    let mut first = proxy.tunnel(&name);
    first.send("hello").expect("hello");
    let mut second = proxy.client();
    second.send(format!("CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n"));
    proxy.wait_for_stat("per_cluster.upstream_rq_pending_active", |waiting| waiting == 1);
    first.reset();
    second.expect("HTTP/1.1 200 Connection established\r\n\r\n");
    second.send("hello").expect("hello");
}

/// Nobody waits for a client that is gone.
#[test]
fn a_client_that_goes_while_it_waits() {
    let dns = names();
    let origin = ScriptedOrigin::start([Script::new().request().stall()]);
    let proxy = proxy(&dns, "max_connections = 1\nconnect_timeout = \"60s\"");
    let name = format!("busy.test:{}", origin.port());
    let _holder = send(&proxy, &name);
    origin.wait_for_requests(1);
    for request in [get(&name), format!("CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n")] {
        let mut client = proxy.client();
        client.send(request);
        proxy.wait_for_stat("per_cluster.upstream_rq_pending_active", |waiting| waiting == 1);
        client.reset();
        proxy.wait_for_stat("per_cluster.upstream_rq_pending_active", |waiting| waiting == 0);
    }
    let gone = proxy.access_log().take(2).filter(|entry| entry.text("reason") == "client_gone").count();
    assert_eq!(gone, 2);
}

#[test]
fn a_wait_that_is_too_long() {
    let dns = names();
    let origin = ScriptedOrigin::start([Script::new().request().stall()]);
    let calm = ScriptedOrigin::start([Script::always(OK)]);
    let proxy = proxy(&dns, "max_connections = 1\nmax_pending_requests = 1\nconnect_timeout = \"1s\"");
    let name = format!("busy.test:{}", origin.port());
    let _holder = send(&proxy, &name);
    origin.wait_for_requests(1);
    let started = Instant::now();
    let mut waiting = send(&proxy, &name);
    proxy.wait_for_stat("per_cluster.upstream_rq_pending_active", |waiting| waiting == 1);
    // No place to wait is left, and this is told at once.
    assert_eq!(fetch(&proxy, &name).head.status(), 503);
    assert_eq!(reason_of(&proxy, 503), "pending_requests_overflow");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(shown(&proxy, &name, "circuit_breakers::pending_open"), "1");
    // Another destination does not notice.
    assert_eq!(fetch(&proxy, &format!("calm.test:{}", calm.port())).head.status(), 200);
    assert_eq!(waiting.expect_response().head.status(), 503);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    proxy.log_entry("of the one that waited", |entry| entry.text("reason") == "connections_overflow");
    assert_eq!(shown(&proxy, &name, "upstream_rq_pending_overflow"), "1");
    assert_eq!(shown(&proxy, &name, "upstream_cx_overflow"), "1");
    assert_eq!(shown(&proxy, &name, "upstream_rq_pending_active"), "0");
}

/// What one worker keeps for later is not in the way of another's stream.
#[test]
fn idle_connections_make_room() {
    let dns = names();
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let proxy = proxy(&dns, "max_connections = 1");
    let name = format!("calm.test:{}", origin.port());
    // New client connections fall on either worker.
    for _ in 0..40 {
        assert_eq!(fetch(&proxy, &name).head.status(), 200);
        // The client has its answer a moment before the connection is given back.
        proxy.wait_for_stat("cluster.upstream_cx_idle", |idle| idle == 1);
    }
    assert_eq!(shown(&proxy, &name, "upstream_cx_overflow"), "0");
}

#[test]
fn streams_that_wait_have_a_limit() {
    let dns = names();
    let proxy = proxy(&dns, "max_pending_requests = 0");
    assert_eq!(fetch(&proxy, "busy.test:1").head.status(), 503);
    assert_eq!(reason_of(&proxy, 503), "pending_requests_overflow");
}
