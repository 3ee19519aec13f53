//! Rules that look at what a name has become: its addresses, and its full name.

use crate::kit::{DnsServer, Proxy, ProxyBuilder, Script, ScriptedOrigin, Signal, in_own_network, mount};
use crate::{fetch, get, response};

fn with_rules(dns: &DnsServer, rules: &str) -> ProxyBuilder {
    Proxy::builder().dns(dns).config(rules)
}

/// The page of a denial by that rule.
#[track_caller]
fn assert_denied(proxy: &Proxy, request: &str, rule: &str) {
    let answer = proxy.client().send(request).expect_response();
    let page = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.head.status(), page.contains(&format!("policy_denied: {rule}\n"))), (403, true), "{request}: {page}");
}

#[test]
fn a_name_is_denied_by_what_it_leads_to() {
    let dns = DnsServer::start();
    dns.resolve("inside.test", &["127.0.0.2"]).resolve("mixed.test", &["127.0.0.2", "127.0.0.1"]).resolve("out.test", &["127.0.0.1"]);
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let rule = "[[policy.rule]]\nname = \"not inside\"\naddresses = [\"127.0.0.2\"]\naction = \"deny\"";
    let proxy = with_rules(&dns, rule).start();
    let at = |name: &str| format!("{name}:{}", origin.port());
    for authority in [at("inside.test"), at("127.0.0.2"), at("[::ffff:127.0.0.2]"), at("0x7f.2")] {
        assert_denied(&proxy, &get(&authority, "/"), "not inside");
        assert_denied(&proxy, &format!("CONNECT {authority} HTTP/1.1\r\nHost: a\r\n\r\n"), "not inside");
    }
    assert_eq!(proxy.stats("http.policy.denied"), 8);
    // Of a name with both, the other one is dialled; and what allowed it is told.
    for name in ["mixed.test", "out.test"] {
        assert_eq!(fetch(&mut proxy.client(), &at(name), "/"), b"hello");
        let entry = proxy.log_entry("of the request", |entry| entry.text("cluster") == at(name));
        assert_eq!((entry.text("rule"), entry.text("endpoint")), ("default", origin.authority().as_str()), "{entry:?}");
    }
    let entry = proxy.log_entry("of the denial", |entry| entry.text("cluster") == at("inside.test"));
    assert_eq!((entry.text("rule"), entry.text("reason"), entry.text("response_flags")), ("not inside", "policy_denied", "UAEX"));
}

/// Connections are shared by all clients, and what one may use another may not.
#[test]
fn a_kept_connection_is_lent_to_those_alone_whom_the_rules_let_there() {
    let dns = DnsServer::start();
    dns.resolve("origin.test", &["127.0.0.1"]);
    let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
    let rule = "[[policy.rule]]\nname = \"no writing\"\nmethods = [\"PUT\"]\naddresses = [\"127.0.0.0/8\"]\naction = \"deny\"\n\
                [[policy.rule]]\nname = \"reading\"\naddresses = [\"127.0.0.0/8\"]\naction = \"allow\"";
    let proxy = with_rules(&dns, rule).start();
    let authority = format!("origin.test:{}", origin.port());
    fetch(&mut proxy.client(), &authority, "/1");
    assert_denied(&proxy, &format!("PUT http://{authority}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), "no writing");
    fetch(&mut proxy.client(), &authority, "/2");
    assert_eq!((origin.connections(), origin.requests().len()), (1, 2), "the kept connection is lent to who may use it");
    let entries: Vec<_> = proxy.access_log().take(3).collect();
    assert_eq!(entries.iter().map(|entry| entry.text("rule")).collect::<Vec<_>>(), ["reading", "no writing", "reading"]);
    assert!(entries[2].reused());
}

#[test]
fn names_are_not_looked_up_for_who_is_denied_anyway() {
    let dns = DnsServer::start();
    dns.resolve("secret.test", &["127.0.0.1"]);
    let rule = "[[policy.rule]]\nname = \"inside\"\nclients = [\"10.0.0.0/8\"]\naddresses = [\"127.0.0.0/8\"]\naction = \"allow\"\n\
                [[policy.rule]]\nname = \"outside\"\naddresses = [\"10.0.0.0/8\"]\naction = \"deny\"";
    let proxy = with_rules(&dns, rule).with("policy", "default = \"deny\"").start();
    assert_denied(&proxy, &get("secret.test:80", "/"), "default");
    assert_eq!(dns.queries("secret.test"), 0);
}

#[test]
fn a_reload_that_denies_the_address_ends_the_tunnel() {
    let dns = DnsServer::start();
    dns.resolve("origin.test", &["127.0.0.1"]);
    let origin = ScriptedOrigin::start([Script::echo(), Script::echo()]);
    let rules = |network: &str| {
        let rule = format!("[[policy.rule]]\nname = \"elsewhere\"\naddresses = [\"{network}\"]\naction = \"deny\"");
        with_rules(&dns, &rule).with("policy", "default = \"allow\"\nrevoke = true")
    };
    let proxy = rules("192.0.2.0/24").start();
    let mut tunnel = proxy.tunnel(&format!("origin.test:{}", origin.port()));
    tunnel.send("one").expect("one");
    proxy.rewrite_config(&rules("198.51.100.0/24"));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message("generation=2");
    tunnel.send("two").expect("two");
    proxy.rewrite_config(&rules("127.0.0.0/8"));
    proxy.signal(Signal::HUP);
    tunnel.expect_reset();
}

/// `intranet` is `intranet.corp.test` to the resolver, and so it is to the policy.
#[test]
fn a_name_that_a_search_domain_completes_meets_the_rules_for_the_full_name() {
    in_own_network(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("resolv.conf");
        std::fs::write(&file, "nameserver 127.0.0.1\nsearch corp.test\n").expect("written");
        mount(&["--bind", file.to_str().expect("UTF-8"), "/etc/resolv.conf"]);
        let dns = DnsServer::start();
        for name in ["intranet.corp.test", "wiki.corp.test", "plain"] {
            dns.resolve(name, &["127.0.0.1"]);
        }
        let origin = ScriptedOrigin::start([Script::always(response(b"hello"))]);
        let rules = "[[policy.rule]]\nname = \"hidden\"\nhosts = [\"intranet.corp.test\"]\naction = \"deny\"\n\
                     [[policy.rule]]\nname = \"of the house\"\nhosts = [\"*.corp.test\", \"plain\"]\naction = \"allow\"";
        let proxy = with_rules(&dns, rules).with("policy", "default = \"deny\"").with("dns", "use_search_domains = true").start();
        let at = |name: &str| format!("{name}:{}", origin.port());
        // The second time from what is known, and past a connection that was kept.
        for _ in 0..2 {
            for name in ["intranet", "INTRANET.", "intranet.corp.test"] {
                assert_denied(&proxy, &get(&at(name), "/"), "hidden");
                assert_denied(&proxy, &format!("CONNECT {} HTTP/1.1\r\nHost: a\r\n\r\n", at(name)), "hidden");
            }
            for name in ["wiki", "wiki.corp.test", "plain"] {
                assert_eq!(fetch(&mut proxy.client(), &at(name), "/"), b"hello", "{name}");
            }
        }
        assert_denied(&proxy, &get(&at("elsewhere.test"), "/"), "default");
    });
}
