//! What is right by every rule, and yet hardly meant: rules that never decide, denials that come too late, an open proxy.
//!
//! Looked for by `outrider check` alone. A warning is given where it is certain that a rule decides nothing; where that is
//! not certain, none is.

use std::collections::HashSet;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::mistake::{Mistake, Span};
use super::sources::Sources;
use super::{Action, Config, HostPattern, PortRange, Rule};

/// Where things were written.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Of each rule, in the order in force.
    pub(super) rules: Vec<RulePlace>,
    /// `policy.default`.
    pub(super) default: Option<Span>,
    pub(super) addresses: Vec<(SocketAddr, Span)>,
}

#[derive(Debug, Clone)]
pub(super) struct RulePlace {
    /// Its name, or its header where it has none.
    pub(super) span: Span,
    /// Its `hosts`, one by one.
    pub(super) hosts: Vec<Span>,
}

/// With more rules than this, they are not compared with each other: the work grows with the square.
const MOST_RULES: usize = 2000;

pub(super) fn warnings(config: &Config, places: &Places, sources: &Sources) -> Vec<Mistake> {
    let rules: Vec<Scope<'_>> = config.policy.rules.iter().map(Scope::new).collect();
    let mut advice = Advice { config, places, sources, rules, found: Vec::new() };
    // The built-in policy, which holds where none is written, has no places.
    if places.rules.len() == config.policy.rules.len() {
        if places.rules.len() <= MOST_RULES {
            advice.rules_that_never_decide();
        }
        advice.networks_in_hosts();
    }
    advice.open_proxy();
    advice.found
}

struct Advice<'a> {
    config: &'a Config,
    places: &'a Places,
    sources: &'a Sources,
    rules: Vec<Scope<'a>>,
    found: Vec<Mistake>,
}

impl Advice<'_> {
    fn rules_that_never_decide(&mut self) {
        for later in 0..self.rules.len() {
            let scope = &self.rules[later];
            let warning = if scope.is_shut_to_connect(&self.config.tunnel.ports) {
                let help = "add the ports to tunnel.ports, which no rule can widen, or leave the rule out";
                Some(Mistake::at(self.span(later), "CONNECT never gets to these ports: `tunnel.ports` leaves them shut", help))
            } else if let Some(earlier) = (0..later).find(|&earlier| self.rules[earlier].covers(scope)) {
                Some(self.shadowed(earlier, later))
            } else {
                self.denial_too_late(later)
            };
            self.found.extend(warning);
        }
    }

    fn shadowed(&self, earlier: usize, later: usize) -> Mistake {
        let name = &self.rules[earlier].rule.name;
        let message = format!("this rule never decides: `{name}` comes first, and matches all that it does");
        let help = if self.rules[earlier].rule.action == self.rules[later].rule.action {
            "leave it out".to_owned()
        } else {
            self.how_to_go_before(earlier, later)
        };
        self.after(earlier, later, message, help)
    }

    /// A denial of destinations that an earlier rule allows, behind which there is nothing left that is not denied anyway.
    fn denial_too_late(&self, later: usize) -> Option<Mistake> {
        let scope = &self.rules[later];
        let is_specific = !scope.rule.hosts.is_empty() || !scope.rule.addresses.is_empty();
        let changes_nothing = self.config.policy.default == Action::Deny
            && !self.rules[later + 1..].iter().any(|other| other.rule.action == Action::Allow && other.overlaps(scope));
        if scope.rule.action != Action::Deny || !is_specific || !changes_nothing {
            return None;
        }
        let allows_it = |other: &Scope<'_>| other.rule.action == Action::Allow && other.covers_destination(scope) && other.overlaps(scope);
        let earlier = (0..later).find(|&earlier| allows_it(&self.rules[earlier]))?;
        let name = &self.rules[earlier].rule.name;
        let message = format!("this denial comes too late: `{name}` has allowed what it matches, and the rest is denied anyway");
        Some(self.after(earlier, later, message, self.how_to_go_before(earlier, later)))
    }

    fn after(&self, earlier: usize, later: usize, message: String, help: String) -> Mistake {
        Mistake { related: Some((self.span(earlier), "this rule comes first")), ..Mistake::at(self.span(later), message, help) }
    }

    fn how_to_go_before(&self, earlier: usize, later: usize) -> String {
        let name = &self.rules[earlier].rule.name;
        let is_same_file = std::ptr::eq(self.sources.find(self.span(earlier).start), self.sources.find(self.span(later).start));
        if is_same_file { format!("move it before `{name}`") } else { format!("add before = \"{}\" to it", name.escape_default()) }
    }

    fn networks_in_hosts(&mut self) {
        for (rule, place) in self.config.policy.rules.iter().zip(&self.places.rules) {
            for (pattern, span) in rule.hosts.iter().zip(&place.hosts) {
                let HostPattern::Net(network) = pattern else { continue };
                if rule.action == Action::Deny && !self.is_denied_when_resolved(network) {
                    let message = format!("this denies {network} only where a request names the address: names that lead there pass");
                    let help = format!("deny it in a rule with addresses = [\"{network}\"], which is tested after a name is resolved");
                    self.found.push(Mistake::at(span.clone(), message, help));
                }
            }
        }
    }

    /// By another rule, or for everybody.
    fn is_denied_when_resolved(&self, network: &IpNet) -> bool {
        let by_rule = |rule: &Rule| {
            rule.action == Action::Deny && rule.hosts.is_empty() && rule.addresses.iter().any(|other| other.contains(network))
        };
        self.config.addresses.deny.iter().any(|other| other.contains(network)) || self.config.policy.rules.iter().any(by_rule)
    }

    fn open_proxy(&mut self) {
        let Some((opened_by, what)) = self.opened_to_all() else { return };
        for (address, span) in &self.places.addresses {
            if address.ip().to_canonical().is_loopback() {
                continue;
            }
            let message = format!("an open proxy: {what}, and everybody who reaches {address} is one");
            let help = "let the policy allow some clients only, such as clients = [\"10.0.0.0/8\"], or listen on 127.0.0.1";
            let related = opened_by.clone().map(|span| (span, "this lets everybody in"));
            self.found.push(Mistake { related, ..Mistake::at(span.clone(), message, help) });
        }
    }

    /// What allows requests of all clients, and where.
    fn opened_to_all(&self) -> Option<(Option<Span>, String)> {
        for (index, scope) in self.rules.iter().enumerate() {
            let rule = scope.rule;
            let is_any_host = rule.hosts.is_empty() && rule.addresses.is_empty();
            match rule.action {
                Action::Allow if is_any_host && scope.is_any_client() => {
                    let span = self.places.rules.get(index).map(|place| place.span.clone());
                    return Some((span, format!("the rule `{}` allows every client", rule.name)));
                }
                // Nobody gets past a rule that denies everything.
                Action::Deny if is_any_host && rule.clients.is_empty() && rule.ports.is_empty() && rule.methods.is_empty() => return None,
                _ => {}
            }
        }
        let is_open = self.config.policy.default == Action::Allow;
        is_open.then(|| (self.places.default.clone(), "policy.default allows every client".to_owned()))
    }

    fn span(&self, rule: usize) -> Span {
        self.places.rules[rule].span.clone()
    }
}

