//! Who may go where: the rules of `[policy]` and the ports of `[tunnel]`, compiled.

use std::net::IpAddr;

use crate::codec::authority::Host;
use crate::config::{self, Action};
use crate::matcher::{HostSet, NetworkSet, PortSet};

/// The rules in force. Asking allocates nothing.
#[derive(Debug, Clone)]
pub struct Policy {
    tunnel_ports: PortSet,
    rules: Box<[Rule]>,
    default: Action,
}

/// What a stream is about to do.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub client: IpAddr,
    pub host: &'a Host,
    pub port: u16,
    pub method: &'a [u8],
}

/// What the policy says to it, and which rule said so; `None` is `policy.default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'p> {
    pub allowed: bool,
    pub rule: Option<&'p str>,
}

/// The rule named where CONNECT asks for a port outside `tunnel.ports`.
pub const TUNNEL_PORTS: &str = "tunnel.ports";

impl Policy {
    pub fn new(policy: &config::Policy, tunnel: &config::Tunnel) -> Self {
        Self { tunnel_ports: PortSet::new(&tunnel.ports), rules: policy.rules.iter().map(Rule::new).collect(), default: policy.default }
    }

    /// The first rule that matches decides. No rule can open a port to CONNECT that `tunnel.ports`
    /// leaves shut: a tunnel to port 25 is an open mail relay.
    pub fn decide(&self, ask: &Ask<'_>) -> Verdict<'_> {
        if ask.method == b"CONNECT" && !self.tunnel_ports.contains(ask.port) {
            return Verdict { allowed: false, rule: Some(TUNNEL_PORTS) };
        }
        match self.rules.iter().find(|rule| rule.matches(ask)) {
            Some(rule) => Verdict { allowed: rule.action == Action::Allow, rule: Some(&rule.name) },
            None => Verdict { allowed: self.default == Action::Allow, rule: None },
        }
    }
}

/// One rule; `None` matches everything.
#[derive(Debug, Clone)]
struct Rule {
    name: Box<str>,
    clients: Option<NetworkSet>,
    hosts: Option<HostSet>,
    ports: Option<PortSet>,
    methods: Option<Box<[Box<str>]>>,
    action: Action,
}

impl Rule {
    fn new(rule: &config::Rule) -> Self {
        fn unless_empty<T, S>(list: &[T], build: impl FnOnce(&[T]) -> S) -> Option<S> {
            if list.is_empty() { None } else { Some(build(list)) }
        }
        Self {
            name: rule.name.as_str().into(),
            clients: unless_empty(&rule.clients, |clients| NetworkSet::new(clients)),
            hosts: unless_empty(&rule.hosts, HostSet::new),
            ports: unless_empty(&rule.ports, PortSet::new),
            methods: unless_empty(&rule.methods, |methods| methods.iter().map(|method| method.as_str().into()).collect()),
            action: rule.action,
        }
    }

    /// Cheapest question first.
    fn matches(&self, ask: &Ask<'_>) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(ask.port))
            && self.methods.as_ref().is_none_or(|methods| methods.iter().any(|method| method.as_bytes() == ask.method))
            && self.clients.as_ref().is_none_or(|clients| clients.contains(ask.client))
            && self.hosts.as_ref().is_none_or(|hosts| hosts.contains(ask.host))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, HostPattern, PortRange, parse};

    fn policy(text: &str) -> Policy {
        let config = parse("test.toml", text).unwrap_or_else(|report| panic!("{report}"));
        Policy::new(&config.policy, &config.tunnel)
    }

