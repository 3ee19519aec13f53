//! Who may go where: the rules of `[policy]` and the ports of `[tunnel]`, compiled.

use std::net::IpAddr;

use crate::cluster::carried_addresses;
use crate::codec::authority::{Host, Name};
use crate::config::{self, Action};
use crate::matcher::{HostSet, NetworkSet, PortSet};

/// The rules in force. Asking allocates nothing.
#[derive(Debug, Clone)]
pub struct Policy {
    tunnel_ports: PortSet,
    rules: Box<[Rule]>,
    default: Action,
    /// Whether a name without a dot is looked up with search domains behind it.
    completes_names: bool,
    /// Whether any verdict may have to wait for what a name becomes; most policies never do.
    may_wait: bool,
}

/// What a stream is about to do.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub client: IpAddr,
    pub host: &'a Host,
    pub port: u16,
    pub method: &'a [u8],
}

/// What a host has become when it was looked up.
#[derive(Debug, Clone, Copy)]
pub struct Resolved<'a> {
    /// The full name, where a search domain completed the one that was asked for.
    pub full_name: Option<&'a Name>,
    pub address: IpAddr,
}

/// What the policy says to it, and which rule said so; `None` is `policy.default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'p> {
    pub allowed: bool,
    pub rule: Option<&'p str>,
}

/// What is named where no rule matched.
pub const DEFAULT: &str = "default";
/// The rule named where CONNECT asks for a port outside `tunnel.ports`.
pub const TUNNEL_PORTS: &str = "tunnel.ports";

impl Policy {
    /// `completes_names` is `dns.use_search_domains`.
    pub fn new(policy: &config::Policy, tunnel: &config::Tunnel, completes_names: bool) -> Self {
        Self {
            tunnel_ports: PortSet::new(&tunnel.ports),
            rules: policy.rules.iter().map(Rule::new).collect(),
            default: policy.default,
            completes_names,
            may_wait: completes_names || policy.rules.iter().any(|rule| !rule.addresses.is_empty()),
        }
    }

    /// The first rule that matches decides. No rule can open a port to CONNECT that `tunnel.ports`
    /// leaves shut: a tunnel to port 25 is an open mail relay.
    ///
    /// `None` where that depends on what the host's name becomes: each of its addresses is then to be judged by itself.
    /// What is denied whatever it becomes is denied now, so that nobody has names looked up who may not go there anyway.
    pub fn decide(&self, ask: &Ask<'_>) -> Option<Verdict<'_>> {
        if let Some(refusal) = self.refuse_port(ask) {
            return Some(refusal);
        }
        if !self.may_wait {
            let fits = |rule: &&Rule| rule.fits_request(ask) && rule.hosts.as_ref().is_none_or(|hosts| hosts.contains(ask.host));
            return Some(self.verdict(self.rules.iter().find(fits)));
        }
        let known = match ask.host {
            Host::Address(address) => Known::All(Resolved { full_name: None, address: *address }),
            Host::Name(name) => Known::Name { may_be_completed: self.completes_names && !name.as_str().contains('.') },
        };
        let mut may_be_allowed = None;
        for rule in &self.rules {
            match rule.matches(ask, &known) {
                Match::No => {}
                Match::Yes => return self.settle(Some(rule), may_be_allowed),
                Match::Perhaps => *may_be_allowed.get_or_insert(false) |= rule.action == Action::Allow,
            }
        }
        self.settle(None, may_be_allowed)
    }

    /// The verdict once it is known what the host's name has become.
    pub fn judge(&self, ask: &Ask<'_>, resolved: Resolved<'_>) -> Verdict<'_> {
        let known = Known::All(resolved);
        let first = || self.rules.iter().find(|rule| rule.matches(ask, &known) == Match::Yes);
        self.refuse_port(ask).unwrap_or_else(|| self.verdict(first()))
    }

    /// `decided_by` is the first rule that matches for certain, and `may_be_allowed` what the rules before it that may
    /// match could come to; `None` without such rules.
    fn settle<'p>(&'p self, decided_by: Option<&'p Rule>, may_be_allowed: Option<bool>) -> Option<Verdict<'p>> {
        let verdict = self.verdict(decided_by);
        match may_be_allowed {
            None => Some(verdict),
            Some(may_be_allowed) => Some(verdict).filter(|verdict| !verdict.allowed && !may_be_allowed),
        }
    }

