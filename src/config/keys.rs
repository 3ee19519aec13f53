//! Which keys each table has: one line a key, with the form that it is written in and the place it fills.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::advice::{Places, RulePlace};
use super::form::*;
use super::mistake::{Mistake, Span};
use super::order::{self, Written};
use super::table::Table;
use super::*;

/// The whole file.
pub(super) fn config(file: &mut Table<'_>, places: &mut Places) -> Config {
    let mut config = Config { listeners: Vec::new(), ..Config::default() };
    file.table("server", |table| server(table, &mut config.server));
    // Before the listeners, which start from it.
    let mut shared = Http1::default();
    file.table("http1", |table| http1(table, &mut shared));
    let mut seen = Listeners::default();
    file.tables("listener", |table| config.listeners.push(listener(table, &shared, &mut seen)));
    if config.listeners.is_empty() {
        config.listeners.push(Listener { http1: shared, ..Listener::default() });
    }
    let mut sizes = Sizes::default();
    file.table("dns", |table| dns(table, &mut config.dns, &mut sizes));
    file.table("addresses", |table| addresses(table, &mut config.addresses));
    file.table("cluster", |table| cluster(table, &mut config.cluster));
    file.table("tunnel", |table| tunnel(table, &mut config.tunnel, &mut sizes));
    file.table("access_log", |table| access_log(table, &mut config.access_log));
    file.table("admin", |table| admin(table, &mut config.admin, &seen));
    file.table("policy", |table| config.policy = policy(table, places));
    sizes.settle(&mut config);
    places.addresses = seen.places;
    config
}

/// What follows from other sizes where it is "auto".
#[derive(Default)]
struct Sizes {
    max_hosts: Option<usize>,
    max_hosts_per_client: Option<usize>,
    max_pending_requests_per_client: Option<usize>,
    tunnels_per_client: Option<usize>,
}

impl Sizes {
    fn settle(self, config: &mut Config) {
        let max_connections = config.listeners.iter().map(|listener| listener.max_connections).fold(0, usize::saturating_add);
        let dns = &mut config.dns;
        dns.max_hosts = self.max_hosts.unwrap_or((max_connections / 4).clamp(1024, u32::MAX as usize));
        // One client never takes all, however few there are.
        dns.max_hosts_per_client = self.max_hosts_per_client.unwrap_or((dns.max_hosts / 4).max(1));
        dns.max_pending_requests_per_client = self.max_pending_requests_per_client.unwrap_or((dns.max_pending_requests / 4).max(1));
        config.tunnel.max_per_client = self.tunnels_per_client.unwrap_or(Listener::auto_per_client(max_connections));
    }
}

fn server(table: &mut Table<'_>, server: &mut Server) {
    table.read::<Workers>("workers", &mut server.workers);
    table.read::<Switch>("pin_workers", &mut server.pin_workers);
    table.read::<Wait>("drain_timeout", &mut server.drain_timeout);
}

/// What the listeners read so far have taken.
#[derive(Default)]
struct Listeners {
    names: HashMap<String, Span>,
    addresses: HashMap<SocketAddr, Span>,
    /// Where each address of each was written, in their order.
    places: Vec<(SocketAddr, Span)>,
}

fn listener(table: &mut Table<'_>, shared: &Http1, seen: &mut Listeners) -> Listener {
    let mut listener = Listener { http1: shared.clone(), ..Listener::default() };
    let name = table.read::<Title>("name", &mut listener.name);
    let addresses = table.filled_list::<Endpoint>("addresses", &mut listener.addresses);
    table.read::<Switch>("ipv6_only", &mut listener.ipv6_only);
    table.read::<Count<usize>>("max_connections", &mut listener.max_connections);
    table.read::<Length>("first_byte_timeout", &mut listener.first_byte_timeout);
    table.read::<CountOrAuto>("max_connections_per_client", &mut listener.max_connections_per_client);
    tcp_options(table, &mut listener.tcp);
    let via = table.read::<Pseudonym>("via", &mut listener.http1.via);
    let again = table.table("http1", |table| http1(table, &mut listener.http1)).flatten();
    table.not_both(via, again);

    if name.is_none()
        && let Some(first) = listener.addresses.first()
    {
        listener.name = first.to_string();
    }
    let span = name.unwrap_or(table.span());
    if let Some(first) = seen.names.insert(listener.name.clone(), span.clone()) {
        duplicate(table, first, span, format!("two listeners are named `{}`", listener.name), "statistics need names that tell them apart");
    }
    for (index, address) in listener.addresses.iter().enumerate() {
        let span = addresses.get(index).cloned().unwrap_or(table.span());
        seen.places.push((*address, span.clone()));
        // Port 0 is another port each time.
        if address.port() != 0
            && let Some(first) = seen.addresses.insert(*address, span.clone())
        {
            duplicate(table, first, span, format!("{address} is listened on twice"), "leave one of them out, or change its port");
        }
    }
    listener
}

