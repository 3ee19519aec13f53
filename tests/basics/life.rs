//! Starting, reloading and stopping.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::kit::{BlackHole, DEADLINE, DnsServer, Origin, Peer, Proxy, Script, ScriptedOrigin, Signal};
use crate::{fetch, get, response};

#[test]
fn a_proxy_with_nothing_to_do_stops_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut proxy = Proxy::start();
        let started = Instant::now();
        proxy.signal(signal);
        assert_eq!(proxy.wait_exit().code(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(4), "it did not wait for its drain limit");
    }
}

#[test]
fn what_runs_may_end() {
    let origin = Origin::listen();
    let mut proxy = Proxy::start();
    let mut idle = proxy.client();
    idle.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").expect_response();
    let mut client = proxy.client();
    client.send(get(&origin.authority(), "/"));
    let mut upstream = origin.accept();
    upstream.expect_request();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let mut tunnel = proxy.tunnel(&origin.authority());
    let mut far_end = origin.accept();

    proxy.signal(Signal::TERM);
    idle.expect_eof();
    assert!(std::net::TcpStream::connect(proxy.address()).is_err() || Peer::connect("client", proxy.address()).read_to_end().0.is_empty());
    upstream.send("world");
    let answer = client.expect_response();
    assert_eq!(answer.body, b"helloworld");
    client.expect_eof();
    tunnel.send("still there");
    far_end.expect("still there").send("yes");
    tunnel.expect("yes").half_close();
    far_end.expect_eof();
    far_end.close();
    tunnel.expect_eof();
    assert_eq!(proxy.wait_exit().code(), Some(0));
}

/// An answer that begins after the drain did says that the connection closes.
#[test]
fn an_answer_while_draining_is_the_last() {
    let origin = Origin::listen();
    let mut proxy = Proxy::start();
    let mut client = proxy.client();
    client.send(get(&origin.authority(), "/"));
    let mut upstream = origin.accept();
    upstream.expect_request();
    proxy.signal(Signal::TERM);
    // The drain has begun when the listener is closed.
    let until = Instant::now() + DEADLINE;
    while std::net::TcpStream::connect(proxy.address()).is_ok() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    upstream.send(response(b"last"));
    let answer = client.expect_response();
    assert!(answer.body == b"last" && answer.head.lists("connection", "close"), "{:?}", answer.head);
    client.expect_eof();
    assert_eq!(proxy.wait_exit().code(), Some(0));
}

#[test]
fn a_drain_has_a_limit() {
    let origin = Origin::listen();
    let mut proxy = Proxy::builder().with("server", "drain_timeout = \"500ms\"").start();
    let mut tunnel = proxy.tunnel(&origin.authority());
    let mut far_end = origin.accept();
    let mut client = proxy.client();
    client.send(get(&origin.authority(), "/"));
    let mut upstream = origin.accept();
    upstream.expect_request();
    let started = Instant::now();
    proxy.signal(Signal::TERM);
    tunnel.expect_end();
    far_end.expect_end();
    upstream.expect_end();
    client.half_close();
    let (rest, _) = client.read_to_end();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 503 "), "{}", crate::kit::dump(&rest));
    assert_eq!(proxy.wait_exit().code(), Some(0));
    let taken = started.elapsed();
    assert!((Duration::from_millis(450)..Duration::from_secs(5)).contains(&taken), "{taken:?}");
}

