//! Requests, tunnels, and what is told of them.

use std::thread;

use crate::kit::{DnsServer, Origin, Peer, Proxy, Script, ScriptedOrigin};
use crate::{bytes, fetch, get, response};

#[test]
fn a_request_and_its_answer() {
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let proxy = Proxy::start();
    let mut client = proxy.client();
    assert_eq!(fetch(&mut client, &origin.authority(), "/path?query"), b"hello");
    let requests = origin.requests();
    assert_eq!(requests[0].head.start_line(), "GET /path?query HTTP/1.1");
    assert_eq!(requests[0].head.field("host"), Some(origin.authority().as_str()));
}

#[test]
fn a_tunnel() {
    let origin = ScriptedOrigin::start([Script::echo()]);
    let proxy = Proxy::start();
    let mut client = proxy.tunnel(&origin.authority());
    client.send("ping").expect("ping");
    client.half_close();
    client.expect_eof();
}

#[test]
fn a_name() {
    let dns = DnsServer::start();
    dns.resolve("origin.test", &["127.0.0.1"]);
    let origin = ScriptedOrigin::start([Script::always(response(b"named"))]);
    let proxy = Proxy::builder().dns(&dns).start();
    let mut client = proxy.client();
    assert_eq!(fetch(&mut client, &format!("origin.test:{}", origin.port()), "/"), b"named");
}

/// Big bodies in every framing, both ways, arrive as they were.
#[test]
fn big_bodies() {
    const SIZE: usize = 8 << 20;
    let body = bytes(SIZE);
    let chunked = |body: &[u8]| {
        let chunks = body.chunks(70_000).flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        chunks.chain(*b"0\r\n\r\n").collect::<Vec<u8>>()
    };
    let answers = [
        response(&body),
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &chunked(&body)].concat(),
        [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &body].concat(),
    ];
    let proxy = Proxy::start();
    for answer in answers {
        let origin = ScriptedOrigin::start([Script::new().request().reply(answer)]);
        assert!(fetch(&mut proxy.client(), &origin.authority(), "/") == body, "the download differs");
    }
    let origin = ScriptedOrigin::start([Script::always(response(b"thanks"))]);
    let head = |framing: &str| format!("PUT http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{framing}\r\n\r\n", origin.authority());
    let mut client = proxy.client();
    client.send(head(&format!("Content-Length: {SIZE}"))).send(&body);
    assert_eq!(client.expect_response().body, b"thanks");
    client.send(head("Transfer-Encoding: chunked")).send(chunked(&body));
    assert_eq!(client.expect_response().body, b"thanks");
    assert!(origin.requests().iter().all(|request| request.body == body), "an upload differs");
}

#[test]
fn a_big_tunnel() {
    let origin = Origin::listen();
    let proxy = Proxy::start();
    let mut client = proxy.tunnel(&origin.authority());
    let mut upstream = origin.accept();
    let (up, down) = (bytes(8 << 20), bytes(7 << 20));
    // Both directions at once, so that neither may wait for the other.
    let (expected_up, sent_down) = (up.clone(), down.clone());
    let far_end = thread::spawn(move || {
        for (received, sent) in expected_up.chunks(1 << 20).zip(sent_down.chunks(1 << 20)) {
            upstream.send(sent);
            assert!(upstream.expect_bytes(received.len()) == received, "what came up differs");
        }
        assert!(upstream.expect_bytes(1 << 20) == expected_up[7 << 20..], "what came up last differs");
        upstream.half_close();
        upstream.expect_eof();
    });
    for (sent, received) in up.chunks(1 << 20).zip(down.chunks(1 << 20)) {
        client.send(sent);
        assert!(client.expect_bytes(received.len()) == received, "what came down differs");
    }
    client.send(&up[7 << 20..]);
    client.half_close();
    client.expect_eof();
    far_end.join().expect("the far end agrees");
    let entry = proxy.access_log().next().expect("waits");
    assert_eq!((entry.number("bytes_received"), entry.number("bytes_sent")), (Some((8 << 20) as f64), Some((7 << 20) as f64)));
}

/// A WebSocket-like echo through an Upgrade.
#[test]
fn an_upgrade() {
    let accept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let origin = ScriptedOrigin::start([Script::new().request().reply(accept).then_echo()]);
    let proxy = Proxy::start();
    let mut client = proxy.client();
    client.send(get(&origin.authority(), "/").replace("\r\n\r\n", "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"));
    assert_eq!(client.expect_head().status(), 101);
    for frame in ["one", "two", "three"] {
        client.send(frame).expect(frame);
    }
    client.half_close();
    client.expect_eof();
}