    fn verdict<'p>(&'p self, decided_by: Option<&'p Rule>) -> Verdict<'p> {
        match decided_by {
            Some(rule) => Verdict { allowed: rule.action == Action::Allow, rule: Some(&rule.name) },
            None => Verdict { allowed: self.default == Action::Allow, rule: None },
        }
    }

    fn refuse_port(&self, ask: &Ask<'_>) -> Option<Verdict<'_>> {
        let is_shut = ask.method == b"CONNECT" && !self.tunnel_ports.contains(ask.port);
        is_shut.then_some(Verdict { allowed: false, rule: Some(TUNNEL_PORTS) })
    }
}

/// What is known of a host.
enum Known<'a> {
    /// Only its name, and perhaps not the whole of it.
    Name {
        may_be_completed: bool,
    },
    All(Resolved<'a>),
}

/// Whether a condition holds, or a whole rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    No,
    /// The name will tell when it is looked up.
    Perhaps,
    Yes,
}

impl From<bool> for Match {
    fn from(holds: bool) -> Self {
        if holds { Match::Yes } else { Match::No }
    }
}

/// One rule; `None` matches everything.
#[derive(Debug, Clone)]
struct Rule {
    name: Box<str>,
    clients: Option<NetworkSet>,
    hosts: Option<HostSet>,
    addresses: Option<NetworkSet>,
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
            addresses: unless_empty(&rule.addresses, |addresses| NetworkSet::new(addresses)),
            ports: unless_empty(&rule.ports, PortSet::new),
            methods: unless_empty(&rule.methods, |methods| methods.iter().map(|method| method.as_str().into()).collect()),
            action: rule.action,
        }
    }

    /// Whether all conditions hold that the request itself decides. Cheapest question first.
    fn fits_request(&self, ask: &Ask<'_>) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(ask.port))
            && self.methods.as_ref().is_none_or(|methods| methods.iter().any(|method| method.as_bytes() == ask.method))
            && self.clients.as_ref().is_none_or(|clients| clients.contains(ask.client))
    }

    fn matches(&self, ask: &Ask<'_>, known: &Known<'_>) -> Match {
        if !self.fits_request(ask) {
            return Match::No;
        }
        let host = self.hosts.as_ref().map_or(Match::Yes, |hosts| matches_host(hosts, ask.host, known));
        let address = self.addresses.as_ref().map_or(Match::Yes, |networks| self.matches_address(networks, known));
        host.min(address)
    }

    /// A rule that denies also looks at the IPv4 addresses that an IPv6 address carries, for that is where it leads.
    fn matches_address(&self, networks: &NetworkSet, known: &Known<'_>) -> Match {
        match known {
            Known::Name { .. } => Match::Perhaps,
            Known::All(Resolved { address, .. }) => {
                let denies = self.action == Action::Deny;
                (networks.contains(*address) || denies && carried_addresses(*address).any(|carried| networks.contains(carried.into())))
                    .into()
            }
        }
    }
}