#[test]
fn who_waits_for_a_dial_when_the_drain_ends_is_told() {
    let hole = BlackHole::start();
    let other = BlackHole::on(format!("127.0.0.2:{}", hole.address().port()).parse().expect("an address"));
    let dns = DnsServer::start();
    dns.resolve("two.test", &["127.0.0.1", "127.0.0.2"]);
    for destination in [hole.address().to_string(), format!("two.test:{}", other.address().port())] {
        let builder = Proxy::builder().dns(&dns).with("server", "drain_timeout = \"300ms\"");
        let mut proxy = builder.cluster("connect_timeout = \"60s\"").start();
        let mut client = proxy.client();
        client.send(get(&destination, "/"));
        proxy.wait_for_stat("per_cluster.upstream_cx_connecting", |connecting| connecting == 1);
        proxy.signal(Signal::TERM);
        assert_eq!(client.expect_response().head.status(), 503);
        assert_eq!(proxy.log_entry("of the stream", |entry| entry.status() == Some(503)).text("reason"), "drain_timeout");
        client.expect_eof();
        assert_eq!(proxy.wait_exit().code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let origin = Origin::listen();
    let mut proxy = Proxy::builder().with("server", "drain_timeout = \"1h\"").start();
    let _tunnel = proxy.tunnel(&origin.authority());
    let _far_end = origin.accept();
    proxy.signal(Signal::TERM);
    let until = Instant::now() + DEADLINE;
    while std::net::TcpStream::connect(proxy.address()).is_ok() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    proxy.signal(Signal::TERM);
    proxy.wait_exit();
}

#[test]
fn a_reload() {
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let proxy = Proxy::start();
    let mut client = proxy.client();
    fetch(&mut client, &origin.authority(), "/before");

    let denying = Proxy::builder().config("[[policy.rule]]\nname = \"closed\"\nmethods = [\"GET\"]\naction = \"deny\"\n");
    proxy.rewrite_config(&denying);
    proxy.signal(Signal::HUP);
    // The connection goes on, its next streams have the new snapshot.
    let status = until_status(&mut client, &get(&origin.authority(), "/after"), 403);
    assert_eq!(status, 403, "the new rules are in force on a connection that was there before");

    // A file with a mistake changes nothing, and the mistake is told.
    std::fs::write(proxy.config_file(), "[policy]\ndefault = \"maybe\"\n[http1]\nvya = \"x\"\n").expect("writable");
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("maybe");
    proxy.wait_for_message("vya");
    assert_eq!(client.send(get(&origin.authority(), "/")).expect_response().head.status(), 403);

    proxy.rewrite_config(&Proxy::builder());
    proxy.signal(Signal::HUP);
    assert_eq!(until_status(&mut client, &get(&origin.authority(), "/"), 200), 200);
}

/// Asks until the answer has that status; a reload takes a moment.
fn until_status(client: &mut Peer, request: &str, status: u16) -> u16 {
    let until = Instant::now() + DEADLINE;
    loop {
        let found = client.send(request).expect_response().head.status();
        if found == status || Instant::now() > until {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A stream keeps the snapshot that it began with, and a listener that did not change is not touched.
#[test]
fn a_reload_leaves_what_runs() {
    let origin = Origin::listen();
    let proxy = Proxy::start();
    let mut tunnel = proxy.tunnel(&origin.authority());
    let mut far_end = origin.accept();
    let mut client = proxy.client();
    client.send(get(&origin.authority(), "/"));
    let mut upstream = origin.accept();
    upstream.expect_request();
    proxy.rewrite_config(&Proxy::builder().with("policy", "default = \"deny\""));
    proxy.signal(Signal::HUP);
    let mut other = proxy.client();
    assert_eq!(until_status(&mut other, &get("127.0.0.1:1", "/"), 403), 403);
    upstream.send(response(b"hello"));
    assert_eq!(client.expect_response().body, b"hello");
    tunnel.send("ping");
    far_end.expect("ping").send("pong");
    tunnel.expect("pong");
}

/// Where the policy says so, tunnels that it denies end; what else runs goes on.
#[test]
fn a_reload_may_revoke_tunnels() {
    let (denied, allowed) = (Origin::listen(), Origin::listen());
    let proxy = Proxy::start();
    let mut tunnels = [&denied, &allowed].map(|origin| (proxy.tunnel(&origin.authority()), origin.accept()));
    let mut request = proxy.client();
    request.send(get(&denied.authority(), "/"));
    let mut upstream = denied.accept();
    upstream.expect_request();
    let deny = || Proxy::builder().config(&format!("[[policy.rule]]\nname = \"shut\"\nports = [{}]\naction = \"deny\"\n", denied.port()));

    // Without `revoke` both stay.
    proxy.rewrite_config(&deny());
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("configuration reloaded");
    for (client, far_end) in &mut tunnels {
        client.send("ping");
        far_end.expect("ping").send("pong");
        client.expect("pong");
    }

    // The rules are the same as before: what an earlier reload left is asked again, and at rest.
    proxy.rewrite_config(&deny().with("policy", "default = \"allow\"\nrevoke = true"));
    proxy.signal(Signal::HUP);
    let [(client, far_end), (other_client, other_far_end)] = &mut tunnels;
    client.expect_reset();
    far_end.expect_reset();
    let entry = proxy.log_entry("of the tunnel", |entry| entry.text("method") == "CONNECT");
    assert_eq!((entry.text("response_flags"), entry.text("reason")), ("UAEX", "policy_revoked"), "{entry:?}");
    assert_eq!(entry.text("detail"), "denied by shut", "{entry:?}");
    assert_eq!(proxy.stats("http.downstream_cx_upgrades_revoked"), 1);
    other_client.send("ping");
    other_far_end.expect("ping").send("pong");
    other_client.expect("pong");
    upstream.send(response(b"hello"));
    assert_eq!(request.expect_response().body, b"hello", "an exchange ends by itself");

    // The address rules count, too.
    let addresses = Proxy::builder().with("addresses", "allow = []").with("policy", "default = \"allow\"\nrevoke = true");
    proxy.rewrite_config(&addresses);
    proxy.signal(Signal::HUP);
    other_client.expect_reset();
    other_far_end.expect_reset();
    let entry = proxy.log_entry("of the other tunnel", |entry| entry.text("target") == allowed.authority());
    assert_eq!((entry.text("reason"), entry.text("detail")), ("policy_revoked", "127.0.0.1 is loopback"), "{entry:?}");
}

#[test]
fn a_reload_may_revoke_upgrades() {
    let origin = Origin::listen();
    let proxy = Proxy::start();
    let mut client = proxy.client();
    let authority = origin.authority();
    client.send(format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"));
    let mut far_end = origin.accept();
    far_end.expect_request();
    far_end.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.expect_head().status(), 101);
    let rule = "[[policy.rule]]\nname = \"no reading\"\nmethods = [\"GET\"]\naction = \"deny\"\n";
    proxy.rewrite_config(&Proxy::builder().with("policy", "default = \"allow\"\nrevoke = true").config(rule));
    proxy.signal(Signal::HUP);
    client.expect_reset();
    far_end.expect_reset();
    let entry = proxy.log_entry("of the upgrade", |entry| entry.status() == Some(101));
    assert_eq!((entry.text("reason"), entry.text("detail")), ("policy_revoked", "denied by no reading"), "{entry:?}");
}

#[test]
fn a_reload_may_add_and_drop_listeners() {
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let [kept, free] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port"));
    let with = |addresses: &[std::net::SocketAddr]| {
        let addresses: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        Proxy::builder().with("listener", &format!("addresses = [{}]", addresses.join(", ")))
    };
    let proxy = with(&[kept]).start();
    // Stays, whatever becomes of the other address.
    let mut old = proxy.client();
    fetch(&mut old, &origin.authority(), "/");
    proxy.rewrite_config(&with(&[kept, free]));
    proxy.signal(Signal::HUP);
    let until = Instant::now() + DEADLINE;
    while std::net::TcpStream::connect(free).is_err() {
        assert!(Instant::now() < until, "the new address is never listened on: {}", proxy.messages());
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut client = Peer::connect("client", free);
    fetch(&mut client, &origin.authority(), "/");
    fetch(&mut proxy.client(), &origin.authority(), "/");
    proxy.rewrite_config(&with(&[kept]));
    proxy.signal(Signal::HUP);
    while std::net::TcpStream::connect(free).is_ok() {
        assert!(Instant::now() < until, "the dropped address is still listened on: {}", proxy.messages());
        std::thread::sleep(Duration::from_millis(10));
    }
    fetch(&mut old, &origin.authority(), "/");
    fetch(&mut proxy.client(), &origin.authority(), "/");
}

fn outrider(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_outrider")).args(arguments).output().expect("the binary is built");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

#[test]
fn a_start_that_cannot_succeed() {
    let directory = tempfile::tempdir().expect("a place for it");
    let file = directory.path().join("outrider.toml");
    let path = file.to_str().expect("text");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    std::fs::write(&file, format!("[[listener]]\naddresses = [\"{address}\"]\n")).expect("writable");
    let (code, text) = outrider(&["--config", path]);
    assert!(code.is_some_and(|code| code != 0) && text.contains(&address), "{code:?} {text}");

    std::fs::write(&file, "[server]\nworkers = \"some\"\n[clutser]\nmax_retries = 1\n").expect("writable");
    let (code, text) = outrider(&["--config", path]);
    assert!(code.is_some_and(|code| code != 0) && text.contains("clutser"), "{code:?} {text}");
    let (code, text) = outrider(&["--config", "/does/not/exist.toml"]);
    assert!(code.is_some_and(|code| code != 0) && text.contains("/does/not/exist.toml"), "{code:?} {text}");
}

/// All mistakes in one run, each with its place and a remedy.
#[test]
fn checking_a_file() {
    let directory = tempfile::tempdir().expect("a place for it");
    let file = directory.path().join("outrider.toml");
    let path = file.to_str().expect("text");
    std::fs::write(&file, Proxy::builder().text()).expect("writable");
    let summary = "  listener test: 127.0.0.1:0\n  admin: 127.0.0.1:0\n  policy: 0 rules, then allow\n";
    assert_eq!(outrider(&["check", path]), (Some(0), format!("{path}: ok\n{summary}")));
    std::fs::write(&file, "").expect("writable");
    assert_eq!(outrider(&["check", path]).0, Some(0), "a file with nothing in it is a working proxy");
    // Right, but hardly meant.
    let rules = "[[policy.rule]]\naction = \"allow\"\n[[policy.rule]]\nname = \"late\"\nports = [25]\naction = \"deny\"\n";
    std::fs::write(&file, rules).expect("writable");
    let (code, text) = outrider(&["check", path]);
    assert_eq!(code, Some(0), "{text}");
    for part in
        ["warning: this rule never decides: `rule 1` comes first", "outrider.toml:4", "help: move it", "outrider.toml: 1 warning", ": ok"]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(outrider(&["check", "--strict", path]).0, Some(2));
    std::fs::write(&file, "[clutser]\nmax_retries = 1\n[dns]\nhost_ttl = 5\n[policy]\ndefault = \"alow\"\n").expect("writable");
    let (code, text) = outrider(&["check", path]);
    assert_eq!(code, Some(2), "{text}");
    for part in ["clutser", "cluster", "host_ttl = 5", "alow", "outrider.toml:1", "outrider.toml:4", "outrider.toml:6"] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}
