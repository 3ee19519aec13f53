//! What is told to whoever is denied: what was asked, what said no, and what would allow it.

use crate::kit::{Origin, Proxy, ProxyBuilder};

/// The page and the status for one request.
#[track_caller]
fn page(proxy: &Proxy, request: &str) -> (u16, String) {
    let answer = proxy.client().send(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n")).expect_response();
    assert_eq!(answer.head.field("Content-Type"), Some("text/plain; charset=utf-8"));
    (answer.head.status(), String::from_utf8(answer.body).expect("text"))
}

#[track_caller]
fn denied(proxy: &Proxy, request: &str, parts: &[&str]) {
    let (status, page) = page(proxy, request);
    assert_eq!(status, 403, "{request}: {page}");
    for part in parts {
        assert!(page.contains(part), "{request}: no {part:?} in {page}");
    }
}

fn rules() -> ProxyBuilder {
    Proxy::builder().without("policy").with("tunnel", "ports = [443]").config(
        "[policy]\ndefault = \"deny\"\n\
         [[policy.rule]]\nname = \"nobody shares files\"\nhosts = [\"*.share.test\"]\naction = \"deny\"\n\
         [[policy.rule]]\nports = [80, 443, 9443]\naction = \"allow\"",
    )
}

#[test]
fn a_denial_says_what_was_asked_and_what_would_allow_it() {
    let proxy = rules().start();
    denied(
        &proxy,
        "CONNECT www.test:22",
        &["Asked: CONNECT www.test:22\n", "policy_denied: tunnel.ports\n", "add the port to tunnel.ports"],
    );
    denied(
        &proxy,
        "GET http://WWW.share.test/secret?token=1",
        &["Asked: GET www.share.test:80\n", "policy_denied: nobody shares files\n", "before the policy's rule \"nobody shares files\""],
    );
    denied(&proxy, "GET http://www.test:81/", &["Asked: GET www.test:81\n", "policy_denied: default\n", "none matches"]);
    denied(&proxy, "GET http://10.1.2.3/", &["Asked: GET 10.1.2.3:80\n", "10.1.2.3 is private", "list the address in [addresses] allow."]);
    denied(&proxy, "GET http://169.254.169.254/", &["is metadata", "by itself: a network that contains it does not open it"]);
    let method = "M".repeat(300);
    let (_, page) = page(&proxy, &format!("{method} http://www.test:81/"));
    assert!(page.contains(&format!("Asked: {} www.test:81\n", "M".repeat(32))), "{page}");
}

#[test]
fn what_nothing_allows_is_not_said_to_be_allowed_by_a_list() {
    let proxy = Proxy::builder().with("addresses", "deny = [\"192.0.2.0/24\"]").start();
    let own = proxy.address();
    denied(&proxy, &format!("GET http://{own}/"), &[&format!("Asked: GET {own}\n"), "this proxy itself", "To allow it: nothing"]);
    assert!(!page(&proxy, &format!("GET http://{own}/")).1.contains("[addresses]"));
    denied(&proxy, "GET http://192.0.2.9/", &["is denied", "take the address out of [addresses] deny"]);
    denied(&proxy, "GET http://[64:ff9b::10.0.0.1]/", &["is private", "the IPv4 address in it if it carries one"]);
}

/// What ws:// clients do, and Node's fetch for http://.
#[test]
fn a_tunnel_to_port_80_is_open_by_default_and_the_policy_decides() {
    let proxy = Proxy::builder().without("tunnel").with("addresses", "allow = [\"127.0.0.0/8\"]").start();
    // Nobody listens there, but it is dialled.
    let (status, page) = page(&proxy, "CONNECT 127.3.2.1:80");
    assert!(page.contains("connection_refused"), "{status}: {page}");
    let origin = Origin::listen();
    let shut = Proxy::builder().without("tunnel").with("policy", "default = \"deny\"").start();
    denied(&shut, "CONNECT 127.0.0.1:80", &["policy_denied: default"]);
    drop(origin);
}
