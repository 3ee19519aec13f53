//! The configuration in force, written down: as the TOML that would give it, and as JSON.
//!
//! Every structure is taken apart by name, so that a new field cannot be forgotten here.

use std::fmt::Display;

use super::document::{Entries, Value, write_json_object, write_toml_table};
use super::*;

impl Config {
    /// The file that would give this configuration, every key written out.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        write_toml_table(&mut text, "", &config(self));
        text
    }

    /// The same as one JSON object.
    pub fn to_json(&self) -> String {
        let mut text = String::new();
        write_json_object(&mut text, &config(self));
        text.push('\n');
        text
    }
}

fn text(value: impl Display) -> Value {
    Value::Text(value.to_string())
}

fn number(value: usize) -> Value {
    Value::Number(value as u64)
}

fn list<'a, T>(items: &'a [T], value: impl Fn(&'a T) -> Value) -> Value {
    Value::List(items.iter().map(value).collect())
}

/// Empty where there is none.
fn text_or_empty(value: Option<impl Display>) -> Value {
    value.map_or(text(""), text)
}

/// In the largest unit that needs no fraction.
fn duration(duration: Duration) -> Value {
    let milliseconds = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let whole = units.into_iter().find(|(_, length)| milliseconds > 0 && milliseconds.is_multiple_of(*length));
    match whole {
        Some((unit, length)) => text(format_args!("{}{unit}", milliseconds / length)),
        None if milliseconds == 0 => text("0s"),
        None => text(format_args!("{milliseconds}ms")),
    }
}

/// No limit is a limit of zero.
fn limit(limit: Option<Duration>) -> Value {
    duration(limit.unwrap_or_default())
}

fn size(bytes: usize) -> Value {
    if bytes > 0 && bytes.is_multiple_of(1024) { text(format_args!("{}KiB", bytes / 1024)) } else { number(bytes) }
}

fn number_or_auto(value: Option<usize>) -> Value {
    value.map_or(text("auto"), number)
}

fn config(config: &Config) -> Entries {
    let Config { server, listeners, dns, addresses, cluster, tunnel, access_log, admin, policy } = config;
    let Server { workers, pin_workers, drain_timeout } = server;
    let Addresses { allow, deny } = addresses;
    let Tunnel { idle_timeout, max_duration, max_per_client, ports } = tunnel;
    let AccessLog { sink, format } = access_log;
    let Admin { socket, address } = admin;
    let Policy { default, revoke, rules } = policy;
    vec![
        (
            "server",
            Value::Table(vec![
                ("workers", number_or_auto(workers.map(NonZeroUsize::get))),
                ("pin_workers", Value::Switch(*pin_workers)),
                ("drain_timeout", duration(*drain_timeout)),
            ]),
        ),
        ("listener", Value::Tables(listeners.iter().map(listener).collect())),
        ("dns", Value::Table(names(dns))),
        ("addresses", Value::Table(vec![("allow", list(allow, text)), ("deny", list(deny, text))])),
        ("cluster", Value::Table(clusters(cluster))),
        (
            "tunnel",
            Value::Table(vec![
                ("idle_timeout", duration(*idle_timeout)),
                ("max_duration", limit(*max_duration)),
                ("max_per_client", number(*max_per_client)),
                ("ports", list(ports, port_range)),
            ]),
        ),
        ("access_log", Value::Table(vec![("path", log_sink(sink)), ("format", text(log_format(format)))])),
        (
            "admin",
            Value::Table(vec![
                ("socket", text_or_empty(socket.as_deref().map(std::path::Path::display))),
                ("address", text_or_empty(*address)),
            ]),
        ),
        (
            "policy",
            Value::Table(vec![
                ("default", text(action(*default))),
                ("revoke", Value::Switch(*revoke)),
                ("rule", Value::Tables(rules.iter().map(rule).collect())),
            ]),
        ),
    ]
}

fn listener(listener: &Listener) -> Entries {
    let Listener { name, addresses, ipv6_only, max_connections, first_byte_timeout, max_connections_per_client, tcp, http1 } = listener;
    let mut entries = vec![
        ("name", text(name)),
        ("addresses", list(addresses, text)),
        ("ipv6_only", Value::Switch(*ipv6_only)),
        ("max_connections", number(*max_connections)),
        ("first_byte_timeout", duration(*first_byte_timeout)),
        ("max_connections_per_client", number_or_auto(*max_connections_per_client)),
    ];
    entries.extend(tcp_options(tcp));
    entries.push(("http1", Value::Table(http1_options(http1))));
    entries
}