/// Answers where `via` was written.
fn http1(table: &mut Table<'_>, http1: &mut Http1) -> Option<Span> {
    let via = table.read::<Pseudonym>("via", &mut http1.via);
    table.read::<Switch>("via_in_requests", &mut http1.via_in_requests);
    table.read::<Switch>("accept_http_10", &mut http1.accept_http_10);
    table.read::<Switch>("keep_alive_http_10", &mut http1.keep_alive_http_10);
    table.read::<HostField>("default_host_for_http_10", &mut http1.default_host_for_http_10);
    table.read::<Switch>("allow_absolute_url", &mut http1.allow_absolute_url);
    table.read::<Switch>("reject_host_mismatch", &mut http1.reject_host_mismatch);
    table.read::<Choice<HeaderKeyFormat>>("header_key_format", &mut http1.header_key_format);
    table.read::<Switch>("forward_reason_phrase", &mut http1.forward_reason_phrase);
    table.read::<Switch>("enable_trailers", &mut http1.enable_trailers);
    table.read::<Switch>("allow_chunked_length", &mut http1.allow_chunked_length);
    table.read::<Switch>("allow_blanks_after_chunk_size", &mut http1.allow_blanks_after_chunk_size);
    table.read::<Switch>("override_stream_error_on_invalid_http_message", &mut http1.override_stream_error_on_invalid_http_message);
    table.read::<Switch>("send_fully_qualified_url", &mut http1.send_fully_qualified_url);
    table.read::<Switch>("ignore_http_11_upgrade", &mut http1.ignore_http_11_upgrade);
    table.read::<Choice<UnderscoresAction>>("headers_with_underscores_action", &mut http1.headers_with_underscores_action);
    table.read::<Whole<usize, 1, 10_000>>("max_headers_count", &mut http1.max_headers_count);
    let bytes = table.read::<HeadSize>("max_request_headers", &mut http1.max_request_headers);
    let kilobytes = table.read::<HeadKilobytes>("max_request_headers_kb", &mut http1.max_request_headers);
    table.not_both(bytes, kilobytes);
    let bytes = table.read::<HeadSize>("max_response_headers", &mut http1.max_response_headers);
    let kilobytes = table.read::<HeadKilobytes>("max_response_headers_kb", &mut http1.max_response_headers);
    table.not_both(bytes, kilobytes);
    table.read::<HeadSize>("max_target", &mut http1.max_target);
    table.read::<CountOrNone<usize>>("max_interim_responses", &mut http1.max_interim_responses);
    table.read::<Length>("request_headers_timeout", &mut http1.request_headers_timeout);
    table.read::<Length>("idle_timeout", &mut http1.idle_timeout);
    table.read::<CountLimit>("max_requests_per_connection", &mut http1.max_requests_per_connection);
    table.read::<Limit>("max_connection_duration", &mut http1.max_connection_duration);
    via
}

fn dns(table: &mut Table<'_>, dns: &mut Dns, sizes: &mut Sizes) {
    table.list::<NameServer>("servers", &mut dns.servers);
    table.read::<Choice<LookupFamily>>("dns_lookup_family", &mut dns.lookup_family);
    let min = table.read::<Wait>("dns_min_refresh_rate", &mut dns.min_refresh_rate);
    let max = table.read::<Length>("dns_max_refresh_rate", &mut dns.max_refresh_rate);
    table.read::<Wait>("dns_failure_refresh_rate", &mut dns.failure_refresh_rate);
    table.read::<Length>("dns_query_timeout", &mut dns.query_timeout);
    table.read::<Length>("host_ttl", &mut dns.host_ttl);
    table.read::<CountOrAuto>("max_hosts", &mut sizes.max_hosts);
    table.read::<CountOrAuto>("max_hosts_per_client", &mut sizes.max_hosts_per_client);
    table.read::<Count<usize>>("max_pending_requests", &mut dns.max_pending_requests);
    table.read::<CountOrAuto>("max_pending_requests_per_client", &mut sizes.max_pending_requests_per_client);
    table.read::<Wait>("max_stale", &mut dns.max_stale);
    table.list::<HostName>("preresolve_hostnames", &mut dns.preresolve_hostnames);
    table.read::<Switch>("use_search_domains", &mut dns.use_search_domains);
    table.read::<Switch>("use_hosts_file", &mut dns.use_hosts_file);

    if let Some(span) = max.or(min)
        && dns.min_refresh_rate > dns.max_refresh_rate
    {
        let message = format!("no time is from {:?} up to {:?}", dns.min_refresh_rate, dns.max_refresh_rate);
        table.mistake(Mistake::at(span, message, "let dns_min_refresh_rate be no longer than dns_max_refresh_rate"));
    }
}