/// What a rule matches, ready to be compared.
struct Scope<'a> {
    rule: &'a Rule,
    clients: Vec<IpNet>,
    addresses: Vec<IpNet>,
    /// Sorted, and merged where they touch.
    ports: Vec<PortRange>,
    names: HashSet<&'a HostPattern>,
    networks: Vec<IpNet>,
}

impl<'a> Scope<'a> {
    fn new(rule: &'a Rule) -> Self {
        let networks: Vec<IpNet> = rule.hosts.iter().filter_map(network_of).collect();
        Scope {
            rule,
            clients: IpNet::aggregate(&rule.clients),
            addresses: IpNet::aggregate(&rule.addresses),
            ports: merged(&rule.ports),
            names: rule.hosts.iter().filter(|pattern| network_of(pattern).is_none()).collect(),
            networks: IpNet::aggregate(&networks),
        }
    }

    fn is_any_client(&self) -> bool {
        let is_everything = |network: &IpNet| network.prefix_len() == 0;
        self.clients.is_empty() || self.clients.iter().any(is_everything)
    }

    /// Whether it allows CONNECT alone, to ports that are all shut.
    fn is_shut_to_connect(&self, open: &[PortRange]) -> bool {
        let is_shut = |range: &PortRange| !open.iter().any(|open| open.first <= range.last && range.first <= open.last);
        let all_are_shut = if self.ports.is_empty() { open.is_empty() } else { self.ports.iter().all(is_shut) };
        self.rule.action == Action::Allow && self.rule.methods == ["CONNECT"] && all_are_shut
    }

    /// Whether all that `other` matches is matched here.
    fn covers(&self, other: &Scope<'_>) -> bool {
        let port = |range: &PortRange| self.ports.iter().any(|wide| wide.first <= range.first && range.last <= wide.last);
        let (methods, others) = (&self.rule.methods, &other.rule.methods);
        (self.clients.is_empty() || (!other.clients.is_empty() && within(&other.clients, &self.clients)))
            && (self.ports.is_empty() || (!other.ports.is_empty() && other.ports.iter().all(port)))
            && (methods.is_empty() || (!others.is_empty() && others.iter().all(|method| methods.contains(method))))
            && self.covers_destination(other)
    }

