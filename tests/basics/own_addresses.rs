//! That nobody reaches the proxy through itself, neither its listeners nor its admin API.

use crate::kit::{DnsServer, Origin, Peer, Proxy, ProxyBuilder, Signal, in_own_network, ip};

/// Everything may be dialled, by everybody.
fn open_proxy() -> ProxyBuilder {
    Proxy::builder().with("addresses", "allow = [\"0.0.0.0/0\", \"::/0\"]")
}

#[track_caller]
fn assert_refused(proxy: &Proxy, authority: &str) {
    for request in [
        format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
        format!("GET http://{authority}/ready HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
        format!("POST http://{authority}/drain_listeners HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let mut client = proxy.client();
        let answer = client.send(&request).expect_response();
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!((answer.head.status(), body.contains("own_listener")), (403, true), "{request}: {body}");
    }
}

#[test]
fn every_address_of_the_machine_is_the_proxys_own() {
    in_own_network(|| {
        ip("addr add 198.51.100.7/24 dev lo");
        ip("addr add 2001:db8::7/64 dev lo nodad");
        let dns = DnsServer::start();
        dns.resolve("me.test", &["198.51.100.8"]).resolve("six.test", &["2001:db8::7"]);
        let listeners = "addresses = [\"0.0.0.0:0\", \"[::1]:0\"]";
        let proxy = open_proxy().dns(&dns).with("listener", listeners).start();
        let ports: Vec<u16> = proxy.addresses().iter().map(|address| address.port()).collect();
        let client = |proxy: &Proxy| Peer::connect("client", ([127, 0, 0, 1], proxy.address().port()).into());
        for port in &ports {
            for host in
                ["198.51.100.7", "0xc6336407", "[::ffff:198.51.100.7]", "[2001:db8::7]", "six.test", "127.0.0.1", "localhost", "[::]"]
            {
                refused(client(&proxy), &format!("{host}:{port}"));
            }
        }
        // Not an address of the machine until it is: secondary ones, and such as only a route makes.
        let port = ports[0];
        ip("addr add 198.51.100.8/24 dev lo");
        ip("route add local 203.0.113.0/24 dev lo");
        for host in ["198.51.100.8", "me.test", "203.0.113.9"] {
            refused(client(&proxy), &format!("{host}:{port}"));
        }
        // Other ports of the same address are nobody's matter.
        let origin = Origin::listen_on("198.51.100.8".parse().expect("an address"));
        let mut client = client(&proxy);
        client.send(format!("CONNECT 198.51.100.8:{} HTTP/1.1\r\nHost: a\r\n\r\n", origin.port()));
        client.expect("HTTP/1.1 200 Connection established\r\n\r\n");
    });
}

#[track_caller]
fn refused(mut client: Peer, authority: &str) {
    let answer = client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: a\r\n\r\n")).expect_response();
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.head.status(), body.contains("own_listener")), (403, true), "{authority}: {body}");
}

#[test]
fn the_admin_api_is_not_reached_through_the_proxy() {
    let mut proxy = open_proxy().start();
    let port = proxy.admin_address().port();
    for host in ["127.0.0.1", "localhost", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "0x7f.1"] {
        assert_refused(&proxy, &format!("{host}:{port}"));
    }
    // A reload keeps it.
    proxy.rewrite_config(&open_proxy().http1("max_headers_count = 99"));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("configuration reloaded");
    assert_refused(&proxy, &format!("127.0.0.1:{port}"));
    assert_eq!(proxy.admin("GET /ready").0, 200, "nobody has put it into draining");
    proxy.signal(Signal::TERM);
    proxy.wait_exit();
}

#[test]
fn a_listener_added_by_a_reload_is_the_proxys_own() {
    let proxy = open_proxy().start();
    let another = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    proxy.rewrite_config(&open_proxy().config(&format!("[[listener]]\nname = \"second\"\naddresses = [\"{another}\"]")));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("configuration reloaded");
    assert_refused(&proxy, &another.to_string());
    assert_refused(&proxy, &proxy.address().to_string());
}