fn addresses(table: &mut Table<'_>, addresses: &mut Addresses) {
    table.list::<Network>("allow", &mut addresses.allow);
    table.list::<Network>("deny", &mut addresses.deny);
}

fn cluster(table: &mut Table<'_>, cluster: &mut Cluster) {
    cluster_options(table, &mut cluster.defaults);
    table.read::<CountOrNone<usize>>("max_idle_connections_per_worker", &mut cluster.max_idle_connections_per_worker);
    table.tables("override", |table| {
        let mut options = cluster.defaults.clone();
        let mut hosts = Vec::new();
        if table.filled_list::<Hosts>("hosts", &mut hosts).is_empty() && !table.has("hosts") {
            let help = "add hosts = [\"*.example.org\"], or set the keys in [cluster] for all";
            table.mistake(Mistake::at(table.span(), "an override without `hosts`", help));
        }
        cluster_options(table, &mut options);
        cluster.overrides.push(ClusterOverride { hosts, options });
    });
}

fn cluster_options(table: &mut Table<'_>, options: &mut ClusterOptions) {
    table.read::<Length>("connect_timeout", &mut options.connect_timeout);
    table.read::<Limit>("request_timeout", &mut options.request_timeout);
    table.read::<Length>("response_headers_timeout", &mut options.response_headers_timeout);
    table.read::<Length>("stream_idle_timeout", &mut options.stream_idle_timeout);
    table.read::<Limit>("max_stream_duration", &mut options.max_stream_duration);
    table.read::<Count<u64>>("max_connections", &mut options.max_connections);
    table.read::<CountOrNone<u64>>("max_pending_requests", &mut options.max_pending_requests);
    table.read::<Count<u64>>("max_requests", &mut options.max_requests);
    table.read::<CountOrNone<u64>>("max_retries", &mut options.max_retries);
    table.read::<CountOrNone<usize>>("max_idle_connections", &mut options.max_idle_connections);
    table.read::<Length>("pool_idle_timeout", &mut options.pool_idle_timeout);
    table.read::<Limit>("max_connection_duration", &mut options.max_connection_duration);
    table.read::<CountLimit>("max_requests_per_connection", &mut options.max_requests_per_connection);
    table.read::<Wait>("happy_eyeballs_delay", &mut options.happy_eyeballs_delay);
    table.read::<Choice<FirstFamily>>("happy_eyeballs_first_family", &mut options.happy_eyeballs_first_family);
    table.read::<Ratio>("preconnect_ratio", &mut options.preconnect_ratio);
    retries(table, options);
    tcp_options(table, &mut options.tcp);
    egress(table, &mut options.egress);
}

fn retries(table: &mut Table<'_>, options: &mut ClusterOptions) {
    table.table("retry_budget", |table| {
        let mut budget = RetryBudget { budget_percent: 20, min_retry_concurrency: 3 };
        table.read::<Whole<u64, 0, 100>>("budget_percent", &mut budget.budget_percent);
        table.read::<CountOrNone<u64>>("min_retry_concurrency", &mut budget.min_retry_concurrency);
        options.retry_budget = Some(budget).filter(|budget| budget.budget_percent > 0);
    });
    if table.has("retry_on") {
        let mut causes = Vec::new();
        table.list::<Choice<RetryCause>>("retry_on", &mut causes);
        options.retry_on = RetryOn {
            connect_failure: causes.contains(&RetryCause::ConnectFailure),
            reset_before_request: causes.contains(&RetryCause::ResetBeforeRequest),
            reset: causes.contains(&RetryCause::Reset),
        };
    } else {
        table.list::<Choice<RetryCause>>("retry_on", &mut Vec::new());
    }
    table.read::<CountOrNone<u64>>("num_retries", &mut options.num_retries);
    table.table("retry_back_off", |table| {
        table.read::<Length>("base", &mut options.retry_back_off.base);
        table.read::<Length>("max", &mut options.retry_back_off.max);
    });
    table.read::<Limit>("per_try_timeout", &mut options.per_try_timeout);
}

fn tcp_options(table: &mut Table<'_>, options: &mut TcpOptions) {
    table.table("tcp_keepalive", |table| {
        let mut keepalive = TcpKeepalive { idle: Duration::ZERO, interval: Duration::from_secs(10), probes: 6 };
        table.read::<WholeSeconds>("idle", &mut keepalive.idle);
        table.read::<WholeSeconds>("interval", &mut keepalive.interval);
        table.read::<Whole<u32, 1, 127>>("probes", &mut keepalive.probes);
        options.keepalive = Some(keepalive).filter(|keepalive| !keepalive.idle.is_zero());
    });
    table.read::<Limit>("tcp_user_timeout", &mut options.user_timeout);
}

