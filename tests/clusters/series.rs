//! Every series that is declared is moved: here, one workload after the other says which ones it moves, and what none of them
//! can move is listed with the reason.

use std::collections::BTreeSet;

use crate::kit::{Answer, BlackHole, DnsServer, Origin, Peer, Proxy, Script, ScriptedOrigin, Signal};
use crate::{OK, fetch, get, send};

/// What a proxy under test cannot be made to count.
const NOT_MOVED: [(&str, &str); 5] = [
    ("access_log.dropped", "standard output has to hang; access_log's own tests have a writer that does"),
    ("access_log.write_failed", "the disk has to be full"),
    ("server.log_dropped", "the journal has to hang; logging's own tests have one that does"),
    ("server.watchdog_miss", "a worker has to stand still; the watchdog's own tests have one that does"),
    ("server.watchdog_mega_miss", "as above"),
];

/// Series by their names in Prometheus' spelling.
#[derive(Default)]
struct Series {
    declared: BTreeSet<String>,
    moved: BTreeSet<String>,
}

impl Series {
    /// Waits until none of them is zero any more. `prefix` stands before each name.
    #[track_caller]
    fn moved(&mut self, proxy: &Proxy, prefix: &str, names: &[&str]) {
        for name in names {
            let name = format!("{prefix}.{name}");
            proxy.wait_for_stat(&name, |value| value > 0);
            self.moved.insert(spelled(&name));
        }
        let text = proxy.admin_get("/stats/prometheus");
        let declared = text.lines().filter_map(|line| line.strip_prefix("# TYPE outrider_")?.split_once(' '));
        self.declared.extend(declared.map(|(name, _)| name.to_owned()));
    }
}

fn spelled(name: &str) -> String {
    name.replace('.', "_")
}