fn http1_options(http1: &Http1) -> Entries {
    let Http1 {
        via,
        via_in_requests,
        accept_http_10,
        keep_alive_http_10,
        default_host_for_http_10,
        allow_absolute_url,
        reject_host_mismatch,
        header_key_format,
        forward_reason_phrase,
        enable_trailers,
        allow_chunked_length,
        allow_blanks_after_chunk_size,
        override_stream_error_on_invalid_http_message,
        send_fully_qualified_url,
        ignore_http_11_upgrade,
        headers_with_underscores_action,
        max_headers_count,
        max_request_headers,
        max_response_headers,
        max_target,
        max_interim_responses,
        request_headers_timeout,
        idle_timeout,
        max_requests_per_connection,
        max_connection_duration,
    } = http1;
    let format = match header_key_format {
        HeaderKeyFormat::PreserveCase => "preserve_case",
        HeaderKeyFormat::ProperCaseWords => "proper_case_words",
        HeaderKeyFormat::LowerCase => "lower_case",
    };
    let underscores = match headers_with_underscores_action {
        UnderscoresAction::Allow => "allow",
        UnderscoresAction::RejectRequest => "reject_request",
        UnderscoresAction::DropHeader => "drop_header",
    };
    vec![
        // Each process draws its own: another one that is given this file shall, too.
        ("via", text(if via == own_pseudonym() { "" } else { via })),
        ("via_in_requests", Value::Switch(*via_in_requests)),
        ("accept_http_10", Value::Switch(*accept_http_10)),
        ("keep_alive_http_10", Value::Switch(*keep_alive_http_10)),
        ("default_host_for_http_10", text_or_empty(default_host_for_http_10.as_deref())),
        ("allow_absolute_url", Value::Switch(*allow_absolute_url)),
        ("reject_host_mismatch", Value::Switch(*reject_host_mismatch)),
        ("header_key_format", text(format)),
        ("forward_reason_phrase", Value::Switch(*forward_reason_phrase)),
        ("enable_trailers", Value::Switch(*enable_trailers)),
        ("allow_chunked_length", Value::Switch(*allow_chunked_length)),
        ("allow_blanks_after_chunk_size", Value::Switch(*allow_blanks_after_chunk_size)),
        ("override_stream_error_on_invalid_http_message", Value::Switch(*override_stream_error_on_invalid_http_message)),
        ("send_fully_qualified_url", Value::Switch(*send_fully_qualified_url)),
        ("ignore_http_11_upgrade", Value::Switch(*ignore_http_11_upgrade)),
        ("headers_with_underscores_action", text(underscores)),
        ("max_headers_count", number(*max_headers_count)),
        ("max_request_headers", size(*max_request_headers)),
        ("max_response_headers", size(*max_response_headers)),
        ("max_target", size(*max_target)),
        ("max_interim_responses", number(*max_interim_responses)),
        ("request_headers_timeout", duration(*request_headers_timeout)),
        ("idle_timeout", duration(*idle_timeout)),
        ("max_requests_per_connection", Value::Number(max_requests_per_connection.unwrap_or(0))),
        ("max_connection_duration", limit(*max_connection_duration)),
    ]
}

fn names(dns: &Dns) -> Entries {
    let Dns {
        servers,
        lookup_family,
        min_refresh_rate,
        max_refresh_rate,
        failure_refresh_rate,
        query_timeout,
        host_ttl,
        max_hosts,
        max_hosts_per_client,
        max_pending_requests,
        max_pending_requests_per_client,
        max_stale,
        preresolve_hostnames,
        use_search_domains,
        use_hosts_file,
    } = dns;
    let family = match lookup_family {
        LookupFamily::Auto => "auto",
        LookupFamily::V4Only => "v4_only",
        LookupFamily::V6Only => "v6_only",
        LookupFamily::V4Preferred => "v4_preferred",
        LookupFamily::All => "all",
    };
    vec![
        ("servers", list(servers, name_server)),
        ("dns_lookup_family", text(family)),
        ("dns_min_refresh_rate", duration(*min_refresh_rate)),
        ("dns_max_refresh_rate", duration(*max_refresh_rate)),
        ("dns_failure_refresh_rate", duration(*failure_refresh_rate)),
        ("dns_query_timeout", duration(*query_timeout)),
        ("host_ttl", duration(*host_ttl)),
        ("max_hosts", number(*max_hosts)),
        ("max_hosts_per_client", number(*max_hosts_per_client)),
        ("max_pending_requests", number(*max_pending_requests)),
        ("max_pending_requests_per_client", number(*max_pending_requests_per_client)),
        ("max_stale", duration(*max_stale)),
        ("preresolve_hostnames", list(preresolve_hostnames, text)),
        ("use_search_domains", Value::Switch(*use_search_domains)),
        ("use_hosts_file", Value::Switch(*use_hosts_file)),
    ]
}

