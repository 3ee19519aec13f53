//! What one client may have, and that others do not notice.

use std::net::Ipv4Addr;

use crate::kit::{Answer, DnsServer, End, Peer, Proxy, ProxyBuilder, Script, ScriptedOrigin, Signal};
use crate::{OK, get};

const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const MODEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Two workers, which have to count together.
fn builder() -> ProxyBuilder {
    Proxy::builder().with("server", "workers = 2")
}

fn names(count: usize) -> DnsServer {
    let dns = DnsServer::start();
    for number in 0..count {
        dns.resolve(&format!("host-{number}.test"), &["127.0.0.1"]);
    }
    dns
}

/// Asks for a tunnel; the status of the answer, and the reason in it.
fn connect(client: &mut Peer, authority: &str) -> (u16, String) {
    client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    let answer = client.expect_response_to("CONNECT");
    let status = answer.head.status();
    if status == 503 {
        assert_eq!(answer.head.field("Retry-After"), Some("1"));
    }
    let body = String::from_utf8(answer.body).expect("text");
    (status, body.lines().find_map(|line| line.strip_prefix("Reason: ")).unwrap_or("").to_owned())
}

/// All that ever counted against anybody is given back.
fn nothing_is_left(proxy: &Proxy) {
    for series in ["http.downstream_cx_active", "http.downstream_cx_upgrades_active", "dns_cache.dns_rq_pending", "listener.clients"] {
        proxy.wait_for_stat(series, |left| left == 0);
    }
}

#[test]
fn tunnels_to_distinct_names() {
    let dns = names(40);
    let origin = ScriptedOrigin::start([Script::echo()]);
    let settings = "max_hosts = 64\nhost_ttl = \"1s\"";
    let builder = builder().dns(&dns).with("dns", settings);
    let proxy = builder.start();
    let authority = |number: usize| format!("host-{number}.test:{}", origin.port());
    // A quarter of all destinations is what one client gets.
    let mut clients: Vec<Peer> = (0..16).map(|number| proxy.tunnel(&authority(number))).collect();
    for number in 16..20 {
        let refused = connect(&mut proxy.client_from(GREEDY), &authority(number));
        assert_eq!(refused, (503, "client_destinations_overflow".to_owned()));
    }
    let entry = proxy.log_entry("of the refused", |entry| entry.text("reason") == "client_destinations_overflow");
    assert_eq!((entry.status(), entry.text("response_flags")), (Some(503), "UO"));
    assert_eq!(proxy.stats("cluster_manager.client_overflow"), 4);
    // To what it has it may go, and others go where they like.
    clients.push(proxy.tunnel(&authority(3)));
    let mut others: Vec<Peer> = (20..36)
        .map(|number| (number, proxy.client_from(MODEST)))
        .map(|(number, mut client)| {
            assert_eq!(connect(&mut client, &authority(number)).0, 200);
            client
        })
        .collect();
    clients[0].send("hello").expect("hello");
    others[0].send("hello").expect("hello");
    // One that has ended makes room.
    drop((clients, others));
    proxy.wait_for_stat("http.downstream_cx_upgrades_active", |open| open == 0);
    assert_eq!(connect(&mut proxy.client(), &authority(38)).0, 200);
    nothing_is_left(&proxy);
    assert_eq!((proxy.stats("cluster_manager.overflow"), proxy.stats("cluster_manager.clusters")), (0, 0));
}

#[test]
fn names_that_nobody_uses_make_room() {
    let dns = names(0);
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    dns.resolve("there.test", &["127.0.0.1"]);
    let proxy = builder().dns(&dns).with("dns", "max_hosts = 64").start();
    let mut greedy = [proxy.client_from(GREEDY), proxy.client_from(GREEDY), proxy.client_from(GREEDY)];
    for number in 0..200 {
        let status = greedy[number % 3].send(get(&format!("nowhere-{number}.test"))).expect_response().head.status();
        assert!(matches!(status, 502 | 503), "{status}");
    }
    assert!(proxy.stats("cluster_manager.clusters") <= 16);
    let authority = format!("there.test:{}", origin.port());
    assert_eq!(proxy.client_from(MODEST).send(get(&authority)).expect_response().head.status(), 200);
}