    /// The same, of hosts and addresses alone.
    fn covers_destination(&self, other: &Scope<'_>) -> bool {
        let hosts = &other.rule.hosts;
        (self.rule.hosts.is_empty() || (!hosts.is_empty() && hosts.iter().all(|host| self.covers_host(host))))
            && (self.addresses.is_empty() || self.covers_addresses(other))
    }

    /// A rule that denies also matches IPv6 addresses that carry an IPv4 address, and one that allows does not.
    fn covers_addresses(&self, other: &Scope<'_>) -> bool {
        let looks_as_far = self.rule.action == Action::Deny || other.rule.action == Action::Allow;
        looks_as_far && !other.addresses.is_empty() && within(&other.addresses, &self.addresses)
    }

    fn covers_host(&self, pattern: &HostPattern) -> bool {
        let name = match pattern {
            HostPattern::Net(network) => return self.networks.iter().any(|wide| wide.contains(network)),
            HostPattern::Exact(name) | HostPattern::Suffix(name) => name,
        };
        self.names.contains(pattern)
            || name.match_indices('.').any(|(dot, _)| self.names.contains(&HostPattern::Suffix(name[dot + 1..].to_owned())))
    }

    /// Whether something may match both. Where that is hard to say, it may.
    fn overlaps(&self, other: &Scope<'_>) -> bool {
        let either_is_any = |left: usize, right: usize| left == 0 || right == 0;
        let ports = |range: &PortRange| self.ports.iter().any(|here| here.first <= range.last && range.first <= here.last);
        let hosts = || {
            self.rule.hosts.iter().any(|pattern| other.covers_host(pattern))
                || other.rule.hosts.iter().any(|pattern| self.covers_host(pattern))
        };
        (either_is_any(self.clients.len(), other.clients.len()) || meet(&self.clients, &other.clients))
            && (either_is_any(self.addresses.len(), other.addresses.len()) || meet(&self.addresses, &other.addresses))
            && (either_is_any(self.ports.len(), other.ports.len()) || other.ports.iter().any(ports))
            && (either_is_any(self.rule.methods.len(), other.rule.methods.len())
                || other.rule.methods.iter().any(|method| self.rule.methods.contains(method)))
            && (either_is_any(self.rule.hosts.len(), other.rule.hosts.len()) || hosts())
    }
}

fn network_of(pattern: &HostPattern) -> Option<IpNet> {
    if let HostPattern::Net(network) = pattern { Some(*network) } else { None }
}

fn within(narrow: &[IpNet], wide: &[IpNet]) -> bool {
    narrow.iter().all(|network| wide.iter().any(|wide| wide.contains(network)))
}

fn meet(left: &[IpNet], right: &[IpNet]) -> bool {
    left.iter().any(|left| right.iter().any(|right| left.contains(right) || right.contains(left)))
}