fn name_server(server: &DnsServer) -> Value {
    match server {
        DnsServer::Udp(address) => text(format_args!("udp://{address}")),
        DnsServer::Tcp(address) => text(format_args!("tcp://{address}")),
        DnsServer::Tls { address, name } => text(format_args!("tls://{address}{}", fragment(address, name))),
        DnsServer::Https { address, name, path } => text(format_args!("https://{address}{path}{}", fragment(address, name))),
    }
}

/// Without a name, the address stands for it.
fn fragment(address: &SocketAddr, name: &str) -> String {
    if name == address.ip().to_string() { String::new() } else { format!("#{name}") }
}

fn clusters(cluster: &Cluster) -> Entries {
    let Cluster { defaults, overrides, max_idle_connections_per_worker } = cluster;
    let mut entries = cluster_options(defaults);
    entries.push(("max_idle_connections_per_worker", number(*max_idle_connections_per_worker)));
    let overrides = overrides.iter().map(|ClusterOverride { hosts, options }| {
        let mut entries = vec![("hosts", list(hosts, host_pattern))];
        entries.extend(cluster_options(options));
        entries
    });
    entries.push(("override", Value::Tables(overrides.collect())));
    entries
}

fn cluster_options(options: &ClusterOptions) -> Entries {
    let ClusterOptions {
        connect_timeout,
        request_timeout,
        response_headers_timeout,
        stream_idle_timeout,
        max_stream_duration,
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        retry_on,
        num_retries,
        retry_back_off,
        per_try_timeout,
        max_idle_connections,
        pool_idle_timeout,
        max_connection_duration,
        max_requests_per_connection,
        happy_eyeballs_delay,
        happy_eyeballs_first_family,
        preconnect_ratio,
        tcp,
        egress,
    } = options;
    let first_family = match happy_eyeballs_first_family {
        FirstFamily::Auto => "auto",
        FirstFamily::V4 => "v4",
        FirstFamily::V6 => "v6",
    };
    let BackOff { base, max } = retry_back_off;
    let mut entries = vec![
        ("connect_timeout", duration(*connect_timeout)),
        ("request_timeout", limit(*request_timeout)),
        ("response_headers_timeout", duration(*response_headers_timeout)),
        ("stream_idle_timeout", duration(*stream_idle_timeout)),
        ("max_stream_duration", limit(*max_stream_duration)),
        ("max_connections", Value::Number(*max_connections)),
        ("max_pending_requests", Value::Number(*max_pending_requests)),
        ("max_requests", Value::Number(*max_requests)),
        ("max_retries", Value::Number(*max_retries)),
        ("retry_budget", budget(*retry_budget)),
        ("retry_on", retry_causes(*retry_on)),
        ("num_retries", Value::Number(*num_retries)),
        ("retry_back_off", Value::Inline(vec![("base", duration(*base)), ("max", duration(*max))])),
        ("per_try_timeout", limit(*per_try_timeout)),
        ("max_idle_connections", number(*max_idle_connections)),
        ("pool_idle_timeout", duration(*pool_idle_timeout)),
        ("max_connection_duration", limit(*max_connection_duration)),
        ("max_requests_per_connection", Value::Number(max_requests_per_connection.unwrap_or(0))),
        ("happy_eyeballs_delay", duration(*happy_eyeballs_delay)),
        ("happy_eyeballs_first_family", text(first_family)),
        ("preconnect_ratio", Value::Ratio(*preconnect_ratio)),
    ];
    entries.extend(tcp_options(tcp));
    let Egress { source_v4, source_v6, interface, mark } = egress;
    let sources = source_v4.map(text).into_iter().chain(source_v6.map(text)).collect();
    entries.push(("source_addresses", Value::List(sources)));
    entries.push(("interface", text_or_empty(interface.as_deref())));
    entries.push(("mark", Value::Number(mark.unwrap_or(0).into())));
    entries
}