#[test]
fn tunnels_at_once() {
    let origin = ScriptedOrigin::start([Script::echo()]);
    let authority = origin.authority();
    let limited = builder().with("tunnel", "max_per_client = 3");
    let proxy = limited.start();
    let mut tunnels: Vec<Peer> = (0..3).map(|_| proxy.tunnel(&authority)).collect();
    let overflow = (503, "client_tunnels_overflow".to_owned());
    assert_eq!(connect(&mut proxy.client_from(GREEDY), &authority), overflow);
    assert_eq!(connect(&mut proxy.client_from(MODEST), &authority).0, 200);
    // An Upgrade may become one.
    let upgrade = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(proxy.client().send(upgrade).expect_response().head.status(), 503);
    assert_eq!(proxy.stats("http.downstream_cx_upgrades_client_overflow"), 2);
    // One that could not be opened counts no more, however it failed.
    tunnels.pop().expect("three").reset();
    proxy.wait_for_stat("http.downstream_cx_upgrades_active", |open| open == 2);
    for _ in 0..5 {
        assert_eq!(connect(&mut proxy.client(), "127.0.0.1:1").0, 502);
        assert_eq!(connect(&mut proxy.client(), "nowhere.test:443").0, 502);
    }
    tunnels.push(proxy.tunnel(&authority));
    // A reload changes the limit for tunnels to come.
    proxy.rewrite_config(&builder().with("tunnel", "max_per_client = 4"));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("configuration reloaded");
    tunnels.push(proxy.tunnel(&authority));
    assert_eq!(connect(&mut proxy.client(), &authority), overflow);
    tunnels[0].send("hello").expect("hello");
    drop(tunnels);
    proxy.wait_for_stat("http.downstream_cx_upgrades_active", |open| open == 0);
    let _again: Vec<Peer> = (0..4).map(|_| proxy.tunnel(&authority)).collect();
}

#[test]
fn connections_at_once() {
    let limit = |max: usize| {
        builder()
            .with("listener", &format!("max_connections_per_client = {max}"))
            .cluster("pool_idle_timeout = \"500ms\"")
            .with("dns", "host_ttl = \"1s\"")
    };
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let proxy = limit(3).start();
    let serves = |client: &mut Peer| assert_eq!(client.send(get(&origin.authority())).expect_response().head.status(), 200);
    let mut clients: Vec<Peer> = (0..3).map(|_| proxy.client_from(GREEDY)).collect();
    clients.iter_mut().for_each(serves);
    for _ in 0..3 {
        assert!(matches!(proxy.client_from(GREEDY).expect_end(), End::Eof | End::Reset));
    }
    assert_eq!(proxy.stats("listener.downstream_cx_client_overflow"), 3);
    let told = proxy.wait_for_message("max_connections_per_client");
    assert!(told.contains("127.0.0.1"), "{told}");
    assert_eq!(proxy.messages().matches("closing connections of a client").count(), 1);
    serves(&mut proxy.client_from(MODEST));
    proxy.rewrite_config(&limit(4));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("configuration reloaded");
    clients.push(proxy.client_from(GREEDY));
    serves(&mut clients[3]);
    assert!(matches!(proxy.client_from(GREEDY).expect_end(), End::Eof | End::Reset));
    drop(clients);
    proxy.wait_for_stat("http.downstream_cx_active", |open| open == 0);
    serves(&mut proxy.client_from(GREEDY));
    nothing_is_left(&proxy);
}

#[test]
fn look_ups_at_once() {
    let dns = names(0);
    for number in 0..12 {
        dns.set(&format!("slow-{number}.test"), Answer::Silence);
    }
    dns.resolve("quick.test", &["127.0.0.1"]);
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let settings = "dns_query_timeout = \"30s\"\nmax_pending_requests = 16\nhost_ttl = \"1s\"";
    let proxy = builder().dns(&dns).with("dns", settings).start();
    let mut waiting: Vec<Peer> = (0..4)
        .map(|number| {
            let mut client = proxy.client_from(GREEDY);
            client.send(get(&format!("slow-{number}.test")));
            client
        })
        .collect();
    proxy.wait_for_stat("dns_cache.dns_rq_pending", |pending| pending == 4);
    let refused = |number: usize| {
        let answer = proxy.client_from(GREEDY).send(get(&format!("slow-{number}.test"))).expect_response();
        assert_eq!(answer.head.status(), 503);
        assert!(answer.head.field("Proxy-Status").is_some_and(|status| status.contains("client_lookups_overflow")));
    };
    refused(4);
    // One that is known, or waited for already, is no exception.
    refused(0);
    assert_eq!(proxy.stats("dns_cache.dns_rq_client_overflow"), 2);
    let quick = get(&format!("quick.test:{}", origin.port()));
    assert_eq!(proxy.client_from(MODEST).send(&quick).expect_response().head.status(), 200);
    // Who knows the answer does not wait.
    assert_eq!(proxy.client_from(GREEDY).send(&quick).expect_response().head.status(), 200);
    // Whoever gives up leaves a look-up that goes on, and still counts.
    waiting.drain(..).for_each(Peer::reset);
    proxy.wait_for_stat("dns_cache.dns_rq_pending", |pending| pending == 0);
    refused(5);
    dns.resolve("slow-0.test", &["127.0.0.1"]);
    proxy.wait_for_stat("dns_cache.look_ups_active", |running| running == 3);
    let mut again = proxy.client_from(GREEDY);
    again.send(get("slow-6.test"));
    proxy.wait_for_stat("dns_cache.dns_rq_pending", |pending| pending == 1);
}