fn egress(table: &mut Table<'_>, egress: &mut Egress) {
    let mut sources = Vec::new();
    let written = table.has("source_addresses");
    let spans = table.list::<SourceAddress>("source_addresses", &mut sources);
    if written {
        (egress.source_v4, egress.source_v6) = (None, None);
    }
    for (source, span) in sources.into_iter().zip(spans) {
        let taken = match source {
            IpAddr::V4(source) => egress.source_v4.replace(source).is_some(),
            IpAddr::V6(source) => egress.source_v6.replace(source).is_some(),
        };
        if taken {
            table.mistake(Mistake::at(span, "a second source address of the same family", "keep one for IPv4 and one for IPv6"));
        }
    }
    table.read::<Interface>("interface", &mut egress.interface);
    table.read::<Mark>("mark", &mut egress.mark);
}

fn tunnel(table: &mut Table<'_>, tunnel: &mut Tunnel, sizes: &mut Sizes) {
    table.read::<Length>("idle_timeout", &mut tunnel.idle_timeout);
    table.read::<Limit>("max_duration", &mut tunnel.max_duration);
    table.read::<CountOrAuto>("max_per_client", &mut sizes.tunnels_per_client);
    // An empty list is a way to say: no tunnels.
    table.list::<Ports>("ports", &mut tunnel.ports);
}

fn access_log(table: &mut Table<'_>, access_log: &mut AccessLog) {
    table.read::<Sink>("path", &mut access_log.sink);
    table.read::<Choice<AccessLogFormat>>("format", &mut access_log.format);
}

fn admin(table: &mut Table<'_>, admin: &mut Admin, listeners: &Listeners) {
    table.read::<SocketPath>("socket", &mut admin.socket);
    let span = table.read::<LoopbackEndpoint>("address", &mut admin.address);
    if let (Some(span), Some(address)) = (span, admin.address) {
        let is_in_the_way = |listener: &&SocketAddr| {
            let same_ip = listener.ip() == address.ip() || listener.ip().is_unspecified();
            same_ip && listener.port() == address.port() && address.port() != 0
        };
        if let Some((listener, first)) = listeners.addresses.iter().find(|(listener, _)| is_in_the_way(listener)) {
            duplicate(table, first.clone(), span, format!("a listener has {listener} already"), "give the admin API a port of its own");
        }
    }
}

/// A `[policy]` table takes the place of the default policy with all its rules.
fn policy(table: &mut Table<'_>, places: &mut Places) -> Policy {
    let mut policy = Policy { default: Action::Deny, revoke: false, rules: Vec::new() };
    let mut names = HashMap::new();
    places.default = table.read::<Choice<Action>>("default", &mut policy.default);
    table.read::<Switch>("revoke", &mut policy.revoke);
    let mut written = Vec::new();
    table.tables("rule", |table| {
        let number = written.len() + 1;
        written.push(rule(table, number, &mut names));
    });
    let (ordered, misplaced) = order::in_order(written);
    misplaced.into_iter().for_each(|mistake| table.mistake(mistake));
    (policy.rules, places.rules) = ordered.into_iter().unzip();
    policy
}

fn rule(table: &mut Table<'_>, number: usize, names: &mut HashMap<String, Span>) -> Written {
    let mut rule = Rule {
        name: format!("rule {number}"),
        clients: Vec::new(),
        hosts: Vec::new(),
        addresses: Vec::new(),
        ports: Vec::new(),
        methods: Vec::new(),
        action: Action::Deny,
    };
    let name = table.read::<Title>("name", &mut rule.name);
    let mut before = String::new();
    let before = table.read::<Title>("before", &mut before).map(|span| (before, span));
    table.filled_list::<Network>("clients", &mut rule.clients);
    let hosts = table.filled_list::<Hosts>("hosts", &mut rule.hosts);
    table.filled_list::<Network>("addresses", &mut rule.addresses);
    table.filled_list::<Ports>("ports", &mut rule.ports);
    table.filled_list::<Method>("methods", &mut rule.methods);
    if table.read::<Choice<Action>>("action", &mut rule.action).is_none() {
        table.mistake(Mistake::at(table.span(), "a rule without `action`", "add action = \"allow\" or action = \"deny\""));
    }
    let span = name.clone().unwrap_or(table.span());
    if let Some(first) = names.insert(rule.name.clone(), span.clone()) {
        duplicate(
            table,
            first,
            span.clone(),
            format!("two rules are named `{}`", rule.name),
            "the log tells by its name which rule decided",
        );
    }
    Written { rule, before, place: RulePlace { span, hosts } }
}

fn duplicate(table: &mut Table<'_>, first: Span, second: Span, message: String, help: &str) {
    table.mistake(Mistake { related: Some((first, "the first is here")), ..Mistake::at(second, message, help) });
}