#[test]
fn the_access_log() {
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let proxy = Proxy::start();
    let mut client = proxy.client();
    fetch(&mut client, &origin.authority(), "/a\"b?c");
    client.send(format!("POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: 3\r\n\r\nabc", origin.authority())).expect_response();
    client.send("GET http://127.0.0.1:1/ HTTP/1.0\r\n\r\n").expect_response();
    let entries: Vec<_> = proxy.access_log().take(3).collect();

    let first = &entries[0];
    assert_eq!((first.text("method"), first.text("version"), first.status()), ("GET", "HTTP/1.1", Some(200)));
    assert_eq!(first.text("target"), format!("http://{}/a\"b?c", origin.authority()));
    assert_eq!((first.text("listener"), first.number("worker")), ("test", Some(0.0)));
    assert_eq!((first.text("cluster"), first.text("endpoint")), (origin.authority().as_str(), origin.authority().as_str()));
    assert_eq!(first.text("client"), client.local_address().to_string());
    assert_eq!((first.number("bytes_received"), first.number("bytes_sent"), first.reused()), (Some(0.0), Some(5.0), false));
    assert_eq!((first.text("response_flags"), first.text("reason"), first.text("rule")), ("", "", "default"));
    assert!(first.has("connect_ms") && !first.has("dns_ms"), "an address needs no look-up: {first:?}");
    let (connect, first_byte, all) = (first.number("connect_ms"), first.number("first_byte_ms"), first.number("duration_ms"));
    assert!(connect > Some(0.0) && first_byte >= connect && all >= first_byte, "{first:?}");
    assert!(first.text("time").ends_with('Z') && first.text("time").len() == "2026-01-01T00:00:00.000Z".len(), "{first:?}");

    let second = &entries[1];
    assert_eq!((second.number("bytes_received"), second.reused(), second.has("connect_ms")), (Some(3.0), true, false));
    assert_ne!(second.text("request_id"), first.text("request_id"));

    let third = &entries[2];
    assert_eq!((third.status(), third.text("response_flags"), third.text("reason")), (Some(502), "UF", "connection_refused"));
    assert_eq!((third.text("version"), third.text("cluster")), ("HTTP/1.0", "127.0.0.1:1"));
    assert!(!third.text("detail").is_empty(), "the operating system's word for it: {third:?}");
}