    fn decide<'p>(policy: &'p Policy, client: &str, method: &str, host: &str, port: u16) -> Verdict<'p> {
        let host = Host::parse(host.as_bytes()).expect("a host");
        policy.decide(&Ask { client: client.parse().expect("an address"), host: &host, port, method: method.as_bytes() })
    }

    fn by(allowed: bool, rule: &str) -> Verdict<'_> {
        Verdict { allowed, rule: Some(rule) }
    }

    #[test]
    fn by_default_local_clients_go_to_the_web() {
        let policy = policy("");
        let allowed = by(true, "local clients to the web");
        assert_eq!(decide(&policy, "127.0.0.1", "GET", "example.org", 80), allowed);
        assert_eq!(decide(&policy, "127.9.9.9", "CONNECT", "example.org", 443), allowed);
        assert_eq!(decide(&policy, "::1", "GET", "192.0.2.1", 8080), allowed);
        assert_eq!(decide(&policy, "::ffff:127.0.0.1", "GET", "example.org", 80), allowed);
        assert_eq!(decide(&policy, "192.0.2.9", "GET", "example.org", 80), Verdict { allowed: false, rule: None });
        assert_eq!(decide(&policy, "127.0.0.1", "GET", "example.org", 25), Verdict { allowed: false, rule: None });
        assert_eq!(decide(&policy, "127.0.0.1", "CONNECT", "example.org", 25), by(false, "tunnel.ports"));
        assert_eq!(decide(&policy, "127.0.0.1", "CONNECT", "example.org", 80), by(false, "tunnel.ports"));
    }

    #[test]
    fn the_first_match_decides() {
        let policy = policy(
            r#"
            [policy]
            default = "allow"
            [[policy.rule]]
            name = "partners may post"
            clients = ["10.0.0.0/8"]
            hosts = ["api.blocked.example", "2001:db8::/32"]
            methods = ["POST"]
            action = "allow"
            [[policy.rule]]
            name = "blocked"
            hosts = ["*.blocked.example", "blocked.example", "192.0.2.0/24"]
            action = "deny"
            [[policy.rule]]
            ports = ["6000-6999"]
            action = "deny"
            "#,
        );
        assert_eq!(decide(&policy, "10.1.1.1", "POST", "api.blocked.example", 80), by(true, "partners may post"));
        assert_eq!(decide(&policy, "10.1.1.1", "post", "api.blocked.example", 80), by(false, "blocked"));
        assert_eq!(decide(&policy, "11.1.1.1", "POST", "API.blocked.example.", 80), by(false, "blocked"));
        assert_eq!(decide(&policy, "11.1.1.1", "GET", "0xc0000201", 80), by(false, "blocked"));
        assert_eq!(decide(&policy, "11.1.1.1", "GET", "[::ffff:192.0.2.1]", 80), by(false, "blocked"));
        assert_eq!(decide(&policy, "11.1.1.1", "CONNECT", "example.org", 6443), by(false, "rule 3"));
        assert_eq!(decide(&policy, "11.1.1.1", "GET", "example.org", 80), Verdict { allowed: true, rule: None });
        assert_eq!(decide(&policy, "11.1.1.1", "CONNECT", "example.org", 22), by(false, "tunnel.ports"));
    }

    #[test]
    fn no_tunnel_ports_is_no_tunnel() {
        let policy = policy("[tunnel]\nports = []\n[policy]\ndefault = \"allow\"");
        assert_eq!(decide(&policy, "127.0.0.1", "CONNECT", "example.org", 443), by(false, TUNNEL_PORTS));
        assert!(decide(&policy, "127.0.0.1", "GET", "example.org", 443).allowed);
    }

    fn rules() -> impl Strategy<Value = Vec<config::Rule>> {
        let networks = prop::collection::vec(prop::sample::select(&["10.0.0.0/8", "10.1.0.0/16", "::/0", "2001:db8::/32"][..]), 0..3);
        let hosts = prop::collection::vec(prop::sample::select(&["a.example", "*.a.example", "*.example", "10.0.0.0/8"][..]), 0..3);
        let ports = prop::collection::vec((0..8u16, 0..8u16), 0..3);
        let methods = prop::collection::vec(prop::sample::select(&["GET", "POST", "CONNECT"][..]), 0..2);
        let rule = (networks, hosts, ports, methods, any::<bool>()).prop_map(|(networks, hosts, ports, methods, allow)| config::Rule {
            name: String::new(),
            clients: networks.iter().map(|network| network.parse().expect("a network")).collect(),
            hosts: hosts
                .iter()
                .map(|host| match host.strip_prefix("*.") {
                    Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
                    None => host.parse().map(HostPattern::Net).unwrap_or_else(|_| HostPattern::Exact((*host).to_owned())),
                })
                .collect(),
            ports: ports.iter().map(|&(a, b)| PortRange { first: a.min(b), last: a.max(b) }).collect(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            action: if allow { Action::Allow } else { Action::Deny },
        });
        prop::collection::vec(rule, 0..5).prop_map(|mut rules| {
            for (number, rule) in rules.iter_mut().enumerate() {
                rule.name = number.to_string();
            }
            rules
        })
    }

    /// What the words of the configuration say, word by word.
    fn naive(policy: &config::Policy, tunnel: &config::Tunnel, ask: &Ask<'_>) -> (bool, Option<String>) {
        if ask.method == b"CONNECT" && !tunnel.ports.iter().any(|range| range.contains(ask.port)) {
            return (false, Some(TUNNEL_PORTS.to_owned()));
        }
        for rule in &policy.rules {
            let client = rule.clients.is_empty() || rule.clients.iter().any(|network| network.contains(&ask.client));
            let host = rule.hosts.is_empty()
                || rule.hosts.iter().any(|pattern| match (pattern, ask.host) {
                    (HostPattern::Exact(exact), Host::Name(name)) => exact == name.as_str(),
                    (HostPattern::Suffix(suffix), Host::Name(name)) => name.as_str().ends_with(&format!(".{suffix}")),
                    (HostPattern::Net(network), Host::Address(address)) => network.contains(address),
                    _ => false,
                });
            let port = rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(ask.port));
            let method = rule.methods.is_empty() || rule.methods.iter().any(|method| method.as_bytes() == ask.method);
            if client && host && port && method {
                return (rule.action == Action::Allow, Some(rule.name.clone()));
            }
        }
        (policy.default == Action::Allow, None)
    }

    proptest! {
        #[test]
        fn agrees_with_the_words(
            rules in rules(),
            allow in any::<bool>(),
            client in prop::sample::select(&["10.0.0.1", "10.1.0.1", "11.0.0.1", "2001:db8::1", "2001:db9::1"][..]),
            host in prop::sample::select(&["a.example", "b.a.example", "example", "xa.example", "10.0.0.1", "[2001:db8::1]"][..]),
            port in 1..9u16,
            method in prop::sample::select(&["GET", "POST", "CONNECT", "PUT"][..]),
        ) {
            let default = if allow { Action::Allow } else { Action::Deny };
            let policy = config::Policy { default, revoke: false, rules };
            let tunnel = config::Tunnel { ports: vec![PortRange { first: 2, last: 3 }, PortRange { first: 5, last: 7 }], ..Config::default().tunnel };
            let host = Host::parse(host.as_bytes()).expect("a host");
            let ask = Ask { client: client.parse().expect("an address"), host: &host, port, method: method.as_bytes() };
            let compiled = Policy::new(&policy, &tunnel);
            let verdict = compiled.decide(&ask);
            prop_assert_eq!((verdict.allowed, verdict.rule.map(str::to_owned)), naive(&policy, &tunnel, &ask));
        }
    }
}