fn answer(head: &str) -> String {
    format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn every_declared_series_moves() {
    let mut series = Series::default();
    exchanges(&mut series);
    client_faults(&mut series);
    client_limits(&mut series);
    denials(&mut series);
    tunnels(&mut series);
    upstream_faults(&mut series);
    retries(&mut series);
    pools(&mut series);
    breakers(&mut series);
    names(&mut series);
    bounds_of_names(&mut series);
    drains(&mut series);
    let not_moved: BTreeSet<String> = NOT_MOVED.iter().map(|(name, _)| spelled(name)).collect();
    let left: Vec<_> = series.declared.difference(&series.moved).filter(|name| !not_moved.contains(*name)).collect();
    assert!(left.is_empty(), "declared, and moved by no workload of this test: {left:#?}");
    let gone: Vec<_> = not_moved.iter().filter(|name| !series.declared.contains(*name) || series.moved.contains(*name)).collect();
    assert!(gone.is_empty(), "not declared any more, or moved after all: {gone:#?}");
}

fn exchanges(series: &mut Series) {
    let proxy = Proxy::start();
    series.moved(&proxy, "server", &["uptime", "concurrency", "live", "version"]);
    series.moved(&proxy, "server", &["memory_resident", "memory_anonymous", "memory_address_space"]);
    let interim = Script::always(format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}"));
    let origin = ScriptedOrigin::start([interim]);
    let mut client = send(&proxy, &origin.authority());
    assert_eq!(client.expect_response().head.status(), 103);
    assert_eq!(client.expect_response().head.status(), 200);
    series.moved(&proxy, "http", &["downstream_rq_1xx", "downstream_rq_2xx", "downstream_rq_total", "downstream_rq_time"]);
    series.moved(&proxy, "http", &["downstream_cx_total", "downstream_cx_active"]);
    series.moved(&proxy, "http", &["downstream_cx_rx_bytes_total", "downstream_cx_tx_bytes_total"]);
    series.moved(&proxy, "listener", &["clients", "worker_downstream_cx_total", "worker_downstream_cx_active"]);
    series.moved(&proxy, "server", &["total_connections", "worker.loop_duration_us", "worker.poll_delay_us"]);
    series.moved(&proxy, "cluster", &["upstream_cx_connect_ms", "upstream_rq_time"]);
    for owner in ["cluster", "per_cluster"] {
        series.moved(&proxy, owner, &["upstream_cx_total", "upstream_cx_active", "upstream_cx_idle", "upstream_rq_total"]);
    }
    series.moved(&proxy, "per_cluster", &["upstream_rq_2xx", "upstream_cx_rx_bytes_total"]);
    series.moved(&proxy, "per_cluster.circuit_breakers", &["remaining_cx", "remaining_pending", "remaining_rq", "remaining_retries"]);
    series.moved(&proxy, "cluster_manager", &["active_clusters", "clusters"]);
    series.moved(&proxy, "access_log", &["written", "written_bytes"]);
    for (head, class) in [("304 Not Modified", "3xx"), ("404 Not Found", "4xx"), ("500 Oops", "5xx")] {
        let origin = ScriptedOrigin::start([Script::always(answer(head))]);
        fetch(&proxy, &origin.authority());
        series.moved(&proxy, "http", &[&format!("downstream_rq_{class}")]);
        series.moved(&proxy, "per_cluster", &[&format!("upstream_rq_{class}")]);
    }
    let origin = Origin::listen();
    let authority = origin.authority();
    let mut client = proxy.client();
    client.send(format!("POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 2\r\n\r\nhi"));
    let mut upstream = origin.accept();
    upstream.expect_request();
    series.moved(&proxy, "http", &["downstream_rq_active"]);
    series.moved(&proxy, "per_cluster", &["upstream_rq_active"]);
    upstream.send(OK);
    client.expect_response();
    series.moved(&proxy, "per_cluster", &["upstream_cx_tx_bytes_total"]);
}

fn client_faults(series: &mut Series) {
    let settings = "request_headers_timeout = \"100ms\"\nidle_timeout = \"300ms\"\nmax_target = \"1KiB\"";
    let proxy = Proxy::builder().http1(settings).with("listener", "first_byte_timeout = \"100ms\"").start();
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    proxy.client().send("GET / HTTP/9.9\r\n\r\n").expect_response();
    series.moved(&proxy, "http", &["downstream_cx_protocol_error"]);
    proxy.client().send(format!("GET http://a/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(2000))).expect_response();
    series.moved(&proxy, "http", &["downstream_rq_too_large"]);
    proxy.client().send("GET http://a/ HT").expect_response();
    series.moved(&proxy, "http", &["downstream_rq_timeout"]);
    proxy.client().expect_end();
    series.moved(&proxy, "http", &["downstream_cx_first_byte_timeout"]);
    let mut idle = send(&proxy, &origin.authority());
    idle.expect_response();
    idle.expect_end();
    series.moved(&proxy, "http", &["downstream_cx_idle_timeout"]);
    let silent = ScriptedOrigin::start([Script::new().request().stall()]);
    let leaves = send(&proxy, &silent.authority());
    silent.wait_for_requests(1);
    leaves.reset();
    series.moved(&proxy, "http", &["downstream_cx_destroy_remote_active_rq"]);
}

fn client_limits(series: &mut Series) {
    let proxy = Proxy::builder().with("listener", "max_connections = 2\nmax_connections_per_client = 1").start();
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let mut first = proxy.client_from([127, 0, 0, 2].into());
    first.send(get(&origin.authority())).expect_response();
    proxy.client_from([127, 0, 0, 2].into()).expect_end();
    series.moved(&proxy, "listener", &["downstream_cx_client_overflow"]);
    let mut second = proxy.client_from([127, 0, 0, 3].into());
    second.send(get(&origin.authority())).expect_response();
    proxy.client_from([127, 0, 0, 4].into()).expect_end();
    series.moved(&proxy, "listener", &["downstream_cx_overflow"]);
}

fn denials(series: &mut Series) {
    let proxy = Proxy::builder().config("[[policy.rule]]\nhosts = [\"denied.test\"]\naction = \"deny\"").start();
    assert_eq!(fetch(&proxy, "denied.test").head.status(), 403);
    assert_eq!(fetch(&proxy, "10.0.0.1").head.status(), 403);
    series.moved(&proxy, "http", &["policy.denied", "address_denied"]);
}

fn tunnels(series: &mut Series) {
    let origin = ScriptedOrigin::start([Script::echo()]);
    let limits = || Proxy::builder().with("tunnel", "max_per_client = 1");
    let proxy = limits().with("policy", "revoke = true").start();
    let mut tunnel = proxy.tunnel(&origin.authority());
    series.moved(&proxy, "http", &["downstream_cx_upgrades_active", "downstream_cx_upgrades_total"]);
    let refused = proxy.client().send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.authority())).expect_response();
    assert_eq!(refused.head.status(), 503);
    series.moved(&proxy, "http", &["downstream_cx_upgrades_client_overflow"]);
    proxy.rewrite_config(&limits().with("policy", "revoke = true\ndefault = \"deny\""));
    proxy.signal(Signal::HUP);
    tunnel.expect_end();
    series.moved(&proxy, "http", &["downstream_cx_upgrades_revoked"]);
}

fn upstream_faults(series: &mut Series) {
    let proxy = Proxy::builder().cluster("connect_timeout = \"300ms\"\nrequest_timeout = \"100ms\"").start();
    assert_eq!(fetch(&proxy, "127.0.0.1:1").head.status(), 502);
    let hole = BlackHole::start();
    let mut client = send(&proxy, &hole.address().to_string());
    series.moved(&proxy, "per_cluster", &["upstream_cx_connecting"]);
    assert_eq!(client.expect_response().head.status(), 504);
    let silent = ScriptedOrigin::start([Script::new().request().stall()]);
    assert_eq!(fetch(&proxy, &silent.authority()).head.status(), 504);
    for owner in ["cluster", "per_cluster"] {
        series.moved(&proxy, owner, &["upstream_cx_connect_fail", "upstream_cx_connect_timeout", "upstream_rq_timeout"]);
    }
}

fn retries(series: &mut Series) {
    let ends = Script::new().request();
    let origin = ScriptedOrigin::start([ends.clone(), Script::new().request().stall()]);
    let again = "retry_on = [\"reset\"]\nnum_retries = 3";
    let proxy = Proxy::builder().cluster(&format!("{again}\nmax_retries = 1")).start();
    let waiting = send(&proxy, &origin.authority());
    origin.wait_for_requests(2);
    series.moved(&proxy, "per_cluster", &["upstream_rq_retry_active"]);
    series.moved(&proxy, "per_cluster.circuit_breakers", &["retries_open"]);
    drop(waiting);
    let origin = ScriptedOrigin::start([ends.clone(), ends.clone().reply(OK)]);
    assert_eq!(fetch(&proxy, &origin.authority()).head.status(), 200);
    let limited = Proxy::builder().cluster(&format!("{again}\nmax_retries = 0")).start();
    let origin = ScriptedOrigin::start([ends]);
    assert_eq!(fetch(&limited, &origin.authority()).head.status(), 503);
    for owner in ["cluster", "per_cluster"] {
        series.moved(&proxy, owner, &["upstream_rq_retry", "upstream_rq_retry_success"]);
        series.moved(&limited, owner, &["upstream_rq_retry_overflow"]);
    }
    let slow = Proxy::builder().cluster("per_try_timeout = \"100ms\"").start();
    let origin = ScriptedOrigin::start([Script::new().request().stall(), Script::always(OK)]);
    assert_eq!(fetch(&slow, &origin.authority()).head.status(), 200);
    series.moved(&slow, "per_cluster", &["upstream_rq_per_try_timeout"]);
}

fn pools(series: &mut Series) {
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let closes = ScriptedOrigin::start([Script::new().request().reply(OK)]);
    let proxy = Proxy::builder().cluster("pool_idle_timeout = \"200ms\"\nmax_requests_per_connection = 2").start();
    for _ in 0..2 {
        assert_eq!(fetch(&proxy, &origin.authority()).head.status(), 200);
        proxy.wait_for_stat("http.downstream_rq_active", |active| active == 0);
    }
    fetch(&proxy, &origin.authority());
    let stale = Proxy::start();
    for _ in 0..2 {
        fetch(&stale, &closes.authority());
        closes.wait_for_open_connections(0);
    }
    for owner in ["cluster", "per_cluster"] {
        series.moved(&proxy, owner, &["upstream_cx_max_requests", "upstream_cx_idle_timeout"]);
        series.moved(&stale, owner, &["upstream_cx_stale"]);
    }
}

fn breakers(series: &mut Series) {
    let silent = ScriptedOrigin::start([Script::new().request().stall()]);
    let proxy =
        Proxy::builder().cluster("max_connections = 1\nmax_pending_requests = 1\nmax_requests = 2\nconnect_timeout = \"1s\"").start();
    let _holder = send(&proxy, &silent.authority());
    silent.wait_for_requests(1);
    let mut waiting = send(&proxy, &silent.authority());
    series.moved(&proxy, "per_cluster", &["upstream_rq_pending_active", "upstream_rq_pending_total"]);
    series.moved(&proxy, "per_cluster.circuit_breakers", &["cx_open", "rq_open", "pending_open"]);
    assert_eq!(fetch(&proxy, &silent.authority()).head.status(), 503);
    assert_eq!(waiting.expect_response().head.status(), 503);
    for owner in ["cluster", "per_cluster"] {
        series.moved(&proxy, owner, &["upstream_rq_pending_overflow", "upstream_cx_overflow"]);
    }
}

fn names(series: &mut Series) {
    let dns = DnsServer::start();
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    dns.resolve_with_ttl("there.test", &["127.0.0.1"], 0).set("silent.test", Answer::Silence);
    let settings = "dns_query_timeout = \"500ms\"\ndns_min_refresh_rate = \"1s\"\nhost_ttl = \"1s\"\ndns_failure_refresh_rate = \"1s\"";
    let proxy = Proxy::builder().dns(&dns).with("dns", settings).start();
    let there = format!("there.test:{}", origin.port());
    assert_eq!(fetch(&proxy, &there).head.status(), 200);
    series.moved(&proxy, "dns_cache", &["dns_query_attempt", "dns_query_success", "host_added", "num_hosts"]);
    assert_eq!(fetch(&proxy, "nowhere.test").head.status(), 502);
    series.moved(&proxy, "dns_cache", &["dns_query_failure"]);
    let mut client = send(&proxy, "silent.test");
    series.moved(&proxy, "dns_cache", &["look_ups_active", "dns_rq_pending"]);
    assert_eq!(client.expect_response().head.status(), 504);
    series.moved(&proxy, "dns_cache", &["dns_query_timeout", "host_removed"]);
    let settings = "dns_min_refresh_rate = \"1s\"\ndns_failure_refresh_rate = \"1s\"\npreresolve_hostnames = [\"there.test\"]";
    let keeps = Proxy::builder().dns(&dns).with("dns", settings).start();
    assert_eq!(fetch(&keeps, &there).head.status(), 200);
    dns.resolve_with_ttl("there.test", &["127.0.0.1", "127.0.0.2"], 0);
    series.moved(&keeps, "dns_cache", &["host_address_changed"]);
    dns.set("there.test", Answer::ServFail);
    series.moved(&keeps, "dns_cache", &["stale_served"]);
}

fn bounds_of_names(series: &mut Series) {
    let dns = DnsServer::start();
    for number in 0..8 {
        dns.set(&format!("slow-{number}.test"), Answer::Silence);
    }
    let ask = |proxy: &Proxy, client: u8, number: usize| -> Peer {
        let mut client = proxy.client_from([127, 0, 0, client].into());
        client.send(get(&format!("slow-{number}.test")));
        client
    };
    let waits = "dns_query_timeout = \"30s\"";
    let limits = format!("{waits}\nmax_pending_requests = 2\nmax_pending_requests_per_client = 1");
    let proxy = Proxy::builder().dns(&dns).with("dns", &limits).start();
    let mut waiting = vec![ask(&proxy, 2, 0)];
    proxy.wait_for_stat("dns_cache.dns_rq_pending", |pending| pending == 1);
    ask(&proxy, 2, 1).expect_response();
    waiting.push(ask(&proxy, 3, 1));
    proxy.wait_for_stat("dns_cache.dns_rq_pending", |pending| pending == 2);
    ask(&proxy, 4, 2).expect_response();
    series.moved(&proxy, "dns_cache", &["dns_rq_client_overflow", "dns_rq_pending_overflow"]);
    let limits = format!("{waits}\nmax_hosts = 2\nmax_hosts_per_client = 1");
    let proxy = Proxy::builder().dns(&dns).with("dns", &limits).start();
    let mut waiting = vec![ask(&proxy, 2, 0)];
    proxy.wait_for_stat("dns_cache.dns_rq_pending", |pending| pending == 1);
    ask(&proxy, 2, 1).expect_response();
    waiting.push(ask(&proxy, 3, 1));
    proxy.wait_for_stat("dns_cache.dns_rq_pending", |pending| pending == 2);
    ask(&proxy, 4, 2).expect_response();
    series.moved(&proxy, "cluster_manager", &["client_overflow", "overflow"]);
    let full = Proxy::builder().dns(&dns).with("dns", "max_hosts = 1\npreresolve_hostnames = [\"slow-0.test\"]").start();
    full.wait_for_stat("dns_cache.num_hosts", |hosts| hosts == 1);
    assert_eq!(fetch(&full, "slow-1.test").head.status(), 503);
    series.moved(&full, "dns_cache", &["host_overflow"]);
}

fn drains(series: &mut Series) {
    let proxy = Proxy::start();
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let mut idle = send(&proxy, &origin.authority());
    idle.expect_response();
    proxy.admin("POST /healthcheck/fail");
    series.moved(&proxy, "server", &["state"]);
    let silent = ScriptedOrigin::start([Script::new().request().stall()]);
    let _keeps_it_running = send(&proxy, &silent.authority());
    silent.wait_for_requests(1);
    proxy.signal(Signal::TERM);
    idle.expect_end();
    series.moved(&proxy, "http", &["downstream_cx_drain_close"]);
}