/// A budget of nothing is none.
fn budget(budget: Option<RetryBudget>) -> Value {
    let RetryBudget { budget_percent, min_retry_concurrency } =
        budget.unwrap_or(RetryBudget { budget_percent: 0, min_retry_concurrency: 0 });
    Value::Inline(vec![("budget_percent", Value::Number(budget_percent)), ("min_retry_concurrency", Value::Number(min_retry_concurrency))])
}

fn retry_causes(on: RetryOn) -> Value {
    let RetryOn { connect_failure, reset_before_request, reset } = on;
    let causes = [(connect_failure, "connect-failure"), (reset_before_request, "reset-before-request"), (reset, "reset")];
    Value::List(causes.into_iter().filter(|(is_one, _)| *is_one).map(|(_, name)| text(name)).collect())
}

fn tcp_options(tcp: &TcpOptions) -> Entries {
    let TcpOptions { keepalive, user_timeout } = tcp;
    let keepalive = match keepalive {
        Some(TcpKeepalive { idle, interval, probes }) => {
            vec![("idle", duration(*idle)), ("interval", duration(*interval)), ("probes", Value::Number((*probes).into()))]
        }
        None => vec![("idle", duration(Duration::ZERO))],
    };
    vec![("tcp_keepalive", Value::Inline(keepalive)), ("tcp_user_timeout", limit(*user_timeout))]
}

fn rule(rule: &Rule) -> Entries {
    let Rule { name, clients, hosts, addresses, ports, methods, action: decision } = rule;
    let lists = [
        ("clients", list(clients, text)),
        ("hosts", list(hosts, host_pattern)),
        ("addresses", list(addresses, text)),
        ("ports", list(ports, port_range)),
        ("methods", list(methods, text)),
    ];
    let mut entries = vec![("name", text(name))];
    // One that matches everything is left out.
    entries.extend(lists.into_iter().filter(|(_, value)| !matches!(value, Value::List(items) if items.is_empty())));
    entries.push(("action", text(action(*decision))));
    entries
}

fn host_pattern(pattern: &HostPattern) -> Value {
    match pattern {
        HostPattern::Exact(name) => text(name),
        HostPattern::Suffix(name) => text(format_args!("*.{name}")),
        HostPattern::Net(network) => text(network),
    }
}

fn port_range(range: &PortRange) -> Value {
    let PortRange { first, last } = range;
    if first == last { Value::Number((*first).into()) } else { text(format_args!("{first}-{last}")) }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
    }
}

fn log_sink(sink: &AccessLogSink) -> Value {
    match sink {
        AccessLogSink::Off => text("off"),
        AccessLogSink::Stdout => text("-"),
        AccessLogSink::File(path) => text(path.display()),
    }
}