fn merged(ranges: &[PortRange]) -> Vec<PortRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.first);
    let mut merged: Vec<PortRange> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => last.last = last.last.max(range.last),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use crate::config::load_with_advice;

    /// The line, message and remedy of each warning; of the main file, and of a drop-in.
    fn warnings(main: &str, drop_in: &str) -> Vec<(usize, String, String)> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("outrider.toml");
        std::fs::write(&file, main).expect("written");
        std::fs::create_dir(directory.path().join("conf.d")).expect("a directory");
        std::fs::write(directory.path().join("conf.d/10.toml"), drop_in).expect("written");
        let report = load_with_advice(Some(&file)).unwrap_or_else(|report| panic!("{report}")).warnings;
        report.mistakes().iter().map(|warning| (report.line(warning).unwrap_or(0), warning.message.clone(), warning.help.clone())).collect()
    }

    #[track_caller]
    fn one(main: &str, drop_in: &str, line: usize, message: &str, help: &str) {
        let found = warnings(main, drop_in);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].0 == line && found[0].1.contains(message) && found[0].2.contains(help), "{found:#?}");
    }

    const OFFICE: &str = "[[policy.rule]]\nname = \"office\"\nclients = [\"10.0.0.0/8\"]\nports = [80, \"443-500\"]\naction = \"allow\"\n";

    #[test]
    fn nothing_is_said_of_what_is_meant() {
        assert_eq!(warnings("", ""), []);
        assert_eq!(warnings(crate::config::EMBEDDED, ""), []);
        // Exceptions before the rule, rules for others after it, and a last word.
        let main = format!(
            "[[policy.rule]]\nhosts = [\"*.bad.example\"]\naction = \"deny\"\n{OFFICE}\
             [[policy.rule]]\nhosts = [\"good.example\"]\nclients = [\"11.0.0.0/8\"]\naction = \"allow\"\n\
             [[policy.rule]]\nname = \"last word\"\naction = \"deny\"\n"
        );
        assert_eq!(warnings(&main, ""), []);
        // The administrators are exempt, and the denial holds for the others.
        let exempt = "[[policy.rule]]\nclients = [\"10.0.0.1\"]\naction = \"allow\"\n[[policy.rule]]\nhosts = [\"bad.example\"]\n\
                      action = \"deny\"\n[[policy.rule]]\nclients = [\"10.0.0.0/8\"]\naction = \"allow\"\n";
        assert_eq!(warnings(exempt, ""), []);
        let open = "[[listener]]\naddresses = [\"127.0.0.1:1\", \"[::1]:1\"]\n[policy]\ndefault = \"allow\"";
        assert_eq!(warnings(open, ""), [], "of this machine's own clients");
    }

    #[test]
    fn a_rule_that_is_covered_never_decides() {
        for covered in [
            "clients = [\"10.1.0.0/16\", \"10.2.3.4\"]\nports = [80, \"450-460\"]\naction = \"deny\"",
            "clients = [\"10.0.0.0/9\", \"10.128.0.0/9\"]\nports = [443]\nhosts = [\"a.example\"]\naction = \"deny\"",
            "clients = [\"10.1.0.0/16\"]\nports = [80]\naddresses = [\"192.0.2.0/24\"]\nmethods = [\"GET\"]\naction = \"deny\"",
        ] {
            let main = format!("{OFFICE}[[policy.rule]]\nname = \"late\"\n{covered}\n");
            one(&main, "", 7, "`office` comes first", "move it before `office`");
            one(OFFICE, &format!("[[policy.rule]]\nname = \"late\"\n{covered}\n"), 2, "`office` comes first", "before = \"office\"");
        }
        let again = format!("{OFFICE}{}", OFFICE.replace("office", "again"));
        one(&again, "", 7, "`office` comes first", "leave it out");
        let hosts = "[[policy.rule]]\nhosts = [\"*.example\", \"192.0.2.0/24\"]\naction = \"allow\"\n[[policy.rule]]\n\
                     hosts = [\"*.a.example\", \"b.example\", \"192.0.2.7\"]\naction = \"allow\"\n";
        one(hosts, "", 4, "`rule 1` comes first", "leave it out");
    }

    #[test]
    fn a_drop_in_whose_denial_comes_too_late_is_told_how_to_come_first() {
        let drop_in =
            |before: &str| format!("[[policy.rule]]\nname = \"no sharing\"\nhosts = [\"*.share.example\"]\naction = \"deny\"\n{before}");
        one(OFFICE, &drop_in(""), 2, "`office` has allowed what it matches", "before = \"office\"");
        assert_eq!(warnings(OFFICE, &drop_in("before = \"office\"")), []);
    }

    #[test]
    fn connect_to_shut_ports_is_told() {
        let rule = "[[policy.rule]]\nname = \"mail\"\nclients = [\"10.0.0.0/8\"]\nmethods = [\"CONNECT\"]\nports = [25, 587]\naction = \"allow\"\n";
        one(rule, "", 2, "`tunnel.ports` leaves them shut", "tunnel.ports");
        assert_eq!(warnings(&format!("[tunnel]\nports = [443, \"500-600\"]\n{rule}"), ""), []);
    }

    #[test]
    fn a_denial_of_a_network_by_literals_alone_is_told() {
        let rule = "[[policy.rule]]\nhosts = [\"a.example\", \"192.0.2.0/24\"]\naction = \"deny\"\n\
                    [[policy.rule]]\nclients = [\"10.0.0.0/8\"]\naction = \"allow\"\n";
        one(rule, "", 2, "names that lead there pass", "addresses = [\"192.0.2.0/24\"]");
        assert_eq!(warnings(&format!("[addresses]\ndeny = [\"192.0.0.0/16\"]\n{rule}"), ""), []);
        let also = "[[policy.rule]]\naddresses = [\"192.0.2.0/24\"]\naction = \"deny\"\nbefore = \"rule 1\"\n";
        assert_eq!(warnings(rule, also), []);
    }

    #[test]
    fn an_open_proxy_is_told() {
        const LISTENER: &str = "[[listener]]\naddresses = [\"127.0.0.1:1\", \"0.0.0.0:2\"]\n";
        for policy in [
            "[policy]\ndefault = \"allow\"\n",
            "[[policy.rule]]\nports = [80]\naction = \"allow\"\n",
            "[[policy.rule]]\nclients = [\"::/0\"]\naction = \"allow\"\n",
        ] {
            one(&format!("{LISTENER}{policy}"), "", 2, "an open proxy", "clients = ");
        }
        for policy in [
            OFFICE,
            "[policy]\ndefault = \"allow\"\n[[policy.rule]]\naction = \"deny\"\n",
            "[[policy.rule]]\nhosts = [\"deb.example\"]\naction = \"allow\"\n",
        ] {
            assert_eq!(warnings(&format!("{LISTENER}{policy}"), ""), []);
        }
    }
}