/// A name that is completed is meant by either form of it.
fn matches_host(hosts: &HostSet, host: &Host, known: &Known<'_>) -> Match {
    match known {
        _ if hosts.contains(host) => Match::Yes,
        Known::Name { may_be_completed: true } => Match::Perhaps,
        Known::Name { may_be_completed: false } => Match::No,
        Known::All(resolved) => resolved.full_name.is_some_and(|name| hosts.contains_name(name)).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, HostPattern, PortRange, parse};

    fn policy(text: &str) -> Policy {
        let config = parse("test.toml", text).unwrap_or_else(|report| panic!("{report}"));
        Policy::new(&config.policy, &config.tunnel, config.dns.use_search_domains)
    }

    fn decide<'p>(policy: &'p Policy, client: &str, method: &str, host: &str, port: u16) -> Verdict<'p> {
        let host = Host::parse(host.as_bytes()).expect("a host");
        let ask = Ask { client: client.parse().expect("an address"), host: &host, port, method: method.as_bytes() };
        policy.decide(&ask).expect("nothing to be looked up")
    }

    /// The verdict before the name is looked up, and the one when it is known what it is.
    fn in_two_steps<'p>(policy: &'p Policy, host: &str, full_name: Option<&str>, address: &str) -> (Option<Verdict<'p>>, Verdict<'p>) {
        let host = Host::parse(host.as_bytes()).expect("a host");
        let full_name = full_name.map(|name| Name::parse(name.as_bytes()).expect("a name"));
        let ask = Ask { client: IpAddr::from([10, 1, 1, 1]), host: &host, port: 80, method: b"GET" };
        let resolved = Resolved { full_name: full_name.as_ref(), address: address.parse().expect("an address") };
        (policy.decide(&ask), policy.judge(&ask, resolved))
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
        assert_eq!(decide(&policy, "127.0.0.1", "CONNECT", "example.org", 80), allowed);
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

    #[test]
    fn addresses_are_judged_when_they_are_known() {
        let policy = policy(
            r#"
            [[policy.rule]]
            name = "not inside"
            addresses = ["10.0.0.0/8"]
            action = "deny"
            [[policy.rule]]
            name = "the lab"
            hosts = ["*.lab.example"]
            addresses = ["192.0.2.0/24"]
            action = "allow"
            [[policy.rule]]
            name = "the web"
            hosts = ["www.example.org"]
            action = "allow"
            "#,
        );
        let open = |host, address| {
            let (before, after) = in_two_steps(&policy, host, None, address);
            assert_eq!(before, None, "{host}");
            after
        };
        assert_eq!(open("www.example.org", "10.1.2.3"), by(false, "not inside"));
        assert_eq!(open("www.example.org", "::ffff:10.1.2.3"), by(false, "not inside"));
        assert_eq!(open("www.example.org", "64:ff9b::10.1.2.3"), by(false, "not inside"));
        assert_eq!(open("www.example.org", "198.51.100.1"), by(true, "the web"));
        assert_eq!(open("a.lab.example", "192.0.2.1"), by(true, "the lab"));
        assert_eq!(open("a.lab.example", "64:ff9b::192.0.2.1"), Verdict { allowed: false, rule: None });
        // Denied whatever it is at: nothing to be looked up.
        let nobody = Verdict { allowed: false, rule: None };
        assert_eq!(in_two_steps(&policy, "elsewhere.example", None, "198.51.100.1"), (Some(nobody), nobody));
        // An address is what it is.
        let inside = by(false, "not inside");
        assert_eq!(in_two_steps(&policy, "10.1.2.3", None, "10.1.2.3"), (Some(inside), inside));
    }

    #[test]
    fn a_completed_name_meets_the_rules_for_either_form() {
        let text = r#"
            [[policy.rule]]
            name = "hidden"
            hosts = ["intranet.corp.example"]
            action = "deny"
            [[policy.rule]]
            name = "printer"
            hosts = ["printer", "*.corp.example"]
            action = "allow"
            "#;
        let completing = policy(&format!("[dns]\nuse_search_domains = true\n{text}"));
        let after = |host, full_name| in_two_steps(&completing, host, full_name, "198.51.100.1");
        assert_eq!(after("intranet", Some("intranet.corp.example")), (None, by(false, "hidden")));
        assert_eq!(after("wiki", Some("wiki.corp.example")), (None, by(true, "printer")));
        assert_eq!(after("printer", None), (None, by(true, "printer")));
        assert_eq!(after("wiki", Some("wiki.elsewhere.example")).1, Verdict { allowed: false, rule: None });
        // A name with a dot is looked up as it stands.
        assert_eq!(after("a.corp.example", None).0, Some(by(true, "printer")));
        let plain = policy(text);
        let nobody = Verdict { allowed: false, rule: None };
        assert_eq!(in_two_steps(&plain, "intranet", None, "198.51.100.1"), (Some(nobody), nobody));
    }

    fn rules() -> impl Strategy<Value = Vec<config::Rule>> {
        let networks = prop::collection::vec(prop::sample::select(&["10.0.0.0/8", "10.1.0.0/16", "::/0", "2001:db8::/32"][..]), 0..3);
        let hosts = prop::collection::vec(prop::sample::select(&["a.example", "*.a.example", "*.example", "10.0.0.0/8"][..]), 0..3);
        let ports = prop::collection::vec((0..8u16, 0..8u16), 0..3);
        let methods = prop::collection::vec(prop::sample::select(&["GET", "POST", "CONNECT"][..]), 0..2);
        let addresses = prop::collection::vec(prop::sample::select(&["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"][..]), 0..2);
        let parts = (networks, hosts, addresses, ports, methods, any::<bool>());
        let rule = parts.prop_map(|(networks, hosts, addresses, ports, methods, allow)| config::Rule {
            name: String::new(),
            clients: networks.iter().map(|network| network.parse().expect("a network")).collect(),
            hosts: hosts
                .iter()
                .map(|host| match host.strip_prefix("*.") {
                    Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
                    None => host.parse().map(HostPattern::Net).unwrap_or_else(|_| HostPattern::Exact((*host).to_owned())),
                })
                .collect(),
            addresses: addresses.iter().map(|network| network.parse().expect("a network")).collect(),
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
    fn naive(policy: &config::Policy, tunnel: &config::Tunnel, ask: &Ask<'_>, resolved: &Resolved<'_>) -> (bool, Option<String>) {
        if ask.method == b"CONNECT" && !tunnel.ports.iter().any(|range| range.contains(ask.port)) {
            return (false, Some(TUNNEL_PORTS.to_owned()));
        }
        for rule in &policy.rules {
            let client = rule.clients.is_empty() || rule.clients.iter().any(|network| network.contains(&ask.client));
            let host = rule.hosts.is_empty()
                || rule.hosts.iter().any(|pattern| {
                    let is_named = |name: &str| match pattern {
                        HostPattern::Exact(exact) => exact == name,
                        HostPattern::Suffix(suffix) => name.ends_with(&format!(".{suffix}")),
                        HostPattern::Net(_) => false,
                    };
                    match (pattern, ask.host) {
                        (HostPattern::Net(network), Host::Address(address)) => network.contains(address),
                        (_, Host::Address(_)) => false,
                        (_, Host::Name(name)) => is_named(name.as_str()) || resolved.full_name.is_some_and(|name| is_named(name.as_str())),
                    }
                });
            let address = rule.addresses.is_empty() || rule.addresses.iter().any(|network| network.contains(&resolved.address));
            let port = rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(ask.port));
            let method = rule.methods.is_empty() || rule.methods.iter().any(|method| method.as_bytes() == ask.method);
            if client && host && address && port && method {
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
            host in prop::sample::select(&["a.example", "b.a.example", "example", "a", "xa.example", "10.0.0.1", "[2001:db8::1]"][..]),
            address in prop::sample::select(&["10.0.0.1", "10.1.0.1", "11.0.0.1", "2001:db8::1", "2001:db9::1"][..]),
            completes_names in any::<bool>(),
            port in 1..9u16,
            method in prop::sample::select(&["GET", "POST", "CONNECT", "PUT"][..]),
        ) {
            let default = if allow { Action::Allow } else { Action::Deny };
            let policy = config::Policy { default, revoke: false, rules };
            let tunnel = config::Tunnel { ports: vec![PortRange { first: 2, last: 3 }, PortRange { first: 5, last: 7 }], ..Config::default().tunnel };
            let host = Host::parse(host.as_bytes()).expect("a host");
            let ask = Ask { client: client.parse().expect("an address"), host: &host, port, method: method.as_bytes() };
            let compiled = Policy::new(&policy, &tunnel, completes_names);
            let full_name = Name::parse(b"a.example").expect("a name");
            let is_completed = completes_names && matches!(&host, Host::Name(name) if name.as_str() == "a");
            let address = match &host {
                Host::Address(address) => *address,
                Host::Name(_) => address.parse().expect("an address"),
            };
            let resolved = Resolved { full_name: is_completed.then_some(&full_name), address };
            let said = naive(&policy, &tunnel, &ask, &resolved);
            let verdict = compiled.judge(&ask, resolved);
            prop_assert_eq!((verdict.allowed, verdict.rule.map(str::to_owned)), said.clone());
            // What is decided before is decided the same; the rule that a denial names may be a later one.
            if let Some(early) = compiled.decide(&ask) {
                prop_assert_eq!(early.allowed, said.0);
                prop_assert!(!early.allowed || early.rule.map(str::to_owned) == said.1);
            } else {
                prop_assert!(matches!(host, Host::Name(_)));
            }
        }
    }
}