fn log_format(format: &AccessLogFormat) -> &'static str {
    match format {
        AccessLogFormat::Json => "json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key has another value than its default, as far as there is one.
    const UNUSUAL: &str = r#"
server = { workers = 3, pin_workers = true, drain_timeout = "1h30m" }
access_log = { path = "/var/log/an \"odd\" name\u007f.log" }
admin = { socket = "/run/outrider/admin.sock", address = "[::1]:9901" }
tunnel = { idle_timeout = "1500ms", max_duration = "2d", max_per_client = 7, ports = [22, "1024-65535"] }
addresses = { allow = ["10.0.0.0/8", "::1"], deny = ["192.0.2.7"] }
[http1]
via = "edge"
via_in_requests = false
accept_http_10 = false
keep_alive_http_10 = true
default_host_for_http_10 = "[::1]:8080"
allow_absolute_url = false
reject_host_mismatch = true
header_key_format = "proper_case_words"
forward_reason_phrase = false
enable_trailers = false
allow_chunked_length = true
allow_blanks_after_chunk_size = true
override_stream_error_on_invalid_http_message = true
send_fully_qualified_url = true
ignore_http_11_upgrade = true
headers_with_underscores_action = "drop_header"
max_headers_count = 50
max_request_headers = 5001
max_response_headers = "1MiB"
max_target = "1KiB"
max_interim_responses = 1
request_headers_timeout = "1ms"
idle_timeout = "61s"
max_requests_per_connection = 7
max_connection_duration = "1d"
[[listener]]
name = "first of \\ two"
addresses = ["[::]:3128", "127.0.0.1:0"]
ipv6_only = true
max_connections = 100
first_byte_timeout = "2s"
max_connections_per_client = 5
tcp_keepalive = { idle = "60s", interval = "5s", probes = 2 }
tcp_user_timeout = "20s"
[[listener]]
addresses = ["127.0.0.1:81"]
http1 = { header_key_format = "lower_case", headers_with_underscores_action = "reject_request" }
[dns]
servers = ["192.0.2.1", "tcp://[2001:db8::1]", "tls://192.0.2.1", "tls://192.0.2.1:8853#dns.example", "https://[::1]:4443/q#a.example", "https://192.0.2.1"]
dns_lookup_family = "v4_preferred"
dns_min_refresh_rate = "0s"
dns_max_refresh_rate = "2h"
dns_failure_refresh_rate = "1s"
dns_query_timeout = "9s"
host_ttl = "10m"
max_hosts = 10
max_hosts_per_client = 9
max_pending_requests = 8
max_pending_requests_per_client = 7
max_stale = "0s"
preresolve_hostnames = ["www.example.org"]
use_search_domains = true
use_hosts_file = false
[cluster]
connect_timeout = "1s"
request_timeout = "2s"
response_headers_timeout = "3s"
stream_idle_timeout = "4s"
max_stream_duration = "5s"
max_connections = 6
max_pending_requests = 0
max_requests = 8
max_retries = 9
retry_budget = { budget_percent = 25, min_retry_concurrency = 10 }
retry_on = ["connect-failure", "reset"]
num_retries = 11
retry_back_off = { base = "12ms", max = "13ms" }
per_try_timeout = "14ms"
max_idle_connections = 15
pool_idle_timeout = "16s"
max_connection_duration = "17s"
max_requests_per_connection = 18
max_idle_connections_per_worker = 19
happy_eyeballs_delay = "20ms"
happy_eyeballs_first_family = "v6"
preconnect_ratio = 1.5
tcp_keepalive = { idle = "21s" }
tcp_user_timeout = "22s"
source_addresses = ["192.0.2.7", "2001:db8::7"]
interface = "eth0"
mark = 23
[[cluster.override]]
hosts = ["example.org", "*.example.org", "192.0.2.0/24", "2001:db8::1"]
request_timeout = "0s"
retry_budget = { budget_percent = 0 }
retry_on = []
tcp_keepalive = { idle = "0s" }
source_addresses = []
interface = ""
mark = 0
[policy]
default = "allow"
revoke = true
[[policy.rule]]
name = "an \u00e4 rule"
clients = ["10.0.0.0/8"]
hosts = ["*.example.org"]
addresses = ["192.0.2.0/24"]
ports = [80, "1024-2047"]
methods = ["GET"]
action = "deny"
[[policy.rule]]
action = "allow"
"#;

    fn right(text: &str) -> Config {
        parse("test.toml", text).unwrap_or_else(|report| panic!("{report}\n{text}"))
    }

    #[test]
    fn what_is_written_gives_the_same_configuration() {
        for text in ["", UNUSUAL] {
            let config = right(text);
            assert_eq!(right(&config.to_toml()), config, "{}", config.to_toml());
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        for text in ["", UNUSUAL] {
            let config = right(text);
            let from_json: serde_json::Value = serde_json::from_str(&config.to_json()).expect("JSON");
            let toml: toml::Table = config.to_toml().parse().expect("TOML");
            let mut from_toml = serde_json::to_value(toml).expect("no more than JSON has");
            // An empty list of tables cannot be written in TOML.
            for (table, list) in [("cluster", "override"), ("policy", "rule")] {
                from_toml[table].as_object_mut().expect("a table").entry(list).or_insert_with(|| serde_json::json!([]));
            }
            assert_eq!(from_json, from_toml);
        }
    }

    #[test]
    fn durations_have_their_largest_whole_unit() {
        for (milliseconds, written) in [(0, "0s"), (1, "1ms"), (1500, "1500ms"), (90_000, "90s"), (3_600_000, "1h"), (172_800_000, "2d")] {
            assert!(matches!(duration(Duration::from_millis(milliseconds)), Value::Text(text) if text == written));
        }
    }
}