#[test]
fn the_access_log_in_a_file() {
    let directory = tempfile::tempdir().expect("a place for it");
    let file = directory.path().join("access.log");
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let mut proxy = Proxy::builder().with("access_log", &format!("path = {:?}", file.to_str().expect("text"))).start();
    fetch(&mut proxy.client(), &origin.authority(), "/in-a-file");
    proxy.signal(crate::kit::Signal::TERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    let text = std::fs::read_to_string(&file).expect("the file is there");
    assert!(text.lines().count() == 1 && text.contains("/in-a-file") && text.ends_with("}\n"), "written before the exit: {text:?}");
}

#[test]
fn the_statistics() {
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let proxy = Proxy::start();
    let mut client = proxy.client();
    fetch(&mut client, &origin.authority(), "/1");
    fetch(&mut client, &origin.authority(), "/2");
    client.send("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\n\r\n").expect_response();
    client.send("GET /none HTTP/1.1\r\nHost: a\r\n\r\n").expect_response();
    let tunnel = proxy.tunnel(&origin.authority());
    for (name, value) in [
        ("http.downstream_cx_total", 2),
        ("http.downstream_cx_active", 2),
        ("http.downstream_rq_total", 5),
        ("http.downstream_rq_2xx", 2),
        ("http.downstream_rq_4xx", 1),
        ("http.downstream_rq_5xx", 1),
        ("http.downstream_cx_upgrades_total", 1),
        ("http.downstream_cx_upgrades_active", 1),
        ("cluster.upstream_cx_total", 2),
        ("cluster.upstream_cx_active", 2),
        ("cluster.upstream_cx_connect_fail", 1),
        ("cluster.upstream_rq_total", 2),
    ] {
        assert_eq!(proxy.stats(name), value, "{name}");
    }
    drop(tunnel);
    drop(client);
    proxy.wait_for_stat("http.downstream_cx_active", |active| active == 0);
    proxy.wait_for_stat("http.downstream_cx_upgrades_active", |active| active == 0);
    assert_eq!(proxy.stats("http.downstream_rq_active"), 0);
    assert!(proxy.stats("http.downstream_cx_rx_bytes_total") > 100 && proxy.stats("http.downstream_cx_tx_bytes_total") > 100);
}

/// The configuration in force can be put into a file as it is shown.
#[test]
fn the_configuration() {
    let builder = Proxy::builder().config("[[policy.rule]]\nname = \"a \\\"rule\\\"\"\nhosts = [\"*.example.org\"]\naction = \"deny\"");
    let text = builder.text();
    let proxy = builder.start();
    let parse = |text: &str| outrider::config::parse("outrider.toml", text).unwrap_or_else(|report| panic!("{report}\n{text}"));
    assert_eq!(parse(&proxy.admin_get("/config_dump")), parse(&text));
    let json: serde_json::Value = serde_json::from_str(&proxy.admin_get("/config_dump?format=json")).expect("JSON");
    assert_eq!(json["server"]["drain_timeout"], "5s");
    assert_eq!(json["listener"][0]["http1"]["max_target"], "16KiB");
    assert_eq!(json["policy"]["rule"][0]["name"], "a \"rule\"");
}

/// What Prometheus would make of the exposition.
#[test]
fn the_exposition() {
    let proxy = Proxy::start();
    let text = proxy.admin_get("/stats/prometheus");
    assert!(text.ends_with('\n'), "the last line ends");
    let mut typed = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("name and kind");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(typed.insert(name.to_owned()), "{name} twice");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("series and value");
            let name = series.split('{').next().expect("a name");
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).filter(|family| typed.contains(*family));
            assert!(typed.contains(family.unwrap_or(name)), "{line} has no type");
            assert!(name.starts_with("outrider_") && value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert_eq!(proxy.admin("GET /ready").0, 200);
    assert_eq!(proxy.admin("GET /no-such-page").0, 404);
    assert_ne!(proxy.admin("POST /stats/prometheus").0, 200, "reading is GET");
}

#[test]
fn several_addresses_and_workers() {
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let proxy = Proxy::builder().with("server", "workers = 2").with("listener", "addresses = [\"127.0.0.1:0\", \"[::1]:0\"]").start();
    assert_eq!(proxy.addresses().len(), 2, "{}", proxy.messages());
    for address in proxy.addresses() {
        for _ in 0..20 {
            assert_eq!(fetch(&mut Peer::connect("client", *address), &origin.authority(), "/"), b"hello");
        }
    }
    let workers: std::collections::HashSet<_> =
        proxy.access_log().take(40).map(|entry| entry.number("worker").map(|worker| worker as u64)).collect();
    assert_eq!(workers.len(), 2, "the kernel spreads 40 connections over both");
}

/// The first rule that matches decides.
#[test]
fn policy() {
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let rule = |name: &str, rest: &str| format!("[[policy.rule]]\nname = \"{name}\"\n{rest}\n");
    let proxy = Proxy::builder()
        .with("policy", "default = \"deny\"")
        .config(&rule("no posts", "methods = [\"POST\"]\naction = \"deny\""))
        .config(&rule("elsewhere", "clients = [\"192.0.2.0/24\"]\naction = \"allow\""))
        .config(&rule(
            "origin",
            &format!("clients = [\"127.0.0.0/8\"]\nhosts = [\"127.0.0.1\"]\nports = [{}]\naction = \"allow\"", origin.port()),
        ))
        .start();
    let mut client = proxy.client();
    for (request, status, decided) in [
        (get(&origin.authority(), "/"), 200, "origin"),
        (get(&origin.authority(), "/").replace("GET", "POST"), 403, "no posts"),
        (get("127.0.0.2:80", "/"), 403, "default"),
        (get("127.0.0.1:1", "/"), 403, "default"),
        (get("example.test", "/"), 403, "default"),
    ] {
        let reply = client.send(&request).expect_response();
        assert_eq!(reply.head.status(), status, "{request}");
        let entry = proxy.log_entry(&format!("of rule {decided}"), |entry| {
            entry.text("rule") == decided && entry.status() == Some(status.into()) && request.contains(entry.text("target"))
        });
        assert!(status == 200 || entry.text("response_flags") == "UAEX", "{entry:?}");
        if status == 403 {
            assert!(
                String::from_utf8_lossy(&reply.body).contains(decided),
                "the body names the rule: {:?}",
                String::from_utf8_lossy(&reply.body)
            );
        }
    }
    assert_eq!(proxy.stats("http.policy.denied"), 4);
}
